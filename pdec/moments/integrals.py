"""The integrals behind a kernel's moments: a table of rules, no search.

    ∫ r^k K(r) dr over one piece  →  an expression in the kernel's parameters

The rules, tried in this order, are named after their numbers in ``moments.py``.  Each
takes bounded time, and none depends on how fast the machine is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import sympy

from pdec.moments.decay import Bounds, Undecided, finite_at, growth, sign
from pdec.moments.quadrature import FINE, Rule, integrate

INFINITY = sympy.oo
HALF = sympy.Rational(1, 2)
TOLERANCE = 1e-8
INTERVAL = Rule.INTERVAL


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a kernel: ``body`` for low < r < high."""

    body: sympy.Expr
    low: sympy.Expr
    high: sympy.Expr


@dataclass(frozen=True, slots=True)
class Integral:
    """∫ body du over the range of a rule, left to quadrature."""

    body: sympy.Expr
    u: sympy.Symbol
    rule: Rule


@dataclass(frozen=True, slots=True)
class Line:
    """A kernel of one variable: its pieces, the variable r, what bounds its symbols."""

    pieces: tuple[Piece, ...]
    r: sympy.Symbol
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class _Split:
    """outside × polynomial(r) × exp(exponent) × rest, r in the last three."""

    outside: sympy.Expr
    polynomial: sympy.Poly
    exponent: sympy.Expr
    rest: sympy.Expr


Found = tuple[sympy.Expr, tuple[Integral, ...]]


def integral(piece: Piece, kernel: Line, order: int) -> Found:
    """The integral of r^order times a piece: the first rule that fits, and the rest."""
    body, r = piece.body, kernel.r
    kinks = {centre_of(a.args[0], r) for a in body.atoms(sympy.Abs) if a.has(r)}
    if len(kinks) > 1 or None in kinks:
        raise Undecided
    kink = kinks.pop() if kinks else None
    if _finite(piece) and kink is not None:
        parts = [integral(p, kernel, order) for p in _cut(piece, kink, kernel)]
        left = tuple(part for _, parts_left in parts for part in parts_left)
        return sympy.Add(*(value for value, _ in parts)), left
    found: sympy.Expr | None = None
    if _finite(piece):
        found = _antiderivative(body * r**order, r, piece.low, piece.high)
    elif kink is None and (piece.low, piece.high) == (-INFINITY, INFINITY):
        split = _split(body * r**order, r)
        found = _gaussian(split, r)
        found = _power_law(split, r, kernel.bounds) if found is None else found
    else:
        found = _by_halves(piece, kernel, order, kink)
    return (found, ()) if found is not None else _scaled(piece, kernel, order, kink)


def _cut(piece: Piece, kink: sympy.Expr, kernel: Line) -> list[Piece]:
    """An interval cut at a kink; |a (r - p)| is ±|a| (r - p) on either side of p."""
    found = []
    inside = [sign(end, kernel.bounds) for end in (kink - piece.low, piece.high - kink)]
    for side, inner, other in ((-1, *inside), (1, *reversed(inside))):
        if inner <= 0:
            continue
        plain = {
            a: side * sympy.Abs(a.args[0].diff(kernel.r)) * (kernel.r - kink)
            for a in piece.body.atoms(sympy.Abs)
            if a.has(kernel.r)
        }
        low, high = (piece.low, kink) if side < 0 else (kink, piece.high)
        if other <= 0:
            low, high = piece.low, piece.high
        found.append(Piece(piece.body.xreplace(plain), low, high))
    return found


def _finite(piece: Piece) -> bool:
    return bool(piece.high != INFINITY and piece.low != -INFINITY)


def _split(term: sympy.Expr, r: sympy.Symbol) -> _Split:
    outside, inside = term.as_independent(r, as_Add=False)
    polynomial, exponent, rest = sympy.S.One, sympy.S.Zero, sympy.S.One
    for factor in sympy.Mul.make_args(inside):
        if isinstance(factor, sympy.exp):
            exponent += factor.args[0]
        elif factor.is_polynomial(r):
            polynomial *= factor
        else:
            rest *= factor
    return _Split(outside, sympy.Poly(polynomial, r), sympy.expand(exponent), rest)


