"""What is timed: a model's text, and the same equation for JAX, PyTorch and NumPy.

A workload's ``step(xp, c, z)`` and ``loss(xp, p, z, y)`` are written once for JAX and
PyTorch, as their users would write them: whole arrays, what is combined from the
parameters outside of the loop (``prepare``).  ``xp`` is one of the peers' ``Ops``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

EXAMPLES = Path(__file__).parent.parent / "examples"
RELAXATION = """\
const γ = 1
f(s) = tanh(s)
"""


@dataclass(frozen=True)
class Ops:
    """The few functions that a workload needs, by the names that NumPy gives them."""

    roll: Callable[..., Any]
    tanh: Callable[..., Any]
    stack: Callable[..., Any]
    edge: Callable[..., Any]  # one more cell on both sides of the last two axes
    einsum: Callable[..., Any]
    cross_entropy: Callable[..., Any]


def half_mean_square(xp: Ops, p: Any, z: Any, y: Any) -> Any:
    return ((z - y) ** 2).mean() / 2


@dataclass(frozen=True)
class Workload:
    """A model, and how its peers compute it; ``tolerance`` is that of ``check``."""

    name: str
    title: str
    text: str
    dtype: str
    batch: int
    steps: int
    prepare: Callable[[Any], Any]
    step: Callable[[Ops, Any, Any], Any]
    tolerance: float
    loss: Callable[[Ops, Any, Any, Any], Any] = half_mean_square
    classes: int = 0


# --- B1 and B1d: heterogeneous, 1-D --------------------------------------------------


def line(
    name: str, dtype: str, *, cells: int = 1024, batch: int = 256, steps: int = 64
) -> Workload:
    """Three moments and a bias in every cell of a line."""
    dx = 1 / cells

    def prepare(p: Any) -> Any:
        diffusion, advection = p["W2"] / dx**2, p["W1"] / (2 * dx)
        centre = p["W0"] - 2 * diffusion
        return diffusion - advection, centre, diffusion + advection, p["b"]

    def step(xp: Ops, c: Any, z: Any) -> Any:
        Z = c[0] * xp.roll(z, 1, -1) + c[1] * z + c[2] * xp.roll(z, -1, -1) - c[3]
        return 0.5 * z + 0.5 * xp.tanh(Z)

    text = f"""\
grid x[{cells}] on [0, 1) periodic
field z(x)
param W0(x) init 0.9, W1(x) init normal(0, {0.1 * dx:g})
param W2(x) >= 0 init {0.1 * dx**2:g}
param b(x) init normal(0, 0.01)
{RELAXATION}dz/dt = -γ(z - f(W0 z + W1 ∂z + W2 ∂²z - b))
steps {steps}
ω = 0.5
target y(x)
loss = mean((z - y)²)/2
dtype {dtype}
"""
    title = f"heterogeneous, N = {cells}, batch {batch}, {steps} steps, {dtype}"
    tolerance = 2e-3 if dtype == "float32" else 1e-9
    return Workload(name, title, text, dtype, batch, steps, prepare, step, tolerance)


# --- B2: homogeneous, 2-D ------------------------------------------------------------


def plane(
    name: str = "B2", *, cells: int = 256, batch: int = 8, steps: int = 32
) -> Workload:
    """Four numbers and a bias on a plane."""
    dx = 1 / cells

    def prepare(p: Any) -> Any:
        d, ax, ay = p["W2"] / dx**2, p["Wx"] / (2 * dx), p["Wy"] / (2 * dx)
        return p["W0"] - 4 * d, d - ax, d + ax, d - ay, d + ay, p["b"]

    def step(xp: Ops, c: Any, z: Any) -> Any:
        Z = (
            c[0] * z
            + c[1] * xp.roll(z, 1, -2)
            + c[2] * xp.roll(z, -1, -2)
            + c[3] * xp.roll(z, 1, -1)
            + c[4] * xp.roll(z, -1, -1)
            - c[5]
        )
        return 0.5 * z + 0.5 * xp.tanh(Z)

    text = f"""\
grid x[{cells}] on [0, 1) periodic, y[{cells}] on [0, 1) periodic
field z(x, y)
param W0 init 0.9, Wx init 1e-3, Wy init 1e-3, W2 >= 0 init 1e-6
param b(x, y) init normal(0, 0.01)
{RELAXATION}dz/dt = -γ(z - f(W0 z + Wx ∂x z + Wy ∂y z + W2 ∇²z - b))
steps {steps}
ω = 0.5
target q(x, y)
loss = mean((z - q)²)/2
"""
    title = f"homogeneous, {cells} × {cells}, batch {batch}, {steps} steps, float32"
    return Workload(name, title, text, "float32", batch, steps, prepare, step, 2e-3)


# --- B3: channels --------------------------------------------------------------------


def channels(
    name: str = "B3", *, d: int = 16, cells: int = 256, batch: int = 64, steps: int = 32
) -> Workload:
    """Matrices that act on the channels of every cell."""
    dx = 1 / cells

    def prepare(p: Any) -> Any:
        diffusion, advection = p["W2"] / dx**2, p["W1"] / (2 * dx)
        centre = p["W0"] - 2 * diffusion
        return diffusion - advection, centre, diffusion + advection, p["b"]

    def step(xp: Ops, c: Any, z: Any) -> Any:
        Z = c[0] @ xp.roll(z, 1, -1) + c[1] @ z + c[2] @ xp.roll(z, -1, -1) - c[3]
        return 0.5 * z + 0.5 * xp.tanh(Z)

    text = f"""\
