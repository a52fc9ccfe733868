"""Stage 4: Model to Program.  The step, the loss and the rest as statements.

    Model  →  discretise(model)  →  Program

The scheme is text in the notation of the models: ``z_next = z + dt F(z)``.  Each F(…)
is the right-hand side at a state; for forward Euler and dz/dt = -γ(z - f_Z),

    z⁺ = z + (ω/γ) (-γ (z - f_Z))  =  (1 - ω) z + ω f_Z.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import sympy

from pdec import tree
from pdec.contracts import Scheme, discover
from pdec.errors import Diagnostic, ModelErrors
from pdec.ghosts import ghost_cells, least_cells
from pdec.lowering import Lowering, Tables
from pdec.model import Condition, GridAxis, Model
from pdec.notation import text
from pdec.parser import parse
from pdec.source import from_text
from pdec.statements import (
    Array,
    Axis,
    Block,
    Constant,
    Ghost,
    GhostRow,
    Map,
    Origin,
    Program,
    Role,
    Statement,
    verify,
)
from pdec.symbolic import BATCH, Access, accesses
from pdec.symbolic import Constant as Symbolic

LOSS = "loss"
MAX_WEIGHT = 1e12  # of a cell in a ghost; beyond it, rounding alone keeps it finite


def discretise(model: Model) -> Program:
    """Turn the model's equations into blocks of statements."""
    tables = Tables(model)
    for variable in model.variables.values():
        tables.add(variable.array)
    for name, variable in model.fields.items():
        tables.add(Array(_next(name), variable.array.axes, Role.NEXT))
    step = _step(model, tables)
    initial = _initial(model, tables)
    readout, loss = _readout_and_loss(model, tables)
    penalty = _penalty(model, tables)
    arrays = _padded(tables)
    _check_width(model, arrays)
    combined = Block("coefficients", tuple(tables.coefficients))
    program = Program(
        arrays=arrays,
        coefficients=_with_ghosts(combined, tables, arrays),
        initial=_with_ghosts(initial, tables, arrays),
        step=_with_ghosts(step, tables, arrays),
        readout=_with_ghosts(readout, tables, arrays),
        loss=_with_ghosts(loss, tables, arrays),
        penalty=penalty,
        constants=_constants(tables),
    )
    for block in program.blocks:
        verify(block, arrays)
    return program


def _next(name: str) -> str:
    return f"{name}_next"


# --- blocks ------------------------------------------------------------------------


def _step(model: Model, tables: Tables) -> Block:
    """The scheme's stages, with the right-hand side written out at each of them."""
    plugin = discover("pdec.schemes", Scheme)[model.scheme]
    stages = parse(from_text(plugin.text, plugin.name)).statements
    known: dict[str, dict[str, sympy.Expr]] = {
        "z": {name: variable.array.element() for name, variable in model.fields.items()}
    }
    statements: list[Statement] = []
    for stage in stages:
        assert isinstance(stage, tree.Equation) and isinstance(stage.left, tree.Name)
        evaluate = partial(_evaluate, stage.right, known, tables, statements)
        known[stage.left.name] = _stage(stage.left.name, evaluate(), tables, statements)
    return Block("step", tuple(statements), tuple(_next(name) for name in model.fields))


def _stage(
    name: str,
    values: dict[str, sympy.Expr],
    tables: Tables,
    statements: list[Statement],
) -> dict[str, sympy.Expr]:
    """Assign a stage's value for every field; the last stage is the new state."""
    model = tables.model
    found: dict[str, sympy.Expr] = {}
    for field, value in values.items():
        last = name == "z_next"
        array_name = _next(field) if last else tables.fresh(f"{field}_{name}")
        array = replace(
            tables.arrays[field], name=array_name, role=Role.NEXT if last else Role.WORK
        )
        tables.add(array)
        tables.field_of[array_name] = field
        lowering = Lowering(tables)
        spelled = model.spellings[field]
        origin = Origin("", model.source.location(model.evolution[field].span))
        lowering.assign(array.element(), value, origin, ready=True)
        *before, final = lowering.statements
        assert isinstance(final, Map)
        label = f"{spelled}⁺" if last else array_name
        formula = Origin(
            f"{label} = {text(final.expr, model.spellings)}", origin.location
        )
        statements += [*before, replace(final, origin=formula)]
        found[field] = array.element()
    return found


