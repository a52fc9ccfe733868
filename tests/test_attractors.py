"""Attractors, the loss at every depth, and runs that blow up."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import pdec

ROOT = Path(__file__).resolve().parent.parent

# Bistable: z relaxes to the positive or to the negative root of z = tanh(2 z).
BISTABLE = """\
grid x[8] on [0, 1) periodic
field z(x)
param W0 init 2, W2 >= 0 init 1e-3
f(s) = tanh(s)
dz/dt = -(z - f(W0 z + W2 ∂²z))
steps 200
ω = 0.5
target y(x)
loss = mean((z - y)²) + 0.01 W0²
"""

EXPLODING = """\
grid x[8] on [0, 1) periodic
field z(x)
input u(x)
param a init 1
dz/dt = a z² + u
steps 40
dt = 1
target y(x)
loss = mean((z - y)²)
"""


def compiled(folder: Path, text: str) -> ModuleType:
    file = folder / "model.npde"
    file.write_text(text, encoding="utf-8")
    return pdec.load(file)


@pytest.fixture(scope="module")
def bistable(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return compiled(tmp_path_factory.mktemp("bistable"), BISTABLE)


@pytest.fixture(scope="module")
def exploding(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return compiled(tmp_path_factory.mktemp("exploding"), EXPLODING)


@pytest.fixture
def z0() -> Any:
    """Starts that settle after different numbers of steps."""
    sizes = np.array([1.0, -1e-3, 1e-6, -0.5, 3.0, 1e-12, 0.2])
    return np.repeat(sizes[:, None], 8, axis=1) * np.linspace(0.9, 1.1, 8)


# --- until ----------------------------------------------------------------------------


def test_each_sample_stops_where_it_settles(bistable: Any, z0: Any) -> None:
    p, tol = bistable.init_params(), 1e-5
    found = bistable.forward(p, z0, until=tol, check="off")
    assert isinstance(found, bistable.Attractor)
    assert found.step.shape == found.reached.shape == (7,)
    along = bistable.trajectory(p, z0)
    change = np.abs(np.diff(along, axis=0)).max(axis=2)
    size = np.maximum(1.0, np.abs(along[1:]).max(axis=2))
    for i, (step, reached) in enumerate(zip(found.step, found.reached, strict=True)):
        still = change[:, i] <= tol * size[:, i]
        still &= np.diff(change[:, i], prepend=0.0) <= 0.0
        assert reached and step == 1 + np.argmax(still)
        assert np.array_equal(found.state[i], along[step, i])
    root = 0.957504024  # z = tanh(2 z)
    assert np.abs(np.abs(found.state) - root).max() < tol / 0.5
    assert np.array_equal(np.sign(found.state[:, 0]), np.sign(z0[:, 0]))
    assert len(set(found.step)) > 4
    # a start beside the state 0, which is not stable, is slow but does not end there
    assert found.step[5] > 40


@pytest.mark.parametrize("size", [1, 2, 3, 128])
def test_the_others_of_a_tile_do_not_matter(
    bistable: Any, z0: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = bistable.init_params()
    alone = [bistable.forward(p, z[None], until=1e-5, check="off") for z in z0]
    monkeypatch.setattr(bistable, "_tile_size", lambda dtype: size)
    found = bistable.forward(p, z0, until=1e-5, check="off")
    for i, one in enumerate(alone):
        assert np.array_equal(found.state[i], one.state[0])
        assert found.step[i] == one.step[0] and found.reached[i] == one.reached[0]


def test_settled_tiles_stop_early(bistable: Any, z0: Any) -> None:
    plain, runs = bistable._step, []
    bistable._step = lambda n, c, v: (runs.append(n), plain(n, c, v))
    try:
        bistable.forward(bistable.init_params(), z0[:1], until=1e-3, check="off")
    finally:
        bistable._step = plain
    assert len(runs) < 40


def test_a_run_that_does_not_settle_says_so(bistable: Any, z0: Any) -> None:
    p = bistable.init_params()
    z, step, reached = bistable.forward(p, z0, until=0.0, check="off")
    assert np.array_equal(z[~reached], bistable.forward(p, z0, check="off")[~reached])
    assert (step[~reached] == 200).all() and (step <= 200).all()
    # what stays as it is has settled after one step
    still = bistable.forward(p, np.zeros((2, 8)), until=0.0, check="off")
    assert still.reached.all() and list(still.step) == [1, 1]


def test_several_fields_settle_together(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = pdec.load(
        ROOT / "tests/models/gray_scott_small.npde", overrides={"steps": 400}
    )
    model = module.MODEL
    rng = np.random.default_rng(0)
    z0 = {
        name: rng.uniform(0.2, 0.6, (3, *field.shape))
        for name, field in model.fields.items()
    }
    p = module.init_params(dtype=np.float64)
    found = module.forward(p, z0, until=1e-3, check="off")
    along = module.trajectory(p, z0)
    for i, step in enumerate(found.step):
        last = [np.abs(z[step, i] - z[step - 1, i]).max() for z in along.values()]
        assert not found.reached[i] or max(last) <= 1e-3
        for name, z in along.items():
            assert np.array_equal(found.state[name][i], z[step, i])
    assert found.reached.any()


@pytest.mark.parametrize("wrong", [-1e-9, np.nan, np.inf])
def test_wrong_tolerances(bistable: Any, z0: Any, wrong: float) -> None:
    with pytest.raises(ValueError, match=r"until is .*, expected a tolerance"):
        bistable.forward(bistable.init_params(), z0, until=wrong)


# --- the loss at every depth ----------------------------------------------------------


@pytest.mark.parametrize("model", ["bistable", "losses", "tensor_readouts"])
def test_loss_of_each_depth_is_that_of_a_shorter_model(
    model: str, tmp_path: Path
) -> None:
    file = ROOT / f"tests/models/{model}.npde"
    if model == "bistable":
        file = tmp_path / "bistable.npde"
        file.write_text(BISTABLE, encoding="utf-8")
    deep: Any = pdec.load(file, overrides={"steps": 12})
    rng = np.random.default_rng(1)

    def drawn(variables: Any) -> Any:
        return {
            name: rng.integers(v.classes, size=(5, *v.shape))
            if v.classes
            else rng.uniform(0.1, 0.6, (5, *v.shape))
            for name, v in variables.items()
        }

    m = deep.MODEL
    given = {"p": deep.init_params(2, np.float64), "inputs": drawn(m.inputs)}
    given |= {"z0": drawn(m.fields)} if "z0" in deep._ENTRIES else {}
    y = drawn(m.targets)
    states, losses = deep.trajectory(**given, y=y, every=5)
    assert losses.shape == (4,)
    plain = deep.trajectory(**given, every=5)
    for a, b in zip(_arrays(states), _arrays(plain), strict=True):
        assert np.array_equal(a, b)
    for loss, steps in zip(losses[1:], (5, 10, 12), strict=True):
        shorter: Any = pdec.load(file, overrides={"steps": steps})
        assert loss == shorter.loss(**given, y=y)


def _arrays(state: Any) -> list[Any]:
    return list(state.values()) if isinstance(state, dict) else [state]


def test_targets_along_the_way_have_no_loss_of_one_depth() -> None:
    module: Any = pdec.load(ROOT / "examples/per_layer.npde")
    z0, y = np.zeros((2, 128)), np.zeros((2, 3, 128))
    p = module.init_params(dtype=np.float64)
    assert module.trajectory(p, z0).shape == (13, 2, 128)
    with pytest.raises(TypeError, match="leave y out: the targets of per_layer"):
        module.trajectory(p, z0, y=y)


# --- runs that blow up ----------------------------------------------------------------


def runs(module: Any, **given: Any) -> dict[str, Any]:
    """Everything that runs the model to its end."""
    y = np.zeros_like(given["z0"])
    return {
        "forward": lambda: module.forward(**given),
        "until": lambda: module.forward(**given, until=1e-3),
        "trajectory": lambda: module.trajectory(**given),
        "vjp": lambda: module.vjp(**given),
        "loss": lambda: module.loss(**given, y=y),
        "value_and_grad": lambda: module.value_and_grad(**given, y=y),
    }


@pytest.mark.parametrize(
    "name", ["forward", "until", "trajectory", "vjp", "loss", "value_and_grad"]
)
def test_a_run_that_blows_up_says_where(exploding: Any, name: str) -> None:
    p = exploding.init_params(dtype=np.float64)
    z0 = np.full((4, 8), -0.5)
    z0[2:] = 2.0
    u = np.zeros((4, 8))
    along = exploding.trajectory
    with np.errstate(all="ignore"):
        states = along(p, z0, inputs={"u": u})
    first = int(np.argmax(~np.isfinite(states[:, 2]).all(axis=1)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runs(exploding, p=p, z0=z0, inputs={"u": u})[name]()
    ours = [w for w in caught if "sample" in str(w.message)]
    assert [w.category for w in ours] == [RuntimeWarning]
    text = str(ours[0].message)
    assert f"state of sample 2 is not finite after step {first} of 40" in text
    assert "2 of the 4 samples" in text
    assert ours[0].filename == __file__


def test_a_loss_that_is_not_finite_says_so(bistable: Any, z0: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bistable.loss(bistable.init_params(), z0, np.full((7, 8), 1e200))
    assert "finite after every step, but its loss is not" in str(caught[-1].message)


def test_errstate_silences_it(exploding: Any) -> None:
    p = exploding.init_params(dtype=np.float64)
    z0, u = np.full((4, 8), 2.0), np.zeros(8)
    with np.errstate(all="ignore"):  # a warning would be an error here
        assert not np.isfinite(exploding.forward(p, z0, inputs={"u": u})).any()
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        exploding.forward(p, z0, inputs={"u": u})


def test_a_finite_run_is_not_looked_at_twice(bistable: Any, z0: Any) -> None:
    again = bistable._first_not_finite
    bistable._first_not_finite = None
    try:
        p = bistable.init_params()
        for run in runs(bistable, p=p, z0=z0).values():
            run()
    finally:
        bistable._first_not_finite = again
