"""The scope: which names a model declares, while stage 2 gives them meaning.

``resolve.py`` fills a ``Builder`` with the declarations of a file; ``expressions.py``
asks it what a name stands for and gives names to intermediate values.  A mistake is
reported once and raised as ``Mistake``, which the statement's handler catches, so that
one wrong statement does not hide the next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn

import sympy

from pdec.contracts import Operator, Scope, discover
from pdec.errors import Reporter, split_name, suggest
from pdec.forms.model import Channel, Definition, GridAxis, Typed, Variable
from pdec.forms.statements import Array, Axis, Role
from pdec.forms.symbolic import BATCH, TIME, varies
from pdec.meaning.bounds import check_substitution
from pdec.meaning.claims import Claim
from pdec.reading import tree
from pdec.reading.lines import blank_comments
from pdec.source import Source, Span

Apply = Callable[[tuple[Typed, ...], Scope, Span], Typed]

MOMENTS = "moments"  # moments(K, n) stands before an operand, as ∂ does

# Names that the generated module uses for itself, besides Python's keywords.
TAKEN = frozenset(
    {"np", "numpy", "c", "v", "n", "c_bar", "v_bar", "c_dot", "v_dot", "steps"}
)


class Mistake(Exception):
    """A mistake of the user's that has been reported already."""


@dataclass(frozen=True, slots=True)
class UserFunction:
    """``f(s) = body``: argument names and the body, translated when first called."""

    name: tree.Name
    arguments: tuple[tree.Name, ...]
    body: tree.Expr


