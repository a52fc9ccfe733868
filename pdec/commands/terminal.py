"""The terminal: a spinner, colours and messages, and what to do without one.

Input: texts.  Output: the same on stdout or stderr, coloured and animated only where a
person is looking; Rich is imported only then.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

import click

from pdec.errors import Diagnostic, ModelErrors, PdecError, render
from pdec.source import Source

SPINNER_DELAY = 0.7  # seconds before a stage that takes long is announced


@contextlib.contextmanager
def spinner(title: str) -> Iterator[Callable[[str], None]]:
    """Name the current stage on a terminal, once the work proves to be long.

    Yields the function that is told each stage's name.
    """
    if not sys.stderr.isatty():
        yield lambda stage: None
        return
    from rich.console import Console
    from rich.text import Text

    status = Console(stderr=True).status(Text(title))
    timer = threading.Timer(SPINNER_DELAY, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda stage: status.update(Text(f"{title}: {stage}"))
    finally:
        timer.cancel()
        timer.join()
        status.stop()


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float], None]]:
    """Show how much is done, on a terminal, once the work proves to be long.

    Yields the function that is told the share of the work, from 0 to 1.
    """
    if not sys.stderr.isatty():
        yield lambda share: None
        return
    from rich.console import Console
    from rich.progress import Progress

    progress = Progress(console=Console(stderr=True), transient=True)
    task = progress.add_task(title, total=1.0)
    timer = threading.Timer(SPINNER_DELAY, progress.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda share: progress.update(task, completed=share)
    finally:
        timer.cancel()
        timer.join()
        progress.stop()


def report(error: PdecError) -> None:
    """Write an error of the user's to stderr."""
    text = str(error)
    say(text if isinstance(error, ModelErrors) else f"error: {text}")


def warn(text: Source, warnings: Sequence[Diagnostic]) -> None:
    """Write what the compiler doubts, but accepts, to stderr."""
    if warnings:
        say(render(text, warnings))


def say(text: str) -> None:
    """Write a message to stderr, with its marks coloured on a terminal."""
    if not colourful(sys.stderr):
        click.echo(text, err=True)
        return
    from rich.console import Console
    from rich.text import Text

    styled = Text(text)
    styled.highlight_regex(r"(?m)^(\S+:\d+:\d+: )?error:", "bold red")
    styled.highlight_regex(r"(?m)^(\S+:\d+:\d+: )?warning:|\bwarning:", "bold yellow")
    styled.highlight_regex(r"(?m)^ +\^+$", "bold red")
    styled.highlight_regex(r"(?m)^hint:", "bold cyan")
    Console(stderr=True, highlight=False).print(styled, soft_wrap=True)


def print_python(code: str) -> None:
    """Write a module to stdout, with its syntax coloured on a terminal."""
    if not colourful(sys.stdout):
        click.echo(code, nl=False)
        return
    from rich.console import Console
    from rich.syntax import Syntax

    Console().print(Syntax(code, "python", background_color="default"), soft_wrap=True)


def colourful(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal that wants colours."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain


def prepare_streams() -> None:
    """Let a stream that cannot encode ω print an escape instead of failing."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller: `pdec … >&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
            continue
        with contextlib.suppress(AttributeError, ValueError):
            if stream.encoding.lower().replace("-", "") != "utf8":
                stream.reconfigure(errors="backslashreplace")
