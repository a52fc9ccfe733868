"""The runtime, pasted behind mathematics that were written by hand (tests/samples).

adr1d: one field, a loss.  image2d: a 2-D field that begins as an image, Neumann walls,
a parameter of t, a readout, labels, a penalty.  wave: two fields, no loss.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import itertools
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pdec import runtime
from pdec.pipeline import TARGETS, compile_source, module_of
from pdec.source import from_text
from pdec.targets import cupy

NUMPY = TARGETS["numpy"]
BEFORE_MATHEMATICS = (*runtime.BEFORE_MATHEMATICS, *NUMPY.tools)
AFTER_MATHEMATICS = (*runtime.AFTER_MATHEMATICS, *NUMPY.driver, *runtime.TEST)
SAMPLES = Path(__file__).parent / "samples"
# image2d has all but targets along the way, steps to solve for and walls at risk
FEATURES = {
    "adr1d": {"loss"},
    "image2d": set(runtime.FEATURES) - {"arrays", "every", "implicit", "at_risk"},
    "wave": set(),
}


def assemble(name: str) -> str:
    """Return the text of a module, put together as the compiler does it."""
    features = FEATURES[name]
    part = (SAMPLES / f"{name}_part.py").read_text("utf-8")
    pieces = [
        *(runtime.paste(file, features) for file in BEFORE_MATHEMATICS),
        runtime.without_head(part).strip("\n") + "\n",
        *(runtime.paste(file, features) for file in AFTER_MATHEMATICS),
        *(runtime.paste(file, features) for file in runtime.LAST),
    ]
    head = f'"""{name}: assembled by a test."""\n\nfrom __future__ import annotations\n'
    body = "\n\n".join(piece for piece in pieces if piece)
    return f"{head}\n{runtime.imports(body)}\n{body}"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three assembled modules."""
    path = tmp_path_factory.mktemp("assembled")
    for name in FEATURES:
        (path / f"{name}.py").write_text(assemble(name), "utf-8")
    return path


def load_module(path: Path) -> ModuleType:
    """Import a file under a name of its own, as `import` does."""
    name = f"runtime_sample_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def adr1d(folder: Path) -> Any:
    return load_module(folder / "adr1d.py")


@pytest.fixture
def image2d(folder: Path) -> Any:
    return load_module(folder / "image2d.py")


@pytest.fixture
def wave(folder: Path) -> Any:
    return load_module(folder / "wave.py")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def adr1d_case(adr1d: Any, rng: Any, batch: int, dtype: Any = np.float64) -> Any:
    p = adr1d.init_params(dtype=np.float64)
    p["W1"] = np.asarray(0.003)
    p["b"] = 0.1 * rng.standard_normal(128)
    p = {name: value.astype(dtype) for name, value in p.items()}
    z0 = rng.standard_normal((batch, 128)).astype(dtype)
    return p, z0, rng.standard_normal((batch, 128)).astype(dtype)


def image2d_case(image2d: Any, rng: Any, batch: int) -> Any:
    p = image2d.init_params(seed=1)
    p["a"] = np.asarray(0.7)
    img = rng.standard_normal((batch, 6, 5))
    return p, {"img": img}, rng.integers(3, size=batch)


def close(a: Any, b: Any, tolerance: float = 1e-13) -> bool:
    """Compare two arrays, or dicts of arrays, relative to the largest value."""
    if isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k], tolerance) for k in b)
    return bool(np.max(abs(a - b)) <= tolerance * max(np.max(abs(b)), 1e-300))


# --- the text ------------------------------------------------------------------------


def test_sections_are_resolved() -> None:
    for file in (
        *AFTER_MATHEMATICS,
        *BEFORE_MATHEMATICS,
        *runtime.LAST,
    ):
        for features in FEATURES.values():
            text = runtime.paste(file, features)
            assert "# [" not in text
            assert "pdec.runtime" not in text
    assert "def value_and_grad" in runtime.paste("interface", {"loss"})
    assert "def value_and_grad" not in runtime.paste("interface", set())


def test_reserved_names() -> None:
    names = runtime.reserved_names(
        AFTER_MATHEMATICS + BEFORE_MATHEMATICS + runtime.LAST
    )
    assert {"np", "loss", "Model", "_Tile", "_ENTRIES", "main", "json"} <= names
    for name in FEATURES:
        statements = ast.parse(assemble(name)).body
        defined = [s.name for s in statements if isinstance(s, ast.FunctionDef)]
        assert len(defined) == len(set(defined))


