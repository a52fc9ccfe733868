"""The house rules: imports point one way, files stay small, no user text is run.

A new module fails the first test until it is given its place in ``LAYERS``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "pdec"

# Bottom to top: a module imports only what stands above it in this list, which is below
# it in the house.  A plug-in package is one entry, `name/*`, whose files do not import
# each other.  `__version__` may be had from anywhere, and an import that serves
# annotations alone (`if TYPE_CHECKING`) does not count.
LAYERS = (
    # what everything may use
    "errors",
    "source",
    # 1  text → tree
    "reading",
    "reading/spelling",
    "reading/tree",
    "reading/lines",
    "reading/builder",
    "reading/checks",
    "reading/slips",
    "reading/unread",
    "reading/parser",
    # tree → text, in the canonical layout
    "formatting",
    "formatting/pieces",
    "formatting/respell",
    "formatting/layout",
    # the forms that the stages hand on
    "forms",
    "forms/symbolic",
    "forms/functions",
    "forms/notation",
    "forms/statements",
    "forms/model",
    # the moments of a kernel
    "moments",
    "moments/decay",
    "moments/quadrature",
    "moments/integrals",
    "moments/moments",
    "moments/spectrum",
    # plug-ins, and what they declare
    "contracts",
    "meaning",
    "meaning/calculus",
    "meaning/arithmetic",
    "operators/*",
    "boundaries/*",
    "schemes/*",
    # 2  tree → model
    "meaning/bounds",
    "meaning/claims",
    "meaning/scope",
    "meaning/kernels",
    "meaning/expansion",
    "meaning/readings",
    "meaning/expressions",
    "meaning/grids",
    "meaning/declarations",
    "meaning/equations",
    "meaning/walls",
    "meaning/clock",
    "meaning/ranges",
    "meaning/singular",
    "meaning/resolve",
    # 3, 4  model → discrete step
    "discretisation",
    "discretisation/linear",
    "discretisation/stencil",
    "discretisation/ghosts",
    "discretisation/lowering",
    "discretisation/parts",
    "discretisation/stages",
    "discretisation/rates",
    "discretisation/conditions",
    "discretisation/padding",
    "discretisation/discrete",
    # 5  discrete step → adjoint and tangent
    "adjoints",
    "adjoints/slope",
    "adjoints/adjoint",
    "adjoints/recover",
    "adjoints/implicit",
    # 6  discrete step → stability
    "stability",
    "stability/amplification",
    "stability/slope_range",
    "stability/analysis",
    # both together, and for readers
    "derive",
    "derivation",
    # 8  statements → lines of a target
    "targets",
    "targets/layout",
    "targets/names",
    "targets/inline",
    "targets/products",
    "targets/views",
    "targets/arrays",
    "targets/body",
    "targets/numbers",
    "targets/ghosts",
    "targets/reductions",
    "targets/shared",
    "targets/unbroken",
    "targets/solves",
    "targets/numpy",
    "targets/vectors",
    "targets/nests",
    "targets/rings",
    "targets/around",
    "targets/together",
    "targets/loops",
    "targets/teams",
    "targets/compiled",
    "targets/copies",
    "targets/numba",
    "targets/reals",
    "targets/phases",
    "targets/cells",
    "targets/tiles",
    "targets/cuda",
    "targets/records",
    "targets/transfers",
    "targets/cupy",
    # derivation → the module's text
    "runtime",
    "emission",
    "emission/verdict",
    "emission/mathematics",
    "emission/tables",
    "emission/emit",
    # all stages on one screen, and who calls them
    "recursion",
    "keeping",
    "pipeline",
    "loading",
    "verification",
    "verification/manufactured",
    "verification/convergence",
    "verification/verify",
    "commands",
    "commands/explain",
    "commands/probe",
    "commands/memory",
    "commands/files",
    "commands/terminal",
    "commands/records",
    "commands/options",
    "commands/plane",
    "commands/pictures",
    "commands/stability",
    "commands/show",
    "commands/verify",
    "commands/format",
    "cli",
    "__main__",
    "__init__",
)

# These files are the text of generated modules.  They see each other and nothing else.
TEXTS = "runtime/"

# The one place that runs code, which is code that pdec has written itself.
RUNS_CODE = {"keeping": {"exec", "compile"}}

MAX_LINES = 450
MAX_FUNCTION = 60
FORBIDDEN = {
    "__import__",
    "compile",
    "eval",
    "exec",
    "lambdify",
    "parse_expr",
    "sympify",
}


def modules() -> list[str]:
    """Every module of the package as ``operators/reductions``."""
    files = sorted(PACKAGE.rglob("*.py"))
    return [file.relative_to(PACKAGE).with_suffix("").as_posix() for file in files]


def parse(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))


def layer(module: str) -> int | None:
    """The place of a module in ``LAYERS``, None where it has none."""
    names = module, module.removesuffix("/__init__"), module.rpartition("/")[0] + "/*"
    return next((LAYERS.index(name) for name in names if name in LAYERS), None)


def imports(module: str) -> Iterator[tuple[str, int]]:
    """The modules of pdec that a module imports, each with the line where it does."""
    for node in runtime_nodes(parse(module)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}.py:{node.lineno}: write the full name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            found = module_of(name)
            if found is not None and name != "pdec.__version__":
                yield found, node.lineno


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from runtime_nodes(node)


def module_of(name: str) -> str | None:
    """``pdec.reading.tree.Span`` → ``reading/tree``; None for another package's."""
    head, _, rest = name.partition(".")
    if head != "pdec":
        return None
    path = rest.replace(".", "/")
    while path:
        if (PACKAGE / f"{path}.py").is_file() or (PACKAGE / f"{path}.pyi").is_file():
            return path
        if (PACKAGE / path / "__init__.py").is_file():
            return f"{path}/__init__"
        path = path.rpartition("/")[0]
    return "__init__"


