"""``pdec fmt``: one canonical layout, the same meaning, all comments, two spellings."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import random_models

from pdec import cli
from pdec.errors import ModelErrors
from pdec.formatting import layout
from pdec.formatting.layout import WIDTH, Spelling, format_model
from pdec.formatting.respell import meaning
from pdec.reading.parser import parse
from pdec.source import from_text, read

ROOT = Path(__file__).resolve().parent.parent
GRID = "grid x[8] on [0, 1) periodic\n"
GRID_2D = "grid x[8] on [0, 1) periodic, y[8] on [0, 1) periodic\n"


def formatted(text, spelling=Spelling.KEPT):
    return format_model(from_text(text), spelling)


def snippets():
    """The models in the documentation: fenced blocks that have no syntax errors."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]:
        blocks = re.findall(r"```[a-z]*\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        for number, block in enumerate(blocks):
            try:
                statements = parse(from_text(block)).statements
            except ModelErrors:
                continue
            if statements:
                yield pytest.param(block, id=f"{page.name}-{number}")


def models():
    for folder in ("examples", "tests/models"):
        for path in sorted((ROOT / folder).glob("**/*.npde")):
            yield pytest.param(read(path).text, id=path.name)


def check_format(text, spelling):
    """The layout is stable, means the same, and keeps every comment."""
    source = from_text(text)
    once = format_model(source, spelling)
    assert formatted(once, spelling) == once
    kept = spelling is Spelling.KEPT
    before, after = parse(source), parse(from_text(once))
    assert meaning(before, spelled=kept) == meaning(after, spelled=kept)
    assert sorted(comments(once)) == sorted(comments(source.text))
    assert not re.search(r"[ \t]\n|\n\n\n|\t", re.sub("#.*", "#", once))
    assert not once or once[-1] == "\n" != once[-2:-1]


def comments(text):
    return [comment.rstrip() for comment in re.findall("#.*", text)]


@pytest.mark.parametrize("spelling", Spelling)
@pytest.mark.parametrize("text", [*models(), *snippets()])
def test_models_and_snippets(text, spelling):
    check_format(text, spelling)


def test_random_models_in_any_layout(request):
    count = 1000 if request.config.getoption("--full") else 80
    for seed in range(count):
        text = random_models.untidy(random_models.text(seed), seed)
        check_format(text, Spelling.KEPT)
        if seed % 5 == 0:
            check_format(text, Spelling.ASCII)
            check_format(text, Spelling.UNICODE)


# --- one line ---------------------------------------------------------------------

LINES = [
    ("Z=a+b-c", "Z = a + b - c"),
    ("Z = - a  b", "Z = -a b"),
    ("Z = a- -b", "Z = a - -b"),
    ("Z = a*-b", "Z = a * -b"),
    ("Z = a / b", "Z = a/b"),
    ("Z = 2a", "Z = 2 a"),
    ("Z = f (z)", "Z = f(z)"),
    ("Z = sin ² ( z )", "Z = sin²(z)"),
    ("Z = sin ^ 2 (z)", "Z = sin^2(z)"),
    ("Z = (a)(b)", "Z = (a) (b)"),
    ("Z = x ² ³", "Z = x² ³"),
    ("Z = A ᵀ z", "Z = Aᵀ z"),
    ("Z = z [ 0 ] a", "Z = z[0] a"),
    ("Z = A[i ,j]", "Z = A[i, j]"),
    ("Z = a ^ - 1", "Z = a^-1"),
    ("Z = ∂ ∂ z", "Z = ∂∂z"),
    ("Z = ∂ ^ 2 z", "Z = ∂^2z"),
    ("Z = ∂ x ∂ x z", "Z = ∂x∂x z"),
    ("Z = ∂x(a ∂x z)", "Z = ∂x (a ∂x z)"),
    ("Z = d2 / dx2   z", "Z = d2/dx2 z"),
    ("Z = laplacian (z)", "Z = laplacian(z)"),
    ("Z = √ ( 2 ) √ a", "Z = √(2) √a"),
    ("Z = U · ∇ z", "Z = U·∇z"),
    ("Z = a·b", "Z = a · b"),
    ("Z = f(a,b)", "Z = f(a, b)"),
    ("Z = 1.50 + 5e-5 + 007", "Z = 1.50 + 5e-5 + 007"),
    ("dz /  dt=-z", "dz/dt = -z"),
    ("param A [d ,d] (x,t)>=0 init 1,b", "param A[d,d](x, t) >= 0 init 1, b"),
    ("param q in( 0,2 ] init normal( 0,1)", "param q in (0, 2] init normal(0, 1)"),
    ("param B psd", "param B psd"),
    ("grid y [4]on[0,1]", "grid y[4] on [0, 1]"),
    ("at x=0:z=1", "at x = 0: z = 1"),
    ("at x ,y :∂ n z=0", "at x, y: ∂n z = 0"),
    ("kernel K(r;σ,c)=exp(-r²/σ)", "kernel K(r; σ, c) = exp(-r²/σ)"),
    ("target label :class", "target label: class"),
    ("target y(x,t)every 4", "target y(x, t) every 4"),
    ("readout s [10]=integral( z )", "readout s[10] = integral(z)"),
]


NAMED = f"{GRID}field u(x), v(x)\nparam a(x), γ\nf(s) = s\n"
# what is a product does not look like a call
FACTORS = [
    ("Z = a u(1-u)", "Z = a u (1 - u)"),
    ("Z = a u²(1-u)", "Z = a u² (1 - u)"),
    ("Z = ∂ u(1 -u)", "Z = ∂u (1 - u)"),
    ("Z = a f (u)(1-u)", "Z = a f(u) (1 - u)"),
    ("Z = -γ (u-f (u))", "Z = -γ (u - f(u))"),
    ("Z = -γ(u-f(u))", "Z = -γ(u - f(u))"),
    ("Z = u  (1-u) (u-a)", "Z = u (1 - u) (u - a)"),
    ("Z = a² (1-u)", "Z = a² (1 - u)"),
    ("Z = v a (x) tanh (u)", "Z = v a(x) tanh(u)"),
    ("g(r, s) = γ r(1-s)", "g(r, s) = γ r (1 - s)"),
]


CASES = [(GRID, *line) for line in LINES] + [(NAMED, *line) for line in FACTORS]


@pytest.mark.parametrize(("head", "written", "expected"), CASES)
def test_spaces(head, written, expected):
    assert formatted(head + written) == f"{head}{expected}\n"
    assert formatted(head + expected) == f"{head}{expected}\n"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").glob("*.npde")), ids=lambda p: p.name
)
def test_examples_are_in_the_canonical_form(path):
    assert format_model(read(path)) == path.read_text("utf-8")


