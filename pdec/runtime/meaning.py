"""What a verdict means: the limiting term, bounds over the run, what to do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pdec.runtime.certificates import _row_sums
from pdec.runtime.generated import (
    _LARGEST,
    _ORDERS,
    _QUANTITY,
    MODEL,
    _coefficients,
    _effective,
    _whole,
)
from pdec.runtime.linearised import _judged, _Linearised
from pdec.runtime.spectrum import _Growth, _growth, _Modes
from pdec.runtime.types import Arrays

# --- what the verdict means ----------------------------------------------------------


def _limiting(modes: _Modes, cell: int, mode: int, slope: float) -> str:
    """Return which part of the rate is largest in a mode."""
    still = int(np.argmin(np.abs(modes.theta).sum(axis=0)))
    rates = np.atleast_1d(slope * modes.symbol[cell])
    # [feature: layer]
    rates = rates - 1.0
    # [end]
    here = rates[mode][np.argmax(np.abs(rates[mode]))]
    mean = rates[still][np.argmax(np.abs(rates[still]))].real
    parts = {
        "reaction": abs(mean),
        "Courant or cell Péclet number": abs(here.imag),
        "diffusion number": abs(here.real - mean),
    }
    return max(parts, key=lambda name: parts[name])


def _ill_posed(found: _Linearised, growth: float) -> bool:
    """Tell whether the leading even derivative has the wrong sign.

    Its coefficient is a moment of the stencil, Σ_m a_m m^K / K! for order K, and must
    be positive for K = 2, negative for K = 4, …: in every direction of the components.
    A smaller slope of the other sign, like those of gelu, counts where it makes grow.
    """
    slopes = found.slopes
    if growth <= 1e-12:
        slopes = (max(slopes, key=lambda s: (abs(s), s)),) * 2
    for axis, order in enumerate(_ORDERS):
        if order == 0:
            continue
        moment: Any = 0.0
        for place, a in found.rows.items():
            moment = moment + a * place[axis] ** order
        scale = max(float(np.abs(a).max()) for a in found.rows.values())
        # [feature: matrix]
        moment = _whole(moment)
        # [end]
        own = np.linalg.eigvals(moment).real * (-1.0) ** (order // 2)
        # [feature: layer]
        own = np.max([s * own for s in slopes], axis=0)
        # [end]
        if float(own.max()) > 1e-9 * scale:
            return True
    return False


def _bound(h: float) -> float | None:
    """Return a bound on |z| in the long run: w sup|f|/(1 - |1 - w|) for 0 < w < 2."""
    # [feature: layer]
    # [feature: effective]
    w = float(_effective(h))
    if math.isfinite(_LARGEST) and 0.0 < w < 2.0:
        return w * _LARGEST / (1.0 - abs(1.0 - w))
    # [end]
    # [end]
    return None


def _adjoint_growth(found: _Linearised, h: float) -> float:
    """Return a bound on the growth of cotangents over the run, inf where unknown.

    The least of the maximum norm's and the 2-norm's bound of one step, to the power of
    the number of steps; a contraction in one norm is one of the adjoint in its dual.
    """
    norms = [math.inf]
    if not found.rigorous:
        return math.inf
    # [feature: effective]
    w = float(_effective(h))
    middle, around = _row_sums(found.walled)
    # [feature: layer]
    sizes = [
        np.abs(1.0 - w + w * s * middle) + w * abs(s) * around for s in found.slopes
    ]
    norms += [max(float(size.max()) for size in sizes)]
    # [feature: not channels]
    if found.modes.exact:
        m, r = sum(found.slopes) / 2.0, (found.slopes[1] - found.slopes[0]) / 2.0
        symbol = found.modes.symbol
        # each part's largest: slopes that differ from cell to cell couple the modes
        size = float(np.abs(1.0 - w + w * m * symbol).max())
        norms += [size + w * r * float(np.abs(symbol).max())]
    # [end]
    # [end]
    # [feature: not layer]
    norms += [float(np.max(np.abs(1.0 + w * middle) + w * around))]
    # [end]
    # [end]
    with np.errstate(over="ignore"):
        return float(np.power(min(norms), float(MODEL.steps)))


def _advice(
    p: Arrays, h: float, numerical: str, growth: _Growth, largest: float, modes: _Modes
) -> str:
    """Return what to do."""
    if numerical == "stable":
        if growth.hidden:
            return (
                f"a smaller {_QUANTITY}: the scheme damps what the equation makes grow"
            )
        if growth.own > 1e-12:
            return "the steps follow the growth of the equation: nothing to do"
        return "nothing to do"
    if numerical == "unknown":
        return "not proven: stability(…, run=True) multiplies the steps out"
    if largest and h > largest:
        words = [f"{_QUANTITY} ≤ {largest:.4g}"]
    elif largest:
        words = [f"a smaller {_QUANTITY}"]
    else:
        words = [f"no {_QUANTITY} is stable"]
    # [feature: explicit]
    words.append("scheme implicit")
    # [end]
    if modes.symbol.size <= 2e4:  # else it would take long to find them
        words += _cures(p, h)
    return "; or ".join(words)


def _cures(p: Arrays, h: float) -> list[str]:
    """Return for each parameter that can cure a run alone the value that does."""
    found = []
    for name, value in p.items():
        if np.any(value) and _stable_at({**p, name: 0.0 * value}, h):
            low, high = 0.0, 1.0
            for _ in range(12):
                middle = 0.5 * (low + high)
                stable = _stable_at(
                    {**p, name: (middle * value).astype(value.dtype)}, h
                )
                low, high = (middle, high) if stable else (low, middle)
            spelling = MODEL.params[name].spelling
            sign = "≤" if np.ndim(value) or float(value) > 0.0 else "≥"
            amount = f"{low:.3g} {spelling}" if np.ndim(value) else f"{low * value:.3g}"
            found.append(f"{spelling} {sign} {amount}")
    return found


def _stable_at(p: Arrays, h: float) -> bool:
    """Tell whether no mode grows for these parameters."""
    c = {name: value.astype(np.float64) for name, value in p.items()}
    try:
        with np.errstate(all="ignore"):
            _coefficients(c)
            found = _judged(c, None, None)
            return found.rigorous and _growth(found.modes, h).excess <= 1e-12
    except np.linalg.LinAlgError:  # the model divides by what was tried
        return False
