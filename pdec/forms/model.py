"""The model: what a source file means, with names, types and boundaries resolved.

Stage 2 (``resolve.py``) makes a ``Model`` from a tree; stage 3 and 4 (``discrete.py``)
turn it into statements.  Expressions are SymPy expressions over ``Access`` elements at
offset 0, with derivatives still written as ``Partial``.  For the model of the README:

    evolution["z"].expr = -γ (z[batch, x] - f_Z[batch, x])
    definitions["Z"]    = W0 z[batch, x] + W1 Partial(z[batch, x], x, 1, 0) + … - b[x]
    definitions["f_Z"]  = tanh(Z[batch, x])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import sympy

from pdec.errors import Diagnostic
from pdec.forms.statements import Array
from pdec.forms.symbolic import Access
from pdec.source import Source, Span


class Channel(NamedTuple):
    """One channel axis: its declared name ("" for a bare number) and length."""

    label: str
    size: int

    def fits(self, other: Channel) -> bool:
        """Whether two channel axes may be paired."""
        named = bool(self.label and other.label)
        return self.label == other.label if named else self.size == other.size


@dataclass(frozen=True, slots=True)
class Typed:
    """An expression of one cell: channel shape, axes it varies along, its place.

    Channel index number n of the shape is the index ``i<n>`` in ``expr``.  ∇z has one
    component per axis of the grid in ``vector``, and ``expr`` means nothing.
    """

    expr: sympy.Expr
    shape: tuple[Channel, ...]
    domain: frozenset[str]
    span: Span
    vector: tuple[sympy.Expr, ...] | None = None


@dataclass(frozen=True, slots=True)
class GridAxis:
    """x[size] on [low, high): cell i is at low + iΔ (periodic) or low + (i+½)Δ."""

    name: str
    size: int
    low: float
    high: float
    periodic: bool
    span: Span

    @property
    def spacing(self) -> float:
        """Δx."""
        return (self.high - self.low) / self.size


class Init(NamedTuple):
    """How a parameter starts: constant (value), normal (mean, sd), uniform (a, b)."""

    kind: str
    first: float
    second: float = 0.0


UNSET = Init("constant", 0.0)


@dataclass(frozen=True, slots=True)
class Variable:
    """A declared field, parameter, input, target or readout."""

    array: Array
    spelling: str
    shape: tuple[Channel, ...]
    domain: tuple[str, ...]
    span: Span
    comment: str = ""
    init: Init = UNSET
    low: float = float("-inf")
    high: float = float("inf")
    classes: int = 0
    along: bool = False

    @property
    def name(self) -> str:
        """Canonical name, the key in the generated module."""
        return self.array.name


@dataclass(frozen=True, slots=True)
class Definition:
    """A named intermediate value; ``over`` are the indices summed or maximised over."""

    array: Array
    expr: sympy.Expr
    shape: tuple[Channel, ...]
    domain: frozenset[str]
    span: Span
    over: tuple[str, ...] = ()
    maximum: bool = False
    written: bool = False

    @property
    def element(self) -> Access:
        """The element that stands for this value in expressions."""
        return self.array.element()


@dataclass(frozen=True, slots=True)
class Condition:
    """A boundary equation Σ_k factors[k] ∂^k u/∂n^k = value at a wall (n outward).

    ``kind`` names the boundary plug-in: dirichlet, neumann, robin, bending.
    """

    kind: str
    factors: tuple[sympy.Expr, ...]
    value: sympy.Expr
    span: Span

    @property
    def accesses(self) -> set[Access]:
        """The elements of arrays that the condition mentions beside the field."""
        return {a for e in (*self.factors, self.value) for a in e.atoms(Access)}


@dataclass(frozen=True, slots=True)
class Relaxation:
    """dz/dt = -rate (z - equilibrium): a layer's form in Succi (2025), section 2."""

    rate: sympy.Expr
    equilibrium: sympy.Expr


@dataclass(frozen=True, slots=True)
class Model:
    """Everything that a source file declares, checked and typed."""

    name: str
    source: Source
    axes: dict[str, GridAxis]
    dims: dict[str, int]
    constants: dict[str, float]
    spellings: dict[str, str]
    fields: dict[str, Variable]
    params: dict[str, Variable]
    inputs: dict[str, Variable]
    targets: dict[str, Variable]
    readouts: dict[str, Variable]
    definitions: dict[str, Definition]
    evolution: dict[str, Typed]
    initial: dict[str, Typed]
    boundaries: dict[tuple[str, str, int], tuple[Condition, ...]]
    loss: Typed | None
    penalty: Typed | None
    relaxation: Relaxation | None
    steps: int
    every: int | None
    omega: sympy.Expr | None
    dt: sympy.Expr | None
    scheme: str
    accuracy: int
    dtype: str
    warnings: tuple[Diagnostic, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Axes of the grid in declaration order."""
        return tuple(self.axes)

    @property
    def variables(self) -> dict[str, Variable]:
        """Everything that an expression may name."""
        return {
            **self.fields,
            **self.params,
            **self.inputs,
            **self.targets,
            **self.readouts,
        }
