"""Expressions written inline, ``W2 / dx**2 - W1 / (2.0 * dx)``: for what runs once.

Used for coefficients (parameters alone) and for scalars inside array statements.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy

from pdec.forms.functions import Maximum, Minimum, Select, Step, softplus
from pdec.forms.notation import factor_key, term_key
from pdec.forms.symbolic import Access, Constant, Equal, IndexValue, negative

Reference = Callable[[sympy.Symbol], str]
SUM, PRODUCT, UNARY, POWER = 1, 2, 3, 4

UFUNCS: dict[type, str] = {
    sympy.tanh: "np.tanh",
    sympy.sinh: "np.sinh",
    sympy.cosh: "np.cosh",
    sympy.exp: "np.exp",
    sympy.log: "np.log",
    sympy.sin: "np.sin",
    sympy.cos: "np.cos",
    sympy.tan: "np.tan",
    sympy.atan: "np.arctan",
    sympy.Abs: "np.abs",
    sympy.sign: "np.sign",
    Maximum: "np.maximum",
    Minimum: "np.minimum",
    Equal: "np.equal",
}


def literal(value: sympy.Expr) -> str:
    """A number as a floating point literal that reads back to the same value."""
    return repr(float(value))


class Inline:
    """Prints an expression as Python; ``refer`` says how a symbol is written."""

    def __init__(self, refer: Reference) -> None:
        self.refer = refer

    def __call__(self, expr: sympy.Expr, tightness: int = 0) -> str:
        level, written = self._write(expr)
        return f"({written})" if level < tightness else written

    def terms(self, expr: sympy.Expr) -> list[str]:
        """The terms of a sum, each later one with its sign in front."""
        ordered = sorted(sympy.Add.make_args(expr), key=term_key)
        written = [self(ordered[0], SUM)]
        for term in ordered[1:]:
            minus = negative(term)
            sign = "-" if minus else "+"
            written.append(f"{sign} {self(-term if minus else term, PRODUCT)}")
        return written

    def _write(self, expr: sympy.Expr) -> tuple[int, str]:
        if expr.is_Number:
            return self._number(expr)
        if expr == sympy.pi:
            return POWER + 1, "math.pi"
        if isinstance(expr, (Access, Constant, IndexValue)):
            return POWER + 1, self.refer(expr)
        if expr.is_Add:
            return SUM, " ".join(self.terms(expr))
        if expr.is_Mul:
            return self._product(expr)
        if expr.is_Pow:
            return self._power(expr)
        return POWER + 1, self._function(expr)

    def _number(self, expr: sympy.Expr) -> tuple[int, str]:
        if expr.is_Rational and expr.q & (expr.q - 1):
            written = f"{float(expr.p)!r} / {float(expr.q)!r}"
            return (SUM if expr < 0 else PRODUCT), written
        return (POWER + 1 if expr >= 0 else UNARY), literal(expr)

    def _product(self, expr: sympy.Expr) -> tuple[int, str]:
        if negative(expr):
            return UNARY, f"-{self(-expr, UNARY)}"
        above, below = sympy.fraction(expr, exact=True)
        factors = sorted(sympy.Mul.make_args(above), key=factor_key)
        written = " * ".join(self(factor, UNARY) for factor in factors)
        if below == 1:
            return PRODUCT, written
        return PRODUCT, f"{written} / {self(below, UNARY)}"

    def _power(self, expr: sympy.Expr) -> tuple[int, str]:
        base, exponent = expr.args
        if exponent == sympy.Rational(1, 2):
            return POWER + 1, f"np.sqrt({self(base)})"
        if negative(exponent):
            return PRODUCT, f"1.0 / {self(base**-exponent, UNARY)}"
        if exponent.is_Integer:
            return POWER, _raised(self(base, POWER + 1), str(int(exponent)))
        return POWER, _raised(self(base, POWER + 1), self(exponent, POWER + 1))

    def _function(self, expr: sympy.Expr) -> str:
        arguments = [self(argument) for argument in expr.args]
        if isinstance(expr, Step):
            return f"np.heaviside({arguments[0]}, 0.0)"
        if isinstance(expr, softplus):
            return f"np.logaddexp(0.0, {arguments[0]})"
        if isinstance(expr, Select):
            condition = f"{self(expr.args[0], SUM)} > 0.0"
            return f"np.where({condition}, {arguments[1]}, {arguments[2]})"
        return f"{UFUNCS[type(expr)]}({', '.join(arguments)})"


def _raised(base: str, exponent: str) -> str:
    """A power, with the spaces that the formatter puts around anything but a name."""
    simple = all(
        part.replace(".", "").isalnum() or part.isidentifier()
        for part in (base, exponent)
    )
    return f"{base}**{exponent}" if simple else f"{base} ** {exponent}"
