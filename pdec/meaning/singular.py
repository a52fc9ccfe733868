"""Singular points: where a model divides by zero, or takes a root of what is negative.

Stage 2e, called by ``resolve.py``.  Model → guard(model, …) → Model: what only one
branch of a ``where`` needs is computed of 1 where the other branch is taken, so that
neither the value nor the gradient meets an infinity that was selected away,

    where(w, z/w, 0)   →   where(w, z/where(w, w, 1), 0)

and a doubt is reported about every divisor that can vanish, every root and logarithm of
what can be negative, for parameters within their bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import sympy

from pdec.errors import Reporter
from pdec.forms.functions import Select
from pdec.forms.model import Definition, Model
from pdec.forms.notation import text
from pdec.forms.symbolic import Access
from pdec.meaning.ranges import POSITIVE, End, Range, Ranges, bounds, point
from pdec.reading import tree
from pdec.source import Span

# where a base of a power, or (True) a divisor, was written, and its text
Places = Mapping[tuple[sympy.Expr, bool], tuple[Span, str]]


def guard(
    model: Model,
    statements: Iterable[tree.Statement],
    places: Places,
    reporter: Reporter,
) -> Model:
    """Shield what a ``where`` selects away; warn of what remains singular."""
    strict = {
        item.name.name: set(_strict(item))
        for statement in statements
        if isinstance(statement, tree.Declaration)
        for item in statement.items
    }
    definitions = dict(model.definitions)
    ranges = Ranges(_leaves(model, strict), definitions)
    shield = _Shield(model, definitions, ranges)
    for name in tuple(definitions):
        if definitions[name].expr.has(Select):
            expr = shield.selections(definitions[name].expr, name)
            if expr != definitions[name].expr:
                definitions[name] = replace(definitions[name], expr=expr)
                ranges.forget()
    guarded = replace(model, definitions=definitions)
    _warn(guarded, ranges, places, reporter)
    return guarded


def _strict(item: tree.Declared) -> Iterator[str]:
    """The sides (``>`` or ``<``) at which a parameter keeps away from its bound."""
    relations = [relation for relation, _ in item.constraints]
    for side in "><":
        if side in relations and f"{side}=" not in relations:
            yield side
    for _, operand in item.constraints:
        if isinstance(operand, tree.Interval):
            yield from "" if operand.low_closed else ">"
            yield from "" if operand.high_closed else "<"


def _leaves(model: Model, strict: dict[str, set[str]]) -> dict[str, Range]:
    """The ranges of what a model is made of; what is not here is any number."""
    leaves = {name: point(value) for name, value in model.constants.items()}
    leaves |= {f"d{name}": point(axis.spacing) for name, axis in model.axes.items()}
    for name in ("dt", "omega"):
        leaves.setdefault(name, POSITIVE)
    leaves["t"] = Range(End(0.0), POSITIVE.high)
    for name, axis in model.axes.items():
        first = End(axis.low, not axis.periodic)  # with walls, x_0 = a + Δx/2
        leaves[name] = Range(first, End(axis.high, True))
    return leaves | bounds(model.params, strict)


@dataclass(frozen=True, slots=True)
class _Singular:
    """A root, logarithm (exponent 0) or quotient, and what its argument may not be."""

    whole: sympy.Expr
    base: sympy.Expr
    exponent: sympy.Expr
    fault: str


def _singular(expr: sympy.Expr, ranges: Ranges) -> _Singular | None:
    """What can go wrong in one node of an expression, if anything can."""
    if isinstance(expr, sympy.log):
        base, exponent = expr.args[0], sympy.S.Zero
        within = ranges.of(base)
        wrong = within.has_negative or within.allows(0.0)
        return _Singular(expr, base, exponent, "0 or negative") if wrong else None
    if not expr.is_Pow:
        return None
    base, exponent = expr.args[0], ranges.exponent(expr)
    within = ranges.of(base)
    if within.has_negative and not exponent.is_Integer:
        return _Singular(expr, base, exponent, "negative")
    vanishes = exponent.is_negative and within.allows(0.0)
    return _Singular(expr, base, exponent, "0") if vanishes else None


# --- what a selection shields -----------------------------------------------------


@dataclass
class _Shield:
    """Puts 1 for singular arguments where the branch that needs them is not taken."""

    model: Model
    definitions: dict[str, Definition]
    ranges: Ranges

    def selections(self, expr: sympy.Expr, reader: str) -> sympy.Expr:
        """The expression, with both branches of its selections shielded."""
        if not expr.has(Select):
            return expr
        if not isinstance(expr, Select):
            return expr.func(*(self.selections(a, reader) for a in expr.args))
        condition, yes, no = expr.args
        yes = self._branch(self.selections(yes, reader), condition, True, reader)
        no = self._branch(self.selections(no, reader), condition, False, reader)
        return Select(condition, yes, no)

    def _branch(
        self, expr: sympy.Expr, condition: sympy.Expr, taken: bool, reader: str
    ) -> sympy.Expr:
        """A branch, with what is singular in it computed of 1 where it is not taken."""
        if isinstance(expr, Access):
            return self._named(expr, condition, taken, reader)
        if not expr.args:
            return expr
        arguments = [self._branch(a, condition, taken, reader) for a in expr.args]
        result: sympy.Expr = expr.func(*arguments)
        if found := _singular(result, self.ranges):
            branches = (found.base, sympy.S.One) if taken else (sympy.S.One, found.base)
            result = result.func(Select(condition, *branches), *result.args[1:])
        return result

    def _named(
        self, access: Access, condition: sympy.Expr, taken: bool, reader: str
    ) -> sympy.Expr:
        """A definition that only this branch reads is shielded in its place."""
        known = self.definitions.get(access.array)
        if known is None or known.over or access != known.element:
            return access
        inside = {name for a in condition.atoms(Access) for name in a.places}
        if not inside <= set(access.places) or self._readers(access.array) != [reader]:
            return access
        expr = self._branch(known.expr, condition, taken, access.array)
        if expr != known.expr:
            self.definitions[access.array] = replace(known, expr=expr)
            self.ranges.forget()
        return access

    def _readers(self, name: str) -> list[str]:
        """Who reads a definition: names of definitions, "" for the equations."""
        readers = [
            reader
            for reader, definition in self.definitions.items()
            if _reads(definition.expr, name)
        ]
        return readers + [""] * any(_reads(e, name) for e, _ in _equations(self.model))


def _reads(expr: sympy.Expr, name: str) -> bool:
    return any(access.array == name for access in expr.atoms(Access))


# --- doubts ------------------------------------------------------------------------


def _equations(model: Model) -> Iterator[tuple[sympy.Expr, Span]]:
    """Every expression of a model that is no definition, with its place."""
    for value in (*model.evolution.values(), *model.initial.values()):
        yield value.expr, value.span
    for condition in (c for side in model.boundaries.values() for c in side):
        yield from ((e, condition.span) for e in (*condition.factors, condition.value))
    for term in (model.loss, model.penalty):
        if term is not None:
            yield term.expr, term.span


def _warn(model: Model, ranges: Ranges, places: Places, reporter: Reporter) -> None:
    written = [(d.expr, d.span) for d in model.definitions.values()]
    told: set[sympy.Expr] = set()
    for expr, span in (*written, *_equations(model)):
        for node in sympy.preorder_traversal(expr):
            found = _singular(node, ranges)
            if found and (found.base, found.fault) not in told:
                told.add((found.base, found.fault))
                where, what = places.get((found.base, found.fault == "0"), (span, ""))
                what = what or text(_as_written(found.base, model), model.spellings)
                reporter.warning(*_words(found, what, where, model))


def _words(
    found: _Singular, what: str, span: Span, model: Model
) -> tuple[str, Span, str]:
    """Say what can vanish or change its sign, and how to keep it from doing so."""
    base, power = found.base, text(found.exponent, model.spellings)
    raised = f"{what}^{power}" if what.isidentifier() else f"({what})^{power}"
    message = f"'{raised}' is not a number where '{what}' is {found.fault}"
    hint = f"write `(abs({what}))^{power}`, or `(max({what}, 0))^{power}`"
    if found.fault == "0":
        message = f"this is divided by '{what}', which can be 0"
        hint = f"keep it from that: `max({what}, 1e-6)`"
    elif found.exponent == 0:
        message = f"'log({what})' is not a number where '{what}' is {found.fault}"
        hint = f"keep it from that: `log(max({what}, 1e-6))`"
    elif found.whole.exp == sympy.Rational(1, 2):
        message = f"'sqrt({what})' is not a number where '{what}' is negative"
        hint = f"keep it from that: `sqrt(max({what}, 0))`"
    if isinstance(base, Access) and base.array in model.params:
        away = ">=" if found.fault == "negative" else ">"
        hint = f"give it a bound: `param {what} {away} 0`"
    return message, span, hint


def _as_written(expr: sympy.Expr, model: Model) -> sympy.Expr:
    """An expression with the names that the compiler made up written out."""
    if isinstance(expr, Select) and sympy.S.One in expr.args[1:]:
        expr = expr.args[1] if expr.args[2] == 1 else expr.args[2]  # a shield
    names = {}
    for access in expr.atoms(Access):
        known = model.definitions.get(access.array)
        if known is None or known.written:
            continue
        names[access] = sympy.Symbol(model.source.excerpt(known.span))
        if access == known.element and not known.over:
            names[access] = _as_written(known.expr, model)
    return expr.xreplace(names)
