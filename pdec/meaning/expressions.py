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
from dataclasses import replace
from typing import Any, NoReturn

import sympy

from pdec.forms.model import Typed
from pdec.forms.symbolic import (
    NOW,
    TIME,
    Access,
    Constant,
    per_sample,
    pick,
    rename_indices,
)
from pdec.meaning.arithmetic import (
    NUMBER,
    add,
    divide,
    multiply,
    no_vector,
    raised,
    shape_text,
)
from pdec.meaning.bounds import bounded
from pdec.meaning.calculus import divergence, dot, gradient, laplacian, orders, partial
from pdec.meaning.expansion import expansion
from pdec.meaning.readings import (
    is_reference,
    raised_reference,
    refuse_differentials,
    refuse_evaluation,
    refuse_power_behind_axis,
    refuse_raised_argument,
    refuse_raised_reference,
    refuse_split_divisor,
)
from pdec.meaning.scope import MOMENTS, Builder, Mistake
from pdec.reading import tree
from pdec.reading.lines import shown
from pdec.source import Span


def translate(node: tree.Expr, scope: Builder) -> Typed:
    """Give an expression its meaning: SymPy form, channel shape and domain."""
    return no_vector(_translated(node, scope), scope)


def _translated(node: tree.Expr, scope: Builder) -> Typed:
    """Like ``translate``, but ∇z may stand alone: it is on its way into a product."""
    handler: Callable[[Any, Builder], Typed] = _HANDLERS[type(node)]
    return bounded(handler(node, scope), scope)


def number(node: tree.Expr, scope: Builder, what: str) -> float:
    """The value of an expression in numbers and constants alone."""
    expr = translate(node, scope).expr
    if expr.has(NOW):
        scope.fail(f"{what} cannot depend on the time t", node.span)
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
    if name == "pi" and name not in scope.declared:
        return Typed(sympy.pi, (), NUMBER, node.span)
    if name in scope.constants:
        return Typed(Constant(name), (), NUMBER, node.span)
    if name in scope.variables:
        variable = scope.variables[name]
        domain = frozenset(variable.domain)
        return Typed(variable.array.element(), variable.shape, domain, node.span)
    if scope.defines(name):
        definition = scope.definition(name, node.span)
        return Typed(definition.element, definition.shape, definition.domain, node.span)
    if name in scope.axes:
        return Typed(Access(name, ((name, 0),)), (), frozenset({name}), node.span)
    if name == TIME:
        return Typed(NOW, (), frozenset({TIME}), node.span)
    if name in scope.kernels:
        hint = f"write `moments({node.text}, 2) z`"
        what = "is a kernel, which acts through its moments alone"
        scope.fail(f"'{node.text}' {what}", node.span, hint)
    if scope.is_function(name):
        _refuse_lone_function(node, None, scope)
    return scope.unknown(node)


def _refuse_lone_function(
    name: tree.Name, following: tree.Expr | None, scope: Builder
) -> NoReturn:
    """Report ``f z`` and ``f``: a function takes a group."""
    argument = shown(scope.source.excerpt(following.span)) if following else "…"
    scope.fail(
        f"'{name.text}' is a function and needs its argument in parentheses",
        name.span,
        f"write `{name.text}({argument})`",
    )


def _group(node: tree.Group, scope: Builder) -> Typed:
    if len(node.items) != 1:
        scope.fail(
            "a list of expressions stands only behind a function's name", node.span
        )
    return replace(_translated(node.items[0], scope), span=node.span)


def _transpose(node: tree.Transpose, scope: Builder) -> Typed:
    base = translate(node.base, scope)
    if len(base.shape) != 2:
        scope.fail("only a matrix can be transposed", node.span)
    expr = rename_indices(base.expr, {"i0": "i1", "i1": "i0"})
    return Typed(expr, base.shape[::-1], base.domain, node.span)


def _index(node: tree.Index, scope: Builder) -> Typed:
    """``z[0]``, ``A[0, 2]``: components of a value, counted from 0."""
    value = translate(node.base, scope)
    if len(node.items) > len(value.shape):
        had = f"shape {shape_text(value.shape)}" if value.shape else "no channels"
        scope.fail(f"too many components: this has {had}", node.span)
    for item in node.items:
        size = value.shape[0].size
        place = integer(item, scope, "a component", least=0)
        if place >= size:
            scope.fail(f"component {place} does not exist: there are {size}", item.span)
        value = replace(value, expr=pick(value.expr, 0, place), shape=value.shape[1:])
    return replace(value, span=node.span)


# --- arithmetic --------------------------------------------------------------------


def _negate(node: tree.Negate, scope: Builder) -> Typed:
    operand = _translated(node.operand, scope)
    minus = Typed(-sympy.S.One, (), NUMBER, node.span)
    return replace(multiply(minus, operand, node.span, scope), span=node.span)


def _binary(node: tree.Binary, scope: Builder) -> Typed:
    if node.op == "/":
        refuse_differentials(node, scope)
        refuse_split_divisor(node, scope)
    left, right = _both(node.left, node.right, scope)
    if node.op in "+-":
        return add(left, right, node, scope)
    if node.op == "*":
        return multiply(left, right, node.span, scope)
    if node.op == "/":
        scope.note(right, node.right, node)
        return divide(left, right, node, scope)
    return dot(left, right, node.span, scope)


def _both(left: tree.Expr, right: tree.Expr, scope: Builder) -> tuple[Typed, Typed]:
    """Translate two operands; a mistake in one does not hide one in the other."""
    try:
        first = _translated(left, scope)
    except Mistake:
        _translated(right, scope)
        raise
    return first, _translated(right, scope)


