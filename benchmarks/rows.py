"""Time one sample on one thread and on two, which share its rows out.

    python benchmarks/rows.py [128 256 512] [--steps 128] [--rounds 15]

B2's equation on planes of so many cells a side, batch 1, in turn on one thread and on
two: medians in milliseconds, and the ratio.  Both must give the same bits.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from typing import Any

import peers
import workloads
from tables import table

THREADS = "1", "2"


def measure(side: int, steps: int, rounds: int) -> list[list[str]]:
    """The rows of the table for planes with so many cells a side."""
    workload = workloads.plane(f"P{side}", cells=side, batch=1, steps=steps)
    module = peers.load(workload, "numba")
    peer = peers.ours(module, workloads.point(workload, module))
    rows = []
    for what, run in (("gradient", peer.gradient), ("forward", peer.forward)):
        assert run is not None
        alike(run)
        times: dict[str, list[float]] = {threads: [] for threads in THREADS}
        for _ in range(rounds):
            for threads, taken in times.items():
                os.environ["PDEC_NUM_THREADS"] = threads
                taken.append(peers.seconds(run, peer))
        one, two = (statistics.median(taken) for taken in times.values())
        numbers = [f"{1e3 * one:.2f}", f"{1e3 * two:.2f}", f"{one / two:.2f} ×"]
        rows.append([f"{side} × {side}", what, *numbers])
    return rows


def alike(run: Callable[[], Any]) -> None:
    """Exit where two threads compute other bits than one."""
    found = []
    for threads in THREADS:
        os.environ["PDEC_NUM_THREADS"] = threads
        result = run()
        parts = result[1].values() if isinstance(result, tuple) else [result]
        found.append([part.tobytes() for part in parts])
    if found[0] != found[1]:
        raise SystemExit("two threads differ from one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sides", nargs="*", type=int, default=[128, 256, 512])
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rows = [
        row
        for side in options.sides
        for row in measure(side, options.steps, options.rounds)
    ]
    print(table(["cells", "", "1 thread", "2 threads", ""], rows))


if __name__ == "__main__":
    main()