dim d = {d}
grid x[{cells}] on [0, 1) periodic
field z[d](x)
param W0[d,d] init normal(0, 0.1), W1[d,d] init normal(0, 1e-3)
param W2[d,d] init normal(0, 1e-6)
param b[d](x) init normal(0, 0.01)
{RELAXATION}Z = W0 z + W1 ∂z + W2 ∂²z - b
dz/dt = -γ(z - f(Z))
steps {steps}
ω = 0.5
target y[d](x)
loss = mean((z - y)²)/2
"""
    title = f"tensor, d = {d}, N = {cells}, batch {batch}, {steps} steps, float32"
    return Workload(name, title, text, "float32", batch, steps, prepare, step, 2e-3)


# --- B4: two fields ------------------------------------------------------------------


def spots(
    name: str = "B4", *, cells: int = 128, batch: int = 2, steps: int = 500
) -> Workload:
    """Gray–Scott: gradients of four numbers through many steps, which cancel.

    In float64, for in float32 nobody's could be compared with anybody's.
    """
    dx2 = (2.5 / cells) ** 2

    def laplacian(xp: Ops, a: Any) -> Any:
        around = xp.roll(a, 1, -1) + xp.roll(a, -1, -1)
        around = around + xp.roll(a, 1, -2) + xp.roll(a, -1, -2)
        return (around - 4 * a) / dx2

    def step(xp: Ops, p: Any, state: Any) -> Any:
        u, v = state[0], state[1]
        reaction = u * v * v
        u_next = u + p["Du"] * laplacian(xp, u) - reaction + p["F"] * (1 - u)
        v_next = v + p["Dv"] * laplacian(xp, v) + reaction - (p["F"] + p["k"]) * v
        return xp.stack([u_next, v_next])

    def loss(xp: Ops, p: Any, z: Any, y: Any) -> Any:
        return ((z - y) ** 2).mean() * 2

    text = f"""\
grid x[{cells}] on [0, 2.5) periodic, y[{cells}] on [0, 2.5) periodic
field u(x, y), v(x, y)
param Du >= 0 init 2e-5, Dv >= 0 init 1e-5, F init 0.04, k init 0.06
du/dt = Du ∇²u - u v² + F(1 - u)
dv/dt = Dv ∇²v + u v² - (F + k) v
steps {steps}
dt = 1
target p(x, y), q(x, y)
loss = mean((u - p)²) + mean((v - q)²)
dtype float64
"""
    title = f"Gray–Scott, {cells} × {cells}, batch {batch}, {steps} steps, float64"
    return Workload(
        name, title, text, "float64", batch, steps, lambda p: p, step, 1e-5, loss
    )


# --- B5: a training step of the digits example ---------------------------------------


def digits(name: str = "B5", *, batch: int = 4000) -> Workload:
    """examples/digits.npde: all images that the example trains on, 8 steps, readout."""

    def step(xp: Ops, p: Any, z: Any) -> Any:
        wide = xp.edge(z)
        left, right = wide[:, :-2, 1:-1], wide[:, 2:, 1:-1]
        low, high = wide[:, 1:-1, :-2], wide[:, 1:-1, 2:]
        along = 0.5 * (p["Wx"] * (right - left) + p["Wy"] * (high - low))
        curvature = left + right + low + high - 4 * z
        return xp.tanh(p["W0"] * z + along + p["W2"] * curvature - p["b"])

    def loss(xp: Ops, p: Any, z: Any, y: Any) -> Any:
        logits = xp.einsum("bxy,kxy->bk", z, p["R"]) + p["c"]
        return xp.cross_entropy(logits, y) + 1e-4 * (p["R"] ** 2).mean()

    text = (EXAMPLES / "digits.npde").read_text("utf-8")
    title = f"the digits example's training step, {batch} images, float32"
    return Workload(
        name,
        title,
        text,
        "float32",
        batch,
        8,
        lambda p: p,
        step,
        2e-3,
        loss,
        classes=10,
    )


def all_of(*, quick: bool = False) -> dict[str, Workload]:
    """The workloads by name; ``quick`` ones only show that everything runs."""
    if quick:
        small = {"batch": 3, "steps": 4}
        found = [
            line("B1", "float32", cells=32, **small),
            line("B1d", "float64", cells=32, **small),
            plane(cells=12, **small),
            channels(d=3, cells=12, **small),
            spots(cells=12, batch=2, steps=6),
            digits(batch=5),
        ]
    else:
        found = [
            line("B1", "float32"),
            line("B1d", "float64"),
            plane(),
            channels(),
            spots(),
            digits(),
        ]
    return {workload.name: workload for workload in found}


# --- where they start ----------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """Parameters, state or image, and target, as pdec and as its peers take them."""

    p: dict[str, Any]
    z: Any
    y: Any
    arguments: dict[str, Any]  # of pdec's value_and_grad, p left out


def point(workload: Workload, module: Any, seed: int = 0) -> Point:
    """Draw where a workload is evaluated."""
    rng, batch = np.random.default_rng(seed), workload.batch
    p = module.init_params(0, dtype=np.dtype(workload.dtype))

    def draw(variables: Any) -> dict[str, Any]:
        shapes = {name: (batch, *v.shape) for name, v in variables.items()}
        return {
            n: (0.5 * rng.random(s)).astype(workload.dtype) for n, s in shapes.items()
        }

    if workload.classes:
        p = {n: (a + 0.02 * rng.random(a.shape)).astype(a.dtype) for n, a in p.items()}
        (z,) = draw(module.MODEL.inputs).values()
        y = rng.integers(workload.classes, size=batch)
        return Point(p, z, y, {"y": y, "inputs": {"img": z}})
    state, goal = draw(module.MODEL.fields), draw(module.MODEL.targets)
    z, y = (np.stack(list(a.values())) for a in (state, goal))
    if len(state) == 1:
        z, y = z[0], y[0]
    return Point(p, z, y, {"z0": state, "y": goal})
