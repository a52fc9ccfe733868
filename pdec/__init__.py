"""pdec: compile a neural PDE, written as one equation, into one Python module."""

__version__ = "0.1.0"
