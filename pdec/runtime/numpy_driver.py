"""The NumPy driver: runs the steps and their adjoints over tiles of the batch.

A target with another way to run the mathematics replaces this file alone, and provides
_final_state, _snapshots, _readouts, _tangent, _pull_back, _losses and _loss_gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pdec.runtime.checks import _pack, _Run
from pdec.runtime.generated import (
    _CELLS,
    _INPUT_CELLS,
    _INPUTS,
    _SHARED,
    _SNAPSHOTS,
    _STATE,
    _WORK,
    MODEL,
    _coefficients_vjp,
    _initial,
    _initial_jvp,
    _initial_vjp,
    _loss,
    _loss_vjp,
    _penalty_vjp,
    _readout,
    _step,
    _step_jvp,
    _step_vjp,
)
from pdec.runtime.types import Array, Arrays

# --- running over tiles of the batch -------------------------------------------------

# The batch is worked off in tiles of a few samples, whose arrays stay in the cache. A
# tile reads the run and its own samples, writes those, and has partial sums of its own,
# which are added in the order of the tiles: nothing depends on which tile runs when.


def _final_state(run: _Run) -> Arrays:
    """Return the fields after all steps; a tile keeps two states."""
    zT = _like_fields(run)
    space = _workspace(run, levels=2)
    for rows in _tiles(run):
        tile = _begin(run, space, rows)
        _advance(run, tile)
        _store_fields(tile, zT)
    return zT


def _snapshots(run: _Run, every: int) -> Arrays:
    """Return the fields after 0, every, 2 every, … steps and after the last one."""
    snapshots = -(-MODEL.steps // every) + 1
    kept = _like_fields(run, snapshots)
    space = _workspace(run, levels=2)
    for rows in _tiles(run):
        tile = _begin(run, space, rows)
        for n in range(MODEL.steps):
            if n % every == 0:
                _store_fields(tile, {name: z[n // every] for name, z in kept.items()})
            _step(n, run.c, tile.v)
            tile.set_level(n + 1)
        _store_fields(tile, {name: z[-1] for name, z in kept.items()})
    return kept


# [feature: readout]
def _readouts(run: _Run) -> Arrays:
    """Return the readouts of the final state."""
    kept = {
        name: np.empty((run.batch, *variable.shape), run.dtype)
        for name, variable in MODEL.readouts.items()
    }
    space = _workspace(run, levels=2)
    for rows in _tiles(run):
        tile = _begin(run, space, rows)
        _advance(run, tile)
        _readout(run.c, tile.v)
        for name, values in kept.items():
            values[rows] = tile.v[name]
    return kept


# [end]
def _tangent(run: _Run, run_dot: _Run) -> Arrays:
    """Return the tangent of the final state along the tangents of all that is read."""
    zT_dot = _like_fields(run)
    space, space_dot = _workspace(run, levels=2), _workspace(run, levels=2)
    for rows in _tiles(run):
        tile = _begin(run, space, rows)
        tile_dot = _view(space_dot, rows)
        _set_inputs(run_dot, tile_dot)
        # [feature: initial]
        _initial_jvp(run.c, tile.v, run_dot.c, tile_dot.v)
        # [end]
        # [feature: not initial]
        _set_fields(run_dot.z0, tile_dot)
        # [end]
        for n in range(MODEL.steps):
            _step_jvp(n, run.c, tile.v, run_dot.c, tile_dot.v)
            tile.set_level(n + 1)
            tile_dot.set_level(n + 1)
        _store_fields(tile_dot, zT_dot)
    return zT_dot


def _pull_back(run: _Run, zT_bar: Arrays) -> dict[str, Any]:
    """Return the cotangents of all that is read, from that of the final state."""

    def seed(n: int, tile: _Tile, tile_bar: _Tile, c_bar: Arrays) -> None:
        if n == MODEL.steps:
            _set_fields(zT_bar, tile_bar)

    return _finish(run, _sum_tiles(run, seed))


# [feature: loss]
def _losses(run: _Run, targets: Arrays) -> Array:
    """Return the loss of each sample, (batch,), in float64."""
    losses = np.empty(run.batch)
    # [feature: not every]
    space = _workspace(run, levels=2)
    # [end]
    # [feature: every]
    space = _workspace(run, levels=MODEL.steps + 1)
    # [end]
    for rows in _tiles(run):
        tile = _begin(run, space, rows)
        _advance(run, tile)
        losses[rows] = _tile_losses(run, tile, targets)
    return losses


def _loss_gradients(run: _Run, targets: Arrays) -> tuple[Array, dict[str, Any]]:
    """Return the loss of each sample, (batch,), and the gradients of the mean loss."""
    losses = np.empty(run.batch)

    # [feature: not every]
    def seed(n: int, tile: _Tile, tile_bar: _Tile, c_bar: Arrays) -> None:
        if n == MODEL.steps:
            losses[tile.rows] = _tile_losses(run, tile, targets)
            tile_bar.v["loss"][...] = 1.0 / run.batch
            _loss_vjp(run.c, tile.v, c_bar, tile_bar.v)

    # [end]
    # [feature: every]
    def seed(n: int, tile: _Tile, tile_bar: _Tile, c_bar: Arrays) -> None:
        if n == MODEL.steps:
            losses[tile.rows] = _tile_losses(run, tile, targets)
            tile.set_level(n)
        later = {name: tile_bar.v[name].copy() for name in _STATE}
        for name in _STATE:
            tile_bar.v[name][...] = 0.0
        if n in _SNAPSHOTS:
            _set_targets(tile, targets, _SNAPSHOTS.index(n))
            tile_bar.v["loss"][...] = 1.0 / (run.batch * len(_SNAPSHOTS))
            _loss_vjp(run.c, tile.v, c_bar, tile_bar.v)
        if n < MODEL.steps:
            for name, z_bar in later.items():
                tile_bar.v[name] += z_bar

    # [end]
    sums = _sum_tiles(run, seed)
    # [feature: penalty]
    _penalty_vjp(run.c, sums.c)
    # [end]
    return losses, _finish(run, sums)


# [feature: every]
def _set_targets(tile: _Tile, targets: Arrays, number: int) -> None:
    """Let v hold the targets of a snapshot; labels are the same at all of them."""
    for name, y in targets.items():
        along = "t" in MODEL.targets[name].axes
        tile.v[name] = y[tile.rows, number] if along else y[tile.rows]


# [end]
def _tile_losses(run: _Run, tile: _Tile, targets: Arrays) -> Array:
    """Return the losses of a tile's samples from the states that were stored."""
    # [feature: every]
    total = np.zeros(tile.v["loss"].shape)
    for number, n in enumerate(_SNAPSHOTS):
        tile.set_level(n)
        _set_targets(tile, targets, number)
        # [feature: readout]
        _readout(run.c, tile.v)
        # [end]
        _loss(run.c, tile.v)
        total += tile.v["loss"]
    return total / len(_SNAPSHOTS)
    # [end]
    # [feature: not every]
    for name, y in targets.items():
        tile.v[name] = y[tile.rows]
    # [feature: readout]
    _readout(run.c, tile.v)
    # [end]
    _loss(run.c, tile.v)
    return tile.v["loss"]
    # [end]


