"""The symbols that SymPy computes with: array elements, derivatives, contractions.

SymPy is the only expression form of the compiler.  An expression speaks of one cell
of one sample; arrays are never scalarised.  ``Access`` is an element of a named array,

    z[batch, x+1]   =   Access("z", (("batch", 0), ("x", 1)))

``Partial`` is a derivative before a stencil has replaced it, ``Contraction`` a sum over
one channel index, and ``Equal`` an indicator.  Index names are ``batch``, ``t``, the
axes of the grid, ``i0, i1, …`` for the channels of a value in their order, and
``k0, k1, …`` for contracted channels.  Beside walls, ``x_low`` and ``x_high`` are the
outermost cells of the axis x, so that ``u[x_low-1]`` is a ghost cell, and ``x*2`` runs
over the cells of x and two ghost cells on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import sympy

BATCH = "batch"
TIME = "t"

IndexTuple = tuple[tuple[str, int], ...]


class Access(sympy.Symbol):
    """One element of an array: its name, and an index name with an offset per axis."""

    __slots__ = ("array", "index")

    array: str
    index: IndexTuple

    def __new__(cls, array: str, index: IndexTuple) -> Access:
        inside = ", ".join(
            f"{name}{offset:+d}" if offset else name for name, offset in index
        )
        symbol: Access = sympy.Symbol.__xnew__(cls, f"{array}[{inside}]", real=True)
        symbol.array = array
        symbol.index = index
        return symbol

    def __getnewargs_ex__(self) -> tuple[tuple[str, IndexTuple], dict[str, Any]]:
        return (self.array, self.index), {}

    @property
    def places(self) -> tuple[str, ...]:
        """What stands at each axis: an index name, or the number of a component."""
        return tuple(name for name, _ in self.index)

    @property
    def indices(self) -> tuple[str, ...]:
        """Names of the indices that run, without offsets."""
        return tuple(name for name, _ in self.index if runs(name))

    @property
    def picked(self) -> bool:
        """Whether a single component, or a single layer of cells, is meant."""
        return not all(runs(name) for name, _ in self.index)

    @property
    def offsets(self) -> dict[str, int]:
        """The offset along each index that has one."""
        return {name: offset for name, offset in self.index if offset and runs(name)}

    def shifted(self, axis: str, by: int) -> Access:
        """The element ``by`` cells further along ``axis``; itself where it has none."""
        index = tuple(
            (name, off + by if name == axis else off) for name, off in self.index
        )
        return Access(self.array, index)

    def renamed(self, names: dict[str, str]) -> Access:
        """The element with its indices renamed."""
        return Access(
            self.array, tuple((names.get(n, n), off) for n, off in self.index)
        )

    def of(self, array: str) -> Access:
        """The element at the same place in another array."""
        return Access(array, self.index)


def runs(place: str) -> bool:
    """Whether a place in an index is an index that runs, not a component or a layer."""
    return not (place.isdigit() or place.endswith(("_low", "_high")))


def layer(axis: str, side: int) -> str:
    """The place of the cells beside a wall: side -1 is low, +1 is high."""
    return f"{axis}_{'low' if side < 0 else 'high'}"


def widened(index: str, ghosts: int) -> str:
    """The index that runs over ghost cells as well."""
    return f"{index}*{ghosts}"


def ghosts_of(index: str) -> int:
    """How many ghost cells an index runs over on each side."""
    return int(index.partition("*")[2] or 0)


class Constant(sympy.Symbol):
    """A number known at compile time under a name: γ, dx, ω, dt."""

    __slots__ = ()

    def __new__(cls, name: str, *, positive: bool = False) -> Constant:
        assumption = {"positive": True} if positive else {"real": True}
        symbol: Constant = sympy.Symbol.__xnew__(cls, name, **assumption)
        return symbol


# the time t; the stage of a scheme puts its own in its place
NOW = Constant("t")


class IndexValue(sympy.Symbol):
    """The value of an index itself: 0, 1, … along a channel axis."""

    __slots__ = ("index_name",)

    index_name: str

    def __new__(cls, index_name: str) -> IndexValue:
        symbol: IndexValue = sympy.Symbol.__xnew__(cls, f"#{index_name}", integer=True)
        symbol.index_name = index_name
        return symbol

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (self.index_name,), {}


class Partial(sympy.Function):
    """``Partial(u, x, order, bias)``: ∂^order u/∂x^order, before its stencil.

    ``bias`` is 0 for central differences, -1 and +1 for one-sided ones.
    """

    is_real = True

    @classmethod
    def eval(cls, *args: sympy.Expr) -> sympy.Expr | None:
        if args[0].is_number:
            return sympy.S.Zero
        return None


class Contraction(sympy.Function):
    """``Contraction(expr, k)``: the sum of ``expr`` over the channel index ``k``."""

    is_real = True


class Equal(sympy.Function):
    """``Equal(a, b)``: 1 where a equals b, else 0; its derivative is taken as 0."""

    is_real = True

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        return sympy.S.Zero


def negative(expr: sympy.Expr) -> bool:
    """Whether an expression is written with a leading minus: -2, -b, -3 a b."""
    return bool(expr.as_coeff_Mul()[0] < 0)


def accesses(expr: sympy.Expr) -> list[Access]:
    """Array elements that an expression reads, in a reproducible order."""
    return sorted(expr.atoms(Access), key=access_key)


def access_key(access: Access) -> tuple[str, tuple[int, ...], str]:
    """Order by array, then by offset, so that stencils read from left to right."""
    return (access.array, tuple(off for _, off in access.index), access.name)


def constants(expr: sympy.Expr) -> list[Constant]:
    """Named numbers that an expression uses, by name."""
    return sorted(expr.atoms(Constant), key=lambda symbol: str(symbol.name))


def indices_of(expr: sympy.Expr) -> set[str]:
    """Every index that an expression depends on."""
    found = {name for access in expr.atoms(Access) for name in access.indices}
    values = {value.index_name for value in expr.atoms(IndexValue)}
    # the number of the step is known within a step, whose values have a batch
    return found | {BATCH if name == TIME else name for name in values}


def per_sample(expr: sympy.Expr) -> bool:
    """Whether the value differs from sample to sample."""
    return any(BATCH in access.indices for access in expr.atoms(Access))


def varies(expr: sympy.Expr) -> bool:
    """Whether the value differs from sample to sample, or with the time."""
    return per_sample(expr) or bool(expr.has(NOW, IndexValue(TIME)))


def map_accesses(
    expr: sympy.Expr, change: Callable[[Access], sympy.Expr]
) -> sympy.Expr:
    """Replace every array element by ``change(element)``."""
    return expr.xreplace({access: change(access) for access in accesses(expr)})


def shift(expr: sympy.Expr, axis: str, by: int) -> sympy.Expr:
    """The expression ``by`` cells further along ``axis``."""
    return map_accesses(expr, lambda access: access.shifted(axis, by)) if by else expr


def rename_indices(expr: sympy.Expr, names: dict[str, str]) -> sympy.Expr:
    """The expression with indices renamed, inside index values too."""
    values = {
        v: IndexValue(names.get(v.index_name, v.index_name))
        for v in expr.atoms(IndexValue)
    }
    return map_accesses(expr.xreplace(values), lambda access: access.renamed(names))


def pick(expr: sympy.Expr, channel: int, number: int) -> sympy.Expr:
    """The component ``number`` of a channel axis; the later channels move up.

    A picked index is written as its number: ``z[0]`` is Access("z", (…, ("0", 0), …)).
    """
    later = {f"i{n}": f"i{n - 1}" for n in range(channel + 1, 8)}
    return rename_indices(expr, {f"i{channel}": str(number), **later})


def ordered(names: Iterable[str], axes: tuple[str, ...]) -> tuple[str, ...]:
    """Indices in storage order: batch, t, channels, contracted, the grid's axes."""

    def key(name: str) -> tuple[int, int, str]:
        if name == BATCH:
            return (0, 0, name)
        if name == TIME:
            return (1, 0, name)
        axis = name.partition("*")[0]
        return (3, axes.index(axis), name) if axis in axes else (2, 0, name)

    return tuple(sorted(names, key=key))
