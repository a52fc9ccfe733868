"""Statements at one cell as CUDA C, and the loops that they stand in.

Z   = Z_m1 z[x-1] + …      for (int x = 3 + team.lane; x < 131; x += LANES) {
f_Z = tanh(Z)          →       real Z = Z_m1[x] * z[x - 1] + …;
                               f_Z[x] = tanh(Z);
                           }
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sympy

from pdec.forms.statements import Axis, Map
from pdec.forms.symbolic import BATCH, TIME, Access, negative, runs
from pdec.targets.body import Module
from pdec.targets.inline import Inline
from pdec.targets.layout import INDENT, WIDTH
from pdec.targets.loops import Loops
from pdec.targets.nests import Nest
from pdec.targets.phases import Region, strided
from pdec.targets.reals import Reals

SHARE = "k~share"  # which of the threads that share a sum


class Cells(Loops):
    """Lines of a device function, without who runs them."""

    mark = "//"

    def __init__(
        self,
        module: Module,
        margins: Mapping[str, int],
        scalars: set[str],
        laned: Mapping[str, int],
        rings: frozenset[str],
    ) -> None:
        super().__init__(module, margins, scalars)
        self.laned, self.rings = laned, rings
        self._known: set[str] = set()

    def placed(self, array: str, name: str, places: list[str]) -> str:
        """An element of an array at its places."""
        name += "".join(f"[{place}]" for place in places)
        return f"{name}[0]" if array in self.laned else name

    def _place(self, axis: Axis, place: str, offset: int) -> str:
        text = super()._place(axis, place, offset)
        around = axis.name in self.rings and offset and runs(place)
        return f"{self.module.names(f'in~{axis.name}')}({text})" if around else text

    def _say(self, maps: Iterable[Map]) -> None:
        done = len(self.lines)
        super()._say(maps)
        self.lines[done:] = [line.replace("\\", "/") for line in self.lines[done:]]

    def _sizes(self, nest: Nest) -> dict[str, int]:
        return {k: v for m in nest.maps for k, v in self.sizes(m).items()}

    def region(self, access: Access, gathered: str) -> Region:
        """Where an element of an array lies, for all values of its indices."""
        found = []
        for axis, (place, offset) in zip(
            self.module.array(access.array).axes, access.index, strict=True
        ):
            if axis.name == BATCH:
                continue
            low, high = 0, self.margins.get(axis.name, 0) * 2 + axis.size
            if place.isdigit():
                low, high = int(place), int(place) + 1
            elif place != TIME and not runs(place):
                low = self.layer(axis, place, offset)
                high = low + 1
            elif place != TIME and not (axis.name in self.rings and offset):
                low, high = self.range_of(place, axis.extent(place), gathered)
                low, high = low + offset, high + offset
            found.append((low, high))
        return tuple(found)

    def _cells(self, maps: list[Map], indent: str) -> None:
        """Statements at one cell, one after another."""
        kept = self._read_again(maps)
        for number, statement in enumerate(maps):
            name = statement.writes
            if name not in kept:
                self._assign(statement, indent, None)
                continue
            self.here.pop(statement.target, None)
            element = self.element(statement.target)
            here = self.module.names(f"{name}~here")
            self.here[statement.target] = here
            if statement.accumulate and here not in self._known:
                self.lines.append(f"{indent}real {here} = {element};")
                self._known.add(here)
            self._assign(statement, indent, None)
            if not any(m.writes == name for m in maps[number + 1 :]):
                self.lines.append(f"{indent}{element} = {here};")
        self.here.clear()

    def _assign(self, statement: Map, indent: str, total: str | None) -> None:
        """One statement at one cell."""
        left = total or self.element(statement.target)
        inline = Reals(self.refer)
        if statement.maximum:
            room = WIDTH - len(indent) - len(f"{left} = larger({left}, );")
            value = inline(self._short(inline, statement.expr, room, indent))
            self.lines.append(f"{indent}{left} = larger({left}, {value});")
            return
        expr, sign = statement.expr, "="
        if statement.accumulate or total:
            minus = negative(expr)
            expr, sign = (-expr, "-=") if minus else (expr, "+=")
        name = left.partition("[")[0]
        local = statement.writes in self.scalars or statement.target in self.here
        kind = "real " if local and not total and name not in self._known else ""
        self._known.add(name)
        room = WIDTH - len(indent) - len(kind + left) - len(sign) - 3
        value = inline(self._short(inline, expr, room, indent))
        if len(value) <= room:
            self.lines.append(f"{indent}{kind}{left} {sign} {value};")
            return
        self.lines.append(f"{indent}{kind}{left} {sign}")
        self.lines.append(f"{indent}{INDENT}{value};")

    def _short(
        self, inline: Inline, expr: sympy.Expr, room: int, indent: str
    ) -> sympy.Expr:
        """An expression that fits into the line, its long parts computed before it."""
        done = len(self.lines)
        value = super()._short(inline, expr, room, indent + " " * len("real ;"))
        for number in range(done, len(self.lines)):
            self.lines[number] = f"{indent}real {self.lines[number].strip()};"
        return value

    # --- loops

    def _strided(
        self, indices: Sequence[str], ranges: Mapping[str, tuple[int, int]], indent: str
    ) -> tuple[str, list[str]]:
        """Open a loop over all values of indices, dealt out to the threads."""
        named = [(self.index(i), *ranges[i]) for i in indices]
        self.lines += strided(named, indent)
        return indent + INDENT, [f"{indent}}}"]

    def _serial(
        self,
        indices: Sequence[str],
        ranges: Mapping[str, tuple[int, int]],
        indent: str,
        shares: int = 1,
    ) -> tuple[str, list[str]]:
        """Open loops that a thread runs alone, or shares with some others."""
        ends: list[str] = []
        if not indices:
            self.lines.append(f"{indent}{{")
            return indent + INDENT, [f"{indent}}}"]
        for name in indices:
            i, (low, high) = self.index(name), ranges[name]
            loop = f"for (int {i} = {low}; {i} < {high}; {i}++) {{"
            if shares > 1 and name == indices[0]:
                start = f"{low} + {self.index(SHARE)}" if low else self.index(SHARE)
                loop = f"for (int {i} = {start}; {i} < {high}; {i} += {shares}) {{"
            self.lines.append(f"{indent}{loop}")
            ends.insert(0, f"{indent}}}")
            indent += INDENT
        return indent, ends
