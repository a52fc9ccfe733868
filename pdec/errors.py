"""Errors: what is told to the user, and where it points.

    PdecError
    ├── UsageError      a bad option, a missing file
    └── ModelErrors     all mistakes of one model text, each a Diagnostic

A stage collects its diagnostics in a :class:`Reporter` and raises them together; each
is rendered with its line, a caret and a hint:

    adr1d.npde:6:10: error: found '=' where 'init' was expected
        param W0 = 0.5
                 ^
    hint: write `param W0 init 0.5`
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # source.py raises these errors, so it is the one that imports
    from pdec.source import Source, Span

MAX_SHOWN = 20
_INDENT = "    "
_TAB = "    "
_MAX_WIDTH = 100
_CONTEXT = 60


class PdecError(Exception):
    """The base of every error that is the user's to mend."""


class UsageError(PdecError):
    """A bad option or a missing file; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake (or, with severity "warning", one doubt) and what to do about it."""

    message: str
    span: Span
    hint: str | None = None
    severity: str = "error"


class ModelErrors(PdecError):
    """All the mistakes found in a model; ``str()`` is their rendered text."""

    def __init__(self, source: Source, diagnostics: Iterable[Diagnostic]) -> None:
        self.source = source
        self.diagnostics = _in_order(diagnostics)
        super().__init__(source, self.diagnostics)

    def __str__(self) -> str:
        return render(self.source, self.diagnostics)


class Reporter:
    """Collects diagnostics in any order and raises them in source order."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._found: list[Diagnostic] = []

    def error(self, message: str, span: Span, hint: str | None = None) -> None:
        """Add a mistake."""
        self._found.append(Diagnostic(message, span, hint))

    def warning(self, message: str, span: Span, hint: str | None = None) -> None:
        """Add a doubt, which does not stop the compiler."""
        self._found.append(Diagnostic(message, span, hint, "warning"))

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Everything reported so far, in source order and without repetition."""
        return _in_order(self._found)

    @property
    def count(self) -> int:
        """How much has been reported so far."""
        return len(self._found)

    @property
    def wrong(self) -> bool:
        """Whether a mistake, not only a doubt, was reported."""
        return any(item.severity == "error" for item in self._found)

    def raise_if_errors(self) -> None:
        """Raise ``ModelErrors`` if a mistake, not only a doubt, was reported."""
        if self.wrong:
            raise ModelErrors(self.source, self._found)


def render(source: Source, diagnostics: Iterable[Diagnostic]) -> str:
    """Render diagnostics as plain text, at most ``MAX_SHOWN`` of them."""
    found = tuple(diagnostics)
    blocks = [_render_one(source, item) for item in found[:MAX_SHOWN]]
    if len(found) > MAX_SHOWN:
        blocks.append(f"… and {len(found) - MAX_SHOWN} more")
    return "\n".join(blocks)


def suggest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate nearest to a misspelt name, or None if none is near."""
    names = sorted(set(candidates))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not near:
        folded = {item.casefold(): item for item in names}
        close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
        near = [folded[item] for item in close]
    return near[0] if near else None


def split_name(name: str, known: Iterable[str]) -> tuple[str, str] | None:
    """Cut ``πr`` into two known names; None where it cannot be cut."""
    names = set(known)
    cuts = ((name[:place], name[place:]) for place in range(1, len(name)))
    return next((cut for cut in cuts if names.issuperset(cut)), None)


def _in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    unique = dict.fromkeys(diagnostics)
    return tuple(sorted(unique, key=lambda item: (item.span.start, item.span.end)))


def _render_one(source: Source, item: Diagnostic) -> str:
    row, column = source.position(item.span.start)
    line = source.line(row)
    start = column - 1
    # A span over several lines is marked on its first line.
    end = min(start + item.span.end - item.span.start, len(line))
    line, start, end = _clip(line, start, end)
    margin = " " * _width(line[:start])
    carets = "^" * max(_width(line[start:end]), 1)
    text = (
        f"{source.path or source.name}:{row}:{column}: {item.severity}: {item.message}"
    )
    if line.strip():
        text += f"\n{_INDENT}{line.replace(chr(9), _TAB)}\n{_INDENT}{margin}{carets}"
    if item.hint:
        text += f"\nhint: {item.hint}"
    return text


def _clip(line: str, start: int, end: int) -> tuple[str, int, int]:
    """Cut a long line to the surroundings of the columns [start, end)."""
    if len(line) <= _MAX_WIDTH:
        return line, start, end
    first = max(start - _CONTEXT, 0)
    last = min(first + _MAX_WIDTH, len(line))
    left = "…" if first else ""
    right = "…" if last < len(line) else ""
    shift = first - len(left)
    return left + line[first:last] + right, start - shift, min(end, last) - shift


def _width(text: str) -> int:
    """Count the terminal columns of a text: 0 for combining marks, 2 for wide ones."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if character == "\t":
        return len(_TAB)
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
