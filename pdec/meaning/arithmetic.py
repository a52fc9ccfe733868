"""Arithmetic of typed values: shapes are checked, matrices contract, powers fold.

Stage 2b, used by ``expressions.py``.  A number scales anything, a matrix takes a
vector, two vectors of one shape pair up, and ∇z is scaled or meets a vector:

    A z    →   Σ_k A[i0, k] z[k]         U ∇z   →   U[0] ∂x z + U[1] ∂y z
"""

from __future__ import annotations

import math
from dataclasses import replace

import sympy

from pdec.contracts import Scope
from pdec.forms.model import Channel, Typed
from pdec.forms.symbolic import Contraction, indices_of, per_sample, rename_indices
from pdec.meaning.calculus import dot
from pdec.reading import tree
from pdec.source import Span

MAX_POWER = 64
NUMBER: frozenset[str] = frozenset()


def add(left: Typed, right: Typed, node: tree.Binary, scope: Scope) -> Typed:
    """The sum or difference of values of one shape."""
    if left.shape and right.shape and not _same(left.shape, right.shape):
        word = "add" if node.op == "+" else "subtract"
        scope.fail(
            f"cannot {word} shapes {shape_text(left.shape)} "
            f"and {shape_text(right.shape)}",
            right.span,
        )
    sign = 1 if node.op == "+" else -1
    shape, domain = left.shape or right.shape, left.domain | right.domain
    if left.vector is not None and right.vector is not None:
        pairs = zip(left.vector, right.vector, strict=True)
        parts = tuple(a + sign * b for a, b in pairs)
        return Typed(sympy.S.Zero, shape, domain, node.span, parts)
    no_vector(left, scope)
    no_vector(right, scope)
    return Typed(left.expr + sign * right.expr, shape, domain, node.span)


def divide(left: Typed, right: Typed, node: tree.Binary, scope: Scope) -> Typed:
    """The quotient; a divisor with channels divides channel by channel."""
    if right.expr == 0:
        scope.fail("division by zero", right.span)
    if right.shape and not _same(left.shape, right.shape):
        scope.fail(
            f"cannot divide shape {shape_text(left.shape)} "
            f"by {shape_text(right.shape)}",
            right.span,
        )
    no_vector(right, scope)
    inverse = replace(right, expr=1 / right.expr)
    return multiply(left, inverse, node.span, scope)


def multiply(left: Typed, right: Typed, span: Span, scope: Scope) -> Typed:
    """The product: a number scales, a matrix contracts, equal vectors pair up."""
    domain = left.domain | right.domain
    if left.vector is not None or right.vector is not None:
        return _with_vector(left, right, span, scope)
    if not left.shape or not right.shape:
        return Typed(left.expr * right.expr, left.shape or right.shape, domain, span)
    if len(left.shape) >= 2 and left.shape[-1].fits(right.shape[0]):
        return _contract(left, right, span)
    if len(left.shape) == 1 and _same(left.shape, right.shape):
        return Typed(left.expr * right.expr, left.shape, domain, span)
    scope.fail(
        f"cannot multiply shapes {shape_text(left.shape)} "
        f"and {shape_text(right.shape)}",
        right.span,
        "a matrix [n, m] takes a vector [m]; two vectors must have one shape",
    )


def _with_vector(left: Typed, right: Typed, span: Span, scope: Scope) -> Typed:
    """A number times ∇z scales each component; a vector times ∇z is a dot product."""
    scalar, vector = (right, left) if left.vector is not None else (left, right)
    if scalar.vector is not None or scalar.shape:
        return dot(left, right, span, scope)
    assert vector.vector is not None
    parts = tuple(scalar.expr * part for part in vector.vector)
    domain = scalar.domain | vector.domain
    return Typed(sympy.S.Zero, vector.shape, domain, span, parts)


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


def raised(base: Typed, exponent: Typed, span: Span, scope: Scope) -> Typed:
    """A power with a number as its exponent."""
    if exponent.shape or exponent.domain or per_sample(exponent.expr):
        scope.fail("an exponent must be a number", exponent.span)
    if exponent.expr.is_number and abs(float(exponent.expr)) > MAX_POWER:
        scope.fail(f"an exponent may be at most {MAX_POWER}", exponent.span)
    if base.expr.is_number and exponent.expr.is_number:
        return Typed(_folded(base, exponent, span, scope), (), NUMBER, span)
    return Typed(base.expr**exponent.expr, base.shape, base.domain, span)


def _folded(base: Typed, exponent: Typed, span: Span, scope: Scope) -> sympy.Expr:
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


def no_vector(value: Typed, scope: Scope) -> Typed:
    """Refuse ∇z where nothing takes its components apart."""
    if value.vector is not None:
        scope.fail(
            "∇ has one component per axis, and nothing takes them apart here",
            value.span,
            "write `U·∇z` or `∇·(κ ∇z)`",
        )
    return value


def _same(left: tuple[Channel, ...], right: tuple[Channel, ...]) -> bool:
    pairs = zip(left, right, strict=False)
    return len(left) == len(right) and all(a.fits(b) for a, b in pairs)


def shape_text(shape: tuple[Channel, ...]) -> str:
    """A channel shape as the user writes it: [d, 10]."""
    return f"[{', '.join(c.label or str(c.size) for c in shape)}]"
