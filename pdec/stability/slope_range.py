"""Stage 6b: the closure of the range of f', which bounds the slopes of a relaxation.

    f = tanh(Z)  →  f' = 1 - f²  →  [0, 1]

The range is sampled on a dense grid, refined around its extremes, and followed outwards
until f' has settled; an f' that goes on growing has no bound (f = s²: an infinite end),
and its slopes are known only where the state is. That nothing lies between the samples
is then proven by interval arithmetic, on boxes that are halved where it is too wide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray

from pdec.forms.functions import NUMERIC, Maximum, Minimum, Select, Step
from pdec.forms.statements import Constant as Number
from pdec.forms.symbolic import Access, Constant
from pdec.meaning.ranges import End, Range, Ranges, point

KINKS = (Step, Select, Maximum, Minimum, sympy.Abs, sympy.sign)
BOXES = 2000  # most boxes that a proof looks at
REACH = 50.0  # every activation of the language has settled beyond it, or grows
FAR = np.geomspace(REACH, 1e6, 60)

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Extent:
    """The closure of the values of an expression; sampled only unless ``proven``."""

    low: float
    high: float
    proven: bool


def extent(
    expr: sympy.Expr, argument: Access, constants: Mapping[str, Number]
) -> Extent:
    """The range of an expression over the real line, proven where that is possible."""
    low, high = value_range(expr, argument, constants)
    slack = 1e-5 * max(1.0, high - low)
    boxes = [(-math.inf, -REACH), (-REACH, REACH), (REACH, math.inf)]
    ends = {name: point(number.value) for name, number in constants.items()}
    least, most = low, high
    for _ in range(BOXES):
        if not boxes:
            return Extent(least, most, True)
        first, last = boxes.pop()
        found = _enclosure(expr, argument, first, last, ends)
        if low - slack <= found[0] and found[1] <= high + slack:
            least = _outwards(low, found[0], least)
            most = -_outwards(-high, -found[1], -most)
        elif math.isinf(first) or math.isinf(last):
            break
        else:
            middle = 0.5 * (first + last)
            seen = _sample(expr, argument, np.array([middle]), constants)
            low, high = float(np.fmin(low, *seen)), float(np.fmax(high, *seen))
            least, most = min(least, low), max(most, high)
            boxes += [(first, middle), (middle, last)]
    return Extent(low, high, False)


def jumps(
    expr: sympy.Expr, argument: Access, constants: Mapping[str, Number]
) -> Extent:
    """What jumps of a function add to the range of its slopes: -∞, ∞, or no number.

    Only ``where(c, a, b)`` jumps, at a root of c. Proven where each c has one that is
    known, or none: where c is linear or a number.
    """
    points = np.linspace(-REACH, REACH, 8001)
    low, high, proven = math.inf, -math.inf, True
    for condition in {select.args[0] for select in expr.atoms(Select)}:
        slope = condition.diff(argument)
        proven &= not slope.has(argument)
        signs = _sample(condition, argument, points, constants) > 0.0
        places = np.flatnonzero(signs[1:] != signs[:-1])
        left, right = points[places], points[places + 1]
        for _ in range(60):
            middle = 0.5 * (left + right)
            here = _sample(condition, argument, middle, constants) > 0.0
            same = here == signs[places]
            left, right = np.where(same, middle, left), np.where(same, right, middle)
        wide, narrow = (
            _sample(expr, argument, right + width, constants)
            - _sample(expr, argument, right - width, constants)
            for width in (
                size * np.maximum(1.0, np.abs(right)) for size in (1e-7, 1e-9)
            )
        )
        jump = narrow[np.abs(narrow) > 0.5 * np.abs(wide)]  # what is continuous shrinks
        low = -math.inf if (jump < 0.0).any() else low
        high = math.inf if (jump > 0.0).any() else high
    return Extent(low, high, proven)


def _enclosure(
    expr: sympy.Expr,
    argument: Access,
    first: float,
    last: float,
    ends: Mapping[str, Range],
) -> tuple[float, float]:
    """Bounds of an expression in a box: of its parts, or by the mean value theorem."""
    box = Range(End(first, math.isinf(first)), End(last, math.isinf(last)))
    found = Ranges({**ends, argument.array: box}, {}).of(expr)
    low, high = found.low.value, found.high.value
    if last - first > 1.0 or expr.has(*KINKS):
        return low, high
    half = 0.5 * (last - first)
    middle = Ranges({**ends, argument.array: point(first + half)}, {}).of(expr)
    slope = Ranges({**ends, argument.array: box}, {}).of(expr.diff(argument))
    rise = half * max(abs(slope.low.value), abs(slope.high.value))
    return max(low, middle.low.value - rise), min(high, middle.high.value + rise)


def _outwards(sampled: float, bound: float, least: float) -> float:
    """The lesser end; a bound that is the sampled end but for rounding is that."""
    return min(least, bound) if bound < sampled - 1e-12 else least


def value_range(
    expr: sympy.Expr, argument: Access, constants: Mapping[str, Number]
) -> tuple[float, float]:
    """The closure of an expression's values over the real line: (least, greatest)."""
    if expr.is_number:
        return float(expr), float(expr)
    dense = np.linspace(-REACH, REACH, 8001)
    points = np.sort(np.concatenate([-FAR, dense, FAR]))
    values = _sample(expr, argument, points, constants)
    inside = np.abs(points) <= REACH
    ends = []
    for sign in (1.0, -1.0):  # the least value, and minus the greatest
        place = int(np.nanargmin(sign * values))
        first, last = max(place - 1, 0), min(place + 1, len(points) - 1)
        near = np.linspace(points[first], points[last], 2001)
        best = np.nanmin(sign * _sample(expr, argument, near, constants))
        within = abs(np.nanmin(np.where(inside, sign * values, math.inf)))
        grows = not inside[place] and abs(best) > 1.02 * within + 1e-2
        pole = abs(best) > 10.0 * abs(values[place]) + 1.0
        ends.append(-math.inf if grows or pole else float(best))
    return _tidy(ends[0]), _tidy(-ends[1])


def _tidy(value: float) -> float:
    """Snap a sampled extreme to the number it approaches."""
    if math.isinf(value):
        return value
    rounded = round(value, 9)
    return rounded + 0.0 if abs(value - rounded) < 1e-10 else value


def _sample(
    expr: sympy.Expr, argument: Access, points: Points, constants: Mapping[str, Number]
) -> Points:
    """The values of an expression, NaN where it has no finite one."""
    with np.errstate(all="ignore"):
        values = _evaluate(expr, argument, points, constants)
        values = np.broadcast_to(values, points.shape)
    return np.where(np.isfinite(values), values, np.nan)


def _evaluate(
    expr: sympy.Expr, argument: Access, points: Points, constants: Mapping[str, Number]
) -> Points:
    """The value of an expression at many points, node by node."""
    if expr == argument:
        return points
    if isinstance(expr, Constant):
        return np.asarray(constants[str(expr.name)].value)
    if expr.is_number:
        return np.asarray(float(expr))
    assert not isinstance(expr, Access), f"{expr} is not the argument {argument}"
    values = [_evaluate(a, argument, points, constants) for a in expr.args]
    if expr.is_Add:
        return np.asarray(sum(values))
    if expr.is_Mul:
        return np.asarray(math.prod(values))
    if expr.is_Pow:
        return np.asarray(np.power(values[0], values[1]))
    result: Points = NUMERIC[type(expr)](*values)
    return result
