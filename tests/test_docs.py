"""The documentation is true: models compile, messages are exact, Python runs.

How a fenced block is marked says what is checked:

    ```npde                 a complete model: it compiles and passes its self-check
    ```npde part FRAME      a part of a model; the frame supplies what it lacks
    ```npde same FRAME      lines ``left  means  right``, two right-hand sides
    ```npde wrong [FRAME]   mistakes, each with its message beside it: ``# error: …``;
                            a ```text block behind it is the whole report
    ```npde later FRAME     parted by empty lines: what this version cannot compile
    ```python               runs, in the order of the page, beside the page's models
    ```python pdec/…        a file that is dropped into a copy of the package

The pages are README.md and docs/*.md.  Text between ``<!-- generated: NAME -->`` and
``<!-- end -->`` comes from the compiler; ``python tests/test_docs.py`` writes it anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sympy

from pdec.boundaries import __name__ as BOUNDARIES
from pdec.contracts import Boundary, Operator, Scheme, discover
from pdec.derive import Derivation
from pdec.discretisation.ghosts import ghost_rows
from pdec.discretisation.stencil import weights
from pdec.errors import ModelErrors, PdecError
from pdec.forms.model import Condition, GridAxis, Model
from pdec.forms.notation import text as written
from pdec.forms.statements import Array, Block, Clear, Fold, Ghost, GhostRow, Map
from pdec.forms.symbolic import Access
from pdec.meaning.resolve import resolve
from pdec.pipeline import compile_source, derive, module_of
from pdec.reading.parser import parse
from pdec.reading.spelling import (
    GREEK,
    RESERVED,
    STATEMENT_WORDS,
    SUBSCRIPTS,
    SUPERSCRIPTS,
    canonical,
)
from pdec.source import Source, Span, from_text

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{file.name}" for file in (ROOT / "docs").iterdir()),
)

FRAMES = {
    "line": """\
grid x[16] on [0, 1) periodic
field z(x)
dz/dt = -z
steps 2
dt = 0.01
""",
    "walls": """\
grid x[16] on [0, 1]
at x: ∂z = 0
field z(x)
dz/dt = -z
steps 2
dt = 0.01
""",
    "plane": """\
grid x[8] on [0, 1) periodic, y[6] on [0, 1) periodic
field z(x, y)
dz/dt = -z
steps 2
dt = 0.01
""",
    "channels": """\
dim d = 3
grid x[8] on [0, 1) periodic
field z[d](x)
dz/dt = -z
steps 2
dt = 0.01
""",
    "relaxation": """\
grid x[16] on [0, 1) periodic
field z(x)
param W0 init 0.5, W2 >= 0 init 1e-4, b(x)
const γ = 1
f(s) = tanh(s)
dz/dt = -γ(z - f(W0 z + W2 ∂²z - b))
steps 2
ω = 0.5
""",
    # the names that the right-hand sides of ``same`` blocks use
    "names": """\
grid x[16] on [0, 1) periodic
field z(x)
param a init 0.1, b init 0.2, c init 0.3, W0(x) init 1, κ(x) init 0.01
f(s) = tanh(s)
steps 2
dt = 0.01
""",
}


# --- the pages ---------------------------------------------------------------------


@dataclass(frozen=True)
class Snippet:
    """A fenced block: where it stands, what its first line says, and its text."""

    page: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


_FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(page: str) -> list[Snippet]:
    """The fenced blocks of a page, in their order."""
    text = (ROOT / page).read_text("utf-8")
    return [
        Snippet(
            page,
            text.count("\n", 0, found.start()) + 1,
            found[1],
            tuple(found[2].split()),
            found[3],
        )
        for found in _FENCE.finditer(text)
    ]


def marked(kind: str | None) -> list[Any]:
    """The npde blocks of a kind as test parameters; None stands for complete models."""
    found = [s for page in PAGES for s in snippets(page) if s.language == "npde"]
    return [
        pytest.param(s, id=s.name)
        for s in found
        if (s.words[0] if s.words else None) == kind
    ]


def completed(snippet: Snippet, text: str | None = None) -> Source:
    """A model from a part of one: the frame's statements follow, where they lack."""
    part = snippet.text if text is None else text
    given = {_role(line) for line in part.splitlines()}
    frame = FRAMES[snippet.words[1]] if len(snippet.words) > 1 else ""
    lacking = [line for line in frame.splitlines() if _role(line) not in given]
    return from_text("\n".join([part.rstrip("\n"), *lacking]) + "\n", "model.npde")


