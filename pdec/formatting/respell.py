"""Respell: the pieces of a statement in their Unicode or ASCII spelling.

Input: pieces of a line as written.  Output: the same with other spellings, where they
mean exactly the same; a line for which they would not is left as it is.

    γ ∂²z  ↔  gamma d2/dx2 z  (where x is the only axis)    v² ↔ v^2    W₀ ↔ W0

The canonical name of a name never changes (``spelling.canonical``), and comments are
not touched.
"""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from pdec.errors import ModelErrors
from pdec.formatting.pieces import Context, Piece, is_subscript
from pdec.reading import tree
from pdec.reading.parser import parse
from pdec.reading.spelling import GREEK, SUBSCRIPTS, SUPERSCRIPTS, canonical
from pdec.source import Span, from_text


class Spelling(Enum):
    """Which of two equal spellings a text is written in."""

    KEPT = "kept"
    UNICODE = "unicode"
    ASCII = "ascii"


_RAISED = {plain: raised for raised, plain in SUPERSCRIPTS.items()}
_LOWERED = {plain: lowered for lowered, plain in SUBSCRIPTS.items() if plain.isdigit()}
_LETTERS = {name: letter for letter, name in reversed(GREEK.items())}
_SIGNS = {
    Spelling.ASCII: {"UNARY": "-", "MINUS": "-", "DOT": "*", "GE": ">=", "LE": "<="},
    Spelling.UNICODE: {"STAR": "·", "DOT": "·", "CROSS": "·", "GE": "≥", "LE": "≤"},
}
_NAME = re.compile(r"([^\W\d_]+?_?)([0-9₀-₉]*)((?:_\w*)?)")
_FACTOR = re.compile(r"d([A-Za-z])([0-9²³⁴]?)")
_WORDS = frozenset({"MODEL", "SCHEME", "DTYPE"})  # what follows is no quantity
_POSTFIX = frozenset({"SUPERSCRIPT", "TRANSPOSE", "LSQB", "CARET"})


def respell(
    line: tuple[Piece, ...], known: Context, spelling: Spelling
) -> tuple[Piece, ...]:
    """Return a line in another spelling, or as it is where that would differ."""
    if spelling is Spelling.KEPT or line[0].kind in _WORDS:
        return line
    result: list[Piece] = []
    place = 0
    while place < len(line):
        made, taken = _one(line, place, known, spelling)
        result += made
        place += taken
    changed = tuple(result)
    return changed if _equal(line, changed, known) else line


def _equal(before: tuple[Piece, ...], after: tuple[Piece, ...], known: Context) -> bool:
    """Tell whether two spellings of a statement mean the same."""
    grid = "".join(f"grid {axis}[1] on [0, 1)\n" for axis in known.axes)
    try:
        first, second = (
            meaning(parse(from_text(grid + " ".join(piece.text for piece in line))))
            for line in (before, after)
        )
    except ModelErrors:
        return False
    return bool(first == second)


def _one(
    line: tuple[Piece, ...], place: int, known: Context, spelling: Spelling
) -> tuple[list[Piece], int]:
    """Respell what starts at a place; return it and how many pieces it takes up."""
    piece = line[place]
    following = line[place + 1] if place + 1 < len(line) else None
    if piece.kind in _SIGNS[spelling]:
        return [_like(piece, _SIGNS[spelling][piece.kind])], 1
    if piece.kind in {"NAME", "SUBSCRIPT", "EVOLUTION"}:
        return [_like(piece, _name(piece, spelling))], 1
    if piece.kind in {"NABLA_POWER", "LAPLACIAN"}:
        ascii = spelling is Spelling.ASCII
        kind, text = ("LAPLACIAN", "laplacian") if ascii else ("NABLA_POWER", "∇²")
        return [Piece(kind, text, piece.span)], 1
    if piece.kind == "PARTIAL" and spelling is Spelling.ASCII:
        return _by_letters(piece, following, line[0].kind, known)
    if piece.kind == "PARTIAL":
        return [_like(piece, piece.text[0] + _raised(piece.text[1:].strip("^")))], 1
    if piece.kind == "D_BY_D" and spelling is Spelling.UNICODE:
        return _by_sign(piece, following, line[0].kind, known), 1
    if piece.kind == "D_BY_D":
        return [_like(piece, _plain(piece.text))], 1
    if piece.kind == "SUPERSCRIPT" and spelling is Spelling.ASCII:
        return _caret(line, place), 1
    if piece.kind == "CARET" and spelling is Spelling.UNICODE:
        return _superscript(line, place)
    return [piece], 1


