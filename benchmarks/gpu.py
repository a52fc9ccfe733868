"""Check the CuPy target on a GPU, then time it beside JAX and PyTorch on the same GPU.

    python benchmarks/gpu.py [B1 B2 B3 B3p B3w B4] [--output bench-gpu] [--seconds 480]

It needs what pdec needs and CuPy; of JAX and PyTorch those with CUDA, or they are left
out and named.  The workloads and the peers are those of ``speed.py``, with B3p of
channels on a plane and B3w of many channels, so that each kind of kernel has one: B1
and B3 a block a sample, B2, B3p and B4 a launch for each phase, B3w cuBLAS.

Every variant must give the loss and the gradients of the NumPy target, ours three
times, as launches become a graph after the first, before they are timed, interleaved;
a time is that of one loss with its gradients, from the call until the device has done.
"pdec arrays" is no peer: the same model without kernels.  "kernels" is the device's own
time between the first and the last launch of ``pdec cupy``, and its share is that of
what the roofline asks for: states written and read once at the bandwidth of a copy, or
products at the rate of cuBLAS in the same precision, whichever takes longer.

What fails is named and left out, what there is no time for too; the table comes last,
and what there is so far is in gpu.txt and gpu.json of the output folder.  The exit is 1
if anything of ours failed, 2 if there is no GPU.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# before JAX is imported: memory as it is needed, and products of float32 in float32
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")

import numpy as np
from peers import jax_of, load, torch_of
from workloads import Point, Workload, all_of, channels, point

Run = Callable[[], tuple[float, Any]]
NAMES = ("B1", "B2", "B3", "B3p", "B3w", "B4")
LEAST_ROUNDS = 3


@dataclass
class Report:
    """The rows of the table so far, the same as numbers, and what failed."""

    folder: Path
    rows: list[str] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def add(self, *rows: str, **numbers: Any) -> None:
        """Keep rows and numbers, in the folder too."""
        self.rows += rows
        self.numbers |= numbers
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "gpu.txt").write_text("\n".join(self.rows) + "\n", "utf-8")
        given = {"failed": self.failed, **self.numbers}
        (self.folder / "gpu.json").write_text(json.dumps(given, indent=1), "utf-8")

    def fail(self, what: str, error: Exception, *, ours: bool = True) -> None:
        """Name what failed, and go on."""
        traceback.print_exception(error)
        words = f"{what}: {type(error).__name__}: {error}".splitlines()[0][:120]
        if ours:
            self.failed.append(words)
        self.add(f"{'':<5}{words}")


def main(argv: Sequence[str] | None = None) -> int:
    """Check and time; 1 where ours failed, 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--torch-compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=480, help="to stop after")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try it")
    parser.add_argument("--output", type=Path, default=Path("bench-gpu"))
    args = parser.parse_args(argv)
    end = time.monotonic() + args.seconds
    try:
        cupy = importlib.import_module("cupy")
        cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        print(f"no GPU to measure on: {error}", file=sys.stderr)
        return 2
    report = Report(args.output)
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    rates = ceilings(cupy, small=args.quick)
    words = ", ".join(f"{rates[k] / 1e12:.2f} {u}" for k, u in UNITS.items())
    report.add(f"{name}: {words}; CuPy {cupy.__version__}", device=name, **rates)
    report.add(f"{'':<5}{'variant':<16}{'ms':>9}{'slowest':>9}{'ratio':>8}")
    for name in args.names:
        if time.monotonic() > end:
            report.add(f"{name:<5}left out: no time")
            continue
        try:
            measure(cupy, workload_of(name, args.quick), args, end, report, rates)
        except Exception as error:
            report.fail(name, error)
    print("\n".join(report.rows))
    return 1 if report.failed else 0


def workload_of(name: str, quick: bool) -> Workload:
    """A workload by name."""
    if name == "B3w":
        sizes = {"d": 64, "cells": 8} if quick else {"d": 128, "cells": 1024}
        return channels("B3w", batch=2 if quick else 16, **sizes)
    if name == "B3p":
        return channels_plane(cells=8, batch=2) if quick else channels_plane()
    return all_of(quick=quick)[name]


