"""Kernels: what ``kernel K(r; σ) = …`` declares and ``moments(K, n) z`` stands for.

Stage 2b, used by ``expressions.py``.  A neural PDE sees its field through a kernel,
Z(q) = ∫ K(q, r) z(q + r) dr, and through the kernel's moments once z is expanded (Succi
2025, arXiv:2502.06739, section 2):

    moments(K, n) z   →   Σ_{k≤n} M_k/k! ∂^k z,        M_k = ∫ r^k K(r) dr

With two variables the sum runs over M_jk/(j! k!) ∂x^j ∂y^k z, j + k ≤ n.  A moment is an
expression in the kernel's parameters, so that it is computed once a call, and gradients
in those parameters follow like all others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import sympy

from pdec import tree
from pdec.decay import Bounds, Undecided
from pdec.integrals import Integral
from pdec.model import Channel, Typed
from pdec.moments import Divergent, Line, Moment, line, moment
from pdec.notation import text
from pdec.quadrature import COUNT, integrate, nodes
from pdec.scope import Builder
from pdec.source import Span
from pdec.spectrum import missed, worst_growth
from pdec.statements import Role
from pdec.symbolic import Access, Constant, IndexValue, per_sample

MOMENTS = "moments"
MAX_ORDER = 4
ROUGH = 1e-3
NODE = "k0"  # the index of the quadrature's nodes
Orders = tuple[int, ...]


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


def expansion(
    head: tree.Name, arguments: tree.Group, operand: Typed, scope: Builder
) -> list[tuple[Typed, dict[str, int]]]:
    """The terms of moments(K, n): a coefficient M/k! and the derivatives it multiplies.

    Reports a moment that diverges, an order that the operand's grid does not fit, and,
    as doubts, quadrature and an expansion that is ill-posed.
    """
    span = Span(head.span.start, arguments.span.end)
    statement, order = _arguments(arguments, span, scope)
    axes = [axis for axis in scope.axes if axis in operand.domain]
    if len(axes) != len(statement.variables):
        _wrong_variables(statement, axes, span, scope)
    kernel = known(statement, scope)
    found: dict[Orders, sympy.Expr] = {}
    numbers: dict[Orders, float] = {}
    for powers in _orders(len(axes), order):
        value = _moment(kernel, powers, span, scope)
        numbers[powers] = _number(value, kernel)
        found[powers] = _placed(value, kernel, powers, span, scope)
    _report(kernel, statement, found, numbers, axes, span, scope)
    terms = []
    for powers, value in found.items():
        if value != 0:
            scale = sympy.Mul(*(sympy.factorial(k) for k in powers))
            varies = frozenset(kernel.domain) if value.free_symbols else frozenset()
            shape = kernel.shape if value.free_symbols else ()
            along = {a: k for a, k in zip(axes, powers, strict=True) if k}
            terms.append((Typed(value / scale, shape, varies, span), along))
    return terms


def _orders(variables: int, order: int) -> Iterator[Orders]:
    every = itertools.product(range(order + 1), repeat=variables)
    ranked = sorted((p for p in every if sum(p) <= order), key=lambda p: (sum(p), p))
    yield from ((k,) for (k,) in ranked) if variables == 1 else iter(ranked)


def _arguments(
    group: tree.Group, span: Span, scope: Builder
) -> tuple[tree.KernelStatement, int]:
    usage = "write `moments(K, 2) z` with a kernel K and an order from 0 to 4"
    if len(group.items) != 2:
        scope.fail("moments takes a kernel and an order", span, usage)
    name, order = group.items
    if not isinstance(name, tree.Name):
        scope.fail("the first argument of moments is a kernel", name.span, usage)
    if name.name not in scope.kernels:
        if name.name not in scope.declared:
            scope.unknown(name)
        hint = "declare one: `kernel K(r; σ) = …`"
        scope.fail(f"'{name.text}' is not a kernel", name.span, hint)
    whole = isinstance(order, tree.Number) and order.value in range(MAX_ORDER + 1)
    if not isinstance(order, tree.Number) or not whole:
        scope.fail("the order of moments is a whole number from 0 to 4", order.span)
    return scope.kernels[name.name], int(order.value)


def _wrong_variables(
    statement: tree.KernelStatement, axes: list[str], span: Span, scope: Builder
) -> None:
    name, count = statement.name.text, len(statement.variables)
    plural = "variable" if count == 1 else "variables"
    hint = None
    if axes:
        letters = ", ".join(["r", "s", "q"][: len(axes)])
        hint = f"one variable for each axis: `kernel {name}({letters}; …) = …`"
    what = f"varies along {', '.join(axes)}" if axes else "does not vary over the grid"
    scope.fail(f"{name} has {count} {plural}, but its operand {what}", span, hint)


# --- the kernel ------------------------------------------------------------------------


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
    symbols = _Symbols(scope, sympy.Tuple(body.expr, *ends))
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


# --- moments ------------------------------------------------------------------------------


def _moment(kernel: Kernel, powers: Orders, span: Span, scope: Builder) -> Moment:
    """The moment of these orders, a sum of products of moments of one variable."""
    total, left, conditional = sympy.S.Zero, [], False
    for product in kernel.products:
        factors = [
            _guarded(kernel, part, k, powers, span, scope)
            for part, k in zip(product, powers, strict=True)
        ]
        if len(factors) > 1 and any(f.integrals for f in factors):
            name = kernel.name.text
            what = f"moment {_label(powers)} of {name} has no closed form"
            hint = "kernels of two variables need one; 1-D ones may do without"
            scope.fail(what, span, hint)
        total += sympy.Mul(*(factor.value for factor in factors))
        left += [part for factor in factors for part in factor.integrals]
        conditional |= any(factor.conditional for factor in factors)
    if conditional:
        scope.reporter.warning(
            f"moment {_label(powers)} of {kernel.name.text} converges only as a limit "
            "of ever wider intervals",
            span,
            "none of its higher moments exists",
        )
    return Moment(total, tuple(left), conditional)


def _label(powers: Orders) -> str:
    return ", ".join(map(str, powers))


def _guarded(
    kernel: Kernel, part: Line, order: int, powers: Orders, span: Span, scope: Builder
) -> Moment:
    name, label = kernel.name.text, _label(powers)
    shown = _spelled(kernel, scope)
    try:
        return moment(part, order)
    except Divergent as error:
        variable = str(part.r).rstrip("?")
        weighted = {0: "", 1: f"{variable} "}.get(order)
        weighted = (
            text(sympy.Symbol(variable) ** order) + " "
            if weighted is None
            else weighted
        )
        if error.power is None:
            scope.fail(
                f"moment {label} of {name} diverges: the kernel grows without bound",
                span,
                "a kernel decays on both sides: check its signs",
            )
        decay = f"|{variable}|^{_exponent(shown(error.power))}"
        highest = ""
        if error.highest is not None:
            finite = f"the highest finite moment is {error.highest}"
            highest = f"; {finite if error.highest >= 0 else 'no moment is finite'}"
        scope.fail(
            f"moment {label} of {name} diverges: the kernel decays like {decay}, and "
            f"{weighted}{name} is not integrable{highest}",
            span,
            f"lower the order, `moments({name}, {max(error.highest or 0, 0)})`, or give "
            "the kernel a faster decay",
        )
    except Undecided as error:
        if error.condition is None:
            scope.fail(
                f"pdec finds no value for moment {label} of {name}",
                span,
                "bounds on its parameters may help, such as `param σ > 0`; otherwise "
                "write the moments as params",
            )
        scope.fail(
            f"moment {label} of {name} is finite only where "
            f"{shown(error.condition)} > 0",
            span,
            "let the bounds of its parameters say so, for instance `param σ > 0`",
        )


def _exponent(written: str) -> str:
    return written if written.lstrip("-").replace(".", "").isalnum() else f"({written})"


def _spelled(kernel: Kernel, scope: Builder) -> Callable[[sympy.Expr], str]:
    return lambda expr: text(expr.xreplace(kernel.meaning), scope.spellings)


def _number(value: Moment, kernel: Kernel) -> float:
    """The moment at the initial parameters, NaN where they do not give one."""
    start = {s: sympy.Float(v) for s, v in kernel.start.items()}
    exact = value.value.xreplace(start).evalf()
    total = float(exact) if exact.is_real and exact.is_finite else math.nan
    for part in value.integrals:
        total += integrate(part.body, part.u, part.rule, kernel.start)[0]
    return total


def _placed(
    value: Moment, kernel: Kernel, powers: Orders, span: Span, scope: Builder
) -> sympy.Expr:
    """The moment as an expression of the model, under a name unless it is plain."""
    expr = value.value.xreplace(kernel.meaning)
    for part in value.integrals:
        expr += _quadrature(part, kernel, powers, span, scope)
    if not expr.atoms(Access) or isinstance(expr, Access):
        return expr
    name = f"{kernel.name.name}_M{''.join(map(str, powers))}"
    return scope.define(name, Typed(expr, kernel.shape, kernel.domain, span)).expr


def _quadrature(
    part: Integral, kernel: Kernel, powers: Orders, span: Span, scope: Builder
) -> sympy.Expr:
    """Σ_j w_j g(u_j) as a statement that sums over the nodes."""
    _warn_quadrature(part, kernel, powers, span, scope)
    places = []
    for what, expr in zip("uw", nodes(part.rule, IndexValue("i0")), strict=True):
        typed = Typed(expr, (Channel("", COUNT),), frozenset(), span)
        made = scope.define(f"{kernel.name.name}_{what}", typed).expr
        places.append(made.renamed({"i0": NODE}))
    node, weight = places
    body = part.body.xreplace({part.u: node, **kernel.meaning}) * weight
    typed = Typed(body, kernel.shape, kernel.domain, span)
    name = f"{kernel.name.name}_Q{''.join(map(str, powers))}"
    return scope.define(name, typed, over=(NODE,)).expr


def _warn_quadrature(
    part: Integral, kernel: Kernel, powers: Orders, span: Span, scope: Builder
) -> None:
    """Say that a moment is a quadrature, and how good it and its derivatives are."""
    name, label = kernel.name.text, _label(powers)
    wanted = [part.body, *(part.body.diff(s) for s in sorted(kernel.start, key=str))]
    worst = 0.0
    for expr in wanted:
        fine, size = integrate(expr, part.u, part.rule, kernel.start)
        used, _ = integrate(expr, part.u, part.rule, kernel.start, count=COUNT)
        worst = max(worst, abs(used - fine) / size if size else 0.0)
    if not worst < ROUGH:
        hint = "choose a smoother kernel, or write the moments as params"
        scope.fail(f"pdec finds no value for moment {label} of {name}", span, hint)
    scope.reporter.warning(
        f"moment {label} of {name} has no closed form that pdec finds; it and its "
        f"derivatives are computed by quadrature, relative error ≈ {max(worst, 1e-16):.0e}",
        span,
        f"{COUNT} nodes, judged at the initial parameters",
    )


# --- what is reported -------------------------------------------------------------------


def _report(
    kernel: Kernel,
    statement: tree.KernelStatement,
    found: dict[Orders, sympy.Expr],
    numbers: dict[Orders, float],
    axes: list[str],
    span: Span,
    scope: Builder,
) -> None:
    """Note the moments and what they miss; warn of an ill-posed expansion."""
    name, order = kernel.name.text, sum(max(found, key=sum))
    written = ", ".join(
        f"M{''.join(map(str, powers))} = {text(_open(expr, scope), scope.spellings)}"
        for powers, expr in found.items()
    )
    notes = [f"{name}: {written}"]
    if all(math.isfinite(value) for value in numbers.values()):
        spacings = [scope.axes[axis].spacing for axis in axes]
        notes += missed(kernel.products, kernel.start, numbers, spacings, name)
        growing = worst_growth(numbers)
        if growing:
            scope.reporter.warning(
                f"moments({name}, {order}) is ill-posed: its leading even moment, of order "
                f"{growing}, lets the shortest waves grow without bound as Δx → 0",
                span,
                "the truncation does this, not the kernel: stop at "
                f"`moments({name}, {growing - 2})`",
            )
    scope.notes += [note for note in notes if note not in scope.notes]


def _open(expr: sympy.Expr, scope: Builder) -> sympy.Expr:
    """A moment's formula behind its name."""
    made = scope.definitions.get(expr.array) if isinstance(expr, Access) else None
    return expr if made is None or made.written else made.expr