def test_long_lines_are_broken_before_operators():
    terms = " + ".join(f"coefficient_{k} z" for k in range(9))
    text = formatted(f"{GRID}dz/dt = -γ(z - f({terms}))")
    lines = text.splitlines()[1:]
    assert len(lines) == 3
    assert all(len(line) <= WIDTH for line in lines)
    assert all(line.startswith("    + ") for line in lines[1:])
    joined = " ".join(line.strip() for line in lines)
    assert joined == f"dz/dt = -γ(z - f({terms}))"


def test_lists_are_broken_at_commas():
    names = ", ".join(f"parameter_{k}(x) init 0.5" for k in range(9))
    lines = formatted(f"{GRID}param {names}").splitlines()[1:]
    assert len(lines) > 1
    assert all(line.startswith("    , ") for line in lines[1:])
    assert all(len(line) <= WIDTH for line in lines)


def test_what_cannot_be_broken_stays():
    product = " ".join(f"coefficient_{k}" for k in range(9))
    assert formatted(f"Z = {product}") == f"Z = {product}\n"


def test_continued_lines_are_joined():
    text = "dz/dt = -γ(z\n\n   - f(W0 z\n + W1 ∂z)\n)\n  - b"
    assert formatted(GRID + text) == f"{GRID}dz/dt = -γ(z - f(W0 z + W1 ∂z)) - b\n"


# --- comments and blank lines -----------------------------------------------------

