"""The public functions of a generated module: they validate, run and pack."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from pdec.runtime.checks import (
    _check_state,
    _check_tangents,
    _check_targets,
    _check_wrt,
    _pack,
    _prepare,
)
from pdec.runtime.generated import (
    MODEL,
    _coefficients_jvp,
    _penalty,
    stability,
)
from pdec.runtime.numpy_driver import (
    _final_state,
    _loss_gradients,
    _losses,
    _pull_back,
    _readouts,
    _snapshots,
    _tangent,
)
from pdec.runtime.types import (
    Array,
    Arrays,
    StabilityError,
    StabilityWarning,
    State,
    Variable,
)

# --- running the model ---------------------------------------------------------------

# In every function below: p is a dict of arrays by name, as init_params returns it; z0
# is an array (batch, *shape), or a dict of such arrays if the model has several fields,
# and is left out where the model says how the state begins (at t = 0); inputs is a dict
# of arrays, with or without the batch axis. All have one dtype, float32 or float64, and
# so has the run. Arguments are validated first (TypeError, ValueError), never modified.


def init_params(seed: int = 0, dtype: DTypeLike | None = None) -> Arrays:
    """Return initial parameters; dtype is the model's unless given.

    Every parameter has a random stream of its own, so that adding one changes no other.
    """
    kind = np.dtype(MODEL.dtype if dtype is None else dtype)
    if kind not in (np.float32, np.float64):
        raise TypeError(f"dtype is {kind}, expected float32 or float64")
    p = {}
    for name, variable in MODEL.params.items():
        rng = np.random.default_rng([seed, *name.encode()])
        p[name] = _draw(variable, rng).astype(kind)
    return p


def forward(
    p: Arrays,
    z0: State = None,
    *,
    inputs: Mapping[str, Array] | None = None,
    check: Literal["raise", "warn", "off"] = "raise",
) -> State:
    """Return the state after all steps, shaped like z0.

    With check="raise", a run whose growth is known to be numerical raises a
    StabilityError, and one only suspected of it warns; "warn" warns of both.
    """
    run = _prepare(p, z0, inputs)
    _guard(p, check)
    return _pack(_final_state(run), MODEL.fields)


def trajectory(
    p: Arrays,
    z0: State = None,
    *,
    inputs: Mapping[str, Array] | None = None,
    every: int = 1,
) -> State:
    """Return the states after 0, every, 2 every, … steps and after the last one.

    The result is (snapshots, batch, *shape). The last snapshot is the final state, even
    if `every` does not divide the number of steps.
    """
    if int(every) != every or every < 1:
        raise ValueError(f"every is {every!r}, expected a whole number of steps >= 1")
    run = _prepare(p, z0, inputs)
    return _pack(_snapshots(run, int(every)), MODEL.fields)


# [feature: readout]
def predict(
    p: Arrays,
    z0: State = None,
    *,
    inputs: Mapping[str, Array] | None = None,
) -> State:
    """Return the readouts of the final state, (batch, *shape); a dict if several."""
    run = _prepare(p, z0, inputs)
    return _pack(_readouts(run), MODEL.readouts)


# [end]
# --- gradients -----------------------------------------------------------------------


def vjp(
    p: Arrays,
    z0: State = None,
    *,
    inputs: Mapping[str, Array] | None = None,
    wrt: tuple[str, ...] | None = None,
) -> tuple[State, Callable[[State], Any]]:
    """Return the final state zT and its pullback: dp, dz0 = pullback(dzT).

    wrt names what pullback returns, in that order: "params" (a dict like p), "z0" (like
    z0), "inputs" (a dict by name); a single entry is returned bare. The default is
    ("params", "z0"), or ("params", "inputs") where the model begins the state itself.
    pullback may be called any number of times: p, z0 and inputs are copied here.
    """
    entries = _check_wrt(wrt)
    run = _prepare(p, z0, inputs, copy=True)

    def pullback(dzT: State) -> Any:
        zT_bar = _check_state(dzT, "dzT", run.dtype, run.batch)
        grads = _pull_back(run, zT_bar)
        chosen = tuple(grads[entry] for entry in entries)
        return chosen if len(chosen) > 1 else chosen[0]

    return _pack(_final_state(run), MODEL.fields), pullback


def jvp(
    p: Arrays,
    z0: State = None,
    dp: Arrays | None = None,
    dz0: State = None,
    *,
    inputs: Mapping[str, Array] | None = None,
    dinputs: Mapping[str, Array] | None = None,
) -> State:
    """Return the tangent of the final state along (dp, dz0, dinputs); None is zero."""
    run = _prepare(p, z0, inputs)
    run_dot = _check_tangents(run, dp, dz0, dinputs)
    _coefficients_jvp(run.c, run_dot.c)
    return _pack(_tangent(run, run_dot), MODEL.fields)


# [feature: loss]
def loss(
    p: Arrays,
    z0: State = None,
    y: State = None,
    *,
    inputs: Mapping[str, Array] | None = None,
) -> float:
    """Return the mean over the batch of the loss; y is as in value_and_grad."""
    run = _prepare(p, z0, inputs)
    targets = _check_targets(y, run.dtype, run.batch)
    return _mean_loss(run.c, _losses(run, targets))


def value_and_grad(
    p: Arrays,
    z0: State = None,
    y: State = None,
    *,
    inputs: Mapping[str, Array] | None = None,
    wrt: tuple[str, ...] = ("params",),
    check: Literal["raise", "warn", "off"] = "warn",
) -> tuple[float, Any]:
    """Return the mean over the batch of the loss, and its gradient.

    y is the target, an array (batch, *shape), or a dict of arrays if there are several.
    Where the model begins the state itself: value_and_grad(p, y=y, inputs=inputs).

    wrt names what the gradient is taken of: "params" (a dict like p), "z0" (like z0),
    "inputs" (a dict by name). One entry is returned bare, several as a dict by entry.
    """
    entries = _check_wrt(wrt)
    run = _prepare(p, z0, inputs)
    targets = _check_targets(y, run.dtype, run.batch)
    _guard(p, check)
    losses, grads = _loss_gradients(run, targets)
    chosen = {entry: grads[entry] for entry in entries}
    mean = _mean_loss(run.c, losses)
    return mean, chosen if len(chosen) > 1 else chosen[entries[0]]


def _mean_loss(c: Arrays, losses: Array) -> float:
    """Average the losses of the samples, and add the terms in parameters alone."""
    mean = float(np.sum(losses)) / len(losses)
    # [feature: penalty]
    mean += float(_penalty(c))
    # [end]
    return mean


# [end]
# --- helpers of the public functions -------------------------------------------------


def _draw(variable: Variable, rng: np.random.Generator) -> Array:
    """Draw the initial value of a parameter, in float64."""
    kind, a, b = variable.init
    if kind == "normal":
        drawn = rng.normal(a, b, variable.shape)
        return np.asarray(np.clip(drawn, variable.low, variable.high))
    if kind == "uniform":
        return np.asarray(rng.uniform(a, b, variable.shape))
    if kind == "diagonal":
        first = int(variable.axes[0] == "t")
        rows, columns, *rest = variable.shape[first:]
        matrix = a * np.eye(rows, columns).reshape(rows, columns, *(1 for _ in rest))
        return np.broadcast_to(matrix, variable.shape).copy()
    return np.full(variable.shape, a)


def _guard(p: Arrays, check: str) -> None:
    """Refuse, or warn of, a run that is numerically unstable."""
    if check not in ("raise", "warn", "off"):
        raise ValueError(f'check is {check!r}, expected "raise", "warn" or "off"')
    if check == "off":
        return
    report = stability(p)
    if report.numerical != "unstable":
        return
    known = report.basis == "exact"
    text = f"{MODEL.name}: this run {'is' if known else 'may be'} numerically unstable"
    if report.omega_max is not None:
        text += f"; the largest stable ω is {report.omega_max:.6g}"
    text += f'. Pass check="off" to run it all the same.\n{report}'
    if known and check == "raise":
        raise StabilityError(text)
    if report.basis not in _WARNED:
        _WARNED.add(report.basis)
        warnings.warn(text, StabilityWarning, stacklevel=3)


# the bases of the verdicts that were warned of: once for each is enough in training
_WARNED: set[str] = set()
