"""The verdict on the step, against steps assembled column by column."""

from __future__ import annotations

import math
import re
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pdec.cli import main
from pdec.contracts import Scheme, discover
from pdec.pipeline import compile_source, derive, module_of
from pdec.source import from_text
from pdec.stability.amplification import contractivity

Array = np.ndarray[Any, np.dtype[np.float64]]
Params = dict[str, Array]
ROOT = Path(__file__).resolve().parent.parent


@cache
def compiled(text: str) -> ModuleType:
    return module_of(compile_source(from_text(text, "stability.npde")))


def assembled(module: ModuleType, p: Params) -> Array:
    """The matrix of a run that is affine in the state, from its columns."""
    fields = module.MODEL.fields
    sizes = [math.prod(field.shape) for field in fields.values()]
    unit = np.concatenate([np.zeros((1, sum(sizes))), np.eye(sum(sizes))])
    parts = np.split(unit, np.cumsum(sizes)[:-1], axis=1)
    z0 = {
        name: part.reshape(-1, *field.shape)
        for (name, field), part in zip(fields.items(), parts, strict=True)
    }
    zT = module.forward(p, bare(z0), check="off")
    columns = zT if len(fields) > 1 else {next(iter(fields)): zT}
    flat = np.concatenate([z.reshape(len(z), -1) for z in columns.values()], axis=1)
    return np.asarray((flat[1:] - flat[0]).T)


def bare(values: dict[str, Any]) -> Any:
    return values if len(values) > 1 else next(iter(values.values()))


def radius(matrix: Array) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())


# --- schemes ----------------------------------------------------------------------

ONE = ("x[12] on [0, 1) periodic", "(x)", "W0 z + W1 ∂z + W2 ∂²z + W3 ∂³z")
TWO = ("x[6] on [0, 1) periodic, y[5] on [0, 1) periodic", "(x, y)")


def relaxing(scheme: str, grid: str, axes: str, terms: str, steps: int = 1) -> str:
    names = ", ".join(sorted({word for word in terms.split() if word[0] == "W"}))
    return (
        f"grid {grid}\nfield z{axes}\nparam {names}, ω in (0, 1e6) init 0.5\n"
        f"f(s) = s\ndz/dt = -(z - f({terms}))\nscheme {scheme}\nsteps {steps}\n"
    )


def random_moments(rng: np.random.Generator, names: set[str]) -> Params:
    scale = {"W0": 0.6, "W1": 0.05, "W2": 1e-2, "W3": 1e-4, "omega": 0.0}
    return {name: np.asarray(scale[name] * rng.uniform(-0.5, 1.5)) for name in names}


@pytest.mark.parametrize(
    ("scheme", "grid"),
    [
        ("euler", ONE),
        ("exponential", ONE),
        ("heun", ONE),
        ("ssprk3", ONE),
        ("rk4", ONE),
        ("trapezoidal", ONE),
        ("imex", ONE),
        ("euler", (*TWO, "W0 z + W1 ∂x z + W2 ∇²z + W3 ∂x∂y z")),
        ("rk4", (*TWO, "W0 z + W1 ∂x z + W2 ∇²z + W3 ∂x∂y z")),
    ],
)
def test_threshold_of_the_assembled_step(scheme: str, grid: Any) -> None:
    """omega_max_grid is where an eigenvalue leaves the circle, to 1e-6."""
    module = compiled(relaxing(scheme, *grid))
    rng = np.random.default_rng(5)
    seen = 0
    for _ in range(4):
        p = random_moments(rng, set(module.MODEL.params))
        report = module.stability({**p, "omega": np.asarray(0.5)})
        limit = report.omega_max_grid
        if report.intrinsic_growth > 1e-12:
            continue

        def size(omega: float, p: Params = p) -> float:
            return radius(assembled(module, {**p, "omega": np.asarray(float(omega))}))

        if limit is None:
            assert max(size(1e-3), size(0.1)) > 1.0 - 1e-12
        elif math.isinf(limit):
            assert max(size(omega) for omega in (0.5, 3.0, 50.0)) <= 1.0 + 1e-12
        else:
            seen += 1
            assert size(limit * (1.0 - 1e-6)) <= 1.0 < size(limit * (1.0 + 1e-6))
            assert size(0.5 * limit) <= 1.0 + 1e-12
    assert seen or scheme in ("trapezoidal", "imex", "exponential")


def test_contractivity_is_read_off_the_text() -> None:
    known = {
        "euler": 1.0,
        "heun": 1.0,
        "ssprk3": 1.0,
        "rk4": 0.0,
        "trapezoidal": 2.0,
        "implicit": math.inf,
    }
    schemes = discover("pdec.schemes", Scheme)
    assert {name: contractivity(schemes[name]) for name in known} == known


