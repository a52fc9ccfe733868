"""Parts of a right-hand side: what is affine in the state, which fields are partners.

Called by ``stages.py`` for schemes that treat the parts of an equation differently:

    du/dt = D ∇²u - u v²       →  affine part D ∇²u, the rest -u v²
    du/dt = v,  dv/dt = c ∂²u  →  partners {u}, {v}: the rate of each reads the other
"""

from __future__ import annotations

import sympy

from pdec.discretisation.linear import linear_form
from pdec.errors import Diagnostic, ModelErrors
from pdec.forms.model import Model
from pdec.forms.symbolic import Access, Contraction, Partial


def affine_part(expr: sympy.Expr, model: Model) -> sympy.Expr:
    """The terms of a right-hand side that are affine in the state."""
    form = linear_form(expr)
    terms = (basis * factor for basis, factor in form.items() if _affine(basis, model))
    return sympy.Add(*terms)


def _affine(expr: sympy.Expr, model: Model) -> bool:
    moved = _moved(expr, model)
    if not moved or (isinstance(expr, Access) and expr.array in model.fields):
        return True
    if isinstance(expr, Access):
        definition = model.definitions[expr.array]
        return not definition.maximum and _affine(definition.expr, model)
    if expr.is_Add:
        return all(_affine(term, model) for term in expr.args)
    if expr.is_Mul:
        factors = [factor for factor in expr.args if _moved(factor, model)]
        return len(factors) == 1 and _affine(factors[0], model)
    linear = isinstance(expr, Partial | Contraction)
    return linear and _affine(expr.args[0], model)


def _moved(expr: sympy.Expr, model: Model) -> set[str]:
    """The fields that an expression depends on, through definitions too."""
    found = set()
    for access in expr.atoms(Access):
        if access.array in model.fields:
            found.add(access.array)
        elif access.array in model.definitions:
            found |= _moved(model.definitions[access.array].expr, model)
    return found


def partners(model: Model, scheme: str) -> set[str]:
    """One of two groups of fields whose rates depend on the other group alone.

    It is the group of the field declared first.  Raises ``ModelErrors`` where the
    fields do not part in two such groups.
    """
    reads = {n: _moved(e.expr, model) for n, e in model.evolution.items()}
    side: dict[str, int] = {}
    for start in reads:
        waiting = [(start, side.get(start, 0))]
        while waiting:
            name, group = waiting.pop()
            if side.setdefault(name, group) != group:
                raise _not_separable(model, scheme, name)
            near = reads[name] | {other for other in reads if name in reads[other]}
            waiting += [(n, 1 - group) for n in near if side.get(n) != 1 - group]
    if len(set(side.values())) < 2:
        raise _not_separable(model, scheme, next(iter(reads)))
    return {name for name, group in side.items() if group == 0}


def _not_separable(model: Model, scheme: str, field: str) -> ModelErrors:
    return ModelErrors(
        model.source,
        (
            Diagnostic(
                f"scheme {scheme} needs two groups of fields, the rate of each read "
                "off the other alone, as in du/dt = v, dv/dt = ∂²u",
                model.evolution[field].span,
                "remove the terms in the field itself, or take heun or rk4",
            ),
        ),
    )
