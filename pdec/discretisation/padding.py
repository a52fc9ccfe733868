"""Padding: which arrays need ghost cells, and the statements that fill them.

Stage 4e, called by ``discrete.py`` when all expressions are known.  An array gets as
many ghost cells as any expression reaches for; they are filled before they are read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pdec.discretisation.conditions import Wall, accesses_of, wall_of
from pdec.discretisation.ghosts import ghost_rows, least_cells
from pdec.discretisation.lowering import Tables
from pdec.errors import Diagnostic, ModelErrors
from pdec.forms.model import GridAxis, Model
from pdec.forms.statements import (
    Array,
    Block,
    Ghost,
    GhostRow,
    Map,
    Origin,
    Solve,
    Statement,
    successor,
)
from pdec.forms.symbolic import TIME, Access, map_accesses, widened

Walls = dict[tuple[str, str, int], Wall]


def walls(tables: Tables) -> Walls:
    """What stands beyond the walls of the fields, by field, axis and side.

    What varies along a wall gets ghost cells of its own where corners are read.
    """
    found: Walls = {}
    for name in tables.model.fields:
        for axis in tables.model.axes.values():
            width = _width(name, axis.name, tables)
            spread = _spread(name, axis.name, tables)
            for side in (-1, 1) if width else ():
                wall = wall_of(name, axis, side, width, tables, frozenset(spread))
                found[name, axis.name, side] = wall
                for access in (a for row in wall.rows for a in accesses_of(row)):
                    for other in spread.intersection(access.indices):
                        key, least = (access.array, other), _width(name, other, tables)
                        tables.reach[key] = max(tables.reach.get(key, 0), least)
    return found


def _members(name: str, tables: Tables) -> list[str]:
    """The arrays that hold a field: before and after the step, and at its stages."""
    stages = [stage for stage, owner in tables.field_of.items() if owner == name]
    return [name, successor(name), *stages]


def _width(name: str, axis: str, tables: Tables) -> int:
    """The most ghost cells that any array of a field needs along an axis."""
    return max(tables.reach.get((m, axis), 0) for m in _members(name, tables))


def _spread(name: str, axis: str, tables: Tables) -> set[str]:
    """The axes filled before this one, whose ghost cells beyond its walls are read."""
    names, members = tables.model.axis_names, _members(name, tables)
    before = names[: names.index(axis)]
    return {b for b in before if any((m, axis, b) in tables.corners for m in members)}


def padded(tables: Tables) -> dict[str, Array]:
    """The arrays with as many ghost cells as any expression reaches for."""
    reach = dict(tables.reach)
    for name in tables.model.fields:
        for axis in tables.model.axes:
            for member in _members(name, tables):
                if reach.get((member, axis)) or member in (name, successor(name)):
                    reach[member, axis] = _width(name, axis, tables)
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


def with_ghosts(
    block: Block, tables: Tables, arrays: dict[str, Array], beyond: Walls
) -> Block:
    """Fill ghost cells before they are read: at the start, or after the array's Map."""
    filling = _Filling(tables, arrays, beyond)
    read = _reached(block.maps)
    fields = {tables.field_of.get(name, name) for name in read}
    used = [wall for (field, *_), wall in beyond.items() if field in fields]
    on_walls = {a for wall in used for row in wall.rows for a in accesses_of(row)}
    if block.name in ("readout", "loss") and any(
        TIME in access.indices for access in on_walls
    ):
        raise _after_the_last_step(tables)
    before = [statement for wall in used for statement in wall.before]
    read |= _reached(s for s in before if isinstance(s, Map))
    read |= {access.array for access in on_walls if arrays[access.array].padded}
    made = {statement.writes for statement in (*before, *block.flat)}
    made |= {n for s in block.flat if isinstance(s, Solve) for n in s.unknowns}
    given = sorted(name for name in read - made if arrays[name].per_sample)
    inputs = [name for name in given if name not in tables.model.fields]
    states = [name for name in given if name in tables.model.fields]
    statements: tuple[Statement, ...] = (
        *filling.ghosts(inputs),
        *filling.filled(before, read),
        *filling.ghosts(states),
        *filling.filled(block.statements, read),
    )
    return replace(block, statements=statements)


