"""Störmer-Verlet: symplectic for systems of wave type (Verlet 1967), order 2."""

from pdec.contracts import Scheme

PLUGINS = (
    Scheme(
        name="symplectic",
        order=2,
        text="""
p_half = p + (dt/2) Fp(q, t)
q_next = q + dt Fq(p_half, t + dt/2)
p_next = p_half + (dt/2) Fp(q_next, t + dt)
""",
        needs="pairs",
        doc="leapfrog of two groups of fields; keeps the energy of waves",
    ),
)
