"""The steps multiplied out, on request: the largest ‖Mⁿ‖, and the spectral radius."""

from __future__ import annotations

import math

import numpy as np

from pdec.runtime.generated import (
    _CELLS,
    _SHARED,
    MODEL,
    _amplification,
    _polynomials,
    _step,
    _step_jvp,
    _step_vjp,
)
from pdec.runtime.jacobian import _at_state
from pdec.runtime.types import Array, Arrays

# --- the steps multiplied out --------------------------------------------------------


def _step_matrix(J: Array, h: float) -> Array:
    """Return G of z⁺ = G z for dz/dt = J z, J a matrix or a stack of them."""
    # [feature: matrix]
    return np.asarray(_amplification(J, h))
    # [end]
    # [feature: not matrix]
    above, below = (_polynomial(each, h * J) for each in _polynomials(h))
    return np.asarray(np.linalg.solve(below, above))
    # [end]


# [feature: not matrix]
def _polynomial(coefficients: tuple[float, ...], J: Array) -> Array:
    """Return Σ c_k J^k, by Horner's rule."""
    unit = np.eye(J.shape[-1])
    total = coefficients[-1] * unit
    for c in coefficients[-2::-1]:
        total = total @ J + c * unit
    return np.broadcast_to(total, J.shape)


# [end]
def _powers_of(M: Array) -> tuple[float, float]:
    """Return the largest ‖Mⁿ‖₂ over the steps of a run, and the spectral radius."""
    largest, power = 1.0, np.eye(len(M))
    for _ in range(MODEL.steps):
        power = power @ M
        size = float(np.linalg.norm(power))  # ‖·‖₂ is at most Frobenius' norm
        if not np.isfinite(size):
            return float("inf"), float(np.abs(np.linalg.eigvals(M)).max())
        if size > largest:
            largest = max(largest, float(np.linalg.norm(power, 2)))
    return largest, float(np.abs(np.linalg.eigvals(M)).max())


def _gain(c: Arrays, state: Arrays, inputs: Arrays, times: int = 30) -> float:
    """Return ‖Mᴸ‖₂ of the run from a state, by power iteration on its tangent."""
    v, along = _at_state(state, inputs, 1), []
    v |= {f"{name}_next": np.zeros_like(v[name]) for name in _CELLS}
    for n in range(MODEL.steps):
        _step(n, c, v)
        along.append({name: a.copy() for name, a in v.items()})
        _turn(v)
    c_dot = {name: np.zeros_like(a) for name, a in c.items()}
    c_bar = {name: np.zeros(shape) for name, shape in _SHARED.items()}
    rng, size = np.random.default_rng(0), 0.0
    u = {
        name: rng.standard_normal(v[name][cells].shape)
        for name, cells in _CELLS.items()
    }
    for _ in range(times):
        length = math.sqrt(sum(float(np.vdot(x, x)) for x in u.values()))
        if not 0.0 < length < math.inf:
            return length
        v_dot = {name: np.zeros_like(a) for name, a in v.items()}
        for name, cells in _CELLS.items():
            v_dot[name][cells] = u[name] / length
        for n, v in enumerate(along):
            _step_jvp(n, c, v, c_dot, v_dot)
            _turn(v_dot)
        moved = {name: v_dot[name][cells] for name, cells in _CELLS.items()}
        size = math.sqrt(sum(float(np.vdot(x, x)) for x in moved.values()))
        v_bar = {name: np.zeros_like(a) for name, a in v.items()}
        for name, cells in _CELLS.items():
            v_bar[f"{name}_next"][cells] = moved[name]
        for n in reversed(range(MODEL.steps)):
            _step_vjp(n, c, along[n], c_bar, v_bar)
            _turn(v_bar)
        u = {name: v_bar[f"{name}_next"][cells] for name, cells in _CELLS.items()}
    return size


def _turn(v: Arrays) -> None:
    """Let the fields after a step be those before the next one."""
    for name in _CELLS:
        v[name], v[f"{name}_next"] = v[f"{name}_next"], v[name]
