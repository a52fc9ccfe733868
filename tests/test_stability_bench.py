"""A sample of benchmarks/stability.py: random models against the step itself."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, repository: Path) -> ModuleType:
    """The benchmark, importable as it is when run."""
    monkeypatch.syspath_prepend(repository / "benchmarks")
    import stability

    return stability


def held(tally: object, *checks: str) -> None:
    assert not tally.failures, "\n".join(tally.failures[:20])
    assert set(checks) <= set(tally.counts)


def test_a_sample_of_random_models(bench: ModuleType) -> None:
    tally = bench.run(60, seed=3, stride=13)
    assert tally.draws >= 60
    held(tally, "threshold", "stable", "contract", "adjoint", "powers")


@pytest.mark.slow
def test_all_random_models(bench: ModuleType) -> None:
    tally = bench.run(2400)
    assert tally.draws >= 2000
    held(tally, "threshold", "growth", "decay", "stable", "contract", "adjoint")
    assert tally.certified > 0.3 * tally.draws
    assert np.median(tally.gaps) < 0.5


def test_the_bench_sees_a_wrong_bound(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verdict that is off by a tenth fails it, on either side."""
    (family,) = (f for f in bench.families() if f.name == "three points, euler")
    for factor in (0.9, 1.1):
        tally = bench.Tally()
        found = bench.Bench(family, tally)
        monkeypatch.setattr(
            found.module,
            "_largest_steps",
            lambda modes, factor=factor, largest=found.module._largest_steps: (
                factor * largest(modes)
            ),
        )
        for seed in range(6):
            found.check(seed)
        assert any(f.startswith("threshold") for f in tally.failures)
        monkeypatch.undo()
