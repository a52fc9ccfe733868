"""Growth for a while: several components whose steps are no normal matrices."""

from __future__ import annotations

import math

import numpy as np

from pdec.runtime.generated import MODEL, _whole
from pdec.runtime.powers import _step_matrix
from pdec.runtime.spectrum import _Modes
from pdec.runtime.types import Array

# [feature: components]
# --- growth for a while --------------------------------------------------------------


def _transient(modes: _Modes, h: float) -> tuple[float, float]:
    """Return the largest ‖Gⁿ‖₂ of the run, and ln of its ratio to the equation's own.

    Where G is not normal, sums of waves may grow before they decay, or without end
    while no eigenvalue leaves the unit circle (Trefethen & Embree 2005, chapter 14).
    The equation's own is the largest ‖exp(t J)‖₂ of the mode within the run.
    """
    A = modes.matrix.reshape(-1, *modes.matrix.shape[-2:])
    return _beyond(A, modes.slopes, h)


def _beyond(A: Array, slopes: tuple[float, float], h: float) -> tuple[float, float]:
    """Return the same of operators A, each of a mode or of all cells."""
    largest, excess = 1.0, 0.0
    for s in dict.fromkeys(slopes):
        J = s * A
        # [feature: layer]
        J = J - np.eye(J.shape[-1])
        # [end]
        size = _largest_powers(_step_matrix(J, h), MODEL.steps)
        # [feature: matrix]
        J = _whole(J)
        # [end]
        halvings = max(
            2 + math.frexp(h * float(np.linalg.norm(J, axis=(1, 2)).max()))[1], 0
        )
        short = total = np.broadcast_to(np.eye(J.shape[-1]), J.shape)
        for k in range(8, 0, -1):  # Taylor's series of exp(h J / 2^halvings)
            total = short + (h / 2.0**halvings / k) * J @ total
        own = _largest_powers(total, MODEL.steps << halvings)
        with np.errstate(all="ignore"):
            ratio = np.nan_to_num(size / np.maximum(own, 1.0), nan=0.0)
        largest = max(largest, float(size.max()))
        excess = max(excess, math.log(max(float(ratio.max()), 1.0)))
    return largest, excess


def _largest_powers(M: Array, steps: int) -> Array:
    """Return of each matrix the largest ‖Mⁿ‖₂, n = 1, 2, 3, 4, 6, 8, 12, … and last."""
    found, power, last, n = _norms(M), M, M, 1
    with np.errstate(all="ignore"):
        for bit in bin(steps)[3:]:
            last = last @ last
            last = last @ M if bit == "1" else last
        while 2 * n <= steps:
            square = power @ power
            found = np.maximum(found, _norms(square))
            if 3 * n <= steps:
                found = np.maximum(found, _norms(square @ power))
            power, n = square, 2 * n
        return np.asarray(np.maximum(found, _norms(last)))


def _norms(M: Array) -> Array:
    """Return ‖M‖₂ of each matrix, inf where it is not finite."""
    finite = np.asarray(np.isfinite(M).all(axis=(1, 2)))
    scale = np.maximum(
        np.abs(np.where(finite[:, None, None], M, 1.0)).max(axis=(1, 2)), 1e-300
    )
    unit = np.where(finite[:, None, None], M, 0.0) / scale[:, None, None]
    largest = np.linalg.eigvalsh(np.conj(unit.swapaxes(1, 2)) @ unit)[:, -1]
    return np.where(finite, scale * np.sqrt(np.maximum(largest, 0.0)), math.inf)


# [end]
