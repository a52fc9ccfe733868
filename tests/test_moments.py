"""Kernels and their moments: closed forms, divergence, quadrature, what is reported.

The closed forms are compared with ones derived by hand, and quadrature with mpmath, to
which the compiler has no tie.
"""

from __future__ import annotations

import subprocess
import sys
import time

import mpmath
import numpy as np
import pytest
import sympy
from sympy import Abs, Rational, cos, cosh, exp, oo, pi, sin, sqrt

from pdec import pipeline
from pdec.errors import ModelErrors
from pdec.forms.functions import Maximum, Select
from pdec.moments.decay import Undecided
from pdec.moments.moments import Divergent, line, moment
from pdec.source import from_text, read

r = sympy.Symbol("r", real=True)
c = sympy.Symbol("c", real=True, nonzero=True)
s, a, h, p = sympy.symbols("s a h p", positive=True)
BOUNDS = {s: (0, oo), a: (0, oo), h: (0, oo), p: (3, oo)}
NONE = sympy.S.Zero

GAUSS = exp(-((r - c) ** 2) / (2 * s**2)) / (s * sqrt(2 * pi))
LAPLACE = exp(-Abs(r - c) / a) / (2 * a)
# ∫ r^k of the standardised kernels is known by hand; a shift c adds by the binomial.
CLOSED = [
    (
        GAUSS,
        [1, c, c**2 + s**2, c**3 + 3 * c * s**2, c**4 + 6 * c**2 * s**2 + 3 * s**4],
    ),
    (LAPLACE, [1, c, c**2 + 2 * a**2, c**3 + 6 * c * a**2]),
    (Select(h - Abs(r), 1 / (2 * h), NONE), [1, 0, h**2 / 3, 0, h**4 / 5]),
    (Select(h - Abs(r - c), 1 / (2 * h), NONE), [1, c, c**2 + h**2 / 3]),
    (Maximum(1 - Abs(r) / h, NONE) / h, [1, 0, h**2 / 6, 0, h**4 / 15]),
    (Select(h**2 - r**2, 1 - r**2 / h**2, NONE), [4 * h / 3, 0, 4 * h**3 / 15]),
    (Select(r, exp(-r / a) / a, NONE), [1, a, 2 * a**2, 6 * a**3, 24 * a**4]),
    (a / (pi * (r**2 + a**2)), [1]),
    ((1 + r**2 / a**2) ** -2, [pi * a / 2, 0, pi * a**3 / 2]),
    ((1 + (r - c) ** 2 / a**2) ** -3, [3 * pi * a / 8, 3 * pi * a * c / 8]),
    ((p - 1) / (2 * a) * (1 + Abs(r) / a) ** -p, [1, 0, 2 * a**2 / (p - 2) / (p - 3)]),
    (sin((r - c) / a) / (pi * (r - c)), [1]),
    ((1 - r**2 / s**2) * exp(-(r**2) / (2 * s**2)), [0, 0, -2 * sqrt(2 * pi) * s**3]),
]


@pytest.mark.parametrize(("kernel", "expected"), CLOSED, ids=str)
def test_closed_forms(kernel, expected):
    taken_apart = line(kernel, r, BOUNDS)
    for order, value in enumerate(expected):
        found = moment(taken_apart, order)
        assert not found.integrals
        assert sympy.simplify(found.value - value) == 0, order


def test_interval():
    box = line(1 / (2 * h), r, BOUNDS, (-h, h))
    assert [moment(box, k).value for k in range(4)] == [1, 0, h**2 / 3, 0]
    skew = line(sympy.S.One, r, BOUNDS, (NONE, h))
    assert [moment(skew, k).value for k in range(3)] == [h, h**2 / 2, h**3 / 3]
    tent = line(1 - Abs(r) / h, r, BOUNDS, (-h, h))
    assert [moment(tent, k).value for k in range(3)] == [h, 0, h**3 / 6]


