"""The nearest parameters for which the steps are stable."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pdec.runtime.certificates import _as_matrices
from pdec.runtime.checks import _check_params, _common_dtype
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
from pdec.runtime.spectrum import _angles
from pdec.runtime.types import Array, Arrays

# [feature: moments]
# --- the nearest stable parameters ---------------------------------------------------

_INSIDE = 1e-10  # how far within the stable set a projection ends


def project(p: Arrays, omega: float | None = None) -> Arrays:
    """Return the nearest parameters for which no mode grows at ω, the model's own.

    At fixed ω the stable moments are a convex set, so that there is one nearest point,
    in the metric Σ (ΔW_k/Δx^k)². Where one stencil holds everywhere the set is von
    Neumann's, |1 - w + w s Λ| <= 1 for all modes and both ends s of the slopes, else
    that of the maximum norm's certificate in each cell. Bounds of parameters are kept.
    """
    checked = _check_params(p, "p", _common_dtype(p))
    h = float(_clock({n: x.astype(np.float64) for n, x in checked.items()})[0])
    w = float(_effective(h if omega is None else float(omega)))
    scales = np.array(list(_MOMENTS.values()))
    given = np.stack(
        [np.ravel(checked[n]).astype(np.float64) for n in _MOMENTS], axis=1
    )
    places, at, rest = _linear_map(checked, scales)
    uniform = given.shape[0] == 1 and all(wraps for _, _, wraps in _AXES)
    phases = np.exp(1j * (_angles(len(_AXES), 1, True).T @ np.asarray(places).T))
    middle = [not any(place) for place in places].index(True)
    low = np.array([MODEL.params[n].low for n in _MOMENTS]) * scales
    high = np.array([MODEL.params[n].high for n in _MOMENTS]) * scales

    def cuts(y: Array) -> tuple[Array, Array]:
        a = at @ y + rest
        G, g = _mode_cuts(phases, a, w) if uniform else _row_cuts(middle, a, w)
        bounds = np.concatenate([np.eye(len(y)), -np.eye(len(y))])
        ends = np.concatenate([high, -low])
        kept = np.isfinite(ends)
        return (
            np.concatenate([G @ at, bounds[kept]]),
            np.concatenate([g - G @ rest, ends[kept]]),
        )

    found = np.stack([_nearest_inside(y, cuts) for y in given * scales]) / scales
    result = {name: np.array(value) for name, value in checked.items()}
    for name, values in zip(_MOMENTS, found.T, strict=True):
        result[name] = values.reshape(checked[name].shape).astype(checked[name].dtype)
    return dict(_handed_out(result))


def _linear_map(p: Arrays, scales: Array) -> tuple[list[tuple[int, ...]], Array, Array]:
    """Return the stencil's places, and a = at @ y + rest for scaled moments y."""

    def stencil(name: str) -> Array:
        c = {n: np.asarray(x, np.float64).copy() for n, x in p.items()}
        c |= {n: np.full(p[n].shape, float(n == name)) for n in _MOMENTS}
        _coefficients(c)
        return np.array([a[0, 0, 0] for a in _as_matrices(_stencil(c)).values()])

    rest = stencil("")
    columns = [
        (stencil(n) - rest) / scale for n, scale in zip(_MOMENTS, scales, strict=True)
    ]
    c = {n: np.asarray(x, np.float64).copy() for n, x in p.items()}
    _coefficients(c)
    return list(_stencil(c)), np.stack(columns, axis=1), rest


def _mode_cuts(phases: Array, a: Array, w: float) -> tuple[Array, Array]:
    """Return half planes G a <= g of the stable set, where a violates it most."""
    rows, ends = [], []
    for s in _SLOPES:
        factor = 1.0 - w + w * s * (phases @ a)
        worst = int(np.argmax(np.abs(factor)))
        turn = np.conj(factor[worst]) / max(abs(factor[worst]), 1e-300)
        rows.append((w * s * turn * phases[worst]).real)
        ends.append(1.0 - _INSIDE - ((1.0 - w) * turn).real)
    return np.array(rows), np.array(ends)


def _row_cuts(middle: int, a: Array, w: float) -> tuple[Array, Array]:
    """Return the half planes of the maximum norm for the signs that a has.

    s a_0 + |s| Σ|a_m| <= 1 and 1 - s a_0 + |s| Σ|a_m| <= 2/w.
    """
    rows, ends = [], []
    for s in _SLOPES:
        around = abs(s) * np.where(a < 0.0, -1.0, 1.0)
        around[middle] = 0.0
        for sign, end in ((1.0, 1.0), (-1.0, 2.0 / w - 1.0)):
            row = around.copy()
            row[middle] = sign * s
            rows.append(row)
            ends.append(end - _INSIDE)
    return np.array(rows), np.array(ends)


def _nearest_inside(
    start: Array, cuts: Callable[[Array], tuple[Array, Array]]
) -> Array:
    """Return the point nearest to start in the convex set whose cuts are given.

    Cutting planes: project onto the half planes known so far, add those that the
    projection violates (Kelley 1960); each projection is exact.
    """
    G, g = np.zeros((0, len(start))), np.zeros(0)
    y = start
    for _ in range(200):
        rows, ends = cuts(y)
        violated = rows @ y > ends + (0.5 * _INSIDE if len(g) else _INSIDE)
        if not violated.any():
            return y
        G, g = np.concatenate([G, rows[violated]]), np.concatenate([g, ends[violated]])
        y = _onto(G, g, start)
    raise ArithmeticError(f"{MODEL.name}: no parameters are stable at this step")


def _onto(G: Array, g: Array, start: Array) -> Array:
    """Return the y nearest to start with G y <= g (Lawson & Hanson 1974, LDP)."""
    E = np.concatenate([-G.T, (G @ start - g)[None]])
    f = np.zeros(len(E))
    f[-1] = 1.0
    r = E @ _non_negative(E, f) - f
    if abs(r[-1]) < 1e-14:
        raise ArithmeticError(f"{MODEL.name}: no parameters are stable at this step")
    return np.asarray(start - r[:-1] / r[-1])


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
