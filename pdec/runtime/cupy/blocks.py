"""Kernels that take a sample through all its steps in one launch, by one block.

Input: the run, and the addresses of what it reads and writes (driver.py).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from pdec.runtime.checkpoints import _schedule
from pdec.runtime.checks import _Run
from pdec.runtime.cuda import _THREADS
from pdec.runtime.cupy.arrays import _lib
from pdec.runtime.cupy.driver import (
    _ROOM,
    _compiled,
    _empty,
    _lanes_bytes,
    _numbers,
)
from pdec.runtime.generated import MODEL
from pdec.runtime.types import Array

# --- CUDA C: all steps of some samples -----------------------------------------------

# An address list holds the fields (z), the inputs (x, and whether each sample has its
# own: how many rows), the targets, what else comes in (tangents, or cotangents of the
# last state, like z and x), and what goes out (like z and x, then the readouts).
_CUDA_KERNELS = r"""
struct Forward {
    __align__(16) double lanes[ROOM];
    Values v;
};
struct Backward {
    __align__(16) double lanes[ROOM];
    Values v;
    Cotangents v_bar;
    Sums sums;
};
struct Tangent {
    __align__(16) double lanes[ROOM];
    Values v;
    Tangents v_dot;
};

// What a team works in: the memory of its chip, or a room of the device's memory.
#ifdef IN_CHIP
#define WORK_IN(Kind) \
    extern __shared__ __align__(16) unsigned char chip[]; \
    Kind &w = *(Kind *)chip
#else
#define WORK_IN(Kind) Kind &w = ((Kind *)room)[GROUP]
#endif
#define GROUP blockIdx.x
#define GROUPS gridDim.x
#define A_TEAM {int(threadIdx.x), w.lanes}
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

// Bring in a sample; without a state, the model says how it begins.
__device__ void begin(
    Team team, long long s, long long n, const Word *given, const Shared &c, Values &v)
{
    take_inputs(team, s, given + AT_X, v);
# [feature: initial]
    if (given[AT_Z] == 0) {
        initial(team, 0, c, v);
        return;
    }
# [end]
    take_state(team, s, n, given + AT_Z, v);
}

// Steps start to end - 1 of all samples.
KERNEL run_samples(
    long long batch, long long start, long long end, const Word *given,
    const Shared *c, char *room)
{
    WORK_IN(Forward);
    Team team = A_TEAM;
    wipe(team, w);
    team.meet();
    for (long long s = GROUP; s < batch; s += GROUPS) {
        begin(team, s, start, given, *c, w.v);
        for (long long n = start; n < end; n++) step(team, n, *c, w.v);
        give_state(team, s, end, given + AT_Z_OUT, w.v);
    }
}

# [feature: readout]
// The readouts of states.
KERNEL read_samples(
    long long batch, const Word *given, const Shared *c, char *room)
{
    WORK_IN(Forward);
    Team team = A_TEAM;
    wipe(team, w);
    team.meet();
    for (long long s = GROUP; s < batch; s += GROUPS) {
        begin(team, s, 0, given, *c, w.v);
        readout(team, 0, *c, w.v);
        give_readouts(team, s, given + AT_READ_OUT, w.v);
    }
}

# [end]
# [feature: loss]
// The losses of states, with the targets of a snapshot.
KERNEL judge_samples(
    long long batch, long long number, const Word *given, const Shared *c,
    double *losses, char *room)
{
    WORK_IN(Forward);
    Team team = A_TEAM;
    wipe(team, w);
    team.meet();
    for (long long s = GROUP; s < batch; s += GROUPS) {
        begin(team, s, 0, given, *c, w.v);
        take_targets(team, s, number, given + AT_Y, w.v);
# [feature: readout]
        readout(team, 0, *c, w.v);
# [end]
        loss(team, 0, *c, w.v);
        if (team.lane == 0) losses[s] = loss_of(w.v);
        team.meet();
    }
}

