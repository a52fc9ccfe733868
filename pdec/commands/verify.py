"""The command ``pdec verify``: measures what a model promises, on all targets.

    pdec verify adr1d.npde   →   a table of checks, and status 1 if one of them fails

Input: a file.  Output: a table or JSON on stdout.  The compiler is imported inside, so
that ``pdec --help`` answers at once.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pdec import source
from pdec.commands import records, terminal
from pdec.commands.options import TARGETS, format_option, model_path, settings_option

if TYPE_CHECKING:
    from pdec.verification.verify import Row

OK = 0
FAILED = 1


@click.command(
    short_help="Measure what a model promises: gradients, orders of convergence.",
    epilog="""\b
What is checked, for each target:
  dot test          <J v, w> = <v, Jᵀ w>: jvp and vjp are transposes
  Taylor tests      jvp and the gradient are the derivatives of what runs
  growth of a run   no run grows faster than an exact verdict on ω says
  complex step      jvp to 1e-12, by the module's own arithmetic on complex numbers
  checkpoints       gradients with states computed again are the same bits
  threads           gradients on one thread and on three are the same bits; on a GPU,
                    those of all samples at once and of one after the other
  against numpy's   gradients of other targets, to 1e-12 of the largest
\b
and, on the first of them, since all share the discrete equation:
  order in Δt       the scheme's, within 0.1, for a run with a known solution
  order in Δx       that of the stencils and walls, within 0.1, likewise

\b
The known solution is manufactured: a smooth z_m(x, t) is put into the model's own
right-hand side, and what is missing is added as a source.  A check that a model does
not allow is listed as not tested, with the reason.

\b
Examples:
  pdec verify adr1d.npde
  pdec verify adr1d.npde --target numpy --set steps=64
  pdec verify adr1d.npde --format json

\b
Exit status:
  0  no check failed     1  one did     2  something in the model is to be mended

\b
--format json writes {"file": …, "passed": …, "checks": [...]}: a check has target,
check, status, error, tolerance and note.
""",
)
@click.argument("model", type=model_path)
@click.option(
    "--target",
    "targets",
    type=click.Choice(TARGETS),
    multiple=True,
    help="What the module runs on.  May be repeated.  [default: all that can run here]",
)
@settings_option
@format_option
def verify(
    model: Path, targets: tuple[str, ...], overrides: dict[str, int | float], form: str
) -> int:
    """Measure on MODEL what pdec promises: exact gradients, orders of convergence."""
    wanted = targets or tuple(filter(_runs_here, TARGETS))
    with terminal.spinner(f"verifying {model.name}") as progress:
        text = source.read(model)
        from pdec.verification import verify as checks

        rows = checks.verify(text, wanted, overrides, progress)
    failed = [row for row in rows if row.status == "FAILED"]
    if form == "json":
        click.echo(records.as_json(_record(model, rows)))
    else:
        click.echo(_table(rows))
        count = (
            f"{len(failed)} of {len(rows)} checks failed" if failed else "all passed"
        )
        left = sum(row.status == "not tested" for row in rows)
        click.echo(f"{model}: {count}" + (f"; {left} not tested" if left else ""))
    return FAILED if failed else OK


def _runs_here(target: str) -> bool:
    """Whether a target's package is there, and a GPU if it needs one."""
    if find_spec(target) is None or target != "cupy":
        return find_spec(target) is not None
    try:
        return int(import_module("cupy").cuda.runtime.getDeviceCount()) > 0
    except Exception:  # CuPy has many for a driver that is missing, or too old
        return False


def _table(rows: list[Row]) -> str:
    lines = [f"{'target':<8}{'check':<44}{'error':>9}{'tolerance':>12}"]
    for row in rows:
        numbers = f"{'-':>9}{'-':>12}"
        if row.error is not None:
            numbers = f"{row.error:>9.1e}{row.tolerance:>12.0e}"
        note = f"  ({row.note})" if row.note else ""
        lines.append(f"{row.target:<8}{row.check:<44}{numbers}  {row.status}{note}")
    return "\n".join(lines)


def _record(model: Path, rows: list[Row]) -> dict[str, object]:
    """The same for tools; what is no number is null."""
    checks = [
        {
            "target": row.target,
            "check": row.check,
            "status": row.status,
            "error": row.error if _is_number(row.error) else None,
            "tolerance": row.tolerance,
            "note": row.note,
        }
        for row in rows
    ]
    passed = all(row.status != "FAILED" for row in rows)
    return {"file": str(model), "passed": passed, "checks": checks}


def _is_number(value: float | None) -> bool:
    return value is not None and abs(value) < float("inf")