def _reached(maps: Iterable[Map]) -> set[str]:
    """The arrays whose neighbouring cells some Maps read."""
    found = (access for m in maps for access in m.expr.atoms(Access))
    return {access.array for access in found if access.offsets}


def _after_the_last_step(tables: Tables) -> ModelErrors:
    model = tables.model
    spans = [
        condition.span
        for conditions in model.boundaries.values()
        for condition in conditions
        if any(TIME in access.indices for access in condition.accesses)
    ]
    message = "the loss differentiates at this wall, whose value has no step there"
    hint = "declare the parameter without (t), or leave the derivative out of the loss"
    first = min(spans, key=lambda span: span.start)
    return ModelErrors(model.source, (Diagnostic(message, first, hint),))


@dataclass(frozen=True, slots=True)
class _Filling:
    """Fills the ghost cells of arrays."""

    tables: Tables
    arrays: dict[str, Array]
    beyond: Walls

    def filled(
        self, statements: Iterable[Statement], read: set[str]
    ) -> list[Statement]:
        """Statements with the ghost cells filled of what they make, or solve for."""
        found: list[Statement] = []
        for statement in statements:
            if isinstance(statement, Solve):
                first = self.ghosts(n for n in statement.unknowns if n in read)
                inner = self.filled(statement.residual.statements, read)
                residual = replace(statement.residual, statements=(*first, *inner))
                found.append(replace(statement, residual=residual))
                continue
            found.append(statement)
            array = self.arrays[statement.writes]
            if array.padded and (array.name in read or not array.per_sample):
                found += self.ghosts([array.name])
        return found

    def ghosts(self, names: Iterable[str]) -> list[Ghost]:
        """The statements that fill the ghost cells of arrays, axis by axis."""
        model = self.tables.model
        return [
            self._ghost(self.arrays[name], model.axes[axis.name])
            for name in names
            for axis in self.arrays[name].axes
            if axis.ghosts
        ]

    def _ghost(self, array: Array, axis: GridAxis) -> Ghost:
        model = self.tables.model
        owner = self.tables.field_of.get(array.name, array.name)
        ghosts = {a.name: a.ghosts for a in array.axes}
        wide = {
            b: widened(b, ghosts[b]) for b in _spread(owner, axis.name, self.tables)
        }
        if not array.per_sample:
            wide[TIME] = widened(TIME, 0)  # all steps at once
        sides = []
        for side in (-1, 1):
            wall = self.beyond.get((owner, axis.name, side))
            width, accuracy = ghosts[axis.name], model.accuracy
            rows = wall.rows if wall else ghost_rows(axis, side, width, accuracy, ())
            sides.append(tuple(_renamed(row, wide) for row in rows))
        index = tuple((wide.get(a.name, a.name), 0) for a in array.axes)
        origin = _wall_origin(model, axis, array, owner)
        return Ghost(array.name, axis.name, index, sides[0], sides[1], origin)


def _renamed(row: GhostRow, names: dict[str, str]) -> GhostRow:
    """A row over other indices."""
    cells = tuple(
        (s, d, map_accesses(w, lambda a: a.renamed(names))) for s, d, w in row.cells
    )
    return GhostRow(cells, map_accesses(row.value, lambda a: a.renamed(names)))


def _wall_origin(model: Model, axis: GridAxis, array: Array, field: str) -> Origin:
    if axis.periodic:
        return Origin(f"{axis.name} periodic", model.source.location(axis.span))
    spans = {
        condition.span
        for (owner, name, _), conditions in model.boundaries.items()
        for condition in conditions
        if (owner, name) == (field, axis.name)
    }
    if not spans:
        return Origin(f"{array.name} continued beyond the walls of {axis.name}", "")
    first = min(spans, key=lambda span: span.start)
    pieces = sorted(model.source.excerpt(span) for span in spans)
    return Origin("; ".join(pieces), model.source.location(first))
