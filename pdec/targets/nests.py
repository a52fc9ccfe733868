"""Statements of one sample as nests of loops: which there are, and what is in them.

    Z   = Z_m1 z[x-1] + Z_0 z         for x:  Z = Z_m1[x] z[x-1] + Z_0[x] z[x]
    f_Z = tanh(Z)                →            f_Z = tanh(Z)
    z̄[x-1] += Z_m1 Z̄                  for x:  z̄[x] = Z_0[x] Z̄[x] + Z_m1[x+1] Z̄[x+1]
    z̄      += Z_0 Z̄

Statements over the same indices, of the same lengths, share a nest where each reads
what the others write at its own cell alone.  A scatter is turned into a gather: what is
at cell x - m goes to x, and the loops run over the ghost cells too.  That is right
because cotangents are kept zero outside of the cells that they belong to; for periodic
axes see ``around``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import sympy

from pdec.adjoints.adjoint import BAR
from pdec.forms.functions import Select
from pdec.forms.statements import Array, Clear, Fold, Ghost, Map, Role
from pdec.forms.symbolic import BATCH, TIME, Access, IndexValue, accesses, ordered
from pdec.targets.body import split_mark
from pdec.targets.vectors import Call, Copy, Handover, Part

# what may not be computed from the zeros outside of an array's cells
_SINGULAR = (sympy.log, sympy.tan, Select)


@dataclass
class Nest:
    """Loops over ``indices``, the last one innermost, around the maps.

    ``gathered`` is the array whose ghost cells the loops cover as well.  What a map in
    ``cleared`` sets is zero before the loops.  Nothing joins a nest that is ``fixed``.
    """

    indices: tuple[str, ...]
    maps: list[Map]
    gathered: str = ""
    fixed: bool = False
    cleared: list[Map] = field(default_factory=list)
    lengths: tuple[int, ...] = ()  # of the indices: fields may differ in channels

    def reads(self) -> set[str]:
        """The arrays that the maps read."""
        return {a.array for m in self.maps for a in accesses(m.expr)}

    def writes(self) -> set[str]:
        """The arrays that the maps write."""
        return {m.writes for m in self.maps} | {m.writes for m in self.cleared}

    def only_adds(self, name: str) -> bool:
        """Whether the maps add to an array and do nothing else with it."""
        sets = [m for m in [*self.maps, *self.cleared] if m.writes == name]
        return all(m.accumulate for m in sets) and name not in self.reads()


Piece = Nest | Clear | Handover


def schedule(
    statements: Iterable[Part],
    arrays: Mapping[str, Array],
    axes: tuple[str, ...],
    *,
    zeros: bool = False,
    around: Collection[str] = (),
) -> list[Piece]:
    """Group the statements of a function into nests, in an order that is as good.

    What was folded is cleared in the end, or with ``zeros`` layer by layer.  Along axes
    in ``around`` a gather leaves ghost cells alone.
    """
    listed = list(statements)
    scattered = {s.writes for s in listed if isinstance(s, Map) and s.target.offsets}
    pieces: list[Piece] = []
    for number, statement in enumerate(listed):
        if isinstance(statement, Copy | Call):
            pieces.append(statement)
        elif isinstance(statement, Clear):
            if not statement.ghosts_only:  # else they are zero: see the docstring
                pieces.append(_zero(statement, arrays, axes))
        elif isinstance(statement, Ghost | Fold):
            name, maps = statement.array, [*statement.maps]
            if isinstance(statement, Fold) and zeros:
                ghosts = (m.target.of(name) for m in statement.ghost.maps)
                maps += [Map(g, sympy.S.Zero, statement.origin) for g in ghosts]
            pieces += [alone(one, axes) for one in maps]
            later = [s.array for s in listed[number + 1 :] if isinstance(s, Fold)]
            if isinstance(statement, Fold) and not zeros and name not in later:
                pieces.append(Clear(name, True, statement.origin))
        else:
            assert isinstance(statement, Map), statement
            one = _of_one_sample(statement)
            if one.writes in scattered and gathers(one, arrays, axes, around):
                _place(pieces, _nest(_gathered(one), arrays, axes, one.writes))
            else:
                _place(pieces, _nest(one, arrays, axes))
    return pieces


def alone(statement: Map, axes: tuple[str, ...]) -> Nest:
    """A nest for one statement, which no other joins."""
    one = _of_one_sample(statement)
    return Nest(_loops(one, axes), [one], fixed=True)


def _of_one_sample(statement: Map) -> Map:
    over = tuple(index for index in statement.over if index != BATCH)
    return replace(statement, over=over)


def _zero(clear: Clear, arrays: Mapping[str, Array], axes: tuple[str, ...]) -> Nest:
    """A whole array set to zero, so that a gather into it can begin there."""
    array = arrays[clear.array.partition("~")[0]]
    target = array.element().of(clear.array)
    zero = Map(target, sympy.S.Zero, clear.origin)
    loops = _loops(zero, axes)
    lengths = _lengths(loops, zero, arrays)
    return Nest(loops, [zero], gathered=clear.array, lengths=lengths)


def _loops(statement: Map, axes: tuple[str, ...]) -> tuple[str, ...]:
    """Channels of the target, channels summed over, then the axes of the grid."""
    names = {*statement.target.indices, *statement.over} - {BATCH, TIME}
    free = [i for i in ordered(names, axes) if i not in statement.over]
    summed = [i for i in ordered(names, axes) if i in statement.over]
    grid = [i for i in ordered(names, axes) if axis_of(i) in axes]
    return (
        *(i for i in free if i not in grid),
        *(i for i in summed if i not in grid),
        *grid,
    )


def _lengths(
    loops: tuple[str, ...], statement: Map, arrays: Mapping[str, Array]
) -> tuple[int, ...]:
    """How long each index of a statement is."""
    found: dict[str, int] = {}
    for access in (statement.target, *accesses(statement.expr)):
        array = arrays[split_mark(access.array)[0]]
        for axis, name in zip(array.axes, access.places, strict=True):
            extent = found.setdefault(name, axis.extent(name))
            assert extent == axis.extent(name) or name == TIME, (name, statement)
    return tuple(found[i] for i in loops)


def axis_of(index: str) -> str:
    """The axis that an index runs along: ``x`` of ``x*2``, with ghost cells."""
    return index.partition("*")[0]


def _nest(
    statement: Map,
    arrays: Mapping[str, Array],
    axes: tuple[str, ...],
    gathered: str = "",
) -> Nest:
    """A nest for one statement."""
    loops = _loops(statement, axes)
    lengths = _lengths(loops, statement, arrays)
    nest = Nest(loops, [statement], gathered=gathered, lengths=lengths)
    if statement.over and not statement.accumulate:
        nest.cleared = list(nest.maps)
        nest.maps = [replace(m, accumulate=not m.maximum) for m in nest.maps]
    return nest


def _gathered(statement: Map) -> Map:
    """A scatter ``T[x+m] += e[x]`` as the gather ``T[x] += e[x-m]``."""
    target, moved = statement.target, {}
    back = target.offsets
    for access in accesses(statement.expr):
        place = access
        for axis, offset in back.items():
            place = place.shifted(axis, -offset)
        moved[access] = place
    for axis, offset in back.items():
        target = target.shifted(axis, -offset)
    return replace(statement, target=target, expr=statement.expr.xreplace(moved))


def gathers(
    statement: Map,
    arrays: Mapping[str, Array],
    axes: tuple[str, ...],
    around: Collection[str],
) -> bool:
    """Whether what a statement scatters can be gathered.

    Along axes that end, its expression is zero beyond the cells, as cotangents are.
    """
    grid = {i for i in statement.target.indices if i in axes}
    values = {v.index_name for v in statement.expr.atoms(IndexValue)}
    beside = {*statement.over, *values} & set(axes)
    layers = any("_" in p or "*" in p for p in _places(statement))
    if beside or layers or statement.maximum:
        return False
    target = arrays[split_mark(statement.writes)[0]]
    if not any(axis.ghosts and axis.name not in around for axis in target.axes):
        return True
    for term in sympy.Add.make_args(sympy.expand_mul(statement.expr)):
        if not any(_is_zero_outside(f, grid) for f in sympy.Mul.make_args(term)):
            return False
    return not any(_singular(part) for part in sympy.preorder_traversal(statement.expr))


def _places(statement: Map) -> set[str]:
    found = (statement.target, *accesses(statement.expr))
    return {place for access in found for place in access.places}


def _is_zero_outside(factor: sympy.Expr, grid: set[str]) -> bool:
    return (
        isinstance(factor, Access)
        and factor.array.endswith(BAR)
        and not factor.offsets
        and grid <= set(factor.indices)
    )


def _singular(part: sympy.Expr) -> bool:
    if isinstance(part, _SINGULAR):
        return True
    if not part.is_Pow or not part.base.atoms(Access):
        return False
    return not (part.exp.is_Integer and part.exp > 0)


# --- which nest a statement joins -----------------------------------------------------


def _place(pieces: list[Piece], nest: Nest) -> None:
    """Add a nest of one statement to the pieces, or its statement to one of them."""
    for number in range(len(pieces) - 1, -1, -1):
        piece = pieces[number]
        if isinstance(piece, Nest) and _join(piece, nest):
            return
        if not _commute(piece, nest):
            break
    pieces.append(nest)


def _commute(piece: Piece, nest: Nest) -> bool:
    """Whether a nest may be run before a piece that stands in front of it."""
    if isinstance(piece, Copy | Call):
        return False
    if not isinstance(piece, Nest):
        touched = {piece.array}
        return not touched & (nest.reads() | nest.writes())
    if piece.writes() & nest.reads() or piece.reads() & nest.writes():
        return False
    both = piece.writes() & nest.writes()
    return all(piece.only_adds(name) and nest.only_adds(name) for name in both)


def _join(host: Nest, guest: Nest) -> bool:
    """Add the statement of a nest to another one, if they can share their loops."""
    if host.indices != guest.indices or host.lengths != guest.lengths:
        return False
    if host.gathered != guest.gathered or host.fixed:
        return False
    (new,) = guest.maps
    if host.gathered:
        if not new.accumulate or {m.writes for m in host.maps} != {new.writes}:
            return False
        first = host.maps[0]
        if first.target != new.target or first.over != new.over or guest.cleared:
            return False
        host.maps.append(new)
        return True
    if guest.cleared and guest.writes() & (host.reads() | host.writes()):
        return False
    if not all(_shares_loop(old, new, host.indices) for old in host.maps):
        return False
    host.maps.append(new)
    host.cleared += guest.cleared
    return True


def _shares_loop(old: Map, new: Map, loops: tuple[str, ...]) -> bool:
    """Whether two statements may alternate cell by cell, the old one first."""
    for writer, reader in ((old, new), (new, old)):
        for access in accesses(reader.expr):
            if access.array == writer.writes and not (
                access == writer.target and _pointwise(writer, loops)
            ):
                return False
    if old.writes != new.writes:
        return True
    both_add = old.accumulate and new.accumulate
    same_place = old.target == new.target and _pointwise(old, loops)
    return same_place or (both_add and old.target == new.target)


def _pointwise(statement: Map, loops: tuple[str, ...]) -> bool:
    return set(statement.target.indices) - {BATCH, TIME} == set(loops)


# --- products of channels -------------------------------------------------------------

# vectors of sums that stay in registers beside what they are added up from
_REGISTERS = 12
# cells of a row from which on this gains: shorter ones are unrolled cell by cell
_LONG = 64


def rows_at_once(nest: Nest, sizes: Mapping[str, int], axes: Collection[str]) -> int:
    """How many values of its first index a product of channels takes at once.

        Z[i, x] += A[i, k] z[k, x]

    A vector of z then serves several rows i, instead of being loaded for each.
    """
    channels = [i for i in nest.indices if axis_of(i) not in axes]
    if len(channels) < 2 or len(channels) == len(nest.indices) or nest.fixed:
        return 1
    first, inner = nest.indices[0], nest.indices[-1]
    if sizes[inner] < _LONG:
        return 1
    for statement in nest.maps:
        adds = statement.accumulate and statement.writes not in nest.reads()
        if not adds or first not in statement.target.indices:
            return 1
        if IndexValue(first) in statement.expr.free_symbols:
            return 1
    summed = [m for m in nest.maps if inner not in m.target.indices]
    if summed and len(summed) < len(nest.maps):
        return 1
    fits = [n for n in (4, 3, 2) if sizes[first] % n == 0]
    return next((n for n in fits if n * len(summed) <= _REGISTERS), 1)


# --- what needs no array --------------------------------------------------------------


def scalars(
    pieces: Iterable[Piece], arrays: Mapping[str, Array], carried: set[str]
) -> set[str]:
    """Work arrays that live and die within one pass of one nest: mere numbers."""
    homes: dict[str, list[Nest | None]] = {}
    for piece in pieces:
        nest = piece if isinstance(piece, Nest) else None
        if isinstance(piece, Nest):
            names = piece.reads() | piece.writes()
        else:
            names = {piece.array} if isinstance(piece, Clear) else set(piece.arrays)
        for name in names:
            homes.setdefault(name, []).append(nest)
    return {
        name
        for name, nests in homes.items()
        if len(nests) == 1
        and nests[0] is not None
        and name not in carried
        and _is_scalar(name, nests[0], arrays)
    }


def _is_scalar(name: str, nest: Nest, arrays: Mapping[str, Array]) -> bool:
    array = arrays[name.partition("~")[0]]
    sets = [m for m in nest.maps if m.writes == name]
    if array.role is not Role.WORK or array.padded or nest.gathered:
        return False
    if not sets or sets[0].accumulate or sets[0].over or not nest.indices:
        return False
    return all(_pointwise(m, nest.indices) for m in sets)


def carried_arrays(functions: Iterable[Iterable[Part]]) -> set[str]:
    """Arrays that some function reads without having set them before."""
    found: set[str] = set()
    for statements in functions:
        made: set[str] = set()
        for statement in statements:
            if isinstance(statement, Map):
                read = {a.array for a in accesses(statement.expr)}
                if statement.accumulate:
                    read.add(statement.writes)
                found |= read - made
                made.add(statement.writes)
            elif isinstance(statement, Clear):
                made.add(statement.array)
            elif isinstance(statement, Copy):
                (made if statement.back else found).update(statement.arrays)
    return found
