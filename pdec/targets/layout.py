"""Line shapes: statements broken over lines the way ``ruff format`` breaks them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

WIDTH = 88
INDENT = "    "


def call(
    head: str, arguments: list[str], indent: str = INDENT, tail: str = ""
) -> list[str]:
    """``head(arguments)tail`` in one line, or its arguments indented, or one a line."""
    line = f"{indent}{head}({', '.join(arguments)}){tail}"
    if len(line) <= WIDTH:
        return [line]
    inner = f"{indent}{INDENT}{', '.join(arguments)}"
    if len(inner) <= WIDTH:
        return [f"{indent}{head}(", inner, f"{indent}){tail}"]
    return [
        f"{indent}{head}(",
        *(f"{indent}{INDENT}{argument}," for argument in arguments),
        f"{indent}){tail}",
    ]


def add_up(left: str, terms: list[str], indent: str = INDENT) -> list[str]:
    """``left = t₀ + t₁ …`` (each later term starts with its sign), or a line a term."""
    line = f"{indent}{left} = {' '.join(terms)}"
    if len(line) <= WIDTH:
        return [line]
    first, *rest = terms
    lines = assign(left, "=", first, indent)
    for term in rest:
        lines += assign(left, f"{term[0]}=", term[2:], indent)
    return lines


def assign(left: str, sign: str, value: str, indent: str = INDENT) -> list[str]:
    """``left = value`` or ``left += value``, in brackets where a line is too short."""
    line = f"{indent}{left} {sign} {value}"
    if len(line) <= WIDTH or " " not in value:
        return [line]
    return [f"{indent}{left} {sign} (", f"{indent}{INDENT}{value}", f"{indent})"]


def unpack(homes: dict[str, str], indent: str = INDENT) -> list[str]:
    """``z, Z = v["z"], v["Z"]``: local names for entries of dicts, a few to a line."""
    lines: list[str] = []
    pending: list[tuple[str, str]] = []

    def line(pairs: list[tuple[str, str]]) -> str:
        names, values = zip(*pairs, strict=True)
        return f"{indent}{', '.join(names)} = {', '.join(values)}"

    for name, home in sorted(homes.items(), key=lambda pair: pair[1].partition("[")[0]):
        same = pending and pending[0][1].partition("[")[0] == home.partition("[")[0]
        if pending and not (same and len(line([*pending, (name, home)])) <= WIDTH):
            lines.append(line(pending))
            pending = []
        pending.append((name, home))
    return [*lines, line(pending)] if pending else lines


def comment(text: str, indent: str = INDENT, mark: str = "#") -> list[str]:
    """A comment, in as many lines as it takes."""
    lines = textwrap.wrap(
        text,
        WIDTH - len(indent),
        initial_indent=f"{mark} ",
        subsequent_indent=f"{mark}     ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [indent + line for line in lines]


def table(
    head: str, entries: Mapping[str, object], indent: str = "", tail: str = ""
) -> list[str]:
    """``head{"name": value, …}tail`` in one line, or one entry a line."""
    items = [f'"{name}": {value}' for name, value in entries.items()]
    line = f"{indent}{head}{{{', '.join(items)}}}{tail}"
    if len(line) <= WIDTH:
        return [line]
    rows = [f"{indent}{INDENT}{item}," for item in items]
    return [f"{indent}{head}{{", *rows, f"{indent}}}{tail}"]


def section(title: str) -> str:
    """A rule across the page with a title."""
    return f"# --- {title} ".ljust(WIDTH - 1, "-")


def tuple_of(items: list[str]) -> str:
    """A tuple in one line, with the comma that one of length 1 needs."""
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
