"""Stage 6: what the verdict on ω needs, from the right-hand side and the scheme's text.

For z⁺ = (1 - ω) z + ω f(A z - b) the linearisation with slope s = f' has, where the
coefficients are the same in every cell, the amplification factor

    G(θ, s) = 1 - ω + ω s Λ(θ),      Λ(θ) = Σ_m a_m e^{imθ}

(Succi 2025, section 3, reads the a_m as moments; von Neumann's method is that of
Lax & Richtmyer 1956).  This stage finds the stencil a_m and the range of f', or the
tangent of any other right-hand side; the generated module does the arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import sympy

from pdec.adjoints.adjoint import DOT, Derived, linearise
from pdec.discretisation.rates import Layer, layer_of
from pdec.discretisation.stages import scheme_of
from pdec.forms.functions import Select
from pdec.forms.model import Model
from pdec.forms.statements import Block, Program, Role
from pdec.forms.symbolic import (
    NOW,
    TIME,
    Access,
    Constant,
    IndexValue,
    Partial,
    accesses,
)
from pdec.stability.amplification import LENGTH, Amplification, amplification
from pdec.stability.slope_range import extent, jumps, value_range


@dataclass(frozen=True, slots=True)
class StabilityForm:
    """The linearisation of a model's step.

    ``layer`` is the stencil of Z and f, with the closed ranges of f' in ``slopes`` and
    of f in ``values``; ``slopes_at`` leaves f' at a state in the array of f(Z).  Where
    the model is no layer it is None, and ``tangent`` is that of the right-hand side
    along the state, on which it depends unless ``affine``; ``reach`` is how many cells
    away a rate reads along each axis, and ``uniform`` says that where the state is the
    same in all cells, so is the tangent.  ``orders`` are the highest even orders of a
    derivative along each axis.  ``timed`` says that the linearisation is another one in
    each step, ``clocked`` that it depends on the time within a step too;
    ``proven`` that the slopes are not sampled only.
    """

    scheme: Amplification
    layer: Layer | None
    slopes: tuple[float, float]
    values: tuple[float, float]
    slopes_at: Block | None
    tangent: Derived | None
    affine: bool
    orders: tuple[int, ...]
    reach: tuple[int, ...] = ()
    uniform: bool = False
    timed: bool = False
    clocked: bool = False
    proven: bool = True

    @property
    def stencil(self) -> dict[tuple[int, ...], sympy.Expr]:
        """The coefficients a_m of Z by their offsets along the axes."""
        return self.layer.stencil if self.layer else {}

    @property
    def channels(self) -> bool:
        """Whether a cell has several components."""
        return any(
            "k0" in a.indices for e in self.stencil.values() for a in accesses(e)
        )


def analyse(model: Model, program: Program) -> StabilityForm:
    """Find the linearisation of a step: a layer's stencil, or the rates' tangent."""
    layer, constants = layer_of(model, program.rates), program.constants
    orders = tuple(_even_order(model, axis) for axis in model.axis_names)
    decaying = model.relaxation is not None
    if layer is None:
        tangent = linearise(program.rates, program.arrays, along=model.fields)
        affine = not _reads_state(tangent.block, program) and not any(
            statement.expr.has(Select) for statement in program.rates.maps
        )
        scheme = amplification(
            scheme_of(model), decaying=decaying, layer=False, affine=affine
        )
        one, reach = (
            (1.0, 1.0),
            tuple(_reach(model, program, axis) for axis in model.axes),
        )
        uniform = _uniform(model, program)
        read = [s.expr for b in (tangent.recompute, tangent.block) for s in b.maps]
        clocked = any(expr.has(NOW, IndexValue(TIME)) for expr in read)
        timed = clocked or any(map(_each_step, read))
        return StabilityForm(
            scheme,
            None,
            one,
            one,
            None,
            tangent,
            affine,
            orders,
            reach,
            uniform,
            timed,
            clocked,
        )
    slopes = values = (1.0, 1.0)
    at, proven = None, True
    if layer.argument is not None:
        found = extent(layer.slope, layer.argument, constants)
        jump = jumps(layer.value.expr, layer.argument, constants)
        slopes = min(found.low, jump.low), max(found.high, jump.high)
        proven = found.proven and jump.proven
        values = value_range(layer.value.expr, layer.argument, constants)
        at = _slopes_at(layer, program.rates)
    scheme = amplification(
        scheme_of(model), decaying=True, layer=True, affine=slopes[0] == slopes[1]
    )
    timed = any(map(_each_step, layer.stencil.values()))
    return StabilityForm(
        scheme,
        layer,
        slopes,
        values,
        at,
        None,
        True,
        orders,
        timed=timed,
        proven=proven,
    )


def inverse(scheme: Amplification) -> sympy.Expr:
    """The length h of a step that does what forward Euler does in a step w."""
    assert scheme.effective is not None
    step = Constant("w", positive=True)
    (found,) = sympy.solve(scheme.effective - step, LENGTH)
    return sympy.simplify(found)


def moments(form: StabilityForm, model: Model, program: Program) -> dict[str, float]:
    """1/Δx^k of every parameter W_k in the stencil of Z, where that is linear in them.

    Empty unless all of them are numbers, or all have a value in every cell.
    """
    made = {s.target: s.expr for s in program.coefficients.maps if not s.over}
    sizes = {f"d{axis}": grid.spacing for axis, grid in model.axes.items()}
    found: dict[str, float] = {}
    domains = set()
    for coefficient in form.stencil.values():
        written = coefficient.xreplace(made)
        for access in accesses(written):
            slope = sympy.expand(written.diff(access))
            if access.array not in model.params or accesses(slope) or access.offsets:
                return {}
            domains.add(access.indices)
            for term in sympy.Add.make_args(slope):
                powers = term.as_powers_dict()
                lengths = (
                    sizes.get(str(b), 1.0) ** float(e) for b, e in powers.items()
                )
                found[access.array] = max(
                    found.get(access.array, 0.0), math.prod(lengths)
                )
    return found if domains in ({()}, {model.axis_names}) else {}


def _each_step(expr: sympy.Expr) -> bool:
    """Whether an expression reads a value per step."""
    return any(TIME in access.indices for access in accesses(expr))


def _slopes_at(layer: Layer, rates: Block) -> Block:
    """f'(Z) at a state, in the place of f(Z)."""
    slope = replace(layer.value, expr=layer.slope)
    statements = (slope if s == layer.value else s for s in rates.statements)
    return Block("slopes_at", tuple(statements), (layer.value.writes,))


