"""The trapezoidal rule: the mean of both ends' rates (Crank & Nicolson 1947)."""

from pdec.contracts import Scheme

PLUGINS = (
    Scheme(
        name="trapezoidal",
        order=2,
        text="z_next = z + (dt/2) (F(z, t) + F(z_next, t + dt))",
        doc="mean of the rates at both ends: for stiff moments, order 2",
    ),
)
