"""Validation: what the user passes becomes a _Run, or one clear sentence."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdec.runtime.generated import _WALLS, MODEL, _coefficients
from pdec.runtime.host import _is_array, _on_host, _taken
from pdec.runtime.types import Array, Arrays, State, Variable

# --- validation ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Run:
    """A validated call: what its tiles read and never write (or its tangents).

    c holds the parameters and what is combined from them; z0 the fields, (batch,
    *shape), or nothing where the model begins the state itself; inputs are with or
    without the batch axis.
    """

    dtype: np.dtype[Any]
    batch: int
    c: Arrays
    z0: Arrays
    inputs: Arrays


# what gradients are taken of
# [feature: initial]
_ENTRIES: tuple[str, ...] = ("params", "inputs")
# [end]
# [feature: not initial]
_ENTRIES = ("params", "z0", "inputs")
# [end]


def _prepare(
    p: Arrays,
    z0: State,
    inputs: Mapping[str, Array] | None,
    *,
    copy: bool = False,
) -> _Run:
    """Validate what a run reads, and combine the parameters."""
    dtype = _common_dtype(p)
    c = _check_params(p, "p", dtype)
    given = _check_inputs(inputs, "inputs", dtype)
    # [feature: initial]
    state = _no_state(z0, "z0")
    # [end]
    # [feature: not initial]
    state = _check_state(z0, "z0", dtype, None)
    # [end]
    batch = _common_batch(state, given)
    if copy:
        c, state, given = _copied(c), _copied(state), _copied(given)
    # [feature: not at_risk]
    _coefficients(c)
    # [end]
    # [feature: at_risk]
    with np.errstate(divide="ignore", invalid="ignore"):
        _coefficients(c)
    _check_walls(c, dtype)
    # [end]
    return _Run(dtype, batch, c, state, given)


# [feature: at_risk]
def _check_walls(c: Arrays, dtype: np.dtype[Any]) -> None:
    """Refuse parameters that leave a boundary condition without a solution."""
    largest = 0.01 / np.finfo(dtype).eps
    for name, (condition, *params) in _WALLS.items():
        if not np.all(np.abs(c[name]) <= largest):
            values = " and ".join(f"p[{key!r}] = {c[key]}" for key in params)
            raise ValueError(
                f"{values}: the boundary condition `{condition}` has no solution "
                "on this grid, because its coefficients cancel"
            )


# [end]
def _check_tangents(run: _Run, dp: Any, dz0: State, dinputs: Any) -> _Run:
    """Validate the tangents of what a run reads; None stands for zeros."""
    like = {name: run.c[name] for name in MODEL.params}
    dp = _zeros(like) if dp is None else _check_params(dp, "dp", run.dtype)
    # [feature: initial]
    z_dot = _no_state(dz0, "dz0")
    # [end]
    # [feature: not initial]
    z_dot = _zeros(run.z0)
    if dz0 is not None:
        z_dot = _check_state(dz0, "dz0", run.dtype, run.batch)
    # [end]
    inputs_dot = _zeros(run.inputs)
    if dinputs is not None:
        inputs_dot = _check_inputs(dinputs, "dinputs", run.dtype)
    for name, x_dot in inputs_dot.items():
        if x_dot.shape != run.inputs[name].shape:
            raise ValueError(
                f"dinputs[{name!r}] has shape {x_dot.shape}, "
                f"expected that of the input, {run.inputs[name].shape}"
            )
    return _Run(run.dtype, run.batch, dp, z_dot, inputs_dot)


def _check_params(p: Any, label: str, dtype: Any, *, finite: bool = True) -> Arrays:
    """Return the parameters by name, each of its own shape and the common dtype.

    They are arrays of NumPy: what all samples share is combined on the CPU.
    """
    values = _named(p, MODEL.params, label)
    for name, value in values.items():
        variable = MODEL.params[name]
        here = f"{label}[{name!r}]"
        values[name] = _on_host(_check_array(value, here, dtype, finite=finite))
        if values[name].shape != variable.shape:
            raise ValueError(
                f"{here} has shape {values[name].shape}, "
                f"expected {variable.shape}{_axes(variable.axes)}"
            )
    return values


# [feature: initial]
def _no_state(z: State, label: str) -> Arrays:
    """Refuse an initial state, because the model begins the state itself."""
    if z is not None:
        raise TypeError(
            f"leave {label} out: {MODEL.name} says how the state begins, at t = 0"
        )
    return {}


# [end]
def _check_state(z: State, label: str, dtype: Any, batch: int | None) -> Arrays:
    """Return the fields of a state by name, with one batch size, that of the run."""
    fields = _by_name(z, MODEL.fields, label)
    for name, value in fields.items():
        here = _label(label, name, MODEL.fields)
        fields[name] = _check_array(value, here, dtype)
        _check_batch(fields[name], here, MODEL.fields[name], batch)
        batch = fields[name].shape[0]
    return fields


def _check_inputs(inputs: Any, label: str, dtype: Any) -> Arrays:
    """Return the inputs by name, each with or without the batch axis."""
    values = _named({} if inputs is None else inputs, MODEL.inputs, label)
    for name, value in values.items():
        here = f"{label}[{name!r}]"
        values[name] = _check_array(value, here, dtype)
        if values[name].shape != MODEL.inputs[name].shape:
            _check_batch(values[name], here, MODEL.inputs[name], None)
    return values


# [feature: loss]
def _check_targets(y: State, dtype: Any, batch: int) -> Arrays:
    """Return the targets by name, one for each sample of the batch."""
    targets = _by_name(y, MODEL.targets, "y") if MODEL.targets else {}
    for name, value in targets.items():
        variable = MODEL.targets[name]
        here = _label("y", name, MODEL.targets)
        # [feature: classes]
        if variable.classes:
            targets[name] = _check_labels(value, here, variable, batch)
            continue
        # [end]
        targets[name] = _check_array(value, here, dtype)
        _check_batch(targets[name], here, variable, batch)
    return targets


# [end]
# [feature: every]
def _no_targets(y: State) -> None:
    """Refuse targets where a loss of one depth is asked for."""
    if y is not None:
        raise TypeError(
            f"leave y out: the targets of {MODEL.name} are compared along the way, "
            "so there is no loss of one depth"
        )


# [end]
# [feature: classes]
def _check_labels(value: Any, label: str, variable: Variable, batch: int) -> Array:
    """Return a target of classes: integers from 0 to classes - 1."""
    labels = _taken(value, label, "an array of classes", f"np.asarray({label})")
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"{label} has dtype {labels.dtype}, expected integers, the classes "
            f"0 to {variable.classes - 1}; convert with {label}.astype(np.int64)"
        )
    _check_batch(labels, label, variable, batch)
    wrong = (labels < 0) | (labels >= variable.classes)
    if wrong.any():
        index = _first(wrong)
        raise ValueError(
            f"{label} has class {labels[index]} at index {_shown(index)}, "
            f"expected 0 to {variable.classes - 1}"
        )
    return labels


# [end]
def _step_given(omega: Any) -> float:
    """Return the length of a step that the user passed, if it is one."""
    number = isinstance(omega, int | float | np.number) and not isinstance(omega, bool)
    if not number or not 0.0 < float(omega) < float("inf"):
        raise ValueError(f"omega is {omega!r}, expected a number > 0")
    return float(omega)


def _check_wrt(wrt: Any) -> tuple[str, ...]:
    """Return the entries to differentiate with respect to; None is the first two."""
    if wrt is None:
        return _ENTRIES[:2]
    entries = (wrt,) if isinstance(wrt, str) else tuple(wrt)
    if not entries or len(set(entries)) < len(entries):
        raise ValueError(f"wrt is {wrt!r}, expected different names out of {_ENTRIES}")
    for entry in entries:
        if entry not in _ENTRIES:
            raise ValueError(f"wrt has {entry!r}, expected names out of {_ENTRIES}")
    return entries


def _common_dtype(p: Any) -> np.dtype[Any]:
    """Return the dtype of the first parameter, which all others must have too."""
    first = next(iter(MODEL.params), None)
    value = p.get(first) if isinstance(p, Mapping) else None
    if first is None or not _is_array(value):
        return np.dtype(MODEL.dtype)  # _check_params says what is wrong, if anything
    value = _taken(value, f"p[{first!r}]", "an array", "one")
    if value.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"p[{first!r}] has dtype {value.dtype}, expected float32 or float64; "
            f"convert with p[{first!r}].astype(np.{MODEL.dtype})"
        )
    return np.dtype(value.dtype)


def _common_batch(z0: Arrays, inputs: Arrays) -> int:
    """Return the batch size that the fields and the inputs with a batch axis share."""
    batches = {}
    if z0:
        batches["z0"] = len(next(iter(z0.values())))
    for name, x in inputs.items():
        if x.ndim > len(MODEL.inputs[name].shape):
            batches[f"inputs[{name!r}]"] = len(x)
    first = next(iter(batches), "")
    for label, batch in batches.items():
        if batch != batches[first]:
            raise ValueError(
                f"{label} has a batch of {batch}, "
                f"but {first} has a batch of {batches[first]}"
            )
    return batches.get(first, 1)


# --- helpers of validation -----------------------------------------------------------


def _by_name(value: State, variables: Mapping[str, Variable], label: str) -> Arrays:
    """Return arrays by name, from a dict or, if there is one variable, its array."""
    if value is None:
        raise TypeError(f"{label} is missing; the model has {', '.join(variables)}")
    if len(variables) == 1 and not isinstance(value, Mapping):
        return {next(iter(variables)): value}
    return _named(value, variables, label)


def _named(value: Any, variables: Mapping[str, Variable], label: str) -> Arrays:
    """Return a new dict in the model's order, of exactly the names that it declares."""
    if not isinstance(value, Mapping):
        names = ", ".join(variables)
        raise TypeError(
            f"{label} is of type {type(value).__name__}, "
            f"expected a dict of arrays by name: {names or 'none'}"
        )
    for name in value:
        if name not in variables:
            raise ValueError(f"{label} has unknown {name!r}{_nearest(name, variables)}")
    for name in variables:
        if name not in value:
            every = ", ".join(f"{key!r}: …" for key in variables)
            given, remedy = ", ".join(value), f": pass {label}={{{every}}}"
            has = f"; it has {given}" if given else remedy
            raise ValueError(f"{label} lacks {name!r}{has}")
    return {name: value[name] for name in variables}


