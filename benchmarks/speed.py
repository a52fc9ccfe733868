"""Time a loss and its gradients: pdec's targets, JAX, PyTorch, and C, side by side.

    python benchmarks/speed.py [B1 B1d B2 B3 B4] [--torch-compile] [--rounds 7]

Every workload is written once for JAX and PyTorch, with what is combined from the
parameters outside of the loop over the steps.  All are checked to give pdec's loss and
gradients before they are timed, interleaved in one process; the table shows medians of
the time on the clock, of the processor's time, and ratios to the `numba` target.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import pdec

HERE = Path(__file__).parent
ADR = """\
const γ = 1
f(s) = tanh(s)
"""
MODELS = {
    "B1": f"""\
grid x[1024] on [0, 1) periodic
field z(x)
param W0(x) init 0.9, W1(x) init normal(0, 1e-4), W2(x) >= 0 init 1e-7
param b(x) init normal(0, 0.01)
{ADR}dz/dt = -γ(z - f(W0 z + W1 ∂z + W2 ∂²z - b))
steps 64
ω = 0.5
target y(x)
loss = mean((z - y)²)/2
""",
    "B2": f"""\
grid x[256] on [0, 1) periodic, y[256] on [0, 1) periodic
field z(x, y)
param W0 init 0.9, Wx init 1e-3, Wy init 1e-3, W2 >= 0 init 1e-6
param b(x, y) init normal(0, 0.01)
{ADR}dz/dt = -γ(z - f(W0 z + Wx ∂x z + Wy ∂y z + W2 ∇²z - b))
steps 32
ω = 0.5
target q(x, y)
loss = mean((z - q)²)/2
""",
    "B3": f"""\
dim d = 16
grid x[256] on [0, 1) periodic
field z[d](x)
param W0[d,d] init normal(0, 0.1), W1[d,d] init normal(0, 1e-3)
param W2[d,d] init normal(0, 1e-6)
param b[d](x) init normal(0, 0.01)
{ADR}Z = W0 z + W1 ∂z + W2 ∂²z - b
dz/dt = -γ(z - f(Z))
steps 32
ω = 0.5
target y[d](x)
loss = mean((z - y)²)/2
""",
    "B4": """\