def _like(piece: Piece, text: str) -> Piece:
    return Piece(piece.kind, text, piece.span)


# --- names ------------------------------------------------------------------------


def _name(piece: Piece, spelling: Spelling) -> str:
    if piece.kind == "EVOLUTION":
        name, _, rest = piece.text[1:].partition("/")
        return f"d{_spelt(name, spelling)}/{rest}"
    return _spelt(piece.text, spelling)


def _spelt(name: str, spelling: Spelling) -> str:
    """``γ₀`` ↔ ``gamma0``; a name stays where its canonical form would change."""
    if spelling is Spelling.ASCII:
        changed = name if name.isascii() else canonical(name)
    else:
        changed = _with_letters(name)
    return changed if canonical(changed) == canonical(name) else name


def _with_letters(name: str) -> str:
    found = _NAME.fullmatch(name)
    if found is None:
        return name
    stem, digits, rest = found.groups()
    letter = _LETTERS.get(stem.removesuffix("_"), stem)
    if letter == stem or canonical(letter) != stem:
        letter = _LETTERS.get(stem, stem)
    return letter + "".join(_LOWERED.get(digit, digit) for digit in digits) + rest


# --- powers -----------------------------------------------------------------------


def _plain(text: str) -> str:
    return "".join(SUPERSCRIPTS.get(letter, letter) for letter in text)


def _raised(text: str) -> str:
    return "".join(_RAISED.get(letter, letter) for letter in text)


def _caret(line: tuple[Piece, ...], place: int) -> list[Piece]:
    """``v²`` → ``v^2``, unless the power is itself raised or transposed."""
    piece = line[place]
    following = line[place + 1].kind if place + 1 < len(line) else ""
    if following in _POSTFIX or line[place - 1].kind == "SUPERSCRIPT":
        return [piece]
    digits = _plain(piece.text)
    made = [Piece("CARET", "^", piece.span)]
    if digits.startswith("-"):
        made.append(Piece("UNARY", "-", piece.span))
    return [*made, Piece("NUMBER", digits.lstrip("-"), piece.span)]


def _superscript(line: tuple[Piece, ...], place: int) -> tuple[list[Piece], int]:
    """``v^2`` → ``v²``, ``v^-1`` → ``v⁻¹``, where a whole number is all there is."""
    end = place + 1 + (line[place + 1].kind == "UNARY")
    number = line[end]
    following = line[end + 1].kind if end + 1 < len(line) else ""
    if not number.text.isdecimal() or following in _POSTFIX:
        return [line[place]], 1
    sign = "⁻" if end > place + 1 else ""
    span = Span(line[place].span.start, number.span.end)
    return [Piece("SUPERSCRIPT", sign + _raised(number.text), span)], end + 1 - place


# --- derivatives ------------------------------------------------------------------


def _by_letters(
    piece: Piece, following: Piece | None, statement: str, known: Context
) -> tuple[list[Piece], int]:
    """``∂xx z`` → ``d2/dx2 z``; a bare ∂ only where the grid has one axis."""
    order = _order(piece.text)
    taken = 1
    if following is not None and following.kind == "SUBSCRIPT":
        letters = canonical(following.text)
        letters = letters * order if len(letters) == 1 else letters
        taken = 2
        if letters[0] == "n" and (statement == "AT" or "n" not in known.axes):
            return [_like(piece, _caret_order(order)), following], taken
    elif len(known.axes) == 1:
        letters = known.axes[0] * order
    else:
        return [_like(piece, _caret_order(order))], taken
    powers = [
        f"d{axis}{count if (count := letters.count(axis)) > 1 else ''}"
        for axis in dict.fromkeys(letters)
    ]
    above = "d" if len(letters) == 1 else f"d{len(letters)}"
    return [Piece("D_BY_D", f"{above}/{''.join(powers)}", piece.span)], taken


