"""The NumPy target: blocks of statements as functions on whole tiles of samples.

Arrays of samples live in ``v`` (cotangents ``v_bar``, tangents ``v_dot``) and are
written in place; arrays that all samples share live in ``c``.  Every statement is
preceded by the piece of the equation that it computes and its line in the source.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import sympy

from pdec.contracts import SampleFunction, Target, Written
from pdec.statements import Clear, Fold, Ghost, Linear, Map, Solve, Statement
from pdec.symbolic import Access, Constant, accesses, negative
from pdec.targets import ghosts, solves
from pdec.targets.body import LEVEL, Body, Module
from pdec.targets.inline import Inline
from pdec.targets.layout import INDENT, comment, unpack
from pdec.targets.reductions import reduce
from pdec.targets.shared import map_shared

if TYPE_CHECKING:
    from pdec.derive import Derivation


def indexed(access: Access) -> bool:
    """Whether an element is one of many."""
    return bool(access.index)


class Function(Body):
    """One function of the generated module in the making."""

    def __init__(self, module: Module, head: str, doc: str) -> None:
        super().__init__(module)
        self.head = head
        self.doc = doc
        self._said: str | None = None
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
        for statement in listed:
            self.add(statement)

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
            call
            for call in statement.expr.atoms(sympy.Function)
            if LEVEL in call.free_symbols and not any(map(indexed, accesses(call)))
        ]
        for call in sorted(calls, key=sympy.default_sort_key):
            if call not in self._calls:
                name = f"{type(call).__name__}~{len(self._calls)}"
                self._calls[call] = Constant(name)
                self.lines.append(f"{INDENT}{self.module.names(name)} = {inline(call)}")
            found[call] = self._calls[call]
        return replace(statement, expr=statement.expr.xreplace(found))

    def explain(self, statement: Statement) -> None:
        """Say which piece of the equation comes next, once."""
        origin = statement.origin
        said = f"{origin.text}  ({origin.location})" if origin.location else origin.text
        if said != self._said and origin.text:
            self.lines.append(comment(said))
        self._said = said

    def _shared(self, statement: Map) -> bool:
        """Statements on shared arrays alone run once a call and are written inline."""
        touched = [statement.target, *accesses(statement.expr)]
        return not any(self.module.array(a.array).per_sample for a in touched)

    def _map(self, statement: Map) -> None:
        if statement.over:
            reduce(self, statement)
            return
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


def write(
    functions: Sequence[SampleFunction], module: Module, derivation: Derivation
) -> Written:
    """Write the functions on tiles of samples."""
    del derivation
    texts = []
    for each in functions:
        function = Function(module, f"def {each.name}{_signature(each.name)}", each.doc)
        if each.first:
            function.lines.append(f"{INDENT}{each.first}(n, c, v)")
        function.add_all(each.statements)
        texts.append(function.text())
    return Written(texts, [], [])


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
        driver=("tiles", "numpy_driver", "pattern", "implicit"),
        tools=("host",),
    ),
)
