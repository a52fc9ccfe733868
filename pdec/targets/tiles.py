"""Products of channels: which sums are one, and how they are written.

    Z[i, x] = Σ_k A[i, k] z[k, x-1] + B[i, k] z[k, x]

is one of matrices, with rows i, columns x and terms (A or B, k); the gradient of A and
B is one with rows i, columns (A or B, k) and terms x.  A block of threads has a tile of
the results at a time (``runtime/cupy/tiles.py``):

    multiply<16, 128, 2 * 16>(
        team,
        [&](int i, int term) -> real { … A[i][k], or B[i][k] … },
        [&](int term, int x) -> real { … z[k][x - 1], or z[k][x] … },
        [&](int i, int x, int, real sum) { Z[i][x] = sum; });
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import sympy

from pdec.forms.notation import term_key
from pdec.forms.statements import Map
from pdec.forms.symbolic import indices_of
from pdec.targets.layout import INDENT, WIDTH
from pdec.targets.nests import axis_of
from pdec.targets.phases import Bounds, decoded

# numbers of tiles that a block has in its chip at a time, as real (see there)
TILES = 2304
# rows, columns and terms from which on a product is worth tiles
LEAST = 8
# which of several pairs, or of several maps
WHICH = "k~which"


class Product(NamedTuple):
    """Σ of ``lefts`` times ``rights`` over the terms, for all rows and columns.

    The terms are those of each pair of a left and a right; of several maps, which have
    the left in common, each has its own columns and its own right.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    lefts: tuple[sympy.Expr, ...]
    rights: tuple[sympy.Expr, ...]
    maps: tuple[Map, ...]

    @property
    def joint(self) -> bool:
        """Whether several maps are one product."""
        return len(self.maps) > 1


def products(
    maps: Iterable[Map], parallel: Sequence[str], axes: Collection[str]
) -> list[Product]:
    """The products that sums over channels or cells are, or none if one is not."""
    listed = tuple(maps)
    free = tuple(i for i in parallel if axis_of(i) not in axes)
    cells = tuple(i for i in parallel if i not in free)
    sides = [(free, cells)]
    if not cells:
        sides = [((i,), tuple(k for k in free if k != i)) for i in free]
    found: list[list[Product]] = []
    for rows, columns in sides:
        pairs = [_pairs(m, rows, columns) for m in listed]
        if not rows or not columns or not all(pairs):
            continue
        lefts = {tuple(each) for each in pairs}
        several = len({m.writes for m in listed}) == len(listed) > 1
        if not cells and several and len(lefts) == len(pairs[0]) == 1:
            rights = tuple(each for (each,) in (p.values() for p in pairs))
            return [Product(rows, columns, tuple(pairs[0]), rights, listed)]
        found.append(
            [
                Product(rows, columns, tuple(p), tuple(p.values()), (m,))
                for p, m in zip(pairs, listed, strict=True)
            ]
        )
    return found[0] if found else []


def _pairs(
    statement: Map, rows: Collection[str], columns: Collection[str]
) -> dict[sympy.Expr, sympy.Expr]:
    """What is summed as rights by left: factors with the rows, and all others."""
    found: dict[sympy.Expr, sympy.Expr] = {}
    if statement.maximum:
        return found
    terms = sympy.Add.make_args(sympy.expand_mul(statement.expr))
    for term in sorted(terms, key=term_key):
        left = right = sympy.S.One
        for factor in sympy.Mul.make_args(term):
            inside = indices_of(factor)
            if not inside & {*rows}:
                right *= factor
            elif inside & {*columns}:
                return {}
            else:
                left *= factor
        if left == 1:
            return {}
        found[left] = found.get(left, sympy.S.Zero) + right
    return found


Lines = Callable[[sympy.Expr, str], list[str]]  # that return an expression


def product_lines(
    product: Product,
    bounds: tuple[Bounds, Bounds, Bounds],
    parts: Sequence[str],
    names: tuple[str, str],
    returned: Lines,
) -> list[str]:
    """A product but for what is done with its results: those lines come next.

    ``bounds`` are those of rows, columns and terms; ``parts`` says, where terms are
    cells, how many parts they are added up in.  ``names`` stand for the number of a
    part, if it matters, and for which pair or map it is.
    """
    rows, columns, terms = bounds
    share, which = names
    pairs = [(which, 0, len(product.rights))] if len(product.rights) > 1 else []
    if product.joint:
        columns = [*pairs, *columns]
    else:
        terms = [*pairs, *terms]
    all_bounds = {"row": rows, "column": columns, "term": terms}
    lengths = [" * ".join(str(b - a) for _, a, b in v) for v in all_bounds.values()]
    inner = INDENT * 2
    (row, row_lines), (column, column_lines), (term, term_lines) = (
        _decoded(each, name) for name, each in all_bounds.items()
    )
    left = [*row_lines, *term_lines, *_chosen(product.lefts, which, returned)]
    right = [*term_lines, *column_lines, *_chosen(product.rights, which, returned)]
    return [
        f"{INDENT}multiply<{', '.join([*lengths, *parts])}>(",
        f"{inner}team,",
        *_function(f"(int {row}, int {term})", left),
        *_function(f"(int {term}, int {column})", right),
        f"{inner}[&](int {row}, int {column}, int{share}, real sum) {{",
        *row_lines,
        *column_lines,
    ]


def _function(arguments: str, lines: list[str]) -> list[str]:
    """What finds an element of a matrix."""
    head = f"{INDENT * 2}[&]{arguments} -> real {{"
    short = f"{head} {lines[0].strip()} }},"
    if len(lines) == 1 and len(short) <= WIDTH:
        return [short]
    return [head, *lines, f"{INDENT * 2}}},"]


def _decoded(bounds: Bounds, name: str) -> tuple[str, list[str]]:
    """The parameter that stands for indices, and the lines that find them."""
    ((first, low, _), *others) = bounds
    if not others and not low:
        return first, []
    return name, decoded(bounds, name, INDENT * 3)


def _chosen(values: Sequence[sympy.Expr], which: str, returned: Lines) -> list[str]:
    """Return one of several values."""
    inner, found = INDENT * 3, []
    for number, value in enumerate(values[:-1]):
        lines = returned(value, inner + INDENT)
        head = f"{inner}if ({which} == {number})"
        short = f"{head} {lines[-1].strip()}"
        if len(lines) == 1 and len(short) <= WIDTH:
            found.append(short)
        else:
            found += [f"{head} {{", *lines, f"{inner}}}"]
    return [*found, *returned(values[-1], inner)]
