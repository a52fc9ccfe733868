"""What is known of a step: by its modes, a certificate, its powers, or frozen cells."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np

from pdec.runtime.generated import (
    _CONTRACTIVITY,
    MODEL,
    _whole,
)
from pdec.runtime.types import Array
from pdec.runtime.verdict.certificates import (
    _circle_step,
    _max_norm_step,
    _norm_step,
    _tight_norm_step,
)
from pdec.runtime.verdict.linearised import _dense, _Linearised, _smooth
from pdec.runtime.verdict.powers import (
    _beyond,
    _exponentials,
    _perturbed,
    _rates_of,
    _step_matrix,
    _without_end,
)
from pdec.runtime.verdict.spectrum import (
    _Growth,
    _growth,
    _largest_steps,
    _lengths,
)

# --- judging a step ------------------------------------------------------------------

SMALL, LARGE = 96, 1024  # matrices that are multiplied out unasked, and on request


class _Verdict(NamedTuple):
    """What is known of a step: the flag, its basis, a certificate and its Euler step.

    transient is the largest ‖Mⁿ‖ of what was multiplied out: the modes of several
    components, or all rows.
    """

    numerical: str
    basis: str
    growth: _Growth
    proven: float
    certificate: str
    contractive: bool
    transient: float | None = None
    operators: Array | None = None  # those, where they decided


def _verdict(found: _Linearised, h: float, most: int) -> _Verdict:
    """Judge a step by the first that applies: modes, certificates, powers, freezing."""
    growth = _growth(found.modes, h)
    step, certificate = _proven(found, h, min(most, 256))
    contractive = step > 0.0 and h <= step * (1.0 + 1e-12)
    # [feature: not quick]
    if step > 0.0 and not found.modes.exact:  # nothing grows by itself
        growth = growth._replace(own=min(growth.own, 0.0))
    # [end]
    flag = _flag(growth.excess)
    basis = "exact" if found.rigorous else "heuristic"  # it depends on the state
    verdict = _Verdict(flag, basis, growth, step, certificate, contractive)
    if _modes_decide(found):
        # [feature: components]
        A = found.modes.matrix.reshape(-1, 1, *found.modes.matrix.shape[-2:])
        transient, beyond = _beyond(A, found.slopes, h)
        verdict = verdict._replace(transient=transient)
        if FLAGS.index(_worst(beyond)) > FLAGS.index(flag):
            verdict = verdict._replace(numerical=_worst(beyond), operators=A)
        # [end]
        return verdict
    # [feature: quick]
    return verdict
    # [end]
    # [feature: not quick]
    whole = _dense(found, 256) if step == 0.0 else None
    if whole is not None and whole[1]:
        own = max(_fastest(whole[0], s) for s in set(found.slopes))
        growth = growth._replace(own=h * own)
        verdict = verdict._replace(growth=growth)
    if contractive:
        return verdict._replace(numerical="stable", basis="certificate")
    dense = _dense(found, most)
    if dense is not None:
        A = dense[0][None]
        transient, beyond = _beyond(A, found.slopes, h)
        lasting = _flag(_endless(A, found.slopes, h, {}) - ENDLESS)
        powers = max(_worst(beyond), lasting, key=FLAGS.index)
        # steps that differ may cure what others broke; it still was broken
        strict = powers == "marginal" or found.times > 1 or found.modes.exact
        if flag == "unstable" and strict:
            powers = flag
        one = found.slopes[0] == found.slopes[1]
        basis = "powers" if found.rigorous and one else "heuristic"
        return verdict._replace(
            numerical=powers, basis=basis, transient=transient, operators=A
        )
    frozen = found.times == 1 and found.modes.matrix.shape[-1] == 1
    if not (found.within and frozen and _smooth(found.rows)):
        # frozen coefficients say nothing there
        flag = "unknown" if flag == "stable" or not found.within else flag
        slope = max(found.slopes, key=abs)
        if flag != "unknown" and found.times == 1:
            grows = _perturbed(found.walled, slope, h)
            flag = "unknown" if grows is False else flag
    return verdict._replace(numerical=flag, basis="heuristic")
    # [end]


FLAGS = ("stable", "marginal", "unstable")
ENDLESS = 1e-7  # what of ln ‖M‖ a step the powers of a matrix do not resolve


def _flag(excess: float) -> str:
    """Return the flag for an excess growth rate per step."""
    if excess <= 1e-12:
        return "stable"
    return "marginal" if MODEL.steps * excess <= math.log(2.0) else "unstable"


# [feature: not quick]
def _worst(beyond: float) -> str:
    """Return the flag for ln of the growth over the run, norms being what they are."""
    if beyond <= math.log(2.0):
        return "stable"
    return "marginal" if beyond <= math.log(1e3) else "unstable"


# [end]
def _modes_decide(found: _Linearised) -> bool:
    """Tell whether the modes decide: alike in all cells, and for any slopes.

    The slopes of cells and of channels differ from each other, which no single s stands
    for; for one channel and slopes of one sign the ends of their range still decide.
    """
    low, high = found.slopes
    alike = low == high or (found.modes.matrix.shape[-1] == 1 and low >= 0.0)
    return found.modes.exact and alike


# [feature: not quick]
_Rates: TypeAlias = dict[float, float]  # the equation's own growth, by slope


def _lasting(A: Array, slopes: tuple[float, float], h: float, own: _Rates) -> bool:
    """Tell whether a run, and a longer one, stays small: no growth is left."""
    if _beyond(A, slopes, h)[1] > math.log(2.0):
        return False
    return _endless(A, slopes, h, own) <= ENDLESS


def _endless(A: Array, slopes: tuple[float, float], h: float, own: _Rates) -> float:
    """Return ln of a step's growth that never ends, beyond the equation's own.

    0 where the steps differ: there is no run but the model's. own keeps what does not
    depend on h.
    """
    found = 0.0
    for s in dict.fromkeys(slopes if A.shape[1] == 1 else ()):
        lasting = _without_end(_step_matrix(_rates_of(A[:, 0], s), h), 24)
        if lasting > ENDLESS:
            if s not in own:
                own[s] = _fastest(A[:, 0], s)
            lasting -= max(h * own[s], 0.0)
        found = max(found, lasting)
    return found


def _fastest(A: Array, slope: float) -> float:
    """Return the rate at which the equation grows, 0 where it is noise."""
    J = _rates_of(A, slope)
    # [feature: matrix]
    J = _whole(J)
    # [end]
    own, parts = _exponentials(J[:, None])
    rate = _without_end(own[:, 0], 34)
    return parts * rate if abs(rate) > 1e-10 else 0.0


# [end]
def _largest_step(found: _Linearised, verdict: _Verdict) -> float:
    """Return the largest step that adds no growth, 0 where there is none.

    Where matrices decide it is found by bisection, from that of frozen cells.
    """
    frozen = float(_largest_steps(found.modes).min())
    # [feature: quick]
    return frozen
    # [end]
    # [feature: not quick]
    A = verdict.operators
    if A is None:
        return max(frozen, verdict.proven) if verdict.contractive else frozen

    own: _Rates = {}
    low, high = 0.0, frozen
    strict = found.modes.exact or found.times > 1
    if strict and not math.isinf(frozen):  # no wave, or none in any step, may grow
        if frozen == 0.0 or _lasting(A, found.slopes, frozen * (1.0 - 1e-9), own):
            return frozen
    elif high == 0.0 or math.isinf(high):
        high = 1.0 / (1.0 + float(np.abs(A).sum(axis=-1).max()))
    for _ in range(8):  # up from there, or down
        if not _lasting(A, found.slopes, high, own):
            break
        low, high = high, 4.0 * high
    else:
        return math.inf
    if low == 0.0:
        low = 1e-3 * high
        if not _lasting(A, found.slopes, low, own):
            return 0.0
    for _ in range(12):
        middle = math.sqrt(low * high)
        lasts = _lasting(A, found.slopes, middle, own)
        low, high = (middle, high) if lasts else (low, middle)
    return low
    # [end]


def _proven(found: _Linearised, h: float, most: int) -> tuple[float, str]:
    """Return the largest h that a certificate proves to contract, and its name."""
    # [feature: matrix]
    return 0.0, ""
    # [end]
    # [feature: not matrix]
    if not found.rigorous:
        return 0.0, ""
    steps = {"maximum norm": _max_norm_step(found.walled, found.slopes)}
    if found.modes.exact:
        # [feature: layer]
        steps["circle criterion"] = _circle_step(found.modes)
        # [end]
        # [feature: not layer]
        unit = np.eye(found.modes.matrix.shape[-1])
        steps["2-norm"] = _norm_step(found.modes.matrix + unit, 1.0, 0.0)
        # [end]
    # [feature: not quick]
    if not found.modes.exact and h > _inherited(steps["maximum norm"]):
        dense, (low, high) = _dense(found, most), found.slopes
        if dense is not None and dense[1]:
            A = dense[0]
            # [feature: not layer]
            A = A + np.eye(A.shape[-1])
            # [end]
            steps["2-norm"] = _norm_step(A, (low + high) / 2.0, (high - low) / 2.0)
            # [feature: layer]
            if len(A) == 1 and low == 0.0:
                steps["2-norm"] = max(_tight_norm_step(A[0], high), steps["2-norm"])
            # [end]
    # [end]
    name = max(steps, key=lambda name: steps[name])
    best = _inherited(steps[name])
    return (best, name) if best > 0.0 else (0.0, "")
    # [end]


def _inherited(w: float) -> float:
    """Return the h up to which the scheme contracts where Euler steps do up to w."""
    # [feature: effective]
    return float(_lengths(w)) if w > 0.0 else 0.0
    # [end]
    # [feature: not effective]
    return _CONTRACTIVITY * w if _CONTRACTIVITY > 0.0 < w else 0.0
    # [end]
