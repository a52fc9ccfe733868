"""Ghost cells: what stands beyond a wall, from the wall's conditions.

At a wall the solution is continued by a polynomial p(ξ), ξ the distance inwards in
cells.  It passes through the ``accuracy`` cells at ξ = ½, 3/2, … and satisfies the
conditions Σ_k a_k ∂^k p/∂n^k(0) = g, of which there are one or two; a ghost is p(-½),
p(-3/2), ….  For Neumann with g = 0 that is the mirror image, for Dirichlet with two
cells

    ghost = 8/3 g - 2 u₀ + 1/3 u₁,

where linear extrapolation would leave an O(1) error in ∂² at the wall.
"""

from __future__ import annotations

import sympy

from pdec.model import Condition, GridAxis
from pdec.statements import GhostRow
from pdec.stencil import spacing


def ghost_rows(
    axis: GridAxis,
    side: int,
    width: int,
    accuracy: int,
    conditions: tuple[Condition, ...],
) -> tuple[GhostRow, ...]:
    """The ``width`` ghost cells on one side of an axis, from the wall outwards.

    Without a condition the array is continued by the polynomial through its nearest
    cells.  Raises ``sympy.matrices.exceptions.NonInvertibleMatrixError`` where the
    conditions do not determine the polynomial.
    """
    if axis.periodic:
        return tuple(GhostRow(((-side, k, sympy.S.One),)) for k in range(width))
    powers = range(accuracy + len(conditions))
    cells = [sympy.Rational(2 * cell + 1, 2) for cell in range(accuracy)]
    rows = [[place**power for power in powers] for place in cells]
    rows += [[_at_wall(c, power, axis.name) for power in powers] for c in conditions]
    places = [-sympy.Rational(2 * k + 1, 2) for k in range(width)]
    beyond = sympy.Matrix([[place**power for place in places] for power in powers])
    found = sympy.Matrix(rows).T.LUsolve(beyond).applyfunc(sympy.cancel)
    made = []
    for k in range(width):
        weights = list(found[:, k])
        inside = enumerate(weights[:accuracy])
        given = zip(weights[accuracy:], conditions, strict=True)
        value = sympy.Add(*(weight * condition.value for weight, condition in given))
        made.append(GhostRow(tuple((side, d, w) for d, w in inside if w != 0), value))
    return tuple(made)


def least_cells(width: int, accuracy: int, *, periodic: bool) -> int:
    """The least number of cells along an axis that its ghosts can be made from."""
    return width if periodic else max(width, accuracy)


def _at_wall(condition: Condition, power: int, axis: str) -> sympy.Expr:
    """The left side of a condition for p = ξ^k, k the power: a_k k!/(-Δx)^k."""
    if power >= len(condition.factors):
        return sympy.S.Zero
    factor = condition.factors[power]
    exact = {f: sympy.Rational(str(f)) for f in factor.atoms(sympy.Float)}
    return factor.xreplace(exact) * sympy.factorial(power) / (-spacing(axis)) ** power
