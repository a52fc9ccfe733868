"""Stage 1: text → syntax tree, its shapes, its spans and its errors."""

from __future__ import annotations

import dataclasses
import random
import re
import time

import pytest

from pdec.errors import Diagnostic, ModelErrors, Reporter, UsageError, render, suggest
from pdec.reading import parser, spelling, tree
from pdec.reading.parser import RESERVED, parse, parse_expression
from pdec.reading.spelling import canonical
from pdec.source import MAX_BYTES, Source, Span, from_text, read

ADR = """\
# Homogeneous neural advection–diffusion–reaction: three numbers and a bias.
model adr1d

grid x[128] on [0, 1) periodic
field z(x)

param W0 init 0.5             # amplitude
param W1 init 0               # advection
param W2 >= 0 init 5e-5       # diffusion
param b(x) init 0

const γ = 1
f(s) = tanh(s)                # any expression: f' is derived

dz/dt = -γ(z - f(W0 z + W1 ∂z + W2 ∂²z - b))

steps 16
ω = 0.5                       # or: dt = 0.5
target y(x)
loss = mean((z - y)²)/2
"""

TENSOR = """\
dim d = 16
grid x[64] on [0, 1) periodic
field z[d](x)
param W0[d,d] init normal(0, 0.1), W1[d,d] init normal(0, 1e-3), W2[d,d] psd init 1e-5
param b[d](x)
Z = W0 z + W1 ∂z + W2 ∂²z - b        # W0 z contracts the channel
dz/dt = -γ(z - f(Z))
"""

GRAY_SCOTT = """\
model gray_scott
grid x[64] on [0, 2.5) periodic, y[64] on [0, 2.5) periodic
field u(x, y), v(x, y)
param Du >= 0 init 2e-5, Dv >= 0 init 1e-5, F init 0.04, k init 0.06
du/dt = Du ∇²u - u v² + F(1 - u)
dv/dt = Dv ∇²v + u v² - (F + k) v
steps 200
dt = 1
"""

HEAT = """\
grid x[200] on [0, 1]
field T(x)
param κ(x) > 0 init 0.01, U init 0.1
at x = 0: T = 1
at x = 1: ∂T = 0
dT/dt = ∂(κ ∂T) - U ∂T         # conservative form
scheme implicit
accuracy 4
dtype float32
input u(x)
param W0(x), W1(x), W2(x)
param W3(t)
param c(x, t)
Z = upwind(U, z) + ∂x z + ∂xx z + ∂x∂y z + ∇·(κ∇T) + U·∇z
target y(x,t) every 4
param ω in (0, 2) init 0.5
const α = 1, c = 2
"""

KERNEL = """\
kernel K(r; σ, c) = exp(-(r - c)²/(2σ²)) / (σ √(2π))
param σ > 0 init 0.008, c init 0
dz/dt = -γ(z - f(moments(K, 2) z - b))       # M0 z + M1 ∂z + (M2/2) ∂²z
"""

DIGITS = """\
model digits
grid x[28] on [0, 28], y[28] on [0, 28]
at x, y: ∂z = 0
input img(x, y)
field z(x, y)
at t = 0: z = img
param W0(x, y) init 1, Wx(x, y), Wy(x, y), W2(x, y), b(x, y)
const γ = 1
f(s) = tanh(s)
dz/dt = -γ(z - f(W0 z + Wx ∂x z + Wy ∂y z + W2 ∇²z - b))
steps 8
ω = 1
param R[10](x, y) init normal(0, 0.01), c[10]
readout logits[10] = integral(R z) + c
target label: class
loss = cross_entropy(logits, label) + 1e-4 mean(R²)
"""

MODELS = {
    "adr": ADR,
    "tensor": TENSOR,
    "gray_scott": GRAY_SCOTT,
    "heat": HEAT,
    "kernel": KERNEL,
    "digits": DIGITS,
}


