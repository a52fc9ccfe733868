"""The benchmark of the CuPy target on a machine without a GPU: that it starts, checks,
goes on where something fails, and prints its table last."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from test_cupy import ROOT, fake, stand_in

from pdec.targets import cupy as cupy_target

__all__ = ["stand_in"]
pytestmark = pytest.mark.skipif(fake.COMPILER is None, reason="no C++ compiler")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The benchmark, without peers."""
    monkeypatch.setenv("PDEC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    found = importlib.import_module("gpu")

    def missing(*given: Any, **options: Any) -> Any:
        raise ImportError("no other libraries here")

    monkeypatch.setattr(found, "jax_on_gpu", missing)
    monkeypatch.setattr(found, "torch_on_gpu", missing)
    yield found


def test_the_benchmark_says_that_there_is_no_device() -> None:
    command = [sys.executable, "gpu.py"]
    cwd = ROOT / "benchmarks"
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "no GPU to measure on" in done.stderr


@pytest.mark.parametrize(
    ("name", "blocks", "kind"),
    [
        ("B2", 2, "launch for each phase"),
        ("B3", 1, "one block a sample"),
        ("B3p", 2, "launch for each phase"),
        ("B3w", 1, "with cuBLAS"),
    ],
)
def test_it_checks_what_it_times(
    gpu: Any, name: str, blocks: int, kind: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(cupy_target, "team", lambda kernels: (4, blocks))
    report = gpu.Report(tmp_path)
    workload = gpu.workload_of(name, True)
    runs, expected, _, module = gpu.variants(workload, False, report)
    assert kind in module.__doc__
    assert ("pdec arrays" in runs) == (name != "B3w")
    assert (name == "B3p") == bool(getattr(module, "_TILES", 0))
    gpu.checked(runs, expected, 2e-3)
    wrong = {key: 1.1 * value for key, value in expected[1].items()}
    with pytest.raises(AssertionError, match="pdec cupy"):
        gpu.checked(runs, (expected[0], wrong), 2e-3)


def test_the_table_comes_last_whatever_fails(
    gpu: Any, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["B1", "B9", "B4", "B3"]
    quick = ["--quick", "--rounds", "2", "--output", str(tmp_path)]
    checked = gpu.checked

    def some_wrong(runs: Any, expected: Any, tolerance: float) -> None:
        assert tolerance != 1e-5 or "pdec cupy" not in runs, "B4 is wrong"
        checked(runs, expected, tolerance)

    monkeypatch.setattr(gpu, "checked", some_wrong)
    assert gpu.main([*names, *quick]) == 1
    table = capsys.readouterr().out
    rows = [line.split() for line in table.splitlines()]
    assert rows[0][:2] == ["a", "CPU:"]
    assert "KeyError: 'B9'" in table
    assert "AssertionError: B4 is wrong" in table
    assert table.count("pdec cupy  ") == 3 - 1
    assert table.count("kernels  ") == 3 + 2  # headings, and times of what is right
    assert "B1 JAX scan: ImportError: no other libraries" in table
    assert (tmp_path / "gpu.txt").read_text("utf-8") == table
    numbers = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert len(numbers["failed"]) == 2
    assert len(numbers["B1"]["times"]["pdec cupy"]) == 2
    assert numbers["B3"]["kernels"] > 0 < numbers["B3"]["least"]


def test_what_there_is_no_time_for_is_left_out(gpu: Any, tmp_path: Path) -> None:
    given = ["B1", "--quick", "--seconds", "0", "--output", str(tmp_path)]
    assert gpu.main(given) == 0
    assert "left out: no time" in (tmp_path / "gpu.txt").read_text("utf-8")


def test_the_tests_for_a_device_start() -> None:
    """With the stand-in for CuPy: a model, streams."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests/cuda")])
    chosen = "(walls1d and equal) or (two_runs and blocks)"
    command = [sys.executable, "-m", "pytest", "-q", "tests/gpu", "-k", chosen]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-W", "default"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "\n2 passed" in done.stdout
