"""Readings: what people read in two ways once it is known which names are functions.

Stage 2b, called by ``expressions.py``.  Nothing is guessed; both bracketings are
offered:

    1/k (x + 1)   →   '1/k (x + 1)' can be read in two ways
                      hint: write `(1/k) (x + 1)` or `1/(k (x + 1))`
"""

from __future__ import annotations

from dataclasses import replace

from pdec.forms.symbolic import TIME
from pdec.meaning.scope import Builder
from pdec.reading import tree
from pdec.reading.lines import shown
from pdec.source import Span


def is_reference(name: tree.Name, group: tree.Group, scope: Builder) -> bool:
    """Whether ``W0(x)``, with exactly the declared axes, is a reference to W0."""
    variable = scope.variables.get(name.name)
    names = [item.name if isinstance(item, tree.Name) else None for item in group.items]
    domain = variable.domain if variable else scope.located.get(name.name, ())
    if not domain or None in names:
        return False
    return sorted(map(str, names)) == sorted(domain)


def raised_reference(
    name: tree.Name, following: tree.Expr | None, scope: Builder
) -> tree.Expr | None:
    """``b(x)²`` with the declared axes as ``b²``, ``A(x)ᵀ`` as ``Aᵀ``."""
    if isinstance(following, tree.Group):
        return name if is_reference(name, following, scope) else None
    if not isinstance(following, tree.Power | tree.Index | tree.Transpose):
        return None
    base = raised_reference(name, following.base, scope)
    span = Span(name.span.start, following.span.end)
    return None if base is None else replace(following, base=base, span=span)


def refuse_evaluation(name: tree.Name, group: tree.Group, scope: Builder) -> None:
    """``z(0)`` looks like an evaluation at a point, which the language has not.

    ``a(x)`` with an a that was not declared with (x) looks like a reference to it.
    """
    located = scope.located.get(name.name)
    if located is not None:
        axes = ", ".join(located)
        scope.fail(
            f"'{name.text}({axes})' is a value of each cell, not a function",
            Span(name.span.start, group.span.end),
            f"a function's argument is not called {located[0]}, as the axis is: "
            f"`{name.text}(s) = …`",
        )
    (first, *_) = group.items
    axis = isinstance(first, tree.Name) and first.name in (*scope.axes, TIME)
    if isinstance(first, tree.Name) and axis and not scope.arguments:
        scope.fail(
            f"'{name.text}' was not declared with {_text(group.span, scope)}",
            Span(name.span.start, group.span.end),
            f"a reference is `{name.text}`; a product is `{name.text} {first.text}`",
        )
    variable = scope.variables.get(name.name)
    points = all(isinstance(item, tree.Number) for item in group.items)
    if variable is not None and (points or len(group.items) > 1):
        axes = f" or `{name.text}({', '.join(variable.domain)})`"
        scope.fail(
            f"'{name.text}' is an array, not a function of a point",
            Span(name.span.start, group.span.end),
            f"a product is written `{name.text} · (…)`; "
            f"a reference is `{name.text}`{axes if variable.domain else ''}",
        )


def refuse_raised_argument(
    name: tree.Name, following: tree.Expr | None, scope: Builder
) -> None:
    """``tanh(z)²`` is (tanh z)² to one reader and tanh(z²) to another."""
    base = following
    while isinstance(base, tree.Power | tree.Index | tree.Transpose):
        base = base.base
    if following is None or base is following or not isinstance(base, tree.Group):
        return
    argument = _text(base.span, scope)
    behind = _text(Span(base.span.end, following.span.end), scope)
    _two_ways(
        Span(name.span.start, following.span.end),
        f"({name.text}{argument}){behind}",
        f"{name.text}({argument}{behind})",
        scope,
    )


