"""The machine's ceilings: operations of a core, bytes to and from each level of memory.

    python benchmarks/ceilings.py

compiles ceilings.c and prints, for one thread and for as many as there are cores, the
fused multiply-adds in a second and the speed of STREAM's triad on arrays of several
sizes: the numbers that docs/performance.md compares the steps of B1 and B2 with.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from peers import build
from tables import table

SIZES = {"24 kB": 2_000, "384 kB": 32_000, "6 MB": 500_000, "192 MB": 16_000_000}


def best(work: Callable[[int], Any], threads: int, repeats: int = 5) -> float:
    """The least seconds in which all threads have done their work."""
    times = []
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
        for _ in range(repeats):
            begin = time.perf_counter()
            list(pool.map(work, range(threads)))
            times.append(time.perf_counter() - begin)
    return min(times)


def operations(library: Any, threads: int) -> float:
    """Operations in a second, a multiply-add counted as two."""
    rounds = 2_000_000
    function = library.multiply_add
    function.restype = ctypes.c_float
    x, y = ctypes.c_float(0.999), ctypes.c_float(0.001)
    taken = best(lambda _: function(ctypes.c_long(rounds), x, y), threads)
    return threads * 2 * 256 * rounds / taken


def bandwidth(library: Any, count: int, threads: int) -> float:
    """Bytes in a second of the triad on arrays of so many numbers a thread."""
    count //= threads if count > 1_000_000 else 1
    rounds = max(1, 100_000_000 // count)
    spaces = [[np.ones(count, np.float32) for _ in range(3)] for _ in range(threads)]

    def work(k: int) -> None:
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in spaces[k]]
        sizes = ctypes.c_long(rounds), ctypes.c_long(count)
        library.triad(*sizes, *pointers, ctypes.c_float(0.5))

    return threads * 12 * count * rounds / best(work, threads, 3)


def measure() -> dict[str, dict[str, float]]:
    """Operations and bytes in a second, by what and by the number of threads."""
    library = build("ceilings")
    counts = sorted({1, len(os.sched_getaffinity(0))})
    found = {"multiply-adds, 10⁹ operations": {}}
    for n in counts:
        found["multiply-adds, 10⁹ operations"][str(n)] = operations(library, n)
    for name, count in SIZES.items():
        speeds = {str(n): bandwidth(library, count, n) for n in counts}
        found[f"triad on {name}, 10⁹ bytes"] = speeds
    return found


def tables(found: dict[str, dict[str, float]]) -> list[str]:
    """What the machine can do at most in a second."""
    counts = list(next(iter(found.values())))
    heads = ["", *(f"{n} thread{'s' * (n != '1')}" for n in counts)]
    rows = [
        [name, *(f"{each[n] / 1e9:.0f}" for n in counts)]
        for name, each in found.items()
    ]
    return ["The machine's ceilings, in a second:", table(heads, rows)]


if __name__ == "__main__":
    print("\n\n".join(tables(measure())))