def shape(node: object) -> object:
    """A node without spans and spellings: what it means, comparable and short."""
    match node:
        case tree.Number():
            return node.value
        case tree.Name():
            return node.name
        case tree.Derivative():
            return f"{node.kind}{node.order}" + "".join(node.axes or ())
        case tree.Root():
            return "root"
        case tree.Binary():
            return (node.op, shape(node.left), shape(node.right))
        case tree.Negate():
            return ("-", shape(node.operand))
        case tree.Power():
            return ("^", shape(node.base), shape(node.exponent))
        case tree.Juxtaposition():
            return [shape(item) for item in node.items]
        case tree.Group():
            return ("group", *(shape(item) for item in node.items))
        case tree.Index():
            return ("index", shape(node.base), *(shape(item) for item in node.items))
        case tuple():
            return tuple(shape(item) for item in node)
    if dataclasses.is_dataclass(node):
        fields = [field.name for field in dataclasses.fields(node)]
        values = [shape(getattr(node, name)) for name in fields if name != "span"]
        return (type(node).__name__, *values)
    return node


def of(text: str) -> object:
    return shape(parse_expression(from_text(text)))


def one(text: str) -> tree.Statement:
    statements = parse(from_text(text)).statements
    assert len(statements) == 1
    return statements[0]


def errors_of(text: str) -> list[Diagnostic]:
    with pytest.raises(ModelErrors) as caught:
        parse(from_text(text))
    return list(caught.value.diagnostics)


# --- models and statements --------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_documentation_parses(name):
    text = MODELS[name]
    statements = parse(from_text(text)).statements
    assert len(statements) == len([x for x in text.split("\n") if x.split("#")[0]])


def test_statement_kinds():
    kinds = [type(item).__name__ for item in parse(from_text(ADR)).statements]
    assert kinds == [
        "ModelStatement",
        "GridStatement",
        *["Declaration"] * 5,
        "ConstStatement",
        "Equation",
        "EvolutionStatement",
        "SettingStatement",
        "Equation",
        "TargetStatement",
        "LossStatement",
    ]


def test_an_empty_text_has_no_statements():
    assert parse(from_text("")).statements == ()
    assert parse(from_text("\n  \n# only a comment")).statements == ()


def test_grid():
    statement = one("grid x[128] on [0, 1) periodic, y[N] on (a, 2 b]")
    assert isinstance(statement, tree.GridStatement)
    first, second = statement.axes
    assert (first.name.name, shape(first.size), first.periodic) == ("x", 128, True)
    assert (first.interval.low_closed, first.interval.high_closed) == (True, False)
    assert (second.periodic, shape(second.size)) == (False, "N")
    assert (second.interval.low_closed, second.interval.high_closed) == (False, True)
    assert shape(second.interval.high) == [2, "b"]


def test_declarations():
    text = "param W[d,d] psd init 1e-5, κ(x, t) >= 0 <= 1, ω in (0, 2) init 0.5, c"
    statement = one(text)
    assert isinstance(statement, tree.Declaration)
    weight, kappa, omega, plain = statement.items
    assert statement.kind == "param"
    assert shape(weight.shape) == ("d", "d")
    assert (weight.domain, weight.constraints) == (None, (("psd", None),))
    assert shape(weight.init) == 1e-5
    assert [axis.name for axis in kappa.domain or ()] == ["x", "t"]
    assert shape(kappa.constraints) == ((">=", 0), ("<=", 1))
    word, interval = omega.constraints[0]
    assert word == "in" and isinstance(interval, tree.Interval)
    assert not interval.low_closed and not interval.high_closed
    assert (plain.shape, plain.domain, plain.constraints, plain.init) == (
        (),
        None,
        (),
        None,
    )


def test_targets():
    label = one("target label: class")
    assert isinstance(label, tree.TargetStatement)
    assert label.classes and label.every is None
    series = one("target y(x, t) every 2 k")
    assert isinstance(series, tree.TargetStatement)
    assert not series.classes and shape(series.every) == [2, "k"]


