"""Orders of convergence of a model, measured against a manufactured solution.

    source  →  in_time(source, …), in_space(source, …)  →  Measured(order, expected)

In time: three runs on one grid with Δt, Δt/2 and Δt/4, whose differences d and d' have
the ratio 2^p.  In space: a solution that rests, so that only the stencils move it, on
grids with N and 4N/3 cells, whose errors have the ratio (4/3)^p, in a run that lets no
error grow; on finer ones where these are too coarse to show p.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray

from pdec.derive import derive_all
from pdec.discretisation.discrete import discretise
from pdec.discretisation.stages import scheme_of
from pdec.emission.emit import emit
from pdec.errors import Reporter
from pdec.forms.model import Model
from pdec.forms.symbolic import NOW, Access, IndexValue, Partial
from pdec.meaning.resolve import resolve
from pdec.moments.quadrature import sample
from pdec.pipeline import TARGETS, Compilation, module_of
from pdec.reading.parser import parse_readable
from pdec.recursion import deep_recursion
from pdec.source import Source
from pdec.verification.manufactured import (
    Manufactured,
    Unsuitable,
    clocked,
    derivatives,
    manufacture,
    order_in_space,
)

Array = NDArray[np.float64]
State = dict[str, Array]
Ready = tuple[ModuleType, dict[str, Any]]  # a module, and what its run is given

TOLERANCE = 0.1
_CELLS = {1: 48, 2: 30, 3: 18}  # of the coarsest grid along an axis, by axes
_FINER = 4 / 3
_GRIDS = {1: 7, 2: 4, 3: 3}  # at most, by axes
_TIMES = (40.0, 10.0, 2.5, 0.6)  # of the runs on grids, in units of the fastest rate
_SMALL = 0.01  # an error beside z_m of size 1
_GROWTH = 10.0  # of an error during a run, at most
_HIGH_ORDER = "rk4"  # for grids: the time is to add nothing
_ROUNDING = 1e-11


@dataclass(frozen=True, slots=True)
class Measured:
    """An observed order of convergence, what theory says, and the errors behind it."""

    order: float
    expected: int
    errors: tuple[float, ...]
    least: float | None = None  # at walls, if that is less

    @property
    def deviation(self) -> float:
        """How far the order is from theory; inf where it could not be had."""
        least = self.expected if self.least is None else self.least
        found = max(least - self.order, self.order - self.expected, 0.0)
        return found if math.isfinite(self.order) else math.inf

    @property
    def note(self) -> str:
        """The order and what theory says, in words."""
        least = "" if self.least is None else f", {self.least} if walls lead"
        return f"{self.order:.2f}, theory says {self.expected}{least}"


def in_time(source: Source, target: str, settings: Mapping[str, float]) -> Measured:
    """The order in Δt of the model's own scheme."""
    scheme = scheme_of(_model(source, settings))
    if scheme.steady:
        raise Unsuitable("its scheme looks for an equilibrium, which has no time")
    rate = _fastest(_made(source, settings), target)
    ends = []
    for halvings in range(3):
        # a low order shows late, a high one drowns in rounding
        pieces = 2 ** (halvings + max(0, 4 - scheme.order))
        made = _made(source, settings, steps=24 * pieces, pace=0.5 * rate)
        ends.append(_run(*_ready(made, target, scheme.name, 2.4 / rate)))
    first, second = (_distance(a, b) for a, b in pairwise(ends))
    order = math.log2(first / second) if first * second > 0.0 else math.nan
    exact = _run(*_ready(made, target, _HIGH_ORDER, 2.4 / rate))
    left = second / (2.0**scheme.order - 1.0)  # what the finest run is still off by
    if _distance(ends[-1], exact) > 3.0 * left + _ROUNDING:
        order = math.nan  # it converges, but not to the solution of the equation
    return Measured(order, scheme.order, (first, second))


