"""The arrays that compiled functions work on, in the order of their tuples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdec.runtime.checks import _Run
from pdec.runtime.compiled import (
    _C,
    _C_AROUND,
    _C_BAR,
    _C_PLACES,
    _C_SUMMED,
    _V,
    _V_BAR,
    _V_DOT,
)
from pdec.runtime.generated import MODEL
from pdec.runtime.types import Array, Arrays

# --- buffers -------------------------------------------------------------------------

_Tuple = tuple[Array, ...]


@dataclass(frozen=True)
class _Buffers:
    """What a thread has for one sample: values, cotangents or tangents, sums."""

    v: _Tuple
    v_more: _Tuple = ()
    c_more: _Tuple = ()

    @property
    def bytes(self) -> int:
        """The memory that the buffers take."""
        return sum(a.nbytes for a in (*self.v, *self.v_more, *self.c_more))


def _of_sample(
    shapes: Mapping[str, tuple[int, ...]], dtype: Any, levels: int, together: int = 1
) -> _Tuple:
    """Return arrays of samples side by side; a field has so many levels."""
    found = []
    for name, shape in shapes.items():
        kind, leading = dtype, (levels,) if name in MODEL.fields else ()
        shape = (shape[0] * together, *shape[1:]) if shape else shape
        # [feature: classes]
        if name in MODEL.targets and MODEL.targets[name].classes:
            kind = np.int64
        # [end]
        found.append(_zeros_of((*leading, *shape), kind))
    return tuple(found)


def _zeros_of(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return zeros that begin where a line of the cache does, for vectors to fit."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.zeros(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return np.asarray(room[start : start + size].view(dtype).reshape(shape))


def _forward_buffers(run: _Run, levels: int) -> _Buffers:
    return _Buffers(_of_sample(_V, run.dtype, levels))


def _backward_buffers(
    run: _Run, levels: int, loss_bar: float, together: int
) -> _Buffers:
    """Return what a way back needs; of cells, sums over samples taken together."""
    v_bar = _of_sample(_V_BAR, run.dtype, 2, together)
    for name, value in zip(_V_BAR, v_bar, strict=True):
        if name == "loss":
            value[...] = loss_bar
    c_bar = tuple(_zeros_of(_C_BAR[name], run.dtype) for name in _C_SUMMED)
    return _Buffers(_of_sample(_V, run.dtype, levels, together), v_bar, c_bar)


def _tangent_buffers(run: _Run) -> _Buffers:
    v_dot = _of_sample(_V_DOT, run.dtype, 2)
    return _Buffers(_of_sample(_V, run.dtype, 2), v_dot)


def _with_margins(
    c: Arrays, shapes: Mapping[str, tuple[int, ...]], dtype: Any
) -> _Tuple:
    """Return arrays that all samples share, each within its margins.

    Those that the way back reads around a periodic axis go on beyond its ends.
    """
    found = []
    for name, shape in shapes.items():
        array = _zeros_of(shape, dtype)
        if name in c:
            array[_C_PLACES[name]] = c[name]
        for axis, first, last in _C_AROUND.get(name, ()):
            places = np.arange(array.shape[axis]) - first
            around = first + places % (last - first)
            array[...] = array.take(around, axis)
        found.append(array)
    return tuple(found)


# [feature: rows]
# of 16 bits without a sign: LLVM then knows that no place in an array overflows, and
# need not see for each row whether it counts from behind (an eighth of the time)
_EVERY_ROW = 0, 2**16 - 1


# [end]
def _shared(run: _Run, together: int = 1) -> tuple[Any, ...]:
    """Return what all samples share, and as many places as take steps together.

    Between them stands that one thread has all rows: see _meet.
    """
    team: tuple[Any, ...] = ()
    # [feature: rows]
    rows = np.array(_EVERY_ROW, np.uint16)
    team = rows, np.array([1, 0]), np.zeros(1, np.int64)
    # [end]
    return (*_with_margins(run.c, _C, run.dtype), *team, (0,) * together)


# sums that are used up, for those of the next samples: fresh memory takes long
_ADDED: list[_Tuple] = []
_ADDED_BYTES = 1 << 26


def _zero_sums() -> _Tuple:
    """Return what a tile of samples adds up, in float64 and within margins."""
    try:
        sums = _ADDED.pop()
    except IndexError:
        return tuple(_zeros_of(shape, np.float64) for shape in _C_BAR.values())
    for each in sums:
        each[...] = 0.0
    return sums


def _add_sums(total: _Tuple, sums: _Tuple) -> None:
    """Add the sums over a tile to those over the batch."""
    for whole, part in zip(total, sums, strict=True):
        whole += part
    _keep(sums)


def _keep(sums: _Tuple) -> None:
    """Let others have the memory of sums that nobody reads any more."""
    if sum(each.nbytes for each in sums) * (len(_ADDED) + 1) <= _ADDED_BYTES:
        _ADDED.append(sums)


def _cells_of(sums: _Tuple) -> Arrays:
    """Return sums by name, without their margins."""
    found = {}
    for name, whole in zip(_C_BAR, sums, strict=True):
        places = _C_PLACES[name]
        # [feature: rows]
        if whole.ndim > len(places):  # kept apart for each row
            whole = whole.sum(axis=0)
        # [end]
        found[name] = np.asarray(whole[places])
    return found


def _as_tuple(arrays: Arrays) -> _Tuple:
    """Return arrays as compiled functions take them: contiguous, of one kind each."""
    return tuple(np.require(a, requirements=("C", "A", "W")) for a in arrays.values())


def _inputs_of(values: Arrays) -> _Tuple:
    """Return inputs with a batch axis, of length 1 for what all samples share."""
    return _as_tuple(
        {
            name: x if x.ndim > len(MODEL.inputs[name].shape) else x[None]
            for name, x in values.items()
        }
    )


def _like_fields(run: _Run, *leading: int) -> Arrays:
    """Allocate arrays (*leading, batch, *shape) by field."""
    return {
        name: np.zeros((*leading, run.batch, *field.shape), run.dtype)
        for name, field in MODEL.fields.items()
    }
