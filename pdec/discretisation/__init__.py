"""Stages 3 and 4, Model to Program: the scheme's steps, stencils and ghost cells."""
