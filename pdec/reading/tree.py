"""Syntax tree: what was written, before any name has a meaning.

Stage 1 hands these nodes to stage 2 (``model.py``).  Every node is frozen and carries
the span of source text that it came from.  Juxtaposition stays the flat list that was
written, because ``f(z)`` is a call or a product depending on what ``f`` is declared as:

    W0 z + W1 ∂z   →   Binary("+", Juxtaposition((Name W0, Name z)),
                                   Juxtaposition((Name W1, Derivative ∂, Name z)))
"""

from __future__ import annotations

from dataclasses import dataclass

from pdec.source import Span

# --- expressions -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """A numeric literal; ``text`` is what was written, ``value`` its float."""

    text: str
    value: float
    span: Span


@dataclass(frozen=True, slots=True)
class Name:
    """A name; ``text`` as written (NFC), ``name`` its canonical ASCII spelling."""

    text: str
    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Group:
    """A parenthesised list of one or more expressions; a call's arguments."""

    items: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Power:
    """``base²``, ``base^exponent``; on a function name, ``sin²(x)`` = (sin x)²."""

    base: Expr
    exponent: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Transpose:
    """``Aᵀ``."""

    base: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Index:
    """``z[0]`` or ``A[i, j]``: components picked from the channel shape."""

    base: Expr
    items: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Derivative:
    """A derivative sign, which takes the next operand of its juxtaposition.

    ``kind`` is "partial" (∂, ∂², d/dx, d2/dx2), "normal" (∂n), "gradient" (∇),
    "laplacian" (∇²) or "divergence" (∇·).  ``axes`` holds the subscript letters when
    they were part of the token (``d2/dx2`` gives ("x", "x")), otherwise None: ``∂x z``
    is Derivative(order=1, axes=None) followed by Name x, folded in stage 2.
    ``order`` is the number of derivatives written (∂² gives 2).
    """

    kind: str
    order: int
    axes: tuple[str, ...] | None
    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Root:
    """``√``, which takes the next operand of its juxtaposition."""

    span: Span


@dataclass(frozen=True, slots=True)
class Juxtaposition:
    """Two or more operands written side by side, in reading order."""

    items: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Binary:
    """``left op right`` with op one of ``+ - * / .``.

    ``*`` and ``·`` both give ``*``, except directly after ∇ or between a name and ∇,
    where ``U·∇z`` gives ``.`` (a dot product over the axis index).
    """

    op: str
    left: Expr
    right: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Negate:
    """``-operand``."""

    operand: Expr
    span: Span


Expr = (
    Number
    | Name
    | Group
    | Power
    | Transpose
    | Index
    | Derivative
    | Root
    | Juxtaposition
    | Binary
    | Negate
)

# --- parts of statements ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Interval:
    """``[a, b)``, ``(0, 2)``: bounds as expressions and whether each is included."""

    low: Expr
    high: Expr
    low_closed: bool
    high_closed: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a grid: ``x[128] on [0, 1) periodic``."""

    name: Name
    size: Expr
    interval: Interval
    periodic: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Declared:
    """A declared array: ``W[d,d](x, t) >= 0 init 0.5``.

    ``shape`` are the channel sizes (numbers or dim names), ``domain`` the axes, None
    where no parentheses were written.  ``constraints`` pairs an operator (">=", ">",
    "<=", "<", "in", "psd") with its operand (None for psd; Interval for in).
    """

    name: Name
    shape: tuple[Expr, ...]
    domain: tuple[Name, ...] | None
    constraints: tuple[tuple[str, Expr | Interval | None], ...]
    init: Expr | None
    span: Span


# --- statements -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelStatement:
    """``model adr1d``."""

    name: Name
    span: Span


@dataclass(frozen=True, slots=True)
class DimStatement:
    """``dim d = 16``."""

    name: Name
    size: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class GridStatement:
    """``grid x[64] on [0, 1), y[64] on [0, 1]``."""

    axes: tuple[Axis, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Declaration:
    """``field``, ``param`` or ``input`` (the ``kind``) with its declared arrays."""

    kind: str
    items: tuple[Declared, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class TargetStatement:
    """``target y(x)``, ``target label: class``, ``target y(x,t) every 4``."""

    declared: Declared
    classes: bool
    every: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class KernelStatement:
    """``kernel K(r; σ, c) = …``; ``variables`` before the semicolon.

    ``interval`` is what ``on [-h, h]`` says: outside it the kernel is zero.
    """

    name: Name
    variables: tuple[Name, ...]
    parameters: tuple[Name, ...]
    body: Expr
    span: Span
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class ConstStatement:
    """``const γ = 1, c = 2``."""

    items: tuple[tuple[Name, Expr], ...]
    span: Span


@dataclass(frozen=True, slots=True)
class EvolutionStatement:
    """``dz/dt = rhs``; ``name`` is the field."""

    name: Name
    rhs: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Equation:
    """``left = right`` elsewhere: a definition, a function, ``ω = 0.5``, ``dt = 1``.

    Stage 2 classifies it: ``f(s) = …`` has a Juxtaposition (Name, Group) on its left.
    """

    left: Expr
    right: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class AtStatement:
    """``at x = 0: T = 1``, ``at x, y: ∂z = 0``, ``at t = 0: z = img``.

    ``place`` is None where no ``= value`` was written (all sides of the axes).
    """

    axes: tuple[Name, ...]
    place: Expr | None
    left: Expr
    right: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class ReadoutStatement:
    """``readout logits[10] = integral(R z) + c``."""

    declared: Declared
    body: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class LossStatement:
    """``loss = mean((z - y)²)/2``."""

    body: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class SettingStatement:
    """``steps 16``, ``accuracy 4``, ``scheme implicit``, ``dtype float32``.

    ``value`` is a Name for scheme and dtype, an expression otherwise.
    """

    key: str
    value: Expr
    span: Span


Statement = (
    ModelStatement
    | DimStatement
    | GridStatement
    | Declaration
    | TargetStatement
    | KernelStatement
    | ConstStatement
    | EvolutionStatement
    | Equation
    | AtStatement
    | ReadoutStatement
    | LossStatement
    | SettingStatement
)


@dataclass(frozen=True, slots=True)
class Tree:
    """The statements of one file in source order.

    ``unread`` holds the words that lines with a syntax error may have declared, and
    ``dz/dt`` for the equations among them (``unread.py``).
    """

    statements: tuple[Statement, ...]
    unread: frozenset[str] = frozenset()
