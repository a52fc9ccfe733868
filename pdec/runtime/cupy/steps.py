"""Kernels that take a sample through one phase of one step, by many blocks.

Input: the run, and the addresses of what it reads and writes (driver.py). All that
a call has of its own stands in one table on the GPU, so that the launches of a call,
hundreds of them, are the same in the next one: they are captured as a CUDA graph once
they are needed again.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import Any

import numpy as np

from pdec.runtime.checkpoints import _schedule
from pdec.runtime.checks import _Run
from pdec.runtime.cuda import _BLOCKS, _LAUNCHES, _THREADS
from pdec.runtime.cupy.arrays import _is_full, _lib
from pdec.runtime.cupy.driver import (
    _ROOM,
    _compiled,
    _empty,
    _lanes_bytes,
    _numbers,
)
from pdec.runtime.cupy.launches import (
    _going_back,
    _joining,
    _judging,
    _Launch,
    _pushing,
    _reading,
    _running,
)
from pdec.runtime.generated import MODEL
from pdec.runtime.types import Array

# --- CUDA C: one phase of some samples -----------------------------------------------

# Row y of the blocks works on a sample, or on none: that number stands in the table
# behind the lists of addresses. A state lies in one of the sample's places.
_CUDA_KERNELS = r"""
extern __shared__ __align__(16) unsigned char chip[];
enum {
    OF_ALL, OF_ALL_DOT, STATES, PLACES, VALUES, MORE, SUMS, TOTALS, LOSSES, COUNT, GIVEN
};
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
#define ARGUMENTS const Word *table, long long n, long long from, long long to
#define SAMPLE \
    const Word *given = table + GIVEN; \
    const long long s = given[AT_SAMPLES + blockIdx.y]; \
    if (s < 0) return; \
    Team team = {int(blockIdx.x * THREADS + threadIdx.x), (double *)chip}; \
    State *states = (State *)table[STATES] + blockIdx.y * table[PLACES]; \
    State &here = states[from], &there = states[to]; \
    const Shared &c = *(const Shared *)table[OF_ALL]; \
    Values &v = ((Values *)table[VALUES])[blockIdx.y]
#define OWN(Kind, at) (((Kind *)table[at])[blockIdx.y])
#define FORWARD(part) \
    KERNEL run_##part(ARGUMENTS) \
    { \
        SAMPLE; \
        part(team, n, here, there, c, v); \
    }
#define TANGENT(part) \
    KERNEL run_##part(ARGUMENTS) \
    { \
        SAMPLE; \
        const SharedTangents &c_dot = *(const SharedTangents *)table[OF_ALL_DOT]; \
        part(team, n, here, there, c, v, c_dot, OWN(Tangents, MORE)); \
    }
#define BACKWARD(part) \
    KERNEL run_##part(ARGUMENTS) \
    { \
        SAMPLE; \
        Sums &sums = OWN(Sums, SUMS); \
        Totals &totals = OWN(Totals, TOTALS); \
        part(team, n, here, there, c, v, sums, totals, OWN(Cotangents, MORE)); \
    }

// Bring in samples, and the states that they begin with if these are given.
KERNEL begin(ARGUMENTS)
{
    SAMPLE;
    take_inputs(team, s, given + AT_X, v);
    if (given[AT_Z] != 0) take_state(team, s, given + AT_Z, here);
}
KERNEL give(ARGUMENTS)
{
    SAMPLE;
    give_state(team, s, given + AT_Z_OUT, here);
}
# [feature: readout]
KERNEL give_read(ARGUMENTS)
{
    SAMPLE;
    give_readouts(team, s, given + AT_READ_OUT, v);
}
# [end]

// Tangents.
KERNEL begin_tangent(ARGUMENTS)
{
    SAMPLE;
    Tangents &v_dot = OWN(Tangents, MORE);
    take_inputs(team, s, given + AT_X_MORE, v_dot);
    if (given[AT_Z_MORE] != 0) take_level(team, s, n, given + AT_Z_MORE, v_dot);
}
KERNEL give_tangent(ARGUMENTS)
{
    SAMPLE;
    give_level(team, s, n, given + AT_Z_OUT, OWN(Tangents, MORE));
}

