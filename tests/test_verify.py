"""``pdec verify`` and the self-check: what is right passes, what is wrong is found."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pdec.cli import main
from pdec.pipeline import Compilation, compile_source, module_of
from pdec.source import from_text, read
from pdec.verification import verify
from pdec.verification.convergence import TOLERANCE, Measured, in_space
from pdec.verification.manufactured import Unsuitable, manufacture

MODEL = """grid x[16] on [0, 1) periodic
field z(x)
param W0 init 0.5, W1 init 0.01, W2 >= 0 init 1e-3, b(x) init 0.1
dz/dt = -(z - tanh(W0 z + W1 ∂z + W2 ∂²z - b + 0.1 sin(t)))
steps 6
ω = 0.4
target y(x)
loss = mean((z - y)²)
"""
UNSTABLE = MODEL.replace("ω = 0.4", "ω = 1.6").replace(" + 0.1 sin(t)", "")


def broken(text: str, right: str, wrong: str) -> ModuleType:
    """The module of a model with a mistake in it."""
    made = compile_source(from_text(text, "m.npde"))
    assert right in made.text
    wrong_text = made.text.replace(right, wrong)
    return module_of(Compilation(made.derivation, wrong_text, ""))


def failures(module: ModuleType) -> list[str]:
    return [row.name for row in module.selfcheck().rows if not row.passed]


# --- the module's own check ---------------------------------------------------------


def test_a_mistake_in_jvp_and_vjp_alike_shows() -> None:
    module = broken(MODEL, "np.subtract(1.0, ", "np.subtract(1.01, ")
    found = failures(module)
    assert not any("dot test" in name for name in found)
    assert any("Taylor test of jvp" in name for name in found)


def test_a_verdict_that_a_run_contradicts_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = module_of(compile_source(from_text(UNSTABLE, "m.npde")))
    assert failures(module) == []
    report = module.stability(module.init_params())
    assert report.numerical == "unstable" and report.growth > 0.1

    class Lie:
        basis, intrinsic, numerical, growth = "exact", "none", "stable", 0.0

    monkeypatch.setattr(module, "stability", lambda p: Lie())
    assert failures(module) == ["growth of a run, above the verdict's"]


def test_an_overflow_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    text = "field z\nparam a init 1\ndz/dt = exp(exp(exp(z))) + a\nsteps 9\ndt = 0.1\n"
    module = module_of(compile_source(from_text(text, "m.npde")))
    (row,) = module.selfcheck().rows
    assert "not finite at step 3" in row.name and not row.passed
    assert module.main() == 1
    assert "not finite at step 3" in capsys.readouterr().out


# --- the command --------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.npde"
    path.write_text(MODEL, "utf-8")
    return path


def test_verify(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(file), "--target", "numpy", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"]
    names = " ".join(row["check"] for row in found["checks"])
    for what in ("dot", "Taylor", "complex", "checkpointed", "thread", "Δt", "Δx"):
        assert what in names
    assert {row["status"] for row in found["checks"]} == {"ok"}


def test_a_compiled_target_is_compared_with_numpy(
    file: Path, cache_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("numba")
    assert main(["verify", str(file), "--format", "json"]) == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert {row["status"] for row in checks} == {"ok"}
    by_target = {target: [] for target in ("numpy", "numba")}
    for row in checks:
        by_target[row["target"]].append(row["check"])
    assert list(by_target) == list(dict.fromkeys(row["target"] for row in checks))
    assert "gradients against numpy's" in by_target["numba"]
    assert not any("order of" in check for check in by_target["numba"])


def test_a_target_that_differs_from_numpy_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = from_text(MODEL, "m.npde")
    right = module_of(compile_source(text))
    wrong = broken(MODEL, "np.subtract(1.0, ", "np.subtract(1.0000001, ")
    point = right._random_point(np.random.default_rng(0))
    assert verify._against(right, right, "other", point).status == "ok"
    assert verify._against(right, wrong, "other", point).status == "FAILED"


def test_a_failure_sets_the_status(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unsuitable(*arguments: Any) -> Measured:
        raise Unsuitable("there is a reason")

    wrong = Measured(1.5, 2, (1.0, 0.4))
    monkeypatch.setattr(verify, "in_time", lambda *arguments: wrong)
    monkeypatch.setattr(verify, "in_space", unsuitable)
    assert main(["verify", str(file), "--target", "numpy"]) == 1
    out = capsys.readouterr().out
    assert "FAILED  (1.50, theory says 2)" in out
    assert "not tested  (there is a reason)" in out
    assert "1 of " in out and "checks failed; 1 not tested" in out


def test_checks_of_bits_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    made = compile_source(from_text(MODEL, "m.npde"))
    module = module_of(made)
    point = module._random_point(np.random.default_rng(0))
    assert verify._complex_step(module, made.derivation.model, point).status == "ok"
    plain = verify._gradients

    def shaken(module: ModuleType, point: Any, **options: Any) -> Any:
        wrong = 1e-16 if options.get("checkpoint") == "sqrt" else 0.0
        return plain(module, point, **options) + wrong

    monkeypatch.setattr(verify, "_gradients", shaken)
    assert verify._checkpoints(module, "numpy", point).status == "FAILED"
    bad = broken(MODEL, "np.subtract(1.0, ", "np.subtract(1.0000001, ")
    assert verify._complex_step(bad, made.derivation.model, point).status == "FAILED"


def test_fields_that_differ_in_channels() -> None:
    """All but the orders of convergence, which are said not to be measured."""
    model = Path(__file__).parent / "models/channels.npde"
    rows = verify.verify(read(model), ["numpy"], {}, lambda what: None)
    left = {row.note for row in rows if row.status == "not tested"}
    assert left == {"its fields differ in channels"}
    assert {row.status for row in rows} == {"ok", "not tested"}


def test_the_order_with_sums_over_channels() -> None:
    text = MODEL.replace("field z", "dim d = 2\nfield z[d]").replace(
        " b(x)", " b[d](x)"
    )
    text = text.replace("- b +", "- b + 0.2 z dot(z, z) +").replace("y(x)", "y[d](x)")
    found = in_space(from_text(text, "m.npde"), "numpy", {})
    assert found.deviation <= TOLERANCE, found


def test_what_has_no_smooth_solution_is_said() -> None:
    for term, reason in (("relu(z - 0.5)", "kink"), ("mean(z)", "sum")):
        text = MODEL.replace("sin(t)", term)
        model = compile_source(from_text(text, "m.npde")).model
        with pytest.raises(Unsuitable, match=reason):
            manufacture(model, 0.0)