def test_one_line_may_hold_several_targets_or_dims():
    source = from_text("target y(x), label: class\ndim d = 16, k = 3")
    statements = parse(source).statements
    assert [source.excerpt(item.span) for item in statements] == [
        "target y(x)",
        "label: class",
        "dim d = 16",
        "k = 3",
    ]


def test_kernel():
    statement = one("kernel K(r; σ, c) = exp(-r²)")
    assert isinstance(statement, tree.KernelStatement)
    assert shape(statement.variables) == ("r",)
    assert shape(statement.parameters) == ("sigma", "c")
    bare = one("kernel G(r, s) = r s")
    assert isinstance(bare, tree.KernelStatement)
    assert (shape(bare.variables), bare.parameters) == (("r", "s"), ())


def test_const():
    statement = one("const γ = 1, c = 2 γ")
    assert isinstance(statement, tree.ConstStatement)
    assert shape(statement.items) == (("gamma", 1), ("c", [2, "gamma"]))


@pytest.mark.parametrize(
    ("text", "name"),
    [("dz/dt = 1", "z"), ("dW₀/dt = 1", "W0"), ("dκ / dt = 1", "kappa")],
)
def test_evolution(text, name):
    source = from_text(text)
    statement = parse(source).statements[0]
    assert isinstance(statement, tree.EvolutionStatement)
    assert statement.name.name == name
    assert source.excerpt(statement.name.span) == statement.name.text


def test_at():
    everywhere = one("at x, y: ∂z = 0")
    assert isinstance(everywhere, tree.AtStatement)
    assert (shape(everywhere.axes), everywhere.place) == (("x", "y"), None)
    start = one("at t = 0: z = E img")
    assert isinstance(start, tree.AtStatement)
    assert (shape(start.axes), shape(start.place)) == (("t",), 0)
    assert (shape(start.left), shape(start.right)) == ("z", ["E", "img"])


def test_readout_and_settings():
    readout = one("readout logits[10] = integral(R z) + c")
    assert isinstance(readout, tree.ReadoutStatement)
    assert shape(readout.declared.shape) == (10,)
    for key, value in (
        ("steps", 16),
        ("accuracy", 4),
        ("scheme", "rk4"),
        ("dtype", "float32"),
    ):
        setting = one(f"{key} {value}")
        assert isinstance(setting, tree.SettingStatement)
        assert (setting.key, shape(setting.value)) == (key, value)


