"""The NumPy driver: runs the steps and their adjoints over tiles of the batch.

A target with another way to run the mathematics replaces this file and tiles.py, and
provides _run_through, _like_fields, _readouts, _tangent, _pull_back, _losses_at and
_loss_gradients; stepping.py has what follows from these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pdec.runtime.checkpoints import _schedule
from pdec.runtime.checks import _pack, _Run
from pdec.runtime.generated import (
    _INPUT_CELLS,
    _INPUTS,
    _SNAPSHOTS,
    _STATE,
    _TARGET_CELLS,
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
    _zero_sums,
)
from pdec.runtime.types import Array, Arrays

# --- running the steps ---------------------------------------------------------------


def _run_through(
    run: _Run, start: int, ends: tuple[int, ...], values: Arrays
) -> Arrays:
    """Return the fields (ends, batch, *shape) after so many steps each.

    The values are those after the first `start` steps.
    """
    out = _like_fields(run, len(ends))

    def work(rows: slice, space: _Workspace) -> None:
        tile = _begin(run, values, space, rows)
        reached = start
        for number, end in enumerate(ends):
            _advance(tile, reached, end, start)
            reached = end
            _store_fields(tile, {name: z[number] for name, z in out.items()})

    _over_tiles(run, [2], work)
    return out


# [feature: readout]
def _readouts(run: _Run) -> Arrays:
    """Return the readouts of the final state."""
    kept = {
        name: _lib.empty((run.batch, *variable.shape), run.dtype)
        for name, variable in MODEL.readouts.items()
    }

    def work(rows: slice, space: _Workspace) -> None:
        tile = _begin(run, run.z0, space, rows)
        _advance(tile, 0, MODEL.steps)
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
        tile = _begin(run, run.z0, space, rows)
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


# --- gradients -----------------------------------------------------------------------


def _pull_back(run: _Run, zT_bar: Arrays, slots: int) -> dict[str, Any]:
    """Return the cotangents of all that is read, from that of the final state."""

    def seed(n: int, tile: _Tile, tile_bar: _Tile, c_bar: Arrays) -> None:
        tile_bar.set_level(n)
        _set_fields(zT_bar, tile_bar)

    last = range(MODEL.steps, MODEL.steps + 1)
    return _finish(run, _sum_tiles(run, seed, last, slots))


# [feature: loss]
def _losses_at(run: _Run, values: Arrays, targets: Arrays, number: int) -> Array:
    """Return the loss of each sample at a state, with the targets of a snapshot."""
    losses: Array = _lib.empty(run.batch)

    def work(rows: slice, space: _Workspace) -> None:
        tile = _begin(run, values, space, rows)
        losses[rows] = _tile_losses(tile, targets, number)

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
        values = y[tile.rows, number] if along else y[tile.rows]
        if name in _TARGET_CELLS:
            tile.v[name][_TARGET_CELLS[name]] = values
        else:
            tile.v[name] = values


def _tile_losses(tile: _Tile, targets: Arrays, number: int) -> Array:
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


def _advance(tile: _Tile, start: int, end: int, first: int = 0) -> None:
    """Run steps start to end - 1; level 0 has the state before the first of all."""
    for n in range(start, end):
        _step(n, tile.c, tile.v)
        tile.set_level(n + 1 - first)


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
        tile, tile_bar = _begin(run, run.z0, space, rows), _view(space_bar, rows)
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