@dataclass
class Builder:
    """The declarations of a model in the making."""

    source: Source
    reporter: Reporter
    translate: Callable[[tree.Expr, Builder], Typed]
    axes: dict[str, GridAxis] = field(default_factory=dict)
    dims: dict[str, int] = field(default_factory=dict)
    constants: dict[str, float] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    functions: dict[str, UserFunction] = field(default_factory=dict)
    definitions: dict[str, Definition] = field(default_factory=dict)
    pending: dict[str, tree.Equation] = field(default_factory=dict)
    located: dict[str, tuple[str, ...]] = field(default_factory=dict)
    steps: int = 1
    accuracy: int = 2
    every: int | None = None
    kernels: dict[str, tree.KernelStatement] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    wall: tuple[str, int] | None = None
    declared: dict[str, Span] = field(default_factory=dict)
    spellings: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, sympy.Symbol] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()
    failed: set[str] = field(default_factory=set)
    walls_unclear: set[str] = field(default_factory=set)
    places: dict[tuple[sympy.Expr, bool], tuple[Span, str]] = field(
        default_factory=dict
    )
    _bodies: dict[str, Typed] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _failed: set[str] = field(default_factory=set)

    # --- mistakes ------------------------------------------------------------------

    def fail(self, message: str, span: Span, hint: str | None = None) -> NoReturn:
        """Report a mistake and leave the statement."""
        self.reporter.error(message, span, hint)
        raise Mistake

    def missing(self, message: str, hint: str) -> None:
        """Report what the file lacks, at its end."""
        end = len(blank_comments(self.source.text).rstrip())
        self.reporter.error(message, Span(max(end - 1, 0), end), hint)

    def doubtful(self, *words: str) -> bool:
        """Whether one of these was given in a line that has a mistake of its own."""
        return any(word in self.unread or word in self.failed for word in words)

    def unknown(self, name: tree.Name, *, called: bool = False) -> NoReturn:
        """Report a name that nothing declares, with the nearest one that is.

        Stay silent where the declaration itself was the mistake.
        """
        if self.doubtful(name.name):
            raise Mistake
        if name.name in self.claims:
            kind = self.claims[name.name].kind
            self.fail(
                f"'{name.text}' is a {kind}: a number known at compile time is "
                "needed here",
                name.span,
                "such a number is made of numbers and constants",
            )
        what = "function" if called else "name"
        self.fail(f"unknown {what} '{name.text}'", name.span, self._hint(name, called))

    def _hint(self, name: tree.Name, called: bool) -> str:
        """Say what an unknown name may have been meant to be."""
        spelt = {**dict.fromkeys(self.operators), **self.claims, **self.axes}
        known = {self.spellings.get(key, key): key for key in spelt}
        if parts := split_name(name.text, {*known, "π"}):
            return f"a product is written with a space: `{parts[0]} {parts[1]}`"
        near = suggest(name.name, [*known.values(), "laplacian", MOMENTS])
        if near:
            return f"did you mean `{self.spellings.get(near, near)}`?"
        if name.name in ("omega", "gamma"):
            return f"declare it: `const {name.text} = 1`"
        if called:
            return f"define it: `{name.text}(s) = …`"
        learnt = f"`param {name.text} init 0` if it is learnt"
        return f"declare it: `const {name.text} = 1`, or {learnt}"

    def unknown_axis(self, axis: str, span: Span) -> NoReturn:
        """Report an axis that the grid does not have."""
        if self.doubtful(axis) or axis in self.claims:
            if self.doubtful(axis) or self.claims[axis].kind == "axis":
                raise Mistake
        if self.axes:
            hint = f"its axes: {', '.join(self.axes)}"
            self.fail(f"the grid has no axis '{axis}'", span, hint)
        if self.doubtful("grid"):
            raise Mistake
        hint = f"add a line such as `grid {axis}[64] on [0, 1) periodic`"
        self.fail(f"there is no grid, so there is no axis '{axis}'", span, hint)

    def note(self, value: Typed, operand: tree.Expr, whole: tree.Expr) -> None:
        """Remember where a divisor or the base of a power stands, for later doubts."""
        divided = isinstance(whole, tree.Binary)
        inside = operand.items[0] if isinstance(operand, tree.Group) else operand
        written = " ".join(self.source.excerpt(inside.span).split())
        span = operand.span if divided else whole.span
        self.places.setdefault((value.expr, divided), (span, written))

    # --- names ---------------------------------------------------------------------

    def declare(self, name: tree.Name) -> None:
        """Claim a name for one declaration."""
        if name.name in (TIME, MOMENTS) or (name.name in self.operators):
            what = "time" if name.name == TIME else "a function of the language"
            self.failed.add(name.name)
            message = f"'{name.text}' is {what} and cannot be declared"
            self.fail(message, name.span, "choose another name")
        claim = self.claims.get(name.name)
        first = claim.span if claim else self.declared.get(name.name, name.span)
        if first != name.span or name.name in self.declared:
            row, _ = self.source.position(first.start)
            self.fail(
                f"'{name.text}' is declared twice",
                name.span,
                f"the first declaration is on line {row}",
            )
        self.declared[name.name] = name.span
        self.spellings[name.name] = name.text

    def fresh(self, hint: str) -> str:
        """An unused name for an intermediate value."""
        used = {*self.declared, *self.definitions, *TAKEN}
        candidates = [hint, *(f"{hint}_{count}" for count in range(1, 10_000))]
        return next(name for name in candidates if name not in used)

    def channels(self, variable: str) -> tuple[Channel, ...]:
        """Channel shape of a declared variable."""
        return self.variables[variable].shape

    # --- functions -----------------------------------------------------------------

    @cached_property
    def operators(self) -> dict[str, Operator]:
        """The functions of the language."""
        return discover("pdec.operators", Operator)

    @property
    def smooth_functions(self) -> set[str]:
        """Functions of numbers, whose values are given a name when they are applied."""
        plain = {name for name, op in self.operators.items() if op.elementwise}
        return plain | set(self.functions)

    def knows(self, name: str) -> bool:
        """Whether a name stands for something, or was meant to."""
        return (
            self.is_function(name)
            or self.doubtful(name)
            or name in self.claims
            or name in self.arguments
            or name in ("pi", MOMENTS, TIME)
        )

    def is_function(self, name: str) -> bool:
        """Whether a name is applied to arguments."""
        return name in self.functions or (
            name in self.operators and name not in self.variables
        )

    def function(self, name: str) -> tuple[int, Apply]:
        """Arity and meaning of a function."""
        if name not in self.functions:
            operator = self.operators[name]
            return operator.arity, operator.apply
        function = self.functions[name]

        def apply(arguments: tuple[Typed, ...], scope: Scope, span: Span) -> Typed:
            body = self._body(function)
            values = dict(zip(self._dummies(function), arguments, strict=True))
            replaced = {symbol: value.expr for symbol, value in values.items()}
            check_substitution(body.expr, replaced, span, scope)
            expr = body.expr.xreplace(replaced)
            shape, domain = body.shape, body.domain
            for value in arguments:
                shape, domain = shape or value.shape, domain | value.domain
            return Typed(expr, shape, domain, span)

        return len(function.arguments), apply

    def _dummies(self, function: UserFunction) -> tuple[sympy.Symbol, ...]:
        """Symbols of a function's arguments; the marker keeps them apart from names."""
        return tuple(sympy.Symbol(f"{a.name}?", real=True) for a in function.arguments)

    def _body(self, function: UserFunction) -> Typed:
        name = function.name.name
        if name in self._open:
            self.fail(self._circle(name), function.name.span)
        if name in self._failed:
            raise Mistake  # reported when it was first called
        if name not in self._bodies:
            self._failed.add(name)
            outer, self.arguments = (
                self.arguments,
                dict(
                    zip(
                        (a.name for a in function.arguments),
                        self._dummies(function),
                        strict=True,
                    )
                ),
            )
            self._open.append(name)
            try:
                self._bodies[name] = self.translate(function.body, self)
            finally:
                self.arguments = outer
                self._open.pop()
            self._failed.remove(name)
        return self._bodies[name]

    def check_functions(self) -> None:
        """Report the mistakes of functions that nothing calls."""
        for function in self.functions.values():
            with contextlib.suppress(Mistake):
                self._body(function)

    def _circle(self, name: str) -> str:
        """Describe a definition that needs itself: ``A → B → A``."""
        around = [*self._open[self._open.index(name) :], name]
        path = " → ".join(self.spellings[item] for item in around)
        how = f": {path}" if len(around) > 2 else ""
        return f"'{self.spellings[name]}' is defined by itself{how}"

    # --- intermediate values -------------------------------------------------------

    def defines(self, name: str) -> bool:
        """Whether the user wrote this definition; made-up names do not count."""
        known = self.definitions.get(name)
        return name in self.pending or (known is not None and known.written)

    def definition(self, name: str, span: Span) -> Definition:
        """The meaning of a definition of the user's, worked out when first needed."""
        if name in self.definitions:
            return self.definitions[name]
        if name in self._open:
            self.fail(self._circle(name), span)
        if name in self._failed:
            raise Mistake  # reported when it was first needed
        equation = self.pending[name]
        self._open.append(name)
        self._failed.add(name)
        try:
            value = self.translate(equation.right, self)
        finally:
            self._open.pop()
        self._failed.remove(name)
        self.definitions[name] = self._make(name, value, (), False, written=True)
        return self.definitions[name]

    def define(
        self,
        hint: str,
        value: Typed,
        *,
        over: tuple[str, ...] = (),
        maximum: bool = False,
    ) -> Typed:
        """Give an intermediate value a name; equal values share one."""
        if self.arguments:
            self.fail("a function of numbers cannot contain a reduction", value.span)
        for known in self.definitions.values():
            if (known.expr, known.over, known.maximum) == (value.expr, over, maximum):
                return Typed(known.element, known.shape, known.domain, value.span)
        made = self._make(self.fresh(hint), value, over, maximum, written=False)
        self.definitions[made.array.name] = made
        return Typed(made.element, made.shape, made.domain, value.span)

    def _make(
        self,
        name: str,
        value: Typed,
        over: tuple[str, ...],
        maximum: bool,
        *,
        written: bool,
    ) -> Definition:
        sampled = varies(value.expr)
        axes = array_axes(
            self.axes, value.shape, value.domain, sampled=sampled, steps=self.steps
        )
        role = Role.WORK if sampled else Role.COEFFICIENT
        return Definition(
            Array(name, axes, role),
            value.expr,
            value.shape,
            value.domain,
            value.span,
            over,
            maximum,
            written,
        )


def array_axes(
    grid: dict[str, GridAxis],
    shape: tuple[Channel, ...],
    domain: frozenset[str],
    *,
    sampled: bool,
    steps: int = 0,
) -> tuple[Axis, ...]:
    """Axes of an array in storage order: batch or time, channels, grid."""
    axes: list[Axis] = [Axis(BATCH, 0)] if sampled else []
    if TIME in domain and not sampled:
        axes.append(Axis(TIME, steps))
    axes += [Axis(f"i{n}", channel.size) for n, channel in enumerate(shape)]
    axes += [
        Axis(axis.name, axis.size) for axis in grid.values() if axis.name in domain
    ]
    return tuple(axes)
