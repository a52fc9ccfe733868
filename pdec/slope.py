"""Slopes: partial derivatives of a statement, by way of its own output where shorter.

For many activations the derivative is a function of the value, so that nothing costly
is evaluated again (tanh: 1 - f², sigmoid: f(1 - f), softplus: 1 - e^-f).  The
relation is found by eliminating the one transcendental E(s) inside f:

    f = R(E)  →  E = R⁻¹(f)  →  f' = ∂R/∂E E' = h(f)
"""

from __future__ import annotations

from functools import lru_cache

import sympy

from pdec.statements import Map
from pdec.symbolic import Access


def in_terms_of_output(statement: Map, access: Access) -> sympy.Expr:
    """∂expr/∂access, with the statement's own value for what it already knows."""
    slope = statement.expr.diff(access)
    if slope.is_number or statement.over or statement.maximum:
        return slope
    function = _function_of(statement.expr)
    if function is None or statement.expr.free_symbols - {access}:
        return slope
    placeholder = sympy.Symbol("s", real=True)
    relation = relation_to_output(statement.expr.xreplace({access: placeholder}))
    if relation is None:
        return slope
    return relation.xreplace({_OUTPUT: statement.target})


_OUTPUT = sympy.Symbol("f", real=True)


def _function_of(expr: sympy.Expr) -> sympy.Expr | None:
    """The single transcendental function inside an expression, if there is just one."""
    found = {node for node in sympy.preorder_traversal(expr) if _transcendental(node)}
    return found.pop() if len(found) == 1 else None


def _transcendental(node: sympy.Basic) -> bool:
    return isinstance(node, (sympy.exp, sympy.tanh, sympy.Function))


@lru_cache(maxsize=256)
def relation_to_output(expr: sympy.Expr) -> sympy.Expr | None:
    """f' as a function of f for f = expr(s), or None where no short relation exists.

    The relation must be smooth in f: an activation with a kink (relu, abs, where) keeps
    its own slope.
    """
    (s,) = expr.free_symbols
    inner = _function_of(expr)
    if inner is None or not isinstance(inner, (sympy.exp, sympy.tanh)):
        return None
    value = sympy.Symbol("E", real=True)
    outer = expr.xreplace({inner: value})
    if outer.has(s):
        return None
    numerator = sympy.fraction(sympy.together(outer - _OUTPUT))[0]
    polynomial = (
        sympy.Poly(numerator, value) if numerator.is_polynomial(value) else None
    )
    if polynomial is None or polynomial.degree() != 1:
        return None
    slope, constant = polynomial.all_coeffs()
    inverse = -constant / slope
    inner_slope = inner.diff(s).xreplace({inner: value})
    if inner_slope.has(s):
        return None
    relation = (outer.diff(value) * inner_slope).xreplace({value: inverse})
    forms = [sympy.expand(relation), sympy.factor(relation)]
    return min(forms, key=sympy.count_ops)