# [end]
# --- forward and backward through one tile -------------------------------------------


def _advance(run: _Run, tile: _Tile) -> None:
    """Run all steps; the workspace keeps as many of the states as it has levels."""
    for n in range(MODEL.steps):
        _step(n, run.c, tile.v)
        tile.set_level(n + 1)


def _reverse(
    run: _Run, tile: _Tile, tile_bar: _Tile, c_bar: Arrays, seed: _Seed
) -> None:
    """Pull the cotangent of the final state back to the initial one; adds to c_bar."""
    for n in reversed(range(MODEL.steps)):
        tile.set_level(n)
        tile_bar.set_level(n)
        _step_vjp(n, run.c, tile.v, c_bar, tile_bar.v)
        # [feature: every]
        seed(n, tile, tile_bar, c_bar)
        # [end]


def _sum_tiles(run: _Run, seed: _Seed) -> _Cotangents:
    """Run every tile forward and backward, and add up the cotangents in order.

    seed(n, tile, tile_bar, c_bar) sets the cotangent of the state after n steps, first
    of all that of the final one, or adds to it.
    """
    sums = _Cotangents(
        _zero_sums(),
        _like_fields(run),
        {name: np.zeros(x.shape) for name, x in run.inputs.items()},
    )
    space, space_bar = _workspace(run, MODEL.steps + 1), _workspace(run, levels=2)
    for rows in _tiles(run):
        tile = _begin(run, space, rows)
        tile_bar = _view(space_bar, rows)
        c_bar = _zero_sums()
        for name in _INPUTS:
            tile_bar.v[name][...] = 0.0
        _advance(run, tile)
        tile_bar.set_level(MODEL.steps)
        seed(MODEL.steps, tile, tile_bar, c_bar)
        _reverse(run, tile, tile_bar, c_bar, seed)
        # [feature: initial]
        _initial_vjp(run.c, tile.v, c_bar, tile_bar.v)
        # [end]
        _add_tile(sums, tile_bar, c_bar)
    return sums


