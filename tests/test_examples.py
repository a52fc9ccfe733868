"""The scripts in examples/: what they recover, learn and draw."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, repository: Path) -> ModuleType:
    """The digits script, importable as it is when run."""
    monkeypatch.syspath_prepend(repository / "examples")
    import train_digits

    return train_digits


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch, repository: Path) -> ModuleType:
    """The script that sweeps ω, importable as it is when run."""
    monkeypatch.syspath_prepend(repository / "examples")
    import omega_sweep

    return omega_sweep


@pytest.fixture
def recovery(monkeypatch: pytest.MonkeyPatch, repository: Path) -> ModuleType:
    """The script that recovers weights, importable as it is when run."""
    monkeypatch.syspath_prepend(repository / "examples")
    import recover_adr1d

    return recover_adr1d


def test_weights_are_recovered_from_the_discrete_equation(recovery: ModuleType) -> None:
    found = recovery.recover_discrete(np.random.default_rng(1))
    assert recovery.relative_error(found).max() <= 1e-9


def test_weights_are_recovered_from_the_continuous_equation(
    recovery: ModuleType, tmp_path: Path
) -> None:
    steps, found = recovery.recover_continuous(np.random.default_rng(1))
    limit = recovery.relative_error(recovery.extrapolate(found))
    assert limit.max() <= 1e-6
    # without the extrapolation the bias is of first order in the time step
    bias = recovery.relative_error(found)
    order = np.log(bias[0] / bias[-1]) / np.log(steps[0] / steps[-1])
    np.testing.assert_allclose(order, 1.0, atol=0.1)
    recovery.draw(tmp_path / "recovered.png", steps, found)
    _assert_drawn(tmp_path, {"recovered.png"})


def test_what_omega_does_turns_at_the_predicted_bound(
    sweep: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--count", "5", "--starts", "1", "--updates", "15"]
    sweep.main([*few, "--output", str(tmp_path)])
    assert "ω_max at the start: 1.25" in capsys.readouterr().out
    with (tmp_path / "omega_sweep.csv").open(encoding="utf-8") as stream:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
    assert [row["omega"] for row in rows] == [0.5, 0.75, 1.0, 1.25, 1.5]
    for row in rows:
        assert row["omega_max"] == pytest.approx(1.25, abs=1e-3)
        assert np.isfinite(row["depth"]) == (row["omega"] < 1.25)
        if row["omega"] < 1.25:
            assert row["depth"] == pytest.approx(row["foretold"], rel=0.2)
    gentle, wild = rows[2], rows[4]
    assert wild["gradient"] > 100 * gentle["gradient"]
    assert wild["first_loss"] > 100 * gentle["first_loss"]
    assert wild["omega_max_trained"] > wild["omega_max"]  # training flees the bound
    _assert_drawn(tmp_path, {"omega_sweep.png"})


def test_digits_are_learnt_end_to_end(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.main(["--images", "300", "--iterations", "8", "--output", str(tmp_path)])
    results = {r["name"]: r for r in json.loads((tmp_path / "digits.json").read_text())}
    assert list(results) == ["digits", "digits_channels", "logistic"]
    assert [r["parameters"] for r in results.values()] == [11770, 16898, 7850]
    for result in results.values():
        assert result["mean"] > 0.5  # a tenth is chance
        assert all(losses[-1] < losses[0] for losses in result["losses"])
    assert "digits_channels" in capsys.readouterr().out
    kinds = {"digits": ("fields",), "digits_channels": ("moments",)}
    _assert_drawn(
        tmp_path,
        {"digits_training.png"}
        | {
            f"{name}_{kind}.png"
            for name, own in kinds.items()
            for kind in (*own, "templates", "states", "confusion")
        },
    )
    model = script.pdec.load(script.MODELS[0])
    assert model.load(tmp_path / "digits.npz")["W0"].shape == (28, 28)


def test_training_is_the_same_for_the_same_seed(script: ModuleType) -> None:
    model, split = script.pdec.load(script.MODELS[1]), script.split_images(3, 150)
    found = [
        script.adam(script.Training(model, split, 3), 2, lambda theta, loss: None)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*found)


def test_images_stand_upright_in_the_model(script: ModuleType) -> None:
    image = np.zeros((1, 28, 28), np.float32)
    image[0, 27, 4] = 1.0  # the lowest row of pixels, the fifth column
    plain, channels = (script.pdec.load(path) for path in script.MODELS)
    assert script.as_input(plain, image)[0, 4, 0] == 1.0
    assert script.as_input(channels, image)[0, 0, 2, 0] == 1.0  # of 4 pixels the first


def _assert_drawn(folder: Path, names: set[str]) -> None:
    from matplotlib.image import imread

    assert {path.name for path in folder.glob("*.png")} == names
    for name in names:
        assert imread(folder / name)[..., :3].std() > 0.02, f"{name} is blank"
