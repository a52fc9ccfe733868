"""The command ``pdec show``: the derivation of a model, or any form on the way to it.

    pdec show adr1d.npde --stage program   →   the statements of every block

Input: a file and what to show of it.  Output: text on stdout.  The compiler is imported
inside, so that ``pdec --help`` answers at once.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from pdec import source
from pdec.commands import records, terminal
from pdec.commands.options import model_path, settings_option, target_option

OK = 0
STAGES = ("tree", "model", "program", "adjoint", "tangent", "stability", "text")


@click.command(
    short_help="Explain a model: its step and its gradient formulas.",
    epilog="""\b
Examples:
  pdec show adr1d.npde                        the derivation, as text
  pdec show adr1d.npde --latex > adr1d.tex    the same, for a paper (needs amsmath)
  pdec show adr1d.npde --json                 the same, for tools
  pdec show adr1d.npde --batch 256            what a gradient of 256 samples needs
  pdec show adr1d.npde --code                 the mathematics of the module
  pdec show adr1d.npde --stage text           the whole module

\b
Stages, in the order of the compiler:
  tree       the syntax tree: what was written
  model      names, shapes, boundaries: what it means
  program    the discrete step and the other blocks, as statements
  adjoint    their transposes, which are the backward pass
  tangent    their linearisations, which are the forward-mode derivative
  stability  the stencil of Z and the range of slopes
  text       the module
""",
)
@click.argument("model", type=model_path)
@click.option("--latex", is_flag=True, help="Print the formulas in LaTeX.")
@click.option("--code", is_flag=True, help="Print the mathematics of the module.")
@click.option("--json", "data", is_flag=True, help="Print the derivation as data.")
@click.option("--stage", type=click.Choice(STAGES), help="Print an intermediate form.")
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Samples of the table of memory.",
)
@target_option
@settings_option
def show(
    model: Path,
    latex: bool,
    code: bool,
    data: bool,
    stage: str | None,
    batch: int,
    target: str,
    overrides: dict[str, int | float],
) -> int:
    """Explain MODEL: its equation, moments, discrete step and gradient formulas.

    The table at the end says what a gradient needs for each choice of `checkpoint`.
    """
    if latex + code + data + (stage is not None) > 1:
        what = "--latex, --code, --json and --stage exclude each other: choose one"
        raise click.UsageError(what)
    if code or stage == "text":
        _show_code(model, target, overrides, whole=not code)
        return OK
    with terminal.spinner(f"deriving {model.name}") as progress:
        text = source.read(model)
        from pdec import pipeline
        from pdec.commands import explain, memory

        if stage == "tree":
            shown = explain.tree(text)
        elif latex or stage is not None:
            derived = pipeline.derive(text, overrides=overrides, progress=progress)
            shown = (
                explain.stage(derived, stage)
                if stage
                else explain.explain(derived, latex=True)
            )
        else:
            compiled = pipeline.compile_source(
                text, target=target, overrides=overrides, progress=progress
            )
            needs = memory.memory_of(pipeline.module_of(compiled), batch)
            if data:
                found = json.loads(explain.data(compiled.derivation))
                shown = records.as_json({**found, "memory": needs.data()})
            else:
                shown = f"{explain.explain(compiled.derivation)}\n{needs.text()}"
    click.echo(shown.rstrip("\n"))
    return OK


def _show_code(
    model: Path, target: str, overrides: dict[str, int | float], *, whole: bool
) -> None:
    with terminal.spinner(f"compiling {model.name}") as progress:
        text = source.read(model)
        from pdec import pipeline

        code = pipeline.compile_source(
            text, target=target, overrides=overrides, progress=progress
        ).text
    terminal.print_python(code if whole else _mathematics(code))


def _mathematics(code: str) -> str:
    """The part of a module that is the model's own: from its rule to the next one."""
    lines = code.splitlines(keepends=True)
    rules = [at for at, line in enumerate(lines) if line.startswith("# --- ")]
    for place, at in enumerate(rules):
        if lines[at].startswith("# --- mathematics"):
            end = [*rules, len(lines)][place + 1]
            return "".join(lines[at:end]).rstrip() + "\n"
    return code
