"""Fourier modes of the linearised step: rates, growth and the largest stable step."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from pdec.runtime.generated import (
    _AXES,
    _amplification,
    _effective,
    _length,
    _whole,
)
from pdec.runtime.types import Array

# --- Fourier modes of the linearised step --------------------------------------------

# A step is linearised as dz/dt = J z, J with rows Σ_m J_m z[+m]. Each J_m is an array
# (cells, components, components) of the rows in question, of one cell where all are
# alike. A layer has J = γ (S A - 1) for the slopes S of f, and then h is ω = γ Δt.
_Rows: TypeAlias = dict[tuple[int, ...], Array]


@dataclass(frozen=True)
class _Modes:
    """The modes θ of an operator, (axes, modes), and its rates there.

    symbol holds the eigenvalues, (cells, modes, components): of A for a layer, whose
    rates are s λ - 1 for the slopes s, else of J. exact says that they are the modes of
    the step itself: one stencil for all cells, periodic.
    """

    theta: Array
    symbol: Array
    matrix: Array
    slopes: tuple[float, float]
    exact: bool


def _modes_of(rows: _Rows, slopes: tuple[float, float], exact: bool) -> _Modes:
    """Return the grid's own modes, or fewer where coefficients differ by cell."""
    cells, width = next(iter(rows.values())).shape[::2]
    cells *= width**2  # as eigenvalues cost
    return _modes_at(rows, _angles(len(_AXES), cells, exact), slopes, exact)


def _modes_at(
    rows: _Rows, theta: Array, slopes: tuple[float, float], exact: bool
) -> _Modes:
    """Return the modes at given angles."""
    matrix = _symbol(rows, theta)
    whole = matrix
    # [feature: matrix]
    whole = _whole(matrix)
    # [end]
    if whole.shape[-1] == 1:
        return _Modes(theta, whole[..., 0], matrix, slopes, exact)
    # double eigenvalues are found to half the digits only
    symbol = np.linalg.eigvals(whole)
    noise = 1e-8 * np.linalg.norm(whole, axis=(-2, -1))[..., None]
    real, imaginary = (
        np.where(np.abs(x) > noise, x, 0.0) for x in (symbol.real, symbol.imag)
    )
    return _Modes(theta, real + 1j * imaginary, matrix, slopes, exact)


def _angles(axes: int, cells: int, exact: bool) -> Array:
    """Return θ of the modes, half of them on the first axis: the rest are conjugate."""
    if axes == 0:
        return np.zeros((0, 1))  # without a grid there is one mode
    most = max(4, int((1e5 / cells) ** (1.0 / axes)))
    found = []
    for number, (size, _, _) in enumerate(_AXES):
        count = size if exact else min(size, most) // 2 * 2 or 1
        turns = np.arange(count) / count
        found.append(2.0 * math.pi * turns[turns <= 0.5] if number == 0 else turns)
        if number:
            found[-1] = 2.0 * math.pi * found[-1]
    return np.stack([t.ravel() for t in np.meshgrid(*found, indexing="ij")])


def _symbol(rows: _Rows, theta: Array) -> Array:
    """Return Σ_m J_m e^{imθ}, (cells, modes, components, components)."""
    total: Any = 0.0
    for place, a in rows.items():
        phase = np.exp(1j * (np.asarray(place) @ theta))
        total = total + a[:, None] * phase[:, None, None]
    return np.asarray(total)


def _rates(modes: _Modes) -> list[tuple[Any, Array]]:
    """Return the rates per unit of h at the slopes to be tested, with those slopes.

    The slopes are the ends of their range and, in each mode, the one that neither grows
    nor decays; between them where G is not affine in s, as for Runge-Kutta schemes.
    """
    # [feature: layer]
    low, high = modes.slopes
    if low == high:
        return [(low, low * modes.symbol - 1.0)]
    real = modes.symbol.real
    still = np.clip(1.0 / np.where(real == 0.0, math.inf, real), low, high)
    # [feature: effective]
    slopes: list[Any] = [low, high, still]
    # [end]
    # [feature: not effective]
    slopes = [*np.linspace(low, high, 17), still]
    # [end]
    return [(s, s * modes.symbol - 1.0) for s in slopes]
    # [end]
    # [feature: not layer]
    return [(1.0, modes.symbol)]
    # [end]


class _Growth(NamedTuple):
    """The mode that grows most: by excess over what the equation itself grows.

    own is the growth per step of the equation where it is largest; it is hidden where
    the steps make a mode decay that the equation makes grow.
    """

    excess: float
    own: float
    cell: int
    mode: int
    slope: float
    hidden: bool = False


