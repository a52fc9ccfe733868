"""Peak memory of a gradient through 4,096 steps, for each choice of ``checkpoint``.

    python benchmarks/memory.py

compiles one model, traces what ``value_and_grad`` allocates (tracemalloc) and prints
the peaks.  The exit status is 1 where "sqrt" needs more than 4 % of "all", or where a
gradient differs in a single bit from that of "all".
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

import pdec

STEPS = 4096
BATCH = 4
BOUND = 0.04
CHOICES: tuple[Any, ...] = ("all", "sqrt", 32, 16, 8)

MODEL = f"""\
grid x[512] on [0, 1) periodic
field z(x)
param W0 init 0.9, W1 init 1e-4, W2 >= 0 init 1e-7
param b(x)
f(s) = tanh(s)
dz/dt = -(z - f(W0 z + W1 ∂z + W2 ∂²z - b))
steps {STEPS}
ω = 0.1
target y(x)
loss = mean((z - y)²)
"""


def main() -> int:
    """Measure every choice, print the table, and judge it."""
    os.environ["PDEC_NUM_THREADS"] = "1"  # each thread has a workspace of its own
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "deep.npde")
        file.write_text(MODEL, encoding="utf-8")
        module = pdec.load(file)
    rng = np.random.default_rng(0)
    p = module.init_params(dtype=np.float64)
    z0, y = rng.uniform(-1.0, 1.0, (2, BATCH, 512))
    module.value_and_grad(p, z0[:1], y[:1], checkpoint="sqrt")  # what is made once
    print(f"{STEPS} steps of {BATCH} × 512 numbers in float64")
    print(f"{'checkpoint':<12}{'states':>8}{'peak':>12}{'of all':>9}{'time':>10}")
    peaks: dict[Any, int] = {}
    first: bytes | None = None
    failures = []
    for choice in CHOICES:
        begin = time.perf_counter()
        tracemalloc.start()
        _, grads = module.value_and_grad(p, z0, y, checkpoint=choice)
        peaks[choice] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        seconds = time.perf_counter() - begin
        bits = b"".join(g.tobytes() for g in grads.values())
        first = bits if first is None else first
        if bits != first:
            failures.append(f"the gradient of checkpoint={choice!r} differs")
        share = peaks[choice] / peaks["all"]
        print(
            f"{choice!s:<12}{module._slots(choice) + 2:>8,}"
            f"{peaks[choice] / 1e6:>9.2f} MB{share:>8.2%}{seconds:>8.2f} s"
        )
    if peaks["sqrt"] > BOUND * peaks["all"]:
        failures.append(f'"sqrt" needs more than {BOUND:.0%} of "all"')
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
