"""The CuPy target without a GPU: its CUDA C runs on the CPU, beside the NumPy target.

``cuda/cupy.py`` stands in for CuPy.  It compiles the very text that a module ships, and
runs the threads of a block as coroutines, in several orders: what a missing meeting of
the threads would change, it changes in one of them.  Where there is CUDA's compiler,
all kernels are compiled for two architectures as well.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import random_models
from comparison import (
    OnHost,
    compare,
    flat,
    growth,
    point,
    results,
    says_that_it_blew_up,
)
from test_matrix import (
    ACCURACIES,
    BOUNDARIES,
    GROUPS,
    OPERATORS,
    SCHEMES,
    Case,
    pairwise,
    solves,
    text,
)

import pdec
from pdec.cli import main
from pdec.commands import verify as verify_command
from pdec.derive import Derivation
from pdec.emission.emit import emit
from pdec.errors import UsageError
from pdec.pipeline import TARGETS, Compilation, compile_source, derive, module_of
from pdec.source import Source, from_text, read
from pdec.targets import cuda
from pdec.targets import cupy as cupy_target
from pdec.verification import verify

ROOT = Path(__file__).parent.parent
MODELS = sorted((*ROOT.glob("tests/models/*.npde"), *ROOT.glob("examples/*.npde")))
IMPLICIT = re.compile(r"^scheme (implicit|trapezoidal|imex|equilibrium)", re.MULTILINE)
EXPLICIT = [m for m in MODELS if not IMPLICIT.search(m.read_text("utf-8"))]
MOST_STEPS = 8

_spec = importlib.util.spec_from_file_location("cupy", ROOT / "tests/cuda/cupy.py")
assert _spec is not None
assert _spec.loader is not None
fake = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fake)

pytestmark = [
    pytest.mark.skipif(fake.COMPILER is None, reason="no C++ compiler: g++ or c++"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def stand_in() -> Iterator[None]:
    """Let the name cupy stand for the one of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", fake)
        yield


def to_device(values: Any) -> Any:
    return _each(values, np.ndarray | np.generic, fake.asarray)


def to_host(values: Any) -> Any:
    return _each(values, fake.ndarray, fake.asnumpy)


