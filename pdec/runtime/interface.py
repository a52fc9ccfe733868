"""The public functions of a generated module: they validate, run and pack."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from pdec.runtime.checkpoints import Checkpoint, _slots
from pdec.runtime.checks import (
    _check_state,
    _check_tangents,
    _check_targets,
    _check_wrt,
    _no_targets,
    _pack,
    _prepare,
    _Run,
)
from pdec.runtime.generated import (
    MODEL,
    _coefficients_jvp,
    _penalty,
)
from pdec.runtime.host import _handed_out
from pdec.runtime.numpy.driver import (
    _loss_gradients,
    _pull_back,
    _readouts,
    _tangent,
)
from pdec.runtime.stepping import (
    _final_state,
    _first_not_finite,
    _losses,
    _losses_along,
    _settled_state,
    _snapshots,
)
from pdec.runtime.types import Array, Arrays, State, Variable
from pdec.runtime.verdict.watch import _guard

# --- running the model ---------------------------------------------------------------

# In every function below: p is a dict of arrays by name, as init_params returns it; z0
# is an array (batch, *shape), or a dict of such arrays if the model has several fields,
# and is left out where the model says how the state begins (at t = 0); inputs is a dict
# of arrays, with or without the batch axis. All have one dtype, float32 or float64, and
# so has the run. Arguments are validated first (TypeError, ValueError), never modified.
# A result that is not finite is warned of (RuntimeWarning), which NumPy's own
# np.errstate(invalid="ignore") silences.


class Attractor(NamedTuple):
    """Where each sample settled: z0's shape for state, (batch,) for step and reached.

    step is the number of steps after which the state is `state`; reached is False for a
    sample that did not settle, whose state is that after all steps.
    """

    state: State
    step: Array
    reached: Array


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
        p[name] = _handed_out(_draw(variable, rng).astype(kind))
    return p


def forward(
    p: Arrays,
    z0: State = None,
    *,
    inputs: Mapping[str, Array] | None = None,
    until: float | None = None,
    check: Literal["raise", "warn", "off"] = "raise",
) -> State | Attractor:
    """Return the state after all steps, shaped like z0.

    With until=tol, each sample stops where it settles, at a local attractor: after the
    first step that changes no value of its fields by more than tol max(1, largest |z|),
    nor by more than the step before. The result is an Attractor. The change is that of
    a step, which ω or dt scales: z is then about tol/ω away from what it relaxes to.

    With check="raise", a run whose growth is known to be numerical raises a
    StabilityError, and one only suspected of it warns; "warn" warns of both.
    """
    run = _prepare(p, z0, inputs)
    if until is not None and not 0.0 <= until < math.inf:
        raise ValueError(f"until is {until!r}, expected a tolerance, a number >= 0")
    _guard(p, run, check)
    if until is not None:
        z, step, reached = _settled_state(run, float(until))
        _warn_unless_finite(run, z)
        return Attractor(_pack(z, MODEL.fields), step, reached)
    zT = _final_state(run)
    _warn_unless_finite(run, zT)
    return _pack(zT, MODEL.fields)


def trajectory(
    p: Arrays,
    z0: State = None,
    *,
    # [feature: loss]
    y: State = None,
    # [end]
    inputs: Mapping[str, Array] | None = None,
    every: int = 1,
) -> State:
    """Return the states after 0, every, 2 every, … steps and after the last one.

    The result is (snapshots, batch, *shape). The last snapshot is the final state, even
    if `every` does not divide the number of steps.
    # [feature: loss]

    With targets y, the result is (states, losses): losses[i] is what `loss` would be if
    the run ended with that snapshot, so that the best depth can be read off. (y={}
    where the loss has no target.)
    # [end]
    """
    if int(every) != every or every < 1:
        raise ValueError(f"every is {every!r}, expected a whole number of steps >= 1")
    run = _prepare(p, z0, inputs)
    # [feature: every]
    _no_targets(y)
    # [end]
    # [feature: loss]
    targets = None if y is None else _check_targets(y, run.dtype, run.batch)
    # [end]
    snapshots = _snapshots(run, int(every))
    _warn_unless_finite(run, {name: z[-1] for name, z in snapshots.items()})
    states = _pack(snapshots, MODEL.fields)
    # [feature: loss]
    if targets is not None:
        along = _losses_along(run, snapshots, targets)
        means = np.array([_mean_loss(run.c, losses) for losses in along])
        return states, _handed_out(means)
    # [end]
    return states


# [feature: readout]
def predict(
    p: Arrays,
    z0: State = None,
    *,
    inputs: Mapping[str, Array] | None = None,
) -> State:
    """Return the readouts of the final state, (batch, *shape); a dict if several."""
    run = _prepare(p, z0, inputs)
    readouts = _readouts(run)
    _warn_unless_finite(run, readouts)
    return _pack(readouts, MODEL.readouts)


# [end]
# --- gradients -----------------------------------------------------------------------


def vjp(
    p: Arrays,
    z0: State = None,
    *,
    inputs: Mapping[str, Array] | None = None,
    wrt: tuple[str, ...] | None = None,
    checkpoint: Checkpoint = "all",
) -> tuple[State, Callable[[State], Any]]:
    """Return the final state zT and its pullback: dp, dz0 = pullback(dzT).

    wrt names what pullback returns, in that order: "params" (a dict like p), "z0" (like
    z0), "inputs" (a dict by name); a single entry is returned bare. The default is
    ("params", "z0"), or ("params", "inputs") where the model begins the state itself.
    pullback may be called any number of times: p, z0 and inputs are copied here.
    checkpoint is how many states it keeps: see value_and_grad.
    """
    entries, slots = _check_wrt(wrt), _slots(checkpoint)
    run = _prepare(p, z0, inputs, copy=True)

    def pullback(dzT: State) -> Any:
        zT_bar = _check_state(dzT, "dzT", run.dtype, run.batch)
        grads = _pull_back(run, zT_bar, slots)
        chosen = tuple(grads[entry] for entry in entries)
        return chosen if len(chosen) > 1 else chosen[0]

    zT = _final_state(run)
    _warn_unless_finite(run, zT)
    return _pack(zT, MODEL.fields), pullback


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
    losses = _losses(run, targets)
    _warn_unless_finite(run, {"loss": losses})
    return _mean_loss(run.c, losses)


def value_and_grad(
    p: Arrays,
    z0: State = None,
    y: State = None,
    *,
    inputs: Mapping[str, Array] | None = None,
    wrt: tuple[str, ...] = ("params",),
    checkpoint: Checkpoint = "all",
    check: Literal["raise", "warn", "off"] = "warn",
) -> tuple[float, Any]:
    """Return the mean over the batch of the loss, and its gradient.

    y is the target, an array (batch, *shape), or a dict of arrays if there are several.
    Where the model begins the state itself: value_and_grad(p, y=y, inputs=inputs).

    wrt names what the gradient is taken of: "params" (a dict like p), "z0" (like z0),
    "inputs" (a dict by name). One entry is returned bare, several as a dict by entry.

    checkpoint says how many states the way back keeps: "all" of them; "sqrt", about
    √(2 steps), which runs each step twice at most; or a number k, down to 1, which runs
    them more often. The result is the same to the last bit.
    """
    entries, slots = _check_wrt(wrt), _slots(checkpoint)
    run = _prepare(p, z0, inputs)
    targets = _check_targets(y, run.dtype, run.batch)
    _guard(p, run, check)
    losses, grads = _loss_gradients(run, targets, slots)
    _warn_unless_finite(run, {"loss": losses})
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


def _warn_unless_finite(run: _Run, results: Arrays) -> None:
    """Say after which step a run blew up; results are (batch, *shape) by name."""
    if np.geterr()["invalid"] == "ignore":
        return
    for name, values in results.items():
        wrong = ~np.isfinite(values).reshape(run.batch, -1).all(axis=1)
        if not wrong.any():
            continue
        sample = int(np.argmax(wrong))
        n = _first_not_finite(run, sample)
        what = f"not finite after step {n} of {MODEL.steps}"
        if n is None:
            what = f"finite after every step, but its {name} is not"
        text = f"{MODEL.name}: the state of sample {sample} is {what}"
        if wrong.sum() > 1:
            text += f" ({wrong.sum()} of the {run.batch} samples fail)"
        warnings.warn(text, RuntimeWarning, stacklevel=3)
        return


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
