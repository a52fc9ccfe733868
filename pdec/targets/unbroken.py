"""Statements on a whole tile as one unbroken line of numbers.

    Z = Z_m1 z[x-1] + …   →   np.multiply(Z_m1_line, z_m1, out=Z)

NumPy is three times as fast on such a line as on the rows of cells between ghost cells.
So the arrays of samples all get the ghost cells of the widest one, and z_m1 is all of
z's tile, from its first cell to its last, read one place earlier; coefficients are
repeated for every sample.  The driver makes these views once for a tile (``_LINES``).
What is computed in ghost cells on the way has no effect:

- Ghost cells of a field are filled before a step, or cleared, so that nothing in them
  outlives it; those of what a step makes are filled before they are read elsewhere.
- Ghost cells of a cotangent are zero when it is read: they are after a ``Fold``, and
  each cotangent is linear in those that it is made of.
- Statements are taken that are finite wherever their operands are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import sympy

from pdec.forms.functions import Maximum, Minimum, Select, Step, softplus
from pdec.forms.statements import Array, Ghost, Map, Role, Statement
from pdec.forms.symbolic import BATCH, TIME, Access, Equal, IndexValue, accesses
from pdec.targets.layout import table
from pdec.targets.views import running_indices

if TYPE_CHECKING:
    from pdec.derive import Derivation

_SAMPLES = (Role.STATE, Role.NEXT, Role.WORK, Role.INPUT)

# of any real number; of powers and logarithms, see _finite
_TOTAL = (
    sympy.Add,
    sympy.Mul,
    sympy.tanh,
    sympy.exp,
    sympy.sin,
    sympy.cos,
    sympy.atan,
    sympy.Abs,
    sympy.sign,
    softplus,
    Maximum,
    Minimum,
    Select,
    Step,
    Equal,
)


def widened(derivation: Derivation) -> dict[str, Array]:
    """The arrays of the program, those of samples all with the same ghost cells."""
    arrays = dict(derivation.program.arrays)
    axes = derivation.model.axis_names
    layer = derivation.stability.layer is not None
    apart = () if layer else derivation.program.rates.outputs  # jacobian.py reads these
    wide = {
        name: array
        for name, array in arrays.items()
        if array.per_sample
        and array.role in _SAMPLES
        and name not in apart
        and {axis.name for axis in array.axes}.issuperset(axes)
    }
    if derivation.jacobians:
        return arrays
    ghosts = ghosts_of_all(wide.values(), axes)
    for name, array in wide.items():
        padded = [replace(a, ghosts=ghosts.get(a.name, 0)) for a in array.axes]
        arrays[name] = replace(array, axes=tuple(padded))
    return arrays


def ghosts_of_all(arrays: Iterable[Array], axes: Iterable[str]) -> dict[str, int]:
    """The most ghost cells of any array along each axis."""
    found = [axis for array in arrays for axis in array.axes]
    return {n: max((a.ghosts for a in found if a.name == n), default=0) for n in axes}


class Line:
    """The layout of a tile as a line, and which statements can be written on it."""

    def __init__(self, derivation: Derivation, arrays: Mapping[str, Array]) -> None:
        model = derivation.model
        self.lines: dict[str, str] = {}  # by key, the array and where the line is in it
        self.copies: set[str] = set()  # coefficients that are repeated
        fields = [arrays[name] for name in model.fields]
        self.arrays = arrays
        self.solves = bool(derivation.jacobians)  # for arrays in an order of its own
        self.axes = model.axis_names
        self.ghosts = ghosts_of_all(fields, self.axes)
        self.strides: dict[str, int] = {}
        stride = 1
        for name in reversed(self.axes):
            self.strides[name] = stride
            stride *= model.axes[name].size + 2 * self.ghosts[name]
        # from the first number of a tile to its first cell
        self.margin = sum(self.ghosts[n] * self.strides[n] for n in self.axes)
        # coefficients, and the indices and lengths of the samples they are repeated for
        self.repeated: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {}

    def __bool__(self) -> bool:
        return self.margin > 0 and not self.solves

    def array(self, name: str) -> Array:
        """The array behind an internal name, marks included."""
        return self.arrays[name.partition("~")[0]]

    def holds(self, name: str) -> bool:
        """Whether an array has the layout."""
        array = self.array(name)
        ghosts = {axis.name: axis.ghosts for axis in array.axes}
        return array.per_sample and all(
            ghosts.get(axis) == self.ghosts[axis] for axis in self.axes
        )

    def takes(self, statement: Map) -> bool:
        """Whether a statement, or what it sums, can be computed on the line."""
        running = running_indices(statement.target, statement.over, self.axes)
        if not self or not {BATCH, *self.axes}.issubset(running):
            return False
        touched = accesses(statement.expr)
        if not statement.over:
            touched.append(statement.target)
        if not _finite(statement.expr):
            return False
        lengths = {
            place: axis.size + 2 * self.ghosts.get(axis.name, 0)
            for access in (*touched, statement.target)
            for axis, place in zip(
                self.array(access.array).axes, access.places, strict=True
            )
        }
        return all(self._fits(access, running, lengths) for access in touched)

    def _fits(
        self, access: Access, running: tuple[str, ...], lengths: Mapping[str, int]
    ) -> bool:
        own = tuple(index for index in access.indices if index != TIME)
        if not own and not access.picked:
            return True
        if access.picked:
            return False
        if self.array(access.array).per_sample:
            return own == running and self.holds(access.array)
        shape = running[1:], tuple(lengths[index] for index in running[1:])
        return (
            TIME not in access.indices
            and not access.offsets
            and not self.array(access.array).padded
            and own == tuple(index for index in running if index in own)
            and shape == self.repeated.setdefault(access.array, shape)
        )

    def shift(self, access: Access) -> int:
        """How many places an element is from the one at the running index."""
        return sum(by * self.strides[axis] for axis, by in access.offsets.items())

    def view(self, access: Access, home: str) -> tuple[str, str]:
        """A mark for an element's view on the line, and where the view is kept."""
        alone = len(self.axes) == 1
        mark = "_".join(
            f"{'' if alone else axis}{'mp'[by > 0]}{abs(by)}"
            for axis, by in access.offsets.items()
        )
        base, shift = access.array.partition("~")[0], self.shift(access)
        key = f"{base} {mark or 'line'}"
        at = f"slice({self.margin + shift}, {shift - self.margin or None})"
        self.lines[key] = f'("{base}", {at})'
        return mark, home.replace(f'"{base}"', f'"{key}"')

    def tables(self) -> list[str]:
        """Which lines there are, and the coefficients that are repeated for them."""
        lines = dict(sorted(self.lines.items()))
        copies = {name: self._copied(name) for name in sorted(self.copies)}
        return [
            "# lines of a tile's arrays: from the first cell to the last, so far off",
            *table("_LINES: dict[str, tuple[str, slice]] = ", lines),
            "# coefficients that are repeated for lines: beside which array, as what",
            *table("_REPEATED: dict[str, tuple[str, tuple[int, ...]]] = ", copies),
        ]

    def _copied(self, name: str) -> str:
        """An array with the layout of a coefficient, and its shape beside that."""
        running, shape = self.repeated[name]
        like = next(
            name
            for name, array in self.arrays.items()
            if self.holds(name) and array.padded_shape == shape
        )
        own = {axis.name: axis.size for axis in self.array(name).axes}
        return f'("{like}", {tuple(own.get(index, 1) for index in running)})'

    def unfilled(self, statements: Iterable[Statement]) -> dict[str, list[str]]:
        """By field, the axes whose ghost cells hold what the step before left there.

        Corners are filled along with the last axis, or not at all.
        """
        found: dict[str, list[str]] = {}
        ghosts = [s for s in statements if isinstance(s, Ghost)]
        axes = [name for name in self.axes if self.ghosts[name]]
        for name, array in self.arrays.items():
            if array.role is not Role.STATE or not self.holds(name):
                continue
            filled = {g.axis: len(g.low) for g in ghosts if g.array == name}
            whole = all(filled.get(axis) == self.ghosts[axis] for axis in axes)
            if left := axes[:-1] if whole else axes:
                found[name] = left
        return found


def _finite(expr: sympy.Expr) -> bool:
    """Whether an expression is finite wherever what it reads is, but for overflow."""
    for node in sympy.preorder_traversal(expr):
        if isinstance(node, IndexValue):
            return False
        if node.is_Pow and not isinstance(node, sympy.exp):
            if not _power(*node.args):
                return False
        elif node.args and not isinstance(node, _TOTAL):
            return False
    return True


def _power(base: sympy.Expr, exponent: sympy.Expr) -> bool:
    varies = any(a.index for a in base.atoms(Access))
    if not varies or (exponent.is_Integer and exponent > 0):
        return True
    positive = base.is_positive
    return bool(positive if exponent.is_negative else base.is_nonnegative)
