"""Quadrature by a change of variable, for the moments that have no closed form.

    ∫₀^∞ g(u) du = ∫ g(φ(x)) φ'(x) dx ≈ h Σ_j g(φ(x_j)) φ'(x_j),      x_j = x_0 + j h

With φ doubly exponential the trapezoidal rule converges geometrically (Takahasi & Mori
1974), and its nodes are elementary functions of j: the generated module computes them
by two short statements, whatever their number, and a moment is a sum over an index.
Adjoint and tangent follow as for every sum, so that the derivative of a moment is the
quadrature of the integrand's derivative.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray

from pdec.forms.functions import NUMERIC

Values = NDArray[np.longdouble]
PI = sympy.pi


class Rule(enum.Enum):
    """The change of variable, by range and decay; each with its interval of x."""

    EXPONENTIAL = "half line, exponential decay"  # u = exp(x - e^-x)
    ALGEBRAIC = "half line, algebraic decay"  # u = exp(π/2 sinh x)
    INTERVAL = "[-1, 1]"  # u = tanh(π/2 sinh x)


# For the generated module (whose u⁴ must not overflow), and for numbers found here.
RANGES = {
    Rule.EXPONENTIAL: (-3.9, 6.0),
    Rule.ALGEBRAIC: (-3.9, 3.9),
    Rule.INTERVAL: (-3.1, 3.1),
}
WIDE = {
    Rule.EXPONENTIAL: (-4.2, 9.0),
    Rule.ALGEBRAIC: (-5.0, 5.0),
    Rule.INTERVAL: (-3.4, 3.4),
}
COUNT = 96
FINE = 1024


def places(
    rule: Rule, index: sympy.Expr, count: int = COUNT
) -> tuple[sympy.Expr, sympy.Expr]:
    """x_j = x_0 + j h as an expression in j = 0 … count - 1, and h."""
    ends = RANGES[rule] if count == COUNT else WIDE[rule]
    low, high = (sympy.nsimplify(end, rational=True) for end in ends)
    step = (high - low) / (count - 1)
    return low + step * index, step


def nodes(rule: Rule, x: sympy.Expr, step: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    """Node φ(x) and weight h φ'(x) as expressions in x."""
    if rule is Rule.EXPONENTIAL:
        u = sympy.exp(x - sympy.exp(-x))
        return u, step * u * (1 + sympy.exp(-x))
    inner = PI / 2 * sympy.sinh(x)
    slope = PI / 2 * sympy.cosh(x)
    if rule is Rule.ALGEBRAIC:
        return sympy.exp(inner), step * sympy.exp(inner) * slope
    return sympy.tanh(inner), step * slope / sympy.cosh(inner) ** 2


def integrate(
    expr: sympy.Expr,
    u: sympy.Symbol,
    rule: Rule,
    numbers: Mapping[sympy.Symbol, float] | None = None,
    *,
    count: int = FINE,
) -> tuple[float, float]:
    """∫ expr du and ∫ |expr| du over the rule's range, for given parameters."""
    points, weights = _table(rule, count)
    known = {name: np.asarray(v, np.longdouble) for name, v in (numbers or {}).items()}
    with np.errstate(all="ignore"):
        terms = weights * sample(expr, {u: points, **known})
    terms = terms[np.isfinite(terms)]
    return float(np.sum(terms)), float(np.sum(np.abs(terms)))


@cache
def _table(rule: Rule, count: int) -> tuple[Values, Values]:
    """Nodes and weights as numbers."""
    index = sympy.Symbol("_j")
    where = {index: np.arange(count, dtype=np.longdouble)}
    node, weight = nodes(rule, *places(rule, index, count))
    return sample(node, where), sample(weight, where)


# --- evaluation --------------------------------------------------------------------


def sample(expr: sympy.Expr, points: Mapping[sympy.Symbol, Values]) -> Values:
    """The values of an expression at many points, node by node."""
    with np.errstate(all="ignore"):
        return np.asarray(_value(expr, points), dtype=np.longdouble)


def _value(expr: sympy.Expr, points: Mapping[sympy.Symbol, Values]) -> Any:
    if expr in points:
        return points[expr]
    if expr.is_Rational:
        return np.longdouble(int(expr.p)) / np.longdouble(int(expr.q))
    if expr.is_Atom:
        return np.longdouble(str(sympy.Float(expr, 25)))
    values = [_value(argument, points) for argument in expr.args]
    if expr.is_Add:
        return sum(values[1:], values[0])
    if expr.is_Mul:
        return np.prod(np.broadcast_arrays(*values), axis=0)
    if expr.is_Pow:
        return _raised(values[0], expr.args[1], values[1])
    return NUMERIC[type(expr)](*values)


def _raised(base: Any, exponent: sympy.Expr, value: Any) -> Any:
    """Whole powers of negative numbers are real."""
    if exponent.is_Integer:
        return base ** int(exponent)
    return np.sqrt(base) if exponent == sympy.Rational(1, 2) else base**value