@pytest.mark.parametrize(
    ("kernel", "shape", "area"),
    [
        (1 / cosh((r - c) / s), lambda u: mpmath.sech(u), s),
        (exp(-((r - c) ** 4) / s**4), lambda u: mpmath.exp(-(u**4)), s),
        (
            (1 + (r - c) ** 2 / s**2) ** Rational(-7, 2),
            lambda u: (1 + u * u) ** -3.5,
            s,
        ),
        (exp(-sqrt(1 + r**2 / s**2)), lambda u: mpmath.exp(-mpmath.sqrt(1 + u * u)), s),
    ],
    ids=lambda value: "shape" if callable(value) else str(value),
)
def test_one_centre_and_one_width(kernel, shape, area):
    """∫ r^k K = Σ binomial(k, j) c^(k-j) s^(j+1) I_j, the numbers I_j by mpmath."""
    ends = [-mpmath.inf, -10, 0, 10, mpmath.inf]
    numbers = [mpmath.quad(lambda u, j=j: u**j * shape(u), ends) for j in range(4)]
    shift = c if kernel.has(c) else NONE
    for order in range(4):
        found = moment(line(kernel, r, BOUNDS), order)
        expected = sum(
            sympy.binomial(order, j) * shift ** (order - j) * area * s**j * numbers[j]
            for j in range(order + 1)
        )
        assert not found.integrals
        values = {c: 0.3, s: 0.7}
        assert float(found.value.subs(values)) == pytest.approx(
            float(sympy.sympify(expected).subs(values)), rel=1e-13, abs=1e-13
        )


@pytest.mark.parametrize(
    ("kernel", "order", "power", "highest"),
    [
        (a / (pi * (r**2 + a**2)), 1, -2, 0),
        ((1 + r**2 / a**2) ** -2, 3, -4, 2),
        (sin(r / a) / (pi * r), 1, -1, -1),
        ((1 + Abs(r)) ** Rational(-5, 2), 2, Rational(-5, 2), 1),
        (exp(r / a), 0, None, None),
    ],
    ids=str,
)
def test_divergence(kernel, order, power, highest):
    with pytest.raises(Divergent) as caught:
        moment(line(kernel, r, BOUNDS), order)
    assert (caught.value.power, caught.value.highest) == (power, highest)


@pytest.mark.parametrize(
    ("kernel", "order", "condition"),
    [
        (exp(-Abs(r) / c), 0, 1 / c),  # c may be negative
        ((1 + r**2 / a**2) ** -p, 5, 2 * p - 6 - NONE),
        (1 - sympy.tanh(r / a) ** 2, 0, None),  # decays by cancellation
        (exp(-(r**2)) / r**2, 0, None),  # a pole
        (1 / (r**2 - a**2) ** 2, 0, None),
    ],
    ids=str,
)
def test_undecided(kernel, order, condition):
    if kernel.has(p):
        assert moment(line(kernel, r, BOUNDS), order - 1).integrals
        order += 1
        condition = 2 * p - 7
    with pytest.raises(Undecided) as caught:
        moment(line(kernel, r, BOUNDS), order)
    assert caught.value.condition == condition


# --- in models ----------------------------------------------------------------------


def model(kernel, params, call="moments(K, 2) z", grid="grid x[32] on [0, 1) periodic"):
    axes = "x, y" if "y[" in grid else "x"
    return from_text(
        f"model m\n{grid}\nfield z({axes})\nparam b({axes}) init 0.1\n"
        f"kernel {kernel}\n{params}\ndz/dt = -(z - tanh({call} - b))\n"
        f"steps 3\nω = 0.4\ntarget y_({axes})\nloss = mean((z - y_)²)\n",
        "m.npde",
    )


def module(*arguments, **keywords):
    return pipeline.module_of(pipeline.compile_source(model(*arguments, **keywords)))


def mistakes(*arguments, **keywords):
    with pytest.raises(ModelErrors) as caught:
        pipeline.compile_source(model(*arguments, **keywords))
    return caught.value.diagnostics


def warnings(*arguments, **keywords):
    compiled = pipeline.compile_source(model(*arguments, **keywords))
    return [(w.message, w.span) for w in compiled.warnings]


WORKING = {
    "gauss": ("K(r; σ, c) = exp(-(r-c)²/(2σ²))/(σ √(2π))", "param σ>0 init 0.02, c"),
    "laplace": ("K(r; w) = exp(-abs(r)/w)/(2w)", "param w(x) > 0 init 0.02"),
    "box": ("K(r; h) = 1/(2h) on [-h, h]", "param h > 0 init 0.05"),
    "where": ("K(r; h) = where(h - abs(r), 1/(2h), 0)", "param h > 0 init 0.05"),
    "constant": ("K(r; w) = exp(-abs(r)/w)/w^1.5", "const w = 0.02"),
    "layers": ("K(r; σ) = exp(-r²/σ²)/σ", "param σ(x, t) > 0 init 0.02"),
    "power": ("K(r; a) = (1 + r²/a²)^(-2)/a", "param a > 0 init 0.02"),
    "exponent": ("K(r; a, p) = (1+r²/a²)^(-p)/a", "param a>0 init 0.03, p>2 init 3"),
    "stretched": (
        "K(r; w, p) = exp(-(abs(r)/w)^p)/w",
        "param w(x)>0 init 0.03, p>1 init 2",
    ),
    "cut": (
        "K(r; h, σ) = exp(-r²/(2σ²)) on [-h, h]",
        "param h>0 init 0.1, σ>0 init 0.1",
    ),
}


