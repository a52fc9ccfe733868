"""Boundary equations: ``at x = 0: a u + b ∂u = g`` to conditions at each side.

Stage 2c, called by ``resolve.py``.  A bare ∂ in a boundary equation is along the axis
that the wall belongs to, ``∂n`` is outward; the plug-ins in ``boundaries/`` say which
condition it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy

from pdec import tree
from pdec.contracts import Boundary, discover
from pdec.expressions import number, translate
from pdec.model import Condition
from pdec.scope import Builder
from pdec.statements import Role
from pdec.symbolic import NOW, TIME, Access, Constant, Partial

Key = tuple[str, str, int]
Guard = Callable[..., Any]


def boundaries(
    statements: list[tree.AtStatement], scope: Builder, guard: Guard
) -> dict[Key, Condition]:
    """Conditions by field, axis and side (-1 low, +1 high); none may be missing."""
    found: dict[Key, Condition] = {}
    failed = False
    for statement in statements:
        if [axis.name for axis in statement.axes] == [TIME]:
            continue
        failed = guard(_conditions, statement, scope, found) is None or failed
    fields = [n for n, v in scope.variables.items() if v.array.role is Role.STATE]
    for name in fields:
        for axis in scope.axes.values():
            if axis.periodic:
                span, zero = axis.span, sympy.S.Zero
                for side in (-1, 1):
                    found[name, axis.name, side] = Condition(
                        "periodic", zero, zero, zero, span
                    )
    if not failed and not scope.doubtful("at", "grid"):
        _check_complete(fields, found, scope)
    return found


def _check_complete(
    fields: list[str], found: dict[Key, Condition], scope: Builder
) -> None:
    for name in fields:
        spelling = scope.spellings[name]
        for axis in scope.axes.values():
            sides = [side for side in (-1, 1) if (name, axis.name, side) not in found]
            walls = [
                f"{axis.name} = {axis.low if side < 0 else axis.high:g}"
                for side in sides
            ]
            if walls and axis.name not in scope.walls_unclear:
                where = walls[0] if len(walls) == 1 else axis.name
                scope.reporter.error(
                    f"'{spelling}' has no boundary condition at {' and '.join(walls)}",
                    axis.span,
                    f"add `at {where}: ∂{spelling} = 0`, or make {axis.name} periodic",
                )


def _conditions(
    statement: tree.AtStatement, scope: Builder, found: dict[Key, Condition]
) -> bool:
    for name in statement.axes:
        if name.name == TIME:
            scope.fail("t cannot be mixed with axes of the grid", name.span)
        if name.name not in scope.axes:
            scope.unknown_axis(name.text, name.span)
        axis = scope.axes[name.name]
        if axis.periodic:
            hint = f"delete this line, or write `{axis.name}[…] on [low, high]`"
            scope.fail(f"{axis.name} is periodic and has no walls", name.span, hint)
        for side in _sides(statement, name.name, scope):
            field, condition = _condition(statement, axis.name, side, scope)
            key = (field, axis.name, side)
            if key in found:
                row, _ = scope.source.position(found[key].span.start)
                hint = f"the first one is on line {row}"
                what = "a second boundary condition for this side"
                scope.fail(what, statement.span, hint)
            found[key] = condition
    return True


def _sides(statement: tree.AtStatement, name: str, scope: Builder) -> tuple[int, ...]:
    if statement.place is None:
        return (-1, 1)
    axis = scope.axes[name]
    place = number(statement.place, scope, "the place of a wall")
    tolerance = 1e-9 * (axis.high - axis.low)
    sides = [
        s for s, at in ((-1, axis.low), (1, axis.high)) if abs(place - at) <= tolerance
    ]
    if not sides:
        scope.fail(
            f"{name} = {place:g} is no side of the grid",
            statement.place.span,
            f"its sides are {name} = {axis.low:g} and {name} = {axis.high:g}",
        )
    return tuple(sides)


def _condition(
    statement: tree.AtStatement, axis: str, side: int, scope: Builder
) -> tuple[str, Condition]:
    """Read a u + b ∂u/∂n = g off the equation."""
    scope.wall = (axis, side)
    try:
        left, right = (
            translate(statement.left, scope),
            translate(statement.right, scope),
        )
    finally:
        scope.wall = None
    expr = left.expr - right.expr
    if expr.has(NOW):
        what = "a boundary condition cannot depend on the time t"
        scope.fail(what, statement.span, "put it into the equation as a source")
    states = {a for a in expr.atoms(Access) if _is_field(a, scope)}
    arrays = {access.array for access in states}
    if len(arrays) != 1:
        scope.fail(
            "a boundary condition is about one field",
            statement.left.span,
            "such as `at x: ∂z = 0` or `at x = 0: z = 1`",
        )
    (element,) = states
    value, slope = sympy.Dummy("value"), sympy.Dummy("slope")
    derivative = Partial(element, sympy.Symbol(axis), sympy.S.One, sympy.S.Zero)
    flat = expr.xreplace({derivative: slope}).xreplace({element: value})
    a, b = flat.diff(value), flat.diff(slope)
    if flat.has(Partial) or (a.free_symbols | b.free_symbols) & {value, slope}:
        scope.fail(
            "a boundary condition is linear in u and ∂u: a u + b ∂u = g", statement.span
        )
    rest = flat.xreplace({value: sympy.S.Zero, slope: sympy.S.Zero})
    outward = b * side
    if _vanishes(a, scope) and _vanishes(outward, scope):
        scope.fail(
            "this boundary condition says nothing about the field", statement.span
        )
    if any(e.atoms(Access) for e in (a, outward, rest)):
        scope.fail(
            "the numbers of a boundary condition are constants in this version",
            statement.span,
        )
    kind = _kind(a, outward, statement, scope)
    return element.array, Condition(kind, a, outward, -rest, statement.span)


def _vanishes(expr: sympy.Expr, scope: Builder) -> bool:
    """Tell whether an expression in constants alone is zero."""
    values = {c: scope.constants.get(str(c.name)) for c in expr.atoms(Constant)}
    known = {c: sympy.Float(v) for c, v in values.items() if v is not None}
    return bool(expr.xreplace(known).is_zero)


def _is_field(access: Access, scope: Builder) -> bool:
    variable = scope.variables.get(access.array)
    return variable is not None and variable.array.role is Role.STATE


def _kind(
    amplitude: sympy.Expr,
    slope: sympy.Expr,
    statement: tree.AtStatement,
    scope: Builder,
) -> str:
    known = sorted(discover("pdec.boundaries", Boundary).values(), key=lambda b: b.rank)
    for boundary in known:
        if boundary.matches(amplitude, slope):
            return boundary.name
    names = ", ".join(boundary.name for boundary in known)
    scope.fail(
        "no boundary plug-in takes this condition", statement.span, f"known: {names}"
    )
