"""The module's test of its own derivatives, at a random point in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pdec.runtime.checks import _ENTRIES, _by_name
from pdec.runtime.generated import _STATE, MODEL
from pdec.runtime.interface import (
    forward,
    init_params,
    jvp,
    loss,
    value_and_grad,
    vjp,
)
from pdec.runtime.types import Array, Arrays, Variable

# --- self-check ----------------------------------------------------------------------

# a value for everything that a run reads: "params", "z0" and "inputs", each by name
_Point: TypeAlias = dict[str, Arrays]

# a number as a function of the point, and its gradient by entry
_Functional: TypeAlias = tuple[Callable[[_Point], float], dict[str, Any]]


@dataclass(frozen=True)
class Check:
    """One row of the self-check: it passes where error <= tolerance."""

    name: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance  # False for NaN


@dataclass(frozen=True)
class SelfCheck:
    """The result of selfcheck; str() is a table."""

    rows: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)

    def __str__(self) -> str:
        lines = [f"{'self-check':<42}{'error':>9}{'tolerance':>12}"]
        for row in self.rows:
            numbers = f"{row.error:>9.1e}{row.tolerance:>12.0e}"
            verdict = "ok" if row.passed else "FAILED"
            lines.append(f"{row.name:<42}{numbers}  {verdict}")
        return "\n".join(lines)


def selfcheck(seed: int = 0) -> SelfCheck:
    """Test the derivatives at a random point, in float64.

    Dot tests: <J v, w> = <v, Jᵀ w> relates jvp and vjp to rounding, for each kind of
    argument. Taylor test: the remainder of the first-order expansion of the loss along
    its gradient is of order 2, which relates the gradient to forward.
    """
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        point = _random_point(rng)
        scale = _scales(point, rng)
        for name, value in point["params"].items():
            change = scale["params"][name] * rng.standard_normal(value.shape)
            point["params"][name] = _within(MODEL.params[name], value, change)
        rows = [*_dot_tests(point, scale, rng), _taylor_test(point, scale, rng)]
    return SelfCheck(tuple(rows))


def _dot_tests(point: _Point, scale: _Point, rng: np.random.Generator) -> list[Check]:
    """Compare <J v, w> with <v, Jᵀ w>, relative to |J v| |w|, for random v and w."""
    zT, pullback = vjp(**_arguments(point), wrt=_ENTRIES)
    w = _random_like(_by_name(zT, MODEL.fields, "zT"), rng)
    pulled = dict(zip(_ENTRIES, pullback(w), strict=True))
    rows = []
    for entry in _ENTRIES:
        if not point[entry]:
            continue
        v = {
            name: scale[entry][name] * direction
            for name, direction in _random_like(point[entry], rng).items()
        }
        Jv = _tangent_along(point, {entry: v})
        g = _by_entry(pulled[entry], entry)
        error = abs(_dot(Jv, w) - _dot(v, g))
        size = math.sqrt(_dot(Jv, Jv) * _dot(w, w))
        name = f"dot test of jvp and vjp in {entry}"
        rows.append(Check(name, error / size if size > 0 else error, 1e-13))
    return rows


def _taylor_test(point: _Point, scale: _Point, rng: np.random.Generator) -> Check:
    """Halve a step along the gradient: the remainder must fall by 4 each time.

    The error is the largest deviation of the order from 2 over three halvings. Smaller
    and larger steps are tried as well, for the sake of kinks and of flat directions.
    """
    # [feature: loss]
    evaluate, grads = _of_loss(point, rng)
    # [end]
    # [feature: not loss]
    evaluate, grads = _of_state(point, rng)
    # [end]
    v = {
        entry: {
            name: _along(g, rng) * scale[entry][name]
            for name, g in _by_entry(grads[entry], entry).items()
        }
        for entry in _ENTRIES
    }
    value = evaluate(point)
    slope = sum(_dot(_by_entry(grads[entry], entry), v[entry]) for entry in _ENTRIES)
    errors = []
    for exponent in (-7, -10, -4, -13):
        steps = [2.0 ** (exponent - k) for k in range(4)]
        remainders = [
            abs(evaluate(_moved(point, v, h)) - value - h * slope) for h in steps
        ]
        if max(remainders) <= 1e-13 * abs(value):
            errors.append(0.0)  # linear along v
        elif min(remainders) > 0.0:
            orders = np.log2(np.divide(remainders[:-1], remainders[1:]))
            errors.append(float(np.max(abs(orders - 2.0))))
        if errors and errors[-1] <= 0.05:
            break
    return Check(
        "Taylor test of the gradient, order - 2", min(errors, default=1.0), 0.05
    )


# [feature: loss]
def _of_loss(point: _Point, rng: np.random.Generator) -> _Functional:
    """Return the loss for random targets, and its gradient by entry."""
    batch = _batch(point)
    y = {name: _random_target(t, batch, rng) for name, t in MODEL.targets.items()}
    _, grads = value_and_grad(**_arguments(point), y=y, wrt=_ENTRIES, check="off")
    return lambda at: loss(**_arguments(at), y=y), grads


# [end]
# [feature: not loss]
def _of_state(point: _Point, rng: np.random.Generator) -> _Functional:
    """Return the final state times a random weight, and its gradient by entry."""
    zT, pullback = vjp(**_arguments(point), wrt=_ENTRIES)
    w = _random_like(_by_name(zT, MODEL.fields, "zT"), rng)
    grads = dict(zip(_ENTRIES, pullback(w), strict=True))
    return lambda at: _dot(_final(at), w), grads


# [end]
# --- random points for the self-check ------------------------------------------------


def _random_point(rng: np.random.Generator) -> _Point:
    """Return initial parameters, and random fields and inputs that do not blow up."""
    cells = MODEL.steps * sum(math.prod(shape) for shape in _STATE.values())
    batch = 2 if cells < 1_000_000 else 1
    variables = {"z0": MODEL.fields, "inputs": MODEL.inputs}
    for centre, width in ((0.0, 0.5), (0.35, 0.25), (0.0, 0.01)):
        point: _Point = {"params": init_params(0, np.float64)}
        for entry in _ENTRIES[1:]:
            point[entry] = {
                name: rng.uniform(centre - width, centre + width, (batch, *x.shape))
                for name, x in variables[entry].items()
            }
        zT = _final(point)
        if all(np.isfinite(z).all() and abs(z).max() < 1e3 for z in zT.values()):
            break
    return point


def _within(variable: Variable, value: Array, change: Array) -> Array:
    """Return value ± change, or value, whichever is first within the bounds."""
    low, high = variable.low, variable.high
    up, down = value + change, value - change
    moved = np.where((low < down) & (down < high), down, value)
    return np.where((low < up) & (up < high), up, moved)


def _scales(point: _Point, rng: np.random.Generator) -> _Point:
    """Return for each array the size of a change that moves the final state by 5 %.

    It is a tenth of the array at most: a state that is long forgotten moves nothing.
    """
    reference = _final(point)
    wanted = 0.05 * math.sqrt(_dot(reference, reference))
    scales: _Point = {}
    for entry in _ENTRIES:
        scales[entry] = {}
        for name, value in point[entry].items():
            v = np.asarray(rng.standard_normal(value.shape))
            Jv = _tangent_along(point, {entry: {name: v}})
            moves = math.sqrt(_dot(Jv, Jv))
            # what does not move it (a parameter of a readout) has no scale but its own
            scale = wanted / moves if moves > 0 else 0.1
            own = math.sqrt(float(np.mean(value**2))) or 1.0
            scales[entry][name] = np.asarray(min(scale, 0.1 * own))
    return scales


# [feature: loss]
def _random_target(target: Variable, batch: int, rng: np.random.Generator) -> Array:
    """Return a target for each sample of the batch."""
    shape = (batch, *target.shape)
    # [feature: classes]
    if target.classes:
        return np.asarray(rng.integers(target.classes, size=shape))
    # [end]
    return np.asarray(rng.standard_normal(shape))


# [end]
def _batch(point: _Point) -> int:
    """Return the batch size of a point."""
    return next((len(x) for entry in _ENTRIES[1:] for x in point[entry].values()), 1)


def _arguments(point: _Point) -> dict[str, Any]:
    """Return the point as arguments of the public functions."""
    return {
        "p": point["params"],
        "z0": point.get("z0"),
        "inputs": point.get("inputs"),
    }


def _final(point: _Point) -> Arrays:
    """Return the final state by field."""
    return _by_name(forward(**_arguments(point), check="off"), MODEL.fields, "zT")


def _tangent_along(point: _Point, direction: Mapping[str, Arrays]) -> Arrays:
    """Return the tangent of the final state; what the direction lacks is zero."""
    v = {
        entry: {
            name: direction.get(entry, {}).get(name, np.zeros_like(value))
            for name, value in point[entry].items()
        }
        for entry in _ENTRIES
    }
    arguments = _arguments(point)
    arguments |= {"dp": v["params"], "dz0": v.get("z0"), "dinputs": v.get("inputs")}
    return _by_name(jvp(**arguments), MODEL.fields, "zT_dot")


def _moved(point: _Point, v: _Point, h: float) -> _Point:
    """Return point + h v."""
    return {
        entry: {name: x + h * v[entry][name] for name, x in arrays.items()}
        for entry, arrays in point.items()
    }


def _by_entry(value: Any, entry: str) -> Arrays:
    """Return arrays by name of what a gradient holds for an entry."""
    return _by_name(value, MODEL.fields, entry) if entry == "z0" else value


def _along(g: Array, rng: np.random.Generator) -> Array:
    """Return a random direction in which every entry of g counts; 0 is moved too."""
    return np.where(g < 0.0, -1.0, 1.0) * abs(rng.standard_normal(g.shape))


def _random_like(arrays: Arrays, rng: np.random.Generator) -> Arrays:
    return {name: rng.standard_normal(a.shape) for name, a in arrays.items()}


def _dot(a: Arrays, b: Arrays) -> float:
    """Return the inner product of two sets of arrays."""
    return sum(float(np.vdot(a[name], b[name])) for name in a)
