"""Ghost cells in JAX where the numbers of a condition are computed: for tests alone.

At each point of a wall the polynomial through the nearest cells that meets the
conditions is found by solving for its coefficients, and evaluated beyond the wall.  The
compiler works out weights instead, symbolically.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

WIDTH = 4  # ghost cells a side


class Condition(NamedTuple):
    """Σ_k factors[k] ∂^k u/∂n^k = value at a wall; arrays broadcast over the wall.

    They have the axes of the field but for the wall's own, of length 1 or of the cells.
    """

    factors: Sequence[Any]
    value: Any


class Side(NamedTuple):
    """An axis: its place from the end, its spacing; conditions, or None if periodic."""

    place: int
    spacing: float
    low: Sequence[Condition] | None = None
    high: Sequence[Condition] | None = None


def padded(u: Any, sides: Sequence[Side], accuracy: int) -> Any:
    """A field with ghost cells, filled axis by axis."""
    done: list[Side] = []
    for side in sides:
        u = _extended(u, side, done, accuracy)
        done.append(side)
    return u


def _extended(u: Any, side: Side, done: Sequence[Side], accuracy: int) -> Any:
    v = jnp.moveaxis(u, side.place, -1)
    if side.low is None or side.high is None:
        wide = jnp.concatenate([v[..., -WIDTH:], v, v[..., :WIDTH]], -1)
        return jnp.moveaxis(wide, -1, side.place)
    beyond = []
    for cells, conditions in ((v, side.low), (v[..., ::-1], side.high)):
        wide_ones = [
            Condition(
                [_along_wall(f, u.ndim, side, done, accuracy) for f in c.factors],
                _along_wall(c.value, u.ndim, side, done, accuracy),
            )
            for c in conditions
        ]
        beyond.append(_ghosts(cells[..., :accuracy], wide_ones, side.spacing))
    wide = jnp.concatenate([beyond[0][..., ::-1], v, beyond[1]], -1)
    return jnp.moveaxis(wide, -1, side.place)


def _ghosts(cells: Any, conditions: Sequence[Condition], spacing: float) -> Any:
    """Values beyond a wall, outwards, from those within, inwards."""
    shape, count = cells.shape[:-1], cells.shape[-1]
    powers = range(count + len(conditions))
    rows = [
        jnp.broadcast_to(
            jnp.array([(j + 0.5) ** p for p in powers]), (*shape, len(powers))
        )
        for j in range(count)
    ]
    values = [cells[..., j] for j in range(count)]
    for condition in conditions:
        slopes = [
            f * math.factorial(k) / (-spacing) ** k
            for k, f in enumerate(condition.factors)
        ]
        slopes += [0.0] * (len(powers) - len(slopes))
        rows.append(jnp.stack([jnp.broadcast_to(s, shape) for s in slopes], -1))
        values.append(jnp.broadcast_to(condition.value, shape))
    matrix, right = jnp.stack(rows, -2), jnp.stack(values, -1)
    found = jnp.linalg.solve(matrix, right[..., None])[..., 0]
    places = jnp.array([[(-0.5 - k) ** p for k in range(WIDTH)] for p in powers])
    return found @ places


def _along_wall(
    value: Any, rank: int, side: Side, done: Sequence[Side], accuracy: int
) -> Any:
    """What varies along a wall, continued where the wall reaches into ghost cells."""
    value = jnp.asarray(value)
    if not done or value.ndim == 0:
        return value
    value = jnp.expand_dims(value, rank + side.place)
    for other in done:
        if value.shape[other.place] > 1:
            free = other if other.low is None else other._replace(low=(), high=())
            value = _extended(value, free, (), accuracy)
    return jnp.squeeze(value, rank + side.place)
