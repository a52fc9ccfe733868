"""Views: how an element of an array is written as a slice of the whole array.

z[batch, x+1]  with one ghost cell  →  z[:, 2:]
b[x]           beside [batch, x]    →  b
E[i0]          beside [batch, i0, x, y]  →  E[:, None, None]
"""

from __future__ import annotations

from pdec.statements import Array, Axis
from pdec.symbolic import TIME, Access


def cells(axis: Axis, offset: int = 0) -> str:
    """The slice of an axis that holds its cells, shifted by an offset."""
    if not axis.ghosts:
        return ":"
    start, rest = axis.ghosts + offset, axis.ghosts - offset
    return f"{start or ''}:{-rest if rest else ''}"


def bare(access: Access, array: Array, name: str) -> str:
    """The view of an element in the array's own order of axes, the time picked."""
    parts = []
    for axis, (index, offset) in zip(array.axes, access.index, strict=True):
        parts.append("n" if index == TIME else cells(axis, offset))
    while parts and parts[-1] == ":":
        parts.pop()
    return f"{name}[{', '.join(parts)}]" if parts else name


def spread(access: Access, array: Array, name: str, running: tuple[str, ...]) -> str:
    """The view of an element, aligned with the running indices for broadcasting."""
    own = [index for index in access.indices if index != TIME]
    wanted = [index for index in running if index in own]
    if own != wanted:
        order = ", ".join(str(own.index(index)) for index in wanted)
        return _aligned(
            f"{bare(access, array, name)}.transpose({order})", wanted, running, []
        )
    parts = []
    for axis, (index, offset) in zip(array.axes, access.index, strict=True):
        parts.append("n" if index == TIME else cells(axis, offset))
    return _aligned(name, wanted, running, parts)


def _aligned(
    name: str, own: list[str], running: tuple[str, ...], parts: list[str]
) -> str:
    """Insert an axis of length one for each running index that an array lacks."""
    if not own:
        return f"{name}[{', '.join(parts)}]" if parts else name
    picked = [part for part in parts if part == "n"]
    kept = [part for part in parts if part != "n"] or [":"] * len(own)
    slots = list(picked)
    tail = running[running.index(own[0]) :]
    for index in tail:
        slots.append(kept.pop(0) if index in own else "None")
    while slots and slots[-1] == ":":
        slots.pop()
    return f"{name}[{', '.join(slots)}]" if slots else name


def axes_of(running: tuple[str, ...], over: tuple[str, ...]) -> str:
    """The positions of summed indices, as an ``axis`` argument."""
    places = [running.index(index) for index in over]
    return str(places[0]) if len(places) == 1 else f"({', '.join(map(str, places))})"


def plain_slice(array: Array, axis: str, place: int) -> str:
    """Subscript of one layer of an array across an axis; the other axes stay whole."""
    position = [a.name for a in array.axes].index(axis)
    return f"[{', '.join([':'] * position + [str(place)])}]"