def _power(node: tree.Power, scope: Builder) -> Typed:
    base, exponent = translate(node.base, scope), translate(node.exponent, scope)
    scope.note(base, node.base, node)
    return raised(base, exponent, node.span, scope)


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
    return replace(result, span=node.span)


def _operand(
    items: tuple[tree.Expr, ...], position: int, scope: Builder
) -> tuple[Typed, int]:
    """The operand that starts at a position, and the position behind it."""
    item = items[position]
    following = items[position + 1] if position + 1 < len(items) else None
    if isinstance(item, tree.Derivative):
        return _derivative_of(items, position, scope)
    if isinstance(item, tree.Root):
        refuse_raised_reference(item.span, items[position + 1 :], scope)
        inner, end = _operand(items, position + 1, scope)
        return _call(
            tree.Name("√", "sqrt", item.span), (inner,), inner.span, scope
        ), end
    name = item.base if isinstance(item, tree.Power) else item
    if isinstance(item, tree.Index | tree.Transpose) and not _is_call(item.base, scope):
        name = item.base  # A[0, 1](x), Aᵀ(x): references, too
    if isinstance(item, tree.Name) and item.name == MOMENTS:
        return _moments_of(items, position, scope)
    if isinstance(name, tree.Name) and isinstance(following, tree.Group):
        if scope.is_function(name.name):
            arguments = tuple(
                translate(argument, scope) for argument in following.items
            )
            span = Span(item.span.start, following.span.end)
            value = _call(name, arguments, span, scope)
            if isinstance(item, tree.Power):
                value = raised(value, translate(item.exponent, scope), span, scope)
            return value, position + 2
        if is_reference(name, following, scope):
            return translate(item, scope), position + 2
        if not scope.knows(name.name):
            scope.unknown(name, called=len(name.text) > 1)
        refuse_evaluation(name, following, scope)
    elif isinstance(item, tree.Name) and (
        reference := raised_reference(item, following, scope)
    ):
        return translate(reference, scope), position + 2
    elif isinstance(item, tree.Name) and scope.is_function(item.name):
        refuse_raised_argument(item, following, scope)
        _refuse_lone_function(item, following, scope)
    elif isinstance(item, tree.Name) and isinstance(following, tree.Power):
        if isinstance(following.base, tree.Group):
            refuse_evaluation(item, following.base, scope)
    return _translated(item, scope), position + 1


def _is_call(node: tree.Expr, scope: Builder) -> bool:
    return isinstance(node, tree.Name) and scope.is_function(node.name)


def _moments_of(
    items: tuple[tree.Expr, ...], position: int, scope: Builder
) -> tuple[Typed, int]:
    """``moments(K, n) z``: Σ_k M_k/k! ∂^k z, an operator on the next operand."""
    name, *rest = items[position:]
    assert isinstance(name, tree.Name)
    if len(rest) < 2 or not isinstance(rest[0], tree.Group):
        what = "moments acts on the operand that follows it"
        scope.fail(what, name.span, "write `moments(K, 2) z`")
    operand, end = _operand(items, position + 2, scope)
    span = Span(name.span.start, operand.span.end)
    total = Typed(sympy.S.Zero, operand.shape, operand.domain, span)
    for coefficient, along in expansion(name, rest[0], operand, scope):
        term = multiply(coefficient, partial(operand, along, span), span, scope)
        domain = total.domain | term.domain
        total = Typed(total.expr + term.expr, term.shape, domain, span)
    return total, end


def _call(
    name: tree.Name, arguments: tuple[Typed, ...], span: Span, scope: Builder
) -> Typed:
    """Apply an operator of the language or a function of the user's."""
    arity, apply = scope.function(name.name)
    if len(arguments) != arity:
        plural = "argument" if arity == 1 else "arguments"
        operator = scope.operators.get(name.name)
        hint = f"{name.text}: {operator.doc}" if operator else None
        message = f"'{name.text}' takes {arity} {plural}, not {len(arguments)}"
        scope.fail(message, span, hint)
    if name.name not in scope.smooth_functions:
        return apply(arguments, scope, span)
    if scope.arguments or not any(per_sample(a.expr) for a in arguments):
        return apply(arguments, scope, span)
    named = tuple(_named_argument(argument, scope) for argument in arguments)
    value = bounded(apply(named, scope, span), scope)
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
            refuse_power_behind_axis(sign, letters, items[position:], scope)
        elif len(letters.text) == 1 and not scope.knows(letters.name):
            scope.unknown_axis(letters.text, letters.span)
    if position >= len(items):
        scope.fail("this derivative has no operand", sign.span, f"write `{sign.text}z`")
    mark = Span(sign.span.start, items[position - 1].span.end)
    refuse_raised_reference(mark, items[position:], scope)
    operand, end = _operand(items, position, scope)
    span = Span(sign.span.start, operand.span.end)
    if sign.kind == "divergence":
        return divergence(operand, span, scope), end
    no_vector(operand, scope)
    if sign.kind == "laplacian":
        return laplacian(operand, span, scope), end
    if sign.kind == "gradient":
        return gradient(operand, span, scope), end
    if axes is None and scope.wall is not None:
        axes = (scope.wall[0],)
    return partial(operand, orders(sign, axes, operand, scope), span), end


def _normal_of(
    items: tuple[tree.Expr, ...], position: int, sign: tree.Derivative, scope: Builder
) -> tuple[Typed, int]:
    """``∂n u`` in a boundary equation: the derivative along the outward normal."""
    assert scope.wall is not None
    axis, side = scope.wall
    operand, end = _operand(items, position, scope)
    span = Span(sign.span.start, operand.span.end)
    slope = partial(operand, {axis: sign.order}, span)
    return replace(slope, expr=side**sign.order * slope.expr), end


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
