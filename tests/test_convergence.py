"""Orders of convergence against manufactured solutions, within 0.1 of theory.

In Δt for every scheme, in Δx for every accuracy and beside every kind of wall: a scheme
or a boundary that is put into its folder is tested by being there.  `--full` runs all
combinations.
"""

from __future__ import annotations

from itertools import product

import pytest
import random_models

from pdec.contracts import Boundary, Scheme, discover
from pdec.source import from_text
from pdec.verification.convergence import TOLERANCE, Measured, in_space, in_time
from pdec.verification.manufactured import Unsuitable

SCHEMES = discover("pdec.schemes", Scheme)
BOUNDARIES = discover("pdec.boundaries", Boundary)
ACCURACIES = (2, 4, 6)

# --- in time ------------------------------------------------------------------------

RELAXATION = """field z
param a init 0.7, γ init 2
dz/dt = -γ(z - tanh(a z + z²))
"""
PAIRS = """field q, p
param a init 0.7
dq/dt = p
dp/dt = -q - a q³
"""
DIFFUSION = """grid x[8] on [0, 1]
at x: ∂z = 0
field z(x)
param D(x) init 0.1, b(t) init 0.2
dz/dt = -(z - tanh(D ∂²z + b z²))
"""


def timed() -> list[object]:
    """Each scheme with the models that it can advance, one of them by default."""
    found = []
    for name, scheme in SCHEMES.items():
        if scheme.steady:
            continue
        texts = [PAIRS] if scheme.needs == "pairs" else [RELAXATION, DIFFUSION]
        for text in texts:
            marks = [pytest.mark.slow] if text == DIFFUSION else []
            label = f"{name}-{'line' if text == DIFFUSION else 'point'}"
            found.append(pytest.param(name, text, marks=marks, id=label))
    return found


@pytest.mark.parametrize(("name", "text"), timed())
def test_order_in_time(name: str, text: str) -> None:
    source = from_text(f"{text}scheme {name}\nsteps 4\ndt = 0.1\n", f"{name}.npde")
    found = in_time(source, "numpy", {})
    assert found.expected == SCHEMES[name].order
    assert found.deviation <= TOLERANCE, found


# --- in space -----------------------------------------------------------------------

ADVECTION_DIFFUSION = "0.002 ∂²z - 0.1 ∂z - z³"
ADVECTION = "-0.1 ∂z - z³"

# for each kind of wall: the conditions at the low and the high end, and the equation
WALLS = {
    "dirichlet": ("z = 0.3", "z = 0.3", ADVECTION_DIFFUSION),
    "neumann": ("∂z = 0.2", "∂z = 0.2", ADVECTION_DIFFUSION),
    "robin": ("2 z + ∂n z = 0.5", "2 z + ∂n z = 0.5", ADVECTION_DIFFUSION),
    "bending": ("z = 0.3", "∂²z = 0", ADVECTION),  # lets waves out
}
MIXED = [
    (low, high)
    for low, high in product(("dirichlet", "neumann", "robin"), repeat=2)
    if low != high
]


def order(accuracy: int, grid: str, walls: str, equation: str) -> None:
    """Compare the order in Δx of an equation with theory."""
    text = f"grid {grid}\nfield z({', '.join('xy'[: grid.count('[') // 2])})\n{walls}"
    text += f"dz/dt = {equation}\naccuracy {accuracy}\nsteps 4\ndt = 0.1\n"
    found = in_space(from_text(text, "walls.npde"), "numpy", {})
    assert found.expected == accuracy
    assert found.least is None  # these equations spread what comes from walls
    assert found.deviation <= TOLERANCE, found


def test_every_boundary_is_here() -> None:
    assert set(WALLS) == set(BOUNDARIES), "say which conditions it stands for"


@pytest.mark.parametrize(
    "accuracy",
    [pytest.param(a, marks=[pytest.mark.slow] * (a < 6)) for a in ACCURACIES],
)
def test_order_on_a_ring(accuracy: int) -> None:
    order(accuracy, "x[8] on [0, 1) periodic", "", ADVECTION_DIFFUSION)


def walled() -> list[object]:
    """Each kind of wall at accuracy 2, and one at 4; the rest is slow."""
    found = []
    for accuracy, kind in product(ACCURACIES, WALLS):
        quick = accuracy == 2 or (accuracy == 4 and kind == "robin")
        marks = [] if quick else [pytest.mark.slow]
        found.append(pytest.param(accuracy, kind, marks=marks))
    return found


@pytest.mark.parametrize(("accuracy", "kind"), walled())
def test_order_between_walls(accuracy: int, kind: str) -> None:
    low, high, equation = WALLS[kind]
    walls = f"at x = 0: {low}\nat x = 1: {high}\n"
    order(accuracy, "x[8] on [0, 1]", walls, equation)


