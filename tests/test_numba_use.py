"""The Numba target in use: its text, files, processes, and bad input."""

from __future__ import annotations

import ast
import importlib.util
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from test_gradients import point_of

import pdec
from pdec.commands import options
from pdec.errors import UsageError
from pdec.pipeline import TARGETS, compile_source
from pdec.source import read

pytest.importorskip("numba")

MODELS = Path(__file__).parent / "models"


@pytest.fixture(scope="module")
def module() -> ModuleType:
    """A model with walls, compiled."""
    return pdec.load(MODELS / "walls1d.npde", target="numba")


def gradient(module: ModuleType, batch: int = 37) -> dict[str, Any]:
    set_to = {"steps": module.MODEL.steps}
    at = point_of(pdec.load(MODELS / "walls1d.npde", overrides=set_to), 1, batch)
    given = {"p": at["params"], "z0": at["z0"], "y": at["y"], "inputs": at["inputs"]}
    found: dict[str, Any] = module.value_and_grad(**given, check="off")[1]
    return found


# --- the text and its file -----------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["walls1d", "losses", "box3d", "tensor_layers", "implicit_heat"]
)
@pytest.mark.parametrize("accurate", [False, True])
def test_text_is_clean(name: str, accurate: bool, tmp_path: Path) -> None:
    source = read(MODELS / f"{name}.npde")
    text = compile_source(source, target="numba", accurate=accurate).text
    functions = [n.name for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)]
    assert max(Counter(functions).values()) == 1
    file = tmp_path / f"{name}.py"
    file.write_text(text, "utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    rest = ["--config", str(MODELS.parent.parent / "pyproject.toml"), "--no-cache"]
    for command in (["check"], ["format", "--diff"]):
        done = subprocess.run(
            [*ruff, *command, *rest, str(file)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_code_is_kept_for_other_processes(module: ModuleType) -> None:
    gradient(module)
    file = Path(module._differentiate_samples.py_func.__code__.co_filename)
    assert file.is_file()
    kept = f"{file.stem}.{module.__name__}._differentiate*.nbc"
    assert list((file.parent / "__pycache__").glob(kept))
    stats = (
        "import pdec, sys\n"
        "sys.path.insert(0, sys.argv[2]); import test_numba_use as t\n"
        "m = pdec.load(sys.argv[1], target='numba'); t.gradient(m)\n"
        "print(sum(m._differentiate_samples.stats.cache_hits.values()))"
    )
    arguments = [str(MODELS / "walls1d.npde"), str(Path(__file__).parent)]
    assert run([sys.executable, "-c", stats, *arguments]).stdout == "1\n"


def test_a_file_that_is_imported_by_another_name(tmp_path: Path) -> None:
    """What was compiled under the first one imports the module by that name."""
    file = tmp_path / "before.py"
    text = compile_source(read(MODELS / "single.npde"), target="numba").text
    file.write_text(text, "utf-8")
    code = (
        "import importlib, sys, numpy as np\n"
        "m = importlib.import_module(sys.argv[1]); p = m.init_params(0, float)\n"
        "z = np.ones((2, *m.MODEL.fields['z'].shape))\n"
        "print(m.forward(p, z, check='off').sum(), m._run_samples.stats.cache_hits)"
    )

    def imported(name: str) -> str:
        return run([sys.executable, "-c", code, name], cwd=tmp_path).stdout

    first = imported("before")
    (tmp_path / "folder").mkdir()
    for path in (file, tmp_path / "__pycache__"):  # as they are, with their times
        path.rename(tmp_path / "folder" / path.name)
    assert imported("folder.before") == first
    assert imported("folder.before") != first  # found, not compiled


def test_implicit_steps_are_kept_too(cache_folder: Path) -> None:
    module = pdec.load(MODELS / "implicit_burgers.npde", target="numba")
    at = point_of(module, 1, 2)
    module.forward(at["params"], at["z0"], inputs=at["inputs"], check="off")
    assert list(cache_folder.glob("__pycache__/*implicit_burgers*._run_samples*.nbc"))


def test_a_cache_that_cannot_be_written_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("PDEC_CACHE_DIR", str(tmp_path / "file" / "below"))
    module = pdec.load(MODELS / "single.npde", target="numba")
    at = point_of(module, 1, 2)
    zT = module.forward(at["params"], at["z0"], check="off")
    assert np.isfinite(zT).all()


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    """The module runs, from its file, without a place for what it compiles."""
    (tmp_path / "__pycache__").write_text("", "utf-8")
    file = tmp_path / "single.py"
    file.write_text(
        compile_source(read(MODELS / "single.npde"), target="numba").text, "utf-8"
    )
    nowhere = str(tmp_path / "__pycache__" / "below")
    names = ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR")
    variables = os.environ | dict.fromkeys(names, nowhere)
    variables.pop("NUMBA_CACHE_DIR")
    code = (
        "import single, numpy as np; p = single.init_params(0, float)\n"
        "z = np.zeros((2, *single.MODEL.fields['z'].shape))\n"
        "print(single.forward(p, z).shape)"
    )
    done = run([sys.executable, "-c", code], cwd=tmp_path, env=variables)
    assert done.stdout.startswith("(2, ")
    assert not list(tmp_path.glob("**/*.nbc"))


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done


def test_accurate_on_the_command_line() -> None:
    """The C library's functions; and the option changes nothing else of the text."""
    command = [sys.executable, "-m", "pdec", "compile", str(MODELS / "walls1d.npde")]
    command += ["--target", "numba", "-o", "-"]
    fast, accurate = run(command).stdout, run([*command, "--accurate"]).stdout
    assert "target numba, accurate" in accurate and "target numba\n" in fast
    assert '"afn"' in fast and '"afn"' not in accurate
    assert "overload" in fast and "overload" not in accurate
    mathematics = [text.split("# --- constants")[1] for text in (fast, accurate)]
    assert mathematics[0] == mathematics[1]


def test_the_command_line_knows_every_target() -> None:
    assert set(options.TARGETS) == set(TARGETS)


# --- processes -----------------------------------------------------------------------


def test_threads_after_a_fork() -> None:
    """A pool that was inherited would wait for threads that the child does not have.

    In a process of its own: other packages have threads that do not outlive a fork.
    """
    code = f"""
import multiprocessing, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_numba_use as t

module = t.pdec.load(t.MODELS / "walls1d.npde", target="numba")
expected = t.gradient(module)
receive, send = multiprocessing.Pipe(duplex=False)
work = lambda: send.send(t.gradient(module))
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
try:
    assert receive.poll(60), "the child hangs"
    found = receive.recv()
finally:
    child.kill()
assert found.keys() == expected.keys()
print(all(found[n].tobytes() == g.tobytes() for n, g in expected.items()))
"""
    several = os.environ | {"PDEC_NUM_THREADS": "2"}
    assert run([sys.executable, "-c", code], env=several).stdout == "True\n"


def test_two_models_in_one_process(module: ModuleType) -> None:
    """Functions of one name do not meet, nor do the sizes of arrays."""
    before = gradient(module)
    other = pdec.load(MODELS / "walls1d.npde", target="numba", overrides={"steps": 2})
    assert other is not module and other.MODEL.steps == 2
    assert pdec.load(MODELS / "walls1d.npde", target="numba") is module
    changed, after = gradient(other), gradient(module)
    assert changed["W0"].shape == (2,)  # a value for each step
    assert all((after[n] == g).all() for n, g in before.items())


def test_params_are_pickled(module: ModuleType) -> None:
    params = module.init_params(3)
    again = pickle.loads(pickle.dumps(params))
    z = np.full((2, *module.MODEL.fields["z"].shape), 0.3)
    zT = module.forward(params, z, check="off")
    assert (module.forward(again, z, check="off") == zT).all()


# --- bad input -----------------------------------------------------------------------


def test_numba_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    find: Callable[..., Any] = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "numba" else find(name),
    )
    with pytest.raises(UsageError, match=r"pip install 'pdec\[numba\]'"):
        pdec.load(MODELS / "single.npde", target="numba")


def test_numba_missing_where_the_module_runs(tmp_path: Path) -> None:
    text = compile_source(read(MODELS / "single.npde"), target="numba").text
    (tmp_path / "single.py").write_text(text, "utf-8")
    (tmp_path / "numba.py").write_text("raise ModuleNotFoundError('no numba')", "utf-8")
    done = subprocess.run(
        [sys.executable, "single.py"], cwd=tmp_path, capture_output=True, text=True
    )
    last = done.stderr.splitlines()[-1]
    assert last == "ModuleNotFoundError: this module needs numba: pip install numba"


def test_not_a_number(module: ModuleType) -> None:
    """Found before compiled code, which would pass it on."""
    params = module.init_params(0)
    z = np.full((2, *module.MODEL.fields["z"].shape), 0.3)
    z[1, 0] = np.nan
    with pytest.raises(ValueError, match=r"z0.*(nan|finite)"):
        module.forward(params, z)
    z[1, 0] = 0.3
    name = next(iter(params))
    params[name] = np.full_like(params[name], np.nan)
    with pytest.raises(ValueError, match=rf"{name}.*(nan|finite)"):
        module.forward(params, z)


@pytest.mark.parametrize("dtype", ["float32", "int64", "float16", "complex128", "O"])
def test_wrong_dtype(module: ModuleType, dtype: str) -> None:
    params = module.init_params(0)
    z = np.ones((2, *module.MODEL.fields["z"].shape)).astype(dtype)
    with pytest.raises(TypeError, match="float64"):
        module.forward(params, z)


@pytest.mark.parametrize(
    "change",
    [
        lambda z: z[:, ::-1],
        lambda z: np.asfortranarray(z),
        lambda z: np.repeat(z, 2, axis=1)[:, ::2],
        lambda z: read_only(z),
        lambda z: z.astype(">f8").view(">f8").astype("=f8"),
        lambda z: unaligned(z),
    ],
)
def test_memory_of_any_kind(module: ModuleType, change: Callable[..., Any]) -> None:
    """Compiled code gets what it expects, and no argument is modified."""
    params = module.init_params(0)
    shape = (3, *module.MODEL.fields["z"].shape)
    z = change(np.random.default_rng(0).uniform(0.0, 0.5, shape))
    kept = z.copy()
    zT = module.forward(params, z, check="off")
    assert (zT == module.forward(params, np.array(kept), check="off")).all()
    assert (z == kept).all()


def read_only(z: Any) -> Any:
    z.setflags(write=False)
    return z


def unaligned(z: Any) -> Any:
    room = np.zeros(z.nbytes + 1, np.uint8)[1:]
    found = room.view(z.dtype).reshape(z.shape)
    found[...] = z
    assert not found.flags.aligned
    return found


def test_what_was_returned_is_not_used_again(module: ModuleType) -> None:
    """Memory is kept from call to call; of it, nothing is in the user's hands."""
    first = gradient(module)
    kept = {name: array.copy() for name, array in first.items()}
    assert any((gradient(module, 5)[n] != kept[n]).any() for n in kept)
    again = gradient(module)
    for name, array in kept.items():
        assert first[name].tobytes() == array.tobytes() == again[name].tobytes()


def test_no_samples(module: ModuleType) -> None:
    params = module.init_params(0)
    z = np.zeros((0, *module.MODEL.fields["z"].shape))
    try:
        assert module.forward(params, z).shape == z.shape
    except ValueError as error:
        assert "batch" in str(error)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_names_that_compiled_code_uses(tmp_path: Path) -> None:
    """A model may call its fields and parameters as the code calls what is its own."""
    model = """
grid x[6] on [0, 1) periodic
field real(x), here(x)
input place(x)
param range init 0.3, residual(x) init 0.1, there init 0.4, len init 0.1, s init 0.2
const unknowns = 0.5
dreal/dt = -real + tanh(range here + residual ∂real) + relu(place)
dhere/dt = -there here + unknowns real + len max(real, s)
scheme implicit
steps 2
dt = 0.2
target v(x), z(x)
loss = mean((real - v)²) + mean((here - z)²)
"""
    file = tmp_path / "names.npde"
    file.write_text(model, "utf-8")
    ours, theirs = pdec.load(file, target="numba"), pdec.load(file)
    at = point_of(theirs, 1, 2)
    given = {"p": at["params"], "z0": at["z0"], "y": at["y"], "inputs": at["inputs"]}
    (a, g), (b, h) = (m.value_and_grad(**given, check="off") for m in (ours, theirs))
    assert a == pytest.approx(b, rel=1e-14)
    for name, value in h.items():
        np.testing.assert_allclose(g[name], value, rtol=1e-12, atol=1e-15)


# --- steps that cannot be solved for -------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_solution(tmp_path: Path) -> None:
    """The same kind of error as NumPy's, from every function."""
    model = """
grid x[5] on [0, 1) periodic
field z(x)
param a init 1
dz/dt = a z²
scheme implicit
steps 3
dt = 1
target y(x)
loss = mean((z - y)²)
"""
    file = tmp_path / "explosive.npde"
    file.write_text(model, "utf-8")
    fails(pdec.load(file, target="numpy"))
    fails(pdec.load(file, target="numba"))


def fails(module: ModuleType) -> None:
    p, z = module.init_params(), np.full((3, 5), 0.1)
    assert np.isfinite(module.value_and_grad(p, z, z)[0])
    far = z.copy()
    far[1] = 2.0  # z⁺ = z + z⁺² has no real solution beyond z = 1/4
    for call in (
        lambda: module.forward(p, far, check="off"),
        lambda: module.value_and_grad(p, far, z, check="off"),
        lambda: module.jvp(p, far, dz0=z),
        lambda: module.vjp(p, far)[1](z),
    ):
        with pytest.raises(module.ConvergenceError, match="take a shorter step"):
            call()
    assert np.isfinite(module.forward(p, z, check="off")).all()
