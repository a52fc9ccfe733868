"""Implicit steps: Newton's method with a direct solver, its adjoint and its tangent."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.linalg import get_lapack_funcs
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from pdec.runtime.generated import _CELLS, MODEL
from pdec.runtime.host import _lib
from pdec.runtime.pattern import _Equation, _equation, _Pattern, _pattern
from pdec.runtime.types import Array, Arrays, ConvergenceError

# [feature: implicit]
# --- solving for all samples of a tile ------------------------------------------------


def _residual_of(equation: _Equation, n: int, c: Arrays, v: Arrays) -> Array:
    """Return the residual of the unknowns in v, (batch, unknowns)."""
    equation.evaluate(n, c, v)
    return _vector([v[name] for name in equation.residuals])


def _inside(equation: _Equation, v: Arrays) -> list[Array]:
    """Return the cells of the unknowns, as views."""
    pairs = zip(equation.unknowns, MODEL.fields, strict=True)
    return [v[name][_CELLS[field]] for name, field in pairs]


def _vector(arrays: list[Array]) -> Array:
    """Return arrays (batch, …) as one vector for each sample, (batch, unknowns)."""
    return np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1)


def _put(arrays: list[Array], vector: Array) -> None:
    """Set arrays (batch, …) from one vector for each sample; inverse of _vector."""
    sizes = [math.prod(a.shape[1:]) for a in arrays]
    ends = list(itertools.accumulate(sizes))
    parts = np.split(vector, ends[:-1], axis=-1)
    for a, part in zip(arrays, parts, strict=True):
        a[...] = part.reshape(-1, *a.shape[1:])


def _solve(name: str, n: int, c: Arrays, v: Arrays) -> None:
    """Solve for the unknowns in v by Newton's method, from what they hold.

    A step is halved, for each sample alone, until it makes the residual smaller.
    """
    equation = _equation(name)
    u = _vector(_inside(equation, v))
    r = _residual_of(equation, n, c, v)
    moving, least = _lib.ones((len(u), 1), bool), _largest(u)
    close, before = _near(u), _lib.full((len(u), 1), np.inf)
    for _ in range(_MOST_ITERATIONS):
        if not np.all(np.isfinite(r)):
            moving = ~np.all(np.isfinite(r), axis=1, keepdims=True)
            break
        change = -_jacobian(name, n, c, v).solve(r) * moving
        size, scale = _largest(change), np.maximum(least, _largest(u + change))
        near = size <= close * scale
        # the next change is lost in rounding, for it squares the error, or this one is
        moving = moving & (size > close**3 * scale) & ~(near & (size > 0.9 * before))
        for halvings in range(_MOST_HALVINGS + 1):
            _put(_inside(equation, v), u + change)
            after = _residual_of(equation, n, c, v)
            worse = moving & ~near & ~(_largest(after) < _largest(r))
            if equation.shared or not worse.any() or halvings == _MOST_HALVINGS:
                break
            change *= np.where(worse, 0.5, 1.0)
        u, r, before = u + change, after, size
        if equation.shared or not moving.any():  # shared: linear, one step is enough
            return
    # [feature: accelerated]
    what, cure = "equilibrium", "start nearer to one, or make the moments smaller"
    # [end]
    # [feature: not accelerated]
    what, cure = f"state after step {n + 1}", "take a shorter step"
    # [end]
    raise ConvergenceError(
        f"{MODEL.name}: Newton's method finds no {what} for "
        f"{np.count_nonzero(moving)} of {len(u)} samples: {cure}"
    )


_MOST_ITERATIONS, _MOST_HALVINGS = 50, 10


def _largest(vector: Array) -> Array:
    """Return the largest magnitude of each sample, (batch, 1)."""
    largest: Array = np.max(np.abs(vector), axis=1, keepdims=True)
    return largest


def _near(u: Array) -> float:
    """Return the relative change at which Newton's method squares the error."""
    return float(np.finfo(u.dtype).eps ** 0.25)


