"""Ranges: between which numbers a value lies, from the bounds of the parameters.

Stage 2e, asked by ``singular.py``.  Interval arithmetic on real numbers, in which an
end of a range may be left out, so that 0 < κ < 1 gives

    1 + z²  in [1, ∞)        1 - κ  in (0, 1)        tanh(z)/(1 - κ)  in (-∞, ∞)

It is sound (a value lies in its range, rounding aside) and knows nothing of how one
part of an expression follows another, except in a branch of ``where(c, a, b)``, where
the sign of c is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple

import sympy

from pdec.forms.functions import Maximum, Minimum, Select, Step, softplus
from pdec.forms.model import Definition, Variable
from pdec.forms.symbolic import Access, Constant, Contraction, Equal

INF = math.inf


class End(NamedTuple):
    """One end of a range, and whether the range lacks it."""

    value: float
    open: bool = False


class Range(NamedTuple):
    """The numbers between two ends."""

    low: End
    high: End

    def allows(self, value: float) -> bool:
        """Whether the range has this number."""
        below = self.low < (value, True)  # (value, False) is the closed end
        return below and (self.high.value, not self.high.open) > (value, False)

    @property
    def has_negative(self) -> bool:
        """Whether the range has a number below 0."""
        return self.low.value < 0


class Fact(NamedTuple):
    """``expr`` ≥ 0, or > 0 where ``strict``: what holds in a branch of a ``where``."""

    expr: sympy.Expr
    strict: bool


REAL = Range(End(-INF, True), End(INF, True))
POSITIVE = Range(End(0.0, True), End(INF, True))
_UNIT = Range(End(-1.0), End(1.0))
_FROM_0_TO_1 = Range(End(0.0), End(1.0))


def point(value: float) -> Range:
    """The range of a known number."""
    return Range(End(value), End(value))


def bounds(
    params: Mapping[str, Variable], strict: Mapping[str, set[str]] | None = None
) -> dict[str, Range]:
    """The ranges of parameters; ``strict`` are the sides whose bounds are left out."""
    away = strict or {}
    found = {}
    for name, variable in params.items():
        low = End(variable.low, ">" in away.get(name, ()) or variable.low == -INF)
        high = End(variable.high, "<" in away.get(name, ()) or variable.high == INF)
        found[name] = Range(low, high)
    return found


@dataclass
class Ranges:
    """Ranges of a model's values; ``leaves`` are those of arrays and constants."""

    leaves: Mapping[str, Range]
    definitions: Mapping[str, Definition]
    _known: dict[tuple[sympy.Expr, tuple[Fact, ...]], Range] = field(
        default_factory=dict
    )

    def of(self, expr: sympy.Expr, facts: tuple[Fact, ...] = ()) -> Range:
        """The range of an expression where some facts hold."""
        if (expr, facts) not in self._known:
            found = self._of(expr, facts)
            for fact in facts:
                found = _narrowed(found, expr, fact)
            self._known[expr, facts] = found
        return self._known[expr, facts]

    def exponent(self, power: sympy.Expr) -> sympy.Expr:
        """The exponent of a power as a number, where it is known."""
        low, high = self.of(power.exp)
        if low != high:
            return power.exp
        whole = low.value.is_integer()
        return sympy.Integer(low.value) if whole else sympy.Float(low.value)

    def forget(self) -> None:
        """Forget what is known: a definition has changed."""
        self._known.clear()

    def written_out(self, expr: sympy.Expr) -> sympy.Expr:
        """The expression with pointwise definitions in the places of their names."""
        names = {
            access: self.written_out(self.definitions[access.array].expr)
            for access in expr.atoms(Access)
            if self._pointwise(access)
        }
        return expr.xreplace(names)

    def _pointwise(self, access: Access) -> bool:
        known = self.definitions.get(access.array)
        return known is not None and access == known.element and not known.over

    def _of(self, expr: sympy.Expr, facts: tuple[Fact, ...]) -> Range:
        if expr.is_number:
            return point(float(expr))
        if isinstance(expr, Access):
            known = self.definitions.get(expr.array)
            if known is None:
                return self.leaves.get(expr.array, REAL)
            inner = self.of(known.expr, facts if self._pointwise(expr) else ())
            return _many(inner) if known.over and not known.maximum else inner
        if isinstance(expr, Constant):
            return self.leaves.get(str(expr.name), REAL)
        if isinstance(expr, Select):
            return self._selected(expr, facts)
        if isinstance(expr, Contraction):
            return _many(self.of(expr.args[0], facts))
        parts = [self.of(argument, facts) for argument in expr.args]
        if expr.is_Add:
            return reduce(_sum, parts)
        if expr.is_Mul:
            return reduce(_product, parts)
        if expr.is_Pow:
            return _power(parts[0], self.exponent(expr))
        rule = _RULES.get(type(expr))
        return rule(*parts) if rule else REAL

    def _selected(self, expr: sympy.Expr, facts: tuple[Fact, ...]) -> Range:
        """The range of both branches, each where it is taken."""
        condition, yes, no = expr.args
        condition = self.written_out(condition)
        first = self.of(yes, (*facts, Fact(condition, True)))
        second = self.of(no, (*facts, Fact(-condition, False)))
        low, high = min(first.low, second.low), max(first.high, second.high, key=_upper)
        return Range(low, high)


