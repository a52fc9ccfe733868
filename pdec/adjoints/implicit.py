"""What a ``Solve`` needs beside its residual: products with the Jacobian, its pattern.

Called by ``derive.py``.  The Jacobian J = ∂residual/∂unknowns is never written out: its
entries are products with vectors of 0 and 1 whose columns do not meet in any row
(Curtis, Powell & Reid 1974).  What is worked out here is how far a row reaches:

    r = z⁺ - z - Δt D (z⁺[x-1] - 2 z⁺ + z⁺[x+1])/Δx²  →  reach {x: 1}, the same for all
"""

from __future__ import annotations

from dataclasses import dataclass

from pdec.adjoints.adjoint import DOT, Derived, linearise
from pdec.errors import Diagnostic, ModelErrors
from pdec.forms.model import Model
from pdec.forms.statements import Array, Ghost, Map, Solve, Statement
from pdec.forms.symbolic import TIME, accesses, indices_of


@dataclass(frozen=True, slots=True)
class Jacobian:
    """J of a ``Solve``: its products, and where it is not zero.

    ``reach`` gives, by axis, how many cells away a residual reads the unknowns;
    ``shared`` says that all samples have the same J, ``constant`` that all steps have.
    """

    solve: Solve
    product: Derived
    reach: dict[str, int]
    shared: bool
    constant: bool


def jacobian(solve: Solve, model: Model, arrays: dict[str, Array]) -> Jacobian:
    """Derive the Jacobian's products and pattern; ``ModelErrors`` where it is full."""
    product = linearise(solve.residual, arrays, along=solve.unknowns)
    read = [access for s in product.block.maps for access in accesses(s.expr)]
    primal = [access for access in read if not access.array.endswith(DOT)]
    shared = not any(arrays[access.array].per_sample for access in primal)
    ghosts = [s for s in product.block.statements if isinstance(s, Ghost)]
    rows = [row for g in ghosts for row in g.maps]
    timeless = not any(TIME in indices_of(s.expr) for s in (*product.block.maps, *rows))
    reach = _reach(solve, model)
    return Jacobian(solve, product, reach, shared, shared and timeless)


def _reach(solve: Solve, model: Model) -> dict[str, int]:
    """How far the residual of a cell reads the unknowns, by axis."""
    axes = model.axis_names
    none = dict.fromkeys(axes, 0)
    far = {name: none for name in solve.unknowns}  # by array: how far its cells read
    walls: dict[tuple[str, str], int] = {}  # how far in from a wall its ghosts read
    for statement in solve.residual.statements:
        if isinstance(statement, Ghost):
            walls[statement.array, statement.axis] = _depth(statement)
        elif isinstance(statement, Map):
            reads = [a for a in accesses(statement.expr) if a.array in far]
            if reads and set(statement.over) & set(axes):
                raise _not_local(model, statement.origin.location)
            for access in reads:
                known = far.get(statement.writes, none)
                moved = {
                    axis: max(abs(offset), walls.get((access.array, axis), 0))
                    for axis, offset in access.offsets.items()
                }
                far[statement.writes] = {
                    axis: max(known[axis], far[access.array][axis] + moved.get(axis, 0))
                    for axis in axes
                }
    total = [far.get(name, none) for name in solve.residual.outputs]
    return {axis: max(reach[axis] for reach in total) for axis in axes}


def _depth(ghost: Ghost) -> int:
    """How many cells in from a wall the ghosts beyond that wall read."""
    sides = ((-1, ghost.low), (1, ghost.high))
    cells = [
        distance
        for own, rows in sides
        for row in rows
        for side, distance, _ in row.cells
        if side == own
    ]
    return max(cells, default=0)


def _not_local(model: Model, place: str) -> ModelErrors:
    spans = [value.span for value in model.evolution.values()]
    here = [span for span in spans if model.source.location(span) == place]
    span = (here or spans)[0]
    message = (
        f"scheme {model.scheme} solves for each cell together with those near it, "
        "and a sum over the grid reads them all"
    )
    diagnostic = Diagnostic(message, span, "take an explicit scheme: heun, rk4")
    return ModelErrors(model.source, (diagnostic,))


def solves(statements: tuple[Statement, ...]) -> tuple[Solve, ...]:
    """The ``Solve`` statements of a block."""
    return tuple(s for s in statements if isinstance(s, Solve))
