"""Expressions: tree nodes to typed SymPy expressions.

Stage 2b, called by ``resolve.py`` for every expression of a file once all names are
known.  Juxtapositions are folded from right to left here, channel shapes are inferred
and checked, and function values get names, so that ``f(W0 z + W1 ∂z - b)`` becomes

    Z   = W0 z + W1 Partial(z, x, 1, 0) - b
    f_Z = tanh(Z)

Nothing of the user's text is ever evaluated as code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import sympy

from pdec import tree
from pdec.model import Channel, Typed
from pdec.scope import Builder, Mistake
from pdec.source import Span
from pdec.symbolic import (
    BATCH,
    TIME,
    Access,
    Constant,
    Contraction,
    Partial,
    indices_of,
    per_sample,
    rename_indices,
)

MAX_POWER = 64
MAX_ORDER = 4
NUMBER: frozenset[str] = frozenset()


def translate(node: tree.Expr, scope: Builder) -> Typed:
    """Give an expression its meaning: SymPy form, channel shape and domain."""
    handler: Callable[[Any, Builder], Typed] = _HANDLERS[type(node)]
    return handler(node, scope)


def number(node: tree.Expr, scope: Builder, what: str) -> float:
    """The value of an expression in numbers and constants alone."""
    expr = translate(node, scope).expr
    values = {c: sympy.Float(scope.constants[c.name]) for c in expr.atoms(Constant)}
    value = expr.xreplace(values).evalf()
    if not value.is_number or not value.is_real:
        scope.fail(f"{what} must be a number known at compile time", node.span)
    if not math.isfinite(float(value)):
        scope.fail(f"{what} is not a finite number", node.span)
    return float(value)


def integer(node: tree.Expr, scope: Builder, what: str, *, least: int = 1) -> int:
    """The value of an expression that must be a whole number."""
    value = number(node, scope, what)
    if value != int(value) or not least <= value <= 2**40:
        scope.fail(f"{what} must be a whole number, at least {least}", node.span)
    return int(value)


# --- leaves ------------------------------------------------------------------------


def _number(node: tree.Number, scope: Builder) -> Typed:
    whole = node.value == int(node.value) and abs(node.value) < 2**53
    value = sympy.Integer(int(node.value)) if whole else sympy.Float(node.value)
    return Typed(value, (), NUMBER, node.span)


def _name(node: tree.Name, scope: Builder) -> Typed:
    name = node.name
    argument = scope.arguments.get(name)
    if argument is not None:
        return Typed(argument, (), NUMBER, node.span)
    if name == "pi" and name not in scope.constants:
        return Typed(sympy.pi, (), NUMBER, node.span)
    if name in scope.constants:
        return Typed(Constant(name), (), NUMBER, node.span)
    if name in scope.variables:
        variable = scope.variables[name]
        domain = frozenset(variable.domain)
        return Typed(variable.array.element(), variable.shape, domain, node.span)
    if name in scope.definitions or name in scope.pending:
        definition = scope.definition(name, node.span)
        return Typed(definition.element, definition.shape, definition.domain, node.span)
    if name in scope.axes:
        return Typed(Access(name, ((name, 0),)), (), frozenset({name}), node.span)
    if scope.is_function(name):
        scope.fail(
            f"'{node.text}' is a function and needs its argument in parentheses",
            node.span,
            f"write `{node.text}(…)`",
        )
    return scope.unknown(node)


def _group(node: tree.Group, scope: Builder) -> Typed:
    if len(node.items) != 1:
        scope.fail(
            "a list of expressions stands only behind a function's name", node.span
        )
    inner = translate(node.items[0], scope)
    return Typed(inner.expr, inner.shape, inner.domain, node.span)


def _transpose(node: tree.Transpose, scope: Builder) -> Typed:
    base = translate(node.base, scope)
    if len(base.shape) != 2:
        scope.fail("only a matrix can be transposed", node.span)
    expr = rename_indices(base.expr, {"i0": "i1", "i1": "i0"})
    return Typed(expr, base.shape[::-1], base.domain, node.span)


def _index(node: tree.Index, scope: Builder) -> Typed:
    return scope.fail(
        "components cannot be picked with [ ] in this version",
        node.span,
        "contract with a constant parameter instead",
    )


# --- arithmetic --------------------------------------------------------------------


def _negate(node: tree.Negate, scope: Builder) -> Typed:
    operand = translate(node.operand, scope)
    return Typed(-operand.expr, operand.shape, operand.domain, node.span)


def _binary(node: tree.Binary, scope: Builder) -> Typed:
    left, right = _both(node.left, node.right, scope)
    if node.op in "+-":
        return _sum(left, right, node, scope)
    if node.op == "*":
        return multiply(left, right, node.span, scope)
    if node.op == "/":
        return _quotient(left, right, node, scope)
    return scope.fail("a dot product with ∇ is not part of this version", node.span)


def _both(left: tree.Expr, right: tree.Expr, scope: Builder) -> tuple[Typed, Typed]:
    """Translate two operands; a mistake in the first does not hide one in the second."""
    try:
        first = translate(left, scope)
    except Mistake:
        translate(right, scope)
        raise
    return first, translate(right, scope)


def _sum(left: Typed, right: Typed, node: tree.Binary, scope: Builder) -> Typed:
    if left.shape and right.shape and not _same(left.shape, right.shape):
        word = "add" if node.op == "+" else "subtract"
        scope.fail(
            f"cannot {word} shapes {shape_text(left.shape)} and {shape_text(right.shape)}",
            right.span,
        )
    expr = left.expr + right.expr if node.op == "+" else left.expr - right.expr
    return Typed(expr, left.shape or right.shape, left.domain | right.domain, node.span)


def _quotient(left: Typed, right: Typed, node: tree.Binary, scope: Builder) -> Typed:
    if right.expr == 0:
        scope.fail("division by zero", right.span)
    if right.shape and not _same(left.shape, right.shape):
        scope.fail(
            f"cannot divide shape {shape_text(left.shape)} by {shape_text(right.shape)}",
            right.span,
        )
    expr = left.expr / right.expr
    return Typed(expr, left.shape, left.domain | right.domain, node.span)


def _power(node: tree.Power, scope: Builder) -> Typed:
    base, exponent = translate(node.base, scope), translate(node.exponent, scope)
    return _raised(base, exponent, node.span, scope)


def _raised(base: Typed, exponent: Typed, span: Span, scope: Builder) -> Typed:
    if exponent.shape or exponent.domain or per_sample(exponent.expr):
        scope.fail("an exponent must be a number", exponent.span)
    if exponent.expr.is_number and abs(float(exponent.expr)) > MAX_POWER:
        scope.fail(f"an exponent may be at most {MAX_POWER}", exponent.span)
    if base.expr.is_number and exponent.expr.is_number:
        return Typed(_folded(base, exponent, span, scope), (), NUMBER, span)
    return Typed(base.expr**exponent.expr, base.shape, base.domain, span)


def _folded(base: Typed, exponent: Typed, span: Span, scope: Builder) -> sympy.Expr:
    """A power of numbers: small integers stay exact, the rest is floating point."""
    low, high = float(base.expr), float(exponent.expr)
    if (
        base.expr.is_Integer
        and exponent.expr.is_Integer
        and abs(low) <= 1000
        and 0 <= high <= 8
    ):
        return base.expr**exponent.expr
    try:
        value = low**high
    except (OverflowError, ZeroDivisionError):
        value = math.inf
    if isinstance(value, complex) or not math.isfinite(value):
        scope.fail("this power is not a finite real number", span)
    return sympy.Float(value)


def _same(left: tuple[Channel, ...], right: tuple[Channel, ...]) -> bool:
    pairs = zip(left, right, strict=False)
    return len(left) == len(right) and all(a.fits(b) for a, b in pairs)


def shape_text(shape: tuple[Channel, ...]) -> str:
    """A channel shape as the user writes it: [d, 10]."""
    return f"[{', '.join(c.label or str(c.size) for c in shape)}]"


def multiply(left: Typed, right: Typed, span: Span, scope: Builder) -> Typed:
    """The product: a number scales, a matrix contracts, equal vectors pair up."""
    domain = left.domain | right.domain
    if not left.shape or not right.shape:
        return Typed(left.expr * right.expr, left.shape or right.shape, domain, span)
    if len(left.shape) >= 2 and left.shape[-1].fits(right.shape[0]):
        return _contract(left, right, span)
    if len(left.shape) == 1 and _same(left.shape, right.shape):
        return Typed(left.expr * right.expr, left.shape, domain, span)
    scope.fail(
        f"cannot multiply shapes {shape_text(left.shape)} and {shape_text(right.shape)}",
        right.span,
        "a matrix [n, m] takes a vector [m]; two vectors must have one shape",
    )


def _contract(left: Typed, right: Typed, span: Span) -> Typed:
    """Σ_k left[…, k] right[k, …]; bound indices nest as k0, k1, …"""
    last = len(left.shape) - 1
    used = indices_of(left.expr) | indices_of(right.expr)
    bound = next(f"k{n}" for n in range(100) if f"k{n}" not in used)
    names = {"i0": bound} | {
        f"i{n}": f"i{last + n - 1}" for n in range(1, len(right.shape))
    }
    first = rename_indices(left.expr, {f"i{last}": bound})
    second = rename_indices(right.expr, names)
    value = Contraction(first * second, sympy.Symbol(bound))
    shape = left.shape[:-1] + right.shape[1:]
    return Typed(value, shape, left.domain | right.domain, span)


# --- juxtaposition -----------------------------------------------------------------


def _juxtaposition(node: tree.Juxtaposition, scope: Builder) -> Typed:
    operands: list[Typed] = []
    position = 0
    while position < len(node.items):
        operand, position = _operand(node.items, position, scope)
        operands.append(operand)
    result = operands.pop()
    while operands:
        left = operands.pop()
        result = multiply(left, result, Span(left.span.start, result.span.end), scope)
    return Typed(result.expr, result.shape, result.domain, node.span)


def _operand(
    items: tuple[tree.Expr, ...], position: int, scope: Builder
) -> tuple[Typed, int]:
    """The operand that starts at a position, and the position behind it."""
    item = items[position]
    following = items[position + 1] if position + 1 < len(items) else None
    if isinstance(item, tree.Derivative):
        return _derivative_of(items, position, scope)
    if isinstance(item, tree.Root):
        inner, end = _operand(items, position + 1, scope)
        return _call(
            tree.Name("√", "sqrt", item.span), (inner,), inner.span, scope
        ), end
    name = item.base if isinstance(item, tree.Power) else item
    if isinstance(name, tree.Name) and isinstance(following, tree.Group):
        if scope.is_function(name.name):
            arguments = tuple(
                translate(argument, scope) for argument in following.items
            )
            span = Span(item.span.start, following.span.end)
            value = _call(name, arguments, span, scope)
            if isinstance(item, tree.Power):
                value = _raised(value, translate(item.exponent, scope), span, scope)
            return value, position + 2
        if _is_reference(name, following, scope):
            return translate(name, scope), position + 2
        _refuse_evaluation(name, following, scope)
    return translate(item, scope), position + 1


def _is_reference(name: tree.Name, group: tree.Group, scope: Builder) -> bool:
    """``W0(x)`` with exactly the declared axes is a reference to W0."""
    variable = scope.variables.get(name.name)
    names = [item.name if isinstance(item, tree.Name) else None for item in group.items]
    return variable is not None and bool(names) and names == list(variable.domain)


def _refuse_evaluation(name: tree.Name, group: tree.Group, scope: Builder) -> None:
    """``z(0)`` looks like an evaluation at a point, which the language does not have."""
    variable = scope.variables.get(name.name)
    points = all(isinstance(item, tree.Number) for item in group.items)
    if variable is not None and (points or len(group.items) > 1):
        scope.fail(
            f"'{name.text}' is an array, not a function of a point",
            Span(name.span.start, group.span.end),
            f"a product is written `{name.text} · (…)`; "
            f"a reference is `{name.text}` or `{name.text}({', '.join(variable.domain)})`",
        )


def _call(
    name: tree.Name, arguments: tuple[Typed, ...], span: Span, scope: Builder
) -> Typed:
    """Apply an operator of the language or a function of the user's."""
    arity, apply = scope.function(name.name)
    if len(arguments) != arity:
        plural = "argument" if arity == 1 else "arguments"
        scope.fail(f"'{name.text}' takes {arity} {plural}, not {len(arguments)}", span)
    if name.name not in scope.smooth_functions:
        return apply(arguments, scope, span)
    if scope.arguments or not any(per_sample(a.expr) for a in arguments):
        return apply(arguments, scope, span)
    named = tuple(_named_argument(argument, scope) for argument in arguments)
    value = apply(named, scope, span)
    hint = "_".join(
        [name.name, *(a.expr.array for a in named if isinstance(a.expr, Access))]
    )
    return scope.define(hint, value)