def _each(values: Any, kind: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(values, dict):
        return {name: _each(value, kind, change) for name, value in values.items()}
    if isinstance(values, tuple):
        return tuple(_each(value, kind, change) for value in values)
    return change(values) if isinstance(values, kind) else values


def loaded(
    source: Source, *, threads: int = 5, blocks: int = 1, in_chip: int = 227 << 10
) -> OnHost:
    """The module of a model, made anew: for so many threads a block, and blocks."""
    fake.IN_CHIP, fake.ORDER = in_chip, 0
    derivation, options = derived(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cupy_target, "team", lambda kernels: (threads, blocks))
        patch.setattr(cuda, "LONG", 4)
        written = emit(derivation, target=TARGETS["cupy"], options=options)
    module = ModuleType(f"cupy_{derivation.model.name}")
    sys.modules[module.__name__] = module
    exec(compile(written, module.__name__, "exec"), module.__dict__)
    return OnHost(module, to_device, to_host)


def reference(source: Source) -> ModuleType:
    """The same for NumPy."""
    derivation, options = derived(source)
    written = emit(derivation, target=TARGETS["numpy"], options=options)
    return module_of(Compilation(derivation, written, ""))


@cache
def derived(source: Source) -> tuple[Derivation, dict[str, float]]:
    """What is written for both; long runs are cut short."""
    found = re.search(r"^steps (\d+)", source.text, re.MULTILINE)
    every = re.search(r"\bevery (\d+)", source.text)
    long = found is not None and int(found[1]) > MOST_STEPS and not every
    options: dict[str, float] = {"steps": MOST_STEPS} if long else {}
    return derive(source, overrides=options), options


def walls1d() -> Source:
    return read(ROOT / "tests/models/walls1d.npde")


# --- against NumPy --------------------------------------------------------------------


def sampled(models: list[Path], every: int = 1, *more: int) -> list[Any]:
    """All examples, and one of eight of the tests' models, or every so many of these,
    each with more arguments; the others with --full."""
    few = [m for m in models if m.parent.name == "examples"]
    few = [*few, *[m for m in models if m not in few][::8]][::every]
    return [
        pytest.param(
            *(m, *more),
            marks=[] if m in few else [pytest.mark.slow],
            id="-".join(map(str, (m.stem, *more))),
        )
        for m in models
    ]


@pytest.mark.parametrize(
    ("model", "blocks"), [*sampled(EXPLICIT, 1, 1), *sampled(EXPLICIT, 2, 3)]
)
def test_equals_numpy_in_every_order_of_the_threads(model: Path, blocks: int) -> None:
    """Of a block, and of all blocks of a launch where each phase is one."""
    source = read(model)
    ours, theirs = loaded(source, blocks=blocks), reference(source)
    at = point(theirs, "float64", batch=3)
    expected, first = results(theirs, at), results(ours, at)
    compare(first, expected, tolerance(theirs, at))
    for order in (1, 2):
        fake.ORDER = order
        for one, other in zip(flat(results(ours, at)), flat(first), strict=True):
            assert one.tobytes() == other.tobytes(), f"order {order}"


def tolerance(module: ModuleType, at: Any) -> float:
    """What results may differ by, relative to the largest value of each.

    Gradients are added up in the form of the coefficients; where these are pulled back
    to the parameters, terms that are larger than the gradient may cancel.
    """
    kept: dict[str, Any] = {}
    pulled = module._coefficients_vjp

    def look(c: Any, c_bar: Any) -> None:
        kept.update(c=c, sums={name: x.copy() for name, x in c_bar.items()})
        pulled(c, c_bar)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_coefficients_vjp", look)
        most = growth(module, at)
    total = {name: x.copy() for name, x in kept["sums"].items()}
    pulled(kept["c"], total)
    largest = max(
        (float(np.abs(total[n]).max()) for n in module.MODEL.params), default=0
    )
    terms = 0.0
    for name, value in kept["sums"].items():
        alone = {n: np.zeros_like(x) for n, x in kept["sums"].items()}
        alone[name] = np.abs(value)
        pulled(kept["c"], alone)
        terms += max(float(np.abs(alone[n]).max()) for n in module.MODEL.params)
    cancelled = terms / largest if largest > 0 else 1.0
    return max(1e-12 * most, 4 * 2.0**-53 * cancelled)


@pytest.mark.parametrize(
    "seed",
    [pytest.param(n, marks=[pytest.mark.slow] if n > 4 else []) for n in range(60)],
)
def test_random_models(seed: int) -> None:
    source = from_text(random_models.text(seed), f"random{seed}.npde")
    ours, theirs = loaded(source, blocks=1 + seed % 2 * 2), reference(source)
    at = point(theirs, "float64", batch=3)
    expected, bound = results(theirs, at), tolerance(theirs, at)
    for fake.ORDER in (0, 1, 2):
        compare(results(ours, at), expected, bound)


@pytest.mark.parametrize("name", ["mixed2d", "tensor_layers"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_outside_of_the_chip_and_with_several_blocks(name: str, blocks: int) -> None:
    source = read(ROOT / f"tests/models/{name}.npde")
    ours = loaded(source, threads=4, blocks=blocks, in_chip=0)
    theirs = reference(source)
    at = point(theirs, "float64")
    expected = results(theirs, at)
    for fake.ORDER in (0, 1, 2):
        compare(results(ours, at), expected, tolerance(theirs, at))


def explicit_cases(full: bool) -> list[Case]:
    """Models of the matrix that this target writes: all, or a fifth of what has each
    pair of factors."""
    schemes = [name for name in SCHEMES if not solves(name)]
    factors = (["periodic", *BOUNDARIES], schemes, ACCURACIES, ["float64"], ["cupy"])
    if full:
        groups = [(name,) for name in OPERATORS]
        return [Case(*row) for row in itertools.product(groups, *factors)]
    names = list(OPERATORS)
    groups = [tuple(names[i::GROUPS]) for i in range(GROUPS)]
    return [Case(*row) for row in pairwise((groups, *factors))][::5]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        full = metafunc.config.getoption("--full")
        found = [
            (case, blocks)
            for number, case in enumerate(explicit_cases(full))
            for blocks in ((1, 3) if full else (1 + number % 2 * 2,))
        ]
        metafunc.parametrize(("case", "blocks"), found, ids=str)


def test_matrix(case: Case, blocks: int) -> None:
    source = from_text(text(case), "matrix")
    ours, theirs = loaded(source, blocks=blocks), reference(source)
    at = point(theirs, "float64")
    compare(results(ours, at), results(theirs, at), tolerance(theirs, at))


@pytest.mark.parametrize("name", ["heterogeneous", "tensor"])
def test_float32(name: str) -> None:
    source = read(ROOT / f"examples/{name}.npde")
    ours, theirs = loaded(source), reference(source)
    at, at32 = point(theirs, "float64"), point(theirs, "float32")
    exact = theirs.value_and_grad(at["p"], at["z0"], at["y"], inputs=at["inputs"])[1]
    found = ours.value_and_grad(
        at32["p"], at32["z0"], at32["y"], inputs=at32["inputs"]
    )[1]
    for key, value in exact.items():
        assert found[key].dtype == np.float32
        error = np.max(np.abs(found[key] - value))
        assert error <= 1e-5 * np.max(np.abs(value)), key


# --- one text, one launch -------------------------------------------------------------


@pytest.mark.parametrize("blocks", [1, 3])
def test_checkpoints_and_the_device_change_no_bit(blocks: int) -> None:
    module = loaded(walls1d(), blocks=blocks)
    at = point(reference(walls1d()), "float64", batch=9)
    found = []
    for checkpoint in ("all", "sqrt", 1):
        for room in (1 << 31, 1):  # all samples at once, or one after the other
            module.module._ROOM = room  # type: ignore[attr-defined]
            found.append(
                module.value_and_grad(
                    at["p"], at["z0"], at["y"], check="off", checkpoint=checkpoint
                )
            )
    for loss, grads in found[1:]:
        assert loss == found[0][0]
        for name, value in grads.items():
            assert value.tobytes() == found[0][1][name].tobytes(), name


def test_a_gradient_is_one_launch() -> None:
    module = loaded(walls1d())
    at = point(reference(walls1d()), "float64")
    fake.launches.clear()
    module.value_and_grad(at["p"], at["z0"], at["y"], check="off")
    assert fake.launches == ["differentiate_samples", "add_totals"]


def test_a_first_gradient_compiles_the_model_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beside it, two small kernels that add up."""
    module = loaded(walls1d())
    at, made = point(reference(walls1d()), "float64"), []
    kept = fake.RawModule

    def compiled(*, code: str, options: tuple[str, ...]) -> Any:
        made.append(len(code))
        return kept(code=code, options=options)

    monkeypatch.setattr(fake, "RawModule", compiled)
    module.value_and_grad(at["p"], at["z0"], at["y"], check="off")
    whole, adding = made
    assert adding < whole / 8


def test_what_is_launched_again_is_one_graph() -> None:
    """A call is not captured before it comes again, with other numbers."""
    module, theirs = loaded(walls1d(), blocks=3), reference(walls1d())
    at = point(theirs, "float64")
    found = []
    for factor in (1.0, 0.9, 1.1):
        fake.launches.clear(), fake.graphs.clear()
        p = {name: factor * x for name, x in at["p"].items()}
        given = p, factor * at["z0"]["z"], at["y"]
        found.append((module.value_and_grad(*given, check="off"), [*fake.launches]))
        expected = theirs.value_and_grad(*given, check="off")
        compare({"": found[-1][0][1]}, {"": expected[1]}, 1e-11)
        sent = len(fake.launches) - len(["join", "add_totals"])
        assert fake.graphs == ([sent, 1] if len(found) > 1 else [])
    assert found[0][1] == found[1][1] == found[2][1]


def test_graphs_of_whole_runs_outlive_snapshots() -> None:
    """A trajectory runs step by step, and pushes no graph out."""
    module = loaded(walls1d(), blocks=3)
    at = point(reference(walls1d()), "float64")
    given = at["p"], at["z0"]
    module._line.cache_clear()
    module.forward(*given, check="off")
    kept = module._line.cache_info().currsize
    module.trajectory(*given, every=1)
    assert module._line.cache_info().currsize == kept == 1


@pytest.mark.parametrize("blocks", [1, 3])
def test_names_of_the_kernels_are_free_for_models(blocks: int) -> None:
    params = "begin here there SAMPLE states table slot share v_bar mean_parts".split()
    constants = "clear judge in_x given k_share step_0 run_step_0 LANES".split()
    lines = [f"param {name} init 0.1" for name in params]
    lines += [f"const {name} = 0.5" for name in constants]
    source = from_text(
        "grid x[8] on [0, 1) periodic\nfield z(x)\n"
        + "\n".join(lines)
        + f"\ndz/dt = -(z - tanh({' + '.join((*params, *constants))} + ∂²z/100))\n"
        + "steps 2\ndt = 0.1\ntarget y(x)\nloss = mean((z - y)²)",
        "names",
    )
    ours, theirs = loaded(source, blocks=blocks), reference(source)
    at = point(theirs, "float64")
    compare(results(ours, at), results(theirs, at), tolerance(theirs, at))


def test_a_periodic_step_is_one_launch_there_and_two_back() -> None:
    """No launch fills ghost cells: neighbours are found around the ring."""
    plane = from_text(
        """
        grid x[8] on [0, 1) periodic, y[6] on [0, 1) periodic
        field z(x, y)
        param a init 0.5, D >= 0 init 1e-3, b(x, y) init 0.1
        dz/dt = -(z - tanh(a z + D ∇²z - b))
        steps 3
        ω = 0.5
        target q(x, y)
        loss = mean((z - q)²)
        """,
        "plane",
    )
    module = loaded(plane, blocks=3)
    at = point(reference(plane), "float64")
    fake.launches.clear()
    module.value_and_grad(at["p"], at["z0"], at["y"], check="off")
    steps = [name for name in fake.launches if name.startswith("run_step")]
    assert steps == ["run_step_0"] * 3 + ["run_step_vjp_0", "run_step_vjp_1"] * 3


@pytest.mark.parametrize(("axes", "there", "back"), [("x, y", 2, 4), ("x, y, r", 2, 5)])
def test_beside_walls_a_step_has_few_launches_more(
    axes: str, there: int, back: int
) -> None:
    """One there, which fills all ghost cells, and one back for each axis."""
    grid = ", ".join(f"{axis}[6] on [0, 1]" for axis in axes.split(", "))
    box = from_text(
        f"""
        grid {grid}
        field z({axes})
        param a init 0.5, D >= 0 init 1e-3
        at {axes}: ∂z + 0.5 z = 0.2
        dz/dt = -(z - tanh(a z + D ∇²z))
        steps 3
        ω = 0.5
        target q({axes})
        loss = mean((z - q)²)
        """,
        "box",
    )
    module, theirs = loaded(box, blocks=3), reference(box)
    assert module._LAUNCHES["step"] == there
    assert module._LAUNCHES["step_vjp"] == back
    at = point(theirs, "float64")
    expected = results(theirs, at)
    for fake.ORDER in (0, 1, 2):
        compare(results(module, at), expected, tolerance(theirs, at))


def test_the_head_says_which_kernels_there_are() -> None:
    small = compile_source(walls1d(), target="cupy").text
    plane = read(ROOT / "examples/gray_scott.npde")
    large = compile_source(plane, target="cupy", overrides={"x": 256, "y": 256}).text
    assert re.search(
        r"kernels .*: one block a sample, in the memory of its chip", small
    )
    assert re.search(r"kernels .* a launch for each phase of a step", large)


NVCC = shutil.which("nvcc") or next(
    (str(n) for n in sorted(Path("/usr/local").glob("cuda*/bin/nvcc"))), None
)


KINDS: list[tuple[int, list[str]]] = [(1, []), (1, ["-DIN_CHIP"]), (4, [])]
VARIANTS = [(real, *kind) for real in ("float", "double") for kind in KINDS]


@pytest.mark.skipif(NVCC is None, reason="no compiler of CUDA: nvcc")
@pytest.mark.parametrize(
    ("model", "number"),
    [
        pytest.param(m, n, marks=[pytest.mark.slow] if n % 12 else [], id=m.stem)
        for n, m in enumerate(EXPLICIT)
    ],
)
def test_compiles_for_a_device(
    model: Path, number: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """One variant of a few models for two architectures; all of all with --full."""
    source = tmp_path / "kernels.cu"
    full = request.config.getoption("--full")
    for real, blocks, chip in VARIANTS if full else [VARIANTS[number // 12 % 6]]:
        code: str = loaded(read(model), blocks=blocks)._code()
        source.write_text(code, "utf-8")
        for arch in ("sm_80", "sm_90"):
            options = ["-std=c++17", f"-arch={arch}", f"-DREAL={real}", *chip]
            output = tmp_path / "kernels.cubin"
            command = [str(NVCC), "-cubin", *options, str(source), "-o", str(output)]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert output.stat().st_size > 0


# --- the interface --------------------------------------------------------------------


def test_settles_like_numpy() -> None:
    ours, theirs = loaded(walls1d()), reference(walls1d())
    at = point(theirs, "float64")
    other = theirs.forward(at["p"], at["z0"], until=0.3, check="off")
    mine = ours.forward(at["p"], at["z0"], until=0.3, check="off")
    assert other.reached.any()
    assert (mine[1] == other.step).all() and (mine[2] == other.reached).all()
    compare({"state": mine[0]}, {"state": other.state}, 1e-12)


def test_parameters_in_and_out(tmp_path: Path) -> None:
    module, theirs = loaded(walls1d()).module, reference(walls1d())
    p = module.init_params(3)
    assert all(isinstance(x, fake.ndarray) for x in p.values())
    theta, unravel = module.ravel(p)
    assert isinstance(theta, np.ndarray)
    module.save(tmp_path / "p.npz", unravel(theta))
    back = module.load(tmp_path / "p.npz")
    for name, value in theirs.init_params(3).items():
        assert np.array_equal(back[name].get(), value)
    assert str(module.stability(p)) == str(theirs.stability(theirs.init_params(3)))
    assert module.selfcheck().passed


def test_arrays_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    module, theirs = loaded(walls1d()).module, reference(walls1d())
    at = point(theirs, "float64")
    p, z0 = to_device(at["p"]), to_device(at["z0"])
    with pytest.raises(TypeError, match=r"p\['\w+'\] is an array of NumPy.*CuPy's"):
        module.forward(at["p"], z0)
    with pytest.raises(TypeError, match=r"z0 is an array of NumPy.*--target numba"):
        module.forward(p, next(iter(at["z0"].values())))
    monkeypatch.setattr(fake.ndarray, "__module__", "cupy")
    with pytest.raises(TypeError, match=r"z0 is an array of CuPy.*--target cupy"):
        theirs.forward(at["p"], next(iter(z0.values())))
    with pytest.raises(TypeError, match="z0 is of type list, expected an array"):
        module.forward(p, [1.0])


def test_arrays_on_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel would read addresses that are not its device's."""
    module = loaded(walls1d()).module
    at = to_device(point(reference(walls1d()), "float64"))
    monkeypatch.setattr(fake._Device, "id", 1)
    with pytest.raises(ValueError, match=r"lies on GPU 0, but GPU 1 .*Device\(0\)"):
        module.forward(at["p"], at["z0"])


class Tensor:
    """An array of another library."""

    def __init__(self, array: Any, device: int = 2) -> None:
        self._array, self._device = array, device

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self._device, 0)


def test_tensors_pass_without_a_copy() -> None:
    module, theirs = loaded(walls1d()).module, reference(walls1d())
    at = point(theirs, "float64")
    p, z0 = at["p"], next(iter(at["z0"].values()))
    expected = theirs.forward(p, z0, check="off")
    tensors = {name: Tensor(np.asarray(x)) for name, x in p.items()}
    zT = module.forward(tensors, Tensor(z0), check="off")
    np.testing.assert_allclose(zT.get(), expected, rtol=1e-13)
    run = module._prepare(tensors, Tensor(z0), None)
    assert next(iter(run.z0.values())).data.ptr == z0.ctypes.data
    with pytest.raises(TypeError, match="z0 lies in the memory of the CPU"):
        module.forward(tensors, Tensor(z0, device=1))


def test_not_finite_is_warned_of() -> None:
    at = point(reference(walls1d()), "float64")
    assert says_that_it_blew_up(loaded(walls1d()), at)


@pytest.mark.parametrize("blocks", [1, 2])
def test_verify(blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's checks, without the order in Δt, which takes long runs."""

    def no(*given: Any) -> Any:
        raise verify.Unsuitable("too long")

    monkeypatch.setattr(cupy_target, "team", lambda kernels: (1, blocks))
    monkeypatch.setattr(verify, "in_time", no)
    fake.launches.clear()
    rows = verify.verify(walls1d(), ("cupy",), {"steps": 4}, lambda words: None)
    assert [row.check[-2:] for row in rows if row.status != "ok"] == ["Δt"]
    checks = " ".join(row.check for row in rows)
    for part in ("dot test", "against numpy's", "checkpointed", "one by one", "in Δx"):
        assert part in checks
    assert ("differentiate_samples" in fake.launches) == (blocks == 1)


# --- what is missing ------------------------------------------------------------------


def test_no_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert not verify_command._runs_here("cupy")
    hint = r"pip install 'pdec\[cupy\]'.*--target numba"
    with pytest.raises(ImportError, match=hint):
        loaded(walls1d())
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "cupy" else find(n)
    )
    with pytest.raises(UsageError, match=r"pip install 'pdec\[cupy\]'"):
        pdec.load(ROOT / "tests/models/single.npde", target="cupy")


def test_no_device(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = loaded(walls1d()).module

    def too_old() -> int:
        raise OSError("cudaErrorInsufficientDriver: driver is too old")

    runtime = SimpleNamespace(getDeviceCount=too_old)
    monkeypatch.setattr(fake.cuda, "runtime", runtime)
    with pytest.raises(RuntimeError, match=r"too old\).*update the driver.*--target"):
        module.init_params()
    runtime.getDeviceCount = lambda: 0
    with pytest.raises(RuntimeError, match=r"there is none here.*--target numba"):
        module.init_params()
    assert main(["verify", "--target", "cupy", str(ROOT / "examples/kdv.npde")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: kdv needs a GPU of NVIDIA, of which there is none")
    assert not verify_command._runs_here("cupy")
    runtime.getDeviceCount = lambda: 1
    assert verify_command._runs_here("cupy")


@pytest.mark.parametrize("name", ["walls1d", "box3d", "losses", "started"])
def test_text_is_clean(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.py"
    source = read(ROOT / f"tests/models/{name}.npde")
    file.write_text(compile_source(source, target="cupy").text, "utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    rest = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", str(file)]
    for command in (["check"], ["format", "--diff"]):
        done = subprocess.run(
            [*ruff, *command, *rest], capture_output=True, text=True, env=os.environ
        )
        assert done.returncode == 0, done.stdout + done.stderr
