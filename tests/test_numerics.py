"""Numerics: stencils, ghost cells and the bounds on ω, against mathematics.

Orders of convergence are measured through compiled models, against exact derivatives of
smooth functions; ghost cells against weights that were worked out by hand; the largest
stable ω against bisection on the step matrix, assembled column by column.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sympy

from pdec.discretisation.stencil import weights
from pdec.forms.statements import Ghost
from pdec.pipeline import compile_source, derive, module_of
from pdec.source import from_text

Array = np.ndarray[Any, Any]


def compiled(text: str) -> ModuleType:
    return module_of(compile_source(from_text(text, "numerics.npde")))


# --- stencils -------------------------------------------------------------------------

# Fornberg (1988), table 1.
TEXTBOOK = {
    (1, 2): "-1/2 0 1/2",
    (1, 4): "1/12 -2/3 0 2/3 -1/12",
    (1, 6): "-1/60 3/20 -3/4 0 3/4 -3/20 1/60",
    (2, 2): "1 -2 1",
    (2, 4): "-1/12 4/3 -5/2 4/3 -1/12",
    (2, 6): "1/90 -3/20 3/2 -49/18 3/2 -3/20 1/90",
    (3, 2): "-1/2 1 0 -1 1/2",
    (3, 4): "1/8 -1 13/8 0 -13/8 1 -1/8",
    (4, 2): "1 -4 6 -4 1",
    (4, 4): "-1/6 2 -13/2 28/3 -13/2 2 -1/6",
}


@pytest.mark.parametrize(("order", "accuracy"), TEXTBOOK)
def test_central_weights(order: int, accuracy: int) -> None:
    row = [sympy.Rational(w) for w in TEXTBOOK[order, accuracy].split()]
    middle = len(row) // 2
    expected = {place - middle: w for place, w in enumerate(row) if w != 0}
    assert weights(order, accuracy) == expected


def _observed(errors: list[float]) -> float:
    """The order between the last two grids, each twice as fine as the one before."""
    return math.log2(errors[-2] / errors[-1])


@cache
def _rate_module(equation: str, size: int, head: str) -> ModuleType:
    text = f"grid x[{size}] on {head}\nfield z(x)\nsteps 1\ndt = 1\n"
    return compiled(f"{text}dz/dt = {equation}\n")


def rate(equation: str, head: str, size: int, z: Callable[[Array], Array]) -> Any:
    """dz/dt of a smooth state on a grid of [0, 1], and the points of the grid."""
    module = _rate_module(equation, size, head)
    low, high = (
        float(s) for s in head.split("[")[1].split(")")[0].split("]")[0].split(",")
    )
    first = 0.0 if "periodic" in head else 0.5
    x = low + (high - low) / size * (np.arange(size) + first)
    state = z(x)[None]
    return (module.forward({}, state, check="off") - state)[0], x


PERIODIC = "[0, 1) periodic"
TURN = 2.0 * math.pi


@pytest.mark.parametrize("accuracy", [2, 4, 6])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_periodic_order(order: int, accuracy: int) -> None:
    def wave(x: Array, n: int = 0) -> Array:
        """The nth derivative of sin(2πx) + cos(4πx)/4."""
        quarter = n * math.pi / 2
        first = TURN**n * np.sin(TURN * x + quarter)
        return first + (2 * TURN) ** n * np.cos(2 * TURN * x + quarter) / 4

    head = f"{PERIODIC}\naccuracy {accuracy}"
    sign = "¹²³⁴"[order - 1] if order > 1 else ""
    errors = []
    for size in (32, 64):
        found, x = rate(f"∂{sign}z", head, size, wave)
        errors.append(float(np.abs(found - wave(x, order)).max()))
    assert _observed(errors) == pytest.approx(accuracy, abs=0.1)


@pytest.mark.parametrize(
    ("equation", "exact"),
    [
        ("∂(z²/2)", lambda z, dz, ddz, x: z * dz),
        (
            "∂((2 + sin(6.283185307179586 x)) ∂z)",
            lambda z, dz, ddz, x: (
                (2 + np.sin(TURN * x)) * ddz + TURN * np.cos(TURN * x) * dz
            ),
        ),
        ("∂((1 + z²) ∂z)", lambda z, dz, ddz, x: (1 + z**2) * ddz + 2 * z * dz**2),
        ("∂∂z", lambda z, dz, ddz, x: ddz),
    ],
)
def test_periodic_order_of_products(equation: str, exact: Any) -> None:
    errors = []
    for size in (64, 128):
        found, x = rate(equation, PERIODIC, size, lambda x: np.sin(TURN * x))
        s, c = np.sin(TURN * x), np.cos(TURN * x)
        errors.append(np.abs(found - exact(s, TURN * c, -(TURN**2) * s, x)).max())
    assert _observed(errors) == pytest.approx(2.0, abs=0.1)


# --- walls ----------------------------------------------------------------------------


def smooth(x: Array | float, n: int = 0) -> Any:
    """The nth derivative of e^x + sin 2x, which has no symmetry at a wall."""
    return np.exp(x) + 2.0**n * np.sin(2.0 * np.asarray(x) + n * math.pi / 2)


def conditions(low: tuple[float, float], high: tuple[float, float]) -> str:
    """a z + b ∂z = g at x = 0 and x = 1, satisfied by ``smooth``."""
    lines = []
    for x, (a, b) in ((0, low), (1, high)):
        g = float(a * smooth(x) + b * smooth(x, 1))
        lines.append(f"at x = {x}: {a} z + {b} ∂z = {g!r}")
    return "\n".join(lines).replace("+ -", "- ")


WALLS = {
    "dirichlet": ((1.0, 0.0), (1.0, 0.0)),
    "neumann": ((0.0, 1.0), (0.0, 1.0)),
    "robin": ((2.0, -0.5), (1.0, 0.7)),
}


@pytest.mark.parametrize("kind", WALLS)
@pytest.mark.parametrize(
    ("equation", "exact", "order"),
    [
        ("∂z", lambda x: smooth(x, 1), 2),
        # A ghost is right to O(Δx³), so ∂² is to O(Δx) in the cell beside the wall.
        ("∂²z", lambda x: smooth(x, 2), 1),
        ("∂((1 + x) ∂z)", lambda x: (1 + x) * smooth(x, 2) + smooth(x, 1), 1),
        ("∂(z²/2)", lambda x: smooth(x) * smooth(x, 1), 2),
    ],
)
def test_order_beside_a_wall(kind: str, equation: str, exact: Any, order: int) -> None:
    head = f"[0, 1]\n{conditions(*WALLS[kind])}"
    errors = []
    for size in (128, 256):
        found, x = rate(equation, head, size, smooth)
        errors.append(np.abs(found - exact(x))[[0, -1]])
    observed = np.log2(errors[0] / errors[1])
    assert observed == pytest.approx([order, order], abs=0.1)


@pytest.mark.parametrize("accuracy", [2, 4])
@pytest.mark.parametrize("kind", ["dirichlet", "robin", "conservative"])
def test_order_of_a_solution_between_walls(kind: str, accuracy: int) -> None:
    """∂²z = s solved on the grid: the error is of the stencil's order everywhere."""
    if kind == "conservative" and accuracy > 2:
        pytest.skip("fluxes on faces are of second order")
    walls = WALLS["robin" if kind == "conservative" else kind]
    head = f"[0, 1]\naccuracy {accuracy}\n{conditions(*walls)}"
    equation = "∂((1 + x) ∂z)" if kind == "conservative" else "∂²z"
    errors = []
    for size in (16, 32) if accuracy == 4 else (32, 64):
        module = _rate_module(equation, size, head)
        matrix, rest = affine(module, size)
        x = (np.arange(size) + 0.5) / size
        source = smooth(x, 2)
        if kind == "conservative":
            source = (1 + x) * source + smooth(x, 1)
        z = np.linalg.solve(matrix, source - rest)
        errors.append(float(np.abs(z - smooth(x)).max()))
    assert _observed(errors) == pytest.approx(
        accuracy, abs=0.25 if accuracy > 2 else 0.1
    )


