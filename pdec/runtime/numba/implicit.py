"""Implicit steps of one sample, compiled: Newton's method with a banded solver."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from pdec.runtime.compiled import _V_DOT, _evaluate, _multiply
from pdec.runtime.generated import _IMPLICIT, MODEL
from pdec.runtime.numba.buffers import _of_sample, _zeros_of
from pdec.runtime.numba.tools import _compiled
from pdec.runtime.pattern import _pattern
from pdec.runtime.types import Array, ConvergenceError

# [feature: implicit]
# --- implicit steps of one sample ----------------------------------------------------

# A solver is what solving an equation needs, a tuple of: vectors of all unknowns, of
# which the first two are the unknowns and the residual; the matrix, a row of which has
# its diagonal at `width`, and its pivots; what became of it, (factorised, failure,
# step); the pattern of its entries; tangents for products with it.

_FACTORISED, _FAILURE, _STEP = 0, 1, 2
_NO_CONVERGENCE, _SINGULAR = 1, 2
_MOST_ITERATIONS, _MOST_HALVINGS = 50, 10


@_compiled
def _solve(
    equation: int,
    constant: bool,
    shared: bool,
    solver: Any,
    n: int,
    here: int,
    there: int,
    c: Any,
    v: Any,
) -> None:
    """Solve for the unknowns by Newton's method, from what their vector holds.

    A step is halved until it makes the residual smaller. shared: the equation is
    linear, and one step enough.
    """
    vectors, state = solver[0], solver[3]
    u, r, change, start = vectors[0], vectors[1], vectors[2], vectors[3]
    if state[_FAILURE]:
        return
    _evaluate(equation, n, here, there, c, v, u, r)
    close, least, before = np.finfo(u.dtype).eps ** 0.25, _largest(u), np.inf
    for _ in range(_MOST_ITERATIONS):
        if not np.isfinite(_largest(r)):
            break
        if not _factorise(equation, constant, solver, n, here, there, c, v):
            return
        _copy(u, start)
        _copy(r, change)
        _substitute(solver, change)
        _sum(start, -1.0, change, u)
        size, residual = _largest(change), _largest(r)
        scale = max(least, _largest(u))
        near = size <= close * scale
        # the next change is lost in rounding, for it squares the error, or this one is
        moving = size > close**3 * scale and not (near and size > 0.9 * before)
        _evaluate(equation, n, here, there, c, v, u, r)
        halvings = 0
        while moving and not near and not shared and halvings < _MOST_HALVINGS:
            if _largest(r) < residual:
                break
            _scale(change, 0.5)
            _sum(start, -1.0, change, u)
            _evaluate(equation, n, here, there, c, v, u, r)
            halvings += 1
        if shared or not moving:
            return
        before = size
    state[_FAILURE], state[_STEP] = _NO_CONVERGENCE, n + 1


@_compiled
def _solve_tangent(
    equation: int,
    constant: bool,
    solver: Any,
    n: int,
    here: int,
    there: int,
    c: Any,
    v: Any,
) -> None:
    """Take the tangents of a residual to those of its unknowns: -J⁻¹ r_dot."""
    r = solver[0][1]
    if _factorise(equation, constant, solver, n, here, there, c, v):
        _substitute(solver, r)
    _scale(r, -1.0)


@_compiled
def _solve_adjoint(
    equation: int,
    constant: bool,
    solver: Any,
    n: int,
    here: int,
    there: int,
    c: Any,
    v: Any,
) -> None:
    """Take the cotangents of unknowns to those of the residual: -J⁻ᵀ u_bar."""
    r = solver[0][1]
    if _factorise(equation, constant, solver, n, here, there, c, v):
        _substitute_transposed(solver, r)
    _scale(r, -1.0)


# Loops: an array assigned to an array takes Numba seconds to compile.


@_compiled
def _copy(vector: Any, into: Any) -> None:
    """Copy a vector into another."""
    for k in range(len(into)):
        into[k] = vector[k]


@_compiled
def _sum(a: Any, factor: float, b: Any, into: Any) -> None:
    """Set a vector to a + factor b."""
    for k in range(len(into)):
        into[k] = a[k] + factor * b[k]


@_compiled
def _scale(vector: Any, factor: float) -> None:
    """Multiply a vector by a number."""
    for k in range(len(vector)):
        vector[k] *= factor


@_compiled
def _largest(vector: Any) -> Any:
    """Return the largest magnitude; not a number where one is none."""
    largest = np.abs(vector[0])
    for k in range(len(vector)):
        size = np.abs(vector[k])
        if not size <= largest:
            largest = size
            if np.isnan(size):
                break
    return largest


# [feature: accelerated]
_PLAIN_STEPS, _MOST_FIXED_POINT, _HISTORY = 8, 60, 5


@_compiled
def _accelerate(
    equation: int,
    constant: bool,
    shared: bool,
    solver: Any,
    n: int,
    here: int,
    there: int,
    c: Any,
    v: Any,
) -> None:
    """Find the fixed point of u ← u - r(u) from what the vector of unknowns holds.

    A few plain steps lead to the attractor that is near. Then comes the combination of
    the last five steps whose residual is least (Anderson 1965; Walker & Ni 2011,
    algorithm AA), until r is 1e-10 of the largest value. Newton's method takes it from
    there to rounding, as the gradient is that of an exact state, and from the start
    where that is not reached.
    """
    vectors = solver[0]
    u, r, step, start = vectors[0], vectors[1], vectors[4], vectors[5]
    old, moves, basis = vectors[6], vectors[7:12], vectors[12:17]
    tolerance = max(1e-10, 64.0 * np.finfo(u.dtype).eps)
    _copy(u, start)
    first, known = _largest(u), 0
    settled = False
    for number in range(_MOST_FIXED_POINT):
        _evaluate(equation, n, here, there, c, v, u, r)
        size = _largest(r)
        if not np.isfinite(size):
            break
        settled = size <= tolerance * max(first, _largest(u))
        if settled:
            break
        if number > _PLAIN_STEPS:
            known = min(known + 1, _HISTORY)
            place = (number - _PLAIN_STEPS - 1) % _HISTORY
            _copy(step, moves[place])
            _sum(r, -1.0, old, basis[place])
        _copy(r, old)
        _copy(r, step)
        _scale(step, -1.0)
        _combine(moves, basis, vectors[17:22], known, r, step)
        _sum(u, 1.0, step, u)
    if not settled:
        _copy(start, u)
    _solve(equation, constant, shared, solver, n, here, there, c, v)


@_compiled
def _combine(
    moves: Any, changes: Any, basis: Any, known: int, r: Any, step: Any
) -> None:
    """Add to a step the weights of earlier ones that make the residual least.

    With Q R the changes of the residual, by Gram & Schmidt, these solve R w = Qᵀ r; a
    change that depends on the others to 1e-10 has no weight.
    """
    R, w = np.zeros((_HISTORY, _HISTORY)), np.zeros(_HISTORY)
    for j in range(known):
        q = basis[j]
        _copy(changes[j], q)
        whole = np.sqrt(_product(q, q))
        for _ in range(2):  # once more, for what rounding left
            for i in range(j):
                part = _product(basis[i], q)
                R[i, j] += part
                _sum(q, -part, basis[i], q)
        left = np.sqrt(_product(q, q))
        if left > 1e-10 * whole:
            R[j, j] = left
            _scale(q, 1.0 / left)
            w[j] = _product(q, r)
        else:
            q[:] = 0.0
    for j in range(known - 1, -1, -1):
        if R[j, j] > 0.0:
            for i in range(j + 1, known):
                w[j] -= R[j, i] * w[i]
            w[j] /= R[j, j]
            _sum(step, -w[j], moves[j], step)
            _sum(step, w[j], changes[j], step)


@_compiled
def _product(a: Any, b: Any) -> Any:
    """Return Σ a b; BLAS might take another order for other threads."""
    total = a[0] * b[0]
    for k in range(1, len(a)):
        total += a[k] * b[k]
    return total


# [end]
# --- the matrix ----------------------------------------------------------------------


@_compiled
def _factorise(
    equation: int,
    constant: bool,
    solver: Any,
    n: int,
    here: int,
    there: int,
    c: Any,
    v: Any,
) -> bool:
    """Make the factors of the Jacobian at what v holds; once a call if constant."""
    matrix, pivots, state = solver[1], solver[2], solver[3]
    if state[_FAILURE]:
        return False
    if constant and state[_FACTORISED]:
        return True
    _fill(equation, solver, n, here, there, c, v)
    state[_FACTORISED] = 1
    if not _eliminate(matrix, pivots):
        state[_FAILURE], state[_STEP] = _SINGULAR, n + 1
        return False
    return True


@_compiled
def _fill(
    equation: int, solver: Any, n: int, here: int, there: int, c: Any, v: Any
) -> None:
    """Set the entries of the matrix, by products with vectors of 0 and 1."""
    probe, shown = solver[0][2], solver[0][3]
    matrix, pattern, v_dot = solver[1], solver[4], solver[5]
    probes, first, row, place, offset = pattern
    matrix[:] = 0.0
    for k in range(len(probes)):
        _copy(probes[k], probe)
        _multiply(equation, n, here, there, c, v, v_dot, probe, shown)
        for entry in range(first[k], first[k + 1]):
            matrix[place[entry], offset[entry]] = shown[row[entry]]


@_compiled
def _eliminate(matrix: Any, pivots: Any) -> bool:
    """Factorise a banded matrix in place, with row interchanges; False if singular.

    (Golub & Van Loan, Matrix Computations, section 4.3.3.) Column j of row i is at
    [i, width + j - i]; interchanges move entries up to 2 width behind the diagonal.
    """
    size, width = len(pivots), (matrix.shape[1] - 1) // 3
    for k in range(size):
        below, behind = min(width, size - 1 - k), min(2 * width, size - 1 - k)
        chosen, largest = k, np.abs(matrix[k, width])
        for i in range(k + 1, k + below + 1):
            if np.abs(matrix[i, width + k - i]) > largest:
                chosen, largest = i, np.abs(matrix[i, width + k - i])
        pivots[k] = chosen
        if largest == 0.0:
            return False
        ahead = matrix[k, width : width + behind + 1]
        if chosen != k:
            other = matrix[chosen, width + k - chosen : width + k - chosen + behind + 1]
            for j in range(behind + 1):
                ahead[j], other[j] = other[j], ahead[j]
        for i in range(k + 1, k + below + 1):
            own = matrix[i, width + k - i : width + k - i + behind + 1]
            factor = own[0] / ahead[0]
            own[0] = factor
            for j in range(1, behind + 1):
                own[j] -= factor * ahead[j]
    return True


@_compiled
def _substitute(solver: Any, vector: Any) -> None:
    """Set a vector b to J⁻¹ b, by the factors."""
    matrix, pivots, b, where = solver[1], solver[2], solver[0][-1], solver[6]
    size, width = len(pivots), (matrix.shape[1] - 1) // 3
    for k in range(size):
        b[where[k]] = vector[k]
    for k in range(size):
        b[k], b[pivots[k]] = b[pivots[k]], b[k]
        for i in range(k + 1, min(k + width, size - 1) + 1):
            b[i] -= matrix[i, width + k - i] * b[k]
    for k in range(size - 1, -1, -1):
        for j in range(1, min(2 * width, size - 1 - k) + 1):
            b[k] -= matrix[k, width + j] * b[k + j]
        b[k] /= matrix[k, width]
    for k in range(size):
        vector[k] = b[where[k]]


@_compiled
def _substitute_transposed(solver: Any, vector: Any) -> None:
    """Set a vector b to J⁻ᵀ b, by the factors."""
    matrix, pivots, b, where = solver[1], solver[2], solver[0][-1], solver[6]
    size, width = len(pivots), (matrix.shape[1] - 1) // 3
    for k in range(size):
        b[where[k]] = vector[k]
    for k in range(size):
        b[k] /= matrix[k, width]
        for j in range(1, min(2 * width, size - 1 - k) + 1):
            b[k + j] -= matrix[k, width + j] * b[k]
    for k in range(size - 1, -1, -1):
        for i in range(k + 1, min(k + width, size - 1) + 1):
            b[k] -= matrix[i, width + k - i] * b[i]
        b[k], b[pivots[k]] = b[pivots[k]], b[k]
    for k in range(size):
        vector[k] = b[where[k]]


# --- what a thread has for it --------------------------------------------------------


@functools.cache
def _ordered_pattern(name: str) -> tuple[tuple[Array, ...], Array, int]:
    """Return the pattern of a Jacobian, its entries by probe; places; the width."""
    found = _pattern(name)
    order = np.argsort(found.probe, kind="stable")
    row, column = found.row[order], found.column[order]
    place, other = found.place[row], found.place[column]
    width = int(np.max(np.abs(place - other)))
    first = np.searchsorted(found.probe[order], np.arange(len(found.probes) + 1))
    entries = (found.probes, first, row, place, width + other - place)
    return entries, found.place, width


def _solvers(dtype: Any) -> tuple[Any, ...]:
    """Return what solving takes, for each equation of a step."""
    found = []
    for name in _IMPLICIT:
        (probes, *rest), where, width = _ordered_pattern(name)
        count = 5
        # [feature: accelerated]
        count = 23
        # [end]
        found.append(
            (
                _zeros_of((count, len(where)), dtype),
                _zeros_of((len(where), 3 * width + 1), dtype),
                np.zeros(len(where), np.int64),
                np.zeros(3, np.int64),
                (probes.astype(dtype), *(each.astype(np.int64) for each in rest)),
                _of_sample(_V_DOT, dtype, 2),
                where.astype(np.int64),
            )
        )
    return tuple(found)


def _check_solved(v: tuple[Any, ...]) -> None:
    """Raise ConvergenceError where a step could not be solved for."""
    for solver in v[-len(_IMPLICIT) :]:
        _, failure, step = solver[3]
        if failure == _SINGULAR:
            message = f"the equations of step {step} are singular"
            raise ConvergenceError(f"{MODEL.name}: {message}")
        if failure:
            # [feature: accelerated]
            what = "equilibrium: start nearer to one, or make the moments smaller"
            # [end]
            # [feature: not accelerated]
            what = f"state after step {step}: take a shorter step"
            # [end]
            raise ConvergenceError(f"{MODEL.name}: Newton's method finds no {what}")


# [end]
