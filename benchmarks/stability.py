"""The verdict on ω against brute force, on random models.

Some sixty models (stencils of every accuracy, schemes, one to three dimensions, walls,
coefficients that vary, channels, systems, slopes of several kinds) are compiled, and
many parameters drawn for each.  The reference is the step itself, run on unit vectors,
or on one impulse where all cells are alike: it knows nothing of how the verdict is
found.  What is held:

- threshold: ω_max_grid against bisection on the assembled step, to 1e-6;
- growth:    at 1.02 ω_max, seeded in the critical mode, at the rate ½ ln|G|², to 1e-8;
- decay:     at 0.999 ω_max with a smooth nonlinear f, once linear theory gives e⁻¹⁴;
- stable:    what is called stable does not grow, but for the equivalence of norms;
- contract:  where a certificate is claimed, no slopes make a step grow in its norm:
             the worst ones are searched for, and Jacobians are taken at random states;
- powers:    with run=True, max ‖Mⁿ‖ against the assembled step's;
- adjoint:   the bound on the growth of gradients against what a pullback does.

The share certified, and the median gap between ω_contractive and ω_max, are reported.

Run: python benchmarks/stability.py [--draws 2400] [--seed 0] [--only NAME]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy.linalg import expm

from pdec.pipeline import compile_source, module_of
from pdec.source import from_text

Array = NDArray[Any]
Params = dict[str, Array]

STEPS = 12
SLOPES = {
    "s": (1.0, 1.0),
    "tanh(s)": (0.0, 1.0),
    "sigmoid(s)": (0.0, 0.25),
    "relu(s)": (0.0, 1.0),
    "sin(s)": (-1.0, 1.0),
    "atan(s)": (0.0, 1.0),
    "max(s, 0.2 s)": (0.2, 1.0),
    "gelu(s)": (-0.128904145, 1.128904145),
}
SMOOTH = ("tanh(s)", "sin(s)", "atan(s)")  # f(0) = 0, slope 1 there
ORDERS = {"W0": 0, "W1": 1, "Wx": 1, "Wy": 1, "W2": 2, "Wxy": 2, "W3": 3, "W4": 4}
ORDERS |= {"a": 0, "b": 0, "c": 0, "e": 0, "Du": 2, "Dv": 2, "Uu": 1, "Uv": 1}


# --- the models -------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """A model whose parameters are drawn; ``slopes`` is the range of f'.

    ``relaxing`` models have ω as a parameter; in the others the rates are scaled.
    """

    name: str
    text: str
    f: str
    cells: tuple[int, ...]
    walls: bool
    scheme: str
    relaxing: bool = True

    @property
    def slopes(self) -> tuple[float, float]:
        return SLOPES[self.f]

    @property
    def linear(self) -> bool:
        return self.slopes == (1.0, 1.0)


WALLS = {
    "fixed": "at x: z = 0",
    "insulated": "at x: ∂z = 0",
    "mixed": "at x = 0: z = 0\nat x = 1: z + 0.1 ∂z = 0",
}
THREE = "W0 z + W1 ∂z + W2 ∂²z"
FLAT = "W0 z + Wx ∂x z + Wy ∂y z + W2 ∇²z"


def families() -> list[Family]:
    """Return the models, in a fixed order."""
    found = [
        *(layer(f"three points, {s}", THREE, scheme=s) for s in SCHEMES),
        *(layer(f"accuracy {n}", THREE, accuracy=n) for n in (4, 6)),
        layer("four orders", THREE + " + W3 ∂³z + W4 ∂⁴z"),
        layer("four orders, accuracy 4", THREE + " + W3 ∂³z + W4 ∂⁴z", accuracy=4),
        layer("four orders, rk4", THREE + " + W3 ∂³z + W4 ∂⁴z", scheme="rk4"),
        layer("upwind", "W0 z - upwind(W1, z) + W2 ∂²z"),
        layer("plane", FLAT + " + Wxy ∂x∂y z", cells=(8, 7)),
        layer("plane, heun", FLAT + " + Wxy ∂x∂y z", cells=(8, 7), scheme="heun"),
        layer("plane, accuracy 4", FLAT, cells=(8, 9), accuracy=4),
        layer("space", "W0 z + Wx ∂x z + Wy ∂y z + W2 ∇²z", cells=(6, 5, 4)),
        *(layer(f"f = {f}", THREE, f=f) for f in SLOPES if f != "s"),
        layer("plane, tanh", FLAT + " + Wxy ∂x∂y z", cells=(8, 7), f="tanh(s)"),
        layer("accuracy 6, tanh", THREE, accuracy=6, f="tanh(s)"),
        *(
            layer(f"{s}, tanh", THREE, scheme=s, f="tanh(s)")
            for s in ("heun", "ssprk3", "exponential", "implicit", "trapezoidal")
        ),
        *(layer(f"walls: {w}", THREE, walls=w) for w in WALLS),
        *(layer(f"walls: {w}, tanh", THREE, walls=w, f="tanh(s)") for w in WALLS),
        layer("walls, accuracy 4", THREE, walls="fixed", accuracy=4),
        layer("walls, upwind", "W0 z - upwind(W1, z)", walls="fixed", cells=(24,)),
        layer("walls, heun", THREE, walls="fixed", scheme="heun"),
        layer("plane, walls", FLAT, cells=(6, 5), walls="insulated", f="tanh(s)"),
        layer("varying", THREE, varying=True),
        layer("varying, tanh", THREE, varying=True, f="tanh(s)"),
        layer("varying, relu", THREE, varying=True, f="relu(s)"),
        layer("varying, upwind", "W0 z - upwind(W1, z) + W2 ∂²z", varying=True),
        layer("varying, walls", THREE, varying=True, walls="mixed", f="tanh(s)"),
        layer("varying, rk4", THREE, varying=True, scheme="rk4"),
        layer("varying plane", FLAT, varying=True, cells=(6, 5), f="tanh(s)"),
        layer("channels", THREE, channels=2),
        layer("channels, tanh", THREE, channels=2, f="tanh(s)"),
        layer("channels, ssprk3", THREE, channels=2, scheme="ssprk3"),
        layer("channels, walls", THREE, channels=2, walls="fixed", f="relu(s)"),
        layer("channels, plane", FLAT, channels=2, cells=(6, 5)),
    ]
    found += [
        *(system(f"system, {s}", s) for s in ("euler", "heun", "rk4", "implicit")),
        system("system, trapezoidal", "trapezoidal"),
        system("system, walls", "euler", walls="insulated"),
        waves("waves, symplectic", "symplectic"),
        waves("waves, euler", "euler"),
        waves("waves, rk4", "rk4"),
    ]
    return found


SCHEMES = (
    "euler",
    "exponential",
    "heun",
    "ssprk3",
    "rk4",
    "implicit",
    "trapezoidal",
    "imex",
)


def layer(
    name: str,
    terms: str,
    *,
    f: str = "s",
    scheme: str = "euler",
    accuracy: int = 2,
    cells: tuple[int, ...] = (16,),
    walls: str = "",
    varying: bool = False,
    channels: int = 0,
) -> Family:
    """Return z⁺ = (1 - ω) z + ω f(terms), or another scheme of the same relaxation."""
    names = sorted({w.strip("(),") for w in terms.split() if "W" in w})
    names = [n.removeprefix("upwind(") for n in names]
    domain = f"({', '.join('xyq'[: len(cells)])})"
    shape = f"[{channels},{channels}]" if channels else ""
    params = ", ".join(n + shape + (domain if varying else "") for n in names)
    state = f"z[{channels}]{domain}" if channels else f"z{domain}"
    text = "\n".join(
        [
            _grid(cells, bool(walls)),
            f"field {state}",
            f"param {params}",
            "param ω in (0, 100000) init 0.5",
            f"f(s) = {f}",
            f"dz/dt = -(z - f({terms}))",
            f"accuracy {accuracy}",
            f"scheme {scheme}",
            f"steps {STEPS}",
            WALLS[walls].replace("at x:", f"at {domain[1:-1]}:") if walls else "",
        ]
    )
    return Family(name, text + "\n", f, cells, bool(walls), scheme)


def system(name: str, scheme: str, walls: str = "") -> Family:
    """Return two fields that react, drift and diffuse, with strong coupling."""
    sides = f"{WALLS[walls]}\n{WALLS[walls]}" if walls else ""
    first, _, second = sides.partition("\n")
    text = (
        f"{_grid((12,), bool(walls))}\nfield u(x), v(x)\n"
        "param a, b, c, e, Du, Dv, Uu, Uv\n"
        "du/dt = a u + b v + Du ∂²u + Uu ∂u\ndv/dt = c u + e v + Dv ∂²v + Uv ∂v\n"
        f"scheme {scheme}\nsteps {STEPS}\ndt = 0.1\n"
        f"{first.replace('z', 'u')}\n{second.replace('z', 'v')}\n"
    )
    return Family(name, text, "s", (12,), bool(walls), scheme, relaxing=False)


def waves(name: str, scheme: str) -> Family:
    """Return a wave equation as a system of two, by differences ahead and behind."""
    text = (
        f"{_grid((12,), False)}\nfield u(x), v(x)\nparam a, Du\n"
        "du/dt = v\ndv/dt = Du ∂²u - a² u\n"
        f"scheme {scheme}\nsteps {STEPS}\ndt = 0.1\n"
    )
    text = text.replace("du/dt = v", "param c\ndu/dt = c v")
    text = text.replace("- a² u", "- a u")
    return Family(name, text, "s", (12,), False, scheme, relaxing=False)


def _grid(cells: tuple[int, ...], walls: bool) -> str:
    end = "]" if walls else ") periodic"
    axes = [f"{a}[{n}] on [0, 1{end}" for a, n in zip("xyq", cells, strict=False)]
    return f"grid {', '.join(axes)}"


@lru_cache(maxsize=8)
def compiled(text: str) -> ModuleType:
    """Compile a model."""
    return module_of(compile_source(from_text(text, "bench.npde")))


# --- parameters -------------------------------------------------------------------


def draw(family: Family, module: ModuleType, rng: np.random.Generator) -> Params:
    """Draw parameters: mild and hostile ones, in units of the grid."""
    dx = 1.0 / family.cells[0]
    smooth = rng.random() < 0.5
    p: Params = {}
    for name, variable in module.MODEL.params.items():
        if name == "omega":
            p[name] = np.asarray(0.5)
            continue
        p[name] = _value(name, variable.shape, variable.axes, dx, smooth, rng)
    if "waves" in family.name:
        p["c"], p["Du"] = np.asarray(rng.uniform(0.5, 3.0)), np.abs(p["Du"])
        p["a"] = np.asarray(rng.uniform(0.1, 2.0))
    return p


def _value(
    name: str,
    shape: tuple[int, ...],
    axes: tuple[str, ...],
    dx: float,
    smooth: bool,
    rng: np.random.Generator,
) -> Array:
    order, sign = ORDERS[name], rng.choice([-1.0, 1.0])
    value = {
        0: rng.uniform(-1.2, 1.05),
        1: 0.0 if rng.random() < 0.2 else sign * 10.0 ** rng.uniform(-1.5, 0.8),
        2: (-1.0 if rng.random() < 0.04 else 1.0) * 10.0 ** rng.uniform(-2.0, 0.5),
        3: sign * 10.0 ** rng.uniform(-2.0, 0.0),
        4: -(10.0 ** rng.uniform(-2.0, -0.3)),
    }[order]
    if name == "Wxy":
        value = sign * 10.0 ** rng.uniform(-2.0, 0.3)
    value *= dx**order
    grid = shape
    if shape and len(shape) > sum(axis in "xyq" for axis in axes):  # a matrix
        coupling = np.triu(np.ones(shape[:2]), 1) * rng.uniform(0.0, 5.0) * value
        mild = rng.standard_normal(shape[:2]) * 0.3 * value
        matrix = value * np.eye(shape[0])
        return np.asarray(matrix + (coupling if rng.random() < 0.5 else mild))
    if not grid:
        return np.asarray(value)
    if smooth:
        phase = 2.0 * math.pi * (np.indices(grid).sum(0) / grid[0] + rng.random())
        return np.asarray(value * (1.0 + 0.4 * np.sin(phase)))
    return np.asarray(value * rng.lognormal(0.0, 0.7, grid))


# --- the step itself --------------------------------------------------------------


@dataclass
class Step:
    """One step of a model as a matrix, from runs; for a layer the f = s twin's."""

    family: Family
    module: ModuleType

    def scaled(self, p: Params, h: float) -> Params:
        """Give a model a step h: its ω, or rates h/Δt times as large."""
        if self.family.relaxing:
            return p | {"omega": np.asarray(h)}
        return {name: value * (h / 0.1) for name, value in p.items()}

    def responses(self, p: Params, h: float, seeds: Array) -> Array:
        """Run one step on states (batch, components, cells…), less that of zero."""
        fields = self.module.MODEL.fields
        sizes = [
            math.prod(x.shape) // math.prod(self.family.cells) for x in fields.values()
        ]
        parts = np.split(
            np.concatenate([seeds, 0.0 * seeds[:1]]), np.cumsum(sizes)[:-1], 1
        )
        z0 = {
            n: part.reshape(-1, *x.shape)
            for (n, x), part in zip(fields.items(), parts, strict=True)
        }
        start = z0 if len(z0) > 1 else next(iter(z0.values()))
        run = self.module.trajectory(self.scaled(p, h), start, every=1)
        run = run if isinstance(run, dict) else {"z": run}
        last = [
            a[1].reshape(len(seeds) + 1, -1, *self.family.cells) for a in run.values()
        ]
        found = np.concatenate(last, axis=1)
        return np.asarray(found[:-1] - found[-1:])

    def matrix(self, p: Params, h: float) -> Array:
        """Return M, (components·cells)²."""
        count, size = self.components, self.size
        seeds = np.eye(size).reshape(size, count, *self.family.cells)
        return self.responses(p, h, seeds).reshape(size, size).T

    def symbol(self, p: Params, h: float) -> Array:
        """Return G(θ), (modes, components, components), where all cells are alike."""
        count, axes = self.components, tuple(range(2, 2 + len(self.family.cells)))
        seeds = np.zeros((count, count, *self.family.cells))
        for k in range(count):
            seeds[(k, k, *(0 for _ in axes))] = 1.0
        G = np.conj(np.fft.fftn(self.responses(p, h, seeds), axes=axes))
        return np.asarray(
            np.moveaxis(G.reshape(count, count, -1), -1, 0).swapaxes(1, 2)
        )

    @property
    def size(self) -> int:
        """The length of a state."""
        return self.components * math.prod(self.family.cells)

    @property
    def components(self) -> int:
        """The components of a cell."""
        cells = math.prod(self.family.cells)
        return sum(
            math.prod(x.shape) // cells for x in self.module.MODEL.fields.values()
        )

    def radius(self, p: Params, h: float) -> float:
        """Return the spectral radius of a step whose cells are all alike."""
        G = self.symbol(p, h)
        if not np.all(np.isfinite(G)):
            return math.inf
        own = G[:, 0, 0] if G.shape[-1] == 1 else np.linalg.eigvals(G)
        return float(np.abs(own).max())


