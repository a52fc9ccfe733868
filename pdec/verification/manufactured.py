"""Manufactured solutions: a model whose exact solution is known, made from any model.

    Model  →  manufacture(model, pace)  →  Manufactured: a Model, its solution z_m

Put a smooth z_m(x, t) into the right-hand side, let SymPy differentiate, and add what
is missing (Roache 2002, "Code verification by the method of manufactured solutions"):

    dz/dt = F(z) + S,       S = ∂z_m/∂t - F(z_m),       so that  z = z_m.

Along a periodic axis z_m is a wave; beside walls a polynomial makes it satisfy
their conditions.  Parameters and inputs become numbers and smooth functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import sympy

from pdec.discretisation.lowering import Lowering, Tables
from pdec.forms.functions import Maximum, Minimum, Select, Step
from pdec.forms.model import Condition, GridAxis, Model, Variable
from pdec.forms.statements import Role
from pdec.forms.symbolic import (
    NOW,
    Access,
    Constant,
    Contraction,
    IndexValue,
    Partial,
    accesses,
)
from pdec.meaning.clock import relaxation_form

_KINKS = (Maximum, Minimum, Select, Step, sympy.Abs, sympy.sign)
_MEAN, _SWING, _LEAN = 0.6, 0.2, 0.1  # of z_m: its level, its wave, its rise to a wall


Walls = dict[tuple[str, str, int], tuple[Condition, ...]]


class Unsuitable(Exception):
    """Why a model has no smooth manufactured solution, in words for its user."""


@dataclass(frozen=True, slots=True)
class Manufactured:
    """A model with a source, its exact solution by field, and the arrays it is given.

    Expressions are in the coordinates, ``NOW`` and the values of channel indices.
    """

    model: Model
    solution: dict[str, sympy.Expr]
    given: dict[str, sympy.Expr]


def manufacture(model: Model, pace: float) -> Manufactured:
    """Add the source that makes z_m the solution; z_m varies in time like cos(pace t).

    Loss, readouts and the initial state are left out.  Raises ``Unsuitable``.
    """
    if len({field.shape for field in model.fields.values() if field.shape}) > 1:
        raise Unsuitable("its fields differ in channels")
    given = {name: _given(v, model) for name, v in _arrays(model).items()}
    solution: dict[str, sympy.Expr] = {}
    walls = dict(model.boundaries)
    for number, name in enumerate(model.fields):
        solution[name] = _solution(name, number, model, given, walls, pace)
    inside = _Continuous(model, solution, given)
    evolution = {}
    for name, value in model.evolution.items():
        source = solution[name].diff(NOW) - inside(value.expr)
        evolution[name] = replace(value, expr=_with_source(name, value.expr, source))
    first = next(iter(evolution))
    relaxation = model.relaxation and relaxation_form(first, evolution[first].expr)
    changed = replace(
        model,
        evolution=evolution,
        boundaries=walls,
        targets={},
        readouts={},
        initial={},
        loss=None,
        penalty=None,
        relaxation=relaxation,
        every=None,
    )
    return Manufactured(changed, solution, given)


def clocked(model: Model, *, scheme: str, dt: float) -> Model:
    """The model with another scheme and length of a step."""
    step = Constant("dt", positive=True)
    return replace(
        model,
        scheme=scheme,
        omega=model.relaxation.rate * step if model.relaxation else None,
        dt=step,
        constants={**model.constants, "dt": dt},
    )


def derivatives(model: Model) -> set[sympy.Expr]:
    """The derivatives in the equation, those in its definitions too."""
    lowering = Lowering(Tables(model))
    written = (lowering.written_out(v.expr) for v in model.evolution.values())
    return {derivative for expr in written for derivative in expr.atoms(Partial)}


def order_in_space(model: Model) -> tuple[int, float | None]:
    """The order of convergence in Δx that the stencils promise; 0 without any.

    It is ``accuracy``, 2 where fluxes are taken on faces, 1 for one-sided differences.
    Second comes the order that a relaxation may have at walls: ∂² loses one order in a
    cell of N there, 1/2 in the mean square, and nothing need spread the error.
    """
    found, least = [], math.inf
    for derivative in derivatives(model):
        inner, axis, order, bias = derivative.args
        within = {str(p.args[1]) for p in inner.atoms(Partial)}
        walled = not model.axes[str(axis)].periodic
        if walled and (order > 2 or (str(axis) in within and order > 1)):
            raise Unsuitable("beside walls the order of ∂³ and ∂⁴ is not known")
        on_faces = order == 1 and str(axis) in within
        found.append(1 if bias else 2 if on_faces else model.accuracy)
        if walled and order == 2 and model.relaxation:
            least = model.accuracy - 0.5
    order = min(found, default=0)
    return order, least if least < order else None


# --- the solution ---------------------------------------------------------------------


def _solution(
    name: str,
    number: int,
    model: Model,
    given: Mapping[str, sympy.Expr],
    walls: Walls,
    pace: float,
) -> sympy.Expr:
    """z_m of a field; ``walls`` gets the g that z_m has there."""
    phase = sympy.Float(1 + number)
    wave = sympy.Float(_SWING) * (1 + sympy.cos(pace * NOW + phase) / 2)
    for channel in range(len(model.fields[name].shape)):
        wave *= 1 + sympy.sin(1 + IndexValue(f"i{channel}")) / 4
    walled = [axis for axis in model.axes.values() if not axis.periodic]
    level = sympy.Float(_MEAN)
    for axis in model.axes.values():
        if axis.periodic:
            wave *= sympy.sin(2 * sympy.pi * _share(axis) + phase)
            continue
        lean = _LEAN if len(walled) == 1 else 0.0  # else it would vary along a wall
        level += lean * _share(axis)
        found: list[_Wall] = []
        for side in (-1, 1):
            scale = side / (axis.high - axis.low)  # ∂u/∂n = scale ∂u/∂ξ
            flat = (_MEAN + (lean if side > 0 else 0.0), lean * scale)
            changed = []
            for condition in walls[name, axis.name, side]:
                a = [_number(factor, model, given) for factor in condition.factors]
                found.append(_Wall(max(side, 0), scale, a))
                g = sum(x * y for x, y in zip(a, flat, strict=False))
                changed.append(replace(condition, value=sympy.Float(g)))
            walls[name, axis.name, side] = tuple(changed)
        wave *= _between_walls(axis, found, phase)
    return level + wave


class _Wall(NamedTuple):
    """Σ_k a_k ∂^k u/∂n^k = g at ξ = place, where ∂u/∂n = scale ∂u/∂ξ."""

    place: int
    scale: float
    a: list[float]


def _between_walls(axis: GridAxis, walls: list[_Wall], phase: sympy.Expr) -> sympy.Expr:
    """sin(4ξ + φ) + Σ_m c_m ξ^m that satisfies the conditions with g = 0."""
    powers = range(len(walls) + 1)
    x = sympy.Symbol("x")
    shapes = [sympy.sin(4 * x + phase), *(x**m for m in powers)]
    table = [
        [
            sum(
                a * wall.scale**k * float(shape.diff(x, k).subs(x, wall.place))
                for k, a in enumerate(wall.a)
            )
            for shape in shapes
        ]
        for wall in walls
    ]
    rows = np.array(table)
    found = np.linalg.lstsq(rows[:, 1:], -rows[:, 0], rcond=None)[0]
    place = _share(axis)
    bent = sympy.Add(*(sympy.Float(c) * place**m for m, c in enumerate(found)))
    return sympy.sin(4 * place + phase) + bent


def _share(axis: GridAxis) -> sympy.Expr:
    """ξ, which runs from 0 to 1 along the axis."""
    coordinate = Access(axis.name, ((axis.name, 0),))
    return (coordinate - axis.low) / sympy.Float(axis.high - axis.low)


def _number(expr: sympy.Expr, model: Model, given: Mapping[str, sympy.Expr]) -> float:
    """A factor of a boundary condition, with the parameters' values."""
    values = dict(given)
    values.update({n: sympy.Float(v) for n, v in model.constants.items()})
    names = {s: s.array if isinstance(s, Access) else s.name for s in expr.free_symbols}
    found = expr.xreplace({s: values.get(n, sympy.nan) for s, n in names.items()})
    if not found.is_number or not math.isfinite(float(found)):
        raise Unsuitable("its boundary conditions vary along the wall")
    return float(found)


