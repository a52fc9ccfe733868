"""RK4: the classical Runge-Kutta method (Kutta 1901), order 4."""

from pdec.contracts import Scheme

PLUGINS = (
    Scheme(
        name="rk4",
        order=4,
        text="""
k1 = F(z, t)
k2 = F(z + (dt/2) k1, t + dt/2)
k3 = F(z + (dt/2) k2, t + dt/2)
k4 = F(z + dt k3, t + dt)
z_next = z + (dt/6) (k1 + 2 k2 + 2 k3 + k4)
""",
        doc="four stages, order 4; no contractivity is inherited",
    ),
)
