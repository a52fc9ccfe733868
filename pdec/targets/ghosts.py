"""Ghost cells as assignments, their transpose, and the clearing of cotangents.

x periodic     →   z[:, 0] = z[:, -2]             z[:, -1] = z[:, 1]
its transpose  →   z_bar[:, -2] += z_bar[:, 0]    z_bar[:, 1] += z_bar[:, -1]
"""

from __future__ import annotations

import sympy

from pdec.statements import Array, Clear, Fold, Ghost, GhostRow
from pdec.symbolic import negative
from pdec.targets.body import Body
from pdec.targets.inline import PRODUCT, Inline
from pdec.targets.layout import INDENT, add_up
from pdec.targets.views import plain_slice


def fill(body: Body, ghost: Ghost) -> None:
    """Set each ghost cell from the cells it depends on, from the wall outwards."""
    array, _ = _places(body, ghost.array, ghost.axis)
    for place, row in _ghost_rows(body, ghost):
        left = body.local(ghost.array) + plain_slice(array, ghost.axis, place)
        terms: list[str] = []
        for side, distance, weight in row.cells:
            cell = _cell(body, ghost.array, ghost.axis, side, distance)
            terms.append(_weighted(body, weight, cell, first=not terms))
        if row.value != 0:
            sign = "-" if negative(row.value) else "+"
            value = Inline(body.refer)(
                -row.value if sign == "-" else row.value, PRODUCT
            )
            terms.append(f"{sign} {value}")
        body.lines += add_up(left, terms or ["0.0"])


def fold(body: Body, statement: Fold) -> None:
    """Add each ghost cell's cotangent to the cells that the ghost was filled from."""
    ghost = statement.ghost
    array, _ = _places(body, ghost.array, ghost.axis)
    for place, row in _ghost_rows(body, ghost):
        source = body.local(statement.array) + plain_slice(array, ghost.axis, place)
        for side, distance, weight in row.cells:
            cell = _cell(body, statement.array, ghost.axis, side, distance)
            minus = negative(weight)
            term = _weighted(body, -weight if minus else weight, source, first=True)
            body.lines.append(f"{INDENT}{cell} {'-' if minus else '+'}= {term}")


def clear(body: Body, statement: Clear) -> None:
    """Set an array to zero, or its ghost cells alone."""
    name = body.local(statement.array)
    array = body.module.array(statement.array)
    if not statement.ghosts_only:
        body.lines.append(f"{INDENT}{name}[...] = 0.0")
        return
    for position, axis in enumerate(array.axes):
        if axis.ghosts:
            before = ":, " * position
            body.lines.append(f"{INDENT}{name}[{before}:{axis.ghosts}] = 0.0")
            body.lines.append(f"{INDENT}{name}[{before}{-axis.ghosts}:] = 0.0")


def _ghost_rows(body: Body, ghost: Ghost) -> list[tuple[int, GhostRow]]:
    """Each ghost cell's position along the axis, with its row."""
    _, width = _places(body, ghost.array, ghost.axis)
    low = [(width - 1 - k, row) for k, row in enumerate(ghost.low)]
    return low + [(k - width, row) for k, row in enumerate(ghost.high)]


def _places(body: Body, name: str, axis: str) -> tuple[Array, int]:
    """An array and the number of its ghost cells on each side of an axis."""
    array = body.module.array(name)
    ghosts = next(a.ghosts for a in array.axes if a.name == axis)
    return array, ghosts


def _cell(body: Body, name: str, axis: str, side: int, distance: int) -> str:
    """The layer of cells at a distance from a wall."""
    array, width = _places(body, name, axis)
    place = width + distance if side < 0 else -width - 1 - distance
    return body.local(name) + plain_slice(array, axis, place)


def _weighted(body: Body, weight: sympy.Expr, cell: str, *, first: bool) -> str:
    """``weight * cell`` as a term of a sum, with its sign in front."""
    minus = negative(weight)
    factor = -weight if minus else weight
    written = cell if factor == 1 else f"{Inline(body.refer)(factor, PRODUCT)} * {cell}"
    if first:
        return f"-{written}" if minus else written
    return f"{'-' if minus else '+'} {written}"
