"""Gradients of every model in examples/ and tests/models/, checked independently.

A model file that is put into ``tests/models`` is tested by being there: dot test,
Taylor test, complex step, float32 against float64, independence of tiles, self-check.
Where ``reference_jax.py`` has the model as well, the state, the loss and all gradients
are compared with JAX.
"""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from reference_jax import REFERENCES, Reference

import pdec
from pdec.pipeline import compile_source
from pdec.source import read

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    file.stem: file
    for folder in ("examples", "tests/models")
    for file in sorted((ROOT / folder).glob("*.npde"))
}
MODELS = list(FILES)

# Functions with a kink, and softplus, which NumPy computes for real numbers only.
NOT_ANALYTIC = re.compile(r"\b(relu|abs|min|max|where|softplus)\b")

Arrays = dict[str, Any]
Point = dict[str, Arrays]


MOST_STEPS = 16


@cache
def loaded(name: str) -> ModuleType:
    """The compiled module of a model; long runs are cut short."""
    written = re.search(r"^steps (\d+)", FILES[name].read_text("utf-8"), re.MULTILINE)
    long = written is not None and int(written[1]) > MOST_STEPS
    return pdec.load(FILES[name], overrides={"steps": MOST_STEPS} if long else None)


def small(name: str) -> bool:
    """Whether a model is one of the tests', of a few cells and steps."""
    return FILES[name].parent.name == "models"


# --- points at which derivatives are taken --------------------------------------------


def point_of(
    module: ModuleType, seed: int, batch: int, *, from_zero: float = 0.02
) -> Point:
    """Random parameters within their bounds, inputs, initial fields and targets.

    ``from_zero`` is the size of parameters whose initial value is 0.  The state that is
    reached stays below 1000: fields that run away start smaller.
    """
    for size in (1.0, 0.1, 0.01):
        point = _drawn(module, seed, batch, from_zero, size)
        with np.errstate(all="ignore"):
            zT = module.forward(**arguments(point), check="off")
        if largest(by_name(zT, module.MODEL.fields)) < 1000.0:
            break
    return point


def _drawn(
    module: ModuleType, seed: int, batch: int, from_zero: float, size: float
) -> Point:
    rng = np.random.default_rng(seed)
    model = module.MODEL
    params = {}
    for name, value in module.init_params(seed, np.float64).items():
        variable = model.params[name]
        spread = np.where(value == 0.0, from_zero, 0.3 * np.abs(value))
        moved = value + spread * rng.standard_normal(value.shape)
        low, high = variable.low, variable.high
        params[name] = np.clip(moved, low if low > -1e9 else None, high)
        params[name] = np.where(moved <= low, value, params[name])
    draw = partial(_draw, rng=rng, batch=batch)
    fields = {} if starts(module) else draw(model.fields)
    fields = {name: size * z for name, z in fields.items()}
    return {
        "params": params,
        "z0": fields,
        "inputs": draw(model.inputs),
        "y": draw(model.targets),
    }


def _draw(variables: Any, *, rng: np.random.Generator, batch: int) -> Arrays:
    drawn = {}
    for name, variable in variables.items():
        shape = (batch, *variable.shape)
        if variable.classes:
            drawn[name] = rng.integers(variable.classes, size=shape)
        else:
            drawn[name] = rng.uniform(0.0, 0.8, shape)
    return drawn


def starts(module: ModuleType) -> bool:
    """Whether the model says itself how the state begins."""
    return "z0" not in entries(module)


def entries(module: ModuleType) -> tuple[str, ...]:
    return tuple(module._ENTRIES)


def arguments(point: Point, *, y: bool = False) -> dict[str, Any]:
    """A point as keyword arguments of the public functions."""
    given: dict[str, Any] = {"p": point["params"], "inputs": point["inputs"]}
    given["z0"] = point["z0"] or None
    return given | ({"y": point["y"]} if y else {})


def by_name(value: Any, names: Any) -> Arrays:
    return value if isinstance(value, dict) else {next(iter(names)): value}


