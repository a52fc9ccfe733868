"""Maps on arrays that all samples share: plain expressions, evaluated once a call.

Z_0 = W0 - 2 W2/dx²   →   c["Z_0"] = W0 - 2.0 * W2 / dx**2
"""

from __future__ import annotations

import sympy

from pdec.forms.notation import term_key
from pdec.forms.statements import Array, Map
from pdec.forms.symbolic import TIME, Access, Constant, IndexValue, indices_of, negative
from pdec.targets.body import Body, split_mark
from pdec.targets.inline import Inline
from pdec.targets.layout import INDENT, WIDTH, call
from pdec.targets.views import axes_of, running_indices, spread


def map_shared(body: Body, statement: Map) -> None:
    """Write a Map on shared arrays alone as one assignment."""
    running = _all_running(statement, body.module.axes)
    target, array = statement.target, body.module.array(statement.target.array)

    sizes = body.sizes(statement)

    def refer(symbol: sympy.Symbol) -> str:
        if isinstance(symbol, IndexValue):
            return body.index_value(symbol, running, sizes[symbol.index_name])
        return shared_operand(body, running, symbol)

    inline = Inline(refer)
    if statement.accumulate:
        minus = negative(statement.expr)
        expr = -statement.expr if minus else statement.expr
        sum_so_far = _spread_all(
            target, array, body.module.home(target.array), target.indices
        )
        left = f"{sum_so_far} {'-=' if minus else '+='}"
    else:
        expr, left = statement.expr, f"{_place(body, target, array)} ="
    if statement.over:
        arguments = [inline(shortened(body, inline, expr, WIDTH - 24))]
        if set(statement.over) != set(running):
            arguments.append(f"axis={axes_of(running, statement.over)}")
        body.lines += call(f"{left} np.sum", arguments)
        return
    value = shortened(body, inline, expr, WIDTH - len(INDENT) - len(left) - 1)
    lacking = set(target.indices) - indices_of(expr)
    if lacking and not (statement.accumulate or array.padded):
        shape = str(array.padded_shape)
        body.lines += call(f"{left} np.broadcast_to", [inline(value), shape])
        return
    body.lines.append(f"{INDENT}{left} {inline(value)}")


def _all_running(statement: Map, axes: tuple[str, ...]) -> tuple[str, ...]:
    """The running indices with the time among them: these arrays hold all steps."""
    found = running_indices(statement.target, statement.over, axes)
    timed = TIME in {*statement.target.indices, *statement.over}
    return (TIME, *found) if timed else found


def shortened(
    body: Body, inline: Inline, expr: sympy.Expr, room: int, *, deeper: int = 0
) -> sympy.Expr:
    """An expression that fits into a line, with its long parts computed before it.

    The lines before it have room for ``deeper`` more columns of indentation.
    """
    if len(inline(expr)) <= room:
        return expr
    if expr.is_Add:
        return _summed(body, inline, expr, room, deeper)
    wide = WIDTH - len(INDENT) - len("part_99 = ") - deeper
    above, below = sympy.fraction(expr, exact=True)
    if above != 1 != below and len(inline(below)) > room // 2:
        named = _named(body, inline, 1 / below, wide, deeper)
        return shortened(body, inline, above * named, room, deeper=deeper)
    inner = sorted(
        (a for a in expr.args if a.args), key=lambda part: -len(inline(part))
    )
    if not inner:
        if not expr.is_Mul or len(expr.args) < 3:
            return expr
        half = len(expr.args) // 2  # of names alone, long ones
        part = _named(body, inline, sympy.Mul(*expr.args[:half]), wide, deeper)
        rest = sympy.Mul(*expr.args[half:])
        return shortened(body, inline, part * rest, room, deeper=deeper)
    part = _named(body, inline, inner[0], wide, deeper)
    return shortened(body, inline, expr.xreplace({inner[0]: part}), room, deeper=deeper)


def _summed(
    body: Body, inline: Inline, expr: sympy.Expr, room: int, deeper: int
) -> sympy.Expr:
    """A long sum, added up over several lines."""
    wide = WIDTH - len(INDENT) - len("part_99 = part_99 + ") - deeper
    terms = [
        shortened(body, inline, term, wide, deeper=deeper)
        for term in sorted(expr.args, key=term_key)
    ]
    total: sympy.Expr = sympy.S.Zero
    for term in terms:
        if len(inline(term)) > wide:  # as short as it gets
            term = _written(body, inline, term)
        if total != 0 and len(inline(total + term)) > wide:
            total = _named(body, inline, total, WIDTH, deeper)
        total += term
    if len(inline(total)) <= room:
        return total
    return _named(body, inline, total, WIDTH, deeper)


def _named(
    body: Body, inline: Inline, expr: sympy.Expr, room: int, deeper: int
) -> sympy.Expr:
    """Compute a part on a line of its own, and return the symbol for it."""
    return _written(body, inline, shortened(body, inline, expr, room, deeper=deeper))


def _written(body: Body, inline: Inline, value: sympy.Expr) -> sympy.Expr:
    """Write a part on a line of its own, and return the symbol for it."""
    body.parts += 1
    name = f"part~{body.parts}"
    body.lines.append(f"{INDENT}{body.module.names(name)} = {inline(value)}")
    return Constant(name)


def _place(body: Body, target: Access, array: Array) -> str:
    """The left side of an assignment that makes a shared array."""
    name = target.array
    identifier, home = body.module.names(name), body.module.home(name)
    body.made.add(identifier)
    if split_mark(name)[0] in body.module.private:
        return identifier
    if not array.padded:
        return f"{identifier} = {home}" if name in body.reads else home
    dtype = "next(iter(c.values())).dtype"
    shape = ", ".join(str(length) for length in array.padded_shape)
    comma = "," if len(array.padded_shape) == 1 else ""
    body.lines += call(
        f"{identifier} = {home} = np.zeros", [f"({shape}{comma})", dtype]
    )
    return _spread_all(target, array, identifier, target.indices)


def shared_operand(body: Body, running: tuple[str, ...], symbol: sympy.Symbol) -> str:
    """A symbol beside running indices; arrays keep their time axis, all steps."""
    if not isinstance(symbol, Access):
        return body.module.names(str(symbol.name))
    array = body.module.array(symbol.array)
    return _spread_all(symbol, array, body.local(symbol.array), running)


def _spread_all(
    access: Access, array: Array, name: str, running: tuple[str, ...]
) -> str:
    """Like ``spread``, with the time axis as an axis like any other."""
    renamed = Access(
        access.array, tuple((f"{i}'" if i == TIME else i, o) for i, o in access.index)
    )
    names = tuple(f"{i}'" if i == TIME else i for i in running)
    return spread(renamed, array, name, names)
