"""Steps that are solved for, in compiled code: cells in vectors, calls of the solver.

The solver (``runtime/numba/implicit.py``) knows the unknowns of a sample and their
residual as vectors, cell after cell:

    unknowns = v[-1][0][0]
    place = 0
    for x in range(3, 131):
        unknowns[place] = z_next[x]
        place += 1
    _solve(0, False, False, v[-1], n, here, there, c, v)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pdec.adjoints.adjoint import DOT
from pdec.forms.statements import Linear, Origin, Solve, Statement
from pdec.forms.symbolic import BATCH
from pdec.targets.layout import INDENT, call, comment
from pdec.targets.solves import residual_name

if TYPE_CHECKING:
    from pdec.adjoints.implicit import Jacobian
    from pdec.targets.loops import Loops

UNKNOWNS, RESIDUAL = "unknowns", "residual"
NOWHERE = Origin("")


@dataclass(frozen=True, slots=True)
class Copy:
    """The cells of arrays, to a vector or (``back``) from it; ``home`` is its place."""

    arrays: tuple[str, ...]
    vector: str
    back: bool = False
    home: str = ""
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the solver, which may read and write all that a sample has."""

    function: str
    arguments: tuple[str, ...]
    arrays: tuple[str, ...] = ()


Handover = Copy | Call
Part = Statement | Handover


def handed_over(
    statements: Sequence[Statement], jacobians: dict[str, Jacobian]
) -> tuple[Part, ...]:
    """Statements with what is solved for taken to the solver and back."""
    found: list[Part] = []
    for statement in statements:
        if isinstance(statement, Solve):
            found += _solve(statement, jacobians)
        elif isinstance(statement, Linear):
            found += _linear(statement, jacobians)
        else:
            found.append(statement)
    return tuple(found)


def _solve(statement: Solve, jacobians: dict[str, Jacobian]) -> Iterator[Part]:
    """The unknowns hold the solution afterwards: the residual was taken there last."""
    solver = _solver(statement, jacobians)
    found = jacobians[statement.name]
    flags = (str(found.constant), str(found.shared))
    yield from statement.guess
    zero, found_at = statement.residual.outputs, statement.unknowns
    text = f"solve {', '.join(zero)} = 0 for {', '.join(found_at)}"
    origin = Origin(text, statement.origin.location)
    home = f"{solver}[0][0]"
    yield Copy(statement.unknowns, UNKNOWNS, home=home, origin=origin)
    function = "_accelerate" if statement.accelerated else "_solve"
    yield Call(function, (_number(statement, jacobians), *flags, solver))


def _linear(statement: Linear, jacobians: dict[str, Jacobian]) -> Iterator[Part]:
    solver, origin = _solver(statement.solve, jacobians), statement.origin
    constant = str(jacobians[statement.solve.name].constant)
    function = "_solve_adjoint" if statement.transposed else "_solve_tangent"
    number = _number(statement.solve, jacobians)
    home = f"{solver}[0][1]"
    yield Copy(statement.given, RESIDUAL, home=home, origin=origin)
    yield Call(function, (number, constant, solver))
    yield Copy(statement.made, RESIDUAL, back=True, origin=origin)


def _number(statement: Solve, jacobians: dict[str, Jacobian]) -> str:
    """The number of an equation; code that is given functions cannot be kept."""
    return str(list(jacobians).index(statement.name))


def _solver(statement: Solve, jacobians: dict[str, Jacobian]) -> str:
    """Where a sample has what solving takes: behind its arrays."""
    return f"v[{list(jacobians).index(statement.name) - len(jacobians)}]"


def evaluation(jacobian: Jacobian) -> tuple[Part, ...]:
    """The residual of unknowns, from vector to vector."""
    solve = jacobian.solve
    return (
        Copy(solve.unknowns, UNKNOWNS, back=True),
        *solve.residual.statements,
        Copy(solve.residual.outputs, RESIDUAL),
    )


def product(jacobian: Jacobian) -> tuple[Part, ...]:
    """The Jacobian times a vector, from vector to vector."""
    solve = jacobian.solve
    return (
        Copy(tuple(name + DOT for name in solve.unknowns), UNKNOWNS, back=True),
        *jacobian.product.block.statements,
        Copy(tuple(name + DOT for name in solve.residual.outputs), RESIDUAL),
    )


def by_number(jacobians: dict[str, Jacobian]) -> list[str]:
    """The functions that the solver calls, which find those of an equation."""
    arguments = ["equation", "n", "here", "there", "c", "v"]
    found = []
    for name, more, doc, suffix in (
        ("_evaluate", [], "The residual of the unknowns of an equation.", ""),
        ("_multiply", ["v_dot"], "Its Jacobian times tangents of them.", "_jvp"),
    ):
        every = [*arguments, *more, UNKNOWNS, RESIDUAL]
        lines = ["@_compiled", *call(f"def {name}", every, "", ":")]
        lines.append(f'{INDENT}"""{doc}"""')
        for number, jacobian in enumerate(jacobians.values()):
            lines.append(f"{INDENT}if equation == {number}:")
            function = residual_name(jacobian.solve) + suffix
            lines += call(function, every[1:], INDENT + INDENT)
        found.append("\n".join(lines))
    return found if jacobians else []


def copy_lines(copy: Copy, body: Loops) -> list[str]:
    """Loops over the cells of arrays of one sample, in the order of the vector."""
    text, location = copy.origin
    lines = comment(f"{text}  ({location})") if location and not copy.back else []
    if copy.home:
        lines.append(f"{INDENT}{copy.vector} = {copy.home}")
    lines.append(f"{INDENT}place = 0")
    for name in copy.arrays:
        indent = INDENT
        places: list[str] = []
        for axis in body.module.array(name).axes:
            if axis.name == BATCH:
                continue
            low = body.margins.get(axis.name, 0)
            index = axis.name if axis.name in body.margins else f"j{len(places)}"
            bounds = f"{low}, {low + axis.size}" if low else f"{axis.size}"
            lines.append(f"{indent}for {index} in range({bounds}):")
            places.append(index)
            indent += INDENT
        element = f"{body.local(name)}[{', '.join(places)}]"
        sides = [f"{copy.vector}[place]", element]
        left, right = reversed(sides) if copy.back else sides
        lines += [f"{indent}{left} = {right}", f"{indent}place += 1"]
    return lines


def call_lines(piece: Call) -> list[str]:
    """The call, which passes on all that a sample has."""
    return call(piece.function, [*piece.arguments, "n", "here", "there", "c", "v"])
