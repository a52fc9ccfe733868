"""What a gradient needs for each choice of ``checkpoint``: bytes, steps run again.

Input: a compiled module and the size of a batch.  Output: a table.  Its numbers come
from the module's own schedule and shapes.  With L states of |z| numbers and s of them
kept, a tile holds

    (s + 2) |z| + 2 |z| + 2 (inputs and work arrays)      numbers for each sample

there and back, beside what it has of coefficients that are repeated for every sample,
and a thread a sum for each array that all samples share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import numpy as np

# How often a step may run, for the choices beside "all" (once) and "sqrt" (twice).
RUNS = (3, 4, 6, 10)


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice of ``checkpoint``: its states and bytes with one thread, its price."""

    checkpoint: str | int
    states: int
    bytes: int
    extra_steps: int


@dataclass(frozen=True, slots=True)
class Memory:
    """The choices for a batch, which is worked off in tiles of so many samples."""

    batch: int
    tile: int
    dtype: str
    choices: tuple[Choice, ...]

    def data(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self)

    def text(self) -> str:
        """The same for people."""
        lines = [
            f"memory of a gradient ({self.batch} samples in {self.dtype}, one thread, "
            f"tiles of {self.tile})",
            f"    {'checkpoint':<12}{'states':>8}{'bytes':>18}{'extra steps':>14}",
        ]
        for choice in self.choices:
            name = f"{choice.checkpoint!r}".replace("'", '"')
            lines.append(
                f"    {name:<12}{choice.states:>8,}{choice.bytes:>18,}"
                f"{choice.extra_steps:>14,}"
            )
        return "\n".join(lines)


def memory_of(module: ModuleType, batch: int) -> Memory:
    """Tabulate the choices for a gradient of so many samples, in the model's dtype."""
    dtype = np.dtype(module.MODEL.dtype)
    tile = module._tile_of(batch, dtype)
    choices = [_choice(module, c, batch) for c in _choices(module.MODEL.steps)]
    known: dict[int, Choice] = {}
    for choice in choices:  # a short run has fewer choices than names for them
        known.setdefault(choice.states, choice)
    return Memory(batch, tile, dtype.name, tuple(known.values()))


def _choices(steps: int) -> Iterator[str | int]:
    """The choices worth a row: the fewest states for so many runs of a step."""
    yield from ("all", "sqrt")
    for runs in RUNS:
        yield next(k for k in range(1, steps + 1) if math.comb(k + runs, k) >= steps)


def _choice(module: ModuleType, checkpoint: str | int, batch: int) -> Choice:
    slots = module._slots(checkpoint)
    forward = (end - start for start, end, _ in module._schedule(slots) if end > start)
    states = slots + 2
    return Choice(
        checkpoint,
        states,
        _bytes(module, states, batch),
        sum(forward) - module.MODEL.steps,
    )


def _bytes(module: ModuleType, states: int, batch: int) -> int:
    """Bytes that a gradient allocates with one thread, its result included."""
    model = module.MODEL
    dtype = np.dtype(model.dtype)
    z, inputs, work = (
        _numbers(shapes) for shapes in (module._STATE, module._INPUTS, module._WORK)
    )
    shapes = {**module._STATE, **module._INPUTS, **module._WORK}
    repeated = getattr(module, "_REPEATED", {})
    lines = sum(math.prod(shapes[like]) for like, _ in repeated.values())
    sample = (states + 2) * z + 2 * (inputs + work) + lines
    fields = {name: field.shape for name, field in model.fields.items()}
    tile = int(module._tile_of(batch, dtype))
    sums = 2 * 8 * _numbers(module._SHARED)  # of all tiles and of one, in float64
    return int(dtype.itemsize * (tile * sample + batch * _numbers(fields)) + sums)


def _numbers(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())
