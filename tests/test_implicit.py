"""Implicit steps and equilibria: trained walls, stiffness, scales, failures."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pdec.pipeline import compile_source, module_of
from pdec.source import from_text

SOLVED = ("implicit", "trapezoidal", "imex")


def compiled(text: str) -> ModuleType:
    return module_of(compile_source(from_text(text, "model.npde")))


def slope(module: ModuleType, name: str, z0: Any, h: float = 1e-5) -> tuple[Any, Any]:
    """∂Σ zT/∂p of a parameter: by the pullback, and by central differences."""
    p = {n: a + 0.3 for n, a in module.init_params(0).items()}
    zT, pullback = module.vjp(p, z0)
    dp, _ = pullback(np.ones_like(zT))

    def total(shift: float) -> Any:
        return np.sum(module.forward({**p, name: p[name] + shift}, z0, check="off"))

    return np.sum(dp[name]), (total(h) - total(-h)) / (2.0 * h)


# --- walls that move ------------------------------------------------------------------

PLANE = """grid x[5] on [0, 1], y[6] on {y}
field T(x, y)
param g
at x: T = g
{other}
dT/dt = {right}
scheme {scheme}
{length}
"""
FLAGSHIP = """grid x[8] on [0, 1]
field z(x)
param c
at x: z = c
dz/dt = -(z - tanh(z + 0.1 ∂²z))
scheme {scheme}
{length}
"""
STEPS = "steps 2\ndt = 0.05"


@pytest.mark.parametrize("scheme", [*SOLVED, "equilibrium"])
@pytest.mark.parametrize("periodic", [False, True])
def test_a_wall_is_trained_in_the_plane(scheme: str, periodic: bool) -> None:
    text = PLANE.format(
        y="[0, 1) periodic" if periodic else "[0, 1]",
        other="" if periodic else "at y: ∂T = 0",
        right="-(T - tanh(T + 0.05 ∇²T))" if scheme == "equilibrium" else "0.1 ∇²T",
        scheme=scheme,
        length="" if scheme == "equilibrium" else STEPS,
    )
    z0 = np.random.default_rng(0).uniform(0.1, 0.5, (2, 5, 6))
    derived, measured = slope(compiled(text), "g", z0)
    assert abs(measured) > 1e-2
    assert derived == pytest.approx(measured, rel=1e-7)


@pytest.mark.parametrize("scheme", [*SOLVED, "equilibrium"])
def test_a_wall_is_trained_through_a_layer(scheme: str) -> None:
    length = "" if scheme == "equilibrium" else STEPS
    z0 = np.random.default_rng(0).uniform(0.1, 0.5, (2, 8))
    module = compiled(FLAGSHIP.format(scheme=scheme, length=length))
    derived, measured = slope(module, "c", z0)
    assert abs(measured) > 1e-2
    assert derived == pytest.approx(measured, rel=1e-6)


@pytest.mark.parametrize("scheme", SOLVED)
def test_a_wall_that_changes_from_step_to_step(scheme: str) -> None:
    text = """grid x[8] on [0, 1]
field T(x)
param h{t} init 1
at x = 0: T = 0
at x = 1: h T + ∂n T = 1
dT/dt = ∂²T
scheme {scheme}
steps {steps}
dt = 0.1
"""
    values = np.array([0.1, 1.0, 10.0])
    whole = compiled(text.format(t="(t)", scheme=scheme, steps=3))
    single = compiled(text.format(t="", scheme=scheme, steps=1))
    z0 = z = np.random.default_rng(0).uniform(0.0, 1.0, (2, 8))
    for value in values:
        z = single.forward({"h": np.array(value)}, z)
    np.testing.assert_allclose(whole.forward({"h": values}, z0), z, rtol=1e-12)


# --- stiffness and scale --------------------------------------------------------------

REACTING = """grid x[32] on [0, 1]
field T(x)
param D init 1, k init 1
at x: ∂T = 0
dT/dt = D ∂²T - k T³
scheme implicit
steps 2
dt = 1
"""


@pytest.mark.parametrize(("dtype", "D"), [(np.float64, 1e5), (np.float32, 10.0)])
def test_stiff_steps_are_found(dtype: Any, D: float) -> None:
    """Where D Δt/Δx² is 1e8 (1e4), T is its mean: T⁺ + Δt T⁺³ = T."""
    module = compiled(REACTING)
    p = {"D": np.array(D, dtype), "k": np.array(1.0, dtype)}
    z0 = np.random.default_rng(0).uniform(0.5, 1.0, (3, 32)).astype(dtype)
    zT = module.forward(p, z0, check="off")
    mean = z0.mean(axis=1)
    for _ in range(2):
        mean = [np.roots([1.0, 0.0, 1.0, -m]) for m in mean]
        mean = [r[abs(r.imag) < 1e-12].real[0] for r in mean]
    scale = 1e-6 if dtype is np.float64 else 3e-3
    assert np.max(abs(zT - np.array(mean)[:, None])) < scale


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_no_scale_is_preferred(size: float) -> None:
    """T → size T with k → k/size² is the same run."""
    module = compiled(REACTING)
    z0 = np.random.default_rng(0).uniform(0.5, 1.0, (3, 32))
    p = {"D": np.array(1e-3), "k": np.array(1.0)}
    zT = module.forward(p, z0, check="off")
    scaled = module.forward({**p, "k": p["k"] / size**2}, size * z0, check="off")
    np.testing.assert_allclose(scaled / size, zT, rtol=1e-12)


# --- equilibria and failures ----------------------------------------------------------


def test_an_equilibrium_attracts() -> None:
    """Of the three fixed points of tanh(2z + 0.1), relaxing reaches the outer two."""
    text = "grid x[4] on [0, 1) periodic\nfield z(x)\ndz/dt = -(z - tanh(2 z + 0.1))\n"
    module = compiled(f"{text}scheme equilibrium\n")
    relaxing = compiled(f"{text}steps 400\nω = 1\n")
    z0 = np.random.default_rng(0).uniform(-2.0, 2.0, (400, 4))
    found = module.forward({}, z0)
    np.testing.assert_allclose(np.tanh(2.0 * found + 0.1), found, atol=1e-14)
    reached = abs(found - relaxing.forward({}, z0)) < 1e-9
    assert np.mean(reached) > 0.99


def test_who_fails_is_counted() -> None:
    """z⁺ = z + z⁺² has a root up to z = 1/4."""
    text = "grid x[3] on [0, 1) periodic\nfield z(x)\ndz/dt = z²\nscheme implicit\n"
    module = compiled(f"{text}steps 1\ndt = 1\n")
    good = np.full((1, 3), 0.2)
    expected = (1.0 - np.sqrt(1.0 - 4.0 * good)) / 2.0
    np.testing.assert_allclose(module.forward({}, good, check="off"), expected)
    both = np.concatenate([good, np.full((1, 3), 1.3)])
    with pytest.raises(module.ConvergenceError, match="for 1 of 2 samples: take a sho"):
        module.forward({}, both, check="off")


def test_a_sum_over_the_grid_is_refused() -> None:
    text = "grid x[4] on [0, 1) periodic\nfield u(x), z(x)\ndu/dt = -u\n"
    text += "dz/dt = mean(z) - z\n"
    with pytest.raises(Exception, match=r":4:1: .*a sum over the grid reads them all"):
        compiled(f"{text}scheme implicit\nsteps 1\ndt = 1\n")
