"""The Numba driver: each sample runs there and back in one call of compiled code.

It stands in the place of numpy/driver.py and provides what that one does.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pdec.runtime.checkpoints import _schedule, _slots
from pdec.runtime.checks import _pack, _Run
from pdec.runtime.compiled import _C_BAR, _C_DOT, _C_SUMMED, _TOGETHER, _V
from pdec.runtime.generated import (
    _SHARED,
    _SNAPSHOTS,
    MODEL,
    _coefficients_vjp,
    _penalty_vjp,
)
from pdec.runtime.numba.buffers import (
    _add_sums,
    _as_tuple,
    _backward_buffers,
    _Buffers,
    _cells_of,
    _forward_buffers,
    _inputs_of,
    _keep,
    _like_fields,
    _shared,
    _tangent_buffers,
    _with_margins,
    _zero_sums,
)
from pdec.runtime.numba.implicit import _check_solved, _solvers
from pdec.runtime.numba.samples import (
    _differentiate_samples,
    _judge_samples,
    _pull_samples,
    _push_samples,
    _read_samples,
    _run_samples,
)
from pdec.runtime.numba.teams import _in_team
from pdec.runtime.stepping import _final_state
from pdec.runtime.threads import _each_tile, _spaces
from pdec.runtime.types import Array, Arrays

# --- running the steps ---------------------------------------------------------------

# Sums go to 16 slots at most, each of a fixed range of samples, added in order: neither
# threads nor the machine have a say in the result.
_SLOTS = 16


def _slot_size(run: _Run, together: int = 1) -> int:
    return -(-run.batch // (_SLOTS * together)) * together


def _over_samples(
    run: _Run,
    buffers: functools.partial[_Buffers],
    work: Callable[[slice, _Buffers], Any],
    fold: Callable[[Any], None] | None = None,
    together: int = 1,
) -> None:
    """Call work(rows, own buffers) for each slot, and fold(its result) in order."""
    size = _slot_size(run, together)
    # [feature: implicit]

    def own() -> _Buffers:
        made = buffers()
        return _Buffers((*made.v, *_solvers(run.dtype)), made.v_more, made.c_more)

    def task(rows: slice, space: _Buffers) -> Any:
        result = work(rows, space)
        _check_solved(space.v)
        return result

    _each_tile(run.batch, size, own, task, fold)
    # [end]
    # [feature: not implicit]
    kind = (buffers.func, run.dtype, *buffers.args[1:])
    with _spaces(kind, lambda: [buffers()]) as lent:
        _each_tile(run.batch, size, lambda: lent()[0], work, fold)
    # [end]


def _run_through(
    run: _Run, start: int, ends: tuple[int, ...], values: Arrays
) -> Arrays:
    """Return the fields (ends, batch, *shape) after so many steps each.

    The values are those after the first `start` steps.
    """
    out = _like_fields(run, len(ends))
    z, x, c = _state_of(values), _inputs_of(run.inputs), _shared(run)
    stops = np.array(ends)
    states = tuple(each.reshape(-1, *each.shape[2:]) for each in out.values())

    def work(rows: slice, space: _Buffers) -> None:
        def some(first: int, last: int, c: Any) -> None:
            _run_samples(first, last, start, stops, z, x, c, space.v, states)

        _in_team(run, rows, _slot_size(run), c, some)

    _over_samples(run, functools.partial(_forward_buffers, run, 2), work)
    return out


def _state_of(values: Arrays) -> tuple[Array, ...] | None:
    """Return the fields as compiled functions take them; None where there are none."""
    return _as_tuple(values) if values else None


# [feature: readout]
def _readouts(run: _Run) -> Arrays:
    """Return the readouts of the final state."""
    z, x, c = _final_tuple(run), _inputs_of(run.inputs), _shared(run)
    kept = {
        name: np.empty((run.batch, *variable.shape), run.dtype)
        for name, variable in MODEL.readouts.items()
    }
    out = tuple(kept.values())

    def work(rows: slice, space: _Buffers) -> None:
        _read_samples(rows.start, rows.stop, z, x, c, space.v, out)

    _over_samples(run, functools.partial(_forward_buffers, run, 1), work)
    return kept


def _final_tuple(run: _Run) -> tuple[Array, ...]:
    return tuple(_final_state(run).values())


# [end]
def _tangent(run: _Run, run_dot: _Run) -> Arrays:
    """Return the tangent of the final state along the tangents of all that is read."""
    out = _like_fields(run)
    z, x = _state_of(run.z0), _inputs_of(run.inputs)
    z_dot, x_dot = _state_of(run_dot.z0), _inputs_of(run_dot.inputs)
    c = _shared(run)
    c_dot = _with_margins(run_dot.c, _C_DOT, run.dtype)
    zT_dot = tuple(out.values())

    def work(rows: slice, space: _Buffers) -> None:
        a, b, v, v_dot = rows.start, rows.stop, space.v, space.v_more
        _push_samples(a, b, MODEL.steps, z, x, z_dot, x_dot, c, v, c_dot, v_dot, zT_dot)

    _over_samples(run, functools.partial(_tangent_buffers, run), work)
    return out


# --- gradients -----------------------------------------------------------------------


# bytes of the states of one sample above which fewer are kept: steps that run again in
# the cache take less time than states that travel to memory and back
_STATES_BYTES = 1 << 24


def _kept(run: _Run, slots: int) -> int:
    """Return how many states are kept, of so many allowed."""
    large = slots * _state_bytes(run) > _STATES_BYTES
    return min(slots, _slots("sqrt")) if large else slots


def _state_bytes(run: _Run) -> int:
    return sum(math.prod(_V[name]) for name in MODEL.fields) * run.dtype.itemsize


# bytes of the states of samples that take steps together: about what a cache holds
_TOGETHER_BYTES = 1 << 22


def _together(run: _Run) -> int:
    """Return how many samples take steps together: more than one if there are many."""
    fits = _TOGETHER * MODEL.steps * _state_bytes(run) <= _TOGETHER_BYTES
    return _TOGETHER if fits and run.batch >= _SLOTS * _TOGETHER else 1


@functools.cache
def _moves(slots: int) -> Array:
    """Return the way there and back, a step a row: (n, here, there, whether back).

    States are kept at levels 0, 1, …; those between two that are kept go to the two
    levels behind them in turn.
    """
    found = []
    for start, end, place in _schedule(slots):
        here = place
        for n in range(start, end):
            there = place + 1 + (end - n - 1) % 2
            found.append((n, here, there, 0))
            here = there
        if start > end:
            found.append((end, place, place + 1, 1))
    return np.array(found, np.int64).reshape(-1, 4)


def _pull_back(run: _Run, zT_bar: Arrays, slots: int) -> dict[str, Any]:
    """Return the cotangents of all that is read, from that of the final state."""
    given = _inputs_of(run.inputs), _as_tuple(zT_bar), MODEL.steps
    return _sum_up(run, _pull_samples, given, slots, 0.0)


# [feature: loss]
def _losses_at(run: _Run, values: Arrays, targets: Arrays, number: int) -> Array:
    """Return the loss of each sample at a state."""
    losses = np.empty(run.batch)
    z, x, y = _as_tuple(values), _inputs_of(run.inputs), _targets_of(targets)
    c = _shared(run)

    def work(rows: slice, space: _Buffers) -> None:
        _judge_samples(rows.start, rows.stop, number, z, x, y, c, space.v, losses)

    _over_samples(run, functools.partial(_forward_buffers, run, 1), work)
    return losses


def _targets_of(targets: Arrays) -> tuple[Array, ...]:
    # [feature: classes]
    targets = {
        name: y.astype(np.int64) if MODEL.targets[name].classes else y
        for name, y in targets.items()
    }
    # [end]
    return _as_tuple(targets)


def _loss_gradients(
    run: _Run, targets: Arrays, slots: int
) -> tuple[Array, dict[str, Any]]:
    """Return the loss of each sample, (batch,), and the gradients of the mean loss."""
    losses = np.empty((run.batch, len(_SNAPSHOTS)))
    x, y = _inputs_of(run.inputs), _targets_of(targets)
    given = x, y, _SNAPSHOTS.step, losses
    grads = _sum_up(run, _differentiate_samples, given, slots, 1.0 / losses.size)
    return np.asarray(np.mean(losses, axis=1)), grads


# [end]
def _sum_up(
    run: _Run, samples: Any, given: tuple[Any, ...], slots: int, loss_bar: float
) -> dict[str, Any]:
    """Take all samples there and back, and add up the cotangents of what they share."""
    out, slots, together = _like_fields(run), _kept(run, slots), _together(run)
    z, c, moves = _state_of(run.z0), _shared(run, together), _moves(slots)
    z_bar, x_totals = tuple(out.values()), tuple(np.zeros(x.shape) for x in given[0])
    total = _zero_sums()

    def work(rows: slice, buffers: _Buffers) -> Any:
        sums = _zero_sums()
        named = dict(zip(_C_BAR, sums, strict=True))
        own = dict(zip(_C_SUMMED, buffers.c_more, strict=True))
        c_bar, summed = tuple((named | own).values()), tuple(named[n] for n in own)
        x_bar = tuple(t if len(t) > 1 else np.zeros_like(t) for t in x_totals)
        space, found = (buffers.v, c_bar, buffers.v_more), (summed, z_bar, x_bar)

        def some(first: int, last: int, c: Any) -> None:
            samples(first, last, moves, z, given, c, space, found)

        _in_team(run, rows, _slot_size(run, together), c, some)
        return sums, x_bar

    def fold(partial: Any) -> None:
        sums, x_bar = partial
        _add_sums(total, sums)
        for whole, part in zip(x_totals, x_bar, strict=True):
            if part is not whole:
                whole += part

    buffers = functools.partial(_backward_buffers, run, slots + 2, loss_bar, together)
    _over_samples(run, buffers, work, fold, together)
    totals = {name: np.zeros(shape) for name, shape in _SHARED.items()}
    grads = _finish(run, totals | _cells_of(total), out, x_totals, loss_bar)
    _keep(total)
    return grads


def _finish(
    run: _Run, sums: Arrays, z_bar: Arrays, x_bar: tuple[Array, ...], loss_bar: float
) -> dict[str, Any]:
    """Pull the sums back to the parameters; return all in the dtype of the run."""
    # [feature: penalty]
    if loss_bar:
        _penalty_vjp(run.c, sums)
    # [end]
    _coefficients_vjp(run.c, sums)
    inputs = {
        name: value.reshape(run.inputs[name].shape).astype(run.dtype)
        for name, value in zip(run.inputs, x_bar, strict=True)
    }
    return {
        "params": {name: sums[name].astype(run.dtype) for name in MODEL.params},
        "z0": _pack(z_bar, MODEL.fields),
        "inputs": inputs,
    }