def _growth(modes: _Modes, h: float) -> _Growth:
    """Return the worst growth per step: ln|G| - max(0, h Re rate) over the modes."""
    worst, own, hidden = _Growth(-math.inf, 0.0, 0, 0, 1.0), -math.inf, False
    for slope, rates in _rates(modes):
        growth, size = h * _own_rates(rates), _factor_size(modes, rates, h)
        excess = _excess(size, growth)
        own = max(own, float(growth.max()))
        hidden = hidden or bool(np.any((growth > 1e-9) & (size < 1.0 - 1e-9)))
        if float(excess.max()) > worst.excess:
            place = np.unravel_index(int(np.argmax(excess)), excess.shape)
            s = slope[place] if np.ndim(slope) else slope
            cell, mode = int(place[0]), int(place[1])
            worst = _Growth(float(excess.max()), 0.0, cell, mode, float(s))
    return worst._replace(own=own, hidden=hidden)


def _excess(size: Array, growth: Array) -> Array:
    """Return ln|G| - max(0, h Re rate), inf where |G| is not a number."""
    with np.errstate(all="ignore"):
        excess = np.log(np.maximum(size, 1e-300)) - np.maximum(growth, 0.0)
    return np.asarray(np.nan_to_num(excess, nan=math.inf, posinf=math.inf))


def _own_rates(rates: Array) -> Array:
    """Return what each mode grows by itself; the largest where G mixes the rates."""
    # [feature: matrix]
    return np.asarray(rates.real.max(axis=-1, keepdims=True))
    # [end]
    # [feature: not matrix]
    return rates.real
    # [end]


def _factor_size(modes: _Modes, rates: Array, h: float) -> Array:
    """Return |G| of each rate; the largest where G mixes the rates."""
    with np.errstate(all="ignore"):
        # [feature: matrix]
        return _spectral_radius(_amplification(modes.matrix, h))[..., None]
        # [end]
        # [feature: not matrix]
        return np.abs(_amplification(rates, h))
        # [end]


# [feature: matrix]
def _spectral_radius(G: Array) -> Array:
    """Return the largest |eigenvalue| of each matrix, inf where it is not finite."""
    finite = np.asarray(np.isfinite(G).all(axis=(-2, -1)))
    own = np.linalg.eigvals(np.where(finite[..., None, None], G, 0.0))
    return np.where(finite, np.abs(own).max(axis=-1), math.inf)


# [end]
def _wavelengths(modes: _Modes, mode: int) -> tuple[float, float]:
    """Return the wavelength of a mode, in cells and as a length."""
    angles = modes.theta[:, mode]
    turns = np.minimum(angles, 2.0 * math.pi - angles) / (2.0 * math.pi)
    cells = float(np.max(turns, initial=0.0))
    lengths = [t / spacing for t, (_, spacing, _) in zip(turns, _AXES, strict=True)]
    length = math.hypot(*lengths)
    return (1.0 / cells if cells else math.inf, 1.0 / length if length else math.inf)


# --- the largest stable step ---------------------------------------------------------


def _largest_steps(modes: _Modes) -> Array:
    """Return for each cell the largest h at which steps add no growth; 0 where none.

    What decays by itself needs |G| <= 1; what grows by itself, |G| <= exp(h Re rate).
    """
    # [feature: matrix]
    return np.full(len(modes.symbol), _largest_of_matrices(modes))
    # [end]
    # [feature: not matrix]
    limit = np.full(len(modes.symbol), math.inf)
    grows = np.zeros(len(limit), bool)
    for _, rates in _rates(modes):
        limit = np.minimum(limit, _steps_of(rates).min(axis=(1, 2)))
        grows |= (rates.real > 1e-13 * np.abs(rates)).any(axis=(1, 2))
    if not grows.any():
        return limit
    low = high = (1.0 - 1e-9) * np.where(np.isinf(limit), 1.0, limit)
    follows = _follows(modes, low)
    limit, failed = np.where(follows, limit, 0.0), ~follows
    for _ in range(40):  # down to where it does, and up again
        if follows.all():
            break
        low, high = np.where(follows, (low, high), (0.7 * low, low))
        follows = _follows(modes, low)
    for _ in range(20 if failed.any() else 0):
        middle = 0.5 * (low + high)
        low, high = np.where(_follows(modes, middle), (middle, high), (low, middle))
    return np.where(failed & follows, low, limit)
    # [end]


# [feature: not matrix]
def _follows(modes: _Modes, h: Array) -> Array:
    """Tell of each cell whether no wave outgrows the equation in steps of h or less."""
    found = np.ones(len(h), bool)
    for share in (1.0, 0.125, 0.015625):
        step = share * h[:, None, None]
        for _, rates in _rates(modes):
            with np.errstate(all="ignore"):
                size = np.abs(_amplification(rates, step))
            found &= ~(_excess(size, step * rates.real) > 1e-12).any(axis=(1, 2))
    return found


