"""A sample shared out among threads, by rows of its first axis: when they must meet.

A member of a team sets what is in its rows.  Ghost rows belong to the members who have
the cells beside them.

    z[2, y] = z[258, y]              by the first one: the last one has set row 258
    z⁺[x, y] = f(z[x-1, y], …)       each its rows; it reads a row of its neighbour's

Two pieces of a step may follow each other without a meeting where whatever one of them
sets, and the other one touches, belongs to the same member in both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pdec.forms.model import Model
from pdec.forms.statements import Clear
from pdec.forms.symbolic import Access, accesses, runs
from pdec.targets.loops import Loops
from pdec.targets.nests import Nest, Piece, axis_of

LEAST = 8  # rows of a member at least: what lies so near to an end is all its own

WORK = 2 << 20  # cells times steps from which on two threads are faster
MOST_ROWS = 65_000  # their numbers have 16 bits

Range = tuple[int, int]


def worth_sharing(model: Model) -> bool:
    """Whether threads share samples of a model out: several axes, much to do."""
    sizes = [axis.size for axis in model.axes.values()]
    work = math.prod(sizes) * model.steps
    return len(sizes) > 1 and sizes[0] <= MOST_ROWS and work >= WORK


class Touch(NamedTuple):
    """Elements that a piece sets or reads: where, and how far from the member's row.

    ``away`` is None where that differs from row to row.
    """

    array: str
    sets: bool
    away: int | None
    ranges: dict[str, Range]


def meetings(pieces: Sequence[Piece], body: Loops) -> set[int] | None:
    """Before which pieces of a step the members meet, besides at its beginning.

    None where a piece cannot be shared out.
    """
    found: set[int] = set()
    before: list[Touch] = []
    for number, piece in enumerate(pieces):
        touches = None
        if isinstance(piece, Clear):
            touches = _cleared(piece, body)
        elif isinstance(piece, Nest):
            touches = _touches(piece, body)
        if touches is None:
            return None
        if any(_disturbs(a, b, body) for a in before for b in touches):
            found.add(number)
            before = []
        before += touches
    return found


def _touches(nest: Nest, body: Loops) -> list[Touch] | None:
    """What a nest sets and reads; None if some of it is no one's."""
    first = body.module.axes[0]
    rows = [i for i in nest.indices if axis_of(i) == first]
    row = body.row_of(nest)
    found = []
    for statement in nest.maps:
        name, target = statement.writes, statement.target
        if name not in body.scalars:
            axes = [axis.name for axis in body.module.array(name).axes]
            if first in axes:
                own = not rows or target.index[axes.index(first)] == (rows[0], 0)
            else:  # a sum, kept apart for each row
                own = body.sums_rows(name) and rows != [*nest.indices[-1:]]
                own = own and bool(rows) and not statement.maximum
            if not own or (not rows and (row is None or nest.cleared)):
                return None
            found.append(_touch(target, True, nest, row, body))
        found += [
            _touch(access, False, nest, row, body)
            for access in accesses(statement.expr)
            if access.array not in body.scalars
        ]
    return found


def _touch(
    access: Access, sets: bool, nest: Nest, row: int | None, body: Loops
) -> Touch:
    first, away = body.module.axes[0], 0 if row is None else None
    ranges: dict[str, Range] = {}
    for axis, (place, offset) in zip(
        body.module.array(access.array).axes, access.index, strict=True
    ):
        if axis.name not in body.margins:
            continue
        if runs(place):
            low, high = body.range_of(place, axis.extent(place), nest.gathered)
            ranges[axis.name] = low + offset, high + offset
        else:
            at = body.layer(axis, place, offset)
            ranges[axis.name] = at, at + 1
        if axis.name == first:
            away = offset if runs(place) else None if row is None else at - row
    return Touch(access.array, sets, away, ranges)


def _cleared(clear: Clear, body: Loops) -> list[Touch]:
    """The ghost cells of an array, each layer of which is set by who has it."""
    whole: dict[str, Range] = {}
    layers = []
    for axis in body.module.array(clear.array).axes:
        if axis.name in body.margins:
            low = body.margins[axis.name]
            whole[axis.name] = low - axis.ghosts, low + axis.size + axis.ghosts
            layers += [(axis.name, (low - axis.ghosts, low))] * bool(axis.ghosts)
            high = low + axis.size
            layers += [(axis.name, (high, high + axis.ghosts))] * bool(axis.ghosts)
    return [Touch(clear.array, True, 0, {**whole, name: at}) for name, at in layers]


def _disturbs(one: Touch, other: Touch, body: Loops) -> bool:
    """Whether one member may set what another one touches."""
    if one.array != other.array or not (one.sets or other.sets):
        return False
    common = {
        name: (max(low, other.ranges[name][0]), min(high, other.ranges[name][1]))
        for name, (low, high) in one.ranges.items()
    }
    if any(low >= high for low, high in common.values()):
        return False
    if one.away is None or other.away is None:
        return True
    if one.away == other.away:
        return False
    axis = body.module.axes[0]
    (low, high), start = common[axis], body.margins[axis]
    size = next(a.size for a in body.module.array(one.array).axes if a.name == axis)
    last = high - 1 - min(one.away, other.away)  # of the rows that the members are at
    first = low - max(one.away, other.away)
    return not (last < start + LEAST or first >= start + size - LEAST)