// The way back: from cotangents of the last state, or from losses (COUNT of them).
KERNEL clear(ARGUMENTS)
{
    SAMPLE;
    clear_sample(team, OWN(Cotangents, MORE));
}
KERNEL take_back(ARGUMENTS)
{
    SAMPLE;
    take_level(team, s, n, given + AT_Z_MORE, OWN(Cotangents, MORE));
}
KERNEL end_back(ARGUMENTS)
{
    SAMPLE;
    Cotangents &v_bar = OWN(Cotangents, MORE);
    give_level(team, s, 0, given + AT_Z_OUT, v_bar);
    give_inputs(team, s, given + AT_X_OUT, v_bar);
    add_up(team, OWN(Sums, SUMS), OWN(Totals, TOTALS));
}
KERNEL join(ARGUMENTS)
{
    Team team = {int(blockIdx.x * THREADS + threadIdx.x), (double *)chip};
    join_lanes(team, ((Totals *)table[TOTALS])[blockIdx.y]);
}
# [feature: loss]
KERNEL aim(ARGUMENTS)
{
    SAMPLE;
    take_targets(team, s, n, given + AT_Y, v);
}
KERNEL judge(ARGUMENTS)
{
    SAMPLE;
    if (team.lane == 0) ((double *)table[LOSSES])[s] = loss_of(v);
}
KERNEL score(ARGUMENTS)
{
    SAMPLE;
    if (team.lane == 0) ((double *)table[LOSSES])[n + s * SNAPSHOTS] = loss_of(v);
    set_loss(team, real(1.0 / table[COUNT]), OWN(Cotangents, MORE));
}
KERNEL join_back(ARGUMENTS)
{
    SAMPLE;
    join_levels(team, n, OWN(Cotangents, MORE));
}
# [end]
"""

# --- launches ------------------------------------------------------------------------

# launches that a graph may have; more of them are sent one by one
_MOST_LAUNCHES = 1 << 14


@functools.cache
def _kernels(name: str, dtype: str, device: int) -> list[Any]:
    """Return a kernel or, of a function of the model, that of each phase."""
    names = [f"run_{name}_{k}" for k in range(_LAUNCHES.get(name, 0))]
    compiled = _compiled(dtype, (), device)
    every = names if name in _LAUNCHES else [name]
    return [compiled.get_function(one) for one in every]


def _entries() -> str:
    """Return the kernels of all functions of the model, as macros of CUDA C."""
    kinds = {"vjp": "BACKWARD", "jvp": "TANGENT"}
    return "".join(
        f"{kinds.get(function.rpartition('_')[2], 'FORWARD')}({function}_{k})\n"
        for function, count in _LAUNCHES.items()
        for k in range(count)
    )


_CUDA_KERNELS += _entries()


class _Line:
    """The launches of a call in their order, for so many samples at a time.

    It is for one stream and one thread, so that what it keeps on the GPU is read before
    it is written again, and before it is given back.
    """

    def __init__(self, dtype: str, groups: int, launches: list[_Launch]) -> None:
        device = _lib.cuda.Device().id
        self.launches = [
            (kernel, tuple(map(np.int64, numbers)))
            for name, *numbers in launches
            for kernel in _kernels(name, dtype, device)
        ]
        self.groups, self.shared = groups, _lanes_bytes(np.dtype(dtype))
        self.table: Any = None
        self.graph: Any = None
        self.plain = len(self.launches) > _MOST_LAUNCHES  # never a graph

    def send(self, words: list[int]) -> None:
        """Run all launches on the current stream; the words become their table.

        What is sent again is captured before: the first time may be the only one. Where
        a graph does not fit the memory, its launches may.
        """
        again, made = self.table is not None, np.array(words, np.int64)
        if not again:
            self.table = _empty(made.shape, np.int64)
        self.table[...] = _lib.asarray(made)
        if again and not self.plain:
            try:
                self.graph = self.graph or self._captured()
                self.graph.launch()
            except Exception as error:
                if not _is_full(error):
                    raise
                self.graph, self.plain = None, True
        if self.graph is None:
            self._play()

    def _captured(self) -> Any:
        stream = _lib.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                self._play()
            except Exception:
                with contextlib.suppress(Exception):  # it says less of what is wrong
                    stream.end_capture()
                raise
            return stream.end_capture()

    def _play(self) -> None:
        grid = _BLOCKS, self.groups
        for kernel, numbers in self.launches:
            given = self.table, *numbers
            kernel(grid, (_THREADS,), given, shared_mem=self.shared)


@functools.lru_cache(maxsize=64)  # those of whole runs
def _line(
    where: tuple[int, ...], dtype: str, groups: int, make: Any, *how: Any
) -> _Line:
    """Return a line of its own for each place that launches come from."""
    return _Line(dtype, groups, make(*how))


def _where() -> tuple[int, ...]:
    """Return where launches come from, and go to."""
    stream = _lib.cuda.get_current_stream()
    return _lib.cuda.Device().id, stream.ptr, threading.get_ident()


# --- a call --------------------------------------------------------------------------


def _work(
    run: _Run,
    groups: int,
    *,
    places: int,
    more: str = "",
    c: Array,
    c_dot: Array | None = None,
    losses: Array | None = None,
) -> tuple[list[int], list[Any]]:
    """Return the head of a table, and the arrays in it, which must outlive the call."""

    def zeros(record: str, count: int = 1) -> Any:
        numbers = _numbers(record) * count if record else 0
        return _lib.zeros((groups, numbers), run.dtype)

    beside, sums = zeros(more), zeros("Sums" if more == "Cotangents" else "")
    arrays = [c, c_dot, zeros("State", places), zeros("Values"), beside, sums, losses]
    at: list[Any] = [0 if array is None else _address(array) for array in arrays]
    count = 0 if losses is None else losses.size
    return [*at[:3], places, *at[3:6], 0, at[6], count], arrays


def _address(array: Any) -> int:
    return int(array.data.ptr)


def _at_once(run: _Run, places: int, most: int, *records: str) -> int:
    """Return how many samples are at work at a time."""
    numbers = places * _numbers("State") + sum(map(_numbers, ("Values", *records)))
    return max(1, min(most, 65535, _ROOM // (numbers * run.dtype.itemsize)))


def _send_all(
    run: _Run, given: list[int], make: Any, *how: Any, whole: bool = True, **work: Any
) -> None:
    """Send the launches for all samples, some at a time."""
    more = work.get("more", "")
    groups = _at_once(run, 2, run.batch, *([more] if more else []))
    head, _alive = _work(run, groups, places=2, **work)
    made = _line if whole else _line.__wrapped__
    line = made(_where(), run.dtype.name, groups, make, *how)
    for first in range(0, run.batch, groups):
        rows = range(first, first + groups)
        line.send([*head, *given, *(s if s < run.batch else -1 for s in rows)])


def _send_steps(run: _Run, start: int, end: int, given: list[int], c: Array) -> None:
    """Run steps start to end - 1 of all samples."""
    whole = (start, end) == (0, MODEL.steps)
    _send_all(run, given, _running, given[0] != 0, start, end, whole=whole, c=c)


# [feature: readout]
def _send_readouts(run: _Run, given: list[int], c: Array) -> None:
    """Read the states of all samples out."""
    _send_all(run, given, _reading, given[0] != 0, c=c)


# [end]
def _send_tangents(run: _Run, given: list[int], c: Array, c_dot: Array) -> None:
    """Take the tangents of all samples through all steps."""
    begun = given[0] != 0
    _send_all(run, given, _pushing, begun, c=c, c_dot=c_dot, more="Tangents")


# [feature: loss]
def _send_losses(
    run: _Run, number: int, given: list[int], c: Array, losses: Array
) -> None:
    """Take the loss of all samples, with the targets of a snapshot."""
    judging = _judging, given[0] != 0, number
    _send_all(run, given, *judging, whole=False, c=c, losses=losses)


# [end]
def _send_back(
    run: _Run,
    slots: int,
    every: int,
    given: list[int],
    c: Array,
    totals: Array,
    losses: Array,
) -> None:
    """Take all samples there and back; a row of totals is for a range of samples.

    A sample of each of some ranges is at work at a time.
    """
    places = 3 + max((place for *_, place in _schedule(slots)), default=0)
    rows, batch, where = len(totals), run.batch, _where()
    groups = _at_once(run, places, rows, "Cotangents", "Sums")
    head, _alive = _work(
        run, groups, places=places, more="Cotangents", c=c, losses=losses
    )
    back = _going_back, given[0] != 0, slots, every
    line = _line(where, run.dtype.name, groups, *back)
    ranges = [range(k * batch // rows, (k + 1) * batch // rows) for k in range(rows)]
    for first in range(0, rows, groups):
        some = ranges[first : first + groups]
        some += [range(0)] * (groups - len(some))
        head[7] = _address(totals[first:])
        for k in range(max(map(len, some))):
            samples = [r[k] if k < len(r) else -1 for r in some]
            line.send([*head, *given, *samples])
    head[7] = _address(totals)
    join = _line(where, run.dtype.name, rows, _joining)
    join.send([*head, *given, *([0] * rows)])