def _role(line: str) -> str:
    """What a statement supplies, so that a part of a model can replace it."""
    if re.match(r"d\w+\s*/\s*dt\b", line):
        return "rate"
    if re.match(r"(param )?(dt|ω|omega)\b", line):
        return "step"
    if line.startswith("at "):
        return "initial" if line.startswith("at t") else "walls"
    word = line.split(" ")[0].partition("(")[0]
    return f"{word} {line.split(' ')[1]}" if word == "param" else word


# --- models ------------------------------------------------------------------------


@pytest.mark.parametrize("snippet", marked(None))
def test_models(snippet):
    _compile_and_check(from_text(snippet.text, f"{_title(snippet) or 'model'}.npde"))


@pytest.mark.parametrize("snippet", marked("part"))
def test_parts_of_models(snippet):
    _compile_and_check(completed(snippet))


def _compile_and_check(source: Source) -> None:
    report = module_of(compile_source(source)).selfcheck()
    assert report.passed, f"{source.text}\n{report}"


def _title(snippet: Snippet) -> str | None:
    found = re.search(r"^model (\w+)", snippet.text, re.MULTILINE)
    return found[1] if found else None


@pytest.mark.parametrize("snippet", marked("same"))
def test_equal_spellings(snippet):
    for line in snippet.text.strip().splitlines():
        left, right = (part.strip() for part in line.split(" means "))
        assert _meaning(snippet, left) == _meaning(snippet, right), line


def _meaning(snippet: Snippet, right_side: str) -> sympy.Expr:
    """What a right-hand side comes to, with every intermediate value written out."""
    source = completed(snippet, f"dz/dt = {right_side}\n")
    model = resolve(parse(source), source)
    expr = model.evolution["z"].expr
    while True:
        inner = {
            access: model.definitions[access.array].expr
            for access in expr.atoms(Access)
            if access.array in model.definitions
        }
        if not inner:
            return expr
        expr = expr.xreplace(inner)


# --- messages ----------------------------------------------------------------------


@pytest.mark.parametrize("snippet", marked("wrong"))
def test_messages(snippet):
    error = _rejected(completed(snippet))
    _compare_messages(error, snippet.text)


def shown_reports() -> list[Any]:
    """Wrong models, each with the report in the block behind it, where there is one."""
    pairs = [
        pytest.param(one, two.text, id=one.name)
        for page in PAGES
        for one, two in pairwise(snippets(page))
        if one.words[:1] == ("wrong",) and two.language == "text"
    ]
    assert pairs
    return pairs


@pytest.mark.parametrize("snippet, report", shown_reports())
def test_whole_reports(snippet, report):
    name = report.split(":")[0]
    assert _report(snippet, name) == report


def _report(snippet: Snippet, name: str) -> str:
    return f"{_rejected(from_text(snippet.text, name))}\n"


@pytest.mark.parametrize("snippet", marked("later"))
def test_what_does_not_exist_yet(snippet):
    for paragraph in re.split(r"\n\s*\n", snippet.text.strip()):
        try:
            error = _rejected(completed(snippet, paragraph))
        except AssertionError:
            pytest.fail(f"this compiles now, so the page is to say how:\n{paragraph}")
        _compare_messages(error, paragraph)


def _rejected(source: Source) -> ModelErrors:
    try:
        derive(source)
    except ModelErrors as error:
        return error
    except PdecError as error:
        raise AssertionError(f"no place in the source: {error}") from error
    raise AssertionError(f"this compiles:\n{source.text}")


