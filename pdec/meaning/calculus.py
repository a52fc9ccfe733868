"""Derivatives of typed expressions: ∂, ∇, ∇·, ∇² and U·∇.

Stage 2b, used by ``expressions.py``.  ∂ along axes becomes nested ``Partial`` nodes; ∇z
has one component per axis of the grid, which only a dot product or a divergence takes
apart:

    ∇·(κ ∇T)   →   ∂x (κ ∂x T) + ∂y (κ ∂y T)        (conservative, on the cells' faces)
    U·∇z       →   U[0] ∂x z + U[1] ∂y z
"""

from __future__ import annotations

import sympy

from pdec.contracts import Scope
from pdec.forms.model import Channel, Typed
from pdec.forms.symbolic import Partial, pick
from pdec.reading import tree
from pdec.source import Span

MAX_ORDER = 4


def partial(value: Typed, orders: dict[str, int], span: Span) -> Typed:
    """Differentiate along axes, so often along each."""
    expr = value.expr
    for axis, order in reversed(orders.items()):
        expr = Partial(expr, sympy.Symbol(axis), sympy.Integer(order), sympy.S.Zero)
    return Typed(expr, value.shape, value.domain, span)


def orders(
    sign: tree.Derivative, axes: tuple[str, ...] | None, value: Typed, scope: Scope
) -> dict[str, int]:
    """How many derivatives a sign takes along each axis; bare ∂ needs a 1-D grid."""
    if axes is None:
        if not scope.axes:
            scope.fail(
                "a derivative needs a grid", sign.span, "such as `grid x[64] on …`"
            )
        if len(scope.axes) != 1:
            first, *_ = scope.axes
            scope.fail(
                f"'{sign.text}' does not say along which axis: {', '.join(scope.axes)}",
                sign.span,
                f"write `∂{first * sign.order}`, or `∇²` for the sum of second ones",
            )
        axes = (next(iter(scope.axes)),)
    if len(axes) == 1:
        axes = axes * sign.order
    for axis in axes:
        if axis not in scope.axes:
            known = ", ".join(scope.axes)
            scope.fail(
                f"the grid has no axis '{axis}'", sign.span, f"its axes: {known}"
            )
        if axis not in value.domain:
            scope.fail(
                f"a derivative along {axis} of a value that does not vary along {axis}",
                value.span,
                f"declare it with ({axis}), or leave the derivative out",
            )
    found = {axis: axes.count(axis) for axis in dict.fromkeys(axes)}
    if sum(found.values()) > MAX_ORDER:
        scope.fail(f"derivatives go up to order {MAX_ORDER}", sign.span)
    return found


def laplacian(value: Typed, span: Span, scope: Scope) -> Typed:
    """∇²: the sum of the second derivatives along every axis."""
    axes = [axis for axis in scope.axes if axis in value.domain]
    if not axes:
        scope.fail(
            "the Laplacian of a value that does not vary over the grid", value.span
        )
    two, zero = sympy.Integer(2), sympy.S.Zero
    terms = (Partial(value.expr, sympy.Symbol(axis), two, zero) for axis in axes)
    return Typed(sympy.Add(*terms), value.shape, value.domain, span)


def gradient(value: Typed, span: Span, scope: Scope) -> Typed:
    """∇: one component per axis of the grid."""
    if not value.domain & set(scope.axes):
        scope.fail(
            "the gradient of a value that does not vary over the grid", value.span
        )
    parts = tuple(_first(value.expr, axis, value, 0) for axis in scope.axes)
    return Typed(sympy.S.Zero, value.shape, value.domain, span, parts)


def divergence(value: Typed, span: Span, scope: Scope) -> Typed:
    """∇·: the sum of ∂ of each component along its own axis."""
    parts, shape = components(value, scope)
    terms = [
        _first(part, axis, value, 0)
        for part, axis in zip(parts, scope.axes, strict=True)
    ]
    return Typed(sympy.Add(*terms), shape, value.domain, span)


def dot(left: Typed, right: Typed, span: Span, scope: Scope) -> Typed:
    """A dot product over the axes of the grid, as in U·∇z."""
    (first, a), (second, b) = components(left, scope), components(right, scope)
    if a and b and a != b:
        scope.fail("the components of this dot product differ in shape", span)
    total = sympy.Add(*(x * y for x, y in zip(first, second, strict=True)))
    return Typed(total, a or b, left.domain | right.domain, span)


def components(
    value: Typed, scope: Scope
) -> tuple[tuple[sympy.Expr, ...], tuple[Channel, ...]]:
    """The component of a vector along each axis, and the shape of a component.

    A vector is ∇ of something, or a value whose only channel axis is as long as
    the grid has axes; on a 1-D grid any value is its own component.
    """
    if value.vector is not None:
        return value.vector, value.shape
    if len(value.shape) == 1 and value.shape[0].size == len(scope.axes):
        count = range(value.shape[0].size)
        return tuple(pick(value.expr, 0, number) for number in count), ()
    if len(scope.axes) == 1:
        return (value.expr,), value.shape
    scope.fail(
        f"a vector with {len(scope.axes)} components is needed here, one per axis",
        value.span,
        f"declare it with the shape [{len(scope.axes)}], or take a gradient with ∇",
    )


def one_sided(value: Typed, axis: str, bias: int) -> sympy.Expr:
    """∂⁻ (bias -1) or ∂⁺ (bias +1): a first-order difference to one side."""
    return _first(value.expr, axis, value, bias)


def _first(expr: sympy.Expr, axis: str, value: Typed, bias: int) -> sympy.Expr:
    if axis not in value.domain:
        return sympy.S.Zero
    return Partial(expr, sympy.Symbol(axis), sympy.S.One, sympy.Integer(bias))