# --- what it is given -----------------------------------------------------------------


def _arrays(model: Model) -> dict[str, Variable]:
    """Parameters and inputs."""
    return {**model.params, **model.inputs}


def _given(variable: Variable, model: Model) -> sympy.Expr:
    """A smooth function of the coordinates near the initial value, within the bounds.

    What starts at 0 gets a small value, so that its term counts.  Arrays of channels
    alone keep the values that they start with, which ``nan`` stands for.
    """
    axes = [model.axes[name] for name in variable.domain if name in model.axes]
    kind, first, second = variable.init
    if variable.array.role is Role.INPUT:
        level = 0.5
    elif variable.shape and not axes and (kind != "constant" or first):
        return sympy.nan
    elif kind == "diagonal":
        raise Unsuitable(f"'{variable.spelling}' is a matrix in each cell")
    else:
        level = (first + second) / 2 if kind == "uniform" else first
    if level == 0:
        level = 0.01
    if not variable.low < level < variable.high:
        level = first
    low, high = sorted((0.7 * level, 1.3 * level))
    within = variable.low <= low and high <= variable.high
    wave = sympy.Float(0.3 * level if within and axes else 0.0)
    phase = sympy.Integer(1)
    for channel in range(len(variable.shape)):
        phase += IndexValue(f"i{channel}")
    for axis in axes:
        turns = 2 * sympy.pi if axis.periodic else 2
        wave *= sympy.sin(turns * _share(axis) + phase)
    return sympy.Float(level) + wave


