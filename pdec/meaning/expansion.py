"""``moments(K, n) z``: a kernel's moments in front of the derivatives of a field.

Stage 2b, used by ``expressions.py``.  A neural PDE sees its field through a kernel,
Z(q) = ∫ K(q, r) z(q + r) dr, and through the kernel's moments once z is expanded (Succi
2025, arXiv:2502.06739, section 2):

    moments(K, n) z   →   Σ_{k≤n} M_k/k! ∂^k z,        M_k = ∫ r^k K(r) dr

With two variables the sum runs over M_jk/(j! k!) ∂x^j ∂y^k z, j + k ≤ n.  A moment is
an expression in the kernel's parameters, so that it is computed once a call, and
gradients in those parameters follow like all others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import sympy

from pdec.forms.model import Channel, Typed
from pdec.forms.notation import text
from pdec.forms.symbolic import Access, IndexValue
from pdec.meaning.kernels import Kernel, known
from pdec.meaning.scope import Builder
from pdec.moments.decay import Undecided
from pdec.moments.integrals import Integral, Line
from pdec.moments.moments import Divergent, Moment, moment
from pdec.moments.quadrature import COUNT, integrate, nodes, places
from pdec.moments.spectrum import missed, worst_growth
from pdec.reading import tree
from pdec.source import Span

MAX_ORDER = 4
ROUGH = 1e-3
NODE = "k0"  # the index of the quadrature's nodes
Orders = tuple[int, ...]


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
    every = _orders(len(axes), order)
    values = {powers: _moment(kernel, powers, span, scope) for powers in every}
    found = {p: _placed(value, kernel, p, span, scope) for p, value in values.items()}
    _report(kernel, values, axes, span, scope)
    terms = []
    for powers, value in found.items():
        if value != 0:
            scale = sympy.Mul(*(sympy.factorial(k) for k in powers))
            varies = frozenset(kernel.domain) if value.free_symbols else frozenset()
            shape = kernel.shape if value.free_symbols else ()
            along = {a: k for a, k in zip(axes, powers, strict=True) if k}
            terms.append((Typed(value / scale, shape, varies, span), along))
    return terms


def _orders(variables: int, order: int) -> list[Orders]:
    """The orders of the moments, lowest first: (0, 0), (0, 1), (1, 0), …"""
    every = itertools.product(range(order + 1), repeat=variables)
    return sorted((p for p in every if sum(p) <= order), key=lambda p: (sum(p), p))


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


# --- moments -----------------------------------------------------------------------


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
        weighted = text(sympy.Symbol(variable) ** order) + " " if order else ""
        if error.power is None:
            scope.fail(
                f"moment {label} of {name} diverges: the kernel grows without bound",
                span,
                "a kernel decays on both sides: check its signs",
            )
        decay = f"|{variable}|^{_exponent(shown(error.power))}"
        highest, hint = "", "give the kernel a faster decay"
        if error.highest is not None and error.highest >= 0:
            highest = f"; the highest finite moment is {error.highest}"
            hint = f"stop there, `moments({name}, {error.highest})`, or {hint}"
        elif error.highest is not None:
            highest = "; no moment is finite"
        scope.fail(
            f"moment {label} of {name} diverges: the kernel decays like {decay}, and "
            f"{weighted}{name} is not integrable{highest}",
            span,
            hint,
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
    if value.integrals and not _starts(kernel):
        return math.nan
    exact = value.value.xreplace(start).evalf()
    total = float(exact) if exact.is_real and exact.is_finite else math.nan
    for part in value.integrals:
        total += integrate(part.body, part.u, part.rule, kernel.start)[0]
    return total


def _starts(kernel: Kernel) -> bool:
    """Whether all of the kernel's parameters have a number to start from."""
    return all(math.isfinite(value) for value in kernel.start.values())


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
    x, step = places(part.rule, IndexValue("i0"))

    def table(what: str, expr: sympy.Expr) -> sympy.Expr:
        typed = Typed(expr, (Channel("", COUNT),), frozenset(), span)
        return scope.define(f"{kernel.name.name}_{what}", typed).expr

    pair = zip("uw", nodes(part.rule, table("x", x), step), strict=True)
    node, weight = (table(w, expr).renamed({"i0": NODE}) for w, expr in pair)
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
    if not worst < ROUGH and _starts(kernel):
        hint = "choose a smoother kernel, or write the moments as params"
        scope.fail(f"pdec finds no value for moment {label} of {name}", span, hint)
    error = f"≈ {max(worst, 1e-16):.0e}" if _starts(kernel) else "unknown"
    scope.reporter.warning(
        f"moment {label} of {name} has no closed form that pdec finds; it and its "
        f"derivatives are computed by quadrature, relative error {error}",
        span,
        f"{COUNT} nodes, judged at the initial parameters",
    )


# --- what is reported --------------------------------------------------------------


def _report(
    kernel: Kernel,
    values: dict[Orders, Moment],
    axes: list[str],
    span: Span,
    scope: Builder,
) -> None:
    """Note the moments and what they miss; warn of an ill-posed expansion."""
    name, order = kernel.name.text, max(sum(powers) for powers in values)
    shown = _spelled(kernel, scope)
    written = (
        f"M{''.join(map(str, powers))} "
        + ("by quadrature" if value.integrals else f"= {shown(value.value)}")
        for powers, value in values.items()
    )
    notes = [f"{name}: {', '.join(written)}"]
    numbers = {powers: _number(value, kernel) for powers, value in values.items()}
    if all(math.isfinite(value) for value in numbers.values()):
        spacings = [scope.axes[axis].spacing for axis in axes]
        notes += missed(kernel.products, kernel.start, numbers, spacings, name)
        growing = worst_growth(numbers)
        if growing:
            scope.reporter.warning(
                f"moments({name}, {order}) is ill-posed: its leading even moment, of "
                f"order {growing}, lets short waves grow without bound as Δx → 0",
                span,
                "the truncation does this, not the kernel: stop at "
                f"`moments({name}, {growing - 2})`",
            )
    scope.notes += [note for note in notes if note not in scope.notes]
