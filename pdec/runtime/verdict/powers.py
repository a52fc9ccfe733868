"""The steps multiplied out: their growth, and that of the equation itself."""

from __future__ import annotations

import math

import numpy as np

from pdec.runtime.checks import _by_name, _Run
from pdec.runtime.generated import _AXES, MODEL, _amplification, _polynomials, _whole
from pdec.runtime.host import _handed_out
from pdec.runtime.numpy.driver import _pull_back, _tangent
from pdec.runtime.types import Array, Arrays
from pdec.runtime.verdict.spectrum import _Rows

# [feature: not quick]
# --- the steps multiplied out --------------------------------------------------------


def _rates_of(A: Array, s: float) -> Array:
    """Return J of dz/dt = J z where the slope is s: of a layer S A - 1."""
    J = s * A
    # [feature: layer]
    J = J - np.eye(J.shape[-1])
    # [end]
    return J


def _step_matrix(J: Array, h: float) -> Array:
    """Return G of z⁺ = G z for dz/dt = J z, J a matrix or a stack of them."""
    # [feature: matrix]
    with np.errstate(all="ignore"):
        return np.asarray(_amplification(J, h))
    # [end]
    # [feature: not matrix]
    with np.errstate(all="ignore"):
        above, below = (_polynomial(each, h * J) for each in _polynomials(h))
    try:
        return np.asarray(np.linalg.solve(below, above))
    except np.linalg.LinAlgError:  # the step has no solution
        return np.full(above.shape, math.nan)
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
def _beyond(
    A: Array, slopes: tuple[float, float], h: float, runs: int = 1
) -> tuple[float, float]:
    """Return the largest ‖Mⁿ‖₂ of some runs, and ln of its ratio to the equation's own.

    A is a stack of operators, (operators, steps, n, n), with one step for a run whose
    steps are alike; the largest of them counts. Where M is not normal a run may grow
    before it decays, or without end while no eigenvalue leaves the unit circle
    (Trefethen & Embree 2005, chapter 14). The equation's own is the largest ‖exp(t J)‖₂
    within the runs.
    """
    largest, excess = 1.0, 0.0
    for s in dict.fromkeys(slopes):
        J = _rates_of(A, s)
        size = _largest_powers(_step_matrix(J, h), runs)
        # [feature: matrix]
        J = _whole(J)
        # [end]
        own, parts = _exponentials(h * J)
        with np.errstate(all="ignore"):
            ratio = size / np.maximum(_largest_powers(own, runs * parts), 1.0)
        largest = max(largest, float(size.max()))
        excess = max(excess, math.log(max(float(np.nan_to_num(ratio).max()), 1.0)))
    return largest, excess


def _exponentials(J: Array) -> tuple[Array, int]:
    """Return exp(J / parts) of each matrix, by Taylor's series, and the parts."""
    size = float(np.abs(J).sum(axis=-1).max())
    halvings = max(2 + math.frexp(size)[1], 0)
    short = total = np.broadcast_to(np.eye(J.shape[-1]), J.shape)
    for k in range(8, 0, -1):
        total = short + J @ total / (2.0**halvings * k)
    if J.shape[1] == 1:
        return total, 1 << halvings
    for _ in range(halvings):
        total = total @ total
    return total, 1


def _largest_powers(M: Array, parts: int) -> Array:
    """Return of each operator the largest ‖Mⁿ‖₂ in the run, of parts times its steps.

    Where the steps are alike, n = 1, 2, 3, 4, 6, 8, 12, … and the last one are tried.
    """
    steps, power = parts * MODEL.steps, M[:, 0]
    found = _norms(power)
    with np.errstate(all="ignore"):
        if M.shape[1] > 1:
            for n in range(1, M.shape[1]):
                power = M[:, n] @ power
                found = np.maximum(found, _norms(power))
            return found
        last, n = power, 1
        for bit in bin(steps)[3:]:
            last = last @ last
            last = last @ M[:, 0] if bit == "1" else last
        while 2 * n <= steps:
            square = power @ power
            found = np.maximum(found, _norms(square))
            if 3 * n <= steps:
                found = np.maximum(found, _norms(square @ power))
            power, n = square, 2 * n
        return np.asarray(np.maximum(found, _norms(last)))