@pytest.mark.parametrize("name", WORKING)
def test_models_check_themselves(name):
    report = str(module(*WORKING[name]).selfcheck())
    assert "ok" in report
    assert "FAIL" not in report.upper().replace("FAILED: 0", "")


def test_gradient_of_the_width_against_finite_differences():
    made = module(*WORKING["gauss"])
    rng = np.random.default_rng(3)
    params = made.init_params(seed=0)
    params["c"] = np.asarray(0.01)
    state, target = rng.standard_normal((2, 4, 32))
    _, gradient = made.value_and_grad(params, state, target)
    for name in ("sigma", "c"):
        step = 1e-6
        ends = [
            made.value_and_grad({**params, name: params[name] + d}, state, target)[0]
            for d in (step, -step)
        ]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert float(gradient[name]) == pytest.approx(slope, rel=1e-6)


def test_moments_are_those_of_the_equation():
    """K with moments 1, c, c² + σ² is W0 z + W1 ∂z + W2 ∂²z written by hand."""
    made = module(*WORKING["gauss"])
    by_hand = pipeline.module_of(
        pipeline.compile_source(
            from_text(
                "model m\ngrid x[32] on [0, 1) periodic\nfield z(x)\n"
                "param b(x) init 0.1, W1 init 0.01, W2 init 0.00025\n"
                "dz/dt = -(z - tanh(z + W1 ∂z + W2 ∂²z - b))\nsteps 3\nω = 0.4\n",
                "m.npde",
            )
        )
    )
    params = made.init_params(seed=0) | {"c": np.asarray(0.01)}
    state = np.random.default_rng(0).standard_normal((2, 32))
    found = made.forward(params, state)
    expected = by_hand.forward(by_hand.init_params(seed=0), state)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("exponent", lambda u, a, p: (1 + u * u / a**2) ** -p / a),
        ("stretched", lambda u, w, p: mpmath.exp(-((u / w) ** p)) / w),
    ],
)
def test_quadrature_against_mpmath(name, shape):
    """The moment that the module computes, away from where it was compiled."""
    made = module(*WORKING[name])
    params = made.init_params(seed=0)
    width = "a" if name == "exponent" else "w"
    params[width] = np.full_like(params[width], 0.7)
    params["p"] = np.asarray(2.6)
    shared = {key: np.asarray(value) for key, value in params.items()}
    made._coefficients(shared)
    for order in (0, 2):
        value = 2 * mpmath.quad(
            lambda u, k=order: u**k * shape(u, 0.7, 2.6), [0, 1, 10, 100, mpmath.inf]
        )
        found = np.ravel(
            shared[f"K_M{order}" if f"K_M{order}" in shared else f"K_Q{order}"]
        )
        np.testing.assert_allclose(found, float(value), rtol=1e-10)


def test_quadrature_is_announced():
    found = dict(warnings(*WORKING["exponent"]))
    (first, *_) = found
    assert first.startswith("moment 0 of K has no closed form that pdec finds; it and")
    assert "computed by quadrature, relative error ≈ 1e-16" in first


def test_two_dimensions():
    square = "grid x[12] on [0, 1) periodic, y[12] on [0, 1) periodic"
    kernel = "K(r, s; σ) = exp(-(r² + s²)/(2σ²))/(2π σ²)"
    made = module(kernel, "param σ > 0 init 0.05", grid=square)
    assert "ok" in str(made.selfcheck())
    compiled = pipeline.compile_source(
        model(kernel, "param σ > 0 init 0.05", grid=square)
    )
    assert compiled.model.notes[0] == (
        "K: M00 = 1, M01 = 0, M10 = 0, M02 = σ², M11 = 0, M20 = σ²"
    )
    (found,) = mistakes(*WORKING["gauss"], grid=square)
    assert found.message == "K has 1 variable, but its operand varies along x, y"
    (found,) = mistakes("K(r, s; σ) = exp(-(r² + r s)/σ²)", "param σ>0", grid=square)
    assert found.hint == "a kernel of two variables is a sum of products g(r) h(s)"