def threshold(step: Step, p: Params, slack: float) -> float | None:
    """Return the first h at which the radius exceeds 1; None where it always does."""
    grid = np.geomspace(1e-3, 300.0, 45)
    low = 0.0
    for h in grid:
        if step.radius(p, float(h)) > 1.0 + slack:
            break
        low = float(h)
    else:
        return math.inf
    if low == 0.0:
        return None
    high = float(h)
    while high - low > 1e-9 * high:
        middle = 0.5 * (low + high)
        stable = step.radius(p, middle) <= 1.0 + slack
        low, high = (middle, high) if stable else (low, middle)
    return low


# --- the checks -------------------------------------------------------------------


@dataclass
class Tally:
    """What was held, how often, how far off at worst, and where it failed."""

    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    worst: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    failures: list[str] = field(default_factory=list)
    draws: int = 0
    certified: int = 0
    verdicts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    gaps: list[float] = field(default_factory=list)
    transient: float = 1.0  # the largest ‖Mⁿ‖ of several components, all |G| ≤ 1

    def hold(self, what: str, error: float, bound: float, case: str) -> None:
        """Hold an error against its bound."""
        self.counts[what] += 1
        self.worst[what] = max(self.worst[what], error / bound)
        if not error <= bound:
            self.failures.append(f"{what}: {error:.3g} > {bound:.3g} in {case}")


