"""Verdict on the length of a step: the report, its words, and what forward asks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pdec.runtime.certificates import _circle_step, _max_norm_step, _norm_step
from pdec.runtime.checks import _check_params, _common_dtype
from pdec.runtime.generated import (
    _CONTRACTIVITY,
    _QUANTITY,
    MODEL,
    _clock,
    _coefficients,
)
from pdec.runtime.host import _on_host
from pdec.runtime.linearised import _dense, _judged, _Linearised, _samples, _smooth
from pdec.runtime.meaning import (
    _adjoint_growth,
    _advice,
    _bound,
    _ill_posed,
    _limiting,
)
from pdec.runtime.powers import _gain, _powers_of, _step_matrix
from pdec.runtime.spectrum import (
    _factor_size,
    _Growth,
    _growth,
    _largest_steps,
    _lengths,
    _rates,
    _wavelengths,
)
from pdec.runtime.transients import _beyond, _transient
from pdec.runtime.types import Array, Arrays, State
from pdec.runtime.waves import _largest_everywhere

# --- stability -----------------------------------------------------------------------


@dataclass(frozen=True)
class Stability:
    """Whether the steps grow, and why (Succi 2025, section 3).

    numerical is "stable", "marginal" (growth by at most 2 over all steps), "unstable"
    or "unknown": what the steps add to the growth of the equation itself. basis says
    how that is known: "exact" (one stencil, periodic), "certificate" (a proof for any
    slopes), "powers" (the steps' matrices multiplied, on request), "heuristic"
    (coefficients frozen in each cell, or the rates linearised about one state).

    intrinsic is the equation's own growth, which no step cures: "none", "growth", or
    "ill-posed" (without bound on finer grids). contractive says that two runs approach
    each other in the norm of the certificate, for any slopes; omega_contractive is the
    largest ω for which that is proven. bound is a bound on |z| in the long run.

    omega is the length of a step, ω = γ Δt, or Δt where quantity says so. omega_max
    keeps all waves from growing, omega_max_grid those of this grid: inf where any ω
    does, None where none. theta, wavelength (in cells) and length belong to the mode
    that grows most, growth to its growth a step, ln|G|, beyond the equation's own,
    which is intrinsic_growth. about is the state that the model was linearised about,
    empty where the verdict holds at every one. adjoint bounds the growth of gradients
    over the run. transient is the largest ‖Gⁿ‖ of several components over the modes,
    None where the modes do not decide; beyond 2, not counting the equation's own, the
    run is marginal, beyond 1000 unstable, whatever the eigenvalues. powers is
    the largest ‖Mⁿ‖, radius the spectral radius, asymptotic only.
    """

    numerical: str
    basis: str
    intrinsic: str
    contractive: bool
    certificate: str
    bound: float | None
    quantity: str
    omega: float
    omega_max: float | None
    omega_max_grid: float | None
    omega_contractive: float | None
    theta: tuple[float, ...]
    wavelength: float
    length: float
    growth: float
    intrinsic_growth: float
    limit: str
    about: str
    adjoint: float
    transient: float | None
    powers: float | None
    radius: float | None
    advice: str

    def __str__(self) -> str:
        """Return the verdict in a few lines, what to do at the end."""
        name = self.quantity
        lines = [
            f"stability: {self.numerical} at {name} = {self.omega:.6g} ({self.basis})"
        ]
        lines.append(f"  largest stable {name}: {_shown_step(self.omega_max)}")
        if self.omega_max_grid != self.omega_max:
            lines[-1] += f", on this grid {_shown_step(self.omega_max_grid)}"
        if self.omega_contractive:
            proven = _shown_step(self.omega_contractive)
            lines.append(f"  contracts up to {name} = {proven} ({self.certificate})")
        if self.intrinsic == "growth":
            factor = math.exp(min(self.intrinsic_growth, 700.0))
            lines.append(f"  the equation itself grows, × {factor:.4g} a step")
        if self.intrinsic == "ill-posed":
            lines.append("  ill-posed: the equation grows without bound on finer grids")
        if self.growth > 1e-12:
            waves = "the mean"
            if math.isfinite(self.wavelength):
                waves = f"waves of {self.wavelength:.3g} cells ({self.length:.3g})"
            factor = math.exp(min(self.growth, 700.0))
            lines.append(f"  grows most: {waves}, × {factor:.4g} a step")
            lines.append(f"  limited by: {self.limit}")
        if self.powers is not None:
            lines.append(f"  largest ‖Mⁿ‖ in {MODEL.steps} steps: {self.powers:.4g}")
        if self.radius is not None:
            lines[-1] += f"; spectral radius {self.radius:.6g} (asymptotic)"
        if self.transient is not None and self.transient > 2.0:
            lines.append(f"  waves may grow × {self.transient:.4g} before they decay")
        if self.about:
            lines.append(f"  linearised about {self.about}")
        if self.bound is not None:
            lines.append(f"  bounded: |z| tends below {self.bound:.4g}")
        gradients = "vanish" if self.adjoint < 1e-3 else "grow at most"
        if self.adjoint < 1e-3 or 1.0 < self.adjoint < 1e3:
            lines.append(f"  gradients {gradients}, × {self.adjoint:.3g} over the run")
        return "\n".join([*lines, f"  {self.advice}"])


def _shown_step(step: float | None) -> str:
    return "none" if step is None else "any" if math.isinf(step) else f"{step:.6g}"


def stability(
    p: Arrays,
    omega: float | None = None,
    state: State = None,
    *,
    inputs: Mapping[str, Array] | None = None,
    run: bool = False,
) -> Stability:
    """Return the verdict on the length of a step for these parameters.

    omega is ω, or Δt where the model has no ω; the model's own unless given. state is
    (batch, *shape), what a model is linearised about whose rates or slopes depend on
    it: by default zero. With run=True the matrices of the steps are multiplied, which
    decides where there is no exact result and no certificate.
    """
    if omega is not None and not 0.0 < float(omega) < math.inf:
        raise ValueError(f"omega is {omega!r}, expected a number > 0")
    checked = _check_params(p, "p", _common_dtype(p))
    c = {name: value.astype(np.float64) for name, value in checked.items()}
    if omega is not None and MODEL.omega in c:
        c[str(MODEL.omega)] = np.asarray(float(omega))
    _coefficients(c)
    h = float(_clock(c)[0]) if omega is None else float(omega)
    state, inputs = _on_host(state), _on_host(inputs)
    found = _judged(c, state, inputs)
    powers, radius = _multiplied(c, h, found, state, inputs) if run else (None, None)
    return _report(c, checked, h, found, powers, radius)


@dataclass(frozen=True)
class Amplification:
    """|G| over the waves, for pictures: theta is (axes, waves).

    size is the largest |G| over the slopes, (cells, waves), and growth the equation's
    own, its logarithm per step; cells is 1 where all are alike. omega_max is the
    largest step without growth of each cell, 0 where there is none.
    """

    theta: Array
    size: Array
    growth: Array
    omega_max: Array


def amplification(
    p: Arrays,
    omega: float | None = None,
    state: State = None,
    *,
    inputs: Mapping[str, Array] | None = None,
) -> Amplification:
    """Return |G| of all waves; the arguments are those of stability."""
    checked = _check_params(p, "p", _common_dtype(p))
    c = {name: value.astype(np.float64) for name, value in checked.items()}
    _coefficients(c)
    h = float(_clock(c)[0]) if omega is None else float(omega)
    modes = _judged(c, _on_host(state), _on_host(inputs)).modes
    sizes, growth = zip(
        *(
            (_factor_size(modes, rates, h).max(-1), h * rates.real.max(-1))
            for _, rates in _rates(modes)
        ),
        strict=True,
    )
    return Amplification(
        modes.theta,
        np.max(sizes, axis=0),
        np.max(growth, axis=0),
        _largest_steps(modes),
    )


def _multiplied(
    c: Arrays,
    h: float,
    found: _Linearised,
    state: State,
    inputs: Mapping[str, Array] | None,
) -> tuple[float, float | None]:
    """Return the largest ‖Mⁿ‖ of the run, for a large grid ‖Mᴸ‖, and a radius."""
    own = math.isclose(h, float(_clock(c)[0]), rel_tol=1e-12)
    A = _dense(found, 256 if own else 2048)
    if A is None and not own:
        raise ValueError(
            f"{MODEL.name}: {_QUANTITY} is a constant of the steps, and the grid too "
            "large to multiply them out at another one; make it a parameter"
        )
    if A is None:
        return max(_gain(c, *sample) for sample in _samples(c, state, inputs)[1]), None
    # [feature: layer]
    unit = np.eye(len(A))
    each = [_powers_of(_step_matrix(s * A - unit, h)) for s in found.slopes]
    # [end]
    # [feature: not layer]
    each = [_powers_of(_step_matrix(A, h))]
    # [end]
    return max(size for size, _ in each), max(radius for _, radius in each)


def _report(
    c: Arrays,
    p: Arrays,
    h: float,
    found: _Linearised,
    powers: float | None,
    radius: float | None,
) -> Stability:
    """Put the verdict together."""
    modes = found.modes
    growth = _growth(modes, h)
    limits = _largest_steps(modes)
    grid = float(limits.min())
    step, certificate = _proven(found, h)
    contractive = step > 0.0 and h <= step * (1.0 + 1e-12)
    numerical, basis = _decided(found, growth, contractive, powers, h)
    transient = None
    # [feature: components]
    if modes.exact:
        transient, beyond = _transient(modes, h)
        if numerical != "unstable" and beyond > math.log(2.0):
            numerical = "marginal" if beyond <= math.log(1e3) else "unstable"
    # [end]
    theta = modes.theta[:, growth.mode]
    wavelength, length = _wavelengths(modes, growth.mode)
    everywhere = min(grid, _largest_everywhere(found.rows, modes))
    limit = _limiting(modes, growth.cell, growth.mode, growth.slope)
    intrinsic = "growth" if growth.own > 1e-12 else "none"
    return Stability(
        numerical=numerical,
        basis=basis,
        intrinsic="ill-posed" if _ill_posed(found, growth.own) else intrinsic,
        contractive=contractive,
        certificate=certificate,
        bound=_bound(h),
        quantity=_QUANTITY,
        omega=h,
        omega_max=everywhere or None,
        omega_max_grid=grid or None,
        omega_contractive=step or None,
        theta=tuple(map(float, theta)),
        wavelength=wavelength,
        length=length,
        growth=growth.excess,
        intrinsic_growth=growth.own,
        limit=limit,
        about=found.about,
        adjoint=_adjoint_growth(found, h),
        transient=transient,
        powers=powers,
        radius=radius,
        advice=_advice(p, h, numerical, growth, everywhere, modes),
    )


def _decided(
    found: _Linearised,
    growth: _Growth,
    contractive: bool,
    powers: float | None,
    h: float,
) -> tuple[str, str]:
    """Return the flag of the steps, and how it is known."""
    numerical = _flag(growth.excess)
    if _is_exact(found):
        return numerical, "exact"
    if contractive:
        return "stable", "certificate"
    if powers is not None:
        # [feature: components]
        A = _dense(found)
        if A is not None:  # the equation itself may make sums of waves grow
            beyond = max(_beyond(A[None], found.slopes, h)[1] - 1e-9, 0.0)
            if beyond <= math.log(2.0) and numerical == "stable":
                return "stable", "powers"
            return _flag(beyond / MODEL.steps), "powers"
        # [end]
        gain = math.log(max(powers, 1.0)) / MODEL.steps - max(growth.own, 0.0)
        return _flag(gain - 1e-9), "powers"
    smooth = _smooth(found.rows, found.times)
    if not found.within or (numerical == "stable" and not smooth):
        numerical = "unknown"  # frozen coefficients say nothing there
    return numerical, "heuristic"


def _flag(excess: float) -> str:
    """Return the flag for an excess growth rate per step."""
    if excess <= 1e-12:
        return "stable"
    return "marginal" if MODEL.steps * excess <= math.log(2.0) else "unstable"


def _is_exact(found: _Linearised) -> bool:
    """Tell whether the modes decide: alike in all cells, and for any slopes.

    The slopes of cells and of channels differ from each other, which no single s stands
    for; for one channel and slopes of one sign the ends of their range still decide.
    """
    low, high = found.slopes
    alike = low == high or (found.modes.matrix.shape[-1] == 1 and low >= 0.0)
    return found.modes.exact and found.rigorous and alike


def _proven(found: _Linearised, h: float) -> tuple[float, str]:
    """Return the largest h that a certificate proves to contract, and its name."""
    # [feature: matrix]
    return 0.0, ""
    # [end]
    # [feature: not matrix]
    if not found.rigorous:
        return 0.0, ""
    best = _inherited(_max_norm_step(found.walled, found.slopes))
    name = "maximum norm" if best else ""
    # [feature: layer]
    if found.modes.exact:
        other = _inherited(_circle_step(found.modes))
        if other > best:
            best, name = other, "circle criterion"
    # [end]
    # [feature: not layer]
    if found.modes.exact:
        unit = np.eye(found.modes.matrix.shape[-1])
        other = _inherited(_norm_step(found.modes.matrix + unit, 1.0, 0.0))
        if other > best:
            best, name = other, "2-norm"
    # [end]
    if h > best and not found.modes.exact:
        A = _dense(found)
        if A is not None:
            low, high = found.slopes
            # [feature: not layer]
            A = A + np.eye(len(A))
            # [end]
            step = _norm_step(A[None], (low + high) / 2.0, (high - low) / 2.0)
            other = _inherited(step)
            if other > best:
                best, name = other, "2-norm"
    return best, name
    # [end]


def _inherited(w: float) -> float:
    """Return the h up to which the scheme contracts where Euler steps do up to w."""
    # [feature: effective]
    return float(_lengths(w)) if w > 0.0 else 0.0
    # [end]
    # [feature: not effective]
    return _CONTRACTIVITY * w if _CONTRACTIVITY > 0.0 < w else 0.0
    # [end]
