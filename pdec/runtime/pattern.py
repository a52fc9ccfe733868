"""What an implicit step solves for, and where its Jacobian is not zero."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pdec.runtime.generated import _IMPLICIT, MODEL
from pdec.runtime.host import _lib
from pdec.runtime.types import Array, Arrays

# [feature: implicit]
# --- what is solved for ---------------------------------------------------------------

# An implicit step finds the unknowns u at which the residual r(u) is zero. With the
# Jacobian J = ∂r/∂u, Newton's method repeats u ← u - J⁻¹ r; tangents then obey
# J u_dot = -r_dot, and cotangents r_bar = -J⁻ᵀ u_bar (implicit function theorem).


@dataclass(frozen=True)
class _Equation:
    """residual = 0 for the unknowns, in vectors of all their cells.

    evaluate sets the residuals; linearise sets their tangents from those of the
    unknowns. A residual reads its own cell and `reach` cells along each axis. shared:
    all samples have the same Jacobian; constant: all steps have.
    """

    unknowns: tuple[str, ...]
    residuals: tuple[str, ...]
    tangents: tuple[str, ...]
    evaluate: Callable[[int, Arrays, Arrays], None]
    linearise: Callable[[int, Arrays, Arrays, Arrays], None]
    reach: tuple[int, ...]
    periodic: tuple[bool, ...]
    shared: bool
    constant: bool


@functools.cache
def _equation(name: str) -> _Equation:
    return _Equation(**_IMPLICIT[name])


@dataclass(frozen=True)
class _Pattern:
    """Which entries a Jacobian has, and the probes that show them.

    A probe is a vector of 0 and 1 whose columns do not meet in any row, so that its
    product with the Jacobian holds one entry a row (Curtis, Powell & Reid 1974).
    place is where an unknown stands in the matrix: side by side with its neighbours.
    """

    probes: Array  # (probes, unknowns)
    probe: Array  # of each entry: the probe that shows it, its row and its column
    row: Array
    column: Array
    place: Array  # (unknowns,)


@functools.cache
def _pattern(name: str) -> _Pattern:
    """Return the pattern of the Jacobian for this model's grid."""
    equation = _equation(name)
    shapes = [field.shape for field in MODEL.fields.values()]
    grid = shapes[0][len(shapes[0]) - len(equation.reach) :]
    cells = math.prod(grid)
    components = sum(math.prod(shape) for shape in shapes) // cells
    axes = list(zip(grid, equation.reach, equation.periodic, strict=True))
    along = [_colours(*axis) for axis in axes]
    counts = [int(colours.max()) + 1 for colours in along]
    colour = np.ravel_multi_index(np.meshgrid(*along, indexing="ij"), counts).ravel()
    component = np.arange(components)[:, None, None]
    shows = colour == np.arange(math.prod(counts))[:, None]
    probes = np.kron(np.eye(components), shows)
    rows, columns = [], []
    for offsets in itertools.product(*(_neighbours(*axis) for axis in axes)):
        near = [np.arange(size) + m for size, m in zip(grid, offsets, strict=True)]
        within = [
            periodic | ((cell >= 0) & (cell < size))
            for cell, (size, _, periodic) in zip(near, axes, strict=True)
        ]
        inside = np.all(np.meshgrid(*within, indexing="ij"), axis=0).ravel()
        reached = np.ravel_multi_index(
            np.meshgrid(*near, indexing="ij"), grid, mode="wrap"
        )
        rows.append(np.flatnonzero(inside))
        columns.append(reached.ravel()[inside])
    row, column = np.concatenate(rows), np.concatenate(columns)
    probed, rowed, columned = np.broadcast_arrays(
        component * len(shows) + colour[column],
        np.swapaxes(component, 0, 1) * cells + row,
        component * cells + column,
    )
    place = _places(grid, equation.periodic)
    ordered = (place * components + np.arange(components)[:, None]).ravel()
    probe, row, column = (_lib.asarray(a.ravel()) for a in (probed, rowed, columned))
    return _Pattern(_lib.asarray(probes), probe, row, column, ordered)


def _colours(size: int, reach: int, periodic: bool) -> Array:
    """Colour the cells of an axis: cells of one colour are not read by any one row."""
    colours = np.arange(size) % (2 * reach + 1)
    left = size % (2 * reach + 1) if periodic else 0
    if left:  # the last cells are neighbours of the first: a colour for each
        colours[-left:] = 2 * reach + 1 + np.arange(left)
    return np.unique(colours, return_inverse=True)[1]


def _neighbours(size: int, reach: int, periodic: bool) -> range:
    """Return the offsets at which a row has entries, each neighbour once."""
    return range(size) if periodic and 2 * reach >= size else range(-reach, reach + 1)


def _places(grid: tuple[int, ...], periodic: tuple[bool, ...]) -> Array:
    """Return where each cell stands: the longest axis is outermost.

    A ring is folded, 0, N-1, 1, N-2, …
    """
    along = [
        np.minimum(2 * cell, 2 * (size - cell) - 1) if wraps else cell
        for cell, size, wraps in zip(np.indices(grid), grid, periodic, strict=True)
    ]
    order = np.argsort([-size for size in grid], kind="stable")
    sizes = [grid[axis] for axis in order]
    places = np.ravel_multi_index([along[axis] for axis in order], sizes)
    return np.asarray(places.ravel())


# [end]
