"""Stage 6b: the closure of the range of f', which bounds the slopes of a relaxation.

    f = tanh(Z)  →  f' = 1 - f²  →  [0, 1]

The range is found on a dense grid, refined around its extremes, and followed outwards
until f' has settled; an f' that goes on growing has no bound (f = s²: an infinite end),
and its slopes are known only where the state is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import sympy
from numpy.typing import NDArray

from pdec.functions import NUMERIC
from pdec.statements import Constant as Number
from pdec.symbolic import Access, Constant

REACH = 50.0  # every activation of the language has settled beyond it, or grows
FAR = np.geomspace(REACH, 1e6, 60)

Points = NDArray[np.float64]


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
