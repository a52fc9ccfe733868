"""The command line: ``pdec compile``, ``check``, ``show``, ``fmt``, ``completion``.

Input: arguments.  Output: files, text and an exit status.  The compiler is imported
inside the commands, so that ``pdec --help`` and a misspelt file name answer at once:

    pdec compile adr1d.npde --set x=256     →  adr1d.py, and one line about it
"""

from __future__ import annotations

import contextlib
import gc
import keyword
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pdec import __version__, source
from pdec.commands import files, records, terminal
from pdec.commands.format import fmt
from pdec.commands.options import (
    TARGETS,
    format_option,
    model_path,
    settings_option,
    target_option,
)
from pdec.commands.show import show
from pdec.commands.stability import parameters, params_option, stability
from pdec.commands.verify import verify
from pdec.errors import Diagnostic, PdecError, UsageError

OK = 0
FAILURE = 1
USER_ERROR = 2
UNSTABLE = 3
BUG = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT, as the shell reports it
BROKEN_PIPE = 141  # 128 + SIGPIPE

SHELLS = ("bash", "zsh", "fish")

_HELP = """Compile a neural PDE, written as one equation in a text file, into one
Python module that trains it.

\b
Exit status:
  0    done
  1    the system failed: disk full, input or output error; a file is not laid
       out in the canonical form (fmt --check); or a check failed (verify)
  2    something in the model or on the command line is to be mended
  3    the model was read and is numerically unstable (check, stability)
  70   a bug in pdec
  130  interrupted
"""

_EPILOG = """\b
Start here:
  pdec check model.npde               is it right, and is it stable?
  pdec stability model.npde --plot out.png
                                      which ω is stable, and why?
  pdec show model.npde                which equations and gradients follow?
  pdec compile model.npde             write model.py beside it
  pdec verify model.npde              do gradients and orders hold what is promised?
  pdec fmt model.npde                 lay the text out in the canonical form
  python model.py                     let the module test its own gradients

Colours are left out where the output is not a terminal or NO_COLOR is set.
"""


class Commands(click.Group):
    """The group of commands, which ends quietly when its reader does."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; ``pdec show m.npde | head`` is not an error."""
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            # What is left in the buffer would raise again when Python closes it.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status, never a traceback."""
    terminal.prepare_streams()
    # A compilation is short and leaves few cycles behind: looking for them as often as
    # Python does by default takes a quarter of its time.
    gc.set_threshold(200_000)
    try:
        status = commands.main(arguments, prog_name="pdec", standalone_mode=False)
        return status if isinstance(status, int) else OK
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PdecError as error:
        terminal.report(error)
        return USER_ERROR
    except OSError as error:
        if os.environ.get("PDEC_DEBUG"):
            raise
        where = f"'{error.filename}': " if error.filename else ""
        terminal.say(f"error: {where}{error.strerror or error}")
        return FAILURE
    except Exception as error:
        if os.environ.get("PDEC_DEBUG"):
            raise
        terminal.say(
            f"error: this is a bug in pdec {__version__} ({type(error).__name__}: "
            f"{_first_line(str(error))})\nhint: run again with PDEC_DEBUG=1 for the "
            "traceback, and report it together with the model"
        )
        return BUG


# --- commands ---------------------------------------------------------------------

_HELP_OPTION = {"help_option_names": ["-h", "--help"], "max_content_width": 88}


@click.group(cls=Commands, help=_HELP, epilog=_EPILOG, context_settings=_HELP_OPTION)
@click.version_option(__version__, message="pdec %(version)s")
def commands() -> None:
    """Hold the commands together."""


