"""Nests of loops as CUDA C: phases of strided loops of a sample's threads.

    Z   = Z_m1 z[x-1] + …      for (int x = 3 + team.lane; x < 131; x += LANES) {
    f_Z = tanh(Z)          →       real Z = Z_m1[x] * z[x - 1] + …;
                                   f_Z[x] = tanh(Z);
                               }
                               team.meet();

Between phases the threads meet where one reads, or sets again, what another may have
set.  A sum has its own thread for each target where there are many targets; else all
threads add up, each its own share, in an order that never changes.

Where several blocks work on a sample, each phase is a launch of its own: the text is
cut where the threads of one block would meet (``cuts``).  A sum then goes through parts
of the blocks,

    team.keep(mean_parts, sum_1);      |      for (int k = 0; k < BLOCKS; k++)
                                      cut         sum_1 += mean_parts[k];

and those of what samples share are added up at the end of the way back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import sympy

from pdec.adjoints.adjoint import BAR
from pdec.forms.statements import Axis, Clear, Map
from pdec.forms.symbolic import BATCH, accesses, ghosts_of, negative, runs
from pdec.targets.body import Module
from pdec.targets.inline import Inline
from pdec.targets.layout import INDENT, WIDTH
from pdec.targets.loops import Loops
from pdec.targets.nests import Nest, Piece, axis_of
from pdec.targets.phases import Phase, strided
from pdec.targets.reals import Reals

# from so many targets on, a sum has a thread for each; so few terms need but one
MANY, FEW = 32, 64
# where several blocks add up long sums: terms of a thread, and threads that share a sum
LONG, MOST_SHARES = 1024, 64
SHARE = "k~share"  # which of them


class Threads(Loops):
    """The lines of one device function, which all threads of a sample run."""

    def __init__(
        self,
        module: Module,
        margins: Mapping[str, int],
        scalars: set[str],
        laned: Mapping[str, int],
        *,
        rings: frozenset[str] = frozenset(),
        apart: bool = False,
    ) -> None:
        super().__init__(module, margins, scalars)
        self.laned, self.rings, self.apart = laned, rings, apart
        self.cuts: list[int] = []  # lines before which a launch ends
        self.parted: list[str] = []  # sums of which each block has its part
        self._before: list[Phase] = []
        self._head: list[str] = []  # of the loop that ends at line number _end
        self._end = -1
        self._known: set[str] = set()
        self._share = "0"  # of a sum that threads share

    def placed(self, array: str, name: str, places: list[str]) -> str:
        """An element of an array at its places."""
        name += "".join(f"[{place}]" for place in places)
        return f"{name}[0]" if array in self.laned else name

    def _place(self, axis: Axis, place: str, offset: int) -> str:
        text = super()._place(axis, place, offset)
        around = axis.name in self.rings and offset and runs(place)
        return f"{self.module.names(f'in~{axis.name}')}({text})" if around else text

    # --- who does what

    def phase(self, nest: Nest) -> Phase:
        """What the threads do in a nest."""
        sizes = self._sizes(nest)
        own = set(nest.maps[0].target.indices)
        parallel = tuple(i for i in nest.indices if i in own)
        serial = tuple(i for i in nest.indices if i not in own)
        targets = math.prod(sizes[i] for i in parallel)
        terms = math.prod(sizes[i] for i in serial)
        shared = bool(serial) and targets < MANY and terms > FEW
        bounds = tuple(self._range(i, sizes[i], nest.gathered) for i in parallel)
        writes = nest.writes()
        own_sums = all(self.of_all(name) for name in writes)
        split = self.apart and bool(serial) and not shared and own_sums
        shares = min(-(-terms // LONG), MOST_SHARES, sizes[serial[0]]) if split else 1
        owners: dict[str, object] = {}
        for m in nest.maps:
            for access in (m.target, *accesses(m.expr)):
                name = access.array
                key: object = (parallel, bounds, shares) if not shared else None
                if not {(i, 0) for i in parallel} <= set(access.index):
                    key = None
                if shared and name in writes:
                    key = "lane" if name in self.laned else ((), (), 1)
                owners[name] = key if owners.get(name, key) == key else None
        gone = self.scalars
        owners = {name: key for name, key in owners.items() if name not in gone}
        sets = frozenset(writes - gone)
        return Phase(nest, parallel, serial, shared, owners, sets, shares)

    def of_all(self, name: str) -> bool:
        """Whether an array is the cotangent of what all samples share."""
        return name.endswith(BAR) and not self.module.array(name).per_sample

    def _sizes(self, nest: Nest) -> dict[str, int]:
        return {k: v for m in nest.maps for k, v in self.sizes(m).items()}

    def _range(self, index: str, extent: int, gathered: str) -> tuple[int, int]:
        axis = axis_of(index)
        low = self.margins.get(axis, 0) - ghosts_of(index)
        high = low + extent
        if gathered:
            axes = self.module.array(gathered).axes
            ghosts = next((a.ghosts for a in axes if a.name == axis), 0)
            low, high = low - ghosts, high + ghosts
        return low, high

    # --- pieces

    def add_all(self, pieces: Iterable[Piece]) -> None:
        """Write pieces in order; the threads meet where they must, and at the end."""
        for piece in pieces:
            assert isinstance(piece, Nest | Clear), piece
            if isinstance(piece, Nest):
                phase = self.phase(piece)
            else:
                names = frozenset({piece.array})
                empty = Nest((), [], fixed=True)
                owners = dict.fromkeys(names)
                phase = Phase(empty, (), (), False, owners, names)
            if any(earlier.disturbs(phase) for earlier in self._before):
                self._meet()
            self._before.append(phase)
            if isinstance(piece, Nest):
                self._phase(phase)
            else:
                self._clear_ghosts(piece)
        if self._before:
            self._meet()

    def _meet(self) -> None:
        if self.apart:
            self.cuts.append(len(self.lines))
            self._end, self._said = -1, ""
        else:
            self.lines.append(f"{INDENT}team.meet();")
        self._before.clear()

    def launches(self) -> list[list[str]]:
        """The lines of each launch, if there are several."""
        ends = [*self.cuts, len(self.lines)]
        starts = [0, *self.cuts]
        pairs = zip(starts, ends, strict=True)
        return [self.lines[a:b] for a, b in pairs if b > a]

    def _say(self, maps: Iterable[Map]) -> None:
        done = len(self.lines)
        super()._say(maps)
        for number in range(done, len(self.lines)):
            text = self.lines[number].replace("# ", "// ", 1).replace("\\", "/")
            self.lines[number] = text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"

    def _phase(self, phase: Phase) -> None:
        nest = phase.nest
        maps = [self.numbered(m) for m in nest.maps]
        self._say(maps)
        self._known = set()
        sizes = self._sizes(nest)
        ranges = {i: self._range(i, sizes[i], nest.gathered) for i in nest.indices}
        if nest.gathered:
            maps = [replace(maps[0], expr=sympy.Add(*(m.expr for m in maps)))]
        if not phase.serial:
            done = len(self.lines)
            indent, ends = self._strided(phase.parallel, ranges, INDENT)
            head = self.lines[done:]
            if head == self._head and done == self._end:  # go on in the same loop
                self.lines[done - 1 :] = []
            self._cells(maps, indent)
            self.lines += ends
            self._head, self._end = head, len(self.lines)
            return
        if phase.shared:
            indent, ends = self._serial(phase.parallel, ranges, INDENT)
        else:
            several = (SHARE,) if phase.shares > 1 else ()
            self._share = self.index(SHARE) if several else "0"
            ranges[SHARE] = (0, phase.shares)
            indent, ends = self._strided((*several, *phase.parallel), ranges, INDENT)
        sums = [self.module.names(f"sum~{k + 1}") for k in range(len(maps))]
        for name, statement in zip(sums, maps, strict=True):
            start = "LEAST" if statement.maximum else "0.0"
            self.lines.append(f"{indent}real {name} = {start};")
        if phase.shared:
            inner, inner_ends = self._strided(phase.serial, ranges, indent)
        else:
            inner, inner_ends = self._serial(phase.serial, ranges, indent, phase.shares)
        for name, statement in zip(sums, maps, strict=True):
            self._assign(statement, inner, name)
        self.lines += inner_ends
        started = {m.writes for m in nest.cleared}
        parts: list[tuple[Map, str]] = []
        for name, statement in zip(sums, maps, strict=True):
            if phase.shared and self.apart and statement.writes not in self.laned:
                wish = self._keep(statement, name, indent)
                parts.append((statement, wish))
                continue
            self._add_to(statement, name, indent, phase.shared, started)
            started.discard(statement.writes)
        self.lines += ends
        if parts:
            self._meet()
            self._add_parts(phase, parts, ranges, started)

    def _keep(self, statement: Map, total: str, indent: str) -> str:
        """Keep the sum of a block in its part, and return the name of the parts."""
        wish = f"{statement.writes}~parts"
        while wish in self.parted:
            wish += "~more"
        self.parted.append(wish)
        how = "keep_largest" if statement.maximum else "keep"
        part = self._part(statement, wish)
        self.lines.append(f"{indent}team.{how}({part}, {total});")
        return wish

    def _part(self, statement: Map, wish: str) -> str:
        left = self.element(statement.target)
        return self.module.names(wish) + left[len(self.local(statement.writes)) :]

    def _add_parts(
        self,
        phase: Phase,
        parts: Sequence[tuple[Map, str]],
        ranges: Mapping[str, tuple[int, int]],
        fresh: set[str],
    ) -> None:
        """Add the parts of the blocks up, by a thread for each target."""
        indent, ends = self._strided(phase.parallel, ranges, INDENT)
        k = self.module.names("k~block")
        owners: dict[str, object] = {}
        bounds = tuple(ranges[i] for i in phase.parallel)
        for number, (statement, wish) in enumerate(parts):
            total = self.module.names(f"sum~{number + 1}")
            part = f"{self._part(statement, wish)}[{k}]"
            largest = statement.maximum
            each = f"= larger({total}, {part})" if largest else f"+= {part}"
            self.lines += [
                f"{indent}real {total} = {'LEAST' if largest else '0.0'};",
                f"{indent}for (int {k} = 0; {k} < BLOCKS; {k}++) {total} {each};",
            ]
            self._add_to(statement, total, indent, False, fresh)
            fresh.discard(statement.writes)
            aligned = {(i, 0) for i in phase.parallel} <= set(statement.target.index)
            owners[statement.writes] = (phase.parallel, bounds, 1) if aligned else None
        self.lines += ends
        self._before.append(phase._replace(owners=owners, writes=frozenset(owners)))

    def _add_to(
        self, statement: Map, total: str, indent: str, shared: bool, fresh: set[str]
    ) -> None:
        """Bring the sum of a thread, or of all of them, to its target."""
        name = statement.writes
        left = self.element(statement.target)
        if name in self.laned:
            left = left.removesuffix("[0]")
            share = f"{left}[{self._share}] += {total};"
            own = f"team.share({left}, {total});" if shared else share
            self.lines.append(f"{indent}{own}")
            return
        if shared:
            how = "largest" if statement.maximum else "added"
            self.lines.append(f"{indent}{total} = team.{how}({total});")
        value = total
        sign = "=" if name in fresh else "+="
        if statement.maximum and name not in fresh:
            value, sign = f"larger({left}, {total})", "="
        head = f"{indent}if (team.lane == 0) " if shared else indent
        self.lines.append(f"{head}{left} {sign} {value};")

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

    def _clear_ghosts(self, clear: Clear) -> None:
        """Leave zero where cotangents were, so that a gather may read there."""
        name, array = self.local(clear.array), self.module.array(clear.array)
        axes = [axis for axis in array.axes if axis.name != BATCH]
        for axis in axes:
            if not axis.ghosts:
                continue
            margin = self.margins[axis.name]
            others = [
                (
                    self.index(a.name),
                    self.margins.get(a.name, 0) - a.ghosts,
                    self.margins.get(a.name, 0) + a.size + a.ghosts,
                )
                for a in axes
                if a is not axis
            ]
            self.lines += strided(others, INDENT)
            for k in range(axis.ghosts):
                for place in (margin - 1 - k, margin + axis.size + k):
                    places = (
                        str(place) if a is axis else self.index(a.name) for a in axes
                    )
                    left = name + "".join(f"[{p}]" for p in places)
                    self.lines.append(f"{INDENT}{INDENT}{left} = 0.0;")
            self.lines.append(f"{INDENT}}}")


def laned_sums(
    functions: Iterable[Iterable[Piece]], threads: Threads, parts: int
) -> dict[str, int]:
    """Cotangents of shared arrays that several threads add to, and how many parts they
    have: that of a sum that all threads share is given."""
    found: dict[str, int] = {}
    for piece in (piece for pieces in functions for piece in pieces):
        if isinstance(piece, Nest):
            phase = threads.phase(piece)
            count = parts if phase.shared else phase.shares
            for name in phase.writes:
                if (phase.shared or count > 1) and threads.of_all(name):
                    found[name] = max(count, found.get(name, 0))
    return found
