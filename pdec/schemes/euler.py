"""Forward Euler: the layer of a network as a time step (Succi 2025, section 2)."""

from pdec.contracts import Scheme

PLUGINS = (
    Scheme(
        name="euler",
        order=1,
        text="z_next = z + dt F(z, t)",
        doc="z⁺ = z + Δt F(z); for a relaxation z⁺ = (1 - ω) z + ω f(Z)",
    ),
)