@dataclass
class Bench:
    """A compiled family, and its twin with f(s) = s, whose step is linear."""

    family: Family
    tally: Tally

    def __post_init__(self) -> None:
        self.module = compiled(self.family.text)
        f = f"f(s) = {self.family.f}"
        twin = self.family.text.replace(f, "f(s) = s")
        self.step = Step(self.family, compiled(twin))
        self.alike = not self.family.walls and "varying" not in self.family.name

    def check(self, seed: int) -> None:
        """Draw parameters and hold all that applies to them."""
        rng = np.random.default_rng([seed, *self.family.name.encode()])
        p = draw(self.family, self.module, rng)
        case = f"{self.family.name!r}, seed {seed}"
        tally, report = self.tally, self.module.stability(p)
        tally.draws += 1
        limit = report.omega_max_grid
        # what grows by itself has no threshold of the step as a matrix
        grows = report.intrinsic_growth > 1e-12
        if self.alike and self.family.linear and not grows:
            self.check_threshold(p, limit, (report.transient or 1.0) > 2.0, case)
        euler = self.family.scheme == "euler" and not self.family.linear
        if self.alike and euler and not grows:
            self.check_slopes(p, limit, case)
        largest = limit if limit is not None and math.isfinite(limit) else 1.0
        factor = float(rng.choice([0.3, 0.9, 0.999, 1.02, 1.5]))
        omegas = [factor * largest]
        if report.omega_contractive:
            tally.certified += 1
            if math.isfinite(report.omega_contractive):
                omegas.append(report.omega_contractive)
                if limit is not None and math.isfinite(limit):
                    tally.gaps.append(1.0 - report.omega_contractive / limit)
            else:
                omegas.append(50.0)
        for omega in omegas:
            self.check_run(p, omega, rng, f"{case}, step {omega:.6g}")
        if limit is not None and math.isfinite(limit) and self.alike and not grows:
            self.check_growth(p, 1.02 * limit, f"{case}, step {1.02 * limit:.6g}")

    # ω_max

    def check_threshold(
        self, p: Params, limit: float | None, sheared: bool, case: str
    ) -> None:
        """ω_max_grid against bisection; double eigenvalues lose half the digits.

        Where modes grow before they decay it may be less.
        """
        double = self.step.components > 1
        expected = threshold(self.step, p, 1e-8 if double else 1e-12)
        if expected is None:
            self.tally.hold("threshold", limit or 0.0, 2e-3, f"{case}: none is stable")
        elif math.isinf(expected):
            short = limit is None or limit < 290.0
            self.tally.hold("threshold", float(short), 0.5, f"{case}: any; {limit}")
        else:
            error = abs((limit or 0.0) - expected) / expected
            error = max((limit or 0.0) - expected, 0.0) if sheared else error
            bound = 1e-4 if double and expected < 1e-2 else 1e-6
            self.tally.hold("threshold", error, bound, f"{case}: {limit}, {expected}")

    def check_slopes(self, p: Params, limit: float | None, case: str) -> None:
        """ω_max_grid is the least of those of s A, s the ends of the slopes."""
        if self.step.components > 1:
            return
        symbol = self.step.symbol(p, 1.0)[:, 0, 0]
        least = math.inf
        for s in self.family.slopes:
            room = 1.0 - s * symbol.real
            if room.min() < -1e-12:
                least = 0.0
            size = np.abs(1.0 - s * symbol) ** 2
            with np.errstate(all="ignore"):
                least = min(least, float(np.min(2.0 * room / size)))
        least = max(least, 0.0)
        error = abs((limit or 0.0) - least) / max(least, 1e-9)
        # f' is sampled: its ends are good to 1e-4 where they are no round numbers
        bound = 1e-3 if self.family.f == "gelu(s)" else 1e-6
        if least < 1e-9:
            error = limit or 0.0
        self.tally.hold("threshold", error, bound, f"{case}: {limit}, {least}")

    # what a run does

    def check_run(
        self, p: Params, omega: float, rng: np.random.Generator, case: str
    ) -> None:
        """No growth where stability is claimed, no parting where contraction is."""
        q = self.step.scaled(p, omega)
        report = self.module.stability(q)
        self.tally.verdicts[f"{report.numerical} ({report.basis})"] += 1
        M = self.step.matrix(p, omega)
        sizes = self.sizes(M)
        if report.numerical == "stable" and self.family.linear:
            self.check_stable(p, omega, M, sizes, report, case)
        if report.contractive:
            self.check_contraction(p, q, report.certificate, rng, case)
        if self.family.linear:
            again = self.module.stability(q, run=True)
            if again.powers is not None and np.isfinite(sizes).all():
                largest = max(1.0, float(sizes.max()))  # ‖M⁰‖ = 1
                error = abs(again.powers - largest) / largest
                numbers = f"{case}: {again.powers}, {largest}"
                self.tally.hold("powers", error, 1e-6, numbers)
        self.check_adjoint(q, report.adjoint, rng, case)

    def check_stable(
        self, p: Params, omega: float, M: Array, sizes: Array, report: Any, case: str
    ) -> None:
        """What is called stable does not grow: one component by no more than its own.

        Several may grow for a while, each wave being a matrix that need not be normal:
        then no growth is left in the end.  Where cells differ, the run may do four
        times what the exact solution does.
        """
        own = math.exp(STEPS * max(report.intrinsic_growth, 0.0))
        grown = float(sizes.max())
        if report.basis == "exact" and self.step.components > 1:
            if report.intrinsic != "none":
                return
            self.tally.transient = max(self.tally.transient, grown)
            for _ in range(16):
                M = M @ M
            grown, own = float(np.linalg.norm(M, 2)), 2.0 * max(grown, 1.0)
        elif report.basis != "exact":
            own = 4.0 * max(self.own_growth(p, omega), 1.0)
        self.tally.hold("stable", grown, own * (1 + 1e-9), f"{case} {report.basis}")

    def own_growth(self, p: Params, omega: float) -> float:
        """Return the largest ‖exp(n h J)‖₂: what the equation itself does."""
        small = 1e-6
        J = (self.step.matrix(p, small) - np.eye(self.step.size)) / small
        return float(self.sizes(expm(omega * J)).max())

    def sizes(self, M: Array) -> Array:
        """Return ‖Mⁿ‖₂ for n = 1, …, STEPS."""
        power, sizes = np.eye(len(M)), []
        with np.errstate(all="ignore"):
            for _ in range(STEPS):
                power = M @ power
                finite = bool(np.isfinite(power).all())
                sizes.append(float(np.linalg.norm(power, 2)) if finite else math.inf)
        return np.asarray(sizes)

    def check_contraction(
        self, p: Params, q: Params, norm: str, rng: np.random.Generator, case: str
    ) -> None:
        """Adversarial slopes for one step; Jacobians of the run at random states."""
        order = np.inf if norm == "maximum norm" else 2
        weight = np.eye(self.step.size)
        if norm == "circle criterion" and not self.family.linear:
            weight = self.circle_norm(p, float(q["omega"]))
        if self.family.scheme == "euler" and self.family.relaxing:
            omega, A = float(q["omega"]), self.step.matrix(p, 1.0)
            grown = adversary(A, omega, self.family.slopes, order, weight, rng)
            self.tally.hold("contract", grown, 1.0 + 1e-9, f"{case} ({norm})")
        fields = self.module.MODEL.fields
        for amplitude in (0.1, 3.0):
            z0 = {
                n: amplitude * rng.standard_normal((1, *x.shape))
                for n, x in fields.items()
            }
            J = weight @ self.jacobian(q, z0) @ np.linalg.inv(weight)
            grown = float(np.linalg.norm(J, order))
            self.tally.hold("contract", grown, 1.0 + 1e-9, f"{case} ({norm}, jvp)")

    def circle_norm(self, p: Params, omega: float) -> Array:
        """Return W of the norm ‖W v‖ in which the circle criterion contracts.

        With g = ‖1 - w + w m Λ‖ and c = w r ‖Λ‖, g + c ≤ 1, each mode has a weight ρ
        with ρ² - ρ (1 - g² + c²) + c² ≤ 0; then V = Σ ρ |v(θ)|² does not grow (the
        bounded real lemma of a mode). Here w is a step of Euler by which the scheme's
        contraction is proven.
        """
        w = {
            "exponential": 1.0 - math.exp(-omega),
            "trapezoidal": omega / 2.0,
            "implicit": 0.0,
            "imex": omega / (1.0 + omega),
        }.get(self.family.scheme, omega)
        low, high = self.family.slopes
        euler = self.family.text.replace(f"scheme {self.family.scheme}", "scheme euler")
        euler = euler.replace(f"f(s) = {self.family.f}", "f(s) = s")
        symbol = Step(self.family, compiled(euler)).symbol(p, 1.0)
        unit, m, r = np.eye(symbol.shape[-1]), (low + high) / 2.0, (high - low) / 2.0
        c = r * np.linalg.norm(symbol, 2, axis=(-2, -1))
        if w == 0.0:  # implicit steps contract as any small Euler step does
            w = 1e-3
        g = np.linalg.norm((1.0 - w) * unit + w * m * symbol, 2, axis=(-2, -1))
        c = w * c
        half = (1.0 - g**2 + c**2) / 2.0
        weight = half + np.sqrt(np.maximum(half**2 - c**2, 0.0))
        cells, axes = self.family.cells, tuple(range(len(self.family.cells)))
        wave = np.fft.ifftn(np.sqrt(weight).reshape(cells)).real
        places = np.indices(cells).reshape(len(cells), -1).T
        W = np.stack([np.roll(wave, place, axes).ravel() for place in places])
        return np.kron(np.eye(self.step.components), W)

    def jacobian(self, q: Params, z0: Params) -> Array:
        """Return the Jacobian of the whole run at a state."""
        size, at = self.step.size, 0
        fields, unit = self.module.MODEL.fields, np.eye(size)
        dz0, start = {}, {}
        for name, x in fields.items():
            count = math.prod(x.shape)
            dz0[name] = unit[:, at : at + count].reshape(size, *x.shape)
            start[name] = np.repeat(z0[name], size, axis=0)
            at += count
        one = len(fields) == 1
        (name, *_) = fields
        out = self.module.jvp(
            q, start[name] if one else start, None, dz0[name] if one else dz0
        )
        parts = [out] if one else [out[n] for n in fields]
        return np.concatenate([a.reshape(size, -1) for a in parts], axis=1).T

    def check_adjoint(
        self, q: Params, bound: float, rng: np.random.Generator, case: str
    ) -> None:
        """‖λ⁰‖ ≤ bound ‖λᴸ‖ in the 1-, 2- or maximum norm, at a random state."""
        if not bound < 1e100:
            return
        fields = self.module.MODEL.fields
        z0 = {n: rng.standard_normal((1, *x.shape)) for n, x in fields.items()}
        J = self.jacobian(q, z0)
        if np.isfinite(J).all():
            grown = min(float(np.linalg.norm(J.T, k)) for k in (1, 2, np.inf))
            self.tally.hold("adjoint", grown, bound * (1 + 1e-9), case)

    def check_growth(self, p: Params, omega: float, case: str) -> None:
        """Beyond ω_max a run seeded in the critical mode grows at ½ ln|G|²."""
        if not self.family.linear or self.step.components > 1:
            return
        q = self.step.scaled(p, omega)
        report = self.module.stability(q)
        place = np.indices(self.family.cells).reshape(len(self.family.cells), -1)
        phase = np.asarray(report.theta) @ place
        z0 = np.cos(phase + 0.3).reshape(1, *self.family.cells)
        zT = self.module.forward(q, z0, check="off")
        rate = math.log(np.linalg.norm(zT) / np.linalg.norm(z0)) / STEPS
        G = self.step.symbol(p, omega)[:, 0, 0]
        expected = 0.5 * math.log(float(np.max(np.abs(G) ** 2)))
        bound = 1e-8 * max(1.0, abs(expected))
        self.tally.hold("growth", abs(rate - expected), bound, case)
        self.tally.hold("growth", abs(report.growth - expected), bound, case)

    def check_decay(self, seed: int, deep: ModuleType) -> None:
        """Below ω_max a smooth nonlinear run decays, once linear theory gives e⁻¹⁴."""
        rng = np.random.default_rng([seed, *self.family.name.encode()])
        p = draw(self.family, self.module, rng)
        report = self.module.stability(p)
        limit = report.omega_max_grid
        if limit is None or not math.isfinite(limit) or report.intrinsic != "none":
            return
        omega, symbol = 0.999 * limit, self.step.symbol(p, 1.0)[:, 0, 0]
        slow = max(np.abs(1.0 - omega + omega * s * symbol).max() for s in (0.0, 1.0))
        runs = 14.0 / -math.log(slow) / deep.MODEL.steps if slow < 1.0 else math.inf
        if runs > 60:
            return
        z = z0 = rng.standard_normal((1, *self.family.cells))
        for _ in range(math.ceil(runs)):
            z = deep.forward(p | {"omega": np.asarray(omega)}, z, check="off")
        left = float(np.linalg.norm(z) / np.linalg.norm(z0))
        case = f"{self.family.name!r}, seed {seed}, step {omega:.6g}"
        self.tally.hold("decay", left, 1e-3, case)