def in_space(source: Source, target: str, settings: Mapping[str, float]) -> Measured:
    """The order in Δx of the model's stencils and walls."""
    coarse = _made(source, settings)
    expected, least = order_in_space(coarse.model)
    if not expected:
        raise Unsuitable("its equation has no derivatives along the grid")
    rate, highest = _fastest(coarse, target), _highest_derivative(coarse.model)

    def run(time: float, refined: int) -> tuple[float, Ready]:
        """The error on a grid, and what ran there."""
        finer = _FINER**refined
        steps = math.ceil(time * finer**highest)
        made = _made(source, settings, steps=steps, finer=finer)
        module, given = ready = _ready(made, target, _HIGH_ORDER, time / rate)
        return _distance(_run(module, given), given["z0"]), ready

    for time in _TIMES:
        (first, _), (second, ready) = run(time, 0), run(time, 1)
        growth = _growth(*ready)
        if first <= _SMALL and growth <= _GROWTH:
            break  # else the equation lets errors grow: a shorter run
    if first <= _SMALL and not growth <= _GROWTH:
        raise Unsuitable("its equation lets errors grow too fast for an order to show")
    errors, most = [first, second], _GRIDS[len(coarse.model.axes)]
    while True:
        ratio = errors[-2] / errors[-1] if errors[-1] > 0.0 else math.nan
        order = math.log(ratio) / math.log(_FINER)
        found = Measured(order, expected, tuple(errors), least)
        if found.deviation <= TOLERANCE or len(errors) == most:
            return found
        errors.append(run(time, len(errors))[0])  # these grids may be too coarse


# --- models --------------------------------------------------------------------------


def _model(source: Source, overrides: Mapping[str, float]) -> Model:
    reporter = Reporter(source)
    tree = parse_readable(source, reporter)
    with deep_recursion(source):
        return resolve(tree, source, overrides, reporter)


def _made(
    source: Source,
    settings: Mapping[str, float],
    *,
    steps: int = 0,
    pace: float = 0.0,
    finer: float = 1.0,
) -> Manufactured:
    """The manufactured model on a coarse grid, refined by a factor."""
    plain = _model(source, settings)
    cells = round(_CELLS.get(len(plain.axes), 1) * finer)
    sizes = dict.fromkeys(plain.axes, cells) | {"steps": steps or plain.steps}
    return manufacture(_model(source, {**settings, **sizes}), pace)


def _highest_derivative(model: Model) -> int:
    """By which power of 1/Δx the fastest rate grows."""
    return max(
        sum(int(p.args[2]) for p in (derivative, *derivative.args[0].atoms(Partial)))
        for derivative in derivatives(model)
    )


def _compiled(model: Model, target: str) -> ModuleType:
    with deep_recursion(model.source):
        derivation = derive_all(model, discretise(model))
        text = emit(derivation, target=TARGETS[target], options={})
    return module_of(Compilation(derivation, text, ""))


# --- runs ----------------------------------------------------------------------------


def _fastest(made: Manufactured, target: str) -> float:
    """The largest |eigenvalue| of ∂F/∂z at the solution, by power iteration."""
    single = replace(clocked(made.model, scheme="euler", dt=1.0), steps=1)
    module = _compiled(single, target)
    given = _arguments(module, made)
    rng = np.random.default_rng(0)
    v = {n: rng.standard_normal(z.shape) for n, z in given["z0"].items()}
    sizes = []
    for _ in range(40):
        after = _by_name(_called(module, "jvp", given, dz0=_pack(v)), v)
        v = {n: after[n] - x for n, x in v.items()}
        sizes.append(math.sqrt(sum(float(np.vdot(x, x)) for x in v.values())))
        if not math.isfinite(sizes[-1]):
            raise Unsuitable("its right-hand side is not finite there")
        if sizes[-1] == 0.0:
            return 1.0
        v = {n: x / sizes[-1] for n, x in v.items()}
    # the mean of several, because in a wave two fields take turns
    size = math.exp(sum(map(math.log, sizes[-20:])) / 20.0)
    return max(1.2 * size, 1.0)


def _ready(made: Manufactured, target: str, scheme: str, time: float) -> Ready:
    """The module of a run over a time, and what it is given."""
    dt = time / made.model.steps
    module = _compiled(clocked(made.model, scheme=scheme, dt=dt), target)
    return module, _arguments(module, made)


