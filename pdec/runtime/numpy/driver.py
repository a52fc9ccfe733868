"""The NumPy driver: runs the steps and their adjoints over tiles of the batch.

A target with another way to run the mathematics replaces this file and tiles.py, and
provides _final_state, _settled_state, _snapshots, _readouts, _tangent, _pull_back,
_losses, _losses_along, _loss_gradients and _first_not_finite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pdec.runtime.checkpoints import _schedule
from pdec.runtime.checks import _pack, _Run
from pdec.runtime.generated import (
    _CELLS,
    _INPUT_CELLS,
    _INPUTS,
    _SNAPSHOTS,
    _STATE,
    MODEL,
    _coefficients_vjp,
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
from pdec.runtime.host import _handed_out, _lib, _on_host
from pdec.runtime.numpy.tiles import (
    _begin,
    _like_fields,
    _over_tiles,
    _set_fields,
    _set_inputs,
    _store_fields,
    _Tile,
    _view,
    _Workspace,
    _workspace,
    _zero_sums,
)
from pdec.runtime.types import Array, Arrays

# --- running the steps ---------------------------------------------------------------


def _final_state(run: _Run) -> Arrays:
    """Return the fields after all steps; a tile keeps two states."""
    zT = _like_fields(run)

    def work(rows: slice, space: _Workspace) -> None:
        tile = _begin(run, space, rows)
        _advance(tile)
        _store_fields(tile, zT)

    _over_tiles(run, [2], work)
    return zT


def _first_state(run: _Run) -> Arrays:
    """Return the fields before all steps."""
    z = _like_fields(run)

    def work(rows: slice, space: _Workspace) -> None:
        _store_fields(_begin(run, space, rows), z)

    _over_tiles(run, [1], work)
    return z


def _settled_state(run: _Run, tol: float) -> tuple[Arrays, Array, Array]:
    """Return the fields where each sample settles, after which step, and whether.

    A sample settles where a step changes it by at most tol max(1, |z|), and by no more
    than the step before did: changes that are small and grow lead away from a state
    that is not stable. A sample that has settled is not looked at again, so that it
    does not matter how long the others of its tile take.
    """
    z = _like_fields(run)
    step = _lib.full(run.batch, MODEL.steps)
    reached = _lib.zeros(run.batch, bool)

    def work(rows: slice, space: _Workspace) -> None:
        tile = _begin(run, space, rows)
        moving = _lib.full(rows.stop - rows.start, True)
        before: Any = 0.0
        for n in _steps(tile):
            if n == 0:
                continue
            change, size = _change(tile)
            settles = moving & (change <= tol * size) & (change <= before)
            before = change
            step[rows][settles], reached[rows][settles] = n, True
            moving &= ~settles
            stops = moving | settles if n == MODEL.steps else settles
            for name, cells in _CELLS.items():
                z[name][rows][stops] = tile.v[name][cells][stops]
            if not moving.any():
                break

    _over_tiles(run, [2], work)
    return z, step, reached


def _change(tile: _Tile) -> tuple[Array, Array]:
    """Return the largest change of each sample by the last step, and max(1, |z|).

    Of two levels, the one that comes next is the one that the step started from.
    """
    change = _lib.zeros(tile.rows.stop - tile.rows.start)
    size = np.ones_like(change)
    for name, cells in _CELLS.items():
        z, before = tile.v[name][cells], tile.v[f"{name}_next"][cells]
        axes = tuple(range(1, z.ndim))
        change = np.maximum(change, np.max(np.abs(z - before), axis=axes))
        size = np.maximum(size, np.max(np.abs(z), axis=axes))
    return change, size


def _snapshots(run: _Run, every: int) -> Arrays:
    """Return the fields after 0, every, 2 every, … steps and after the last one."""
    kept = _like_fields(run, -(-MODEL.steps // every) + 1)

    def work(rows: slice, space: _Workspace) -> None:
        tile = _begin(run, space, rows)
        for n in _steps(tile):
            if n % every == 0 or n == MODEL.steps:
                number = -(-n // every)
                _store_fields(tile, {name: z[number] for name, z in kept.items()})

    _over_tiles(run, [2], work)
    return kept


# [feature: readout]
def _readouts(run: _Run) -> Arrays:
    """Return the readouts of the final state."""
    kept = {
        name: _lib.empty((run.batch, *variable.shape), run.dtype)
        for name, variable in MODEL.readouts.items()
    }

    def work(rows: slice, space: _Workspace) -> None:
        tile = _begin(run, space, rows)
        _advance(tile)
        _readout(tile.c, tile.v)
        for name, values in kept.items():
            values[rows] = tile.v[name]

    _over_tiles(run, [2], work)
    return kept


# [end]
def _tangent(run: _Run, run_dot: _Run) -> Arrays:
    """Return the tangent of the final state along the tangents of all that is read."""
    zT_dot, c_dot = _like_fields(run), _handed_out(run_dot.c)

    def work(rows: slice, space: _Workspace, space_dot: _Workspace) -> None:
        tile = _begin(run, space, rows)
        tile_dot = _view(space_dot, rows)
        _set_inputs(run_dot, tile_dot)
        # [feature: initial]
        if not run_dot.z0:
            _initial_jvp(tile.c, tile.v, c_dot, tile_dot.v)
        # [end]
        if run_dot.z0:
            _set_fields(run_dot.z0, tile_dot)
        for n in range(MODEL.steps):
            _step_jvp(n, tile.c, tile.v, c_dot, tile_dot.v)
            tile.set_level(n + 1)
            tile_dot.set_level(n + 1)
        _store_fields(tile_dot, zT_dot)

    _over_tiles(run, [2, 2], work)
    return zT_dot


def _first_not_finite(run: _Run, sample: int) -> int | None:
    """Run a sample again: return after how many steps it is not finite, or None."""
    rows = slice(sample, sample + 1)
    z0 = {name: z[rows] for name, z in run.z0.items()}
    inputs = {
        name: x[rows] if x.ndim > len(MODEL.inputs[name].shape) else x
        for name, x in run.inputs.items()
    }
    alone = _Run(run.dtype, 1, run.c, z0, inputs)
    with np.errstate(all="ignore"):
        tile = _begin(alone, _workspace(alone, levels=2), slice(0, 1))
        for n in _steps(tile):
            if not all(np.isfinite(tile.v[x][_CELLS[x]]).all() for x in _CELLS):
                return n
    return None


# --- gradients -----------------------------------------------------------------------


def _pull_back(run: _Run, zT_bar: Arrays, slots: int) -> dict[str, Any]:
    """Return the cotangents of all that is read, from that of the final state."""

    def seed(n: int, tile: _Tile, tile_bar: _Tile, c_bar: Arrays) -> None:
        tile_bar.set_level(n)
        _set_fields(zT_bar, tile_bar)

    last = range(MODEL.steps, MODEL.steps + 1)
    return _finish(run, _sum_tiles(run, seed, last, slots))


# [feature: loss]
def _losses(run: _Run, targets: Arrays) -> Array:
    """Return the loss of each sample, (batch,), in float64."""
    losses = _lib.empty((run.batch, len(_SNAPSHOTS)))

    def work(rows: slice, space: _Workspace) -> None:
        tile = _begin(run, space, rows)
        for n in _steps(tile):
            if n in _SNAPSHOTS:
                number = _SNAPSHOTS.index(n)
                losses[rows, number] = _tile_losses(tile, targets, number)

    _over_tiles(run, [2], work)
    mean: Array = _lib.mean(losses, axis=1)
    return mean


def _losses_along(run: _Run, snapshots: Arrays, targets: Arrays) -> Array:
    """Return the loss of each sample at each snapshot, (snapshots, batch)."""
    losses: Array = _lib.empty(next(iter(snapshots.values())).shape[:2])

    def work(rows: slice, space: _Workspace) -> None:
        tile = _view(space, rows)
        _set_inputs(run, tile)
        for number, values in enumerate(losses):
            _set_fields({name: z[number] for name, z in snapshots.items()}, tile)
            values[rows] = _tile_losses(tile, targets)

    _over_tiles(run, [2], work)
    return losses


def _loss_gradients(
    run: _Run, targets: Arrays, slots: int
) -> tuple[Array, dict[str, Any]]:
    """Return the loss of each sample, (batch,), and the gradients of the mean loss."""
    losses = _lib.empty((run.batch, len(_SNAPSHOTS)))

    def seed(n: int, tile: _Tile, tile_bar: _Tile, c_bar: Arrays) -> None:
        number = _SNAPSHOTS.index(n)
        losses[tile.rows, number] = _tile_losses(tile, targets, number)
        tile_bar.v["loss"][...] = 1.0 / losses.size
        _loss_vjp(tile.c, tile.v, c_bar, tile_bar.v)
        for name in _STATE:
            tile_bar.v[f"{name}_next"] += tile_bar.v[name]

    sums = _sum_tiles(run, seed, _SNAPSHOTS, slots)
    # [feature: penalty]
    _penalty_vjp(run.c, sums.c)
    # [end]
    return _lib.mean(losses, axis=1), _finish(run, sums)


def _set_targets(tile: _Tile, targets: Arrays, number: int) -> None:
    """Let v hold the targets of a snapshot; some are the same at all of them."""
    for name, y in targets.items():
        along = "t" in MODEL.targets[name].axes
        tile.v[name] = y[tile.rows, number] if along else y[tile.rows]


def _tile_losses(tile: _Tile, targets: Arrays, number: int = 0) -> Array:
    """Return the losses of a tile's samples from the fields in v."""
    _set_targets(tile, targets, number)
    # [feature: readout]
    _readout(tile.c, tile.v)
    # [end]
    _loss(tile.c, tile.v)
    return tile.v["loss"]


