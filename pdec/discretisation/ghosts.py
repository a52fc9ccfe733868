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

from pdec.discretisation.stencil import spacing
from pdec.forms.model import Condition, GridAxis
from pdec.forms.statements import GhostRow


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
    inside = [sympy.Rational(2 * cell + 1, 2) for cell in range(accuracy)]
    beyond = [-sympy.Rational(2 * k + 1, 2) for k in range(width)]
    cells, ghosts = (
        sympy.Matrix([[place**power for power in powers] for place in places])
        for places in (inside, beyond)
    )
    # p = Σ_j c_j ξ^j: the cells give the lower coefficients, the conditions the upper
    lower = cells[:, :accuracy].inv()
    weights, upper = ghosts[:, :accuracy] * lower, sympy.zeros(width, 0)
    if conditions:
        at_wall = sympy.Matrix(
            [[_at_wall(c, power, axis.name) for power in powers] for c in conditions]
        )
        rest = -lower * cells[:, accuracy:]
        upper = ghosts[:, :accuracy] * rest + ghosts[:, accuracy:]
        upper *= (at_wall[:, :accuracy] * rest + at_wall[:, accuracy:]).inv()
        weights -= upper * at_wall[:, :accuracy] * lower
    made = []
    for k in range(width):
        found = [sympy.cancel(weight) for weight in weights[k, :]]
        given = zip(upper[k, :], conditions, strict=True)
        value = sympy.Add(*(sympy.cancel(w) * c.value for w, c in given))
        made.append(
            GhostRow(tuple((side, d, w) for d, w in enumerate(found) if w), value)
        )
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
