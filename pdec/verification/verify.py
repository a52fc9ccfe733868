"""Verification: what a model promises, measured on its compiled modules.

    source  →  verify(source, targets, settings)  →  rows of a table

Each target's module tests itself; then jvp is compared with a complex step,

    Im F(z + i h v)/h = J v        to rounding, for h = 1e-40 (Squire & Trapp 1998),

checkpointed and threaded gradients with plain ones, bit by bit, the targets with NumPy,
and the orders of convergence with theory (``convergence.py``).
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import sympy

from pdec.errors import PdecError, UsageError
from pdec.forms.functions import Maximum, Minimum, Select, Step, softplus
from pdec.forms.model import Model
from pdec.pipeline import Compilation, compile_source, module_of
from pdec.source import Source
from pdec.verification.convergence import TOLERANCE, Measured, in_space, in_time
from pdec.verification.manufactured import Unsuitable

Point = dict[tuple[str, str], Any]
Progress = Callable[[str], None]

_BATCH = (
    9  # samples of the runs that are compared bit by bit, or two tiles and one more
)
_TINY = 1e-40
# NumPy computes softplus for real numbers only
_NOT_ANALYTIC = (Maximum, Minimum, Select, Step, softplus, sympy.Abs, sympy.sign)


@dataclass(frozen=True, slots=True)
class Row:
    """One check: it passes where error <= tolerance; None: it could not be made."""

    target: str
    check: str
    error: float | None
    tolerance: float = 0.0
    note: str = ""

    @property
    def status(self) -> str:
        """ok, FAILED or not tested."""
        if self.error is None:
            return "not tested"
        return "ok" if self.error <= self.tolerance else "FAILED"


def verify(
    source: Source,
    targets: Sequence[str],
    settings: Mapping[str, float],
    progress: Progress,
) -> list[Row]:
    """Check a model on each target; raises ``ModelErrors`` for a wrong model.

    NumPy is first and the others are compared with it. Orders of convergence belong to
    the discrete equation, which all targets share: they are measured on the first one.
    """
    rows: list[Row] = []
    targets = sorted(targets, key=lambda target: target != "numpy")
    reference: ModuleType | None = None
    for target in targets:
        progress(f"{target}: compiling")
        compiled = compile_source(source, target=target, overrides=settings)
        module = _ready(compiled)
        progress(f"{target}: testing derivatives")
        own = module.selfcheck()
        rows += [Row(target, r.name, r.error, r.tolerance) for r in own.rows]
        if all(math.isfinite(r.error) for r in own.rows):
            with np.errstate(all="ignore"):
                point = module._random_point(np.random.default_rng(1))
                if target == "numpy":
                    reference = module
                    rows.append(_complex_step(module, compiled.model, point))
                else:
                    if reference is None:
                        reference = module_of(
                            compile_source(source, overrides=settings)
                        )
                    rows.append(_against(reference, module, target, point))
                progress(f"{target}: checkpoints and threads")
                rows += [_checkpoints(module, target, point)]
                rows += [_threads(module, target, point)]
    first = targets[0]
    progress(f"{first}: order of convergence in Δt")
    rows.append(_order("Δt", in_time, source, first, settings))
    progress(f"{first}: order of convergence in Δx")
    rows.append(_order("Δx", in_space, source, first, settings))
    return rows


def _ready(compiled: Compilation) -> ModuleType:
    """The module, if what it runs on is there."""
    try:
        module = module_of(compiled)
        module.init_params()
    except (ImportError, RuntimeError) as error:
        raise UsageError(str(error)) from None
    return module


# --- checks --------------------------------------------------------------------------


def _complex_step(module: ModuleType, model: Model, point: Point) -> Row:
    """Compare jvp with the module's own arithmetic on complex numbers.

    The public functions take real arrays alone; the driver under them takes any.
    """
    name = "complex step against jvp"
    expressions = [e.expr for e in (*model.evolution.values(), *model.initial.values())]
    expressions += [definition.expr for definition in model.definitions.values()]
    if any(expr.has(*_NOT_ANALYTIC) for expr in expressions):
        return Row("numpy", name, None, note="a function of the model is not analytic")
    if hasattr(module, "_solve"):
        return Row("numpy", name, None, note="a step is solved for by iteration")
    rng = np.random.default_rng(2)
    v = module._random(module._scales(point, rng), point, rng)
    Jv = module._flat(module._tangent_along(point, v))
    moved = {key: x + 1j * _TINY * v[key] for key, x in point.items()}
    c, z0, inputs = (module._of(moved, entry) for entry in ("params", "z0", "inputs"))
    module._coefficients(c)
    run = module._Run(np.dtype(complex), _batch(point), c, z0, inputs)
    exact = module._flat(module._final_state(run)).imag / _TINY
    size = float(np.linalg.norm(Jv))
    error = float(np.linalg.norm(exact - Jv)) / (size or 1.0)
    return Row("numpy", name, error, 1e-12)


def _checkpoints(module: ModuleType, target: str, point: Point) -> Row:
    """Compare gradients whose states were computed again with those of stored ones."""
    stored = _gradients(module, point, checkpoint="all")
    error = max(
        _difference(stored, _gradients(module, point, checkpoint=kept))
        for kept in ("sqrt", 3)
    )
    return Row(target, "checkpointed equals stored, bit by bit", error)


def _threads(module: ModuleType, target: str, point: Point) -> Row:
    """Compare gradients of several tiles on one thread with those on three.

    On a GPU, compare those of all samples at once with those of one after the other.
    """
    if target == "cupy":
        return _samples(module, target, _repeated(point, _BATCH))
    tile = module._tile_size(np.dtype(float)) if hasattr(module, "_tile_size") else 4
    several = _repeated(point, max(_BATCH, 2 * tile + 1))
    found = []
    for threads in ("1", "3"):
        with _environment("PDEC_NUM_THREADS", threads):
            found.append(_gradients(module, several))
    error = _difference(*found)
    return Row(target, "one thread equals three, bit by bit", error)


def _samples(module: ModuleType, target: str, several: Point) -> Row:
    name, room = "all samples at once equal one by one, bit by bit", "_ROOM"
    if not hasattr(module, room):
        return Row(target, name, None, note="array operations take all at once")
    found, bytes_ = [_gradients(module, several)], getattr(module, room)
    try:
        setattr(module, room, 1)
        found.append(_gradients(module, several))
    finally:
        setattr(module, room, bytes_)
    return Row(target, name, _difference(*found))


def _against(
    reference: ModuleType, module: ModuleType, target: str, point: Point
) -> Row:
    """Compare the gradients of a target with NumPy's, relative to the largest one."""
    mine, other = _gradients(module, point), _gradients(reference, point)
    most = float(np.abs(other).max(initial=0.0)) or 1.0
    return Row(
        target, "gradients against numpy's", _difference(mine, other) / most, 1e-12
    )


