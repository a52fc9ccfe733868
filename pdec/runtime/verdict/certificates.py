"""Certificates: steps that are proven to contract, whatever the slopes do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pdec.runtime.generated import _AXES, _stencil, _walls
from pdec.runtime.types import Array, Arrays
from pdec.runtime.verdict.spectrum import _Modes, _Rows

# --- certificates of contraction -----------------------------------------------------

# Each returns the largest step of forward Euler that it proves to contract, or 0.


def _max_norm_step(rows: _Rows, slopes: tuple[float, float]) -> float:
    """Return the Euler step up to which ‖1 + w J‖∞ <= 1 for any slopes, in any walls.

    A row with diagonal d and others of absolute sum r needs d + r <= 0; then
    w <= 2/(r - d). For a layer d = s a_0 - 1 and r = |s| Σ|a_m|.
    """
    middle, around = _row_sums(rows)
    least = math.inf
    # [feature: layer]
    for s in slopes:
        d, r = s * middle - 1.0, abs(s) * around
        if float(np.max(d + r)) > 1e-12:
            return 0.0
        reach = float(np.max(r - d))
        least = min(least, 2.0 / reach if reach > 0.0 else math.inf)
    # [end]
    # [feature: not layer]
    if float(np.max(middle + around - 1e-12 * (np.abs(middle) + around))) > 0.0:
        return 0.0
    reach = float(np.max(around - middle))
    least = 2.0 / reach if reach > 0.0 else math.inf
    # [end]
    return least


def _row_sums(rows: _Rows) -> tuple[Array, Array]:
    """Return the diagonal of each row, and the absolute sum of its other entries."""
    middle, around = np.zeros(1), np.zeros(1)
    for place, a in rows.items():
        size = np.abs(a).sum(axis=-1)
        if not any(place):
            middle = np.diagonal(a, axis1=-2, axis2=-1)
            size = size - np.abs(middle)
        around = around + size
    return middle, around


# [feature: not quick]
def _norm_step(A: Array, m: float, r: float) -> float:
    """Return the largest w with ‖(1 - w) 1 + w m A‖ + w r ‖A‖ <= 1, in the 2-norm.

    A is one matrix or a stack of them.
    """
    rest = r * np.linalg.norm(A, 2, axis=(-2, -1))
    unit = np.eye(A.shape[-1])

    def contracts(w: float) -> bool:
        size = np.linalg.norm((1.0 - w) * unit + w * m * A, 2, axis=(-2, -1))
        return bool(np.max(size + w * rest) <= 1.0 + 1e-12)

    return _last(contracts, float(np.linalg.norm(unit - m * A, 2, axis=(-2, -1)).max()))


def _last(contracts: Callable[[float], bool], speed: float) -> float:
    """Return the end of an interval of steps w that starts at 0, 0 if it is empty.

    No step beyond 2/speed contracts.
    """
    low, high = 0.0, 2.0 / max(speed, 1e-300)
    if not contracts(1e-3 * high):
        return 0.0
    for _ in range(20):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if contracts(middle) else (low, middle)
    return low


# [feature: layer]
def _tight_norm_step(A: Array, slope: float) -> float:
    """Return the Euler step up to which a layer contracts in the 2-norm.

    The slopes are in [0, slope] and may differ from cell to cell. With K = slope A the
    condition is ‖w (1 - w) 1 + q K‖² <= w (2 - w)(2 q - w²) for some q: the S-procedure
    on f (f - K z) <= 0 in each cell (Yakubovich 1971).
    """
    unit, K = np.eye(len(A)), slope * A

    def contracts(w: float) -> bool:
        for q in np.maximum(w * np.geomspace(0.26, 32.0, 14), 0.501 * w * w):
            size = np.linalg.norm(w * (1.0 - w) * unit + q * K, 2)
            if size**2 <= w * (2.0 - w) * (2.0 * q - w * w) * (1.0 + 1e-12):
                return True
        return False

    return _last(contracts, max(1.0, float(np.abs(np.linalg.eigvals(unit - K)).max())))


# [end]
# [end]
# [feature: layer]
def _circle_step(modes: _Modes) -> float:
    """Return the Euler step up to which a layer contracts in a weighted 2-norm.

    With m and r the midpoint and half-width of the slopes, which may vary in space and
    time, |1 - w + w m Λ| + w r |Λ| <= 1 in every mode suffices: the circle criterion
    (Zames 1966; Desoer & Vidyasagar 1975, section V.2). The norm weights the modes; the
    plain 2-norm may grow for a while.
    """
    m, r = sum(modes.slopes) / 2.0, (modes.slopes[1] - modes.slopes[0]) / 2.0
    # [feature: not channels]
    size = r * np.abs(modes.symbol)
    rate = 1.0 - m * modes.symbol
    room, gap = rate.real - size, np.abs(rate) ** 2 - size**2
    if float(room.min()) <= 0.0:
        return 0.0
    return float(np.min(np.minimum(2.0 * room / gap, 1.0 / np.maximum(size, 1e-300))))
    # [end]
    # [feature: channels]
    return _norm_step(modes.matrix, m, r)
    # [end]


# --- the rows of a layer, those beside the walls too ---------------------------------


def _layer_rows(c: Arrays) -> tuple[_Rows, bool]:
    """Return the stencil of Z as rows of all cells, and whether they are one row."""
    rows = _as_matrices(_stencil(c))
    return rows, all(len(a) == 1 for a in rows.values())


def _as_matrices(stencil: _Rows) -> _Rows:
    """Return coefficients ([t], [*space]), or ([t], i, k, *space), as (cells, i, k)."""
    shape = np.broadcast_shapes(*(np.shape(a) for a in stencil.values()))
    first = 0
    # [feature: timed]
    first += 1
    # [end]
    # [feature: channels]
    first += 2
    # [end]
    # what varies along one axis of several has a row for every cell
    if len(shape) - first == len(_AXES) > 1 and max(shape[first:]) > 1:
        shape = (*shape[:first], *(size for size, _, _ in _AXES))
    found = {}
    for place, a in stencil.items():
        # [feature: not channels]
        full = np.broadcast_to(np.asarray(a, np.float64), shape)
        found[place] = full.reshape(-1, 1, 1)
        # [end]
        # [feature: channels]
        first = len(shape) - 2 - len(_AXES)
        full = np.broadcast_to(np.asarray(a, np.float64), shape)
        full = np.moveaxis(full, (first, first + 1), (-2, -1))
        found[place] = full.reshape(-1, *full.shape[-2:])
        # [end]
    return found


# [feature: walls]
def _walled_rows(stencil: _Rows) -> _Rows:
    """Return the stencil of Z with each ghost cell replaced by what it is made of.

    Axes are filled in their order, so they are folded in the reverse one.
    """
    stencil = {place: np.asarray(a, np.float64) for place, a in stencil.items()}
    shape = np.broadcast_shapes(*(a.shape for a in stencil.values()))
    lead = shape[: len(shape) - len(_AXES)]
    shape = (*lead, *(size for size, _, _ in _AXES))
    full = {place: np.broadcast_to(a, shape).copy() for place, a in stencil.items()}
    for axis, (low, high) in sorted(_walls().items(), reverse=True):
        for side, ghosts in ((0, low), (-1, high)):
            full = _folded(full, axis, side, ghosts)
    return _as_matrices(full)


def _folded(rows: _Rows, axis: int, side: int, ghosts: Any) -> _Rows:
    """Return rows that read the cells behind a wall's ghosts instead of the ghosts."""
    found = dict(rows)
    step = -1 if side else 1
    for place, a in rows.items():
        beyond = -step * place[axis]  # how far the stencil reaches past this wall
        for distance in range(beyond):
            row = side + step * distance  # reads the ghost number beyond - distance
            at: Any = (..., row, *(slice(None) for _ in range(len(_AXES) - axis - 1)))
            if not np.any(a[at]):
                continue
            for cell, weight in ghosts[beyond - distance - 1]:
                move = step * (cell - distance)
                new = (*place[:axis], move, *place[axis + 1 :])
                target = found.setdefault(new, np.zeros_like(a))
                if target is rows.get(new):
                    target = found[new] = target.copy()
                target[at] += weight * a[at]
            if found[place] is a:
                found[place] = a.copy()
            found[place][at] -= a[at]
    return found


# [end]
# [end]
