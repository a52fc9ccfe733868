"""Adjoints along periodic axes that read around the ring, and fold nothing.

    z̄[x-1] += Z_m1 Z̄              Z̄ beyond each end = Z̄ at the other one
    z̄[x+1] += Z_p1 Z̄          →   z̄[x] = Z_m1[x+1] Z̄[x+1] + Z_p1[x-1] Z̄[x-1]
    ghost cells of z̄ folded

The loops then run over the cells alone, whose rows begin where vectors do, and what is
filled are the ends of what a gather reads.  Along other axes, and where a cotangent is
not gathered, ghost cells are folded: see ``nests``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import sympy

from pdec.adjoints.adjoint import BAR
from pdec.forms.statements import Array, Fold, Ghost, GhostRow, Map
from pdec.forms.symbolic import accesses, widened
from pdec.targets.body import split_mark
from pdec.targets.nests import Nest, Piece, alone, gathers
from pdec.targets.rings import narrowed
from pdec.targets.vectors import Call, Copy, Part

Depths = dict[str, int]  # by axis: how far beyond its ends is read


def axes_around(
    periodic: Iterable[str],
    functions: Sequence[Sequence[Part]],
    arrays: Mapping[str, Array],
    axes: tuple[str, ...],
) -> frozenset[str]:
    """The periodic axes along which all cotangents can be gathered around.

    What ends in ghost cells along one of them must be folded in the same function: a
    gather for ghost cells relies on zeros where this one reads around.
    """
    found = frozenset(periodic)
    for statements in functions:
        folded = {(s.array, s.ghost.axis) for s in statements if isinstance(s, Fold)}
        if folded and any(isinstance(s, Copy | Call) for s in statements):
            return frozenset()
        for statement in statements:
            if not isinstance(statement, Map) or not statement.target.offsets:
                continue
            name = statement.writes
            ghosts = {a.name for a in arrays[split_mark(name)[0]].axes if a.ghosts}
            known = all((name, axis) in folded for axis in ghosts & found)
            if known and gathers(statement, arrays, axes, found):
                continue
            if ghosts & found:
                return axes_around(found - ghosts, functions, arrays, axes)
    return found


def unfolded(statements: Iterable[Part], around: frozenset[str]) -> list[Part]:
    """The statements without folds along axes that are gathered around."""
    return [
        narrowed(s, around) if isinstance(s, Fold) else s
        for s in statements
        if not (isinstance(s, Fold) and s.ghost.axis in around)
    ]


def filled(
    pieces: Iterable[Piece],
    statements: Iterable[Part],
    around: Collection[str],
    arrays: Mapping[str, Array],
    axes: tuple[str, ...],
) -> tuple[list[Piece], set[str]]:
    """The pieces, and before a gather the ends of what it reads, set to the others.

    Arrays that all samples share are filled once a call: those are named beside.
    """
    folds = {s.ghost.axis: s for s in statements if isinstance(s, Fold)}
    done: set[Ghost] = set()
    shared: set[str] = set()
    found: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, Nest):
            for name, depths in _beyond(piece, around, arrays).items():
                array = arrays[split_mark(name)[0]]
                if not array.per_sample:
                    shared.add(name)
                    continue
                for ghost in _ends(name, array, depths, around, folds):
                    if ghost not in done:
                        found += [alone(m, axes) for m in ghost.maps]
                        done.add(ghost)
            done = {ghost for ghost in done if ghost.array not in piece.writes()}
        found.append(piece)
    return found, shared


def _beyond(
    nest: Nest, around: Collection[str], arrays: Mapping[str, Array]
) -> dict[str, Depths]:
    """What a gather reads beyond the ends of rings: arrays, and how far.

    Values that it reads beyond one end alone, within their own ghost cells, are left
    out: those are filled.  Corners are so only where the way forward reads them.
    """
    found: dict[str, Depths] = {}
    for access in (a for m in nest.maps for a in accesses(m.expr) if nest.gathered):
        name, offsets = access.array, access.offsets
        ghosts = {a.name: a.ghosts for a in arrays[split_mark(name)[0]].axes}
        known = len(offsets) == 1 and not name.endswith(BAR)
        if known and all(abs(k) <= ghosts[a] for a, k in offsets.items()):
            continue
        for axis in offsets.keys() & around:
            depths = found.setdefault(name, {})
            depths[axis] = max(abs(offsets[axis]), depths.get(axis, 0))
    return found


def _ends(
    name: str,
    array: Array,
    depths: Depths,
    around: Collection[str],
    folds: Mapping[str, Fold],
) -> Iterable[Ghost]:
    """Beyond both ends of each axis what is at the other one, and in the corners."""
    ghosts = {axis.name: axis.ghosts for axis in array.axes if axis.ghosts}
    wide = {axis: k for axis, k in ghosts.items() if axis not in around}
    for axis, depth in sorted(depths.items(), reverse=True):
        index = tuple(
            (widened(n, wide[n]) if n in wide else n, k)
            for n, k in array.element().index
        )
        low, high = (
            tuple(GhostRow(((side, k, sympy.S.One),)) for k in range(depth))
            for side in (1, -1)
        )
        yield Ghost(name, axis, index, low, high, folds[axis].origin)
        wide[axis] = depth
