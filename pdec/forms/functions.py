"""Functions that SymPy lacks in the form that numerical code needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy


class Step(sympy.Function):
    """``Step(s)``: 1 where s > 0, else 0; its derivative is taken as 0 everywhere."""

    is_real = True

    @classmethod
    def eval(cls, s: sympy.Expr) -> sympy.Expr | None:
        if s.is_number:
            return sympy.S.One if s > 0 else sympy.S.Zero
        return None

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        return sympy.S.Zero


class softplus(sympy.Function):
    """log(1 + e^s) without overflow; its derivative is the sigmoid of s."""

    is_real = True

    @classmethod
    def eval(cls, s: sympy.Expr) -> sympy.Expr | None:
        if not s.is_number:
            return None
        value = float(s)
        return sympy.Float(max(value, 0.0) + math.log1p(math.exp(-abs(value))))

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        return (1 + sympy.tanh(self.args[0] / 2)) / 2


class Maximum(sympy.Function):
    """The larger of two values; at a tie the slope belongs to the second."""

    is_real = True

    @classmethod
    def eval(cls, first: sympy.Expr, second: sympy.Expr) -> sympy.Expr | None:
        if first.is_number and second.is_number:
            return first if first > second else second
        return None

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        first = Step(self.args[0] - self.args[1])
        return first if argindex == 1 else 1 - first


class Minimum(sympy.Function):
    """The smaller of two values; at a tie the slope belongs to the second."""

    is_real = True

    @classmethod
    def eval(cls, first: sympy.Expr, second: sympy.Expr) -> sympy.Expr | None:
        if first.is_number and second.is_number:
            return first if first < second else second
        return None

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        first = Step(self.args[1] - self.args[0])
        return first if argindex == 1 else 1 - first


class Select(sympy.Function):
    """``Select(c, a, b)``: a where c > 0, else b; the derivative selects likewise."""

    is_real = True

    @classmethod
    def eval(
        cls, condition: sympy.Expr, yes: sympy.Expr, no: sympy.Expr
    ) -> sympy.Expr | None:
        if condition.is_number:
            return yes if condition > 0 else no
        return None

    def _eval_derivative(self, symbol: sympy.Symbol) -> sympy.Expr:
        condition, yes, no = self.args
        yes, no = yes.diff(symbol), no.diff(symbol)
        return sympy.S.Zero if yes == no == 0 else Select(condition, yes, no)


# How each function of the language is evaluated on arrays of points.
NUMERIC: dict[type, Callable[..., Any]] = {
    sympy.exp: np.exp,
    sympy.log: np.log,
    sympy.sin: np.sin,
    sympy.cos: np.cos,
    sympy.tan: np.tan,
    sympy.tanh: np.tanh,
    sympy.sinh: np.sinh,
    sympy.cosh: np.cosh,
    sympy.atan: np.arctan,
    sympy.Abs: np.abs,
    sympy.sign: np.sign,
    Maximum: np.maximum,
    Minimum: np.minimum,
    Step: lambda s: np.heaviside(s, 0.0),
    softplus: lambda s: np.logaddexp(0.0, s),
    Select: lambda c, a, b: np.where(c > 0.0, a, b),
}
