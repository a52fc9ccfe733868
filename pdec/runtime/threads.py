"""Tiles of the batch, and the threads that work them off."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from pdec.runtime.generated import MODEL

# --- threads -------------------------------------------------------------------------

# The batch is worked off in tiles of a few samples. A tile reads the run and its own
# samples, writes those, and has partial sums of its own, which are added in the order
# of the tiles: nothing depends on which tile runs when.


class _Queue:
    """Tiles that threads take in turn, and their results, folded in that order.

    Ctrl-C may come anywhere.  So what locks and waits is C: a Condition's `with` enters
    by way of Python, and interrupted there it would keep the lock.
    """

    def __init__(self, tiles: list[slice], ahead: int, fold: Callable[[Any], None]):
        self.failed: dict[int, Exception] = {}
        self._left, self._next = enumerate(tiles), SimpleQueue[Any]()
        self._results: dict[int, Any] = {}
        self._folded, self._fold, self._lock = 0, fold, threading.Lock()
        self._off = False
        for _ in range(ahead + 1):
            self._next.put(next(self._left, None))

    def serve(self, work: Callable[[slice, Any], Any], own: Any) -> None:
        """Take tiles until none is left."""
        while (tile := self._next.get()) and not self._off:
            try:
                self._give(tile[0], work(tile[1], own))
            except Exception as error:
                self.failed[tile[0]] = error
                self.call_off()
            except BaseException:  # or the others would wait for its result
                self.call_off()
                raise
        self._next.put(None)  # for the next thread

    def _give(self, number: int, result: Any) -> None:
        with self._lock:
            self._results[number] = result
            while self._folded in self._results:
                self._fold(self._results.pop(self._folded))
                self._folded += 1
                self._next.put(next(self._left, None))

    def call_off(self) -> None:
        """Let nobody take another tile, or wait for one."""
        self._off = True
        self._next.put(None)


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
    queue = _Queue(tiles, threads, fold or (lambda result: None))
    others = []
    try:
        for _ in range(threads - 1):
            context = contextvars.copy_context()  # has the caller's np.errstate
            pool = _pool(os.getpid(), _thread_count())
            others.append(pool.submit(context.run, queue.serve, work, space()))
        queue.serve(work, space())
    finally:
        queue.call_off()
        for other in others:
            if not other.cancel():
                other.result()
    try:
        if queue.failed:
            raise queue.failed[min(queue.failed)]
    finally:
        queue.failed.clear()  # it holds this frame, and with it all that was worked on


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
