"""Calls of the machinery that solves for the unknowns of an implicit step.

z_next_residual = 0 for z⁺  →  _solve("z_next", n, c, v)
its tangent                 →  _solve_tangent("z_next", n, c, v, v_dot)
its adjoint                 →  _solve_adjoint("z_next", n, c, v, v_bar)
"""

from __future__ import annotations

from pdec.forms.statements import Linear, Solve
from pdec.targets.layout import INDENT


def solve(statement: Solve) -> str:
    """The line that solves for the unknowns."""
    function = "_accelerate" if statement.accelerated else "_solve"
    return f'{INDENT}{function}("{statement.name}", n, c, v)'


def linear(statement: Linear) -> str:
    """The line that solves with the Jacobian or its transpose."""
    kind, mark = ("adjoint", "bar") if statement.transposed else ("tangent", "dot")
    return f'{INDENT}_solve_{kind}("{statement.solve.name}", n, c, v, v_{mark})'


def residual_name(statement: Solve) -> str:
    """The function of the module that computes a residual."""
    last = statement.name.endswith("_next")
    return "_residual" if last else f"_residual_{statement.name}"