def _run(module: ModuleType, given: dict[str, Any]) -> State:
    """The state at the end of a run."""
    with np.errstate(all="ignore"):
        zT = _called(module, "forward", given, check="off")
    return _by_name(zT, given["z0"])


def _growth(module: ModuleType, given: dict[str, Any]) -> float:
    """By which factor a run lets a random error grow."""
    rng = np.random.default_rng(0)
    errors = {n: rng.standard_normal(z.shape) for n, z in given["z0"].items()}
    with np.errstate(all="ignore"):
        after = _called(module, "jvp", given, dz0=_pack(errors))
    return _size(_by_name(after, errors)) / _size(errors)


def _arguments(module: ModuleType, made: Manufactured) -> dict[str, Any]:
    """Parameters, initial state and inputs of the manufactured run."""
    params = module._on_host(module.init_params(0, np.float64))
    for name in params:
        variable = module.MODEL.params[name]
        if made.given[name] is not sympy.nan:
            params[name] = _sampled(made.given[name], made.model, variable)
        elif variable.init[0] in ("normal", "uniform"):
            params[name] = _well_posed(variable)
    inputs = {
        name: _sampled(made.given[name], made.model, variable)
        for name, variable in module.MODEL.inputs.items()
    }
    z0 = {
        name: _sampled(expr, made.model, module.MODEL.fields[name])[None]
        for name, expr in made.solution.items()
    }
    return {"p": params, "z0": z0, "inputs": inputs}


def _well_posed(variable: Any) -> Array:
    """Values for a random array of channels that are the same for any grid and steps.

    A square matrix is positive: a random one could be a diffusion of -1.
    """
    kind, mean, swing = variable.init
    if kind == "uniform":
        mean, swing = (mean + swing) / 2, (swing - mean) / 2
    shape = variable.shape[int(variable.axes[0] == "t") :]
    rows, columns = (1, 1, *shape)[-2:]
    if rows == columns:
        s = np.sin(1.0 + np.arange(rows))
        found = 0.5 * (abs(mean) + swing) * (np.eye(rows) + 0.2 * np.outer(s, s))
        return np.broadcast_to(found, variable.shape)
    waves = np.sin(1.0 + np.arange(math.prod(shape))).reshape(shape)
    found = np.clip(mean + swing * waves, variable.low, variable.high)
    return np.broadcast_to(found, variable.shape)


def _sampled(expr: sympy.Expr, model: Model, variable: Any) -> Array:
    """The values of an expression at t = 0 on the axes of an array of the module."""
    points: dict[sympy.Symbol, Any] = {NOW: np.asarray(0.0)}
    channel = 0
    for place, (axis, size) in enumerate(
        zip(variable.axes, variable.shape, strict=True)
    ):
        behind = (1,) * (len(variable.shape) - place - 1)
        index = np.arange(size, dtype=float).reshape(size, *behind)
        if axis in model.axes:
            grid = model.axes[axis]
            low = grid.low + (0.0 if grid.periodic else 0.5 * grid.spacing)
            points[Access(axis, ((axis, 0),))] = low + grid.spacing * index
        elif axis != "t":
            points[IndexValue(f"i{channel}")] = index
            channel += 1
    values = np.asarray(sample(expr, points), np.float64)
    return np.broadcast_to(values, variable.shape).copy()


def _called(
    module: ModuleType, function: str, given: dict[str, Any], **more: Any
) -> Any:
    """What a function of the module returns, as arrays of NumPy."""
    arguments = {**given, "z0": _pack(given["z0"]), **more}
    return module._on_host(getattr(module, function)(**module._handed_out(arguments)))


def _pack(state: State) -> Any:
    return next(iter(state.values())) if len(state) == 1 else state


def _by_name(value: Any, like: State) -> State:
    return value if isinstance(value, dict) else {next(iter(like)): value}


def _distance(a: State, b: State) -> float:
    """The root of the mean square of all differences."""
    return _size({name: a[name] - b[name] for name in a})


def _size(state: State) -> float:
    """The root of the mean square of all numbers."""
    squares = [np.mean(values**2) for values in state.values()]
    return math.sqrt(float(np.mean(squares)))
