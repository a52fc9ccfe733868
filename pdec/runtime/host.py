"""Arrays of NumPy: what a module that runs on the CPU takes and returns.

A target with arrays of its own replaces this file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pdec.runtime.types import Array

# --- arrays of NumPy -----------------------------------------------------------------

_lib: Any = np  # what makes arrays


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic)


def _taken(value: Any, label: str, expected: str, remedy: str) -> Array:
    """Return what the user passed if it is an array."""
    if _is_array(value):
        return np.asarray(value)
    if type(value).__module__.partition(".")[0] == "cupy":
        raise TypeError(
            f"{label} is an array of CuPy, but this module takes NumPy's; pass "
            f"{label}.get(), or compile the model with --target cupy"
        )
    raise TypeError(
        f"{label} is of type {type(value).__name__}, expected {expected}; pass {remedy}"
    )


def _on_host(values: Any) -> Any:
    """Return arrays, in dicts and tuples too, as NumPy's."""
    return values


def _handed_out(values: Any) -> Any:
    """Return arrays of NumPy, in dicts and tuples too, as the user gets them."""
    return values
