"""Kernels that take a sample through one phase of one step, by many blocks.

Input: the run, and the addresses of what it reads and writes (cupy_driver.py). All that
a call has of its own stands in one table on the GPU, so that the launches of a call,
hundreds of them, are the same in the next one: they are captured as a CUDA graph once
they are needed again.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from pdec.runtime.checkpoints import _schedule
from pdec.runtime.checks import _Run
from pdec.runtime.cuda import _BLOCKS, _LAUNCHES, _THREADS
from pdec.runtime.cupy.arrays import _in_memory, _lib
from pdec.runtime.cupy.driver import _ROOM, _compiled, _empty, _numbers
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

# a launch: of which function, with which step, from one place of a state to another
_Launch: TypeAlias = tuple[str, int, int, int]

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
    """The launches of a call in their order, for so many samples at a time."""

    def __init__(
        self, dtype: str, device: int, groups: int, launches: list[_Launch]
    ) -> None:
        self.launches = [
            (kernel, tuple(map(np.int64, numbers)))
            for name, *numbers in launches
            for kernel in _kernels(name, dtype, device)
        ]
        self.groups = groups
        self.table: Any = None
        self.graph: Any = None
        self.done = _lib.cuda.Event(disable_timing=True)
        self.sent = threading.Lock()

    def send(self, words: list[int]) -> None:
        """Run all launches on the current stream; the words become their table.

        What is sent again is captured before: the first time may be the only one.
        """
        stream = _lib.cuda.get_current_stream()
        with self.sent:
            stream.wait_event(self.done)  # it may have been sent to another stream
            again, made = self.table is not None, np.array(words, np.int64)
            if not again:
                self.table = _empty(made.shape, np.int64)
            self.table[...] = _lib.asarray(made)
            if again and self.graph is None and len(self.launches) <= _MOST_LAUNCHES:
                self.graph = self._captured()
            try:
                self._play() if self.graph is None else self.graph.launch()
            finally:
                self.done.record()

    def _captured(self) -> Any:
        stream = _lib.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                self._play()
            finally:
                graph = stream.end_capture()
        return graph

    def _play(self) -> None:
        grid, shared = (_BLOCKS, self.groups), 8 * _THREADS
        for kernel, numbers in self.launches:
            kernel(grid, (_THREADS,), (self.table, *numbers), shared_mem=shared)


def _line_of(
    dtype: str, device: int, groups: int, make: Callable[..., list[_Launch]], *how: Any
) -> _Line:
    return _Line(dtype, device, groups, make(*how))


_line = functools.lru_cache(maxsize=32)(_line_of)  # those of whole runs


# --- what is launched ----------------------------------------------------------------


def _beginning(given: bool) -> list[_Launch]:
    """Bring in samples; without a state, the model says how they begin."""
    found = [("begin", 0, 0, 0)]
    # [feature: initial]
    if not given:
        found.append(("initial", 0, 0, 0))
    # [end]
    return found


def _running(given: bool, start: int, end: int) -> list[_Launch]:
    """Steps start to end - 1; the states alternate between two places."""
    steps = [
        ("step", n, (n - start) % 2, (n + 1 - start) % 2) for n in range(start, end)
    ]
    return [*_beginning(given), *steps, ("give", 0, (end - start) % 2, 0)]


# [feature: readout]
def _reading(given: bool) -> list[_Launch]:
    return [*_beginning(given), ("readout", 0, 0, 0), ("give_read", 0, 0, 0)]


# [end]
# [feature: loss]
def _judging(given: bool, number: int) -> list[_Launch]:
    return [
        *_beginning(given),
        ("aim", number, 0, 0),
        # [feature: readout]
        ("readout", 0, 0, 0),
        # [end]
        ("loss", 0, 0, 0),
        ("judge", 0, 0, 0),
    ]


# [end]
def _pushing(given: bool) -> list[_Launch]:
    """Tangents, which lie at two levels in turn."""
    found = [*_beginning(given), ("begin_tangent", 0, 0, 0)]
    # [feature: initial]
    if not given:
        found.append(("initial_jvp", 0, 0, 0))
    # [end]
    steps = MODEL.steps
    found += [("step_jvp", n, n % 2, (n + 1) % 2) for n in range(steps)]
    return [*found, ("give_tangent", steps, 0, 0)]


def _going_back(given: bool, slots: int, every: int) -> list[_Launch]:
    """There and back; states between two that are kept go to the places behind them."""
    found = [*_beginning(given), ("clear", 0, 0, 0)]
    if every == 0:
        found.append(("take_back", MODEL.steps, 0, 0))
    for start, end, place in _schedule(slots):
        here = place
        for n in range(start, end):
            there = place + 1 + (end - n - 1) % 2
            found.append(("step", n, here, there))
            here = there
        if start < end:
            continue
        # [feature: loss]
        if every > 0 and start % every == 0:
            state = (start, place + 1, place)
            found += [
                ("aim", start // every - 1, 0, 0),
                # [feature: readout]
                ("readout", *state),
                # [end]
                ("loss", *state),
                ("score", start // every - 1, 0, 0),
                ("loss_vjp", *state),
                ("join_back", *state),
            ]
        # [end]
        found.append(("step_vjp", end, place, place + 1))
    # [feature: initial]
    if not given:
        found.append(("initial_vjp", 0, 0, 0))
    # [end]
    return [*found, ("end_back", 0, 0, 0)]


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
        with _in_memory():
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
    kept = _line if whole else _line_of
    line = kept(run.dtype.name, _lib.cuda.Device().id, groups, make, *how)
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
    rows, batch, device = len(totals), run.batch, _lib.cuda.Device().id
    groups = _at_once(run, places, rows, "Cotangents", "Sums")
    head, _alive = _work(
        run, groups, places=places, more="Cotangents", c=c, losses=losses
    )
    line = _line(
        run.dtype.name, device, groups, _going_back, given[0] != 0, slots, every
    )
    ranges = [range(k * batch // rows, (k + 1) * batch // rows) for k in range(rows)]
    for first in range(0, rows, groups):
        some = ranges[first : first + groups]
        some += [range(0)] * (groups - len(some))
        head[7] = _address(totals[first:])
        for k in range(max(map(len, some))):
            samples = [r[k] if k < len(r) else -1 for r in some]
            line.send([*head, *given, *samples])
    head[7] = _address(totals)
    join = _line(run.dtype.name, device, rows, _joining)
    join.send([*head, *given, *([0] * rows)])


def _joining() -> list[_Launch]:
    """Add the parts of sums up."""
    return [("join", 0, 0, 0)]
