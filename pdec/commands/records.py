"""Records: diagnostics as data, for editors and other tools (``--format json``).

Input: diagnostics.  Output: one flat record each; lines and columns count from 1 and
in code points, and the end is exclusive:

    {"severity": "error", "message": "found '=' where 'init' was expected",
     "hint": "write `param W0 init 0.5`", "file": "adr1d.npde",
     "line": 6, "column": 10, "end_line": 6, "end_column": 11}
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pdec.errors import Diagnostic, ModelErrors, PdecError
from pdec.source import Source

Record = dict[str, str | int | None]


def of_diagnostics(
    file: Path, source: Source, found: Iterable[Diagnostic]
) -> list[Record]:
    """One record for each diagnostic of a file."""
    records: list[Record] = []
    for item in found:
        line, column = source.position(item.span.start)
        end_line, end_column = source.position(item.span.end)
        places = {"line": line, "column": column}
        ends = {"end_line": end_line, "end_column": end_column}
        records.append(
            _record(file, item.severity, item.message, item.hint, places | ends)
        )
    return records


def of_error(file: Path, error: PdecError) -> list[Record]:
    """The records of an exception; one without a place if it has none."""
    if isinstance(error, ModelErrors):
        return of_diagnostics(file, error.source, error.diagnostics)
    nowhere = dict.fromkeys(("line", "column", "end_line", "end_column"))
    return [_record(file, "error", str(error), None, nowhere)]


def as_json(value: object) -> str:
    """Write data as readable JSON."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def _record(
    file: Path,
    severity: str,
    message: str,
    hint: str | None,
    places: dict[str, int] | dict[str, None],
) -> Record:
    start: Record = {"severity": severity, "message": message, "hint": hint}
    return {**start, "file": str(file), **places}
