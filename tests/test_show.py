"""``pdec show``: the derivation as text, LaTeX and data, and every form on the way."""

from __future__ import annotations

import ast
import json
import re

import pytest

from pdec import cli, pipeline, source
from pdec.commands import explain
from pdec.commands.show import STAGES
from pdec.derivation import sections, stability_lines
from pdec.forms import notation
from pdec.forms.symbolic import Access, Constant

EXAMPLES = (
    "adr1d",
    "burgers",
    "digits",
    "gray_scott",
    "heat_robin",
    "kernel",
    "tensor",
)


@pytest.fixture(scope="module")
def derivations(repository):
    """The derivations of some examples, by name."""
    folder = repository / "examples"
    paths = {name: folder / f"{name}.npde" for name in EXAMPLES}
    return {name: pipeline.derive(source.read(path)) for name, path in paths.items()}


@pytest.fixture
def adr(repository):
    return str(repository / "examples" / "adr1d.npde")


def shown(capsys, *arguments):
    assert cli.main(["show", *arguments]) == 0
    return capsys.readouterr().out


# --- LaTeX ------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_latex_is_well_formed(name, derivations):
    text = explain.explain(derivations[name], latex=True)
    assert text.isascii()
    head, *lines = text.splitlines()
    assert head.startswith("%") and "amsmath" in head
    for line in lines:
        assert balanced(line), line
        # A subscript is braced, and any other underscore is escaped.
        assert not re.search(r"(?<!\\)_(?!\{)", line), line
        assert line.count("&") == (0 if line.startswith("\\") else 1), line
        assert line.count(r"\left") == line.count(r"\right"), line
    begun, ended = text.count(r"\begin{align*}"), text.count(r"\end{align*}")
    assert begun == ended == text.count(r"\paragraph{")


def balanced(line):
    depth = 0
    for character in re.sub(r"\\[{}]", "", line):
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    return depth == 0


def test_latex_of_the_readme_model(derivations):
    text = explain.explain(derivations["adr1d"], latex=True)
    for row in (
        r"\frac{\partial z}{\partial t} &= - \gamma\,\left(z - f_{Z}\right)",
        r"Z_{-1} &= \frac{W_{2}}{\Delta x^{2}} - \frac{W_{1}}{2\,\Delta x}",
        r"\bar{Z}_{+1} &\mathrel{+}= \sum_{\mathrm{batch}, x} \bar{Z}\,{z}_{[x+1]}",
        r"\bar{b} &\mathrel{-}= \sum_{\mathrm{batch}} \bar{Z}",
        r"Z_{0} &= W_{0} - \frac{2\,W_{2}}{\Delta x^{2}}",
        r"\bar{Z} &= \bar{z}^{+}\,\omega\,\left(1 - f_{Z}^{2}\right)",
    ):
        assert row in text


def test_a_subscript_of_the_users_is_no_offset():
    assert notation.latex(Access("W_m1", ()), {"W_m1": "W_m1"}) == r"W_{\mathrm{m1}}"
    assert notation.latex(Access("W_xm1", ()), {}) == "W_{x-1}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_name_is_defined(name, derivations):
    derived = derivations[name]
    model = derived.model
    formulas = [f for part in sections(derived) for f in part.formulas if f.target]
    known = {*model.constants, *model.spellings, "omega", "dt"}
    known |= {f"d{axis}" for axis in model.axes} | {str(f.target) for f in formulas}
    used = {str(c) for f in formulas for c in f.right.atoms(Constant)}
    assert used <= known


def test_the_factor_is_that_of_the_scheme(repository):
    text = (repository / "examples" / "adr1d.npde").read_text("utf-8")
    for scheme, factor in {
        "euler": "G(θ, s) = 1 - ω + ω s Λ(θ), stable where |G| ≤ 1 for every mode θ",
        "implicit": "G = 1/(1 - ω rate), rate = s Λ(θ) - 1 for every mode θ",
        "exponential": "G = 1 + (1 - exp(-ω)) rate, rate = s Λ(θ) - 1 for every mode θ",
    }.items():
        model = source.from_text(f"{text}scheme {scheme}\n")
        assert stability_lines(pipeline.derive(model))[0] == factor


def test_a_maximum_is_no_sum(derivations):
    text = explain.explain(derivations["digits"])
    assert "peak = max_{i} logits[i]" in text
    assert r"\mathrm{peak} &= \max_{i} {\mathrm{logits}}_{[i]}" in explain.explain(
        derivations["digits"], latex=True
    )