# --- expressions ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b*c", ("+", "a", ("*", "b", "c"))),
        ("a - b - c", ("-", ("-", "a", "b"), "c")),
        ("a/b/c", ("/", ("/", "a", "b"), "c")),
        ("a b/2", ("/", ["a", "b"], 2)),
        ("-a b", ("-", ["a", "b"])),
        ("-a²", ("-", ("^", "a", 2))),
        ("--a", ("-", ("-", "a"))),
        ("a*-b", ("*", "a", ("-", "b"))),
        ("2 x y", [2, "x", "y"]),
        ("2x", [2, "x"]),
        ("x^2", ("^", "x", 2)),
        ("x^-1", ("^", "x", ("-", 1))),
        ("x⁻¹²", ("^", "x", ("-", 12))),
        ("x^y^2", ("^", "x", ("^", "y", 2))),
        ("x^(a+1)", ("^", "x", ("group", ("+", "a", 1)))),
        ("x^2 y", [("^", "x", 2), "y"]),
        ("(z - y)²", ("^", ("group", ("-", "z", "y")), 2)),
        ("sin²(x)", [("^", "sin", 2), ("group", "x")]),
        ("f(x, y)", ["f", ("group", "x", "y")]),
        ("σ √(2π)", ["sigma", "root", ("group", [2, "pi"])]),
        ("√2", ["root", 2]),
        ("z[0]", ("index", "z", 0)),
        ("A[i, j]²", ("^", ("index", "A", "i", "j"), 2)),
        ("Aᵀ z", [("Transpose", "A"), "z"]),
        ("∂z", ["partial1", "z"]),
        ("∂²z", ["partial2", "z"]),
        ("∂x z", ["partial1", "x", "z"]),
        ("∂xx z", ["partial1", "xx", "z"]),
        ("∂x∂y z", ["partial1", "x", "partial1", "y", "z"]),
        ("∂n T", ["partial1", "n", "T"]),
        ("d/dx z", ["partial1x", "z"]),
        ("d2/dx2 z", ["partial2xx", "z"]),
        ("d2/dxdy z", ["partial2xy", "z"]),
        ("κ d/dx(z)", ["kappa", "partial1x", ("group", "z")]),
        ("∇²z", ["laplacian2", "z"]),
        ("laplacian(z)", ["laplacian2", ("group", "z")]),
        ("∇·(κ∇T)", ["divergence1", ("group", ["kappa", "gradient1", "T"])]),
        ("U·∇z", (".", "U", ["gradient1", "z"])),
        ("∇z·U", (".", ["gradient1", "z"], "U")),
        ("U*∇z", ("*", "U", ["gradient1", "z"])),
        ("2·∇z", ("*", 2, ["gradient1", "z"])),
        ("W2 · z", ("*", "W2", "z")),
        ("W2·∇²z", ("*", "W2", ["laplacian2", "z"])),
        ("a/sin(x)", ("/", "a", ["sin", ("group", "x")])),
        ("a/√(2π)", ("/", "a", ["root", ("group", [2, "pi"])])),
        ("1/∂z", ("/", 1, ["partial1", "z"])),
        ("(M2/2) ∂²z", [("group", ("/", "M2", 2)), "partial2", "z"]),
        ("d/dxy", ("/", "d", "dxy")),
        ("1e-4 mean(R²)", [1e-4, "mean", ("group", ("^", "R", 2))]),
    ],
)
def test_shapes(text, expected):
    assert of(text) == expected


@pytest.mark.parametrize(
    ("unicode", "plain"),
    [
        ("γ", "gamma"),
        ("W₀", "W0"),
        ("Wₓ", "Wx"),
        ("∂²z − W₁₂·z", "∂^2 z - W12*z"),
        ("∇²u", "laplacian u"),
        ("∇^2 u", "∇²u"),
        ("v²", "v^2"),
        ("a⋅b", "a*b"),
        ("λ", "lambda"),
        ("\u00b5 + \u03d5 + \u03f5 + \u03c2 + \u2206", "μ + φ + ε + σ + Δ"),
        ("d²/dx² z", "d2/dx2 z"),
    ],
)
def test_spellings_are_equal(unicode, plain):
    assert of(unicode) == of(plain)


def test_comparisons_have_two_spellings():
    assert shape(one("param k ≥ 0 ≤ 1")) == shape(one("param k >= 0 <= 1"))


def test_whitespace_never_matters():
    assert of("W0 z+W1 ∂ z - sin ² ( x )") == of("W0  z + W1∂z-sin²(x)")
    assert shape(one("dz / dt=d2 / dx2 z")) == shape(one("dz/dt = d2/dx2 z"))


def test_canonical_names_are_identifiers():
    letters = list(spelling.GREEK)
    for letter in letters:
        name = canonical(f"{letter}₀")
        assert name.isascii() and name.isidentifier()
        assert of(f"{letter}₀") == name
    assert canonical("lambda") == canonical("λ") == "lambda_"


def test_the_grammar_knows_every_subscript():
    for digit, plain in spelling.SUBSCRIPTS.items():
        assert of(f"W{digit}") == f"W{plain}"


def test_reserved_words():
    assert {"field", "param", "include", "every", "sample", "init"} <= RESERVED


# --- lines ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Z = f(a\n  + b,   # why\n\n  c)",
        "Z = a\n  + b",
        "Z\n= a",
        "Z = a # one\n  # between\n  · b",
        "grid x[8] on [0,\n 1)\n, y[8] on [0, 1]",
        "Z = f(\n  a\n)",
    ],
)
def test_continued_lines(text):
    assert len(parse(from_text(text)).statements) == 1


