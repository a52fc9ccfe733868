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
from typing import NamedTuple

import sympy

from pdec.adjoints.adjoint import BAR
from pdec.forms.statements import Map
from pdec.forms.symbolic import accesses
from pdec.targets.body import Module
from pdec.targets.cells import SHARE, Cells
from pdec.targets.layout import INDENT, WIDTH
from pdec.targets.nests import Nest, Piece, axis_of
from pdec.targets.phases import Phase, Region, strided
from pdec.targets.reals import Reals
from pdec.targets.tiles import LEAST, WHICH, Product, product_lines, products

# from so many targets on, a sum has a thread for each; so few terms need but one
MANY, FEW = 32, 64
# where several blocks add up long sums: terms of a thread, and threads that share a sum
LONG, MOST_SHARES = 1024, 64


class _Open(NamedTuple):
    """What was written last, and further statements may go on in, before its end.

    ``head`` is that of a loop, or would be, ``end`` the number of lines at its end;
    ``tiles`` are the results that threads have, if it is a product.
    """

    head: Sequence[str] = ()
    indent: str = ""
    end: int = -1
    tiles: tuple[object, ...] = ()


class Threads(Cells):
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
        super().__init__(module, margins, scalars, laned, rings)
        self.apart = apart
        self.cuts: list[int] = []  # lines before which a launch ends
        self.parted: list[str] = []  # sums of which each block has its part
        self._before: list[Phase] = []
        self._open = _Open()  # what further statements may go on in
        self.tiled = False  # whether there are products
        self._share = "0"  # of a sum that threads share

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
        bounds = tuple(self.range_of(i, sizes[i], nest.gathered) for i in parallel)
        writes = nest.writes()
        own_sums = all(self.of_all(name) for name in writes)
        split = self.apart and bool(serial) and not shared and own_sums
        shares = min(-(-terms // LONG), MOST_SHARES, sizes[serial[0]]) if split else 1
        owners: dict[str, object] = {}
        regions: dict[str, list[tuple[Region, bool]]] = {}
        for m in nest.maps:
            for access in (m.target, *accesses(m.expr)):
                name = access.array
                where = self.region(access, nest.gathered), access is m.target
                regions.setdefault(name, []).append(where)
                key: object = (parallel, bounds, shares) if not shared else None
                if not {(i, 0) for i in parallel} <= set(access.index):
                    key = None
                if shared and name in writes:
                    key = "lane" if name in self.laned else ((), (), 1)
                owners[name] = key if owners.get(name, key) == key else None
        gone = self.scalars
        owners = {name: key for name, key in owners.items() if name not in gone}
        sets = frozenset(writes - gone)
        found = Phase(nest, parallel, serial, shared, owners, sets, regions, shares)
        made = self._products(found) if serial and not shared else []
        if not made:
            return found
        joint = tuple(m.writes for m in made[0].maps) if made[0].joint else ()
        return found.of((parallel, bounds, shares, made[0].rows, joint))

    def _products(self, phase: Phase) -> list[Product]:
        """The products that the sums of a phase are, if they are large enough."""
        sizes = self._sizes(phase.nest)
        found = products(self._maps(phase.nest), phase.parallel, self.module.axes)
        for one in found:
            sides = (one.rows, one.columns, phase.serial)
            if any(math.prod(sizes[i] for i in each) < LEAST for each in sides):
                return []
        self.tiled |= bool(found)
        return found

    def _maps(self, nest: Nest) -> list[Map]:
        """The maps of a nest; what is gathered is added up in one."""
        maps = [self.numbered(m) for m in nest.maps]
        if not nest.gathered:
            return maps
        return [replace(maps[0], expr=sympy.Add(*(m.expr for m in maps)))]

    def of_all(self, name: str) -> bool:
        """Whether an array is the cotangent of what all samples share."""
        return name.endswith(BAR) and not self.module.array(name).per_sample

    def _ranges(self, phase: Phase) -> dict[str, tuple[int, int]]:
        sizes, nest = self._sizes(phase.nest), phase.nest
        found = {i: self.range_of(i, sizes[i], nest.gathered) for i in nest.indices}
        return {**found, SHARE: (0, phase.shares)}

    # --- pieces

    def add_all(self, pieces: Iterable[Piece]) -> None:
        """Write pieces in order; the threads meet where they must, and at the end."""
        for piece in pieces:
            assert isinstance(piece, Nest), piece
            phase = self.phase(piece)
            tiles = self._open.tiles if self._goes_on(phase) else ()
            if tiles and not self._disturbed(phase.of(tiles)):
                phase = phase.of(tiles)
            elif self._disturbed(phase):
                self._meet()
            self._before.append(phase)
            self._phase(phase)
        if self._before:
            self._meet()

    def _meet(self) -> None:
        if self.apart:
            self.cuts.append(len(self.lines))
            self._open, self._said = _Open(), ""
        else:
            self.lines.append(f"{INDENT}team.meet();")
        self._before.clear()

    def launches(self) -> list[list[str]]:
        """The lines of each launch, if there are several."""
        ends = [*self.cuts, len(self.lines)]
        starts = [0, *self.cuts]
        pairs = zip(starts, ends, strict=True)
        return [self.lines[a:b] for a, b in pairs if b > a]

    def _phase(self, phase: Phase) -> None:
        goes_on = phase.tiles == self._open.tiles and self._goes_on(phase)
        maps, done = self._maps(phase.nest), len(self.lines)
        ends = [self.lines.pop()] if goes_on else []
        self._say([self.numbered(m) for m in phase.nest.maps])
        if goes_on:
            for number in range(done - 1, len(self.lines)):
                self.lines[number] = f"{self._open.indent}{self.lines[number].strip()}"
            self._cells(maps, self._open.indent)
            self._close(ends)
            return
        self._known = set()
        ranges = self._ranges(phase)
        if phase.tiles:
            self._multiply(phase, ranges)
        elif phase.serial:
            self._sums(phase, maps, ranges)
        else:
            indent, ends = self._strided(phase.parallel, ranges, INDENT)
            self._cells(maps, indent)
            self._open = _Open(self._head(phase), indent)
            self._close(ends)

    def _close(self, ends: Sequence[str]) -> None:
        """End a loop in which further statements may go on."""
        self.lines += ends
        self._open = self._open._replace(end=len(self.lines))

    def _head(self, phase: Phase) -> list[str]:
        """The head of a loop over the targets of a phase."""
        ranges = self._ranges(phase)
        return strided([(self.index(i), *ranges[i]) for i in phase.parallel], INDENT)

    def _goes_on(self, phase: Phase) -> bool:
        """Whether a phase may go on in the loop that was written last."""
        at_end = self._open.end == len(self.lines) and not phase.serial
        own = {self.module.names(f"{name}~here") for name in phase.writes}
        return at_end and self._head(phase) == self._open.head and not own & self._known

    def _disturbed(self, phase: Phase) -> bool:
        return any(earlier.disturbs(phase) for earlier in self._before)

    def _sums(
        self, phase: Phase, maps: list[Map], ranges: Mapping[str, tuple[int, int]]
    ) -> None:
        """Sums that each thread adds up for its targets, or all threads share."""
        if phase.shared:
            indent, ends = self._serial(phase.parallel, ranges, INDENT)
        else:
            several = (SHARE,) if phase.shares > 1 else ()
            self._share = self.index(SHARE) if several else "0"
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
        started = {m.writes for m in phase.nest.cleared}
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

    def _multiply(self, phase: Phase, ranges: Mapping[str, tuple[int, int]]) -> None:
        """Sums that are products, by tiles; their results are this thread's."""

        def bounds(indices: Iterable[str]) -> list[tuple[str, int, int]]:
            return [(self.index(i), *ranges[i]) for i in indices]

        def returned(expr: sympy.Expr, indent: str) -> list[str]:
            done, inline = len(self.lines), Reals(self.refer)
            room = WIDTH - len(f"{indent}return ;")
            value = inline(self._short(inline, expr, room, indent))
            found, self.lines[done:] = self.lines[done:], []
            return [*found, f"{indent}return {value};"]

        cells = axis_of(phase.serial[-1]) in self.module.axes
        own = phase.shares > 1
        self._share = self.index(SHARE) if own else "0"
        names = f" {self._share}" if own else "", self.index(WHICH)
        parts = [str(phase.shares), "true"] if cells else []
        started = {m.writes for m in phase.nest.cleared}
        indent = INDENT * 3
        for one in self._products(phase):
            sides = (bounds(i) for i in (one.rows, one.columns, phase.serial))
            rows, columns, terms = sides
            self.lines += product_lines(
                one, (rows, columns, terms), parts, names, returned
            )
            for number, statement in enumerate(one.maps):
                chosen = f"if ({names[1]} == {number}) " if one.joint else ""
                self._add_to(statement, "sum", indent + chosen, False, started)
                started.discard(statement.writes)
            self._open = _Open(self._head(phase), indent, tiles=phase.tiles)
            self._close([f"{INDENT * 2}}});"])

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