def _solve_tangent(name: str, n: int, c: Arrays, v: Arrays, v_dot: Arrays) -> None:
    """Set the tangents of the unknowns from those of the residual: -J⁻¹ r_dot."""
    equation = _equation(name)
    r_dot = _vector([v_dot[residual] for residual in equation.residuals])
    _put(_inside(equation, v_dot), -_jacobian(name, n, c, v).solve(r_dot))


def _solve_adjoint(name: str, n: int, c: Arrays, v: Arrays, v_bar: Arrays) -> None:
    """Set the cotangents of the residual from those of the unknowns: -J⁻ᵀ u_bar."""
    equation = _equation(name)
    u_bar = _vector(_inside(equation, v_bar))
    r_bar = -_jacobian(name, n, c, v).solve(u_bar, transposed=True)
    _put([v_bar[residual] for residual in equation.residuals], r_bar)


# [feature: accelerated]
def _accelerate(name: str, n: int, c: Arrays, v: Arrays) -> None:
    """Find the fixed point of u ← u - r(u) from what the unknowns in v hold.

    A few plain steps lead to the attractor that is near. Then each sample takes the
    combination of its last five steps whose residual is least (Anderson 1965; Walker &
    Ni 2011, algorithm AA), until r is 1e-10 of the largest value. Newton's method takes
    it from there to rounding, as the gradient is that of an exact state; samples that
    do not get there, as stiff ones, it takes from the start.
    """
    equation = _equation(name)
    u = start = _vector(_inside(equation, v))
    tolerance = max(1e-10, 64.0 * np.finfo(u.dtype).eps)
    moves: list[Array] = []
    changes: list[Array] = []
    moving = _lib.ones((len(u), 1), bool)
    for number in range(_MOST_FIXED_POINT):
        r = _residual_of(equation, n, c, v)
        if not np.all(np.isfinite(r)):
            break
        moving = _largest(r) > tolerance * np.maximum(_largest(start), _largest(u))
        if not moving.any():
            break
        if moves:
            changes[-1] = r - changes[-1]
        step = -r
        if changes:
            dR, dU = np.stack(changes, -1), np.stack(moves, -1)
            weights = np.linalg.pinv(dR, rcond=1e-10) @ r[..., None]
            step -= ((dU - dR) @ weights)[..., 0]
        step *= moving
        if number >= _PLAIN_STEPS:
            moves, changes = [*moves[-4:], step], [*changes[-4:], r]
        u = u + step
        _put(_inside(equation, v), u)
    _put(_inside(equation, v), np.where(moving, start, u))
    _solve(name, n, c, v)


_PLAIN_STEPS, _MOST_FIXED_POINT = 8, 60


# [end]
# --- the Jacobian ---------------------------------------------------------------------


def _jacobian(name: str, n: int, c: Arrays, v: Arrays) -> _Factors:
    """Return the factors of the Jacobian at what v holds; once a run if constant."""
    key = f"{name} factors"
    if key in c:
        return c[key].item()  # type: ignore[no-any-return]
    equation, pattern = _equation(name), _pattern(name)
    if equation.shared:
        v = {array: values[:1] for array, values in v.items()}
    v_dot = {array: np.zeros_like(v[array]) for array in equation.tangents}
    products = []
    for probe in pattern.probes:
        _put(_inside(equation, v_dot), probe)
        equation.linearise(n, c, v, v_dot)
        products.append(_vector([v_dot[residual] for residual in equation.residuals]))
    entries = np.stack(products)[pattern.probe, :, pattern.row]
    try:
        factors = _Factors(pattern, entries)
    except (RuntimeError, ValueError) as error:
        message = f"{MODEL.name}: the equations of step {n + 1} are singular ({error})"
        raise ConvergenceError(message) from error
    if equation.constant:
        c[key] = np.array(factors, dtype=object)
    return factors


