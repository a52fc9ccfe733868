"""Array statements: a Map as a sequence of ufunc calls that write in place.

    Z = Z_m1 z[x-1] + Z_0 z   →   np.multiply(Z_m1, z[:, :-2], out=Z)
                                  np.multiply(Z_0, z[:, 1:-1], out=t0)
                                  np.add(Z, t0, out=Z)

Operands are views and scalars; whatever is neither goes through a scratch array of the
shape of the running indices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import sympy

from pdec.forms.functions import Select, Step, softplus
from pdec.forms.notation import factor_key, term_key
from pdec.forms.symbolic import Access, IndexValue, negative
from pdec.targets.inline import UFUNCS, UNARY, Inline
from pdec.targets.layout import call

View = Callable[[Access, tuple[str, ...]], str]
NewScratch = Callable[[tuple[str, ...], int], str]


@dataclass
class InPlace:
    """Writes expressions over given running indices into arrays, line by line."""

    running: tuple[str, ...]
    view: View
    scalar: Inline
    new_scratch: NewScratch
    lines: list[str] = field(default_factory=list)
    _busy: int = 0

    def operand(self, expr: sympy.Expr) -> str | None:
        """How an expression is written if it needs no array operation of its own."""
        if isinstance(expr, Access):
            return self.view(expr, self.running)
        if isinstance(expr, IndexValue):
            return self.scalar(expr)
        if not any(access.index for access in expr.atoms(Access)) and not expr.has(
            IndexValue
        ):
            return self.scalar(expr, UNARY)
        return None

    def operation(self, name: str, arguments: list[str], out: str) -> None:
        """Add a call of a ufunc."""
        self.lines += call(name, [*arguments, f"out={out}"])

    def scratch(self) -> str:
        """A scratch array that nothing is using."""
        self._busy += 1
        return self.new_scratch(self.running, self._busy - 1)

    def release(self, mark: int) -> None:
        """Give back the scratch arrays taken since a mark."""
        self._busy = mark

    @property
    def mark(self) -> int:
        """How many scratch arrays are in use."""
        return self._busy

    def value(self, expr: sympy.Expr) -> str:
        """An operand for an expression, computed into scratch if need be."""
        simple = self.operand(expr)
        if simple is not None:
            return simple
        place = self.scratch()
        self.write(expr, place)
        return place

    def write(self, expr: sympy.Expr, out: str) -> None:
        """Compute an expression into ``out``."""
        simple = self.operand(expr)
        if simple is not None:
            self.lines += call("np.copyto", [out, simple])
        elif expr.is_Add:
            self._sum(expr, out)
        elif expr.is_Mul:
            self._product(expr, out)
        elif expr.is_Pow:
            self._power(expr, out)
        else:
            self._function(expr, out)

    def _sum(self, expr: sympy.Expr, out: str) -> None:
        first, *rest = sorted(expr.args, key=term_key)
        start = self.mark
        left = self.operand(first)
        if left is None:
            self.write(first, out)
            left = out
        for term in rest:
            minus = negative(term)
            right = self.value(-term if minus else term)
            self.operation("np.subtract" if minus else "np.add", [left, right], out)
            self.release(start)
            left = out

    def _product(self, expr: sympy.Expr, out: str) -> None:
        above, below = sympy.fraction(expr, exact=True)
        factors = sorted(sympy.Mul.make_args(above), key=factor_key)
        scalars = [f for f in factors if not _varies(f)]
        arrays = [f for f in factors if _varies(f)]
        if not arrays:
            arrays, scalars = [sympy.S.One], scalars
        elif not _varies(below):
            scalars, below = [sympy.Mul(*scalars) / below], sympy.S.One
        operands = [] if all(s == 1 for s in scalars) else [self._scalar(scalars)]
        start = self.mark
        complex_first = sorted(arrays, key=lambda f: self.operand(f) is not None)
        left: str | None = None
        for factor in complex_first:
            if left is None and self.operand(factor) is None:
                self.write(factor, out)
                left = out
            else:
                operands.append(self.value(factor))
        for right in operands:
            if left is None:
                left = right
                continue
            self.operation("np.multiply", [left, right], out)
            left = out
        assert left is not None
        if below != 1:
            self.operation("np.divide", [left, self.value(below)], out)
        elif left != out:
            self.lines += call("np.copyto", [out, left])
        self.release(start)

    def _scalar(self, factors: list[sympy.Expr]) -> str:
        return self.scalar(sympy.Mul(*factors))

    def _power(self, expr: sympy.Expr, out: str) -> None:
        base, exponent = expr.args
        start = self.mark
        if exponent == sympy.Rational(1, 2):
            self.operation("np.sqrt", [self._argument(base, out)], out)
        elif exponent.is_Integer and exponent < 0:
            self.operation(
                "np.divide", ["1.0", self._argument(base**-exponent, out)], out
            )
        elif exponent.is_Integer and exponent <= 4:
            self._small_power(base, int(exponent), out)
        else:
            right = self.scalar(exponent)
            self.operation("np.power", [self._argument(base, out), right], out)
        self.release(start)

    def _small_power(self, base: sympy.Expr, exponent: int, out: str) -> None:
        """x², x³, x⁴ by multiplication: np.power would call the C library's pow."""
        simple = self.operand(base)
        if simple is None:
            place = out if exponent != 3 else self.scratch()
            self.write(base, place)
            simple = place
        self.operation("np.multiply", [simple, simple], out)
        if exponent == 3:
            self.operation("np.multiply", [out, simple], out)
        elif exponent == 4:
            self.operation("np.multiply", [out, out], out)

    def _argument(self, expr: sympy.Expr, out: str) -> str:
        """An operand of a function of one argument, computed in place."""
        simple = self.operand(expr)
        if simple is None:
            self.write(expr, out)
            return out
        return simple

    def _function(self, expr: sympy.Expr, out: str) -> None:
        start = self.mark
        if isinstance(expr, Step):
            self.operation(
                "np.heaviside", [self._argument(expr.args[0], out), "0.0"], out
            )
        elif isinstance(expr, softplus):
            self.operation(
                "np.logaddexp", ["0.0", self._argument(expr.args[0], out)], out
            )
        elif isinstance(expr, Select):
            condition, yes, no = (self.value(argument) for argument in expr.args)
            chosen = f"np.where({condition} > 0.0, {yes}, {no})"
            self.lines += call("np.copyto", [out, chosen])
        elif len(expr.args) == 1:
            self.operation(UFUNCS[type(expr)], [self._argument(expr.args[0], out)], out)
        else:
            self.operation(UFUNCS[type(expr)], [self.value(a) for a in expr.args], out)
        self.release(start)


def _varies(expr: sympy.Expr) -> bool:
    """Whether an expression needs an array: anything with an index."""
    return expr.has(IndexValue) or any(access.index for access in expr.atoms(Access))
