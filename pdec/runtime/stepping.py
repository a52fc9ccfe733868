"""What a target does that runs samples from one step to another, whichever it is.

Its driver provides _run_through, and _losses_at where there is a loss.
"""

from __future__ import annotations

import numpy as np

from pdec.runtime.checks import _Run
from pdec.runtime.generated import _SNAPSHOTS, MODEL
from pdec.runtime.host import _lib
from pdec.runtime.numpy.driver import _losses_at, _run_through
from pdec.runtime.types import Array, Arrays

# --- from one step to another --------------------------------------------------------


def _run_steps(run: _Run, start: int, end: int, values: Arrays) -> Arrays:
    """Return the fields after steps start to end - 1, from their values before."""
    return {name: z[0] for name, z in _run_through(run, start, (end,), values).items()}


def _first_state(run: _Run) -> Arrays:
    """Return the fields before all steps."""
    return _run_steps(run, 0, 0, run.z0)


def _final_state(run: _Run) -> Arrays:
    """Return the fields after all steps."""
    return _run_steps(run, 0, MODEL.steps, run.z0)


def _snapshots(run: _Run, every: int) -> Arrays:
    """Return the fields after 0, every, 2 every, … steps and after the last one."""
    ends = (*range(0, MODEL.steps, every), MODEL.steps)
    return _run_through(run, 0, ends, run.z0)


def _settled_state(run: _Run, tol: float) -> tuple[Arrays, Array, Array]:
    """Return the fields where each sample settles, after which step, and whether.

    A sample settles where a step changes it by at most tol max(1, |z|), and by no more
    than the step before did: changes that are small and grow lead away from a state
    that is not stable.
    """
    step = _lib.full(run.batch, MODEL.steps)
    reached = _lib.zeros(run.batch, bool)
    z = _first_state(run)
    rows, before = _lib.arange(run.batch), _lib.zeros(run.batch)
    for n in range(MODEL.steps):
        moving = _some(run, rows)
        old = {name: values[rows] for name, values in z.items()}
        new = (
            _run_steps(moving, n, n + 1, old)
            if n
            else _run_steps(moving, 0, 1, moving.z0)
        )
        change, size = _lib.zeros(len(rows)), _lib.ones(len(rows))
        for name, values in new.items():
            axes = tuple(range(1, values.ndim))
            change = _lib.maximum(change, abs(values - old[name]).max(axis=axes))
            size = _lib.maximum(size, abs(values).max(axis=axes))
            z[name][rows] = values
        settles = (change <= tol * size) & (change <= before)
        step[rows[settles]], reached[rows[settles]] = n + 1, True
        rows, before = rows[~settles], change[~settles]
        if not len(rows):
            break
    return z, step, reached


def _some(run: _Run, rows: Array) -> _Run:
    """Return the run of some of its samples."""
    z0 = {name: z[rows] for name, z in run.z0.items()}
    inputs = {
        name: x[rows] if x.ndim > len(MODEL.inputs[name].shape) else x
        for name, x in run.inputs.items()
    }
    return _Run(run.dtype, len(rows), run.c, z0, inputs)


def _first_not_finite(run: _Run, sample: int) -> int | None:
    """Run a sample again: return after how many steps it is not finite, or None."""
    alone = _some(run, _lib.arange(sample, sample + 1))
    values = alone.z0
    for n in range(MODEL.steps + 1):
        values = _run_steps(alone, max(n - 1, 0), n, values)
        if not all(np.isfinite(z).all() for z in values.values()):
            return n
    return None


# [feature: loss]
def _losses(run: _Run, targets: Arrays) -> Array:
    """Return the loss of each sample, (batch,), in float64."""
    losses = _lib.empty((run.batch, len(_SNAPSHOTS)))
    values, start = run.z0, 0
    for number, end in enumerate(_SNAPSHOTS):
        values, start = _run_steps(run, start, end, values), end
        losses[:, number] = _losses_at(run, values, targets, number)
    mean: Array = _lib.mean(losses, axis=1)
    return mean


def _losses_along(run: _Run, snapshots: Arrays, targets: Arrays) -> Array:
    """Return the loss of each sample at each snapshot, (snapshots, batch)."""
    count = len(next(iter(snapshots.values())))
    states = ({name: z[k] for name, z in snapshots.items()} for k in range(count))
    along: Array = _lib.stack([_losses_at(run, z, targets, 0) for z in states])
    return along


# [end]
