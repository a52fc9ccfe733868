"""The syntax tree's builder: one method per grammar rule, children → node.

Lark calls each method as it reduces the rule, so no recursion is involved.  All tokens
are kept, so a rule's span runs from its first child to its last:

    binary: expr PLUS term   →   Binary("+", expr, term, Span(expr.start, term.end))
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

from lark import Token, Transformer

from pdec.reading import tree
from pdec.reading.spelling import SUPERSCRIPTS, canonical
from pdec.reading.tree import Expr, Name, Statement
from pdec.source import Span

_T = TypeVar("_T")

_OPERATORS = {"PLUS": "+", "MINUS": "-", "STAR": "*", "DOT": "*", "SLASH": "/"}
_COMPARISONS = {"GE": ">=", "GT": ">", "LE": "<=", "LT": "<"}
_EVERY_FACTOR = re.compile(r"d([^\W\d_])([0-9²³⁴]?)")


@dataclass(frozen=True, slots=True)
class _Part:
    """A rule's result that is no node of the tree: its kind, value and span."""

    kind: str
    value: Any
    span: Span


# What a rule is given: tokens, nodes and parts.  Lark does not type them.
_Children = list[Any]


class Builder(Transformer[Token, tuple[Statement, ...] | Expr]):
    """Turns the rules of ``npde.lark`` into nodes of ``pdec.reading.tree``."""

    # --- statements ---------------------------------------------------------------

    def model(self, children: _Children) -> tuple[Statement, ...]:
        return (tree.ModelStatement(children[1], _span(children)),)

    def dim(self, children: _Children) -> tuple[Statement, ...]:
        bindings = _parts(children, "binding")
        spans = _statement_spans(children[0], bindings)
        return tuple(
            tree.DimStatement(part.value[0], part.value[1], span)
            for part, span in zip(bindings, spans, strict=True)
        )

    def const(self, children: _Children) -> tuple[Statement, ...]:
        items = tuple(part.value for part in _parts(children, "binding"))
        return (tree.ConstStatement(items, _span(children)),)

    def binding(self, children: _Children) -> _Part:
        return _Part("binding", (children[0], children[2]), _span(children))

    def grid(self, children: _Children) -> tuple[Statement, ...]:
        return (tree.GridStatement(_nodes(children, tree.Axis), _span(children)),)

    def axis(self, children: _Children) -> tree.Axis:
        name, _, size, _, _, interval = children[:6]
        periodic = len(children) > 6
        return tree.Axis(name, size, interval, periodic, _span(children))

    def interval(self, children: _Children) -> tree.Interval:
        opening, low, _, high, closing = children
        closed = (opening.type == "LSQB", closing.type == "RSQB")
        return tree.Interval(low, high, *closed, _span(children))

    def declaration(self, children: _Children) -> tuple[Statement, ...]:
        items = _nodes(children, tree.Declared)
        return (tree.Declaration(str(children[0]), items, _span(children)),)

    def declared(self, children: _Children) -> tree.Declared:
        shaped = children[0]
        constraints = tuple(part.value for part in _parts(children, "constraint"))
        initial = next((part.value for part in _parts(children, "initial")), None)
        span = _span(children)
        return tree.Declared(
            shaped.name, shaped.shape, shaped.domain, constraints, initial, span
        )

    def shaped(self, children: _Children) -> tree.Declared:
        shape = next((part.value for part in _parts(children, "shape")), ())
        domain = next((part.value for part in _parts(children, "domain")), None)
        return tree.Declared(children[0], shape, domain, (), None, _span(children))

    def shape(self, children: _Children) -> _Part:
        return _Part("shape", _listed(children), _span(children))

    def domain(self, children: _Children) -> _Part:
        return _Part("domain", _listed(children), _span(children))

    def constraint(self, children: _Children) -> _Part:
        sign = children[0]
        word = _COMPARISONS.get(sign.type, str(sign))
        operand = children[1] if len(children) > 1 else None
        return _Part("constraint", (word, operand), _span(children))

    def initial(self, children: _Children) -> _Part:
        return _Part("initial", children[1], _span(children))

    def target(self, children: _Children) -> tuple[Statement, ...]:
        aims = _parts(children, "aim")
        spans = _statement_spans(children[0], aims)
        return tuple(
            tree.TargetStatement(part.value[0], part.value[1], part.value[2], span)
            for part, span in zip(aims, spans, strict=True)
        )

    def aim(self, children: _Children) -> _Part:
        words = [child.type for child in children if isinstance(child, Token)]
        every = children[-1] if "EVERY" in words else None
        return _Part("aim", (children[0], "CLASS" in words, every), _span(children))

    def kernel(self, children: _Children) -> tuple[Statement, ...]:
        lists = [part.value for part in _parts(children, "names")]
        variables, parameters = lists if len(lists) == 2 else (lists[0], ())
        interval = _nodes(children, tree.Interval)
        name, body = children[1], children[-3 if interval else -1]
        statement = tree.KernelStatement(
            name, variables, parameters, body, _span(children), *interval
        )
        return (statement,)

    def names(self, children: _Children) -> _Part:
        return _Part("names", _nodes(children, Name), _span(children))

    def evolution(self, children: _Children) -> tuple[Statement, ...]:
        token, _, right = children
        text = str(token).split("/")[0].rstrip()[1:]
        start = token.start_pos + 1
        name = Name(text, canonical(text), Span(start, start + len(text)))
        return (tree.EvolutionStatement(name, right, _span(children)),)

    def equation(self, children: _Children) -> tuple[Statement, ...]:
        return (tree.Equation(children[0], children[2], _span(children)),)

    def at(self, children: _Children) -> tuple[Statement, ...]:
        axes = children[1].value
        place = children[3] if len(children) == 8 else None
        left, _, right = children[-3:]
        return (tree.AtStatement(axes, place, left, right, _span(children)),)

    def readout(self, children: _Children) -> tuple[Statement, ...]:
        _, declared, _, body = children
        return (tree.ReadoutStatement(declared, body, _span(children)),)

    def loss(self, children: _Children) -> tuple[Statement, ...]:
        return (tree.LossStatement(children[2], _span(children)),)

    def setting(self, children: _Children) -> tuple[Statement, ...]:
        key, value = children
        return (tree.SettingStatement(str(key), value, _span(children)),)

    # --- expressions --------------------------------------------------------------

    def binary(self, children: _Children) -> tree.Binary:
        left, sign, right = children
        contracts = sign.type == "DOT" and _meets_gradient(left, right)
        op = "." if contracts else _OPERATORS[sign.type]
        return tree.Binary(op, left, right, _span(children))

    def negate(self, children: _Children) -> tree.Negate:
        return tree.Negate(children[1], _span(children))

    def juxtaposition(self, children: _Children) -> tree.Juxtaposition:
        return tree.Juxtaposition(tuple(children), _span(children))

    def caret(self, children: _Children) -> tree.Power:
        return tree.Power(children[0], children[2], _span(children))

    def superscript(self, children: _Children) -> tree.Power:
        base, token = children
        return tree.Power(base, _raised_number(token), _span(children))

    def transpose(self, children: _Children) -> tree.Transpose:
        return tree.Transpose(children[0], _span(children))

    def index(self, children: _Children) -> tree.Index:
        return tree.Index(children[0], _listed(children[1:]), _span(children))

    def literal(self, children: _Children) -> tree.Number | Name:
        text = str(children[0])
        if children[0].type == "NUMBER":
            return tree.Number(text, float(text), _span(children))
        # dz/dt: no such name can be written; the checks report it.
        return Name(text, text, _span(children))

    def name(self, children: _Children) -> Name:
        text = str(children[0])
        return Name(text, canonical(text), _span(children))

    def group(self, children: _Children) -> tree.Group:
        return tree.Group(_listed(children), _span(children))

    def sign(self, children: _Children) -> tree.Derivative | tree.Root:
        token, span = children[0], _span(children)
        text = str(token)
        match token.type:
            case "ROOT":
                return tree.Root(span)
            case "PARTIAL":
                return tree.Derivative("partial", _order(text[1:]), None, text, span)
            case "D_BY_D":
                above, below = text.split("/", 1)
                order = _order(above.strip()[1:])
                return tree.Derivative("partial", order, _axes(below), text, span)
            case "NABLA":
                return tree.Derivative("gradient", 1, None, text, span)
            case "NABLA_DOT":
                return tree.Derivative("divergence", 1, None, text, span)
        order = _order(text[1:]) if text.startswith("∇") else 2
        return tree.Derivative("laplacian", order, None, text, span)


