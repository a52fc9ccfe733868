"""mean, sum and integral: from a field of one sample to one number.

``mean`` and ``sum`` act on the channels and the grid, ``integral`` on the grid alone,
with the cell volume as weight (the midpoint rule).  The batch is never reduced here.
"""

from __future__ import annotations

import math

import sympy

from pdec.contracts import Operator, Scope
from pdec.forms.model import Typed
from pdec.forms.symbolic import TIME, Constant
from pdec.source import Span


def _grid_indices(value: Typed, scope: Scope) -> tuple[str, ...]:
    return tuple(axis for axis in scope.axes if axis in value.domain)


def _channel_indices(value: Typed) -> tuple[str, ...]:
    return tuple(f"i{number}" for number in range(len(value.shape)))


def _no_time(value: Typed, name: str, scope: Scope, span: Span) -> None:
    if TIME in value.domain:
        scope.fail(f"{name} of a value that depends on t is not defined", span)


def _sum(arguments: tuple[Typed, ...], scope: Scope, span: Span) -> Typed:
    (value,) = arguments
    _no_time(value, "sum", scope, span)
    over = (*_channel_indices(value), *_grid_indices(value, scope))
    return scope.define("sum", Typed(value.expr, (), frozenset(), span), over=over)


def _mean(arguments: tuple[Typed, ...], scope: Scope, span: Span) -> Typed:
    (value,) = arguments
    _no_time(value, "mean", scope, span)
    over = (*_channel_indices(value), *_grid_indices(value, scope))
    cells = [scope.axes[axis].size for axis in _grid_indices(value, scope)]
    count = math.prod([channel.size for channel in value.shape] + cells)
    mean = value.expr / sympy.Integer(count)
    return scope.define("mean", Typed(mean, (), frozenset(), span), over=over)


def _integral(arguments: tuple[Typed, ...], scope: Scope, span: Span) -> Typed:
    (value,) = arguments
    _no_time(value, "integral", scope, span)
    over = _grid_indices(value, scope)
    if not over:
        scope.fail("the argument of integral does not vary over the grid", span)
    volume = sympy.Mul(*(Constant(f"d{axis}", positive=True) for axis in over))
    result = Typed(value.expr * volume, value.shape, frozenset(), span)
    return scope.define("integral", result, over=over)


PLUGINS = (
    Operator("mean", 1, _mean, "mean over channels and grid of one sample", "mean(z²)"),
    Operator("sum", 1, _sum, "sum over channels and grid of one sample", "sum(z²)/9"),
    Operator(
        "integral", 1, _integral, "integral over the grid, per channel", "integral(z²)"
    ),
)
