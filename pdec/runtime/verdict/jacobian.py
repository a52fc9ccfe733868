"""The Jacobian of the right-hand side at a state, from a few of its tangents."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from pdec.runtime.generated import (
    _AXES,
    _CELLS,
    _INPUT_CELLS,
    _INPUTS,
    _RATES,
    _REACH,
    _STATE,
    _UNIFORM,
    _WORK,
    MODEL,
    _rates_jvp,
    _slopes_at,
)
from pdec.runtime.types import Array, Arrays
from pdec.runtime.verdict.spectrum import _Rows

# --- the linearisation at a state ----------------------------------------------------


def _at_state(state: Arrays, inputs: Arrays, copies: int) -> Arrays:
    """Return the arrays of one sample, copied so many times."""
    v = {
        name: np.zeros((copies, *shape))
        for name, shape in [*_STATE.items(), *_INPUTS.items(), *_WORK.items()]
    }
    for name, cells in _CELLS.items():
        v[name][cells] = state[name]
    for name, cells in _INPUT_CELLS.items():
        v[name][cells] = inputs[name]
    return v


# [feature: jacobian]
def _jacobian_rows(n: int, c: Arrays, state: Arrays, inputs: Arrays) -> _Rows:
    """Return the rows of J in step n at the state of one sample.

    Columns whose rows do not meet are found together (Curtis, Powell & Reid 1974): a
    comb of ones along each axis, wide enough for the stencil; where all cells are
    alike, one column for each component.
    """
    uniform = _UNIFORM and all(np.ptp(z) == 0.0 for z in state.values())
    places = [_offsets(size, reach, wraps) for size, reach, wraps in _grid()]
    widths = [
        size if uniform else _comb(size, len(offsets), wraps)
        for (size, _, wraps), offsets in zip(_grid(), places, strict=True)
    ]
    colours = list(itertools.product(*(range(1 if uniform else w) for w in widths)))
    columns = _columns(n, c, _at_state(state, inputs, 1), colours, widths)
    space = [size for size, _, _ in _AXES]
    found = {}
    for place in itertools.product(*places):
        if uniform:
            row: Any = tuple(-m % size for m, size in zip(place, space, strict=True))
            found[place] = columns[:, 0, :, *row].T[None]
            continue
        found[place] = _picked(columns, place, widths)
    return found


def _grid() -> list[tuple[int, int, bool]]:
    """Return the cells of each axis, how far J reaches along it, whether it wraps."""
    return [
        (size, reach, wraps)
        for (size, _, wraps), reach in zip(_AXES, _REACH, strict=True)
    ]


def _offsets(size: int, reach: int, wraps: bool) -> list[int]:
    """Return the offsets at which a row may have entries, each cell once."""
    if wraps and 2 * reach + 1 > size:
        return list(range(-(size // 2), size - size // 2))
    reach = min(reach, size - 1)
    return list(range(-reach, reach + 1))


def _comb(size: int, offsets: int, wraps: bool) -> int:
    """Return the least distance of columns whose rows do not meet."""
    for width in range(offsets, size):
        if not wraps or size % width == 0 or size % width >= offsets:
            return width
    return size


def _columns(
    n: int, c: Arrays, v: Arrays, colours: list[tuple[int, ...]], widths: list[int]
) -> Array:
    """Return J times combs: (component, colour, component written, *cells)."""
    space = tuple(size for size, _, _ in _AXES)
    counts = [math.prod(x.shape) // math.prod(space) for x in MODEL.fields.values()]
    seeds = np.zeros((sum(counts), len(colours), sum(counts), *space))
    for number, colour in enumerate(colours):
        comb: Any = tuple(
            slice(k, None, w) for k, w in zip(colour, widths, strict=True)
        )
        for component in range(sum(counts)):
            seeds[component, number, component, *comb] = 1.0
    copies = sum(counts) * len(colours)
    seeds = seeds.reshape(copies, sum(counts), *space)
    v = {name: np.repeat(a, copies, axis=0) for name, a in v.items()}
    v_dot = {name: np.zeros_like(a) for name, a in v.items()}
    parts = np.split(seeds, np.cumsum(counts)[:-1], axis=1)
    for (name, field), part in zip(MODEL.fields.items(), parts, strict=True):
        v_dot[name][_CELLS[name]] = part.reshape(copies, *field.shape)
    _rates_jvp(n, c, v, v_dot)
    written = [v_dot[name].reshape(copies, -1, *space) for name in _RATES]
    columns = np.concatenate(written, axis=1)
    return columns.reshape(sum(counts), len(colours), -1, *space)


def _picked(columns: Array, place: tuple[int, ...], widths: list[int]) -> Array:
    """Return the entries of all rows at an offset; zero beyond walls."""
    space = [size for size, _, _ in _AXES]
    cells = np.indices(space).reshape(len(space), -1)
    ahead = cells + np.asarray(place)[:, None]
    inside = np.ones(cells.shape[1], bool)
    for axis, (size, _, wraps) in enumerate(_AXES):
        if not wraps:
            inside &= (ahead[axis] >= 0) & (ahead[axis] < size)
        ahead[axis] %= size
    colour = np.ravel_multi_index(
        tuple(ahead % np.asarray(widths)[:, None]), tuple(widths)
    )
    rows = columns.reshape(*columns.shape[:3], -1)
    found = rows[:, colour, :, np.arange(len(colour))]
    return np.where(inside[:, None, None], found.transpose(0, 2, 1), 0.0)


# [end]
# [feature: layer]
def _slopes_seen(c: Arrays, state: Arrays, inputs: Arrays) -> tuple[float, float]:
    """Return the least and the largest slope f'(Z) at a state."""
    slopes = _slopes_at(0, c, _at_state(state, inputs, 1))
    return float(np.min(slopes)), float(np.max(slopes))


# [end]
