"""The body of a generated function in the making: its lines, and what they refer to.

An array is kept in a dict, ``v`` where each sample has one, ``c`` where all share it,
and reaches the lines of a function as a local variable: ``z`` for ``v["z"]``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import sympy

from pdec.adjoints.adjoint import BAR, DOT
from pdec.forms.statements import Array, Axis, Map, Role, Statement
from pdec.forms.symbolic import BATCH, TIME, Access, Constant, IndexValue, accesses
from pdec.targets.arrays import InPlace
from pdec.targets.inline import Inline
from pdec.targets.layout import call, comment
from pdec.targets.names import Names
from pdec.targets.views import bare, running_indices, spread

# the number of the step as a number of the run's dtype: `n` itself would promote it
LEVEL = Constant("n~float")

MARKS = {BAR: "_bar", DOT: "_dot", "": ""}


def split_mark(name: str) -> tuple[str, str]:
    """An internal name as (base, mark): ("z", "~bar")."""
    base, tilde, kind = name.partition("~")
    return base, tilde + kind


@dataclass
class Module:
    """What the functions of one module share: arrays, identifiers, scratch space."""

    arrays: dict[str, Array]
    axes: tuple[str, ...]
    names: Names
    scratch: dict[str, Array] = field(default_factory=dict)
    scratch_ghosts: dict[str, int] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)

    def array(self, name: str) -> Array:
        """The array behind an internal name, marks included, or a scratch array."""
        if name in self.scratch:
            return self.scratch[name]
        return self.arrays[split_mark(name)[0]]

    def home(self, name: str) -> str:
        """Where an array is kept: ``c["W0"]``, ``v_bar["z"]``."""
        base, mark = split_mark(name)
        letter = "v" if self.array(name).per_sample else "c"
        return f'{letter}{MARKS[mark]}["{base}"]'

    def scratch_name(
        self, running: tuple[str, ...], number: int, sizes: dict[str, int]
    ) -> str:
        """A scratch array over running indices, shared by all functions."""
        ghosts = self.scratch_ghosts if {*running}.issuperset(self.axes) else {}
        axes = tuple(
            Axis(name, 0 if name == BATCH else sizes[name], ghosts.get(name, 0))
            for name in running
        )
        same = [
            n
            for n, a in self.scratch.items()
            if [(x.size, x.ghosts) for x in a.axes]
            == [(x.size, x.ghosts) for x in axes]
        ]
        if number < len(same):
            return same[number]
        name = next(f"t{k}" for k in range(1000) if self._free(f"t{k}"))
        self.scratch[name] = Array(name, axes, Role.WORK)
        return name

    def _free(self, name: str) -> bool:
        taken = name in self.scratch or name in self.arrays
        return not taken and not self.names.knows(name)  # as a constant


class Body:
    """The lines of a function, the local variables they use and what they have made."""

    mark = "#"  # of a comment

    def __init__(self, module: Module) -> None:
        self.module = module
        self.lines: list[str] = []
        self.reads: set[str] = set()
        self.locals: dict[str, str] = {}
        self.made: set[str] = set()
        self.parts = 0
        self._said = ""

    def explain(self, statement: Statement) -> None:
        """Say which piece of the equation comes next, once."""
        text, location = statement.origin
        said = f"{text}  ({location})" if location else text
        if said != self._said and text:
            self.lines += comment(said, mark=self.mark)
        self._said = said

    def make(self, name: str, home: str, value: str) -> None:
        """Put a shared array that the function makes itself into its dict."""
        identifier = self.module.names(name)
        self.made.add(identifier)
        self.lines += call(f"{identifier} = {home} = np.asarray", [value])

    def local(self, name: str) -> str:
        """The local variable that holds an array."""
        if name in self.module.scratch:
            self.locals[name] = f'v["{name}"]'
            return name
        identifier = self.module.names(name)
        if identifier not in self.made:
            self.locals.setdefault(identifier, self.module.home(name))
        return identifier

    def refer(self, symbol: sympy.Symbol) -> str:
        """A scalar inside an inline expression."""
        if isinstance(symbol, Access):
            return self.view(symbol, ())
        if symbol == LEVEL:
            arrays = self.module.arrays.values()
            field = next(array.name for array in arrays if array.role is Role.STATE)
            self.locals[self.module.names(LEVEL.name)] = f'v["{field}"].dtype.type(n)'
        return self.module.names(str(symbol.name))

    def view(self, access: Access, running: tuple[str, ...]) -> str:
        """An element as an operand beside the running indices."""
        return spread(
            access, self.module.array(access.array), self.local(access.array), running
        )

    def raw(self, access: Access) -> str:
        """An element's view in the array's own order of axes."""
        return bare(access, self.module.array(access.array), self.local(access.array))

    def sizes(self, statement: Map) -> dict[str, int]:
        """Length of every index of a statement."""
        found: dict[str, int] = {}
        for access in (statement.target, *accesses(statement.expr)):
            for axis, name in zip(
                self.module.array(access.array).axes, access.places, strict=True
            ):
                found[name] = axis.extent(name)
        return found

    def index_value(
        self, value: IndexValue, running: tuple[str, ...], size: int
    ) -> str:
        """0, 1, … along an index, aligned with the running indices."""
        behind = len(running) - running.index(value.index_name) - 1
        tail = f"[:{', None' * behind}]" if behind else ""
        return f"np.arange({size}){tail}"

    def numbered(self, statement: Map) -> Map:
        """A statement whose time is written with the number of the step."""
        level = {IndexValue(TIME): LEVEL}
        return replace(statement, expr=statement.expr.xreplace(level))

    def running(self, statement: Map) -> tuple[str, ...]:
        return running_indices(statement.target, statement.over, self.module.axes)

    def writer(self, statement: Map, running: tuple[str, ...]) -> InPlace:
        sizes = self.sizes(statement)

        def refer(symbol: sympy.Symbol) -> str:
            if isinstance(symbol, IndexValue):
                return self.index_value(symbol, running, sizes[symbol.index_name])
            return self.refer(symbol)

        def scratch(indices: tuple[str, ...], number: int) -> str:
            name = self.module.scratch_name(indices, number, sizes)
            return self.scratch_view(Access(name, tuple((i, 0) for i in indices)))

        return InPlace(running, self.view, Inline(refer), scratch)

    def summand(self, writer: InPlace, expr: sympy.Expr) -> str:
        """What is summed, as an array over the running indices."""
        return writer.value(expr)

    def scratch_view(self, access: Access) -> str:
        """The cells of a scratch array."""
        padded = self.module.array(access.array).padded
        return self.raw(access) if padded else self.local(access.array)
