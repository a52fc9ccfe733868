"""Mutants of models: one to three small changes of a text, drawn from a seed.

A change is made to characters, to tokens or to lines.  Most mutants are wrong models,
as people write them; the rest are models that nobody thought of.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

WORDS = (
    "∂ ∂² ∂x ∂³ ∂⁵ ∇ ∇² ∇· √ · * / + - − ^ ² ⁻¹ ⁹⁹ ᵀ = ( ) [ ] , : ; # < > >= ≤ _ . "
    "'  0 1 2 3 0.5 1e-300 1e300 1e400 9999999999999999999 64 65 -1 1000000 "
    "4294967296  z x y t n e d u f s γ ω dt W0 π omega gamma lambda model dim grid "
    "field param input  const kernel at steps scheme accuracy dtype target readout "
    "loss class every in  include init laplacian on periodic psd sample tanh exp "
    "log sqrt abs min max where  relu mean sum integral cross_entropy upwind dot "
    "outer normal uniform implicit euler  float32 dz/dt d/dx d2/dx2 ∂²u/∂x² z(0) "
    "z[0] f(z) (x,y) [2,2] [0,1) (z-z) /0 ^0 ^-1  ^0.5 ^(1/3) ^z ^99 0z z/z √(-1) "
    "log(0) exp(99999) exp(exp(exp(99))) "
).split()
CHARACTERS = (
    "abcxyztdnf0123456789.,:;()[]+-*/^=<> \n\t#∂∇²³⁻√·−γωπλσ₀ᵀ'\"\\é×∞\u00a0\u0301"
)

_TOKEN = re.compile(r"#[^\n]*|[^\W\d]\w*|[0-9.]+(?:[eE][+-]?[0-9]+)?|\s+|.")


def mutant(text: str, draw: random.Random) -> str:
    """Return a text with one to three changes."""
    for _ in range(draw.choice((1, 1, 1, 2, 2, 3))):
        text = draw.choice(CHANGES)(text, draw)
    return text


def _at(text: str, draw: random.Random) -> int:
    return draw.randrange(len(text) + 1)


def _delete(text: str, draw: random.Random) -> str:
    start = _at(text, draw)
    return text[:start] + text[start + draw.choice((1, 1, 1, 2, 5)) :]


def _insert(text: str, draw: random.Random) -> str:
    start = _at(text, draw)
    return text[:start] + draw.choice(CHARACTERS) + text[start:]


def _insert_word(text: str, draw: random.Random) -> str:
    start = _at(text, draw)
    return f"{text[:start]} {draw.choice(WORDS)} {text[start:]}"


def _swap(text: str, draw: random.Random) -> str:
    start = _at(text, draw)
    return text[:start] + text[start : start + 2][::-1] + text[start + 2 :]


def _repeat(text: str, draw: random.Random) -> str:
    """Repeat a character many times: deep brackets, huge numbers, long products."""
    start = _at(text, draw)
    piece = text[start : start + draw.choice((1, 1, 2, 3))]
    return text[:start] + piece * draw.choice((2, 3, 20, 200)) + text[start:]


def _bracket(text: str, draw: random.Random) -> str:
    start, end = sorted((_at(text, draw), _at(text, draw)))
    end = min(end, start + 20)
    opening, closing = draw.choice(("()", "[]", "(]", "[)"))
    return f"{text[:start]}{opening}{text[start:end]}{closing}{text[end:]}"


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _token_place(tokens: list[str], draw: random.Random) -> int:
    """A place of a token that is neither a blank nor a comment."""
    places = [at for at, token in enumerate(tokens) if token.strip("# \t\n")]
    return draw.choice(places or [0])


def _replace_token(text: str, draw: random.Random) -> str:
    tokens = _tokens(text)
    if tokens:
        tokens[_token_place(tokens, draw)] = draw.choice(WORDS)
    return "".join(tokens)


def _exchange_tokens(text: str, draw: random.Random) -> str:
    tokens = _tokens(text)
    if tokens:
        one, two = _token_place(tokens, draw), _token_place(tokens, draw)
        tokens[one], tokens[two] = tokens[two], tokens[one]
    return "".join(tokens)


def _copy_token(text: str, draw: random.Random) -> str:
    """Put a token of the text in another's place: names where others are expected."""
    tokens = _tokens(text)
    if tokens:
        tokens[_token_place(tokens, draw)] = tokens[_token_place(tokens, draw)]
    return "".join(tokens)


def _delete_token(text: str, draw: random.Random) -> str:
    tokens = _tokens(text)
    if tokens:
        del tokens[_token_place(tokens, draw)]
    return "".join(tokens)


def _delete_line(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    del lines[draw.randrange(len(lines))]
    return "\n".join(lines)


def _repeat_line(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    line = draw.choice(lines)
    lines.insert(draw.randrange(len(lines) + 1), line)
    return "\n".join(lines)


def _swap_lines(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    one, two = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return "\n".join(lines)


CHANGES: tuple[Callable[[str, random.Random], str], ...] = (
    _delete,
    _insert,
    _insert_word,
    _swap,
    _repeat,
    _bracket,
    _replace_token,
    _replace_token,
    _exchange_tokens,
    _copy_token,
    _copy_token,
    _delete_token,
    _delete_line,
    _repeat_line,
    _swap_lines,
)
