"""`pdec stability`: the report, its pictures, and what bad input gets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import pdec
from pdec.cli import main
from pdec.commands.plane import check_names, plane

ROOT = Path(__file__).resolve().parent.parent
ADR = str(ROOT / "examples/adr1d.npde")
HETEROGENEOUS = """\
grid x[16] on [0, 1], y[12] on [0, 1) periodic
at x: ∂z = 0
field z(x, y)
param W0(x, y) init 0.5, W2(x, y) >= 0 init uniform(1e-4, 1e-3), U init 1e-3
dz/dt = -(z - tanh(W0 z + W2 ∇²z + U ∂x z))
steps 4
ω = 0.5
"""


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    path = tmp_path / "uneven.npde"
    path.write_text(HETEROGENEOUS, "utf-8")
    return path


def test_report_and_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stability", ADR]) == 0
    assert "stability: stable at ω = 0.5 (exact)" in capsys.readouterr().out
    assert main(["stability", ADR, "--omega", "0.9"]) == 3
    assert "stability: unstable at ω = 0.9 (exact)" in capsys.readouterr().out


def test_saved_parameters_are_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = pdec.load(ADR)
    saved = tmp_path / "p.npz"
    module.save(saved, module.init_params() | {"W2": np.asarray(1e-3)})
    assert main(["stability", ADR, "--params", str(saved)]) == 3
    assert "unstable" in capsys.readouterr().out


@pytest.mark.parametrize("plane_of", ["W1,W2", "omega,W2", "ω,W₀"])
def test_pictures_are_drawn(plane_of: str, tmp_path: Path) -> None:
    picture = tmp_path / "out.png"
    assert main(["stability", ADR, "--plot", str(picture), "--plane", plane_of]) == 0
    pixels = imread(picture)[..., :3]
    assert pixels.std() > 0.05
    # readable in grey: nothing is told by colour alone
    assert np.abs(pixels - pixels.mean(axis=-1, keepdims=True)).max() < 0.02


def test_only_what_grows_is_critical(tmp_path: Path) -> None:
    picture = tmp_path / "out.svg"
    for omega, status, words, other in (
        ("0.5", 0, "least stable: waves of 2 cells", "critical"),
        ("0.6", 3, "critical: waves of 2 cells", "least stable"),
    ):
        options = ["--omega", omega, "--plot", str(picture)]
        assert main(["stability", ADR, *options]) == status
        text = picture.read_text("utf-8")  # the comments hold the words
        assert words in text and other not in text


def test_a_map_of_one_value_has_a_scale(tmp_path: Path) -> None:
    picture = tmp_path / "out.svg"
    digits = str(ROOT / "examples/digits.npde")
    assert main(["stability", digits, "--plot", str(picture)]) == 0
    text = picture.read_text("utf-8")
    assert "{0.900}" in text and "10^{" not in text


def test_a_map_over_two_dimensions(uneven: Path, tmp_path: Path) -> None:
    picture = tmp_path / "out.svg"
    again = tmp_path / "again.svg"
    for path in (picture, again):
        assert main(["stability", str(uneven), "--plot", str(path)]) in (0, 3)
    text = picture.read_text("utf-8")
    assert text.count("<path") > 50
    assert text == again.read_text("utf-8")  # the same bytes
    # the comments hold the words, and every letter has a glyph
    for words in ("Largest stable ω in each cell", "θ along x", "|G|"):
        assert words in text


def test_a_plane_of_arrays(tmp_path: Path) -> None:
    text = HETEROGENEOUS.replace("x[16]", "x[5]").replace("y[12]", "y[4]")
    path = tmp_path / "small.npde"
    path.write_text(text, "utf-8")
    module = pdec.load(path)
    p, shares = module.init_params(), list[float]()
    names = check_names(module, p, "U,W2")
    found = plane(module, p, names, 0.5, shares.append)
    assert found.second.label == "multiple of W2" and found.second.values[0] == 0.0
    assert shares[-1] == 1.0 and len(shares) > 100
    q = p | {"W2": found.second.values[-1] * p["W2"]}
    q["U"] = np.asarray(found.first.values[0])
    expected = float(module.amplification(q).omega_max.min())  # frozen in each cell
    assert found.found.largest[-1, 0] == pytest.approx(expected)


def test_the_plane_is_what_the_report_says() -> None:
    module = pdec.load(ADR)
    p = module.init_params()
    names = check_names(module, p, "W1,W2")
    found = plane(module, p, names, 0.5, lambda share: None)
    assert found.first.current == 0.0 and found.second.current == 5e-5
    assert found.second.values[0] == 0.0  # W2 >= 0
    rng = np.random.default_rng(0)
    for _ in range(20):
        i, j = (
            rng.integers(len(found.first.values)),
            rng.integers(len(found.second.values)),
        )
        q = p | {
            "W1": np.asarray(found.first.values[i]),
            "W2": np.asarray(found.second.values[j]),
        }
        report = module.stability(q)
        assert found.found.largest[j, i] == pytest.approx(report.omega_max_grid or 0.0)
        assert found.found.growth[j, i] == pytest.approx(report.growth)
        assert found.found.own[j, i] == pytest.approx(report.intrinsic_growth)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "out.png", "--plane", "W1,W9"], "'W9' is no parameter of adr1d"),
        (["--plot", "out.png", "--plane", "W1"], "--plane takes two different names"),
        (["--plot", "out.png", "--plane", "W1,W1"], "takes two different names"),
        (["--plot", "out.png", "--plane", "b,W1"], "b is an array of zeros"),
        (["--plane", "W1,W2"], "add --plot FILE"),
        (["--plot", "out.jpg"], "--plot draws .png and .svg"),
        (["--plot", "out"], "--plot draws .png and .svg"),
        (["--plot", "nowhere/out.png"], "there is no folder 'nowhere'"),
        (["--omega", "-1"], "--omega is a positive number"),
        (["--params", "nowhere.npz"], "'nowhere.npz' does not exist"),
        (["--params", ADR], "no .npz file"),
        (["--set", "q=3"], "no such length or constant"),
    ],
)
def test_bad_input_gets_one_clear_error(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["stability", ADR, *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.lower().count("error:") == 1
    assert shown.out == ""
    assert not list(tmp_path.iterdir())


def test_no_permission_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    assert main(["stability", ADR, "--plot", str(tmp_path / "out.png")]) == 2
    assert "no permission to write" in capsys.readouterr().err


def test_without_matplotlib_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["stability", ADR, "--plot", str(tmp_path / "out.png")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "pip install 'pdec[plot]'" in error
    assert main(["stability", ADR]) == 0  # the report does without it