def affine(module: ModuleType, size: int) -> tuple[Array, Array]:
    """dz/dt of a linear model as matrix · z + rest."""
    zero = np.zeros((1, size))
    rest = module.forward({}, zero, check="off")[0]
    columns = module.forward({}, np.eye(size), check="off") - np.eye(size) - rest
    return columns.T, rest


def ghosts(condition: str, accuracy: int = 2) -> list[tuple[dict[int, float], float]]:
    """Weights of the cells, and the rest, of the ghosts beyond x = 0, outwards."""
    text = f"grid x[8] on [0, 1]\naccuracy {accuracy}\nfield z(x)\nsteps 1\ndt = 1\n"
    text += f"at x = 0: {condition}\nat x = 1: z = 0\n"
    text += "dz/dt = upwind(1, upwind(1, z)) + upwind(-1, upwind(-1, z))\n"
    program = derive(from_text(text, "numerics.npde")).program
    (ghost,) = [s for s in program.step.statements if isinstance(s, Ghost)]

    def value(expr: sympy.Expr) -> float:
        known = {s: program.constants[str(s)].value for s in expr.free_symbols}
        return float(expr.xreplace(known))

    return [
        ({cell: value(weight) for _, cell, weight in row.cells}, value(row.value))
        for row in ghost.low
    ]