def test_every_selection_of_features_is_python() -> None:
    for file in AFTER_MATHEMATICS:
        text = (Path(runtime.__file__).parent / f"{file}.py").read_text("utf-8")
        own = [name for name in runtime.FEATURES if re.search(rf"# .*\b{name}\]", text)]
        for kept in itertools.product((False, True), repeat=len(own)):
            ast.parse(runtime.paste(file, list(itertools.compress(own, kept))))


@pytest.mark.parametrize("name", FEATURES)
def test_assembled_text_is_clean(name: str, folder: Path) -> None:
    config = Path(__file__).parent.parent / "pyproject.toml"
    ruff = [sys.executable, "-m", "ruff"]
    rest = ["--config", str(config), "--no-cache", str(folder / f"{name}.py")]
    for command in (["check"], ["format", "--diff"]):
        done = subprocess.run([*ruff, *command, *rest], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


# --- values --------------------------------------------------------------------------


def test_forward_is_the_recurrence(adr1d: Any, rng: Any) -> None:
    p, z0, _ = adr1d_case(adr1d, rng, 3)
    dx = 1 / 128
    z = z0
    for _ in range(16):
        right, left = np.roll(z, -1, 1), np.roll(z, 1, 1)
        d1, d2 = (right - left) / (2 * dx), (right - 2 * z + left) / dx**2
        Z = p["W0"] * z + p["W1"] * d1 + p["W2"] * d2 - p["b"]
        z = 0.5 * z + 0.5 * np.tanh(Z)
    assert close(adr1d.forward(p, z0), z)


@pytest.mark.parametrize("every", [1, 4, 5, 16, 100])
def test_trajectory_starts_and_ends(adr1d: Any, rng: Any, every: int) -> None:
    p, z0, _ = adr1d_case(adr1d, rng, 2)
    every_state = adr1d.trajectory(p, z0)
    assert every_state.shape == (17, 2, 128)
    wanted = [*range(0, 16, every), 16]
    assert np.array_equal(adr1d.trajectory(p, z0, every=every), every_state[wanted])
    assert np.array_equal(every_state[0], z0)
    assert np.array_equal(every_state[-1], adr1d.forward(p, z0))


def test_loss_and_gradient_agree(adr1d: Any, image2d: Any, rng: Any) -> None:
    p, z0, y = adr1d_case(adr1d, rng, 5)
    assert adr1d.loss(p, z0, y) == adr1d.value_and_grad(p, z0, y)[0]
    zT = adr1d.forward(p, z0)
    assert np.isclose(adr1d.loss(p, z0, y), np.mean((zT - y) ** 2) / 2, rtol=1e-14)
    p, inputs, label = image2d_case(image2d, rng, 5)
    value, _ = image2d.value_and_grad(p, y=label, inputs=inputs)
    logits = image2d.predict(p, inputs=inputs)
    entropy = np.log(np.exp(logits).sum(1)) - logits[np.arange(5), label]
    assert logits.shape == (5, 3)
    assert np.isclose(value, entropy.mean() + 0.01 * np.mean(p["R"] ** 2), rtol=1e-14)


def test_loss_gradient_is_the_pullback_of_its_cotangent(adr1d: Any, rng: Any) -> None:
    p, z0, y = adr1d_case(adr1d, rng, 4)
    zT, pullback = adr1d.vjp(p, z0)
    dp, dz0 = pullback((zT - y) / zT.size)
    _, grads = adr1d.value_and_grad(p, z0, y, wrt=("params", "z0"))
    assert close(grads["params"], dp) and close(grads["z0"], dz0)


def test_gradient_by_differences(image2d: Any, rng: Any) -> None:
    p, inputs, label = image2d_case(image2d, rng, 3)
    wrt = ("params", "inputs")
    _, grads = image2d.value_and_grad(p, y=label, inputs=inputs, wrt=wrt)
    flat, unravel = image2d.ravel(p)
    wanted = image2d.ravel(grads["params"])[0]
    for i in range(flat.size):
        h = np.zeros_like(flat)
        h[i] = 1e-6
        up = image2d.loss(unravel(flat + h), y=label, inputs=inputs)
        down = image2d.loss(unravel(flat - h), y=label, inputs=inputs)
        assert abs((up - down) / 2e-6 - wanted[i]) < 1e-9
    h = rng.standard_normal((3, 6, 5))
    up = image2d.loss(p, y=label, inputs={"img": inputs["img"] + 1e-6 * h})
    down = image2d.loss(p, y=label, inputs={"img": inputs["img"] - 1e-6 * h})
    assert abs((up - down) / 2e-6 - np.vdot(grads["inputs"]["img"], h)) < 1e-9


def test_several_fields_are_dicts(wave: Any, rng: Any) -> None:
    p = wave.init_params()
    z0 = {name: rng.standard_normal((2, 8)) for name in "uw"}
    zT, pullback = wave.vjp(p, z0)
    assert close(zT, wave.forward(p, z0)) and list(zT) == ["u", "w"]
    w = {name: rng.standard_normal((2, 8)) for name in "wu"}
    dp, dz0 = pullback(w)
    dk = rng.standard_normal(8)
    tangent = wave.jvp(p, z0, {"k": dk}, z0)
    left = sum(np.vdot(tangent[name], w[name]) for name in "uw")
    right = np.vdot(dp["k"], dk) + sum(np.vdot(dz0[name], z0[name]) for name in "uw")
    assert np.isclose(left, right, rtol=1e-13)
    assert wave.trajectory(p, z0)["u"].shape == (6, 2, 8)
    assert not hasattr(wave, "value_and_grad") and not hasattr(wave, "predict")


def test_input_shared_by_the_batch(image2d: Any, rng: Any) -> None:
    p, inputs, _ = image2d_case(image2d, rng, 1)
    shared = {"img": inputs["img"][0]}
    assert np.array_equal(
        image2d.forward(p, inputs=shared), image2d.forward(p, inputs=inputs)
    )
    zT, pullback = image2d.vjp(p, inputs=shared)
    dp, dinputs = pullback(zT)
    assert dinputs["img"].shape == (6, 5) and set(dp) == set(p)


# --- tiles, dtypes, purity -----------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_tiles_do_not_matter(
    adr1d: Any, rng: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    p, z0, y = adr1d_case(adr1d, rng, 7)
    dp, dz0 = {name: v + 0.1 for name, v in p.items()}, z0 + 1.0

    def results() -> Any:
        _, grads = adr1d.value_and_grad(p, z0, y, wrt=("params", "z0"))
        whole = adr1d.trajectory(p, z0, every=3), adr1d.jvp(p, z0, dp, dz0)
        return *whole, grads["z0"], adr1d.loss(p, z0, y), grads["params"]

    *exact, params = results()
    monkeypatch.setattr(adr1d, "_tile_size", lambda dtype: size)
    *tiled, tiled_params = results()
    assert all(np.array_equal(a, b) for a, b in zip(exact, tiled, strict=True))
    assert close(tiled_params, params, 1e-14)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_tiles_and_inputs(
    image2d: Any, rng: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    p, inputs, label = image2d_case(image2d, rng, 5)
    monkeypatch.setattr(image2d, "_tile_size", lambda dtype: size)
    _, grads = image2d.value_and_grad(p, y=label, inputs=inputs, wrt="inputs")
    for i in range(5):
        one = {"img": inputs["img"][i : i + 1]}
        _, g = image2d.value_and_grad(p, y=label[[i]], inputs=one, wrt="inputs")
        assert close(grads["img"][i], g["img"][0] / 5)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_gradient_of_a_shared_input(
    adr1d: Any, rng: Any, size: int, tmp_path: Path
) -> None:
    """In adr1d, the bias as an input: shared by the batch, or one for each sample."""
    text = assemble("adr1d")
    text = text.replace('c["Z_p1"], c["b"]', 'c["Z_p1"], v["u"]')
    text = text.replace('c_bar["b"] -= np.sum(Z_bar, axis=0)', 'v_bar["u"] -= Z_bar')
    shapes = "_INPUTS: dict[str, tuple[int, ...]] = {}"
    text = text.replace(shapes, "_INPUTS = {'u': (128,)}")
    cells = "_INPUT_CELLS: dict[str, tuple[slice, ...]] = {}"
    text = text.replace(cells, "_INPUT_CELLS = {'u': (slice(None), slice(None))}")
    text = text.replace("inputs={},", "inputs={'u': Variable((128,), ('x',), 'u')},", 1)
    path = tmp_path / "biased.py"
    path.write_text(text, "utf-8")
    biased: Any = load_module(path)
    biased._tile_size = lambda dtype: size
    p, z0, y = adr1d_case(adr1d, rng, 5)
    _, wanted = adr1d.value_and_grad(p, z0, y)
    _, shared = biased.value_and_grad(p, z0, y, inputs={"u": p["b"]}, wrt=("inputs",))
    assert close(shared["u"], wanted["b"])
    each = {"u": np.tile(p["b"], (5, 1))}
    _, single = biased.value_and_grad(p, z0, y, inputs=each, wrt=("inputs",))
    assert single["u"].shape == (5, 128) and close(single["u"].sum(0), wanted["b"])


def test_batch_is_the_mean_of_its_samples(image2d: Any, rng: Any) -> None:
    p, inputs, label = image2d_case(image2d, rng, 4)
    _, grads = image2d.value_and_grad(p, y=label, inputs=inputs)
    single = [
        image2d.value_and_grad(
            p, y=label[i : i + 1], inputs={"img": inputs["img"][i : i + 1]}
        )[1]
        for i in range(4)
    ]
    mean = {name: np.mean([g[name] for g in single], axis=0) for name in p}
    assert close(grads, mean)


def test_tile_size_depends_on_the_model_alone(adr1d: Any) -> None:
    assert adr1d._tile_size(np.dtype("float32")) == 128
    assert adr1d._tile_size(np.dtype("float64")) == 128


def test_float32(adr1d: Any, rng: Any) -> None:
    p, z0, y = adr1d_case(adr1d, rng, 40, np.float32)
    value, grads = adr1d.value_and_grad(p, z0, y)
    assert adr1d.forward(p, z0).dtype == np.float32
    assert {g.dtype for g in grads.values()} == {np.dtype("float32")}
    p64 = {name: v.astype(np.float64) for name, v in p.items()}
    z0, y = z0.astype(np.float64), y.astype(np.float64)
    wanted, wanted_grads = adr1d.value_and_grad(p64, z0, y)
    assert isinstance(value, float) and np.isclose(value, wanted, rtol=1e-6)
    for name, g in grads.items():
        assert g.shape == p[name].shape
        assert np.max(abs(g - wanted_grads[name])) < 1e-5 * np.max(
            abs(wanted_grads[name])
        )


def test_arguments_are_never_modified(adr1d: Any, image2d: Any, rng: Any) -> None:
    p, z0, y = adr1d_case(adr1d, rng, 3)
    strided = np.zeros((3, 256))
    strided[:, ::2] = z0
    z0 = np.asfortranarray(strided)[:, ::2]
    for a in (*p.values(), z0, y):
        a.flags.writeable = False
    keys = list(p)
    adr1d.value_and_grad(p, z0, y, wrt=("params", "z0"))
    adr1d.jvp(p, z0, p, z0)
    assert list(p) == keys
    p, inputs, label = image2d_case(image2d, rng, 3)
    for a in (*p.values(), inputs["img"], label):
        a.flags.writeable = False
    image2d.value_and_grad(p, y=label, inputs=inputs, wrt=("params", "inputs"))


def test_a_loss_may_take_derivatives_of_its_target(rng: Any) -> None:
    """A target with ghost cells: they are pdec's own, the array is the caller's."""
    text = """\
grid x[8] on [0, 1) periodic
field z(x)
target q(x)
dz/dt = -z
dt = 0.1
steps 2
loss = mean((z - ∂q)²)
"""
    source = from_text(text, "sobolev.npde")
    module: Any = module_of(compile_source(source))
    z, q = rng.standard_normal((2, 3, 8))
    given = q.copy()
    loss, z_bar = module.value_and_grad({}, z, q, wrt=("z0",))
    slope = (np.roll(q, -1, 1) - np.roll(q, 1, 1)) * 8 / 2
    off = 0.81 * z - slope
    assert abs(loss - np.mean(off**2)) <= 1e-14 * loss
    assert np.abs(z_bar - 2 * 0.81 * off / off.size).max() <= 1e-15
    assert q.tobytes() == given.tobytes()


def test_results_are_the_callers(adr1d: Any, rng: Any) -> None:
    p, z0, _ = adr1d_case(adr1d, rng, 2)
    first = adr1d.forward(p, z0)
    kept = first.copy()
    adr1d.forward(p, z0 + 1.0)
    assert np.array_equal(first, kept) and first.flags.writeable


def test_pullback_is_reusable_and_has_copies(adr1d: Any, rng: Any) -> None:
    p, z0, w = adr1d_case(adr1d, rng, 3)
    _, pullback = adr1d.vjp(p, z0)
    before = pullback(w)
    p["W0"][...] = 9.0
    z0[...] = 9.0
    again = pullback(w)
    assert close(again[0], before[0], 0.0) and close(again[1], before[1], 0.0)
    assert close(pullback(2.0 * w)[1], 2.0 * before[1])


def test_scalars_of_numpy_are_parameters(adr1d: Any, rng: Any) -> None:
    p, z0, y = adr1d_case(adr1d, rng, 2)
    wanted = adr1d.value_and_grad(p, z0, y)[1]
    p = {name: v - 0.0 for name, v in p.items()}  # 0-d arrays become np.float64
    assert isinstance(p["W0"], np.float64)
    assert close(adr1d.value_and_grad(p, z0, y)[1], wanted, 0.0)


# --- parameters ----------------------------------------------------------------------


def test_init_params(adr1d: Any, image2d: Any) -> None:
    p = adr1d.init_params()
    assert p["W0"] == np.float32(0.5) and p["b"].dtype == np.float32
    assert adr1d.init_params(dtype=np.float64)["b"].dtype == np.float64
    assert np.array_equal(adr1d.init_params(3)["b"], adr1d.init_params(3)["b"])
    assert not np.array_equal(adr1d.init_params(3)["b"], adr1d.init_params(4)["b"])
    g = image2d.init_params()["g"]
    assert np.all((g >= 0.5) & (g < 1.0))
    with pytest.raises(TypeError, match="dtype is float16, expected float32 or"):
        adr1d.init_params(dtype="float16")


def test_ravel(image2d: Any) -> None:
    p = image2d.init_params()
    theta, unravel = image2d.ravel(p)
    assert theta.dtype == np.float64 and theta.shape == (3 + 3 + 90 + 3,)
    back = unravel(theta)
    assert all(np.array_equal(back[k], p[k]) for k in p)
    back["R"][...] = 0.0
    assert np.array_equal(theta, image2d.ravel(p)[0])
    with pytest.raises(ValueError, match=r"theta has shape \(3,\), expected \(99,\)"):
        unravel(theta[:3])
    bounds = image2d.bounds()
    assert bounds.shape == (99, 2)
    assert list(bounds[0]) == [0.0, np.inf] and list(bounds[1]) == [-np.inf, np.inf]


def test_ravel_suits_scipy(adr1d: Any, rng: Any) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    p, z0, y = adr1d_case(adr1d, rng, 4, np.float32)
    theta, unravel = adr1d.ravel(p)

    def objective(theta: Any) -> Any:
        value, grads = adr1d.value_and_grad(unravel(theta), z0, y)
        return value, adr1d.ravel(grads)[0]

    done = optimize.minimize(
        objective,
        theta,
        jac=True,
        method="L-BFGS-B",
        bounds=adr1d.bounds(),
        options={"maxiter": 5},
    )
    assert done.fun < objective(theta)[0]


def test_parameters_are_plain(adr1d: Any) -> None:
    p = adr1d.init_params()
    back = pickle.loads(pickle.dumps(p))
    assert type(p) is dict and all(np.array_equal(back[k], p[k]) for k in p)


def test_save_and_load(adr1d: Any, tmp_path: Path) -> None:
    p = adr1d.init_params(5)
    path = tmp_path / "p.params"
    adr1d.save(path, p)
    back = adr1d.load(path)
    assert list(back) == list(p)
    assert all(np.array_equal(back[k], p[k]) for k in p)
    assert {v.dtype for v in back.values()} == {np.dtype("float32")}
    assert os.listdir(tmp_path) == ["p.params"]
    first = path.read_bytes()
    adr1d.save(str(path), p)
    assert path.read_bytes() == first
    adr1d.forward(back, np.zeros((1, 128), np.float32))


def test_save_leaves_nothing_half_written(
    adr1d: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.npz"
    adr1d.save(path, adr1d.init_params())
    kept = path.read_bytes()

    def broken(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np.lib.format, "write_array", broken)
    with pytest.raises(OSError, match="disk full"):
        adr1d.save(path, adr1d.init_params(1))
    assert path.read_bytes() == kept and os.listdir(tmp_path) == ["p.npz"]


def test_save_names_the_path_that_it_was_given(adr1d: Any, tmp_path: Path) -> None:
    p, missing = adr1d.init_params(), tmp_path / "none" / "p.npz"
    wanted = f"cannot write {missing}: there is no folder {missing.parent}"
    with pytest.raises(FileNotFoundError, match=re.escape(wanted) + "$"):
        adr1d.save(missing, p)
    with pytest.raises(IsADirectoryError, match=re.escape(f"directory: '{tmp_path}'")):
        adr1d.save(tmp_path, p)
    assert os.listdir(tmp_path) == []


def test_load_checks_the_model(adr1d: Any, image2d: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    image2d.save(path, image2d.init_params())
    with pytest.raises(
        ValueError, match="written for 'image2d' and does not fit 'adr1d'"
    ):
        adr1d.load(path)
    p = adr1d.init_params()
    np.savez(path, **p)
    with pytest.warns(UserWarning, match="its shapes fit"):
        adr1d.load(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"is no \.npz file"):
        adr1d.load(path)
    with path.open("wb") as file:
        np.save(file, p["b"])
    with pytest.raises(ValueError, match=r"is no \.npz file"):
        adr1d.load(path)
    np.savez(path, W0=np.array([None]))
    with pytest.raises(ValueError, match=r"is no \.npz file"):
        adr1d.load(path)
    with pytest.raises(FileNotFoundError):
        adr1d.load(tmp_path / "absent.npz")


# --- mistakes ------------------------------------------------------------------------


def mistakes(adr1d: Any) -> Any:
    """Calls that are refused, each with what the message must say."""
    p = {name: v.astype(np.float64) for name, v in adr1d.init_params().items()}
    z0, y = np.zeros((2, 128)), np.zeros((2, 128))
    nan = z0.copy()
    nan[1, 5] = np.nan
    go, grad = adr1d.forward, adr1d.value_and_grad
    return {
        "z0 has shape (128,), expected (batch, 128); for one sample pass z0[None]": (
            lambda: go(p, z0[0])
        ),
        "z0 has shape (2, 64), expected (batch, 128), with axes (batch, x)": (
            lambda: go(p, z0[:, :64])
        ),
        "z0 has shape (), expected (batch, 128)": lambda: go(p, np.float64(1.0)),
        "z0 is an empty batch": lambda: go(p, z0[:0]),
        "z0 is of type list, expected an array; pass np.asarray(z0, dtype=": (
            lambda: go(p, [[0.0] * 128])
        ),
        "z0 has dtype int64, expected float64 like the parameters; convert with "
        "z0.astype(np.float64)": lambda: go(p, z0.astype(np.int64)),
        "z0 has dtype float32, expected float64": lambda: go(p, z0.astype("f4")),
        "z0 is nan at index (1, 5)": lambda: go(p, nan),
        "z0 is missing; the model has z": lambda: go(p),
        "p has unknown 'w0'; did you mean 'W0'?": lambda: go({**p, "w0": p["W0"]}, z0),
        "p has unknown 'W₁'; write 'W1'": lambda: go({**p, "W₁": p["W1"]}, z0),
        "p lacks 'b'; it has W0, W1, W2": (
            lambda: go({name: p[name] for name in ("W0", "W1", "W2")}, z0)
        ),
        "p lacks 'W0': pass p={'W0': …, 'W1': …, 'W2': …, 'b': …}": lambda: go({}, z0),
        "p['b'] has shape (64,), expected (128,), with axes (x,)": (
            lambda: go({**p, "b": np.zeros(64)}, z0)
        ),
        "p['W1'] is inf at index ()": lambda: go({**p, "W1": np.asarray(np.inf)}, z0),
        "p['W0'] has dtype float16, expected float32 or float64": (
            lambda: go({name: v.astype("f2") for name, v in p.items()}, z0)
        ),
        "p['b'] has dtype float32, expected float64 like": (
            lambda: go({**p, "b": p["b"].astype("f4")}, z0)
        ),
        "p['W0'] is of type float, expected an array": (
            lambda: go({**p, "W0": 0.5}, z0)
        ),
        "p is of type list, expected a dict of arrays by name: W0, W1, W2, b": (
            lambda: go([1.0], z0)
        ),
        "inputs has unknown 'img'; the model has none": (
            lambda: go(p, z0, inputs={"img": z0})
        ),
        "y is missing; the model has y": lambda: grad(p, z0),
        "y has a batch of 1, expected 2": lambda: grad(p, z0, y[:1]),
        "y has shape (2, 127), expected (batch, 128)": lambda: grad(p, z0, y[:, 1:]),
        "wrt has 'z', expected names out of": lambda: grad(p, z0, y, wrt=("z",)),
        'check is "no"'.replace('"', "'"): lambda: go(p, z0, check="no"),
        "every is 0": lambda: adr1d.trajectory(p, z0, every=0),
        "dzT has a batch of 3, expected 2": (
            lambda: adr1d.vjp(p, z0)[1](np.zeros((3, 128)))
        ),
        "dp lacks 'W1'": lambda: adr1d.jvp(p, z0, {"W0": p["W0"]}, z0),
        "dz0 has shape (128,), expected (batch, 128); for one sample pass dz0[None]": (
            lambda: adr1d.jvp(p, z0, p, z0[0])
        ),
    }


def test_mistakes_are_explained(adr1d: Any) -> None:
    for message, call in mistakes(adr1d).items():
        with pytest.raises((TypeError, ValueError)) as caught:
            call()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_mistakes_with_images(image2d: Any, rng: Any) -> None:
    p, inputs, label = image2d_case(image2d, rng, 3)
    img = inputs["img"]

    def grad(y: Any = label, x: Any = inputs, **rest: Any) -> Any:
        return lambda: image2d.value_and_grad(p, y=y, inputs=x, **rest)

    for message, call in {
        "leave z0 out: image2d says how the state begins": grad(z0=img),
        "y has class 3 at index (1,), expected 0 to 2": grad(np.array([0, 3, 1])),
        "y has class -1 at index (0,)": grad(np.array([-1, 0, 1])),
        "y has dtype float64, expected integers, the classes 0 to 2": grad(label * 1.0),
        "y is of type list, expected an array of classes": grad([0, 1, 2]),
        "y has shape (3, 3), expected (batch,)": grad(np.zeros((3, 3), int)),
        "y has a batch of 2, expected 3": grad(label[:2]),
        "inputs lacks 'img': pass inputs={'img': …}": grad(x=None),
        "inputs['img'] has shape (3, 5, 6), expected (batch, 6, 5), with axes (batch, "
        "x, y)": grad(x={"img": img.transpose(0, 2, 1)}),
        "inputs has unknown 'image'; did you mean 'img'?": grad(x={"image": img}),
        "wrt has 'z0'": grad(wrt=("z0",)),
    }.items():
        with pytest.raises((TypeError, ValueError)) as caught:
            call()
        assert message in str(caught.value)


def test_inputs_share_one_batch(adr1d: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = adr1d.Variable((4,), ("x",), "u")
    model = dataclasses.replace(adr1d.MODEL, inputs={"u": variable})
    monkeypatch.setattr(adr1d, "MODEL", model)
    p, z0 = adr1d.init_params(), np.zeros((2, 128), np.float32)
    u = np.zeros((3, 4), np.float32)
    wanted = r"inputs\['u'\] has a batch of 3, but z0 has a batch of 2"
    with pytest.raises(ValueError, match=wanted):
        adr1d.forward(p, z0, inputs={"u": u})


def test_fields_share_one_batch(wave: Any) -> None:
    p = wave.init_params()
    with pytest.raises(ValueError, match=r"z0\['w'\] has a batch of 3, expected 2"):
        wave.forward(p, {"u": np.zeros((2, 8)), "w": np.zeros((3, 8))})
    with pytest.raises(TypeError, match="z0 is of type ndarray, expected a dict"):
        wave.forward(p, np.zeros((2, 8)))


# --- stability, self-check, main -----------------------------------------------------


def test_unstable_runs_are_refused(adr1d: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    p, z0 = adr1d.init_params(), np.zeros((1, 128), np.float32)
    monkeypatch.setattr(adr1d._Report, "numerical", "unstable")
    with pytest.raises(
        adr1d.StabilityError, match=r"numerically unstable[^|]*ω ≤ 0\.75"
    ):
        adr1d.forward(p, z0)
    adr1d.forward(p, z0, check="off")
    adr1d.trajectory(p, z0)
    adr1d.vjp(p, z0)[1](z0)
    with pytest.warns(adr1d.StabilityWarning, match="is numerically unstable"):
        adr1d.value_and_grad(p, z0, z0)
    adr1d.value_and_grad(p, z0, z0)  # a second warning would be an error here
    monkeypatch.setattr(adr1d._Report, "basis", "heuristic")
    with pytest.warns(adr1d.StabilityWarning, match="may be numerically unstable"):
        adr1d.forward(p, z0)
    adr1d.forward(p, z0)


@pytest.mark.parametrize("name", FEATURES)
def test_selfcheck_passes(name: str, folder: Path) -> None:
    module: Any = load_module(folder / f"{name}.py")
    for seed in range(5):
        result = module.selfcheck(seed)
        assert result.passed, f"seed {seed}\n{result}"
    assert len(result.rows) == 4 and "FAILED" not in str(result)


BREAKS = {
    "stencil": ("adr1d", 'c_bar["W1"] += (Z_p1_bar', 'c_bar["W1"] -= (Z_p1_bar'),
    "ghosts": ("adr1d", "z_bar[:, 1] += z_bar[:, -1]", "z_bar[:, 2] += z_bar[:, -1]"),
    "loss": ("adr1d", "loss_bar[:, None] / 128", "loss_bar[:, None] / 127.9"),
    "activation": ("adr1d", "np.subtract(1.0, t0", "np.subtract(1.001, t0"),
    "initial": ("image2d", '+= c["E"] * z_bar', '+= 1.01 * c["E"] * z_bar'),
    "readout": ("image2d", 'c_bar["c"] += np.sum(bar, axis=0)', "pass"),
    "penalty": ("image2d", "0.02 * c", "2.0 * c"),
    "tangent": ("wave", 'v_dot["u"] + dt', 'v_dot["u"] + 1.0001 * dt'),
}


@pytest.mark.parametrize("case", BREAKS)
def test_selfcheck_finds_mistakes(case: str, tmp_path: Path) -> None:
    name, right, wrong = BREAKS[case]
    text = assemble(name)
    assert text.count(right) == 1
    path = tmp_path / f"{name}.py"
    path.write_text(text.replace(right, wrong), "utf-8")
    module = load_module(path)
    assert not module.selfcheck().passed
    assert "FAILED" in str(module.selfcheck())


def run_main(path: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-W", "error", str(path)]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True
    )


def test_main(folder: Path, tmp_path: Path) -> None:
    done = run_main(folder / "adr1d.py", PYTHONIOENCODING="utf-8")
    text = done.stdout.decode("utf-8")
    assert done.returncode == 0 and not done.stderr
    assert "dz/dt = -γ(z" in text and "ω ≤ 0.75" in text and "Taylor" in text
    done = run_main(folder / "adr1d.py", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and b"dz/dt = -?(z" in done.stdout
    path = tmp_path / "adr1d.py"
    broken = assemble("adr1d").replace("np.subtract(1.0, t0", "np.subtract(1.1, t0")
    path.write_text(broken, "utf-8")
    assert run_main(path).returncode == 1
    unstable = assemble("adr1d").replace(
        'numerical = "stable"', 'numerical = "unstable"'
    )
    path.write_text(unstable, "utf-8")
    assert run_main(path).returncode == 1


def test_import_does_no_work(folder: Path) -> None:
    code = "import sys, numpy; before = set(sys.modules); import adr1d;"
    code += "print(sorted(m for m in set(sys.modules) - before if 'pdec' in m))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


DRIVERS = [(name, target.driver) for name, target in TARGETS.items() if name != "cupy"]
DRIVERS += [
    ("cupy", cupy.BLOCKS),
    ("cupy", cupy.STEPS),
]  # a module has one or the other


@pytest.mark.parametrize(("target", "driver"), DRIVERS)
def test_files_that_are_pasted_share_no_name(
    target: str, driver: tuple[str, ...]
) -> None:
    """One would hide the other; features may tell those of one file apart."""
    tools = TARGETS[target].tools
    assert set(driver) <= set(TARGETS[target].driver)
    homes: dict[str, str] = {}
    for file in itertools.chain(*runtime.files(tools, driver)):
        text = (Path(runtime.__file__).parent / f"{file}.py").read_text("utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                names = [n.id for n in ast.walk(node) if _is_bound(n)]
            else:
                continue
            for name in names:
                assert homes.setdefault(name, file) == file, name


def _is_bound(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
