"""The CuPy target on a GPU, beside the NumPy target; skipped where there is none.

    python -m pytest tests/gpu -n 8 -W default

Compiling takes most of the time, so that several processes are worth while; libraries
other than those of the ordinary tests may warn of what is no error of ours.
"""

from __future__ import annotations

import importlib
import re
import sys
import threading
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from comparison import OnHost, compare, growth, point, results
from test_cupy import EXPLICIT, MODELS, MOST_STEPS
from test_cupy_tiles import plane, unequal

from pdec.emission.emit import emit
from pdec.pipeline import TARGETS, Compilation, derive, module_of
from pdec.source import Source, read
from pdec.targets import cupy as cupy_target


def missing() -> str:
    """What is missing to run on a device, or nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cupy = importlib.import_module("cupy")
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        return f"no CuPy or no driver: {error}"
    return "" if count else "no GPU of NVIDIA"


LACKING = missing()
pytestmark = [
    pytest.mark.skipif(bool(LACKING), reason=LACKING),
    pytest.mark.filterwarnings("default"),
]


def loaded(model: Path | Source, target: str, kind: str = "") -> ModuleType:
    """A module: of array operations, for a block a sample, or for several (steps)."""
    source = read(model) if isinstance(model, Path) else model
    found = re.search(r"^ *steps (\d+)", source.text, re.MULTILINE)
    long = found is not None and int(found[1]) > MOST_STEPS
    options: dict[str, float] = {"steps": MOST_STEPS} if long else {}
    derivation = derive(source, overrides=options)
    with pytest.MonkeyPatch.context() as patch:
        if kind == "steps":
            patch.setattr(cupy_target, "team", lambda kernels: (64, 5))
        text = emit(
            derivation,
            target=TARGETS[target],
            options=options,
            arrays=kind == "arrays",
        )
    return module_of(Compilation(derivation, text, ""))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.stem)
def test_kernels_equal_arrays_and_these_numpy(model: Path) -> None:
    """A model that solves equations has arrays alone."""
    theirs = loaded(model, "numpy")
    at = point(theirs, "float64")
    expected, tolerance = results(theirs, at), 1e-12 * growth(theirs, at)
    for kind in ("arrays", "blocks", "steps") if model in EXPLICIT else ("arrays",):
        device = loaded(model, "cupy", kind)
        assert hasattr(device, "_CUDA_KERNELS") == (kind != "arrays")
        assert hasattr(device, "_LAUNCHES") == (kind == "steps")
        ours = OnHost(device, device._handed_out, device._on_host)
        for _ in range(3):  # then launches have become graphs
            found = results(ours, at)
            compare(found, expected, tolerance)
        expected = found


@pytest.mark.parametrize("kind", ["blocks", "steps", "as it is"])
@pytest.mark.parametrize(("make", "size"), [(unequal, 0), (plane, 8), (plane, 96)])
def test_products_by_tiles(make: Any, size: int, kind: str) -> None:
    """A tile, and many: on a chip, outside of it, and as many blocks as there are."""
    model = make(24, size) if size else make()
    theirs, device = loaded(model, "numpy"), loaded(model, "cupy", kind)
    assert device._TILES
    at = point(theirs, "float64", batch=3)
    ours = OnHost(device, device._handed_out, device._on_host)
    compare(results(ours, at), results(theirs, at), 1e-12 * growth(theirs, at))


def test_streams_and_threads_at_once() -> None:
    """Each has launches, tables and graphs of its own."""
    import cupy

    model = Path(__file__).parent.parent / "models/walls1d.npde"
    module = loaded(model, "cupy", "steps")
    at = module._handed_out(point(loaded(model, "numpy"), "float64", batch=64))
    given = at["p"], at["z0"], at["y"]
    expected = module._on_host(module.value_and_grad(*given, check="off")[1])
    cupy.cuda.Device().synchronize()
    wrong: list[str] = []

    def work() -> None:
        with cupy.cuda.Stream(non_blocking=True):
            for _ in range(20):
                found = module.value_and_grad(*given, check="off")[1]
                for name, value in expected.items():
                    if not np.array_equal(found[name].get(), value):
                        wrong.append(name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("kind", ["blocks", "steps"])
def test_two_runs_give_the_same_bits_on_any_stream(kind: str) -> None:
    import cupy

    model = Path(__file__).parent.parent / "models/walls1d.npde"
    module = loaded(model, "cupy", kind)
    at = module._handed_out(point(loaded(model, "numpy"), "float32", batch=32))
    cupy.cuda.get_current_stream().synchronize()
    found = []
    for _ in range(3):
        with cupy.cuda.Stream(non_blocking=True):
            _, g = module.value_and_grad(at["p"], at["z0"], at["y"], check="off")
            found.append({name: x.get() for name, x in g.items()})
    for other in found[1:]:
        for name, value in other.items():
            assert np.array_equal(value, found[0][name]), name


def test_tensors_of_torch_pass_without_a_copy() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    model = Path(__file__).parent.parent / "models/walls1d.npde"
    module = loaded(model, "cupy")
    at = point(loaded(model, "numpy"), "float32")
    (z,) = at["z0"].values()
    z0 = torch.from_numpy(z).cuda()
    p = {name: torch.as_tensor(x).cuda() for name, x in at["p"].items()}
    zT = module.forward(p, z0, check="off")
    run = module._prepare(p, z0, None)
    assert next(iter(run.z0.values())).data.ptr == z0.data_ptr()
    expected = module.forward(*module._handed_out((at["p"], z)), check="off")
    assert np.array_equal(zT.get(), expected.get())
