"""Stage 6: the amplification of the relaxation, from the discrete step.

For z⁺ = (1 - ω) z + ω f(A z - b) the linearisation with slope s = f' has, where the
coefficients are the same in every cell, the amplification factor

    G(θ, s) = 1 - ω + ω s Λ(θ),      Λ(θ) = Σ_m a_m e^{imθ}

(Succi 2025, section 3, reads the a_m as moments).  This stage finds the stencil a_m and
the range of f'; the generated module does the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray

from pdec.functions import Maximum, Minimum, Select, Step, softplus
from pdec.model import Model
from pdec.statements import Map, Program
from pdec.symbolic import Access, Constant, per_sample


@dataclass(frozen=True, slots=True)
class StabilityForm:
    """The stencil of Z by offsets along the axes, the rate's ω, and the slopes of f."""

    field: str
    stencil: dict[tuple[int, ...], sympy.Expr]
    slopes: tuple[float, float]


def analyse(model: Model, program: Program) -> StabilityForm | None:
    """Find the relaxation's stencil and slopes, or None where the model has no such form."""
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
    inner = sorted(value.expr.atoms(Access), key=str)
    if len(inner) == 1 and inner[0].array in made and not value.over:
        slopes = slope_range(value.expr, inner[0], program)
        value = made[inner[0].array]
    stencil = _stencil(value, name, model.axis_names)
    return StabilityForm(name, stencil, slopes) if stencil else None


def _statement(expr: sympy.Expr, made: dict[str, Map]) -> Map | None:
    return made.get(expr.array) if isinstance(expr, Access) else None


def _stencil(
    statement: Map, field: str, axes: tuple[str, ...]
) -> dict[tuple[int, ...], sympy.Expr] | None:
    """The coefficient of each neighbour in a statement that is linear in the field."""
    found: dict[tuple[int, ...], sympy.Expr] = {}
    elements = [a for a in statement.expr.atoms(Access) if a.array == field]
    if statement.over or not elements:
        return None
    for access in sorted(elements, key=str):
        slope = statement.expr.diff(access)
        if per_sample(slope):
            return None
        found[tuple(access.offsets.get(axis, 0) for axis in axes)] = slope
    others = {a.array for a in statement.expr.atoms(Access) if per_sample(a)} - {field}
    return found if not others else found


# --- slopes --------------------------------------------------------------------------------


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
    low, high = float(values.min()), float(values.max())
    for pick, sign in ((values.argmin(), 1.0), (values.argmax(), -1.0)):
        near = np.linspace(
            points[max(pick - 1, 0)], points[min(pick + 1, len(points) - 1)], 2001
        )
        best = sign * float((sign * _sample(slope, argument, near, program)).min())
        low, high = min(low, best), max(high, best)
    return _tidy(low), _tidy(high)


def _tidy(value: float) -> float:
    """Snap a sampled extreme to the number it approaches."""
    rounded = round(value, 9)
    return rounded + 0.0 if abs(value - rounded) < 1e-10 else value


def _sample(
    expr: sympy.Expr, argument: Access, points: NDArray[np.float64], program: Program
) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):
        values = np.asarray(
            _evaluate(expr, argument, points, program), dtype=np.float64
        )
    values = np.broadcast_to(values, points.shape)
    return values[np.isfinite(values)]


_FUNCTIONS = {
    sympy.tanh: np.tanh,
    sympy.sinh: np.sinh,
    sympy.cosh: np.cosh,
    sympy.exp: np.exp,
    sympy.log: np.log,
    sympy.sin: np.sin,
    sympy.cos: np.cos,
    sympy.atan: np.arctan,
    sympy.Abs: np.abs,
    sympy.sign: np.sign,
    Maximum: np.maximum,
    Minimum: np.minimum,
    Step: lambda s: np.heaviside(s, 0.0),
    softplus: lambda s: np.logaddexp(0.0, s),
    Select: lambda c, a, b: np.where(c > 0.0, a, b),
}


def _evaluate(
    expr: sympy.Expr, argument: Access, points: NDArray[np.float64], program: Program
) -> NDArray[np.float64] | float:
    """The value of an expression at many points, node by node."""
    if expr == argument:
        return points
    if isinstance(expr, Constant):
        return program.constants[str(expr.name)].value
    if expr.is_number:
        return float(expr)
    if isinstance(expr, Access):
        return 1.0
    values = [_evaluate(a, argument, points, program) for a in expr.args]
    if expr.is_Add:
        return np.sum(np.broadcast_arrays(*values), axis=0)
    if expr.is_Mul:
        return np.prod(np.broadcast_arrays(*values), axis=0)
    if expr.is_Pow:
        return np.power(values[0], values[1])
    result: NDArray[np.float64] = _FUNCTIONS[type(expr)](*values)
    return result
