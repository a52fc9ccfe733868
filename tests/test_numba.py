"""The Numba target against the NumPy one: values, and that threads change none.

Compiling is what these tests cost: by default a few files, and models in which every
operator, boundary and scheme is there once; with ``--full`` all files, and each pair.
Functions that are approximated have their tests in ``test_approximations.py``, files,
processes and bad input in ``test_numba_use.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import random_models
from test_gradients import Arrays, Point, by_name, direction, largest, point_of
from test_matrix import (
    ACCURACIES,
    BOUNDARIES,
    GROUPS,
    OPERATORS,
    SCHEMES,
    Case,
    pairwise,
    text,
)

import pdec
from pdec.pipeline import compile_source, module_of
from pdec.source import from_text

numba = pytest.importorskip("numba")

ROOT = Path(__file__).parent.parent
FILES = {
    file.stem: file
    for folder in ("examples", "tests/models")
    for file in sorted((ROOT / folder).glob("*.npde"))
}
# with walls, with inputs and readouts, in two dimensions with targets along the way,
# with channels that are solved for
SAMPLE = {"walls1d", "started", "losses", "implicit_tensor"}
WITH_TANGENTS = {"walls1d", "implicit_tensor"}  # of these

# Units of tanh, of which f' = 1 - f² keeps little: with the default one, which is right
# to 4 units in the last place, the gradient of z0 is 1.4 % beyond the bound.
SATURATED = {"tensor"}


def combinations(full: bool) -> list[Case]:
    """Each pair of what the registries hold, or each once in smaller models."""
    names, count = list(OPERATORS), GROUPS if full else 2 * GROUPS
    groups = [tuple(names[i::count]) for i in range(count)]
    factors = (groups, ["periodic", *BOUNDARIES], list(SCHEMES), ACCURACIES)
    if full:
        rows = list(pairwise(factors))
    else:
        rows = [
            tuple(factor[number % len(factor)] for factor in factors)
            for number in range(max(map(len, factors)))
        ]
    return [Case(*row, "float64", "numba") for row in rows]  # type: ignore[misc]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    full = metafunc.config.getoption("--full")
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(300 if full else 20))
    if "name" in metafunc.fixturenames and metafunc.function is test_files:
        metafunc.parametrize("name", list(FILES) if full else sorted(SAMPLE))
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", combinations(full), ids=str)


# --- the same numbers as NumPy's ------------------------------------------------------

# The bound of a difference is 1e-12, times the growth of the adjoint, times the largest
# value of the array that is compared, be it a result or the gradient of one parameter.
#
# That gradient is a sum: the compiler collects parameters in coefficients a_k of the
# stencils, and pulls their cotangents back, as in W2 += (a_-1 - 2 a_0 + a_1)/dx².  The
# terms cancel by nature: at dx = 1/128 they are 1e4 times their sum, and a rounding of
# each of the a_k (1e-16 of it) is one of 1e-12 of the sum, in either target.  What is
# the largest value of a gradient is therefore asked of its terms, before they cancel:
# Σ_k max|what a_k contributes|.  Where one coefficient is all there is, it is max|g|.


def check_equal(
    ours: ModuleType, theirs: ModuleType, *, batch: int = 5, full: bool = True
) -> None:
    """Compare all functions of two modules of a model at a point."""
    at = shared_inputs(theirs, point_of(theirs, 1, batch))
    bound = 1e-12 * growth(theirs, at)
    found, expected = results(ours, at, full=full), results(theirs, at, full=full)
    assert found.keys() == expected.keys()
    for name, (values, sizes) in expected.items():
        assert found[name][0].keys() == values.keys()
        for key, value in values.items():
            other = found[name][0][key]
            assert (other.shape, other.dtype) == (value.shape, value.dtype)
            size = sizes.get(key, float(np.max(np.abs(value), initial=0.0)))
            error = float(np.max(np.abs(other - value), initial=0.0))
            assert error <= bound * size, f"{name} {key}: {error} of {size}"


def shared_inputs(module: ModuleType, at: Point) -> Point:
    """The point with every other input shared by all samples."""
    for name in list(module.MODEL.inputs)[1::2]:
        at["inputs"][name] = at["inputs"][name][0]
    return at


Result = tuple[Arrays, dict[str, float]]  # values by name, and sizes of some of them


def results(module: ModuleType, at: Point, *, full: bool) -> dict[str, Result]:
    """What every function of the interface returns at a point.

    Without vjp and jvp, unless all is asked for: they take as long to compile again.
    """
    given = {"p": at["params"], "z0": at["z0"] or None, "inputs": at["inputs"]}
    fields, entries = module.MODEL.fields, module._ENTRIES
    moved = direction(module, at, np.random.default_rng(4))
    along = {f"d{'p' if e == 'params' else e}": v for e, v in moved.items()}
    found: dict[str, Result] = {}

    def keep(name: str, values: Any, sizes: dict[str, float] | None = None) -> None:
        found[name] = by_name(values, fields), sizes or {}

    keep("forward", module.forward(**given, check="off"))
    keep("trajectory", module.trajectory(**given, every=2))
    if full:
        keep("jvp", module.jvp(**given, **along))
        zT, pullback = module.vjp(**given, wrt=entries, checkpoint=2)
        rng = np.random.default_rng(5)
        seeds = {
            n: rng.standard_normal(z.shape) for n, z in by_name(zT, fields).items()
        }
        with terms(module) as sizes:
            pulled = dict(zip(entries, pullback(seeds), strict=True))
        for entry, values in pulled.items():
            keep(f"vjp {entry}", values, sizes if entry == "params" else None)
    if hasattr(module, "loss"):
        keep("loss", {"": np.asarray(module.loss(**given, y=at["y"]))})
        with terms(module) as sizes:
            value, grads = module.value_and_grad(
                **given, y=at["y"], wrt=entries, check="off"
            )
        keep("value", {"": np.asarray(value)})
        for entry, values in grads.items():
            keep(f"gradient {entry}", values, sizes if entry == "params" else None)
    if hasattr(module, "predict"):
        keep("predict", by_name(module.predict(**given), module.MODEL.readouts))
    return found


@contextmanager
def terms(module: ModuleType) -> Iterator[dict[str, float]]:
    """Note, by parameter, the sizes of the terms that its gradient is the sum of."""
    own, sizes = module._coefficients_vjp, {}

    def spy(c: Arrays, c_bar: Arrays) -> None:
        for chosen in c_bar:
            part = {n: a if n == chosen else np.zeros_like(a) for n, a in c_bar.items()}
            part = {n: a.copy() for n, a in part.items()}
            own(c, part)
            for name in module.MODEL.params:
                size = float(np.max(np.abs(part[name]), initial=0.0))
                sizes[name] = sizes.get(name, 0.0) + size
        own(c, c_bar)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_coefficients_vjp", spy)
        yield sizes


def growth(module: ModuleType, at: Point) -> float:
    """How much a cotangent grows on the way back, at least 1, in the maximum norm.

    The norm of a matrix is that of its product with some vector of signs: a few are
    drawn, beside the state itself.
    """
    given = {"p": at["params"], "z0": at["z0"] or None, "inputs": at["inputs"]}
    zT, pullback = module.vjp(**given, wrt=("params",) if not at["z0"] else ("z0",))
    if not at["z0"]:
        return 1.0
    ends = by_name(zT, module.MODEL.fields)
    rng = np.random.default_rng(7)
    signs = [
        {n: rng.choice([-1.0, 1.0], z.shape) for n, z in ends.items()} for _ in "1234"
    ]
    grown = [largest(by_name(pullback(w), ends)) / largest(w) for w in (ends, *signs)]
    return max(1.0, *grown)


def same_bits(module: ModuleType, at: Point, patch: pytest.MonkeyPatch) -> None:
    """Neither threads nor checkpoints change a bit of a gradient."""
    given = {"p": at["params"], "z0": at["z0"] or None, "inputs": at["inputs"]}
    found = []
    for threads, checkpoint in (("1", "all"), ("2", "sqrt"), ("3", 1)):
        patch.setenv("PDEC_NUM_THREADS", threads)
        if hasattr(module, "value_and_grad"):
            loss, grads = module.value_and_grad(
                **given, y=at["y"], check="off", checkpoint=checkpoint
            )
        else:
            zT, pullback = module.vjp(**given, checkpoint=checkpoint)
            loss, grads = 0.0, pullback(zT)[0]
        found.append((loss, {n: g.tobytes() for n, g in grads.items()}))
    assert found[0] == found[1] == found[2]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_files(
    name: str, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    theirs = pdec.load(FILES[name])
    ours = pdec.load(FILES[name], target="numba", accurate=name in SATURATED)
    full = name in WITH_TANGENTS or pytestconfig.getoption("--full")
    check_equal(ours, theirs, full=full)
    same_bits(ours, shared_inputs(theirs, point_of(theirs, 2, 19)), monkeypatch)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_random_models(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python runs the text, which takes less time and sees places that are not."""
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    source = from_text(random_models.text(seed), f"random{seed}.npde")
    theirs = module_of(compile_source(source))
    ours = module_of(compile_source(source, target="numba", accurate=True))
    check_equal(ours, theirs, batch=3)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_combinations(
    case: Case, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    source = from_text(text(case), "matrix")
    theirs = module_of(compile_source(source))
    ours = module_of(compile_source(source, target="numba"))
    check_equal(ours, theirs, full=pytestconfig.getoption("--full"))
    same_bits(ours, shared_inputs(theirs, point_of(theirs, 2, 5)), monkeypatch)


# walls, inputs, losses along the way; a beginning, readouts, two dimensions
LINE = """\
grid x[40] on [0, 1]
at x = 0: z + 0.1 ∂n z = 0.3
at x = 1: ∂z = 0
field z(x)
input u(x), w(x)
param W0(x) init 0.9, W1(x) init 1e-3, W2(x) >= 0 init 1e-4
param b(x) init 0.1, k(x) init 0.5
dz/dt = -(z - tanh(W0 z + W1 ∂z + W2 ∂²z - b + k u + w))
steps 6
ω = 0.5
target y(x, t) every 2
loss = mean((z - y)²)
"""
PLANE = """\
grid x[6] on [0, 6], y[20] on [0, 20]
at x, y: ∂z = 0
input img(x, y)
field z(x, y)
param E(x, y) init 1
at t = 0: z = E img
param W0(x, y) init 0.5, Wx(x, y) init 0.1, Wy(x, y) init 0.2, b(x, y), g init 0.9
dz/dt = -(z - tanh(g W0 z + Wx ∂x z + Wy ∂y z - b))
steps 4
ω = 0.5
param R[3](x, y) init normal(0, 0.1)
readout logits[3] = integral(R z)
target label: class
loss = cross_entropy(logits, label)
"""


# whole groups of samples, and one that is not
@pytest.mark.parametrize(
    ("text", "together", "batch"), [(LINE, 4, 71), (PLANE, 2, 37)], ids=("1d", "2d")
)
def test_samples_together(
    text: str, together: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = module_of(compile_source(from_text(text, "model")))
    ours = module_of(compile_source(from_text(text, "model"), target="numba"))
    assert ours._TOGETHER == together and batch % together
    check_equal(ours, theirs, batch=batch, full=False)
    at = shared_inputs(theirs, point_of(theirs, 2, batch))
    same_bits(ours, at, monkeypatch)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["heterogeneous", "digits", "tensor", "heat_robin"])
def test_float32(name: str) -> None:
    """Where the adjoint does not grow: at the model's own parameters."""
    ours, theirs = pdec.load(FILES[name], target="numba"), pdec.load(FILES[name])
    at = point_of(theirs, 1, 5) | {"params": theirs.init_params(seed=1)}
    assert growth(theirs, at) <= 1.0
    single = {
        entry: {
            n: x.astype(np.float32) if x.dtype.kind == "f" else x for n, x in a.items()
        }
        for entry, a in at.items()
    }

    def gradient(module: ModuleType, at: Point) -> Any:
        given = {"p": at["params"], "z0": at["z0"] or None, "inputs": at["inputs"]}
        return module.value_and_grad(**given, y=at["y"], check="off")[1]

    exact, found = gradient(theirs, at), gradient(ours, single)
    for key, value in exact.items():
        error = np.max(np.abs(found[key] - value))
        assert error <= 1e-5 * np.max(np.abs(value)), key


def test_settles_like_numpy() -> None:
    ours, theirs = (pdec.load(FILES["walls1d"], target=t) for t in ("numba", "numpy"))
    at = point_of(theirs, 1, 5)
    mine, other = (
        m.forward(at["params"], at["z0"], until=0.3, check="off")
        for m in (ours, theirs)
    )
    assert other.reached.any()
    assert (mine.step == other.step).all() and (mine.reached == other.reached).all()
    error = np.max(np.abs(mine.state - other.state))
    assert error <= 1e-12 * np.max(np.abs(other.state))


def test_steps_multiplied_out() -> None:
    """Of a large grid by power iteration, here beside the matrix of the run."""
    ours, theirs = (pdec.load(FILES["walls1d"], target=t) for t in ("numba", "numpy"))
    at = point_of(theirs, 1, 1)
    state, inputs = ({n: a[0] for n, a in at[e].items()} for e in ("z0", "inputs"))
    z = at["z0"]["z"]
    units = np.eye(z.size).reshape(-1, *z.shape)
    columns = [theirs.jvp(at["params"], z, dz0=e).ravel() for e in units]
    largest_gain = np.linalg.norm(np.stack(columns), 2)
    for module in (ours, theirs):
        found = module._gain(combined(module, at), state, inputs)
        assert found == pytest.approx(largest_gain, rel=1e-3)


def test_a_verdict_from_where_the_model_begins() -> None:
    ours, theirs = (pdec.load(FILES["started"], target=t) for t in ("numba", "numpy"))
    at = point_of(theirs, 1, 1)
    one, other = (
        m.stability(at["params"], inputs=at["inputs"], run=True) for m in (ours, theirs)
    )
    assert str(one) == str(other)


def combined(module: ModuleType, at: Point) -> Arrays:
    c = dict(at["params"])
    module._coefficients(c)
    return c