def _add_tile(sums: _Cotangents, tile_bar: _Tile, c_bar: Arrays) -> None:
    """Add the partial sums of a tile, and store what belongs to its samples."""
    for name, partial in c_bar.items():
        sums.c[name] += partial
    _store_fields(tile_bar, sums.z0)
    for name, cells in _INPUT_CELLS.items():
        x_bar = tile_bar.v[name][cells]
        if sums.inputs[name].ndim == x_bar.ndim:
            sums.inputs[name][tile_bar.rows] = x_bar
        else:  # given without the batch axis: shared by all samples
            sums.inputs[name] += np.sum(x_bar, axis=0, dtype=np.float64)


def _finish(run: _Run, sums: _Cotangents) -> dict[str, Any]:
    """Pull the sums back to the parameters; return all in the dtype of the run."""
    _coefficients_vjp(run.c, sums.c)
    inputs = {name: x_bar.astype(run.dtype) for name, x_bar in sums.inputs.items()}
    return {
        "params": {name: sums.c[name].astype(run.dtype) for name in MODEL.params},
        "z0": _pack(sums.z0, MODEL.fields),
        "inputs": inputs,
    }


# --- tiles and their buffers ---------------------------------------------------------

# bytes of the largest array of a tile, a few of which should fit into the cache of a
# core, and of all the states that a tile keeps for the way back
_ARRAY_BYTES = 1 << 18
_STATES_BYTES = 1 << 26


@dataclass(frozen=True)
class _Workspace:
    """The buffers of one tile, allocated once and used by all tiles in turn."""

    states: Arrays  # the fields with their ghost cells: (levels, tile, *padded)
    v: Arrays  # inputs with their ghost cells, and work arrays: (tile, *shape)


@dataclass(frozen=True)
class _Tile:
    """Some samples, as views of a workspace; v is what the mathematics reads."""

    rows: slice
    states: Arrays
    v: Arrays

    def set_level(self, n: int) -> None:
        """Let v hold the fields after n steps and, as <field>_next, after n + 1."""
        for name, levels in self.states.items():
            self.v[name] = levels[n % len(levels)]
            self.v[f"{name}_next"] = levels[(n + 1) % len(levels)]


_Seed: TypeAlias = Callable[[int, _Tile, _Tile, Arrays], None]


@dataclass(frozen=True)
class _Cotangents:
    """Cotangents: sums over all samples in c, those of each sample in z0 and inputs."""

    c: Arrays
    z0: Arrays
    inputs: Arrays


def _tile_size(dtype: np.dtype[Any]) -> int:
    """Return the samples of a tile, from the sizes of the model alone.

    The machine has no say, so that it cannot change the order of a sum.
    """
    sizes = [math.prod(shape) for shape in _STATE.values()]
    states = sum(sizes) * (MODEL.steps + 1)
    largest = max(sizes + [math.prod(shape) for shape in _WORK.values()])
    fitting = _ARRAY_BYTES // (dtype.itemsize * largest)
    return max(1, min(128, fitting, _STATES_BYTES // (dtype.itemsize * states)))


def _tiles(run: _Run) -> Iterator[slice]:
    """Yield the samples of each tile, in order."""
    size = _tile_size(run.dtype)
    for start in range(0, run.batch, size):
        yield slice(start, min(start + size, run.batch))


def _workspace(run: _Run, levels: int) -> _Workspace:
    """Allocate the buffers of one tile, with so many states."""
    size = min(run.batch, _tile_size(run.dtype))
    return _Workspace(
        {name: np.zeros((levels, size, *s), run.dtype) for name, s in _STATE.items()},
        {
            name: np.zeros((size, *shape), run.dtype)
            for name, shape in [*_INPUTS.items(), *_WORK.items()]
        },
    )


def _view(space: _Workspace, rows: slice) -> _Tile:
    """Return the part of the buffers that these samples use, at level 0."""
    size = rows.stop - rows.start
    states = {name: levels[:, :size] for name, levels in space.states.items()}
    tile = _Tile(rows, states, {name: a[:size] for name, a in space.v.items()})
    tile.set_level(0)
    return tile


def _begin(run: _Run, space: _Workspace, rows: slice) -> _Tile:
    """Return a tile with its inputs and initial state."""
    tile = _view(space, rows)
    _set_inputs(run, tile)
    # [feature: initial]
    _initial(run.c, tile.v)
    # [end]
    # [feature: not initial]
    _set_fields(run.z0, tile)
    # [end]
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
        name: np.empty((*leading, run.batch, *field.shape), run.dtype)
        for name, field in MODEL.fields.items()
    }


def _zero_sums() -> Arrays:
    """Allocate what cotangents of shared arrays are added to: always in float64."""
    return {name: np.zeros(shape) for name, shape in _SHARED.items()}
