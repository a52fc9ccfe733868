"""The command ``pdec stability``: the report on ω of some parameters, and its pictures.

    pdec stability adr1d.npde --plot out.png --plane W1,W2

Input: a model, and what to judge.  Output: the report on stdout, a picture where one is
asked for, and an exit status.  The compiler and Matplotlib are imported inside.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from pdec import source
from pdec.commands import terminal
from pdec.commands.files import writing
from pdec.commands.options import model_path, settings_option
from pdec.errors import UsageError

OK = 0
UNSTABLE = 3
SUFFIXES = (".png", ".svg")


params_option = click.option(
    "--params",
    "saved",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="P.NPZ",
    help="Judge the stability of these parameters, which the module's save() wrote.",
)


def parameters(module: ModuleType, saved: Path | None) -> dict[str, Any]:
    """Return the initial parameters, or those of a file."""
    if saved is None:
        return dict(module.init_params(seed=0))
    try:
        return dict(module.load(saved))
    except (TypeError, ValueError) as error:
        raise UsageError(f"'{saved}': {error}") from None


@click.command(
    short_help="Judge ω, and draw why: |G|, the stable region, ω_max over x.",
    epilog="""\b
Examples:
  pdec stability adr1d.npde
  pdec stability adr1d.npde --params p.npz --omega 0.8
  pdec stability adr1d.npde --plot out.png --plane W1,W2
  pdec stability adr1d.npde --plot out.svg --plane omega,W2

\b
Pictures, side by side:
  |G| over the waves, at both ends of the range of f', with the least stable wave
  --plane A,B: where ω is stable if two parameters have other values; omega (or dt)
               may be one of them, and an array is taken in multiples of what it is
  where coefficients vary in space: the largest stable ω in each cell

\b
Exit status:
  0  not unstable          2  something is to be mended     3  numerically unstable
""",
)
@click.argument("model", type=model_path)
@params_option
@click.option(
    "--omega", type=float, help="Judge this ω (or Δt) instead of the model's."
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw it, to a .png or .svg file.  Needs matplotlib (pdec[plot]).",
)
@click.option("--plane", metavar="A,B", help="Two parameters whose plane is drawn.")
@settings_option
def stability(
    model: Path,
    saved: Path | None,
    omega: float | None,
    plot: Path | None,
    plane: str | None,
    overrides: dict[str, int | float],
) -> int:
    """Report whether the ω of MODEL is stable, why not, and which ω is."""
    if plane is not None and plot is None:
        raise click.UsageError("--plane says what to draw: add --plot FILE")
    if omega is not None and not (math.isfinite(omega) and omega > 0.0):
        raise click.UsageError(f"--omega is a positive number, not {omega:g}")
    if plot is not None:
        _check_picture(plot)
    with terminal.spinner(f"judging {model.name}") as progress:
        text = source.read(model)
        from pdec import pipeline

        compiled = pipeline.compile_source(text, overrides=overrides, progress=progress)
        progress("stability")
        module = pipeline.module_of(compiled)
        p = parameters(module, saved)
        chosen = None
        if plane is not None:
            from pdec.commands.plane import check_names

            chosen = check_names(module, p, plane)
        report = module.stability(p, omega=omega)
    terminal.warn(text, compiled.warnings)
    click.echo(str(report))
    if plot is not None:
        origins = [axis.low for axis in compiled.model.axes.values()]
        _draw(plot, module, p, report, chosen, origins)
    return UNSTABLE if report.numerical == "unstable" else OK


def _check_picture(path: Path) -> None:
    """Refuse what cannot be drawn before anything is computed."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"--plot draws {' and '.join(SUFFIXES)}; '{path}' ends otherwise"
        )
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder, not a file")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder '{path.parent}' to write to")
    where = path if path.exists() else path.parent
    if not os.access(where, os.W_OK):
        raise UsageError(f"no permission to write '{path}'")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError(
            "--plot needs matplotlib, which is not installed: pip install 'pdec[plot]'"
        ) from None


def _draw(
    path: Path,
    module: ModuleType,
    p: Any,
    report: Any,
    names: tuple[str, str] | None,
    origins: list[float],
) -> None:
    from pdec.commands import pictures
    from pdec.commands.plane import plane

    region = None
    if names is not None:
        with terminal.progress_bar("judging the plane") as tell:
            region = plane(module, p, names, report.omega, tell)
    with writing(path):
        pictures.draw(path, module, p, report, region, origins)
    click.echo(f"wrote {path}")
