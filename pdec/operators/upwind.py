"""upwind(U, z): advection by differences against the flow, U⁺ ∂⁻z + U⁻ ∂⁺z.

First order in Δx and free of oscillations (Courant, Isaacson & Rees 1952).  On a grid
with several axes U has one component per axis.
"""

from __future__ import annotations

import sympy

from pdec.contracts import Operator, Scope
from pdec.forms.functions import Maximum, Minimum
from pdec.forms.model import Typed
from pdec.meaning.calculus import components, one_sided
from pdec.source import Span


def _upwind(arguments: tuple[Typed, ...], scope: Scope, span: Span) -> Typed:
    flow, value = arguments
    parts, shape = components(flow, scope)
    if shape:
        scope.fail("the flow of upwind has one component per axis", flow.span)
    terms = []
    for part, axis in zip(parts, scope.axes, strict=True):
        forth = Maximum(part, sympy.S.Zero) * one_sided(value, axis, -1)
        back = Minimum(part, sympy.S.Zero) * one_sided(value, axis, 1)
        terms.append(forth + back)
    domain = flow.domain | value.domain
    return Typed(sympy.Add(*terms), value.shape, domain, span)


PLUGINS = (
    Operator("upwind", 2, _upwind, "U·∇z by one-sided differences", "upwind(U, z)"),
)
