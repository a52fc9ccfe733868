"""Which functions are launched in a call, in which order, where each phase is a launch.

A launch is (function, step, place of a state before it, place of the state after it).
"""

from __future__ import annotations

from typing import TypeAlias

from pdec.runtime.checkpoints import _schedule
from pdec.runtime.generated import MODEL

# --- what is launched ----------------------------------------------------------------

# a launch: of which function, with which step, from one place of a state to another
_Launch: TypeAlias = tuple[str, int, int, int]


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


def _joining() -> list[_Launch]:
    """Add the parts of sums up."""
    return [("join", 0, 0, 0)]