def gradients(module: ModuleType, point: Point) -> tuple[float, Point]:
    """The loss and its gradients by entry; without a loss, of Σ w_k z_k."""
    names = entries(module)
    if hasattr(module, "value_and_grad"):
        value, found = module.value_and_grad(
            **arguments(point, y=True), wrt=names, check="off"
        )
    else:
        zT, pullback = module.vjp(**arguments(point), wrt=names)
        state = by_name(zT, module.MODEL.fields)
        weights = {n: _weights(z) for n, z in state.items()}
        pulled = pullback(weights)
        found = dict(zip(names, pulled, strict=True))
        value = dot(state, weights)
    return value, {e: by_name(found[e], module.MODEL.fields) for e in names}


def value_at(module: ModuleType, point: Point) -> float:
    """What ``gradients`` differentiates."""
    if hasattr(module, "loss"):
        return float(module.loss(**arguments(point, y=True)))
    zT = module.forward(**arguments(point), check="off")
    state = by_name(zT, module.MODEL.fields)
    return dot(state, {n: _weights(z) for n, z in state.items()})


def _weights(z: Any) -> Any:
    return np.sin(1.0 + np.arange(z.size)).reshape(z.shape).astype(z.dtype)


def direction(module: ModuleType, point: Point, rng: np.random.Generator) -> Point:
    """A random direction, of the size of each array, for all that is differentiated."""
    found: Point = {}
    for entry in entries(module):
        found[entry] = {
            name: rng.standard_normal(x.shape) * (0.1 * float(np.abs(x).mean()) + 1e-4)
            for name, x in point[entry].items()
        }
    return found


def moved(point: Point, v: Point, h: float | complex) -> Point:
    return point | {
        entry: {name: point[entry][name] + h * d for name, d in arrays.items()}
        for entry, arrays in v.items()
    }


def dot(a: Arrays, b: Arrays) -> float:
    return sum(float(np.vdot(a[name], b[name])) for name in a)


def norm(a: Arrays) -> float:
    return float(np.sqrt(dot(a, a)))


def largest(a: Arrays) -> float:
    return max((float(np.abs(x).max(initial=0.0)) for x in a.values()), default=0.0)


# --- against JAX ----------------------------------------------------------------------


def tile(module: ModuleType) -> int:
    return int(module._tile_size(np.dtype(np.float64)))


@cache
def jax_gradients(name: str) -> Any:
    import jax

    model: Reference = REFERENCES[name]()
    return jax.jit(jax.value_and_grad(model.mean_loss, argnums=(0, 1, 2), has_aux=True))


def agrees(mine: Arrays, other: Arrays, what: str, rtol: float = 1e-12) -> None:
    """Compare array by array: relative to its largest entry, or a little of all's."""
    assert set(mine) == set(other)
    for name, value in mine.items():
        assert value.shape == other[name].shape, f"{what} {name}"
        own = largest({name: other[name]})
        bound = rtol * max(own, 1e-3 * largest(other), 1e-300)
        error = float(np.abs(value - np.asarray(other[name])).max(initial=0.0))
        assert error <= bound, f"{what} {name}: {error:.1e} > {bound:.1e}"


# Newton's method inside of a loop: JAX takes seconds to compile each of these.
SLOW = {
    "equilibrium_image",
    "imex_gray_scott",
    "implicit2d",
    "implicit_heat",
    "implicit_tensor",
    "trapezoidal2d",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
        for name in sorted(REFERENCES)
    ],
)
def test_equals_jax(name: str) -> None:
    module = loaded(name)
    batches = (1, tile(module) + 2) if not small(name) else (tile(module) + 2,)
    cases = [(seed, batch) for batch in batches for seed in (1, 2)]
    for seed, batch in cases:
        point = point_of(module, seed, batch)
        z0 = point["z0"] or None
        (loss, state), found = jax_gradients(name)(
            point["params"], z0, point["inputs"], point["y"]
        )
        mean, mine = gradients(module, point)
        zT = by_name(module.forward(**arguments(point), check="off"), state)
        agrees(zT, state, "state")
        assert mean == pytest.approx(float(loss), rel=1e-12, abs=1e-14)
        for entry, theirs in zip(("params", "z0", "inputs"), found, strict=True):
            if mine.get(entry):
                agrees(mine[entry], theirs, f"∂loss/∂{entry}")