def test_the_bracket_of_an_interval_ends_the_line():
    assert len(parse(from_text("grid x[8] on [0, 1)\nfield z(x)")).statements) == 2


# --- spans ------------------------------------------------------------------------


def walk(node):
    if dataclasses.is_dataclass(node) and not isinstance(node, Span):
        yield node
        for field in dataclasses.fields(node):
            yield from walk(getattr(node, field.name))
    elif isinstance(node, tuple):
        for item in node:
            yield from walk(item)


@pytest.mark.parametrize("name", MODELS)
def test_spans_are_exact(name):
    source = from_text(MODELS[name])
    for statement in parse(source).statements:
        for node in walk(statement):
            text = source.excerpt(node.span)
            assert text and text == text.strip() and "#" not in text
            if isinstance(node, tree.Number | tree.Name | tree.Derivative):
                assert text == node.text
            elif isinstance(node, tree.Expr):
                again = parse_expression(from_text(text))
                assert shape(again) == shape(node)


def test_spans_of_the_parts_of_a_sum():
    source = from_text("  dz/dt = -γ (z - b)  # relaxation\n")
    statement = parse(source).statements[0]
    assert isinstance(statement, tree.EvolutionStatement)
    assert source.excerpt(statement.span) == "dz/dt = -γ (z - b)"
    assert source.excerpt(statement.rhs.span) == "-γ (z - b)"
    assert isinstance(statement.rhs, tree.Negate)
    assert source.excerpt(statement.rhs.operand.span) == "γ (z - b)"


def test_span_of_an_expression_over_two_lines():
    source = from_text("Z = a # first\n  + b")
    statement = parse(source).statements[0]
    assert isinstance(statement, tree.Equation)
    assert source.excerpt(statement.right.span) == "a # first\n  + b"


# --- errors -----------------------------------------------------------------------

