"""The generated part of a module, by hand: a 2-D field that begins as an image.

dz/dt = D ∇²z - g(t) z³ + a ∂x img, Neumann walls, z = E img at t = 0, three steps;
logits = integral(R z) + c; loss = cross_entropy(logits, label) + 0.01 mean(R²).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pdec.runtime.types import Array, Arrays, Model, Variable

# --- constants ---------------------------------------------------------------------

STEPS = 3
NX = 6
NY = 5
dt = 0.1

# --- mathematics ---------------------------------------------------------------------


def _coefficients(c: Arrays) -> None:
    """Combine the parameters."""
    c["z_p"] = dt * c["D"]
    c["z_0"] = 1.0 - 4.0 * c["z_p"]


def _coefficients_vjp(c: Arrays, c_bar: Arrays) -> None:
    """Adjoint of _coefficients: adds to the cotangents of the parameters in c_bar."""
    c_bar["D"] += dt * (c_bar["z_p"] - 4.0 * c_bar["z_0"])


def _coefficients_jvp(c: Arrays, c_dot: Arrays) -> None:
    """Tangent of _coefficients."""
    c_dot["z_p"] = dt * c_dot["D"]
    c_dot["z_0"] = -4.0 * c_dot["z_p"]


def _ghosts(z: Array) -> None:
    """Mirror the cells at the walls, x first."""
    z[:, 0] = z[:, 1]
    z[:, -1] = z[:, -2]
    z[:, :, 0] = z[:, :, 1]
    z[:, :, -1] = z[:, :, -2]


def _fold(z_bar: Array) -> None:
    """Adjoint of _ghosts."""
    z_bar[:, :, -2] += z_bar[:, :, -1]
    z_bar[:, :, 1] += z_bar[:, :, 0]
    z_bar[:, :, -1] = 0.0
    z_bar[:, :, 0] = 0.0
    z_bar[:, -2] += z_bar[:, -1]
    z_bar[:, 1] += z_bar[:, 0]
    z_bar[:, -1] = 0.0
    z_bar[:, 0] = 0.0


def _cross(z: Array) -> Array:
    """Sum the four neighbours of each cell."""
    total = z[:, :-2, 1:-1] + z[:, 2:, 1:-1]
    return total + z[:, 1:-1, :-2] + z[:, 1:-1, 2:]


def _initial(c: Arrays, v: Arrays) -> None:
    """z = E img at t = 0."""
    v["z"][:, 1:-1, 1:-1] = c["E"] * v["img"][:, 1:-1, 1:-1]


def _initial_vjp(c: Arrays, v: Arrays, c_bar: Arrays, v_bar: Arrays) -> None:
    """Adjoint of _initial."""
    z_bar = v_bar["z"][:, 1:-1, 1:-1]
    c_bar["E"] += np.sum(z_bar * v["img"][:, 1:-1, 1:-1], dtype=np.float64)
    v_bar["img"][:, 1:-1, 1:-1] += c["E"] * z_bar


def _initial_jvp(c: Arrays, v: Arrays, c_dot: Arrays, v_dot: Arrays) -> None:
    """Tangent of _initial."""
    _initial(c, v)
    img, img_dot = v["img"][:, 1:-1, 1:-1], v_dot["img"][:, 1:-1, 1:-1]
    v_dot["z"][:, 1:-1, 1:-1] = c_dot["E"] * img + c["E"] * img_dot


def _step(n: int, c: Arrays, v: Arrays) -> None:
    """Advance one step, z -> z_next."""
    z, img = v["z"], v["img"]
    _ghosts(z)
    _ghosts(img)
    here = z[:, 1:-1, 1:-1]
    v["dimg"][...] = (img[:, 2:, 1:-1] - img[:, :-2, 1:-1]) / 2.0
    v["z_next"][:, 1:-1, 1:-1] = (
        c["z_0"] * here
        + c["z_p"] * _cross(z)
        - dt * c["g"][n] * here**3
        + dt * c["a"] * v["dimg"]
    )


def _step_vjp(n: int, c: Arrays, v: Arrays, c_bar: Arrays, v_bar: Arrays) -> None:
    """Adjoint of _step."""
    z, img = v["z"], v["img"]
    here = z[:, 1:-1, 1:-1]
    bar = v_bar["z_next"][:, 1:-1, 1:-1]
    z_bar, img_bar = v_bar["z"], v_bar["img"]
    z_bar[...] = 0.0
    z_bar[:, 1:-1, 1:-1] = (c["z_0"] - 3.0 * dt * c["g"][n] * here**2) * bar
    z_bar[:, :-2, 1:-1] += c["z_p"] * bar
    z_bar[:, 2:, 1:-1] += c["z_p"] * bar
    z_bar[:, 1:-1, :-2] += c["z_p"] * bar
    z_bar[:, 1:-1, 2:] += c["z_p"] * bar
    _fold(z_bar)
    dimg = (img[:, 2:, 1:-1] - img[:, :-2, 1:-1]) / 2.0
    img_bar[:, 2:, 1:-1] += dt * c["a"] * bar / 2.0
    img_bar[:, :-2, 1:-1] -= dt * c["a"] * bar / 2.0
    _fold(img_bar)
    c_bar["z_0"] += np.sum(bar * here, dtype=np.float64)
    c_bar["z_p"] += np.sum(bar * _cross(z), dtype=np.float64)
    c_bar["g"][n] -= dt * np.sum(bar * here**3, dtype=np.float64)
    c_bar["a"] += dt * np.sum(bar * dimg, dtype=np.float64)


def _step_jvp(n: int, c: Arrays, v: Arrays, c_dot: Arrays, v_dot: Arrays) -> None:
    """Tangent of _step."""
    _step(n, c, v)
    z, z_dot, img_dot = v["z"], v_dot["z"], v_dot["img"]
    _ghosts(z_dot)
    _ghosts(img_dot)
    here, here_dot = z[:, 1:-1, 1:-1], z_dot[:, 1:-1, 1:-1]
    v_dot["dimg"][...] = (img_dot[:, 2:, 1:-1] - img_dot[:, :-2, 1:-1]) / 2.0
    v_dot["z_next"][:, 1:-1, 1:-1] = (
        c_dot["z_0"] * here
        + c["z_0"] * here_dot
        + c_dot["z_p"] * _cross(z)
        + c["z_p"] * _cross(z_dot)
        - dt * c_dot["g"][n] * here**3
        - 3.0 * dt * c["g"][n] * here**2 * here_dot
        + dt * c_dot["a"] * v["dimg"]
        + dt * c["a"] * v_dot["dimg"]
    )


def _readout(c: Arrays, v: Arrays) -> None:
    """logits = integral(R z) + c."""
    here = v["z"][:, 1:-1, 1:-1]
    v["logits"][...] = np.einsum("kxy,bxy->bk", c["R"], here) + c["c"]


def _loss(c: Arrays, v: Arrays) -> None:
    """loss = cross_entropy(logits, label) of each sample."""
    logits = v["logits"]
    top = np.max(logits, axis=1, keepdims=True)
    total = np.sum(np.exp(logits - top), axis=1)
    chosen = logits[np.arange(len(logits)), v["label"]]
    v["loss"][...] = np.log(total) + top[:, 0] - chosen


def _loss_vjp(c: Arrays, v: Arrays, c_bar: Arrays, v_bar: Arrays) -> None:
    """Adjoint of _loss and of _readout."""
    logits, here = v["logits"], v["z"][:, 1:-1, 1:-1]
    exp = np.exp(logits - np.max(logits, axis=1, keepdims=True))
    bar = exp / np.sum(exp, axis=1, keepdims=True)
    bar[np.arange(len(logits)), v["label"]] -= 1.0
    bar *= v_bar["loss"][:, None]
    c_bar["c"] += np.sum(bar, axis=0)
    c_bar["R"] += np.einsum("bk,bxy->kxy", bar, here)
    v_bar["z"][...] = 0.0
    v_bar["z"][:, 1:-1, 1:-1] = np.einsum("bk,kxy->bxy", bar, c["R"])


def _penalty(c: Arrays) -> float:
    """0.01 mean(R²)."""
    return float(0.01 * np.mean(c["R"] ** 2, dtype=np.float64))


def _penalty_vjp(c: Arrays, c_bar: Arrays) -> None:
    """Adjoint of _penalty."""
    c_bar["R"] += 0.02 * c["R"] / c["R"].size


# --- tables for the machinery below --------------------------------------------------

_STATE = {"z": (NX + 2, NY + 2)}
_CELLS = {"z": (slice(None), slice(1, -1), slice(1, -1))}
_SNAPSHOTS = range(STEPS, STEPS + 1)
_TARGET_CELLS: dict[str, tuple[slice, ...]] = {}
_INPUTS = {"img": (NX + 2, NY + 2)}
_INPUT_CELLS = {"img": (slice(None), slice(1, -1), slice(1, -1))}
_LINES: dict[str, tuple[str, slice]] = {}
_REPEATED: dict[str, tuple[str, tuple[int, ...]]] = {}
_WORK = {"dimg": (NX, NY), "logits": (3,), "loss": ()}
_SHARED = {
    "D": (),
    "E": (),
    "a": (),
    "g": (STEPS,),
    "R": (3, NX, NY),
    "c": (3,),
    "z_p": (),
    "z_0": (),
}

MODEL = Model(
    name="image2d",
    doc="",
    equation="dz/dt = D ∇²z - g z³ + a ∂x img\nz = E img at t = 0",
    source="model image2d\n",
    source_hash="sha256:image2d",
    pdec_version="0.1.0",
    target="numpy",
    options={},
    dtype="float64",
    steps=STEPS,
    omega=None,
    dims={"x": NX, "y": NY},
    fields={"z": Variable((NX, NY), ("x", "y"), "z")},
    params={
        "D": Variable((), (), "D", low=0.0, init=("constant", 0.2, 0.0)),
        "E": Variable((), (), "E", init=("constant", 1.0, 0.0)),
        "a": Variable((), (), "α"),
        "g": Variable((STEPS,), ("t",), "g", init=("uniform", 0.5, 1.0)),
        "R": Variable((3, NX, NY), ("k", "x", "y"), "R", init=("normal", 0.0, 0.1)),
        "c": Variable((3,), ("k",), "c"),
    },
    inputs={"img": Variable((NX, NY), ("x", "y"), "img")},
    targets={"label": Variable((), (), "label", classes=3)},
    readouts={"logits": Variable((3,), ("k",), "logits")},
)


class _Report:
    """A verdict that the tests set."""

    numerical = "unknown"
    basis = "heuristic"
    omega_max = None
    intrinsic = "unknown"
    growth = 0.0

    def __str__(self) -> str:
        return f"{self.numerical} ({self.basis})"


def _suspect(p: Arrays, run: Any) -> bool:
    """Let the verdict be asked for, always."""
    return True


def stability(p: Arrays, omega: float | None = None) -> _Report:
    """Return the verdict that the tests set."""
    return _Report()


def _judge_run(p: Arrays, run: Any) -> _Report:
    """Return the verdict that the tests set."""
    return _Report()
