"""The text of generated modules: clean, reproducible, self-contained, of one size.

Every model of ``examples/`` and ``tests/models/`` is compiled twice, by processes that
hash strings differently; the tests look at what they wrote.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pdec.forms.model import Model
from pdec.meaning.resolve import resolve
from pdec.pipeline import compile_source
from pdec.reading.parser import parse
from pdec.source import read

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ROOT / "examples", ROOT / "tests" / "models"
MODELS = [path for folder in FOLDERS for path in sorted(folder.glob("*.npde"))]
NAMES = [f"{path.parent.name}_{path.stem}" for path in MODELS]
SEEDS = ("0", "4711")
HASHED = MODELS[::3]  # those compiled twice; all of them with --full

COMPILE_ALL = """
import sys
from pathlib import Path
from pdec.pipeline import compile_source
from pdec.source import read
for path in map(Path, sys.argv[2:]):
    file = Path(sys.argv[1], f"{path.parent.name}_{path.stem}.py")
    try:
        file.write_text(compile_source(read(path)).text, encoding="utf-8")
    except Exception as error:
        file.with_suffix(".failed").write_text(repr(error), encoding="utf-8")
"""

IMPORT_ALL = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
foreign = {name.partition(".")[0] for name in sys.modules}
assert not foreign & {"pdec", "sympy", "lark", "click", "rich"}, foreign
"""


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> list[Path]:
    """A folder of generated modules for each seed of the hash: of all, of HASHED."""
    found, running = [], []
    again = MODELS if pytestconfig.getoption("--full") else HASHED
    for seed, models in zip(SEEDS, (MODELS, again), strict=True):
        folder = tmp_path_factory.mktemp(f"seed_{seed}")
        command = [sys.executable, "-c", COMPILE_ALL, folder, *models]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        running.append(subprocess.Popen(command, env=environment, cwd=ROOT))
        found.append(folder)
    assert [process.wait() for process in running] == [0 for _ in SEEDS]
    return found


def text_of(folder: Path, name: str) -> str:
    """A generated module's text; a model that did not compile fails the test."""
    failed = folder / f"{name}.failed"
    assert not failed.exists(), failed.read_text("utf-8")
    return (folder / f"{name}.py").read_text("utf-8")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if model in HASHED else pytest.mark.slow)
        for name, model in zip(NAMES, MODELS, strict=True)
    ],
)
def test_bytes_do_not_depend_on_hashing(name: str, folders: list[Path]) -> None:
    first, second = (text_of(folder, name) for folder in folders)
    assert first == second


@pytest.mark.parametrize("command", [["check"], ["format", "--diff"]])
def test_ruff_has_nothing_to_say(command: list[str], folders: list[Path]) -> None:
    rest = ["--no-cache", "--config", ROOT / "pyproject.toml"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, *rest, folders[0]],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("target", ["numpy", "numba", "cupy"])
def test_formulas_are_whole(target: str) -> None:
    """Those above the code, in as many lines as they take."""
    source = read(ROOT / "examples" / "heat_loss.npde")
    lines = compile_source(source, target=target).text.splitlines()
    assert not [line for line in lines if re.match(r" *(#|//).*…$", line)]
    assert max(map(len, lines)) <= 88
    assert sum(line.startswith("    #     ") for line in lines) > 5


@pytest.mark.parametrize("name", NAMES)
def test_imports_are_numpy_and_the_standard_library(
    name: str, folders: list[Path]
) -> None:
    imported = set()
    for node in ast.walk(ast.parse(text_of(folders[0], name))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    solves = {"scipy"} if "_solve(" in text_of(folders[0], name) else set()
    assert imported <= {"numpy", *solves, *sys.stdlib_module_names}


def test_modules_run_without_pdec(folders: list[Path]) -> None:
    names = sorted(file.stem for file in folders[0].glob("*.py"))
    command = [sys.executable, "-I", "-c", IMPORT_ALL, folders[0], *names]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", MODELS, ids=NAMES)
def test_code_does_not_grow_with_the_grid(path: Path) -> None:
    """Twice the cells and twice the steps are the same code with other numbers."""
    source = read(path)
    model = resolve(parse(source), source)
    small, large = (
        compile_source(source, overrides=sizes(model, factor)).text for factor in (1, 2)
    )
    assert without_numbers(small) == without_numbers(large)


def sizes(model: Model, factor: int) -> dict[str, float]:
    """Every axis and the number of steps, a power of two times what the model says.

    A power of two, because other lengths divide differently: 1/128 is written as the
    decimal that it is, 1/96 as a quotient.
    """
    axes = {name: 4 * factor * axis.size for name, axis in model.axes.items()}
    return {**axes, "steps": 4 * factor * model.steps}


def without_numbers(text: str) -> str:
    """A module's code with every number replaced by 0, and without texts."""

    class Blank(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.Constant:
            return ast.Constant("" if isinstance(node.value, str) else 0)

    return ast.unparse(Blank().visit(ast.parse(text)))
