"""Conditions: boundary equations as rows of ghost cells, in terms of computed arrays.

Stage 4d, called by ``padding.py`` when it is known how many ghost cells are read.  The
value g of a condition is computed by an ordinary statement, and so are weights that
depend on parameters, once a call; their derivatives follow as for any other statement:

    h T + ∂n T = h Text   →   coefficients:  wall_x = (8 - 6 h dx)/(8 + 3 h dx),  …
                                             T_x_high = h Text
                              ghost cell:    wall_x T[x_high] + … + wall_x_2 T_x_high
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import sympy
from sympy.matrices.exceptions import NonInvertibleMatrixError

from pdec.discretisation.ghosts import ghost_rows
from pdec.discretisation.lowering import Lowering, Tables
from pdec.errors import Diagnostic, ModelErrors
from pdec.forms.model import Condition, GridAxis
from pdec.forms.statements import GhostRow, Origin, Role, Statement
from pdec.forms.symbolic import (
    Access,
    Constant,
    indices_of,
    layer,
    per_sample,
)

MAX_WEIGHT = 1e12  # of a cell in a ghost; beyond it, rounding alone keeps it finite


@dataclass(frozen=True, slots=True)
class Wall:
    """The ghost cells beyond one side of an axis.

    ``before`` computes the values that differ from sample to sample.
    """

    rows: tuple[GhostRow, ...]
    before: tuple[Statement, ...] = ()


def wall_of(
    owner: str,
    axis: GridAxis,
    side: int,
    width: int,
    tables: Tables,
    spread: frozenset[str] = frozenset(),
) -> Wall:
    """Work out the ghost cells of a field, or of an array without conditions.

    ``spread`` are the axes whose ghost cells the wall's own extend over (corners): what
    varies along one of them is given ghost cells of its own.
    """
    model = tables.model
    conditions = model.boundaries.get((owner, axis.name, side), ())
    making = _Making(owner, axis, side, tables, spread)
    stand_ins, values = [], {}
    for condition in conditions:
        value, dummy = making.value(condition), sympy.Dummy(real=True)
        if value.atoms(Access):
            values[dummy] = value
            value = dummy
        stand_ins.append(replace(condition, value=value))
    try:
        rows = ghost_rows(axis, side, width, model.accuracy, tuple(stand_ins))
    except NonInvertibleMatrixError:
        raise _no_solution(tables, conditions[-1]) from None
    if conditions:
        _check(rows, axis, conditions[-1], tables)
    named = tuple(making.named(row, values) for row in rows)
    return Wall(named, tuple(making.before))


def accesses_of(row: GhostRow) -> set[Access]:
    """The elements that the weights and the value of a ghost cell are made of."""
    weights = (weight for *_, weight in row.cells)
    return {a for expr in (row.value, *weights) for a in expr.atoms(Access)}


class _Making:
    """One wall in the making."""

    def __init__(
        self,
        owner: str,
        axis: GridAxis,
        side: int,
        tables: Tables,
        spread: frozenset[str],
    ) -> None:
        self.hint = f"{owner}_{layer(axis.name, side)}"
        self.axis, self.tables, self.spread = axis, tables, spread
        self.element = tables.arrays[owner].element()
        self.origin = Origin("")
        self.before: list[Statement] = []

    def value(self, condition: Condition) -> sympy.Expr:
        """The value of a condition: an expression in constants, or an array."""
        source = self.tables.model.source
        excerpt = " ".join(source.excerpt(condition.span).split())
        self.origin = Origin(excerpt, source.location(condition.span))
        lowering = Lowering(self.tables)
        value = lowering.lowered(condition.value)
        if not per_sample(value):
            return self._shared(value, self.hint)
        if not isinstance(value, Access) or value.offsets:
            indices = indices_of(value) & set(self.element.indices)
            target = self.tables.new(self.hint, indices, value, Role.WORK)
            lowering.assign(target, value, self.origin, ready=True)
            self.before += lowering.statements
            return target
        return value

    def named(self, row: GhostRow, values: dict[sympy.Expr, Access]) -> GhostRow:
        """A row whose weights are numbers, named constants or coefficients."""
        cells = tuple((side, d, self._weight(w)) for side, d, w in row.cells)
        rest = self._weight(row.value.xreplace(dict.fromkeys(values, sympy.S.Zero)))
        given = (self._weight(row.value.diff(v)) * g for v, g in values.items())
        return GhostRow(cells, sympy.Add(rest, *given))

    def _weight(self, weight: sympy.Expr) -> sympy.Expr:
        hint = f"wall_{self.axis.name}"
        if not weight.atoms(Access):
            simple = weight.is_number or not weight.free_symbols
            return weight if simple else self.tables.number(weight, hint)
        found = self._shared(weight, hint)
        if sympy.fraction(weight)[1].atoms(Access) and isinstance(found, Access):
            self.tables.at_risk.setdefault(found.array, self.origin)
        return found

    def _shared(self, expr: sympy.Expr, hint: str) -> sympy.Expr:
        """An expression that all samples share, computed once a call."""
        if not expr.atoms(Access):
            return expr
        plain = isinstance(expr, Access) and not indices_of(expr) & self.spread
        return expr if plain else self.tables.hoist(expr, hint, self.origin)


def _check(
    rows: tuple[GhostRow, ...], axis: GridAxis, condition: Condition, tables: Tables
) -> None:
    """Conditions must determine the polynomial that passes through the cells.

    a p(0) + b ∂p/∂n(0) = g does not where its left side is 0 for the one that vanishes
    in them all.
    """
    numbers = {**tables.model.constants, f"d{axis.name}": axis.spacing}
    for weight in (weight for row in rows for *_, weight in row.cells):
        if weight.atoms(Access):
            continue  # known only when the module runs, which looks at it
        values = {c: sympy.Float(numbers[str(c.name)]) for c in weight.atoms(Constant)}
        value = weight.xreplace(values).evalf()
        if not value.is_real or not abs(float(value)) <= MAX_WEIGHT:
            raise _no_solution(tables, condition)


def _no_solution(tables: Tables, condition: Condition) -> ModelErrors:
    message = "this boundary condition has no solution on this grid"
    hint = "its two coefficients cancel: change one, or the number of cells"
    if len([factor for factor in condition.factors if factor != 0]) < 2:
        hint = "it says nothing that the other one does not say"
    source = tables.model.source
    return ModelErrors(source, (Diagnostic(message, condition.span, hint),))
