"""Products inside sums: which einsum or matrix product a reduction is."""

from __future__ import annotations

from collections.abc import Callable

import sympy

from pdec.forms.statements import Array, Map
from pdec.forms.symbolic import BATCH, TIME, Access, IndexValue

Product = tuple[sympy.Expr, Access, Access | None]


def contraction(term: sympy.Expr) -> Product | None:
    """A term as (scalar factor, element, element or None), where it is one."""
    factors = sympy.Mul.make_args(term)
    arrays = [f for f in factors if isinstance(f, Access) and f.index]
    others = [f for f in factors if not (isinstance(f, Access) and f.index)]
    scalar = sympy.Mul(*others)
    varying = any(a.index for a in scalar.atoms(Access)) or scalar.has(IndexValue)
    if varying or not 1 <= len(arrays) <= 2:
        return None
    first = arrays[0]
    return scalar, first, arrays[1] if len(arrays) == 2 else None


def split_scalar(expr: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    """An expression as (number or scalar, what is left to sum)."""
    factors = sympy.Mul.make_args(expr)
    inside = [
        f for f in factors if f.has(IndexValue) or any(a.index for a in f.atoms(Access))
    ]
    outside = [f for f in factors if f not in inside]
    return (sympy.Mul(*outside), sympy.Mul(*inside)) if inside else (sympy.S.One, expr)


def matrix_product(
    statement: Map,
    left: Access,
    right: Access,
    array_of: Callable[[str], Array],
    axes: tuple[str, ...],
) -> tuple[Access, Access, bool, bool] | None:
    """A contraction A[i, k] u[batch, k, grid]: (A, u, A is transposed, grid is 2-D)."""
    ends = sorted((left, right), key=lambda access: array_of(access.array).per_sample)
    matrix, field = ends
    if array_of(matrix.array).per_sample or not array_of(field.array).per_sample:
        return None
    grid = tuple(name for name in field.indices if name in axes)
    (summed, *more) = statement.over
    pair = tuple(name for name in matrix.indices if name != TIME)
    if more or len(pair) != 2 or matrix.picked or len(grid) not in (1, 2):
        return None
    if field.indices != (BATCH, summed, *grid) or summed not in pair or field.picked:
        return None
    free = next(name for name in pair if name != summed)
    if statement.target.indices != (BATCH, free, *grid) or free in axes:
        return None
    return matrix, field, pair[0] == summed, len(grid) == 2
