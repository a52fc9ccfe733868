"""Exponential Euler: the decay -γz is solved exactly (Certaine 1960), order 1.

For a relaxation it is Euler with ω' = 1 - e^{-γΔt} (Succi 2025, section 2).
"""

from pdec.contracts import Scheme

PLUGINS = (
    Scheme(
        name="exponential",
        order=1,
        text="z_next = z + ((1 - exp(-γ dt))/γ) F(z, t)",
        needs="relaxation",
        doc="the decay is solved exactly: Euler with ω' = 1 - e^{-γΔt}",
    ),
)
