"""Dirichlet: the value at the wall is given, u = g."""

from pdec.contracts import Boundary

PLUGINS = (
    Boundary(
        name="dirichlet",
        rank=1,
        matches=lambda orders: orders == {0},
        doc="u = g: the value is given",
    ),
)
