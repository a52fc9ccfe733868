"""Sums over indices: products of matrices or rows, an einsum, or a sum of an array.

Z_0̄ += Σ_{batch, x} Z̄ z     →   np.sum of np.vecdot(Z_bar, z), which sums along x
u = Σ_k A[i, k] v[k, x, y]   →   np.matmul
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import sympy

from pdec.forms.statements import Map
from pdec.forms.symbolic import BATCH, TIME, Access, negative, ordered
from pdec.targets.arrays import InPlace
from pdec.targets.body import Body
from pdec.targets.inline import UNARY, Inline
from pdec.targets.layout import call
from pdec.targets.products import (
    Product,
    contraction,
    matrix_product,
    split_scalar,
)
from pdec.targets.views import axes_of, spread


def reduce(body: Body, statement: Map) -> None:
    """Write a Map that sums, or takes the largest value, over indices."""
    target = statement.target
    shared = not body.module.array(target.array).per_sample
    scalar = shared and not target.index
    parts = sympy.Add.make_args(sympy.expand_mul(statement.expr))
    products = [contraction(term) for term in parts]
    if statement.maximum or scalar or not all(map(partial(_spans, target), products)):
        _reduce_scratch(body, statement, scalar=scalar)
        return
    for number, (factor, left, right) in enumerate(p for p in products if p):
        add = statement.accumulate or shared or number > 0
        if right is None:
            _sum_of_one(body, statement, factor, left, add=add)
        elif not _matmul(body, statement, factor, left, right, add=add):
            _einsum(body, statement, factor, left, right, add=add)


def _spans(target: Access, product: Product | None) -> bool:
    """Whether a product has all the indices of the target, so that none is spread."""
    if product is None:
        return False
    _, left, right = product
    found = {*left.indices, *(right.indices if right else ())}
    return set(target.indices) - {TIME} <= found


def _deposit(
    body: Body,
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
    scale = "" if size == 1 else f"{Inline(body.refer)(size, UNARY)} * "
    sign = ("-=" if minus else "+=") if add else ("= -" if minus else "=")
    glue = "" if sign.endswith("= -") else " "
    body.lines += call(f"{_left(body, target)} {sign}{glue}{scale}{head}", arguments)


def _left(body: Body, target: Access) -> str:
    """A target as the left side of an assignment."""
    array = body.module.array(target.array)
    if array.per_sample:
        written = body.raw(target)
        return written if written.endswith("]") else f"{written}[...]"
    home = body.module.home(target.array)
    written = spread(target, array, home, tuple(i for i in target.indices if i != TIME))
    return f"{written}[...]" if written.endswith(")") else written


def _sum_of_one(
    body: Body, statement: Map, factor: sympy.Expr, value: Access, *, add: bool
) -> None:
    own = tuple(index for index in value.indices if index != TIME)
    arguments = [body.raw(value), f"axis={axes_of(own, statement.over)}"]
    _deposit(body, statement.target, factor, "np.sum", arguments, add=add)


def _einsum(
    body: Body,
    statement: Map,
    factor: sympy.Expr,
    left: Access,
    right: Access,
    *,
    add: bool,
) -> None:
    letters = _letters(
        {*left.indices, *right.indices, *statement.target.indices}, body.module.axes
    )
    words = ["".join(letters[i] for i in a.indices if i != TIME) for a in (left, right)]
    result = "".join(letters[i] for i in statement.target.indices if i != TIME)
    arguments = [
        f'"{words[0]},{words[1]}->{result}"',
        body.raw(left),
        body.raw(right),
    ]
    if set(words[0]) - set(words[1]) and set(words[1]) - set(words[0]):
        arguments.append("optimize=True")
    _deposit(body, statement.target, factor, "np.einsum", arguments, add=add)


def _swapped(view: str) -> str:
    return f"np.swapaxes({view}, 1, 2)"


def _matmul(
    body: Body,
    statement: Map,
    factor: sympy.Expr,
    left: Access,
    right: Access,
    *,
    add: bool,
) -> bool:
    """A matrix acting on the channels of every cell goes to BLAS."""
    if factor != 1 or not body.module.array(statement.target.array).per_sample:
        return False
    product = matrix_product(
        statement, left, right, body.module.array, body.module.axes
    )
    if product is None:
        return False
    matrix, field, transposed, lift = product
    name = body.raw(matrix) + (".T" if transposed else "")
    wrap: Callable[[str], str] = _swapped if lift else str
    source, out = wrap(body.raw(field)), body.raw(statement.target)
    if add:
        indices, sizes = statement.target.indices, body.sizes(statement)
        scratch = body.module.scratch_name(indices, 0, sizes)
        place = body.scratch_view(Access(scratch, tuple((i, 0) for i in indices)))
        body.lines += call("np.matmul", [name, source, f"out={wrap(place)}"])
        body.lines += call("np.add", [out, place, f"out={out}"])
    else:
        body.lines += call("np.matmul", [name, source, f"out={wrap(out)}"])
    return True


def _reduce_scratch(body: Body, statement: Map, *, scalar: bool) -> None:
    running = body.running(statement)
    writer = body.writer(statement, running)
    factor, expr = sympy.S.One, statement.expr
    if not statement.maximum:
        factor, expr = split_scalar(statement.expr)
    inner = tuple(i for i in statement.over if i != BATCH)
    pair = _pair(body, writer, expr) if scalar and inner else None
    value = "" if pair else body.summand(writer, expr)
    body.lines += writer.lines
    axes = axes_of(running, statement.over)
    if scalar:
        # the cells of one sample in the working precision, the samples in float64
        if pair:
            value = body.module.names("row~sums")
            body.lines += call(f"{value} = np.vecdot", pair)
        elif inner:
            value = f"np.sum({value}, axis={axes_of(running, inner)})"
        arguments = [value, "dtype=np.float64"]
        _deposit(body, statement.target, factor, "np.sum", arguments, add=True)
        return
    name = "np.max" if statement.maximum else "np.sum"
    add = (
        statement.accumulate or not body.module.array(statement.target.array).per_sample
    )
    _deposit(body, statement.target, factor, name, [value, f"axis={axes}"], add=add)


def _pair(body: Body, writer: InPlace, expr: sympy.Expr) -> list[str] | None:
    """A product as two arrays, whose products can be summed along the last axis."""
    factors = sympy.Mul.make_args(expr)
    whole = [f for f in factors if isinstance(f, Access) and _fills(body, writer, f)]
    rest = expr / whole[0] if whole else sympy.S.One
    if not (rest in whole or rest.args):
        return None
    return [body.summand(writer, each) for each in (whole[0], rest)]


def _fills(body: Body, writer: InPlace, access: Access) -> bool:
    """Whether an array has a number for each of the running indices."""
    own = tuple(index for index in access.indices if index != TIME)
    return own == writer.running and body.module.array(access.array).per_sample


def _letters(indices: set[str], axes: tuple[str, ...]) -> dict[str, str]:
    """A letter for each index of an einsum: axes keep theirs, the batch is b."""
    found = {name: name for name in sorted(indices) if name in axes}
    free = iter(letter for letter in "bijklmnopq" if letter not in found.values())
    for name in ordered(indices - set(found) - {TIME}, axes):
        found[name] = next(free)
    return found
