"""Two targets side by side: points to compare them at, and what they return there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

Point = dict[str, Any]


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


class OnHost:
    """A module for CuPy that takes and returns arrays of NumPy.

    ``into`` and ``out`` bring arrays, in dicts and tuples too, to the device and back.
    """

    def __init__(
        self,
        module: ModuleType,
        into: Callable[[Any], Any],
        out: Callable[[Any], Any],
    ) -> None:
        self.module, self.into, self.out = module, into, out

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.module, name)
        if name.startswith("_") or not callable(found):
            return found
        into, out = self.into, self.out

        def call(*args: Any, **options: Any) -> Any:
            result = found(*into(args), **into(options))
            if name != "vjp":
                return out(result)
            return out(result[0]), lambda w: out(result[1](into(w)))

        return call


def says_that_it_blew_up(module: Any, at: Point) -> bool:
    """Whether a gradient of numbers that overflow is warned of."""
    z0 = {name: 1e200 * z for name, z in at["z0"].items()}
    p = {name: 1e200 * x for name, x in at["p"].items()}
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        module.value_and_grad(p, z0, at["y"], check="off")
    return any("not finite after step" in str(w.message) for w in seen)


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