def channels_plane(*, d: int = 24, cells: int = 96, batch: int = 8) -> Workload:
    """Matrices that act on the channels of the cells of a plane."""
    dx2 = (1 / cells) ** 2

    def step(xp: Any, p: Any, z: Any) -> Any:
        around = xp.roll(z, 1, -1) + xp.roll(z, -1, -1)
        around = around + xp.roll(z, 1, -2) + xp.roll(z, -1, -2)
        products = xp.einsum("ik,bkxy->bixy", p["W0"], z) + xp.einsum(
            "ik,bkxy->bixy", p["W2"], (around - 4 * z) / dx2
        )
        return 0.5 * z + 0.5 * xp.tanh(products - p["b"])

    text = f"""\
dim d = {d}
grid x[{cells}] on [0, 1) periodic, y[{cells}] on [0, 1) periodic
field z[d](x, y)
param W0[d,d] init normal(0, 0.1), W2[d,d] init normal(0, {0.05 * dx2:g})
param b[d](x, y) init normal(0, 0.01)
dz/dt = -(z - tanh(W0 z + W2 ∇²z - b))
steps 16
ω = 0.5
target q[d](x, y)
loss = mean((z - q)²)/2
"""
    base = channels("B3p", d=d, cells=cells, batch=batch, steps=16)
    return replace(base, text=text, step=step, prepare=lambda p: p)


# --- what the device can do -----------------------------------------------------------

UNITS = {
    "bytes": "TB/s copied",
    "float32": "TFLOP/s of products in float32",
    "float64": "in float64",
}


