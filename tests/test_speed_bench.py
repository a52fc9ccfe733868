"""benchmarks/speed.py on small sizes: it runs, it checks, and it writes its tables."""

from __future__ import annotations

import importlib
import json
import multiprocessing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def bench(
    monkeypatch: pytest.MonkeyPatch, repository: Path, tmp_path: Path
) -> ModuleType:
    """The benchmark, importable as it is when run."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    monkeypatch.syspath_prepend(repository / "benchmarks")
    return importlib.import_module("speed")


def run(bench: ModuleType, output: Path, *arguments: str) -> dict[str, Any]:
    quick = ["--quick", "--rounds", "1", "--output", str(output), "--torch-compile"]
    bench.main([*arguments, *quick])
    found: dict[str, Any] = json.loads((output / "speed.json").read_text("utf-8"))
    return found


def test_small_sizes_agree_with_jax_and_are_written_down(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("B1", "B2", "B3", "B4", "B5")
    found = run(bench, tmp_path, *names, "--targets", "numpy")
    for name in names:
        times = found[name]["times"]["gradient"]
        assert {"pdec numpy", "JAX scan", "JAX checkpoint"} <= set(times), name
        assert all(len(each) == 1 for each in times.values())
    assert {"NumPy", "C"} <= set(found["B1"]["times"]["gradient"])
    assert "pdec numpy" in found["B1"]["times"]["forward"]
    text = (tmp_path / "speed.md").read_text("utf-8")
    assert text in capsys.readouterr().out
    assert "| B5 |" in text and found["B5"]["title"] in text


@pytest.mark.slow
def test_all_of_it(bench: ModuleType, tmp_path: Path) -> None:
    found = run(bench, tmp_path)
    assert set(found) == {"machine", *bench.TIMED, "B6", "B7", "ceilings"}
    assert "pdec numba" in found["B1"]["times"]["gradient"]
    assert found["B6"]["pdec numba"]["64"]["bytes"] >= 0
    assert found["B7"]["pdec numba"]["warm"] > 0


def test_a_peer_that_is_wrong_is_not_timed(bench: ModuleType) -> None:
    workload = bench.workloads.all_of(quick=True)["B1"]
    at = bench.workloads.point(workload, bench.peers.load(workload, "numpy"))
    names = ["pdec numpy", "JAX scan"]
    with bench.turns.started(names, "B1", at, quick=True) as found:
        results = {each.label: each.ask("result") for each in found}
    bench.check(results, workload)
    loss, grads = results["JAX scan"]
    results["JAX scan"] = loss, grads | {"b": 1.01 * grads["b"]}
    with pytest.raises(SystemExit, match="B1: JAX scan differs in b"):
        bench.check(results, workload)


def test_a_variant_that_fails_ends_the_bench_and_leaves_no_process(
    bench: ModuleType,
) -> None:
    workload = bench.workloads.all_of(quick=True)["B1"]
    at = bench.workloads.point(workload, bench.peers.load(workload, "numpy"))
    names = ["pdec numpy", "no such variant"]
    with (
        pytest.raises(SystemExit, match="no such variant ended before it answered"),
        bench.turns.started(names, "B1", at, quick=True),
    ):
        pass
    assert not multiprocessing.active_children()
