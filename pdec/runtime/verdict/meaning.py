"""What a verdict means: the limiting term, bounds over the run, what to do."""

from __future__ import annotations

import itertools
import math

import numpy as np

from pdec.runtime.generated import (
    _AXES,
    _FOURTH,
    _LARGEST,
    _ORDERS,
    _QUANTITY,
    MODEL,
    _coefficients,
    _effective,
    _whole,
)
from pdec.runtime.types import Array, Arrays
from pdec.runtime.verdict.certificates import _row_sums
from pdec.runtime.verdict.judging import _Verdict, _verdict
from pdec.runtime.verdict.linearised import _judged, _Linearised
from pdec.runtime.verdict.spectrum import _Modes

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
    """Tell whether the leading even derivative has the wrong sign in some direction.

    That of order K along k is the moment Σ_m a_m (m·k)^K of the stencil, less what the
    lower orders' stencils have of it. It must not be negative for K = 2, nor positive
    for K = 4, for any of the components. A smaller slope of the other sign, like those
    of gelu, counts where it makes grow.
    """
    slopes = found.slopes
    if growth <= 1e-12:
        slopes = (max(slopes, key=lambda s: (abs(s), s)),) * 2
    if len(found.rows) == math.prod(size for size, _, _ in _AXES) > 9:
        return False  # each cell reads all: what is no derivative hides those
    scale = max(float(np.abs(a).max()) for a in found.rows.values())
    for k in _directions(found):
        second = fourth = np.zeros((1, 1, 1))
        for place, a in found.rows.items():
            step = float(np.dot(place, k))
            second = second + a * step**2
            mixed = step * float(np.dot(place, k**3)) if _FOURTH else 0.0
            fourth = fourth + a * (step**4 - mixed)
        wide = max(_ORDERS) >= 4 and float(np.abs(fourth).max()) > 1e-9 * scale
        leading = fourth if wide else -second
        # [feature: matrix]
        leading = _whole(leading)
        # [end]
        own = np.linalg.eigvals(leading).real
        # [feature: layer]
        own = np.max([s * own for s in slopes], axis=0)
        # [end]
        if float(own.max()) > 1e-9 * scale:
            return True
    return False


def _directions(found: _Linearised) -> list[Array]:
    """Return directions that show where a quadratic form of two axes is below 0."""
    if max(_ORDERS, default=0) < 2:
        return []
    sizes = []
    for axis in range(len(_AXES)):
        second = sum(a * place[axis] ** 2 for place, a in found.rows.items())
        sizes.append(1.0 / math.sqrt(max(float(np.abs(second).max()), 1e-300)))
    signs = itertools.product((0.0, 1.0, -1.0), repeat=len(sizes))
    known = [1.0 if size > 1e100 else size for size in sizes]
    ways = [np.multiply(sign, known) for sign in signs if any(sign)]
    return [way / np.abs(way).max() for way in ways]


def _bound(h: float) -> float | None:
    """Return a bound on |z| in the long run: w sup|f|/(1 - |1 - w|) for 0 < w < 2."""
    # [feature: layer]
    # [feature: effective]
    w = float(_effective(h))
    if math.isfinite(_LARGEST) and 0.0 < w < 2.0:
        return w / min(w, 2.0 - w) * _LARGEST
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
    p: Arrays, h: float, verdict: _Verdict, intrinsic: str, largest: float, size: int
) -> str:
    """Return what to do."""
    if verdict.numerical == "unknown":
        return "not proven: stability(…, run=True) multiplies the steps out"
    if verdict.numerical == "stable":
        if verdict.growth.hidden:
            return (
                f"a smaller {_QUANTITY}: the scheme damps what the equation makes grow"
            )
        if intrinsic == "ill-posed":
            return (
                "nothing to do on this grid; on finer ones the leading even derivative "
                "must damp: its sign, or fewer moments"
            )
        if intrinsic == "growth":
            return "the steps follow the growth of the equation: nothing to do"
        return "nothing to do"
    if verdict.numerical == "marginal" and intrinsic == "growth":
        factor = math.exp(max(MODEL.steps * verdict.growth.excess, 0.0))
        return f"the steps add × {factor:.4g} in all to what grows by itself; or rk4"
    words = [f"no {_QUANTITY} is stable"]
    if largest:
        words = [f"{_QUANTITY} ≤ {_rounded(min(largest, h), 4):.4g}"]
    # [feature: explicit]
    words.append("scheme implicit")
    # [end]
    if size <= 2e4:  # else it would take long to find them
        words += _cures(p, h)
    return "; or ".join(words)


def _rounded(x: float, digits: int) -> float:
    """Return x rounded towards zero."""
    unit = 10.0 ** (math.floor(math.log10(abs(x))) - digits + 1) if x else 1.0
    return math.trunc(x / unit * (1.0 + 1e-12)) * unit


def _cures(p: Arrays, h: float) -> list[str]:
    """Return for each parameter that can cure a run alone the value that does."""
    found = []
    for name, value in p.items():
        if not np.any(value) or not _stable_at({**p, name: 0.0 * value}, h):
            continue
        low, high = 0.0, 1.0
        for _ in range(12):
            middle = 0.5 * (low + high)
            stable = _stable_at({**p, name: (middle * value).astype(value.dtype)}, h)
            low, high = (middle, high) if stable else (low, middle)
        whole = 1.0 if np.ndim(value) else float(value)
        amount = _rounded(low * whole, 3)
        if abs(amount) < 0.999 * abs(whole):
            spelling = MODEL.params[name].spelling
            sign = "≤" if whole > 0.0 else "≥"
            unit = f" {spelling}" if np.ndim(value) else ""
            found.append(f"{spelling} {sign} {amount:.3g}{unit}")
    return found


def _stable_at(p: Arrays, h: float) -> bool:
    """Tell whether these parameters are stable."""
    c = {name: value.astype(np.float64) for name, value in p.items()}
    try:
        with np.errstate(all="ignore"):
            _coefficients(c)
            found = _judged(c, None, None)
            return found.rigorous and _verdict(found, h, 48).numerical == "stable"
    except (ArithmeticError, np.linalg.LinAlgError):  # it divides by what was tried
        return False
