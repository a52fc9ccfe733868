"""Rates: the right-hand side at the state itself, as statements for the verdict on ω.

Stage 4e, called by ``discrete.py``.  A single field that relaxes to f(Z), Z linear in
it, is judged by the stencil of Z alone; then only Z and f(Z) are written out:

    dz/dt = -γ(z - f(W1 ∂z))   →   Z = Z_m1 z[x-1] + Z_p1 z[x+1];  f_Z = f(Z)

Any other right-hand side is written out whole, for its Jacobian at a state.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import sympy

from pdec.discretisation.lowering import Lowering, Tables
from pdec.discretisation.parts import affine_part
from pdec.discretisation.stages import scheme_of
from pdec.forms.model import Model
from pdec.forms.statements import Block, Map, Origin, Role
from pdec.forms.symbolic import NOW, TIME, Access, IndexValue, accesses, varies

Place = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """z_eq = f(Z), Z = Σ_m a_m z[+m] - b: the stencil a_m, and f as written.

    With channels the coefficients are matrices over the indices i0 and k0.  ``value``
    assigns f(Z) and ``argument`` is Z there; where f is the identity it is None.
    """

    field: str
    stencil: dict[Place, sympy.Expr]
    value: Map
    argument: Access | None

    @property
    def slope(self) -> sympy.Expr:
        """f' at Z."""
        if self.argument is None:
            return sympy.S.One
        return self.value.expr.diff(self.argument)


def rates_block(model: Model, tables: Tables) -> Block:
    """The right-hand side at the old state; of a layer, Z and f(Z) alone."""
    relaxation = model.relaxation
    if relaxation is not None and len(model.fields) == 1:
        name = getattr(relaxation.equilibrium, "array", "")
        if name in model.definitions:
            lowering = Lowering(tables, now=_now(model))
            lowering.define(model.definitions[name])
            block = Block("rates", tuple(lowering.statements), (name,))
            if layer_of(model, block) is not None:
                return block
    apart = tables.apart()  # the step has no use for these coefficients
    lowering = Lowering(apart, now=_now(model))
    outputs = []
    for part in ("L", "N") if splits(model) else ("F",):
        for field, value in model.evolution.items():
            name = tables.fresh(f"{field}_rate" + ("_rest" if part == "N" else ""))
            tables.add(replace(tables.arrays[field], name=name, role=Role.WORK))
            origin = Origin(f"rate of {field}", model.source.location(value.span))
            expr, linear = value.expr, affine_part(value.expr, model)
            expr = {"F": expr, "L": linear, "N": expr - linear}[part]
            lowering.assign(tables.arrays[name].element(), expr, origin)
            outputs.append(name)
    statements = (*apart.coefficients, *lowering.statements)
    return Block("rates", statements, tuple(outputs))


def splits(model: Model) -> bool:
    """Whether the scheme treats apart what is affine in the state and the rest."""
    scheme = scheme_of(model)
    return re.search(r"\b[LN]\b", scheme.text) is not None


def _now(model: Model) -> sympy.Expr:
    """The time at which step n starts."""
    return NOW if model.dt is None else IndexValue(TIME) * model.dt


def layer_of(model: Model, rates: Block) -> Layer | None:
    """The layer that a single relaxing field is, or None where it has no such form."""
    if model.relaxation is None or len(model.fields) != 1:
        return None
    ((field, variable),) = model.fields.items()
    made = {statement.writes: statement for statement in rates.maps}
    value = made.get(getattr(model.relaxation.equilibrium, "array", ""))
    if value is None or len(variable.shape) > 1:
        return None
    argument, inner = None, accesses(value.expr)
    if len(inner) == 1 and inner[0].array in made and not value.over:
        argument, value_of_z = inner[0], made[inner[0].array]
        if argument.index != value.target.index:
            return None
    else:
        value_of_z = value
    stencil = _linear(value_of_z, field, model.axis_names, made)
    if not stencil or len(variable.shape) != _channels(stencil):
        return None
    return Layer(field, stencil, value, argument)


def _channels(stencil: dict[Place, sympy.Expr]) -> int:
    """1 where the coefficients are matrices, which must all be so, else 0."""
    found = {bool(_indices(a) & {"k0"}) for a in stencil.values()}
    return int(found == {True}) if len(found) == 1 else -1


def _indices(expr: sympy.Expr) -> set[str]:
    return {name for access in expr.atoms(Access) for name in access.indices}


def _linear(
    statement: Map, field: str, axes: tuple[str, ...], made: dict[str, Map]
) -> dict[Place, sympy.Expr] | None:
    """The coefficient of each neighbour in a value that is affine in the field.

    A sum over channels may stand between: Z = Z_c - b, Z_c = Σ_k0 A[i0, k0] z[k0].
    None where the value is of another form.
    """
    found: dict[Place, sympy.Expr] = {}
    for access in accesses(statement.expr):
        slope = statement.expr.diff(access)
        if access.array == field:
            if varies(slope) or set(statement.over) - {"k0"}:
                return None
            place = tuple(access.offsets.get(axis, 0) for axis in axes)
            found[place] = found.get(place, sympy.S.Zero) + slope
        elif access.array in made:
            inner = _linear(made[access.array], field, axes, made)
            if inner is None or (inner and (varies(slope) or statement.over)):
                return None
            if inner and (slope != 1 or access.index != statement.target.index):
                return None
            for place, a in (inner or {}).items():
                found[place] = found.get(place, sympy.S.Zero) + a
    return found
