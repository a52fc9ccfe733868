"""The generated part of a module, by hand: periodic 1-D, homogeneous, float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from pdec.runtime.types import Arrays, Model, Variable

# --- constants ---------------------------------------------------------------------

STEPS = 16
dx = 0.0078125  # 1/128
gamma = 1.0
omega = 0.5

# --- mathematics ---------------------------------------------------------------------


def _coefficients(c: Arrays) -> None:
    """Combine the parameters into the stencil of Z; c holds the parameters."""
    W0, W1, W2 = c["W0"], c["W1"], c["W2"]
    c["Z_m1"] = W2 / dx**2 - W1 / (2.0 * dx)
    c["Z_0"] = W0 - 2.0 * W2 / dx**2
    c["Z_p1"] = W2 / dx**2 + W1 / (2.0 * dx)


def _coefficients_vjp(c: Arrays, c_bar: Arrays) -> None:
    """Adjoint of _coefficients: adds to the cotangents of the parameters in c_bar."""
    Z_m1_bar, Z_0_bar, Z_p1_bar = c_bar["Z_m1"], c_bar["Z_0"], c_bar["Z_p1"]
    c_bar["W0"] += Z_0_bar
    c_bar["W1"] += (Z_p1_bar - Z_m1_bar) / (2.0 * dx)
    c_bar["W2"] += (Z_m1_bar - 2.0 * Z_0_bar + Z_p1_bar) / dx**2


def _coefficients_jvp(c: Arrays, c_dot: Arrays) -> None:
    """Tangent of _coefficients."""
    W0_dot, W1_dot, W2_dot = c_dot["W0"], c_dot["W1"], c_dot["W2"]
    c_dot["Z_m1"] = W2_dot / dx**2 - W1_dot / (2.0 * dx)
    c_dot["Z_0"] = W0_dot - 2.0 * W2_dot / dx**2
    c_dot["Z_p1"] = W2_dot / dx**2 + W1_dot / (2.0 * dx)


def _step(n: int, c: Arrays, v: Arrays) -> None:
    """Advance one step, z -> z_next; fills the ghost cells of z on the way."""
    Z_m1, Z_0, Z_p1, b = c["Z_m1"], c["Z_0"], c["Z_p1"], c["b"]
    z, z_next, Z, f_Z, t0 = v["z"], v["z_next"], v["Z"], v["f_Z"], v["t0"]
    # at x: periodic
    z[:, 0] = z[:, -2]
    z[:, -1] = z[:, 1]
    # Z = W0 z + W1 ∂z + W2 ∂²z - b  (adr1d.npde:14)
    np.multiply(Z_m1, z[:, :-2], out=Z)
    np.multiply(Z_0, z[:, 1:-1], out=t0)
    np.add(Z, t0, out=Z)
    np.multiply(Z_p1, z[:, 2:], out=t0)
    np.add(Z, t0, out=Z)
    np.subtract(Z, b, out=Z)
    # f(Z)
    np.tanh(Z, out=f_Z)
    # z⁺ = (1 - ω) z + ω f(Z)
    np.multiply(1.0 - omega, z[:, 1:-1], out=z_next[:, 1:-1])
    np.multiply(omega, f_Z, out=t0)
    np.add(z_next[:, 1:-1], t0, out=z_next[:, 1:-1])


def _step_vjp(n: int, c: Arrays, v: Arrays, c_bar: Arrays, v_bar: Arrays) -> None:
    """Adjoint of _step: z_next_bar -> z_bar, and adds to the cotangents in c_bar."""
    Z_m1, Z_0, Z_p1, b = c["Z_m1"], c["Z_0"], c["Z_p1"], c["b"]
    z, Z, f_Z, t0 = v["z"], v["Z"], v["f_Z"], v["t0"]
    z_bar, z_next_bar, Z_bar = v_bar["z"], v_bar["z_next"], v_bar["Z"]
    # recompute Z and f(Z) from the stored z (its ghost cells are filled)
    np.multiply(Z_m1, z[:, :-2], out=Z)
    np.multiply(Z_0, z[:, 1:-1], out=t0)
    np.add(Z, t0, out=Z)
    np.multiply(Z_p1, z[:, 2:], out=t0)
    np.add(Z, t0, out=Z)
    np.subtract(Z, b, out=Z)
    np.tanh(Z, out=f_Z)
    # adjoint of z⁺ and f(Z): Z_bar = ω z_next_bar (1 - f(Z)²)
    np.multiply(f_Z, f_Z, out=t0)
    np.subtract(1.0, t0, out=t0)
    np.multiply(omega, z_next_bar[:, 1:-1], out=Z_bar)
    np.multiply(Z_bar, t0, out=Z_bar)
    # adjoint of Z
    z_bar[:, 0] = 0.0
    z_bar[:, -1] = 0.0
    np.multiply(1.0 - omega, z_next_bar[:, 1:-1], out=z_bar[:, 1:-1])
    np.multiply(Z_m1, Z_bar, out=t0)
    np.add(z_bar[:, :-2], t0, out=z_bar[:, :-2])
    np.multiply(Z_0, Z_bar, out=t0)
    np.add(z_bar[:, 1:-1], t0, out=z_bar[:, 1:-1])
    np.multiply(Z_p1, Z_bar, out=t0)
    np.add(z_bar[:, 2:], t0, out=z_bar[:, 2:])
    np.multiply(Z_bar, z[:, :-2], out=t0)
    c_bar["Z_m1"] += np.sum(np.sum(t0, axis=1), axis=0, dtype=np.float64)
    np.multiply(Z_bar, z[:, 1:-1], out=t0)
    c_bar["Z_0"] += np.sum(np.sum(t0, axis=1), axis=0, dtype=np.float64)
    np.multiply(Z_bar, z[:, 2:], out=t0)
    c_bar["Z_p1"] += np.sum(np.sum(t0, axis=1), axis=0, dtype=np.float64)
    c_bar["b"] -= np.sum(Z_bar, axis=0)
    # adjoint of the ghost cells
    z_bar[:, -2] += z_bar[:, 0]
    z_bar[:, 1] += z_bar[:, -1]


def _step_jvp(n: int, c: Arrays, v: Arrays, c_dot: Arrays, v_dot: Arrays) -> None:
    """Tangent of _step: z_dot -> z_next_dot (recomputes what it needs of the step)."""
    Z_m1, Z_0, Z_p1 = c["Z_m1"], c["Z_0"], c["Z_p1"]
    z, f_Z = v["z"], v["f_Z"]
    z_dot, z_next_dot, Z_dot = v_dot["z"], v_dot["z_next"], v_dot["Z"]
    _step(n, c, v)
    z_dot[:, 0] = z_dot[:, -2]
    z_dot[:, -1] = z_dot[:, 1]
    Z_dot[...] = (
        c_dot["Z_m1"] * z[:, :-2]
        + Z_m1 * z_dot[:, :-2]
        + c_dot["Z_0"] * z[:, 1:-1]
        + Z_0 * z_dot[:, 1:-1]
        + c_dot["Z_p1"] * z[:, 2:]
        + Z_p1 * z_dot[:, 2:]
        - c_dot["b"]
    )
    z_next_dot[:, 1:-1] = (1.0 - omega) * z_dot[:, 1:-1] + omega * (
        1.0 - f_Z**2
    ) * Z_dot


def _loss(c: Arrays, v: Arrays) -> None:
    """loss = mean((z - y)²)/2 of each sample, from the final z."""
    z, y, t0 = v["z"], v["y"], v["t0"]
    np.subtract(z[:, 1:-1], y, out=t0)
    np.multiply(t0, t0, out=t0)
    v["loss"][...] = np.sum(t0, axis=1) / (2.0 * 128)


def _loss_vjp(c: Arrays, v: Arrays, c_bar: Arrays, v_bar: Arrays) -> None:
    """Adjoint of _loss (and of _readout, where there is one): loss_bar -> z_bar."""
    z, y = v["z"], v["y"]
    z_bar, loss_bar = v_bar["z"], v_bar["loss"]
    z_bar[:, 0] = 0.0
    z_bar[:, -1] = 0.0
    np.subtract(z[:, 1:-1], y, out=z_bar[:, 1:-1])
    np.multiply(z_bar[:, 1:-1], loss_bar[:, None] / 128, out=z_bar[:, 1:-1])


# --- tables for the machinery below --------------------------------------------------

# one entry per state field: its padded shape and its cells, after the batch axis
_STATE = {"z": (130,)}
_CELLS = {"z": (slice(None), slice(1, -1))}
_LINES: dict[str, tuple[str, slice]] = {}
_REPEATED: dict[str, tuple[str, tuple[int, ...]]] = {}
# work arrays per sample (values and their cotangents or tangents), after the batch axis
_WORK = {"Z": (128,), "f_Z": (128,), "t0": (128,), "loss": ()}
# arrays shared by all samples that receive cotangents in a step, and their shapes
_SHARED = {"W0": (), "W1": (), "W2": (), "b": (128,), "Z_m1": (), "Z_0": (), "Z_p1": ()}

# inputs with their ghost cells, and their cells, after the batch axis
_INPUTS: dict[str, tuple[int, ...]] = {}
_SNAPSHOTS = range(16, 17)
_TARGET_CELLS: dict[str, tuple[slice, ...]] = {}
_INPUT_CELLS: dict[str, tuple[slice, ...]] = {}

MODEL = Model(
    name="adr1d",
    doc="Homogeneous neural advection–diffusion–reaction.",
    equation="dz/dt = -γ(z - f(W0 z + W1 ∂z + W2 ∂²z - b))",
    source="model adr1d\n",
    source_hash="sha256:adr1d",
    pdec_version="0.1.0",
    target="numpy",
    options={},
    dtype="float32",
    steps=16,
    omega=0.5,
    dims={"x": 128},
    fields={"z": Variable((128,), ("x",), "z")},
    params={
        "W0": Variable((), (), "W₀", "amplitude", init=("constant", 0.5, 0.0)),
        "W1": Variable((), (), "W₁", "advection"),
        "W2": Variable((), (), "W₂", "diffusion", 0.0, init=("constant", 5e-5, 0.0)),
        "b": Variable((128,), ("x",), "b", init=("normal", 0.0, 0.1)),
    },
    inputs={},
    targets={"y": Variable((128,), ("x",), "y")},
    readouts={},
)


class _Report:
    """A verdict that the tests set."""

    numerical = "stable"
    basis = "exact"
    omega_max = 0.75
    intrinsic = "unknown"
    growth = 0.0

    def __str__(self) -> str:
        return f"{self.numerical} ({self.basis}): ω ≤ {self.omega_max}"


def _suspect(p: Arrays, run: Any) -> bool:
    """Let the verdict be asked for, always."""
    return True


def stability(p: Arrays, omega: float | None = None) -> _Report:
    """Return the verdict that the tests set."""
    return _Report()


def _judge_run(p: Arrays, run: Any) -> _Report:
    """Return the verdict that the tests set."""
    return _Report()
