"""The NumPy target: blocks of statements as functions on whole tiles of samples.

Arrays of samples live in ``v`` (cotangents ``v_bar``, tangents ``v_dot``) and are
written in place; arrays that all samples share live in ``c``.  Every statement is
preceded by the piece of the equation that it computes and its line in the source.
A step and its adjoint work on unbroken lines where they can (``unbroken.py``): ``z`` is
the line then, and ``z_rows`` the array.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import sympy

from pdec.contracts import SampleFunction, Target, Written
from pdec.forms.statements import Clear, Fold, Ghost, Linear, Map, Solve, Statement
from pdec.forms.symbolic import TIME, Access, Constant, accesses, negative
from pdec.targets import ghosts, solves
from pdec.targets.arrays import InPlace
from pdec.targets.body import LEVEL, Body, Module
from pdec.targets.inline import Inline
from pdec.targets.layout import INDENT, comment, unpack
from pdec.targets.reductions import reduce
from pdec.targets.shared import map_shared
from pdec.targets.unbroken import Line, widened

if TYPE_CHECKING:
    from pdec.derive import Derivation


def indexed(access: Access) -> bool:
    """Whether an element is one of many."""
    return bool(access.index)


class Function(Body):
    """One function of the generated module in the making."""

    def __init__(
        self, module: Module, head: str, doc: str, line: Line | None = None
    ) -> None:
        super().__init__(module)
        self.line = line
        self.on_line = False  # whether the statement being written is
        self._folded: dict[str, list[str]] = {}  # along these axes, and not yet cleared
        self.head = head
        self.doc = doc
        self._calls: dict[sympy.Expr, Constant] = {}

    def text(self) -> str:
        """The finished function."""
        unpacked = unpack(self.locals)
        return "\n".join(
            [self.head, f'{INDENT}"""{self.doc}"""', *unpacked, *self.lines]
        )

    def add_all(self, statements: Iterable[Statement]) -> None:
        """Write statements in order."""
        listed = tuple(statements)
        for statement in listed:
            if isinstance(statement, Map):
                self.reads |= {access.array for access in accesses(statement.expr)}
            elif isinstance(statement, Ghost | Fold | Clear):
                self.reads.add(statement.array)
        for number, statement in enumerate(listed):
            if not self._is_clear(statement, listed[number + 1 :]):
                self.add(statement)
        self._clear_folded(list(self._folded))

    def _is_clear(self, statement: Statement, later: Sequence[Statement]) -> bool:
        """Whether ghost cells to be cleared are zero: emptied once they were folded.

        Those within the line are set with the cells, to what is zero there.
        """
        if not (self.line and isinstance(statement, Clear) and statement.ghosts_only):
            return False
        own = [s for s in later if s.writes == statement.array]
        folded = {s.ghost.axis for s in own if isinstance(s, Fold)}
        axes = self.module.array(statement.array).axes
        first = own[0] if own else None
        return (
            isinstance(first, Map)
            and not first.accumulate
            and self.line.takes(first)
            and folded.issuperset(axis.name for axis in axes if axis.ghosts)
        )

    def add(self, statement: Statement) -> None:
        """Write one statement."""
        if isinstance(statement, Map):
            statement = self.numbered(statement)
        self.explain(statement)
        if isinstance(statement, Clear):
            ghosts.clear(self, statement)
        elif isinstance(statement, Ghost):
            ghosts.fill(self, statement)
        elif isinstance(statement, Fold):
            ghosts.fold(self, statement)
            self._folded.setdefault(statement.array, []).append(statement.ghost.axis)
        elif isinstance(statement, Solve):
            for guess in statement.guess:
                self._map(guess)
            self.lines.append(solves.solve(statement))
        elif isinstance(statement, Linear):
            self.lines.append(solves.linear(statement))
        elif self._shared(statement):
            map_shared(self, statement)
        else:
            self._map(self._with_calls_named(statement))

    def _with_calls_named(self, statement: Map) -> Map:
        """Name the functions of time in a statement: cos_0 = np.cos(…)."""
        inline, found = Inline(self.refer), {}
        calls = [
            node
            for node in statement.expr.atoms(sympy.Function)
            if LEVEL in node.free_symbols and not any(map(indexed, accesses(node)))
        ]
        for node in sorted(calls, key=sympy.default_sort_key):
            if node not in self._calls:
                name = f"{type(node).__name__}~{len(self._calls)}"
                self._calls[node] = Constant(name)
                self.lines.append(f"{INDENT}{self.module.names(name)} = {inline(node)}")
            found[node] = self._calls[node]
        return replace(statement, expr=statement.expr.xreplace(found))

    def _shared(self, statement: Map) -> bool:
        """Statements on shared arrays alone run once a call and are written inline."""
        touched = [statement.target, *accesses(statement.expr)]
        return not any(self.module.array(a.array).per_sample for a in touched)

    def _map(self, statement: Map) -> None:
        self.on_line = self.line is not None and self.line.takes(statement)
        if self.on_line:
            self._clear_folded([a.array for a in accesses(statement.expr)])
        if statement.over:
            reduce(self, statement)
        else:
            self._assign(statement)
        self.on_line = False

    def _assign(self, statement: Map) -> None:
        running = self.running(statement)
        writer = self.writer(statement, running)
        target = self.view(statement.target, running)
        if not statement.accumulate:
            writer.write(statement.expr, target)
        else:
            minus = negative(statement.expr)
            value = writer.value(-statement.expr if minus else statement.expr)
            writer.operation(
                "np.subtract" if minus else "np.add", [target, value], target
            )
        self.lines += writer.lines

    def _clear_folded(self, names: Iterable[str]) -> None:
        """Set ghost cells whose cotangents have been handed on to zero, for the line.

        Not at once: what a wall is made of reads them after they were folded.
        """
        for name in names:
            axes = self._folded.pop(name, [])
            if axes and self.module.scratch_ghosts:
                ghosts.clear_along(self, name, axes)

    # --- the two ways to look at a tile: as a line, and as rows -----------------------

    def local(self, name: str) -> str:
        """The local variable that holds an array: z_rows for rows beside lines."""
        array = self.module.array(name)
        if not self.line or not array.per_sample or not array.padded:
            return super().local(name)
        identifier = self.module.names(f"{name}~rows")
        self.locals.setdefault(identifier, self.module.home(name))
        return identifier

    def view(self, access: Access, running: tuple[str, ...]) -> str:
        """An element as an operand: beside the running indices, or on the line."""
        if not (self.on_line and access.index) or set(access.indices) <= {TIME}:
            return super().view(access, running)
        assert self.line is not None
        mark, value = self.line.view(access, self.module.home(access.array))
        if not self.module.array(access.array).per_sample:
            self.line.copies.add(access.array)
            mark = "line"
        name = f"{access.array}~{mark}" if mark else access.array
        identifier = self.module.names(name)
        self.locals.setdefault(identifier, value)
        return identifier

    def summand(self, writer: InPlace, expr: sympy.Expr) -> str:
        """What is summed, without the ghost cells that are on the line."""
        if not self.on_line:
            return super().summand(writer, expr)
        if isinstance(expr, Access):
            return super().view(expr, writer.running)
        scratch = writer.value(expr)
        return self.raw(Access(scratch, tuple((i, 0) for i in writer.running)))

    def scratch_view(self, access: Access) -> str:
        """The cells of a scratch array, or all of it as a line."""
        if self.line is None or not self.on_line:
            return super().scratch_view(access)
        home = self.module.home(access.array)
        _, self.locals[access.array] = self.line.view(access, home)
        return access.array


def write(
    functions: Sequence[SampleFunction], module: Module, derivation: Derivation
) -> Written:
    """Write the functions on tiles of samples."""
    lines = Line(derivation, module.arrays)
    line = lines if module.scratch_ghosts else None
    texts = []
    for each in functions:
        head = f"def {each.name}{_signature(each.name)}"
        often = each.name in ("_step", "_step_vjp")
        function = Function(module, head, each.doc, line if often else None)
        if each.first:
            function.lines.append(f"{INDENT}{each.first}(n, c, v)")
        left = line.unfilled(each.statements) if line and each.name == "_step" else {}
        for name, axes in left.items():
            function.lines += comment(f"ghost cells of {name} not filled below")
            ghosts.clear_along(function, name, axes)
        function.add_all(each.statements)
        texts.append(function.text())
    return Written(texts, [], lines.tables())


def arrange(module: Module, derivation: Derivation) -> None:
    """Give the arrays of a module their layout."""
    module.arrays = widened(derivation)
    if line := Line(derivation, module.arrays):
        module.scratch_ghosts = line.ghosts


def _signature(name: str) -> str:
    """The arguments of a function, which its name tells."""
    number = "n: int, " if name.startswith(("_step", "_residual")) else ""
    if name.startswith("_residual") and name.endswith("_jvp"):
        return "(n: int, c: Arrays, v: Arrays, v_dot: Arrays) -> None:"
    more = ""
    for mark in ("bar", "dot"):
        if name.endswith({"bar": "_vjp", "dot": "_jvp"}[mark]):
            more = f", c_{mark}: Arrays, v_{mark}: Arrays"
    return f"({number}c: Arrays, v: Arrays{more}) -> None:"


PLUGINS = (
    Target(
        name="numpy",
        doc="NumPy alone, on tiles of samples that stay in the cache",
        write=write,
        driver=(
            "threads",
            "numpy/tiles",
            "numpy/driver",
            "stepping",
            "pattern",
            "numpy/implicit",
        ),
        tools=("host",),
        arrange=arrange,
    ),
)
