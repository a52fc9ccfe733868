"""Source text: what the user wrote, and where each piece of it stands.

Input: a file or a string.  Output: a :class:`Source`, whose text is NFC with "\\n" line
ends.  Every later stage points into it with a :class:`Span`, for instance

    source = from_text("dz/dt = -γ z", "decay.npde")
    source.excerpt(Span(8, 12))     →  "-γ z"
    source.location(Span(8, 12))    →  "decay.npde:1"
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

from pdec.errors import Diagnostic, ModelErrors, UsageError

MAX_BYTES = 1 << 20
MAX_COLUMNS = 10_000

# C0 and C1 controls except tab and newline, lone surrogates, and the bidirectional
# controls that make a text read differently from how it runs (CVE-2021-42574).
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_BIDIRECTIONAL = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range ``[start, end)`` of code points of ``Source.text``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Source:
    """A model's text, its file's base name and, for errors, the path that was given."""

    name: str
    text: str
    path: str = ""

    def position(self, offset: int) -> tuple[int, int]:
        """Return the 1-based line and column of a code point."""
        before = self.text[:offset]
        return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1

    def line(self, number: int) -> str:
        """Return a line, counted from 1, without its line end."""
        return self.text.split("\n")[number - 1]

    def location(self, span: Span) -> str:
        """Return where a span starts: ``adr1d.npde:14``."""
        return f"{self.name}:{self.position(span.start)[0]}"

    def excerpt(self, span: Span) -> str:
        """Return the text of a span."""
        return self.text[span.start : span.end]

    @property
    def digest(self) -> str:
        """The SHA-256 of the text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read(path: str | os.PathLike[str]) -> Source:
    """Read a model from a UTF-8 file.

    Raises ``UsageError`` where the file cannot be opened and ``ModelErrors`` where its
    content is not the text of a model.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"there is no file '{file}'") from None
    except IsADirectoryError:
        raise UsageError(f"'{file}' is a folder, not a model file") from None
    except PermissionError:
        raise UsageError(f"no permission to read '{file}'") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read '{file}': {reason}") from None
    return replace(from_bytes(data, file.name), path=str(path))


def from_bytes(data: bytes, name: str = "<model>") -> Source:
    """Decode and normalise the bytes of a model; refuse what is not UTF-8."""
    if len(data) > MAX_BYTES:
        raise _too_large(name)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(name, data, error) from None
    return from_text(text, name)


def from_text(text: str, name: str = "<model>") -> Source:
    """Normalise a model given as a string and refuse what no model may contain."""
    source = Source(name, _normalise(text))
    if len(source.text) > MAX_BYTES or len(text) > MAX_BYTES:
        raise _too_large(name)
    _refuse_characters(source)
    _refuse_long_lines(source)
    if len(source.text.encode()) > MAX_BYTES:
        raise _too_large(name)
    return source


def _normalise(text: str) -> str:
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", text)


def _refuse_characters(source: Source) -> None:
    for pattern, kind in ((_CONTROL, "control"), (_BIDIRECTIONAL, "text-direction")):
        if found := pattern.search(source.text):
            message = f"the {kind} character U+{ord(found[0]):04X} is not allowed"
            # A lone surrogate could not be printed with the line that contains it.
            shown = Source(source.name, _CONTROL.sub("\ufffd", source.text))
            raise _refusal(shown, message, found.start(), "delete it")


def _refuse_long_lines(source: Source) -> None:
    start = 0
    for line in source.text.split("\n"):
        if len(line) > MAX_COLUMNS:
            message = f"this line is longer than {MAX_COLUMNS} characters"
            hint = "an open bracket, or an operator at its start, continues a line"
            raise _refusal(source, message, start + MAX_COLUMNS, hint)
        start += len(line) + 1


def _too_large(name: str) -> ModelErrors:
    message = f"a model file has at most {MAX_BYTES // 1024} KiB"
    return _refusal(Source(name, ""), message, 0, "is this the right file?")


def _not_utf8(name: str, data: bytes, error: UnicodeDecodeError) -> ModelErrors:
    before = _normalise(data[: error.start].decode("utf-8"))
    shown = _normalise(data.decode("utf-8", errors="replace"))
    message = f"byte 0x{data[error.start]:02x} is not valid UTF-8"
    source = Source(name, _CONTROL.sub("\ufffd", shown))
    return _refusal(source, message, len(before), "save the file as UTF-8")


def _refusal(source: Source, message: str, start: int, hint: str) -> ModelErrors:
    diagnostic = Diagnostic(message, Span(start, start + 1), hint)
    return ModelErrors(source, (diagnostic,))