def _norms(M: Array) -> Array:
    """Return ‖M‖₂ of each matrix, inf where it is not finite.

    Of a large one by six power iterations, a few hundredths below.
    """
    finite = np.asarray(np.isfinite(M).all(axis=(1, 2)))
    scale = np.maximum(
        np.abs(np.where(finite[:, None, None], M, 1.0)).max(axis=(1, 2)), 1e-300
    )
    unit = np.where(finite[:, None, None], M, 0.0) / scale[:, None, None]
    if M.shape[-1] > 16:
        v = np.random.default_rng(0).standard_normal((M.shape[-1], 1))
        for _ in range(6):
            v = np.conj(unit.swapaxes(1, 2)) @ (unit @ v)
            v = v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-300)
        return np.where(finite, scale * np.linalg.norm(unit @ v, axis=(1, 2)), math.inf)
    largest = np.linalg.eigvalsh(np.conj(unit.swapaxes(1, 2)) @ unit)[:, -1]
    return np.where(finite, scale * np.sqrt(np.maximum(largest, 0.0)), math.inf)


def _without_end(M: Array, doublings: int) -> float:
    """Return the largest ln ρ(M) of some matrices, by squaring them so many times.

    ‖Mⁿ‖ at n and 2n knows of growth that lasts alone; the eigenvalues of matrices that
    are far from normal are found with large errors (Trefethen & Embree 2005).
    """
    with np.errstate(all="ignore"):
        size = np.maximum(np.linalg.norm(M, axis=(1, 2)), 1e-300)
        rate = found = np.log(size)
        for k in range(1, doublings + 1):
            M = M / size[:, None, None]
            M = M @ M
            size = np.maximum(np.linalg.norm(M, axis=(1, 2)), 1e-300)
            now = rate + np.log(size) / 2.0**k
            rate, found = now, 2.0 * now - rate
    return float(np.nan_to_num(found, nan=math.inf).max())


def _powers_of(M: Array) -> tuple[float, float]:
    """Return the largest ‖Mⁿ‖₂ over the steps, (steps, n, n), and ρ of their product.

    ρ is that of one step where all are alike.
    """
    largest, power = 1.0, np.eye(M.shape[-1])
    with np.errstate(all="ignore"):
        for n in range(MODEL.steps):
            power = M[n % len(M)] @ power
            size = float(np.linalg.norm(power))  # ‖·‖₂ is at most Frobenius' norm
            if not np.isfinite(size):
                largest = math.inf
                break
            if size > largest:
                largest = max(largest, float(np.linalg.norm(power, 2)))
    once = M[0] if len(M) == 1 else power
    finite = bool(np.isfinite(once).all())
    return largest, float(np.abs(np.linalg.eigvals(once)).max()) if finite else math.inf


def _perturbed(rows: _Rows, slope: float, h: float) -> bool | None:
    """Tell whether the steps make a random perturbation grow, tenfold or more.

    The steps are linearised, and not more than 256. What steps an eighth as long do as
    well is the equation's own. None where steps are solved for.
    """
    # [feature: explicit]
    # [feature: not matrix]
    with np.errstate(all="ignore"):
        grown = _grown(rows, slope, h, 1)
        return grown > 10.0 and not grown <= 10.0 * _grown(rows, slope, h / 8.0, 8)
    # [end]
    # [end]
    return None


# [feature: explicit]
# [feature: not matrix]
def _grown(rows: _Rows, slope: float, h: float, parts: int) -> float:
    """Return by how much a perturbation grows in the run, in steps of so many parts."""
    above, _ = _polynomials(h)
    space = [size for size, _, _ in _AXES]
    width = next(iter(rows.values())).shape[-1]
    e = first = np.random.default_rng(0).standard_normal((*space, width))

    def rate(n: int, e: Array) -> Array:
        total = np.zeros_like(e)
        # [feature: layer]
        total -= e
        # [end]
        for place, a in rows.items():
            ahead = np.roll(e, [-m for m in place], range(len(place)))
            # [feature: timed]
            a = a.reshape(MODEL.steps, -1, *a.shape[1:])[n]
            # [end]
            row = slope * a @ ahead.reshape(-1, width, 1)
            total += row.reshape(e.shape)
        return total

    for n in range(min(MODEL.steps, 256)):
        for _ in range(parts):
            total = above[-1] * e
            for coefficient in above[-2::-1]:
                total = h * rate(n, total) + coefficient * e
            e = total
    grown = float(np.linalg.norm(e) / np.linalg.norm(first))
    return grown if math.isfinite(grown) else math.inf


# [end]
# [end]
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
    """Return the 2-norm of some fields, inf where it is not finite."""
    size = math.sqrt(sum(float(np.vdot(x, x)) for x in u.values()))
    return size if math.isfinite(size) else math.inf


# [end]