# --- the right-hand side at the solution --------------------------------------------


def _with_source(name: str, expr: sympy.Expr, source: sympy.Expr) -> sympy.Expr:
    """F + S, in the form -γ(z - (e + S/γ)) where F is a relaxation."""
    form = relaxation_form(name, expr)
    if form is None:
        return expr + source
    element = next(a for a in accesses(expr) if a.array == name and not a.offsets)
    return -form.rate * (element - (form.equilibrium + source / form.rate))


class _Continuous:
    """Puts the solution and what is given into expressions, and differentiates."""

    def __init__(
        self,
        model: Model,
        solution: dict[str, sympy.Expr],
        given: dict[str, sympy.Expr],
    ) -> None:
        self.model = model
        self.lowering = Lowering(Tables(model))
        known = {n: e for n, e in given.items() if e is not sympy.nan}
        self.values = {**known, **solution}

    def __call__(self, expr: sympy.Expr) -> sympy.Expr:
        """The expression at the solution, without derivatives."""
        written = self.lowering.written_out(expr)
        if any(a.array in self.model.definitions for a in accesses(written)):
            raise Unsuitable("its equation has a sum over the grid")
        if any(self._moving(kink) for kink in written.atoms(*_KINKS)):
            raise Unsuitable("a function of its equation has a kink")
        return self._value(written)

    def _moving(self, expr: sympy.Expr) -> bool:
        """Whether an expression varies over the grid or with the time."""
        value = self._value(expr)
        axes = {a for a in value.atoms(Access) if a.array in self.model.axes}
        return bool(axes) or value.has(NOW)

    def _value(self, expr: sympy.Expr) -> sympy.Expr:
        if isinstance(expr, Access):
            return self._element(expr)
        if isinstance(expr, Partial):
            inner, axis, order, _ = expr.args
            value = self._value(inner)
            for _ in range(int(order)):
                value = _slope(value, Access(str(axis), ((str(axis), 0),)))
            return value
        if not expr.args:
            return expr
        if isinstance(expr, Contraction):
            inner, index = self._value(expr.args[0]), str(expr.args[1])
            if any(index in access.places for access in accesses(inner)):
                return Contraction(inner, expr.args[1])
            # no array is left that knows how many terms there are
            arrays = self.model.variables
            size = next(
                axis.size
                for access in accesses(expr.args[0])
                for axis, name in zip(
                    arrays[access.array].array.axes, access.places, strict=True
                )
                if name == index
            )
            places = [{IndexValue(index): sympy.Integer(k)} for k in range(size)]
            return sympy.Add(*(inner.xreplace(place) for place in places))
        return expr.func(*(self._value(argument) for argument in expr.args))

    def _element(self, access: Access) -> sympy.Expr:
        """The function that stands for an element, at the element's channels."""
        if access.array not in self.values:
            return access
        own = self.model.variables[access.array].array.element().places
        channels = {
            IndexValue(i): sympy.Integer(j) if j.isdigit() else IndexValue(j)
            for i, j in zip(own, access.places, strict=True)
            if i[1:].isdigit()
        }
        return self.values[access.array].xreplace(channels)


def _slope(expr: sympy.Expr, coordinate: Access) -> sympy.Expr:
    """∂expr/∂x; the derivative of a sum over channels is the sum of derivatives."""
    sums = {part: sympy.Dummy(real=True) for part in expr.atoms(Contraction)}
    outer = {
        p: d
        for p, d in sums.items()
        if not any(p in q.args[0].atoms(Contraction) for q in sums)
    }
    flat = expr.xreplace(outer)
    slope = flat.diff(coordinate)
    for part, dummy in outer.items():
        inner, index = part.args
        slope += flat.diff(dummy) * Contraction(_slope(inner, coordinate), index)
    return slope.xreplace({dummy: part for part, dummy in outer.items()})
