"""Verdict on the length of a step: the report, its words, and what forward asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdec.runtime.checks import (
    _by_name,
    _check_inputs,
    _check_params,
    _check_state,
    _common_dtype,
    _step_given,
)
from pdec.runtime.generated import (
    _QUANTITY,
    _SLOPES,
    MODEL,
    _clock,
    _coefficients,
)
from pdec.runtime.host import _handed_out, _on_host
from pdec.runtime.types import Array, Arrays, State
from pdec.runtime.verdict.judging import (
    LARGE,
    SMALL,
    _largest_step,
    _Verdict,
    _verdict,
    _worst,
)
from pdec.runtime.verdict.linearised import _dense, _judged, _Linearised, _samples
from pdec.runtime.verdict.meaning import (
    _adjoint_growth,
    _advice,
    _bound,
    _ill_posed,
    _limiting,
)
from pdec.runtime.verdict.powers import _gain, _powers_of, _rates_of, _step_matrix
from pdec.runtime.verdict.spectrum import (
    _factor_size,
    _largest_steps,
    _rates,
    _wavelengths,
)
from pdec.runtime.verdict.waves import _largest_everywhere

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
        # [feature: steady]
        unique = "unique" if self.numerical == "stable" else "not proven to be unique"
        return f"equilibrium: {unique} ({self.basis})\n  {self.advice}"
        # [end]
        # [feature: not steady]
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
        # [feature: layer]
        varying = _SLOPES[0] < _SLOPES[1] and not self.contractive
        if self.numerical == "stable" and varying:
            lines.append(
                "  that is for one f' in all cells; for others it is not proven"
            )
        # [end]
        if self.intrinsic == "growth":
            factor = math.exp(min(self.intrinsic_growth, 700.0))
            lines.append(f"  the equation itself grows, × {factor:.6g} a step")
        if self.intrinsic == "ill-posed":
            lines.append("  ill-posed: the equation grows without bound on finer grids")
        if self.growth > 1e-12:
            waves = "the mean"
            if math.isfinite(self.wavelength):
                waves = f"waves of {self.wavelength:.3g} cells ({self.length:.3g})"
            factor = math.exp(min(self.growth, 700.0))
            lines.append(f"  grows most: {waves}, × {factor:.6g} a step")
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
        # [end]


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
    state, inputs = _checked_on_host(state, inputs)
    # [feature: quick]
    checked, _, h, found = _linearised_at(p, omega, state, inputs)
    with np.errstate(all="ignore"):
        return _report(checked, h, found, run)
    # [end]
    # [feature: not quick]
    checked, c, h, found = _linearised_at(p, omega, state, inputs)

    def gain() -> float | None:
        if not math.isclose(h, float(_clock(c)[0]), rel_tol=1e-12):
            return None
        return max(_gain(c, *sample) for sample in _samples(c, state, inputs)[1])

    with np.errstate(all="ignore"):
        return _report(checked, h, found, run, gain)
    # [end]


def _linearised_at(
    p: Arrays, omega: Any, state: State, inputs: Mapping[str, Array] | None
) -> tuple[Arrays, Arrays, float, _Linearised]:
    """Return the parameters, also combined, the step, and the model linearised."""
    h = None if omega is None else _step_given(omega)
    checked = _check_params(p, "p", _common_dtype(p))
    c = {name: value.astype(np.float64) for name, value in checked.items()}
    if h is not None and MODEL.omega in c:
        c[str(MODEL.omega)] = np.asarray(h)
    with np.errstate(all="ignore"):
        _coefficients(c)
        found = _judged(c, state, inputs)
    return checked, c, float(_clock(c)[0]) if h is None else h, found


def _checked_on_host(
    state: State, inputs: Mapping[str, Array] | None
) -> tuple[State, Arrays]:
    """Return the state by name, if one is given, and the inputs, as NumPy's float64."""
    double = np.dtype(np.float64)

    def doubled(x: Any) -> Any:
        return x.astype(double) if getattr(x, "dtype", None) == "float32" else x

    if state is not None:
        fields = _by_name(state, MODEL.fields, "state")
        fields = {name: doubled(z) for name, z in fields.items()}
        state = _on_host(_check_state(fields, "state", double, None))
    given = {name: doubled(x) for name, x in (inputs or {}).items()}
    zeros = _handed_out({name: np.zeros(x.shape) for name, x in MODEL.inputs.items()})
    checked = _check_inputs(zeros | given, "inputs", double)
    return state, _on_host({name: checked[name] for name in given})


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
    _, _, h, found = _linearised_at(p, omega, *_checked_on_host(state, inputs))
    modes = found.modes
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


