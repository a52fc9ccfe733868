"""Ten models whose verdicts are worked out by hand in docs/stability.md."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import pdec

ROOT = Path(__file__).resolve().parent.parent
CASES = sorted((ROOT / "tests/cases").glob("*.npde"))


def by_hand() -> dict[str, list[str]]:
    """The table of docs/stability.md: the cells of each case behind its name."""
    page = (ROOT / "docs/stability.md").read_text("utf-8")
    table = page.split("<!-- cases -->")[1].split("<!-- end -->")[0].splitlines()
    rows = [[cell.strip() for cell in row.strip("| ").split("|")] for row in table]
    return {row[0]: row[1:] for row in rows[3:] if len(row) > 1}


TABLE = by_hand()


@cache
def module(path: Path) -> ModuleType:
    return pdec.load(path)


def step(text: str) -> float | None:
    return None if text == "none" else float(text.replace("any", "inf"))


def test_every_case_is_worked_out() -> None:
    assert len(CASES) == 10
    assert set(TABLE) == {path.stem for path in CASES}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_report_is_what_was_worked_out(path: Path) -> None:
    case = module(path)
    omega, numerical, intrinsic, largest, contracts, growth, own = TABLE[path.stem]
    report = case.stability(case.init_params())
    assert report.omega == float(omega)
    assert report.numerical == numerical
    assert report.intrinsic == intrinsic
    assert report.basis == "exact"
    for found, expected in (
        (report.omega_max_grid, step(largest)),
        (report.omega_max, step(largest)),
        (report.omega_contractive, step(contracts)),
    ):
        assert found == (expected and pytest.approx(expected, rel=2e-5))
    assert report.contractive == (contracts != "none" and numerical == "stable")
    for rate, text in ((report.growth, growth), (report.intrinsic_growth, own)):
        if text == "–":
            assert rate <= 1e-12
        else:
            assert rate == pytest.approx(float(text), rel=5e-5)


@pytest.mark.parametrize(
    ("case", "wave", "limit"),
    [
        ("pure_diffusion", 2.0, "diffusion number"),
        ("pure_advection", 4.0, "Courant or cell Péclet number"),
        ("upwind", 2.0, "diffusion number"),
        ("stiff_diffusion", 2.0, "diffusion number"),
        ("sigmoid", 2.0, "reaction"),  # 1 - W0/4 = 1.5 against 4 d/4 = 1
    ],
)
def test_the_critical_wave_and_what_limits_it(
    case: str, wave: float, limit: str
) -> None:
    found = module(ROOT / f"tests/cases/{case}.npde")
    p = found.init_params()
    largest = found.stability(p).omega_max or 0.5
    report = found.stability(p, omega=1.02 * largest)
    assert report.wavelength == pytest.approx(wave)
    assert report.limit == limit
    assert report.growth > 0


def test_advice_says_what_to_do() -> None:
    stiff = module(ROOT / "tests/cases/stiff_diffusion.npde")
    p = stiff.init_params()
    text = str(stiff.stability(p))
    assert "unstable at ω = 0.5" in text
    assert "ω ≤ 0.004993" in text.splitlines()[-1]
    assert "scheme implicit" in text.splitlines()[-1]
    assert stiff.stability(p, omega=0.004993).numerical == "stable"
    bounded = module(ROOT / "tests/cases/bistable.npde")
    assert bounded.stability(bounded.init_params()).bound == pytest.approx(1.0)


def test_bounds_of_an_activation_and_of_none() -> None:
    for case, bound in (("sigmoid", 1.0), ("relu", None), ("pure_diffusion", None)):
        found = module(ROOT / f"tests/cases/{case}.npde")
        assert found.stability(found.init_params()).bound == bound
