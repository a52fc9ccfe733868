"""IMEX Euler: what is affine in the state is implicit, the rest explicit.

(Ascher, Ruuth & Wetton 1995, equation 1.2 with γ = 1.)
"""

from pdec.contracts import Scheme

PLUGINS = (
    Scheme(
        name="imex",
        order=1,
        text="z_next = z + dt (N(z, t) + L(z_next, t + dt))",
        doc="affine terms implicit, the rest explicit: one linear solve a step",
    ),
)
