"""Slopes: partial derivatives of a statement, by way of its own output where shorter.

For many activations the derivative is a function of the value, so that nothing costly
is evaluated again (tanh: 1 - f², sigmoid: f(1 - f), softplus: 1 - e^-f).  The relation
is found by eliminating the one function E(s) inside f whose derivative E itself gives:

    f = R(E)  →  E = R⁻¹(f)  →  f' = ∂R/∂E E' = h(f)

Where a value is finite but its slope is not, the slope is taken as 0, by selection and
before anything is divided: √s has the slope 1/(2√s) where s > 0, else 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import sympy

from pdec.forms.functions import Select, softplus
from pdec.forms.statements import Map
from pdec.forms.symbolic import Access
from pdec.moments.quadrature import sample


def in_terms_of_output(statement: Map, access: Access) -> sympy.Expr:
    """∂expr/∂access, with the statement's own value for what it already knows."""
    slope = derivative(statement.expr, access)
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


def derivative(expr: sympy.Expr, access: Access) -> sympy.Expr:
    """∂expr/∂access, finite wherever the expression is.

    SymPy is left the rest when powers and absolute values have been taken out of the
    expression: it divides s^p by s and doubts that √s is a real number.
    """
    parts = {part: sympy.Dummy(real=True) for part in _delicate(expr)}
    outer = expr.xreplace(parts)
    slope = outer.diff(access)
    for part, dummy in parts.items():
        if part.has(access) and outer.has(dummy):
            slope += outer.diff(dummy) * _slope_of(part, access)
    result: sympy.Expr = slope.xreplace({dummy: part for part, dummy in parts.items()})
    return result


def _delicate(expr: sympy.Expr) -> dict[sympy.Expr, None]:
    """The outermost powers that are not whole, and absolute values, in their order."""
    if isinstance(expr, sympy.Abs) or (expr.is_Pow and not expr.exp.is_Integer):
        return {expr: None}
    return {part: None for argument in expr.args for part in _delicate(argument)}


def _slope_of(part: sympy.Expr, access: Access) -> sympy.Expr:
    """(s^p)' = p s^(p-1) s' + s^p log(s) p', and |s|' = sign(s) s'."""
    if isinstance(part, sympy.Abs):
        return sympy.sign(part.args[0]) * derivative(part.args[0], access)
    base, exponent = part.args
    slope = derivative(base, access)
    if slope != 0:
        slope *= exponent * _lowered(base, exponent)
    if exponent.has(access):
        logarithm = Select(base, sympy.log(_or_one(base, base)), sympy.S.Zero)
        slope += part * logarithm * derivative(exponent, access)
    return slope


def _lowered(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    """s^(p-1); 0 at s = 0 where that is infinite and s^p is not: 0 < p < 1."""
    if base.is_positive or exponent.is_negative or (exponent - 1).is_nonnegative:
        return base ** (exponent - 1)
    finite = base
    if not exponent.is_number:  # p = 2 leaves s free to be negative
        finite = Select(1 - exponent, sympy.Abs(base), sympy.S.One)
    return Select(finite, _or_one(base, finite) ** (exponent - 1), sympy.S.Zero)


def _or_one(base: sympy.Expr, condition: sympy.Expr) -> sympy.Expr:
    return Select(condition, base, sympy.S.One)


_OUTPUT = sympy.Symbol("f", real=True)


def _function_of(expr: sympy.Expr) -> sympy.Expr | None:
    """The single transcendental function inside an expression, if there is just one."""
    found = {node for node in sympy.preorder_traversal(expr) if _transcendental(node)}
    return found.pop() if len(found) == 1 else None


def _transcendental(node: sympy.Basic) -> bool:
    return isinstance(node, (sympy.exp, sympy.tanh, sympy.Function))


# E' by way of E
_OWN_SLOPE: dict[type, Callable[[sympy.Expr], sympy.Expr]] = {
    sympy.exp: lambda value: value,
    sympy.tanh: lambda value: 1 - value**2,
    softplus: lambda value: 1 - sympy.exp(-value),
}


@lru_cache(maxsize=256)
def relation_to_output(expr: sympy.Expr) -> sympy.Expr | None:
    """f' as a function of f for f = expr(s), or None where no good relation exists.

    It is smooth in f (an activation with a kink, such as relu, keeps its own slope) and
    does not magnify the rounding of f (in 100 + tanh(s), f has lost what f' needs).
    """
    (s,) = expr.free_symbols
    inner = _function_of(expr)
    if inner is None or type(inner) not in _OWN_SLOPE:
        return None
    value = sympy.Symbol("E", real=True)
    outer = expr.xreplace({inner: value})
    inner_slope = inner.args[0].diff(s)
    if outer.has(s) or inner_slope.has(s):
        return None
    numerator = sympy.fraction(sympy.together(outer - _OUTPUT))[0]
    polynomial = (
        sympy.Poly(numerator, value) if numerator.is_polynomial(value) else None
    )
    if polynomial is None or polynomial.degree() != 1:
        return None
    slope, constant = polynomial.all_coeffs()
    inverse = {value: -constant / slope}
    own = _OWN_SLOPE[type(inner)](value)
    relation = (outer.diff(value) * own * inner_slope).xreplace(inverse)
    forms = [sympy.expand(relation), sympy.factor(relation)]
    shortest = min(forms, key=sympy.count_ops)
    return shortest if _keeps_digits(expr, shortest) else None


def _keeps_digits(expr: sympy.Expr, relation: sympy.Expr) -> bool:
    """Whether h(f (1 + ε)) - h(f) stays below 8 ε of the greatest slope."""
    (s,) = expr.free_symbols
    values = sample(expr, {s: np.linspace(-20, 20, 81, dtype=np.longdouble)})
    epsilon = 2.0**-24
    slopes = sample(relation, {_OUTPUT: values})
    moved = sample(relation, {_OUTPUT: values * (1 + epsilon)})
    if not np.isfinite(slopes + moved).all():
        return False
    return bool(np.abs(moved - slopes).max() <= 8 * epsilon * np.abs(slopes).max())
