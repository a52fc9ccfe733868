"""Loading a model: compiled once, found again, compiled anew where anything differs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pdec
from pdec.errors import UsageError

MODEL = """
model decay
grid x[8] on [0, 1) periodic
field z(x)
param γ init 1
dz/dt = -γ z
steps 3
dt = 0.1
"""
LOAD = """
import sys, pdec
module = pdec.load(sys.argv[1], overrides=eval(sys.argv[2]))
print(module.__name__, module.MODEL.steps, "sympy" in sys.modules)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PDEC_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "decay.npde").write_text(MODEL, "utf-8")
    return tmp_path / "decay.npde"


def loaded(file: Path, **overrides: float) -> list[str]:
    """The module's name, its steps, and whether the compiler was imported."""
    command = [sys.executable, "-c", LOAD, str(file), repr(overrides)]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ
    ).stdout.split()


def test_a_model_is_compiled_once(file: Path) -> None:
    name, steps, compiled = loaded(file)
    assert (steps, compiled) == ("3", "True")
    assert loaded(file) == [name, "3", "False"]


def test_what_differs_is_compiled(file: Path) -> None:
    first, _, _ = loaded(file)
    other, steps, compiled = loaded(file, steps=5)
    assert (steps, compiled) == ("5", "True") and other != first
    file.write_text(MODEL.replace("steps 3", "steps 4"), "utf-8")
    assert loaded(file)[1:] == ["4", "True"]


@pytest.mark.parametrize("damage", ["", "raise SystemExit('changed')\n", "é\udcff"])
def test_a_kept_text_that_was_changed_is_not_run(file: Path, damage: str) -> None:
    name, _, _ = loaded(file)
    kept = file.parent / "cache" / f"{name}.py"
    kept.write_bytes(damage.encode("utf-8", "surrogateescape"))
    assert loaded(file) == [name, "3", "True"]


def test_one_module_in_a_process(file: Path) -> None:
    module = pdec.load(file)
    assert pdec.load(file) is module


def test_a_package_that_is_gone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install, also where the text was kept before."""
    pytest.importorskip("numba")
    name = pdec.load(file, target="numba").__name__
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'pdec\[numba\]'"):
        pdec.load(file, target="numba")
    assert name not in sys.modules
