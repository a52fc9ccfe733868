"""The linearisation of a model: its rows, at rest or at a state, and their modes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdec.runtime.checks import _by_name, _Run
from pdec.runtime.generated import (
    _AXES,
    _EVERYWHERE,
    _JUDGED,
    _REACH,
    _SLOPES,
    MODEL,
    _clock,
    _decays,
    _stencil,
)
from pdec.runtime.host import _handed_out, _on_host
from pdec.runtime.stepping import _first_state
from pdec.runtime.types import Array, Arrays, State
from pdec.runtime.verdict.certificates import _layer_rows, _walled_rows
from pdec.runtime.verdict.jacobian import _jacobian_rows, _slopes_seen
from pdec.runtime.verdict.spectrum import _Modes, _modes_of, _Rows

# --- the linearisation of a model ----------------------------------------------------


@dataclass(frozen=True)
class _Linearised:
    """The rows of a model's linearisation, as they are frozen and beside the walls."""

    rows: _Rows
    walled: _Rows
    modes: _Modes
    slopes: tuple[float, float]
    rigorous: bool  # whether the slopes, or the rates, hold at every state
    about: str  # the state that it is taken at, "" where it holds at every one
    times: int = 1  # of so many steps and samples, the rows of one after the other
    ordered: bool = True  # whether these are all steps in their order, or alike
    within: bool = True  # whether any row reads no ghost cells
    complete: bool = True  # whether all steps were looked at


def _judged(c: Arrays, state: State, inputs: Mapping[str, Array] | None) -> _Linearised:
    """Linearise the model."""
    periodic = all(wraps for _, _, wraps in _AXES)
    # [feature: layer]
    rows, uniform = _layer_rows(c)
    slopes, rigorous, within, about, times = _SLOPES, True, True, "", 1
    looks = state is not None
    # [feature: not ranged]
    looks = True
    # [end]
    if looks:
        about, samples = _samples(c, state, inputs)
        seen = [_slopes_seen(c, *each) for each in samples]
        slopes = (min(low for low, _ in seen), max(high for _, high in seen))
        rigorous = False
    # [feature: sampled]
    rigorous = False
    # [end]
    walled = rows
    # [feature: walls]
    walled = _walled_rows(_stencil(c))
    # [end]
    # [feature: timed]
    times = MODEL.steps
    # [end]
    ordered = complete = True
    exact = uniform and periodic
    # [end]
    # [feature: not layer]
    about, samples = _samples(c, state, inputs)
    each = [_jacobian_rows(n, c, *sample) for sample in samples for n in _JUDGED]
    rate, times = float(_clock(c)[1]), len(each)
    ordered = times == 1 or (len(samples) == 1 and times == MODEL.steps)
    complete = len(_JUDGED) in (1, MODEL.steps)
    walled = {place: _stacked([a[place] for a in each]) / rate for place in each[0]}
    # [feature: decays]
    decays = np.diag([float(rate) for rate in _decays(c)])
    for place, a in walled.items():
        below = np.broadcast_to(decays * (not any(place)), (len(a), *decays.shape))
        walled[place] = np.concatenate([a, below], axis=1)
    # [end]
    chosen, within = _within(len(next(iter(walled.values()))), times)
    rows = {place: a[chosen] for place, a in walled.items()}
    scale = max(float(np.abs(a).max()) for a in rows.values()) + 1e-300
    uniform = all(float(np.ptp(a, 0).max()) <= 1e-12 * scale for a in rows.values())
    rows = {place: a[:1] for place, a in rows.items()} if uniform else rows
    slopes, rigorous, exact = (1.0, 1.0), _EVERYWHERE, uniform and periodic
    about = "" if rigorous else about
    # [end]
    if not all(np.isfinite(a).all() for a in [*rows.values(), np.array(slopes)]):
        about = about or "these parameters"
        raise ArithmeticError(f"{MODEL.name}: not finite where linearised, at {about}")
    modes = _modes_of(rows, slopes, exact)
    return _Linearised(
        rows, walled, modes, slopes, rigorous, about, times, ordered, within, complete
    )


