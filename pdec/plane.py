"""The largest stable step over a plane of parameters, by the module's own functions.

Input: a compiled module, its parameters and two names.  Output: a grid of values of
each, and the largest stable ω at each pair.  Where the coefficients are one stencil,
the values stand in the place of the cells, so that one call judges thousands:

    W1 (K,), W2 (K,)  →  a_m (K,)  →  ω_max (K,)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pdec.errors import UsageError
from pdec.spelling import canonical

Array = NDArray[np.float64]
Params = dict[str, NDArray[Any]]
Tell = Callable[[float], None]  # told the share of the work that is done

FINE, COARSE = 201, 25  # points a side, where many are judged at once or one by one
CHUNK = 4_000_000  # modes judged at once
REACHES = np.geomspace(
    1e-9, 1e4, 105
)  # how far from its value a parameter may be shown


@dataclass(frozen=True, slots=True)
class Axis:
    """A parameter along one side: its values, or multiples of what it is.

    ``label`` says which.  The step itself, ω or Δt, is ``step``.
    """

    name: str
    label: str
    current: float
    values: Array
    step: bool = False


@dataclass(frozen=True, slots=True)
class Plane:
    """The largest stable step, (second, first), 0 where none is."""

    first: Axis
    second: Axis
    largest: Array
    step: float


def plane(
    module: ModuleType, p: Params, names: tuple[str, str], h: float, tell: Tell
) -> Plane:
    """Judge every pair of values of two parameters around the given ones.

    Raises ``UsageError`` for a name that cannot be a side of the plane.
    """
    limits = _judge(module, p, names)
    sides = [_axis(module, p, name, h, limits) for name in names]
    first, second = sides
    # the largest step does not depend on the step: one side is then judged alone
    judged = [axis.values[:1] if axis.step else axis.values for axis in sides]
    many = np.stack([a.ravel() for a in np.meshgrid(*judged)])
    found = limits(many, tell).reshape(len(judged[1]), len(judged[0]))
    largest = np.broadcast_to(found, (len(second.values), len(first.values)))
    return Plane(first, second, largest, h)


# --- the sides --------------------------------------------------------------------


def check_names(module: ModuleType, p: Params, text: str) -> tuple[str, str]:
    """Read ``W1,W2``: two parameters, or one and the step."""
    names = [canonical(part.strip()) for part in text.split(",")]
    step = _step_name(module)
    known = [*(n for n in p if n != step), step]
    if len(names) != 2 or names[0] == names[1]:
        raise UsageError(
            f"--plane takes two different names, as in W1,W2; not '{text}'"
        )
    for name in names:
        if name not in known:
            raise UsageError(
                f"--plane: '{name}' is no parameter of {module.MODEL.name}; "
                f"known: {', '.join(known)}"
            )
        if name != step and np.ndim(p[name]) and not np.any(p[name]):
            raise UsageError(
                f"--plane: {name} is an array of zeros, and its multiples are no axis; "
                "give other values with --params"
            )
    return names[0], names[1]


def _step_name(module: ModuleType) -> str:
    return "dt" if module.MODEL.omega is None else "omega"


def _axis(module: ModuleType, p: Params, name: str, h: float, limits: _Limits) -> Axis:
    """Choose the range of a side: as far as the largest step changes by much."""
    alone = _step_name(module) in limits.names
    count = FINE if limits.at_once or alone else COARSE
    if name == _step_name(module):
        label = "Δt" if name == "dt" else "ω"
        return Axis(name, label, h, np.linspace(0.02, 2.0, count) * h, step=True)
    variable = module.MODEL.params[name]
    label, low, high = variable.spelling, variable.low, variable.high
    current = 1.0
    if np.ndim(p[name]):
        label, low, high = (
            f"multiple of {label}",
            0.0 if low >= 0.0 else -np.inf,
            np.inf,
        )
    else:
        current = float(p[name])
    reach = _reach(limits, name, current, h)
    ends = np.clip([current - reach, current + reach], low, high)
    if ends[0] < 0.0 < current and low >= 0.0:
        ends[0] = 0.0
    low, high = map(float, ends)
    return Axis(name, label, current, np.linspace(low, high, count))


def _reach(limits: _Limits, name: str, current: float, h: float) -> float:
    """How far to look: past where the verdict changes, else where ω_max halves."""
    far = current + np.concatenate([REACHES, -REACHES])
    here = limits.along(name, np.asarray([current]))[0]
    largest = limits.along(name, far).reshape(2, -1)
    flips = (largest >= h) != (here >= h)
    halves = ~(largest > 0.5 * min(here, 4.0)) if here else largest > 0.0
    for changed in (flips, halves):
        if changed.any():
            return 1.6 * max(float(REACHES[changed.any(axis=0)][0]), abs(current))
    return max(abs(current), 1.0)


# --- judging many -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Limits:
    """The largest stable step where two parameters have other values."""

    module: ModuleType
    p: Params
    names: tuple[str, str]
    slopes: tuple[float, float]
    at_once: bool

    def __call__(self, values: Array, tell: Tell) -> Array:
        """Judge pairs, (2, K)."""
        chosen = {
            name: row
            for name, row in zip(self.names, values, strict=True)
            if name != _step_name(self.module)
        }
        size = 1
        if self.at_once:
            modes = self._modes(self.p).theta.shape[1]
            size = max(1, CHUNK // (8 * modes))
        found = []
        for start in range(0, values.shape[1], size):
            part = {n: row[start : start + size] for n, row in chosen.items()}
            found.append(self._largest(part))
            tell(min(1.0, (start + size) / values.shape[1]))
        return np.concatenate(found) if chosen else np.tile(found[0], values.shape[1])

    def along(self, name: str, values: Array) -> Array:
        """Judge values of one parameter, the other one as it is."""
        if self.at_once:
            return self._largest({name: values})
        return np.concatenate([self._largest({name: v[None]}) for v in values])

    def _largest(self, chosen: dict[str, Array]) -> Array:
        p = self.p | {n: self._value(n, row) for n, row in chosen.items()}
        with np.errstate(all="ignore"):
            limits = self.module._largest_steps(self._modes(p))
        return np.asarray(limits if self.at_once else limits.min(keepdims=True))

    def _value(self, name: str, row: Array) -> Array:
        if np.ndim(self.p[name]):
            return np.asarray(row[0] * self.p[name])
        return row if self.at_once else row[0]

    def _modes(self, p: Params) -> Any:
        c = {name: np.asarray(a, np.float64) for name, a in p.items()}
        self.module._coefficients(c)
        if not self.at_once:
            return self.module._judged(c, None, None).modes
        rows, _ = self.module._layer_rows(c)
        return self.module._modes_of(rows, self.slopes, True)


def _judge(module: ModuleType, p: Params, names: tuple[str, str]) -> _Limits:
    """Choose how to judge: all at once where the model is one stencil of numbers."""
    c = {name: np.asarray(a, np.float64) for name, a in p.items()}
    module._coefficients(c)
    scalars = all(np.ndim(p.get(name, 0.0)) == 0 for name in names)
    at_once = scalars and hasattr(module, "_stencil")
    at_once = at_once and not any(map(np.ndim, module._stencil(c).values()))
    slopes = module._judged(c, None, None).slopes
    return _Limits(module, p, names, slopes, at_once)