def _evaluate(
    node: tree.Expr,
    known: dict[str, dict[str, sympy.Expr]],
    tables: Tables,
    statements: list[Statement],
) -> dict[str, sympy.Expr]:
    """The value of a scheme's expression for every field of the model."""
    model = tables.model
    evaluate = partial(_evaluate, known=known, tables=tables, statements=statements)
    if isinstance(node, tree.Number):
        return dict.fromkeys(model.fields, sympy.nsimplify(node.value, rational=True))
    if isinstance(node, tree.Name):
        if node.name == "dt":
            assert model.dt is not None
            return dict.fromkeys(model.fields, model.dt)
        return known[node.name]
    if isinstance(node, tree.Group):
        return evaluate(node.items[0])
    if isinstance(node, tree.Negate):
        return {name: -value for name, value in evaluate(node.operand).items()}
    if isinstance(node, tree.Binary):
        left, right = evaluate(node.left), evaluate(node.right)
        return {name: _combine(node.op, left[name], right[name]) for name in left}
    assert isinstance(node, tree.Juxtaposition), node
    result = dict.fromkeys(model.fields, sympy.S.One)
    items = list(node.items)
    while items:
        item = items.pop(0)
        if isinstance(item, tree.Name) and item.name == "F":
            value = _right_side(evaluate(items.pop(0)), tables, statements)
        else:
            value = evaluate(item)
        result = {name: result[name] * value[name] for name in result}
    return result


def _combine(op: str, left: sympy.Expr, right: sympy.Expr) -> sympy.Expr:
    if op == "*":
        return left * right
    if op == "/":
        return left / right
    return left + right if op == "+" else left - right


def _right_side(
    state: dict[str, sympy.Expr], tables: Tables, statements: list[Statement]
) -> dict[str, sympy.Expr]:
    """F at a state: definitions are computed, the right side stays an expression."""
    model = tables.model
    places: dict[str, str] = {}
    suffix = ""
    for field, value in state.items():
        if value == model.fields[field].array.element():
            continue
        if not (isinstance(value, Access) and not value.offsets):
            made = _stage("stage", {field: value}, tables, statements)
            value = made[field]
        places[field] = value.array
        suffix = suffix or f"_{value.array}"
    lowering = Lowering(tables, places, suffix)
    rates = {
        name: lowering.lowered(value.expr) for name, value in model.evolution.items()
    }
    statements += lowering.statements
    return rates


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
    apart = Tables(model, tables.arrays, reach=tables.reach, copies=tables.coefficients)
    lowering = Lowering(apart)
    target = Array(tables.fresh("penalty"), (), Role.COEFFICIENT)
    tables.add(target)
    excerpt = " ".join(model.source.excerpt(model.penalty.span).split())
    origin = Origin(excerpt, model.source.location(model.penalty.span))
    lowering.assign(target.element(), model.penalty.expr, origin)
    statements = (*apart.coefficients, *lowering.statements)
    return Block("penalty", tuple(statements), (target.name,))


# --- ghost cells ---------------------------------------------------------------------


def _padded(tables: Tables) -> dict[str, Array]:
    """The arrays with as many ghost cells as any expression reaches for."""
    model = tables.model
    reach = dict(tables.reach)
    for name in model.fields:
        for axis in model.axes:
            widest = max(reach.get((name, axis), 0), reach.get((_next(name), axis), 0))
            if widest:
                reach[name, axis] = reach[_next(name), axis] = widest
    padded: dict[str, Array] = {}
    for name, array in tables.arrays.items():
        axes = tuple(
            replace(a, ghosts=reach.get((name, a.name), 0)) for a in array.axes
        )
        padded[name] = replace(array, axes=axes)
    return padded


def _check_width(model: Model, arrays: dict[str, Array]) -> None:
    """A grid must be wide enough for its stencil and its wall polynomials."""
    found = []
    for axis in model.axes.values():
        width = max(
            (
                a.ghosts
                for array in arrays.values()
                for a in array.axes
                if a.name == axis.name
            ),
            default=0,
        )
        least = (
            least_cells(width, model.accuracy, periodic=axis.periodic) if width else 1
        )
        if axis.size < least:
            found.append(
                Diagnostic(
                    f"{axis.name} has {axis.size} cells, but the stencil needs {least}",
                    axis.span,
                    f"write `{axis.name}[{least}]` or more",
                )
            )
    if found:
        raise ModelErrors(model.source, found)


