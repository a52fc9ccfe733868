"""Pieces: the tokens of one statement, each with the part that it plays in the line.

Input: a parsed text and the span of a logical line.  Output: its pieces, for the layout
(``layout.py``) and for the other spelling (``respell.py``).  A token has a kind of its
own where the same sign plays two parts:

    -γ ∂x z - U·∇z   →   UNARY γ PARTIAL SUBSCRIPT z MINUS U CROSS NABLA z
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from typing import Any

from pdec.reading import tree
from pdec.reading.parser import tokens
from pdec.reading.spelling import canonical
from pdec.source import Span

OPENING = frozenset({"LPAR", "FACTOR", "LSQB"})
CLOSING = frozenset({"RPAR", "RSQB"})
SIGNS = frozenset({"PARTIAL", "NABLA", "NABLA_DOT", "NABLA_POWER", "ROOT"})
"""Signs that stand directly before their operand."""

_OPERAND_ENDS = CLOSING | {"NAME", "SUBSCRIPT", "NUMBER", "SUPERSCRIPT", "TRANSPOSE"}
_OPERAND_STARTS = SIGNS | {"NAME", "LPAR", "D_BY_D", "LAPLACIAN", "NUMBER"}
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Piece:
    """One token: its kind, how it is written, and its place in the source."""

    kind: str
    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Context:
    """What a text declares that its layout depends on.

    ``axes`` are the letters of its grid; ``crosses`` are the gaps between the operands
    of each dot product with ∇, where the ``·`` stands; ``factors`` are where brackets
    open that are a product with the name before, and are written with a space.
    """

    axes: tuple[str, ...]
    crosses: frozenset[Span]
    factors: frozenset[int]


def context(syntax: tree.Tree) -> Context:
    """Collect the axes, the dot products and the factors in brackets of a text."""
    grids = [item for item in syntax.statements if isinstance(item, tree.GridStatement)]
    axes = tuple(axis.name.name for grid in grids for axis in grid.axes)
    nodes = tuple(_nodes(syntax))
    crosses = {
        Span(node.left.span.end, node.right.span.start)
        for node in nodes
        if isinstance(node, tree.Binary) and node.op == "."
    }
    return Context(axes, frozenset(crosses), frozenset(_factors(nodes, axes)))


def _factors(nodes: tuple[Any, ...], axes: tuple[str, ...]) -> Iterator[int]:
    """Find the brackets of ``a u (1 - u)``, which is no call, nor ``W0(x)``.

    What stands somewhere with no bracket behind it is no function.  A space before the
    bracket is kept behind the first factor, ``γ(z - f)``, and is set behind others.
    """
    found = []
    for items in (node.items for node in nodes if isinstance(node, tree.Juxtaposition)):
        for first, group in pairwise(items):
            name = getattr(first, "base", first)
            if isinstance(name, tree.Name) and isinstance(group, tree.Group):
                spaced = first is not items[0] or first.span.end < group.span.start
                found.append((name, group, spaced))
    heads = {id(name) for name, _, _ in found}
    names = [node for node in nodes if isinstance(node, tree.Name)]
    values = {node.name for node in names if id(node) not in heads}
    for name, group, spaced in found:
        inside = {getattr(item, "name", "") for item in group.items}
        if spaced and name.name in values and not inside <= {*axes, "t"}:
            yield group.span.start


def pieces(text: str, span: Span, known: Context) -> tuple[Piece, ...]:
    """Cut a logical line, which has been parsed before, into its pieces."""
    found = [
        Piece(token.type, _BLANKS.sub("", str(token)), _span(token))
        for token in tokens(text, span)
    ]
    crosses = sorted(known.crosses, key=lambda gap: gap.start)
    result: list[Piece] = []
    for place, piece in enumerate(found):
        following = found[place + 1].kind if place + 1 < len(found) else ""
        before = result[-1].kind if result else ""
        kind = piece.kind
        if kind == "MINUS" and before not in _OPERAND_ENDS:
            kind = "UNARY"
        elif kind == "DOT" and any(
            gap.start <= piece.span.start < gap.end for gap in crosses
        ):
            kind = "CROSS"
        elif kind == "LPAR" and piece.span.start in known.factors:
            kind = "FACTOR"
        elif kind == "NAME" and before == "PARTIAL" and following in _OPERAND_STARTS:
            kind = "SUBSCRIPT" if is_subscript(piece.text, known) else "NAME"
        result.append(Piece(kind, piece.text, piece.span))
    return tuple(result)


def is_subscript(text: str, known: Context) -> bool:
    """Tell whether a name behind ∂ says along which axes: ``∂xy z``, ``∂n z``."""
    letters = canonical(text)
    return letters == "n" or all(letter in known.axes for letter in letters)


def _span(token: Any) -> Span:
    return Span(token.start_pos, token.end_pos)


def _nodes(root: Any) -> Iterator[Any]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, tuple):
            waiting += node
        elif is_dataclass(node) and not isinstance(node, Span):
            yield node
            waiting += [getattr(node, field.name) for field in fields(node)]