def _compare_messages(error: ModelErrors, text: str) -> None:
    """Every ``# error: …`` is reported on its line, and nothing else is."""
    found = {
        (error.source.position(item.span.start)[0], item.message)
        for item in error.diagnostics
        if item.severity == "error"
    }
    expected = {
        (number, line.partition("# error: ")[2].strip())
        for number, line in enumerate(text.splitlines(), 1)
        if "# error: " in line
    }
    if expected:
        assert found == expected, str(error)


# --- Python ------------------------------------------------------------------------


def plain_python(page: str) -> list[Snippet]:
    return [s for s in snippets(page) if s.language == "python" and not s.words]


@pytest.mark.parametrize("page", [page for page in PAGES if plain_python(page)])
def test_python_runs(page, tmp_path, monkeypatch):
    blocks, code = snippets(page), plain_python(page)
    models = {_title(s): s.text for s in blocks if s.language == "npde" and not s.words}
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in models.items():
        if name is not None:
            Path(f"{name}.npde").write_text(text, "utf-8")
            module = compile_source(from_text(text, f"{name}.npde")).text
            Path(f"{name}.py").write_text(module, "utf-8")
            monkeypatch.delitem(sys.modules, name, raising=False)
    namespace: dict[str, Any] = {"__name__": "page"}
    for snippet in code:
        padding = "\n" * snippet.line  # so that a traceback names the page's lines
        exec(compile(padding + snippet.text, page, "exec"), namespace)
    for name in models:
        sys.modules.pop(name or "", None)


PLUGIN_FILES = {
    s.words[0]: s
    for page in PAGES
    for s in snippets(page)
    if s.language == "python" and s.words
}
PLUGIN_MODELS = {
    "pdec/operators/elu.py": "dz/dt = -(z - elu(W0 z + W2 ∂²z - b))",
    "pdec/schemes/ralston.py": "scheme ralston",
    "pdec/boundaries/insulated.py": (
        "grid x[16] on [0, 1]\nat x: ∂z = 0\ndz/dt = W2 ∂²z\ndt = 0.1"
    ),
}


