"""A first look at a compiled model in numbers: which parameters cannot start to learn.

A parameter whose gradient is zero for random data, in every entry, at the initial
values has a structurally vanishing first gradient: in ``h = P z``, ``logits = A h``
with P = 0 and A = 0, neither moves.  ``pdec check`` runs this.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

MAX_WORK = 2e8


def vanishing_gradients(module: ModuleType) -> list[str]:
    """Names of the parameters whose gradient vanishes at the initial parameters.

    Empty where the model has no loss, or where one step on two samples would be slow.
    """
    model: Any = module.MODEL
    cells = sum(int(np.prod(field.shape)) for field in model.fields.values())
    if not hasattr(module, "value_and_grad") or cells * model.steps > MAX_WORK:
        return []
    rng = np.random.default_rng(0)
    dtype = np.dtype(model.dtype)
    inputs = _by_name(model.inputs, rng, dtype)
    arguments: dict[str, Any] = {"y": _bare(_by_name(model.targets, rng, dtype))}
    if inputs:
        arguments["inputs"] = inputs
    if not _starts_itself(module):
        arguments["z0"] = _bare(_by_name(model.fields, rng, dtype))
    params = module.init_params(seed=0)
    with np.errstate(all="ignore"):
        _, grads = module.value_and_grad(params, **arguments, check="off")
    return [name for name, grad in grads.items() if not np.any(grad)]


def _starts_itself(module: ModuleType) -> bool:
    """Whether the model says how its state begins."""
    return hasattr(module, "_initial")


def _by_name(
    variables: dict[str, Any], rng: np.random.Generator, dtype: np.dtype[Any]
) -> dict[str, Any]:
    """Two random samples of each variable."""
    found: dict[str, Any] = {}
    for name, variable in variables.items():
        if variable.classes:
            found[name] = rng.integers(variable.classes, size=2)
        else:
            found[name] = rng.uniform(0.1, 0.9, (2, *variable.shape)).astype(dtype)
    return found


def _bare(values: dict[str, Any]) -> Any:
    """A single array as itself, several by name, none as None."""
    if not values:
        return None
    return next(iter(values.values())) if len(values) == 1 else values
