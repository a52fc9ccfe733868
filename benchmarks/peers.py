"""The peers: JAX, PyTorch, NumPy as one writes it first, and C, each as two functions.

``gradient()`` returns a loss and its gradients by parameter, ``forward()`` the last
state; both take no arguments and return when the result is there.
"""

from __future__ import annotations

import ctypes
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from workloads import Ops, Point, Workload

import pdec

HERE = Path(__file__).parent
FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC")


@dataclass(frozen=True)
class Peer:
    """A way to compute a workload; ``prepare`` is called before each run."""

    gradient: Callable[[], tuple[Any, Any]]
    forward: Callable[[], Any] | None = None
    prepare: Callable[[], Any] = lambda: None


def seconds(run: Callable[[], Any], peer: Peer) -> float:
    """The time of a run."""
    peer.prepare()
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def named(label: str, workload: Workload, at: Point) -> Peer:
    """The variant of a workload that the tables call so."""
    if label.startswith("pdec "):
        return ours(load(workload, label.removeprefix("pdec ")), at)
    makers: dict[str, Callable[[], Peer]] = {
        "JAX scan": lambda: jax_of(workload, at, again=False),
        "JAX checkpoint": lambda: jax_of(workload, at, again=True),
        "PyTorch": lambda: torch_at_its_best(workload, at),
        "torch.compile": lambda: torch_of(
            workload, at, compiled=True, threads=len(os.sched_getaffinity(0))
        ),
        "NumPy": lambda: numpy_line(workload, at),
        "C": lambda: c_of(workload, at, load(workload, "numpy")),
    }
    return makers[label]()


# --- pdec ----------------------------------------------------------------------------


