"""Loops of the Numba target: rows of a product of channels, and what is compiled."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import pdec

numba = pytest.importorskip("numba")

CHANNELS = Path(__file__).parent / "models/channels.npde"

# d = 6 takes three rows at once, four do not fit
MODEL = """\
dim d = 6
grid x[64] on [0, 1) periodic
field z[d](x)
param W0[d,d] init normal(0, 0.1), W1[d,d] init normal(0, 1e-3)
param b[d](x) init normal(0, 0.1)
f(s) = tanh(s)
dz/dt = -(z - f(W0 z + W1 ∂z - b))
steps 3
ω = 0.5
target y[d](x)
loss = mean((z - y)²)/2
"""


def test_products_of_channels(tmp_path: Path) -> None:
    (tmp_path / "rows.npde").write_text(MODEL, "utf-8")
    ours = pdec.load(tmp_path / "rows.npde", target="numba")
    theirs = pdec.load(tmp_path / "rows.npde")
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal((2, 3, 6, 64))
    p = theirs.init_params(0, "float64")
    loss, grads = ours.value_and_grad(p, z, y, check="off")
    expected, exact = theirs.value_and_grad(p, z, y, check="off")
    assert abs(loss - expected) <= 1e-14 * expected
    for name, value in exact.items():
        assert np.abs(grads[name] - value).max() <= 1e-12 * np.abs(value).max(), name
    # the product itself has a loop over rows, the sums of its adjoint are written out
    source = inspect.getsource(ours._step.py_func)
    assert "for i0_row in range(0, 6, 3):" in source
    assert re.search(r"for i0 in range\(i0_row, i0_row \+ 3\):\n", source)
    source = inspect.getsource(ours._step_vjp.py_func)
    assert "for k0_row in range(0, 6, 3):" in source
    assert re.search(r"sum_9 \+= Z_bar\[i0 \+ 2, x\]", source)


def test_a_function_of_a_sample_is_compiled_with_its_callers_alone(
    tmp_path: Path,
) -> None:
    """What is compiled by itself is compiled again in all that call it."""
    (tmp_path / "few.npde").write_text(MODEL.replace("d = 6", "d = 2"), "utf-8")
    module = pdec.load(tmp_path / "few.npde", target="numba")
    z, y = np.zeros((2, 1, 2, 64))
    module.value_and_grad(module.init_params(0, "float64"), z, y, check="off")
    compiled = {
        name
        for name, value in vars(module).items()
        if isinstance(value, numba.core.dispatcher.Dispatcher) and value.signatures
    }
    assert compiled == {"_differentiate_samples"}


def test_fields_that_differ_in_channels() -> None:
    """Their loops have indices of the same names, their sums one."""
    ours, theirs = (pdec.load(CHANNELS, target=name) for name in ("numba", "numpy"))
    rng = np.random.default_rng(0)
    z = {"u": rng.standard_normal((2, 3, 6)), "v": rng.standard_normal((2, 2, 6))}
    z["w"] = rng.standard_normal((2, 6))
    p, y = theirs.init_params(0, "float64"), {"p": z["u"][::-1], "r": z["v"][::-1]}
    for m in (ours, theirs):  # with the check of stability, which is the default
        m.forward(p, z)
    found, expected = (m.value_and_grad(p, z, y)[1] for m in (ours, theirs))
    for name, value in expected.items():
        assert np.abs(found[name] - value).max() <= 1e-12 * np.abs(value).max(), name
