"""Kernels as they are declared: ``kernel K(r; σ, c) = …``, in plain symbols.

    KernelStatement  →  known(statement, scope)  →  Kernel

A kernel's body is translated like every expression, with its variables as arguments.
Its parameters then become plain symbols that carry what their declarations say, so that
integrals can be done (``moments.py``):  param σ > 0  →  a positive σ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import sympy

from pdec.forms.model import Channel
from pdec.forms.statements import Role
from pdec.forms.symbolic import NOW, Access, Constant, per_sample
from pdec.meaning.scope import Builder
from pdec.moments.decay import Bounds, Undecided
from pdec.moments.integrals import Line
from pdec.moments.moments import line
from pdec.reading import tree


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in plain symbols, as a sum of products of kernels of one variable.

    ``meaning`` maps its symbols back to array elements and constants, ``start`` to
    their initial values.
    """

    name: tree.Name
    products: tuple[tuple[Line, ...], ...]
    meaning: dict[sympy.Symbol, sympy.Expr]
    start: dict[sympy.Symbol, float]
    bounds: Bounds
    shape: tuple[Channel, ...]
    domain: frozenset[str]


def known(statement: tree.KernelStatement, scope: Builder) -> Kernel:
    """The kernel that a statement declares; mistakes in it are reported."""
    outer = scope.arguments
    names = [name.name for name in statement.variables]
    variables = [sympy.Symbol(f"{name}?", real=True) for name in names]
    scope.arguments = dict(zip(names, variables, strict=True))
    try:
        body = scope.translate(statement.body, scope)
        ends = _ends(statement, scope)
    finally:
        scope.arguments = outer
    _check_names(statement, scope)
    whole = sympy.Tuple(body.expr, *ends)
    if whole.has(NOW):
        scope.fail("a kernel cannot depend on the time t", statement.span)
    symbols = _Symbols(scope, whole)
    if any(per_sample(symbol) for symbol in symbols.meaning.values()):
        hint = "its parameters are params and constants"
        scope.fail("a kernel is the same for every sample", statement.body.span, hint)
    plain, *interval = (symbols.plain(part) for part in (body.expr, *ends))
    try:
        products = _products(plain, variables, tuple(interval), symbols.bounds)
    except Undecided:
        hint = "write the support as an interval: `kernel K(r; h) = … on [-h, h]`"
        if len(variables) > 1:
            hint = "a kernel of two variables is a sum of products g(r) h(s)"
        scope.fail(
            f"the form of the kernel {statement.name.text} is not one that pdec "
            "integrates",
            statement.body.span,
            hint,
        )
    return Kernel(
        statement.name,
        products,
        symbols.meaning,
        symbols.start,
        symbols.bounds,
        body.shape,
        body.domain,
    )


def _ends(statement: tree.KernelStatement, scope: Builder) -> list[sympy.Expr]:
    """The ends of ``on [a, b]``, if it was written."""
    if statement.interval is None:
        return []
    if len(statement.variables) > 1:
        scope.fail("an interval belongs to a kernel of one variable", statement.span)
    values = []
    for end in (statement.interval.low, statement.interval.high):
        value = scope.translate(end, scope)
        if value.expr.free_symbols & set(scope.arguments.values()):
            scope.fail("the ends of a kernel's interval cannot vary with it", end.span)
        values.append(value.expr)
    return values


def _check_names(statement: tree.KernelStatement, scope: Builder) -> None:
    """Every param that the kernel reads stands behind its semicolon, and no other."""
    listed = {name.name for name in statement.parameters}
    used = list(_names((statement.body, statement.interval)))
    for name in used:
        if name.name in scope.variables and name.name not in listed:
            letters = ", ".join(name.text for name in statement.variables)
            scope.fail(
                f"'{name.text}' is no parameter of the kernel {statement.name.text}",
                name.span,
                f"list it: `kernel {statement.name.text}({letters}; {name.text})`",
            )
    for name in statement.parameters:
        if name.name not in {item.name for item in used}:
            what = f"the kernel {statement.name.text} does not use '{name.text}'"
            scope.reporter.warning(what, name.span)
        elif name.name not in scope.declared:
            scope.unknown(name)


