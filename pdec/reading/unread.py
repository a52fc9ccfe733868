"""Unread lines: what a line that could not be parsed was about.

Input: the text of a logical line with a syntax error.  Output: the words that it may
have declared, so that the stages behind it stay silent about their absence:

    param W0 = 0.5          →   {param, W0, …}      no "unknown name 'W0'" further down
    dz/dt = -(z - f z))     →   {dz/dt}             no "the field 'z' has no equation"
"""

from __future__ import annotations

import re

from pdec.errors import suggest
from pdec.reading.spelling import (
    GREEK,
    LOOK_ALIKES,
    STATEMENT_WORDS,
    SUBSCRIPTS,
    canonical,
)

_LETTERS = "A-Za-z" + "".join(GREEK)
_WORD = re.compile(f"[{_LETTERS}][{_LETTERS}0-9_{''.join(SUBSCRIPTS)}]*")
_RATE = re.compile(rf"d({_WORD.pattern})\s*/\s*dt")
_DECLARE_NOTHING = frozenset({"at", "loss", "steps", "accuracy", "scheme", "dtype"})


def words_of(code: str) -> frozenset[str]:
    """The words that a line may have declared, in their canonical spelling."""
    code = code.translate({ord(strange): a for strange, a in LOOK_ALIKES.items()})
    head, semicolon, tail = code.partition(";")
    if semicolon and not code.startswith("kernel"):
        return words_of(head) | words_of(tail.lstrip())
    rates = {f"d{canonical(found[1])}/dt" for found in _RATE.finditer(code)}
    first = _WORD.match(code)
    word = _statement(first[0]) if first else ""
    if word in _DECLARE_NOTHING:
        declared = ""
    elif word in STATEMENT_WORDS and word != "readout":
        declared = code
    else:
        declared = code.partition("=")[0]
    words = {canonical(found[0]) for found in _WORD.finditer(declared)}
    return frozenset(words | rates | ({word} if word else set()))


def _statement(word: str) -> str:
    """The word that starts a statement, or the one that was probably meant."""
    if word in STATEMENT_WORDS or len(word) < 3:
        return word
    return suggest(word, STATEMENT_WORDS) or word
