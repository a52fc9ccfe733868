"""Walls: ghost cells and their transposes, values that are trained through, errors.

Gradients in what conditions are made of are compared with JAX's by
``tests/models/boundary_*.npde``; here the fill of the ghost cells and its transpose are
assembled as matrices, and every kind of condition is combined with every accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest

from pdec.derivation import as_latex, as_text
from pdec.derive import Derivation
from pdec.errors import ModelErrors
from pdec.forms.statements import Fold, Ghost
from pdec.pipeline import compile_source, derive, module_of
from pdec.source import from_text
from pdec.targets.body import Module
from pdec.targets.names import Names
from pdec.targets.numpy import Function

Array = Any

KINDS = {
    "dirichlet": ("u = 0.3",),
    "neumann": ("∂n u = 0.2",),
    "robin": ("2 u + 0.5 ∂n u = 1",),
    "exchange": ("h u + ∂n u = h g",),
    "outflow": ("∂²u = 0",),
    "clamped": ("u = g", "∂n u = 0"),
    "hinged": ("u = 0", "∂²u = g"),
    "mirror": ("∂u = 0", "∂³u = 0"),
}
# what is added to the equation, and how many conditions it takes on each side
OPERATORS = {"∂²u": 1, "∂u + upwind(1, upwind(1, u)) + upwind(-1, upwind(-1, u))": 1}
OPERATORS |= {"∂⁴u": 2}
ONE_EACH = [kind for kind, conditions in KINDS.items() if len(conditions) == 1]
TWO_EACH = [kind for kind, conditions in KINDS.items() if len(conditions) == 2]


def line(
    low: str, high: str, rate: str, accuracy: int = 2, more: str = "", cells: int = 9
) -> str:
    """A model on an interval, with these kinds of walls."""
    walls = [f"at x = 0: {c}" for c in KINDS[low]]
    walls += [f"at x = 1: {c}" for c in KINDS[high]]
    text = "\n".join(walls)
    needed = {name for name in ("h", "g") if any(f"{name} " in w + " " for w in walls)}
    params = "".join(f"param {name} init 0.4\n" for name in sorted(needed))
    return (
        f"grid x[{cells}] on [0, 1]\nfield u(x)\naccuracy {accuracy}\n{text}\n{params}"
        f"du/dt = 1e-5 ({rate}) - u\nsteps 3\ndt = 0.01\n{more}"
    )


def derived(text: str) -> Derivation:
    return derive(from_text(text, "walls.npde"))


# --- assembled matrices ---------------------------------------------------------------


def assembled(text: str) -> tuple[Array, Array, Array]:
    """The fill of the ghost cells of u and what its transpose does, on cells.

    The fill acts on all entries of the padded array, ghost cells among them.  Both are
    run as they are printed.
    """
    derivation = derived(text)
    fill = [s for s in derivation.program.step.statements if isinstance(s, Ghost)]
    block = derivation.adjoints["step"].block
    folds = [s for s in block.statements if isinstance(s, Fold)]
    array = derivation.program.arrays["u"]
    constants = {n: k.value for n, k in derivation.program.constants.items()}
    shared = {n: a for n, a in derivation.program.arrays.items() if not a.per_sample}
    c = {name: np.full(a.padded_shape, 0.4) for name, a in shared.items()}
    filled = printed(
        derivation, "(c, v)", [linear(g) for g in fill if g.array == "u"], constants
    )
    folded = printed(
        derivation, "(c, v_bar)", [f for f in folds if f.array == "u~bar"], constants
    )
    size = int(np.prod(array.padded_shape))
    inside = np.zeros(array.padded_shape, bool)
    inside[tuple(slice(a.ghosts, a.ghosts + a.size) for a in array.axes[1:])] = True

    def run(function: Callable[..., None], u: Array) -> Array:
        u = u.reshape(-1, *array.padded_shape).copy()
        function(c, {"u": u})
        return u.reshape(len(u), -1)

    unit = np.eye(size)
    return run(filled, unit), run(folded, unit), inside.ravel()


def linear(ghost: Ghost) -> Ghost:
    """The fill without the values that the walls have."""
    low, high = (
        [r._replace(value=0) for r in rows] for rows in (ghost.low, ghost.high)
    )
    return replace(ghost, low=tuple(low), high=tuple(high))


def printed(
    derivation: Derivation, head: str, statements: Any, constants: dict[str, float]
) -> Callable[..., None]:
    names = Names(frozenset())
    names.claim_globals(derivation.program.constants)
    module = Module(derivation.program.arrays, derivation.model.axis_names, names)
    function = Function(module, f"def run{head}:", "Run.")
    function.add_all(statements)
    space: dict[str, Any] = {"np": np, **constants}
    exec(function.text(), space)
    found: Callable[..., None] = space["run"]
    return found


CASES = [
    (low, high, rate, accuracy)
    for rate, count in OPERATORS.items()
    for accuracy in ((2, 4, 6) if rate[0] == "∂" and "upwind" not in rate else (2,))
    for kinds in ([ONE_EACH, TWO_EACH][count - 1],)
    for low, high in zip(kinds, [*kinds[1:], kinds[0]], strict=True)
]


@pytest.mark.parametrize(("low", "high", "rate", "accuracy"), CASES)
def test_fold_is_the_transpose_of_fill(
    low: str, high: str, rate: str, accuracy: int
) -> None:
    fill, fold, inside = assembled(line(low, high, rate, accuracy))
    assert not inside.all() and fill[inside][:, ~inside].any()
    # row j of `fill` is what the unit vector j becomes: the matrix, transposed
    assert np.array_equal(fill[inside], fold[:, inside].T)


@pytest.mark.parametrize("accuracy", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_fold_is_the_transpose_of_fill_at_corners(accuracy: int) -> None:
    text = (
        "grid x[5] on [0, 1], y[6] on [0, 1], q[7] on [0, 1) periodic\n"
        f"accuracy {accuracy}\nfield u(x, y, q)\nparam g(x), h init 0.4\n"
        "at x = 0: u = 1\nat x = 1: h u + ∂n u = 0.3\nat y = 0: u = g\n"
        "at y = 1: 2 u + ∂u = 1\n"
        "du/dt = 0.01 (∇²u + ∂x∂y u + ∂x∂y∂q u)\nsteps 1\ndt = 0.01\n"
    )
    fill, fold, inside = assembled(
        text.replace("∂x∂y∂q", "∂x(∂y∂q").replace(" u)\n", " u))\n")
    )
    corners = fill[inside][:, ~inside]
    assert corners.any()
    assert np.allclose(fill[inside], fold[:, inside].T, rtol=1e-15, atol=0.0)


def test_corners_are_filled_only_where_they_are_read() -> None:
    text = (
        "grid x[5] on [0, 1], y[6] on [0, 1]\nfield u(x, y)\nat x, y: u = 1\n"
        "du/dt = 0.01 ∇²u{more}\nsteps 1\ndt = 0.01\n"
    )
    for more, read in (("", False), (" + 0.01 ∂x∂y u", True)):
        step = derived(text.replace("{more}", more)).program.step
        last = [s for s in step.statements if isinstance(s, Ghost)][-1]
        assert ("x*1" in dict(last.index)) == read


# --- gradients ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "rate", "accuracy", "scheme"),
    [
        ("exchange", "dirichlet", "∂²u", 2, "implicit"),
        ("neumann", "exchange", "∂²u", 6, "euler"),
        ("exchange", "robin", "∂²u", 4, "trapezoidal"),
        ("outflow", "exchange", "∂(u²)", 4, "implicit"),
        ("clamped", "hinged", "∂⁴u", 2, "imex"),
        ("hinged", "clamped", "∂⁴u", 4, "heun"),
        ("mirror", "clamped", "∂⁴u", 6, "implicit"),
    ],
)
def test_gradients_of_every_kind(
    low: str, high: str, rate: str, accuracy: int, scheme: str
) -> None:
    more = f"scheme {scheme}\ntarget y(x)\nloss = mean((u - y)²)\n"
    text = line(low, high, rate, accuracy, more)
    text = text.replace("param g init 0.4", "param g(t) init 0.4")
    module = module_of(compile_source(from_text(text, f"{low}_{high}.npde")))
    found = module.selfcheck()
    assert found.passed, str(found)


def test_value_of_each_step_is_that_of_the_step_on_the_way_back() -> None:
    text = line("clamped", "exchange", "5000 ∂²u - 30000 ∂(u²)").replace(
        "at x = 0: ∂n u = 0\n", ""
    )
    text = text.replace("init 0.4", "init 2").replace(
        "param g init 2", "param g(t) init uniform(0.2, 0.9)"
    )
    text += "scheme trapezoidal\ntarget y(x)\nloss = mean((u - y)²)\n"
    found = module_of(compile_source(from_text(text, "by_step.npde"))).selfcheck()
    assert found.passed, str(found)


def test_input_at_a_wall_shared_or_not() -> None:
    text = line("neumann", "exchange", "∂²u").replace("param g init 0.4", "input g")
    module = module_of(compile_source(from_text(text, "given.npde")))
    p, z0 = module.init_params(), np.ones((3, 9))
    w = np.random.default_rng(1).standard_normal((3, 9))
    each, shared = np.full(3, 0.7), np.asarray(0.7)
    one, pull = module.vjp(p, z0, inputs={"g": each}, wrt=("inputs",))
    two, push = module.vjp(p, z0, inputs={"g": shared}, wrt=("inputs",))
    assert np.array_equal(one, two)
    assert push(w)["g"] == pytest.approx(pull(w)["g"].sum(), rel=1e-14)


# --- what readers see -----------------------------------------------------------------


def test_formulas_show_the_rows() -> None:
    derivation = derived(
        line("exchange", "clamped", "∂²u").replace("at x = 1: ∂n u = 0\n", "")
    )
    shown = normalize("NFC", as_text(derivation))
    for row in (
        "u[x_low-1] = wall_x u[x_low] + wall_x_1 u[x_low+1] + u_x_low wall_x_2",
        "u[x_high+1] = 8 g/3 + u[x_high-1]/3 - 2 u[x_high]",
        "ū[x_low] += wall_x ū[x_low-1]",
        "ū[x_high] -= 2 ū[x_high+1]",
        "ḡ += Σ_{batch} 8 ū[x_high+1]/3",
    ):
        assert normalize("NFC", row) in shown, row
    assert r"{u}_{[x_{\mathrm{low}}-1]}" in as_latex(derivation)


# --- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_parameters_that_break_a_condition(dtype: Any) -> None:
    text = line("exchange", "dirichlet", "∂²u")
    module = module_of(compile_source(from_text(text, "broken.npde")))
    p = module.init_params(dtype=dtype)
    z0 = np.ones((1, 9), dtype)
    module.forward(p, z0)
    p["h"] = np.asarray(-8 / 3 * 9, dtype)
    with pytest.raises(
        ValueError, match=r"p\['h'\] = -24.*`at x = 0: h u \+ ∂n u = h g`"
    ):
        module.forward(p, z0)


def test_conditions_that_say_the_same() -> None:
    text = line("clamped", "clamped", "∂⁴u").replace(
        "at x = 1: ∂n u = 0", "at x = 1: u = 1"
    )
    with pytest.raises(ModelErrors, match="says nothing that the other one does not"):
        derived(text)


def test_loss_has_no_step() -> None:
    text = line("neumann", "clamped", "∂²u").replace("at x = 1: ∂n u = 0\n", "")
    text = text.replace("param g init 0.4", "param g(t)") + "loss = mean((∂u)²)\n"
    with pytest.raises(ModelErrors, match="whose value has no step there"):
        derived(text)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_number_of_conditions(low: int, high: int) -> None:
    conditions = ["u = 0", "∂u = 0"]
    walls = [f"at x = 0: {c}" for c in conditions[:low]]
    walls += [f"at x = 1: {c}" for c in conditions[:high]]
    for order in (2, 3, 4):
        text = "\n".join(
            ["grid x[9] on [0, 1]\nfield u(x)", *walls, f"du/dt = ∂^{order} u - u"]
        )
        text += "\nsteps 1\ndt = 1e-4\n"
        if {2: low == high == 1}.get(order, low + high == order):
            derived(text)
        else:
            with pytest.raises(ModelErrors, match="boundary condition"):
                derived(text)