# [end]
# --- there and back through one tile -------------------------------------------------


@dataclass(frozen=True)
class _Cotangents:
    """Cotangents: sums over all samples in c, those of each sample in z0 and inputs.

    An input without the batch axis is shared by all samples, and summed too.
    """

    c: Arrays
    z0: Arrays
    inputs: Arrays


# seed(n, tile, tile_bar, c_bar) adds to the cotangent of the fields after n steps what
# does not come from later ones; v holds these fields, v_bar[field_next] this cotangent,
# and v_bar[field] is free
_Seed: TypeAlias = Callable[[int, _Tile, _Tile, Arrays], None]


def _steps(tile: _Tile) -> Iterator[int]:
    """Run all steps; yield how many were run when v holds the fields, from 0 on."""
    yield 0
    for n in range(MODEL.steps):
        _step(n, tile.c, tile.v)
        tile.set_level(n + 1)
        yield n + 1


def _advance(tile: _Tile) -> None:
    """Run all steps; the workspace keeps as many of the states as it has levels."""
    for _ in _steps(tile):
        pass


def _advance_to(tile: _Tile, n: int, last: int, place: int) -> None:
    """Run steps n to last - 1 from the state in `place`; what follows goes to the next.

    Those between go to place + 2 and place + 1 in turn.
    """
    here = place
    while n < last:
        n += 1
        there = place + 1 + (last - n) % 2
        tile.set_levels(here, there)
        _step(n - 1, tile.c, tile.v)
        here = there