SYSTEMS = {
    "wave": "du/dt = v\ndv/dt = a ∂²u - 0.3 u\nscheme symplectic\ndt = 0.08\n",
    "rates": "du/dt = -(u - (b v + 0.002 ∂²u))\ndv/dt = -0.5(v - (b u + 0.02 ∂v))\n"
    "scheme exponential\ndt = 0.7\n",
    "turing": "du/dt = 0.004 ∂²u - u + a v\ndv/dt = 0.01 ∂²v - 2 u - v\n"
    "scheme heun\ndt = 0.2\n",
    "imex": "du/dt = 0.04 ∂²u - u + a v\ndv/dt = 0.1 ∂²v - 2 u - v\n"
    "scheme imex\ndt = 0.2\n",
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_systems(name: str) -> None:
    module = compiled(
        "grid x[10] on [0, 1) periodic\nfield u(x), v(x)\n"
        f"param a init 1, b init 0.4\n{SYSTEMS[name]}steps 1\n"
    )
    p = module.init_params()
    report, M = module.stability(p, run=True), assembled(module, p)
    assert report.basis == "exact"
    assert module.amplification(p).size.max() == pytest.approx(radius(M), rel=1e-7)
    assert report.powers == pytest.approx(max(1.0, np.linalg.norm(M, 2)), rel=1e-9)
    limit = report.omega_max_grid
    if math.isfinite(limit):
        for factor in (1.0 - 1e-4, 1.0 + 1e-4):
            size = module.amplification(p, factor * limit).size.max()
            assert (size <= 1.0 + 1e-7) == (factor < 1.0)


@pytest.mark.parametrize("scheme", ["euler", "rk4"])
def test_growth_above_and_decay_below(scheme: str) -> None:
    """Seeded in the critical mode at 1.02 ω_max, a run grows by ½ ln|G|² a step."""
    module = compiled(relaxing(scheme, *ONE, steps=10))
    rng = np.random.default_rng(6)
    seen = 0
    for _ in range(6):
        p = random_moments(rng, set(module.MODEL.params)) | {"omega": np.asarray(0.5)}
        report = module.stability(p)
        limit = report.omega_max_grid
        if limit is None or limit > 100.0 or report.intrinsic != "none":
            continue
        seen += 1
        p["omega"] = np.asarray(1.02 * limit)
        report = module.stability(p)
        (theta,) = report.theta
        z0 = np.cos(theta * np.arange(12))[None]
        size = (
            np.linalg.norm(module.forward(p, z0, check="off"))
            if theta
            in (
                0.0,
                math.pi,
            )
            else radius(assembled(module, p))
        )
        size = size / np.linalg.norm(z0) if theta in (0.0, math.pi) else size
        assert math.log(size) / 10 == pytest.approx(report.growth, abs=1e-8)
        p["omega"] = np.asarray(0.999 * limit)
        assert radius(assembled(module, p)) <= 1.0
    assert seen >= 3


# --- walls and varying coefficients -----------------------------------------------

WALLED = (
    "grid x[{n}] on [0, 1]\nfield z(x)\n{walls}\n"
    "param W0(x), W1(x), W2(x), ω in (0, 10) init 0.5\n"
    "f(s) = {f}\ndz/dt = -(z - f(W0 z + W1 ∂z + W2 ∂²z))\nsteps 1\n"
)


@pytest.mark.parametrize(
    "walls",
    ["at x: ∂z = 0", "at x: z = 0", "at x = 0: z + 0.1 ∂z = 0\nat x = 1: ∂z = 0"],
)
def test_certificate_beside_walls(walls: str) -> None:
    """Where contraction is certified, no slopes let two runs part; and it is tight."""
    linear = compiled(WALLED.format(n=12, walls=walls, f="s"))
    module = compiled(WALLED.format(n=12, walls=walls, f="tanh(s)"))
    rng = np.random.default_rng(7)
    certified = 0
    for _ in range(12):
        p = {
            "W0": rng.uniform(-0.5, 0.9, 12),
            "W1": rng.uniform(-0.02, 0.02, 12),
            "W2": rng.uniform(0.0, 4e-3, 12),
        }
        A = assembled(linear, {**p, "omega": np.asarray(1.0)})
        report = module.stability({**p, "omega": np.asarray(0.1)})
        limit = report.omega_contractive
        if limit is None:
            continue
        certified += 1
        assert report.numerical == "stable" and report.contractive
        norm = np.inf if report.certificate == "maximum norm" else 2
        for _ in range(50):
            s = rng.choice([0.0, 1.0], 12) if norm == np.inf else rng.uniform(0, 1, 12)
            step = (1.0 - limit) * np.eye(12) + limit * s[:, None] * A
            assert np.linalg.norm(step, norm) <= 1.0 + 1e-9
        if norm == np.inf:
            beyond = 1.001 * limit
            step = (1.0 - beyond) * np.eye(12) + beyond * A
            least = abs(1.0 - beyond) if beyond > 2.0 else 0.0
            assert max(np.linalg.norm(step, norm), least) > 1.0
    assert certified >= 4


def test_mirror_walls_are_certified() -> None:
    module = compiled(WALLED.format(n=12, walls="at x: ∂z = 0", f="tanh(s)"))
    p = {"W0": np.ones(12), "W1": np.zeros(12), "W2": np.full(12, 2e-3)}
    report = module.stability({**p, "omega": np.asarray(0.5)})
    assert (report.numerical, report.basis) == ("stable", "certificate")
    assert report.omega_contractive == pytest.approx(2.0 / (4 * 2e-3 * 144))


@pytest.mark.parametrize(("courant", "numerical"), [(0.5, "stable"), (1.5, "unstable")])
def test_upwind_between_walls(courant: float, numerical: str) -> None:
    """The spectrum is no verdict: only a norm of the powers is."""
    module = compiled(
        "grid x[32] on [0, 1]\nfield u(x)\nat x: u = 0\nparam U init 1\n"
        f"du/dt = -upwind(U, u)\nsteps 64\ndt = {courant / 32}\n"
    )
    p = module.init_params()
    assert module.stability(p).numerical in (numerical, "unknown")
    report = module.stability(p, run=True)
    assert report.numerical == numerical
    assert (report.powers > 1e6) == (numerical == "unstable")


# --- slopes, growth of the equation, words ----------------------------------------

LAYER = (
    "grid x[32] on [0, 1) periodic\nfield z(x)\n"
    "param W0 init {W0}, W1 init {W1}, W2 init {W2}\nf(s) = {f}\n"
    "dz/dt = -(z - f(W0 z + W1 ∂z + W2 ∂²z))\nsteps 16\nω = {omega}\nscheme {scheme}\n"
)


def layer(**given: Any) -> ModuleType:
    usual = {"W0": 0.5, "W1": 0.0, "W2": 1e-4, "f": "tanh(s)", "omega": 0.5}
    return compiled(LAYER.format(**{**usual, "scheme": "euler", **given}))


@pytest.mark.parametrize("f", ["s²", "s - s³/6", "exp(s)"])
def test_slopes_without_bound_are_known_at_a_state_only(f: str) -> None:
    form = derive(
        from_text(
            LAYER.format(W0=0.5, W1=0, W2=1e-4, f=f, omega=0.5, scheme="euler"),
            "slopes.npde",
        )
    ).stability
    assert not all(map(math.isfinite, form.slopes))
    module = layer(f=f)
    p = module.init_params()
    assert module.stability(p).basis == "heuristic"
    assert not module.stability(p).contractive
    steep = module.stability(p, state=np.full((1, 32), -6.0 if f[0] == "s" else 9.0))
    assert steep.numerical == "unstable" or steep.intrinsic != "none"


def test_growth_of_the_equation_is_not_the_steps() -> None:
    module = layer(W0=1.2)
    report = module.stability(module.init_params())
    assert (report.numerical, report.intrinsic) == ("stable", "growth")
    # s = 1 grows by itself, but for the shortest waves; s = 0 needs ω <= 2
    assert report.omega_max == pytest.approx(2.0)
    assert report.bound == pytest.approx(1.0)
    module = layer(W2=-1e-4)
    assert module.stability(module.init_params()).intrinsic == "ill-posed"


@pytest.mark.parametrize("omega", [1e-300, 1e-200, 1e-17])
def test_the_shortest_steps_are_stable(omega: float) -> None:
    module = layer(W0=0.9)
    report = module.stability(module.init_params(), omega)
    assert (report.numerical, report.bound) == ("stable", 1.0)


@pytest.mark.parametrize("D", [1e3, 1e155, 1e300])
def test_numbers_whose_squares_overflow_are_judged(D: float) -> None:
    module = compiled((ROOT / "examples/fitzhugh_nagumo.npde").read_text("utf-8"))
    p = module.init_params() | {"D": np.asarray(D)}
    assert module.stability(p).numerical == "unstable"


def test_backward_euler_hides_growth() -> None:
    module = layer(W0=1.2, W2=0, f="s", scheme="implicit", omega=11)
    report = module.stability(module.init_params())
    assert report.intrinsic == "growth" and "damps" in report.advice


def test_the_report_ends_with_what_to_do() -> None:
    module = layer(W2=1e-3, omega=0.9)
    p = module.init_params()
    report = module.stability(p)
    words = str(report).splitlines()[-1]
    assert words.startswith("  ω ≤ 0.4351; or scheme implicit; or W2 ≤")
    assert 0.4351 <= report.omega_max < 0.4352
    assert module.stability(p, omega=0.4351).numerical == "stable"
    cured = {**p, "W2": np.asarray(float(words.split()[-1]))}
    assert module.stability(cured).numerical == "stable"
    assert report.limit == "diffusion number"
    assert (report.wavelength, report.length) == pytest.approx((2.0, 2.0 / 32.0))


def test_rk4_is_judged() -> None:
    module = layer(W1=0.1, scheme="rk4")
    report = module.stability(module.init_params())
    assert report.basis == "exact" and not report.contractive


# --- where it acts ----------------------------------------------------------------


def test_forward_refuses_and_value_and_grad_warns() -> None:
    module = compiled(
        LAYER.format(W0=0.5, W1=0, W2=1e-2, f="tanh(s)", omega=0.9, scheme="euler")
        + "target y(x)\nloss = mean((z - y)²)\n"
    )
    p, z = module.init_params(), np.zeros((1, 32))
    with pytest.raises(module.StabilityError, match="ω ≤"):
        module.forward(p, z)
    with pytest.warns(module.StabilityWarning):
        module.value_and_grad(p, z, z)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module.forward(p, z, check="off")
        module.forward({**p, "W2": np.asarray(1e-5)}, z)


def test_project_is_nearest() -> None:
    """No point between the projection and where it came from is stable, nor around."""
    module = layer(omega=0.7)
    rng = np.random.default_rng(8)
    names, scale = ["W0", "W1", "W2"], np.array([1.0, 32.0, 32.0**2])
    for _ in range(5):
        given = np.array([rng.uniform(-2, 3), *rng.uniform(-3, 3, 2)]) / scale
        p = {n: np.asarray(x) for n, x in zip(names, given, strict=True)}
        q = module.project(p)
        assert module.stability(q).growth <= 1e-12
        y = np.array([float(q[n]) for n in names])
        step = (y - given) * scale
        # q is nearest in a convex set: (v - q)·(q - p) >= 0 for every stable v
        for _ in range(20):
            v = y + rng.standard_normal(3) * 0.3 / scale
            trial = {n: np.asarray(x) for n, x in zip(names, v, strict=True)}
            if module.stability(trial).growth <= 1e-12:
                assert ((v - y) * scale) @ step >= -1e-7
        again = module.project(q)
        assert all(np.allclose(again[n], q[n], rtol=0, atol=1e-12) for n in names)


def test_project_in_every_cell() -> None:
    module = compiled(WALLED.format(n=12, walls="at x: ∂z = 0", f="tanh(s)"))
    rng = np.random.default_rng(9)
    p = {
        n: rng.standard_normal(12) * s
        for n, s in (("W0", 1), ("W1", 0.1), ("W2", 0.01))
    }
    p["omega"] = np.asarray(0.8)
    assert not module.stability(p).contractive
    q = module.project(p)
    assert module.stability(q).contractive
    assert all(np.array_equal(module.project(q)[n], q[n]) for n in q)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_projected_is_stable_and_stays(dtype: Any) -> None:
    """Slopes of both signs, a bound, and moments far outside."""
    module = compiled(
        LAYER.format(
            W0=0.5, W1=0, W2=1e-4, f="gelu(s)", omega=1.5, scheme="euler"
        ).replace("W2 init", "W2 >= 0 init")
    )
    rng = np.random.default_rng(2)
    for _ in range(20):
        p = {
            "W0": np.asarray(6 * rng.standard_normal(), dtype),
            "W1": np.asarray(rng.standard_normal() / 32, dtype),
            "W2": np.asarray(6 * abs(rng.standard_normal()) / 1024, dtype),
        }
        q = module.project(p)
        report = module.stability(q)
        assert report.growth <= 1e-12 and report.intrinsic == "none" and q["W2"] >= 0
        assert all(np.array_equal(module.project(q)[n], q[n]) for n in q)
        assert all(x.dtype == dtype for x in q.values())


@pytest.mark.parametrize("walls", ["z = 0", "∂z = 0"])
@pytest.mark.parametrize("axes", ["", "(x)"])
def test_project_beside_walls(walls: str, axes: str) -> None:
    """Rows beside a wall are held too: a Dirichlet wall's are the larger ones."""
    text = WALLED.format(n=12, walls=f"at x: {walls}", f="tanh(s)")
    module = compiled(
        text.replace("(x), W", f"{axes}, W").replace("(x), ω", f"{axes}, ω")
    )
    shape = module.MODEL.params["W0"].shape
    p = {n: np.full(shape, x) for n, x in (("W0", 0.5), ("W1", 0.02), ("W2", 5e-3))}
    p["omega"] = np.asarray(0.9)
    assert not module.stability(p).contractive
    q = module.project(p)
    assert module.stability(q).contractive
    if axes and walls == "z = 0":
        assert q["W2"][0] < q["W2"][6]


def test_models_without_a_projection_say_so() -> None:
    for line in ("param W0(x), W2", "param W0, W2(x)"):
        module = compiled(
            f"grid x[8] on [0, 1) periodic\nfield z(x)\n{line}\n"
            "dz/dt = -(z - tanh(W0 z + W2 ∂²z))\nsteps 2\nω = 0.5\n"
        )
        with pytest.raises(ValueError, match="what project is for"):
            module.project(module.init_params())


def test_check_takes_saved_parameters(tmp_path: Any, capsys: Any) -> None:
    text = LAYER.format(W0=0.5, W1=0, W2=1e-4, f="tanh(s)", omega=0.5, scheme="euler")
    model = tmp_path / "stability.npde"
    model.write_text(text, "utf-8")
    module = compiled(text)
    p = module.init_params()
    for W2, status in ((1e-4, 0), (1e-2, 3)):
        module.save(str(tmp_path / "p.npz"), {**p, "W2": np.asarray(W2)})
        given = ["check", str(model), "--params", str(tmp_path / "p.npz")]
        assert main(given) == status
    assert "scheme implicit" in capsys.readouterr().out


# --- steps that differ, and the state that is judged ------------------------------

TIMED = (
    "grid x[8] on [0, 8) periodic\nfield u(x)\n{param}\ndu/dt = {rate}\nsteps 8\n"
    "dt = 1\n"
)


def test_every_step_is_judged() -> None:
    """Only the last steps diffuse too much: what is seen at step 0 is not the run."""
    module = compiled(TIMED.format(param="param D(t)", rate="D ∂²u - 0.1 u³"))
    for last, numerical in ((0.45, "stable"), (0.8, "unstable")):
        report = module.stability({"D": np.linspace(0.1, last, 8)})
        assert (report.numerical, report.basis) == (numerical, "heuristic")
    module = compiled(TIMED.format(param="param D init 0.1", rate="(1 + t) D ∂²u"))
    report = module.stability(module.init_params())
    assert (report.numerical, report.basis) == ("unstable", "heuristic")


def test_rows_of_steps_are_no_rows_of_cells() -> None:
    """With as many steps as cells the matrix of the run is still their product."""
    module = compiled(TIMED.format(param="param D(t)", rate="-(u - (0.5 u + D ∂²u))"))
    p = {"D": np.asarray([0.1, 1.9] * 4)}
    report = module.stability(p, run=True)
    laplacian = np.roll(np.eye(8), 1, 0) + np.roll(np.eye(8), -1, 0) - 2.0 * np.eye(8)
    powers = [np.eye(8)]
    for D in p["D"]:
        powers.append((0.5 * np.eye(8) + D * laplacian) @ powers[-1])
    assert np.allclose(powers[-1], assembled(module, p))
    largest = max(np.linalg.norm(power, 2) for power in powers)
    assert report.powers == pytest.approx(largest)


def test_the_own_initial_state_is_judged() -> None:
    text = TIMED.format(param="{}param a init 5", rate="-a u²")
    module = compiled(text.format("at t = 0: u = a\n"))
    report = module.stability(module.init_params())
    assert report.numerical == "unstable"
    assert "linearised about the initial state" in str(report)
    module = compiled(text.format("input v(x)\nat t = 0: u = v\n"))
    p = module.init_params()
    assert "about a state of zeros" in str(module.stability(p))
    report = module.stability(p, inputs={"v": np.full(8, 5.0)})
    assert (report.numerical, report.about) == ("unstable", "the initial state")
    report = module.stability(p, state=np.full((1, 8), 5.0))
    assert (report.numerical, report.about) == ("unstable", "the state given")


def test_samples_alike_in_all_cells_and_others_are_judged_together() -> None:
    module = compiled(TIMED.format(param="param a init 5", rate="-a u²"))
    p, flat = module.init_params(), np.full((1, 8), 0.01)
    rough = flat + np.linspace(0.0, 9.0, 8)
    judged = [module.stability(p, state=z) for z in (flat, rough)]
    assert [report.numerical for report in judged] == ["stable", "unstable"]
    both = module.stability(p, state=np.concatenate([flat, rough, flat]))
    assert both.numerical == "unstable"
    assert both.growth == pytest.approx(judged[1].growth)


def test_a_warning_says_how_to_ask_for_its_verdict() -> None:
    text = TIMED.format(param="input v(x)\nparam a init 5", rate="v - a sin²(u)")
    module = compiled(f"{text}target y(x)\nloss = mean((u - y)²)\n")
    p, z0, v = module.init_params(), np.full((2, 8), 0.01), np.zeros((2, 8))
    z0[1] = 0.75
    with pytest.warns(module.StabilityWarning) as caught:
        module.value_and_grad(p, z0, z0, inputs={"v": v})
    call = "stability(p, state=…, inputs=…)"
    words = f"the state given, sample 1; to ask for the same: {call}"
    assert words in str(caught[0].message)
    again = module.stability(p, state=z0[1:], inputs={"v": v[1]})
    assert str(again).replace("the state given", words) in str(caught[0].message)


# --- growth for a while -----------------------------------------------------------

SHEAR = (
    "grid x[6] on [0, 6) periodic\nfield u(x), v(x)\nparam b init {b}\n"
    "du/dt = -(u - b v)\ndv/dt = -v\nsteps {steps}\ndt = {dt}\n"
)


@pytest.mark.parametrize(
    ("dt", "b", "steps", "numerical"),
    [
        (0.5, 50, 16, "stable"),  # it is the equation that shears
        (1.5, 0.1, 16, "stable"),
        (1.9, 1, 16, "marginal"),  # eigenvalues of modulus 0.9
        (2.0, 1, 16, "marginal"),  # a Jordan block on the circle: n grows
        (2.0, 1, 1024, "unstable"),
    ],
)
def test_growth_for_a_while(dt: float, b: float, steps: int, numerical: str) -> None:
    module = compiled(SHEAR.format(dt=dt, b=b, steps=steps))
    report = module.stability(module.init_params(), run=True)
    assert (report.numerical, report.basis) == (numerical, "exact")
    assert report.growth <= 1e-12
    assert 0.9 * report.powers < report.transient <= report.powers * (1 + 1e-9)
    if report.transient > 2.0:
        assert f"grow × {report.transient:.4g}" in str(report)


def test_channels_may_grow_for_a_while() -> None:
    module = compiled(
        "grid x[6] on [0, 6) periodic\nfield z[2](x)\nparam W[2, 2], ω init 1.9\n"
        "dz/dt = -(z - W z)\nsteps 16\n"
    )
    p = {**module.init_params(), "W": np.asarray([[0.0, 1.0], [0.0, 0.0]])}
    report = module.stability(p)
    assert (report.numerical, report.growth <= 1e-12) == ("marginal", True)
    M = np.asarray([[-0.9, 1.9], [0.0, -0.9]])
    sizes = [np.linalg.norm(np.linalg.matrix_power(M, n), 2) for n in range(1, 17)]
    assert 0.95 * max(sizes) <= report.transient <= max(sizes) * (1 + 1e-12)


# --- slopes that are proven -------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "low", "high"),
    [
        ("tanh(s)", 0.0, 1.0),
        ("sigmoid(s)", 0.0, 0.25),
        ("relu(s)", 0.0, 1.0),
        ("gelu(s)", -0.1289930687, 1.1289930687),
        ("silu(s)", -0.0998393201, 1.0998393201),
        ("max(s, 0.1 s)", 0.1, 1.0),
        ("tanh(s) + sin(s)", -1.0, 2.0),
        ("exp(-s²)", -0.8577638849, 0.8577638849),
    ],
)
def test_slopes_are_proven(f: str, low: float, high: float) -> None:
    """A proven range holds all slopes, and is hardly wider."""
    text = LAYER.format(W0=0.5, W1=0, W2=1e-4, f=f, omega=0.5, scheme="euler")
    form = derive(from_text(text, "slopes.npde")).stability
    assert form.proven
    assert low - 2e-5 <= form.slopes[0] <= low + 1e-10
    assert high - 1e-10 <= form.slopes[1] <= high + 2e-5


