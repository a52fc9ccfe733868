"""Samples that take their steps together, side by side: how many, and what of them.

for x in …:                                     a coefficient is loaded once for all,
    Z_0_here = Z_0[x]                           and what they add to a sum is added
    for row in range(0, _ROW * 4, _ROW):        up before it goes there
        Z = Z_0_here * z[x + row] + …
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pdec.adjoints.adjoint import BAR, DOT
from pdec.forms.statements import Array, Clear, Role
from pdec.forms.symbolic import Access, accesses
from pdec.targets.body import split_mark
from pdec.targets.nests import Nest, Piece, axis_of
from pdec.targets.vectors import Call, Copy

# LLVM compares so many pairs of addresses at most before it runs a loop on vectors
_PAIRS = 128
Function = tuple[list[Piece], set[str]]  # pieces, and which of their arrays are numbers


def together(
    functions: Collection[Function],
    arrays: Mapping[str, Array],
    axes: tuple[str, ...],
    carried: set[str],
) -> tuple[int, set[str]]:
    """How many samples take steps together, and which of their arrays lie side by side.

    A coefficient that was loaded then serves all of them, and they are added up before
    they go to a sum. One alone where more of what is touched is its own than shared.
    What functions hand on to others, ``carried``, lies side by side as well.
    """
    inputs = {n for n, array in arrays.items() if array.role is Role.INPUT}
    beside = inputs | {n + BAR for n in inputs}
    for name in carried:
        base, mark = split_mark(name)
        if arrays[base].role is Role.WORK and mark != DOT:
            beside.add(name)
    own: set[str] = set()
    shared: set[str] = set()
    for pieces, numbers in functions:
        for piece in pieces:
            if isinstance(piece, Copy | Call):
                return 1, set()
            if isinstance(piece, Clear):
                continue
            if not {axis_of(i) for i in piece.indices} <= set(axes):
                return 1, set()  # channels
            for name in (piece.reads() | piece.writes()) - numbers:
                array = arrays[split_mark(name)[0]]
                if array.per_sample:
                    own.add(name)
                elif axes[-1] in (axis.name for axis in array.axes):
                    shared.add(name)
    for name in own | beside:  # they lie so along the first axis of the grid
        if [a.name for a in arrays[split_mark(name)[0]].axes][1:2] != [axes[0]]:
            return 1, set()
    nests = [(n, f[1]) for f in functions for n in f[0] if isinstance(n, Nest)]
    for samples in (4, 2):
        pairs = (_pairs(n, numbers, arrays, samples) for n, numbers in nests)
        if len(shared) >= len(own) and max(pairs) <= _PAIRS:
            return samples, own | beside
    return 1, set()


def _pairs(
    nest: Nest, numbers: set[str], arrays: Mapping[str, Array], samples: int
) -> int:
    """How many pairs of addresses might overlap, one of them at least written to.

    Those at a constant distance count once, unless levels of a field are among them.
    """

    def array(name: str) -> Array:
        return arrays[split_mark(name)[0]]

    levels = any(array(n).role in (Role.STATE, Role.NEXT) for n in nest.writes())
    apart = levels or len(nest.indices) > 1

    def places(found: Iterable[Access]) -> set[tuple[object, ...]]:
        return {
            (a.array, a.index if levels else a.index[:-1], k)
            for a in found
            if a.array not in numbers
            for k in range(samples if apart and array(a.array).per_sample else 1)
        }

    written = places(m.target for m in nest.maps)
    read = places(a for m in nest.maps for a in accesses(m.expr)) - written
    return len(written) * len(read) + len(written) * (len(written) - 1) // 2