def is_text(module: str) -> bool:
    return module.startswith(TEXTS) and module != "runtime/__init__"


def test_every_module_has_its_place():
    homeless = [m for m in modules() if layer(m) is None and not is_text(m)]
    assert not homeless, f"give each its place in LAYERS of this file: {homeless}"


def test_every_place_is_taken():
    present = {layer(module) for module in modules()}
    absent = [name for index, name in enumerate(LAYERS) if index not in present]
    assert not absent, f"LAYERS names modules that are gone: {absent}"


@pytest.mark.parametrize("module", modules())
def test_imports_point_one_way(module):
    own = layer(module)
    for imported, line in imports(module):
        where = f"pdec/{module}.py:{line} imports {imported}"
        if is_text(module):
            assert imported.startswith(TEXTS), f"{where}, but it is a generated text"
            continue
        other = layer(imported)
        assert other is not None, f"{where}, which is the text of generated modules"
        assert own is not None
        own_package = imported == module.rpartition("/")[0] + "/__init__"
        assert other < own or own_package, f"{where}, which does not stand below it"


@pytest.mark.parametrize("module", modules())
def test_size_and_docstring(module):
    text = (PACKAGE / f"{module}.py").read_text("utf-8")
    count = text.count("\n")
    assert count <= MAX_LINES, f"pdec/{module}.py has {count} lines: split it"
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"pdec/{module}.py does not say what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            where = f"pdec/{module}.py:{node.lineno}: {node.name}"
            assert lines <= MAX_FUNCTION, f"{where} has {lines} lines: split it"


@pytest.mark.parametrize("module", modules())
def test_no_text_is_run(module):
    allowed = RUNS_CODE.get(module, set())
    calls = [call for call in forbidden_calls(parse(module)) if call[0] not in allowed]
    assert not calls, f"pdec/{module}.py calls (name, line): {calls}"
    permitted = [call[0] for call in forbidden_calls(parse(module))]
    assert len(permitted) == len(set(permitted)), "one place runs code, not two"


def forbidden_calls(tree: ast.AST) -> list[tuple[str, int]]:
    """Calls that turn text into code: builtins by name, SymPy's by any path."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            name = node.func.id
        elif isinstance(node.func, ast.Attribute):
            # `re.compile` and a method called `eval` are innocent.
            innocent = {"compile", "eval", "exec"}
            name = "" if node.func.attr in innocent else node.func.attr
        else:
            continue
        if name in FORBIDDEN:
            found.append((name, node.lineno))
    return found


def test_the_rules_see_what_they_forbid():
    tree = ast.parse("eval(a)\nsympy.sympify(b)\nre.compile(c)\nself.eval(d)\nexec(e)")
    assert forbidden_calls(tree) == [("eval", 1), ("sympify", 2), ("exec", 5)]
    assert module_of("pdec.errors.render") == "errors"
    assert module_of("pdec.operators") == "operators/__init__"
    assert module_of("numpy.linalg") is None
    assert layer("operators/reductions") == layer("operators/__init__")
