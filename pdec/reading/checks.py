"""Checks: lines that the grammar accepts but that people read in more than one way.

Input: the nodes of one statement.  Output: errors, each with the possible bracketings:

    M2/2 ∂²z   →   'M2/2 ∂²z' can be read in two ways
                   hint: write `(M2/2) ∂²z` or `M2/(2 ∂²z)`
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pdec.errors import Reporter
from pdec.reading import tree
from pdec.reading.lines import MAX_NESTING, shown
from pdec.reading.spelling import RESERVED, STATEMENT_WORDS
from pdec.reading.tree import (
    Binary,
    Derivative,
    Expr,
    Group,
    Juxtaposition,
    Name,
    Number,
    Power,
    Root,
)
from pdec.source import Span

MAX_DIGITS = 60
MAX_NAME = 60
MAX_ORDER = 4
MAX_FACTORS = 100

_Sign = (Derivative, Root)


def check(nodes: Iterable[Any], reporter: Reporter) -> None:
    """Report what is ambiguous, unbounded or reserved in the nodes of one statement."""
    for node in nodes:
        if _check_depth(node, reporter):
            _check_node(node, reporter)


def _check_depth(root: Any, reporter: Reporter) -> bool:
    """Bound the depth of a tree, so that every later stage may recurse over it."""
    waiting = [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_NESTING:
            message = f"this is nested more than {MAX_NESTING} levels deep"
            hint = "give parts of it a name: `Z = …`; a sum of n terms has n levels"
            reporter.error(message, root.span, hint)
            return False
        waiting += [(child, depth + 1) for child in _children(node)]
    return True


def _check_node(node: Any, reporter: Reporter) -> None:
    rule = _RULES.get(type(node))
    if rule is not None and rule(node, reporter):
        return
    product = isinstance(node, Juxtaposition)
    before: Any = None
    for child in _children(node):
        if isinstance(before, _Sign) and not product:
            _report_bare(before, reporter)
        if isinstance(child, Group) and len(child.items) > 1:
            _check_list(child, before if product else None, reporter)
        _check_node(child, reporter)
        before = child
    if isinstance(before, _Sign):
        _report_bare(before, reporter)


def _children(node: Any) -> Iterator[Any]:
    """Yield the nodes directly below a node, in source order."""
    waiting = [getattr(node, field.name) for field in dataclasses.fields(node)][::-1]
    while waiting:
        value = waiting.pop()
        if isinstance(value, tuple):
            waiting += value[::-1]
        elif dataclasses.is_dataclass(value) and not isinstance(value, Span):
            yield value


# --- rules: report and return True, or return False -------------------------------


def _check_name(name: Name, reporter: Reporter) -> bool:
    if "/" in name.name:
        message = "a time derivative stands only at the start of a statement"
        hint = f"name its right side: `F = …`, `{name.text} = F`, and use F here"
        reporter.error(message, name.span, hint)
    elif name.name in RESERVED or name.text in RESERVED:
        message = f"'{name.text}' is a word of the language, not a name"
        hint = "choose another name"
        if name.text in STATEMENT_WORDS:
            hint += ", or start the statement on a line of its own"
        reporter.error(message, name.span, hint)
    elif len(name.text) > MAX_NAME:
        message = f"this name has more than {MAX_NAME} characters"
        reporter.error(message, name.span, "choose a shorter one")
    else:
        return False
    return True


def _check_number(number: Number, reporter: Reporter) -> bool:
    text = shown(number.text)
    if len(number.text) > MAX_DIGITS:
        message = f"the number '{text}' has more than {MAX_DIGITS} characters"
        reporter.error(message, number.span, "16 digits are all that a float holds")
    elif not math.isfinite(number.value):
        message = f"'{text}' is not a finite number"
        reporter.error(message, number.span, "the largest is about 1.8e308")
    elif number.value == 0 and number.text.lower().split("e")[0].strip("0."):
        message = f"'{text}' is too small: it would be rounded to zero"
        reporter.error(message, number.span, "write `0`, or scale the equation")
    else:
        return False
    return True


def _check_power(power: Power, reporter: Reporter) -> bool:
    if isinstance(power.base, Root | Derivative):
        return False
    try:
        value = _literal(power)
    except (OverflowError, ZeroDivisionError):
        value = math.inf
    if value is None or (isinstance(value, float) and math.isfinite(value)):
        return False
    text = _quoting(reporter)(power.span)
    kind = "real" if isinstance(value, complex) else "finite"
    reporter.error(f"'{text}' is not a {kind} number", power.span)
    return True


def _check_derivative(sign: Derivative, reporter: Reporter) -> bool:
    hint: str | None = None
    if sign.kind == "laplacian" and sign.order != 2:
        message = f"'{sign.text}' is not an operator"
        hint = "the Laplacian is `∇²`, twice it is `∇²(∇²z)`"
    elif not 1 <= sign.order <= MAX_ORDER:
        message = f"'{sign.text}': the order of a derivative is 1 to {MAX_ORDER}"
        hint = "a derivative of a derivative is `∂²(∂⁴z)`"
    elif sign.axes is not None and "t" in sign.axes:
        message = f"'{sign.text}' is not an operator"
        hint = "a time derivative is `dz/dt = …`, at the start of a statement"
    elif sign.axes is not None and len(sign.axes) != sign.order:
        message = (
            f"'{sign.text}' has order {sign.order} above and {len(sign.axes)} below"
        )
        hint = "for example `d2/dx2` or `d2/dxdy`"
    else:
        return False
    reporter.error(message, sign.span, hint)
    return True


def _check_juxtaposition(product: Juxtaposition, reporter: Reporter) -> bool:
    text = _quoting(reporter)
    if any(isinstance(item, Name) and item.text in RESERVED for item in product.items):
        return False
    if len(product.items) > MAX_FACTORS:
        message = f"this is a product of more than {MAX_FACTORS} factors"
        reporter.error(message, product.span, "give parts of it a name: `Z = …`")
        return True
    for before, item in zip(product.items, product.items[1:], strict=False):
        if _is_number(item) and isinstance(before, Derivative):
            message = f"'{before.text}' is followed by a number"
            hint = "the order of a derivative is written `∂²` or `d2/dx2`"
            reporter.error(message, Span(before.span.start, item.span.end), hint)
            return True
        if _is_number(item) and not isinstance(before, Root):
            number, other = text(item.span), text(before.span)
            message = f"the number '{number}' does not lead its product"
            hint = f"write `{other} * {number}` or `{other}^{number}`"
            if not _is_number(before):
                hint = hint.replace("write", f"write `{number} {other}`,", 1)
            reporter.error(message, item.span, hint)
            return True
        if isinstance(item, Power) and isinstance(before, _Sign):
            _report_power_of_sign(before, item, product, reporter)
            return True
        if isinstance(item, Group) and _ends_in_caret_name(before):
            _report_power_of_call(before, item, reporter)
            return True
    return False


def _check_division(operation: Binary, reporter: Reporter) -> bool:
    if operation.op != "/":
        return False
    right = operation.right
    while isinstance(right, tree.Negate):
        right = right.operand
    letter = _leibniz_axis(operation.left, right)
    if letter is not None:
        _report_leibniz(operation, letter, reporter)
        return True
    items = _items(right)
    count = _first_operand(items)
    if count == len(items):
        return False
    text = _quoting(reporter)
    divisor = text(Span(operation.right.span.start, items[count - 1].span.end))
    others = text(Span(items[count].span.start, right.span.end))
    left, whole = text(operation.left.span), text(operation.right.span)
    if isinstance(items[0], Derivative):
        divisor = f"({divisor})"
    message = f"'{text(operation.span)}' can be read in two ways"
    hint = f"write `({left}/{divisor}) {others}` or `{left}/({whole})`"
    reporter.error(message, operation.span, hint)
    return True


_RULES: dict[type, Callable[[Any, Reporter], bool]] = {
    Name: _check_name,
    Number: _check_number,
    Power: _check_power,
    Derivative: _check_derivative,
    Juxtaposition: _check_juxtaposition,
    Binary: _check_division,
}

# --- reports ----------------------------------------------------------------------


def _report_bare(sign: Derivative | Root, reporter: Reporter) -> None:
    text = _quoting(reporter)(sign.span)
    message = f"'{text}' has nothing to act on"
    reporter.error(message, sign.span, f"write its operand after it: `{text} z`")


def _check_list(group: Group, before: Expr | None, reporter: Reporter) -> None:
    """Report ``(a, b)`` where no function name stands before it."""
    if isinstance(before, Power):
        before = before.base
    if not isinstance(before, Name):
        message = f"the list '{_quoting(reporter)(group.span)}' is not a value"
        hint = "a list in brackets follows the name of a function"
        reporter.error(message, group.span, hint)


def _report_power_of_sign(
    sign: Derivative | Root, power: Power, product: Juxtaposition, reporter: Reporter
) -> None:
    text = _quoting(reporter)
    mark, base = text(sign.span), text(power.base.span)
    raised = text(Span(power.base.span.end, power.span.end))
    end = power.span.end
    following = product.items[product.items.index(power) + 1 :]
    if isinstance(power.base, Name) and following and isinstance(following[0], Group):
        end = following[0].span.end
        base += text(following[0].span)
    whole = text(Span(power.span.start, end))
    span = Span(sign.span.start, end)
    message = f"'{text(span)}' can be read in two ways"
    reporter.error(
        message, span, f"write `{mark}({whole})` or `({mark}{base}){raised}`"
    )


def _report_power_of_call(power: Expr, group: Group, reporter: Reporter) -> None:
    assert isinstance(power, Power)
    text = _quoting(reporter)
    base, exponent = text(power.base.span), text(power.exponent.span)
    span = Span(power.span.start, group.span.end)
    message = f"'{text(span)}' can be read in two ways"
    whole, call = text(power.span), exponent + text(group.span)
    reporter.error(
        message, span, f"write `{base}^({call})` or `({whole}) {text(group.span)}`"
    )


def _report_leibniz(operation: Binary, letter: str, reporter: Reporter) -> None:
    text = _quoting(reporter)
    items = _items(operation.left)
    place = max(at for at, item in enumerate(items) if isinstance(item, Derivative))
    sign = items[place]
    assert isinstance(sign, Derivative)
    following = items[place + 1 :] or _items(operation.right)[2:]
    operand = text(following[0].span) if following else "z"
    if letter == "t":
        hint = f"a time derivative is `d{operand}/dt = …`, at the start of a statement"
    else:
        order = min(max(sign.order, 1), MAX_ORDER)
        power = "" if order == 1 else str(order)
        hint = (
            f"write `{sign.text}{operand}`, `∂{letter * order} {operand}` or "
            f"`d{power}/d{letter}{power} {operand}`"
        )
    message = f"'{text(operation.span)}' is not how a derivative is written"
    reporter.error(message, operation.span, hint)


# --- helpers ----------------------------------------------------------------------


def _quoting(reporter: Reporter) -> Callable[[Span], str]:
    return lambda span: shown(reporter.source.excerpt(span))


def _items(expression: Expr) -> tuple[Expr, ...]:
    if isinstance(expression, Juxtaposition):
        return expression.items
    return (expression,)


def _leibniz_axis(above: Expr, below: Expr) -> str | None:
    """Return x of ``∂²u/∂x²`` or ``∂²/∂x² u``, None where it is another quotient."""
    items = _items(below)
    if not isinstance(items[0], Derivative) or len(items) < 2:
        return None
    if not any(isinstance(item, Derivative) for item in _items(above)):
        return None
    axis = items[1].base if isinstance(items[1], Power) else items[1]
    if not isinstance(axis, Name) or len(axis.text) > 1:
        return None
    bare = isinstance(_items(above)[-1], Derivative)
    return axis.text if bare or len(items) == 2 else None


def _first_operand(items: tuple[Expr, ...]) -> int:
    """Count the items of the first operand: its signs, itself, its arguments."""
    count = 0
    while count < len(items) - 1 and isinstance(items[count], _Sign):
        count += 1
    head = items[count]
    base = head.base if isinstance(head, Power) else head
    count += 1
    if (
        isinstance(base, Name)
        and count < len(items)
        and isinstance(items[count], Group)
    ):
        count += 1
    return count


def _is_number(item: Expr) -> bool:
    while isinstance(item, Power):
        item = item.base
    return isinstance(item, Number)


def _ends_in_caret_name(item: Expr) -> bool:
    found = False
    while isinstance(item, Power):
        item, found = item.exponent, True
        while isinstance(item, tree.Negate):
            item = item.operand
    return found and isinstance(item, Name)


def _literal(expression: Expr) -> float | complex | None:
    """Fold a power of numbers in floating point; None where a name stands in it."""
    if isinstance(expression, Number):
        return expression.value
    if isinstance(expression, Group) and len(expression.items) == 1:
        return _literal(expression.items[0])
    if isinstance(expression, tree.Negate):
        value = _literal(expression.operand)
        return None if value is None else -value
    if isinstance(expression, Power):
        base, exponent = _literal(expression.base), _literal(expression.exponent)
        if base is None or exponent is None:
            return None
        value = base**exponent
        return value if isinstance(value, complex) else float(value)
    return None