def same(found: Any, expected: list[tuple[dict[int, float], float]]) -> bool:
    return all(
        row == pytest.approx(cells, rel=1e-14) and rest == pytest.approx(g, rel=1e-14)
        for (row, rest), (cells, g) in zip(found, expected, strict=True)
    )


def test_dirichlet_ghosts() -> None:
    """8/3 g - 2 u₀ + u₁/3, and 8 g - 9 u₀ + 2 u₁ behind it."""
    assert same(ghosts("z = 3"), [({0: -2, 1: 1 / 3}, 8), ({0: -9, 1: 2}, 24)])


def test_neumann_ghosts_mirror() -> None:
    dx = 1 / 8
    assert same(ghosts("∂z = 0"), [({0: 1}, 0), ({1: 1}, 0)])
    assert same(ghosts("∂z = 5"), [({0: 1}, -5 * dx), ({1: 1}, -15 * dx)])
    assert same(ghosts("∂n z = 5"), [({0: 1}, 5 * dx), ({1: 1}, 15 * dx)])


def test_robin_ghost() -> None:
    """p(0) = (9 u₀ - u₁ - 3 p')/8 in a p(0) - (b/Δx) p' = g, and u₀ - p' beyond."""
    a, b, g, dx = 2.0, 0.5, 3.0, 1 / 8
    scale = 3 * a / 8 + b / dx
    near, _ = ghosts("2 z - 0.5 ∂z = 3")
    cells = {0: 1 - 9 * a / 8 / scale, 1: a / 8 / scale}
    assert same([near], [(cells, g / scale)])


@pytest.mark.parametrize("accuracy", [2, 4, 6])
@pytest.mark.parametrize(
    ("condition", "a", "b"),
    [("z = 1", 1.0, 0.0), ("∂z = 0", 0.0, -1.0), ("3 z + 2 ∂n z = 3", 3.0, 2.0)],
)
def test_ghosts_continue_polynomials(
    condition: str, a: float, b: float, accuracy: int
) -> None:
    """A polynomial of the stencil's degree that meets the condition is continued."""
    p = np.polynomial.Polynomial(np.arange(1.0, accuracy + 2))
    if a:  # the constant term is what remains to satisfy a p - b p' = g
        g = {1.0: 1.0, 3.0: 3.0}[a]
        p.coef[0] = (g + b * p.coef[1]) / a
    else:
        p.coef[1] = 0.0
    dx = 1 / 8
    for distance, (row, rest) in enumerate(ghosts(condition, accuracy)):
        found = rest + sum(w * p((cell + 0.5) * dx) for cell, w in row.items())
        assert found == pytest.approx(p(-(distance + 0.5) * dx), rel=1e-12)


# --- stability ------------------------------------------------------------------------

SIZE, STEPS = 24, 10