def load(workload: Workload, target: str, *, arrays: bool = False) -> Any:
    """Compile a workload's text, and import the module."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{workload.name}.npde"
        file.write_text(workload.text, "utf-8")
        return pdec.load(file, target=target, arrays=arrays)


def ours(module: Any, at: Point) -> Peer:
    """A module that pdec made."""

    def forward() -> Any:
        return module.forward(at.p, at.arguments["z0"], check="off")

    return Peer(
        lambda: module.value_and_grad(at.p, **at.arguments, check="off"),
        forward if "z0" in at.arguments else None,
    )


# --- JAX and PyTorch -----------------------------------------------------------------


def jax_of(workload: Workload, at: Point, *, again: bool) -> Peer:
    """jit of a scan over the steps; ``again``: steps are run again on the way back."""
    import jax
    import jax.numpy as jnp

    if workload.dtype == "float64":
        jax.config.update("jax_enable_x64", True)

    def cross_entropy(logits: Any, y: Any) -> Any:
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)
        return -chosen.mean()

    def edge(z: Any) -> Any:
        return jnp.pad(z, ((0, 0), (1, 1), (1, 1)), mode="edge")

    xp = Ops(jnp.roll, jnp.tanh, jnp.stack, edge, jnp.einsum, cross_entropy)

    def run(p: Any, z: Any) -> Any:
        c = workload.prepare(p)

        def body(z: Any, _: None) -> tuple[Any, None]:
            return workload.step(xp, c, z), None

        inner = jax.checkpoint(body) if again else body
        return jax.lax.scan(inner, z, None, workload.steps)[0]

    def loss(p: Any, z: Any, y: Any) -> Any:
        return workload.loss(xp, p, run(p, z), y)

    both, only = jax.jit(jax.value_and_grad(loss)), jax.jit(run)
    p, z, y = (jax.tree.map(jnp.asarray, a) for a in (at.p, at.z, at.y))
    return Peer(
        lambda: jax.block_until_ready(both(p, z, y)),
        lambda: jax.block_until_ready(only(p, z)),
    )


def torch_of(
    workload: Workload,
    at: Point,
    *,
    compiled: bool,
    threads: int,
    device: str = "cpu",
) -> Peer:
    """PyTorch, eager or with the whole unrolled loop compiled."""
    import torch

    def edge(z: Any) -> Any:
        return torch.nn.functional.pad(z, (1, 1, 1, 1), mode="replicate")

    xp = Ops(
        torch.roll,
        torch.tanh,
        torch.stack,
        edge,
        torch.einsum,
        torch.nn.functional.cross_entropy,
    )

    def run(p: Any, z: Any) -> Any:
        c = workload.prepare(p)
        for _ in range(workload.steps):
            z = workload.step(xp, c, z)
        return z

    def loss(p: Any, z: Any, y: Any) -> Any:
        return workload.loss(xp, p, run(p, z), y)

    both, only = (torch.compile(f) if compiled else f for f in (loss, run))
    z, y = (torch.from_numpy(a).to(device) for a in (at.z, at.y))
    leaves = {
        n: torch.from_numpy(a).to(device).requires_grad_() for n, a in at.p.items()
    }

    def gradient() -> tuple[Any, Any]:
        value = both(leaves, z, y)
        grads = torch.autograd.grad(value, list(leaves.values()))
        return value.detach(), dict(zip(leaves, grads, strict=True))

    def forward() -> Any:
        with torch.inference_mode():
            return only(leaves, z)

    return Peer(
        gradient,
        None if compiled else forward,
        lambda: torch.set_num_threads(threads),
    )


def torch_at_its_best(workload: Workload, at: Point) -> Peer:
    """PyTorch, eager, on one core or on all, whichever is faster."""
    tried = []
    for threads in sorted({1, len(os.sched_getaffinity(0))}):
        peer = torch_of(workload, at, compiled=False, threads=threads)
        seconds(peer.gradient, peer)  # what is done once
        runs = [seconds(peer.gradient, peer) for _ in range(2)]
        tried.append((min(runs), threads, peer))
    return min(tried)[2]


# --- NumPy, as one writes it first ---------------------------------------------------


def numpy_line(workload: Workload, at: Point) -> Peer:
    """B1 with whole arrays and the adjoint written by hand; states and f are kept."""
    cells, w = at.z.shape[1], at.z.dtype.type(0.5)
    dx = at.z.dtype.type(1 / cells)
    roll = np.roll

    def run(a: Any, z: Any) -> tuple[list[Any], list[Any]]:
        states, values = [z], []
        for _ in range(workload.steps):
            Z = a[0] * roll(z, 1, 1) + a[1] * z + a[2] * roll(z, -1, 1) - at.p["b"]
            f = np.tanh(Z)
            z = (1 - w) * z + w * f
            states.append(z)
            values.append(f)
        return states, values

    def coefficients() -> tuple[Any, Any, Any]:
        diffusion, advection = at.p["W2"] / dx**2, at.p["W1"] / (2 * dx)
        return diffusion - advection, at.p["W0"] - 2 * diffusion, diffusion + advection

    def gradient() -> tuple[Any, Any]:
        a = coefficients()
        states, values = run(a, at.z)
        error = states[-1] - at.y
        loss, error = (error**2).mean() / 2, error / error.size
        low, centre, high, bias = (np.zeros_like(at.p["b"]) for _ in range(4))
        for z, f in zip(states[-2::-1], values[::-1], strict=True):
            s = w * (1 - f**2) * error
            low += (s * roll(z, 1, 1)).sum(0)
            centre += (s * z).sum(0)
            high += (s * roll(z, -1, 1)).sum(0)
            bias -= s.sum(0)
            error = (1 - w) * error + a[1] * s
            error += roll(a[0] * s, -1, 1) + roll(a[2] * s, 1, 1)
        grads = {"W0": centre, "W1": (high - low) / (2 * dx)}
        grads |= {"W2": (high + low - 2 * centre) / dx**2, "b": bias}
        return loss, grads

    return Peer(gradient, lambda: run(coefficients(), at.z)[0][-1])


# --- C -------------------------------------------------------------------------------


def build(name: str) -> ctypes.CDLL:
    """Compile a file of this folder for the processor at hand."""
    library = Path(tempfile.mkdtemp()) / f"{name}.so"
    command = ["gcc", *FLAGS, str(HERE / f"{name}.c"), "-o", str(library), "-lm"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def c_of(workload: Workload, at: Point, module: Any) -> Peer:
    """The kernel of b1.c on all cores; the gradients are pulled back by pdec's."""
    kernel = build("b1").gradients
    kernel.restype = ctypes.c_double
    batch, cells = at.z.shape
    threads, half = len(os.sched_getaffinity(0)), ctypes.c_float(0.5)
    pool = ThreadPoolExecutor(threads)

    def floats(*shape: int) -> Any:  # that begin where a line of the cache does
        room = np.zeros(math.prod(shape) + 16, np.float32)
        start = -room.ctypes.data // 4 % 16
        return room[start : start + math.prod(shape)]

    width = 4 * (cells + 32)
    spaces = [
        (
            floats(workload.steps + 1, width),
            floats(width),
            floats(width),
            floats(4, cells),
        )
        for _ in range(threads)
    ]

    def gradient() -> tuple[Any, Any]:
        c = dict(at.p)
        module._coefficients(c)
        a_m, a_0, a_p, b = (c[n] for n in ("Z_m1", "Z_0", "Z_p1", "b"))
        wide_m, wide_p = (np.concatenate([a[-1:], a, a[:1]]) for a in (a_m, a_p))

        def work(k: int) -> tuple[float, Any]:
            rows = slice(k * batch // threads, (k + 1) * batch // threads)
            grads = np.zeros((4, cells))
            arrays = [at.z[rows], at.y[rows], a_m, a_0, a_p, wide_m, wide_p, b]
            arrays += [*spaces[k], grads]
            pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in arrays]
            sizes = (rows.stop - rows.start, batch, cells, workload.steps)
            return kernel(*sizes, half, *pointers), grads

        parts = list(pool.map(work, range(threads)))
        total = sum(grads for _, grads in parts)
        c_bar = {name: np.zeros(cells) for name in module._SHARED}
        c_bar |= dict(zip(("Z_m1", "Z_0", "Z_p1", "b"), total, strict=True))
        module._coefficients_vjp(c, c_bar)
        return sum(v for v, _ in parts) / batch, {n: c_bar[n] for n in at.p}

    return Peer(gradient)
