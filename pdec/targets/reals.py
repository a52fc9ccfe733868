"""Expressions of one cell, and of constants, as CUDA C.

omega f_Z + (1 - omega) z²  →  real(omega) * f_Z + real(1.0 - omega) * squared(z[x])
"""

from __future__ import annotations

import math

import sympy

from pdec.forms.functions import Maximum, Minimum, Select, Step, softplus
from pdec.forms.symbolic import Equal, negative
from pdec.targets.inline import POWER, SUM, Inline
from pdec.targets.numbers import ATOM, CHOICE, Numbers, constant

FUNCTIONS: dict[type, str] = {
    sympy.tanh: "tanh",
    sympy.exp: "exp",
    softplus: "softplus",
    sympy.sinh: "sinh",
    sympy.cosh: "cosh",
    sympy.log: "log",
    sympy.sin: "sin",
    sympy.cos: "cos",
    sympy.tan: "tan",
    sympy.atan: "atan",
    sympy.Abs: "fabs",
    sympy.sign: "sign",
    Maximum: "larger",
    Minimum: "smaller",
}


class Constants(Inline):
    """An expression of constants, in float64."""

    def _write(self, expr: sympy.Expr) -> tuple[int, str]:
        if expr == sympy.pi:
            return ATOM, repr(math.pi)
        return super()._write(expr)

    def _power(self, expr: sympy.Expr) -> tuple[int, str]:
        return _power(self, expr) or super()._power(expr)

    def _function(self, expr: sympy.Expr) -> str:
        return _call(self, expr)


class Reals(Numbers):
    """An expression of one cell; constants become numbers of the run's dtype."""

    def _write(self, expr: sympy.Expr) -> tuple[int, str]:
        if constant(expr):
            return ATOM, f"real({Constants(self.refer)(expr)})"
        if isinstance(expr, Step):
            condition = self(expr.args[0], SUM)
            return CHOICE, f"{condition} > 0 ? real(1.0) : real(0.0)"
        if isinstance(expr, Select):
            condition, yes, no = (self(a, SUM) for a in expr.args)
            return CHOICE, f"{condition} > 0 ? {yes} : {no}"
        return super()._write(expr)

    def _power(self, expr: sympy.Expr) -> tuple[int, str]:
        return _power(self, expr) or super()._power(expr)

    def _function(self, expr: sympy.Expr) -> str:
        if isinstance(expr, Equal):
            return f"real({self(expr.args[0], SUM)} == {self(expr.args[1], SUM)})"
        return _call(self, expr)


def _power(inline: Inline, expr: sympy.Expr) -> tuple[int, str] | None:
    """A power, where it is no quotient."""
    base, exponent = expr.args
    if exponent == sympy.Rational(1, 2):
        return POWER + 1, f"sqrt({inline(base)})"
    if negative(exponent):
        return None
    if exponent.is_Integer:
        names = {2: "squared({})", 3: "cubed({})"}
        form = names.get(int(exponent), f"raised({{}}, {int(exponent)})")
        return POWER + 1, form.format(inline(base))
    return POWER + 1, f"pow({inline(base)}, {inline(exponent)})"


def _call(inline: Inline, expr: sympy.Expr) -> str:
    arguments = ", ".join(inline(argument) for argument in expr.args)
    return f"{FUNCTIONS[type(expr)]}({arguments})"
