"""Expressions of one cell as Numba compiles them: every number has the run's dtype.

tanh(Z_0 z)/2  →  real(0.5) * _tanh(Z_0[x] * z[x])
"""

from __future__ import annotations

import sympy

from pdec.forms.functions import Maximum, Minimum, Select, Step, softplus
from pdec.forms.notation import factor_key
from pdec.forms.symbolic import Access, Constant, Equal, IndexValue, negative
from pdec.targets.body import LEVEL
from pdec.targets.inline import POWER, PRODUCT, SUM, UNARY, Inline

FUNCTIONS: dict[type, str] = {
    sympy.tanh: "_tanh",
    sympy.exp: "_exp",
    softplus: "_softplus",
    sympy.sinh: "np.sinh",
    sympy.cosh: "np.cosh",
    sympy.log: "np.log",
    sympy.sin: "np.sin",
    sympy.cos: "np.cos",
    sympy.tan: "np.tan",
    sympy.atan: "np.arctan",
    sympy.Abs: "abs",
    sympy.sign: "np.sign",
    Maximum: "max",
    Minimum: "min",
}
CHOICE, ATOM = 0, POWER + 1


class Numbers(Inline):
    """Prints an expression of one cell; constants become numbers of the run's dtype."""

    def _write(self, expr: sympy.Expr) -> tuple[int, str]:
        if constant(expr):
            return ATOM, f"real({Inline(self.refer)(expr)})"
        if isinstance(expr, Step):
            return (
                CHOICE,
                f"real(1.0) if {self(expr.args[0], SUM)} > 0.0 else real(0.0)",
            )
        if isinstance(expr, Select):
            condition, yes, no = expr.args
            chosen = f"{self(yes, SUM)} if {self(condition, SUM)} > 0.0"
            return CHOICE, f"{chosen} else {self(no, SUM)}"
        return super()._write(expr)

    def _product(self, expr: sympy.Expr) -> tuple[int, str]:
        if negative(expr):
            return UNARY, f"-{self(-expr, UNARY)}"
        above, below = sympy.fraction(expr, exact=True)
        factors = sympy.Mul.make_args(above)
        known = sympy.Mul(*(f for f in factors if constant(f)))
        if constant(below):
            known, below = known / below, sympy.S.One
        rest = sorted((f for f in factors if not constant(f)), key=factor_key)
        parts = [] if known == 1 and rest else [known]
        written = " * ".join(self(factor, UNARY) for factor in [*parts, *rest])
        if below == 1:
            level = PRODUCT if len(parts) + len(rest) > 1 else ATOM
            return level, written
        return PRODUCT, f"{written} / {self(below, UNARY)}"

    def _power(self, expr: sympy.Expr) -> tuple[int, str]:
        base, exponent = expr.args
        if negative(exponent) and exponent != -1:
            return PRODUCT, f"real(1.0) / {self(base**-exponent, UNARY)}"
        if exponent == -1:
            return PRODUCT, f"real(1.0) / {self(base, UNARY)}"
        return super()._power(expr)

    def _function(self, expr: sympy.Expr) -> str:
        arguments = [self(argument) for argument in expr.args]
        if isinstance(expr, Equal):
            return f"real({arguments[0]} == {arguments[1]})"
        if isinstance(expr, Maximum | Minimum):
            return self._extreme(expr, arguments)
        return f"{FUNCTIONS[type(expr)]}({', '.join(arguments)})"

    @staticmethod
    def _extreme(expr: sympy.Expr, arguments: list[str]) -> str:
        """The larger or smaller value: not a number where one of the two is none.

        max(a, b) keeps an a that is none, and np.maximum, which is slower, each.
        """
        name = FUNCTIONS[type(expr)]
        if constant(expr.args[0]):
            arguments = arguments[::-1]
        elif not constant(expr.args[1]):
            name = f"np.{name}imum"
        return f"{name}({', '.join(arguments)})"


def constant(expr: sympy.Expr) -> bool:
    """Whether an expression is known before the run: no element, no index."""
    if expr.atoms(Access, IndexValue) or expr.has(LEVEL):
        return False
    return not any(c.name.startswith("part~") for c in expr.atoms(Constant))
