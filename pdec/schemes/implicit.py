"""Backward Euler: the rate at the end of the step, order 1."""

from pdec.contracts import Scheme

PLUGINS = (
    Scheme(
        name="implicit",
        order=1,
        text="z_next = z + dt F(z_next, t + dt)",
        doc="backward Euler: for stiff moments, damps what it does not resolve",
    ),
)