@cache
def linear(terms: str = "W0 z + W1 ∂z + W2 ∂²z", accuracy: int = 2) -> ModuleType:
    """A homogeneous, periodic relaxation with f(s) = s, whose ω is a parameter."""
    params = ", ".join(sorted({word for word in terms.split() if word[0] == "W"}))
    return compiled(
        f"grid x[{SIZE}] on [0, 1) periodic\nfield z(x)\naccuracy {accuracy}\n"
        f"param {params}, ω in (0, 1000) init 0.5\nf(s) = s\n"
        f"dz/dt = -(z - f({terms}))\nsteps {STEPS}\n"
    )


def step_matrix(terms: str, accuracy: int, p: dict[str, Array]) -> Array:
    """A of z⁺ = (1 - ω) z + ω A z, from one step with ω = 1 on every unit vector."""
    params = ", ".join(sorted(name for name in p if name != "omega"))
    module = compiled(
        f"grid x[{SIZE}] on [0, 1) periodic\nfield z(x)\naccuracy {accuracy}\n"
        f"param {params}\nf(s) = s\ndz/dt = -(z - f({terms}))\nsteps 1\nω = 1\n"
    )
    given = {name: value for name, value in p.items() if name != "omega"}
    return np.asarray(module.forward(given, np.eye(SIZE), check="off").T)


def threshold(A: Array) -> float | None:
    """The largest ω for which no eigenvalue of the step leaves the unit circle."""
    own = np.linalg.eigvals(A)

    def stable(omega: float) -> bool:
        return bool(np.abs(1.0 - omega + omega * own).max() <= 1.0 + 1e-13)

    low, high = 1e-9, 1e4
    if not stable(1e-3):
        return None
    while high - low > 1e-10 * high:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if stable(middle) else (low, middle)
    return low


def random_params(rng: np.random.Generator, names: list[str]) -> dict[str, Array]:
    scale = {"W0": 1.0, "W1": 0.05, "W2": 1e-3, "W3": 2e-5, "W4": -1e-6}
    p = {name: np.asarray(scale[name] * rng.uniform(-0.5, 1.5)) for name in names}
    p["W0"] = np.asarray(rng.uniform(-1.0, 0.9))
    return p | {"omega": np.asarray(0.5)}


@pytest.mark.parametrize(
    ("terms", "accuracy", "draws"),
    [
        ("W0 z + W1 ∂z + W2 ∂²z", 2, 16),
        ("W0 z + W1 ∂z + W2 ∂²z", 4, 6),
        ("W0 z + W1 ∂z + W2 ∂²z + W3 ∂³z + W4 ∂⁴z", 2, 6),
    ],
)
def test_largest_omega_is_the_threshold(terms: str, accuracy: int, draws: int) -> None:
    module = linear(terms, accuracy)
    names = [name for name in module.MODEL.params if name != "omega"]
    rng = np.random.default_rng(accuracy)
    found = 0
    for _ in range(draws):
        p = random_params(rng, names)
        report = module.stability(p)
        expected = threshold(step_matrix(terms, accuracy, p))
        if expected is None:
            assert report.omega_max_grid is None or report.omega_max_grid < 1e-3
            continue
        found += 1
        assert report.basis == "exact"
        assert report.omega_max_grid == pytest.approx(expected, rel=1e-6)
        verdict = {
            f: module.stability(p, omega=f * expected).numerical for f in (0.99, 1.02)
        }
        assert verdict[0.99] == "stable"
        assert verdict[1.02] != "stable"
    assert found >= draws // 3


def test_closed_form_is_below_and_close() -> None:
    module = linear()
    rng = np.random.default_rng(7)
    gaps = []
    for _ in range(200):
        report = module.stability(random_params(rng, ["W0", "W1", "W2"]))
        if report.omega_max is None or report.omega_max_grid is None:
            assert report.omega_max is None
            continue
        assert report.omega_max <= report.omega_max_grid * (1 + 1e-9)
        gaps.append(1.0 - report.omega_max / report.omega_max_grid)
    assert len(gaps) > 50
    assert max(gaps) < 0.04
    assert np.median(gaps) < 0.005


