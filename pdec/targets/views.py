"""Views: how an element of an array is written as a slice of the whole array.

z[batch, x+1]  with one ghost cell  →  z[:, 2:]
b[x]           beside [batch, x]    →  b
E[i0]          beside [batch, i0, x, y]  →  E[:, None, None]
"""

from __future__ import annotations

from dataclasses import replace

from pdec.forms.statements import Array, Axis
from pdec.forms.symbolic import TIME, Access, ghosts_of, ordered


def cells(axis: Axis, offset: int = 0) -> str:
    """The slice of an axis that holds its cells, shifted by an offset."""
    if not axis.ghosts:
        return ":"
    start, rest = axis.ghosts + offset, axis.ghosts - offset
    return f"{start or ''}:{-rest if rest else ''}"


def bare(access: Access, array: Array, name: str) -> str:
    """The view of an element in the array's own order of axes, the time picked."""
    parts = [part for part, _ in _parts(access, array)]
    while parts and parts[-1] == ":":
        parts.pop()
    return f"{name}[{', '.join(parts)}]" if parts else name


def spread(access: Access, array: Array, name: str, running: tuple[str, ...]) -> str:
    """The view of an element, aligned with the running indices for broadcasting."""
    own = [index for index in access.indices if index != TIME]
    wanted = [index for index in running if index in own]
    if own != wanted:
        order = ", ".join(str(own.index(index)) for index in wanted)
        turned = f"{bare(access, array, name)}.transpose({order})"
        return _aligned(turned, [(":", index) for index in wanted], running)
    return _aligned(name, _parts(access, array), running)


def _parts(access: Access, array: Array) -> list[tuple[str, str]]:
    """A subscript for each axis, and the running index there ("" if picked)."""
    found = []
    for axis, (place, offset) in zip(array.axes, access.index, strict=True):
        if place == TIME:
            found.append(("n", ""))
        elif place.isdigit():
            found.append((place, ""))
        elif place.endswith("_low"):
            found.append((str(axis.ghosts + offset), ""))
        elif place.endswith("_high"):
            found.append((str(offset - axis.ghosts - 1), ""))
        else:
            inner = replace(axis, ghosts=axis.ghosts - ghosts_of(place))
            found.append((cells(inner, offset), place))
    return found


def _aligned(name: str, parts: list[tuple[str, str]], running: tuple[str, ...]) -> str:
    """Insert an axis of length one for each running index that an array lacks."""
    slots: list[str] = []
    first = next((index for _, index in parts if index), None)
    rest = list(running[running.index(first) :]) if first else []
    for part, index in parts:
        while index and rest[0] != index:
            slots.append("None")
            rest.pop(0)
        if index:
            rest.pop(0)
        slots.append(part)
    slots += ["None"] * len(rest)
    while slots and slots[-1] == ":":
        slots.pop()
    return f"{name}[{', '.join(slots)}]" if slots else name


def running_indices(
    target: Access, over: tuple[str, ...], axes: tuple[str, ...]
) -> tuple[str, ...]:
    """The indices that a statement runs over, those of the target in its own order."""
    own = tuple(index for index in target.indices if index != TIME)
    usual = ordered({*own, *over} - {TIME}, axes)
    if tuple(index for index in usual if index in own) == own:
        return usual
    return (*own, *(index for index in usual if index not in own))


def axes_of(running: tuple[str, ...], over: tuple[str, ...]) -> str:
    """The positions of summed indices, as an ``axis`` argument."""
    places = [running.index(index) for index in over]
    return str(places[0]) if len(places) == 1 else f"({', '.join(map(str, places))})"
