"""Dirichlet: the value at the wall is given, u = g."""

from pdec.contracts import Boundary

PLUGINS = (
    Boundary(
        name="dirichlet",
        rank=1,
        matches=lambda amplitude, slope: amplitude != 0 and slope == 0,
        doc="u = g: the value is given",
    ),
)
