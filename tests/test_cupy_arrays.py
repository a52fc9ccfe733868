"""The array path of the CuPy target without a GPU: beside NumPy's, on a stand-in.

``cuda/cupy.py`` has no more of NumPy's functions and keywords than CuPy has, mixes no
arrays, and refuses what CuPy's threads would do in another order.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from comparison import OnHost, compare, flat, point, results, says_that_it_blew_up
from test_cupy import (
    EXPLICIT,
    MODELS,
    ROOT,
    derived,
    fake,
    reference,
    sampled,
    stand_in,
    to_device,
    to_host,
    walls1d,
)

import pdec
from pdec.cli import main
from pdec.emission.emit import emit
from pdec.pipeline import TARGETS, compile_source
from pdec.source import Source, from_text, read

__all__ = ["stand_in"]
IMPLICIT = [m for m in MODELS if m not in EXPLICIT]
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def loaded(source: Source) -> OnHost:
    """The module of a model on arrays, made anew."""
    derivation, options = derived(source)
    written = emit(derivation, target=TARGETS["cupy"], options=options, arrays=True)
    module = ModuleType(f"arrays_{derivation.model.name}")
    sys.modules[module.__name__] = module
    exec(compile(written, module.__name__, "exec"), module.__dict__)
    return OnHost(module, to_device, to_host)


# --- against NumPy --------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [pytest.param(m, id=m.stem) for m in IMPLICIT] + sampled(EXPLICIT),
)
def test_equals_numpy(model: Path) -> None:
    ours, theirs = loaded(read(model)), reference(read(model))
    at = point(theirs, "float64", batch=3)
    compare(results(ours, at), results(theirs, at), 1e-12)
    p = theirs.init_params(2)
    assert str(ours.stability(p)) == str(theirs.stability(p))


@pytest.mark.parametrize("name", ["implicit_burgers", "implicit_linear", "walls1d"])
def test_float32(name: str) -> None:
    source = read(ROOT / f"tests/models/{name}.npde")
    ours, theirs = loaded(source), reference(source)
    at = point(theirs, "float32", batch=3)
    found, expected = results(ours, at), results(theirs, at)
    assert {a.dtype for a in flat(found["vjp"])} == {np.dtype("float32")}
    compare(found, expected, 1e-5)


def test_checkpoints_change_no_bit() -> None:
    source = read(ROOT / "tests/models/trapezoidal_ring.npde")
    ours, at = loaded(source), point(reference(source), "float64")
    found = [
        flat(ours.value_and_grad(at["p"], at["z0"], at["y"], checkpoint=kept)[1])
        for kept in ("all", "sqrt", 1)
    ]
    for other in found[1:]:
        for one, first in zip(other, found[0], strict=True):
            assert one.tobytes() == first.tobytes()


@pytest.mark.parametrize("name", ["walls1d", "implicit_heat"])
def test_settles_like_numpy(name: str) -> None:
    source = read(ROOT / f"tests/models/{name}.npde")
    ours, theirs = loaded(source), reference(source)
    at = point(theirs, "float64")
    theirs, mine = (
        module.forward(at["p"], at["z0"], until=0.3, check="off")
        for module in (theirs, ours)
    )
    assert theirs.reached.any()
    assert (mine[1] == theirs.step).all() and (mine[2] == theirs.reached).all()
    compare({"state": mine[0]}, {"state": theirs.state}, 1e-12)


@pytest.mark.parametrize("name", ["imex_walls", "losses", "equilibrium_ring"])
def test_selfcheck(name: str) -> None:
    assert loaded(read(ROOT / f"tests/models/{name}.npde")).module.selfcheck().passed


# --- what is read back ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "most"),
    [("walls1d", 0), ("implicit_linear", 2), ("implicit_burgers", 12)],
)
def test_a_step_reads_back_what_it_must(name: str, most: int) -> None:
    """Nothing, but where equations are solved: whether the solution was found."""
    text = (ROOT / f"tests/models/{name}.npde").read_text("utf-8")
    found = []
    for steps in (3, 6):
        source = from_text(re.sub(r"^steps \d+", f"steps {steps}", text, flags=re.M))
        ours, at = loaded(source), point(reference(source), "float64")
        p, z0, inputs = (to_device(at[key]) for key in ("p", "z0", "inputs"))
        fake.reads.clear()
        ours.module.forward(p, z0, inputs=inputs, check="off")
        found.append(len(fake.reads))
    assert found[1] - found[0] <= 3 * most


# --- when it is chosen ----------------------------------------------------------------


def head(model: Path, **options: Any) -> str:
    text = compile_source(read(model), target="cupy", **options).text
    assert ("_CUDA" in text) == ("kernels  " in text) != ("cp.multiply(" in text)
    return text.partition("from __future__")[0]


def test_models_without_kernels_get_arrays_and_the_head_says_why() -> None:
    implicit = ROOT / "tests/models/implicit_heat.npde"
    assert "target cupy, arrays\narrays   its steps solve equations:" in head(implicit)
    walls = ROOT / "tests/models/walls1d.npde"
    assert "target cupy\nkernels" in head(walls)
    assert "target cupy, arrays\narrays   as asked:" in head(walls, arrays=True)


def test_many_channels_are_multiplied_by_cublas(tmp_path: Path) -> None:
    for d, chosen in ((63, "kernels  "), (64, "arrays   it multiplies 64 channels")):
        file = tmp_path / "wide.npde"
        file.write_text(
            f"""
            grid x[32] on [0, 1) periodic
            dim d = {d}
            field z[d](x)
            param A[d, d] init normal(0, 0.01), D[d] init 1e-3
            dz/dt = -(z - tanh(A z + D ∂²z))
            steps 2
            ω = 0.5
            """,
            "utf-8",
        )
        assert chosen in head(file)
        text = compile_source(read(file), target="cupy").text
        assert ("cp.matmul(" in text) == (d >= 64)


def test_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ROOT / "tests/models/walls1d.npde"
    command = ["compile", str(model), "-o", "-", "--arrays"]
    assert main([*command, "--target", "cupy"]) == 0
    assert (
        capsys.readouterr().out
        == compile_source(read(model), target="cupy", arrays=True).text
    )
    assert main([*command, "--target", "numba"]) == 2
    assert "the target 'numba' has no kernels to leave out" in capsys.readouterr().err
    module = pdec.load(model, target="cupy", arrays=True)
    assert not hasattr(module, "_CUDA") and module.cp is fake


# --- what is wrong --------------------------------------------------------------------


SINGULAR = """
grid x[4] on [0, 1) periodic
field z(x)
param a init 1
dz/dt = a z
scheme implicit
steps 2
dt = 1
"""


def test_singular_equations() -> None:
    source = from_text(SINGULAR, "singular")
    ours, theirs, p = loaded(source), reference(source), {"a": np.ones(())}
    for module, wrong in ((ours, ours.module), (theirs, theirs)):
        with pytest.raises(wrong.ConvergenceError, match="are singular"):
            module.forward(p, np.ones((2, 4)), check="off")


def test_no_state_is_found_for_some_samples() -> None:
    source = read(ROOT / "tests/models/implicit_burgers.npde")
    ours, at = loaded(source), point(reference(source), "float64")
    z0 = at["z0"]["u"]
    z0[1] *= 1e200
    with pytest.raises(
        ours.module.ConvergenceError, match="1 of 5 samples: take a shorter"
    ):
        ours.forward(at["p"], z0, inputs=at["inputs"], check="off")


def test_arrays_of_numpy_are_refused() -> None:
    module = loaded(walls1d()).module
    at = point(reference(walls1d()), "float64")
    with pytest.raises(TypeError, match=r"p\['\w+'\] is an array of NumPy.*CuPy's"):
        module.forward(at["p"], to_device(at["z0"]))


def test_not_finite_is_warned_of() -> None:
    at = point(reference(walls1d()), "float64")
    assert says_that_it_blew_up(loaded(walls1d()), at)


def test_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, at = loaded(walls1d()), point(reference(walls1d()), "float64")
    zeros = fake.__getattr__("zeros")

    def full(shape: Any, *args: Any) -> Any:
        if len(np.atleast_1d(shape)) > 2:  # the states of a tile
            raise fake.OutOfMemoryError("out of memory allocating 9 bytes")
        return zeros(shape, *args)

    monkeypatch.setattr(fake, "zeros", full, raising=False)
    with pytest.raises(MemoryError, match='checkpoint="sqrt", or a smaller batch'):
        ours.value_and_grad(at["p"], at["z0"], at["y"], check="off")


@pytest.mark.parametrize("name", ["implicit_heat", "implicit2d", "losses", "started"])
def test_text_is_clean(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.py"
    source = read(ROOT / f"tests/models/{name}.npde")
    file.write_text(compile_source(source, target="cupy", arrays=True).text, "utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    rest = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", str(file)]
    for command in (["check"], ["format", "--diff"]):
        done = subprocess.run([*ruff, *command, *rest], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
