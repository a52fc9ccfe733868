"""B7: from a model's text to its first gradient, in a new process.

    python benchmarks/first.py VARIANT [--quick]

prints the seconds from the start of the program, imports included, to the first
gradient of B1.  ``measure`` runs each variant twice: cold, with empty folders for what
is kept of a compilation, and warm, with what the first run left there.
"""

from __future__ import annotations

import time

BEGIN = time.perf_counter()  # before all other imports, which count

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from importlib.util import find_spec  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from tables import table  # noqa: E402

VARIANTS = ("pdec numba", "pdec numpy", "JAX scan", "PyTorch", "torch.compile")
KEPT = ("PDEC_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR")
SHARED = "TORCHINDUCTOR_CACHE_DIR"  # if set: for others to find what takes a minute


def measure(*, quick: bool = False, compiled: bool = True) -> dict[str, Any]:
    """{variant: {"cold": seconds, "warm": seconds}}."""
    found: dict[str, Any] = {}
    for variant in VARIANTS:
        if "orch" in variant and not find_spec("torch"):
            continue
        if variant == "torch.compile" and not compiled:
            continue
        command = [sys.executable, __file__, variant, *(["--quick"] if quick else [])]
        with tempfile.TemporaryDirectory() as folder:
            kept = {SHARED: folder, **os.environ, **dict.fromkeys(KEPT, folder)}
            found[variant] = {}
            for state in ("cold", "warm"):
                done = subprocess.run(
                    command, check=True, capture_output=True, text=True, env=kept
                )
                seconds = json.loads(done.stdout.splitlines()[-1])["seconds"]
                found[variant][state] = seconds
    return found


def tables(found: dict[str, Any]) -> list[str]:
    """Seconds, cold and warm."""
    rows = [
        [name, f"{each['cold']:.1f}", f"{each['warm']:.1f}"]
        for name, each in found.items()
    ]
    text = "B7, seconds from the text of B1 to its first gradient, in a new process:"
    return [text, table(["", "cold", "warm"], rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    import numpy as np
    import workloads

    sizes = {"cells": 32, "batch": 3, "steps": 4} if options.quick else {}
    workload = workloads.line("B7", "float32", **sizes)
    if options.variant.startswith("pdec"):
        import pdec

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "B7.npde"
            file.write_text(workload.text, "utf-8")
            module = pdec.load(file, target=options.variant.removeprefix("pdec "))
        at = workloads.point(workload, module)
        module.value_and_grad(at.p, **at.arguments, check="off")
    else:
        import peers

        rng = np.random.default_rng(0)
        batch, cells = workload.batch, 32 if options.quick else 1024
        z, y = (0.5 * rng.random((2, batch, cells))).astype("float32")
        p = {n: np.zeros(cells, "float32") for n in ("W0", "W1", "W2", "b")}
        at = workloads.Point(p, z, y, {})
        if options.variant == "JAX scan":
            peers.jax_of(workload, at, again=False).gradient()
        else:
            compiled = options.variant == "torch.compile"
            peers.torch_of(workload, at, compiled=compiled, threads=2).gradient()
    print(json.dumps({"seconds": time.perf_counter() - BEGIN}))


if __name__ == "__main__":
    main()
