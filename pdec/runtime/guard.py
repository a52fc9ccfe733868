"""What forward and value_and_grad ask before they run: closed forms and norms only."""

from __future__ import annotations

import functools
import math

import numpy as np

from pdec.runtime.certificates import _as_matrices, _max_norm_step, _walled_rows
from pdec.runtime.generated import (
    _AXES,
    _SLOPES,
    MODEL,
    _amplification,
    _clock,
    _stencil,
    _walls,
)
from pdec.runtime.interface import _WARNED, _remembered
from pdec.runtime.linearised import _judged
from pdec.runtime.spectrum import _growth, _Rows
from pdec.runtime.stability import _inherited
from pdec.runtime.transients import _transient
from pdec.runtime.types import Array, Arrays

# --- the check before a run ----------------------------------------------------------


def _may_grow(c: Arrays) -> bool:
    """Tell whether a mode may grow by more than 2 over the run: a first look.

    False is certain where a norm or all modes say so, else as good as a few frozen
    modes are.
    """
    h = float(_clock(c)[0])
    # [feature: layer]
    # [feature: not channels]
    # [feature: not walls]
    stencil = _stencil(c)
    if all(np.ndim(a) == 0 for a in stencil.values()) and math.isfinite(sum(_SLOPES)):
        a = np.array([float(a) for a in stencil.values()])
        return _grows(a.dot(_phases(tuple(stencil), True)), h)
    # [end]
    # [end]
    # [end]
    if "heuristic" in _WARNED:  # whatever is found, it has been said
        return False
    p = {name: c[name] for name in MODEL.params}
    return bool(_remembered("modes", p, lambda: _modes_grow(c, h)))


def _modes_grow(c: Arrays, h: float) -> bool:
    """Tell whether a mode may grow by more than 2 over the run, where cells differ."""
    # [feature: layer]
    if math.isfinite(sum(_SLOPES)):
        return _layer_grows(_stencil(c), h)
    # [end]
    found = _judged(c, None, None)
    # [feature: not matrix]
    proven = _inherited(_max_norm_step(found.walled, found.slopes))
    if found.rigorous and h <= proven:
        return False
    # [end]
    # [feature: components]
    if found.modes.exact and _transient(found.modes, h)[1] > math.log(1e3):
        return True
    # [end]
    return MODEL.steps * _growth(found.modes, h).excess > math.log(2.0)


# [feature: layer]
def _layer_grows(stencil: _Rows, h: float) -> bool:
    """Tell whether a mode of a layer may grow by more than 2 over the run."""
    places = tuple(stencil)
    rows = frozen = _as_matrices(stencil)
    # [feature: walls]
    if not _mirrors():
        rows = _walled_rows(stencil)
    # [end]
    if h <= _inherited(_max_norm_step(rows, _SLOPES)):
        return False
    phases = _phases(places, False)
    # [feature: not channels]
    a = np.concatenate([frozen[place][:, 0] for place in places], axis=1)
    return _grows(a @ phases, h)
    # [end]
    # [feature: channels]
    some = slice(None, None, max(1, len(frozen[places[0]]) // 8))  # of the cells
    a = np.stack([frozen[place][some] for place in places], axis=-1)
    return _grows(np.linalg.eigvals(np.moveaxis(a @ phases, -1, 0)), h)
    # [end]


# [feature: walls]
@functools.cache
def _mirrors() -> bool:
    """Tell whether no ghost is larger than cells: then rows beside walls are not."""
    ghosts = [g for low, high in _walls().values() for g in (*low, *high)]
    return all(sum(abs(weight) for _, weight in ghost) <= 1.0 for ghost in ghosts)


# [end]
def _grows(symbol: Array, h: float) -> bool:
    """Tell whether |G| exceeds the growth of the equation by more than 2 in the run."""
    for s in dict.fromkeys(_SLOPES):
        rates = s * symbol - 1.0 if s else np.array([-1.0])
        size = np.abs(_amplification(rates, h))
        if float(size.max()) ** MODEL.steps > 2.0:
            own = np.exp(np.maximum(h * rates.real, 0.0))
            if float((size / own).max()) ** MODEL.steps > 2.0:
                return True
    return False


@functools.cache
def _phases(places: tuple[tuple[int, ...], ...], exact: bool) -> Array:
    """Return e^{imθ}, (places, modes): half of the grid's modes, or a few of them."""
    turns = [np.arange(n) / n for n in (size if exact else 4 for size, _, _ in _AXES)]
    for axis in range(1 if exact else len(turns)):
        turns[axis] = turns[axis][turns[axis] <= 0.5]
    theta = np.stack([t.ravel() for t in np.meshgrid(*turns, indexing="ij")])
    phases: Array = np.exp(2.0j * math.pi * (np.asarray(places) @ theta))
    return phases


# [end]
