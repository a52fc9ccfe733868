"""Recover the three weights of a linear ADR network from exact solutions.

    ∂z/∂t = -γ (z - (W0 z + W1 ∂z + W2 ∂²z)),        γ = 1, x periodic

Each Fourier mode e^{iκx} evolves on its own, so exact trajectories need neither pdec
nor any time stepping:

(a) the discrete equation: a step multiplies the mode by G = 1 - ω + ω Λ(κΔx);
(b) the continuous equation: a time t multiplies it by exp(-γ (1 - Λ(κ)) t).

In (a) the network can match the data to rounding.  In (b) its Euler steps bias the
weights by O(Δt) and its sixth-order stencils by O(Δx⁶): the data hold low wavenumbers
only, and the weights found with several time steps are extrapolated to Δt → 0.

The networks end in tanh.  The amplitude of the data makes tanh(Z) equal Z to 1e-10.

Run: python examples/recover_adr1d.py --output demo/
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only: no window, no display

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import least_squares

import pdec

Array = NDArray[Any]

HERE = Path(__file__).parent
NAMES = ("W0", "W1", "W2")
TRUE = np.array([0.9, 4e-3, 4e-5])  # amplitude, advection, diffusion
AMPLITUDE = 1e-6  # |Z| stays near 1e-5: tanh(Z) = Z (1 - Z²/3 + …)
CELLS, STEPS, STEP = 128, 16, 0.5
DX, TIME = 1.0 / CELLS, STEPS * STEP
KAPPA = 2.0 * np.pi * np.arange(CELLS // 2 + 1)  # wavenumbers of numpy.fft.rfft
REFINEMENTS = 5


def main(arguments: list[str] | None = None) -> None:
    """Recover the weights from both kinds of data; print the errors, draw the fit."""
    options = _options(arguments)
    rng = np.random.default_rng(options.seed)
    discrete = recover_discrete(rng)
    steps, found = recover_continuous(rng)
    console = Console()
    console.print(_table("(a) data of the discrete equation", discrete))
    title = "(b) data of the continuous equation, Δt → 0"
    console.print(_table(title, extrapolate(found)))
    options.output.mkdir(parents=True, exist_ok=True)
    picture = options.output / "recover_adr1d.png"
    draw(picture, steps, found)
    console.print(f"wrote {picture}")


def recover_discrete(rng: np.random.Generator) -> Array:
    """Return the weights found from exact solutions of the discrete equation.

    With central differences Λ(θ) = W0 + i W1 sin θ/Δx - 2 W2 (1 - cos θ)/Δx², θ = κΔx.
    """
    theta = KAPPA * DX
    waves = np.stack(
        [theta**0, 1j * np.sin(theta) / DX, (np.cos(theta) - 1) * 2 / DX**2]
    )
    factor = (1.0 - STEP + STEP * (TRUE @ waves)) ** STEPS  # ω = γΔt = STEP
    z0 = AMPLITUDE * rng.standard_normal((8, CELLS))
    return recover(pdec.load(HERE / "adr1d.npde"), z0, evolve(z0, factor))


def recover_continuous(rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the time steps tried, and the weights found with each, (time steps, 3)."""
    z0 = smooth_states(rng, 8)
    zT = evolve(z0, np.exp(TIME * growth_rate()))
    steps = STEP / 2.0 ** np.arange(REFINEMENTS)
    found = [recover(compiled(step), z0, zT) for step in steps]
    return steps, np.array(found)


def recover(model: ModuleType, z0: Array, zT: Array) -> Array:
    """Return the weights with which the model takes z0 to zT (least squares).

    The unknowns are W_k/Δx^k, which are of one size.  Their Jacobian is exact: one
    tangent run each.
    """
    start, units = model.init_params(), DX ** np.arange(3)
    low, high = np.array(
        [(model.MODEL.params[k].low, model.MODEL.params[k].high) for k in NAMES]
    ).T

    def params(w: Array) -> dict[str, Array]:
        found = {k: np.array(v) for k, v in zip(NAMES, w * units, strict=True)}
        return {**start, **found}

    def residual(w: Array) -> Array:
        misfit = model.forward(params(w), z0, check="off") - zT
        return np.asarray(misfit.ravel() / AMPLITUDE)

    def jacobian(w: Array) -> Array:
        still = {k: np.zeros_like(v) for k, v in start.items()}
        tangents = [
            model.jvp(params(w), z0, still | {k: np.array(unit)})
            for k, unit in zip(NAMES, units, strict=True)
        ]
        return np.stack([dz.ravel() for dz in tangents], axis=1) / AMPLITUDE

    w = np.array([start[k] for k in NAMES]) / units
    fit = least_squares(
        residual,
        w,
        jacobian,
        (low / units, high / units),
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    )
    return np.asarray(fit.x * units)


