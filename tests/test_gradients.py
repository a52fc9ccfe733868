"""Gradients: every model of examples/ and tests/models/ against independent derivatives.

A model file that is put into ``tests/models`` is tested by being there: dot test, Taylor
test, complex step, float32 against float64, independence of tiles, its own self-check.
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


@cache
def loaded(name: str) -> ModuleType:
    """The compiled module of a model."""
    return pdec.load(FILES[name])


# --- points at which derivatives are taken --------------------------------------------


def point_of(
    module: ModuleType, seed: int, batch: int, *, from_zero: float = 0.02
) -> Point:
    """Random parameters within their bounds, inputs, initial fields and targets.

    ``from_zero`` is the size of parameters whose initial value is 0.
    """
    rng = np.random.default_rng(seed)
    model = module.MODEL
    params = {}
    for name, value in module.init_params(seed, np.float64).items():
        variable = model.params[name]
        size = np.where(value == 0.0, from_zero, 0.3 * np.abs(value))
        moved = value + size * rng.standard_normal(value.shape)
        low, high = variable.low, variable.high
        params[name] = np.clip(moved, low if low > -1e9 else None, high)
        params[name] = np.where(moved <= low, value, params[name])
    draw = partial(_draw, rng=rng, batch=batch)
    fields = {} if starts(module) else draw(model.fields)
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
            drawn[name] = 0.4 + 0.4 * rng.standard_normal(shape)
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
    """The loss and its gradients by entry; without a loss, of Σ sin(k) z_k."""
    names = entries(module)
    if hasattr(module, "value_and_grad"):
        value, found = module.value_and_grad(
            **arguments(point, y=True), wrt=names, check="off"
        )
    else:
        zT, pullback = module.vjp(**arguments(point), wrt=names)
        state = by_name(zT, module.MODEL.fields)
        weights = {n: np.sin(np.arange(z.size)).reshape(z.shape) for n, z in state.items()}
        value, found = dot(state, weights), dict(zip(names, pullback(weights), strict=True))
    if len(names) == 1:
        found = {names[0]: found}
    return value, {e: by_name(found[e], module.MODEL.fields) for e in names}


def value_at(module: ModuleType, point: Point) -> float:
    """What ``gradients`` differentiates."""
    if hasattr(module, "loss"):
        return float(module.loss(**arguments(point, y=True)))
    zT = module.forward(**arguments(point), check="off")
    state = by_name(zT, module.MODEL.fields)
    return sum(
        float(np.sin(np.arange(z.size)) @ z.ravel()) for z in state.values()
    )


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
    return jax.jit(
        jax.value_and_grad(model.mean_loss, argnums=(0, 1, 2), has_aux=True)
    )


def agrees(mine: Arrays, other: Arrays, what: str, scale: float | None = None) -> None:
    assert set(mine) == set(other)
    bound = 1e-12 * max(scale if scale is not None else largest(other), 1e-300)
    for name, value in mine.items():
        assert value.shape == other[name].shape, f"{what} {name}"
        error = float(np.abs(value - np.asarray(other[name])).max(initial=0.0))
        assert error <= bound, f"{what} {name}: {error:.1e} > {bound:.1e}"


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_equals_jax(name: str) -> None:
    module = loaded(name)
    example = FILES[name].parent.name == "examples"
    batches = (1, tile(module) + 2) if example else (tile(module) + 2,)
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
            for key in mine.get(entry, {}):
                agrees({key: mine[entry][key]}, {key: theirs[key]}, f"∂loss/∂{entry}")


def test_readouts_equal_jax() -> None:
    for name in ("digits", "tensor"):
        module, model = loaded(name), REFERENCES[name]()
        point = point_of(module, 4, 3)
        assert model.readouts is not None
        theirs = model.readouts(
            point["params"], model.run(point["params"], None, point["inputs"])
        )
        mine = module.predict(point["params"], inputs=point["inputs"])
        agrees(by_name(mine, theirs), theirs, "readout")


def test_every_model_has_a_reference() -> None:
    missing = sorted(set(MODELS) - set(REFERENCES))
    assert missing == [], "write these in reference_jax.py as well"


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
    for first in (0.1, 0.01, 1e-3, 1e-4, 1e-5):  # at kinks, below the nearest one
        steps = [first * 0.5**k for k in range(4)]
        rest = [abs(value_at(module, moved(point, v, h)) - value - h * slope) for h in steps]
        if min(rest) < 1e-14 * abs(value):
            continue
        orders = np.log2(np.divide(rest[:-1], rest[1:]))
        best = min(best, float(np.abs(orders - 2.0).max()))
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
    terms = sum(
        float(np.abs(g[e][key] * v[e][key]).sum()) for e in v for key in v[e]
    )
    assert abs(found - exact) <= 1e-12 * terms


def complex_value(module: ModuleType, point: Point) -> complex:
    """The mean loss at a complex point, by the module's mathematics on complex arrays."""
    c = {name: np.array(value, complex) for name, value in point["params"].items()}
    module._coefficients(c)
    batch = 2
    shapes = {**module._INPUTS, **module._WORK}
    v = {n: np.zeros((batch, *shape), complex) for n, shape in shapes.items()}
    for name, cells in module._INPUT_CELLS.items():
        v[name][cells] = point["inputs"][name]
    for name, shape in module._STATE.items():
        v[name] = np.zeros((batch, *shape), complex)
    if starts(module):
        module._initial(c, v)
    for name, z in point["z0"].items():
        v[name][module._CELLS[name]] = z
    for n in range(module.MODEL.steps):
        for name, shape in module._STATE.items():
            v[f"{name}_next"] = np.zeros((batch, *shape), complex)
        module._step(n, c, v)
        for name in module._STATE:
            v[name] = v[f"{name}_next"]
    v.update(point["y"])
    if hasattr(module, "_readout"):
        module._readout(c, v)
    module._loss(c, v)
    penalty = module._penalty(c) if hasattr(module, "_penalty") else 0.0
    return complex(v["loss"].mean() + penalty)


@pytest.mark.parametrize("name", MODELS)
def test_float32_gradients(name: str) -> None:
    module = loaded(name)
    point = point_of(module, 11, 5, from_zero=0.001)

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
        for key, g in rough[entry].items():
            assert g.dtype == np.float32
            error = np.abs(g - exact[entry][key]).max(initial=0.0)
            bound = 1e-5 * np.abs(exact[entry][key]).max(initial=0.0)
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
            for key, g in whole[entry].items():
                agrees({key: parts[entry][key]}, {key: g}, f"∂loss/∂{entry}")


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
    for key, x_bar in h["inputs"].items():
        agrees({key: x_bar}, {key: g["inputs"][key].sum(axis=0)}, "∂loss/∂inputs")


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
        name if name == "tensor" else pytest.param(name, marks=pytest.mark.slow)
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
