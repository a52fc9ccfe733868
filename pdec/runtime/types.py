"""What describes a model inside its generated module; pasted before the mathematics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

# --- types ---------------------------------------------------------------------------

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = dict[str, NDArray[Any]]

# an array, or a dict of arrays by name where the model has several fields or targets
State: TypeAlias = Any


@dataclass(frozen=True)
class Variable:
    """A field, parameter, input, target or readout, without the batch axis.

    init is ("constant", value, 0), ("diagonal", value, 0) for a multiple of the unit
    matrix, ("normal", mean, deviation) or ("uniform", low, high). classes is the number
    of classes of a target of labels, 0 for real values.
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    spelling: str
    doc: str = ""
    low: float = float("-inf")
    high: float = float("inf")
    init: tuple[str, float, float] = ("constant", 0.0, 0.0)
    classes: int = 0


@dataclass(frozen=True)
class Model:
    """The model that this module computes, and how it was compiled.

    omega is the relaxation parameter: a number, the name of the parameter that holds
    it, or None where the equation is not a relaxation.
    """

    name: str
    doc: str
    equation: str
    source: str
    source_hash: str
    pdec_version: str
    target: str
    options: Mapping[str, str]
    dtype: str
    steps: int
    omega: float | str | None
    dims: Mapping[str, int]
    fields: Mapping[str, Variable]
    params: Mapping[str, Variable]
    inputs: Mapping[str, Variable]
    targets: Mapping[str, Variable]
    readouts: Mapping[str, Variable]


class StabilityError(ArithmeticError):
    """The run would grow for numerical reasons alone; the message names the cure."""


class ConvergenceError(ArithmeticError):
    """An implicit step has no solution that its iteration could find."""


class StabilityWarning(UserWarning):
    """The run may grow for numerical reasons alone."""
