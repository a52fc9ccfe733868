"""The CuPy target on a GPU, beside the NumPy target; skipped where there is none."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from comparison import OnHost, compare, growth, point, results
from test_cupy import EXPLICIT, MODELS, MOST_STEPS

import pdec


def missing() -> str:
    """What is missing to run on a device, or nothing."""
    try:
        cupy = importlib.import_module("cupy")
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        return f"no CuPy or no driver: {error}"
    return "" if count else "no GPU of NVIDIA"


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def loaded(model: Path, target: str, **options: bool) -> ModuleType:
    found = re.search(r"^steps (\d+)", model.read_text("utf-8"), re.MULTILINE)
    long = found is not None and int(found[1]) > MOST_STEPS
    steps = {"steps": MOST_STEPS} if long else None
    return pdec.load(model, target=target, overrides=steps, **options)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.stem)
def test_kernels_equal_arrays_and_these_numpy(model: Path) -> None:
    """A model that solves equations has arrays alone."""
    theirs = loaded(model, "numpy")
    at = point(theirs, "float64")
    expected, tolerance = results(theirs, at), 1e-12 * growth(theirs, at)
    for arrays in (True, False) if model in EXPLICIT else (True,):
        device = loaded(model, "cupy", arrays=arrays)
        assert hasattr(device, "_CUDA") == (not arrays)
        ours = OnHost(device, device._handed_out, device._on_host)
        found = results(ours, at)
        compare(found, expected, tolerance)
        expected = found


def test_two_runs_give_the_same_bits_on_any_stream() -> None:
    import cupy

    model = Path(__file__).parent.parent / "models/walls1d.npde"
    module = loaded(model, "cupy")
    at = module._handed_out(point(loaded(model, "numpy"), "float32", batch=64))
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
