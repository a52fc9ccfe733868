"""Layout: a model's text → the same text in its canonical form.

Input: a Source without syntax errors.  Output: its text with one statement a line,
spaces where the precedence of the language suggests them, and aligned comments:

    param W0  init 0.5 # amplitude     →   param W0 init 0.5        # amplitude
    param W2>=0 init 5e-5 # diffusion      param W2 >= 0 init 5e-5  # diffusion

Numbers stay as written; comments and single blank lines stay where they stand.  A
statement longer than ``WIDTH`` is broken before an operator.  The text means what it
meant: both trees are compared before anything is returned.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pdec.errors import ModelErrors, Reporter
from pdec.formatting.pieces import (
    CLOSING,
    OPENING,
    SIGNS,
    Context,
    Piece,
    context,
    pieces,
)
from pdec.formatting.respell import Spelling, meaning, respell
from pdec.reading import tree
from pdec.reading.lines import blank_comments, logical_lines
from pdec.reading.parser import parse
from pdec.source import Source, Span, from_text

__all__ = ["WIDTH", "Spelling", "format_model"]

WIDTH = 88
INDENT = "    "
ALIGNED = 60  # a line longer than this does not push its neighbours' comments away
GAP = "  "  # before a comment

_SPACED = frozenset(
    {"PLUS", "MINUS", "STAR", "DOT", "EQUAL", "GE", "GT", "LE", "LT", "COLON"}
)
_TIGHT_BEFORE = CLOSING | {"COMMA", "SEMICOLON", "COLON", "SLASH", "CARET", "CROSS"}
_TIGHT_AFTER = OPENING | SIGNS | {"SLASH", "CARET", "UNARY", "CROSS"}
_DECLARING = frozenset({"FIELD", "PARAM", "INPUT", "TARGET", "READOUT"})
_LOOSE = {"PLUS": 0, "MINUS": 0, "STAR": 1, "DOT": 1, "SLASH": 2}


def format_model(source: Source, spelling: Spelling = Spelling.KEPT) -> str:
    """Return the canonical text of a model.

    Raises ``ModelErrors`` where the text has syntax errors.  That the canonical text
    means the same is asserted.
    """
    before = parse(source)
    text = "".join(f"{line}\n" for line in _aligned(_lines(source, before, spelling)))
    try:
        after = parse(from_text(text, source.name))
    except ModelErrors as error:
        raise AssertionError(f"the canonical text has errors: {error}") from error
    kept = spelling is Spelling.KEPT
    same = meaning(before, spelled=kept) == meaning(after, spelled=kept)
    assert same, "the canonical text means something else"
    return text


# --- lines ------------------------------------------------------------------------


@dataclass(slots=True)
class _Out:
    """A line to be written: its code and the comment behind it."""

    code: str
    comment: str = ""


@dataclass(slots=True)
class _Statement:
    """A logical line with its comments: inside it by gap, and behind it."""

    span: Span
    inner: list[Span] = field(default_factory=list)
    behind: str = ""


def _lines(source: Source, syntax: tree.Tree, spelling: Spelling) -> list[_Out]:
    """Write every statement and comment of a text; a blank line is an empty _Out."""
    text, known = source.text, context(syntax)
    code = blank_comments(text)
    found = [_Statement(line.span) for line in logical_lines(code, Reporter(source))]
    alone = _place_comments(text, found)
    result: list[_Out] = []
    end = 0
    every: list[_Statement | Span] = [*found, *alone]
    for item in sorted(every, key=_start):
        start = _start(item)
        if result and text.count("\n", end, start) > 1:
            result.append(_Out(""))
        if isinstance(item, Span):
            result.append(_Out("", _written(text, item)))
            end = item.end
        else:
            result += _statement(text, code, item, known, spelling)
            end = item.span.end
    return result


def _start(item: _Statement | Span) -> int:
    return item.start if isinstance(item, Span) else item.span.start


def _place_comments(text: str, found: list[_Statement]) -> list[Span]:
    """Give each statement its comments; return those that stand alone."""
    alone: list[Span] = []
    waiting = iter(found)
    current: _Statement | None = None
    following = next(waiting, None)
    for comment in _comments(text):
        while following is not None and following.span.start < comment.start:
            current, following = following, next(waiting, None)
        if current is not None and comment.start < current.span.end:
            current.inner.append(comment)
        elif current is not None and "\n" not in text[current.span.end : comment.start]:
            current.behind = _written(text, comment)
        else:
            alone.append(comment)
    return alone


def _comments(text: str) -> list[Span]:
    result: list[Span] = []
    start = text.find("#")
    while start >= 0:
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        result.append(Span(start, end))
        start = text.find("#", end)
    return result


def _written(text: str, comment: Span) -> str:
    return text[comment.start : comment.end].rstrip()


def _aligned(lines: list[_Out]) -> list[str]:
    """Put the comments of adjacent lines below each other."""
    result: list[str] = []
    block: list[_Out] = []
    for line in [*lines, _Out("")]:
        if line.code or line.comment:
            block.append(line)
            continue
        widths = [len(item.code) for item in block if item.comment]
        column = max([width for width in widths if width <= ALIGNED], default=0)
        for item in block:
            own = not item.code.strip()
            behind = item.comment if own else f"{GAP}{item.comment}".rstrip()
            code = item.code if own or not item.comment else item.code.ljust(column)
            result.append(f"{code}{behind}")
        result.append("")
        block = []
    while result and not result[-1]:
        result.pop()
    return result


# --- one statement ----------------------------------------------------------------


def _statement(
    text: str, code: str, item: _Statement, known: Context, spelling: Spelling
) -> list[_Out]:
    """Write one statement over as many lines as it needs."""
    written = pieces(code, item.span, known)
    respelt = respell(written, known, spelling)
    result: list[_Out] = []
    gaps: dict[int, list[Span]] = {}
    for comment in item.inner:
        if any(p.span.start < comment.start < p.span.end for p in written):
            result.append(_Out("", _written(text, comment)))  # inside `d2 / dx2`
            continue
        gap = sum(piece.span.start < comment.start for piece in respelt)
        gaps.setdefault(gap, []).append(comment)
    start = 0
    for gap in [*sorted(gaps), len(respelt)]:
        broken = _broken(respelt, start, gap)
        result += [_Out(line) for line in broken]
        for comment in gaps.get(gap, []):
            first = text.rfind("\n", 0, comment.start) + 1
            if text[first : comment.start].strip() and not result[-1].comment:
                result[-1].comment = _written(text, comment)
            else:
                result.append(_Out(INDENT, _written(text, comment)))
        start = gap
    result[-1].comment = item.behind
    return result


def _broken(line: tuple[Piece, ...], start: int, end: int) -> list[str]:
    """Write the pieces [start, end) of a statement in lines that fit, if they can."""
    result: list[str] = []
    depths = _depths(line)
    while start < end:
        indent = INDENT if start else ""
        text = indent + _joined(line, start, end)
        if len(text) <= WIDTH:
            return [*result, text]
        cut = _cut(line, depths, (start, end), WIDTH - len(indent))
        result.append(indent + _joined(line, start, cut))
        start = cut
    return result


def _depths(line: tuple[Piece, ...]) -> list[int]:
    """Count the brackets that are open before each piece."""
    result, depth = [], 0
    for piece in line:
        result.append(depth)
        depth += (piece.kind in OPENING) - (piece.kind in CLOSING)
    return result


def _cut(
    line: tuple[Piece, ...], depths: list[int], within: tuple[int, int], width: int
) -> int:
    """Choose where to break: the loosest place that fits, and of those the last.

    A place in the first third of the line is taken only where there is no other.
    """
    start, end = within
    best: tuple[bool, int, int] | None = None
    chosen = end
    column = len(line[start].text)
    for place in range(start + 1, end):
        if column > width and best is not None:
            break
        loose = _rank(line, depths, place)
        if loose is not None:
            rank = (column < width // 3, *loose)
            if best is None or rank <= best:
                best, chosen = rank, place
        gap = _spaced(line, place)
        column += gap + len(line[place].text)
    return chosen


def _rank(
    line: tuple[Piece, ...], depths: list[int], place: int
) -> tuple[int, int] | None:
    """How loose a place is, None where the line must not be broken."""
    piece, before, depth = line[place], line[place - 1], depths[place]
    if piece.kind in _LOOSE:
        return depth, _LOOSE[piece.kind]
    if before.kind in {"COMMA", "SEMICOLON"} and depth:
        return depth, -1
    if piece.kind == "COMMA" and not depth:
        return depth, -1
    if depth and _spaced(line, place) and before.kind not in _SPACED:
        return depth, 3
    return None


def _joined(line: tuple[Piece, ...], start: int, end: int) -> str:
    parts = [line[start].text]
    for place in range(start + 1, end):
        parts.append(" " * _spaced(line, place) + line[place].text)
    return "".join(parts)


def _spaced(line: tuple[Piece, ...], place: int) -> bool:
    """Tell whether a space stands before a piece."""
    before, piece = line[place - 1].kind, line[place].kind
    if before in _TIGHT_AFTER or piece in _TIGHT_BEFORE:
        return False
    if before == "COMMA":
        return not _in_shape(line, place)
    if piece in OPENING:
        return _opening_spaced(line, place)
    if piece == "SUPERSCRIPT":
        return before == "SUPERSCRIPT"  # (x²)³ is not x²³
    if piece == "TRANSPOSE":
        return False
    return not (before == "SUBSCRIPT" and piece == "PARTIAL")  # ∂x∂y z


def _opening_spaced(line: tuple[Piece, ...], place: int) -> bool:
    """``f(z)``, ``sin²(z)``, ``W[d]``, ``laplacian(z)``; but ``2 (b)``, ``a u (b)``."""
    before, piece = line[place - 1].kind, line[place].kind
    if piece == "LSQB":
        return before not in CLOSING | {"NAME", "SUPERSCRIPT", "TRANSPOSE"}
    if piece == "FACTOR":
        return True
    if before in {"NAME", "LAPLACIAN"}:
        return False
    if before == "RSQB":
        return line[0].kind not in _DECLARING
    base = line[place - 2].kind if place > 1 else ""
    raised = before == "SUPERSCRIPT" or base == "CARET"
    if before == "NUMBER" and base == "CARET":
        base = line[place - 3].kind if place > 2 else ""
    return not (raised and base == "NAME")


def _in_shape(line: tuple[Piece, ...], place: int) -> bool:
    """Tell whether a place is inside ``[d,d]`` of a declared array."""
    if line[0].kind not in _DECLARING:
        return False
    depths = _depths(line)
    opening = max((at for at in range(place) if depths[at] < depths[place]), default=-1)
    return opening > 0 and (
        [piece.kind for piece in line[opening - 1 : opening + 1]] == ["NAME", "LSQB"]
    )