@pytest.mark.parametrize("name", ["digits", "tensor_readouts"])
def test_readouts_equal_jax(name: str) -> None:
    module, model = loaded(name), REFERENCES[name]()
    point = point_of(module, 4, 3)
    p, inputs = point["params"], point["inputs"]
    assert model.readouts is not None
    theirs = model.readouts(p, model.run(p, None, inputs))
    agrees(by_name(module.predict(p, inputs=inputs), theirs), theirs, "readout")


def test_every_small_model_has_a_reference() -> None:
    missing = [name for name in MODELS if small(name) and name not in REFERENCES]
    assert missing == [], "write these in reference_jax.py as well"


def test_no_two_models_share_a_name() -> None:
    assert len(FILES) == len(list((ROOT / "examples").glob("*.npde"))) + len(
        list((ROOT / "tests/models").glob("*.npde"))
    )


# --- without a reference --------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_jvp_and_vjp_are_transposes(name: str) -> None:
    module = loaded(name)
    rng = np.random.default_rng(3)
    for seed in (5, 6):
        point = point_of(module, seed, 2)
        v = direction(module, point, rng)
        names = entries(module)
        zT, pullback = module.vjp(**arguments(point), wrt=names)
        fields = module.MODEL.fields
        w = {n: rng.standard_normal(z.shape) for n, z in by_name(zT, fields).items()}
        pulled = pullback(w) if len(names) > 1 else (pullback(w),)
        tangents = {"dp": v["params"], "dz0": v.get("z0"), "dinputs": v["inputs"]}
        Jv = by_name(module.jvp(**arguments(point), **tangents), fields)
        back = sum(
            dot(v[entry], by_name(g, fields))
            for entry, g in zip(names, pulled, strict=True)
            if v[entry]
        )
        assert norm(Jv) > 0.0
        assert abs(dot(Jv, w) - back) <= 1e-13 * norm(Jv) * norm(w)


@pytest.mark.parametrize("name", MODELS)
def test_remainder_is_of_second_order(name: str) -> None:
    module = loaded(name)
    point = point_of(module, 7, 2)
    value, g = gradients(module, point)
    rng = np.random.default_rng(8)
    v = direction(module, point, rng)
    for entry in v:  # along the gradient, so that the slope is large
        for key, d in v[entry].items():
            v[entry][key] = np.where(g[entry][key] < 0.0, -1.0, 1.0) * np.abs(d)
    slope = sum(dot(g[entry], v[entry]) for entry in v)
    best = np.inf
    for first in 10.0 ** np.arange(-1.0, -6.5, -0.5):  # below the nearest kink
        steps = [first * 0.5**k for k in range(4)]
        values = [value_at(module, moved(point, v, h)) for h in steps]
        rest = [abs(b - value - h * slope) for h, b in zip(steps, values, strict=True)]
        if min(rest) < 1e-14 * abs(value):
            continue
        orders = np.log2(np.divide(rest[:-1], rest[1:]))
        best = min(best, float(np.abs(orders - 2.0).max()))
        if best <= 0.05:
            break
    assert best <= 0.05


@pytest.mark.parametrize("name", MODELS)
def test_complex_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if NOT_ANALYTIC.search(FILES[name].read_text("utf-8")):
        pytest.skip("a function of this model is not analytic")
    module = loaded(name)
    monkeypatch.setattr(module, "float", complex, raising=False)  # casts of numbers
    point = point_of(module, 9, 2)
    _, g = gradients(module, point)
    v = direction(module, point, np.random.default_rng(10))
    h = 1e-40
    exact = complex_value(module, moved(point, v, 1j * h)).imag / h
    found = sum(dot(g[entry], v[entry]) for entry in v)
    terms = sum(float(np.abs(g[e][key] * v[e][key]).sum()) for e in v for key in v[e])
    assert abs(found - exact) <= 1e-12 * terms


