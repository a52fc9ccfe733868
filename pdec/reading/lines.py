"""Logical lines: the text of a model cut into statements.

Input: a Source.  Output: the span of each logical line, and the text with its comments
blanked (same length, so that offsets stay those of the source).  A line continues while
a bracket is open and where the next one starts with an operator or closing bracket:

    dz/dt = -γ(z - f(W0 z      # a relaxation
                   + W1 ∂z))   →   one logical line of two physical ones

Brackets are counted without matching kinds, because of ``[0, 1)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pdec.errors import Reporter
from pdec.reading.spelling import STATEMENT_WORDS
from pdec.source import Span

MAX_NESTING = 100
MAX_LINE = 20_000
MAX_SHOWN = 60

_COMMENT = re.compile("#[^\n]*")
_CONTINUES = frozenset("+-−*·⋅/^=,:)]<>≤≥")
_STARTS = re.compile(rf"(?:{'|'.join(STATEMENT_WORDS)})(?!\w)|d\w+\s*/\s*dt\s*=")


@dataclass(frozen=True, slots=True)
class Line:
    """A logical line; ``broken`` if its brackets were already reported."""

    span: Span
    broken: bool


def blank_comments(text: str) -> str:
    """Replace each comment by as many spaces."""
    return _COMMENT.sub(lambda found: " " * len(found[0]), text)


def shown(text: str) -> str:
    """Return a piece of a model as messages quote it: on one line, and not too long."""
    words = " ".join(blank_comments(text).split())
    return words if len(words) <= MAX_SHOWN else words[: MAX_SHOWN - 1] + "…"


def logical_lines(text: str, reporter: Reporter) -> Iterator[Line]:
    """Yield the logical lines of a text without comments; report its brackets."""
    current: _Open | None = None
    for start, line in _physical_lines(text):
        code = line.strip(" \t")
        if not code:
            continue
        first = start + line.index(code)
        if current is None or not current.continued_by(code):
            if current is not None:
                yield current.close(reporter)
            current = _Open(first)
        current.add(first, code)
    if current is not None:
        yield current.close(reporter)


def whole_text(text: str, reporter: Reporter) -> Line | None:
    """Return all of a text without comments as one logical line, None if blank."""
    code = text.strip(" \t\n")
    if not code:
        return None
    line = _Open(text.index(code))
    line.add(line.start, code)
    return line.close(reporter)


def _physical_lines(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    for line in text.split("\n"):
        yield start, line
        start += len(line) + 1


class _Open:
    """A logical line that is still growing."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.brackets: list[tuple[str, int]] = []
        self.deepest: int | None = None
        self.unopened: list[tuple[str, int]] = []

    def continued_by(self, code: str) -> bool:
        if code[0] in _CONTINUES:
            return True
        # A statement word is no name, so here the bracket was forgotten, and stopping
        # keeps the rest of the file out of the mistake.
        return bool(self.brackets) and not _STARTS.match(code)

    def add(self, start: int, code: str) -> None:
        self.end = start + len(code)
        for offset, character in enumerate(code, start):
            if character in "([":
                self.brackets.append((character, offset))
                if len(self.brackets) == MAX_NESTING + 1:
                    self.deepest = offset
            elif character in ")]":
                if self.brackets:
                    self.brackets.pop()
                else:
                    self.unopened.append((character, offset))

    def close(self, reporter: Reporter) -> Line:
        for bracket, offset in self.brackets[-1:]:
            closing = ")" if bracket == "(" else "]"
            message = f"'{bracket}' is never closed"
            reporter.error(message, Span(offset, offset + 1), f"add `{closing}`")
        for bracket, offset in self.unopened[:1]:
            message = f"'{bracket}' has no opening bracket"
            hint = "delete it, or open a bracket before it"
            reporter.error(message, Span(offset, offset + 1), hint)
        if self.deepest is not None:
            message = f"brackets are nested more than {MAX_NESTING} deep"
            hint = "give the inner part a name: `Z = …`"
            reporter.error(message, Span(self.deepest, self.deepest + 1), hint)
        if self.end - self.start > MAX_LINE:
            message = f"this statement is longer than {MAX_LINE} characters"
            hint = "give parts of it a name: `Z = …`"
            reporter.error(message, Span(self.start, self.start + 1), hint)
        broken = (
            self.brackets
            or self.unopened
            or self.deepest is not None
            or self.end - self.start > MAX_LINE
        )
        return Line(Span(self.start, self.end), bool(broken))
