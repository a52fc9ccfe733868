"""How fast a kernel decays, which decides which of its moments exist.

    K(r) ~ c |r|^m exp(Σ_q a_q |r|^q)      as r → ±∞

    kernel body  →  growth(body, t)  →  Growth(m, a, …)  →  finite_at(growth, k)

The leading term follows from the form of the expression alone, rule by rule, so that it
takes bounded time.  ∫ |r|^k |K| dr exists at that end if the leading a_q is negative,
or if there is none and m + k < -1.  A sign that the declarations do not settle is
reported as the condition that would (``Undecided``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce

import sympy

from pdec.forms.functions import Maximum, Minimum, Select

Bounds = Mapping[sympy.Symbol, tuple[float, float]]
ZERO, ONE = sympy.S.Zero, sympy.S.One


class Undecided(Exception):
    """The moment is finite only where ``condition`` > 0, or nobody knows (None)."""

    def __init__(self, condition: sympy.Expr | None = None) -> None:
        super().__init__(condition)
        self.condition = condition


@dataclass(frozen=True, slots=True)
class Growth:
    """``coefficient`` t^power exp(Σ rate t^q) for t → ∞.

    ``rates`` maps q to its rate.  ``coefficient`` is None where only its size is known;
    ``oscillates`` says that it changes sign for ever, ``bound`` that the expression may
    be smaller than this, because terms may cancel.
    """

    power: sympy.Expr
    rates: tuple[tuple[sympy.Expr, sympy.Expr], ...] = ()
    coefficient: sympy.Expr | None = None
    oscillates: bool = False
    bound: bool = False

    @property
    def vanishes(self) -> bool:
        """Whether the expression is zero far out."""
        return bool(self.power == -sympy.oo)


NOTHING = Growth(-sympy.oo, (), ZERO)


def sign(expr: sympy.Expr, bounds: Bounds) -> int:
    """-1, 0 or 1 where the declared bounds settle the sign; raises ``Undecided``."""
    expr = sympy.expand(expr)
    for candidate in (expr, *_lifted(expr, bounds)):
        if candidate.is_zero:
            return 0
        if candidate.is_positive:
            return 1
        if candidate.is_negative:
            return -1
    raise Undecided(expr)


def _lifted(expr: sympy.Expr, bounds: Bounds) -> list[sympy.Expr]:
    """The expression with p written as low + u or high - u, u > 0."""
    lower, upper = {}, {}
    for symbol in sorted(expr.free_symbols, key=str):
        low, high = bounds.get(symbol, (-sympy.oo, sympy.oo))
        above = sympy.Symbol(f"_{symbol}", positive=True)
        if abs(low) < sympy.oo:
            lower[symbol] = sympy.nsimplify(low, rational=True) + above
        if abs(high) < sympy.oo:
            upper[symbol] = sympy.nsimplify(high, rational=True) - above
    mixed = {**lower, **{s: v for s, v in upper.items() if s not in lower}}
    other = {**upper, **{s: v for s, v in lower.items() if s not in upper}}
    return [sympy.expand(expr.xreplace(m)) for m in (mixed, other) if m]


def finite_at(growth: Growth, order: int, bounds: Bounds) -> bool:
    """Whether ∫ t^order |K| dt converges at infinity for a growth."""
    if growth.vanishes:
        return True
    if growth.rates:
        return sign(-growth.rates[0][1], bounds) > 0
    return sign(-(growth.power + order + 1), bounds) > 0


def growth(expr: sympy.Expr, t: sympy.Symbol, bounds: Bounds) -> Growth:
    """The leading behaviour of an expression as the positive symbol t goes to ∞."""
    if expr == 0:
        return NOTHING
    if not expr.has(t):
        return Growth(ZERO, (), expr)
    if expr == t:
        return Growth(ONE, (), ONE)
    if expr.is_Add:
        return _of_sum(expr, t, bounds)
    if expr.is_Mul:
        parts = (growth(factor, t, bounds) for factor in expr.args)
        return reduce(_times, parts)
    if isinstance(expr, sympy.exp):
        return _of_exp(growth(expr.args[0], t, bounds), bounds)
    if expr.is_Pow:
        return _of_power(expr, t, bounds)
    if isinstance(expr, Select | Maximum | Minimum):
        return _of_choice(expr, t, bounds)
    inner = growth(expr.args[0], t, bounds) if len(expr.args) == 1 else None
    if isinstance(expr, sympy.Abs) and inner is not None:
        size = None if inner.coefficient is None else sympy.Abs(inner.coefficient)
        return replace(inner, coefficient=size)
    if isinstance(expr, sympy.cosh | sympy.sinh) and inner is not None:
        if inner.coefficient is not None:
            size = sympy.Abs(inner.coefficient)
            return _of_exp(Growth(inner.power, inner.rates, size), bounds)
    if isinstance(expr, sympy.sin | sympy.cos):
        return Growth(ZERO, (), None, oscillates=True)
    if isinstance(expr, sympy.tanh | sympy.atan | sympy.log | sympy.sign):
        return Growth(ZERO)
    raise Undecided


def _times(a: Growth, b: Growth) -> Growth:
    if a.vanishes or b.vanishes:
        return NOTHING
    known = a.coefficient is not None and b.coefficient is not None
    coefficient = sympy.Mul(a.coefficient, b.coefficient) if known else None
    rates = _added(dict(a.rates), dict(b.rates), ONE)
    wave, bound = a.oscillates or b.oscillates, a.bound or b.bound
    return Growth(a.power + b.power, rates, coefficient, wave, bound)


Rates = dict[sympy.Expr, sympy.Expr]


def _added(
    a: Rates, b: Rates, factor: sympy.Expr
) -> tuple[tuple[sympy.Expr, sympy.Expr], ...]:
    """a + factor b, highest power first, zeros left out."""
    total = {q: a.get(q, ZERO) + factor * b.get(q, ZERO) for q in {**a, **b}}
    left = [(q, sympy.expand(rate)) for q, rate in total.items()]
    if len(left) > 1 and not all(q.is_number for q, _ in left):
        raise Undecided
    ranked = sorted(left, key=lambda item: item[0], reverse=True) if left else left
    return tuple(item for item in ranked if item[1] != 0)


def _of_power(expr: sympy.Expr, t: sympy.Symbol, bounds: Bounds) -> Growth:
    base, exponent = expr.args
    if exponent.has(t):
        if base.has(t):
            raise Undecided
        return growth(sympy.exp(exponent * sympy.log(base)), t, bounds)
    inner = growth(base, t, bounds)
    if inner.vanishes:
        return inner
    known = inner.coefficient is not None
    coefficient = inner.coefficient**exponent if known else None
    rates = tuple((q, rate * exponent) for q, rate in inner.rates)
    power = inner.power * exponent
    return Growth(power, rates, coefficient, inner.oscillates, inner.bound)


def _of_exp(inner: Growth, bounds: Bounds) -> Growth:
    """exp of something that grows: a rate; of something that does not: a number."""
    if inner.vanishes:
        return Growth(ZERO, (), ONE)
    size, power = inner.coefficient, inner.power
    if inner.rates:
        if sign(inner.rates[0][1], bounds) < 0:
            return Growth(ZERO, (), ONE)
        power = sympy.oo
    elif sign(power, bounds) <= 0:
        return Growth(ZERO)
    if size is None:
        raise Undecided
    return Growth(ZERO, ((power, sympy.expand(size)),), ONE)


def _of_sum(expr: sympy.Expr, t: sympy.Symbol, bounds: Bounds) -> Growth:
    polynomial = expr.as_poly(t)
    if polynomial is not None and polynomial.is_zero:
        return NOTHING
    if polynomial is not None:
        return Growth(sympy.Integer(polynomial.degree()), (), polynomial.LC())
    found = [growth(term, t, bounds) for term in expr.args]
    return reduce(lambda a, b: _larger(a, b, bounds), found)


def _larger(a: Growth, b: Growth, bounds: Bounds) -> Growth:
    """The growth of a sum; equal ones that might cancel are not decided."""
    if a.vanishes or b.vanishes:
        return b if a.vanishes else a
    difference = _added(dict(a.rates), dict(b.rates), -ONE)
    lead = sign(difference[0][1], bounds) if difference else 0
    lead = lead or sign(a.power - b.power, bounds)
    if lead:
        return a if lead > 0 else b
    if a.coefficient is None or b.coefficient is None:
        return Growth(a.power, a.rates, None, a.oscillates or b.oscillates, True)
    total = sympy.expand(a.coefficient + b.coefficient)
    if total == 0:
        raise Undecided
    return Growth(a.power, a.rates, total)


def _of_choice(expr: sympy.Expr, t: sympy.Symbol, bounds: Bounds) -> Growth:
    """where, min and max: the branch that is taken far out."""
    if isinstance(expr, Select):
        condition, yes, no = expr.args
    else:
        yes, no = expr.args
        condition = yes - no if isinstance(expr, Maximum) else no - yes
    far = growth(condition, t, bounds)
    if far.coefficient is None:
        raise Undecided
    chosen = yes if sign(far.coefficient, bounds) > 0 else no
    return growth(chosen, t, bounds)