def _order(
    what: str,
    measure: Callable[[Source, str, Mapping[str, float]], Measured],
    source: Source,
    target: str,
    settings: Mapping[str, float],
) -> Row:
    """Compare an order of convergence with theory."""
    name = f"order of convergence in {what}"
    try:
        found = measure(source, target, settings)
    except (Unsuitable, PdecError) as reason:
        return Row(target, name, None, note=str(reason).partition("\n")[0])
    return Row(target, name, found.deviation, TOLERANCE, found.note)


# --- runs ----------------------------------------------------------------------------


def _gradients(module: ModuleType, point: Point, **options: Any) -> Any:
    """All gradients at a point as one vector: of the loss, or of a weighted state."""
    rng = np.random.default_rng(3)
    arguments, entries = module._arguments(point), module._ENTRIES
    if hasattr(module, "value_and_grad"):
        batch = _batch(point)
        targets = module.MODEL.targets.items()
        y = {name: module._random_target(t, batch, rng) for name, t in targets}
        y = module._handed_out(y)
        _, found = module.value_and_grad(
            **arguments, y=y, wrt=entries, check="off", **options
        )
    else:
        return module._flat(module._pulled(point, rng, **options)[1])
    return module._flat(module._joined(found))


def _batch(point: Point) -> int:
    """The samples of a point."""
    return next((len(x) for (entry, _), x in point.items() if entry != "params"), 1)


def _repeated(point: Point, batch: int) -> Point:
    """A point with more samples, no two of them alike."""
    rng = np.random.default_rng(4)

    def spread(x: Any) -> Any:
        factors = 1.0 + 0.1 * rng.standard_normal((batch, *x.shape[1:]))
        return x[:1] * factors

    return {key: x if key[0] == "params" else spread(x) for key, x in point.items()}


def _difference(a: Any, b: Any) -> float:
    """The largest difference; inf where only one of two numbers is one."""
    if np.array_equal(a, b, equal_nan=True):
        return 0.0
    most = float(np.abs(a - b).max())
    return most if math.isfinite(most) else math.inf


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
