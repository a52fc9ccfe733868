"""Targets: an expression printer, a statement printer and a driver each."""
