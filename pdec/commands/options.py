"""Options that several commands share: the model, the target, ``--set``, ``--format``.

Input: arguments as text.  Output: checked values; a wrong one is a usage error:

    --set x=256 --set c=0.5   →   {"x": 256, "c": 0.5}
"""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import click

# the files that declare one, named after it: importing them would import the compiler
TARGETS = tuple(
    file.stem
    for file in sorted(Path(__file__).parent.parent.joinpath("targets").glob("*.py"))
    if "PLUGINS = (" in file.read_text("utf-8")
)
FORMATS = ("text", "json")

model_path = click.Path(path_type=Path)

target_option = click.option(
    "--target",
    type=click.Choice(TARGETS),
    default="numpy",
    show_default=True,
    help="What the module runs on.",
)
settings_option = click.option(
    "--set",
    "overrides",
    metavar="NAME=VALUE",
    multiple=True,
    callback=lambda ctx, param, values: _read_settings(values),
    help="Replace a number of the model: grid points (x=256), a dim (d=8), steps=64, "
    "a const. May be repeated.",
)
format_option = click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="json: one object for tools, see below.",
)


def _read_settings(texts: tuple[str, ...]) -> dict[str, int | float]:
    """Read the values of ``--set``: ``("x=256", "c=0.5")`` → {"x": 256, "c": 0.5}."""
    overrides: dict[str, int | float] = {}
    for text in texts:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not name or not sign:
            raise click.BadParameter(f"'{text}' is not NAME=VALUE, as in x=256")
        if name in overrides:
            raise click.BadParameter(f"'{name}' is given twice")
        overrides[name] = _read_number(name, value)
    return overrides


def _read_number(name: str, text: str) -> int | float:
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        number = float(text)
        if math.isfinite(number):
            return number
    raise click.BadParameter(f"the value of '{name}' is a number, not '{text}'")
