"""Compiled: some samples, through all their steps and back.

Each is one call without the interpreter, so that the states of a sample stay in the
cache.
"""

from __future__ import annotations

from typing import Any

from pdec.runtime.compiled import (
    _ROW,
    _add_up,
    _clear_levels,
    _give_cotangents,
    _give_readouts,
    _give_state,
    _initial,
    _initial_jvp,
    _initial_vjp,
    _join_levels,
    _loss,
    _loss_vjp,
    _readout,
    _step,
    _step_jvp,
    _step_vjp,
    _take_inputs,
    _take_state,
    _take_tangents,
    _take_targets,
)
from pdec.runtime.numba.meeting import _meet
from pdec.runtime.numba.tools import _entry, _inlined

# --- compiled: all steps of some samples ---------------------------------------------


@_inlined
def _leads(c: Any) -> bool:
    """Whether a thread is the first of those that share samples out, or alone."""
    # [feature: rows]
    leads: bool = c[-4][0] == 0
    return leads
    # [end]
    # [feature: not rows]
    return True
    # [end]


@_inlined
def _wait(c: Any) -> None:
    """Wait for those that share samples out, if some do."""
    # [feature: rows]
    _meet(c[-3], c[-2])
    # [end]


@_inlined
def _begin(s: int, row: int, z: Any, x: Any, c: Any, v: Any) -> None:
    """Bring in sample s, at level 0; without z, the model says how it begins."""
    _take_inputs(s, row, x, v)
    # [feature: initial]
    if z is None:
        _initial(0, 0, 0, row, c, v)
        return
    # [end]
    _take_state(s, 0, row, z, v)


@_inlined
def _begin_all(
    first: int, last: int, z: Any, x: Any, c: Any, v: Any, v_bar: Any
) -> None:
    """Bring in samples that take steps together.

    Where there are fewer, the last one comes again, without a cotangent: it adds 0.
    """
    for k in range(len(c[-1])):
        _begin(min(first + k, last - 1), _ROW * k, z, x, c, v)
        # [feature: every]
        _clear_levels(_ROW * k, v_bar)
        # [end]
        # [feature: not every]
        if first + k >= last:
            _clear_levels(_ROW * k, v_bar)
        # [end]


@_entry
def _run_samples(
    first: int,
    last: int,
    start: int,
    ends: Any,
    z: Any,
    x: Any,
    c: Any,
    v: Any,
    out: Any,
) -> None:
    """Run samples first to last - 1 from step start on; z goes to out at the ends."""
    batch = len(out[0]) // len(ends)
    for s in range(first, last):
        if _leads(c):
            _begin(s, 0, z, x, c, v)
        n = start
        for number in range(len(ends)):
            while n < ends[number]:
                _step(n, (n - start) % 2, (n - start + 1) % 2, c, v)
                n += 1
            _wait(c)
            if _leads(c):
                _give_state(number * batch + s, (n - start) % 2, 0, v, out)


# [feature: readout]
@_entry
def _read_samples(
    first: int, last: int, z: Any, x: Any, c: Any, v: Any, out: Any
) -> None:
    """Read the states z of some samples out."""
    for s in range(first, last):
        _take_inputs(s, 0, x, v)
        _take_state(s, 0, 0, z, v)
        _readout(0, 0, 0, c, v)
        _give_readouts(s, v, out)


# [end]
# [feature: loss]
@_entry
def _judge_samples(
    first: int, last: int, number: int, z: Any, x: Any, y: Any, c: Any, v: Any, out: Any
) -> None:
    """Take the loss of the states z of some samples, with the targets of a snapshot."""
    for s in range(first, last):
        _take_inputs(s, 0, x, v)
        _take_state(s, 0, 0, z, v)
        _take_targets(s, number, y, v)
        # [feature: readout]
        _readout(0, 0, 0, c, v)
        # [end]
        out[s] = _loss(0, 0, 0, c, v)


# [end]
# What goes there and back has: given, the inputs and what cotangents begin with; space,
# the values, the cotangents of what all share, and those of values; out, the sums and
# the cotangents of states and inputs.


