"""The NumPy target: blocks of statements as functions on whole tiles of samples.

Arrays of samples live in ``v`` (cotangents ``v_bar``, tangents ``v_dot``) and are written
in place; arrays that all samples share live in ``c``.  Every statement is preceded by
the piece of the equation that it computes and the line of the source that it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import sympy

from pdec.adjoint import BAR, DOT
from pdec.statements import (
    Array,
    Axis,
    Clear,
    Fold,
    Ghost,
    GhostRow,
    Map,
    Role,
    Statement,
)
from pdec.symbolic import BATCH, TIME, Access, IndexValue, accesses, negative, ordered
from pdec.targets.arrays import InPlace
from pdec.targets.inline import PRODUCT, UNARY, Inline
from pdec.targets.layout import INDENT, assign, call, comment, unpack
from pdec.targets.names import Names
from pdec.targets.products import contraction, matrix_product, split_scalar
from pdec.targets.views import axes_of, bare, plain_slice, spread

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
    private: set[str] = field(default_factory=set)

    def array(self, name: str) -> Array:
        """The array behind an internal name, marks included."""
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
        shape = [(name, 0 if name == BATCH else sizes[name]) for name in running]
        axes = tuple(Axis(name, size) for name, size in shape)
        same = [
            n
            for n, a in self.scratch.items()
            if [x.size for x in a.axes] == [x.size for x in axes]
        ]
        if number < len(same):
            return same[number]
        name = next(f"t{k}" for k in range(1000) if self._free(f"t{k}"))
        self.scratch[name] = Array(name, axes, Role.WORK)
        return name

    def _free(self, name: str) -> bool:
        return name not in self.scratch and name not in self.arrays


class Function:
    """One function of the generated module in the making."""

    def __init__(self, module: Module, head: str, doc: str) -> None:
        self.module = module
        self.head = head
        self.doc = doc
        self.body: list[str] = []
        self.reads: set[str] = set()
        self._locals: dict[str, str] = {}
        self._made: set[str] = set()
        self._said: str | None = None

    def make(self, name: str, home: str, value: str) -> None:
        """Put a shared array that the function makes itself into its dict."""
        identifier = self.module.names(name)
        self._made.add(identifier)
        self.body += call(f"{identifier} = {home} = np.asarray", [value])

    def text(self) -> str:
        """The finished function."""
        unpacked = unpack(self._locals)
        return "\n".join(
            [self.head, f'{INDENT}"""{self.doc}"""', *unpacked, *self.body]
        )

    # --- references ------------------------------------------------------------------

    def local(self, name: str) -> str:
        """The local variable that holds an array."""
        if name in self.module.scratch:
            self._locals[name] = f'v["{name}"]'
            return name
        identifier = self.module.names(name)
        if identifier not in self._made:
            self._locals.setdefault(identifier, self.module.home(name))
        return identifier

    def refer(self, symbol: sympy.Symbol) -> str:
        """A scalar inside an inline expression."""
        if isinstance(symbol, Access):
            return self.view(symbol, ())
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
                self.module.array(access.array).axes, access.indices, strict=True
            ):
                found[name] = axis.size
        return found

    def index_value(
        self, value: IndexValue, running: tuple[str, ...], size: int
    ) -> str:
        """0, 1, … along an index, aligned with the running indices."""
        behind = len(running) - running.index(value.index_name) - 1
        tail = f"[:{', None' * behind}]" if behind else ""
        return f"np.arange({size}){tail}"

    # --- statements ------------------------------------------------------------------

    def explain(self, statement: Statement) -> None:
        """Say which piece of the equation comes next, once."""
        origin = statement.origin
        said = f"{origin.text}  ({origin.location})" if origin.location else origin.text
        if said != self._said and origin.text:
            self.body.append(comment(said))
        self._said = said

    def add_all(self, statements: Iterable[Statement]) -> None:
        """Write statements in order."""
        listed = tuple(statements)
        for statement in listed:
            if isinstance(statement, Map):
                self.reads |= {access.array for access in accesses(statement.expr)}
            else:
                self.reads.add(statement.array)
        for statement in listed:
            self.add(statement)

    def add(self, statement: Statement) -> None:
        """Write one statement."""
        self.explain(statement)
        if isinstance(statement, Clear):
            self._clear(statement)
        elif isinstance(statement, Ghost):
            self._ghost(statement)
        elif isinstance(statement, Fold):
            self._fold(statement)
        elif self._inline(statement):
            self._map_inline(statement)
        else:
            self._map(statement)

    def _inline(self, statement: Map) -> bool:
        """Statements on shared arrays alone run once a call and are written inline."""
        touched = [statement.target, *accesses(statement.expr)]
        return not any(self.module.array(a.array).per_sample for a in touched)

    def _clear(self, statement: Clear) -> None:
        name = self.local(statement.array)
        array = self.module.array(statement.array)
        if not statement.ghosts_only:
            self.body.append(f"{INDENT}{name}[...] = 0.0")
            return
        for position, axis in enumerate(array.axes):
            if axis.ghosts:
                before = ":, " * position
                self.body.append(f"{INDENT}{name}[{before}:{axis.ghosts}] = 0.0")
                self.body.append(f"{INDENT}{name}[{before}{-axis.ghosts}:] = 0.0")

    # --- ghost cells -------------------------------------------------------------------

    def _places(self, name: str, axis: str) -> tuple[Array, int]:
        array = self.module.array(name)
        ghosts = next(a.ghosts for a in array.axes if a.name == axis)
        return array, ghosts

    def _ghost_rows(self, ghost: Ghost) -> list[tuple[int, GhostRow]]:
        """Each ghost cell's position along the axis, with its row."""
        _, width = self._places(ghost.array, ghost.axis)
        low = [(width - 1 - k, row) for k, row in enumerate(ghost.low)]
        return low + [(k - width, row) for k, row in enumerate(ghost.high)]

    def _cell(self, name: str, axis: str, side: int, distance: int) -> str:
        array, width = self._places(name, axis)
        place = width + distance if side < 0 else -width - 1 - distance
        return self.local(name) + plain_slice(array, axis, place)

    def _ghost(self, ghost: Ghost) -> None:
        array, _ = self._places(ghost.array, ghost.axis)
        for place, row in self._ghost_rows(ghost):
            left = self.local(ghost.array) + plain_slice(array, ghost.axis, place)
            terms: list[str] = []
            for side, distance, weight in row.cells:
                cell = self._cell(ghost.array, ghost.axis, side, distance)
                terms.append(self._weighted(weight, cell, first=not terms))
            if row.value != 0:
                sign = "-" if negative(row.value) else "+"
                value = Inline(self.refer)(
                    -row.value if sign == "-" else row.value, PRODUCT
                )
                terms.append(f"{sign} {value}")
            self.body += assign(f"{left} =", terms or ["0.0"])

    def _weighted(self, weight: sympy.Expr, cell: str, *, first: bool) -> str:
        minus = negative(weight)
        factor = -weight if minus else weight
        written = (
            cell if factor == 1 else f"{Inline(self.refer)(factor, PRODUCT)} * {cell}"
        )
        if first:
            return f"-{written}" if minus else written
        return f"{'-' if minus else '+'} {written}"

    def _fold(self, fold: Fold) -> None:
        ghost = fold.ghost
        array, _ = self._places(ghost.array, ghost.axis)
        for place, row in self._ghost_rows(ghost):
            source = self.local(fold.array) + plain_slice(array, ghost.axis, place)
            for side, distance, weight in row.cells:
                cell = self._cell(fold.array, ghost.axis, side, distance)
                minus = negative(weight)
                term = self._weighted(-weight if minus else weight, source, first=True)
                self.body.append(f"{INDENT}{cell} {'-' if minus else '+'}= {term}")

    # --- maps on arrays of samples -------------------------------------------------------

    def _map(self, statement: Map) -> None:
        if statement.over:
            self._reduce(statement)
            return
        running = self._running(statement)
        writer = self._writer(statement, running)
        target = self.view(statement.target, running)
        if not statement.accumulate:
            writer.write(statement.expr, target)
        else:
            minus = negative(statement.expr)
            value = writer.value(-statement.expr if minus else statement.expr)
            writer.operation(
                "np.subtract" if minus else "np.add", [target, value], target
            )
        self.body += writer.lines

    def _running(self, statement: Map) -> tuple[str, ...]:
        names = {*statement.target.indices, *statement.over} - {TIME}
        return ordered(names, self.module.axes)

    def _writer(self, statement: Map, running: tuple[str, ...]) -> InPlace:
        sizes = self.sizes(statement)

        def refer(symbol: sympy.Symbol) -> str:
            if isinstance(symbol, IndexValue):
                return self.index_value(symbol, running, sizes[symbol.index_name])
            return self.refer(symbol)

        def scratch(indices: tuple[str, ...], number: int) -> str:
            return self.local(self.module.scratch_name(indices, number, sizes))

        return InPlace(running, self.view, Inline(refer), scratch)

    def _reduce(self, statement: Map) -> None:
        """Sums over indices: a matrix product, an einsum, or np.sum of a scratch array."""
        target = statement.target
        shared = not self.module.array(target.array).per_sample
        scalar = shared and not target.index
        parts = sympy.Add.make_args(sympy.expand_mul(statement.expr))
        products = [contraction(term) for term in parts]
        if statement.maximum or scalar or not all(products):
            self._reduce_scratch(statement, scalar=scalar)
            return
        for number, (factor, left, right) in enumerate(p for p in products if p):
            add = statement.accumulate or shared or number > 0
            if right is None:
                self._sum_of_one(statement, factor, left, add=add)
            elif not self._matmul(statement, factor, left, right, add=add):
                self._einsum(statement, factor, left, right, add=add)

    def _deposit(
        self,
        target: Access,
        factor: sympy.Expr,
        head: str,
        arguments: list[str],
        *,
        add: bool,
    ) -> None:
        """``target (+)= factor * head(arguments)``."""
        minus = negative(factor)
        size = -factor if minus else factor
        scale = "" if size == 1 else f"{Inline(self.refer)(size, UNARY)} * "
        sign = ("-=" if minus else "+=") if add else ("= -" if minus else "=")
        glue = "" if sign.endswith("= -") else " "
        self.body += call(f"{self._left(target)} {sign}{glue}{scale}{head}", arguments)

    def _left(self, target: Access) -> str:
        """A target as the left side of an assignment."""
        array = self.module.array(target.array)
        if array.per_sample:
            written = self.raw(target)
            return written if written.endswith("]") else f"{written}[...]"
        home = self.module.home(target.array)
        written = spread(
            target, array, home, tuple(i for i in target.indices if i != TIME)
        )
        return f"{written}[...]" if written.endswith(")") else written

    def _sum_of_one(
        self, statement: Map, factor: sympy.Expr, value: Access, *, add: bool
    ) -> None:
        own = tuple(index for index in value.indices if index != TIME)
        arguments = [self.raw(value), f"axis={axes_of(own, statement.over)}"]
        self._deposit(statement.target, factor, "np.sum", arguments, add=add)

    def _einsum(
        self,
        statement: Map,
        factor: sympy.Expr,
        left: Access,
        right: Access,
        *,
        add: bool,
    ) -> None:
        letters = _letters(
            {*left.indices, *right.indices, *statement.target.indices}, self.module.axes
        )
        words = [
            "".join(letters[i] for i in a.indices if i != TIME) for a in (left, right)
        ]
        result = "".join(letters[i] for i in statement.target.indices if i != TIME)
        arguments = [
            f'"{words[0]},{words[1]}->{result}"',
            self.raw(left),
            self.raw(right),
        ]
        if set(words[0]) - set(words[1]) and set(words[1]) - set(words[0]):
            arguments.append("optimize=True")
        self._deposit(statement.target, factor, "np.einsum", arguments, add=add)

    def _matmul(
        self,
        statement: Map,
        factor: sympy.Expr,
        left: Access,
        right: Access,
        *,
        add: bool,
    ) -> bool:
        """A matrix acting on the channels of every cell goes to BLAS."""
        if factor != 1 or not self.module.array(statement.target.array).per_sample:
            return False
        product = matrix_product(
            statement, left, right, self.module.array, self.module.axes
        )
        if product is None:
            return False
        matrix, field, transposed, lift = product
        name = self.raw(matrix) + (".T" if transposed else "")
        wrap = (
            (lambda view: f"np.swapaxes({view}, 1, 2)") if lift else (lambda view: view)
        )
        out = self.raw(statement.target)
        if add:
            indices = tuple(i for i in statement.target.indices)
            place = self.local(
                self.module.scratch_name(indices, 0, self.sizes(statement))
            )
            self.body += call(
                "np.matmul", [name, wrap(self.raw(field)), f"out={wrap(place)}"]
            )
            self.body += call("np.add", [out, place, f"out={out}"])
        else:
            self.body += call(
                "np.matmul", [name, wrap(self.raw(field)), f"out={wrap(out)}"]
            )
        return True

    def _reduce_scratch(self, statement: Map, *, scalar: bool) -> None:
        running = self._running(statement)
        writer = self._writer(statement, running)
        factor, expr = sympy.S.One, statement.expr
        if not statement.maximum:
            factor, expr = split_scalar(statement.expr)
        value = writer.value(expr)
        self.body += writer.lines
        axes = axes_of(running, statement.over)
        if scalar:
            # the cells of one sample in the working precision, the samples in float64
            inner = tuple(i for i in statement.over if i != BATCH)
            each = (
                f"np.sum({value}, axis={axes_of(running, inner)})" if inner else value
            )
            arguments = [each, "dtype=np.float64"]
            self._deposit(statement.target, factor, "np.sum", arguments, add=True)
            return
        name = "np.max" if statement.maximum else "np.sum"
        add = (
            statement.accumulate
            or not self.module.array(statement.target.array).per_sample
        )
        self._deposit(statement.target, factor, name, [value, f"axis={axes}"], add=add)

    # --- maps on shared arrays -----------------------------------------------------------

    def _map_inline(self, statement: Map) -> None:
        running = ordered(
            {*statement.target.indices, *statement.over}, self.module.axes
        )
        target, array = statement.target, self.module.array(statement.target.array)

        def refer(symbol: sympy.Symbol) -> str:
            if isinstance(symbol, Access):
                return self._shared_view(symbol, running)
            return self.module.names(str(symbol.name))

        inline = Inline(refer)
        if statement.accumulate:
            minus = negative(statement.expr)
            expr = -statement.expr if minus else statement.expr
            whole = spread_all(
                target, array, self.module.home(target.array), target.indices
            )
            left = f"{whole} {'-=' if minus else '+='}"
        else:
            expr, left = statement.expr, f"{self._place(target, array)} ="
        if statement.over:
            axes = axes_of(running, statement.over)
            whole = set(statement.over) == set(running)
            arguments = [inline(expr)] if whole else [inline(expr), f"axis={axes}"]
            self.body += call(f"{left} np.sum", arguments)
            return
        self.body += assign(left, inline.terms(expr))

    def _place(self, target: Access, array: Array) -> str:
        """The left side of an assignment that makes a shared array."""
        name = target.array
        identifier, home = self.module.names(name), self.module.home(name)
        self._made.add(identifier)
        if split_mark(name)[0] in self.module.private:
            return identifier
        if not array.padded:
            return f"{identifier} = {home}" if name in self.reads else home
        dtype = "next(iter(c.values())).dtype"
        shape = ", ".join(str(length) for length in array.padded_shape)
        comma = "," if len(array.padded_shape) == 1 else ""
        self.body += call(
            f"{identifier} = {home} = np.empty", [f"({shape}{comma})", dtype]
        )
        return spread(target, array, identifier, target.indices)

    def _shared_view(self, access: Access, running: tuple[str, ...]) -> str:
        """Shared arrays keep their time axis here: all steps at once."""
        array = self.module.array(access.array)
        return spread_all(access, array, self.local(access.array), running)


def spread_all(
    access: Access, array: Array, name: str, running: tuple[str, ...]
) -> str:
    """Like ``spread``, with the time axis as an axis like any other."""
    renamed = Access(
        access.array, tuple((f"{i}'" if i == TIME else i, o) for i, o in access.index)
    )
    names = tuple(f"{i}'" if i == TIME else i for i in running)
    return spread(renamed, array, name, names)


def _letters(indices: set[str], axes: tuple[str, ...]) -> dict[str, str]:
    """A letter for each index of an einsum: axes keep theirs, the batch is b if free."""
    found = {name: name for name in sorted(indices) if name in axes}
    free = iter(letter for letter in "bijklmnopq" if letter not in found.values())
    for name in ordered(indices - set(found) - {TIME}, axes):
        found[name] = next(free)
    return found
