"""Stage 5 and 6 together: everything that is derived from a discrete model.

Model, Program  →  derive_all(model, program)  →  Derivation
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pdec.adjoint import Derived, linearise, transpose
from pdec.model import Model
from pdec.stability import StabilityForm, analyse
from pdec.statements import Block, Program


@dataclass(frozen=True, slots=True)
class Derivation:
    """A model's blocks with their adjoints, tangents and stability, by block name."""

    model: Model
    program: Program
    adjoints: dict[str, Derived]
    tangents: dict[str, Derived]
    stability: StabilityForm | None


def derive_all(model: Model, program: Program) -> Derivation:
    """Transpose and linearise every block, and analyse the step."""
    arrays, axes = program.arrays, model.axis_names
    readout, loss = program.readout, program.loss
    fields = tuple(model.fields)
    whole_loss = replace(
        loss,
        statements=_together(readout, loss),
        outputs=loss.outputs,
    )
    adjoints = {
        "coefficients": transpose(program.coefficients, arrays, axes, carried=True),
        "initial": transpose(program.initial, arrays, axes),
        "step": transpose(program.step, arrays, axes, states=fields),
        "loss": transpose(whole_loss, arrays, axes, states=fields),
        "penalty": transpose(program.penalty, arrays, axes),
    }
    tangents = {
        "coefficients": linearise(program.coefficients, arrays),
        "initial": linearise(program.initial, arrays),
        "step": linearise(program.step, arrays),
    }
    return Derivation(model, program, adjoints, tangents, analyse(model, program))


def _together(first: Block, second: Block) -> tuple:  # type: ignore[type-arg]
    """Statements of two blocks; ghost cells filled by the first are not filled again."""
    again = [s for s in second.statements if s not in first.statements]
    return (*first.statements, *again)