def test_a_slope_too_narrow_to_be_sampled_is_found() -> None:
    text = LAYER.format(
        W0=0.5,
        W1=0,
        W2=1e-4,
        f="tanh(s) + 0.001 tanh(1000 (s - 3.14159))",
        omega=0.5,
        scheme="euler",
    )
    form = derive(from_text(text, "slopes.npde")).stability
    assert form.proven and form.slopes[1] == pytest.approx(
        1 + 1 / math.cosh(3.14159) ** 2
    )


@pytest.mark.parametrize(
    ("f", "low", "high", "proven"),
    [
        ("where(s, s, 0.1 s)", 0.1, 1.0, True),
        ("where(s - 0.5, 0.2 s + 0.4, s)", 0.2, 1.0, True),
        ("where(s, 1, -1)", 0.0, math.inf, True),
        ("where(s - 0.5, 0.2 s, s)", -math.inf, 1.0, True),
        ("where(abs(s) - 0.5, s, 0)", 0.0, math.inf, False),
        ("where(s² - 1, 1, s²)", -2.0, 2.0, False),
    ],
)
def test_a_jump_has_no_slope(f: str, low: float, high: float, proven: bool) -> None:
    text = LAYER.format(W0=0.5, W1=0, W2=1e-4, f=f, omega=0.5, scheme="euler")
    form = derive(from_text(text, "slopes.npde")).stability
    assert form.proven is proven
    assert form.slopes == pytest.approx((low, high), abs=1e-4)
    report = compiled(text).stability(compiled(text).init_params())
    assert report.contractive == (proven and math.isfinite(low + high))
    assert (report.basis == "heuristic") != report.contractive