@_inlined
def _end_all(first: int, last: int, c: Any, space: Any, out: Any) -> None:
    """Take the cotangents out of samples that took their steps together."""
    _, c_bar, v_bar = space
    sums, z_bar, x_bar = out
    _wait(c)
    if _leads(c):
        for k in range(min(len(c[-1]), last - first)):
            # [feature: initial]
            _initial_vjp(0, 0, 0, _ROW * k, c, space[0], c_bar, v_bar)
            # [end]
            _give_cotangents(first + k, _ROW * k, v_bar, z_bar, x_bar)
        _add_up(c_bar, sums)


@_entry
def _pull_samples(
    first: int, last: int, moves: Any, z: Any, given: Any, c: Any, space: Any, out: Any
) -> None:
    """Take samples there, and cotangents of their final states back."""
    (x, zT_bar, steps), (v, c_bar, v_bar) = given, space
    for s in range(first, last, len(c[-1])):
        if _leads(c):
            _begin_all(s, last, z, x, c, v, v_bar)
            for k in range(min(len(c[-1]), last - s)):
                _take_state(s + k, steps % 2, _ROW * k, zT_bar, v_bar)
        for m in range(len(moves)):
            n, here, there, back = moves[m, 0], moves[m, 1], moves[m, 2], moves[m, 3]
            if back:
                _step_vjp(n, here, there, c, v, c_bar, v_bar)
            else:
                _step(n, here, there, c, v)
        _end_all(s, last, c, space, out)


# [feature: loss]
@_entry
def _differentiate_samples(
    first: int, last: int, moves: Any, z: Any, given: Any, c: Any, space: Any, out: Any
) -> None:
    """Take samples there and back, with the loss after every so many steps."""
    (x, y, every, losses), (v, c_bar, v_bar) = given, space
    for s in range(first, last, len(c[-1])):
        if _leads(c):
            _begin_all(s, last, z, x, c, v, v_bar)
        for m in range(len(moves)):
            n, here, there, back = moves[m, 0], moves[m, 1], moves[m, 2], moves[m, 3]
            if not back:
                _step(n, here, there, c, v)
                continue
            number, due = (n + 1) // every - 1, (n + 1) % every == 0
            if due:
                _wait(c)
            if due and _leads(c):
                for k in range(min(len(c[-1]), last - s)):
                    row = _ROW * k
                    _take_targets(s + k, number, y, v)
                    # [feature: every]
                    loss = _loss_vjp(n, there, 0, row, c, v, c_bar, v_bar)
                    _join_levels(n + 1, row, v_bar)
                    # [end]
                    # [feature: not every]
                    loss = _loss_vjp(n + 1, there, 0, row, c, v, c_bar, v_bar)
                    # [end]
                    losses[s + k, number] = loss
            _step_vjp(n, here, there, c, v, c_bar, v_bar)
        _end_all(s, last, c, space, out)


# [end]
@_inlined
def _begin_tangent(
    s: int, z_dot: Any, x_dot: Any, c: Any, v: Any, c_dot: Any, v_dot: Any
) -> None:
    """Bring in the tangents of sample s, likewise."""
    _take_tangents(s, x_dot, v_dot)
    # [feature: initial]
    if z_dot is None:
        _initial_jvp(0, 0, 0, c, v, c_dot, v_dot)
        return
    # [end]
    _take_state(s, 0, 0, z_dot, v_dot)


@_entry
def _push_samples(
    first: int,
    last: int,
    steps: int,
    z: Any,
    x: Any,
    z_dot: Any,
    x_dot: Any,
    c: Any,
    v: Any,
    c_dot: Any,
    v_dot: Any,
    out: Any,
) -> None:
    """Run all steps of samples and of their tangents."""
    for s in range(first, last):
        _begin(s, 0, z, x, c, v)
        _begin_tangent(s, z_dot, x_dot, c, v, c_dot, v_dot)
        for n in range(steps):
            _step_jvp(n, n % 2, (n + 1) % 2, c, v, c_dot, v_dot)
        _give_state(s, steps % 2, 0, v_dot, out)