def refuse_split_divisor(node: tree.Binary, scope: Builder) -> None:
    """``1/k (x + 1)`` with a k that is no function: is the group divided by, too?"""
    right = node.right
    while isinstance(right, tree.Negate):
        right = right.operand
    if not isinstance(right, tree.Juxtaposition):
        return
    name, group = right.items[0], right.items[1]
    head = name.base if isinstance(name, tree.Power) else name
    if not isinstance(head, tree.Name) or not isinstance(group, tree.Group):
        return
    if scope.is_function(head.name) or not scope.knows(head.name):
        return
    if is_reference(head, group, scope):
        return
    left, whole = _text(node.left.span, scope), _text(node.right.span, scope)
    divisor = _text(Span(node.right.span.start, name.span.end), scope)
    others = _text(Span(group.span.start, right.span.end), scope)
    first, second = f"({left}/{divisor}) {others}", f"{left}/({whole})"
    _two_ways(node.span, first, second, scope)


def refuse_differentials(node: tree.Binary, scope: Builder) -> None:
    """``dz/dx`` reads as a derivative, which the language writes ``∂x z``."""
    left, right = _items(node.left)[-1], _items(node.right)[0]
    if not isinstance(left, tree.Name) or not isinstance(right, tree.Name):
        return
    field, axis = left.text[1:], right.text[1:]
    if scope.knows(left.name) or scope.knows(right.name) or not field:
        return
    if left.text[0] == right.text[0] == "d" and right.name[1:] in scope.axes:
        span = Span(left.span.start, right.span.end)
        what = f"'{_text(span, scope)}' is not how a derivative is written"
        scope.fail(what, span, f"write `∂{axis} {field}` or `d/d{axis} {field}`")


def refuse_power_behind_axis(
    sign: tree.Derivative,
    letters: tree.Name,
    items: tuple[tree.Expr, ...],
    scope: Builder,
) -> None:
    """``∂x u²`` is ∂x (u²) to one reader and (∂x u)² to another; items: from u on."""
    power = items[0]
    if not isinstance(power, tree.Power):
        return
    end = power.span.end
    base = _text(power.base.span, scope)
    following = items[1] if len(items) > 1 else None
    if isinstance(power.base, tree.Name) and isinstance(following, tree.Group):
        if scope.is_function(power.base.name):
            return  # `∂x sin²(x)` has one reading: the square belongs to the sine
    mark = _text(Span(sign.span.start, letters.span.end), scope)
    whole = _text(power.span, scope)
    raised = _text(Span(power.base.span.end, end), scope)
    first, second = f"{mark} ({whole})", f"({mark} {base}){raised}"
    _two_ways(Span(sign.span.start, end), first, second, scope)


def refuse_raised_reference(
    mark: Span, items: tuple[tree.Expr, ...], scope: Builder
) -> None:
    """``∂b(x)²`` is ∂(b²) to one reader and (∂b)² to another; items: from b on."""
    if len(items) < 2 or not isinstance(items[0], tree.Name):
        return
    name, following = items[0], items[1]
    if isinstance(following, tree.Group):
        return
    if raised_reference(name, following, scope) is None:
        return
    base: tree.Expr = following
    while isinstance(base, tree.Power | tree.Index | tree.Transpose):
        base = base.base
    sign, end = _text(mark, scope), following.span.end
    plain = _text(Span(name.span.start, base.span.end), scope)
    behind = _text(Span(base.span.end, end), scope)
    first, second = f"{sign}({plain}{behind})", f"({sign} {plain}){behind}"
    _two_ways(Span(mark.start, end), first, second, scope)


def _two_ways(span: Span, first: str, second: str, scope: Builder) -> None:
    message = f"'{_text(span, scope)}' can be read in two ways"
    scope.fail(message, span, f"write `{first}` or `{second}`")


def _items(expression: tree.Expr) -> tuple[tree.Expr, ...]:
    if isinstance(expression, tree.Juxtaposition):
        return expression.items
    return (expression,)


def _text(span: Span, scope: Builder) -> str:
    return shown(scope.source.excerpt(span))