def adversary(
    A: Array,
    w: float,
    slopes: tuple[float, float],
    order: float,
    weight: Array,
    rng: np.random.Generator,
) -> float:
    """Return the largest norm of (1 - w) 1 + w S A found over diagonal S in the slopes.

    In the maximum norm each row takes its worse slope: exact.  In ‖W v‖₂ a vector and
    the slopes that stretch it most are improved in turn; the norm is convex in S, so
    that ends of the slopes suffice.
    """
    unit = np.eye(len(A))
    ends = [(1.0 - w) * unit + w * s * A for s in slopes]
    if order == np.inf:
        return float(max(np.abs(M).sum(axis=1).max() for M in ends))
    back, best = np.linalg.inv(weight), 0.0
    starts = [np.linalg.svd(weight @ M @ back)[2][0] for M in ends]
    for v in [*starts, *rng.standard_normal((6, len(A)))]:
        low = np.zeros(len(A), bool)
        for _ in range(25):
            v = v / np.linalg.norm(v)
            images = [M @ (back @ v) for M in ends]
            for _ in range(3):
                M = np.where(low[:, None], ends[0], ends[1])
                pull = weight.T @ (weight @ (M @ (back @ v)))
                low = pull * images[0] >= pull * images[1]
            M = weight @ np.where(low[:, None], ends[0], ends[1]) @ back
            best = max(best, float(np.linalg.norm(M @ v)))
            v = M.T @ (M @ v)
    return best


