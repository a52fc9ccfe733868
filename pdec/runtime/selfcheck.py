"""The module's test of its own derivatives, at a random point in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pdec.runtime.checks import _ENTRIES, _by_name
from pdec.runtime.generated import _STATE, MODEL, stability
from pdec.runtime.host import _handed_out, _on_host
from pdec.runtime.interface import (
    forward,
    init_params,
    jvp,
    loss,
    trajectory,
    value_and_grad,
    vjp,
)
from pdec.runtime.types import Array, Arrays, ConvergenceError, Variable

# --- self-check ----------------------------------------------------------------------

# a value for everything that a run reads, by ("params" or "z0" or "inputs", name)
_Point: TypeAlias = dict[tuple[str, str], Array]

_Scale: TypeAlias = dict[tuple[str, str], float]  # sizes of changes

# numbers as a function of the point, and their derivative along a direction
_Functional: TypeAlias = tuple[Callable[[_Point], Array], Callable[[_Point], Array]]

_Draw: TypeAlias = Callable[[], _Point]


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
    """Test the derivatives, and the verdict on ω, at a random point in float64.

    Dot tests: <J v, w> = <v, Jᵀ w> relates jvp and vjp to rounding, for each kind of
    argument. Taylor tests: the remainder of a first-order expansion is of order 2, of
    the state along jvp, of the loss along its gradient; they relate both to forward.
    Where the verdict on ω is exact, one step of a run must bear it out.
    """
    with np.errstate(all="ignore"):
        try:
            return SelfCheck(tuple(_checks(np.random.default_rng(seed))))
        except ConvergenceError as error:
            return SelfCheck((Check(f"a run: {error}", math.inf, 0.0),))


def _checks(rng: np.random.Generator) -> list[Check]:
    """Return the rows of the self-check."""
    point = _random_point(rng)
    overflow = _overflow(point)
    if overflow:
        return [Check(overflow, math.inf, 0.0)]
    scale = _scales(point, rng)
    for name, variable in MODEL.params.items():
        value = point["params", name]
        change = scale["params", name] * rng.standard_normal(value.shape)
        point["params", name] = _in_bounds(variable, value, change)
    return [
        *_dot_tests(point, scale, rng),
        _tangent_test(point, scale, rng),
        _gradient_test(point, scale, rng),
        *_verdict_tests(point),
    ]


def _dot_tests(point: _Point, scale: _Scale, rng: np.random.Generator) -> list[Check]:
    """Compare <J v, w> with <v, Jᵀ w>, relative to |J v| |w|, for random v and w."""
    w, g = _pulled(point, rng)
    rows = []
    for entry in _ENTRIES:
        v = _random({key: x for key, x in scale.items() if key[0] == entry}, point, rng)
        if not v:
            continue
        Jv = _tangent_along(point, v)
        error, size = abs(_dot(Jv, w) - _dot(v, g)), _norm(Jv) * _norm(w)
        name = f"dot test of jvp and vjp in {entry}"
        rows.append(Check(name, error / size if size > 0 else error, _DOT_TOLERANCE))
    return rows


# [feature: implicit]
_DOT_TOLERANCE = 1e-12  # a step is the solution of a linear system
# [end]
# [feature: not implicit]
_DOT_TOLERANCE = 1e-13
# [end]


def _taylor_test(what: str, of: _Functional, point: _Point, draw: _Draw) -> Check:
    """Halve a step along a direction: the remainder must fall by 4 each time.

    The error is the largest deviation of the order from 2 over three halvings. Other
    steps and directions are tried as well, for the sake of kinks, and of directions
    along which the second derivative happens to vanish.
    """
    evaluate, derivative = of
    value = evaluate(point)
    rounding = 1e-13 * float(np.linalg.norm(value))
    error = 1.0
    for attempt in range(8):
        if attempt % 4 == 0:
            v = draw()
            slope = derivative(v)
        exponent = (-7, -10, -4, -13)[attempt % 4]
        steps = [2.0 ** (exponent - k) for k in range(4)]
        values = [
            evaluate({key: x + h * v[key] for key, x in point.items()}) for h in steps
        ]
        remainders = [
            float(np.linalg.norm(moved - value - h * slope))
            for h, moved in zip(steps, values, strict=True)
        ]
        if max(remainders) <= rounding:
            error = 0.0  # linear along v
        elif min(remainders) > 0.0:
            orders = np.log2(np.divide(remainders[:-1], remainders[1:]))
            error = min(error, float(np.max(abs(orders - 2.0))))
        if error <= 0.05:
            break
    return Check(f"Taylor test of {what}, order - 2", error, 0.05)


def _tangent_test(point: _Point, scale: _Scale, rng: np.random.Generator) -> Check:
    """Test the tangent of the final state along a random direction."""
    of = (
        lambda at: _flat(_final(at)),
        lambda v: _flat(_tangent_along(point, v)),
    )
    return _taylor_test("jvp", of, point, lambda: _random(scale, point, rng))


def _gradient_test(point: _Point, scale: _Scale, rng: np.random.Generator) -> Check:
    """Test the gradient along a direction in which every entry of it counts."""
    # [feature: loss]
    own = (len(x) for (entry, _), x in point.items() if entry != "params")
    batch = next(own, 1)
    y = {name: _random_target(t, batch, rng) for name, t in MODEL.targets.items()}
    y = _handed_out(y)
    _, grads = value_and_grad(**_arguments(point), y=y, wrt=_ENTRIES, check="off")
    g = _joined(grads)

    def evaluate(at: _Point) -> Array:
        return np.asarray([loss(**_arguments(at), y=y)])

    # [end]
    # [feature: not loss]
    w, g = _pulled(point, rng)

    def evaluate(at: _Point) -> Array:
        return np.asarray([_dot(_final(at), w)])

    # [end]
    def draw() -> _Point:
        v = _random(scale, point, rng)
        return {key: np.where(g[key] < 0.0, -1.0, 1.0) * abs(x) for key, x in v.items()}

    of = evaluate, lambda v: np.asarray([_dot(g, v)])
    return _taylor_test("the gradient", of, point, draw)


# --- the verdict on ω against a step -------------------------------------------------


def _verdict_tests(point: _Point) -> list[Check]:
    """Compare the growth a step that an exact verdict allows with that of a run.

    From a uniform state the run is a convolution: it answers a change of one cell by a
    kernel h, and multiplies the Fourier mode θ by G(θ) = Σ_m h_m exp(-imθ). The verdict
    bounds ln|G|, for every state.
    """
    p = {n: np.full(x.shape, x.mean()) for n, x in _of(point, "params").items()}
    report = stability(_handed_out(p))
    if report.basis != "exact" or report.intrinsic != "none":
        return []
    growth = _measured_growth(p)
    if growth is None:
        return []
    excess = max(0.0, growth - max(report.growth, 0.0))
    return [Check("growth of a run, above the verdict's", excess, 1e-6)]


def _measured_growth(p: Arrays) -> float | None:
    """Return max ln|G| a step over modes and states; None if a run has no kernel."""
    # [feature: initial]
    return None
    # [end]
    # [feature: not initial]
    field = next(iter(MODEL.fields.values()))
    if len(MODEL.fields) > 1 or not field.shape:
        return None
    levels = np.asarray([-2.0, -0.5, 0.0, 0.5, 2.0]).reshape(
        5, *(1 for _ in field.shape)
    )
    uniform = np.broadcast_to(levels, (5, *field.shape))
    corner = np.zeros(field.shape)
    corner.flat[0] = 1e-5
    halves = [n // 2 for n in field.shape]
    axes = tuple(range(1, uniform.ndim))
    middle = np.roll(corner, halves, range(corner.ndim))
    z0 = np.concatenate([uniform + d for d in (0.0 * corner, corner, -corner, middle)])
    inputs = {name: np.zeros(x.shape) for name, x in MODEL.inputs.items()}
    zT = forward(*_handed_out((p, z0)), inputs=_handed_out(inputs), check="off")
    zT = _on_host(zT)
    still, up, down, elsewhere = np.split(zT, 4)
    moved = np.roll(elsewhere, [-n for n in halves], axes)
    if np.ptp(still, axes).max() > 1e-12 or abs(moved - up).max() > 1e-12:
        return None  # walls, coordinates or channels
    h = (up - down) / 2e-5
    growth = np.log(abs(np.fft.fftn(h, axes=axes)).max())
    return float(growth) / MODEL.steps
    # [end]


# --- random points for the self-check ------------------------------------------------


def _random_point(rng: np.random.Generator) -> _Point:
    """Return initial parameters, and random fields and inputs that do not blow up."""
    cells = MODEL.steps * sum(math.prod(shape) for shape in _STATE.values())
    batch = 2 if cells < 1_000_000 else 1
    for centre, width in ((0.0, 0.5), (0.35, 0.25), (0.0, 0.01)):
        point = _joined({"params": init_params(0, np.float64)})
        for entry in _ENTRIES[1:]:
            variables = MODEL.fields if entry == "z0" else MODEL.inputs
            for name, x in variables.items():
                shape = (batch, *x.shape)
                drawn = rng.uniform(centre - width, centre + width, shape)
                point[entry, name] = np.asarray(drawn)
        if np.abs(_flat(_final(point))).max() < 1e3:  # False for NaN
            break
    return point


def _overflow(point: _Point) -> str:
    """Say from which step on the state is not finite; an empty text if it always is."""
    if np.isfinite(_flat(_final(point))).all():
        return ""
    states = _on_host(trajectory(**_arguments(point)))
    states = _by_name(states, MODEL.fields, "states")
    finite = [np.isfinite(z).reshape(len(z), -1).all(axis=1) for z in states.values()]
    first = int(np.argmin(np.logical_and.reduce(finite)))
    return f"state from random data: not finite at step {first}"


def _in_bounds(variable: Variable, value: Array, change: Array) -> Array:
    """Return value ± change, or value, whichever is first within the bounds."""
    low, high = variable.low, variable.high
    up, down = value + change, value - change
    moved = np.where((low < down) & (down < high), down, value)
    return np.where((low < up) & (up < high), up, moved)


def _scales(point: _Point, rng: np.random.Generator) -> _Scale:
    """Return for each array the size of a change that moves the final state by 5 %.

    It is a tenth of the array at most: a state that is long forgotten moves nothing.
    """
    size = _norm(_final(point))
    wanted = 0.05 * size if size > 1e-12 else math.inf  # a state at rest at 0
    scales = {}
    for key, value in point.items():
        v = np.asarray(rng.standard_normal(value.shape))
        moves = _norm(_tangent_along(point, {key: v}))
        # what does not move it (a parameter of a readout) has no scale but its own
        scale = wanted / moves if moves > 0 else 0.1
        own = math.sqrt(float(np.mean(value**2))) or 1.0
        scales[key] = min(scale, 0.1 * own)
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
def _of(point: _Point, entry: str) -> Arrays:
    """Return the arrays of one kind, by name."""
    return {name: x for (own, name), x in point.items() if own == entry}


def _joined(entries: Mapping[str, Any]) -> _Point:
    """Return arrays by entry, such as gradients, by entry and name."""
    return {
        (entry, name): x
        for entry, value in _on_host(dict(entries)).items()
        for name, x in (
            _by_name(value, MODEL.fields, entry) if entry == "z0" else value
        ).items()
    }


def _arguments(point: _Point) -> dict[str, Any]:
    """Return the point as arguments of the public functions."""
    p, z0, inputs = (_of(point, entry) for entry in ("params", "z0", "inputs"))
    return dict(_handed_out({"p": p, "z0": z0 or None, "inputs": inputs}))


def _final(point: _Point) -> Arrays:
    """Return the final state by field."""
    zT = _on_host(forward(**_arguments(point), check="off"))
    return _by_name(zT, MODEL.fields, "zT")


def _tangent_along(point: _Point, v: _Point) -> Arrays:
    """Return the tangent of the final state; what the direction lacks is zero."""
    along = {key: v.get(key, np.zeros_like(x)) for key, x in point.items()}
    tangents = {f"d{name}": x for name, x in _arguments(along).items()}
    zT_dot = _on_host(jvp(**_arguments(point), **tangents))
    return _by_name(zT_dot, MODEL.fields, "zT_dot")


def _pulled(
    point: _Point, rng: np.random.Generator, **options: Any
) -> tuple[Arrays, _Point]:
    """Return a random cotangent of the final state, and what it is pulled back to."""
    zT, pullback = vjp(**_arguments(point), wrt=_ENTRIES, **options)
    final = _by_name(zT, MODEL.fields, "zT")
    w = {name: rng.standard_normal(z.shape) for name, z in final.items()}
    return w, _joined(dict(zip(_ENTRIES, pullback(_handed_out(w)), strict=True)))


def _random(scale: _Scale, point: _Point, rng: np.random.Generator) -> _Point:
    """Return a random change of the arrays that have a scale."""
    return {key: s * rng.standard_normal(point[key].shape) for key, s in scale.items()}


def _flat(arrays: Arrays) -> Array:
    """Return all numbers as one vector."""
    return np.concatenate([a.ravel() for a in arrays.values()])


def _dot(a: Mapping[Any, Array], b: Mapping[Any, Array]) -> float:
    """Return the inner product of two sets of arrays, over what a has."""
    return sum(float(np.vdot(x, b[key])) for key, x in a.items())


def _norm(a: Arrays) -> float:
    return math.sqrt(_dot(a, a))
