"""Claims: which statement of a file is the first to declare each name.

Stage 2, before anything is declared: statements are read in an order that suits the
compiler (constants, then the grid, then arrays), and a name declared twice belongs to
the one that stands first in the file.

    param W init 1  ⏎  const W = 2   →   {"W": Claim("param", <place of the first W>)}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pdec.reading import tree
from pdec.source import Span


class Claim(NamedTuple):
    """What a name is declared as, and where for the first time."""

    kind: str
    span: Span


def claims(statements: Iterable[tree.Statement]) -> dict[str, Claim]:
    """The first declaration of every name of a file."""
    found: dict[str, Claim] = {}
    for statement in statements:
        for name, kind in _declared(statement):
            found.setdefault(name.name, Claim(kind, name.span))
    return found


def _declared(statement: tree.Statement) -> Iterator[tuple[tree.Name, str]]:
    """The names that a statement declares, each with the word for what it is."""
    if isinstance(statement, tree.DimStatement):
        yield statement.name, "dim"
    elif isinstance(statement, tree.KernelStatement):
        yield statement.name, "kernel"
    elif isinstance(statement, tree.GridStatement):
        yield from ((axis.name, "axis") for axis in statement.axes)
    elif isinstance(statement, tree.Declaration):
        yield from ((item.name, statement.kind) for item in statement.items)
    elif isinstance(statement, tree.TargetStatement):
        yield statement.declared.name, "target"
    elif isinstance(statement, tree.ReadoutStatement):
        yield statement.declared.name, "readout"
    elif isinstance(statement, tree.ConstStatement):
        yield from ((name, "constant") for name, _ in statement.items)
    elif isinstance(statement, tree.Equation):
        yield from _defined(statement.left)


def _defined(left: tree.Expr) -> Iterator[tuple[tree.Name, str]]:
    if isinstance(left, tree.Name):
        yield left, "definition"
    elif isinstance(left, tree.Juxtaposition) and isinstance(left.items[0], tree.Name):
        yield left.items[0], "function"
