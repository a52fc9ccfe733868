"""Slips: what a wrong line probably meant, in words.

Two steps of stage 1 report here: the classic mistakes that a look at the characters
finds before parsing, and the parser's complaint, translated from terminals into words.

    param W0 = 0.5   →   found '=' where 'init' was expected
                         hint: write `param W0 init 0.5`
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lark.exceptions import UnexpectedToken

from pdec.errors import Reporter, suggest
from pdec.reading.lines import shown
from pdec.reading.spelling import ALPHABET, RESERVED, STATEMENT_WORDS, describe, remedy
from pdec.source import Span


@dataclass(frozen=True, slots=True)
class _Slip:
    """A classic mistake: how it looks and what is said; ``{0}``… are its groups."""

    pattern: re.Pattern[str]
    message: str
    hint: str


_SLIPS: tuple[_Slip, ...] = (
    _Slip(re.compile(r"\*\*"), "'**' is not an operator", "a power is `x^2` or `x²`"),
    _Slip(
        re.compile(r"=="), "'==' is not an operator", "an equation is `left = right`"
    ),
    _Slip(re.compile(r"//"), "'//' is not an operator", "a comment starts with `#`"),
    _Slip(
        re.compile("['′’]"),
        "the prime is reserved: it means nothing yet",
        "a derivative is `∂z` or `d/dx z`; f' is derived, never written",
    ),
    _Slip(
        re.compile(r"(?<![\w.])([0-9]+)\.(?![0-9])"),
        "'{0}' lacks digits after the point",
        "write `{1}.0`",
    ),
    _Slip(
        re.compile(r"(?<![\w.])\.([0-9]+)"),
        "'{0}' lacks digits before the point",
        "write `0.{1}`",
    ),
    _Slip(
        re.compile(r"(?<![\w.])([0-9]+)_([0-9][0-9_]*)"),
        "'{0}': digits are not grouped",
        "write `{1}{2}`",
    ),
    _Slip(
        re.compile(r"(?<!\w)d[2-4²³⁴]([^\W\d]\w*)\s*/\s*dt[2-4²³⁴]"),
        "'{0}': only first derivatives in time can be written",
        "write a first-order system: `d{1}/dt = v` and `dv/dt = …`",
    ),
    _Slip(
        re.compile(r"(?<!\w)d([2-4²³⁴])([^\W\d]\w*)\s*/\s*d([^\W\dt][2-4²³⁴])(?!\w)"),
        "'{0}' is not how a derivative is written",
        "write `d{1}/d{3} {2}`",
    ),
)

_STATEMENT_HINTS: dict[str, str] = {
    "model": "model adr1d",
    "dim": "dim d = 16",
    "grid": "grid x[128] on [0, 1) periodic",
    "field": "field z(x)",
    "param": "param W0(x) >= 0 init 0.5",
    "input": "input u(x)",
    "const": "const γ = 1",
    "kernel": "kernel K(r; σ) = exp(-r²/(2σ²))",
    "at": "at x = 0: z = 1",
    "steps": "steps 16",
    "scheme": "scheme implicit",
    "accuracy": "accuracy 4",
    "dtype": "dtype float32",
    "target": "target y(x)",
    "readout": "readout s = integral(z)",
    "loss": "loss = mean((z - y)²)",
}

_WORD = re.compile(r"[^\W\d]\w*")
_VALUE_TOKENS = frozenset({"EQUAL", "NUMBER", "MINUS"})
_NO_STATEMENT = frozenset({"include", "every", "sample"})
_SETTINGS = frozenset({"steps", "accuracy", "scheme", "dtype"})
_SYMBOLS: dict[str, str] = {
    "EQUAL": "'='",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "COMMA": "','",
    "COLON": "':'",
    "SEMICOLON": "';'",
    "$END": "the end of the statement",
}
# What may follow a declared name but is seldom what was forgotten.
_UNLIKELY = frozenset({"GE", "GT", "LE", "LT"})


def find_slips(text: str, span: Span, reporter: Reporter) -> bool:
    """Report the mistakes that single characters show; tell whether there were any."""
    code = text[span.start : span.end]
    seen: set[int] = set()
    for slip in _SLIPS:
        for found in slip.pattern.finditer(code):
            groups = [shown(text) for text in (found[0], *found.groups())]
            where = Span(span.start + found.start(), span.start + found.end())
            hint = slip.hint.format(*groups)
            reporter.error(slip.message.format(*groups), where, hint)
            seen.update(range(*found.span()))
    if _first_word(code) != "kernel" and ";" in code:
        offset = code.index(";")
        where = Span(span.start + offset, span.start + offset + 1)
        hint = "one statement a line: what follows goes on its own line"
        reporter.error("found ';' outside a kernel", where, hint)
        seen.add(offset)
    strange: dict[str, int] = {}
    for offset, character in enumerate(code):
        if character not in ALPHABET and offset not in seen:
            strange.setdefault(character, span.start + offset)
    for character, start in strange.items():
        report_character(character, Span(start, start + 1), reporter)
    return bool(seen or strange)


def report_character(character: str, span: Span, reporter: Reporter) -> None:
    """Report a character that has no place here."""
    message = f"{describe(character)} has no meaning here"
    reporter.error(message, span, remedy(character))


def explain(error: UnexpectedToken, text: str, span: Span, reporter: Reporter) -> None:
    """Report what the parser found, what it expected and what was probably meant."""
    code = text[span.start : span.end]
    word = _first_word(code)
    if _misspelt_statement(code, word, span, reporter):
        return
    token = error.token
    expected = frozenset(error.accepts)
    hint = _hint(word, token.type, expected)
    message = f"found '{shown(token)}' where {_in_words(expected)} was expected"
    if token.type == "$END":
        message = f"the line ends where {_in_words(expected)} was expected"
        reporter.error(message, Span(span.end, span.end), hint)
        return
    assert token.start_pos is not None and token.end_pos is not None
    where = Span(token.start_pos, token.end_pos)
    if _is_reserved_declaration(code, word):
        name = _first_word(code[len(word) :].lstrip())
        message = f"'{name}' is a word of the language, not a name"
        start = span.start + code.index(name, len(word))
        where, hint = Span(start, start + len(name)), "choose another name"
    elif "INIT" in expected and token.type in _VALUE_TOKENS:
        message = f"found '{shown(token)}' where 'init' was expected"
        hint = _with_init(text, span, where, token.type, word)
    elif token == "=" and code[: where.start - span.start].strip() in _SETTINGS:
        message = f"'{word}' takes its value without '='"
        hint = f"write `{word} {shown(text[where.end : span.end])}`"
    elif near := _misspelt_word(str(token), token.type, expected):
        message = f"found '{token}' where '{near}' was expected"
        hint = f"did you mean `{near}`?"
    elif token.type in _UNLIKELY and "PLUS" in expected:
        hint = "a choice is `where(c, a, b)`: a where c > 0, else b"
    elif token == ")" and code[: where.start - span.start].rstrip().endswith("("):
        hint = "an argument stands between the brackets"
    elif str(token) in STATEMENT_WORDS:
        hint = f"`{token}` starts a statement: put it on a line of its own"
    elif str(token) in RESERVED and "PLUS" in expected:
        message = f"'{token}' is a word of the language, not a name"
    reporter.error(message, where, hint)


def _misspelt_word(text: str, kind: str, expected: frozenset[str]) -> str | None:
    """Return the word of the language that ``int`` or ``periodc`` was meant to be."""
    if kind != "NAME" or len(text) < 2:
        return None
    words = {item.lower() for item in expected} & (RESERVED - set(STATEMENT_WORDS))
    return suggest(text, words)


def _is_reserved_declaration(code: str, word: str) -> bool:
    """Tell whether a line declares a reserved word: ``param init 3``."""
    declared = _first_word(code[len(word) :].lstrip())
    return word in STATEMENT_WORDS and declared in RESERVED


def _first_word(code: str) -> str:
    found = _WORD.match(code)
    return found[0] if found else ""


def _misspelt_statement(code: str, word: str, span: Span, reporter: Reporter) -> bool:
    """Report ``feild z(x)``: a word that is nearly one that starts a statement."""
    where = Span(span.start, span.start + len(word))
    if word in _NO_STATEMENT:
        reporter.error(f"'{word}' is reserved: it means nothing yet", where)
        return True
    follows = code[len(word) :].lstrip()
    if word in STATEMENT_WORDS or not word or not (follows[:1].isalnum()):
        return False
    near = suggest(word, STATEMENT_WORDS)
    if near is None or len(word) < 2:
        return False
    reporter.error(f"'{word}' starts no statement", where, f"did you mean `{near}`?")
    return True


def _with_init(text: str, span: Span, where: Span, kind: str, word: str) -> str:
    """Rewrite ``param W0 = 0.5`` (or ``param W0 0.5``) with its ``init``."""
    declared = _split_list(text[span.start + len(word) : where.start])[-1]
    rest = text[where.end if kind == "EQUAL" else where.start : span.end]
    value = shown(_split_list(rest)[0]) or "…"
    return f"write `{word} {shown(declared)} init {value}`"


def _split_list(text: str) -> list[str]:
    """Split a text at the commas that stand outside brackets."""
    depth = 0
    pieces = [""]
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    return pieces


def _in_words(expected: frozenset[str]) -> str:
    """Name the expected terminals: ``an expression``, ``'on'``, ``',' or ')'``."""
    if "NUMBER" in expected:
        return "an expression"
    names = [_SYMBOLS[item] for item in sorted(expected) if item in _SYMBOLS]
    if "NAME" in expected:
        names.append("a name")
    if "PLUS" not in expected:
        words = expected - _SYMBOLS.keys() - _UNLIKELY - {"NAME"}
        names += [f"'{item.lower()}'" for item in sorted(words)]
    elif names in ([], [_SYMBOLS["$END"]]):
        names.append("an operator")
    return " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _hint(word: str, token: str, expected: frozenset[str]) -> str | None:
    operand = "NUMBER" in expected
    if token == "$END" and operand and word not in _STATEMENT_HINTS:
        return "an open bracket, or an operator at its start, continues a line"
    if token == "PLUS" and operand:
        return "leave the sign out: only `-` stands before an operand"
    if word == "at" and token == "COMMA":
        return "one condition a line: the next begins with `at` again"
    if word in _STATEMENT_HINTS:
        return f"for example `{_STATEMENT_HINTS[word]}`"
    if token == "$END" and "EQUAL" in expected:
        return "a statement is `left = right`, or starts with a word such as `param`"
    if token == "EQUAL" and "PLUS" in expected:
        return "a statement has one `=`"
    return None
