"""Nests of loops as the lines of a function that Numba compiles.

    Z = Z_m1 z[x-1] + Z_0 z   →   for x in range(3, 131):
                                      Z = Z_m1[x] * z[x - 1] + Z_0[x] * z[x]

Every array has the same margin around its cells, which holds its ghost cells and is
else zero, so that one index serves them all: cell 0 is z[3] in the example.  A sum over
the innermost loop is added up in a number of the run's dtype, and then to its array.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import sympy

from pdec.adjoints.adjoint import BAR
from pdec.forms.statements import Axis, Clear, Map, Role
from pdec.forms.symbolic import (
    BATCH,
    TIME,
    Access,
    IndexValue,
    accesses,
    ghosts_of,
    negative,
    runs,
)
from pdec.targets.body import LEVEL, Body, Module, split_mark
from pdec.targets.inline import Inline
from pdec.targets.layout import INDENT, WIDTH
from pdec.targets.nests import Nest, Piece, axis_of, rows_at_once
from pdec.targets.numbers import Numbers
from pdec.targets.shared import shortened
from pdec.targets.vectors import Copy, call_lines, copy_lines

ROWS_AHEAD = 6  # what is far is asked for so many rows before it is read


def _row(statement: Map, index: str, by: int) -> Map:
    """A statement for the row that lies behind that of an index."""
    moved = {a: a.shifted(index, by) for a in accesses(statement.expr)}
    target, expr = statement.target.shifted(index, by), statement.expr.xreplace(moved)
    return replace(statement, target=target, expr=expr)


class Loops(Body):
    """The lines of one compiled function of one sample."""

    def __init__(
        self,
        module: Module,
        margins: Mapping[str, int],
        scalars: set[str],
        beside: Collection[str] = (),
        rows: str = "",
        *,
        apart: bool = False,
        meets: Collection[int] | None = None,
        far: Collection[str] = (),
        around: Collection[str] = (),
    ) -> None:
        """Loops over all rows, or those of a member of a team that ``meets``.

        ``apart``: sums over all rows are kept apart for each of them; ``far``: arrays
        that were set long ago, and are no longer in the cache; ``around``: axes along
        which no ghost cells are gathered into.
        """
        super().__init__(module)
        self.beside, self.rows, self.far = beside, rows, set(far)
        self.apart, self.meets, self.at = apart, meets, "0"
        self.margins, self.around = margins, around
        self.scalars = scalars
        self.touched: set[str] = set()
        self.here: dict[Access, str] = {}

    # --- names and places

    def local(self, name: str) -> str:
        """The local variable that holds an array or, if it is a scalar, a number."""
        self.touched.add(name)
        base, _ = split_mark(name)
        if self.module.array(name).role is Role.COORDINATE:
            return self.module.names(f"{base}~at")
        return self.module.names(name)

    def index(self, name: str) -> str:
        """The variable that runs over an index."""
        axis = axis_of(name)
        return axis if axis in self.margins else self.module.names(name)

    def element(self, access: Access) -> str:
        """An element of an array at the running index."""
        name, array = self.local(access.array), self.module.array(access.array)
        if access.array in self.scalars:
            return name
        if access in self.here:
            return self.here[access]
        places = []
        for axis, (place, offset) in zip(array.axes, access.index, strict=True):
            if axis.name != BATCH:
                places.append(self._place(axis, place, offset))
        self._beside(access.array, places)
        return self.placed(access.array, name, places)

    def _beside(self, name: str, places: list[str]) -> None:
        """Go to the cells of a sample, where those of several lie side by side."""
        if name in self.beside:
            places[0] += " + row"

    def _each(self, indent: str) -> str:
        """Open a loop over samples that take a step together, if they do."""
        if not self.rows:
            return indent
        self.lines.append(f"{indent}for row in {self.rows}:")
        return indent + INDENT

    def sums_rows(self, name: str) -> bool:
        """Whether an array is a sum over all rows: none of its own axes."""
        array = self.module.array(name)
        axes = [axis.name for axis in array.axes]
        shared = name.endswith(BAR) and not array.per_sample
        return shared and self.module.axes[0] not in axes

    def placed(self, array: str, name: str, places: list[str]) -> str:
        """An element of an array at its places."""
        if self.apart and self.sums_rows(array):
            places = [self.at, *places]
        if places:
            return f"{name}[{', '.join(places)}]"
        return f"{name}[()]" if self.writable(array) else name

    def writable(self, name: str) -> bool:
        """Whether a number lives in an array of its own: all but shared values do."""
        return self.module.array(name).per_sample or name.endswith("~bar")

    def _place(self, axis: Axis, place: str, offset: int) -> str:
        if place == TIME:
            return "n"
        if place.isdigit():
            return place
        if not runs(place):
            return str(self.layer(axis, place, offset))
        index = self.index(place)
        sign = "-" if offset < 0 else "+"
        return f"{index} {sign} {abs(offset)}" if offset else index

    def layer(self, axis: Axis, place: str, offset: int) -> int:
        """The number of a layer of cells: ``x_high`` is the last one of the grid."""
        last = axis.size - 1 if place.endswith("_high") else 0
        return self.margins[axis.name] + last + offset

    def refer(self, symbol: sympy.Symbol) -> str:
        """A symbol of an expression."""
        if isinstance(symbol, Access):
            return self.element(symbol)
        if isinstance(symbol, IndexValue):
            index = self.index(symbol.index_name)
            margin = self.margins.get(axis_of(symbol.index_name), 0)
            return f"real({index} - {margin})" if margin else f"real({index})"
        if symbol == LEVEL:
            return "real(n)"
        return self.module.names(str(symbol.name))

    # --- pieces

    def add_all(self, pieces: Iterable[Piece]) -> None:
        """Write pieces in order."""
        for number, piece in enumerate(pieces):
            if number in (self.meets or ()):
                self.lines.append(f"{INDENT}_meet(c[-3], c[-2])")
            if isinstance(piece, Nest):
                self._nest(piece)
            elif isinstance(piece, Clear):
                self._clear_ghosts(piece)
            elif isinstance(piece, Copy):
                self.lines += copy_lines(piece, self)
            else:
                self.lines += call_lines(piece)

    def _say(self, maps: Iterable[Map]) -> None:
        """Say which pieces of the equation come next, each once."""
        for statement in maps:
            self.explain(statement)

    def _nest(self, nest: Nest) -> None:
        maps = [self.numbered(m) for m in nest.maps]
        self._say(maps)
        for statement in nest.cleared:
            self._start(statement)
        inner = nest.indices[-1] if nest.indices else ""
        first = self.module.axes[0]
        rows_at = [i for i in nest.indices[:-1] if axis_of(i) == first]
        self.at = self.index(first) if rows_at else "0"
        sizes = {k: v for m in nest.maps for k, v in self.sizes(m).items()}
        rows = rows_at_once(nest, sizes, self.margins)
        if rows > 1 and inner not in maps[0].target.indices:
            maps = [_row(m, nest.indices[0], k) for k in range(rows) for m in maps]
        sums = {
            number: self.module.names(f"sum~{number + 1}")
            for number, m in enumerate(maps)
            if inner and inner not in m.target.indices
        }
        if nest.gathered:
            maps = [replace(maps[0], expr=sympy.Add(*(m.expr for m in maps)))]
        totals = {
            number: self.module.names(f"total~{number + 1}")
            for number in sums
            if len(nest.indices) > 1 and not maps[number].maximum
            if not set(maps[number].target.indices) & set(nest.indices)
            if not (self.apart and self.sums_rows(maps[number].writes))
        }
        self.lines += [f"{INDENT}{total} = 0.0" for total in totals.values()]
        indent = self._owned(INDENT, self.row_of(nest))
        for name, bounds in self._loops(nest, sizes, rows, bool(sums)):
            if name == inner:
                self._ask_ahead(maps, indent)
                for number, total in sums.items():
                    start = "-np.inf" if maps[number].maximum else "0.0"
                    self.lines.append(f"{indent}{total} = real({start})")
            self.lines.append(f"{indent}for {self.index(name)} in {bounds}:")
            indent += INDENT
        cells = self._shared(maps, inner, indent) if self.rows else {}
        self._statements(maps, sums | cells, self._each(indent))
        for number, total in cells.items():
            self._deposit(maps[number], total, indent)
        for number, total in sums.items():
            less = indent[: -len(INDENT)]
            if number in totals:  # in float64, and to its array once a step
                self.lines.append(f"{less}{totals[number]} += {total}")
            else:
                self._deposit(maps[number], total, less)
        for number, total in totals.items():
            self._deposit(maps[number], total, INDENT)

    def _ask_ahead(self, maps: list[Map], indent: str) -> None:
        """Have rows of what is far brought nearer, some rows before they are read."""
        found = {a.array: a for m in maps for a in accesses(m.expr)}
        for access in [found[name] for name in found if name in self.far]:
            self.far.remove(access.array)
            axes = self.module.array(access.array).axes
            *before, row, _ = [
                self._place(axis, place, 0)
                for axis, (place, _) in zip(axes, access.index, strict=True)
                if axis.name != BATCH
            ]
            part = self.local(access.array) + f"[{', '.join(before)}]" * bool(before)
            self.lines.append(f"{indent}_ask_for({part}, {row} + {ROWS_AHEAD})")

    def _shared(self, maps: list[Map], inner: str, indent: str) -> dict[int, str]:
        """Load what samples share before a loop over them; name what they add to."""
        for access in dict.fromkeys(a for m in maps for a in accesses(m.expr)):
            array = self.module.array(access.array)
            if not array.per_sample and inner in access.indices:
                again = any(a.array == access.array for a in self.here)
                wish = f"{access.array}~here" + f"~{len(self.here)}" * again
                name = self.module.names(wish)
                self.lines.append(f"{indent}{name} = {self.element(access)}")
                self.here[access] = name
        sums = {
            number: self.module.names(f"sum~{number + 1}")
            for number, m in enumerate(maps)
            if inner in m.target.indices and not self.module.array(m.writes).per_sample
        }
        self.lines += [f"{indent}{name} = real(0.0)" for name in sums.values()]
        return sums

    def _loops(
        self, nest: Nest, sizes: Mapping[str, int], rows: int, summing: bool
    ) -> list[tuple[str, str]]:
        """The indices of the loops and their ranges; several rows go innermost."""
        found = [(i, self._bounds(i, sizes[i], nest.gathered)) for i in nest.indices]
        if rows == 1:
            return found
        first = nest.indices[0]
        steps = f"range(0, {sizes[first]}, {rows})"
        if summing:  # their statements are written out
            return [(first, steps), *found[1:]]
        row = f"{first}~row"
        start = self.index(row)
        return [(row, steps), *found[1:], (first, f"range({start}, {start} + {rows})")]

    def _statements(
        self, maps: list[Map], sums: Mapping[int, str], indent: str
    ) -> None:
        """Write statements at one cell."""
        kept = self._read_again(maps)
        for number, statement in enumerate(maps):
            name = statement.writes
            if name not in kept:
                self._assign(statement, indent, sums.get(number))
                continue
            self.here.pop(statement.target, None)
            element = self.element(statement.target)
            self.here[statement.target] = self.module.names(f"{name}~here")
            self._assign(statement, indent, None)
            if not any(m.writes == name for m in maps[number + 1 :]):
                here = self.here[statement.target]
                self.lines.append(f"{indent}{element} = {here}")
        self.here.clear()

    def _read_again(self, maps: list[Map]) -> set[str]:
        """Arrays that are set and read again at the same cell: by way of a number.

        Else the compiled code would load again what was stored, as another array might
        overlap it.
        """
        found: set[str] = set()
        made: dict[str, Access] = {}
        for statement in maps:
            for access in accesses(statement.expr):
                if made.get(access.array) == access:
                    found.add(access.array)
            if not statement.accumulate and statement.target.index:
                made.setdefault(statement.writes, statement.target)
        return found - self.scalars

    def _bounds(self, index: str, extent: int, gathered: str = "") -> str:
        return self._rows_in(axis_of(index), *self.range_of(index, extent, gathered))

    def _rows_in(self, axis: str, low: int, high: int) -> str:
        if self.meets is not None and axis == self.module.axes[0]:
            return f"range(max({low}, low), min({high}, high))"
        return f"range({low}, {high})" if low else f"range({high})"

    def range_of(self, index: str, extent: int, gathered: str = "") -> tuple[int, int]:
        """From where to where an index runs; with the ghosts of what is gathered."""
        axis = axis_of(index)
        low = self.margins.get(axis, 0) - ghosts_of(index)
        high = low + extent
        if gathered and axis not in self.around:
            axes = self.module.array(gathered).axes
            ghosts = next((a.ghosts for a in axes if a.name == axis), 0)
            low, high = low - ghosts, high + ghosts
        return low, high

    def row_of(self, nest: Nest) -> int | None:
        """The row that a nest without a loop over rows sets; None if there is none."""
        target, first = nest.maps[0].target, self.module.axes[0]
        axes = self.module.array(target.array).axes
        for axis, (place, offset) in zip(axes, target.index, strict=True):
            if axis.name == first and not runs(place):
                return self.layer(axis, place, offset)
        return None

    def _owned(self, indent: str, row: int | None) -> str:
        """Leave a row to who has it, where it is one of a team."""
        if self.meets is None or row is None:
            return indent
        self.lines.append(f"{indent}if low <= {row} < high:")
        return indent + INDENT

    def _start(self, statement: Map) -> None:
        """Set what a sum is added to, to zero."""
        indent = INDENT
        sizes = self.sizes(statement)
        for name in statement.target.indices:
            if name not in (BATCH, TIME):
                bounds = self._bounds(name, sizes[name])
                self.lines.append(f"{indent}for {self.index(name)} in {bounds}:")
                indent += INDENT
        start = "-np.inf" if statement.maximum else "0.0"
        indent = self._each(indent)
        self.lines.append(f"{indent}{self.element(statement.target)} = {start}")

    def _assign(self, statement: Map, indent: str, total: str | None) -> None:
        """One statement at one cell."""
        left = total or self.element(statement.target)
        inline = Numbers(self.refer)
        if statement.maximum:
            room = WIDTH - len(indent) - len(f"{left} = max({left}, )")
            value = self._short(inline, statement.expr, room, indent)
            self.lines.append(f"{indent}{left} = max({left}, {inline(value)})")
            return
        expr, sign = statement.expr, "="
        if statement.accumulate or total:
            minus = negative(expr)
            expr, sign = (-expr, "-=") if minus else (expr, "+=")
        room = WIDTH - len(indent) - len(left) - len(sign) - 2
        value = inline(self._short(inline, expr, room, indent))
        if len(value) <= room:
            self.lines.append(f"{indent}{left} {sign} {value}")
            return
        self.lines.append(f"{indent}{left} {sign} (")
        self.lines += [f"{indent}{INDENT}{value}", f"{indent})"]

    def _short(
        self, inline: Inline, expr: sympy.Expr, room: int, indent: str
    ) -> sympy.Expr:
        """An expression that fits into the line, its long parts computed before it."""
        done = len(self.lines)
        deeper = len(indent) - len(INDENT)
        value = shortened(self, inline, expr, room, deeper=deeper)
        self.lines[done:] = [f"{' ' * deeper}{line}" for line in self.lines[done:]]
        return value

    def _deposit(self, statement: Map, total: str, indent: str) -> None:
        left = self.element(statement.target)
        if statement.maximum:
            self.lines.append(f"{indent}{left} = max({left}, {total})")
        else:
            self.lines.append(f"{indent}{left} += {total}")

    # --- ghost cells

    def _clear_ghosts(self, clear: Clear) -> None:
        """Leave zero where cotangents were, so that a gather may read there."""
        name, array = self.local(clear.array), self.module.array(clear.array)
        for axis in array.axes:
            if not axis.ghosts or axis.name in self.around:
                continue
            low, ghosts = self.margins[axis.name], range(axis.ghosts)
            layers = [m for k in ghosts for m in (low - 1 - k, low + axis.size + k)]
            apart = self.meets is not None and axis.name == self.module.axes[0]
            for some in [[at] for at in layers] if apart else [layers]:
                indent = self._owned(INDENT, some[0] if apart else None)
                indent, before, behind = self._across(clear.array, axis.name, indent)
                indent = self._each(indent)
                for at in some:
                    places = [*before, str(at), *behind]
                    self._beside(clear.array, places)
                    left = f"{name}[{', '.join(places)}]"
                    self.lines.append(f"{indent}{left} = 0.0")

    def _across(
        self, name: str, along: str, indent: str
    ) -> tuple[str, list[str], list[str]]:
        """Open loops across an axis: indent, indices before and behind."""
        array = self.module.array(name)
        before: list[str] = []
        behind: list[str] = []
        side = before
        for axis in array.axes:
            if axis.name == BATCH:
                continue
            if axis.name == along:
                side = behind
                continue
            index = self.index(axis.name)
            margin = self.margins.get(axis.name, 0)
            low, high = margin - axis.ghosts, margin + axis.size + axis.ghosts
            bounds = self._rows_in(axis.name, low, high)
            self.lines.append(f"{indent}for {index} in {bounds}:")
            indent += INDENT
            side.append(index)
        return indent, before, behind
