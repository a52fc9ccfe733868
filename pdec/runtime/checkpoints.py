"""Checkpointing: which states the way back keeps, and which it computes again.

To go back through step n, its two states must be at hand. With s states kept beside the
two that a step works on, and no step run more than r times, the way back through

    C(s + r, s) = (s + r)! / (s! r!)

steps can be found, and no more (Griewank 1992; Griewank & Walther 2000, Algorithm 799).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np

from pdec.runtime.generated import MODEL

# --- checkpoints ---------------------------------------------------------------------

Checkpoint: TypeAlias = Literal["all", "sqrt"] | int


def _slots(checkpoint: Checkpoint) -> int:
    """Return how many states are kept at a time, beside the two of a step.

    "all" is as many as there are; "sqrt" as few as let no step run more than twice,
    about √(2 steps): then (s + 1)(s + 2)/2 >= steps.
    """
    most = max(MODEL.steps - 1, 0)
    if checkpoint == "all":
        return most
    if checkpoint == "sqrt":
        return min(most, math.ceil(math.sqrt(2.0 * MODEL.steps + 0.25) - 1.5))
    given: object = checkpoint
    whole = isinstance(given, int | np.integer) and not isinstance(given, bool)
    if not whole or int(checkpoint) < 1:
        raise ValueError(
            f'checkpoint is {checkpoint!r}, expected "all", "sqrt" '
            "or how many states to keep, a whole number >= 1"
        )
    return min(most, int(checkpoint))


def _schedule(slots: int) -> Iterator[tuple[int, int, int]]:
    """Yield the moves of the way there and back, as (from, to, place).

    States are kept in places 0, 1, …, one on top of the other. Forward, from n to m:
    run steps n to m - 1 from the state in `place`, and keep what they lead to in the
    next place; the one behind it is free for those between. Backward, from n + 1 to n:
    the states after n and n + 1 steps are in `place` and the next one.
    """
    kept = [0]  # the states in places 0, 1, …, as numbers of steps
    for last in range(MODEL.steps, 0, -1):
        if len(kept) > 1 and kept[-2] < last - 1:
            kept.pop()  # what leads to it is not there
        while kept[-1] < last:
            n, place = kept[-1], len(kept) - 1
            kept.append(n + _stride(last - n, slots - place))
            yield n, kept[-1], place
        kept.pop()
        yield last, last - 1, len(kept) - 1


def _stride(steps: int, slots: int) -> int:
    """Return after how many of these steps the next state is best kept.

    r is how often a step must run at most. The steps before the state that is kept may
    run r - 1 times more, and those behind it r times, with one slot less.
    """
    if steps == 1:
        return 1
    r = 1
    while math.comb(slots + r, r) < steps:
        r += 1
    before = math.comb(slots + r - 1, r - 1)
    return min(before, steps - math.comb(slots + r - 2, r - 1))