@pytest.mark.slow
@pytest.mark.parametrize(("low", "high"), MIXED)
@pytest.mark.parametrize("accuracy", ACCURACIES)
def test_order_between_different_walls(accuracy: int, low: str, high: str) -> None:
    walls = f"at x = 0: {WALLS[low][0]}\nat x = 1: {WALLS[high][1]}\n"
    order(accuracy, "x[8] on [0, 1]", walls, ADVECTION_DIFFUSION)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dirichlet", "neumann", "robin"])
@pytest.mark.parametrize("accuracy", ACCURACIES)
def test_order_in_the_plane(accuracy: int, kind: str) -> None:
    low, high, _ = WALLS[kind]
    low, high = low.replace("∂z", "∂x z"), high.replace("∂z", "∂x z")
    walls = f"at x = 0: {low}\nat x = 1: {high}\n"
    grid = "x[8] on [0, 1], y[8] on [0, 1) periodic"
    order(accuracy, grid, walls, "0.01 ∇²z - 0.1 ∂y z - z³ + 0.002 ∂x∂y z")


def test_order_in_the_plane_with_four_walls() -> None:
    walls = "at x: ∂z = 0\nat y = 0: z = 0.3\nat y = 1: z + ∂n z = 0\n"
    order(2, "x[8] on [0, 1], y[8] on [0, 1]", walls, "0.01 ∇²z - z³")


@pytest.mark.slow
def test_fluxes_on_faces_are_of_second_order() -> None:
    text = """grid x[8] on [0, 1]
field z(x)
param κ(x) > 0 init 0.02
at x = 0: z = 1
at x = 1: ∂z = 0
dz/dt = ∂(κ ∂z) - 0.1 z
accuracy 4
steps 4
dt = 0.1
"""
    found = in_space(from_text(text, "faces.npde"), "numpy", {})
    assert found.expected == 2
    assert found.deviation <= TOLERANCE, found


@pytest.mark.parametrize("accuracy", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_where_walls_lead_finer_grids_show_the_order(accuracy: int) -> None:
    """Weak diffusion: the error at walls spreads over a few cells."""
    text = f"""grid x[8] on [0, 1]
field z(x)
at x = 0: z = 0.3
at x = 1: z + 0.3 ∂n z = 0
param D >= 0 init 1e-4, b(x) init 0.1
dz/dt = D ∂²z - z³ + b
accuracy {accuracy}
steps 4
dt = 0.1
"""
    found = in_space(from_text(text, "weak.npde"), "numpy", {})
    assert len(found.errors) > 2 and found.least is None
    assert found.deviation <= TOLERANCE, found


# --- models that nobody thought of ----------------------------------------------------

# Steps that are refined with the grid have random parameters for each; an equation of a
# random sign lets errors grow; walls cost a relaxation half an order.
DRAWN = {3: 2.0, 4: 2.0, 5: 2.0, 11: 4.0, 12: 3.5}


@pytest.mark.parametrize(
    "seed", [pytest.param(s, marks=[pytest.mark.slow] * (s != 4)) for s in DRAWN]
)
def test_random_models(seed: int) -> None:
    found = in_space(from_text(random_models.text(seed), "drawn.npde"), "numpy", {})
    assert found.order == pytest.approx(DRAWN[seed], abs=0.05), found
    assert found.deviation <= TOLERANCE, found


def test_where_errors_grow_no_order_is_measured() -> None:
    source = from_text(random_models.text(8), "drawn.npde")
    with pytest.raises(Unsuitable, match="lets errors grow"):
        in_space(source, "numpy", {})


def test_walls_excuse_half_an_order_and_no_more() -> None:
    assert Measured(3.45, 4, (), least=3.5).deviation == pytest.approx(0.05)
    assert Measured(3.8, 4, (), least=3.5).deviation == 0.0
    assert Measured(4.2, 4, (), least=3.5).deviation == pytest.approx(0.2)
    assert Measured(float("nan"), 4, (), least=3.5).deviation == float("inf")


@pytest.mark.parametrize(
    ("accuracy", "term", "expected"), [(2, "-upwind(U, z)", 1), (4, "∂(U ∂z)", 2)]
)
def test_walls_excuse_nothing_where_less_is_promised(
    accuracy: int, term: str, expected: int
) -> None:
    """The order beside walls, accuracy - 1/2, is more than such a term has anywhere."""
    text = f"""\
grid x[40] on [0, 1]
field z(x)
param U >= 0 init 0.01, W2 >= 0 init 1e-3
at x = 0: z = 0.3
at x = 1: ∂z = 0
dz/dt = -(z - tanh(0.5 z + {term} + W2 ∂²z))
accuracy {accuracy}
steps 4
ω = 0.4
"""
    found = in_space(from_text(text, "least.npde"), "numpy", {})
    assert (found.expected, found.least) == (expected, None)
    assert found.deviation <= TOLERANCE, found
