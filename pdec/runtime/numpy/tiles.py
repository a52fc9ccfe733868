"""Tiles: a few samples at a time, whose arrays stay in the cache, and their buffers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdec.runtime.checks import _Run
from pdec.runtime.cupy.arrays import _in_memory
from pdec.runtime.generated import (
    _CELLS,
    _INPUT_CELLS,
    _INPUTS,
    _LINES,
    _REPEATED,
    _SHARED,
    _STATE,
    _WORK,
    MODEL,
    _initial,
)
from pdec.runtime.host import _handed_out, _lib
from pdec.runtime.threads import _each_tile, _spaces
from pdec.runtime.types import Arrays

# --- tiles ---------------------------------------------------------------------------
# [feature: arrays]


def _over_tiles(
    run: _Run,
    levels: Sequence[int],
    work: Callable[..., Any],
    fold: Callable[[Any], None] | None = None,
) -> None:
    """Call work(rows, *spaces) for the whole batch, and fold(its result).

    spaces are workspaces with so many levels each.
    """
    with _in_memory():
        result = work(slice(0, run.batch), *(_workspace(run, n) for n in levels))
    if fold:
        fold(result)


def _tile_of(batch: int, dtype: np.dtype[Any]) -> int:
    """Return the samples that a GPU works on at a time: all."""
    return batch


# [end]
# [feature: not arrays]

# bytes of the largest array of a tile, and of all the states of a run through a tile
_ARRAY_BYTES = 9 << 16
_STATES_BYTES = 1 << 26


def _over_tiles(
    run: _Run,
    levels: Sequence[int],
    work: Callable[..., Any],
    fold: Callable[[Any], None] | None = None,
) -> None:
    """Call work(rows, *spaces) for each tile, and fold(its result) in their order.

    spaces are workspaces with so many levels each.
    """
    size = _tile_of(run.batch, run.dtype)
    kind = (len(levels), size, run.dtype, *levels)

    def cleared() -> list[_Workspace]:
        return [_cleared(space, run.c) for space in own()]

    with _spaces(kind, lambda: [_workspace(run, n) for n in levels]) as own:
        _each_tile(run.batch, size, cleared, lambda rows, own: work(rows, *own), fold)


def _cleared(space: _Workspace, c: Arrays) -> _Workspace:
    """Return buffers for a call, with nothing but cells of states in them."""
    for a in space.v.values():
        a[...] = 0.0
    for name, (_, *cells) in _CELLS.items():
        for axis, own in enumerate(cells, 2):
            along = np.moveaxis(space.states[name], axis, 0)
            if own.start:
                along[: own.start] = along[own.stop :] = 0.0
    return _Workspace(c, space.states, space.v)


def _tile_size(dtype: np.dtype[Any]) -> int:
    """Return the most samples of a tile, from the sizes of the model alone.

    The machine has no say, nor has the choice of checkpoints, so that neither can
    change the order of a sum.
    """
    sizes = [math.prod(shape) for shape in _STATE.values()]
    states = sum(sizes) * (MODEL.steps + 1)
    largest = max(sizes + [math.prod(shape) for shape in _WORK.values()])
    fitting = _ARRAY_BYTES // (dtype.itemsize * largest)
    return max(1, min(128, fitting, _STATES_BYTES // (dtype.itemsize * states)))


def _tile_of(batch: int, dtype: np.dtype[Any]) -> int:
    """Return the samples of a tile of a batch: as few tiles as can be, of one size."""
    tiles = max(1, -(-batch // _tile_size(dtype)))
    return -(-batch // tiles)


# [end]
# --- buffers of a tile ---------------------------------------------------------------


@dataclass(frozen=True)
class _Workspace:
    """The buffers of one tile, allocated once and used by many tiles in turn."""

    c: Arrays  # what all samples share, where the steps read it
    states: Arrays  # the fields with their ghost cells: (levels, tile, *padded)
    v: Arrays  # inputs with their ghost cells, and work arrays: (tile, *shape)

    @property
    def bytes(self) -> int:
        """The memory that the buffers take."""
        return sum(a.nbytes for a in (*self.states.values(), *self.v.values()))


@dataclass(frozen=True)
class _Tile:
    """Some samples, as views of a workspace; the mathematics reads c and v."""

    rows: slice
    c: Arrays
    states: Arrays  # the fields and their lines, (levels, …), by their names in v
    nexts: Arrays  # and those of the next level
    v: Arrays

    def set_level(self, n: int) -> None:
        """Let v hold the fields of level n, and those of the next as <field>_next.

        The levels are a ring: the next of the last is the first.
        """
        self.set_levels(n, n + 1)

    def set_levels(self, here: int, there: int) -> None:
        """Let v hold the fields of level `here`, and of `there` as <field>_next."""
        for name, levels in self.states.items():
            self.v[name] = levels[here % len(levels)]
        for name, levels in self.nexts.items():
            self.v[name] = levels[there % len(levels)]


def _with_lines(arrays: Arrays, levels: int = 0) -> Arrays:
    """Return arrays of a tile, and views of them as unbroken lines of numbers."""
    found = {**arrays}
    for key, (name, place) in _LINES.items():
        if name in arrays:
            leading = (levels,) if levels else ()
            found[key] = arrays[name].reshape(*leading, -1)[..., place]
    return found


def _repeated(tile: _Tile) -> Arrays:
    """Return coefficients repeated for every sample of a tile, as lines.

    They are 0 in ghost cells: what is computed there is not read.
    """
    cells, found = next(iter(_CELLS.values())), {}
    for name, (like, shape) in _REPEATED.items():
        found[name] = _lib.zeros(tile.v[like].shape, tile.c[name].dtype)
        inside: Any = (..., *cells[1 - found[name].ndim :])
        found[name][inside] = tile.c[name].reshape(shape)
    lines = _with_lines(found)
    return {f"{name} line": lines[f"{name} line"] for name in found}


def _workspace(run: _Run, levels: int) -> _Workspace:
    """Allocate the buffers of one tile, with so many states."""
    size = _tile_of(run.batch, run.dtype)
    return _Workspace(
        _handed_out(run.c),
        {n: _lib.zeros((levels, size, *s), run.dtype) for n, s in _STATE.items()},
        {
            name: _lib.zeros((size, *shape), run.dtype)
            for name, shape in [*_INPUTS.items(), *_WORK.items()]
        },
    )


def _view(space: _Workspace, rows: slice) -> _Tile:
    """Return the part of the buffers that these samples use, at level 0."""
    size = rows.stop - rows.start
    states = {name: levels[:, :size] for name, levels in space.states.items()}
    nexts = {f"{name}_next": levels for name, levels in states.items()}
    levels = len(next(iter(states.values())))
    tile = _Tile(
        rows,
        {**space.c},
        _with_lines(states, levels),
        _with_lines(nexts, levels),
        _with_lines({name: a[:size] for name, a in space.v.items()}),
    )
    tile.set_level(0)
    return tile


def _begin(run: _Run, values: Arrays, space: _Workspace, rows: slice) -> _Tile:
    """Return a tile with its inputs and fields; without values the model's initial."""
    tile = _view(space, rows)
    tile.c.update(_repeated(tile))
    _set_inputs(run, tile)
    # [feature: initial]
    if not values:
        _initial(tile.c, tile.v)
    # [end]
    if values:
        _set_fields(values, tile)
    return tile


def _set_inputs(run: _Run, tile: _Tile) -> None:
    """Copy the inputs of the tile's samples, or what all samples share."""
    for name, cells in _INPUT_CELLS.items():
        inside = tile.v[name][cells]
        x = run.inputs[name]
        inside[...] = x[tile.rows] if x.ndim == inside.ndim else x


def _set_fields(values: Arrays, tile: _Tile) -> None:
    """Copy the fields of the tile's samples; ghost cells become zero."""
    for name, cells in _CELLS.items():
        tile.v[name][...] = 0.0
        tile.v[name][cells] = values[name][tile.rows]


def _store_fields(tile: _Tile, values: Arrays) -> None:
    """Copy the fields of the tile to its samples."""
    for name, cells in _CELLS.items():
        values[name][tile.rows] = tile.v[name][cells]


def _like_fields(run: _Run, *leading: int) -> Arrays:
    """Allocate arrays (*leading, batch, *shape) by field."""
    return {
        name: _lib.empty((*leading, run.batch, *field.shape), run.dtype)
        for name, field in MODEL.fields.items()
    }


def _zero_sums() -> Arrays:
    """Allocate what cotangents of shared arrays are added to: always in float64."""
    return {name: _lib.zeros(shape) for name, shape in _SHARED.items()}
