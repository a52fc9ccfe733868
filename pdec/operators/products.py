"""dot(a, b) and outer(a, b): products of channel vectors.

dot(a, b) = Σ_i a_i b_i,        outer(a, b)_ij = a_i b_j
"""

from __future__ import annotations

import sympy

from pdec.contracts import Operator, Scope
from pdec.forms.model import Typed
from pdec.forms.symbolic import Contraction, indices_of, rename_indices
from pdec.source import Span


def _vectors(arguments: tuple[Typed, ...], name: str, scope: Scope) -> None:
    for argument in arguments:
        if len(argument.shape) != 1:
            scope.fail(
                f"{name} takes two channel vectors",
                argument.span,
                "such as a field declared as `field z[d](x)`",
            )


def _dot(arguments: tuple[Typed, ...], scope: Scope, span: Span) -> Typed:
    left, right = arguments
    _vectors(arguments, "dot", scope)
    if not left.shape[0].fits(right.shape[0]):
        scope.fail("the arguments of dot differ in length", right.span)
    product = left.expr * right.expr
    bound = next(f"k{n}" for n in range(100) if f"k{n}" not in indices_of(product))
    total = Contraction(rename_indices(product, {"i0": bound}), sympy.Symbol(bound))
    return Typed(total, (), left.domain | right.domain, span)


def _outer(arguments: tuple[Typed, ...], scope: Scope, span: Span) -> Typed:
    left, right = arguments
    _vectors(arguments, "outer", scope)
    expr = left.expr * rename_indices(right.expr, {"i0": "i1"})
    return Typed(expr, left.shape + right.shape, left.domain | right.domain, span)


PLUGINS = (
    Operator("dot", 2, _dot, "Σ a_i b_i of two channel vectors", "dot(m z, m)"),
    Operator(
        "outer", 2, _outer, "a_i b_j of two channel vectors", "dot(outer(m, m) m z, m)"
    ),
)
