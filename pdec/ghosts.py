"""Ghost cells: what stands beyond a wall, from the wall's condition.

At a wall the solution is continued by the polynomial p(ξ) of degree ``accuracy`` (ξ the
distance inwards in cells) that satisfies the condition a p(0) + b ∂p/∂n(0) = g and
passes through the cells at ξ = ½, 3/2, …; a ghost is p(-½), p(-3/2), ….  For Neumann
with g = 0 that is the mirror image, for Dirichlet at accuracy 2

    ghost = 8/3 g - 2 u₀ + 1/3 u₁,

where linear extrapolation would leave an O(1) error in ∂² at the wall.
"""

from __future__ import annotations

import sympy

from pdec.model import Condition, GridAxis
from pdec.statements import Ghost, GhostRow, Origin
from pdec.stencil import spacing


def ghost_cells(
    array: str,
    axis: GridAxis,
    width: int,
    accuracy: int,
    conditions: tuple[Condition | None, Condition | None],
    origin: Origin,
) -> Ghost:
    """The statement that fills ``width`` ghost cells on both sides of an axis.

    ``conditions`` are those of the low and the high side; None continues the array by
    the polynomial through its nearest cells.
    """
    sides = []
    for side, condition in zip((-1, 1), conditions, strict=True):
        if axis.periodic:
            rows = tuple(GhostRow(((-side, k, sympy.S.One),)) for k in range(width))
        else:
            rows = tuple(
                _row(side, k, accuracy, condition, axis.name) for k in range(width)
            )
        sides.append(rows)
    return Ghost(array, axis.name, sides[0], sides[1], origin)


def least_cells(width: int, accuracy: int, *, periodic: bool) -> int:
    """The least number of cells along an axis that its ghosts can be made from."""
    return width if periodic else max(width, accuracy)


def _exact(value: sympy.Expr) -> sympy.Expr:
    """A condition's number with decimals as fractions, so that weights stay short."""
    return value.xreplace({f: sympy.Rational(str(f)) for f in value.atoms(sympy.Float)})


def _row(
    side: int, distance: int, accuracy: int, condition: Condition | None, axis: str
) -> GhostRow:
    """One ghost cell beyond a wall as weights of the cells within and of g."""
    amplitude = _exact(condition.amplitude) if condition else sympy.S.Zero
    slope = _exact(condition.slope) if condition else sympy.S.Zero
    degree = accuracy if condition else accuracy - 1
    at = [sympy.Rational(2 * cell + 1, 2) for cell in range(accuracy)]
    rows = [[x**power for power in range(degree + 1)] for x in at]
    if condition is not None:
        inward = -slope / spacing(axis)
        rows.append([amplitude, inward] + [sympy.S.Zero] * (degree - 1))
    place = -sympy.Rational(2 * distance + 1, 2)
    values = sympy.Matrix([place**power for power in range(degree + 1)])
    found = sympy.Matrix(rows).T.LUsolve(values)
    solved = [sympy.cancel(weight) for weight in found]
    cells = tuple((side, cell, w) for cell, w in enumerate(solved[:accuracy]) if w != 0)
    value = solved[accuracy] * condition.value if condition else sympy.S.Zero
    return GhostRow(cells, value)
