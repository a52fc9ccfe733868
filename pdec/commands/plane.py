"""The verdict over a plane of two parameters, by the module's own functions.

Input: a compiled module, its parameters and two names.  Output: a grid of values of
each, and at each pair the largest stable ω and the two growths of the report.  Where
the coefficients are one stencil, the values stand in the place of the cells, so that
one call judges thousands:

    W1 (K,), W2 (K,)  →  a_m (K,)  →  ω_max (K,)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pdec.errors import UsageError
from pdec.reading.spelling import canonical

Array = NDArray[np.float64]
Params = dict[str, NDArray[Any]]
Tell = Callable[[float], None]  # told the share of the work that is done

FINE = 201  # points a side, where many are judged at once
COARSE, COARSEST = 41, 25  # where each is judged alone: cheap ones, and others
CHEAP = 20_000  # numbers in the symbol of a cheap one
CHUNK = 500_000  # modes judged at once
REACHES = np.geomspace(1e-9, 1e4, 53)  # how far from its value a parameter may be shown


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


class Growths(NamedTuple):
    """The largest stable step, 0 where none is, and the two growths of the report."""

    largest: Array
    growth: Array
    own: Array


@dataclass(frozen=True, slots=True)
class Plane:
    """The verdict at each pair, (second, first)."""

    first: Axis
    second: Axis
    found: Growths
    step: float
    steps: int


def plane(
    module: ModuleType, p: Params, names: tuple[str, str], h: float, tell: Tell
) -> Plane:
    """Judge every pair of values of two parameters around the given ones."""
    judge = _judge(module, p, names, h)
    first, second = (_axis(module, p, name, judge) for name in names)
    shape = (len(second.values), len(first.values))
    pairs = np.stack([a.ravel() for a in np.meshgrid(first.values, second.values)])
    given = zip(names, pairs, strict=True)
    found = Growths(*(a.reshape(shape) for a in judge(dict(given), tell)))
    return Plane(first, second, found, h, module.MODEL.steps)


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


def _axis(module: ModuleType, p: Params, name: str, judge: _Judge) -> Axis:
    """Choose the range of a side: as far as the verdict changes, or ω_max by much."""
    if name == _step_name(module):
        label = "Δt" if name == "dt" else "ω"
        values = np.linspace(0.02, 2.0, judge.count) * judge.h
        return Axis(name, label, judge.h, values, step=True)
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
    reach = _reach(judge, name, current)
    ends = np.clip([current - reach, current + reach], low, high)
    return Axis(name, label, current, np.linspace(ends[0], ends[1], judge.count))


def _reach(judge: _Judge, name: str, current: float) -> float:
    """How far to look: past where the verdict changes, else where ω_max halves."""
    far = current + np.concatenate([[0.0], REACHES, -REACHES])
    found = judge({name: far}, lambda share: None)
    verdict = (found.growth > 1e-12) + 2 * (found.own > 1e-12)
    flips = verdict[1:] != verdict[0]
    halves = found.largest[1:] < 0.5 * min(found.largest[0], 4.0)
    for changed in (flips, halves):
        if changed.any():
            near = REACHES[changed.reshape(2, -1).any(axis=0)][0]
            return 1.6 * max(float(near), abs(current))
    return max(abs(current), 1.0)


# --- judging many -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Judge:
    """The verdict where some parameters, or the step, have other values."""

    module: ModuleType
    p: Params
    h: float
    slopes: tuple[float, float]
    at_once: bool
    count: int  # points a side

    def __call__(self, values: dict[str, Array], tell: Tell) -> Growths:
        """Judge K points, (K,) values of each name."""
        total = len(next(iter(values.values())))
        size = 1
        if self.at_once:
            size = max(1, CHUNK // self._modes(self.p).theta.shape[1])
        found = []
        for start in range(0, total, size):
            part = {n: row[start : start + size] for n, row in values.items()}
            found.append(self._growths(part))
            tell(min(1.0, (start + size) / total))
        return Growths(*(np.concatenate(a) for a in zip(*found, strict=True)))

    def _growths(self, values: dict[str, Array]) -> Growths:
        """Judge some points at once, or one."""
        h = values.get(_step_name(self.module), np.asarray([self.h]))
        chosen = {n: row for n, row in values.items() if n in self.p}
        chosen.pop(_step_name(self.module), None)
        p = self.p | {n: self._value(n, row) for n, row in chosen.items()}
        count = len(next(iter(values.values())))
        modes = self._modes(p)
        with np.errstate(all="ignore"):
            largest = self.module._largest_steps(modes)
            growth, own = self._excess(
                modes, h[:, None, None] if self.at_once else h[0]
            )
        if not self.at_once:  # the worst cell decides
            largest, growth, own = largest.min(), growth.max(), own.max()
        return Growths(*(np.broadcast_to(a, count) for a in (largest, growth, own)))

    def _excess(self, modes: Any, h: Any) -> tuple[Array, Array]:
        """ln|G| beyond the equation's own growth in a step, and the latter; by cell."""
        growth, own = [], []
        for _, rates in self.module._rates(modes):
            h = h if rates.ndim == 3 or np.ndim(h) == 0 else np.ravel(h)[:, None]
            size = self.module._factor_size(modes, rates, h)
            slow = h * rates.real
            axes = tuple(range(1, rates.ndim))
            growth.append(self.module._excess(size, slow).max(axis=axes))
            own.append(slow.max(axis=axes))
        return np.max(growth, axis=0), np.max(own, axis=0)

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


def _judge(module: ModuleType, p: Params, names: tuple[str, str], h: float) -> _Judge:
    """Choose how to judge: all at once where the model is one stencil of numbers."""
    c = {name: np.asarray(a, np.float64) for name, a in p.items()}
    module._coefficients(c)
    scalars = all(np.ndim(p.get(name, 0.0)) == 0 for name in names)
    at_once = scalars and hasattr(module, "_stencil")
    at_once = at_once and not any(map(np.ndim, module._stencil(c).values()))
    judged = module._judged(c, None, None)
    count = COARSE if judged.modes.matrix.size <= CHEAP else COARSEST
    return _Judge(module, p, h, judged.slopes, at_once, FINE if at_once else count)
