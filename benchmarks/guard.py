"""What the check before a run costs: forward with it against forward without.

For every example the same runs of 32 samples are timed with check="warn" and "off", in
turns, 256 calls each, while the parameters creep as they do in training.  The table has
the medians' ratio, that of the sums but for the first call (some have a look),
which may be 1.05, and how long the first look took.

Run: python benchmarks/guard.py [examples/adr1d.npde ...]
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import pdec

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
BATCH, CALLS = 32, 256


def arguments(module: ModuleType) -> tuple[dict[str, Any], tuple[Any, ...], Any]:
    """Return parameters, the state if one is taken, and inputs of 32 samples."""
    rng = np.random.default_rng(0)
    p = module.init_params(dtype=np.float64)
    inputs = {
        name: 0.1 * rng.standard_normal((BATCH, *x.shape))
        for name, x in module.MODEL.inputs.items()
    }
    if not hasattr(module, "_no_state"):  # else the model begins the state itself
        fields = {
            name: 0.1 * rng.standard_normal((BATCH, *x.shape))
            for name, x in module.MODEL.fields.items()
        }
        return p, (fields if len(fields) > 1 else next(iter(fields.values())),), inputs
    return p, (), inputs


def measured(module: ModuleType) -> tuple[float, float, float]:
    """Return the ratios of medians and of sums, and the first look in runs."""
    p, state, inputs = arguments(module)
    rng = np.random.default_rng(1)
    times: dict[str, list[float]] = {"warn": [], "off": []}
    for _ in range(3):  # warm caches, without a look
        module.forward(p, *state, inputs=inputs, check="off")
    for call in range(CALLS):
        for name, value in p.items():
            p[name] = value * (1.0 + 1e-3 * rng.standard_normal(value.shape))
        # in turn: what runs second finds the caches warm
        for check, spent in list(times.items())[:: 1 if call % 2 else -1]:
            start = time.perf_counter()
            module.forward(p, *state, inputs=inputs, check=check)
            spent.append(time.perf_counter() - start)
    run = statistics.median(times["off"])
    return (
        statistics.median(times["warn"]) / run,
        sum(times["warn"][1:]) / sum(times["off"][1:]),
        (times["warn"][0] - run) / run,
    )


def main() -> int:
    """Print the table."""
    paths = [Path(name) for name in sys.argv[1:]] or sorted(EXAMPLES.glob("*.npde"))
    table = Table("model", "median", "sum of 255", "first look, in runs")
    warnings.simplefilter("ignore")
    dear = False
    for path in paths:
        middle, whole, first = measured(pdec.load(path))
        table.add_row(path.stem, f"{middle:.3f}", f"{whole:.3f}", f"{first:.2f}")
        dear |= whole > 1.05
    Console().print(table)
    return int(dear)


if __name__ == "__main__":
    sys.exit(main())
