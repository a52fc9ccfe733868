"""Kinks and singular points: the derivative there is the documented one, and finite.

The table of docs/language.md is tested row by row, by vjp and by jvp, with every NumPy
warning an error: what is selected away is not computed either.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pdec import pipeline
from pdec.forms.functions import Select
from pdec.forms.symbolic import Access
from pdec.meaning.ranges import INF, REAL, End, Fact, Range, Ranges, point
from pdec.source import Source, read

ROOT = Path(__file__).resolve().parent.parent
MODEL = """model singular
grid x[3] on [0, 1) periodic
field z(x)
param w(x), n init 0.5
xlogx(s) = where(s, s log(s), 0)
huber(s) = where(abs(s) - 1, abs(s) - 0.5, s²/2)
dz/dt = {}
steps 1
dt = 1
"""

# right-hand side, z, w, and the slopes in z and w that are promised there
AT_THE_POINT = [
    ("sqrt(z)", 0.0, 0.0, 0.0, 0.0),
    ("w sqrt(z)", 0.0, 2.0, 0.0, 0.0),
    ("z^0.5 + z^1.5 + z^2.5", 0.0, 0.0, 0.0, 0.0),
    ("(abs(z))^1.5", 0.0, 0.0, 0.0, 0.0),
    ("(abs(z))^0.5", 0.0, 0.0, 0.0, 0.0),
    ("(w z)^1.5", 0.0, 0.0, 0.0, 0.0),
    ("(w z)^0.5", 0.0, 1.0, 0.0, 0.0),
    ("z^n", 0.0, 0.0, 0.0, 0.0),
    ("z^-0.5", 1.0, 0.0, -0.5, 0.0),
    ("sqrt(z² + w²)", 0.0, 0.0, 0.0, 0.0),
    ("sqrt(z² + w²)", 3.0, 4.0, 0.6, 0.8),
    ("(z² + w²)^0.75", 0.0, 0.0, 0.0, 0.0),
    ("sqrt(abs(z)) + sqrt(z⁴)", 0.0, 0.0, 0.0, 0.0),
    ("z/(1 + z)", 0.0, 0.0, 1.0, 0.0),
    ("z/(1 + abs(z))", 0.0, 0.0, 1.0, 0.0),
    ("abs(z) + relu(w)", 0.0, 0.0, 0.0, 0.0),
    ("max(z, w)", 0.5, 0.5, 0.0, 1.0),
    ("min(z, w)", 0.5, 0.5, 0.0, 1.0),
    ("where(w, z/w, 0)", 1.0, 0.0, 0.0, 0.0),
    ("where(w, z/w, 0)", 1.0, 2.0, 0.5, -0.25),
    ("where(z, sqrt(z), 0)", -1.0, 0.0, 0.0, 0.0),
    ("where(-z, 0, sqrt(z))", -1.0, 0.0, 0.0, 0.0),
    ("where(z - 1, z log(z), 3 w)", -1.0, 0.0, 0.0, 3.0),
    ("where(z, log(sqrt(z)), w)", 0.0, 0.0, 0.0, 1.0),
    ("where(1 + z, z/(1 + z), w)", -1.0, 0.0, 0.0, 1.0),
    ("where(w, where(z, 1/z, 1), z)", 0.0, 1.0, 0.0, 0.0),
    ("xlogx(z)", 0.0, 0.0, 0.0, 0.0),
    ("xlogx(z)", 1.0, 0.0, 1.0, 0.0),
    ("huber(z) + huber(w)", 1.0, -1.0, 1.0, -1.0),
]


@cache
def compiled(rate: str):
    return pipeline.module_of(
        pipeline.compile_source(Source("singular", MODEL.format(rate)))
    )


@pytest.mark.parametrize(("rate", "z", "w", "in_z", "in_w"), AT_THE_POINT)
@pytest.mark.parametrize("cotangent", [1.0, 0.0])
def test_slope_at_the_point(rate, z, w, in_z, in_w, cotangent):
    """The middle cell is at the point, its neighbours are not."""
    module = compiled(rate)
    p = {**module.init_params(), "w": np.array([0.7, w, 0.3])}
    z0 = np.array([[0.4, z, 0.9]])
    zeros = {name: np.zeros_like(value) for name, value in p.items()}
    here = np.array([0.0, cotangent, 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zT, pullback = module.vjp(p, z0)
        dp, dz0 = pullback(here[None])
        dz = module.jvp(p, z0, zeros, here[None])
        dw = module.jvp(p, z0, {**zeros, "w": here}, np.zeros_like(z0))
    assert np.isfinite(zT).all()
    assert all(np.isfinite(value).all() for value in (dz0, *dp.values()))
    expected = cotangent * np.array([1.0 + in_z, in_w])
    np.testing.assert_allclose([dz0[0, 1], dp["w"][1]], expected, rtol=1e-14)
    np.testing.assert_allclose([dz[0, 1], dw[0, 1]], expected, rtol=1e-14)


def test_trainable_exponent():
    """A whole exponent that is trained leaves the base free to be negative."""
    module = compiled("z^n")
    for exponent, slopes in ((2.0, [-1.0, 1.0, 5.0]), (1.0, [2.0, 2.0, 2.0])):
        p = {**module.init_params(), "n": np.array(exponent)}
        _, pullback = module.vjp(p, np.array([[-1.0, 0.0, 2.0]]))
        np.testing.assert_allclose(pullback(np.ones((1, 3)))[1][0], slopes)


def test_only_what_can_be_singular_is_shielded():
    rate = "where(z, z/(1 + z²) + log(2 + z²) + 1/(1 + z), z)"
    model = pipeline.derive(Source("plain", MODEL.format(rate))).model
    selections = set().union(
        *(d.expr.atoms(Select) for d in model.definitions.values())
    )
    z = model.fields["z"].array.element()
    assert len(selections) == 2 and Select(z, z + 1, 1) in selections


# --- what can vanish ----------------------------------------------------------------


def told(rate: str) -> list[str]:
    derivation = pipeline.derive(Source("singular", MODEL.format(rate)))
    messages = [item.message for item in derivation.model.warnings]
    return [message for message in messages if "never used" not in message]


@pytest.mark.parametrize(
    "rate",
    [
        "z/(1 + z²)",
        "z/(1 + abs(w))",
        "z/(2 + sin(z))",
        "z/(1.1 - tanh(z))",
        "z/sqrt(z² + 1e-6)",
        "z/(1 + exp(-z))",
        "z/cosh(w) + log(1 + softplus(z))",
        "z/max(w, 0.1) + sqrt(relu(z))",
        "z/(1 + x) + sqrt(x)",
        "z/sqrt(mean(z²) + 1e-6)",
        "where(w - 1, z/w, 0)",
        "where(z - w, log(z - w), log(1 + w - z))",
        "(abs(z))^n",
    ],
)
def test_no_doubt(rate):
    assert told(rate) == []


@pytest.mark.parametrize(
    "rate",
    ["1/z", "z/(1 + w)", "z/(1 + sin(z))", "z/x", "log(abs(z))", "sqrt(z - 1)", "z^n"],
)
def test_doubt(rate):
    assert len(told(rate)) == 1


KNOWN_DOUBTS = {"smooth": ["sqrt(a z + 2)"]}  # where a z < -2, and so it says


@pytest.mark.parametrize(
    "file",
    sorted([*ROOT.glob("examples/*.npde"), *ROOT.glob("tests/models/*.npde")]),
    ids=lambda file: file.stem,
)
def test_no_false_alarm(file):
    doubts = [
        item.message
        for item in pipeline.derive(read(file)).model.warnings
        if "divided" in item.message or "not a number" in item.message
    ]
    expected = KNOWN_DOUBTS.get(file.stem, [])
    assert len(doubts) == len(expected)
    assert all(
        f"'{what}'" in doubt for what, doubt in zip(expected, doubts, strict=True)
    )


# --- intervals -----------------------------------------------------------------------

A, B, C = (Access(name, ()) for name in "abc")
LEAVES = {
    "a": Range(End(0.0, True), End(1.0, True)),
    "b": Range(End(-2.0), End(3.0)),
    "c": Range(End(0.0), End(INF, True)),
}


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (1 - A, Range(End(0.0, True), End(1.0, True))),
        (A * C, Range(End(0.0), End(INF, True))),
        (A + C, Range(End(0.0, True), End(INF, True))),
        (B**2, Range(End(0.0), End(9.0))),
        (B**3 - 1, Range(End(-9.0), End(26.0))),
        (1 / A, Range(End(1.0, True), End(INF, True))),
        (1 / (A - 1), Range(End(-INF, True), End(-1.0, True))),
        (1 / B, REAL),
        (A * B, Range(End(-2.0, True), End(3.0, True))),
        (1 / (1 + C), Range(End(0.0, True), End(1.0))),
    ],
)
def test_ranges(expr, expected):
    assert Ranges(LEAVES, {}).of(expr) == expected


def test_ranges_are_sound():
    """Values at random points lie in the range of the expression."""
    rng = np.random.default_rng(0)
    leaves = {"a": Range(End(-1.5), End(0.5)), "b": Range(End(0.2), End(3.0))}
    ranges = Ranges(leaves, {})
    pool = [A, B, A * 0 + 2]
    for _ in range(300):
        one, two = (pool[rng.integers(len(pool))] for _ in range(2))
        kind = rng.integers(5)
        made = [one + two, one * two, one**2, -one, one**3 - two][kind]
        if made.count_ops() < 30:
            pool.append(made)
    points = [(a, b) for a in (-1.5, -0.3, 0.0, 0.5) for b in (0.2, 1.0, 3.0)]
    for expr in set(pool):
        low, high = ranges.of(expr)
        for a, b in points:
            value = float(expr.subs({A: a, B: b}))
            slack = 1e-9 * max(1.0, abs(value))
            assert low.value - slack <= value <= high.value + slack, expr


def test_facts_narrow():
    ranges = Ranges({}, {})
    assert ranges.of(B + 1, (Fact(B, True),)) == Range(End(1.0, True), End(INF, True))
    assert ranges.of(2 - B, (Fact(B, False),)) == Range(End(-INF, True), End(2.0))
    assert ranges.of(B) == REAL
    assert point(2.0).allows(2.0) and not point(2.0).allows(1.0)
