"""Stencils: the weights of finite differences, and derivatives replaced by them.

    ∂²u/∂x²  →  (u[x-1] - 2 u + u[x+1]) / dx²

The weights of a derivative follow from the offsets alone (Fornberg 1988, here by the
moment conditions Σ_m w_m m^j = j! δ_{jk}), exactly, as rational numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import sympy

from pdec.forms.symbolic import Access, Constant, Partial, shift

Inline = Callable[[sympy.Expr], sympy.Expr]


@cache
def weights(order: int, accuracy: int, bias: int = 0) -> dict[int, sympy.Rational]:
    """Weights by offset of the derivative of an order; Δx = 1.

    ``bias`` 0 is central, -1 and +1 use only cells on that side.
    """
    if bias == 0:
        reach = (order + 1) // 2 - 1 + accuracy // 2
        offsets = list(range(-reach, reach + 1))
    else:
        count = order + accuracy
        offsets = sorted(bias * m for m in range(count))
    size = len(offsets)
    rows = sympy.Matrix(size, size, lambda j, m: sympy.Integer(offsets[m]) ** j)
    moments = sympy.Matrix(
        size, 1, lambda j, _: sympy.factorial(j) if j == order else 0
    )
    solution = rows.LUsolve(moments)
    return {m: w for m, w in zip(offsets, solution, strict=True) if w != 0}


def spacing(axis: str) -> Constant:
    """Δx along an axis, as a symbol."""
    return Constant(f"d{axis}", positive=True)


def apply_stencils(expr: sympy.Expr, accuracy: int, inline: Inline) -> sympy.Expr:
    """Replace every ``Partial`` by its stencil.

    ``inline(u)`` writes definitions out inside a derivative, so that what is shifted
    are arrays with ghost cells.  ∂(κ ∂u), a derivative of an expression that contains
    one along the same axis, is a difference of fluxes on the faces of the cell.
    """
    if isinstance(expr, Partial):
        inner, symbol, order, bias = expr.args
        axis = str(symbol)
        inner = inline(inner)
        if order == 1 and bias == 0 and _contains(inner, axis):
            high = _on_face(inner, axis, 1, accuracy, inline)
            low = _on_face(inner, axis, -1, accuracy, inline)
            return (high - low) / spacing(axis)
        inner = apply_stencils(inner, accuracy, inline)
        stencil = weights(int(order), accuracy if bias == 0 else 1, int(bias))
        terms = (w * shift(inner, axis, m) for m, w in stencil.items())
        return sympy.Add(*terms) / spacing(axis) ** order
    if not expr.has(Partial):
        return expr
    return expr.func(*(apply_stencils(a, accuracy, inline) for a in expr.args))


def _contains(expr: sympy.Expr, axis: str) -> bool:
    return any(str(partial.args[1]) == axis for partial in expr.atoms(Partial))


def _on_face(
    expr: sympy.Expr, axis: str, side: int, accuracy: int, inline: Inline
) -> sympy.Expr:
    """The value halfway to the next cell on a side: second order in Δx."""
    if isinstance(expr, Partial):
        inner, symbol, order, _ = expr.args
        if str(symbol) == axis and order == 1:
            value = apply_stencils(inline(inner), accuracy, inline)
            return side * (shift(value, axis, side) - value) / spacing(axis)
        value = apply_stencils(expr, accuracy, inline)
        return (value + shift(value, axis, side)) / 2
    if isinstance(expr, Access):
        inlined = inline(expr)
        if inlined != expr:
            return _on_face(inlined, axis, side, accuracy, inline)
        shifted = shift(expr, axis, side)
        return expr if shifted == expr else (expr + shifted) / 2
    if not expr.args:
        return expr
    return expr.func(*(_on_face(a, axis, side, accuracy, inline) for a in expr.args))
