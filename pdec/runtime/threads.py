"""Tiles of the batch, and the threads that work them off."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pdec.runtime.generated import MODEL

# --- threads -------------------------------------------------------------------------

# The batch is worked off in tiles of a few samples. A tile reads the run and its own
# samples, writes those, and has partial sums of its own, which are added in the order
# of the tiles: nothing depends on which tile runs when.


def _each_tile(
    batch: int,
    size: int,
    space: Callable[[], Any],
    work: Callable[[slice, Any], Any],
    fold: Callable[[Any], None] | None = None,
) -> None:
    """Call work(rows, space) for each tile of a size, and fold(its result) in order.

    The caller's thread is one of those at work, which have a space of their own each;
    only as many results wait to be folded. An exception, Ctrl-C too, calls off the
    tiles that have not begun.
    """
    tiles = [slice(a, min(a + size, batch)) for a in range(0, batch, size)]
    threads = min(_thread_count(), len(tiles))
    left, turn, folded = deque(enumerate(tiles)), threading.Condition(), 0
    receive = fold or (lambda result: None)
    results: dict[int, Any] = {}
    failed: dict[int, Exception] = {}

    def serve(own: Any) -> None:
        nonlocal folded
        while True:
            with turn:
                while left and left[0][0] > folded + threads:
                    turn.wait()
                if not left:
                    return
                number, rows = left.popleft()
            try:
                result = work(rows, own)
                with turn:
                    results[number] = result
                    while folded in results:
                        receive(results.pop(folded))
                        folded += 1
                    turn.notify_all()
            except Exception as error:
                failed[number] = error
                call_off()
            except BaseException:  # or the others would wait for its result
                call_off()
                raise

    def call_off() -> None:
        with turn:
            left.clear()
            turn.notify_all()

    others = []
    try:
        for _ in range(threads - 1):
            context = contextvars.copy_context()  # has the caller's np.errstate
            pool = _pool(os.getpid(), _thread_count())
            others.append(pool.submit(context.run, serve, space()))
        serve(space())
    finally:
        call_off()
        for other in others:
            if not other.cancel():
                other.result()
    try:
        if failed:
            raise failed[min(failed)]
    finally:
        failed.clear()  # it holds this frame, and with it all that was worked on


# what the last call of each family worked on: new memory is filled with zeros by the
# system, which takes as long as several steps
_KEPT: dict[Any, tuple[tuple[Any, ...], list[Any]]] = {}
_KEPT_BYTES = 1 << 28


@contextlib.contextmanager
def _spaces(
    kind: tuple[Any, ...], make: Callable[[], Sequence[Any]]
) -> Iterator[Callable[[], Any]]:
    """Yield what gives spaces: those of the last call, if it was of the same kind.

    The first entry of a kind is its family, of which one is kept; a call that fails
    leaves nothing behind.
    """
    before, kept = _KEPT.pop(kind[0], (None, []))  # nobody else has these
    free, used = kept if before == kind else [], []

    def space() -> Any:
        used.append(free.pop() if free else make())
        return used[-1]

    yield space
    _KEPT[kind[0]] = kind, used[: _KEPT_BYTES // sum(own.bytes for own in used[0])]


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the threads of this process: those of a parent do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix=MODEL.name)


def _thread_count() -> int:
    """Return PDEC_NUM_THREADS, or as many as there are cores for this process."""
    text = os.environ.get("PDEC_NUM_THREADS", "").strip()
    if text:
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(
                f"PDEC_NUM_THREADS is {text!r}, expected a whole number >= 1"
            )
        return int(text)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
