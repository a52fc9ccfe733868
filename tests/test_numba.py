"""The Numba target against the NumPy one: values, threads, files, activations, errors.

Compiling is what these tests cost, so that a few models stand for all by default.
"""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from comparison import compare, growth, point, results

import pdec
from pdec import options
from pdec.errors import UsageError
from pdec.pipeline import TARGETS, compile_source
from pdec.source import read

numba = pytest.importorskip("numba")

ROOT = Path(__file__).parent.parent
MODELS = sorted((*ROOT.glob("tests/models/*.npde"), *ROOT.glob("examples/*.npde")))
# 1-D with walls, two fields, inputs and readouts, targets along the way
SAMPLE = {"walls1d", "losses", "started"}
IMPLICIT = (
    "scheme implicit",
    "scheme trapezoidal",
    "scheme imex",
    "scheme equilibrium",
)
EXPLICIT = [m for m in MODELS if not any(s in m.read_text("utf-8") for s in IMPLICIT)]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cache folder of its own for the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PDEC_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


def slow_unless_sampled(model: Path) -> Any:
    marks = [] if model.stem in SAMPLE else [pytest.mark.slow]
    return pytest.param(model, marks=marks, id=model.stem)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("model", [slow_unless_sampled(m) for m in EXPLICIT])
def test_equals_numpy(model: Path) -> None:
    ours, theirs = pdec.load(model, target="numba"), pdec.load(model)
    at = point(theirs, "float64")
    tolerance = 1e-12 * growth(theirs, at)
    compare(results(ours, at), results(theirs, at), tolerance)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["heterogeneous", "digits", "tensor"])
def test_float32(name: str) -> None:
    model = ROOT / "examples" / f"{name}.npde"
    ours, theirs = pdec.load(model, target="numba"), pdec.load(model)
    at = point(theirs, "float64")
    at32 = point(theirs, "float32")
    exact = theirs.value_and_grad(at["p"], at["z0"], at["y"], inputs=at["inputs"])[1]
    found = ours.value_and_grad(
        at32["p"], at32["z0"], at32["y"], inputs=at32["inputs"]
    )[1]
    for key, value in exact.items():
        error = np.max(np.abs(found[key] - value))
        assert error <= 1e-5 * np.max(np.abs(value)), key


def test_threads_and_checkpoints_change_no_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = pdec.load(ROOT / "tests/models/walls1d.npde", target="numba")
    at = point(module, "float64", batch=37)
    found = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("PDEC_NUM_THREADS", threads)
        for checkpoint in ("all", "sqrt", 1):
            found.append(
                module.value_and_grad(
                    at["p"], at["z0"], at["y"], check="off", checkpoint=checkpoint
                )
            )
    for loss, grads in found[1:]:
        assert loss == found[0][0]
        for name, value in grads.items():
            assert value.tobytes() == found[0][1][name].tobytes(), name


def test_settles_like_numpy() -> None:
    model = ROOT / "tests/models/walls1d.npde"
    ours, theirs = pdec.load(model, target="numba"), pdec.load(model)
    at = point(theirs, "float64")
    mine, other = (
        m.forward(at["p"], at["z0"], until=0.3, check="off") for m in (ours, theirs)
    )
    assert other.reached.any()
    assert (mine.step == other.step).all() and (mine.reached == other.reached).all()
    compare({"state": mine.state}, {"state": other.state}, 1e-12)


# --- the text and its file -----------------------------------------------------------


@pytest.mark.parametrize("name", ["walls1d", "losses", "box3d", "tensor_layers"])
def test_text_is_clean(name: str, tmp_path: Path) -> None:
    source = read(ROOT / f"tests/models/{name}.npde")
    text = compile_source(source, target="numba").text
    functions = [n.name for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)]
    assert max(Counter(functions).values()) == 1
    file = tmp_path / f"{name}.py"
    file.write_text(text, "utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    rest = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", str(file)]
    for command in (["check"], ["format", "--diff"]):
        done = subprocess.run([*ruff, *command, *rest], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_code_is_kept_for_other_processes() -> None:
    module = pdec.load(ROOT / "tests/models/walls1d.npde", target="numba")
    at = point(module, "float64")
    module.value_and_grad(at["p"], at["z0"], at["y"], check="off")
    file = Path(module._differentiate_samples.py_func.__code__.co_filename)
    assert file.is_file()
    assert list((file.parent / "__pycache__").glob(f"{file.stem}._differentiate*.nbc"))


def test_a_folder_that_cannot_be_written_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("PDEC_CACHE_DIR", str(tmp_path / "file" / "below"))
    module = pdec.load(ROOT / "tests/models/single.npde", target="numba")
    at = point(module, "float64")
    assert np.isfinite(module.forward(at["p"], at["z0"], check="off")).all()


def test_the_command_line_knows_every_target() -> None:
    assert set(options.TARGETS) == set(TARGETS)


# --- errors --------------------------------------------------------------------------


def test_implicit_schemes_are_refused() -> None:
    with pytest.raises(UsageError, match="compile it with --target numpy"):
        compile_source(read(ROOT / "tests/models/implicit_heat.npde"), target="numba")


def test_numba_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    find: Callable[..., Any] = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "numba" else find(name),
    )
    with pytest.raises(UsageError, match=r"pip install pdec\[numba\]"):
        pdec.load(ROOT / "tests/models/single.npde", target="numba")


# --- activations ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def tools() -> ModuleType:
    from pdec.runtime import numba_tools

    return numba_tools


@pytest.mark.parametrize("name", ["tanh", "exp", "softplus"])
def test_activation_errors(name: str, tools: ModuleType) -> None:
    function, exact = getattr(tools, f"_{name}"), _EXACT[name]

    @numba.njit
    def apply(x, out):  # type: ignore[no-untyped-def]
        for k in range(len(x)):
            out[k] = function(x[k])

    rng = np.random.default_rng(0)
    for dtype, bound in ((np.float64, 4 * 2.0**-52), (np.float32, 1e-6)):
        sizes = 10.0 ** rng.uniform(-12, 1.9, 100_000)
        x = (sizes * rng.choice([-1.0, 1.0], sizes.shape)).astype(dtype)
        out = np.empty_like(x)
        apply(x, out)
        expected = exact(x.astype(np.longdouble))
        tiny = np.finfo(dtype).tiny  # below it, numbers have fewer digits
        error = np.abs(out - expected) / np.maximum(np.abs(expected), tiny)
        assert float(error.max()) <= bound, (name, dtype, x[error.argmax()])
    x = np.array([np.inf, -np.inf, np.nan, 0.0, 1e4, -1e4])
    out = np.empty_like(x)
    apply(x, out)
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_allclose(out, exact(x), rtol=1e-15)


_EXACT = {
    "tanh": np.tanh,
    "exp": np.exp,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
}
