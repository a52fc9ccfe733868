"""B6: how time and peak memory of a gradient grow with the steps of B1.

    python benchmarks/growth.py VARIANT STEPS [--quick]

prints, for one variant at one number of steps, in a process of its own: the seconds of
a gradient, and by how many bytes the resident memory rose at its highest above what it
was before the first gradient.  What a library brings along is not counted; what it
compiles and allocates for this gradient is.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import peers
import workloads
from tables import table

DEPTHS = (16, 64, 256, 1024)
VARIANTS = ("pdec numba", "pdec numpy", "JAX scan", "JAX checkpoint", "PyTorch")


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Run every variant at every depth; {variant: {steps: {"seconds", "bytes"}}}."""
    found: dict[str, Any] = {}
    listed = [name for name in VARIANTS if name != "PyTorch" or find_spec("torch")]
    for variant in listed:
        found[variant] = {}
        for steps in DEPTHS[:2] if quick else DEPTHS:
            command = [sys.executable, __file__, variant, str(steps)]
            command += ["--quick"] if quick else []
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[variant][str(steps)] = json.loads(done.stdout.splitlines()[-1])
    return found


def tables(found: dict[str, Any]) -> list[str]:
    """Time and memory by steps, and what they are of pdec's."""
    depths = list(next(iter(found.values())))
    head = ["steps", *depths]
    texts = []
    for what, unit, scale in (("seconds", "ms", 1e3), ("bytes", "MB", 1e-6)):
        rows = [
            [name, *(f"{scale * each[n][what]:.1f}" for n in depths)]
            for name, each in found.items()
        ]
        said = {"seconds": "time", "bytes": "rise of the peak memory"}[what]
        texts.append(f"B6, B1 at several depths: {said} of a gradient in {unit}:")
        texts.append(table(head, rows))
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("steps", type=int)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    sizes = {"cells": 64, "batch": 8} if options.quick else {}
    workload = workloads.line("B6", "float32", steps=options.steps, **sizes)
    peer = _peer(options.variant, workload)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from here on
    before = _memory("VmRSS")
    peer.prepare()
    peer.gradient()
    peak = _memory("VmHWM")
    times = []
    while not times or (sum(times) < 1.0 and len(times) < 20):
        begin = time.perf_counter()
        peer.gradient()
        times.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": min(times), "bytes": peak - before}))


def _peer(variant: str, workload: workloads.Workload) -> peers.Peer:
    target = "numba" if variant == "pdec numba" else "numpy"
    module = peers.load(workload, target)
    at = workloads.point(workload, module)
    if variant == "pdec numba":  # what it compiles is kept, and is no part of a run
        one = {n: {k: a[:1] for k, a in v.items()} for n, v in at.arguments.items()}
        module.value_and_grad(at.p, **one, check="off")
    if variant.startswith("pdec"):
        return peers.ours(module, at)
    if variant == "PyTorch":
        return peers.torch_of(workload, at, compiled=False, threads=2)
    return peers.jax_of(workload, at, again=variant == "JAX checkpoint")


def _memory(field: str) -> int:
    """Resident memory of this process in bytes: VmRSS now, VmHWM at its highest."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    main()
