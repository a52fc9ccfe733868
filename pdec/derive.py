"""Stage 5 and 6 together: everything that is derived from a discrete model.

Model, Program  →  derive_all(model, program)  →  Derivation
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pdec.adjoints.adjoint import Derived, linearise, transpose
from pdec.adjoints.implicit import Jacobian, jacobian, solves
from pdec.adjoints.recover import recovered
from pdec.forms.model import Model
from pdec.forms.statements import Array, Block, Program, Role, Statement
from pdec.forms.symbolic import Access
from pdec.stability.analysis import StabilityForm, analyse


@dataclass(frozen=True, slots=True)
class Derivation:
    """A model's blocks with their adjoints, tangents and stability, by block name.

    ``jacobians`` are those of what a step solves for, by the name of the ``Solve``.
    """

    model: Model
    program: Program
    adjoints: dict[str, Derived]
    tangents: dict[str, Derived]
    stability: StabilityForm
    jacobians: dict[str, Jacobian]


def derive_all(model: Model, program: Program) -> Derivation:
    """Transpose and linearise every block, and analyse the step."""
    arrays, axes = _activity(program), model.axis_names
    readout, loss = program.readout, program.loss
    fields = tuple(model.fields)
    whole_loss = replace(loss, statements=_together(readout, loss))
    adjoint, tangent = recovered(
        transpose(program.step, arrays, axes, states=fields),
        linearise(program.step, arrays),
        model,
        program,
    )
    adjoints = {
        "coefficients": transpose(program.coefficients, arrays, axes, carried=True),
        "initial": transpose(program.initial, arrays, axes),
        "step": adjoint,
        "loss": transpose(whole_loss, arrays, axes, states=fields),
        "penalty": transpose(program.penalty, arrays, axes),
    }
    tangents = {
        "coefficients": linearise(program.coefficients, arrays),
        "initial": linearise(program.initial, arrays),
        "step": tangent,
    }
    found = solves(program.step.statements)
    jacobians = {solve.name: jacobian(solve, model, arrays) for solve in found}
    stability = analyse(model, program)
    return Derivation(model, program, adjoints, tangents, stability, jacobians)


def _activity(program: Program) -> dict[str, Array]:
    """The arrays, with coefficients made of coordinates alone marked as coordinates."""
    arrays = dict(program.arrays)
    active = {Role.PARAM, Role.COEFFICIENT}
    for statement in program.coefficients.maps:
        read = {arrays[access.array].role for access in statement.expr.atoms(Access)}
        if not read & active:
            array = arrays[statement.writes]
            arrays[statement.writes] = replace(array, role=Role.COORDINATE)
    return arrays


def _together(first: Block, second: Block) -> tuple[Statement, ...]:
    """The statements of two blocks; what the first fills is not filled again."""
    again = [s for s in second.statements if s not in first.statements]
    return (*first.statements, *again)
