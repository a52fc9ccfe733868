"""Boundary equations: ``at x = 0: a u + b ∂u = g`` to conditions at each side.

Stage 2c, called by ``resolve.py``.  A bare ∂ in a boundary equation is along the axis
that the wall belongs to, ``∂n`` is outward; the plug-ins in ``boundaries/`` say which
condition it is.  a, b and g are made of constants and parameters, g of inputs, too:

    at x = 1: h T + ∂n T = h Text   →   factors (h, 1), value h Text
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn

import sympy

from pdec.contracts import Boundary, discover
from pdec.forms.model import Condition, GridAxis, Typed
from pdec.forms.statements import Role
from pdec.forms.symbolic import (
    NOW,
    TIME,
    Access,
    Constant,
    Contraction,
    Partial,
    indices_of,
    per_sample,
)
from pdec.meaning.equations import assignable
from pdec.meaning.expressions import number, translate
from pdec.meaning.scope import Builder
from pdec.reading import tree

Key = tuple[str, str, int]
Conditions = dict[Key, tuple[Condition, ...]]
Guard = Callable[..., Any]

HIGHEST = 3  # order of a derivative in a condition


def boundaries(
    statements: list[tree.AtStatement],
    evolution: dict[str, Typed],
    scope: Builder,
    guard: Guard,
) -> Conditions:
    """Conditions by field, axis and side (-1 low, +1 high); none may be missing.

    A field whose equation has derivatives of order k along an axis takes one condition
    a side for k up to 2, beyond that k in all: two a side for 3 < k < 5.
    """
    found: Conditions = {}
    failed = False
    for statement in statements:
        if [axis.name for axis in statement.axes] == [TIME]:
            continue
        failed = guard(_conditions, statement, scope, found) is None or failed
    fields = [n for n, v in scope.variables.items() if v.array.role is Role.STATE]
    if not failed and not scope.doubtful("at", "grid"):
        for axis in scope.axes.values():
            if not axis.periodic and axis.name not in scope.walls_unclear:
                orders = _orders(axis.name, evolution, scope)
                for name in fields:
                    _check_number(name, axis, orders.get(name, 0), found, scope)
    return found


def _check_number(
    name: str, axis: GridAxis, order: int, found: Conditions, scope: Builder
) -> None:
    """Report a field with too few conditions at the sides of an axis, or too many."""
    spelling = scope.spellings[name]
    low, high = (found.get((name, axis.name, side), ()) for side in (-1, 1))
    ends = (f"{axis.name} = {axis.low:g}", f"{axis.name} = {axis.high:g}")
    bare = [end for end, given in zip(ends, (low, high), strict=True) if not given]
    if bare:
        where = bare[0] if len(bare) == 1 else axis.name
        scope.reporter.error(
            f"'{spelling}' has no boundary condition at {' and '.join(bare)}",
            axis.span,
            f"add `at {where}: ∂{spelling} = 0`, or make {axis.name} periodic",
        )
    elif order <= 2:
        for first, *more in (low, high):
            row, _ = scope.source.position(first.span.start)
            for extra in more:
                what = "a second boundary condition for this side"
                scope.reporter.error(
                    what, extra.span, f"the first one is on line {row}"
                )
    elif len(low) + len(high) != order or abs(len(low) - len(high)) != order % 2:
        have = f"{ends[0]} has {len(low)} and {ends[1]} has {len(high)}"
        hint = f"add for instance `∂²{spelling} = 0` beside `{spelling} = …`, or "
        hint += f"`∂³{spelling} = 0` beside `∂{spelling} = …`"
        if len(low) + len(high) > order:
            hint = "leave one out"
        scope.reporter.error(
            f"derivatives of order {order} along {axis.name} take {order} boundary "
            f"conditions for '{spelling}', shared by both sides; {have}",
            low[0].span,
            hint,
        )


def _orders(axis: str, evolution: dict[str, Typed], scope: Builder) -> dict[str, int]:
    """The highest derivative of each field along an axis, in any equation."""

    @cache
    def inside(name: str) -> dict[str, int]:
        return within(scope.definitions[name].expr)

    def within(expr: sympy.Expr) -> dict[str, int]:
        if isinstance(expr, Partial):
            inner, along, order, _ = expr.args
            more = int(order) if str(along) == axis else 0
            return {name: k + more for name, k in within(inner).items()}
        if isinstance(expr, Access):
            return (
                inside(expr.array)
                if expr.array in scope.definitions
                else {expr.array: 0}
            )
        found: dict[str, int] = {}
        for argument in expr.args:
            for name, order in within(argument).items():
                found[name] = max(order, found.get(name, 0))
        return found

    return within(sympy.Tuple(*(value.expr for value in evolution.values())))


def _conditions(statement: tree.AtStatement, scope: Builder, found: Conditions) -> bool:
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
            found[key] = (*found.get(key, ()), condition)
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
    """Read Σ_k a_k ∂^k u/∂n^k = g off the equation."""
    scope.wall = (axis, side)
    try:
        left, right = (
            translate(statement.left, scope),
            translate(statement.right, scope),
        )
    finally:
        scope.wall = None
    expr = left.expr - right.expr
    field = _field_of(expr, statement, scope)
    for value in (left, right):
        assignable(value, scope.variables[field], value.span, scope)
    element = scope.variables[field].array.element()
    orders = range(HIGHEST + 1)
    symbols = [sympy.Dummy(f"order{k}", real=True) for k in orders]
    along = sympy.Symbol(axis)
    derivatives = {
        Partial(element, along, sympy.Integer(k), sympy.S.Zero): symbols[k]
        for k in orders[1:]
    }
    flat = expr.xreplace(derivatives).xreplace({element: symbols[0]})
    factors = [flat.diff(symbol) for symbol in symbols]
    hidden = [e for e in flat.atoms(Partial, Contraction) if e.has(*symbols)]
    if hidden or any(factor.has(*symbols) for factor in factors):
        _not_linear(statement, scope)
    value = -flat.xreplace(dict.fromkeys(symbols, sympy.S.Zero))
    outward = [side**k * factor for k, factor in enumerate(factors)]
    while outward and _vanishes(outward[-1], scope):
        outward.pop()
    if not outward:
        scope.fail(
            "this boundary condition says nothing about the field", statement.span
        )
    condition = Condition("", tuple(outward), value, statement.span)
    _check_made_of(condition, axis, statement, scope)
    kind = _kind(condition, statement, scope)
    return field, Condition(kind, tuple(outward), value, statement.span)


def _field_of(expr: sympy.Expr, statement: tree.AtStatement, scope: Builder) -> str:
    """The one field that a boundary equation is about, mentioned in the open."""
    if any(_hides_field(access, scope) for access in expr.atoms(Access)):
        _not_linear(statement, scope)
    states = {access for access in expr.atoms(Access) if _is_field(access.array, scope)}
    if len({access.array for access in states}) != 1:
        scope.fail(
            "a boundary condition is about one field",
            statement.left.span,
            "such as `at x: ∂z = 0` or `at x = 0: z = 1`",
        )
    element = scope.variables[next(iter(states)).array].array.element()
    if states != {element} and not expr.has(Contraction):
        spelling = scope.spellings[element.array]
        scope.fail(
            "a boundary condition is about all channels of a field",
            statement.left.span,
            f"write `{spelling} = g` with a `param g[…]` or an `input g[…]`",
        )
    return str(element.array)


def _not_linear(statement: tree.AtStatement, scope: Builder) -> NoReturn:
    scope.fail(
        "a boundary condition is linear in u and ∂u: a u + b ∂u = g",
        statement.span,
        "what is not linear belongs into the equation, as a source in the cells at the "
        "wall",
    )


def _check_made_of(
    condition: Condition, axis: str, statement: tree.AtStatement, scope: Builder
) -> None:
    """Refuse what the numbers of a condition cannot depend on."""
    every = (*condition.factors, condition.value)
    if any(expr.has(NOW) for expr in every):
        scope.fail(
            "a boundary condition cannot depend on the time in this version",
            statement.span,
            "take a parameter with one value for each step, `param g(t)`",
        )
    if any(axis in indices_of(expr) for expr in every):
        what = f"nothing in a condition at a wall of {axis} can vary along {axis}"
        hint = f"declare it without {axis}; the coordinate itself is a number there"
        scope.fail(what, statement.span, hint)
    if any(per_sample(factor) for factor in condition.factors):
        scope.fail(
            "the factors of a boundary condition are numbers and parameters",
            statement.span,
            "an input can only be its value: a u + b ∂u = input",
        )


def _vanishes(expr: sympy.Expr, scope: Builder) -> bool:
    """Tell whether an expression in constants alone is zero."""
    values = {c: scope.constants.get(str(c.name)) for c in expr.atoms(Constant)}
    known = {c: sympy.Float(v) for c, v in values.items() if v is not None}
    return bool(expr.xreplace(known).is_zero)


def _is_field(name: str, scope: Builder) -> bool:
    variable = scope.variables.get(name)
    return variable is not None and variable.array.role is Role.STATE


def _hides_field(access: Access, scope: Builder) -> bool:
    """Whether an element is that of a definition that depends on a field."""
    definition = scope.definitions.get(access.array)
    return definition is not None and any(
        _is_field(inner.array, scope) or _hides_field(inner, scope)
        for inner in definition.expr.atoms(Access)
    )


def _kind(condition: Condition, statement: tree.AtStatement, scope: Builder) -> str:
    orders = frozenset(k for k, factor in enumerate(condition.factors) if factor != 0)
    known = sorted(discover("pdec.boundaries", Boundary).values(), key=lambda b: b.rank)
    for boundary in known:
        if boundary.matches(orders):
            return boundary.name
    names = ", ".join(boundary.name for boundary in known)
    scope.fail(
        "no boundary plug-in takes this condition", statement.span, f"known: {names}"
    )
