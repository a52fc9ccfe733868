"""Stage 6, Program to what decides on ω: amplification, stencils and slopes."""
