"""The equilibrium z* = e(z*) of a relaxation dz/dt = -γ(z - e(z)), at once.

Fixed-point iteration with Anderson's acceleration (Anderson 1965); the gradient follows
from the implicit function theorem (Bai, Kolter & Koltun 2019, theorem 1).
"""

from pdec.contracts import Scheme

PLUGINS = (
    Scheme(
        name="equilibrium",
        order=0,
        text="z_next = z_next + F(z_next, t)/γ",
        needs="relaxation",
        steady=True,
        doc="a fixed point of the relaxation, near where it starts; no steps, no ω",
    ),
)