@commands.command(
    "compile",
    short_help="Write the Python module of a model.",
    epilog="""\b
Examples:
  pdec compile adr1d.npde                     write adr1d.py beside the model
  pdec compile adr1d.npde -o build/           write build/adr1d.py
  pdec compile adr1d.npde -o - | less         read the module, write nothing
  pdec compile adr1d.npde --set x=256 --set steps=64 -o fine.py

\b
--format json writes {"diagnostics": [...]} to the standard error: each one has
severity, message, hint, file, line, column, end_line and end_column (from 1; the end
is exclusive).
""",
)
@click.argument("model", type=model_path)
@target_option
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="The file to write, or a folder, or - for the standard output.  "
    "[default: the model's name with .py, beside it]",
)
@settings_option
@click.option(
    "--accurate",
    is_flag=True,
    help="Take tanh, exp and softplus of the C library.  By default the target numba "
    "has faster ones, within 4 units in the last place in float64 and 1e-6 in float32.",
)
@click.option(
    "--arrays",
    is_flag=True,
    help="Write array operations where the target cupy has kernels, as it does for "
    "steps that solve equations: slower, and to check kernels against.",
)
@click.option("--force", is_flag=True, help="Replace a file that pdec did not write.")
@format_option
def compile_command(
    model: Path,
    target: str,
    output: str | None,
    overrides: dict[str, int | float],
    accurate: bool,
    arrays: bool,
    force: bool,
    form: str,
) -> int:
    """Write the Python module of MODEL.

    The module holds forward, exact backward and a check of ω.  It imports numpy and
    nothing of pdec.
    """
    path = None if output == "-" else _output_path(model, output)
    try:
        with terminal.spinner(f"compiling {model.name}") as progress:
            text = source.read(model)
            from pdec import pipeline

            compiled = pipeline.compile_source(
                text,
                target=target,
                overrides=overrides,
                accurate=accurate,
                arrays=arrays,
                progress=progress,
            )
    except PdecError as error:
        if form == "text":
            raise
        found = {"diagnostics": records.of_error(model, error)}
        click.echo(records.as_json(found), err=True)
        return USER_ERROR
    if form == "text":
        terminal.warn(text, compiled.warnings)
    else:
        found = {"diagnostics": records.of_diagnostics(model, text, compiled.warnings)}
        click.echo(records.as_json(found), err=True)
    if path is None:
        click.echo(compiled.text.encode(), nl=False)  # bytes: UTF-8 everywhere
        return OK
    files.write_generated(path, compiled.text, force=force)
    lines = compiled.text.count("\n")
    click.echo(f"wrote {_shown(path)} ({lines} lines): {compiled.summary}")
    return OK


@commands.command(
    short_help="Check models: names, types, boundaries, stability.",
    epilog="""\b
Examples:
  pdec check adr1d.npde
  pdec check models/*.npde && echo right, and none of them unstable
  pdec check adr1d.npde --set x=1024          still stable on a finer grid?
  pdec check adr1d.npde --params p.npz        and with the parameters that were saved?

\b
Exit status:
  0  right, not unstable  2  something is to be mended     3  numerically unstable

\b
--format json writes {"diagnostics": [...], "models": [...]} to the standard output: a
diagnostic has severity, message, hint, file, line, column, end_line and end_column
(from 1; the end is exclusive); a model has file, status, summary and notes.
""",
)
@click.argument("models", metavar="MODEL...", type=model_path, nargs=-1, required=True)
@settings_option
@params_option
@format_option
def check(
    models: tuple[Path, ...],
    overrides: dict[str, int | float],
    saved: Path | None,
    form: str,
) -> int:
    """Check each MODEL: names, types, boundaries, and its stability.

    The stability is that of the initial parameters, or of --params; it changes as they
    are trained.
    """
    statuses = set()
    found: list[records.Record] = []
    judged: list[dict[str, Any]] = []
    for model in models:
        try:
            checked = _check_one(model, overrides, saved)
        except PdecError as error:  # the other models are checked all the same
            statuses.add(USER_ERROR)
            found += records.of_error(model, error)
            judged.append({"file": str(model), "status": "wrong"})
            if form == "text":
                terminal.report(error)
            continue
        statuses.add(UNSTABLE if checked.numerical == "unstable" else OK)
        found += records.of_diagnostics(model, checked.source, checked.warnings)
        judged.append(checked.record(model))
        if form == "text":
            terminal.warn(checked.source, checked.warnings)
            click.echo(f"{model}: {checked.summary}")
            for line in checked.lines:
                click.echo(f"  {line}".rstrip())
    if form == "json":
        click.echo(records.as_json({"diagnostics": found, "models": judged}))
    return next(s for s in (USER_ERROR, UNSTABLE, OK) if s in statuses)


