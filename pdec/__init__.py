"""pdec: compile a neural PDE, written as one equation, into one Python module.

import pdec

adr1d = pdec.load("adr1d.npde")
loss, grads = adr1d.value_and_grad(adr1d.init_params(seed=0), z0, y)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from pdec.loading import load


def __getattr__(name: str) -> Any:
    """Import the compiler when it is first asked for: ``pdec --help`` does without."""
    if name == "load":
        from pdec.loading import load

        return load
    raise AttributeError(f"module 'pdec' has no attribute {name!r}")