grid x[128] on [0, 2.5) periodic, y[128] on [0, 2.5) periodic
field u(x, y), v(x, y)
param Du >= 0 init 2e-5, Dv >= 0 init 1e-5, F init 0.04, k init 0.06
du/dt = Du ∇²u - u v² + F(1 - u)
dv/dt = Dv ∇²v + u v² - (F + k) v
steps 500
dt = 1
target p(x, y), q(x, y)
loss = mean((u - p)²) + mean((v - q)²)
""",
}
MODELS["B1d"] = MODELS["B1"]
BATCH = {"B1": 256, "B1d": 256, "B2": 8, "B3": 64, "B4": 2}
DOUBLE = (
    "B1d",
    "B4",
)  # B4's gradients cancel over 500 steps: float32 cannot be compared
STEPS = {"B1": 64, "B1d": 64, "B2": 32, "B3": 32, "B4": 500}

# --- the workloads for JAX and PyTorch -----------------------------------------------

# xp has tanh and roll(array, shift, axis); prepare(p) is outside of the loop


def prepare_line(p: Any) -> Any:
    dx = 1 / 1024
    diffusion, advection = p["W2"] / dx**2, p["W1"] / (2 * dx)
    return (
        diffusion - advection,
        p["W0"] - 2 * diffusion,
        diffusion + advection,
        p["b"],
    )


def step_line(xp: Any, c: Any, z: Any) -> Any:
    Z = c[0] * xp.roll(z, 1, -1) + c[1] * z + c[2] * xp.roll(z, -1, -1) - c[3]
    return 0.5 * z + 0.5 * xp.tanh(Z)


def prepare_plane(p: Any) -> Any:
    dx = 1 / 256
    d, ax, ay = p["W2"] / dx**2, p["Wx"] / (2 * dx), p["Wy"] / (2 * dx)
    return p["W0"] - 4 * d, d - ax, d + ax, d - ay, d + ay, p["b"]


def step_plane(xp: Any, c: Any, z: Any) -> Any:
    Z = (
        c[0] * z
        + c[1] * xp.roll(z, 1, -2)
        + c[2] * xp.roll(z, -1, -2)
        + c[3] * xp.roll(z, 1, -1)
        + c[4] * xp.roll(z, -1, -1)
        - c[5]
    )
    return 0.5 * z + 0.5 * xp.tanh(Z)


def prepare_tensor(p: Any) -> Any:
    dx = 1 / 256
    d, a = p["W2"] / dx**2, p["W1"] / (2 * dx)
    return d - a, p["W0"] - 2 * d, d + a, p["b"]


def step_tensor(xp: Any, c: Any, z: Any) -> Any:
    Z = c[0] @ xp.roll(z, 1, -1) + c[1] @ z + c[2] @ xp.roll(z, -1, -1) - c[3]
    return 0.5 * z + 0.5 * xp.tanh(Z)


def step_spots(xp: Any, p: Any, state: Any) -> Any:
    u, v = state[0], state[1]
    dx2 = (2.5 / 128) ** 2

    def laplacian(a: Any) -> Any:
        around = xp.roll(a, 1, -1) + xp.roll(a, -1, -1)
        around = around + xp.roll(a, 1, -2) + xp.roll(a, -1, -2)
        return (around - 4 * a) / dx2

    reaction = u * v * v
    u_next = u + p["Du"] * laplacian(u) - reaction + p["F"] * (1 - u)
    v_next = v + p["Dv"] * laplacian(v) + reaction - (p["F"] + p["k"]) * v
    return xp.stack([u_next, v_next])


PEERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "B1": (prepare_line, step_line),
    "B1d": (prepare_line, step_line),
    "B2": (prepare_plane, step_plane),
    "B3": (prepare_tensor, step_tensor),
    "B4": (lambda p: p, step_spots),
}


def loss_of(name: str, z: Any, y: Any) -> Any:
    if name == "B4":
        return ((z - y) ** 2).mean() * 2
    return ((z - y) ** 2).mean() / 2


def jax_gradient(
    name: str, p: Any, z: Any, y: Any, *, again: bool
) -> Callable[[], tuple[float, Any]]:
    """jit of a scan over the steps; ``again``: steps are run again on the way back."""
    import jax
    import jax.numpy as jnp

    prepare, step = PEERS[name]

    def loss(p: Any, z: Any, y: Any) -> Any:
        c = prepare(p)

        def body(z: Any, _: None) -> tuple[Any, None]:
            return step(jnp, c, z), None

        inner = jax.checkpoint(body) if again else body
        return loss_of(name, jax.lax.scan(inner, z, None, STEPS[name])[0], y)

    function = jax.jit(jax.value_and_grad(loss))
    args = [jax.tree.map(jnp.asarray, a) for a in (p, z, y)]

    def run() -> tuple[float, Any]:
        return jax.block_until_ready(function(*args))  # type: ignore[no-any-return]

    return run


def torch_gradient(
    name: str, p: Any, z: Any, y: Any, *, compiled: bool
) -> Callable[[], tuple[float, Any]]:
    """PyTorch, eager or with the whole unrolled loop compiled."""
    import torch

    prepare, step = PEERS[name]

    def loss(p: Any, z: Any, y: Any) -> Any:
        c = prepare(p)
        for _ in range(STEPS[name]):
            z = step(torch, c, z)
        return loss_of(name, z, y)

    function = torch.compile(loss) if compiled else loss
    state, target = torch.from_numpy(z), torch.from_numpy(y)
    leaves = {n: torch.from_numpy(a).requires_grad_() for n, a in p.items()}

    def run() -> tuple[float, Any]:
        value = function(leaves, state, target)
        grads = torch.autograd.grad(value, list(leaves.values()))
        return float(value.detach()), dict(zip(leaves, grads, strict=True))

    return run


def c_gradient(module: Any, p: Any, z: Any, y: Any) -> Callable[[], tuple[float, Any]]:
    """The kernel of b1.c on two threads; the gradients are pulled back by pdec's."""
    folder = Path(tempfile.mkdtemp())
    flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
    library = folder / "b1.so"
    subprocess.run(["gcc", *flags, HERE / "b1.c", "-o", library, "-lm"], check=True)
    kernel = ctypes.CDLL(str(library)).gradients
    kernel.restype = ctypes.c_double
    c = dict(p)
    module._coefficients(c)
    batch, cells = z.shape
    steps, threads = STEPS["B1"], len(os.sched_getaffinity(0))
    a_m, a_0, a_p, b = (
        np.ascontiguousarray(c[n]) for n in ("Z_m1", "Z_0", "Z_p1", "b")
    )
    wide_m, wide_p = (np.concatenate([a[-1:], a, a[:1]]) for a in (a_m, a_p))
    pool = ThreadPoolExecutor(threads)

    def floats(*shape: int) -> Any:
        return np.zeros(shape, np.float32)

    spaces = [
        (
            floats(steps + 1, cells + 2),
            floats(cells),
            floats(cells + 2),
            floats(4, cells),
        )
        for _ in range(threads)
    ]

    def work(k: int) -> tuple[float, Any]:
        rows = slice(k * batch // threads, (k + 1) * batch // threads)
        grads = np.zeros((4, cells))
        arrays = (z[rows], y[rows], a_m, a_0, a_p, wide_m, wide_p, b, *spaces[k], grads)
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in arrays]
        sizes = (rows.stop - rows.start, batch, cells, steps)
        return kernel(*sizes, ctypes.c_float(0.5), *pointers), grads

    def run() -> tuple[float, Any]:
        parts = list(pool.map(work, range(threads)))
        total = sum(grads for _, grads in parts)
        c_bar = {name: np.zeros(cells) for name in module._SHARED}
        c_bar |= dict(zip(("Z_m1", "Z_0", "Z_p1", "b"), total, strict=True))
        module._coefficients_vjp(c, c_bar)
        return sum(value for value, _ in parts) / batch, {n: c_bar[n] for n in p}

    return run


