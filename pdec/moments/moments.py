"""Moments of a kernel, M_k = ∫ r^k K(r) dr, in closed form wherever a rule gives one.

    body, r, support  →  moment(kernel, k)  →  Moment(value, integrals)

The weights of a neural PDE are W_k = M_k / k! (Succi 2025, arXiv:2502.06739,
section 2).
For K = exp(-(r - c)²/(2σ²)) / (σ√(2π)):  M_0 = 1,  M_1 = c,  M_2 = c² + σ².

A moment that does not exist is an error (``Divergent``), found from the decay of the
body before anything is integrated.  The integrals follow from a table of rules, tried
in this order for each term of the body, never from a search: the time is bounded, and
what is generated does not depend on how fast the machine is.

1. polynomial × exp(quadratic) on the line: the moments of a normal distribution;
2. polynomial × exp(-λs), exp(-αs²), (a + bs)^-p on a half line: Gamma, Beta functions;
3. polynomial × (quadratic)^-p on the line: Beta functions;
4. polynomial on an interval: its antiderivative;
5. any shape with one centre and one width, K = A g((r - p)/S): powers of p and S times
   the numbers ∫ u^j g(u) du, computed here to rounding;
6. otherwise the integral in u = (r - p)/S is left to quadrature in the generated module
   (``quadrature.py``), which is why a ``Moment`` has ``integrals``.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy

from pdec.forms.functions import Maximum, Minimum, Select
from pdec.moments.decay import Bounds, Undecided, finite_at, growth, sign
from pdec.moments.integrals import INFINITY, Integral, Line, Piece, centre_of, integral
from pdec.moments.quadrature import Rule

MAX_TERMS = 64


class Divergent(Exception):
    """A moment that does not exist: the kernel's decay, the highest finite order."""

    def __init__(self, power: sympy.Expr | None, highest: int | None) -> None:
        super().__init__(power, highest)
        self.power = power
        self.highest = highest


@dataclass(frozen=True, slots=True)
class Moment:
    """``value`` + Σ ``integrals``; ``conditional`` where it exists as a limit only."""

    value: sympy.Expr
    integrals: tuple[Integral, ...] = ()
    conditional: bool = False


def line(
    body: sympy.Expr,
    r: sympy.Symbol,
    bounds: Bounds,
    interval: tuple[sympy.Expr, sympy.Expr] = (-INFINITY, INFINITY),
) -> Line:
    """Take a kernel's body apart: terms with their support, ``where`` resolved."""
    terms = sympy.Add.make_args(sympy.expand_mul(body, deep=False))
    if len(terms) > MAX_TERMS:
        raise Undecided
    pieces = tuple(_supported(term, r, interval, bounds) for term in terms)
    return Line(pieces, r, bounds)


def moment(kernel: Line, order: int) -> Moment:
    """M_k of a kernel of one variable.

    Raises ``Divergent`` where it does not exist, ``Undecided`` where the declarations
    do not settle whether it does.
    """
    limit = _conditional(kernel) if order == 0 else None
    if limit is not None:
        return Moment(limit, (), conditional=True)
    for piece in kernel.pieces:
        _check(piece, kernel, order)
    total: sympy.Expr = sympy.S.Zero
    left: list[Integral] = []
    for piece in kernel.pieces:
        value, rest = integral(piece, kernel, order)
        total += value
        left += rest
    return Moment(_tidy(total), _together(left))


# --- support and convergence --------------------------------------------------------


def _supported(
    term: sympy.Expr,
    r: sympy.Symbol,
    interval: tuple[sympy.Expr, sympy.Expr],
    bounds: Bounds,
) -> Piece:
    """Read ``where(h - abs(r), a, 0)`` and ``max(h - abs(r), 0)`` as a support."""
    low, high = interval
    for choice in sorted(term.atoms(Select, Maximum, Minimum), key=str):
        condition, value = _as_support(choice)
        if not choice.has(r) or choice not in sympy.Mul.make_args(term):
            continue
        first, last = _where_positive(condition, r, bounds)
        if (low, high) != (-INFINITY, INFINITY):
            raise Undecided
        low, high = first, last
        term = term.xreplace({choice: value})
    if any(choice.has(r) for choice in term.atoms(Select, Maximum, Minimum)):
        raise Undecided
    return Piece(term, low, high)


