"""The output form: a few frozen statements that every target prints.

A block (the step, the loss, …) is a list of statements on named arrays, in which every
array is assigned once.  ``Map`` is the workhorse: for all values of its indices,

    target  =  Σ_over  expr          (or  target += …  where it accumulates)

so that a pointwise update, a reduction over space and a contraction of channels are
the same statement with a different ``over``, and share one cotangent rule.
``Ghost`` fills the ghost cells of an array along one axis; ``Fold`` is its transpose.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

import sympy

from pdec.forms.symbolic import BATCH, TIME, Access, IndexTuple, ghosts_of, layer, runs


class Role(enum.Enum):
    """What an array is; decides who owns it in the generated module."""

    PARAM = "param"
    INPUT = "input"
    TARGET = "target"
    STATE = "state"
    NEXT = "next"
    COEFFICIENT = "coefficient"
    WORK = "work"
    READOUT = "readout"
    LOSS = "loss"
    COORDINATE = "coordinate"


def successor(field: str) -> str:
    """Name of the array that holds a field after the step."""
    return f"{field}_next"


class Origin(NamedTuple):
    """Where a statement comes from: the text it computes, its place in the source."""

    text: str
    location: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """One index of an array: its index name, length and ghost cells on each side."""

    name: str
    size: int
    ghosts: int = 0

    def extent(self, index: str) -> int:
        """How many values an index along this axis takes."""
        return self.size + 2 * ghosts_of(index)


@dataclass(frozen=True, slots=True)
class Array:
    """A named array; ``axes`` in storage order."""

    name: str
    axes: tuple[Axis, ...]
    role: Role

    @property
    def per_sample(self) -> bool:
        """Whether there is one for each sample of the batch."""
        return any(axis.name == BATCH for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths without ghost cells, after the batch axis."""
        return tuple(axis.size for axis in self.axes if axis.name != BATCH)

    @property
    def padded_shape(self) -> tuple[int, ...]:
        """Lengths with ghost cells, after the batch axis."""
        return tuple(a.size + 2 * a.ghosts for a in self.axes if a.name != BATCH)

    @property
    def padded(self) -> bool:
        """Whether any axis has ghost cells."""
        return any(axis.ghosts for axis in self.axes)

    def element(self) -> Access:
        """The array's element at the running index."""
        return Access(self.name, tuple((axis.name, 0) for axis in self.axes))


@dataclass(frozen=True, slots=True)
class Map:
    """``target (+)= Σ_over expr`` for all values of the target's indices."""

    target: Access
    expr: sympy.Expr
    origin: Origin
    over: tuple[str, ...] = ()
    accumulate: bool = False
    maximum: bool = False

    @property
    def writes(self) -> str:
        """Name of the array written."""
        return self.target.array


class GhostRow(NamedTuple):
    """One ghost cell: Σ weight · cell + value, cells counted from a wall inwards.

    ``cells`` holds (side, distance, weight) with side -1 for the low wall, +1 for the
    high one, and distance 0 for the cell next to that wall.  Weights and value are
    expressions on the wall: numbers, parameters, inputs.
    """

    cells: tuple[tuple[int, int, sympy.Expr], ...]
    value: sympy.Expr = sympy.S.Zero


@dataclass(frozen=True, slots=True)
class Ghost:
    """Fill an array's ghost cells along an axis; rows go from the wall outwards.

    ``index`` says which cells along the other axes: ghost cells are among them where
    corners are read and the other axis has been filled before.
    """

    array: str
    axis: str
    index: IndexTuple
    low: tuple[GhostRow, ...]
    high: tuple[GhostRow, ...]
    origin: Origin

    @property
    def writes(self) -> str:
        """Name of the array written."""
        return self.array

    @property
    def maps(self) -> tuple[Map, ...]:
        """What is assigned to each ghost cell, those of the low side first."""
        found = []
        for side, rows in ((-1, self.low), (1, self.high)):
            for k, row in enumerate(rows):
                terms = [w * self.cell(at, d) for at, d, w in row.cells]
                value = sympy.Add(*terms, row.value)
                found.append(Map(self.cell(side, -1 - k), value, self.origin))
        return tuple(found)

    @property
    def periodic(self) -> bool:
        """Whether the ghost cells beyond one side are cells at the other."""
        return any(side > 0 for row in self.low for side, *_ in row.cells)

    def cell(self, side: int, distance: int) -> Access:
        """The cells at a distance from a wall; -1 is the first ghost cell beyond it."""
        place = (layer(self.axis, side), -side * distance)
        index = (place if name == self.axis else (name, m) for name, m in self.index)
        return Access(self.array, tuple(index))