# --- all of it --------------------------------------------------------------------


def run(draws: int, seed: int = 0, only: str = "", stride: int = 1) -> Tally:
    """Check so many draws, spread over every ``stride``-th model."""
    tally = Tally()
    chosen = [f for f in families() if only in f.name][::stride]
    each = math.ceil(draws / len(chosen))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for family in _shown(chosen):
            bench = Bench(family, tally)
            for number in range(each):
                case = f"{family.name!r}, seed {1000 * seed + number}"
                try:
                    bench.check(1000 * seed + number)
                except Exception as error:  # a crash is a finding like any other
                    tally.failures.append(f"crash: {error!r} in {case}")
            if family.f in SMOOTH and family.scheme == "euler" and bench.alike:
                if bench.step.components == 1:
                    deep = compiled(family.text.replace(f"steps {STEPS}", "steps 250"))
                    for number in range(min(each, 20)):
                        bench.check_decay(1000 * seed + number, deep)
    return tally


def _shown(chosen: list[Family]) -> Iterator[Family]:
    """Show on a terminal which model is checked."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(chosen))
        for family in chosen:
            progress.update(task, description=family.name)
            yield family
            progress.advance(task)


def main() -> int:
    """Run the bench, print the table and the failures; 1 if there are any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--draws", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="models whose name has this in it")
    options = parser.parse_args()
    start = time.perf_counter()
    tally = run(options.draws, options.seed, options.only)
    table = Table("check", "times", "worst, of its bound", "failed")
    for what, count in tally.counts.items():
        failed = sum(f.startswith(f"{what}:") for f in tally.failures)
        table.add_row(what, str(count), f"{tally.worst[what]:.3g}", str(failed))
    console = Console()
    console.print(table)
    for verdict, count in sorted(tally.verdicts.items()):
        console.print(f"  {verdict}: {count}", highlight=False)
    gap = float(np.median(tally.gaps)) if tally.gaps else math.nan
    share = tally.certified / max(tally.draws, 1)
    print(f"{tally.draws} draws in {time.perf_counter() - start:.0f} s")
    print(f"certified: {share:.0%}; median gap to von Neumann: {gap:.1%}")
    print(
        f"largest transient of several components, all |G| <= 1: {tally.transient:.3g}"
    )
    for failure in tally.failures:
        print(failure)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