def _named_argument(argument: Typed, scope: Builder) -> Typed:
    plain = isinstance(argument.expr, Access) or argument.expr.is_number
    return argument if plain else scope.define("Z", argument)


# --- derivatives -------------------------------------------------------------------


def _derivative_of(
    items: tuple[tree.Expr, ...], position: int, scope: Builder
) -> tuple[Typed, int]:
    sign = items[position]
    assert isinstance(sign, tree.Derivative)
    axes, position = sign.axes, position + 1
    letters = items[position] if position < len(items) else None
    subscript = isinstance(letters, tree.Name) and position + 1 < len(items)
    if (
        axes is None
        and sign.kind == "partial"
        and isinstance(letters, tree.Name)
        and subscript
    ):
        if scope.wall is not None and letters.name == "n":
            return _normal_of(items, position + 1, sign, scope)
        if all(letter in scope.axes for letter in letters.name):
            axes, position = tuple(letters.name), position + 1
    if position >= len(items):
        scope.fail("this derivative has no operand", sign.span, f"write `{sign.text}z`")
    operand, end = _operand(items, position, scope)
    span = Span(sign.span.start, operand.span.end)
    if sign.kind == "laplacian":
        return _laplacian(operand, sign, span, scope), end
    if sign.kind != "partial":
        scope.fail(f"'{sign.text}' is not part of this version here", sign.span)
    along = _orders(sign, axes, operand, scope)
    expr = operand.expr
    for axis, order in reversed(along.items()):
        expr = Partial(expr, sympy.Symbol(axis), sympy.Integer(order), sympy.S.Zero)
    return Typed(expr, operand.shape, operand.domain, span), end


