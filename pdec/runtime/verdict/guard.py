"""A first look at a run: closed forms, norms and a perturbation."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from pdec.runtime.checks import _Run
from pdec.runtime.generated import (
    _AXES,
    _SLOPES,
    MODEL,
    _amplification,
    _clock,
    _stencil,
)
from pdec.runtime.host import _handed_out, _on_host
from pdec.runtime.types import Array, Arrays, State
from pdec.runtime.verdict.certificates import _as_matrices, _max_norm_step, _walled_rows
from pdec.runtime.verdict.judging import _inherited
from pdec.runtime.verdict.linearised import _judged
from pdec.runtime.verdict.powers import _perturbed
from pdec.runtime.verdict.spectrum import _angles, _excess, _growth
from pdec.runtime.verdict.stability import Stability, stability
from pdec.runtime.verdict.watch import _WATCH

# --- a first look at a run -----------------------------------------------------------


# [feature: ranged]
def _judge_run(p: Arrays, run: _Run) -> Stability:
    """Work the verdict out."""
    return stability(p)


# [end]
# [feature: not ranged]
def _judge_run(p: Arrays, run: _Run) -> Stability:
    """Work the verdict out, at the largest sample."""
    k = _largest_sample(run)
    state, inputs = _handed_out(_judged_sample(run, k))
    report = stability(p, state=state, inputs=inputs)
    given = {"state": run.z0, "inputs": run.inputs}
    call = ", ".join(["p", *(f"{name}=…" for name, arrays in given.items() if arrays)])
    at = f", sample {k}; to ask for the same: stability({call})"
    return dataclasses.replace(report, about=report.about and report.about + at)


def _judged_sample(run: _Run, k: int) -> tuple[State, Arrays | None]:
    """Return the state and the inputs of sample k, what the verdict needs."""
    chosen = {
        name: x[k] if x.ndim > len(MODEL.inputs[name].shape) else x
        for name, x in run.inputs.items()
    }
    inputs = {name: x.astype(np.float64) for name, x in _on_host(chosen).items()}
    # [feature: initial]
    return None, inputs
    # [end]
    # [feature: not initial]
    first = _on_host({name: a[k : k + 1] for name, a in run.z0.items()})
    z = {name: a.astype(np.float64) for name, a in first.items()}
    return z if len(z) > 1 else next(iter(z.values())), inputs
    # [end]


def _largest_sample(run: _Run) -> int:
    """Return the sample whose inputs and state are largest, each in its own unit."""
    total = np.zeros(run.batch)
    own = [x for n, x in run.inputs.items() if x.ndim > len(MODEL.inputs[n].shape)]
    for a in [*own, *run.z0.values()]:
        size = _on_host(abs(a.reshape(len(a), -1)).max(axis=1))
        total += size / max(float(size.max()), 1e-300)
    return int(np.argmax(total))


# [end]
def _suspect(p: Arrays, run: _Run) -> bool:
    """Tell whether the run may grow, as it was seen when last looked at."""
    # [feature: quick]
    stencil = _stencil(run.c)
    a = np.array([float(a) for a in stencil.values()])
    phases = _phases(tuple(stencil), True).view(np.float64)
    # no product of BLAS: its threads would wake up, and be in the way of the run's own
    symbol = np.einsum("m,mk->k", a, phases).view(np.complex128)
    return _grows(symbol, float(_clock(run.c)[0]))
    # [end]
    # [feature: not quick]
    watch, seen = _WATCH, {name: run.c[name] for name in p}
    # [feature: jacobian]
    given = {**run.inputs, **run.z0}
    seen |= {f"{n}~": np.asarray(_on_host(abs(x).max())) for n, x in given.items()}
    # [end]
    watch.calls += 1
    moved = any(abs(seen[n] - x).max() > far for n, (x, far) in watch.at.items())
    if moved or not watch.at or watch.calls >= watch.every:
        creeping = bool(watch.at) and not (moved or watch.suspect)
        watch.every = min(2 * watch.every, 256) if creeping else 16
        watch.calls, watch.rest = 0, 0 if moved else watch.rest
        watch.at = {n: (x.copy(), 0.5 * float(abs(x).max())) for n, x in seen.items()}
        try:
            with np.errstate(all="ignore"):
                watch.suspect = _may_grow(run)
        except (ArithmeticError, np.linalg.LinAlgError):  # not finite there
            watch.suspect = True
    return watch.suspect
    # [end]


# [feature: not quick]
def _may_grow(run: _Run) -> bool:
    """Tell whether a run may grow by more than 2: a first look.

    False is certain where a norm says so, else as good as a few frozen modes are, and a
    random perturbation of the largest sample.
    """
    h = float(_clock(run.c)[0])
    # [feature: ranged]
    stencil = _stencil(run.c)
    walled = rows = _as_matrices(stencil)
    # [feature: walls]
    walled = _walled_rows(stencil)
    # [end]
    if h <= _inherited(_max_norm_step(walled, _SLOPES)):
        return False
    phases = _phases(tuple(rows), False)
    some = slice(None, None, max(1, len(rows[next(iter(rows))]) // 64))  # cells
    a = np.stack([a[some] for a in rows.values()], axis=-1)
    modes = np.linalg.eigvals(np.moveaxis(a @ phases, -1, 0))
    return _grows(modes, h) or bool(_perturbed(walled, max(_SLOPES, key=abs), h))
    # [end]
    # [feature: not ranged]
    c = {name: a.astype(np.float64) for name, a in run.c.items()}
    found = _judged(c, *_judged_sample(run, _largest_sample(run)))
    # [feature: not matrix]
    if found.rigorous and h <= _inherited(_max_norm_step(found.walled, found.slopes)):
        return False
    # [end]
    if MODEL.steps * _growth(found.modes, h).excess > math.log(2.0):
        return True
    slope = max(found.slopes, key=abs)
    return found.times == 1 and bool(_perturbed(found.walled, slope, h))
    # [end]


# [end]
# [feature: ranged]
def _grows(symbol: Array, h: float) -> bool:
    """Tell whether |G| exceeds the growth of the equation by more than 2 in the run."""
    with np.errstate(all="ignore"):
        for s in dict.fromkeys(_SLOPES):
            rates = s * symbol - 1.0 if s else np.array([-1.0])
            size = np.abs(_amplification(rates, h))
            if float(size.max()) <= 2.0 ** (1.0 / MODEL.steps):
                continue
            excess = float(_excess(size, h * rates.real).max())
            if not MODEL.steps * excess <= math.log(2.0):
                return True
    return False


@functools.cache
def _phases(places: tuple[tuple[int, ...], ...], exact: bool) -> Array:
    """Return e^{imθ}, (places, modes): half of the grid's modes, or a few of them."""
    few = 1 << 20  # cells enough for four modes an axis
    theta = _angles(len(_AXES), 1 if exact else few, exact)
    phases: Array = np.exp(1.0j * (np.asarray(places) @ theta))
    return phases


# [end]