def _report(
    p: Arrays,
    h: float,
    found: _Linearised,
    run: bool,
    gain: Callable[[], float | None] | None = None,
) -> Stability:
    """Put the verdict together; if run is asked for, gain has ‖Mᴸ‖ of a run."""
    modes = found.modes
    verdict = _verdict(found, h, LARGE if run else SMALL)
    powers = radius = None
    if run:
        verdict, powers, radius = _multiplied(found, h, verdict, gain)
    growth, step = verdict.growth, verdict.proven
    if verdict.numerical == "stable" and not found.complete:
        verdict = verdict._replace(numerical="unknown")
    grid = _largest_step(found, verdict)
    everywhere = grid
    if modes.exact and verdict.operators is None:
        everywhere = min(grid, _largest_everywhere(found.rows, modes))
    theta = modes.theta[:, growth.mode]
    wavelength, length = _wavelengths(modes, growth.mode)
    intrinsic = "growth" if growth.own > 1e-12 else "none"
    intrinsic = "ill-posed" if _ill_posed(found, growth.own) else intrinsic
    # [feature: steady]
    verdict, advice = _equilibrium(found, verdict)
    # [end]
    # [feature: not steady]
    advice = _advice(p, h, verdict, intrinsic, everywhere, modes.symbol.size)
    # [end]
    return Stability(
        numerical=verdict.numerical,
        basis=verdict.basis,
        intrinsic=intrinsic,
        contractive=verdict.contractive,
        certificate=verdict.certificate,
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
        limit=_limiting(modes, growth.cell, growth.mode, growth.slope),
        about=found.about,
        adjoint=_adjoint_growth(found, h),
        transient=verdict.transient,
        powers=powers,
        radius=radius,
        advice=advice,
    )


# [feature: steady]
def _equilibrium(found: _Linearised, verdict: _Verdict) -> tuple[_Verdict, str]:
    """Judge whether the equilibrium z = f(A z - b) is the only one, and say why.

    It is if s λ_max((A + Aᵀ)/2) < 1 for the slopes s of f, none of which is negative;
    for other right-hand sides, affine ones, if λ_max((J + Jᵀ)/2) < 0.
    """
    A, (low, high), bound = None, found.slopes, 1.0
    if found.modes.exact:
        A = found.modes.matrix[0]
    # [feature: not quick]
    dense = _dense(found, LARGE)
    if A is None and dense is not None and dense[1]:
        A = dense[0]
    # [end]
    # [feature: not layer]
    bound, name = 0.0, "λ_max((J + Jᵀ)/2)"
    # [end]
    # [feature: layer]
    name = f"{high:.4g} λ_max((A + Aᵀ)/2)"
    # [end]
    branch = "the branch that the iteration reaches from the initial state is found"
    if A is None or not found.rigorous or low < 0.0 or not math.isfinite(high):
        return verdict._replace(numerical="unknown", basis="heuristic"), branch
    largest = np.linalg.eigvalsh((A + np.conj(A.swapaxes(-1, -2))) / 2.0).max()
    size = high * float(largest)
    if size < bound:
        why = f"{name} = {size:.4g} < {bound:.0f}"
        return verdict._replace(numerical="stable", basis="certificate"), why
    why = f"{name} = {size:.4g} >= {bound:.0f}: {branch}"
    return verdict._replace(numerical="unknown", basis="certificate"), why


# [end]
# [feature: quick]
def _multiplied(
    found: _Linearised,
    h: float,
    verdict: _Verdict,
    gain: Callable[[], float | None] | None,
) -> tuple[_Verdict, float | None, float | None]:
    """Return the verdict, the largest ‖Mⁿ‖ of a run, and ρ: M is normal."""
    sizes = (
        _factor_size(found.modes, rates, h).max() for _, rates in _rates(found.modes)
    )
    radius = float(max(sizes))
    with np.errstate(over="ignore"):
        return verdict, max(1.0, float(np.power(radius, MODEL.steps))), radius


# [end]
# [feature: not quick]
def _multiplied(
    found: _Linearised,
    h: float,
    verdict: _Verdict,
    gain: Callable[[], float | None] | None,
) -> tuple[_Verdict, float | None, float | None]:
    """Return the verdict, the largest ‖Mⁿ‖ of a run, of a large grid ‖Mᴸ‖, and ρ."""
    dense = _dense(found, LARGE)
    if dense is not None and dense[1]:
        A = dense[0]
        each = [_powers_of(_step_matrix(_rates_of(A, s), h)) for s in found.slopes]
        return verdict, max(size for size, _ in each), max(own for _, own in each)
    powers = gain() if gain else None
    if powers is not None and verdict.basis == "heuristic":
        flag = _worst(math.log(max(powers, 1.0)))
        if flag != "stable" and verdict.growth.own > 1e-12:
            flag = "unknown"  # the equation's own growth is not told apart
        verdict = verdict._replace(numerical=flag, basis="powers")
    return verdict, powers, None


# [end]
