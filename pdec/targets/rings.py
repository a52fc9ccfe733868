"""Periodic axes without ghost cells: a neighbour is found on the other side.

    Ghost z along x             (nothing)
    Z = … z[x-1] + …      →     Z = … z[in_x(x - 1)] + …
    Fold  z̄ along x             (nothing)

Input: the functions on samples and their arrays.  Output: the same for arrays that end
at their last cell along such axes, the rings.  A launch less for each ghost cell that
was filled is worth more than the comparisons, where each phase is a launch of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pdec.contracts import SampleFunction
from pdec.forms.model import GridAxis
from pdec.forms.statements import Array, Clear, Fold, Ghost, Map, Statement
from pdec.forms.symbolic import Access, IndexTuple, accesses, ghosts_of
from pdec.targets.nests import axis_of


def rings(
    axes: Mapping[str, GridAxis],
    functions: Iterable[SampleFunction],
    arrays: Mapping[str, Array],
) -> frozenset[str]:
    """The periodic axes along which only periodic ghost cells are filled, and wide
    enough that a neighbour of a neighbour is not the cell itself."""
    found = {name for name, axis in axes.items() if axis.periodic}
    for array in arrays.values():
        found -= {a.name for a in array.axes if 2 * a.ghosts > a.size}
    for function in functions:
        for statement in function.statements:
            if isinstance(statement, Map):
                found -= _widened(statement.target, *accesses(statement.expr))
            elif isinstance(statement, Ghost | Fold):
                ghost = statement if isinstance(statement, Ghost) else statement.ghost
                for row in (*ghost.low, *ghost.high):
                    for value in (row.value, *(weight for *_, weight in row.cells)):
                        found -= _widened(*accesses(value))
    return frozenset(found)


def _widened(*found: Access) -> set[str]:
    """The axes along which elements in ghost cells are meant."""
    return {axis_of(i) for access in found for i in access.places if ghosts_of(i)}


def without_ghosts(
    arrays: Mapping[str, Array], around: frozenset[str]
) -> dict[str, Array]:
    """Arrays that end at their last cell along the rings."""
    return {
        name: replace(
            array,
            axes=tuple(
                replace(axis, ghosts=0) if axis.name in around else axis
                for axis in array.axes
            ),
        )
        for name, array in arrays.items()
    }


def closed(
    functions: Sequence[SampleFunction],
    arrays: Mapping[str, Array],
    around: frozenset[str],
) -> list[SampleFunction]:
    """Functions that find neighbours around the rings; the arrays are theirs."""
    return [
        function._replace(
            statements=tuple(
                narrowed(statement, around)
                for statement in function.statements
                if not _idle(statement, arrays, around)
            )
        )
        for function in functions
    ]


def _idle(
    statement: Statement, arrays: Mapping[str, Array], around: frozenset[str]
) -> bool:
    """Whether a statement is about ghost cells that are no more."""
    if isinstance(statement, Ghost):
        return statement.axis in around
    if isinstance(statement, Fold):
        return statement.ghost.axis in around
    if isinstance(statement, Clear) and statement.ghosts_only:
        return not arrays[statement.array.partition("~")[0]].padded
    return False


def narrowed(statement: Statement, around: frozenset[str]) -> Statement:
    """The ghost cells of a wall, without those in a corner with a ring."""
    if not isinstance(statement, Ghost | Fold):
        return statement
    ghost = statement if isinstance(statement, Ghost) else statement.ghost
    index: IndexTuple = tuple(
        (axis_of(name) if axis_of(name) in around else name, offset)
        for name, offset in ghost.index
    )
    narrow = replace(ghost, index=index)
    return (
        narrow
        if statement is ghost
        else Fold(statement.array, narrow, statement.origin)
    )
