"""Stage 8a: the functions of the module that are the model's mathematics.

Called by ``emit.py``.  What these functions must do is in ``runtime/generated.pyi``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import sympy

from pdec.adjoints.adjoint import bar
from pdec.contracts import SampleFunction, Target, Written
from pdec.derive import Derivation
from pdec.emission import verdict
from pdec.forms.statements import Block, Map, Role, Statement
from pdec.forms.symbolic import Access, accesses
from pdec.targets.body import Module
from pdec.targets.layout import call
from pdec.targets.numpy import Function
from pdec.targets.solves import residual_name

SHARED = "(c: Arrays) -> None:"
SHARED_VJP = "(c: Arrays, c_bar: Arrays) -> None:"
SHARED_JVP = "(c: Arrays, c_dot: Arrays) -> None:"
AGAIN = "Recomputes what it reads of the forward step from the stored state."


def functions(
    derivation: Derivation, module: Module, features: set[str], target: Target
) -> Written:
    """Write all functions of the mathematics, in reading order."""
    coordinates = _coordinates(derivation, module)
    if target.arrange:
        target.arrange(module, derivation)
    found: list[str | SampleFunction] = [
        _function(
            module,
            "_coefficients" + SHARED,
            "Combine the parameters, once a call.",
            derivation.program.coefficients,
            coordinates=coordinates,
        ),
        *_residuals(derivation),
        *_step(derivation),
        *_combined(derivation, module),
    ]
    if "initial" in features:
        found += _initial(derivation)
    if "readout" in features:
        readout = derivation.program.readout.statements
        found.append(SampleFunction("_readout", "Read the last state out.", readout))
    if "loss" in features:
        found += _loss(derivation, readout="readout" in features)
    if "penalty" in features:
        found += _penalty(derivation, module)
    written = target.write(
        [f for f in found if isinstance(f, SampleFunction)], module, derivation
    )
    texts = iter(written.functions)
    own = [f if isinstance(f, str) else next(texts) for f in found]
    rest = [*written.others, *verdict.functions(derivation, module)]
    return written._replace(functions=own, others=rest)


def _step(derivation: Derivation) -> list[SampleFunction]:
    adjoint, tangent = derivation.adjoints["step"], derivation.tangents["step"]
    return [
        SampleFunction(
            "_step",
            "Advance step n: the fields to their successors; "
            "fills ghost cells on the way.",
            derivation.program.step.statements,
        ),
        SampleFunction(
            "_step_vjp",
            "Adjoint of _step: cotangents of the new fields to those of the old.\n\n"
            f"    {AGAIN}\n    ",
            (*adjoint.recompute.statements, *adjoint.block.statements),
        ),
        SampleFunction(
            "_step_jvp",
            "Tangent of _step: advances the fields and their tangents.",
            tangent.block.statements,
            first="_step",
        ),
    ]


def _residuals(derivation: Derivation) -> list[SampleFunction]:
    """What a step solves for: its residual, and products with the Jacobian of that."""
    found = []
    for jacobian in derivation.jacobians.values():
        name = residual_name(jacobian.solve)
        unknowns = ", ".join(jacobian.solve.unknowns)
        found += [
            SampleFunction(
                name,
                f"The residual that is zero where {unknowns} solves the step.",
                jacobian.solve.residual.statements,
            ),
            SampleFunction(
                f"{name}_jvp",
                f"Tangent of {name} along {unknowns} alone.",
                jacobian.product.block.statements,
            ),
        ]
    return found


def _combined(derivation: Derivation, module: Module) -> list[str]:
    """The derivatives of what is combined from the parameters."""
    return [
        _function(
            module,
            "_coefficients_vjp" + SHARED_VJP,
            "Adjoint of _coefficients: adds to the cotangents of the parameters.",
            derivation.adjoints["coefficients"].block,
        ),
        _function(
            module,
            "_coefficients_jvp" + SHARED_JVP,
            "Tangent of _coefficients.",
            derivation.tangents["coefficients"].block,
        ),
    ]


def _initial(derivation: Derivation) -> list[SampleFunction]:
    adjoint, tangent = derivation.adjoints["initial"], derivation.tangents["initial"]
    return [
        SampleFunction(
            "_initial",
            "Set the state at t = 0.",
            derivation.program.initial.statements,
        ),
        SampleFunction(
            "_initial_vjp",
            "Adjoint of _initial: adds to the cotangents of inputs and parameters.",
            (*adjoint.recompute.statements, *adjoint.block.statements),
        ),
        SampleFunction(
            "_initial_jvp", "Tangent of _initial.", tangent.block.statements
        ),
    ]


def _loss(derivation: Derivation, *, readout: bool) -> list[SampleFunction]:
    adjoint = derivation.adjoints["loss"]
    what = "_loss and _readout" if readout else "_loss"
    return [
        SampleFunction(
            "_loss",
            "The loss of each sample, from its last state.",
            derivation.program.loss.statements,
        ),
        SampleFunction(
            "_loss_vjp",
            f"Adjoint of {what}: from the cotangent of the loss to the state's.",
            (*adjoint.recompute.statements, *adjoint.block.statements),
        ),
    ]


def _penalty(derivation: Derivation, module: Module) -> list[str]:
    block, adjoint = derivation.program.penalty, derivation.adjoints["penalty"]
    (output,) = block.outputs
    module.private.add(output)
    return [
        _function(
            module,
            "_penalty(c: Arrays) -> float:",
            "The terms of the loss in parameters alone.",
            block,
            after=[f"    return float({module.names(output)})"],
        ),
        _function(
            module,
            "_penalty_vjp" + SHARED_VJP,
            "Adjoint of _penalty: adds to the cotangents of the parameters.",
            adjoint.recompute,
            _seeded(adjoint.block, bar(output)),
        ),
    ]


def _seeded(block: Block, name: str) -> Block:
    """A block in which the cotangent of its only output is 1."""
    statements: list[Statement] = []
    for statement in block.statements:
        assert isinstance(statement, Map)
        ones = {a: sympy.S.One for a in statement.expr.atoms(Access) if a.array == name}
        statements.append(replace(statement, expr=statement.expr.xreplace(ones)))
    return replace(block, statements=tuple(statements))


def _coordinates(derivation: Derivation, module: Module) -> dict[str, str]:
    """The coordinates that the equations mention, by axis."""
    values: dict[str, str] = {}
    for name, array in derivation.program.arrays.items():
        if array.role is not Role.COORDINATE:
            continue
        axis = derivation.model.axes[name]
        cell = "np.arange" if axis.periodic else "0.5 + np.arange"
        spacing = module.names(f"d{name}")
        value = f"{axis.low!r} + {spacing} * ({cell}({axis.size}))"
        kind = ", next(iter(c.values())).dtype" if derivation.model.params else ""
        values[name] = f"{value}{kind}"
    return values


def _function(
    module: Module,
    head: str,
    doc: str,
    *blocks: Block,
    before: Iterable[str] = (),
    coordinates: Mapping[str, str] | None = None,
    after: Iterable[str] = (),
) -> str:
    """Write one function from blocks, with lines of its own before and after them."""
    function = Function(module, f"def {head}", doc)
    function.lines += before
    read = {a.array for block in blocks for s in block.maps for a in accesses(s.expr)}
    for name, value in (coordinates or {}).items():
        if name in read:
            function.make(name, f'c["{name}"]', value)
        else:  # by another function
            function.lines += call(f'c["{name}"] = np.asarray', [value])
    function.add_all(statement for block in blocks for statement in block.statements)
    function.lines += after
    return function.text()
