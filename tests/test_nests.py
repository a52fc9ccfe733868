"""Loops of the Numba target: rows of a product of channels, and what is compiled."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import pdec

numba = pytest.importorskip("numba")

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


# u and v differ in channels: their loops have indices of the same names, their sums one
TWO_SIZES = """\
dim d = 3, e = 2
grid x[6] on [0, 1) periodic
field u[d](x), v[e](x)
param A[d,e](t) init normal(0, 0.4), B[e,d](x) init normal(0, 0.3), D init 0.002
param E[e,e] init normal(0, 0.1)
du/dt = -(u - tanh(A v + D ∇²u))
dv/dt = -(v - tanh(B u + E ∂x v + 0.1 v (dot(u, u) + dot(v, v))))
steps 3
ω = 0.5
target p[d](x), q[e](x)
loss = mean((u - p)²) + mean((v - q)²)
"""


def test_fields_that_differ_in_channels(tmp_path: Path) -> None:
    (tmp_path / "sizes.npde").write_text(TWO_SIZES, "utf-8")
    ours = pdec.load(tmp_path / "sizes.npde", target="numba")
    theirs = pdec.load(tmp_path / "sizes.npde")
    rng = np.random.default_rng(0)
    z = {"u": rng.standard_normal((2, 3, 6)), "v": rng.standard_normal((2, 2, 6))}
    p, y = theirs.init_params(0, "float64"), {"p": z["u"][::-1], "q": z["v"][::-1]}
    for m in (ours, theirs):  # with the check of stability, which is the default
        m.forward(p, z)
    found, expected = (m.value_and_grad(p, z, y)[1] for m in (ours, theirs))
    for name, value in expected.items():
        assert np.abs(found[name] - value).max() <= 1e-12 * np.abs(value).max(), name
    # one step of NumPy's by hand
    u, v, w = z["u"], z["v"], p["E"]
    slope = (np.roll(v, -1, 2) - np.roll(v, 1, 2)) * 3.0
    inner = np.einsum("ijx,bjx->bix", p["B"], u) + np.einsum("ij,bjx->bix", w, slope)
    inner += 0.1 * v * ((u**2).sum(1) + (v**2).sum(1))[:, None]
    after = theirs.trajectory(p, z)["v"][1]
    np.testing.assert_allclose(after, 0.5 * v + 0.5 * np.tanh(inner), rtol=1e-12)