# [feature: jacobian]
def _stacked(rows: list[Array]) -> Array:
    """Join rows of several states; at a uniform one, one row stands for all."""
    most = max(map(len, rows))
    return np.concatenate([a.repeat(most // len(a), axis=0) for a in rows])


def _within(rows: int, times: int) -> tuple[Array, bool]:
    """Return the rows that read no ghost cells, all if there are none; and whether."""
    space = [size for size, _, _ in _AXES]
    inside = np.ones(space, bool)
    for axis, ((size, _, wraps), reach) in enumerate(zip(_AXES, _REACH, strict=True)):
        cell = np.arange(size).reshape(
            [-1 if k == axis else 1 for k in range(len(space))]
        )
        if not wraps:
            inside &= (cell >= reach) & (cell < size - reach)
    if rows < times * inside.size or not inside.any():  # one row stands for all
        return np.arange(rows), bool(inside.any())
    return np.flatnonzero(np.tile(inside.ravel(), times)), True


# [end]
def _samples(
    c: Arrays, state: State, inputs: Mapping[str, Array] | None
) -> tuple[str, list[tuple[Arrays, Arrays]]]:
    """Return what each sample's state is, and with its inputs: zero if not given."""
    about = "the state given" if state is not None else "a state of zeros"
    fields = {n: np.zeros((1, *x.shape)) for n, x in MODEL.fields.items()}
    if state is not None:
        fields = _by_name(state, MODEL.fields, "state")
    given = {n: np.zeros(x.shape) for n, x in MODEL.inputs.items()} | dict(inputs or {})
    batched = {n for n, x in MODEL.inputs.items() if given[n].ndim > len(x.shape)}
    count = max([len(z) for z in fields.values()] + [len(given[n]) for n in batched])
    found = [
        (
            {n: z[k % len(z)] for n, z in fields.items()},
            {n: x[k] if n in batched else x for n, x in given.items()},
        )
        for k in range(count)
    ]
    # [feature: initial]
    if state is None and set(MODEL.inputs) <= set(inputs or {}):
        about = "the initial state"
        for z, x in found:
            run = _Run(np.dtype(np.float64), 1, c, {}, _handed_out(x))
            z |= {n: first[0] for n, first in _on_host(_first_state(run)).items()}
    # [end]
    return about, found


# [feature: not quick]
def _smooth(rows: _Rows) -> bool:
    """Tell whether frozen coefficients can be relied on: periodic and smooth ones.

    From cell to cell they change by less than a fifth of their size.
    """
    if not all(wraps for _, _, wraps in _AXES):
        return False
    space = tuple(size for size, _, _ in _AXES)
    largest = max(float(np.abs(a).max()) for a in rows.values()) + 1e-300
    for a in rows.values():
        full = a.reshape(*space, *a.shape[1:]) if len(a) > 1 else a
        for axis in range(len(space) if len(a) > 1 else 0):
            jump = np.abs(full - np.roll(full, 1, axis))
            if float(jump.max()) > 0.2 * largest:
                return False
    return True


def _dense(found: _Linearised, most: int) -> tuple[Array, bool] | None:
    """Return the matrices of all rows, (steps, n, n), and whether of the whole grid.

    n is at most `most`: cells far from walls are left out along axes on which they are
    all alike, which leaves what walls do to a step as it is. None where too many are
    left, and where the rows are not those of the steps in their order. What a step
    treats apart stands one above the other.
    """
    times, space = found.times, tuple(size for size, _, _ in _AXES)
    height, width = next(iter(found.walled.values())).shape[-2:]
    full = {}
    for place, a in found.walled.items():
        shape = [times if len(a) > 1 else 1, *space, height, width]
        if len(a) <= times:  # alike in all cells
            shape[1:-2] = [1 for _ in space]
        full[place] = np.broadcast_to(a.reshape(shape), (times, *space, height, width))
    kept = _some_cells(full, most // width)
    if math.prod(map(len, kept)) * width > most or not found.ordered:
        return None
    cells = math.prod(map(len, kept))
    A = np.zeros((times, cells, height, cells, width))
    index = np.indices([len(k) for k in kept]).reshape(len(space), -1)
    for place, a in full.items():
        ahead = index + np.asarray(place, int).reshape(-1, 1)
        inside = np.ones(cells, bool)
        for axis, ((_, _, wraps), k) in enumerate(zip(_AXES, kept, strict=True)):
            inside &= wraps | ((ahead[axis] >= 0) & (ahead[axis] < len(k)))
            ahead[axis] %= len(k)
        column = np.ravel_multi_index(tuple(ahead), [len(k) for k in kept])
        some: Any = (slice(None), *np.ix_(*kept))
        chosen = a[some].reshape(times, cells, height, width)
        row = np.flatnonzero(inside)
        A[:, row, :, column[row], :] += chosen[:, row].swapaxes(0, 1)
    blocks = A.reshape(times, cells, -1, width, cells * width).swapaxes(1, 2)
    whole = cells == math.prod(space)
    return blocks.reshape(times, -1, cells * width), whole


def _some_cells(rows: _Rows, most: int) -> list[Array]:
    """Return the cells along each axis, few enough if those amid walls are alike."""
    kept = [np.arange(size) for size, _, _ in _AXES]
    reach = [max(abs(place[k]) for place in rows) for k in range(len(kept))]
    alike = []
    for axis, r in enumerate(reach):
        inner: Any = (*[slice(None)] * (1 + axis), slice(r, len(kept[axis]) - r))
        spread = [
            np.ptp(a[inner], 1 + axis).max() / (np.abs(a).max() + 1e-300)
            for a in rows.values()
            if len(kept[axis]) > 2 * r + 1
        ]
        alike.append(bool(spread) and max(spread) <= 1e-12)
    while math.prod(map(len, kept)) > most:
        sizes = [
            len(k) if same and len(k) // 2 > 2 * r + 2 else 0
            for k, same, r in zip(kept, alike, reach, strict=True)
        ]
        if not any(sizes):
            break
        axis = int(np.argmax(sizes))
        half = (len(kept[axis]) // 2 + 1) // 2
        kept[axis] = np.concatenate([kept[axis][:half], kept[axis][-half:]])
    return kept


# [end]