# [end]
# [feature: effective]
def _steps_of(rates: Array) -> Array:
    """Return the largest h with |1 + w rate| <= 1, w the Euler step that h stands for.

    |1 + w r| <= 1  <=>  w <= -2 Re r/|r|². Where Re r > 0 there is no bound.
    """
    room, size = -rates.real, np.abs(rates)
    still = 1e-13 * size
    with np.errstate(all="ignore"):
        w = np.where(np.abs(room) <= still, 0.0, 2.0 * room / size**2)
    return _lengths(np.where((size <= 1e-12) | (room < -still), math.inf, w))


def _lengths(w: Any) -> Array:
    """Return the h that Euler steps w stand for, inf where every h is smaller."""
    with np.errstate(all="ignore"):
        return np.where(w >= _effective(1e18), math.inf, _length(np.asarray(w)))


# [end]
# [feature: not effective]
# [feature: not matrix]
def _steps_of(rates: Array) -> Array:
    """Return the largest h with |G(h rate)| <= 1 up to it, 0 where there is none.

    The way to the edge of the region of stability depends on the rate's direction
    alone. It is tabulated, and the least ones are found exactly. Where Re rate > 0
    there is no bound.
    """
    size, flat = np.abs(rates), rates.ravel()
    free = (size <= 1e-12) | (rates.real > 1e-13 * size)
    with np.errstate(all="ignore"):
        way = np.interp(np.abs(np.angle(rates)), *_edges())
        limit = np.where(free | (way > 1e99), math.inf, way / size)
    near = np.argsort(limit.ravel())[:256]
    near = near[np.isfinite(limit.ravel()[near]) & (limit.ravel()[near] > 0.0)]
    if len(near):
        exact = _way_out(flat[near] / np.abs(flat[near])) / np.abs(flat[near])
        limit.ravel()[near] = exact
    return limit


@functools.cache
def _edges() -> tuple[Array, Array]:
    """Return directions from π/2 to π, and how far it is to |G| = 1 along each."""
    angles = np.linspace(0.5 * math.pi, math.pi, 2049)
    return angles, np.minimum(_way_out(np.exp(1j * angles)), 1e300)


def _way_out(directions: Array) -> Array:
    """Return the first r with |G(r direction)| > 1, inf where there is none."""
    radii = np.concatenate([np.geomspace(0.02, 64.0, 400), np.geomspace(70.0, 1e6, 60)])
    beyond = np.abs(_amplification(np.outer(directions, radii), 1.0)) > 1.0 + 1e-13
    first = np.argmax(beyond, axis=1)
    low, high = radii[np.maximum(first - 1, 0)], radii[first]
    for _ in range(60):
        middle = 0.5 * (low + high)
        out = np.abs(_amplification(middle * directions, 1.0)) > 1.0 + 1e-15
        low, high = np.where(out, low, middle), np.where(out, middle, high)
    found = np.where(beyond.any(axis=1), low, math.inf)
    return np.where(beyond[:, 0], 0.0, found)


# [end]
# [end]
# [feature: matrix]
def _largest_of_matrices(modes: _Modes) -> float:
    """Return the largest h up to which no eigenvalue of G grows more than J's do.

    Steps between those of the fastest and the slowest mode are tried on modes of all
    speeds, then the first that fails is narrowed down on all modes.
    """
    J = modes.matrix.reshape(-1, *modes.matrix.shape[-2:])
    speed = np.abs(modes.symbol).max(axis=-1).ravel()
    own = np.maximum(modes.symbol.real.max(axis=-1).ravel(), 0.0)
    moving = np.flatnonzero(speed > 1e-9 * speed.max(initial=0.0))
    if not len(moving):
        return math.inf
    ranked = moving[np.argsort(speed[moving])]
    some = ranked[np.unique(np.linspace(0, len(ranked) - 1, 256).astype(int))]

    def grows(h: float, which: Array) -> bool:
        with np.errstate(all="ignore"):
            size = np.log(_spectral_radius(_amplification(J[which], h)))
        # double eigenvalues on the circle are found to half the digits only
        return bool(np.any(size > h * own[which] + 1e-7))

    last = max(64.0 / float(speed[ranked[0]]), 1e3 / float(speed[ranked[-1]]))
    steps = np.geomspace(0.02 / float(speed[ranked[-1]]), last, 240)
    first = next((n for n, h in enumerate(steps) if grows(h, some)), len(steps))
    if first == 0:
        return 0.0
    low, high = 0.0, math.inf
    if first < len(steps):
        low, high = float(steps[first - 1]), float(steps[first])
    for h in steps[max(first - 8, 0) : first][::-1]:  # modes that were not tried
        if grows(float(h), ranked):
            low, high = 0.5 * float(h), float(h)
    if math.isinf(high):
        return math.inf
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if grows(middle, ranked) else (middle, high)
    return low


# [end]