def _upper(end: End) -> tuple[float, bool]:
    """Order upper ends: a closed one lies above the open one of the same value."""
    return end.value, not end.open


def _narrowed(found: Range, expr: sympy.Expr, fact: Fact) -> Range:
    """The range of an expression that differs from ±fact by a number."""
    above, below = expr - fact.expr, expr + fact.expr
    if above.is_number:  # expr = fact + above ≥ above
        low = max(found.low, End(float(above), fact.strict))
        return Range(low, found.high)
    if below.is_number:  # expr = below - fact ≤ below
        return Range(
            found.low, min(found.high, End(float(below), fact.strict), key=_upper)
        )
    return found


def _many(each: Range) -> Range:
    """The sum of any number of values."""
    low = each.low if each.low.value >= 0 else REAL.low
    high = each.high if each.high.value <= 0 else REAL.high
    return Range(low, high)


def _sum(a: Range, b: Range) -> Range:
    low = End(a.low.value + b.low.value, a.low.open or b.low.open)
    return Range(low, End(a.high.value + b.high.value, a.high.open or b.high.open))


def _product(a: Range, b: Range) -> Range:
    ends = [_times(first, second) for first in a for second in b]
    return Range(min(ends), max(ends, key=_upper))


def _times(a: End, b: End) -> End:
    """The product of two ends; 0 is reached where one of them is a 0 that is."""
    if a.value == 0 or b.value == 0:
        reached = any(end.value == 0 and not end.open for end in (a, b))
        return End(0.0, not reached)
    return End(a.value * b.value, a.open or b.open)


def _power(base: Range, exponent: sympy.Expr) -> Range:
    if exponent.is_Integer:
        whole = _whole_power(base, abs(int(exponent)))
        return whole if exponent > 0 else _reciprocal(whole)
    above = Range(max(base.low, End(0.0)), base.high)
    if not exponent.is_number:
        return POSITIVE if not above.allows(0.0) else Range(End(0.0), POSITIVE.high)
    if above.high.value < 0:
        return REAL
    size = abs(float(exponent))
    raised = _monotone(lambda s: s**size)(above)
    return raised if exponent > 0 else _reciprocal(raised)


def _whole_power(base: Range, exponent: int) -> Range:
    base = base if exponent % 2 else _absolute(base)
    return _monotone(lambda s: s**exponent)(base)


def _reciprocal(base: Range) -> Range:
    if base.allows(0.0) or base.low.value < 0 < base.high.value:
        return REAL
    low, high = base.high, base.low
    sign = 1.0 if low.value > 0 else -1.0
    return Range(_inverse(low, sign), _inverse(high, sign))


def _inverse(end: End, sign: float) -> End:
    if end.value == 0:
        return End(sign * INF, True)
    return End(1.0 / end.value, end.open)


def _absolute(a: Range) -> Range:
    if a.low.value >= 0:
        return a
    other = End(-a.low.value, a.low.open)
    if a.high.value <= 0:
        return Range(End(-a.high.value, a.high.open), other)
    return Range(End(0.0), max(a.high, other, key=_upper))


def _monotone(function: Callable[[float], float]) -> Callable[[Range], Range]:
    """The rule of a function that grows."""

    def end(end: End) -> End:
        try:
            return End(function(end.value), end.open)
        except OverflowError:
            return End(math.copysign(INF, end.value), True)

    return lambda inner: Range(end(inner.low), end(inner.high))


def _larger(a: Range, b: Range) -> Range:
    return Range(max(a.low, b.low), max(a.high, b.high, key=_upper))


def _smaller(a: Range, b: Range) -> Range:
    return Range(min(a.low, b.low), min(a.high, b.high, key=_upper))


def _logarithm(s: Range) -> Range:
    grows = _monotone(lambda s: math.log(s) if s > 0 else -INF)
    return grows(Range(max(s.low, End(0.0)), s.high)) if s.high.value > 0 else REAL


_RULES: dict[type, Callable[..., Range]] = {
    sympy.exp: _monotone(math.exp),
    sympy.tanh: _monotone(math.tanh),
    sympy.sinh: _monotone(math.sinh),
    sympy.atan: _monotone(math.atan),
    softplus: _monotone(lambda s: max(s, 0.0) + math.log1p(math.exp(-abs(s)))),
    sympy.log: _logarithm,
    sympy.cosh: lambda s: Range(End(1.0), REAL.high),
    sympy.sin: lambda s: _UNIT,
    sympy.cos: lambda s: _UNIT,
    sympy.sign: lambda s: _UNIT,
    sympy.Abs: _absolute,
    Step: lambda s: (
        point(1.0)
        if s.low > (0.0, False)
        else point(0.0)
        if s.high.value <= 0
        else _FROM_0_TO_1
    ),
    Equal: lambda a, b: _FROM_0_TO_1,
    Maximum: _larger,
    Minimum: _smaller,
}