def _as_support(choice: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    """(condition, value): the value where the condition is positive, 0 elsewhere."""
    *condition, yes, no = choice.args
    if isinstance(choice, Select) and no == 0:
        return condition[0], yes
    if isinstance(choice, Maximum) and no == 0:
        return yes, yes
    if isinstance(choice, Maximum) and yes == 0:
        return no, no
    raise Undecided


def _where_positive(
    condition: sympy.Expr, r: sympy.Symbol, bounds: Bounds
) -> tuple[sympy.Expr, sympy.Expr]:
    """The interval on which w - a |r - p|, w - a (r - p)² or a (r - p) is positive."""
    v = sympy.Symbol("_v", real=True)
    kinks = [a.args[0] for a in condition.atoms(sympy.Abs) if a.has(r)]
    plain = condition.as_poly(r)
    if not kinks and plain is not None and plain.degree() == 1:
        root = -plain.nth(0) / plain.nth(1)
        rising = sign(plain.nth(1), bounds) > 0
        return (root, INFINITY) if rising else (-INFINITY, root)
    centre = centre_of(kinks[0] if kinks else condition, r)
    if centre is None:
        raise Undecided
    size = sympy.Symbol("_s", nonnegative=True)
    even = {sympy.Abs(v): size, v**2: size**2}
    shape = sympy.expand(condition.subs(r, centre + v)).xreplace(even).as_poly(size)
    if shape is None or shape.as_expr().has(v):
        raise Undecided
    degree = shape.degree()
    if {power for (power,) in shape.monoms()} != {0, degree} or not degree:
        raise Undecided
    if sign(shape.nth(degree), bounds) > 0:
        raise Undecided
    width = (-shape.nth(0) / shape.nth(degree)) ** sympy.Rational(1, degree)
    return centre - width, centre + width


def _check(piece: Piece, kernel: Line, order: int) -> None:
    """Raise ``Divergent`` unless r^order times the piece is integrable at its ends."""
    t = sympy.Symbol("_t", positive=True)
    for side, end in ((1, piece.high), (-1, piece.low)):
        if end != side * INFINITY:
            continue
        try:
            far = growth(piece.body.subs(kernel.r, side * t), t, kernel.bounds)
        except Undecided:
            raise Undecided from None
        if finite_at(far, order, kernel.bounds):
            continue
        if far.bound or len(kernel.pieces) > 1:
            raise Undecided  # its terms may cancel
        if far.rates:
            raise Divergent(None, None)
        highest = None
        if far.power.is_number:
            highest = int(sympy.ceiling(-far.power - 1)) - 1
        raise Divergent(far.power, highest)


def _conditional(kernel: Line) -> sympy.Expr | None:
    """∫ A sin(a(r - p))/(r - p) dr = π A sign(a), a limit and no more (Dirichlet)."""
    total = sympy.S.Zero
    for piece in kernel.pieces:
        outside, inside = piece.body.as_independent(kernel.r, as_Add=False)
        factors = sympy.Mul.make_args(inside)
        waves = [f for f in factors if isinstance(f, sympy.sin)]
        powers = [f for f in factors if f.is_Pow and f.args[1] == -1]
        if len(factors) != 2 or len(waves) != 1 or len(powers) != 1:
            return None
        ratio = sympy.cancel(waves[0].args[0] * powers[0])
        if ratio.has(kernel.r) or piece.high != INFINITY or piece.low != -INFINITY:
            return None
        slope = powers[0].args[0].diff(kernel.r)
        total += sympy.pi * outside / slope * sign(ratio / slope, kernel.bounds)
    return total


def _together(found: list[Integral]) -> tuple[Integral, ...]:
    """One integral for each rule: odd parts of the two half lines cancel here."""
    kinds = dict.fromkeys((part.u, part.rule) for part in found)
    sums = {
        kind: sympy.Add(*(p.body for p in found if (p.u, p.rule) == kind))
        for kind in kinds
    }
    whole = (Integral(body, *kind) for kind, body in sums.items())
    return tuple(part for part in whole if not _vanishes(part))


def _vanishes(part: Integral) -> bool:
    """Whether an integral is that of nothing, or of an odd function over [-1, 1]."""
    if part.rule is not Rule.INTERVAL:
        return bool(part.body == 0)
    mirrored = part.body.subs(part.u, -part.u)
    return bool(sympy.expand(part.body + mirrored) == 0)


def _tidy(value: sympy.Expr) -> sympy.Expr:
    """A moment as a sum without needless factors; no open-ended simplification."""
    expanded = sympy.expand(value)
    candidates = [expanded, value, sympy.factor_terms(expanded)]
    if value.count_ops() < 60:
        candidates.append(sympy.cancel(value) if not value.has(sympy.Float) else value)
    return min(candidates, key=lambda e: (e.count_ops(), str(e)))
