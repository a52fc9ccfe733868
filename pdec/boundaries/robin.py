"""Robin: a combination of value and slope is given, a u + b ∂u/∂n = g."""

from pdec.contracts import Boundary

PLUGINS = (
    Boundary(
        name="robin",
        rank=2,
        matches=lambda orders: orders == {0, 1},
        doc="a u + b ∂u/∂n = g: exchange with the surroundings",
    ),
)
