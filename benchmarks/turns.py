"""Variants of a workload that are timed in turn, each in a process of its own.

Threads that one library leaves spinning after a call would take a core from the next
one: a process whose turn it is not stands still.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import peers
import workloads
from workloads import Point

# Memory that was freed stays with a process, in one heap, as it does where much else is
# allocated.  To ask the system for each array anew would take NumPy three times as long
# on B1, and JAX up to twice.
KEEP = {
    "MALLOC_ARENA_MAX": 1,
    "MALLOC_MMAP_MAX_": 0,
    "MALLOC_TRIM_THRESHOLD_": 1 << 40,
}

SETTLES = 0.25  # seconds: the system's scheduler moves threads within some milliseconds


class Variant:
    """A process that computes a workload in the way that a label names."""

    def __init__(self, label: str, name: str, at: Point, *, quick: bool) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit threads
        self.label = label
        self._pipe, theirs = context.Pipe()
        arguments = label, name, quick, at, theirs
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def stop(self) -> None:
        """Stand still."""
        self._signal(signal.SIGSTOP)

    def end(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.join()

    def ask(self, what: str) -> Any:
        """Let the process go on, and return its answer.

        "ready": the names of what it can be asked to time; "result": loss and
        gradients; "gradient", "forward": the seconds of a run, the median of three,
        after a quarter of a second of others.
        """
        self._signal(signal.SIGCONT)
        try:
            self._pipe.send(what)
            answer = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise SystemExit(f"{self.label} ended before it answered") from None
        self.stop()
        return answer

    def _signal(self, number: int) -> None:
        if self._process.pid and self._process.is_alive():
            os.kill(self._process.pid, number)


@contextmanager
def started(
    labels: list[str], name: str, at: Point, *, quick: bool
) -> Iterator[list[Variant]]:
    """Processes for all labels, made ready one by one; they end with the block."""
    found: list[Variant] = []
    before = dict(os.environ)
    os.environ |= {key: str(value) for key, value in KEEP.items()}
    try:
        for label in labels:
            found.append(Variant(label, name, at, quick=quick))
            found[-1].ask("ready")
        for key in KEEP.keys() - before.keys():  # what else is measured has its own
            del os.environ[key]
        yield found
    finally:
        for variant in found:
            variant.end()


def _serve(label: str, name: str, quick: bool, at: Point, pipe: Connection) -> None:
    """What a process does: answer until nobody asks."""
    if sys.platform == "linux":  # one that stands still does not see its parent end
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    workload = workloads.all_of(quick=quick)[name]
    peer = peers.named(label, workload, at)
    while True:
        try:
            what = pipe.recv()
        except EOFError:
            return
        if what == "ready":
            peer.prepare()
            pipe.send([n for n in ("gradient", "forward") if getattr(peer, n)])
        elif what == "result":
            peer.prepare()
            loss, grads = peer.gradient()
            arrays = {key: np.asarray(grad) for key, grad in grads.items()}
            pipe.send((float(loss), arrays))
        else:
            pipe.send(_steady(getattr(peer, what), peer))


def _steady(run: Callable[[], Any], peer: peers.Peer) -> float:
    """The time of a run once caches are filled, and threads on cores of their own."""
    spent = 0.0
    while spent < SETTLES:
        spent += peers.seconds(run, peer)
    return statistics.median(peers.seconds(run, peer) for _ in range(3))
