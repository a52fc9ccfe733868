"""The whole compiler on one screen.

source  →  tree  →  Model  →  Program  →  adjoints  →  stability  →  module text
 read      parse    resolve   discretise  derive       analyse       emit
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

from pdec.contracts import Target, discover
from pdec.derive import Derivation, derive_all
from pdec.discretisation.discrete import discretise
from pdec.emission.emit import emit, summarise
from pdec.errors import Diagnostic, Reporter, UsageError
from pdec.forms.model import Model
from pdec.keeping import digest, module_from
from pdec.meaning.resolve import resolve
from pdec.reading.parser import parse_readable
from pdec.reading.spelling import canonical
from pdec.recursion import deep_recursion
from pdec.source import Source

TARGETS = discover("pdec.targets", Target)
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Compilation:
    """A compiled model: what it means, what was derived, and the module's text."""

    derivation: Derivation
    text: str
    summary: str

    @property
    def model(self) -> Model:
        """The model that was compiled."""
        return self.derivation.model

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What may not be meant as written."""
        return self.model.warnings


def derive(
    source: Source,
    *,
    overrides: Mapping[str, float] | None = None,
    progress: Progress | None = None,
) -> Derivation:
    """Take a model to its discrete step, adjoint and stability.

    Raises ``ModelErrors`` with every mistake of the model, ``UsageError`` for an
    override of something that it does not declare.
    """
    overrides = {canonical(name): value for name, value in (overrides or {}).items()}
    tell = progress or (lambda stage: None)
    tell("parsing")
    reporter = Reporter(source)
    tree = parse_readable(source, reporter)
    with deep_recursion(source):
        tell("resolving names and types")
        model = resolve(tree, source, overrides, reporter)
        tell("discretising")
        program = discretise(model)
        tell("deriving gradients")
        return derive_all(model, program)


def compile_source(
    source: Source,
    *,
    target: str = "numpy",
    overrides: Mapping[str, float] | None = None,
    accurate: bool = False,
    arrays: bool = False,
    progress: Progress | None = None,
) -> Compilation:
    """Compile a model to the text of a module.

    ``accurate`` takes the C library's functions where a target has approximations,
    ``arrays`` array operations where it has kernels.
    """
    if target not in TARGETS:
        raise UsageError(f"unknown target '{target}'; known: {', '.join(TARGETS)}")
    derivation = derive(source, overrides=overrides, progress=progress)
    if progress:
        progress("writing the module")
    with deep_recursion(source):
        chosen, options = TARGETS[target], dict(overrides or {})
        text = emit(
            derivation,
            target=chosen,
            options=options,
            accurate=accurate,
            arrays=arrays,
        )
    return Compilation(derivation, text, summarise(derivation))


def require(target: str) -> None:
    """Raise ``UsageError`` where the package that a target's modules need is absent."""
    needs = TARGETS[target].needs
    if needs and importlib.util.find_spec(needs) is None:
        raise UsageError(
            f"the target '{target}' needs the package {needs}: "
            f"pip install 'pdec[{needs}]'"
        )


def named(compilation: Compilation) -> str:
    """Return the name that a module is registered under: its model's and content."""
    return f"pdec_{compilation.model.name}_{digest(compilation.text)}"


def module_of(compilation: Compilation) -> ModuleType:
    """Run the text of a compiled model as a module."""
    return module_from(named(compilation), compilation.text)