# The line, what its error marks, a piece of its message and a piece of its hint.
WRONG = [
    # ambiguous
    ("Z = M2/2 ∂²z", "M2/2 ∂²z", "two ways", "`(M2/2) ∂²z` or `M2/(2 ∂²z)`"),
    ("Z = a/f(x) z", "a/f(x) z", "two ways", "`(a/f(x)) z` or `a/(f(x) z)`"),
    ("Z = ∂²u/∂x²", "∂²u/∂x²", "not how", "`∂²u`, `∂xx u` or `d2/dx2 u`"),
    ("Z = ∂²/∂x² u", "∂²/∂x² u", "not how", "`d2/dx2 u`"),
    ("∂z/∂t = z", "∂z/∂t", "not how", "`dz/dt = …`"),
    ("Z = ∂u²", "∂u²", "two ways", "`∂(u²)` or `(∂u)²`"),
    ("Z = √x²", "√x²", "two ways", "`√(x²)` or `(√x)²`"),
    ("Z = x^f(y)", "x^f(y)", "two ways", "`x^(f(y))` or `(x^f) (y)`"),
    ("Z = z 2", "2", "does not lead", "`2 z`"),
    ("Z = ∂2 z", "∂2", "followed by a number", "`∂²`"),
    # derivatives
    ("Z = ∂", "∂", "nothing to act on", "after it"),
    ("Z = (U·∇) z", "∇", "nothing to act on", "`∇ z`"),
    ("Z = ∂⁵z", "∂⁵", "1 to 4", ""),
    ("Z = d2/dx3 z", "d2/dx3", "order 2 above and 3 below", "`d2/dx2`"),
    ("Z = ∇⁴z", "∇⁴", "not an operator", "∇²(∇²z)"),
    ("Z = d2z/dx2", "d2z/dx2", "not how", "`d2/dx2 z`"),
    ("d2u/dt2 = ∇²u", "d2u/dt2", "first derivatives in time", "`du/dt = v`"),
    ("Z = a dz/dt", "dz/dt", "only at the start of a statement", ""),
    ("Z = d/dt z", "d/dt", "not an operator", "`dz/dt = …`"),
    # words
    ("field init(x)", "init", "word of the language", ""),
    ("param init 3", "init", "word of the language", ""),
    ("Z = loss + 1", "loss", "word of the language", ""),
    ("Z = include + 1", "include", "word of the language", ""),
    ("ω = 0.5 steps 16", "steps", "word of the language", "line of its own"),
    ("field z(x) field u(x)", "field", "found 'field'", "line of its own"),
    ("feild z(x)", "feild", "starts no statement", "did you mean `field`?"),
    ("Param W0 init 1", "Param", "starts no statement", "did you mean `param`?"),
    ("include other", "include", "reserved", ""),
    ("Z = z'", "'", "prime is reserved", "∂z"),
    # init
    ("param W0 = 0.5", "=", "'init' was expected", "`param W0 init 0.5`"),
    ("param W0 0.5", "0.5", "'init' was expected", "`param W0 init 0.5`"),
    ("param a, W[d] = f(1, 2), b", "=", "'init'", "`param W[d] init f(1, 2)`"),
    ("param W0 init", "", "line ends where an expression", "init 0.5"),
    # signs
    ("Z = z**2", "**", "not an operator", "`x^2`"),
    ("Z == 2", "==", "not an operator", "`left = right`"),
    ("a = b = c", "=", "found '='", "one `=`"),
    ("a = 1; b = 2", ";", "outside a kernel", "one statement a line"),
    ("Z = 2. z", "2.", "after the point", "`2.0`"),
    ("Z = .5 z", ".5", "before the point", "`0.5`"),
    ("Z = a.b", ".", "no meaning here", "`*`"),
    ("Z = +1", "+", "an expression was expected", "only `-`"),
    ("Z = a × b", "×", "U+00D7, multiplication sign", "`*`"),
    ("Z = _a", "_", "no meaning here", "starts with a letter"),
    # letters
    ("Z = ｘ", "ｘ", "U+FF58, fullwidth latin small letter x", "write `x`"),
    ("Z = \u0430", "\u0430", "U+0430, cyrillic small letter a", "write `a`"),
    ("Z = \u0391", "\u0391", "U+0391, greek capital letter alpha", "write `A`"),
    ("Z\u00a0= 1", "\u00a0", "U+00A0, no-break space", "ordinary space"),
    # brackets
    ("Z = (a + (b)", "(", "'(' is never closed", "add `)`"),
    ("Z = a + b)", ")", "no opening bracket", ""),
    ("Z = (a]", "]", "',' or ')' was expected", ""),
    ("Z = f()", ")", "an expression was expected", ""),
    ("Z = (a, b)", "(a, b)", "not a value", "function"),
    # statements
    ("grid x[128] [0, 1)", "[", "'on' was expected", "grid x[128] on [0, 1)"),
    ("steps = 4", "=", "without '='", "`steps 4`"),
    ("scheme 4", "4", "a name was expected", "`scheme implicit`"),
    ("at x = 0 T = 1", "=", "':' was expected", "`at x = 0: z = 1`"),
    ("z + 1", "", "line ends where '=' was expected", "`left = right`"),
    ("model 3d", "3", "a name was expected", "`model adr1d`"),
    ("Z = 1 *", "", "line ends where an expression", "continues a line"),
    # bounds
    ("Z = 10^400", "10^400", "not a finite number", ""),
    ("Z = 9^9^9^9^9", "9^9^9^9^9", "not a finite number", ""),
    ("Z = 0^-1", "0^-1", "not a finite number", ""),
    ("Z = (-8)^0.5", "(-8)^0.5", "not a real number", ""),
    ("Z = 1e999", "1e999", "not a finite number", ""),
    ("Z = 1e-999", "1e-999", "rounded to zero", ""),
    (f"Z = {'1' * 70}", "1" * 70, "more than 60 characters", ""),
    (f"Z = {'a' * 70}", "a" * 70, "more than 60 characters", "shorter"),
    (f"Z = {'(' * 101}a{')' * 101}", "(", "nested more than 100", "`Z = …`"),
    (
        f"Z = {'+'.join('a' * 200)}",
        "Z = " + "a+" * 199 + "a",
        "nested more than 100",
        "",
    ),
]


