"""Sweep ω over [0.5, 1.5], over-relaxation included, on a fixed target.

    z⁺ = (1 - ω) z + ω tanh(W0 z + W1 ∂z + W2 ∂²z - b)

ω = 1 is an ordinary layer, ω > 1 over-relaxes (Young 1954).  For each ω,

- depth: the steps until the run has settled to 1e-8, with weights and a bias whose
  equilibrium is the target.  The linear theory foretells n = ln(1e-8)/ln max|G| for the
  worst mode, and none beyond ω_max;
- training: Adam from the same start, all weights but ω.  What is reported is the first
  and the final loss, the largest gradient on the way, and after how many updates the
  loss stays below 1e-4;
- the ω_max of the trained weights, which training moves.

The check is off in the runs: what lies beyond ω_max is what is to be seen.

Run: python examples/omega_sweep.py --output demo/
"""

from __future__ import annotations

import argparse
import csv
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")  # files only: no window, no display

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import pdec

Array = NDArray[Any]
Params = dict[str, Array]

MODEL = Path(__file__).with_suffix(".npde")
FIRST, LAST = 0.5, 1.5
SAMPLES, SETTLED, DEPTH = 8, 1e-8, 400
LEARNT = 1e-4
RATE = 0.02  # of Adam, in units in which a weight W_k/Δx^k is of order one
LIMIT = r"$\omega_\mathrm{max}$"
GREY = {"color": "0.35", "linewidth": 1.2}


@dataclass(frozen=True)
class Row:
    """What was found at one ω; the losses are means over the starts."""

    omega: float
    depth: float  # steps until all samples have settled, inf where they do not
    foretold: float
    omega_max: float  # with the initial weights
    first_loss: float
    loss: float
    loss_spread: float  # largest less smallest of the starts
    gradient: float  # the norm of the largest one met, weights in units Δx^k
    updates: float  # after which the loss stays below LEARNT; inf where it does not
    omega_max_trained: float


def main(arguments: list[str] | None = None) -> None:
    """Sweep ω; print the table, write it, and draw it."""
    options = _options(arguments)
    model = pdec.load(MODEL)
    deep = pdec.load(MODEL, overrides={"steps": DEPTH})
    rows = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("sweeping ω", total=options.count)
        for omega in np.linspace(FIRST, LAST, options.count):
            rows.append(measure(model, deep, float(omega), options))
            progress.advance(task)
    Console().print(_table(rows))
    options.output.mkdir(parents=True, exist_ok=True)
    write(options.output / "omega_sweep.csv", rows)
    draw(options.output / "omega_sweep.png", rows)
    print(f"wrote {options.output / 'omega_sweep'}.csv and .png")


def measure(
    model: ModuleType, deep: ModuleType, omega: float, options: argparse.Namespace
) -> Row:
    """Measure one ω."""
    p = model.init_params() | {"omega": np.asarray(omega)}
    depth, foretold = settle(deep, p)
    runs = [
        train(model, p, seed + options.seed, options.updates)
        for seed in range(options.starts)
    ]
    losses = np.array([run.losses for run in runs])
    return Row(
        omega=omega,
        depth=depth,
        foretold=foretold,
        omega_max=largest_omega(model, p),
        first_loss=float(losses[:, 0].mean()),
        loss=float(losses[:, -1].mean()),
        loss_spread=float(np.ptp(losses[:, -1])),
        gradient=max(run.gradient for run in runs),
        updates=max(_stays_below(run.losses, LEARNT) for run in runs),
        omega_max_trained=float(np.mean([largest_omega(model, r.p) for r in runs])),
    )


# --- depth ------------------------------------------------------------------------


def target(cells: int) -> Array:
    """Return the profile that every run aims at: a wave and a smaller, shorter one."""
    x = np.arange(cells) / cells
    return np.asarray(0.15 * np.sin(2 * np.pi * x) + 0.05 * np.cos(6 * np.pi * x))


def settle(deep: ModuleType, p: Params) -> tuple[float, float]:
    """Return the steps until the target's equilibrium is reached, and those foretold.

    The bias makes the target a fixed point: b = W0 y + W1 ∂y + W2 ∂²y - artanh y.
    """
    cells = deep.MODEL.dims["x"]
    y, omega = target(cells), float(p["omega"])
    Z = p["W0"] * y + p["W2"] * cells**2 * (np.roll(y, 1) + np.roll(y, -1) - 2 * y)
    Z += p["W1"] * cells * (np.roll(y, -1) - np.roll(y, 1)) / 2
    z0 = y + 0.05 * np.random.default_rng(0).standard_normal((SAMPLES, cells))
    biased = p | {"b": Z - np.arctanh(y)}
    # a step changes the state by ω times its distance from what it relaxes to
    run = deep.forward(biased, z0, until=omega * SETTLED, check="off")
    depth = float(run.step.max()) if run.reached.all() else math.inf
    theta = 2.0 * np.pi * np.arange(cells) / cells
    waves = p["W0"] - 2.0 * p["W2"] * cells**2 * (1.0 - np.cos(theta))
    worst = float(np.abs(1.0 - omega + omega * waves).max())
    start = np.abs(z0 - y).max()
    return depth, math.log(SETTLED / start) / math.log(worst) if worst < 1 else math.inf


# --- training ---------------------------------------------------------------------


class Training(NamedTuple):
    """The losses along the way, the largest gradient's norm, and the last weights."""

    losses: Array
    gradient: float
    p: Params


