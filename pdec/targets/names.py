"""Identifiers of the generated code: readable, and free of collisions.

    z      →  z          z~bar  →  z_bar          lambda_  →  lambda_

A name of the user's keeps its canonical spelling unless it would hide a name that the
code itself needs; derived names give way to the user's.
"""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Collection, Iterable

# What generated functions call, and their own arguments.
NEEDED = frozenset(
    "np math n c v c_bar v_bar c_dot v_dot "
    # and what compiled ones do
    "here there real range max min abs len low high unknowns residual place row".split()
)

# A constant of the model is a global of the module, where it would hide a builtin.
BUILTINS = frozenset(dir(builtins))


class Names:
    """Maps internal names to identifiers, each name to one and no two to the same."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        self._taken = (
            NEEDED | set(taken) | set(keyword.kwlist) | {"float", "iter", "next"}
        )
        self._known: dict[str, str] = {}

    def claim(self, names: Iterable[str]) -> None:
        """Give names of the user's their identifiers first."""
        for name in names:
            self(name)

    def claim_globals(self, names: Iterable[str]) -> None:
        """Give the constants of the module theirs, which must not hide a builtin."""
        for name in names:
            self._identify(name, self._taken | BUILTINS)

    def knows(self, name: str) -> bool:
        """Whether an internal name has its identifier already."""
        return name in self._known

    def __call__(self, name: str) -> str:
        """The identifier of an internal name."""
        return self._identify(name, self._taken)

    def _identify(self, name: str, taken: Collection[str]) -> str:
        if name not in self._known:
            wish = name.replace("~", "_")
            used = {*taken, *self._known.values()}
            candidates = [wish, f"{wish}_", *(f"{wish}_{n}" for n in range(1, 1000))]
            self._known[name] = next(c for c in candidates if c not in used)
        return self._known[name]