def _there_and_back(
    tile: _Tile,
    tile_bar: _Tile,
    c_bar: Arrays,
    seed: _Seed,
    seeded: range,
    slots: int,
) -> None:
    """Take a tile to its final state, and the cotangents back; adds to c_bar.

    They are seeded after so many steps.
    """
    for start, end, place in _schedule(slots):
        if start < end:
            _advance_to(tile, start, end, place)
            continue
        if start in seeded:
            tile.set_level(place + 1)
            tile_bar.set_level(end)  # of two: v_bar[field_next] is that of start
            seed(start, tile, tile_bar, c_bar)
        tile.set_level(place)
        tile_bar.set_level(end)
        _step_vjp(end, tile.c, tile.v, c_bar, tile_bar.v)


def _sum_tiles(run: _Run, seed: _Seed, seeded: range, slots: int) -> _Cotangents:
    """Run every tile there and back, and add up the cotangents in their order."""
    sums = _Cotangents(
        _zero_sums(),
        _like_fields(run),
        {name: _lib.zeros(x.shape) for name, x in run.inputs.items()},
    )

    def work(rows: slice, space: _Workspace, space_bar: _Workspace) -> list[Arrays]:
        tile, tile_bar = _begin(run, space, rows), _view(space_bar, rows)
        c_bar = _zero_sums()
        for name in _STATE:
            tile_bar.states[name][...] = 0.0
        for name in _INPUTS:
            tile_bar.v[name][...] = 0.0
        _there_and_back(tile, tile_bar, c_bar, seed, seeded, slots)
        # [feature: initial]
        _initial_vjp(tile.c, tile.v, c_bar, tile_bar.v)
        # [end]
        _store_fields(tile_bar, sums.z0)
        return [c_bar, _pull_inputs(tile_bar, sums.inputs)]

    def fold(partial: list[Arrays]) -> None:
        for total, part in zip((sums.c, sums.inputs), partial, strict=True):
            for name, value in part.items():
                total[name] += value

    _over_tiles(run, [slots + 2, 2], work, fold)
    return _Cotangents(_on_host(sums.c), sums.z0, sums.inputs)


def _pull_inputs(tile_bar: _Tile, inputs: Arrays) -> Arrays:
    """Store the cotangents of the samples' own inputs; return sums for shared ones."""
    shared = {}
    for name, cells in _INPUT_CELLS.items():
        x_bar = tile_bar.v[name][cells]
        if inputs[name].ndim == x_bar.ndim:
            inputs[name][tile_bar.rows] = x_bar
        else:
            shared[name] = _lib.sum(x_bar, axis=0, dtype=np.float64)
    return shared


def _finish(run: _Run, sums: _Cotangents) -> dict[str, Any]:
    """Pull the sums back to the parameters; return all in the dtype of the run."""
    _coefficients_vjp(run.c, sums.c)
    inputs = {name: x_bar.astype(run.dtype) for name, x_bar in sums.inputs.items()}
    return {
        "params": _handed_out({n: sums.c[n].astype(run.dtype) for n in MODEL.params}),
        "z0": _pack(sums.z0, MODEL.fields),
        "inputs": inputs,
    }
