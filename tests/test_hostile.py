"""Hostile texts: each compiles to a module that is right, or gives a clear error."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest
from limits import time_limit

from pdec.errors import PdecError
from pdec.pipeline import compile_source, module_of
from pdec.reading.parser import parse
from pdec.source import from_bytes, from_text

BASE = """\
grid x[8] on [0, 1) periodic
field z(x)
param a init 0.5, b(x) init 0.1
{more}
dz/dt = {rhs}
steps 3
dt = 0.01
target y(x)
loss = mean((z - y)²)
"""
WALLS = """\
grid x[8] on [0, 1]
field z(x)
const c = 0
at x: {wall}
dz/dt = ∂²z - z
steps 3
dt = 0.001
"""


def text(rhs, more=""):
    return BASE.format(rhs=rhs, more=more)


def nested(opening, inner, closing, count):
    return opening * count + inner + closing * count


def lines(count, line, first):
    """A chain of definitions: ``line`` with {1} for its number, {0} for the last."""
    chain = [line.format(k - 1, k) for k in range(1, count + 1)]
    return "\n".join([first, *chain])


REFUSED = {
    "infinite function": (text("log(0) z"), "not a finite real number"),
    "infinite product": (text("1e300 * 1e300 z"), "not a finite real number"),
    "infinite constant": (text("c² z", "const c = 1e200"), "not a finite"),
    "constant divisor": (text("z/c", "const c = 0"), "not a finite"),
    "complex constant": (text("√c z", "const c = -1"), "not a finite real"),
    "complex number": (text("√(-1) z"), "not a finite real number"),
    "in a function": (text("f(0, z)", "f(s, r) = 1/s + r"), "not a finite"),
    "tower of exp": (text("exp(exp(exp(exp(99)))) z"), "not a finite"),
    "tower of powers": (text("((z^64)^64)^64"), "powers of powers"),
    "literal tower": (text("9^9^9^9 z"), "finite number"),
    "huge number": (text("1" + "0" * 400 + " z"), "more than 60 characters"),
    "huge exponent of ten": (text("1e400 z"), "not a finite number"),
    "huge exponent": (text("z^1000000"), "at most 64"),
    "deep brackets": (text(nested("(", "z", ")", 200)), "more than 100 deep"),
    "deep signs": (text("-" * 200 + "z"), "more than 100 levels"),
    "deep brackets unclosed": (text("(" * 5000), "never closed"),
    "long product": (text("a z " * 1500), "more than 100 factors"),
    "long sum": (text(" + ".join(["z"] * 1500)), "more than 100 levels"),
    "long line": (text("z" + " + z" * 10_000), "longer than 10000 characters"),
    "long statement": (text("z\n" + "+ z\n" * 8000), "longer than 20000"),
    "long name": (text("z" * 500), "more than 60 characters"),
    "doubled functions": (
        text("f20(z)", lines(20, "f{1}(s) = f{0}(f{0}(s))", "f0(s) = s tanh(s)")),
        "too large",
    ),
    "doubled derivatives": (
        text("Z20", lines(20, "Z{1} = Z{0} tanh(Z{0}) + ∂Z{0}", "Z0 = z")),
        "derivatives written out",
    ),
    "nested derivatives": (text(nested("∂(", "z²", ")", 20)), "derivatives written"),
    "many derivatives": (text("∂²" * 20 + "z"), "derivatives written out"),
    "deep chain": (
        text("Z0", lines(90, "Z{0} = " + nested("(", "Z{1}", " + z)", 40), "Z90 = z")),
        "nested too deep",
    ),
    "circle": (text("Q z", "Q = R a\nR = Q a"), "defined by itself"),
    "circle of functions": (text("f(z)", "f(s) = g(s)\ng(s) = f(s)"), "by itself"),
    "raised argument": (text("tanh(z)²"), "read in two ways"),
    "tiny grid": (text("∂⁴z").replace("[0, 1)", "[0, 1e-200)"), "rescale"),
    "huge grid": (text("z").replace("x[8]", "x[99999999999]"), "2³¹"),
    "huge steps": (text("z").replace("steps 3", "steps 1e300"), "whole number"),
    "no condition": (WALLS.format(wall="c z = 1"), "says nothing"),
    "no linear condition": (WALLS.format(wall="((z + 1)^64 + 1)^64 = 0"), "linear"),
    "no solution": (WALLS.format(wall="(64/3) z - ∂n z = 1"), "no solution"),
    "statement name": (text("z", "param loss"), "word of the language"),
    "dunder name": (text("z", "param __import__"), "has no meaning here"),
    "code": (text('__import__("os").system("true") z'), "no meaning here"),
}

COMPILED = {
    "deep call": text(nested("tanh(", "z", ")", 40)),
    "deep roots": text("-" + "√" * 60 + "(1 + z²)"),
    "deep definition": text("Z150", lines(150, "Z{1} = Z{0} + a", "Z0 = z")),
    "reversed definitions": text("Z0", lines(150, "Z{0} = Z{1} + a", "Z150 = z")),
    "cancelled": text("(z - z) + (a - a) z"),
    "constant kinks": text("max(1, 2) z + where(c, z, -z) + f(0) z", "const c = -1\n"
        "f(s) = where(s, s, 1) + softplus(s)"),
    "twelve derivatives": text("1e-9 ∂⁴∂⁴z").replace("x[8]", "x[16]"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    model, expected = REFUSED[name]
    with time_limit(), pytest.raises(PdecError, match=re.escape(expected)) as caught:
        compile_source(from_text(model, "m.npde"))
    assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize("name", COMPILED)
def test_compiled(name):
    with time_limit(6):
        module = module_of(compile_source(from_text(COMPILED[name], "m.npde")))
    report = module.selfcheck()
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"steps 3 \xff\xfe", "not valid UTF-8"),
        (b"steps\x00 3", "U+0000"),
        (b"steps 3\x1b[31m", "U+001B"),
        ("steps 3 # \u202e".encode(), "U+202E"),
        ("steps 3 \u2066".encode(), "U+2066"),
        (b"\xed\xa0\x80", "not valid UTF-8"),
        (b"# " + b"x" * (1 << 20), "at most 1024 KiB"),
        (b"x" * (1 << 19), "longer than 10000"),
        (b"(" * 9000 + b"\n" * 9000, "never closed"),
        (b"x = 1\n" * 5000, "at most 1000 statements"),
        ("pаram a".encode(), "looks like 'a'"),  # a Cyrillic а
        ("x\u0301 = 1".encode(), "no meaning"),
    ],
)
def test_texts_that_are_no_model(data, expected):
    with time_limit(), pytest.raises(PdecError, match=re.escape(expected)):
        parse(from_bytes(data, "m.npde"))


# --- names ------------------------------------------------------------------------

NAMED = """\
grid x[5] on [0, 1) periodic
field {field}(x)
param {param} init 0.5, {trend}(x) init 0.02, {layer}(t) init 0.3
input {input}(x)
const {const} = 0.8
{definition} = {param} {field} + {trend} ∂{field} + 0.1 {input}
{function}({argument}) = tanh({argument})
d{field}/dt = -{const}({field} - {function}({definition} - 0.1 {layer}))
steps 2
ω = 0.5
target {target}(x)
readout {readout} = mean({field})
loss = mean(({field} - {target})²) + {readout}
"""
ROLES = {
    "field": "z",
    "param": "p",
    "trend": "q",
    "layer": "r",
    "input": "u",
    "const": "k",
    "definition": "G",
    "function": "h",
    "argument": "s",
    "target": "y",
    "readout": "m",
}
NAMES = (
    "lambda is None True np numpy math forward MODEL Arrays Any sys os c v n t0 t1 "
    "part_1  z_bar z_dot z_next z_next_bar z_wide Z Z_m1 Z_1 f_Z h_Z h_G p_bar "
    "q_wide dx dt omega  batch i0 k0 e pi self params init_params value_and_grad zT "
    "z0 seed rng c_bar v_bar  c_dot v_dot mean_1 loss_ loss_bar inputs print float "
    "range len zip dict list max_  int tuple object type Exception array_ field_ x1 "
    "mean tanh t x print_ _p "
).split()
SPECIAL = ("field", "param", "const", "definition")


@functools.cache
def named_model(role, name):
    """Compile the model with one name replaced; None where that is refused."""
    names = ROLES | ({role: name} if role else {})
    source = from_text(NAMED.format(**names), "named.npde")
    try:
        return module_of(compile_source(source))
    except PdecError as error:
        assert name in str(error) or name == "omega", error  # written ω there
        return None


def run(module):
    """Loss and gradients at a fixed point, in an order that names do not change."""
    rng = np.random.default_rng(3)
    params = module.init_params(seed=0)
    data = {k: rng.standard_normal((2, 5)) for k in ("z0", "y", "u")}
    inputs = {name: data["u"] for name in module.MODEL.inputs}
    loss, grads = module.value_and_grad(params, data["z0"], data["y"], inputs=inputs)
    return [np.asarray(loss), *(np.asarray(grad) for grad in grads.values())]


def roles_of(name, *, full):
    """The roles that a name is tried in: all with --full, else one of them in turn."""
    roles = [*SPECIAL, *sorted(ROLES)]
    return sorted(ROLES) if full else [roles[NAMES.index(name) % len(roles)]]


@pytest.mark.parametrize("name", NAMES)
def test_names_never_change_what_is_computed(name, request):
    plain = run(named_model("", ""))
    for role in roles_of(name, full=request.config.getoption("--full")):
        module = named_model(role, name)
        if module is None:
            continue
        for one, other in zip(plain, run(module), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-12, err_msg=f"{role} {name}")
        report = module.selfcheck()
        assert report.passed, f"{role} {name}: {report}"