def ceilings(cupy: Any, *, small: bool) -> dict[str, float]:
    """Bytes per second that a copy reads and writes, and operations of a product."""
    n = 64 if small else 8192
    rng = np.random.default_rng(0)
    source = cupy.asarray(rng.random((n, n), np.float32))
    target = cupy.asarray(np.zeros((n, n), np.float32))

    def copy() -> None:
        target[...] = source

    found = {"bytes": 2 * source.nbytes / seconds(cupy, copy)}
    for dtype in ("float32", "float64"):
        a = cupy.asarray(rng.random((n // 2, n // 2)).astype(dtype))
        product = seconds(cupy, lambda a=a: cupy.matmul(a, a))
        found[dtype] = 2 * (n // 2) ** 3 / product
    return found


def seconds(cupy: Any, run: Callable[[], Any]) -> float:
    """The least time of a few runs, from the call until the device has done."""
    times = []
    for _ in range(5):
        cupy.cuda.Device().synchronize()
        start = time.perf_counter()
        run()
        cupy.cuda.Device().synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def least(workload: Workload, at: Point, rates: dict[str, float]) -> float:
    """The milliseconds that the roofline asks for: of the states, or of products.

    There and back there are three products for each matrix that acts on the channels of
    a cell: with it, with its transpose, and the gradient's.
    """
    states = 2 * (workload.steps + 1) * at.z.nbytes / rates["bytes"]
    matrices = sum(p.size for n, p in at.p.items() if n[0] == "W" and p.ndim == 2)
    matrices *= workload.name.startswith("B3")
    cells = at.z.size // at.z.shape[1] * workload.steps
    return 1e3 * max(states, 2 * 3 * matrices * cells / rates[workload.dtype])


# --- a workload -----------------------------------------------------------------------


def measure(
    cupy: Any,
    workload: Workload,
    args: Any,
    end: float,
    report: Report,
    rates: dict[str, float],
) -> None:
    """Check the variants of a workload, and time those that are right."""
    runs, expected, at, module = variants(workload, args.torch_compile, report)
    (kind,) = re.findall(r"^(?:kernels|arrays) .*", str(module.__doc__), re.MULTILINE)
    report.add(f"{workload.name:<5}{kind}")
    tolerance = {"B4": 1e-5}.get(workload.name, 2e-3)
    for label in list(runs):
        try:
            checked({label: runs[label]}, expected, tolerance)
        except Exception as error:
            del runs[label]
            report.fail(label, error, ours=label.startswith("pdec"))
    times: dict[str, list[float]] = {label: [] for label in runs}
    for number in range(args.rounds):
        if number >= LEAST_ROUNDS and time.monotonic() > end:
            break
        for label, run in runs.items():
            cupy.cuda.Device().synchronize()
            start = time.perf_counter()
            run()
            cupy.cuda.Device().synchronize()
            times[label].append(1e3 * (time.perf_counter() - start))
    medians = {label: statistics.median(t) for label, t in times.items()}
    peers = [m for label, m in medians.items() if not label.startswith("pdec")]
    rows = []
    for label, median in medians.items():
        ratio = f"{min(peers) / median:>7.1f}×" if peers else ""
        rows.append(f"{'':<5}{label:<16}{median:>9.3f}{max(times[label]):>9.3f}{ratio}")
    numbers: dict[str, Any] = {"kind": kind, "times": times}
    if "pdec cupy" in runs and hasattr(module, "_send_back"):
        numbers["kernels"] = kernels = on_device(cupy, module, runs["pdec cupy"])
        numbers["least"] = asked = least(workload, at, rates)
        share = f"{asked:.3f} ms asked for: {asked / kernels:.0%}"
        rows.append(f"{'':<5}{'kernels':<16}{kernels:>9.3f} ms, {share}")
    report.add(*rows, **{workload.name: numbers})


def on_device(cupy: Any, module: Any, run: Run) -> float:
    """The device's milliseconds for the way there and back; the least of a few."""
    send, found = module._send_back, []

    def timed(*given: Any) -> None:
        events = cupy.cuda.Event(), cupy.cuda.Event()
        events[0].record()
        send(*given)
        events[1].record()
        found.append(events)

    module._send_back = timed
    try:
        for _ in range(5):
            run()
    finally:
        module._send_back = send
    cupy.cuda.Device().synchronize()
    return float(min(cupy.cuda.get_elapsed_time(*events) for events in found))


def variants(
    workload: Workload, torch_compile: bool, report: Report
) -> tuple[dict[str, Run], tuple[float, Any], Point, Any]:
    """Return the variants, what NumPy gives, where, and our module."""
    ours, theirs = (load(workload, target) for target in ("cupy", "numpy"))
    plain = load(workload, "cupy", arrays=True)
    at = point(workload, theirs)
    expected = theirs.value_and_grad(at.p, **at.arguments, check="off")
    p, given = ours._handed_out((at.p, at.arguments))
    found: dict[str, Run] = {
        "pdec cupy": lambda: ours.value_and_grad(p, **given, check="off")
    }
    if hasattr(ours, "_CUDA_KERNELS"):
        found["pdec arrays"] = lambda: plain.value_and_grad(p, **given, check="off")
    for label, make in {
        "JAX scan": lambda: jax_on_gpu(workload, at, again=False),
        "JAX checkpoint": lambda: jax_on_gpu(workload, at, again=True),
        "PyTorch eager": lambda: torch_on_gpu(workload, at, compiled=False),
        "torch.compile": lambda: torch_on_gpu(workload, at, compiled=True),
    }.items():
        if label != "torch.compile" or torch_compile:
            try:
                found[label] = make()
            except Exception as error:
                report.fail(f"{workload.name} {label}", error, ours=False)
    return found, expected, at, ours


def jax_on_gpu(workload: Workload, at: Point, *, again: bool) -> Run:
    """The peer of speed.py, if JAX runs on the GPU."""
    import jax

    if jax.default_backend() != "gpu":
        raise RuntimeError(f"JAX runs on the {jax.default_backend()}")
    return jax_of(workload, at, again=again).gradient


def torch_on_gpu(workload: Workload, at: Point, *, compiled: bool) -> Run:
    """The peer of speed.py, on the GPU."""
    return torch_of(workload, at, compiled=compiled, threads=1, device="cuda").gradient


def checked(
    runs: dict[str, Run], expected: tuple[float, Any], tolerance: float
) -> None:
    """Stop where a variant has other gradients than the NumPy target."""
    loss, grads = expected
    largest = max(float(np.abs(g).max()) for g in grads.values())
    for label, run in [pair for pair in runs.items() for _ in range(3)]:
        value, other = run()
        assert abs(float(value) - loss) <= tolerance * abs(loss), (label, value, loss)
        for key, grad in grads.items():
            found = other[key]
            found = found.cpu() if hasattr(found, "cpu") else found
            found = found.get() if hasattr(found, "get") else np.asarray(found)
            error = float(np.abs(found - grad).max())
            size = max(float(np.abs(grad).max()), 1e-2 * largest)
            assert error <= tolerance * size, (label, key, error)


if __name__ == "__main__":
    sys.exit(main())