# --- data -------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_data(name, derivations):
    found = json.loads(explain.data(derivations[name]))
    assert found["sections"][0]["title"] == "equation"
    for section in found["sections"]:
        for formula in section["formulas"]:
            assert formula["text"]
            assert formula["latex"] is None or "&" not in formula["latex"]
    for array in found["arrays"].values():
        assert len(array["shape"]) <= len(array["axes"])


def test_stencils_as_data(derivations):
    found = json.loads(explain.data(derivations["adr1d"]))
    (stencil,) = found["stencils"]
    assert stencil["target"] == "Z"
    weights = {
        term["offset"]["x"]: term["weight"]
        for term in stencil["terms"]
        if term["array"] == "z"
    }
    assert weights == {-1: "Z_m1", 0: "Z_0", 1: "Z_p1"}
    assert found["arrays"]["z"]["axes"] == [
        {"name": "batch", "size": None, "ghosts": 0},
        {"name": "x", "size": 128, "ghosts": 1},
    ]


# --- code -------------------------------------------------------------------------


def test_code_is_the_mathematics_alone(adr, capsys):
    code = shown(capsys, adr, "--code")
    functions = [n.name for n in ast.parse(code).body if isinstance(n, ast.FunctionDef)]
    assert {"_coefficients", "_step", "_step_vjp", "_step_jvp"} <= set(functions)
    assert "def value_and_grad" not in code
    whole = shown(capsys, adr, "--stage", "text")
    assert code.strip() in whole and "def value_and_grad" in whole


# --- stages -----------------------------------------------------------------------


@pytest.mark.parametrize("stage", [s for s in STAGES if s not in ("tree", "text")])
@pytest.mark.parametrize("name", EXAMPLES)
def test_stages_print(name, stage, derivations):
    text = explain.stage(derivations[name], stage)
    assert text.strip() and "~bar" not in text and "Span(" not in text


def test_stages_of_the_readme_model(adr, derivations, capsys):
    derived = derivations["adr1d"]
    tree = shown(capsys, adr, "--stage", "tree").splitlines()
    assert tree[0].startswith("ModelStatement at ")
    assert any("Name text='γ', name='gamma'" in line for line in tree)
    model = explain.stage(derived, "model")
    assert "axis x: 128 cells on [0, 1) periodic" in model
    assert "relaxation: rate γ, equilibrium f_Z" in model
    program = explain.stage(derived, "program")
    assert "  z: state, batch, x 128 + 1 ghosts a side" in program
    assert "  z⁺[batch, x] = ω f_Z + (1 - ω) z" in program
    assert "  z̄[batch, x-1] += Z_m1 Z̄" in explain.stage(derived, "adjoint")
    assert "# tangent of z⁺ = ω f_Z + (1 - ω) z" in explain.stage(derived, "tangent")
    assert "a[x+1] = Z_p1" in explain.stage(derived, "stability")


def test_the_tree_needs_no_meaning(tmp_path, capsys):
    model = tmp_path / "m.npde"
    model.write_text("Z = q ∂²z\n", encoding="utf-8")
    lines = shown(capsys, str(model), "--stage", "tree").splitlines()
    assert lines == [
        "Equation at 1:1",
        "  left: Name text='Z', name='Z', at 1:1",
        "  right: Juxtaposition at 1:5",
        "    Name text='q', name='q', at 1:5",
        "    Derivative kind='partial', order=2, text='∂²', at 1:7",
        "    Name text='z', name='z', at 1:9",
    ]
    assert cli.main(["show", str(model)]) == 2


# --- usage ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [["--latex", "--json"], ["--code", "--stage", "tree"], ["--stage", "trees"]],
)
def test_one_form_at_a_time(options, adr, capsys):
    assert cli.main(["show", adr, *options]) == 2
    assert "Usage: pdec show" in capsys.readouterr().err


def test_help_names_the_stages(capsys):
    text = shown(capsys, "--help")
    assert all(re.search(rf"(?m)^ +{stage} ", text) for stage in STAGES)


def test_settings_reach_every_form(adr, capsys):
    assert '"size": 8' in shown(capsys, adr, "--json", "--set", "x=8")
    assert "axis x: 8 cells" in shown(capsys, adr, "--stage", "model", "--set", "x=8")
