"""The nearest parameters for which the steps are stable."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pdec.runtime.checks import _check_params, _common_dtype, _step_given
from pdec.runtime.generated import (
    _AXES,
    _MOMENTS,
    _SLOPES,
    MODEL,
    _clock,
    _coefficients,
    _effective,
    _stencil,
)
from pdec.runtime.host import _handed_out
from pdec.runtime.types import Array, Arrays
from pdec.runtime.verdict.certificates import _as_matrices, _walled_rows
from pdec.runtime.verdict.spectrum import _angles

# --- the nearest stable parameters ---------------------------------------------------


# [feature: not moments]
def project(p: Arrays, omega: float | None = None) -> Arrays:
    """Refuse: this model has no moments that could be projected."""
    raise ValueError(
        f"{MODEL.name} is not what project is for: a layer f(Σ W_k ∂^k z) with f' "
        "bounded, its moments W_k all numbers or all with a value per cell, whose "
        "scheme is Euler's or like it"
    )


# [end]
# [feature: moments]
def project(p: Arrays, omega: float | None = None) -> Arrays:
    """Return the nearest parameters for which no mode grows at ω, the model's own.

    At fixed ω the stable moments are a convex set, so that there is one nearest point,
    in the metric Σ (ΔW_k/Δx^k)². Where one stencil holds everywhere the set is von
    Neumann's, |1 - w + w s Λ| <= 1 for all modes and both ends s of the slopes, else
    that of the maximum norm's certificate in each cell. Bounds of parameters are kept.
    Raises ArithmeticError where no parameters are stable.
    """
    checked = _check_params(p, "p", _common_dtype(p))
    h = float(_clock({n: x.astype(np.float64) for n, x in checked.items()})[0])
    w = float(_effective(h if omega is None else _step_given(omega)))
    scales = np.array(list(_MOMENTS.values()))
    given = np.stack([checked[n].astype(np.float64).ravel() for n in _MOMENTS], axis=1)
    low = np.array([MODEL.params[n].low for n in _MOMENTS])
    high = np.array([MODEL.params[n].high for n in _MOMENTS])
    ends = np.concatenate([high * scales, -low * scales])
    bounds = np.concatenate([np.eye(len(scales)), -np.eye(len(scales))])
    bounds, ends = bounds[np.isfinite(ends)], ends[np.isfinite(ends)]
    at, rest, cuts_of = _constraints(checked, scales, w)
    inside = 32.0 * float(np.finfo(_common_dtype(p)).eps)

    def cuts_in(cells: slice) -> Callable[[Array], tuple[Array, Array, float]]:
        def cuts(y: Array) -> tuple[Array, Array, float]:
            a = at[cells] @ y + rest[cells]
            cell, G, g = cuts_of(a)
            rows = (G[:, None] @ at[cells][cell])[:, 0]
            moved = (G * rest[cells][cell]).sum(axis=1)
            size = w * max(map(abs, _SLOPES)) * float(np.abs(a).sum(axis=1).max())
            size = min(size, math.sqrt(a.shape[1]) * (2.0 + w))  # where it is stable
            room = max(inside * (1.0 + size), 1e-8)
            known = np.concatenate([g - moved - room, ends])
            return np.concatenate([rows, bounds]), known, room

        return cuts

    found, one = given.copy(), len(given) == 1
    for k, y in enumerate(given * scales):
        cells = slice(None) if one else slice(k, k + 1)
        found[k] = _nearest_inside(y, cuts_in(cells)) / scales
    result = {name: np.array(value) for name, value in checked.items()}
    for k, name in enumerate(_MOMENTS):
        values = np.clip(found[:, k], low[k], high[k]).reshape(checked[name].shape)
        result[name] = values.astype(checked[name].dtype)
    return dict(_handed_out(result))


_Cuts = Callable[[Array], tuple[Array, Array, Array]]


def _constraints(p: Arrays, scales: Array, w: float) -> tuple[Array, Array, _Cuts]:
    """Return the rows a = at @ y + rest for scaled moments y, and the cuts of a.

    at is (cells, places, moments); one cell where all are alike.
    """

    def rows(chosen: str) -> dict[tuple[int, ...], Array]:
        c = {n: x.astype(np.float64) for n, x in p.items()}
        c |= {n: np.full(p[n].shape, float(n == chosen)) for n in _MOMENTS}
        _coefficients(c)
        # [feature: walls]
        return _walled_rows(_stencil(c))
        # [end]
        # [feature: not walls]
        return _as_matrices(_stencil(c))
        # [end]

    each = [rows(name) for name in ("", *_MOMENTS)]
    places = sorted(set().union(*each))
    zero = np.zeros((1, 1, 1))
    cells = max(len(a) for found in each for a in found.values())
    rest, *columns = (
        np.stack(
            [np.broadcast_to(found.get(m, zero)[:, 0, 0], cells) for m in places], 1
        )
        for found in each
    )
    at = np.stack([(a - rest) / s for a, s in zip(columns, scales, strict=True)], 2)
    # [feature: not walls]
    if cells == 1:
        phases = np.exp(1j * (_angles(len(_AXES), 1, True).T @ np.asarray(places).T))
        return at, rest, lambda a: _mode_cuts(phases, a[0], w)
    # [end]
    middle = [not any(place) for place in places].index(True)
    return at, rest, lambda a: _row_cuts(middle, a, w)


# [feature: not walls]
def _mode_cuts(phases: Array, a: Array, w: float) -> tuple[Array, Array, Array]:
    """Return half planes G a <= g of the stable set, where a violates it most."""
    rows, ends = [], []
    for s in _SLOPES:
        factor = 1.0 - w + w * s * (phases @ a)
        worst = int(np.argmax(np.abs(factor)))
        turn = np.conj(factor[worst]) / max(abs(factor[worst]), 1e-300)
        rows.append((w * s * turn * phases[worst]).real)
        ends.append(1.0 - ((1.0 - w) * turn).real)
    return np.zeros(len(rows), int), np.array(rows), np.array(ends)


# [end]
def _row_cuts(middle: int, a: Array, w: float) -> tuple[Array, Array, Array]:
    """Return half planes of the maximum norm where rows violate it most; their cells.

    s a_0 + |s| Σ|a_m| <= 1 and 1 - s a_0 + |s| Σ|a_m| <= 2/w.
    """
    cells, rows, ends = [], [], []
    for s in _SLOPES:
        around = abs(s) * np.where(a < 0.0, -1.0, 1.0)
        around[:, middle] = 0.0
        for sign, end in ((1.0, 1.0), (-1.0, 2.0 / w - 1.0)):
            row = around.copy()
            row[:, middle] = sign * s
            cells.append(int(np.argmax((row * a).sum(axis=1))))
            rows.append(row[cells[-1]])
            ends.append(end)
    return np.array(cells), np.array(rows), np.array(ends)


def _nearest_inside(
    start: Array, cuts: Callable[[Array], tuple[Array, Array, float]]
) -> Array:
    """Return the point nearest to start in the convex set whose cuts are given.

    Cutting planes (Kelley 1960): start is projected onto the half planes that hold it
    back and those that the projection violates; each projection is exact. The cuts
    leave some room, for rounding; a start that needs none of it stays. From far away
    the point is found to the rounding of the distance, and then from near by; from
    further than rounding resolves, the direction alone counts.
    """
    start = start * min(1.0, 1e6 / max(float(np.linalg.norm(start)), 1e-300))
    G, g, room = cuts(start)
    blurred = 1e-11 * float(np.linalg.norm(start))
    if not (G @ start > g + room + 1e-13).any():
        return start
    for _ in range(1000):
        y = _onto(G, g, start)
        rows, ends, room = cuts(y)
        lost = blurred * np.linalg.norm(rows, axis=1)
        violated = rows @ y > ends + np.maximum(0.5 * room, lost)
        if not violated.any():
            near = (lost <= 0.5 * room).all()
            return y if near else _nearest_inside(y, cuts)
        binds = G @ y > g - room
        G = np.concatenate([G[binds], rows[violated]])
        g = np.concatenate([g[binds], ends[violated]])
    raise ArithmeticError(f"{MODEL.name}: no parameters are stable at this step")


def _onto(G: Array, g: Array, start: Array) -> Array:
    """Return the y nearest to start with G y <= g (Lawson & Hanson 1974, LDP)."""
    length = np.linalg.norm(G, axis=1)
    length[length == 0.0] = 1.0  # what no parameters change
    far = (G @ start - g) / length
    scale = max(float(far.max()), 1e-300)  # of the way there
    E = np.concatenate([-(G / length[:, None]).T, far[None] / scale])
    f = np.zeros(len(E))
    f[-1] = 1.0
    r = E @ _non_negative(E, f) - f
    if abs(r[-1]) < 1e-14:
        raise ArithmeticError(f"{MODEL.name}: no parameters are stable at this step")
    return np.asarray(start - scale * r[:-1] / r[-1])


def _non_negative(E: Array, f: Array) -> Array:
    """Return the x >= 0 with the least |E x - f| (Lawson & Hanson 1974, NNLS)."""
    scale = np.maximum(np.linalg.norm(E, axis=0), 1e-300)
    E = E / scale
    x, free = np.zeros(E.shape[1]), np.zeros(E.shape[1], bool)
    for _ in range(10 * len(x)):
        slope = np.where(free, -math.inf, E.T @ (f - E @ x))
        if slope.max() <= 1e-13:
            break
        free[np.argmax(slope)] = True
        while True:
            trial = np.zeros_like(x)
            trial[free] = np.linalg.lstsq(E[:, free], f, rcond=None)[0]
            below = free & (trial <= 0.0)
            if not below.any():
                x = trial
                break
            x = x + np.min(x[below] / (x[below] - trial[below])) * (trial - x)
            free &= x > 1e-15
            x[~free] = 0.0
    return np.asarray(x / scale)


# [end]