def _normal_of(
    items: tuple[tree.Expr, ...], position: int, sign: tree.Derivative, scope: Builder
) -> tuple[Typed, int]:
    """``∂n u`` in a boundary equation: the derivative along the outward normal."""
    assert scope.wall is not None
    axis, side = scope.wall
    operand, end = _operand(items, position, scope)
    slope = Partial(operand.expr, sympy.Symbol(axis), sympy.S.One, sympy.S.Zero)
    span = Span(sign.span.start, operand.span.end)
    return Typed(side * slope, operand.shape, operand.domain, span), end


def _orders(
    sign: tree.Derivative, axes: tuple[str, ...] | None, operand: Typed, scope: Builder
) -> dict[str, int]:
    """How many derivatives to take along each axis."""
    if axes is None and scope.wall is not None:
        axes = (scope.wall[0],)
    if axes is None:
        if len(scope.axes) != 1:
            first, *_ = scope.axes
            scope.fail(
                f"'{sign.text}' does not say along which axis: {', '.join(scope.axes)}",
                sign.span,
                f"write `∂{first * sign.order}`, or `∇²` for the sum of second derivatives",
            )
        axes = (next(iter(scope.axes)),)
    if len(axes) == 1:
        axes = axes * sign.order
    for axis in axes:
        if axis not in scope.axes:
            scope.unknown_axis(axis, sign.span)
        if axis not in operand.domain:
            scope.fail(
                f"a derivative along {axis} of a value that does not vary along {axis}",
                operand.span,
                f"declare it with ({axis}), or leave the derivative out",
            )
    orders = {axis: axes.count(axis) for axis in dict.fromkeys(axes)}
    if sum(orders.values()) > MAX_ORDER:
        scope.fail(f"derivatives go up to order {MAX_ORDER}", sign.span)
    return orders


def _laplacian(
    operand: Typed, sign: tree.Derivative, span: Span, scope: Builder
) -> Typed:
    axes = [axis for axis in scope.axes if axis in operand.domain]
    if not axes:
        scope.fail(
            "the Laplacian of a value that does not vary over the grid", operand.span
        )
    two, zero = sympy.Integer(2), sympy.S.Zero
    terms = (Partial(operand.expr, sympy.Symbol(axis), two, zero) for axis in axes)
    return Typed(sympy.Add(*terms), operand.shape, operand.domain, span)


def _lone_derivative(node: tree.Derivative | tree.Root, scope: Builder) -> Typed:
    return scope.fail("an operator without its operand", node.span)


_HANDLERS: dict[type, Callable[..., Typed]] = {
    tree.Number: _number,
    tree.Name: _name,
    tree.Group: _group,
    tree.Transpose: _transpose,
    tree.Index: _index,
    tree.Negate: _negate,
    tree.Binary: _binary,
    tree.Power: _power,
    tree.Juxtaposition: _juxtaposition,
    tree.Derivative: _lone_derivative,
    tree.Root: _lone_derivative,
}

__all__ = ["BATCH", "TIME", "integer", "multiply", "number", "shape_text", "translate"]
