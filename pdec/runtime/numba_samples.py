"""Compiled: some samples, through all their steps and back.

Each is one call without the interpreter, so that the states of a sample stay in the
cache.
"""

from __future__ import annotations

from typing import Any

from pdec.runtime.compiled import (
    _add_up,
    _clear_sample,
    _give_inputs,
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
from pdec.runtime.numba_tools import _compiled, _entry

# --- compiled: all steps of some samples ---------------------------------------------


@_compiled
def _begin(s: int, z: Any, x: Any, c: Any, v: Any) -> None:
    """Bring in sample s, at level 0; without z, the model says how it begins."""
    _take_inputs(s, x, v)
    # [feature: initial]
    if z is None:
        _initial(0, 0, 0, c, v)
        return
    # [end]
    _take_state(s, 0, z, v)


@_entry
def _run_samples(
    first: int,
    last: int,
    start: int,
    end: int,
    z: Any,
    x: Any,
    c: Any,
    v: Any,
    out: Any,
) -> None:
    """Run steps start to end - 1 of samples first to last - 1, from z to out."""
    for s in range(first, last):
        _begin(s, z, x, c, v)
        for n in range(start, end):
            _step(n, (n - start) % 2, (n - start + 1) % 2, c, v)
        _give_state(s, (end - start) % 2, v, out)


# [feature: readout]
@_entry
def _read_samples(
    first: int, last: int, z: Any, x: Any, c: Any, v: Any, out: Any
) -> None:
    """Read the states z of some samples out."""
    for s in range(first, last):
        _take_inputs(s, x, v)
        _take_state(s, 0, z, v)
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
        _take_inputs(s, x, v)
        _take_state(s, 0, z, v)
        _take_targets(s, number, y, v)
        # [feature: readout]
        _readout(0, 0, 0, c, v)
        # [end]
        out[s] = _loss(0, 0, 0, c, v)


# [end]
@_compiled
def _advance(start: int, end: int, place: int, c: Any, v: Any) -> None:
    """Run steps start to end - 1 from the level `place`; what follows goes to the next.

    Those between go to place + 2 and place + 1 in turn.
    """
    here = place
    for n in range(start, end):
        there = place + 1 + (end - n - 1) % 2
        _step(n, here % len(v[0]), there % len(v[0]), c, v)
        here = there


@_compiled
def _finish_sample(
    s: int, c: Any, v: Any, c_bar: Any, v_bar: Any, sums: Any, z_bar: Any, x_bar: Any
) -> None:
    """Take the cotangents of a sample out, once they are those of its initial state."""
    # [feature: initial]
    _initial_vjp(0, 0, 0, c, v, c_bar, v_bar)
    # [end]
    _give_state(s, 0, v_bar, z_bar)
    _give_inputs(s, v_bar, x_bar)
    _add_up(c_bar, sums)


@_entry
def _pull_samples(
    first: int,
    last: int,
    moves: Any,
    steps: int,
    z: Any,
    x: Any,
    zT_bar: Any,
    c: Any,
    v: Any,
    c_bar: Any,
    v_bar: Any,
    sums: Any,
    z_bar: Any,
    x_bar: Any,
) -> None:
    """Take samples there, and cotangents of their final states back."""
    levels = len(v[0])
    for s in range(first, last):
        _begin(s, z, x, c, v)
        _clear_sample(v_bar)
        _take_state(s, steps % 2, zT_bar, v_bar)
        for k in range(len(moves)):
            start, end, place = moves[k, 0], moves[k, 1], moves[k, 2]
            if start < end:
                _advance(start, end, place, c, v)
            else:
                here, there = place % levels, (place + 1) % levels
                _step_vjp(end, here, there, c, v, c_bar, v_bar)
        _finish_sample(s, c, v, c_bar, v_bar, sums, z_bar, x_bar)


# [feature: loss]
@_entry
def _differentiate_samples(
    first: int,
    last: int,
    moves: Any,
    every: int,
    z: Any,
    x: Any,
    y: Any,
    c: Any,
    v: Any,
    c_bar: Any,
    v_bar: Any,
    sums: Any,
    losses: Any,
    z_bar: Any,
    x_bar: Any,
) -> None:
    """Take samples there and back, with the loss after every so many steps."""
    levels = len(v[0])
    for s in range(first, last):
        _begin(s, z, x, c, v)
        _clear_sample(v_bar)
        for k in range(len(moves)):
            start, end, place = moves[k, 0], moves[k, 1], moves[k, 2]
            if start < end:
                _advance(start, end, place, c, v)
                continue
            here, there = place % levels, (place + 1) % levels
            if start % every == 0:
                number = start // every - 1
                _take_targets(s, number, y, v)
                # [feature: readout]
                _readout(start, there, 0, c, v)
                # [end]
                losses[s, number] = _loss(start, there, 0, c, v)
                _loss_vjp(start + 1, there, 0, c, v, c_bar, v_bar)
                _join_levels(start, v_bar)
            _step_vjp(end, here, there, c, v, c_bar, v_bar)
        _finish_sample(s, c, v, c_bar, v_bar, sums, z_bar, x_bar)


# [end]
@_compiled
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
    _take_state(s, 0, z_dot, v_dot)


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
        _begin(s, z, x, c, v)
        _begin_tangent(s, z_dot, x_dot, c, v, c_dot, v_dot)
        for n in range(steps):
            _step_jvp(n, n % 2, (n + 1) % 2, c, v, c_dot, v_dot)
        _give_state(s, steps % 2, v_dot, out)