@pytest.mark.parametrize(("text", "marked", "message", "hint"), WRONG)
def test_errors(text, marked, message, hint):
    (error,) = errors_of(text)
    assert text[error.span.start : error.span.end] == marked
    assert message in error.message
    assert hint in (error.hint or "")
    assert not re.search(r"\b[A-Z]{3,}\b", error.message), "a raw terminal's name"


def test_one_wrong_line_does_not_hide_another():
    text = "feild z(x)\nparam W0 = 1\nZ = (a + b\nfield u(x)\nK = ∂u²\n"
    lines = [text.count("\n", 0, item.span.start) + 1 for item in errors_of(text)]
    assert lines == [1, 2, 3, 5]


def test_an_open_bracket_ends_at_the_next_evolution():
    first, second = errors_of("Z = f(a\ndz/dt = Z\nb = = 1")
    assert (first.span.start, second.message[:9]) == (5, "found '='")


def test_the_caret_stands_under_the_mistake():
    with pytest.raises(ModelErrors) as caught:
        parse(from_text("model a\n\tparam W0 = 0.5 # why\n", "a.npde"))
    assert str(caught.value) == (
        "a.npde:2:11: error: found '=' where 'init' was expected\n"
        "        param W0 = 0.5 # why\n"
        "                 ^\n"
        "hint: write `param W0 init 0.5`"
    )


def test_parse_expression_refuses_statements_and_nothing():
    for text in ("", "# nothing", "a = b", "field z(x)"):
        with pytest.raises(ModelErrors):
            parse_expression(from_text(text))
    assert of("(a +\n b) # sum") == ("group", ("+", "a", "b"))


def test_too_many_statements():
    (error,) = errors_of("a = 1\n" * (parser.MAX_STATEMENTS + 1))
    assert "at most 1000 statements" in error.message


def test_messages_quote_one_short_line():
    (error,) = errors_of("Z = (a + # why\n b)/c d" + " e" * 500)
    assert error.message.startswith("'(a + b)/c d e e") and "…" in error.message
    assert len(error.message) < 100 and len(error.hint or "") < 300


def test_long_wrong_lines_are_refused_in_time():
    start = time.perf_counter()
    for line in ("Z = a" + "(a,b)" * 1900, "x '" * 3000, "d2a " * 2400, "∂" * 9000):
        assert errors_of(line)
    assert time.perf_counter() - start < 5


def test_deep_trees_are_refused_without_recursion():
    for text in ("Z = " + "-" * 9000 + "a", "Z = " + "^".join("a" * 4000)):
        (error,) = errors_of(text)
        assert "nested more than 100" in error.message


# --- errors.py --------------------------------------------------------------------


def test_render_counts_wide_and_combining_characters():
    source = Source("m", "漢x\u0323 = é")
    text = render(source, [Diagnostic("here", Span(4, 5))])
    assert text.split("\n")[2] == "    " + " " * 4 + "^"


def test_render_marks_the_first_line_of_a_long_span():
    source = from_text("a = (b\n + c)")
    text = render(source, [Diagnostic("here", Span(4, 12))])
    assert text.split("\n")[1:] == ["    a = (b", "        ^^"]


def test_render_clips_long_lines_and_long_lists():
    source = from_text("x" * 5000)
    found = [Diagnostic("here", Span(at, at + 1)) for at in range(0, 4000, 100)]
    text = render(source, found)
    assert text.endswith("… and 20 more")
    assert max(len(line) for line in text.split("\n")) < 120
    assert text.count("^") == 20