def test_closed_form_against_a_fine_scan() -> None:
    """ω_max = min over θ of 2 (1 - Re Λ)/|1 - Λ|², over the whole circle."""
    module = linear()
    rng = np.random.default_rng(8)
    theta = np.linspace(1e-4, math.pi, 400_001)
    dx = 1 / SIZE
    for _ in range(20):
        p = random_params(rng, ["W0", "W1", "W2"])
        real = p["W0"] - 2 * p["W2"] / dx**2 * (1 - np.cos(theta))
        imaginary = p["W1"] / dx * np.sin(theta)
        room = 1 - real
        limit = (2 * room / (room**2 + imaginary**2)).min() if room.min() > 0 else None
        found = module.stability(p).omega_max
        if limit is None:
            assert found is None
        else:
            assert found == pytest.approx(limit, rel=1e-8)


def test_growth_of_the_critical_mode() -> None:
    module = linear()
    rng = np.random.default_rng(9)
    x = np.arange(SIZE)
    seen = 0
    for _ in range(20):
        p = random_params(rng, ["W0", "W1", "W2"])
        limit = module.stability(p).omega_max_grid
        if limit is None or limit > 500:
            continue
        omega = 1.02 * limit
        p["omega"] = np.asarray(omega)
        report = module.stability(p)
        if report.intrinsic != "none":  # its growth is not the step's
            continue
        seen += 1
        modes = TURN * np.arange(SIZE) / SIZE
        dx = 1 / SIZE
        symbol = p["W0"] - 2 * p["W2"] / dx**2 * (1 - np.cos(modes))
        symbol = symbol + 1j * p["W1"] / dx * np.sin(modes)
        size = np.abs(1 - omega + omega * symbol) ** 2
        theta = modes[int(np.argmax(size))]
        z0 = np.cos(theta * x + 0.3)[None]
        zT = module.forward(p, z0, check="off")
        growth = math.log(np.linalg.norm(zT) / np.linalg.norm(z0)) / STEPS
        expected = 0.5 * math.log(size.max())
        assert growth == pytest.approx(expected, abs=1e-8)
        assert report.growth == pytest.approx(expected, abs=1e-12)
        short = min(theta, TURN - theta)
        waves = TURN / short if short > 0 else math.inf
        assert report.wavelength == pytest.approx(waves)
    assert seen >= 8


SLOPES: dict[str, tuple[float, float]] = {
    "s": (1.0, 1.0),
    "tanh(s)": (0.0, 1.0),
    "sigmoid(s)": (0.0, 0.25),
    "relu(s)": (0.0, 1.0),
    "softplus(s)": (0.0, 1.0),
    "sin(s)": (-1.0, 1.0),
    "atan(2 s)": (0.0, 2.0),
    "gelu(s)": (-0.12900, 1.12900),
    "silu(s)": (-0.09984, 1.09984),
    "abs(s)": (-1.0, 1.0),
    "max(s, 0.1 s)": (0.1, 1.0),
}


@pytest.mark.parametrize("f", SLOPES)
def test_slopes(f: str) -> None:
    derivation = derive(
        from_text(
            "grid x[8] on [0, 1) periodic\nfield z(x)\nparam W0 init 0.5, b(x)\n"
            f"f(s) = {f}\ndz/dt = -(z - f(W0 z - b))\nsteps 2\nω = 0.5\n",
            "numerics.npde",
        )
    )
    assert derivation.stability is not None
    assert derivation.stability.slopes == pytest.approx(SLOPES[f], abs=1e-4)


def test_a_nonlinear_run_decays_below_the_bound() -> None:
    """tanh contracts towards 0 at 0.999 ω_max; the bound for slopes [0, 1] is tight."""
    module = compiled(
        f"grid x[{SIZE}] on [0, 1) periodic\nfield z(x)\n"
        "param W0 init 0.9, W1 init 0, W2 init 1e-3, ω in (0, 10) init 0.5\n"
        "f(s) = tanh(s)\ndz/dt = -(z - f(W0 z + W1 ∂z + W2 ∂²z))\nsteps 2000\n"
    )
    p = module.init_params()
    limit = module.stability(p).omega_max_grid
    z0 = 1e-3 * np.random.default_rng(1).standard_normal((1, SIZE))
    for factor, decays in ((0.999, True), (1.02, False)):
        p["omega"] = np.asarray(factor * limit)
        zT = module.forward(p, z0, check="off")
        assert (np.abs(zT).max() < 1e-6) == decays
