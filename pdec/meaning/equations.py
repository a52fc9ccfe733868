"""Equations: the right-hand sides of the fields and their initial states.

Stage 2d, called by ``resolve.py``: what is assigned to a field must have its channel
shape and vary along no other axes,

    dz/dt = -γ(z - f(Z))   →   {"z": -γ (z[batch, x] - f_Z[batch, x])}
    at t = 0: z = img      →   {"z": img[batch, x]}
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pdec.errors import suggest
from pdec.forms.model import Typed, Variable
from pdec.forms.symbolic import TIME, Access
from pdec.meaning.arithmetic import shape_text
from pdec.meaning.expressions import number, translate
from pdec.meaning.scope import Builder, Mistake
from pdec.reading import tree
from pdec.source import Span

Guard = Callable[..., Any]


def evolution(
    statements: list[tree.EvolutionStatement],
    fields: dict[str, Variable],
    scope: Builder,
    guard: Guard,
) -> dict[str, Typed]:
    """The right-hand side of each field; every field has one."""
    found: dict[str, Typed] = {}
    written: set[str] = set()
    for statement in statements:
        name = statement.name.name
        if name not in fields:
            if not scope.doubtful(name):
                _no_field(statement.name, fields, scope)
            guard(translate, statement.rhs, scope)
            continue
        if name in written:
            text = statement.name.text
            hint = "one equation for each field: add the terms up"
            message = f"a second equation for d{text}/dt"
            scope.reporter.error(message, statement.span, hint)
            continue
        written.add(name)
        value = guard(_right_side, statement, fields[name], scope)
        if value is not None:
            found[name] = value
    kinds = {claim.kind for claim in scope.claims.values()}
    if not fields and "field" not in kinds and not scope.doubtful("field"):
        scope.missing("the model has no field", "add a line such as `field z(x)`")
    for name, variable in fields.items():
        if name not in written and not scope.doubtful(f"d{name}/dt"):
            scope.reporter.error(
                f"the field '{variable.spelling}' has no equation",
                variable.span,
                f"add `d{variable.spelling}/dt = …`",
            )
    return {name: found[name] for name in fields if name in found}


def _no_field(name: tree.Name, fields: dict[str, Variable], scope: Builder) -> None:
    """Report an equation for something that is no field."""
    near = suggest(name.name, fields)
    hint = f"declare it: `field {name.text}({', '.join(scope.axes)})`"
    if near:
        hint = f"did you mean `d{fields[near].spelling}/dt`?"
    claim = scope.claims.get(name.name)
    what = f"a {claim.kind}, not a field" if claim else "not a field"
    scope.reporter.error(f"'{name.text}' is {what}", name.span, hint)


def _right_side(
    statement: tree.EvolutionStatement, variable: Variable, scope: Builder
) -> Typed:
    value = translate(statement.rhs, scope)
    assignable(value, variable, statement.rhs.span, scope)
    return replace(value, span=statement.span)


def assignable(value: Typed, variable: Variable, span: Span, scope: Builder) -> None:
    """Check that a value has the shape and domain of what it is assigned to."""
    pairs = zip(value.shape, variable.shape, strict=False)
    fits = len(value.shape) == len(variable.shape) and all(a.fits(b) for a, b in pairs)
    if value.shape and not fits:
        has = f"shape {shape_text(variable.shape)}" if variable.shape else "no channels"
        scope.fail(
            f"'{variable.spelling}' has {has}, "
            f"but this has shape {shape_text(value.shape)}",
            span,
        )
    extra = sorted(value.domain - set(variable.domain) - {TIME})
    if extra:
        scope.fail(
            f"'{variable.spelling}' does not vary along {', '.join(extra)}, "
            "but this does",
            span,
            "reduce it with `integral(…)` or `mean(…)`",
        )


def initial_state(
    statements: list[tree.AtStatement],
    fields: dict[str, Variable],
    scope: Builder,
    guard: Guard,
) -> dict[str, Typed]:
    """The initial state of each field, for all of them or for none."""
    found: dict[str, Typed] = {}
    failed = False
    for statement in statements:
        if [axis.name for axis in statement.axes] != [TIME]:
            continue
        left = statement.left
        value = guard(_initial_value, statement, fields, scope)
        if value is None or not isinstance(left, tree.Name):
            failed = True
        elif left.name in found:
            message = f"a second initial state for '{left.text}'"
            scope.reporter.error(message, statement.span, "keep one of them")
        else:
            found[left.name] = value
    missing = [v for name, v in fields.items() if name not in found]
    if found and missing and not failed and not scope.doubtful("at"):
        scope.reporter.error(
            f"'{missing[0].spelling}' has no initial state, but another field has",
            missing[0].span,
            f"add `at t = 0: {missing[0].spelling} = …`",
        )
    return found


def _initial_value(
    statement: tree.AtStatement, fields: dict[str, Variable], scope: Builder
) -> Typed:
    place = statement.place
    if place is None or number(place, scope, "the initial time") != 0:
        span = statement.axes[0].span if place is None else place.span
        hint = "write `at t = 0: …`; later times follow from the equation"
        scope.fail("the initial state is given at t = 0", span, hint)
    left = statement.left
    if not isinstance(left, tree.Name) or left.name not in fields:
        if isinstance(left, tree.Name) and scope.doubtful(left.name):
            raise Mistake
        hint = "write `at t = 0: z = …` with a field z"
        what = "the left side of an initial state is a field"
        scope.fail(what, left.span, hint)
    value = translate(statement.right, scope)
    if any(a.array in fields for a in value.expr.atoms(Access)):
        hint = "it is made of inputs, params, coordinates and numbers"
        what = "the initial state cannot depend on a field"
        scope.fail(what, statement.right.span, hint)
    if TIME in value.domain:
        scope.fail(
            "the initial state cannot depend on what varies with t",
            statement.right.span,
            "declare the parameter without (t)",
        )
    assignable(value, fields[left.name], statement.right.span, scope)
    return replace(value, span=statement.span)
