"""Bounds: every value of a model is one that a float can hold and a compiler can treat.

Stage 2b, asked by ``expressions.py`` about each value that it makes.  Refused are
numbers that are infinite or complex, also those made of constants alone, and
expressions so large or so deep that deriving them would take unbounded time:

    log(0) z    1e300² z    √c (for const c = -1)    f(f(f(f(…))))    ∂(z ∂(z ∂(z …)))
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import sympy

from pdec.contracts import Scope
from pdec.forms.model import Definition, Typed
from pdec.forms.symbolic import Access, Constant, Partial
from pdec.source import Span

MAX_SIZE = 4000
MAX_DEPTH = 50
MAX_FACTORS = 100
MAX_EXPONENT = 64
MAX_SPREAD = 400

_NO_NUMBERS = (sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I)


class Declarations(Scope, Protocol):
    """What of a model's declarations decides whether a value can be had."""

    @property
    def constants(self) -> Mapping[str, float]:
        """Constants by name."""
        ...

    @property
    def definitions(self) -> Mapping[str, Definition]:
        """Definitions by name, which are written out under a derivative."""
        ...

    @property
    def accuracy(self) -> int:
        """The order of the stencils, which their size depends on."""
        ...


def bounded(value: Typed, scope: Declarations) -> Typed:
    """Return a value whose numbers are floats; report one whose numbers are not."""
    for expr in (value.expr, *(value.vector or ())):
        _check_size(expr, value.span, scope)
        if expr.has(*_NO_NUMBERS) or not _holds(expr, scope.constants):
            scope.fail("this is not a finite real number", value.span)
        if expr.has(Partial) and _spread(expr, scope) > MAX_SPREAD:
            what = "with its derivatives written out, this expression is too large"
            scope.fail(what, value.span, "nest fewer derivatives")
        for power in expr.atoms(sympy.Pow):
            exponent = power.exp
            if exponent.is_number and abs(float(exponent)) > MAX_EXPONENT:
                what = f"powers of powers make an exponent of {float(exponent):g}"
                scope.fail(f"{what}; it may be at most {MAX_EXPONENT}", value.span)
    return value


def check_substitution(
    body: sympy.Expr, values: dict[sympy.Symbol, sympy.Expr], span: Span, scope: Scope
) -> None:
    """Report a call whose function, with its arguments put in, would be too large."""
    size, _ = _measure(body)
    for node in sympy.preorder_traversal(body):
        if node in values:
            size += _measure(values[node])[0]
        if size > MAX_SIZE:
            _too_large(span, scope)


def _spread(expr: sympy.Expr, scope: Declarations) -> int:
    """Estimate how many elements an expression reads once stencils replace ∂.

    What stands under a derivative is written out at each point of its stencil, so
    nested derivatives multiply; so do the definitions that stand there.
    """
    known: dict[tuple[sympy.Expr, bool], int] = {}

    def count(node: sympy.Expr, under: bool) -> int:
        if (node, under) not in known:
            known[node, under] = min(counted(node, under), MAX_SPREAD + 1)
        return known[node, under]

    def counted(node: sympy.Expr, under: bool) -> int:
        if isinstance(node, Partial):
            points = int(node.args[2]) + scope.accuracy
            return points * count(node.args[0], True)
        if isinstance(node, Access) and under and node.array in scope.definitions:
            definition = scope.definitions[node.array]
            return 1 if definition.over else count(definition.expr, True)
        return max(sum(count(argument, under) for argument in node.args), 1)

    return count(expr, False)


def _holds(expr: sympy.Expr, constants: Mapping[str, float]) -> bool:
    """Tell whether floats hold the numbers of an expression, and it, if it is one."""
    if not all(_is_float(number) for number in expr.atoms(sympy.Number)):
        return False
    known = {
        symbol: sympy.Float(constants[str(symbol.name)])
        for symbol in expr.atoms(Constant)
        if str(symbol.name) in constants
    }
    parts = {expr, *expr.atoms(sympy.Pow, sympy.Function)}
    fixed = [part for part in parts if part.free_symbols <= known.keys()]
    return all(_is_float(part.xreplace(known)) for part in fixed)


def _is_float(expr: sympy.Expr) -> bool:
    try:
        return math.isfinite(float(expr))
    except (TypeError, ValueError, OverflowError):  # complex, or beyond 1.8e308
        return False


def _check_size(expr: sympy.Expr, span: Span, scope: Scope) -> None:
    size, depth = _measure(expr)
    if size > MAX_SIZE or depth > MAX_DEPTH:
        _too_large(span, scope)


def _too_large(span: Span, scope: Scope) -> None:
    hint = "give parts of it a name: `Z = …`"
    scope.fail("this expression is too large", span, hint)


def _measure(expr: sympy.Expr) -> tuple[int, int]:
    """Count the nodes and levels of an expression, but no more than are allowed."""
    size, deepest = 0, 0
    waiting = [(expr, 1)]
    while waiting and size <= MAX_SIZE and deepest <= MAX_DEPTH:
        node, depth = waiting.pop()
        size, deepest = size + 1, max(deepest, depth)
        if len(node.args) > MAX_FACTORS:
            size = MAX_SIZE + 1
        waiting += [(argument, depth + 1) for argument in node.args]
    return size, deepest
