"""Neumann: the slope at the wall is given, ∂u/∂n = g."""

from pdec.contracts import Boundary

PLUGINS = (
    Boundary(
        name="neumann",
        rank=1,
        matches=lambda orders: orders == {1},
        doc="∂u/∂n = g: the flux is given; g = 0 insulates",
    ),
)
