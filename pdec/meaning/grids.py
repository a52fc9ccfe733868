"""Numbers and the grid: what must be known before any array can be declared.

Stage 2a, called by ``declarations.py``: constants, dims and axes enter the scope.

    grid x[128] on [0, 1) periodic   →   GridAxis("x", 128, 0.0, 1.0, periodic=True)

A mistake in an axis is reported once, and the axis declared all the same, so that
the rest of the file can be checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pdec.errors import UsageError
from pdec.forms.model import GridAxis
from pdec.meaning.expressions import integer, number
from pdec.meaning.scope import Builder, Mistake
from pdec.reading import tree

MAX_AXES = 3
MAX_LENGTH = 2**40
STAND_IN = 64  # the length of an axis whose own could not be read

_LEAST_LENGTH = 1e-50


def constants(
    statements: list[tree.ConstStatement],
    scope: Builder,
    overrides: Mapping[str, float],
) -> None:
    """Evaluate ``const`` statements, in whatever order they stand."""
    waiting: dict[str, tuple[tree.Name, tree.Expr]] = {}
    for statement in statements:
        for name, value in statement.items:
            try:
                scope.declare(name)
            except Mistake:
                continue
            waiting[name.name] = (name, value)
    _refuse_circles(waiting, scope)
    while waiting:
        ready = [
            n for n, (_, value) in waiting.items() if not names_in(value) & set(waiting)
        ]
        assert ready, "circles were refused"
        for key in ready:
            name, value = waiting.pop(key)
            try:
                found = number(value, scope, f"the constant '{name.text}'")
            except Mistake:
                scope.failed.add(key)
            else:
                scope.constants[key] = float(overrides.get(key, found))


def _refuse_circles(
    waiting: dict[str, tuple[tree.Name, tree.Expr]], scope: Builder
) -> None:
    """Report each circle of constants once, and take its members out."""
    needs = {n: names_in(value) & set(waiting) for n, (_, value) in waiting.items()}
    for key in list(waiting):
        reached: set[str] = set()
        following = set(needs.get(key, ()))
        while following:
            reached |= following
            following = set().union(*(needs.get(n, set()) for n in following)) - reached
        if key in reached:
            name, _ = waiting[key]
            scope.reporter.error(f"'{name.text}' is defined by itself", name.span)
            for member in [n for n in reached if key in needs.get(n, ()) or n == key]:
                needs.pop(member, None)
    for key in set(waiting) - set(needs):
        scope.failed.add(key)
        del waiting[key]


def names_in(node: Any) -> set[str]:
    """Canonical names that occur anywhere inside a tree node."""
    if isinstance(node, tree.Name):
        return {node.name}
    if isinstance(node, tuple):
        return set().union(*(names_in(item) for item in node))
    if is_dataclass(node):
        return set().union(*(names_in(getattr(node, f.name)) for f in fields(node)))
    return set()


def declare_dim(
    statement: tree.DimStatement, scope: Builder, overrides: Mapping[str, float]
) -> None:
    """Declare the length of a channel axis."""
    scope.declare(statement.name)
    try:
        written = integer(statement.size, scope, "a dim")
    except Mistake:
        scope.failed.add(statement.name.name)
        raise
    name = statement.name.name
    scope.dims[name] = set_length(name, written, overrides)


def set_length(name: str, written: int, overrides: Mapping[str, float]) -> int:
    """A length as written, or as set from outside: a whole number, at least 1."""
    value = overrides.get(name, written)
    if value != int(value) or not 1 <= value <= MAX_LENGTH:
        wanted = "a length is a whole number, at least 1"
        raise UsageError(f"--set {name}={value:g}: {wanted}")
    return int(value)


def declare_axis(
    axis: tree.Axis, scope: Builder, overrides: Mapping[str, float]
) -> None:
    """Declare an axis of the grid."""
    name, text = axis.name.name, axis.name.text
    scope.declare(axis.name)
    if len(name) != 1:
        scope.failed.add(name)
        scope.fail(f"an axis is one letter, not '{text}'", axis.name.span)
    if len(scope.axes) == MAX_AXES:
        scope.failed.add(name)
        scope.fail(f"a grid has at most {MAX_AXES} axes", axis.span)
    try:
        size = integer(axis.size, scope, f"the length of {text}")
    except Mistake:
        size = STAND_IN
    low, high = _ends(axis, scope)
    size = set_length(name, size, overrides)
    scope.axes[name] = GridAxis(name, size, low, high, axis.periodic, axis.span)


def _ends(axis: tree.Axis, scope: Builder) -> tuple[float, float]:
    """The interval of an axis; [0, 1] where it has a mistake, which is reported."""
    name, interval = axis.name.text, axis.interval
    low, high = 0.0, 1.0
    try:
        low = number(interval.low, scope, f"the start of {name}")
        high = number(interval.high, scope, f"the end of {name}")
        if not low < high:
            hint = f"write the smaller number first: `on [{high:g}, {low:g}]`"
            hint = hint if high < low else "write two different numbers: `on [0, 1]`"
            scope.fail(f"the interval of {name} is empty", interval.span, hint)
        if not _LEAST_LENGTH <= high - low <= 1 / _LEAST_LENGTH:
            hint = "powers of its spacing would not be numbers: rescale the equation"
            message = f"the interval of {name} is {high - low:g} long"
            scope.fail(message, interval.span, hint)
        if not interval.low_closed or interval.high_closed == axis.periodic:
            _wrong_brackets(axis, scope)
    except Mistake:
        scope.walls_unclear.add(axis.name.name)
        return (low, high) if low < high else (0.0, 1.0)
    return low, high


def _wrong_brackets(axis: tree.Axis, scope: Builder) -> None:
    name, span = axis.name.text, axis.interval.span
    low = scope.source.excerpt(axis.interval.low.span)
    high = scope.source.excerpt(axis.interval.high.span)
    if axis.periodic:
        what = f"the periodic axis {name} is written without its last point"
        scope.fail(what, span, f"write `on [{low}, {high}) periodic`")
    what = f"the axis {name} is not periodic, so it is written with both its ends"
    hint = f"write `on [{low}, {high}]`, or `on [{low}, {high}) periodic`"
    scope.fail(what, span, hint)
