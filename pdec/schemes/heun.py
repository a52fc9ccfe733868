"""Heun's method: the trapezoidal rule with an Euler predictor (Heun 1900), order 2."""

from pdec.contracts import Scheme

PLUGINS = (
    Scheme(
        name="heun",
        order=2,
        text="""
k1 = F(z, t)
k2 = F(z + dt k1, t + dt)
z_next = z + (dt/2) (k1 + k2)
""",
        doc="Euler predictor, trapezoidal corrector; inherits contractivity from Euler",
    ),
)
