"""The steps multiplied out, on request: the largest ‖Mⁿ‖, and the spectral radius."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pdec.runtime.checks import _by_name
from pdec.runtime.generated import MODEL, _amplification, _polynomials
from pdec.runtime.interface import jvp, vjp
from pdec.runtime.types import Array, Arrays, State

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


def _gain(
    p: Arrays, state: State, inputs: Mapping[str, Array] | None, times: int = 30
) -> float:
    """Return ‖Mᴸ‖₂ of the whole run at a state, by power iteration on jvp and vjp."""
    rng = np.random.default_rng(0)
    dtype = next(iter(p.values())).dtype if p else np.dtype(MODEL.dtype)
    shapes = {name: (1, *field.shape) for name, field in MODEL.fields.items()}
    zero = {name: np.zeros(shape, dtype) for name, shape in shapes.items()}
    z = _by_name(zero if state is None else state, MODEL.fields, "state")
    z = {name: value[:1] for name, value in z.items()}
    v = {name: rng.standard_normal(s).astype(dtype) for name, s in shapes.items()}
    size = 0.0
    _, pullback = vjp(p, _bare(z), inputs=inputs, wrt=("z0",))
    for _ in range(times):
        length = np.sqrt(sum(float(np.vdot(x, x)) for x in v.values()))
        if length == 0.0:
            return 0.0
        v = {name: x / length for name, x in v.items()}
        moved = _by_name(
            jvp(p, _bare(z), None, _bare(v), inputs=inputs), MODEL.fields, ""
        )
        size = np.sqrt(sum(float(np.vdot(x, x)) for x in moved.values()))
        v = _by_name(pullback(_bare(moved)), MODEL.fields, "")
    return float(size)


def _bare(values: Arrays) -> State:
    return next(iter(values.values())) if len(values) == 1 else values