# [end]
// The tangents of all steps.
KERNEL push_samples(
    long long batch, long long steps, const Word *given, const Shared *c,
    const SharedTangents *c_dot, char *room)
{
    WORK_IN(Tangent);
    Team team = A_TEAM;
    wipe(team, w);
    team.meet();
    for (long long s = GROUP; s < batch; s += GROUPS) {
        begin(team, s, 0, given, *c, w.v);
        take_inputs(team, s, given + AT_X_MORE, w.v_dot);
        if (given[AT_Z_MORE] != 0) take_state(team, s, 0, given + AT_Z_MORE, w.v_dot);
# [feature: initial]
        if (given[AT_Z_MORE] == 0) initial_jvp(team, 0, *c, w.v, *c_dot, w.v_dot);
# [end]
        for (long long n = 0; n < steps; n++)
            step_jvp(team, n, *c, w.v, *c_dot, w.v_dot);
        give_state(team, s, steps, given + AT_Z_OUT, w.v_dot);
    }
}

// The way there and back: from the loss after every so many steps (every > 0), or from
// given cotangents of the last state. The moves are rows (from, to, place); `kept` has
// a state for each place. A state is kept once the step from it has filled its ghost
// cells; of the two in hand, `held` says after how many steps they are.
KERNEL differentiate_samples(
    long long batch, long long steps, long long every, double loss_bar,
    long long slots, long long moves, const int *move, long long places, State *kept,
    const Word *given, const Shared *c, Totals *totals, double *losses, char *room)
{
    WORK_IN(Backward);
    Team team = A_TEAM;
    wipe(team, w);
    team.meet();
    State *own = kept + GROUP * places;
    for (long long slot = GROUP; slot < slots; slot += GROUPS) {
        Totals &total = totals[slot];
        for (long long s = slot * batch / slots; s < (slot + 1) * batch / slots; s++) {
            long long held[2] = {0, -1};
            begin(team, s, 0, given, *c, w.v);
            clear_sample(team, w.v_bar);
            if (every == 0) take_state(team, s, steps, given + AT_Z_MORE, w.v_bar);
            for (long long k = 0; k < moves; k++) {
                long long n = move[3 * k], end = move[3 * k + 1];
                State &at = own[move[3 * k + 2]];
                if (n < end) {
                    if (held[n % 2] != n) fetch(team, n, at, w.v);
                    step(team, n, *c, w.v);
                    keep(team, n, w.v, at);
                    for (long long m = n + 1; m < end; m++) step(team, m, *c, w.v);
                    held[end % 2] = end;
                    held[(end - 1) % 2] = end - 1;
                    continue;
                }
# [feature: loss]
                if (every > 0 && n % every == 0) {
                    long long number = n / every - 1;
                    take_targets(team, s, number, given + AT_Y, w.v);
# [feature: readout]
                    readout(team, n, *c, w.v);
# [end]
                    loss(team, n, *c, w.v);
                    if (team.lane == 0) losses[number + s * SNAPSHOTS] = loss_of(w.v);
                    set_loss(team, real(loss_bar), w.v_bar);
                    loss_vjp(team, n, *c, w.v, w.sums, total, w.v_bar);
                    join_levels(team, n, w.v_bar);
                }
# [end]
                if (held[end % 2] != end) fetch(team, end, at, w.v);
                held[end % 2] = end;
                step_vjp(team, end, *c, w.v, w.sums, total, w.v_bar);
            }
# [feature: initial]
            if (given[AT_Z] == 0)
                initial_vjp(team, 0, *c, w.v, w.sums, total, w.v_bar);
# [end]
            give_state(team, s, 0, given + AT_Z_OUT, w.v_bar);
            give_inputs(team, s, given + AT_X_OUT, w.v_bar);
            add_up(team, w.sums, total);
        }
        join_lanes(team, total);
    }
}
"""

# --- one launch for all steps --------------------------------------------------------

# what a kernel works in, besides a number of each thread: these records
_WORK_IN: dict[str, tuple[str, ...]] = {
    "run_samples": ("Values",),
    "read_samples": ("Values",),
    "judge_samples": ("Values",),
    "push_samples": ("Values", "Tangents"),
    "differentiate_samples": ("Values", "Cotangents", "Sums"),
}


def _working_bytes(kernel: str, dtype: np.dtype[Any]) -> int:
    """Return the bytes that a kernel works in for one sample."""
    numbers = sum(_numbers(record) for record in _WORK_IN[kernel])
    return -(-(_lanes_bytes(dtype) + numbers * dtype.itemsize) // 16) * 16


@functools.cache
def _kernel(name: str, dtype: str, in_chip: bool, device: int) -> Any:
    """Return a kernel, which may use as much memory of the chip as it needs."""
    options = ("-DIN_CHIP",) if in_chip else ()
    kernel = _compiled(dtype, options, device).get_function(name)
    if in_chip:
        kernel.max_dynamic_shared_size_bytes = _working_bytes(name, np.dtype(dtype))
    return kernel


def _launch(name: str, run: _Run, groups: int, more: int, *arguments: Any) -> None:
    """Run a kernel on the current stream; `groups` samples at a time, or fewer.

    Each takes `more` bytes besides those that it works in.
    """
    device = _lib.cuda.Device()
    size = _working_bytes(name, run.dtype)
    in_chip = size <= device.attributes["MaxSharedMemoryPerBlockOptin"]
    groups = max(1, min(groups, _ROOM // (more + (0 if in_chip else size) + 1)))
    kernel = _kernel(name, run.dtype.name, in_chip, device.id)
    words = [np.float64(a) if isinstance(a, float) else a for a in arguments]
    words = [np.int64(a) if isinstance(a, int) else a for a in words]
    if callable(words[-1]):  # what each group has of its own
        words[-1:] = words[-1](groups)
    room = _empty(1 if in_chip else groups * size, np.uint8)
    shared = size if in_chip else 0
    kernel((groups,), (_THREADS,), (*words, room), shared_mem=shared)


def _words(given: list[int]) -> Array:
    words: Array = _lib.asarray(np.array(given, np.int64))
    return words


def _send_steps(run: _Run, start: int, end: int, given: list[int], c: Array) -> None:
    """Run steps start to end - 1 of all samples."""
    _launch("run_samples", run, run.batch, 0, run.batch, start, end, _words(given), c)


# [feature: readout]
def _send_readouts(run: _Run, given: list[int], c: Array) -> None:
    """Read the states of all samples out."""
    _launch("read_samples", run, run.batch, 0, run.batch, _words(given), c)


# [end]
def _send_tangents(run: _Run, given: list[int], c: Array, c_dot: Array) -> None:
    """Take the tangents of all samples through all steps."""
    batch, steps = run.batch, MODEL.steps
    _launch("push_samples", run, batch, 0, batch, steps, _words(given), c, c_dot)


# [feature: loss]
def _send_losses(
    run: _Run, number: int, given: list[int], c: Array, losses: Array
) -> None:
    """Take the loss of all samples, with the targets of a snapshot."""
    words, batch = _words(given), run.batch
    _launch("judge_samples", run, batch, 0, batch, number, words, c, losses)


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
    """Take all samples there and back; a row of totals is for a range of samples."""
    moves = np.array(list(_schedule(slots)), np.int32).reshape(-1, 3)
    places = 1 + int(moves[:, 2].max(initial=0))
    state, sums = _numbers("State"), len(totals)
    _launch(
        "differentiate_samples",
        run,
        sums,
        places * state * run.dtype.itemsize,
        run.batch,
        MODEL.steps,
        every,
        1.0 / losses.size,
        sums,
        len(moves),
        _lib.asarray(moves),
        places,
        lambda groups: (
            _empty((groups, places, state), run.dtype),
            _words(given),
            c,
            totals,
            losses,
        ),
    )
