"""What ``pdec show`` prints."""

from __future__ import annotations

from pdec.derivation import as_latex, as_text
from pdec.derive import Derivation


def explain(derived: Derivation, *, latex: bool = False) -> str:
    """The derivation, as text or as LaTeX."""
    return as_latex(derived) if latex else as_text(derived)
