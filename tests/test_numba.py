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

import pdec
from pdec import options
from pdec.errors import UsageError
from pdec.pipeline import TARGETS, compile_source
from pdec.source import read

numba = pytest.importorskip("numba")

ROOT = Path(__file__).parent.parent
MODELS = sorted((*ROOT.glob("tests/models/*.npde"), *ROOT.glob("examples/*.npde")))
# 1-D with walls, two fields, inputs and readouts, targets along the way, solved for
SAMPLE = {"walls1d", "losses", "started", "implicit_heat"}

Point = dict[str, Any]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cache folder of its own for the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PDEC_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


def point(module: ModuleType, dtype: str, batch: int = 5) -> Point:
    """Parameters, initial state, inputs and targets; every other input is shared."""
    rng = np.random.default_rng(3)

    def draw(*shape: int) -> Any:
        return (0.5 + 0.2 * rng.standard_normal(shape)).astype(dtype)

    model = module.MODEL
    params = module.init_params(1, dtype)
    for name, variable in model.params.items():
        moved = params[name] * (1 + 0.05 * rng.standard_normal(variable.shape))
        params[name] = np.clip(moved, variable.low, variable.high).astype(dtype)
    inputs = {
        name: draw(*((batch,) if number % 2 == 0 else ()), *variable.shape)
        for number, (name, variable) in enumerate(model.inputs.items())
    }
    z0 = {name: draw(batch, *v.shape) for name, v in model.fields.items()}
    targets = {
        name: rng.integers(v.classes, size=(batch, *v.shape))
        if v.classes
        else draw(batch, *v.shape)
        for name, v in model.targets.items()
    }
    given = "z0" in module._ENTRIES
    return {"p": params, "z0": z0 if given else None, "inputs": inputs, "y": targets}


def results(module: ModuleType, at: Point) -> dict[str, Any]:
    """What every function of the interface returns at a point."""
    p, z0, inputs = at["p"], at["z0"], at["inputs"]
    rng = np.random.default_rng(4)

    def like(arrays: Any) -> Any:
        if arrays is None:
            return None
        return {
            name: rng.standard_normal(a.shape).astype(a.dtype)
            for name, a in arrays.items()
        }

    tangents = [like(p), like(z0)]
    found = {
        "forward": module.forward(p, z0, inputs=inputs, check="off"),
        "trajectory": module.trajectory(p, z0, inputs=inputs, every=2),
        "jvp": module.jvp(p, z0, *tangents, inputs=inputs, dinputs=like(inputs)),
    }
    zT, pullback = module.vjp(p, z0, inputs=inputs, wrt=module._ENTRIES, checkpoint=2)
    seed = like(zT if isinstance(zT, dict) else {"": zT})
    found["vjp"] = pullback(seed if isinstance(zT, dict) else seed[""])
    if hasattr(module, "loss"):
        found["loss"] = module.loss(p, z0, at["y"], inputs=inputs)
        value, found["gradients"] = module.value_and_grad(
            p, z0, at["y"], inputs=inputs, wrt=module._ENTRIES, check="off"
        )
        assert abs(value - found["loss"]) <= 1e-14 * abs(value)
    if hasattr(module, "predict"):
        found["predict"] = module.predict(p, z0, inputs=inputs)
    return found


def compare(ours: dict[str, Any], theirs: dict[str, Any], tolerance: float) -> None:
    """Compare results, each relative to the largest value that a function returns.

    A tangent is compared with those given, too, whose size is 1.
    """
    assert ours.keys() == theirs.keys()
    for name in theirs:
        a, b = flat(ours[name]), flat(theirs[name])
        assert [(x.shape, x.dtype) for x in a] == [(x.shape, x.dtype) for x in b]
        largest = max(float(np.max(np.abs(x), initial=0.0)) for x in b)
        largest = max(largest, 1.0 if name == "jvp" else 1e-12)
        for x, y in zip(a, b, strict=True):
            error = float(np.max(np.abs(x - y), initial=0.0))
            assert error <= tolerance * largest, f"{name}: {error} of {largest}"


def flat(result: Any) -> list[Any]:
    """The arrays in a result, nested in dicts and tuples."""
    if isinstance(result, dict):
        result = tuple(result.values())
    if isinstance(result, tuple):
        return [array for part in result for array in flat(part)]
    return [np.asarray(result)]


def growth(module: ModuleType, at: Point) -> float:
    """How much a cotangent grows on the way back, at least 1."""
    zT, pullback = module.vjp(at["p"], at["z0"], inputs=at["inputs"])
    back = pullback(zT)[1]
    parts = back if isinstance(back, dict) else {"": back}
    size = max(float(np.max(np.abs(a), initial=0.0)) for a in parts.values())
    ends = zT if isinstance(zT, dict) else {"": zT}
    return max(1.0, size / max(float(np.max(np.abs(a))) for a in ends.values()))


def slow_unless_sampled(model: Path) -> Any:
    marks = [] if model.stem in SAMPLE else [pytest.mark.slow]
    return pytest.param(model, marks=marks, id=model.stem)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("model", [slow_unless_sampled(m) for m in MODELS])
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


@pytest.mark.parametrize(
    "name", ["walls1d", "losses", "box3d", "tensor_layers", "implicit_heat"]
)
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