def _gaussian(split: _Split, r: sympy.Symbol) -> sympy.Expr | None:
    """∫ P(r) exp(-α r² + β r + γ) dr: normal moments m_{j+1} = μ m_j + j v m_{j-1}."""
    form = split.exponent.as_poly(r)
    if split.rest != 1 or form is None or form.degree() != 2:
        return None
    gamma, beta, alpha = form.nth(0), form.nth(1), -form.nth(2)
    mean, variance = sympy.cancel(beta / (2 * alpha)), sympy.cancel(1 / (2 * alpha))
    moments = [sympy.S.One, mean]
    while len(moments) <= split.polynomial.degree():
        last = len(moments) - 1
        moments.append(mean * moments[-1] + last * variance * moments[-2])
    peak = sympy.cancel(gamma + beta * mean / 2)
    area = sympy.sqrt(sympy.cancel(sympy.pi / alpha)) * sympy.exp(peak)
    total = _weighted(split.polynomial, lambda power: moments[power])
    return split.outside * area * sympy.expand(total)


def _power_law(split: _Split, r: sympy.Symbol, bounds: Bounds) -> sympy.Expr | None:
    """∫ P(r) (a + b(r - p)²)^-q dr with ∫ s^2j (1 + s²)^-q ds = B(j + ½, q - j - ½)."""
    if split.exponent != 0 or not split.rest.is_Pow:
        return None
    base, exponent = split.rest.args
    form = base.as_poly(r)
    if form is None or form.degree() != 2 or not exponent.is_number:
        return None
    lead, centre = form.nth(2), -form.nth(1) / (2 * form.nth(2))
    least = sympy.cancel(form.nth(0) - form.nth(1) ** 2 / (4 * lead))
    if sign(least, bounds) <= 0 or sign(lead, bounds) <= 0:
        raise Undecided
    width = sympy.sqrt(sympy.cancel(least / lead))
    shifted = sympy.Poly(split.polynomial.as_expr().subs(r, centre + r), r)

    def power(j: int) -> sympy.Expr:
        if j % 2:
            return sympy.S.Zero
        half = sympy.Rational(j + 1, 2)
        return width ** (j + 1) * _beta(half, -exponent - half)

    return split.outside * least**exponent * _weighted(shifted, power)