def extrapolate(found: Array) -> Array:
    """Return the limit Δt → 0 of weights found with time steps that halve (Richardson).

    The error is a power series in Δt; each round removes its next power.
    """
    order = 1
    while len(found) > 1:
        found = found[1:] + (found[1:] - found[:-1]) / (2.0**order - 1.0)
        order += 1
    return np.asarray(found[0])


def compiled(step: float) -> ModuleType:
    """Return adr1d_fine.npde with the given time step, over the same time."""
    overrides = {"h": step, "steps": round(TIME / step)}
    return pdec.load(HERE / "adr1d_fine.npde", overrides=overrides)


def growth_rate() -> Array:
    """Return the rate of each mode, -γ (1 - W0 - iκ W1 + κ² W2)."""
    return np.asarray(TRUE @ np.stack([KAPPA**0, 1j * KAPPA, -(KAPPA**2)]) - 1.0)


def smooth_states(rng: np.random.Generator, count: int) -> Array:
    """Return random initial states made of the mean and the two longest waves."""
    spectrum = np.zeros((count, KAPPA.size), complex)
    spectrum[:, :3] = rng.standard_normal((count, 3)) + 1j * rng.standard_normal(
        (count, 3)
    )
    return np.fft.irfft(spectrum, CELLS) * CELLS / 2 * AMPLITUDE


def evolve(z0: Array, factor: Array) -> Array:
    """Multiply each Fourier mode of z0, (batch, x), by its factor."""
    return np.fft.irfft(np.fft.rfft(z0) * factor, CELLS)


def relative_error(found: Array) -> Array:
    """Return |found - true|/|true| of each weight."""
    return np.asarray(np.abs(found / TRUE - 1.0))


def draw(path: Path, steps: Array, found: Array) -> None:
    """Draw a trajectory with the fitted network on it, and the errors against Δt."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    z0 = smooth_states(np.random.default_rng(3), 1)
    x, model = np.arange(CELLS) * DX, compiled(steps[-1])
    weights = zip(NAMES, extrapolate(found), strict=True)
    run = model.trajectory({k: np.array(w) for k, w in weights}, z0)
    for t, line in zip(
        (0.0, TIME / 4, TIME / 2, TIME), ("-", "--", "-.", ":"), strict=True
    ):
        exact = evolve(z0, np.exp(t * growth_rate()))[0]
        left.plot(x, exact / AMPLITUDE, line, color="black", label=f"exact, t = {t:g}")
        fitted = run[round(t / steps[-1]), 0, ::6] / AMPLITUDE
        left.plot(
            x[::6], fitted, "o", color="tab:orange", markeredgecolor="black", ms=4
        )
    left.plot([], [], "o", color="tab:orange", markeredgecolor="black", label="network")
    left.set(xlabel="x", ylabel=f"z (units of {AMPLITUDE:g})")
    left.set_title("A trajectory and its fit (W1 > 0 moves it left)")
    left.legend(fontsize="small")
    for k, name in enumerate(NAMES):
        style = {"marker": "os^"[k], "color": f"C{k}"}
        right.loglog(
            steps, relative_error(found)[:, k], label=f"{name}, as found", **style
        )
        limits = [
            relative_error(extrapolate(found[: n + 1]))[k] for n in range(len(steps))
        ]
        right.loglog(
            steps, limits, linestyle="--", label=f"{name}, extrapolated", **style
        )
    right.axhline(1e-6, color="grey", linewidth=1)
    right.set(xlabel="smallest time step Δt (units of 1/γ)", ylabel="relative error")
    right.set_title("Recovered weights")
    right.set_xticks(steps, [f"1/{round(1 / step)}" for step in steps])
    right.minorticks_off()
    right.legend(fontsize="small")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _table(title: str, found: Array) -> Table:
    table = Table("weight", "true", "recovered", "relative error", title=title)
    for row in zip(NAMES, TRUE, found, relative_error(found), strict=True):
        name, true, value, error = row
        table.add_row(name, f"{true:g}", f"{value:.12g}", f"{error:.1e}")
    return table


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("demo"), help="a folder")
    parser.add_argument("--seed", type=int, default=0, help="of the initial states")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
