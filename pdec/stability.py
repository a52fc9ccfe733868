"""Stage 6: the amplification of the relaxation, from the discrete step.

For z⁺ = (1 - ω) z + ω f(A z - b) the linearisation with slope s = f' has, where the
coefficients are the same in every cell, the amplification factor

    G(θ, s) = 1 - ω + ω s Λ(θ),      Λ(θ) = Σ_m a_m e^{imθ}

(Succi 2025, section 3, reads the a_m as moments).  This stage finds the stencil a_m and
the range of f'; the generated module does the arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray

from pdec.functions import NUMERIC
from pdec.model import Model
from pdec.statements import Map, Program
from pdec.symbolic import Access, Constant, accesses, per_sample


@dataclass(frozen=True, slots=True)
class StabilityForm:
    """The stencil of Z by offsets along the axes, the rate's ω, and the slopes of f."""

    field: str
    stencil: dict[tuple[int, ...], sympy.Expr]
    slopes: tuple[float, float]


def analyse(model: Model, program: Program) -> StabilityForm | None:
    """Find the relaxation's stencil and slopes, or None where it has no such form."""
    if model.relaxation is None or len(model.fields) != 1 or model.scheme != "euler":
        return None
    ((name, variable),) = model.fields.items()
    if variable.shape:
        return None
    made = {s.writes: s for s in program.step.maps}
    equilibrium = model.relaxation.equilibrium
    slopes, value = (1.0, 1.0), _statement(equilibrium, made)
    if value is None:
        return None
    inner = accesses(value.expr)
    if len(inner) == 1 and inner[0].array in made and not value.over:
        slopes = slope_range(value.expr, inner[0], program)
        value = made[inner[0].array]
    stencil = _stencil(value, name, model.axis_names, _moved_by(name, program))
    return StabilityForm(name, stencil, slopes) if stencil else None


def _statement(expr: sympy.Expr, made: dict[str, Map]) -> Map | None:
    return made.get(expr.array) if isinstance(expr, Access) else None


def _moved_by(field: str, program: Program) -> set[str]:
    """The arrays of a step whose values change with the field, and the field."""
    found = {field}
    for statement in program.step.maps:
        if any(access.array in found for access in accesses(statement.expr)):
            found.add(statement.writes)
    return found


def _stencil(
    statement: Map, field: str, axes: tuple[str, ...], moved: set[str]
) -> dict[tuple[int, ...], sympy.Expr] | None:
    """The coefficient of each neighbour in a statement that is linear in the field.

    None where it is not, or where it also reads what moves with the field (``moved``).
    """
    found: dict[tuple[int, ...], sympy.Expr] = {}
    reads = [a for a in accesses(statement.expr) if a.array in moved]
    elements = [a for a in reads if a.array == field]
    if statement.over or not elements or len(reads) > len(elements):
        return None
    for access in elements:
        slope = statement.expr.diff(access)
        if per_sample(slope):
            return None
        found[tuple(access.offsets.get(axis, 0) for axis in axes)] = slope
    return found


# --- slopes -------------------------------------------------------------------------


def slope_range(
    expr: sympy.Expr, argument: Access, program: Program
) -> tuple[float, float]:
    """The closure of f' over the real line: (least, greatest).

    Sampled densely on [-50, 50], where every activation of the language has reached its
    limits to rounding, and then refined around the extremes.
    """
    slope = expr.diff(argument)
    if slope.is_number:
        return float(slope), float(slope)
    points = np.concatenate(
        [np.linspace(-50.0, 50.0, 4001), np.geomspace(1e-6, 1e3, 200)]
    )
    points = np.sort(np.concatenate([points, -points]))
    values = _sample(slope, argument, points, program)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    for place, sign in ((np.nanargmin(values), 1.0), (np.nanargmax(values), -1.0)):
        first, last = max(int(place) - 1, 0), min(int(place) + 1, len(points) - 1)
        near = np.linspace(points[first], points[last], 2001)
        best = sign * np.nanmin(sign * _sample(slope, argument, near, program))
        low, high = min(low, float(best)), max(high, float(best))
    return _tidy(low), _tidy(high)


def _tidy(value: float) -> float:
    """Snap a sampled extreme to the number it approaches."""
    rounded = round(value, 9)
    return rounded + 0.0 if abs(value - rounded) < 1e-10 else value


def _sample(
    expr: sympy.Expr, argument: Access, points: NDArray[np.float64], program: Program
) -> NDArray[np.float64]:
    """The values of an expression, NaN where it has no finite one."""
    with np.errstate(all="ignore"):
        values = np.broadcast_to(
            _evaluate(expr, argument, points, program), points.shape
        )
    return np.where(np.isfinite(values), values, np.nan)


def _evaluate(
    expr: sympy.Expr, argument: Access, points: NDArray[np.float64], program: Program
) -> NDArray[np.float64]:
    """The value of an expression at many points, node by node."""
    if expr == argument:
        return points
    if isinstance(expr, Constant):
        return np.asarray(program.constants[str(expr.name)].value)
    if expr.is_number:
        return np.asarray(float(expr))
    assert not isinstance(expr, Access), f"{expr} is not the argument {argument}"
    values = [_evaluate(a, argument, points, program) for a in expr.args]
    if expr.is_Add:
        return np.asarray(sum(values))
    if expr.is_Mul:
        return np.asarray(math.prod(values))
    if expr.is_Pow:
        return np.asarray(np.power(values[0], values[1]))
    result: NDArray[np.float64] = NUMERIC[type(expr)](*values)
    return result
