"""Bending: a second or third derivative at the wall is given.

Beside ``u = 0``, ``∂²u = 0`` is the hinged end of a beam; beside ``∂u = 0``,
``∂³u = 0`` makes the wall a mirror, as in the Swift-Hohenberg equation.  ``∂²u = 0``
alone continues u in a straight line, which lets waves out.
"""

from pdec.contracts import Boundary

PLUGINS = (
    Boundary(
        name="bending",
        rank=3,
        matches=lambda orders: max(orders) >= 2,
        doc="with ∂²u/∂n² or ∂³u/∂n³: the second one of a pair, or a free end",
    ),
)
