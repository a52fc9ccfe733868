"""What the threads of a sample do between two meetings: phases, and their loops.

A nest is cut into runs of maps over the same targets, each a phase (``phases``).  Who
touches what in a phase tells whether the threads must meet before another one:

    z_next[x] = …  then  … z_next[x]        the same thread: no
    z_next[x] = …  then  … z_next[x - 1]    perhaps another one: yes
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from pdec.forms.statements import Array
from pdec.targets.layout import INDENT, WIDTH
from pdec.targets.nests import Nest, Piece

Bounds = Sequence[tuple[str, int, int]]  # names of indices, from where to where
Region = tuple[tuple[int, int], ...]  # of an array: from where to where along its axes


class Phase(NamedTuple):
    """Maps over the same targets, and who works on them.

    Each of the threads has targets of its own, or (``shared``) a share of each sum, or
    one of so many ``shares`` of the sums of its targets.
    ``owners`` says of arrays that are touched which thread touches an element: equal
    keys stand for the same thread, None for any.  ``regions`` says where they are
    touched, and whether they are set there.
    """

    nest: Nest
    parallel: tuple[str, ...]
    serial: tuple[str, ...]
    shared: bool
    owners: dict[str, object]
    writes: frozenset[str]
    regions: Mapping[str, Sequence[tuple[Region, bool]]]
    shares: int = 1
    tiles: tuple[object, ...] = ()  # whose results the threads have, if of a product

    def of(self, tiles: tuple[object, ...]) -> Phase:
        """The same, by the threads that have the results of a product."""
        assert tiles
        mine: dict[str, object] = {n: key and tiles for n, key in self.owners.items()}
        return self._replace(owners=mine, tiles=tiles)

    def disturbs(self, other: Phase) -> bool:
        """Whether the threads must meet between this phase and another one."""
        both = self.owners.keys() & other.owners.keys()
        return any(
            name in self.writes | other.writes
            and (
                self.owners[name] is None or self.owners[name] != other.owners.get(name)
            )
            and self._meets(other, name)
            for name in both
        )

    def _meets(self, other: Phase, name: str) -> bool:
        """Whether both touch an element of an array, and one of them sets it."""
        pairs = itertools.product(self.regions[name], other.regions[name])
        return any(
            (sets or too)
            and all(a < d and c < b for (a, b), (c, d) in zip(one, two, strict=True))
            for (one, sets), (two, too) in pairs
        )


def phases(pieces: Iterable[Piece], arrays: Mapping[str, Array]) -> list[Piece]:
    """Nests cut into runs of maps that have the same targets."""
    found: list[Piece] = []
    for piece in pieces:
        if not isinstance(piece, Nest) or piece.gathered:
            found.append(piece)
            continue
        runs: list[Nest] = []
        for one in piece.maps:
            own = set(one.target.indices)
            if runs and set(runs[-1].maps[0].target.indices) == own:
                runs[-1].maps.append(one)
            else:
                runs.append(replace(piece, maps=[one], cleared=[]))
        started: set[str] = set()
        for run in runs:
            names = {m.writes for m in run.maps} - started
            run.cleared = [m for m in piece.cleared if m.writes in names]
            started |= names
        found += runs
    return found


def strided(indices: Bounds, indent: str) -> list[str]:
    """The head of a loop over (name, low, high), dealt out to the threads."""
    if not indices:
        return [f"{indent}if (team.lane == 0) {{"]
    if len(indices) == 1:
        ((i, low, high),) = indices
        start = f"{low} + team.lane" if low else "team.lane"
        return [f"{indent}for (int {i} = {start}; {i} < {high}; {i} += LANES) {{"]
    total = " * ".join(str(high - low) for _, low, high in indices)
    lines = [f"{indent}for (int at = team.lane; at < {total}; at += LANES) {{"]
    return [*lines, *decoded(indices, "at", indent + INDENT)]


def decoded(indices: Bounds, name: str, indent: str) -> list[str]:
    """What several indices are where their number among all is known."""
    lengths = [high - low for _, low, high in indices]
    parts = []
    for number, (i, low, _) in enumerate(indices):
        behind = math.prod(lengths[number + 1 :])
        value = f"{name} / {behind}" if behind > 1 else name
        if number:
            value += f" % {lengths[number]}"
        parts.append(f"{i} = {low} + {value}" if low else f"{i} = {value}")
    line = f"{indent}const int {', '.join(parts)};"
    if len(line) <= WIDTH:
        return [line]
    return [f"{indent}const int {part};" for part in parts]