# --- helpers ----------------------------------------------------------------------


def _ends(child: Any) -> Span:
    if isinstance(child, Token):
        assert child.start_pos is not None and child.end_pos is not None
        return Span(child.start_pos, child.end_pos)
    span = child.span
    assert isinstance(span, Span)
    return span


def _span(children: _Children) -> Span:
    return Span(_ends(children[0]).start, _ends(children[-1]).end)


def _nodes(children: _Children, kind: type[_T]) -> tuple[_T, ...]:
    return tuple(child for child in children if isinstance(child, kind))


def _parts(children: _Children, kind: str) -> tuple[_Part, ...]:
    return tuple(part for part in _nodes(children, _Part) if part.kind == kind)


def _listed(children: _Children) -> tuple[Any, ...]:
    """Return the nodes between brackets and commas."""
    return tuple(child for child in children if not isinstance(child, Token))


def _statement_spans(word: Token, parts: tuple[_Part, ...]) -> tuple[Span, ...]:
    """Give the first of several statements on one line the word that starts it."""
    spans = [part.span for part in parts]
    spans[0] = Span(_ends(word).start, spans[0].end)
    return tuple(spans)


def _order(written: str) -> int:
    """Read the order of a derivative: nothing, ``²``, ``^2`` or ``2``.

    Absurd orders are all the same mistake, so 99 stands for any of them.
    """
    digits = "".join(SUPERSCRIPTS.get(digit, digit) for digit in written)
    digits = digits.strip("^ \t\n").lstrip("0")
    if not digits:
        return 0 if written else 1
    return int(digits) if len(digits) < 3 else 99


def _axes(below: str) -> tuple[str, ...]:
    """Read the axes of ``dx2`` or ``dxdy``: ("x", "x"), ("x", "y")."""
    axes: list[str] = []
    for letter, power in _EVERY_FACTOR.findall(below):
        axes += [canonical(letter)] * _order(power)
    return tuple(axes)


def _raised_number(token: Token) -> Expr:
    """Turn ``²`` into Number 2 and ``⁻¹`` into Negate(Number 1)."""
    assert token.start_pos is not None and token.end_pos is not None
    text = str(token)
    digits = text.lstrip("⁻")
    value = float("".join(SUPERSCRIPTS[digit] for digit in digits))
    span = Span(token.end_pos - len(digits), token.end_pos)
    number = tree.Number(digits, value, span)
    if digits == text:
        return number
    return tree.Negate(number, Span(token.start_pos, token.end_pos))


def _meets_gradient(left: Expr, right: Expr) -> bool:
    """Tell whether ``left · right`` contracts the axis index of a ∇."""
    if isinstance(left, tree.Number):
        return False
    return any(
        isinstance(item, tree.Derivative) and item.kind == "gradient"
        for side in (left, right)
        for item in (side.items if isinstance(side, tree.Juxtaposition) else (side,))
    )