def _nearest(name: Any, variables: Mapping[str, Variable]) -> str:
    """Suggest the declared name that was meant."""
    spellings = {variable.spelling: key for key, variable in variables.items()}
    if str(name) in spellings:
        return f"; write {spellings[str(name)]!r}"
    folded = {key.lower(): key for key in variables}
    close = difflib.get_close_matches(str(name).lower(), folded, n=1)
    if close:
        return f"; did you mean {folded[close[0]]!r}?"
    return f"; the model has {', '.join(variables) or 'none'}"


def _check_array(value: Any, label: str, dtype: Any, *, finite: bool = True) -> Array:
    """Return the array if it is one, of this dtype, with finite values."""
    array = _taken(value, label, "an array", f"np.asarray({label}, dtype=np.{dtype})")
    if array.dtype != dtype:
        raise TypeError(
            f"{label} has dtype {array.dtype}, expected {dtype} like the parameters; "
            f"convert with {label}.astype(np.{dtype})"
        )
    if finite and not np.isfinite(array).all():
        index = _first(~np.isfinite(array))
        raise ValueError(f"{label} is {array[index]} at index {_shown(index)}")
    return array


def _check_batch(
    array: Array, label: str, variable: Variable, batch: int | None
) -> None:
    """Refuse an array that is not (batch, *shape), or is of no samples."""
    shape = variable.shape
    if array.shape[1:] == shape and array.ndim > 0:
        if array.shape[0] == 0:
            raise ValueError(f"{label} is an empty batch, expected at least one sample")
        if batch not in (None, array.shape[0]):
            raise ValueError(
                f"{label} has a batch of {array.shape[0]}, expected {batch}"
            )
        return
    expected = _shown(("batch", *shape))
    if array.shape == shape:
        remedy = f"; for one sample pass {label}[None]"
    else:
        remedy = _axes(("batch", *variable.axes))
    raise ValueError(f"{label} has shape {array.shape}, expected {expected}{remedy}")


def _label(label: str, name: str, variables: Mapping[str, Variable]) -> str:
    """Write a variable as the user does: z0, or z0['u'] if there are several."""
    return label if len(variables) == 1 else f"{label}[{name!r}]"


def _axes(axes: tuple[str, ...]) -> str:
    return f", with axes {_shown(axes)}" if axes else ""


def _shown(entries: tuple[Any, ...]) -> str:
    """Write a tuple without the quotes of its strings: (batch, 128)."""
    inner = ", ".join(str(entry) for entry in entries)
    return f"({inner},)" if len(entries) == 1 else f"({inner})"


def _first(mask: Array) -> tuple[int, ...]:
    """Return the index of the first True."""
    return tuple(int(i) for i in np.argwhere(mask)[0])


def _copied(arrays: Arrays) -> Arrays:
    return {name: array.copy() for name, array in arrays.items()}


def _zeros(like: Arrays) -> Arrays:
    return {name: np.zeros_like(array) for name, array in like.items()}


def _pack(arrays: Arrays, variables: Mapping[str, Variable]) -> State:
    """Return a single array bare, several as a dict by name."""
    return arrays[next(iter(variables))] if len(variables) == 1 else arrays