@dataclass(frozen=True, slots=True)
class Fold:
    """Transpose of ``ghost``: add the ghosts' cotangents to the cells they came of."""

    array: str
    ghost: Ghost
    origin: Origin

    @property
    def writes(self) -> str:
        """Name of the array written."""
        return self.array

    @property
    def maps(self) -> tuple[Map, ...]:
        """What is added to each cell."""
        rows = (*self.ghost.low, *self.ghost.high)
        return tuple(
            Map(
                self.ghost.cell(side, distance).of(self.array),
                weight * ghost.target.of(self.array),
                self.origin,
                accumulate=True,
            )
            for row, ghost in zip(rows, self.ghost.maps, strict=True)
            for side, distance, weight in row.cells
        )


@dataclass(frozen=True, slots=True)
class Clear:
    """Set an array to zero: all of it, or its ghost cells only."""

    array: str
    ghosts_only: bool
    origin: Origin

    @property
    def writes(self) -> str:
        """Name of the array written."""
        return self.array


@dataclass(frozen=True, slots=True)
class Block:
    """Statements run in order, and the arrays that they leave for others."""

    name: str
    statements: tuple[Statement, ...]
    outputs: tuple[str, ...] = ()

    @property
    def flat(self) -> tuple[Statement, ...]:
        """All statements, those of a residual in front of their ``Solve``."""
        found: list[Statement] = []
        for statement in self.statements:
            if isinstance(statement, Solve):
                found += statement.residual.statements
            found.append(statement)
        return tuple(found)

    @property
    def maps(self) -> tuple[Map, ...]:
        """The block's Map statements, those of residuals among them."""
        return tuple(s for s in self.flat if isinstance(s, Map))


@dataclass(frozen=True, slots=True)
class Solve:
    """Find the arrays ``unknowns`` at which the outputs of ``residual`` are zero.

    ``guess`` sets them to begin with.  The iteration is Newton's, or ``accelerated``:
    z ← z - residual with Anderson's acceleration.
    """

    name: str
    unknowns: tuple[str, ...]
    residual: Block
    guess: tuple[Map, ...]
    origin: Origin
    accelerated: bool = False

    @property
    def writes(self) -> str:
        """Name of the first array written."""
        return self.unknowns[0]


@dataclass(frozen=True, slots=True)
class Linear:
    """``made = -J⁻¹ given``, or its transpose, J = ∂residual/∂unknowns of a ``Solve``.

    The implicit function theorem: tangents obey J u̇ = -ṙ, cotangents r̄ = -J⁻ᵀ ū.
    """

    solve: Solve
    given: tuple[str, ...]
    made: tuple[str, ...]
    transposed: bool
    origin: Origin

    @property
    def writes(self) -> str:
        """Name of the first array written."""
        return self.made[0]


Statement = Map | Ghost | Fold | Clear | Solve | Linear


@dataclass(frozen=True, slots=True)
class Program:
    """All blocks of a model and the arrays they work on.

    ``coefficients`` depends on parameters alone and runs once a call; ``initial`` makes
    the state from inputs; ``step`` advances it; ``readout`` and ``loss`` look at the
    last state; ``penalty`` holds the terms of the loss in parameters alone,
    ``rates`` what the verdict on ω reads of the right-hand side at a state.

    ``at_risk`` are the coefficients that some parameters would make infinite, each with
    the boundary condition that has no solution then.
    """

    arrays: dict[str, Array]
    coefficients: Block
    initial: Block
    step: Block
    readout: Block
    loss: Block
    penalty: Block
    constants: dict[str, Constant]
    at_risk: dict[str, Origin]
    rates: Block = Block("rates", ())

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, in the order in which they run."""
        return (
            self.coefficients,
            self.initial,
            self.step,
            self.readout,
            self.loss,
            self.penalty,
        )


class Constant(NamedTuple):
    """A named number of the generated module: its value and how it came about."""

    value: float
    text: str
    expr: sympy.Expr | None = None  # of what the compiler named


def verify(block: Block, arrays: dict[str, Array]) -> None:
    """Check the form between passes: arrays known, indices bound, offsets in reach."""
    for statement in block.flat:
        if isinstance(statement, Solve | Linear):
            continue
        assert isinstance(statement, Map) or statement.array in arrays, statement
        if not isinstance(statement, Fold | Clear):
            maps = statement.maps if isinstance(statement, Ghost) else (statement,)
            for one in maps:
                _verify_map(one, arrays)


def _verify_map(statement: Map, arrays: dict[str, Array]) -> None:
    target = statement.target
    bound = {*target.indices, *statement.over}
    assert not set(target.indices) & set(statement.over), statement
    for access in (target, *statement.expr.atoms(Access)):
        array = arrays.get(access.array)
        assert array is not None, f"unknown array in {statement}"
        assert len(array.axes) == len(access.index), statement
        assert set(access.indices) <= bound | {TIME}, f"unbound index in {statement}"
        for axis, (place, offset) in zip(array.axes, access.index, strict=True):
            reach = ghosts_of(place) + (abs(offset) if runs(place) else 0)
            assert reach <= axis.ghosts, f"{access} reaches past its ghosts"