def test_reporter_sorts_and_forgets_repetitions():
    reporter = Reporter(from_text("abc"))
    reporter.warning("doubt", Span(2, 3))
    reporter.raise_if_errors()
    for _ in range(2):
        reporter.error("mistake", Span(0, 1), "mend it")
    assert [item.message for item in reporter.diagnostics] == ["mistake", "doubt"]
    with pytest.raises(ModelErrors, match="warning: doubt"):
        reporter.raise_if_errors()


def test_suggest():
    assert suggest("feild", ["field", "param"]) == "field"
    assert suggest("FIELD", ["field", "param"]) == "field"
    assert suggest("zzz", ["field", "param"]) is None


# --- source.py --------------------------------------------------------------------


def test_positions():
    source = from_text("ab\ncde\n", "m.npde")
    assert source.position(0) == (1, 1)
    assert source.position(5) == (2, 3)
    assert source.line(2) == "cde"
    assert source.location(Span(4, 5)) == "m.npde:2"
    assert len(source.digest) == 64


def test_read_normalises(tmp_path):
    file = tmp_path / "m.npde"
    file.write_bytes(b"\xef\xbb\xbfa = e\xcc\x81\r\nb = 1\rc = 2\n")
    source = read(file)
    assert (source.name, source.text) == ("m.npde", "a = é\nb = 1\nc = 2\n")


def test_read_refuses_what_is_no_file(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        read(tmp_path / "absent.npde")
    with pytest.raises(UsageError, match="folder"):
        read(tmp_path)
    with pytest.raises(UsageError, match="cannot read"):
        read("a\0b")


@pytest.mark.parametrize(
    ("data", "message", "where"),
    [
        (b"ab\n\xe9 = 1", "byte 0xe9 is not valid UTF-8", "2:1"),
        (b"ab\n c\x00", "control character U+0000", "2:3"),
        (b"a\x1b[0m", "control character U+001B", "1:2"),
        ("a\u202eb".encode(), "text-direction character U+202E", "1:2"),
        (b"a" * 10_001, "longer than 10000 characters", "1:10001"),
        (b"a\n" * MAX_BYTES, "at most 1024 KiB", "1:1"),
    ],
)
def test_read_refuses_what_is_no_text(tmp_path, data, message, where):
    file = tmp_path / "m.npde"
    file.write_bytes(data)
    with pytest.raises(ModelErrors) as caught:
        read(file)
    text = str(caught.value)
    assert text.startswith(f"m.npde:{where}: error: ") and message in text
    assert len(caught.value.diagnostics) == 1


def test_from_text_refuses_surrogates():
    with pytest.raises(ModelErrors, match="U\\+D800") as caught:
        from_text("a\ud800")
    str(caught.value).encode()


# --- robustness -------------------------------------------------------------------

_PIECES = [
    *"()[]{}+-*/^=,:;.'#\n\t <>∂∇√·²⁻ᵀ₀γλ0123eE_dtxz\u0430\u202f",
    *("dz/dt", "d2/dx2", "∂²", "∇·", "init", "field", "param", "in", "every", "1e9"),
]


def test_mutated_models_raise_only_model_errors():
    random_ = random.Random(7)
    texts = list(MODELS.values())
    for _ in range(400):
        text = random_.choice(texts)
        for _ in range(random_.randint(1, 6)):
            at = random_.randrange(len(text))
            cut = random_.choice((0, 0, 1, 3, 20))
            text = text[:at] + random_.choice(_PIECES) + text[at + cut :]
        source = from_text(text)
        try:
            parse(source)
        except ModelErrors as errors:
            assert errors.diagnostics and str(errors)
            for item in errors.diagnostics:
                assert 0 <= item.span.start <= item.span.end <= len(source.text)


def test_parsing_is_fast():
    source = from_text(ADR + GRAY_SCOTT)
    parse(source)
    start = time.perf_counter()
    parse(source)
    assert time.perf_counter() - start < 0.25, "typical: 0.01 s"
