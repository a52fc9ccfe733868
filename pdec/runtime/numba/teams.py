"""Teams of threads that share out the rows of a sample, where samples are few."""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from pdec.runtime.checks import _Run
from pdec.runtime.compiled import _ROWS
from pdec.runtime.generated import _AXES, MODEL
from pdec.runtime.numba.buffers import _EVERY_ROW
from pdec.runtime.threads import _thread_count

# --- teams ---------------------------------------------------------------------------

_Work = Callable[[int, int, tuple[Any, ...]], None]


# [feature: rows]
# rows of a member at least, and cells times steps: fewer take longer to share out
_MEMBER_ROWS, _MEMBER_WORK = 16, 1 << 20


def _members(tiles: int) -> int:
    """Return how many threads share a sample out, where so many are worked on."""
    first, last = _ROWS
    cells = math.prod(size for size, _, _ in _AXES)
    most = min((last - first) // _MEMBER_ROWS, cells * MODEL.steps // _MEMBER_WORK)
    return max(1, min(_thread_count() // tiles, most))


def _member(number: int, members: int) -> tuple[Any, Any]:
    """Return the rows of a member; how many there are, and a count of its meetings."""
    first, last = _ROWS
    cuts = [first + (last - first) * k // members for k in range(members + 1)]
    cuts[0], cuts[-1] = _EVERY_ROW  # margins too
    rows = np.array([cuts[number], cuts[number + 1]], np.uint16)
    return rows, np.array([members, 0])


@functools.cache
def _helpers(process: int, threads: int) -> tuple[ThreadPoolExecutor, Any]:
    """Return those who help threads that have samples, and a lock to have a team."""
    return ThreadPoolExecutor(threads, thread_name_prefix=MODEL.name), threading.Lock()


# [end]
def _in_team(
    run: _Run, rows: slice, tile: int, c: tuple[Any, ...], work: _Work
) -> None:
    """Call work(first, last, c) on some samples, in threads if they are few and large.

    Each thread has c with rows of its own; all add to the same sums, each in its rows.
    """
    # [feature: rows]
    members = _members(-(-run.batch // tile))
    if members > 1:
        work(rows.start, rows.start, c)  # compiles, so that nothing fails from here on
        counter = np.zeros(1, np.int64)
        first, *shares = (
            (*c[:-4], *_member(k, members), counter, c[-1]) for k in range(members)
        )
        pool, alone = _helpers(os.getpid(), _thread_count())
        try:
            with alone:  # teams wait in line whole: half of one would wait for ever
                others = [pool.submit(work, rows.start, rows.stop, c) for c in shares]
            work(rows.start, rows.stop, first)
        except BaseException:  # Ctrl-C: those who began wait for nobody
            counter[0] = 1 << 62
            raise
        for other in others:
            other.result()
        return
    # [end]
    work(rows.start, rows.stop, c)