# --- measuring -----------------------------------------------------------------------


def variants(name: str, *, torch_compile: bool) -> dict[str, Callable[[], Any]]:
    """What is compared, as functions that return a loss and gradients."""
    dtype = "float64" if name in DOUBLE else "float32"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.npde"
        file.write_text(f"{MODELS[name]}dtype {dtype}\n", "utf-8")
        numba, numpy = pdec.load(file, target="numba"), pdec.load(file)
    rng, batch = np.random.default_rng(0), BATCH[name]
    p = numba.init_params(0)
    draw = {
        n: (0.5 * rng.random((batch, *v.shape))).astype(dtype)
        for n, v in numba.MODEL.fields.items()
    }
    goal = {
        n: (0.5 * rng.random((batch, *v.shape))).astype(dtype)
        for n, v in numba.MODEL.targets.items()
    }
    z, y = (np.stack(list(a.values())) for a in (draw, goal))
    if len(draw) == 1:
        z, y = z[0], y[0]
    found: dict[str, Callable[[], Any]] = {
        "pdec numba": lambda: numba.value_and_grad(p, draw, goal, check="off"),
        "pdec numpy": lambda: numpy.value_and_grad(p, draw, goal, check="off"),
        "JAX scan": jax_gradient(name, p, z, y, again=False),
        "JAX checkpoint": jax_gradient(name, p, z, y, again=True),
        "PyTorch eager": torch_gradient(name, p, z, y, compiled=False),
    }
    if torch_compile:
        found["torch.compile"] = torch_gradient(name, p, z, y, compiled=True)
    if name == "B1":
        found["C"] = c_gradient(numpy, p, z, y)
    return found


def check(found: dict[str, Callable[[], Any]], tolerance: float) -> None:
    """Exit where a variant has other gradients than the NumPy target."""
    loss, grads = found["pdec numpy"]()
    for label, run in found.items():
        value, other = run()
        assert abs(float(value) - loss) <= tolerance * abs(loss), (label, value, loss)
        largest = max(float(np.abs(g).max()) for g in grads.values())
        for key, grad in grads.items():
            error = float(np.abs(np.asarray(other[key]) - grad).max())
            size = float(np.abs(grad).max())
            assert error <= tolerance * max(size, 1e-2 * largest), (label, key, error)


def measure(name: str, *, torch_compile: bool, rounds: int) -> list[str]:
    found = variants(name, torch_compile=torch_compile)
    check(found, {"B1d": 1e-9, "B4": 1e-5}.get(name, 2e-3))
    wall: dict[str, list[float]] = {label: [] for label in found}
    cpu: dict[str, list[float]] = {label: [] for label in found}
    for _ in range(rounds):
        for label, run in found.items():
            start, busy = time.perf_counter(), time.process_time()
            run()
            wall[label].append(time.perf_counter() - start)
            cpu[label].append(time.process_time() - busy)
    ours = statistics.median(wall["pdec numba"]), statistics.median(cpu["pdec numba"])
    rows = [f"| {name} | ms | processor ms | ratio | processor ratio |"]
    rows.append("| --- | --- | --- | --- | --- |")
    for label in found:
        a, b = statistics.median(wall[label]), statistics.median(cpu[label])
        rows.append(
            f"| {label} | {1e3 * a:.1f} | {1e3 * b:.1f} "
            f"| {a / ours[0]:.2f} | {b / ours[1]:.2f} |"
        )
    return [*rows, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["B1", "B1d", "B2", "B3", "B4"])
    parser.add_argument("--torch-compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    if set(DOUBLE) & set(args.names):
        import jax

        jax.config.update("jax_enable_x64", True)
    for name in args.names:
        options = {"torch_compile": args.torch_compile, "rounds": args.rounds}
        print("\n".join(measure(name, **options)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
