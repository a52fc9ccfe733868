"""Padding: which arrays need ghost cells, and the statements that fill them.

Stage 4d, called by ``discrete.py`` when all expressions are known.  An array gets as
many ghost cells as any expression reaches for; they are filled before they are read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import sympy

from pdec.errors import Diagnostic, ModelErrors
from pdec.ghosts import ghost_cells, least_cells
from pdec.lowering import Tables
from pdec.model import Condition, GridAxis, Model
from pdec.statements import (
    Array,
    Block,
    Ghost,
    GhostRow,
    Origin,
    Solve,
    Statement,
    successor,
)
from pdec.symbolic import Access

MAX_WEIGHT = 1e12  # of a cell in a ghost; beyond it, rounding alone keeps it finite


def padded(tables: Tables) -> dict[str, Array]:
    """The arrays with as many ghost cells as any expression reaches for."""
    model = tables.model
    reach = dict(tables.reach)
    for name in model.fields:
        for axis in model.axes:
            widest = max(
                reach.get((name, axis), 0), reach.get((successor(name), axis), 0)
            )
            if widest:
                reach[name, axis] = reach[successor(name), axis] = widest
    padded: dict[str, Array] = {}
    for name, array in tables.arrays.items():
        axes = tuple(
            replace(a, ghosts=reach.get((name, a.name), 0)) for a in array.axes
        )
        padded[name] = replace(array, axes=axes)
    return padded


def check_width(model: Model, arrays: dict[str, Array]) -> None:
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


def with_ghosts(block: Block, tables: Tables, arrays: dict[str, Array]) -> Block:
    """Fill ghost cells before they are read: at the start, or after the array's Map."""
    read = {
        access.array
        for statement in block.maps
        for access in statement.expr.atoms(Access)
        if access.offsets
    }
    made = {statement.writes for statement in block.flat}
    solves = [s for s in block.statements if isinstance(s, Solve)]
    made |= {name for solve in solves for name in solve.unknowns}
    given = sorted(name for name in read - made if arrays[name].per_sample)
    first = [g for name in given for g in _ghosts(arrays[name], tables)]
    rest = _filled(block.statements, read, tables, arrays)
    return replace(block, statements=(*first, *rest))


def _filled(
    block: Iterable[Statement], read: set[str], tables: Tables, arrays: dict[str, Array]
) -> list[Statement]:
    """Statements with the ghost cells filled of what they make, or solve for."""
    statements: list[Statement] = []
    for statement in block:
        if isinstance(statement, Solve):
            unknowns = [name for name in statement.unknowns if name in read]
            first = [g for name in unknowns for g in _ghosts(arrays[name], tables)]
            inner = _filled(statement.residual.statements, read, tables, arrays)
            residual = replace(statement.residual, statements=(*first, *inner))
            statements.append(replace(statement, residual=residual))
            continue
        statements.append(statement)
        array = arrays[statement.writes]
        if array.padded and (array.name in read or not array.per_sample):
            statements += _ghosts(array, tables)
    return statements


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