def _reads_state(tangent: Block, program: Program) -> bool:
    """Whether a tangent depends on the state that it is taken at."""
    moved = {n for n, a in program.arrays.items() if a.role is Role.STATE}
    for statement in program.rates.maps:
        if any(access.array in moved for access in accesses(statement.expr)):
            moved.add(statement.writes)
    read = {a.array for s in tangent.maps for a in accesses(s.expr)}
    return bool({name for name in read if not name.endswith(DOT)} & moved)


def _reach(model: Model, program: Program, axis: str) -> int:
    """How many cells away a rate reads, ghost cells being made of those within."""
    grid = model.axes[axis]
    least = 0 if grid.periodic else model.accuracy - 1
    reach = dict.fromkeys(model.fields, 0)
    for statement in program.rates.maps:
        found = [0]
        for access in accesses(statement.expr):
            if access.array in reach:
                offset = abs(access.offsets.get(axis, 0))
                found.append(
                    reach[access.array] + (max(offset, least) if offset else 0)
                )
        if axis in statement.over:
            found.append(grid.size)
        if any(access.array in reach for access in accesses(statement.expr)):
            reach[statement.writes] = max(found)
    return min(max(reach.values()), grid.size)


def _uniform(model: Model, program: Program) -> bool:
    """Whether the rates are alike in all cells where the state is."""
    moved = {n for n, a in program.arrays.items() if a.role is Role.STATE}
    moved |= {statement.writes for statement in program.rates.maps}
    read = {a for s in program.rates.maps for a in accesses(s.expr)}
    fixed = [access for access in read if access.array not in moved]
    varying = any(set(access.indices) & set(model.axes) for access in fixed)
    return not varying and all(axis.periodic for axis in model.axes.values())


def _even_order(model: Model, axis: str) -> int:
    """The highest even order of a derivative along an axis in the equations, or 0."""
    found: set[int] = set()
    for value in model.evolution.values():
        found |= _orders(value.expr, axis, model)
    return max((order for order in found if order % 2 == 0), default=0)


def _orders(expr: sympy.Expr, axis: str, model: Model) -> set[int]:
    """The orders of derivative along an axis that act on the fields."""
    if isinstance(expr, Access) and expr.array in model.definitions:
        return _orders(model.definitions[expr.array].expr, axis, model)
    found = {0}.union(*(_orders(part, axis, model) for part in expr.args))
    if isinstance(expr, Partial) and str(expr.args[1]) == axis:
        return {order + int(expr.args[2]) for order in found}
    return found
