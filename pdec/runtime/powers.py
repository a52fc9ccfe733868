"""The steps multiplied out, on request: the largest ‖Mⁿ‖, and the spectral radius."""

from __future__ import annotations

import math

import numpy as np

from pdec.runtime.checks import _by_name, _Run
from pdec.runtime.generated import MODEL, _amplification, _polynomials
from pdec.runtime.host import _handed_out
from pdec.runtime.numpy_driver import _pull_back, _tangent
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
    z0, inputs = _handed_out((_alone(state), inputs))
    run = _Run(np.dtype(np.float64), 1, c, z0, inputs)
    still = {name: np.zeros_like(a) for name, a in c.items()}
    given = {name: np.zeros_like(x) for name, x in inputs.items()}
    rng, size = np.random.default_rng(0), 0.0
    u = _handed_out({n: rng.standard_normal(z.shape) for n, z in run.z0.items()})
    for _ in range(times):
        length = _euclidean(u)
        if not 0.0 < length < math.inf:
            return length
        u = {name: z / length for name, z in u.items()}
        moved = _tangent(run, _Run(run.dtype, 1, still, u, given))
        size = _euclidean(moved)
        u = _by_name(_pull_back(run, moved, MODEL.steps + 1)["z0"], MODEL.fields, "z0")
    return size


def _alone(state: Arrays) -> Arrays:
    """Return the state of one sample with a batch axis."""
    return {name: np.array(z[None], np.float64) for name, z in state.items()}


def _euclidean(u: Arrays) -> float:
    return math.sqrt(sum(float(np.vdot(x, x)) for x in u.values()))