def _beta(a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
    """Γ(a)Γ(b)/Γ(a + b) of numbers, exact where SymPy knows it."""
    value = sympy.gamma(a) * sympy.gamma(b) / sympy.gamma(a + b)
    return value.evalf(17) if value.has(sympy.gamma) else value


def _weighted(polynomial: sympy.Poly, power: Callable[[int], sympy.Expr]) -> sympy.Expr:
    """Σ_j p_j power(j) for a polynomial Σ_j p_j r^j."""
    terms = (c * power(m[0]) for m, c in polynomial.terms())
    return sympy.Add(*terms)


def _by_halves(
    piece: Piece, kernel: Line, order: int, kink: sympy.Expr | None
) -> sympy.Expr | None:
    """The line split at a kink, or one half of it: r = p ± s, s > 0."""
    s = sympy.Symbol("_s", positive=True)
    total = sympy.S.Zero
    for side, end, other in ((1, piece.high, piece.low), (-1, piece.low, piece.high)):
        if end != side * INFINITY:
            continue
        start = kink if other == -side * INFINITY else other
        if start is None or kink not in (None, start):
            return None
        body = (piece.body * kernel.r**order).subs(kernel.r, start + side * s)
        for term in sympy.Add.make_args(sympy.expand_mul(body, deep=False)):
            found = _half(_split(term, s), s, kernel.bounds)
            if found is None:
                return None
            total += found
    return total


def _half(split: _Split, s: sympy.Symbol, bounds: Bounds) -> sympy.Expr | None:
    """∫₀^∞ of s^m times exp(-λs), exp(-αs²) or (a + bs)^-q."""
    form = split.exponent.as_poly(s)
    if split.rest == 1 and form is not None and form.degree() == 1:
        rate = -form.nth(1)
        area = split.outside * sympy.exp(form.nth(0))
        return area * _weighted(
            split.polynomial, lambda m: sympy.factorial(m) / rate ** (m + 1)
        )
    if split.rest == 1 and form is not None and form.degree() == 2 and not form.nth(1):
        alpha = -form.nth(2)
        area = split.outside * sympy.exp(form.nth(0)) / 2
        return area * _weighted(
            split.polynomial,
            lambda m: sympy.gamma(HALF * (m + 1)) / sympy.sqrt(alpha) ** (m + 1),
        )
    if split.exponent != 0 or not split.rest.is_Pow:
        return None
    base, exponent = split.rest.args
    form = base.as_poly(s)
    if form is None or form.degree() != 1 or exponent.has(s):
        return None
    if sign(form.nth(0), bounds) <= 0 or sign(form.nth(1), bounds) <= 0:
        raise Undecided
    width = sympy.cancel(form.nth(0) / form.nth(1))

    def power(m: int) -> sympy.Expr:
        below = sympy.Mul(*(-exponent - 1 - j for j in range(m + 1)))
        return width ** (m + 1) * sympy.factorial(m) / below

    return split.outside * form.nth(0) ** exponent * _weighted(split.polynomial, power)


def _antiderivative(
    body: sympy.Expr, r: sympy.Symbol, low: sympy.Expr, high: sympy.Expr
) -> sympy.Expr | None:
    outside, inside = body.as_independent(r, as_Add=False)
    form = inside.as_poly(r)
    if form is None or any(c.has(r) for c in form.coeffs()):
        return None
    whole = form.integrate().as_expr()
    return outside * sympy.expand(whole.subs(r, high) - whole.subs(r, low))


# --- one centre and one width ------------------------------------------------------


def _scaled(piece: Piece, kernel: Line, order: int, kink: sympy.Expr | None) -> Found:
    """r = p + S u: the numbers ∫ u^j g(u) du where g is free of parameters."""
    centre, width, rule, sides = _frame(piece, kernel, kink)
    u = sympy.Symbol("_u", real=True, positive=True if rule is not INTERVAL else None)
    total: sympy.Expr = sympy.S.Zero
    left: list[Integral] = []
    for side in sides:
        place = centre + side * width * u
        shape = _plainly(piece.body.subs(kernel.r, place) * width)
        if rule is not INTERVAL:
            _check_start(shape, u, kernel.bounds)
        outside, inside = shape.as_independent(u, as_Add=False)
        if not inside.free_symbols <= {u}:
            left.append(Integral(place**order * shape, u, rule))
            continue
        for (power,), weight in sympy.Poly(place**order, u).terms():
            total += outside * weight * _number(inside * u**power, u, rule)
    return total, tuple(left)


def _frame(
    piece: Piece, kernel: Line, kink: sympy.Expr | None
) -> tuple[sympy.Expr, sympy.Expr, Rule, tuple[int, ...]]:
    """Centre p, width S, rule and sides of r = p ± S u."""
    if _finite(piece):
        middle, half = (piece.low + piece.high) / 2, (piece.high - piece.low) / 2
        return sympy.expand(middle), sympy.expand(half), INTERVAL, (1,)
    centre = kink if kink is not None else _shared_centre(piece.body, kernel.r)
    sides: tuple[int, ...] = (1, -1)
    if piece.low != -INFINITY:
        centre, sides = piece.low, (1,)
    elif piece.high != INFINITY:
        centre, sides = piece.high, (-1,)
    width = _width(piece.body.subs(kernel.r, centre + kernel.r), kernel.r)
    return centre, width, _half_rule(piece, kernel), sides


def _check_start(shape: sympy.Expr, u: sympy.Symbol, bounds: Bounds) -> None:
    """Raise ``Undecided`` where the integrand is not integrable at u = 0."""
    t = sympy.Symbol("_t", positive=True)
    if not finite_at(growth(shape.subs(u, 1 / t), t, bounds), -2, bounds):
        raise Undecided


@cache
def _number(expr: sympy.Expr, u: sympy.Symbol, rule: Rule) -> sympy.Expr:
    """The value of an integral without parameters, to rounding."""
    value, size = integrate(expr, u, rule)
    coarse, _ = integrate(expr, u, rule, count=FINE // 2)
    if not abs(value - coarse) <= TOLERANCE * size:
        raise Undecided
    return sympy.S.Zero if abs(value) < 1e-15 * size else sympy.Float(f"{value:.17g}")


def _half_rule(piece: Piece, kernel: Line) -> Rule:
    t = sympy.Symbol("_t", positive=True)
    side = 1 if piece.high == INFINITY else -1
    far = growth(piece.body.xreplace({kernel.r: side * t}), t, kernel.bounds)
    return Rule.EXPONENTIAL if far.rates else Rule.ALGEBRAIC


def centre_of(expr: sympy.Expr, r: sympy.Symbol) -> sympy.Expr | None:
    """The centre of a polynomial in r: the root of its last derivative but one."""
    form = expr.as_poly(r)
    if form is None or form.degree() < 1 or any(c.has(r) for c in form.coeffs()):
        return None
    degree = form.degree()
    return sympy.cancel(-form.nth(degree - 1) / (degree * form.nth(degree)))


def _shared_centre(body: sympy.Expr, r: sympy.Symbol) -> sympy.Expr:
    """The centre that the arguments of a kernel's functions have in common, or 0."""
    inner = [
        a for e in body.atoms(sympy.Function, sympy.Pow) for a in e.args if a.has(r)
    ]
    centres = [c for c in (centre_of(a, r) for a in inner) if c is not None]
    counted = sorted(set(centres), key=lambda c: (-centres.count(c), str(c)))
    return counted[0] if counted else sympy.S.Zero


def _width(body: sympy.Expr, v: sympy.Symbol) -> sympy.Expr:
    """A length S such that the body depends on v/S alone, if one shows; else 1."""
    size = sympy.Symbol("_s", positive=True)
    plain = body.xreplace({sympy.Abs(v): size, v: size})
    candidates: list[sympy.Expr] = []
    for part in sorted(plain.atoms(sympy.Function, sympy.Pow), key=str):
        for argument in part.args:
            terms = sympy.Add.make_args(sympy.expand(argument))
            constant = next((t for t in terms if not t.has(size)), sympy.S.One)
            unit = constant if part.is_Pow else sympy.S.One
            for term in terms:
                coefficient, power = term.as_coeff_exponent(size)
                if term.has(size) and not coefficient.has(size) and power.is_number:
                    ratio = sympy.Abs(coefficient / unit)
                    candidates.append(
                        sympy.powdenest(ratio ** (-1 / power), force=True)
                    )
    for width in dict.fromkeys(candidates):
        u = sympy.Symbol("_u", positive=True)
        rest = _plainly(plain.subs(size, width * u)).as_independent(u, as_Add=False)[1]
        if width.free_symbols and rest.free_symbols <= {u}:
            return width
    named = [width for width in dict.fromkeys(candidates) if width.free_symbols]
    return named[0] if named else sympy.S.One


def _plainly(expr: sympy.Expr) -> sympy.Expr:
    """Arguments expanded and common factors taken out of bases, in bounded time."""

    def within(part: sympy.Expr) -> sympy.Expr:
        if part.is_Pow and part.args[0].is_Add:
            return sympy.factor_terms(sympy.expand(part.args[0])) ** part.args[1]
        return part.func(*(sympy.expand(a) for a in part.args))

    parts = expr.atoms(sympy.Function, sympy.Pow)
    ranked = sorted(parts, key=lambda part: (part.count_ops(), str(part)))
    for part in ranked:
        expr = expr.subs(part, within(part))
    return expr
