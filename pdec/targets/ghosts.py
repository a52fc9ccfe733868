"""Ghost cells as assignments, their transpose, and the clearing of cotangents.

x periodic     →   z[:, 0] = z[:, -2]             z[:, -1] = z[:, 1]
its transpose  →   z_bar[:, -2] += z_bar[:, 0]    z_bar[:, 1] += z_bar[:, -1]
z = g at a wall    →   z[:, 0] = -2.0 * z[:, 1] + 1.0 / 3.0 * z[:, 2] + 8.0 / 3.0 * g
"""

from __future__ import annotations

from collections.abc import Collection

import sympy

from pdec.forms.statements import Clear, Fold, Ghost
from pdec.forms.symbolic import Access, negative
from pdec.targets.body import Body
from pdec.targets.inline import PRODUCT, Inline
from pdec.targets.layout import INDENT, add_up, assign


def fill(body: Body, ghost: Ghost) -> None:
    """Set each ghost cell from the cells it depends on, from the wall outwards."""
    rows = (*ghost.low, *ghost.high)
    for row, statement in zip(rows, ghost.maps, strict=True):
        inline = _inline(body, statement.target)
        terms: list[str] = []
        for side, distance, weight in row.cells:
            cell = body.raw(ghost.cell(side, distance))
            terms.append(_weighted(inline, weight, cell, first=not terms))
        if row.value != 0:
            first, *rest = inline.terms(row.value)
            signed = f"- {first[1:]}" if first.startswith("-") else f"+ {first}"
            terms += [signed if terms else first, *rest]
        body.lines += add_up(body.raw(statement.target), terms or ["0.0"])


def fold(body: Body, statement: Fold) -> None:
    """Add each ghost cell's cotangent to the cells that the ghost was filled from."""
    for row in statement.maps:
        inline = _inline(body, row.target)
        minus = negative(row.expr)
        (source,) = (a for a in row.expr.atoms(Access) if a.array == statement.array)
        weight = row.expr.coeff(source)
        factor = -weight if minus else weight
        term = _weighted(inline, factor, body.raw(source), first=True)
        cell = body.raw(row.target)
        body.lines += assign(cell, "-=" if minus else "+=", term)


def clear(body: Body, statement: Clear) -> None:
    """Set an array to zero, or its ghost cells alone."""
    name = body.local(statement.array)
    array = body.module.array(statement.array)
    if not statement.ghosts_only:
        body.lines.append(f"{INDENT}{name}[...] = 0.0")
        return
    clear_along(body, statement.array, [axis.name for axis in array.axes])


def clear_along(body: Body, name: str, axes: Collection[str]) -> None:
    """Set the ghost cells of an array along some axes to zero."""
    array, name = body.module.array(name), body.local(name)
    for position, axis in enumerate(array.axes):
        if axis.ghosts and axis.name in axes:
            before = ":, " * position
            body.lines.append(f"{INDENT}{name}[{before}:{axis.ghosts}] = 0.0")
            body.lines.append(f"{INDENT}{name}[{before}{-axis.ghosts}:] = 0.0")


def _inline(body: Body, target: Access) -> Inline:
    """Prints expressions on a layer of cells, aligned with its indices."""

    def refer(symbol: sympy.Symbol) -> str:
        if isinstance(symbol, Access):
            return body.view(symbol, target.indices)
        return body.refer(symbol)

    return Inline(refer)


def _weighted(inline: Inline, weight: sympy.Expr, cell: str, *, first: bool) -> str:
    """``weight * cell`` as a term of a sum, with its sign in front."""
    minus = negative(weight)
    factor = -weight if minus else weight
    written = cell if factor == 1 else f"{inline(factor, PRODUCT)} * {cell}"
    if first:
        return f"-{written}" if minus else written
    return f"{'-' if minus else '+'} {written}"