def test_a_jump_in_a_rate_certifies_nothing() -> None:
    module = compiled(
        "grid x[16] on [0, 1) periodic\nfield u(x)\nparam D init 1e-3\n"
        "du/dt = -2 u + D ∂²u + where(u, 1, -1)\nsteps 8\ndt = 0.1\n"
    )
    report = module.stability(module.init_params())
    assert report.basis == "heuristic" and not report.contractive


# --- the linearisation at a state -------------------------------------------------

NEIGHBOURS = {
    "a flux": ("x[12] on [0, 1) periodic", "(x)", "", "-∂(u²)/2 + D ∂²u"),
    "walls": ("x[12] on [0, 1]", "(x)", "at x: u = 1", "-u ∂u + D ∂²u"),
    "a plane": (
        "x[7] on [0, 1], y[6] on [0, 1) periodic",
        "(x, y)",
        "at x = 0: u = 1\nat x = 1: ∂u = 0",
        "-u ∂x u + ∂x(u ∂x u) + D ∇²u + ∂x∂y(u²)",
    ),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_the_jacobian_reads_the_neighbours_of_the_state(name: str) -> None:
    """J u̇ is the tangent of a step of Euler's, also beside a seam or a wall."""
    axes, over, walls, rate = NEIGHBOURS[name]
    module = compiled(
        f"grid {axes}\nfield u{over}\n{walls}\nparam D init 0.01\n"
        f"du/dt = {rate}\nsteps 1\ndt = 1\n"
    )
    rng, p = np.random.default_rng(0), module.init_params()
    u, along = 0.5 + 0.3 * rng.standard_normal((2, 1, *module.MODEL.fields["u"].shape))
    still = {"D": np.zeros(())}
    expected = module.jvp(p, u, still, along)[0] - along[0]
    c = dict(p)
    module._coefficients(c)
    rows = module._jacobian_rows(0, c, {"u": u[0]}, {})
    moved = np.zeros(along[0].size)
    for place, a in rows.items():  # entries beyond a wall are zero
        ahead = np.roll(along[0], [-m for m in place], range(along[0].ndim))
        moved += a[:, 0, 0] * ahead.ravel()
    np.testing.assert_allclose(moved, expected.ravel(), rtol=0, atol=1e-11)


def test_growth_that_never_ends_is_seen_beside_walls() -> None:
    """ρ(M) > 1 for a step that the equation itself damps, whatever the run's length."""
    text = (
        "grid x[24] on [0, 1]\nfield z(x)\nat x: ∂z = 0\n"
        "param W0 init 1, W1 init 0.0372108, W2 init 5.57756e-6\nf(s) = s\n"
        "dz/dt = -(z - f(W0 z + W1 ∂z + W2 ∂²z))\nsteps {}\nω = 0.1223\n"
    )
    for steps, flag in ((1, "marginal"), (64, "marginal"), (5000, "unstable")):
        module = compiled(text.format(steps))
        report = module.stability(module.init_params())
        assert (report.numerical, report.intrinsic) == (flag, "none")
        assert report.omega_max == pytest.approx(0.01644, rel=2e-3)
    M = assembled(compiled(text.format(1)), module.init_params())
    assert radius(M) == pytest.approx(1.00506, abs=1e-5)
    at = (M - np.eye(24)) / 0.1223
    assert radius(np.eye(24) + 0.0162 * at) <= 1.0 + 1e-9


def test_growth_of_the_equation_is_seen_beside_walls() -> None:
    text = (
        "grid x[64] on [0, 1]\nfield z(x)\nat x: z = 0\naccuracy 4\n"
        "param W0 init 0.99, W1 init -0.004744, W2 init 1.1161e-6\nf(s) = s\n"
        "dz/dt = -(z - f(W0 z + W1 ∂z + W2 ∂²z))\nscheme {}\nsteps {}\nω = 0.0976\n"
    )
    module = compiled(text.format("euler", 1))
    p = module.init_params()
    at = (assembled(module, p) - np.eye(64)) / 0.0976
    own = 0.0976 * float(np.linalg.eigvals(at).real.max())
    for scheme, flag in (("euler", "unstable"), ("rk4", "stable")):
        report = compiled(text.format(scheme, 5000)).stability(p)
        assert (report.numerical, report.intrinsic) == (flag, "growth")
        assert report.intrinsic_growth == pytest.approx(own, rel=1e-6)


def test_steps_that_differ_bound_omega_each() -> None:
    module = compiled(
        "grid x[24] on [0, 1) periodic\nfield z(x)\nparam W2(t) init 1e-3\nf(s) = s\n"
        "dz/dt = -(z - f(W2 ∂²z))\nsteps 6\nω = 0.3\n"
    )
    p = {"W2": 1e-3 * np.array([1.0, 1.0, 4.0, 1.0, 1.0, 1.0])}
    report = module.stability(p)
    assert report.numerical == "unstable"
    assert report.omega_max == pytest.approx(2 / (1 + 4 * 4e-3 * 24**2), rel=1e-6)
    assert module.stability(p, 0.99 * report.omega_max).numerical == "stable"


def test_all_steps_are_looked_at() -> None:
    module = compiled(
        "grid x[32] on [0, 1) periodic\nfield u(x)\nparam D(t) init 1e-4\n"
        "du/dt = D ∂²u\nsteps 100\ndt = 0.1\n"
    )
    p = module.init_params()
    assert module.stability(p).numerical == "stable"
    for step in (1, 38, 99):
        D = p["D"].copy()
        D[step] = 1.0
        assert module.stability({"D": D}).numerical == "unstable"


def test_travelling_waves_that_grow_leave_a_largest_step() -> None:
    module = compiled(
        "grid x[48] on [0, 30) periodic\nfield u(x), v(x)\n"
        "param eps init 0.08, Du init 1.42\n"
        "du/dt = u + Du ∂²u - u³/3 - v\ndv/dt = eps (u + 0.7 - 0.8 v)\n"
        "steps 50\ndt = 0.15\n"
    )
    p = module.init_params()
    report = module.stability(p)
    assert (report.numerical, report.intrinsic) == ("unstable", "growth")
    assert report.omega_max is not None and 0.14 < report.omega_max < 0.15
    for share, flag in ((0.99, "stable"), (0.1, "stable"), (1.01, "unstable")):
        assert module.stability(p, share * report.omega_max).numerical == flag
    report = module.stability({**p, "Du": np.asarray(1.0)})
    assert report.numerical == "marginal"
    assert report.advice.startswith(
        f"the steps add × {math.exp(50 * report.growth):.4g}"
    )


# --- what is passed, and what is too large ----------------------------------------


@pytest.mark.parametrize("W2", [1.0, 1e5, 1e200])
@pytest.mark.parametrize("extra", ["", "steps 1024"])
def test_parameters_that_ran_away_are_refused(W2: float, extra: str) -> None:
    text = LAYER.format(W0=0.5, W1=0, W2=1e-4, f="tanh(s)", omega=0.5, scheme="euler")
    text = re.sub("steps .*", extra, text) if extra else text
    module = compiled(text)
    p = module.init_params() | {"W2": np.asarray(W2)}
    z = np.zeros((1, *module.MODEL.fields["z"].shape))
    with pytest.raises(module.StabilityError, match="numerically unstable"):
        module.forward(p, z)


def test_a_linearisation_that_overflows_is_said_to() -> None:
    module = layer(f="tanh(s)")
    p = module.init_params() | {"W2": np.asarray(1e305)}
    with pytest.raises(ArithmeticError, match="not finite where linearised"):
        module.stability(p)
    module = layer(f="sqrt(abs(s))")
    with pytest.raises(ArithmeticError, match="at a state of zeros"):
        module.stability(module.init_params())
    z = np.full((1, *module.MODEL.fields["z"].shape), 0.3)
    assert module.stability(module.init_params(), state=z).numerical == "stable"


@pytest.mark.parametrize("omega", ["0.5", True, math.nan, 0, -1, math.inf, [0.5]])
def test_a_step_is_a_number(omega: Any) -> None:
    module = layer(f="tanh(s)")
    for function in (module.stability, module.amplification, module.project):
        with pytest.raises(ValueError, match="expected a number > 0"):
            function(module.init_params(), omega)


def test_a_state_is_checked() -> None:
    module = compiled(
        "grid x[8] on [0, 1) periodic\nfield u(x)\ninput s(x)\nparam D init 1e-3\n"
        "du/dt = D ∂²u - u³ + s\nsteps 4\ndt = 0.1\n"
    )
    p = module.init_params()
    for state in (np.ones(8), np.ones((0, 8)), np.full((1, 8), math.nan), {"v": 1.0}):
        with pytest.raises((TypeError, ValueError), match="state"):
            module.stability(p, state=state)
    with pytest.raises(ValueError, match="inputs"):
        module.stability(p, inputs={"q": np.ones(8)})
    single = np.ones((2, 8), np.float32)
    assert module.stability(p, state=single).numerical == "stable"


def test_project_comes_back_from_far_away() -> None:
    module = layer(f="tanh(s)")
    for far in (1.0, 1e3, 1e6, 1e10):
        for signs in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, -1, 1)):
            p = module.init_params()
            for name, sign in zip(("W0", "W1", "W2"), signs, strict=True):
                p[name] = np.asarray(sign * far)
            assert module.stability(module.project(p)).numerical == "stable"


