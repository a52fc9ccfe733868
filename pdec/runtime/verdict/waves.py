"""All waves, not the grid's alone: the least stable step over every θ, in one axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pdec.runtime.generated import _AXES
from pdec.runtime.types import Array
from pdec.runtime.verdict.spectrum import (
    _largest_steps,
    _lengths,
    _Modes,
    _modes_at,
    _rates,
    _Rows,
)

# --- all waves, not the grid's alone -------------------------------------------------


def _largest_everywhere(rows: _Rows, modes: _Modes) -> float:
    """Return the largest h that adds no growth at any θ, the grid's or not.

    Where there is not one axis, the grid's modes stand for all; so they do where some
    grow by themselves: where waves that travel begin to, no h is small enough.
    """
    if len(_AXES) != 1 or len(rows) == _AXES[0][0] > 9:  # between cells, or of all
        return math.inf
    if any(float(rates.real.max()) > 1e-12 for _, rates in _rates(modes)):
        return math.inf
    # [feature: three]
    return float(_lengths(min(_three_point(rows, s) for s in modes.slopes)))
    # [end]
    # [feature: not three]
    # [feature: closed]
    if len(rows[0,]) == 1:
        return float(_lengths(min(_wider(rows, s) for s in modes.slopes)))
    # [end]
    theta = np.linspace(0.0, math.pi, 1025)[None]
    fine = _modes_at(rows, theta, modes.slopes, modes.exact)
    return float(_largest_steps(fine).min())
    # [end]


# [feature: three]
def _three_point(rows: _Rows, s: float) -> float:
    """Return the least over the cells of the closed form of three points.

    With d = s (a₊ + a₋)/2, C = |s (a₊ - a₋)| and p = 1 - s Λ(0), the bound on w is
    2P/(P² + C² u(2 - u)), P = p + 2 d u, least over u = 1 - cos θ in [0, 2].
    """
    zero = np.zeros((1, 1, 1))
    left, right = rows.get((-1,), zero), rows.get((1,), zero)
    middle = rows.get((0,), zero)
    d, C = s * (right + left) / 2.0, np.abs(s * (right - left))
    limit = _cell_limit(d, C, 1.0 - s * (middle + right + left))
    return float(np.min(limit))


def _cell_limit(d: Any, C: Any, p: Any) -> Array:
    """Return the bound on w of each cell: 0 where none is stable, inf where any is.

    Waves with P < 0 grow by themselves. Where P changes its sign those beside it, with
    C > 0, have no bound on w but 0.
    """
    d, C, p = np.broadcast_arrays(d, C, p)
    p = np.where(np.abs(p) < 1e-13, 0.0, p)
    with np.errstate(all="ignore"):
        ends = np.minimum(2.0 / p, 2.0 / (p + 4.0 * d))
        gap = C**2 - 4.0 * d**2
        R = C * np.sqrt(p * (p + 4.0 * d) / gap)
        u = 2.0 * p * (C**2 + d * p) / (gap * (p + R))
        inner = 2.0 * R / (R**2 + C**2 * u * (2.0 - u))
        within = (C > 2.0 * np.abs(d)) & (u >= 0.0) & (u <= 2.0)
        limit = np.where(within, np.minimum(ends, inner), ends)
        still = np.where(C > 0.0, 0.0, math.inf)
        spread = np.minimum(1.0 / (2.0 * d), 2.0 * d / C**2)
        limit = np.where(p == 0.0, np.where(d > 0.0, spread, still), limit)
        last = np.maximum(p, p + 4.0 * d)
        turning = np.where(C > 0.0, 0.0, 2.0 / last)
    growing = np.where(last <= 0.0, math.inf, turning)
    return np.where((p < 0.0) | (p + 4.0 * d < 0.0), growing, limit)


# [end]
# [feature: closed]
# [feature: not three]
def _wider(rows: _Rows, s: float) -> float:
    """Return the least bound on w over all θ for a stencil of any width.

    In c = cos θ, Re Λ = Σ (a_m + a_-m) T_m(c) and Im Λ = sin θ Σ (a_m - a_-m)
    U_{m-1}(c), U_{m-1} = T_m'/m. The bound 2 N/D, N = 1 - s Re Λ, D = |1 - s Λ|², is
    least at c = ±1 or where N' D = N D'.
    """
    a = {place[0]: float(values[0, 0, 0]) for place, values in rows.items()}
    reach = max(map(abs, a))
    even = [a.get(m, 0.0) + (a.get(-m, 0.0) if m else 0.0) for m in range(reach + 1)]
    odd = [0.0] + [(a.get(m, 0.0) - a.get(-m, 0.0)) / m for m in range(1, reach + 1)]
    Chebyshev = np.polynomial.Chebyshev
    N = 1.0 - s * Chebyshev(even)
    turn = s * Chebyshev(odd).deriv()  # Im(1 - s Λ) = -sin θ turn(c)
    D = N**2 + Chebyshev([0.5, 0.0, -0.5]) * turn**2
    turning = (N.deriv() * D - N * D.deriv()).trim(1e-14).roots()
    real = [x.real[np.abs(x.imag) < 1e-6] for x in (turning, N.trim(1e-14).roots())]
    c = np.concatenate([[-1.0, 1.0], np.clip(np.concatenate(real), -1.0, 1.0)])
    c = np.where(np.abs(c) > 1.0 - 1e-9, np.sign(c), c)
    noise = 1e-12 * max(1.0, float(np.abs(N.coef).sum()))
    n = np.where(np.abs(N(c)) <= noise, 0.0, N(c))
    size = n**2 + (1.0 - c**2) * turn(c) ** 2
    with np.errstate(all="ignore"):
        # where both vanish, their ratio is that of their slopes, D' if not 0 / 0
        noise = 1e-11 * float(np.abs(D.coef).sum())
        slope = np.where(np.abs(D.deriv()(c)) <= noise, 0.0, D.deriv()(c))
        both = np.where(slope == 0.0, math.inf, N.deriv()(c) / slope)
        ratio = np.where((n == 0.0) & (size == 0.0), both, n / size)
    return 2.0 * float(np.min(ratio[n >= 0.0], initial=math.inf))


# [end]
# [end]
