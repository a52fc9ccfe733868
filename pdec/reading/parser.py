"""Stage 1, parse: the text of a model → its syntax tree.

Input: a :class:`~pdec.source.Source`.  Output: a :class:`~pdec.reading.tree.Tree`, or
all the syntax errors of the file at once.  Each logical line is parsed alone with the
grammar ``grammars/npde.lark``:

    dz/dt = -γ z   →   EvolutionStatement(Name z, Negate(Juxtaposition(Name γ, Name z)))

Nothing the user wrote is evaluated, and no name has a meaning yet.
"""

from __future__ import annotations

import functools
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedToken
from lark.utils import TextSlice

from pdec.errors import Reporter
from pdec.reading import slips
from pdec.reading.builder import Builder
from pdec.reading.checks import check
from pdec.reading.lines import Line, blank_comments, logical_lines, whole_text
from pdec.reading.spelling import RESERVED
from pdec.reading.tree import Expr, Statement, Tree
from pdec.reading.unread import words_of
from pdec.source import Source, Span

__all__ = ["RESERVED", "parse", "parse_expression", "parse_readable", "tokens"]

MAX_STATEMENTS = 1000


def parse(source: Source) -> Tree:
    """Parse a model; raise ``ModelErrors`` with every syntax error of the file."""
    reporter = Reporter(source)
    found = parse_readable(source, reporter)
    reporter.raise_if_errors()
    return found


def parse_readable(source: Source, reporter: Reporter) -> Tree:
    """Parse what can be parsed of a model, and report the syntax errors of the rest."""
    text = blank_comments(source.text)
    statements: list[Statement] = []
    unread: set[str] = set()
    for number, line in enumerate(logical_lines(text, reporter)):
        if number == MAX_STATEMENTS:
            message = f"a model has at most {MAX_STATEMENTS} statements"
            reporter.error(message, Span(line.span.start, line.span.start + 1))
            break
        read = _parse_line(text, line, "statement", reporter)
        statements += read
        if not read:
            unread |= words_of(text[line.span.start : line.span.end])
    return Tree(tuple(statements), frozenset(unread))


def parse_expression(text_source: Source) -> Expr:
    """Parse a text that is one expression; raise ``ModelErrors``."""
    reporter = Reporter(text_source)
    text = blank_comments(text_source.text)
    line = whole_text(text, reporter)
    if line is None:
        reporter.error("an expression is expected, and there is none", Span(0, 0))
        reporter.raise_if_errors()
        raise AssertionError("unreachable: an error was reported")
    built: tuple[Expr, ...] = _parse_line(text, line, "expression", reporter)
    reporter.raise_if_errors()
    return built[0]


def tokens(text: str, span: Span) -> list[Token]:
    """Return the tokens of a statement without comments that has been parsed before."""
    code = TextSlice(text, span.start, span.end)
    return list(_grammar().parse_interactive(code, start="statement").iter_parse())


def _parse_line(
    text: str, line: Line, start: str, reporter: Reporter
) -> tuple[Any, ...]:
    """Parse one logical line and report its errors.

    Return its statements (start "statement") or its one expression ("expression"),
    and nothing where an error was reported.
    """
    if slips.find_slips(text, line.span, reporter) or line.broken:
        return ()
    code = TextSlice(text, line.span.start, line.span.end)
    try:
        built = _grammar().parse(code, start=start)
    except UnexpectedToken as error:
        slips.explain(error, text, line.span, reporter)
        return ()
    except UnexpectedCharacters as error:
        at = cast(int, error.pos_in_stream)  # lark declares it as None
        slips.report_character(text[at], Span(at, at + 1), reporter)
        return ()
    nodes = built if isinstance(built, tuple) else (built,)
    before = reporter.count
    check(nodes, reporter)
    return nodes if reporter.count == before else ()


@functools.cache
def _grammar() -> Lark:
    return Lark(
        _grammar_text(),
        start=["statement", "expression"],
        parser="lalr",
        lexer="contextual",
        transformer=Builder(),
        keep_all_tokens=True,
        maybe_placeholders=False,
    )


def _grammar_text() -> str:
    """Read the grammar: inside the package in a wheel, beside it in a checkout."""
    package = files("pdec")
    shipped = package / "grammars" / "npde.lark"
    if shipped.is_file():
        return shipped.read_text(encoding="utf-8")
    checkout = Path(str(package)).parent / "grammars" / "npde.lark"
    return checkout.read_text(encoding="utf-8")