# [feature: arrays]
class _Factors:
    """The matrices of all samples, each solved by LU with partial pivoting (cuBLAS).

    They are dense: n unknowns take n² numbers and some 2/3 n³ operations in every
    solve, as nothing of one is kept for the next. Where each sample has a matrix of
    its own, one that is singular is left to Newton's method, which reads numbers back
    anyhow: whether all is finite, smaller than before, and done, in each iteration.
    """

    def __init__(self, pattern: _Pattern, entries: Array) -> None:
        size, samples = len(pattern.place), entries.shape[1]
        self.matrices = _lib.zeros((samples, size, size), entries.dtype)
        self.matrices[:, pattern.row, pattern.column] = entries.T

    def solve(self, b: Array, transposed: bool = False) -> Array:
        """Return J⁻¹ b, or J⁻ᵀ b, of every sample; b is (batch, unknowns)."""
        matrices = self.matrices.swapaxes(1, 2) if transposed else self.matrices
        alone = len(matrices) == 1
        found = _lib.linalg.solve(matrices, b.T[None] if alone else b[:, :, None])
        if alone and not np.isfinite(found).all() and np.isfinite(b).all():
            message = f"{MODEL.name}: the equations of a step are singular"
            raise ConvergenceError(message)
        solved: Array = found[0].T if alone else found[:, :, 0]
        return solved


# [end]
# [feature: not arrays]
# [feature: banded]
class _Factors:
    """The LU factors of a banded matrix (LAPACK), the samples one after the other."""

    def __init__(self, pattern: _Pattern, entries: Array) -> None:
        self.place = pattern.place
        row, column = self.place[pattern.row], self.place[pattern.column]
        self.width = int(np.max(np.abs(row - column)))
        size, samples = len(self.place), entries.shape[1]
        band = np.zeros((3 * self.width + 1, samples * size), entries.dtype, order="F")
        first = size * np.arange(samples)
        diagonal = 2 * self.width + row - column
        band[diagonal[:, None], column[:, None] + first] = entries
        factor, self._substitute = get_lapack_funcs(("gbtrf", "gbtrs"), (band,))
        self.factors, self.pivots, info = factor(
            band, self.width, self.width, overwrite_ab=True
        )
        if info > 0:
            raise ValueError(f"pivot {info} is 0")
        self.shape = (samples, size)

    def solve(self, b: Array, transposed: bool = False) -> Array:
        """Return J⁻¹ b, or J⁻ᵀ b, of every sample; b is (batch, unknowns)."""
        right = np.empty_like(b)
        right[:, self.place] = b
        samples, size = self.shape
        columns = right.T if samples == 1 else right.reshape(samples * size, 1)
        found, _ = self._substitute(
            self.factors, self.width, self.width, columns, self.pivots, trans=transposed
        )
        solved = found.T if samples == 1 else found.reshape(b.shape)
        return np.asarray(solved[:, self.place])


# [end]
# [feature: not banded]
class _Factors:
    """The LU factors of a sparse matrix (SuperLU), the samples in blocks."""

    def __init__(self, pattern: _Pattern, entries: Array) -> None:
        size, samples = len(pattern.place), entries.shape[1]
        first = size * np.arange(samples)
        row, column = pattern.row[:, None] + first, pattern.column[:, None] + first
        total = samples * size
        matrix = csc_array(
            (entries.ravel(), (row.ravel(), column.ravel())), shape=(total, total)
        )
        matrix.eliminate_zeros()
        self.factors = splu(matrix)
        self.shape = (samples, size)

    def solve(self, b: Array, transposed: bool = False) -> Array:
        """Return J⁻¹ b, or J⁻ᵀ b, of every sample; b is (batch, unknowns)."""
        samples, size = self.shape
        columns = b.T if samples == 1 else b.reshape(samples * size)
        found = self.factors.solve(np.ascontiguousarray(columns), "NT"[transposed])
        return np.asarray(found.T if samples == 1 else found.reshape(b.shape))


# [end]
# [end]
# [end]
