"""The derivative from the output: f' as a function of f, and f from the stored states.

    z⁺ = (1 - ω) z + ω f   →   f = (z⁺ - (1 - ω) z)/ω

where ω ≥ 0.25 is known, f' is smooth in f, and nothing else needs what f was made of.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import sympy

from pdec import derive, pipeline
from pdec.adjoints.slope import relation_to_output
from pdec.forms.functions import Maximum, Select, softplus
from pdec.source import Source

RECOVERED = "from the stored states"
MODEL = """model slopes
grid x[24] on [0, 1) periodic
field z(x)
const γ = 1
param W0(x) init 0.5, W1(x), W2(x) init 1e-4, b(x)
f(s) = {f}
dz/dt = -γ(z - f(W0 z + W1 ∂z + W2 ∂²z - b))
steps 12
ω = {omega}
target y(x)
loss = mean((z - y)²)/2
"""
SMOOTH = [
    "tanh(s)",
    "sigmoid(s)",
    "softplus(s)",
    "1/(1 + exp(-s))",
    "0.8 tanh(1.5 s) + 1",
]
KINKED = ["relu(s)", "abs(tanh(s))", "max(s, 0.1 s)", "where(s, tanh(s), s)"]
OTHER = [
    "gelu(s)",
    "silu(s)",
    "sin(s)",
    "100 + tanh(s)",
    "log(2 + s²)",
    "s/(1 + abs(s))",
]

S, F = sympy.Symbol("s", real=True), sympy.Symbol("f", real=True)


@pytest.mark.parametrize(
    ("expr", "relation"),
    [
        (sympy.tanh(S), 1 - F**2),
        ((1 + sympy.tanh(S / 2)) / 2, F - F**2),
        (1 / (1 + sympy.exp(-S)), F - F**2),
        (sympy.exp(3 * S), 3 * F),
        (softplus(S), 1 - sympy.exp(-F)),
        (2 * sympy.tanh(3 * S - 1) + 1, -3 * (F - 3) * (F + 1) / 2),
    ],
)
def test_relation(expr, relation):
    assert sympy.expand(relation_to_output(expr) - relation) == 0


@pytest.mark.parametrize(
    "expr",
    [
        Maximum(S, sympy.S.Zero),
        sympy.Abs(sympy.tanh(S)),
        Select(S, sympy.tanh(S), S),
        S * sympy.tanh(S),
        sympy.exp(-(S**2)),
        sympy.sin(S),
        100 + sympy.tanh(S),  # f has lost the digits that f' needs
    ],
)
def test_no_relation(expr):
    assert relation_to_output(expr) is None


# --- what is recovered ----------------------------------------------------------------


@cache
def compiled(text: str) -> pipeline.Compilation:
    return pipeline.compile_source(Source("slopes", text))


def text_of(text: str) -> str:
    return compiled(text).text


@pytest.mark.parametrize("omega", [0.3, 0.25])
@pytest.mark.parametrize("f", SMOOTH)
def test_recovered(f, omega):
    backward = text_of(MODEL.format(f=f, omega=omega)).split("def _step_vjp")[1]
    again = backward[: backward.index("# adjoint of")]
    assert RECOVERED in again
    assert not any(call in again for call in ("tanh", "exp", 'v["Z"]', "[:, 2:]"))


@pytest.mark.parametrize(
    ("f", "omega"),
    [("tanh(s)", 0.2), ("tanh(s)", 1e-3), *((f, 0.3) for f in KINKED + OTHER)],
)
def test_computed_again(f, omega):
    assert RECOVERED not in text_of(MODEL.format(f=f, omega=omega))


def variant(*changes: tuple[str, str]) -> str:
    text = MODEL.format(f="tanh(s)", omega=0.3)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


OMEGA, GAMMA = "ω = 0.3\n", "const γ = 1\n"
VARIANTS = {
    "trained ω": ([(OMEGA, "param ω in [0.25, 1] init 0.3\n")], True),
    "trained ω, no bound": ([(OMEGA, "param ω in (0, 1) init 0.3\n")], False),
    "trained γ": (
        [(GAMMA, "param γ in [1, 2] init 1\n"), (OMEGA, "dt = 0.3\n")],
        True,
    ),
    "trained γ, no bound": (
        [(GAMMA, "param γ > 0 init 1\n"), (OMEGA, "dt = 0.3\n")],
        False,
    ),
    "exponential": ([(OMEGA, OMEGA + "scheme exponential\n")], True),
    "exponential, trained γ": (
        [
            (GAMMA, "param γ in [1, 2] init 1\n"),
            (OMEGA, "dt = 0.3\nscheme exponential\n"),
        ],
        True,
    ),
    "heun": ([(OMEGA, OMEGA + "scheme heun\n")], False),
    "reaction beside it": ([("γ(z - f", "γ(z - 0.1 z² - f")], True),
    "stencil beside it": ([("γ(z - f", "γ(z - 0.001 ∂²z - f")], False),
    "Z needed all the same": (
        [("b(x)\n", "b(x)\nZ = W0 z + W1 ∂z - b\n"), ("b))", "b) - 0.1 Z²)")],
        False,
    ),
    "f read elsewhere": (
        [("b(x)\n", "b(x)\nu = tanh(W0 z - b)\n"), ("b))", "b) - 0.1 abs(u))")],
        False,
    ),
    "system": (
        [
            ("field z(x)\n", "field z(x), w(x)\n"),
            ("dz/dt", "dw/dt = -γ(w - sigmoid(z + W0 w))\ndz/dt"),
            ("∂²z - b", "∂²z - w - b"),
            ("loss = ", "loss = mean(w²) + "),
        ],
        True,
    ),
    "walls": (
        [("[0, 1) periodic", "[0, 1]"), ("const", "at x: ∂z = 0\nconst")],
        True,
    ),
}


@cache
def pair(name: str):
    """A module with recovery and one without, and whether the first has any."""
    changes, _ = VARIANTS.get(name, ((), True))
    text = variant(*changes) if name in VARIANTS else name
    with_rule = compiled(text)
    rule, derive.recovered = derive.recovered, lambda first, second, *_: (first, second)
    try:
        plain = pipeline.compile_source(Source("slopes", text))
    finally:
        derive.recovered = rule
    assert RECOVERED not in plain.text
    modules = pipeline.module_of(with_rule), pipeline.module_of(plain)
    backward = with_rule.text.split("def _step_vjp")[1].split("\ndef ")[0]
    return *modules, backward.count(RECOVERED)


def point(module, seed: int, dtype=np.float64, *, saturated: bool = False):
    """Parameters, state and target; ``saturated`` takes half of the cells far out."""
    rng = np.random.default_rng(seed)
    p = module.init_params()
    spread = {"W0": 0.3, "W1": 1e-3, "b": 0.3}
    p = {k: a + spread.get(k, 0.0) * rng.normal(size=a.shape) for k, a in p.items()}
    if saturated:
        p["b"][..., ::2] -= 7.0
    shape = (6, *next(iter(module.MODEL.fields.values())).shape)
    states = [rng.normal(size=shape) for _ in module.MODEL.fields]
    y = 0.5 * rng.normal(size=shape)
    given = {k: a.astype(np.float32).astype(dtype) for k, a in p.items()}
    names = list(module.MODEL.fields)
    z0 = [z.astype(np.float32).astype(dtype) for z in states]
    fields = dict(zip(names, z0, strict=True)) if len(names) > 1 else z0[0]
    return given, fields, y.astype(np.float32).astype(dtype)


def distance(found, expected) -> float:
    """The greatest difference, by the greatest number of the same gradient."""
    return max(
        float(np.abs(found[k] - g).max() / np.abs(g).max()) for k, g in expected.items()
    )


@pytest.mark.parametrize("saturated", [False, True])
@pytest.mark.parametrize("omega", [0.3, 0.25])
@pytest.mark.parametrize("f", SMOOTH)
def test_accuracy(f, omega, saturated):
    module, plain, count = pair(MODEL.format(f=f, omega=omega))
    assert count
    here = point(module, 0, saturated=saturated)
    exact = plain.value_and_grad(*here, check="off")[1]
    assert distance(module.value_and_grad(*here, check="off")[1], exact) <= 1e-12
    here = point(module, 0, np.float32, saturated=saturated)
    found = module.value_and_grad(*here, check="off")[1]
    assert found["b"].dtype == np.float32
    assert distance(found, exact) <= 1e-5


@pytest.mark.parametrize("name", VARIANTS)
def test_variants(name):
    module, plain, count = pair(name)
    assert count == VARIANTS[name][1] * len(module.MODEL.fields)
    here = point(module, 1)
    exact = plain.value_and_grad(*here, check="off")[1]
    assert distance(module.value_and_grad(*here, check="off")[1], exact) <= 1e-12


@pytest.mark.parametrize("name", ["exponential", "system", "walls"])
def test_jvp_is_the_transpose(name):
    """Where slopes are tiny, jvp and vjp must read the very same f."""
    module, _, _ = pair(name)
    p, z0, _ = point(module, 3)
    p["b"] -= 9.0
    rng = np.random.default_rng(4)
    dp = {k: rng.normal(size=a.shape) for k, a in p.items()}
    zT, pullback = module.vjp(p, z0)
    one = not isinstance(zT, dict)
    w = {k: rng.normal(size=a.shape) for k, a in ({"z": zT} if one else zT).items()}
    zeros = {k: 0.0 * a for k, a in w.items()}
    Jv = module.jvp(p, z0, dp, zeros["z"] if one else zeros)
    Jv = {"z": Jv} if one else Jv
    back = pullback(w["z"] if one else w)[0]
    forth = sum(np.vdot(Jv[k], w[k]) for k in w)
    size = np.sqrt(sum(np.vdot(a, a) for a in Jv.values()))
    size *= np.sqrt(sum(np.vdot(a, a) for a in w.values()))
    assert abs(forth - sum(np.vdot(dp[k], back[k]) for k in dp)) <= 1e-13 * size


def test_checkpoints_change_nothing():
    module, _, _ = pair(MODEL.format(f="tanh(s)", omega=0.3))
    here = point(module, 2)
    whole = module.value_and_grad(*here)[1]
    for checkpoint in ("sqrt", 5):
        again = module.value_and_grad(*here, checkpoint=checkpoint)[1]
        assert all((again[name] == g).all() for name, g in whole.items())
