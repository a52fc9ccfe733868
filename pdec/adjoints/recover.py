"""Stage 5b: what the adjoint of a step reads off the stored states.

    adjoint, tangent  →  recovered(adjoint, tangent, …)  →  adjoint, tangent

Where a step ends with z⁺ = r + w f, and r reads nothing but what is stored, f needs not
be computed again on the way back: for the relaxation z⁺ = (1 - ω) z + ω f(Z),

    f = (z⁺ - (1 - ω) z)/ω          and with it f' = 1 - f², for tanh,

without a stencil and without a transcendental function.  The subtraction magnifies the
rounding of z⁺ by 1/ω.  So f is recovered only where w ≥ 0.25 for all parameters within
their bounds, and where the adjoint is smooth in f: a kink turns ±rounding into a slope.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import sympy

from pdec.adjoints.adjoint import Derived, needed
from pdec.forms.model import Model
from pdec.forms.notation import text
from pdec.forms.statements import (
    Block,
    Clear,
    Fold,
    Ghost,
    Map,
    Origin,
    Program,
    Statement,
)
from pdec.forms.symbolic import Access, accesses
from pdec.meaning.ranges import Ranges, bounds, point

LEAST = 0.25  # rounding in the states reaches f magnified by 1/w

_SMOOTH = (sympy.Add, sympy.Mul, sympy.exp, sympy.tanh, sympy.sin, sympy.cos, Access)


def recovered(
    adjoint: Derived, tangent: Derived, model: Model, program: Program
) -> tuple[Derived, Derived]:
    """Recover what can be from the states, if nothing it is made of is then needed.

    The tangent reads the same f, so that jvp and vjp are transposes to the last digit.
    """
    ranges = _ranges(model, program)
    again = adjoint.recompute
    for update in program.step.maps:
        if update.writes not in program.step.outputs or update.over:
            continue
        for access in accesses(update.expr):
            found = _solved(update, access, program, ranges, model.spellings)
            again = _instead(found, again, adjoint.block) if found else again
    if again == adjoint.recompute:
        return adjoint, tangent
    first = (*again.statements, *tangent.block.statements)
    block = replace(tangent.block, statements=first)
    return replace(adjoint, recompute=again), replace(tangent, block=block)


def _ranges(model: Model, program: Program) -> Ranges:
    """Ranges of parameters, constants and what is combined from them."""
    leaves = bounds(model.params)
    leaves |= {name: point(number.value) for name, number in program.constants.items()}
    for statement in program.coefficients.maps:
        if not statement.over:
            leaves[statement.writes] = Ranges(leaves, {}).of(statement.expr)
    return Ranges(leaves, {})


def _solved(
    update: Map,
    access: Access,
    program: Program,
    ranges: Ranges,
    spellings: Mapping[str, str],
) -> Map | None:
    """The statement f = (z⁺ - r)/w, where z⁺ = r + w f in each cell by itself."""
    made = {statement.writes for statement in program.step.maps}
    weight = update.expr.diff(access)
    rest = update.expr.xreplace({access: sympy.S.Zero})
    read = rest.atoms(Access) | weight.atoms(Access)
    if (
        access.array not in made
        or access.index != update.target.index
        or any(a.array in made or a.offsets for a in read)
        or ranges.of(weight).low.value < LEAST
    ):
        return None
    value = (update.target - rest) / weight
    name, formula = (text(e, spellings) for e in (access, value))
    label = f"{name} = {formula} from the stored states"
    return Map(access, value, Origin(label, update.origin.location))


def _instead(found: Map, again: Block, adjoint: Block) -> Block:
    """The block with f recovered, if what f was made of then goes."""
    computed = [s for s in again.maps if s.writes == found.writes]
    others = [s for s in (*again.statements, *adjoint.statements) if s not in computed]
    if len(computed) != 1 or not all(_smooth(s, found.target) for s in others):
        return again
    (old,) = computed
    statements = tuple(found if s == old else s for s in again.statements)
    kept = needed(replace(again, statements=statements), adjoint.statements)
    sources = {access.array for access in old.expr.atoms(Access)}
    if sources & {s.writes for s in kept.maps}:
        return again
    return replace(kept, name=again.name)


def _smooth(statement: Statement, access: Access) -> bool:
    """Whether rounding of an element changes a statement's value by little."""
    if not isinstance(statement, Map):
        return isinstance(statement, Ghost | Fold | Clear)
    return all(
        isinstance(node, _SMOOTH) or (node.is_Pow and node.exp.is_positive)
        for node in sympy.preorder_traversal(statement.expr)
        if any(a.array == access.array for a in node.atoms(Access))
    )