def test_divergent_moment_is_a_mistake_of_the_model():
    (found,) = mistakes("K(r; a) = a/(π (r² + a²))", "param a > 0 init 0.02")
    assert found.message == (
        "moment 1 of K diverges: the kernel decays like |r|^-2, and r K is not "
        "integrable; the highest finite moment is 0"
    )
    assert found.hint == (
        "stop there, `moments(K, 0)`, or give the kernel a faster decay"
    )
    (found,) = mistakes("K(r; a) = exp(-abs(r)/a)", "param a init 1")
    assert found.message == "moment 0 of K is finite only where 1/a > 0"
    found = mistakes("K(r; a) = sin(r/a)/(π r)", "param a > 0 init 1")[-1]
    assert found.message == (
        "moment 1 of K diverges: the kernel decays like |r|^-1, and r K is not "
        "integrable; no moment is finite"
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("K z", "'K' is a kernel, which acts through its moments alone"),
        ("K(0.1) z", "'K' is a kernel, which acts through its moments alone"),
        ("moments(K, 2)", "moments acts on the operand that follows it"),
        ("moments z", "moments acts on the operand that follows it"),
        ("moments(b, 2) z", "'b' is not a kernel"),
        ("moments(Q, 2) z", "unknown name 'Q'"),
        ("moments(K) z", "moments takes a kernel and an order"),
        ("moments(K, 5) z", "the order of moments is a whole number from 0 to 4"),
        ("moments(K, 1.5) z", "the order of moments is a whole number from 0 to 4"),
        ("moments(2, K) z", "the first argument of moments is a kernel"),
        (
            "moments(K, 2) σ",
            "K has 1 variable, but its operand does not vary over the grid",
        ),
    ],
)
def test_misuse(call, message):
    kernel = "K(r; σ) = exp(-r²/σ²)"
    found = [item.message for item in mistakes(kernel, "param σ > 0 init 1", call)]
    assert found == [message]


@pytest.mark.parametrize(
    ("kernel", "params", "message"),
    [
        ("K(r) = exp(-r²/σ²)", "param σ > 0", "'σ' is no parameter of the kernel K"),
        ("K(r; q) = exp(-r²/q²)", "const w = 1", "unknown name 'q'"),
        ("K(r; z) = exp(-r²/z²)", "", "a kernel is the same for every sample"),
        ("K(r, r) = exp(-r²)", "", "a variable of the kernel is named twice"),
        ("moments(r) = exp(-r²)", "", "'moments' is a function of the language"),
    ],
)
def test_wrong_kernels(kernel, params, message):
    found = [item.message for item in mistakes(kernel, params)]
    assert any(item.startswith(message) for item in found), found


def test_four_moments_of_a_positive_kernel_are_ill_posed():
    kernel, params = WORKING["gauss"]
    source = model(kernel, params, "moments(K, 4) z")
    (found,) = pipeline.compile_source(source).warnings
    assert found.message == (
        "moments(K, 4) is ill-posed: its leading even moment, of order 4, lets short "
        "waves grow without bound as Δx → 0"
    )
    assert source.excerpt(found.span) == "moments(K, 4)"
    assert not warnings(kernel, params)


def test_what_the_truncation_misses():
    """1 - (κσ)²/2 against exp(-(κσ)²/2) at the shortest wave, κ = π/Δx."""
    compiled = pipeline.compile_source(model(*WORKING["gauss"]))
    square = (np.pi * 32 * 0.02) ** 2 / 2
    missed = abs(np.exp(-square) - (1 - square))
    moments, spectrum = compiled.model.notes
    assert moments == "K: M0 = 1, M1 = c, M2 = c² + σ²"
    assert f"is off by up to {missed:.2g} of K̂(0)" in spectrum


def test_the_example_compiles_fast(repository):
    start = time.process_time()
    source = read(repository / "examples" / "kernel.npde")
    made = pipeline.module_of(pipeline.compile_source(source))
    assert time.process_time() - start < 2
    assert "ok" in str(made.selfcheck())


@pytest.mark.slow
def test_no_order_of_hashing_shows(repository, tmp_path):
    """Two hash seeds, the same bytes, with quadrature in them."""
    path = tmp_path / "m.npde"
    path.write_text(model(*WORKING["exponent"]).text, "utf-8")
    texts = {
        subprocess.run(
            [sys.executable, "-m", "pdec", "compile", str(path), "-o", "-"],
            env={"PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            cwd=repository,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


def test_size_does_not_depend_on_the_grid():
    kernel, params = WORKING["stretched"]
    lengths = set()
    for cells in (10000, 65536):
        grid = f"grid x[{cells}] on [0, 1) periodic"
        text = pipeline.compile_source(model(kernel, params, grid=grid)).text
        lengths.add(text.count("\n"))
    assert len(lengths) == 1


def test_cosine_needs_no_closed_form():
    found = moment(line(cos(r / a) * exp(-Abs(r) / s), r, BOUNDS), 0)
    assert found.value == 0
    assert len(found.integrals) == 1
