"""The generated part of a module, by hand: two fields, and no loss.

du/dt = w, dw/dt = k ∂²u on eight periodic cells; five steps of forward Euler.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pdec.runtime.types import Array, Arrays, Model, Variable

# --- mathematics ---------------------------------------------------------------------

dt = 0.1


def _coefficients(c: Arrays) -> None:
    """Combine the parameters."""
    c["r"] = dt * c["k"]


def _coefficients_vjp(c: Arrays, c_bar: Arrays) -> None:
    """Adjoint of _coefficients."""
    c_bar["k"] += dt * c_bar["r"]


def _coefficients_jvp(c: Arrays, c_dot: Arrays) -> None:
    """Tangent of _coefficients."""
    c_dot["r"] = dt * c_dot["k"]


def _lap(u: Array) -> Array:
    """∂²u in units of the cell; periodic, no ghost cells."""
    return np.roll(u, 1, 1) + np.roll(u, -1, 1) - 2.0 * u


def _step(n: int, c: Arrays, v: Arrays) -> None:
    """Advance one step."""
    v["u_next"][...] = v["u"] + dt * v["w"]
    v["w_next"][...] = v["w"] + c["r"] * _lap(v["u"])


def _step_vjp(n: int, c: Arrays, v: Arrays, c_bar: Arrays, v_bar: Arrays) -> None:
    """Adjoint of _step."""
    u_bar, w_bar = v_bar["u_next"], v_bar["w_next"]
    v_bar["u"][...] = u_bar + _lap(c["r"] * w_bar)
    v_bar["w"][...] = w_bar + dt * u_bar
    c_bar["r"] += np.sum(w_bar * _lap(v["u"]), axis=0)


def _step_jvp(n: int, c: Arrays, v: Arrays, c_dot: Arrays, v_dot: Arrays) -> None:
    """Tangent of _step."""
    _step(n, c, v)
    v_dot["u_next"][...] = v_dot["u"] + dt * v_dot["w"]
    change = c_dot["r"] * _lap(v["u"]) + c["r"] * _lap(v_dot["u"])
    v_dot["w_next"][...] = v_dot["w"] + change


# --- tables for the machinery below --------------------------------------------------

_STATE = {"u": (8,), "w": (8,)}
_CELLS = {"u": (slice(None), slice(None)), "w": (slice(None), slice(None))}
_INPUTS: dict[str, tuple[int, ...]] = {}
_INPUT_CELLS: dict[str, tuple[slice, ...]] = {}
_LINES: dict[str, tuple[str, slice]] = {}
_REPEATED: dict[str, tuple[str, tuple[int, ...]]] = {}
_WORK: dict[str, tuple[int, ...]] = {}
_SHARED = {"k": (8,), "r": (8,)}

MODEL = Model(
    name="wave",
    doc="A string of eight beads.",
    equation="du/dt = w\ndw/dt = k ∂²u",
    source="model wave\n",
    source_hash="sha256:wave",
    pdec_version="0.1.0",
    target="numpy",
    options={},
    dtype="float64",
    steps=5,
    omega=None,
    dims={"x": 8},
    fields={"u": Variable((8,), ("x",), "u"), "w": Variable((8,), ("x",), "w")},
    params={"k": Variable((8,), ("x",), "κ", low=0.0, high=9.0, init=("normal", 1, 0))},
    inputs={},
    targets={},
    readouts={},
)


class _Report:
    """A verdict that the tests set."""

    numerical = "marginal"
    basis = "exact"
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
