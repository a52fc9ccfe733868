"""Wrong models, ``tests/errors/*.npde``, with what is told beside each mistake.

    param W0 = 0.5
    #!       ^ found '=' where 'init' was expected
    #? write `param W0 init 0.5`

``#!`` lines hold the carets, under the exact span of the line above, and the message;
``#?`` lines hold the hint.  A doubt starts with ``warning:``.  The notes of a file are
complete and in the order in which they are reported, so a test compares whole files.
A statement is indented where carets would not fit under its start.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from limits import time_limit

from pdec import cli, pipeline, source
from pdec.errors import Diagnostic, ModelErrors

FOLDER = Path(__file__).parent / "errors"
FILES = sorted(FOLDER.glob("*.npde"))
NOTES = ("#!", "#?")
ACCEPTED = {"negative_base", "singular", "unused"}


def found_in(text: source.Source) -> tuple[Diagnostic, ...]:
    """What is reported about a model; any exception but ``ModelErrors`` escapes."""
    try:
        return pipeline.compile_source(text).warnings
    except ModelErrors as error:
        return error.diagnostics


def annotated(text: source.Source, diagnostics: tuple[Diagnostic, ...]) -> str:
    """The text with its notes replaced by those of the diagnostics."""
    notes: dict[int, list[str]] = {}
    last = 0
    for item in diagnostics:
        assert item.span.start >= last, "the diagnostics are not in source order"
        last = item.span.start
        row, column = text.position(item.span.start)
        width = min(item.span.end - item.span.start, len(text.line(row)) - column + 1)
        assert column > 2, f"line {row}: indent the statement"
        word = "warning: " if item.severity == "warning" else ""
        carets = " " * (column - 3) + "^" * max(width, 1)
        note = [f"#!{carets} {word}{item.message}"]
        note += [f"#? {item.hint}"] if item.hint else []
        notes.setdefault(row, []).extend(note)
    lines = []
    for row, line in enumerate(text.text.split("\n"), 1):
        lines += [] if line.startswith(NOTES) else [line]
        lines += notes.get(row, [])
    return "\n".join(lines)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_wrong_models(file):
    text = source.read(file)
    with time_limit(10):
        found = found_in(text)
    assert annotated(text, found) == text.text
    accepted = all(item.severity == "warning" for item in found)
    assert found and accepted == (file.stem in ACCEPTED)


def test_the_corpus_is_large():
    notes = "".join(file.read_text("utf-8") for file in FILES).count("#!")
    assert len(FILES) >= 45 and notes >= 150


@pytest.mark.parametrize("file", FILES[::8], ids=lambda file: file.stem)
def test_wrong_models_on_the_command_line(file, capsys, tmp_path):
    output = tmp_path / "out.py"
    status = cli.OK if file.stem in ACCEPTED else cli.USER_ERROR
    assert cli.main(["compile", str(file), "-o", str(output)]) == status
    err = capsys.readouterr().err
    assert "Traceback" not in err and "bug" not in err
    assert err.startswith(f"{file}:") and output.exists() == (status == cli.OK)


# --- for tools --------------------------------------------------------------------


def test_check_for_tools(capsys):
    wrong, doubted = FOLDER / "equal_for_init.npde", FOLDER / "unused.npde"
    assert cli.main(["check", "--format", "json", str(wrong), str(doubted)]) == 2
    out, err = capsys.readouterr()
    assert err == ""
    report = json.loads(out)
    first = report["diagnostics"][0]
    assert first == {
        "severity": "error",
        "message": "found '=' where 'init' was expected",
        "hint": "write `param W0 init 0.5`",
        "file": str(wrong),
        "line": 3,
        "column": 10,
        "end_line": 3,
        "end_column": 11,
    }
    warning = report["diagnostics"][-1]
    assert (warning["severity"], warning["file"]) == ("warning", str(doubted))
    assert [model["file"] for model in report["models"]] == [str(wrong), str(doubted)]
    assert [model["status"] for model in report["models"]] == ["wrong", "stable"]


def test_compile_for_tools(capsys, tmp_path):
    wrong, doubted = FOLDER / "duplicate.npde", FOLDER / "unused.npde"
    output = str(tmp_path / "out.py")
    options = ["--format", "json", "-o", output]
    assert cli.main(["compile", str(wrong), *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(json.loads(err)["diagnostics"]) == 3
    assert cli.main(["compile", str(doubted), *options]) == 0
    assert {d["severity"] for d in json.loads(capsys.readouterr().err)["diagnostics"]}


def test_tools_are_told_of_missing_files(capsys, tmp_path):
    missing = str(tmp_path / "none.npde")
    assert cli.main(["check", "--format", "json", missing]) == 2
    (only,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert "there is no file" in only["message"]
    assert (only["file"], only["line"]) == (missing, None)