def _names(node: Any) -> Iterator[tree.Name]:
    if isinstance(node, tree.Name):
        yield node
    elif isinstance(node, tuple):
        for item in node:
            yield from _names(item)
    elif is_dataclass(node):
        for entry in fields(node):
            yield from _names(getattr(node, entry.name))


class _Symbols:
    """Plain symbols in the place of array elements and constants, with what is known.

    A parameter is positive or negative where its bounds say so, and otherwise real and
    not zero (which no integral can tell from real).  A constant in an exponent is its
    number.
    """

    def __init__(self, scope: Builder, expr: sympy.Expr) -> None:
        self.meaning: dict[sympy.Symbol, sympy.Expr] = {}
        self.start: dict[sympy.Symbol, float] = {}
        self.bounds: dict[sympy.Symbol, tuple[float, float]] = {}
        self._plain: dict[sympy.Symbol, sympy.Symbol] = {}
        self._constants = scope.constants
        for symbol in sorted(expr.atoms(Access, Constant), key=str):
            low, high, start = self._facts(symbol, scope)
            signs = {"positive": low >= 0, "negative": high <= 0}
            given = {key: True for key, holds in signs.items() if holds}
            name = getattr(symbol, "array", str(symbol))
            plain = sympy.Symbol(name, **(given or {"real": True, "nonzero": True}))
            self._plain[symbol] = plain
            self.meaning[plain] = symbol
            self.start[plain] = start
            self.bounds[plain] = (low, high)

    def _facts(
        self, symbol: sympy.Symbol, scope: Builder
    ) -> tuple[float, float, float]:
        """Lower bound, upper bound and initial value."""
        if isinstance(symbol, Constant):
            value = scope.constants[str(symbol.name)]
            side = (0.0, math.inf) if value > 0 else (-math.inf, 0.0)
            return (*(side if value else (-math.inf, math.inf)), value)
        variable = scope.variables.get(symbol.array)
        if variable is None or variable.array.role is not Role.PARAM:
            return -math.inf, math.inf, math.nan
        kind, first, second = variable.init
        start = (first + second) / 2 if kind == "uniform" else first
        return variable.low, variable.high, start

    def plain(self, expr: sympy.Expr) -> sympy.Expr:
        """An expression in plain symbols."""

        def exponent(base: sympy.Expr, power: sympy.Expr) -> sympy.Expr:
            values = {
                c: sympy.nsimplify(self._constants[str(c.name)], rational=True)
                for c in power.atoms(Constant)
            }
            return base ** power.xreplace(values)

        return expr.replace(sympy.Pow, exponent).xreplace(self._plain)


def _products(
    body: sympy.Expr,
    variables: list[sympy.Symbol],
    interval: tuple[sympy.Expr, ...],
    bounds: Bounds,
) -> tuple[tuple[Line, ...], ...]:
    """Write a kernel as a sum of products of kernels of one variable each."""
    if len(variables) == 1:
        ends = (interval[0], interval[1]) if interval else (-sympy.oo, sympy.oo)
        return ((line(body, variables[0], bounds, ends),),)
    found = []
    for term in sympy.Add.make_args(sympy.expand_mul(body, deep=False)):
        apart = sympy.expand_power_exp(sympy.expand(term, deep=True, power_exp=False))
        if apart.is_Add:
            apart = sympy.expand_power_exp(term)
        parts = dict.fromkeys(variables, sympy.S.One)
        for factor in sympy.Mul.make_args(apart):
            present = [v for v in variables if factor.has(v)]
            if len(present) > 1:
                raise Undecided
            parts[present[0] if present else variables[0]] *= factor
        lines = (line(sympy.powsimp(part), v, bounds) for v, part in parts.items())
        found.append(tuple(lines))
    return tuple(found)
