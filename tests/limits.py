"""A limit on the processor time of a piece of code, for tests of hostile text."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

SECONDS = 2.0


class TooSlow(BaseException):
    """The time is up; no ``except Exception`` of the code that runs may hide it."""


@contextlib.contextmanager
def time_limit(seconds: float = SECONDS) -> Iterator[None]:
    """Raise ``TooSlow`` after so many seconds of processor time, not of the clock."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    # Again and again: a signal that lands inside a callback of C code is swallowed.
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