@pytest.mark.parametrize("path", sorted(PLUGIN_FILES))
def test_plug_ins_of_one_file(path, tmp_path):
    """The file alone, dropped into a copy of the package, extends the language."""
    shutil.copytree(
        ROOT / "pdec", tmp_path / "pdec", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(ROOT / "grammars", tmp_path / "grammars")
    (tmp_path / path).write_text(PLUGIN_FILES[path].text, "utf-8")
    part = Snippet("", 0, "npde", ("part", "relaxation"), PLUGIN_MODELS[path])
    (tmp_path / "extended.npde").write_text(completed(part).text, "utf-8")
    script = (
        "import pdec\n"
        "module = pdec.load('extended.npde')\n"
        "report = module.selfcheck()\n"
        "print(pdec.__file__, report, sep='\\n')\n"
        "assert report.passed\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(str(tmp_path))


# --- places ------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths_exist(page):
    text = _FENCE.sub("", (ROOT / page).read_text("utf-8"))
    prose = re.sub(r"`[^`]*`", "", text)
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose)
    missing = [
        link for link in links if not (ROOT / page).parent.joinpath(link).exists()
    ]
    files = re.findall(r"`((?:pdec|grammars|tests|examples|docs)/[^`\s]*)`", text)
    files = [file for file in files if "NAME" not in file]
    missing += [file for file in files if not _exists(file)]
    assert not missing


def _exists(file: str) -> bool:
    return (ROOT / file).exists() or file in PLUGIN_FILES or bool(list(ROOT.glob(file)))


@pytest.mark.parametrize("page", PAGES)
def test_anchors_exist(page):
    text = (ROOT / page).read_text("utf-8")
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        other = (ROOT / page).parent / target if target else ROOT / page
        titles = re.findall(r"^#+ (.+)$", other.read_text("utf-8"), re.MULTILINE)
        assert anchor in {_anchor(title) for title in titles}, f"{target}#{anchor}"


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_the_public_names_of_a_module_are_documented():
    source = from_text(
        (ROOT / "examples/digits.npde").read_text("utf-8"), "digits.npde"
    )
    module = module_of(compile_source(source))
    page = (ROOT / "docs/generated.md").read_text("utf-8")
    public = {
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and name[0] != "_"
    }
    assert not [name for name in sorted(public) if f"`{name}" not in page]


# --- generated text ------------------------------------------------------------------


_GENERATED = re.compile(
    r"(<!-- generated: ([\w ]+) -->\n)(.*?)(^<!-- end -->$)", re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize("page", PAGES)
def test_generated_text_is_current(page):
    text = (ROOT / page).read_text("utf-8")
    assert text == refreshed(text), "write it anew: python tests/test_docs.py"


def with_reports(page: str) -> str:
    """A page with the reports behind its wrong models written anew."""
    text = (ROOT / page).read_text("utf-8")
    for parameter in shown_reports():
        snippet, report = parameter.values
        if snippet.page == page:
            name = report.split(":")[0]
            text = text.replace(report, _report(snippet, name))
    return text


def refreshed(text: str) -> str:
    """A page with its generated parts written anew."""
    return _GENERATED.sub(lambda m: f"{m[1]}{_generators()[m[2]]()}\n{m[4]}", text)


def _generators() -> dict[str, Callable[[], str]]:
    return {
        "spelling": _spelling,
        "subscripts": _subscripts,
        "words": _words,
        "functions": _functions,
        "boundaries": _boundaries,
        "schemes": _schemes,
        "ghosts": _ghosts,
        "stencils": _stencils,
        "stage tree": _stage_tree,
        "stage model": _stage_model,
        "stage program": _stage_program,
        "stage adjoint": _stage_adjoint,
        "stage stability": _stage_stability,
        "stage module": _stage_module,
    }


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(*words: str) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _spelling() -> str:
    letters: dict[str, list[str]] = {}
    for letter, name in GREEK.items():
        letters.setdefault(name, []).append(letter)
    rows = [(name, _code(*found)) for name, found in letters.items()]
    half = (len(rows) + 1) // 2
    pairs = zip(rows[:half], [*rows[half:], ("", "")], strict=False)
    body = [(f"`{a}`", b, f"`{c}`" if c else "", d) for (a, b), (c, d) in pairs]
    return _table(("ASCII", "letters", "ASCII", "letters"), body)


def _subscripts() -> str:
    rows = [
        ("subscripts", _code(*SUBSCRIPTS), _code(*SUBSCRIPTS.values())),
        ("superscripts", _code(*SUPERSCRIPTS), _code(*SUPERSCRIPTS.values())),
    ]
    return _table(("", "characters", "stand for"), rows)


def _words() -> str:
    others = sorted(RESERVED - set(STATEMENT_WORDS))
    return f"{_code(*STATEMENT_WORDS)};\n{_code(*others)}."


def _functions() -> str:
    known = sorted(discover("pdec.operators", Operator).values(), key=lambda o: o.name)
    kinds = {True: "each cell", False: "a whole array"}
    rows = [(f"`{o.name}`", str(o.arity), kinds[o.elementwise], o.doc) for o in known]
    return _table(("function", "arguments", "acts on", "value"), rows)


def _boundaries() -> str:
    known = discover(BOUNDARIES, Boundary).values()
    return _table(("name", "condition"), [(b.name, b.doc) for b in known])


def _schemes() -> str:
    known = discover("pdec.schemes", Scheme).values()
    rows = [(f"`{s.name}`", str(s.order), _stages(s.text)) for s in known]
    return _table(("scheme", "order", "step"), rows)


def _stages(text: str) -> str:
    return "; ".join(f"`{line}`" for line in text.strip().splitlines())


def _ghosts() -> str:
    one, nought = sympy.S.One, sympy.S.Zero
    g, a, b = sympy.symbols("g a b", real=True)
    conditions = (
        ("`u = g`", one, nought, g),
        ("`∂n u = g`", nought, one, g),
        ("`a u + b ∂n u = g`", a, b, g),
    )
    rows = []
    axis = GridAxis("x", 16, 0.0, 1.0, False, Span(0, 0))
    for title, amplitude, slope, value in conditions:
        condition = Condition("", (amplitude, slope), value, Span(0, 0))
        ghosts = ghost_rows(axis, -1, 2, 2, (condition,))
        rows.append((title, *(f"`{_row(row)}`" for row in ghosts)))
    head = ("condition", "first ghost cell, `u[-1]`", "second, `u[-2]`")
    return _table(head, rows)


def _row(row: GhostRow) -> str:
    cells = [sympy.factor(w) * sympy.Symbol(f"u[{d}]") for _, d, w in row.cells]
    terms = [written(term) for term in cells]
    if row.value != 0:
        terms.append(written(sympy.factor(row.value)))
    return " + ".join(terms).replace("+ -", "- ")


def _stencils() -> str:
    rows = []
    for order in (1, 2, 3, 4):
        for accuracy in (2, 4, 6):
            found = weights(order, accuracy)
            reach = max(found)
            listed = [str(found.get(m, 0)) for m in range(-reach, reach + 1)]
            sign = "∂" + ("" if order == 1 else "²³⁴"[order - 2])
            row = (sign, str(accuracy), str(reach), f"`{'  '.join(listed)}`")
            rows.append(row)
    return _table(("", "accuracy", "ghost cells", "weights · Δxᵏ"), rows)


# --- the forms between the stages, for the example adr1d -----------------------------


def _adr1d() -> Source:
    text = (ROOT / "examples/adr1d.npde").read_text("utf-8")
    return from_text(text, "adr1d.npde")


def _derived() -> Derivation:
    return derive(_adr1d())


def _block(lines: Iterable[str]) -> str:
    return "\n".join(["```text", *(line.rstrip() for line in lines), "```"])


def _stage_tree() -> str:
    statements = parse(_adr1d()).statements
    chosen = [s for s in statements if type(s).__name__ == "EvolutionStatement"]
    return _block(_node(chosen[0], ""))


def _node(node: Any, indent: str) -> list[str]:
    """A tree node and those below it, one a line, without spans."""
    words, below = [type(node).__name__], []
    for field in fields(node):
        value = getattr(node, field.name)
        parts = value if isinstance(value, tuple) else (value,)
        if isinstance(value, Span) or value is None:
            continue
        if parts and all(is_dataclass(part) for part in parts):
            below += parts
        elif field.name not in ("value", "name", "axes") or not below:
            words.append(repr(value))
    lines = [indent + " ".join(dict.fromkeys(words))]
    for child in below:
        lines += _node(child, indent + "  ")
    return lines


def _stage_model() -> str:
    model: Model = _derived().model
    lines = [f'axes["x"]         {_plain(model.axes["x"])}']
    for name, variable in model.params.items():
        bounds = f"[{variable.low:g}, {variable.high:g}]"
        head = f'params["{name}"]'
        lines.append(
            f"{head:<18}domain {variable.domain}, init {tuple(variable.init)}, {bounds}"
        )
    for name, definition in model.definitions.items():
        over = f" Σ_{{{', '.join(definition.over)}}}" if definition.over else ""
        lines.append(f'{f"""definitions["{name}"]""":<21}={over} {definition.expr}')
    lines.append(f'evolution["z"]       = {model.evolution["z"].expr}')
    form = model.relaxation
    assert form is not None
    lines.append(
        f"relaxation           rate {form.rate}, equilibrium {form.equilibrium}"
    )
    lines.append(f"ω, Δt                {model.omega}, {model.dt}")
    return _block(lines)


def _plain(axis: GridAxis) -> str:
    edge = ") periodic" if axis.periodic else "]"
    interval = f"[{axis.low:g}, {axis.high:g}{edge}"
    return f"x[{axis.size}] on {interval}, Δx = {axis.spacing:g}"


def _stage_program() -> str:
    derivation = _derived()
    program = derivation.program
    lines = ["arrays"]
    for array in program.arrays.values():
        lines.append(f"    {array.name:<10}{array.role.value:<13}{_axes(array)}")
    for block in (program.coefficients, program.step, program.loss):
        lines += _statements(block)
    return _block(lines)


def _axes(array: Array) -> str:
    sizes = [
        axis.name if axis.name == "batch" else f"{axis.name}[{axis.size}]"
        for axis in array.axes
    ]
    ghosts = [f"{a.ghosts} ghost cell a side" for a in array.axes if a.ghosts]
    return " ".join([", ".join(sizes), *(f"({words})" for words in ghosts)])


def _stage_adjoint() -> str:
    derivation = _derived()
    step, shared = derivation.adjoints["step"], derivation.adjoints["coefficients"]
    blocks = (step.recompute, step.block, shared.block)
    return _block([line for block in blocks for line in _statements(block)])


def _statements(block: Block) -> list[str]:
    return [block.name, *(f"    {_statement(s)}" for s in block.statements)]


def _statement(statement: Any) -> str:
    if isinstance(statement, Map):
        sign = "+=" if statement.accumulate else "="
        over = f" Σ_{{{', '.join(statement.over)}}}" if statement.over else ""
        left, right = written(statement.target), written(statement.expr)
        return f"Map    {left} {sign}{over} {right}"
    if isinstance(statement, Ghost):
        rows = [*statement.low, *statement.high]
        cells = "; ".join(_cells(row) for row in rows)
        return f"Ghost  {statement.array} along {statement.axis}: {cells}"
    name = written(sympy.Symbol(statement.array.replace("~bar", "\u0304")))
    if isinstance(statement, Fold):
        return f"Fold   {name} along {statement.ghost.axis}"
    assert isinstance(statement, Clear)
    return f"Clear  {'ghost cells of ' if statement.ghosts_only else ''}{name}"


def _cells(row: GhostRow) -> str:
    wall = {-1: "low", 1: "high"}
    return " + ".join(f"{w} × cell {d} from {wall[side]}" for side, d, w in row.cells)


def _stage_stability() -> str:
    form = _derived().stability
    assert form is not None
    rows = [f"{place}: {written(a)}" for place, a in sorted(form.stencil.items())]
    return _block([f"stencil  {{{', '.join(rows)}}}", f"slopes   {form.slopes}"])


def _stage_module() -> str:
    text = compile_source(_adr1d()).text
    start = text.index("def _step(")
    lines = text[start : text.index("\n\n\n", start)].splitlines()
    return "\n".join(["```text", *lines, "```"])


# --- what keeps the checks honest ----------------------------------------------------


def test_parts_replace_what_the_frame_would_supply():
    part = Snippet("", 0, "npde", ("part", "line"), "dz/dt = -2 z\nω = 0.5\n")
    source = completed(part)
    assert source.text.count("dz/dt") == 1
    assert "dt = 0.01" not in source.text
    assert "steps 2" in source.text


def test_spelling_reaches_the_generated_code():
    assert canonical("κ₀") == "kappa0"
    assert canonical("λ") == canonical("lambda") == "lambda_"


def test_every_example_is_described() -> None:
    page = (ROOT / "docs" / "examples.md").read_text("utf-8")
    models = sorted((ROOT / "examples").glob("*.npde"))
    assert models
    for model in models:
        assert f"(../examples/{model.name})" in page, (
            f"docs/examples.md lacks {model.name}"
        )


if __name__ == "__main__":
    for page in PAGES:
        file = ROOT / page
        before = file.read_text("utf-8")
        after = refreshed(with_reports(page))
        if after != before:
            file.write_text(after, "utf-8")
            print(f"wrote {page}")
