"""Stage 4: Model to Program.  The step, the loss and the rest as statements.

Model  →  discretise(model)  →  Program
"""

from __future__ import annotations

import math

import sympy

from pdec.discretisation.lowering import Lowering, Tables
from pdec.discretisation.padding import check_width, padded, walls, with_ghosts
from pdec.discretisation.rates import rates_block
from pdec.discretisation.stages import step_block
from pdec.forms.model import Model
from pdec.forms.notation import text
from pdec.forms.statements import (
    Array,
    Axis,
    Block,
    Constant,
    Origin,
    Program,
    Role,
    successor,
    verify,
)
from pdec.forms.symbolic import BATCH, accesses
from pdec.forms.symbolic import Constant as Symbolic

LOSS = "loss"


def discretise(model: Model) -> Program:
    """Turn the model's equations into blocks of statements."""
    tables = Tables(model)
    for variable in model.variables.values():
        tables.add(variable.array)
    for name, variable in model.fields.items():
        tables.add(Array(successor(name), variable.array.axes, Role.NEXT))
    step = step_block(model, tables)
    rates = rates_block(model, tables)
    initial = _initial(model, tables)
    readout, loss = _readout_and_loss(model, tables)
    penalty = _penalty(model, tables)
    beyond = walls(tables)
    arrays = padded(tables)
    check_width(model, arrays)
    combined = Block("coefficients", tuple(tables.coefficients))
    program = Program(
        arrays=arrays,
        coefficients=with_ghosts(combined, tables, arrays, beyond),
        initial=with_ghosts(initial, tables, arrays, beyond),
        step=with_ghosts(step, tables, arrays, beyond),
        readout=with_ghosts(readout, tables, arrays, beyond),
        loss=with_ghosts(loss, tables, arrays, beyond),
        penalty=penalty,
        constants=_constants(tables),
        rates=with_ghosts(rates, tables, arrays, beyond),
        at_risk=tables.at_risk,
    )
    for block in program.blocks:
        verify(block, arrays)
    return program


# --- blocks ------------------------------------------------------------------------


def _initial(model: Model, tables: Tables) -> Block:
    lowering = Lowering(tables)
    for name, value in model.initial.items():
        excerpt = " ".join(model.source.excerpt(value.span).split())
        origin = Origin(excerpt, model.source.location(value.span))
        lowering.assign(model.fields[name].array.element(), value.expr, origin)
    outputs = tuple(model.initial)
    return Block("initial", tuple(lowering.statements), outputs)


def _readout_and_loss(model: Model, tables: Tables) -> tuple[Block, Block]:
    """Two blocks on the last state; the loss goes on where the readouts ended."""
    lowering = Lowering(tables)
    for name in model.readouts:
        lowering.define(model.definitions[name])
    readout = Block("readout", tuple(lowering.statements), tuple(model.readouts))
    if model.loss is None:
        return readout, Block("loss", ())
    lowering.statements = []
    target = Array(LOSS, (Axis(BATCH, 0),), Role.LOSS)
    tables.add(target)
    excerpt = " ".join(model.source.excerpt(model.loss.span).split())
    origin = Origin(excerpt, model.source.location(model.loss.span))
    lowering.assign(target.element(), model.loss.expr, origin)
    return readout, Block("loss", tuple(lowering.statements), (LOSS,))


def _penalty(model: Model, tables: Tables) -> Block:
    """The terms of the loss in parameters alone, kept apart from the coefficients."""
    if model.penalty is None:
        return Block("penalty", ())
    apart = Tables(
        model,
        tables.arrays,
        reach=tables.reach,
        corners=tables.corners,
        copies=tables.coefficients,
    )
    lowering = Lowering(apart)
    target = Array(tables.fresh("penalty"), (), Role.COEFFICIENT)
    tables.add(target)
    excerpt = " ".join(model.source.excerpt(model.penalty.span).split())
    origin = Origin(excerpt, model.source.location(model.penalty.span))
    lowering.assign(target.element(), model.penalty.expr, origin)
    statements = (*apart.coefficients, *lowering.statements)
    return Block("penalty", tuple(statements), (target.name,))


# --- constants ------------------------------------------------------------------------


def _constants(tables: Tables) -> dict[str, Constant]:
    """Named numbers: spacings, the user's constants, the step, weights."""
    model = tables.model
    found: dict[str, Constant] = {}
    for axis in model.axes.values():
        formula = f"({axis.high:g} - {axis.low:g})/{axis.size}"
        found[f"d{axis.name}"] = Constant(axis.spacing, formula)
    for name, value in model.constants.items():
        found[name] = Constant(value, "")
    if "omega" not in found and model.omega is not None:
        symbols = model.omega.atoms(Symbolic)
        if not accesses(model.omega) and all(str(s.name) in found for s in symbols):
            values = {s: sympy.Float(found[str(s.name)].value) for s in symbols}
            found["omega"] = Constant(float(model.omega.xreplace(values)), "γ Δt")
    for weight, name in tables.numbers.items():
        values = {s: sympy.Float(found[str(s.name)].value) for s in weight.free_symbols}
        exact = text(weight, model.spellings)
        found[name] = Constant(float(weight.xreplace(values)), exact, weight)
    assert all(math.isfinite(constant.value) for constant in found.values())
    return found
