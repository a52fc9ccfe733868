"""Check the CuPy target on a GPU, then time it beside JAX and PyTorch on the same GPU.

    python benchmarks/gpu.py [B1 B2 B3 B3w B4] [--torch-compile] [--rounds 15]

The workloads and the peers are those of ``speed.py``, with B3w of many channels: each
kind of kernel has one (B1 and B3 a block a sample, B2 and B4 a launch for each phase,
B3w cuBLAS), and the table says which.  Every variant must give the loss and the
gradients of the NumPy target, and ours three times, as launches become a graph after
the first, before they are timed, interleaved; a time is that of one loss with its
gradients, from the call until the device has done.  Last comes a table of medians in
milliseconds, the ratio to the fastest peer, and what share of the time the states alone
would take at the device's measured bandwidth.  "pdec arrays" is no peer: the same model
without kernels.  JAX and PyTorch must be those with CUDA; one that is missing is left
out and named.
"""

from __future__ import annotations

import argparse
import importlib
import re
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from peers import jax_of, load, torch_of
from workloads import Point, Workload, all_of, channels, point

Run = Callable[[], tuple[float, Any]]
WORKLOADS = ("B1", "B2", "B3", "B3w", "B4")


def main() -> int:
    """Check and time; 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=WORKLOADS)
    parser.add_argument("--torch-compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    try:
        cupy = importlib.import_module("cupy")
        cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        print(f"no GPU to measure on: {error}", file=sys.stderr)
        return 2
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    bandwidth = copied(cupy)
    rows = [
        f"{properties['name'].decode()}, {bandwidth / 1e9:.0f} GB/s copied",
        f"{'':<5}{'variant':<16}{'ms':>9}{'slowest':>9}{'ratio':>8}",
    ]
    for name in args.names:
        rows += measured(cupy, name, args, bandwidth)
    print("\n".join(rows))
    return 0


def copied(cupy: Any) -> float:
    """Return the bytes per second that a copy of 1 GiB reads and writes."""
    a = cupy.zeros(1 << 28, np.float32)
    b = cupy.empty_like(a)
    times = []
    for _ in range(5):
        cupy.cuda.Device().synchronize()
        start = time.perf_counter()
        b[...] = a
        cupy.cuda.Device().synchronize()
        times.append(time.perf_counter() - start)
    return 2 * a.nbytes / min(times)


def measured(cupy: Any, name: str, args: Any, bandwidth: float) -> list[str]:
    """Check the variants of a workload, time them, and return rows of the table."""
    wide = channels("B3w", d=128, cells=1024, batch=16)
    workload = (all_of() | {"B3w": wide})[name]
    runs, expected, at, kind = variants(workload, args.torch_compile)
    checked(runs, expected, {"B4": 1e-5}.get(name, 2e-3))
    times: dict[str, list[float]] = {label: [] for label in runs}
    for _ in range(args.rounds):
        for label, run in runs.items():
            cupy.cuda.Device().synchronize()
            start = time.perf_counter()
            run()
            cupy.cuda.Device().synchronize()
            times[label].append(1e3 * (time.perf_counter() - start))
    medians = {label: statistics.median(t) for label, t in times.items()}
    peers = [m for label, m in medians.items() if not label.startswith("pdec")]
    rows = [f"{name:<5}{kind}"]
    for label, median in medians.items():
        ratio = f"{min(peers) / median:>7.1f}×" if peers else ""
        rows.append(f"{'':<5}{label:<16}{median:>9.3f}{max(times[label]):>9.3f}{ratio}")
    least = 1e3 * 2 * (workload.steps + 1) * at.z.nbytes / bandwidth
    share = least / medians["pdec cupy"]
    rows.append(f"{'':<5}states, written and read once: {least:.3f} ms, {share:.0%}")
    return rows


def variants(
    workload: Workload, torch_compile: bool
) -> tuple[dict[str, Run], tuple[float, Any], Point, str]:
    """Return the variants, what NumPy gives, where, and which kernels there are."""
    ours, theirs = (load(workload, target) for target in ("cupy", "numpy"))
    plain = load(workload, "cupy", arrays=True)
    at = point(workload, theirs)
    expected = theirs.value_and_grad(at.p, **at.arguments, check="off")
    p, given = ours._handed_out((at.p, at.arguments))
    (kind,) = re.findall(r"^(?:kernels|arrays) .*", str(ours.__doc__), re.MULTILINE)
    found: dict[str, Run] = {
        "pdec cupy": lambda: ours.value_and_grad(p, **given, check="off")
    }
    if not kind.startswith("arrays"):
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
            except (ImportError, RuntimeError, AssertionError) as error:
                print(f"{workload.name}: no {label}: {error}", file=sys.stderr)
    return found, expected, at, kind


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