# --- what a check costs -----------------------------------------------------------


def test_a_check_looks_once_while_parameters_creep() -> None:
    """Not at each call, yet at the first, and wherever a parameter has moved."""
    module = compiled(WALLED.format(n=12, walls="at x: z = 0", f="tanh(s)"))
    looks = []
    module._may_grow = lambda run, look=module._may_grow: looks.append(0) or look(run)
    zero = dict.fromkeys(("W0", "W1"), np.zeros(12))
    p = {**zero, "W2": np.full(12, 1e-3), "omega": np.asarray(0.5)}
    for call in range(17):
        p["W2"] = p["W2"] * 1.0001
        module.forward(p, np.zeros((1, 12)))
        assert len(looks) == 1 + (call == 16)
    steep = {**p, "W2": np.full(12, 0.1)}
    with pytest.warns(module.StabilityWarning):
        module.forward(steep, np.zeros((1, 12)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(40):  # once is enough
            module.forward(steep, np.zeros((1, 12)))
        module.forward(p, np.zeros((1, 12)))
    with pytest.warns(module.StabilityWarning):  # it was cured in between
        module.forward(steep, np.zeros((1, 12)))


# --- the steps multiplied out -----------------------------------------------------


@pytest.mark.parametrize("n", [12, 300])  # multiplied out; too large for that
@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("scheme", ["heun", "implicit"])
def test_powers_at_another_step(n: int, begins: bool, scheme: str) -> None:
    text = WALLED.format(n=n, walls="at x: z = 0", f="s").replace("steps 1", "steps 3")
    text += f"scheme {scheme}\n"
    module = compiled(text + ("at t = 0: z = 0\n" if begins else ""))
    twin = compiled(text)
    rng = np.random.default_rng(4)
    p = {
        "W0": rng.uniform(-0.5, 0.9, n),
        "W1": rng.uniform(-0.5, 0.5, n) / n,
        "W2": rng.uniform(0.0, 1.0, n) / n**2,
    }
    M = assembled(twin, {**p, "omega": np.asarray(0.9)})
    report = module.stability({**p, "omega": np.asarray(0.2)}, omega=0.9, run=True)
    assert report.powers >= np.linalg.norm(M, 2) * (1.0 - 1e-9)


def test_powers_beyond_the_equations_own() -> None:
    """Between walls a wave swings from p to q: ‖Mⁿ‖ is large, yet nothing unstable."""
    module = compiled(
        "grid x[24] on [0, 1]\nfield q(x), p(x)\nat x: q = 0\nat x: p = 0\n"
        "param c init 1\ndq/dt = p\ndp/dt = c² ∂²q\nscheme symplectic\nsteps 40\n"
        "dt = 0.02\n"
    )
    p = module.init_params()
    report = module.stability(p, run=True)
    assert report.powers > 2.0
    assert (report.numerical, report.basis) == ("stable", "powers")
    assert module.stability(p, omega=0.05, run=True).numerical == "unstable"


# --- coefficients of one axis, slopes of both signs, bad input ------------------------


def test_a_parameter_of_one_axis_in_the_plane() -> None:
    """W1(x) on a grid of x and y is judged as W1(x, y) is."""
    text = """grid x[16] on [0, 1) periodic, y[8] on [0, 1) periodic
field z(x, y)
param W0 init 0.3, W1({axes})
dz/dt = -(z - tanh(W0 z + W1 ∂x z))
steps 8
ω = 0.9
"""
    reports = []
    for axes in ("x", "x, y"):
        module = module_of(compile_source(from_text(text.format(axes=axes))))
        p = module.init_params(0)
        ramp = np.linspace(0.0, 0.5, 16)
        p["W1"] = ramp if axes == "x" else np.repeat(ramp[:, None], 8, axis=1)
        reports.append(module.stability(p))
    one, both = reports
    assert one.numerical == both.numerical == "unstable"
    assert one.omega_max == pytest.approx(both.omega_max)
    assert one.growth == pytest.approx(both.growth)


def test_growth_of_one_cell_excuses_no_powers() -> None:
    """One cell grows by itself; it is the others whose powers explode."""
    module = compiled(
        WALLED.format(n=32, walls="at x: ∂z = 0", f="s").replace("steps 1", "steps 16")
    )
    W0, W2 = np.full(32, -5.5), np.zeros(32)
    W0[16], W2[16] = 5.0, 5.0 / 32**2
    p = {"W0": W0, "W1": 0 * W0, "W2": W2, "omega": np.asarray(0.5)}
    for run in (False, True):
        assert module.stability(p, run=run).numerical == "unstable"


@pytest.mark.parametrize("n", [24, 300])
def test_heat_beside_a_fixed_wall(n: int) -> None:
    """The wall's row is larger than the waves': what it breaks is seen, and warned of.

    In the cell beside it ∂²z = (4/3 z₁ - 4 z₀)/Δx², so that 1/2 Δx² is too long a step.
    """
    module = compiled(
        f"grid x[{n}] on [0, 1]\nfield z(x)\nat x: z = 0\nparam D init 1\n"
        f"dz/dt = D ∂²z\nsteps 400\ndt = {0.49 / n**2}\n"
    )
    p = module.init_params()
    report = module.stability(p)
    assert report.numerical == "unstable"
    largest = report.omega_max
    assert 0.4 < largest * n**2 < 0.49
    twin = compiled(
        "grid x[24] on [0, 1]\nfield z(x)\nat x: z = 0\nparam D init 1\n"
        "dz/dt = D ∂²z\nsteps 1\ndt = 1\n"
    )
    A = assembled(twin, p) - np.eye(24)  # Δt = 1
    limit = -2.0 / float(np.linalg.eigvals(A).real.min()) * 24**2
    assert largest * n**2 == pytest.approx(limit, rel=5e-3)
    assert module.stability(p, omega=0.99 * largest).numerical == "stable"
    with pytest.warns(module.StabilityWarning):
        module.forward(p, np.random.default_rng(0).standard_normal((1, n)))


def test_matrices_of_many_speeds() -> None:
    """The slow mode decides, or the fast: G is searched for over all of them."""
    module = compiled(
        "grid x[64] on [0, 1) periodic\nfield z(x)\nparam D init 1\n"
        "dz/dt = D ∂²z - 5 sin(z)\nscheme imex\nsteps 30\ndt = 0.5\n"
    )
    report = module.stability(module.init_params())  # |1 - 5 h| <= 1 for the mean
    assert report.numerical == "unstable"
    assert report.omega_max_grid == pytest.approx(0.4, rel=1e-6)
    module = compiled(
        "grid x[8] on [0, 1) periodic\nfield u(x), v(x)\n"
        "du/dt = -1000(u - 0.5 v)\ndv/dt = -(v + 5 u)\n"
        "scheme exponential\nsteps 30\ndt = 0.9\n"
    )
    report = module.stability(module.init_params())
    size = module.amplification(
        module.init_params(), report.omega_max * (1 - 1e-5)
    ).size
    assert size.max() <= 1.0 + 1e-7
    size = module.amplification(
        module.init_params(), report.omega_max * (1 + 1e-5)
    ).size
    assert size.max() > 1.0


@pytest.mark.parametrize("W2", [5.388887133677033e-4, 8.090962507925549e-4, 1e-3])
@pytest.mark.parametrize("accuracy", [4, 6])
def test_diffusion_of_high_accuracy_beside_W0_1(W2: float, accuracy: int) -> None:
    """1 - Λ vanishes at θ = 0 with its slope: no rounding makes a bound of that."""
    module = compiled(
        f"accuracy {accuracy}\n"
        + LAYER.format(W0=1, W1=0, W2=W2, f="s", omega=0.1, scheme="euler")
    )
    report = module.stability(module.init_params())
    assert report.omega_max == pytest.approx(report.omega_max_grid, rel=1e-9)


def test_the_leading_derivative_is_the_one_that_is_there() -> None:
    """W4 = 0 leaves ∂² in the lead; a tensor must damp in every direction."""
    text = LAYER.replace("W2 init {W2}", "W2 init {W2}, W4 init 0")
    text = text.replace("W2 ∂²z", "W2 ∂²z + W4 ∂⁴z").format(
        W0=0.5, W1=0, W2=1e-4, f="tanh(s)", omega=0.1, scheme="euler"
    )
    module = compiled(text)
    p = module.init_params()
    for W2, W4, intrinsic in (
        (1e-4, 0.0, "none"),
        (-1e-4, 0.0, "ill-posed"),
        (-1e-5, -1e-7, "none"),
        (1e-4, 1e-6, "ill-posed"),
    ):
        q = {**p, "W2": np.asarray(W2), "W4": np.asarray(W4)}
        assert module.stability(q).intrinsic == intrinsic
    plane = compiled(
        "grid x[16] on [0, 1) periodic, y[16] on [0, 2) periodic\nfield z(x, y)\n"
        "param A init 1e-4, B init 2e-4, C\n"
        "dz/dt = A ∂xx z + 2 C ∂x∂y z + B ∂yy z\nsteps 2\ndt = 0.1\n"
    )
    for share, intrinsic in ((0.99, "none"), (1.2, "ill-posed"), (-1.2, "ill-posed")):
        q = plane.init_params() | {"C": np.asarray(share * math.sqrt(2e-8))}
        assert plane.stability(q).intrinsic == intrinsic


def test_advice_is_never_what_is_there() -> None:
    module = compiled(
        "field u, v\nparam a init 1, b init 1\ndu/dt = a v\ndv/dt = -b u\n"
        "steps 50\nscheme symplectic\ndt = 1.9\n"
    )
    p = module.init_params()
    report = module.stability(p)
    assert report.numerical == "marginal"
    limit, *cures = report.advice.split("; or ")
    assert module.stability(p, float(limit.split()[-1])).numerical == "stable"
    for cure in cures:
        name, _, value = cure.split()
        assert float(value) < 0.999
        cured = {**p, name: np.asarray(float(value))}
        assert module.stability(cured).numerical == "stable"


def test_a_run_is_judged_at_its_own_state() -> None:
    """At rest u ∂u has no Courant number; at the state that is given it has."""
    module = compiled(
        "grid x[64] on [0, 1) periodic\nfield u(x)\nparam ν init 1e-3\n"
        "du/dt = -u ∂u + ν ∂²u\nsteps 40\ndt = 0.02\n"
    )
    p = module.init_params()
    assert module.stability(p).numerical == "stable"
    with pytest.warns(module.StabilityWarning, match="the state given"):
        module.forward(p, 5.0 * np.ones((2, 64)))


@pytest.mark.parametrize(
    ("grid", "walls"), [("[0, 1) periodic", ""), ("[0, 1]", "at x: ∂z = 0\n")]
)
def test_an_equilibrium_is_unique_or_may_not_be(grid: str, walls: str) -> None:
    """z = tanh(W0 z) has one solution for W0 < 1 and three for W0 > 1."""
    module = compiled(
        f"grid x[16] on {grid}\nfield z(x)\n{walls}param W0, W2 init 1e-3\n"
        "dz/dt = -(z - tanh(W0 z + W2 ∂²z))\nscheme equilibrium\n"
    )
    p = module.init_params()
    for W0, numerical in ((0.9, "stable"), (1.1, "unknown")):
        report = module.stability({**p, "W0": np.asarray(W0)})
        assert report.numerical == numerical
        assert f"= {W0:.4g}" in report.advice
        assert ("not proven" in str(report)) == (W0 > 1.0)
    z = module.forward({**p, "W0": np.asarray(1.1)}, np.full((1, 16), 0.5))
    assert abs(z).min() > 0.1  # 0 is another one


def test_a_wall_may_hold_back_what_grows() -> None:
    """D π² > a: between walls nothing grows, though a wave without walls would."""
    module = compiled(
        "grid x[32] on [0, 1]\nfield z(x)\nat x: z = 0\nparam D init 0.1, a init 0.9\n"
        "dz/dt = D ∂²z + a z\nsteps 20\ndt = 0.001\n"
    )
    report = module.stability(module.init_params())
    assert (report.numerical, report.basis) == ("stable", "certificate")
    assert report.intrinsic == "none" and report.certificate == "2-norm"
    q = module.init_params() | {"a": np.asarray(1.1)}
    report = module.stability(q)
    assert (report.numerical, report.intrinsic) == ("stable", "growth")
    own = (1.1 - 0.1 * math.pi**2) * 0.001
    assert report.intrinsic_growth == pytest.approx(own, rel=0.02)


def test_powers_of_a_large_grid_by_iteration() -> None:
    module = compiled(WALLED.format(n=12, walls="at x: z = 0", f="s"))
    rng = np.random.default_rng(4)
    p = {n: rng.uniform(0, s, 12) for n, s in (("W0", 0.9), ("W1", 0.1), ("W2", 3e-3))}
    p["omega"] = np.asarray(0.9)
    M = assembled(module, p)
    module.SMALL = module.LARGE = 4
    try:
        report = module.stability(p, run=True)
    finally:
        module.SMALL, module.LARGE = 96, 1024
    assert report.powers == pytest.approx(np.linalg.norm(M, 2), rel=2e-2)


def test_slopes_of_both_signs_are_not_exact() -> None:
    """The sign of f' may change from cell to cell, which no wave of constant f' has."""
    text = """grid x[32] on [0, 1) periodic
field z(x)
param W0 init 0.03, W1 init 0.378
dz/dt = -(z - {f}(W0 z + W1 ∂z))
steps 8
ω = 0.0118
"""
    for f, basis in (("tanh", "exact"), ("abs", "heuristic")):
        module = module_of(compile_source(from_text(text.format(f=f))))
        assert module.stability(module.init_params(0)).basis == basis


@pytest.mark.parametrize("omega", [-0.5, 0.0, float("nan"), float("inf")])
def test_an_omega_that_is_none(omega: float) -> None:
    text = "field z\nparam a\ndz/dt = -(z - tanh(a z))\nsteps 2\nω = 0.5\n"
    module = module_of(compile_source(from_text(text)))
    with pytest.raises(ValueError, match="expected a number > 0"):
        module.stability(module.init_params(0), omega)
