"""The command ``pdec fmt``: models in, the same models in their canonical layout out.

Input: names of files, or ``-`` for the standard input.  Output: the files that were not
laid out yet, written whole or not at all; with ``--check`` only their names.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click

from pdec import source
from pdec.commands import files, terminal
from pdec.errors import PdecError
from pdec.source import Source

OK = 0
CHANGED = 1
USER_ERROR = 2
STDIN = Path("-")


@click.command(
    short_help="Lay models out in the canonical form.",
    epilog="""\b
Examples:
  pdec fmt adr1d.npde                   lay the file out, in place
  pdec fmt --check models/*.npde        list the files that are not laid out yet
  pdec fmt --diff adr1d.npde            show what would change, write nothing
  pdec fmt --ascii - < a.npde > b.npde  the standard input, with gamma for γ

\b
Exit status:
  0  done, or nothing to do   1  a file would change (--check, --diff)
  2  a file has errors and was left as it is
""",
)
@click.argument(
    "models",
    metavar="MODEL...",
    type=click.Path(path_type=Path, allow_dash=True),
    nargs=-1,
    required=True,
)
@click.option("--check", is_flag=True, help="Write nothing; list what would change.")
@click.option("--diff", is_flag=True, help="Write nothing; show what would change.")
@click.option("--unicode", "wide", is_flag=True, help="Write γ, ∂², v², W₀, ≥.")
@click.option("--ascii", "plain", is_flag=True, help="Write gamma, d2/dx2, v^2, >=.")
def fmt(
    models: tuple[Path, ...], check: bool, diff: bool, wide: bool, plain: bool
) -> int:
    """Lay each MODEL out in the canonical form: spaces, line breaks, comments.

    What a model means never changes, and its spelling only where asked for.  A name
    or sign that has no other spelling, or none that means exactly the same, stays.
    """
    if wide and plain:
        raise click.UsageError("--unicode and --ascii exclude each other: choose one")
    spelling = "unicode" if wide else "ascii" if plain else "kept"
    statuses = set()
    for model in models:
        try:
            statuses.add(_format_one(model, spelling, check=check, diff=diff))
        except PdecError as error:  # the other models are laid out all the same
            terminal.report(error)
            statuses.add(USER_ERROR)
    return max(statuses)


def _format_one(model: Path, spelling: str, *, check: bool, diff: bool) -> int:
    before, text = _read(model)
    from pdec.formatting.layout import Spelling, format_model

    after = format_model(text, Spelling(spelling))
    changed = before != after.encode()
    if diff:
        _print_diff(text, after)
    if check and changed:
        click.echo(f"{_shown(model)} would be laid out anew")
    if check or diff:
        return CHANGED if changed else OK
    if model == STDIN:
        click.echo(after.encode(), nl=False)  # bytes: UTF-8 everywhere
    elif changed:
        files.write_generated(model, after, force=True)
        click.echo(f"laid out {_shown(model)}")
    return OK


def _read(model: Path) -> tuple[bytes, Source]:
    """Read a model and its bytes, which may differ from its text in line ends."""
    if model == STDIN:
        data = sys.stdin.buffer.read(source.MAX_BYTES + 1)
        return data, source.from_bytes(data, "<stdin>")
    text = source.read(model)
    return model.read_bytes(), text


def _print_diff(text: Source, after: str) -> None:
    lines = difflib.unified_diff(
        text.text.splitlines(keepends=True),
        after.splitlines(keepends=True),
        f"{text.name} (as written)",
        f"{text.name} (laid out)",
    )
    for line in lines:
        end = "" if line.endswith("\n") else "\n\\ No newline at end of file\n"
        click.echo(f"{line}{end}", nl=False)


def _shown(model: Path) -> str:
    return "<stdin>" if model == STDIN else str(model).removeprefix("./")