def _order(text: str) -> int:
    return int(_plain(text[1:]).strip("^") or "1")


def _caret_order(order: int) -> str:
    return "∂" if order == 1 else f"∂^{order}"


def _by_sign(
    piece: Piece, following: Piece | None, statement: str, known: Context
) -> list[Piece]:
    """``d2/dx2 z`` → ``∂²z`` where the grid has one axis, else ``∂xx z``."""
    letters = "".join(
        axis * int(_plain(count) or "1")
        for axis, count in _FACTOR.findall(piece.text.partition("/")[2])
    )
    if not letters or not set(letters) <= set(known.axes):
        return [_like(piece, _plain(piece.text))]
    taken_for_axes = (
        following is not None
        and following.kind == "NAME"
        and is_subscript(following.text, known)
    )
    if len(known.axes) == 1 and not taken_for_axes:
        power = "" if len(letters) == 1 else _raised(str(len(letters)))
        return [Piece("PARTIAL", f"∂{power}", piece.span)]
    if statement == "AT" and letters == "n":
        return [piece]
    sign = Piece("PARTIAL", "∂", piece.span)
    return [sign, Piece("SUBSCRIPT", letters, piece.span)]


# --- what a tree means ------------------------------------------------------------


def meaning(syntax: tree.Tree, *, spelled: bool = False) -> Any:
    """Return a tree without its spans, as nested tuples that can be compared.

    ``spelled`` keeps the spelling of names and numbers; without it, ``∂²z`` and
    ``d2/dx2 z`` are one on a grid whose only axis is x, as are ``∂x z`` and ``d/dx z``.
    """
    grids = [item for item in syntax.statements if isinstance(item, tree.GridStatement)]
    axes = tuple(axis.name.name for grid in grids for axis in grid.axes)
    return _plainly(syntax.statements, None if spelled else axes)


def _plainly(node: Any, axes: tuple[str, ...] | None) -> Any:
    if isinstance(node, tree.Juxtaposition) and axes is not None:
        return ("Juxtaposition", *_folded(node.items, axes))
    if isinstance(node, tuple):
        return tuple(_plainly(item, axes) for item in node)
    if not is_dataclass(node):
        return node
    if isinstance(node, tree.Number | tree.Name | tree.Derivative):
        return _leaf(node, axes)
    parts = (getattr(node, item.name) for item in fields(node) if item.name != "span")
    return (type(node).__name__, *(_plainly(part, axes) for part in parts))


def _leaf(
    node: tree.Number | tree.Name | tree.Derivative, axes: tuple[str, ...] | None
) -> Any:
    if isinstance(node, tree.Derivative):
        text = "".join(node.text.split()) if axes is None else ""
        return ("Derivative", node.kind, node.order, node.axes, text)
    if isinstance(node, tree.Number):
        return ("Number", node.text if axes is None else _plain(node.text))
    return ("Name", node.name, node.text if axes is None else "")


def _folded(items: tuple[tree.Expr, ...], axes: tuple[str, ...]) -> list[Any]:
    """Give every ∂ its axes, where it has subscripts or the grid has one axis."""
    result: list[Any] = []
    place = 0
    while place < len(items):
        item, place = items[place], place + 1
        if not isinstance(item, tree.Derivative) or item.kind != "partial":
            result.append(_plainly(item, axes))
            continue
        along = item.axes
        behind = items[place] if place + 1 < len(items) else None
        if along is None and isinstance(behind, tree.Name):
            if behind.name == "n" or all(letter in axes for letter in behind.name):
                along = tuple(behind.name)
                along = along * item.order if len(along) == 1 else along
                place += 1
        if along is None and len(axes) == 1:
            along = axes * item.order
        result.append(("partial", item.order if along is None else 0, along))
    return result