def _with_ghosts(block: Block, tables: Tables, arrays: dict[str, Array]) -> Block:
    """Fill ghost cells before they are read: at the start, or after the array's Map."""
    read = {
        access.array
        for statement in block.maps
        for access in statement.expr.atoms(Access)
        if access.offsets
    }
    made = {statement.writes for statement in block.statements}
    given = sorted(name for name in read - made if arrays[name].per_sample)
    statements: list[Statement] = [
        g for name in given for g in _ghosts(arrays[name], tables)
    ]
    for statement in block.statements:
        statements.append(statement)
        array = arrays[statement.writes]
        if array.padded and (array.name in read or not array.per_sample):
            statements += _ghosts(array, tables)
    return replace(block, statements=tuple(statements))


def _ghosts(array: Array, tables: Tables) -> list[Ghost]:
    model = tables.model
    field = tables.field_of.get(array.name, array.name)
    found = []
    for axis in array.axes:
        if axis.ghosts:
            grid = model.axes[axis.name]
            low = model.boundaries.get((field, axis.name, -1))
            high = model.boundaries.get((field, axis.name, 1))
            origin = _wall_origin(model, grid, array, field)
            ghost = ghost_cells(
                array.name, grid, axis.ghosts, model.accuracy, (low, high), origin
            )
            _check_wall(model, grid, low, ghost.low)
            _check_wall(model, grid, high, ghost.high)
            named = partial(_named_row, tables, axis.name)
            found.append(
                replace(
                    ghost,
                    low=tuple(map(named, ghost.low)),
                    high=tuple(map(named, ghost.high)),
                )
            )
    return found


def _check_wall(
    model: Model,
    axis: GridAxis,
    condition: Condition | None,
    rows: tuple[GhostRow, ...],
) -> None:
    """A condition must determine the polynomial that passes through the cells.

    a p(0) + b ∂p/∂n(0) = g does not where its left side is 0 for the one that vanishes
    in them all.
    """
    if condition is None:
        return
    numbers = {**model.constants, f"d{axis.name}": axis.spacing}
    for weight in (weight for row in rows for *_, weight in row.cells):
        names = {symbol: str(symbol.name) for symbol in weight.free_symbols}
        if not numbers.keys() >= set(names.values()):
            continue  # known only when the module runs
        values = {symbol: sympy.Float(numbers[name]) for symbol, name in names.items()}
        value = weight.xreplace(values).evalf()
        if not value.is_real or not abs(float(value)) <= MAX_WEIGHT:
            message = "this boundary condition has no solution on this grid"
            hint = "its two coefficients cancel: change one, or the number of cells"
            diagnostic = Diagnostic(message, condition.span, hint)
            raise ModelErrors(model.source, (diagnostic,))


def _named_row(tables: Tables, axis: str, row: GhostRow) -> GhostRow:
    """A ghost row whose weights are numbers or named constants."""

    def named(weight: sympy.Expr) -> sympy.Expr:
        if weight.is_number or not weight.free_symbols:
            return weight
        return tables.number(weight, f"wall_{axis}")

    cells = tuple((side, cell, named(weight)) for side, cell, weight in row.cells)
    return GhostRow(cells, named(row.value))


def _wall_origin(model: Model, axis: GridAxis, array: Array, field: str) -> Origin:
    if axis.periodic:
        return Origin(f"{axis.name} periodic", model.source.location(axis.span))
    spans = {
        condition.span
        for (owner, name, _), condition in model.boundaries.items()
        if (owner, name) == (field, axis.name)
    }
    if not spans:
        return Origin(f"{array.name} continued beyond the walls of {axis.name}", "")
    first = min(spans, key=lambda span: span.start)
    pieces = sorted(model.source.excerpt(span) for span in spans)
    return Origin("; ".join(pieces), model.source.location(first))


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
        found[name] = Constant(float(weight.xreplace(values)), exact)
    assert all(math.isfinite(constant.value) for constant in found.values())
    return found
