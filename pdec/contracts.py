"""What a plug-in declares: operators, boundaries, schemes, targets.

A plug-in is one file in ``operators/``, ``boundaries/``, ``schemes/`` or
``targets/``.  It says one thing and the compiler derives the rest: adjoint, tangent and
stability code are never written by hand.  Plug-ins import this module and what lies
below it, nothing above.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol, TypeVar

from pdec.forms.model import Channel, GridAxis, Typed
from pdec.forms.statements import Statement
from pdec.source import Span

if TYPE_CHECKING:
    from pdec.derive import Derivation
    from pdec.targets.body import Module


class Scope(Protocol):
    """What an operator may ask of the model that it is used in."""

    @property
    def axes(self) -> Mapping[str, GridAxis]:
        """Axes of the grid in declaration order."""
        ...

    def define(
        self,
        hint: str,
        value: Typed,
        *,
        over: tuple[str, ...] = (),
        maximum: bool = False,
    ) -> Typed:
        """Give an intermediate value a name; ``over`` lists the indices summed over."""
        ...

    def channels(self, variable: str) -> tuple[Channel, ...]:
        """Channel shape of a declared variable."""
        ...

    def fail(self, message: str, span: Span, hint: str | None = None) -> NoReturn:
        """Report a mistake of the user's at a place in the source."""
        ...


@dataclass(frozen=True, slots=True)
class Operator:
    """A function of the language.

    ``apply(arguments, scope, span)`` returns the value's expression and type.
    ``arity`` is the number of arguments, ``elementwise`` whether the operator is a
    plain function of numbers that may stand in the user's own function definitions.
    ``example`` is a number made with it, for a test of its gradient in a right-hand
    side: of a field z, a parameter U(x), a vector of parameters m, or, in a loss, of
    ``logits`` and a class ``label``.
    """

    name: str
    arity: int
    apply: Callable[[tuple[Typed, ...], Scope, Span], Typed]
    doc: str
    example: str
    elementwise: bool = False


@dataclass(frozen=True, slots=True)
class Boundary:
    """A condition a₀ u + a₁ ∂u/∂n + a₂ ∂²u/∂n² + … = g at a wall, n pointing outward.

    ``matches(orders)`` tells whether the plug-in stands for a condition with these
    orders of derivatives; plug-ins are asked in the order of ``rank``.  The ghost cells
    and their transpose follow from the factors a and from g (``ghosts.py``).
    """

    name: str
    rank: int
    matches: Callable[[frozenset[int]], bool]
    doc: str


@dataclass(frozen=True, slots=True)
class Scheme:
    """A time integrator, as text in the notation of the models.

    Each line assigns a stage; the last one assigns ``z_next``.  ``F(z, t)`` is the
    right-hand side at a state and a time, ``dt`` the step.  A line that mentions what
    it assigns is solved for it.  ``L`` is the part of F that is affine in the state and
    ``N`` the rest.  A scheme that ``needs`` a "relaxation" may use each field's rate
    ``γ``; one that needs "pairs" has the fields in two groups, ``q`` and ``p``, whose
    rates ``Fq(p, t)`` and ``Fp(q, t)`` depend on the other group alone.  A ``steady``
    scheme finds a fixed point and takes no time.

    The step, its adjoint and its tangent are derived from the text.
    """

    name: str
    text: str
    order: int
    doc: str
    needs: str = ""
    steady: bool = False


class SampleFunction(NamedTuple):
    """A function of the module that a target writes: it works on samples.

    Its name is one of ``runtime/generated.pyi``; the function named ``first``, if any,
    has run before the statements.
    """

    name: str
    doc: str
    statements: tuple[Statement, ...]
    first: str = ""


class Written(NamedTuple):
    """What a target has written: the functions in their order, others, tables.

    ``remark`` is a line for the head of the module.  ``driver`` and ``tools``, if
    given, say which of the target's files run what has been written, and which it
    calls.
    """

    functions: list[str]
    others: list[str]
    tables: list[str]
    remark: str = ""
    driver: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """What a module runs on: how the functions on samples are written and driven.

    ``write`` prints them; ``arrange``, if given, has chosen the layout of the arrays
    before.  ``driver`` names the files of ``runtime/`` that run them, ``tools`` those
    that they call; they are pasted into the module, and provide what
    ``numpy/driver.py`` lists there.  ``needs`` is a package that the module imports,
    which ``pip install pdec[needs]`` installs.  ``arrays`` stands in, with array
    operations, for a model that ``write`` does not cover (``covers``), or if the user
    asks for it.
    """

    name: str
    doc: str
    write: Callable[[Sequence[SampleFunction], Module, Derivation], Written]
    driver: tuple[str, ...]
    tools: tuple[str, ...] = ()
    needs: str = ""
    arrange: Callable[[Module, Derivation], None] | None = None
    covers: Callable[[Derivation], bool] = lambda derivation: True
    arrays: Target | None = None


Plugin = TypeVar("Plugin", Operator, Boundary, Scheme, Target)


def discover(package: str, kind: type[Plugin]) -> dict[str, Plugin]:
    """Load the plug-ins of a package: its modules' values of type ``kind``, by name."""
    found: dict[str, Plugin] = {}
    root = importlib.import_module(package)
    for entry in sorted(module.name for module in pkgutil.iter_modules(root.__path__)):
        module = importlib.import_module(f"{package}.{entry}")
        for value in getattr(module, "PLUGINS", ()):
            if isinstance(value, kind):
                assert value.name not in found, f"two plug-ins are called {value.name}"
                found[value.name] = value
    return found
