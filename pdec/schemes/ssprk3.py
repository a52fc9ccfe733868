"""SSPRK3: three Euler steps averaged (Shu & Osher 1988, equation 2.18), order 3."""

from pdec.contracts import Scheme

PLUGINS = (
    Scheme(
        name="ssprk3",
        order=3,
        text="""
u1 = z + dt F(z, t)
u2 = (3/4) z + (1/4) (u1 + dt F(u1, t + dt))
z_next = (1/3) z + (2/3) (u2 + dt F(u2, t + dt/2))
""",
        doc="convex combinations of Euler steps: what contracts under Euler does here",
    ),
)