def complex_value(module: ModuleType, point: Point) -> complex:
    """The loss at a complex point, by the module's mathematics on complex arrays."""
    c = {name: np.array(value, complex) for name, value in point["params"].items()}
    module._coefficients(c)
    run = module._Run(np.dtype(complex), 2, c, point["z0"], point["inputs"])
    steps = module.MODEL.steps
    space = module._workspace(run, steps + 1)
    tile = module._begin(run, run.z0, space, slice(0, 2))
    module._advance(tile, 0, steps)
    if not hasattr(module, "_loss"):
        states = {n: tile.v[n][cells] for n, cells in module._CELLS.items()}
        return complex(sum((z * _weights(z)).sum() for z in states.values()))
    moments = getattr(module, "_SNAPSHOTS", (steps,))
    total = 0.0 if not hasattr(module, "_penalty") else module._penalty(c)
    for number, n in enumerate(moments):
        tile.set_level(n)
        if hasattr(module, "_set_targets"):
            module._set_targets(tile, point["y"], number)
        else:
            tile.v.update(point["y"])
        if hasattr(module, "_readout"):
            module._readout(c, tile.v)
        module._loss(c, tile.v)
        total += tile.v["loss"].mean() / len(moments)
    return complex(total)


@pytest.mark.parametrize("name", MODELS)
def test_float32_gradients(name: str) -> None:
    module = loaded(name)
    point = point_of(module, 11, 5, from_zero=0.001)
    if module.stability(point["params"]).numerical == "unstable":
        pytest.skip("the adjoint grows, and rounding with it")

    def as_type(kind: type) -> Point:
        return {
            entry: {
                n: x.astype(np.float32).astype(kind) if x.dtype.kind == "f" else x
                for n, x in arrays.items()
            }
            for entry, arrays in point.items()
        }

    _, exact = gradients(module, as_type(np.float64))
    _, rough = gradients(module, as_type(np.float32))
    for entry in exact:
        most = largest(exact[entry])
        for key, g in rough[entry].items():
            assert g.dtype == np.float32
            error = np.abs(g - exact[entry][key]).max(initial=0.0)
            # ∂²z is the difference of three sums, whose digits cancel in long runs
            bound = (1e-5 if small(name) else 1e-4) * most
            assert error <= bound, f"{entry} {key}: {error:.1e} > {bound:.1e}"


@pytest.mark.parametrize("name", MODELS)
def test_tiles_do_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded(name)
    point = point_of(module, 12, 7)
    value, whole = gradients(module, point)
    state = module.forward(**arguments(point), check="off")
    for size in (1, 3):
        monkeypatch.setattr(module, "_tile_size", lambda dtype, size=size: size)
        again, parts = gradients(module, point)
        assert again == pytest.approx(value, rel=1e-14)
        tiled = module.forward(**arguments(point), check="off")
        agrees(
            by_name(tiled, module.MODEL.fields),
            by_name(state, module.MODEL.fields),
            "state",
        )
        for entry in whole:
            rtol = 1e-12 if small(name) else 1e-9
            agrees(parts[entry], whole[entry], f"∂loss/∂{entry}", rtol)


@pytest.mark.parametrize("name", MODELS)
def test_shared_inputs_equal_repeated_ones(name: str) -> None:
    module = loaded(name)
    if not module.MODEL.inputs or starts(module):
        pytest.skip("no inputs beside an initial state")
    point = point_of(module, 13, 3)
    shared = {key: x[0] for key, x in point["inputs"].items()}
    repeated = {key: np.repeat(x[None], 3, axis=0) for key, x in shared.items()}
    value, g = gradients(module, point | {"inputs": repeated})
    again, h = gradients(module, point | {"inputs": shared})
    assert again == pytest.approx(value, rel=1e-14)
    summed = {key: x_bar.sum(axis=0) for key, x_bar in g["inputs"].items()}
    agrees(h["inputs"], summed, "∂loss/∂inputs")


@pytest.mark.parametrize("name", MODELS)
def test_module_passes_its_own_check(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = loaded(name)
    assert module.selfcheck().passed
    assert module.main() == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        name
        if name == "tensor_readouts"
        else pytest.param(name, marks=pytest.mark.slow)
        for name in MODELS
    ],
)
def test_module_runs_as_a_program(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.py"
    file.write_text(compile_source(read(FILES[name])).text, "utf-8")
    done = subprocess.run(
        [sys.executable, "-I", str(file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