BLOCKS = {
    "aligned": (
        "steps 3 # a\naccuracy 2# b\n\nω = 0.5 # c",
        "steps 3     # a\naccuracy 2  # b\n\nω = 0.5  # c\n",
    ),
    "own lines": ("  # a\n\n\n\n #b  \nsteps 3\n# c", "# a\n\n#b\nsteps 3\n# c\n"),
    "only comments": ("\n\n# a\n\n", "# a\n"),
    "nothing": ("\n \n", ""),
    "inside": (
        "Z = a # one\n + b # two\n # three\n - c # four",
        "Z = a    # one\n    + b  # two\n    # three\n    - c  # four\n",
    ),
    "in a bracket": (
        "Z = f(a, # one\n\n# two\nb)",
        "Z = f(a,  # one\n    # two\n    b)\n",
    ),
    "inside a sign": (
        "Z = (d2 / # why\n dx2 z) # end",
        "# why\nZ = (d2/dx2 z)  # end\n",
    ),
    "a hash in a comment": ("steps 3 # a # b", "steps 3  # a # b\n"),
    "a long neighbour": (
        f"Z = {'a + ' * 18}a # far\nsteps 3 # near",
        f"Z = {'a + ' * 18}a  # far\nsteps 3  # near\n",
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_comments(name):
    written, expected = BLOCKS[name]
    assert formatted(written) == expected
    assert formatted(expected) == expected


# --- spelling ---------------------------------------------------------------------

SPELLINGS = [  # grid, Unicode, ASCII
    (GRID, "const γ = 1", "const gamma = 1"),
    (GRID, "dγ₀/dt = -2 · γ₀²", "dgamma0/dt = -2 * gamma0^2"),
    (GRID, "Z = W₁ ∂z + W₂ ∂²z", "Z = W1 d/dx z + W2 d2/dx2 z"),
    (GRID, "Z = σ_x x⁻¹ sin²(λ)", "Z = sigma_x x^-1 sin^2(lambda_)"),
    (GRID, "Z = ∇²z + U·∇z + √a", "Z = laplacian z + U·∇z + √a"),
    (GRID, "param κ(x) ≥ 0 ≤ 2", "param kappa(x) >= 0 <= 2"),
    (GRID, "at x: ∂n z = 0", "at x: ∂n z = 0"),
    (GRID_2D, "Z = ∂x z + ∂yy z + ∂xy z", "Z = d/dx z + d2/dy2 z + d2/dxdy z"),
    (GRID_2D, "at x: ∂z = 0", "at x: ∂z = 0"),
]


@pytest.mark.parametrize(("grid", "wide", "plain"), SPELLINGS)
def test_spellings(grid, wide, plain):
    for text in (wide, plain):
        assert formatted(grid + text, Spelling.UNICODE) == f"{grid}{wide}\n"
        assert formatted(grid + text, Spelling.ASCII) == f"{grid}{plain}\n"


KEPT = [
    (Spelling.ASCII, "Z = x² ³"),  # x^2^3 is another power
    (Spelling.ASCII, "Z = x²ᵀ"),
    (Spelling.ASCII, "Z = δ/dt"),  # delta/dt would be a derivative in time
    (Spelling.UNICODE, "Z = x^2.0"),
    (Spelling.UNICODE, "Z = x^n"),
    (Spelling.UNICODE, "dtype float32"),
    (Spelling.UNICODE, "model gray2"),
]


@pytest.mark.parametrize(("spelling", "text"), KEPT)
def test_what_has_no_equal_spelling_is_kept(spelling, text):
    assert formatted(text, spelling) == f"{text}\n"


def test_axes_are_named_where_a_bare_sign_would_take_the_next_name():
    text = GRID + "Z = d/dx x z\n"
    assert formatted(text, Spelling.UNICODE) == GRID + "Z = ∂x x z\n"


# --- the command ------------------------------------------------------------------

UNTIDY = "# ω\nsteps   3 # a\n"
TIDY = "# ω\nsteps 3  # a\n"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.npde"
    path.write_text(UNTIDY, encoding="utf-8")
    return path


def run(*arguments):
    return cli.main(["fmt", *map(str, arguments)])


def test_file_is_rewritten_whole(model, capsys):
    model.chmod(0o640)
    assert run(model) == cli.OK
    assert model.read_text("utf-8") == TIDY
    assert stat.S_IMODE(model.stat().st_mode) == 0o640
    assert os.listdir(model.parent) == ["m.npde"]
    assert "m.npde" in capsys.readouterr().out
    assert run(model) == cli.OK
    assert not capsys.readouterr().out


def test_check_and_diff_write_nothing(model, capsys):
    assert run("--check", model) == cli.FAILURE
    assert "m.npde would be laid out anew" in capsys.readouterr().out
    assert run("--check", "--diff", model) == cli.FAILURE
    shown = capsys.readouterr().out
    assert "-steps   3 # a\n+steps 3  # a\n" in shown
    assert model.read_text("utf-8") == UNTIDY
    model.write_text(TIDY, encoding="utf-8")
    assert run("--check", "--diff", model) == cli.OK
    assert not capsys.readouterr().out


def test_line_ends_and_byte_order_mark_are_changes(model):
    model.write_bytes(b"\xef\xbb\xbfsteps 3\r\n")
    assert run("--check", model) == cli.FAILURE
    assert run(model) == cli.OK
    assert model.read_bytes() == b"steps 3\n"


def test_files_with_errors_are_left_alone(model, tmp_path, capsys):
    wrong = tmp_path / "wrong.npde"
    wrong.write_text("steps  (3\n", encoding="utf-8")
    assert run(wrong, tmp_path / "absent.npde", model) == cli.USER_ERROR
    assert wrong.read_text("utf-8") == "steps  (3\n"
    assert model.read_text("utf-8") == TIDY
    shown = capsys.readouterr().err
    assert "never closed" in shown
    assert "absent.npde" in shown


def test_spelling_options(model):
    model.write_text("ω = 0.5\n", encoding="utf-8")
    assert run("--ascii", model) == cli.OK
    assert model.read_text("utf-8") == "omega = 0.5\n"
    assert run("--unicode", model) == cli.OK
    assert model.read_text("utf-8") == "ω = 0.5\n"
    assert run("--unicode", "--ascii", model) == cli.USER_ERROR


def test_standard_input(tmp_path):
    command = [sys.executable, "-m", "pdec", "fmt"]
    done = subprocess.run([*command, "-"], input=UNTIDY.encode(), capture_output=True)
    assert (done.returncode, done.stdout) == (0, TIDY.encode())
    wrong = subprocess.run([*command, "-"], input=b"\xff", capture_output=True)
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert b"UTF-8" in wrong.stderr


def test_another_meaning_is_never_written(model, monkeypatch, capsys):
    monkeypatch.setattr(layout, "_aligned", lambda lines: ["steps 4"])
    monkeypatch.delenv("PDEC_DEBUG", raising=False)
    assert run(model) == cli.BUG
    assert model.read_text("utf-8") == UNTIDY
    assert "bug in pdec" in capsys.readouterr().err
