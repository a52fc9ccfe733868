"""The CuPy driver: gives the kernels what they read and write, in either family.

It stands in the place of numpy/driver.py and provides what that one does. How samples
are launched is in blocks.py, or in steps.py.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pdec.runtime.checkpoints import _slots
from pdec.runtime.checks import _pack, _Run
from pdec.runtime.cuda import _CUDA_PARTS, _LANED, _PLACES, _RECORDS, _THREADS, _TILES
from pdec.runtime.cupy.arrays import _handed_out, _in_memory, _lib, _taken
from pdec.runtime.cupy.blocks import (
    _CUDA_KERNELS,
    _send_back,
    _send_losses,
    _send_readouts,
    _send_steps,
    _send_tangents,
)
from pdec.runtime.cupy.tools import _CUDA_ADD, _CUDA_TOOLS
from pdec.runtime.generated import (
    _SHARED,
    _SNAPSHOTS,
    MODEL,
    _coefficients_vjp,
    _penalty_vjp,
)
from pdec.runtime.stepping import _final_state
from pdec.runtime.types import Array, Arrays

# --- kernels -------------------------------------------------------------------------

# bytes that the samples at work may take outside of their chips: if a sample takes
# more, one at a time is at work
_ROOM = 1 << 31


def _numbers(record: str) -> int:
    """Return how many numbers a record has; one of no members has one for nothing."""
    return sum(math.prod(shape) for shape in _RECORDS[record].values()) or 1


def _lanes_bytes(dtype: np.dtype[Any]) -> int:
    """Return the bytes that the threads of a block share besides: ROOM."""
    return max(8 * _THREADS, _TILES * dtype.itemsize)


def _code(*parts: str) -> str:
    """Return what is compiled: CUDA C, in a name space of its own."""
    every = parts or (*_CUDA_PARTS, _CUDA_KERNELS)
    return "\n".join([_CUDA_TOOLS, "namespace model {", *every, "}  // model\n"])


@functools.cache
def _compiled(dtype: str, options: tuple[str, ...], device: int, *parts: str) -> Any:
    """Return compiled kernels, those of the model or others, with more options."""
    real = {"float32": "float", "float64": "double"}[dtype]
    first = ("--std=c++17", f"-DREAL={real}")
    return _lib.RawModule(code=_code(*parts), options=(*first, *options))


def _empty(shape: Any, dtype: Any) -> Array:
    made: Array = _lib.empty(shape, dtype)
    return made


# --- what kernels read and write -----------------------------------------------------


def _like_fields(run: _Run, *leading: int) -> Arrays:
    """Allocate arrays (*leading, batch, *shape) by field."""
    return {
        name: _empty((*leading, run.batch, *field.shape), run.dtype)
        for name, field in MODEL.fields.items()
    }


def _with_margins(c: Arrays, record: str, dtype: Any) -> Array:
    """Return what all samples share as a record, each array within its margins."""
    parts = [np.zeros(1 if not _RECORDS[record] else 0, dtype)]
    for name, shape in _RECORDS[record].items():
        array = np.zeros(shape, dtype)
        if name in c:
            array[_PLACES[name]] = c[name][_inner(name, c[name].shape)]
        parts.append(array.ravel())
    packed: Array = _lib.asarray(np.concatenate(parts))
    return packed


def _inner(name: str, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return where in a shared array lies what the kernels have: not all its ghosts."""
    lengths = [place.stop - place.start for place in _PLACES[name]]
    pairs = zip(shape, lengths, strict=True)
    return tuple(slice((n - own) // 2, (n + own) // 2) for n, own in pairs)


class _Addresses:
    """The arrays of a call as a list of addresses on the GPU, and what they lie in.

    The order is that of AT_Z, AT_X, … in the kernels; 0 stands for what is not there.
    """

    def __init__(
        self,
        run: _Run,
        *,
        z: Arrays | None = None,
        y: Arrays | None = None,
        more: tuple[Arrays, Arrays] = ({}, {}),
        out: tuple[Arrays, Arrays, Arrays] = ({}, {}, {}),
    ) -> None:
        self.kept: list[Array] = []
        self.words = [
            *self._of(run.z0 if z is None else z, MODEL.fields),
            *self._inputs(run.inputs),
            *self._of(y or {}, MODEL.targets),
            *self._of(more[0], MODEL.fields),
            *self._inputs(more[1]),
            *self._of(out[0], MODEL.fields),
            *self._of(out[1], MODEL.inputs),
            *self._of(out[2], MODEL.readouts),
        ]

    def _of(self, arrays: Arrays, names: Mapping[str, Any]) -> list[int]:
        """Return the addresses of arrays by name, 0 where there is none."""
        found = []
        for name in names:
            address = 0
            if name in arrays:
                array = _lib.ascontiguousarray(_taken(arrays[name], name, "", ""))
                self.kept.append(array)
                address = array.data.ptr
            found.append(address)
        return found

    def _inputs(self, inputs: Arrays) -> list[int]:
        """Return addresses, then how many rows each has: 1 for what all share."""
        rows = [
            len(inputs[name]) if name in inputs and _own(name, inputs[name]) else 1
            for name in MODEL.inputs
        ]
        return [*self._of(inputs, MODEL.inputs), *rows]


def _own(name: str, x: Array) -> bool:
    """Tell whether each sample has an input of its own."""
    return x.ndim > len(MODEL.inputs[name].shape)


# --- running the steps ---------------------------------------------------------------


@_in_memory()
def _run_through(
    run: _Run, start: int, ends: tuple[int, ...], values: Arrays
) -> Arrays:
    """Return the fields (ends, batch, *shape) after so many steps each.

    The values are those after the first `start` steps.
    """
    out = _like_fields(run, len(ends))
    c = _with_margins(run.c, "Shared", run.dtype)
    for number, end in enumerate(ends):
        there = {name: z[number] for name, z in out.items()}
        given = _Addresses(run, z=values, out=(there, {}, {}))
        _send_steps(run, start, end, given.words, c)
        values, start = there, end
    return out


# [feature: readout]
@_in_memory()
def _readouts(run: _Run) -> Arrays:
    """Return the readouts of the final state."""
    kept = {
        name: _empty((run.batch, *variable.shape), run.dtype)
        for name, variable in MODEL.readouts.items()
    }
    given = _Addresses(run, z=_final_state(run), out=({}, {}, kept))
    c = _with_margins(run.c, "Shared", run.dtype)
    _send_readouts(run, given.words, c)
    return kept


# [end]
@_in_memory()
def _tangent(run: _Run, run_dot: _Run) -> Arrays:
    """Return the tangent of the final state along the tangents of all that is read."""
    out = _like_fields(run)
    given = _Addresses(run, more=(run_dot.z0, run_dot.inputs), out=(out, {}, {}))
    c = _with_margins(run.c, "Shared", run.dtype)
    c_dot = _with_margins(run_dot.c, "SharedTangents", run.dtype)
    _send_tangents(run, given.words, c, c_dot)
    return out


# --- gradients -----------------------------------------------------------------------

# bytes of the states of one sample above which fewer are kept
_STATES_BYTES = 1 << 24

# Sums go to so many slots, or fewer if they are large, each of a fixed range of
# samples, added in order: the device has no say in the result.
_SLOTS = max(1, min(256, (1 << 28) // (8 * _numbers("Totals"))))


def _kept(run: _Run, slots: int) -> int:
    """Return how many states are kept, of so many allowed."""
    state = _numbers("State") * run.dtype.itemsize
    return min(slots, _slots("sqrt")) if slots * state > _STATES_BYTES else slots


def _pull_back(run: _Run, zT_bar: Arrays, slots: int) -> dict[str, Any]:
    """Return the cotangents of all that is read, from that of the final state."""
    return _sum_up(run, slots, zT_bar, {})[1]


@_in_memory()
def _sum_up(
    run: _Run, slots: int, zT_bar: Arrays, targets: Arrays | None, every: int = 0
) -> tuple[Array, dict[str, Any]]:
    """Take all samples there and back, and add up the cotangents of what they share.

    With every > 0 the losses after every so many steps are the start of the way back.
    """
    sums = min(run.batch, _SLOTS)
    snapshots = MODEL.steps // every if every else 1
    losses = _empty((run.batch, snapshots), np.float64)
    totals = _lib.zeros((sums, _numbers("Totals")), np.float64)
    z_bar = _like_fields(run)
    x_bar = {
        name: _empty((run.batch, *variable.shape), run.dtype)
        for name, variable in MODEL.inputs.items()
    }
    given = _Addresses(run, y=targets, more=(zT_bar, {}), out=(z_bar, x_bar, {}))
    c = _with_margins(run.c, "Shared", run.dtype)
    _send_back(run, _kept(run, slots), every, given.words, c, totals, losses)
    total = _added("totals", run, totals)
    return losses, _finish(run, total, z_bar, x_bar, penalised=every > 0)


def _added(what: str, run: _Run, rows: Array) -> Array:
    """Return the sum of rows, added in their order, in float64."""
    total = _empty(rows.shape[1], np.float64)
    compiled = _compiled(run.dtype.name, (), _lib.cuda.Device().id, _CUDA_ADD)
    kernel = compiled.get_function(f"add_{what}")
    count, columns = rows.shape
    blocks = min(-(-columns // 128), 65535)
    kernel((blocks,), (128,), (np.int64(count), np.int64(columns), rows, total))
    return total


def _finish(
    run: _Run, total: Array, z_bar: Arrays, x_bar: Arrays, *, penalised: bool
) -> dict[str, Any]:
    """Pull the sums back to the parameters; return all in the dtype of the run."""
    numbers, start = _lib.asnumpy(total), 0
    sums = {name: np.zeros(shape) for name, shape in _SHARED.items()}
    for name, shape in _RECORDS["Totals"].items():
        stop = start + math.prod(shape)
        every = numbers[start:stop].reshape(shape)
        every = every[..., 0] if name in _LANED else every
        sums[name][_inner(name, sums[name].shape)] = every[_PLACES[name]]
        start = stop
    # [feature: penalty]
    if penalised:
        _penalty_vjp(run.c, sums)
    # [end]
    _coefficients_vjp(run.c, sums)
    return {
        "params": _handed_out({n: sums[n].astype(run.dtype) for n in MODEL.params}),
        "z0": _pack(z_bar, MODEL.fields),
        "inputs": {
            name: value if _own(name, run.inputs[name]) else _shared_input(run, value)
            for name, value in x_bar.items()
        },
    }


def _shared_input(run: _Run, x_bar: Array) -> Array:
    """Return the cotangent of an input that all samples share."""
    rows = x_bar.reshape(len(x_bar), -1)
    return _added("samples", run, rows).astype(x_bar.dtype).reshape(x_bar.shape[1:])


# [feature: loss]
@_in_memory()
def _losses_at(run: _Run, values: Arrays, targets: Arrays, number: int) -> Array:
    """Return the loss of each sample at a state."""
    losses = _empty(run.batch, np.float64)
    given = _Addresses(run, z=values, y=_targets_of(run, targets))
    c = _with_margins(run.c, "Shared", run.dtype)
    _send_losses(run, number, given.words, c, losses)
    return losses


def _targets_of(run: _Run, targets: Arrays) -> Arrays:
    """Return the targets as numbers of the run's dtype, classes too."""
    return {name: y.astype(run.dtype, copy=False) for name, y in targets.items()}


def _loss_gradients(
    run: _Run, targets: Arrays, slots: int
) -> tuple[Array, dict[str, Any]]:
    """Return the loss of each sample, (batch,), and the gradients of the mean loss."""
    y = _targets_of(run, targets)
    losses, grads = _sum_up(run, slots, {}, y, _SNAPSHOTS.step)
    return _lib.mean(losses, axis=1), grads


# [end]
