"""What `python <module>.py` does; pasted last."""

from __future__ import annotations

import io
import sys

from pdec.runtime.generated import MODEL, stability
from pdec.runtime.interface import init_params
from pdec.runtime.selfcheck import selfcheck
from pdec.runtime.types import Variable

# --- python <this file> --------------------------------------------------------------


def main() -> int:
    """Print the model, the self-check and the stability of the initial parameters.

    Return 1 if the self-check fails, or if forward would refuse these parameters.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where ω cannot be encoded
    checked = selfcheck()
    report = stability(init_params())
    print(_summary(), checked, report, sep="\n\n")
    refused = report.numerical == "unstable" and report.basis == "exact"
    return 0 if checked.passed and not refused else 1


def _summary() -> str:
    """Describe the model for people."""
    dims = ", ".join(f"{name} = {size}" for name, size in MODEL.dims.items())
    relaxation = "" if MODEL.omega is None else f", ω = {MODEL.omega}"
    lines = [
        f"{MODEL.name}: {MODEL.doc}" if MODEL.doc else MODEL.name,
        *(f"    {line}" for line in MODEL.equation.splitlines()),
        f"{dims}; {MODEL.steps} steps{relaxation}; {MODEL.dtype}",
        f"pdec {MODEL.pdec_version}, target {MODEL.target}, {MODEL.source_hash}",
    ]
    for kind, variables in (
        ("field", MODEL.fields),
        ("input", MODEL.inputs),
        ("param", MODEL.params),
        ("readout", MODEL.readouts),
        ("target", MODEL.targets),
    ):
        lines += [_described(kind, name, x) for name, x in variables.items()]
    return "\n".join(lines)


def _described(kind: str, name: str, variable: Variable) -> str:
    """Describe a variable on one line: its name, axes, shape and bounds."""
    text = f"{kind:<8}{name:<12}{variable.shape!s:<16}"
    if variable.high < float("inf"):
        text += f"in [{variable.low:g}, {variable.high:g}]  "
    elif variable.low > float("-inf"):
        text += f">= {variable.low:g}  "
    if variable.classes:
        text += f"{variable.classes} classes  "
    return (text + variable.doc).rstrip()


if __name__ == "__main__":
    sys.exit(main())