def train(model: ModuleType, p: Params, seed: int, updates: int) -> Training:
    """Train by Adam (Kingma & Ba 2015)."""
    cells = model.MODEL.dims["x"]
    z0 = 0.1 * np.random.default_rng(seed).standard_normal((SAMPLES, cells))
    y = np.broadcast_to(target(cells), z0.shape)
    units = {"W0": 1.0, "W1": 1.0 / cells, "W2": 1.0 / cells**2, "b": 1.0}
    first = {name: np.zeros_like(p[name]) for name in units}
    second = {name: np.zeros_like(p[name]) for name in units}
    losses, largest = [], 0.0
    for n in range(1, updates + 1):
        loss, grads = model.value_and_grad(p, z0, y, check="off")
        losses.append(loss)
        scaled = {name: grads[name] * unit for name, unit in units.items()}
        size = math.sqrt(sum(float(np.sum(g**2)) for g in scaled.values()))
        largest = max(largest, size)
        p = dict(p)
        for name, unit in units.items():
            g = scaled[name]
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * g**2
            root = np.sqrt(second[name] / (1 - 0.999**n)) + 1e-8
            step = RATE * first[name] / (1 - 0.9**n) / root
            low = model.MODEL.params[name].low
            p[name] = np.maximum(p[name] - unit * step, low)
    losses.append(model.loss(p, z0, y))
    return Training(np.array(losses), largest, p)


def _stays_below(losses: Array, level: float) -> float:
    """Return the number of updates after which the loss stays below a level."""
    above = np.flatnonzero(losses > level)
    if not above.size:
        return 0.0
    return float(above[-1] + 1) if above[-1] + 1 < losses.size else math.inf


def largest_omega(model: ModuleType, p: Params) -> float:
    """Return ω_max, 0 where no ω is stable."""
    return model.stability(p).omega_max or 0.0


# --- table and figure -------------------------------------------------------------


def write(path: Path, rows: list[Row]) -> None:
    """Write the table."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, [field.name for field in fields(Row)])
        table.writeheader()
        table.writerows(asdict(row) for row in rows)


def _table(rows: list[Row]) -> Table:
    heads = ("ω", "depth", "foretold", "first loss", "final loss", "gradient")
    table = Table(*heads, "updates", "ω_max trained")
    table.title = f"ω_max at the start: {rows[0].omega_max:.4g}"
    for row in rows:
        numbers = (row.omega, row.depth, row.foretold, row.first_loss, row.loss)
        after = (row.gradient, row.updates, row.omega_max_trained)
        table.add_row(*(f"{number:.3g}" for number in (*numbers, *after)))
    return table


def draw(path: Path, rows: list[Row]) -> None:
    """Draw depth, final loss and the weights' ω_max against ω."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    _draw_depth(axes[0], rows)
    _draw_losses(axes[1], rows)
    _draw_limits(axes[2], rows)
    for axis in axes:
        axis.axvline(rows[0].omega_max, linestyle=":", **GREY)
        axis.set(xlabel="ω", xlim=(FIRST - 0.03, LAST + 0.03))
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw_depth(axis: Any, rows: list[Row]) -> None:
    omega = [row.omega for row in rows]
    axis.plot(omega, [row.foretold for row in rows], "--", label="foretold", **GREY)
    axis.plot(omega, [row.depth for row in rows], "ko", ms=4, label="measured")
    lost = [row.omega for row in rows if math.isinf(row.depth)]
    top = 1.5 * max((row.depth for row in rows if math.isfinite(row.depth)), default=1)
    axis.plot(lost, [0.96 * top] * len(lost), "kx", ms=5, label="does not settle")
    axis.set(ylim=(0, top), ylabel=f"steps until settled to {SETTLED:g}")
    axis.set_title("Depth to convergence")
    axis.annotate(
        f"predicted {LIMIT}",
        (rows[0].omega_max, 0.04 * top),
        xytext=(-4, 0),
        textcoords="offset points",
        ha="right",
    )
    axis.legend(fontsize="small", loc="upper left")


def _draw_losses(axis: Any, rows: list[Row]) -> None:
    omega = [row.omega for row in rows]
    for name, mark, label in (
        ("gradient", "ks:", "largest gradient"),
        ("first_loss", "k^--", "first loss"),
        ("loss", "ko-", "final loss"),
    ):
        axis.semilogy(omega, [getattr(r, name) for r in rows], mark, ms=4, label=label)
    axis.set_title("Training: loss and gradient")
    axis.legend(fontsize="small", loc="upper left")


def _draw_limits(axis: Any, rows: list[Row]) -> None:
    omega = [row.omega for row in rows]
    axis.plot(
        omega, [row.omega_max_trained for row in rows], "ko-", ms=4, label="trained"
    )
    axis.plot(
        omega, [row.omega_max for row in rows], "--", label="before training", **GREY
    )
    high = 1.1 * max(*omega, *(row.omega_max_trained for row in rows))
    axis.fill_between(
        omega,
        omega,
        color="0.92",
        edgecolor="0.6",
        hatch="///",
        label=f"unstable: ω > {LIMIT}",
    )
    axis.set(ylim=(0, high), ylabel=f"{LIMIT} of the weights")
    axis.set_title("Where training takes the bound")
    axis.legend(fontsize="small", loc="lower left")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("demo"), help="a folder")
    parser.add_argument("--seed", type=int, default=0, help="of the initial states")
    parser.add_argument("--count", type=int, default=21, help="how many ω")
    parser.add_argument("--starts", type=int, default=2, help="trainings for each ω")
    parser.add_argument("--updates", type=int, default=100, help="of each training")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
