"""Verdict on ω: amplification of the relaxation, from the stencil of Z."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pdec.runtime.checks import _check_params, _common_dtype
from pdec.runtime.generated import (
    _AXES,
    _SLOPES,
    MODEL,
    _coefficients,
    _omega,
    _stencil,
)
from pdec.runtime.types import Array, Arrays

# --- stability -----------------------------------------------------------------------


@dataclass(frozen=True)
class Stability:
    """Whether the steps grow, and why (Succi 2025, section 3).

    numerical is "stable", "marginal" (growth by at most 2 over all steps), "unstable"
    or "unknown"; intrinsic is "none" or "growth" of the equation itself, which no ω
    cures. basis is "exact" (one stencil, periodic), "certificate" (a rigorous bound) or
    "heuristic" (coefficients frozen in each cell). wavelength, in cells, belongs to the
    mode that grows most.
    """

    numerical: str
    intrinsic: str
    basis: str
    omega: float | None
    omega_max: float | None
    omega_max_grid: float | None
    wavelength: float
    growth: float
    advice: str

    def __str__(self) -> str:
        """Return the verdict in a few lines."""
        if self.omega is None:
            return f"stability: {self.numerical}\n{self.advice}"
        lines = [f"stability: {self.numerical} at ω = {self.omega:g} ({self.basis})"]
        if self.omega_max is not None:
            lines.append(f"  largest stable ω: {self.omega_max:.6g}")
        if self.intrinsic == "growth":
            lines.append("  the equation itself grows, at any ω")
        if self.growth > 1e-12:
            waves = (
                "the mean"
                if math.isinf(self.wavelength)
                else f"{self.wavelength:.3g} cells"
            )
            lines.append(
                f"  fastest mode: {waves}, × {math.exp(self.growth):.4g} a step"
            )
        return "\n".join([*lines, f"  {self.advice}"])


def stability(p: Arrays, omega: float | None = None) -> Stability:
    """Return the verdict on ω for these parameters.

    ω ≤ omega_max keeps every Fourier mode from growing for every slope of f:
    |1 - ω + ω s Λ(θ)| ≤ 1.
    """
    # [feature: stencil]
    checked = _check_params(p, "p", _common_dtype(p))
    c = {name: value.astype(np.float64) for name, value in checked.items()}
    _coefficients(c)
    omega = float(_omega(c)) if omega is None else float(omega)
    stencil = {place: np.asarray(a, np.float64) for place, a in _stencil(c).items()}
    uniform = all(a.ndim == 0 for a in stencil.values())
    exact = uniform and _periodic()
    symbol, waves = _symbol(stencil, exact)
    growth, intrinsic, wavelength = _growth(symbol, waves, omega)
    limit_grid = _largest_omega(symbol)
    limit = _three_point(stencil) if len(_AXES) == 1 else limit_grid
    bound = _certificate(stencil)
    basis = "exact" if exact else "heuristic"
    if not exact and bound is not None and omega <= bound:
        basis = "certificate"
    numerical = _flag(growth)
    if numerical == "stable" and basis == "heuristic" and not _periodic():
        numerical = "unknown"  # the row beside a wall can be stiffer than those within
    return Stability(
        numerical=numerical,
        intrinsic="growth" if intrinsic > 1e-12 else "none",
        basis=basis,
        omega=omega,
        omega_max=limit,
        omega_max_grid=limit_grid,
        wavelength=wavelength,
        growth=growth,
        advice=_advice(numerical, omega, limit),
    )
    # [end]
    # [feature: not stencil]
    return Stability(
        numerical="unknown",
        intrinsic="unknown",
        basis="none",
        omega=None,
        omega_max=None,
        omega_max_grid=None,
        wavelength=math.inf,
        growth=0.0,
        advice="  this version judges only one scalar field that relaxes to f(Z)",
    )
    # [end]


# [feature: stencil]
# the coefficients a_m by their offsets m, of each cell where they vary
_Stencil: TypeAlias = dict[tuple[int, ...], Array]


def _periodic() -> bool:
    """Tell whether no axis has walls."""
    return all(periodic for _, _, periodic in _AXES)


def _flag(growth: float) -> str:
    """Return the flag for an excess growth rate per step."""
    if growth <= 1e-12:
        return "stable"
    return "marginal" if MODEL.steps * growth <= math.log(2.0) else "unstable"


def _advice(numerical: str, omega: float, limit: float | None) -> str:
    """Return what to do."""
    if numerical == "stable":
        return "nothing to do"
    if numerical == "unknown":
        return "the cells within allow this ω; those beside the walls are not covered"
    if limit is None:
        return "no ω is stable: change the moments (more W2, or less W1 or W0)"
    if omega > limit:
        return f"take ω ≤ {limit:.4g}, or make the limiting moment smaller"
    return "a smaller ω slows the growth"


def _symbol(stencil: _Stencil, exact: bool) -> tuple[Array, list[Array]]:
    """Return Λ(θ), with one row per cell and one column per mode, and the modes' θ.

    The modes are the grid's own where one stencil holds everywhere, otherwise a few.
    """
    cells = max(a.size for a in stencil.values())
    most = max(8, int((1e5 / cells) ** (1.0 / len(_AXES))))
    counts = [size if exact else min(size, most) for size, _, _ in _AXES]
    axes = [2.0 * math.pi * np.arange(n) / n for n in counts]
    theta = [t.ravel() for t in np.meshgrid(*axes, indexing="ij")]
    symbol: Any = 0.0
    for place, a in stencil.items():
        phase = sum(m * t for m, t in zip(place, theta, strict=True))
        full = np.broadcast_to(a, _full_shape(stencil)).reshape(-1, 1)
        symbol = symbol + full * np.exp(1j * np.asarray(phase))
    return symbol, theta


def _full_shape(stencil: _Stencil) -> tuple[int, ...]:
    """Return the shape that all coefficients broadcast to."""
    return np.broadcast_shapes(*(a.shape for a in stencil.values()))


def _growth(
    symbol: Array, theta: list[Array], omega: float
) -> tuple[float, float, float]:
    """Return the worst excess growth per step, the equation's own, and the wavelength.

    The excess of a mode is what the steps add to the growth of the equation itself:
    ln|G| - max(0, ω (s Re Λ - 1)).
    """
    worst, intrinsic, wavelength = -math.inf, -math.inf, math.inf
    # beside the ends, the slope at which the equation itself neither grows nor decays
    still = 1.0 / np.where(symbol.real == 0.0, math.inf, symbol.real)
    for s in (*_SLOPES, np.clip(still, *_SLOPES)):
        own = omega * (s * symbol.real - 1.0)
        size = np.abs(1.0 - omega + omega * s * symbol)
        excess = np.log(np.maximum(size, 1e-300)) - np.maximum(own, 0.0)
        place = int(np.argmax(excess)) % symbol.shape[1]
        if excess.max() > worst:
            worst = float(excess.max())
            turns = [min(t[place], 2.0 * math.pi - t[place]) for t in theta]
            steepest = max(turns)
            wavelength = 2.0 * math.pi / steepest if steepest > 0.0 else math.inf
        intrinsic = max(intrinsic, float(own.max()))
    return worst, intrinsic, wavelength


def _largest_omega(symbol: Array) -> float | None:
    """Return the largest ω with |G| ≤ 1 in every mode for every slope, or None."""
    limit = math.inf
    for s in _SLOPES:
        room = 1.0 - s * symbol.real
        size = np.abs(1.0 - s * symbol) ** 2
        moving = size > 1e-24
        if np.any(room[moving] <= 1e-13 * np.sqrt(size[moving])):
            return None
        if np.any(moving):
            limit = min(limit, float(np.min(2.0 * room[moving] / size[moving])))
    return limit


def _certificate(stencil: _Stencil) -> float | None:
    """Return the ω up to which the maximum norm contracts, or None.

    It holds for coefficients that vary, for any slopes, and inside any walls that copy.
    """
    if not _periodic():
        return None
    centre = tuple(0 for _ in _AXES)
    middle = stencil.get(centre, np.zeros(()))
    around = sum(
        (np.abs(a) for place, a in stencil.items() if place != centre), np.zeros(())
    )
    limit = math.inf
    for s in _SLOPES:
        if np.any(s * middle + abs(s) * around > 1.0):
            return None
        reach = np.max(1.0 - s * middle + abs(s) * around)
        limit = min(limit, 2.0 / float(reach)) if reach > 0.0 else limit
    return limit


def _three_point(stencil: _Stencil) -> float | None:
    """Return the largest stable ω over all θ in closed form, least over the cells.

    With d = s (a₊ + a₋)/2, C = |s (a₊ - a₋)| and p = 1 - s Λ(0), the bound on ω is
    2P/(P² + C² u(2 - u)), P = p + 2 d u, least over u = 1 - cos θ in [0, 2].
    """
    if any(abs(place[0]) > 1 for place in stencil):
        return _largest_omega(_symbol(stencil, exact=True)[0])
    zero = np.zeros(())
    left, right = stencil.get((-1,), zero), stencil.get((1,), zero)
    middle = stencil.get((0,), zero)
    limits = [
        _cell_limit(
            s * (right + left) / 2.0,
            np.abs(s * (right - left)),
            1.0 - s * (middle + right + left),
        )
        for s in _SLOPES
    ]
    limit = min(float(np.min(each)) for each in limits)
    return limit if limit > 0.0 else None


def _cell_limit(d: Any, C: Any, p: Any) -> Array:
    """Return the bound on ω of each cell: 0 where no ω is stable, inf where any is."""
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
    limit = np.where((p < 0.0) | (p + 4.0 * d < 0.0), 0.0, limit)
    return np.asarray(limit)


# [end]
