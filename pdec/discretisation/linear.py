"""Linear forms: expressions sorted by what differs between samples or times.

    -γ (z - f) ω/γ + z        →   {z: 1 - ω,  f: ω}
    W0 z + W1 (z₊ - z₋)/(2dx) →   {z₋: -W1/(2dx),  z: W0,  z₊: W1/(2dx)}

The coefficients depend on parameters and constants alone, so they can be worked out
once for all steps and samples.  Nothing nonlinear is expanded: (z - y)² stays a square.
"""

from __future__ import annotations

import sympy

from pdec.forms.symbolic import (
    BATCH,
    TIME,
    Access,
    Contraction,
    access_key,
    indices_of,
    negative,
    varies,
)

Form = dict[sympy.Expr, sympy.Expr]


def linear_form(expr: sympy.Expr) -> Form:
    """Coefficients by basis value; the value 1 collects what no sample changes."""
    if not varies(expr):
        return {sympy.S.One: expr} if expr != 0 else {}
    if expr.is_Add:
        return _merged([linear_form(term) for term in expr.args])
    if expr.is_Mul:
        return _product_form(expr)
    if isinstance(expr, Contraction):
        return {_contraction(expr): sympy.S.One}
    if expr.is_Atom:
        return {expr: sympy.S.One}
    return {expr.func(*(rebuilt(argument) for argument in expr.args)): sympy.S.One}


def _product_form(expr: sympy.Expr) -> Form:
    shared = sympy.Mul(*(f for f in expr.args if not varies(f)))
    sampled = [factor for factor in expr.args if varies(factor)]
    if len(sampled) == 1:
        inner = linear_form(sampled[0])
        return {basis: shared * coefficient for basis, coefficient in inner.items()}
    return {sympy.Mul(*(rebuilt(factor) for factor in sampled)): shared}


def _contraction(expr: Contraction) -> sympy.Expr:
    inner, index = expr.args
    return Contraction(rebuilt(inner), index)


def _merged(forms: list[Form]) -> Form:
    """Add forms; contractions over one index become one contraction."""
    total: Form = {}
    inside: dict[sympy.Expr, sympy.Expr] = {}
    for form in forms:
        for basis, coefficient in form.items():
            if isinstance(basis, Contraction):
                inner, index = basis.args
                inside[index] = inside.get(index, sympy.S.Zero) + coefficient * inner
            else:
                total[basis] = total.get(basis, sympy.S.Zero) + coefficient
    for index, inner in inside.items():
        total[Contraction(rebuilt(inner), index)] = sympy.S.One
    return {
        basis: coefficient for basis, coefficient in total.items() if coefficient != 0
    }


def rebuilt(expr: sympy.Expr) -> sympy.Expr:
    """An expression with its linear parts collected."""
    terms = (basis * coefficient for basis, coefficient in linear_form(expr).items())
    return sympy.Add(*terms)


def by_coefficient(form: Form) -> list[tuple[sympy.Expr, list[tuple[int, sympy.Expr]]]]:
    """Group values that share a coefficient, up to sign: coefficient, [(±1, value)]."""
    groups: dict[sympy.Expr, list[tuple[int, sympy.Expr]]] = {}
    for basis, coefficient in form.items():
        sign = -1 if negative(coefficient) else 1
        groups.setdefault(sign * coefficient, []).append((sign, basis))
    return list(groups.items())


def absorbed(
    expr: sympy.Expr, over: tuple[str, ...]
) -> tuple[sympy.Expr, tuple[str, ...]]:
    """Let a sum over cells of a sum over channels be one sum over both."""
    factors = sympy.Mul.make_args(expr)
    inside = [factor for factor in factors if isinstance(factor, Contraction)]
    others = sympy.Mul(*(f for f in factors if not isinstance(f, Contraction)))
    if len(inside) != 1 or others.has(Contraction):
        return expr, over
    inner, index = inside[0].args
    return inner * others, (*over, str(index))


def split(coefficient: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    """A coefficient as (scalar, what varies along an index)."""
    factors = sympy.Mul.make_args(coefficient)
    varying = [f for f in factors if indices_of(f)]
    scalars = [f for f in factors if not indices_of(f)]
    return sympy.Mul(*scalars), sympy.Mul(*varying)


def place_key(members: list[tuple[int, sympy.Expr]]) -> tuple[object, ...]:
    """Order groups by what they read, from left to right."""
    found = sorted(
        (a for _, basis in members for a in basis.atoms(Access)), key=access_key
    )
    return (not found, [access_key(a) for a in found], str(members))


def costly(coefficient: sympy.Expr, stencil: bool) -> bool:
    """Whether a coefficient is worth computing once a call instead of every step."""
    found = coefficient.atoms(Access)
    if not found or isinstance(coefficient, Access):
        return False
    if coefficient.has(Contraction):
        return True
    return stencil or any(set(access.indices) - {TIME, BATCH} for access in found)