commands.add_command(show)
commands.add_command(stability)
commands.add_command(fmt)
commands.add_command(verify)


@commands.command(short_help="Print a script for the shell's tab completion.")
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def completion(shell: str | None) -> int:
    """Print the script that lets SHELL complete pdec's commands and options.

    Without SHELL, the one that the environment names is taken.  The script's first
    lines say how to install it.
    """
    from click.shell_completion import get_completion_class

    shell = shell or Path(os.environ.get("SHELL", "")).name
    known = get_completion_class(shell) if shell in SHELLS else None
    if known is None:
        raise click.UsageError(f"name the shell: one of {', '.join(SHELLS)}")
    install = {
        "bash": "pdec completion bash >> ~/.bashrc",
        "zsh": "pdec completion zsh >> ~/.zshrc",
        "fish": "pdec completion fish > ~/.config/fish/completions/pdec.fish",
    }
    click.echo(f"# Completion of pdec for {shell}.  To install it, once:")
    click.echo(f"#     {install[shell]}")
    script = known(commands, {}, "pdec", "_PDEC_COMPLETE")
    # Not `script.source()`: for Bash that runs bash to learn its version.
    click.echo(script.source_template % script.source_vars())
    return OK


# --- parts of commands ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Checked:
    """What ``check`` has to say about a model that compiles."""

    source: source.Source
    warnings: tuple[Diagnostic, ...]
    summary: str
    numerical: str
    lines: list[str]

    def record(self, model: Path) -> dict[str, Any]:
        """The same for tools."""
        about = {"file": str(model), "status": self.numerical}
        return {**about, "summary": self.summary, "notes": self.lines}


def _check_one(
    model: Path, overrides: dict[str, int | float], saved: Path | None
) -> _Checked:
    with terminal.spinner(f"checking {model.name}") as progress:
        text = source.read(model)
        from pdec import pipeline
        from pdec.commands.probe import vanishing_gradients

        compiled = pipeline.compile_source(text, overrides=overrides, progress=progress)
        progress("stability")
        module = pipeline.module_of(compiled)
        verdict = module.stability(parameters(module, saved))
        progress("first gradients")
        vanishing = vanishing_gradients(module)
    lines = [
        *compiled.model.notes,
        *(
            f"warning: the first gradient of {name} is zero; change an init"
            for name in vanishing
        ),
        *str(verdict).splitlines(),
    ]
    return _Checked(text, compiled.warnings, compiled.summary, verdict.numerical, lines)


def _output_path(model: Path, output: str | None) -> Path:
    """Choose the file to write: beside the model and importable, unless told."""
    if output is not None and not (output.endswith("/") or Path(output).is_dir()):
        path = Path(output)
    else:
        folder = model.parent if output is None else Path(output)
        path = folder / f"{_module_name(model.stem)}.py"
    if path.exists() and model.exists() and path.samefile(model):
        raise UsageError(f"'{path}' is the model itself; name another file with -o")
    return path


def _module_name(stem: str) -> str:
    """Make a name that `import` accepts and that hides no library of the module."""
    name = re.sub(r"\W", "_", stem)
    if not name.isidentifier() or keyword.iskeyword(name) or name in TARGETS:
        return f"model_{name}"
    return name


def _shown(path: Path) -> str:
    return str(path).removeprefix("./")


def _first_line(text: str) -> str:
    return text.partition("\n")[0] or "no message"
