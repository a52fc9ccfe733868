"""The clock: how long a step is, and the relaxation form that ties ω to it.

Stage 2d, called by ``resolve.py``.  A right-hand side that is a relaxation to an
equilibrium e, with one rate γ for all fields,

    dz/dt = -γ (z - e),    has    ω = γ Δt    (Succi 2025, section 2),

so that a model gives either ``ω = …`` or ``dt = …``, and the other one follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy

from pdec.forms.model import Relaxation, Typed
from pdec.forms.symbolic import Access, Constant, Partial, varies
from pdec.meaning.expressions import number
from pdec.meaning.scope import Builder, Mistake
from pdec.reading import tree


@dataclass(frozen=True, slots=True)
class Clock:
    """The relaxation, where the model is one, with its ω, and the length of a step."""

    relaxation: Relaxation | None
    omega: sympy.Expr | None
    dt: sympy.Expr


def read_clock(
    evolution: dict[str, Typed],
    scope: Builder,
    *,
    omega: tree.Equation | None,
    dt: tree.Equation | None,
    steady: bool,
) -> Clock | None:
    """Find the relaxation form, ω and Δt; None where a mistake has been reported.

    ``omega`` and ``dt`` are the equations that give them; ω may be a parameter instead.
    A ``steady`` scheme has neither.
    """
    trainable = "omega" in scope.variables
    if scope.doubtful("omega", "dt"):
        return None
    given = [equation for equation in (omega, dt) if equation is not None]
    if steady:
        for equation in given:
            message = "an equilibrium does not depend on the length of a step"
            scope.reporter.error(message, equation.span, "remove this line")
        return Clock(_common_relaxation(evolution), None, sympy.S.Zero)
    if len(given) + trainable != 1:
        if given:
            scope.reporter.error(
                "the step is given twice: ω = γ Δt ties ω and dt together",
                given[-1].span,
                "keep one of them",
            )
        else:
            scope.missing(
                "the length of a step is missing",
                "add `ω = 0.5` (for a relaxation) or `dt = 0.01`",
            )
        return None
    fields = [claim for claim in scope.claims.values() if claim.kind == "field"]
    if not evolution or len(evolution) < len(fields) or scope.doubtful("field"):
        return None  # what is wrong with the equations has been said
    relaxing = _common_relaxation(evolution)
    if dt is None:
        return _from_omega(omega, relaxing, scope)
    length = _step_length(dt, scope, "dt")
    if length is None:
        return None
    scope.constants["dt"] = length
    symbol = Constant("dt", positive=True)
    return Clock(relaxing, relaxing.rate * symbol if relaxing else None, symbol)


def _common_relaxation(evolution: dict[str, Typed]) -> Relaxation | None:
    """The relaxation form of the fields, if all have one and share its rate."""
    forms = [relaxation_form(name, value.expr) for name, value in evolution.items()]
    found = [form for form in forms if form is not None]
    same = len({form.rate for form in found}) == 1
    return found[0] if same and len(found) == len(forms) else None


def _from_omega(
    equation: tree.Equation | None, relaxing: Relaxation | None, scope: Builder
) -> Clock | None:
    span = equation.span if equation else scope.variables["omega"].span
    if relaxing is None:
        scope.reporter.error(
            "ω belongs to a relaxation, dz/dt = -γ(z - …), which this model is not",
            span,
            "give the step as `dt = …`",
        )
        return None
    omega: sympy.Expr = Access("omega", ())
    if equation is not None:
        value = _step_length(equation, scope, "ω")
        if value is None:
            return None
        scope.constants["omega"] = value
        omega = Constant("omega", positive=True)
    return Clock(relaxing, omega, omega / relaxing.rate)


def _step_length(equation: tree.Equation, scope: Builder, what: str) -> float | None:
    try:
        value = number(equation.right, scope, what)
    except Mistake:
        return None
    if value <= 0:
        scope.reporter.error(f"{what} must be positive", equation.right.span)
        return None
    return value


def relaxation_form(name: str, expr: sympy.Expr) -> Relaxation | None:
    """Write expr as -rate (z - equilibrium), where it has that form."""
    factors = sympy.Mul.make_args(expr)
    sums = [factor for factor in factors if isinstance(factor, sympy.Add)]
    for inside in sums or [expr]:
        outside = expr / inside if sums else sympy.S.One
        for term in sympy.Add.make_args(inside):
            coefficient, rest = term.as_independent(Access, Partial)
            bare = isinstance(rest, Access) and rest.array == name and not rest.offsets
            if bare and not varies(outside) and not outside.has(Partial):
                rate = -outside * coefficient
                others = [t for t in sympy.Add.make_args(inside) if t != term]
                equilibrium = sympy.Add(*(-t / coefficient for t in others))
                if _uniform(rate):
                    return Relaxation(rate, equilibrium)
    return None


def _uniform(rate: sympy.Expr) -> bool:
    """Whether a rate is one number, of constants and scalar parameters, above 0."""
    scalars = all(not access.index for access in rate.atoms(Access))
    fixed = scalars and not varies(rate)
    return fixed and not (rate.is_number and float(rate) <= 0)
