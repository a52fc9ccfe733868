"""Adjoints along periodic axes read around the ring; what they cannot is folded."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pdec.pipeline import compile_source, module_of
from pdec.source import from_text

pytest.importorskip("numba")

PLANE = """\
grid x[24] on [0, 1) periodic, y[20] on {y}
field z(x, y)
param a init 0.1, k init 1e-3, w(x, y) init normal(0, 0.1)
dz/dt = -(z - tanh(a z + k ∂x ∂y z + 1e-4 ∇²z - w))
steps 4
ω = 0.4
target q(x, y)
loss = mean((z - q)²){more}
"""
# a Jacobian of two fields: what the way back reads in corners the way there does not
CORNERS = """\
grid x[6] on [0, 1) periodic, y[5] on {y}
field u(x, y), v(x, y)
target q(x, y)
du/dt = 0.01 (∂x u ∂y v - ∂y u ∂x v)
dv/dt = 0.01 ∇²v
scheme euler
steps 3
dt = 0.01
loss = mean((u - q)²){more}
"""
LINE = """\
grid x[40] on [0, 1) periodic
field u(x), v(x)
input light(x)
param κ(x) init normal(1e-3, 1e-4), c(x) init normal(0, 0.1)
du/dt = ∂(κ ∂u) - u ∂u + c v
dv/dt = ∂(light v c) + 1e-3 ∂(tanh(∂²v + u))
scheme euler
dt = 0.01
steps 5
target q(x)
loss = mean((u - q)²) + mean((∂v)²)
"""
PLACES = LINE.replace("c v\n", "c v + ∂(sin(6.28 x) u²)\n")
IMPLICIT = """\
grid x[24] on [0, 1) periodic
field u(x)
param κ init 1e-3
du/dt = κ ∂²u - u ∂u
scheme trapezoidal
dt = 0.01
steps 2
target q(x)
loss = mean((u - q)²)
"""
# the text, and the axes along which ghost cells are folded
MODELS = {
    "corners": (PLANE.format(y="[0, 1) periodic", more=""), ""),
    "walls": (PLANE.format(y="[0, 1]", more="\nat y: z = 0.3"), "y"),
    "products": (CORNERS.format(y="[0, 1) periodic", more=""), ""),
    "products_walls": (
        CORNERS.format(y="[0, 1]", more="\nat y: u = 0\nat y: ∂n v = 0"),
        "y",
    ),
    "line": (LINE, ""),
    "places": (PLACES, ""),
    "implicit": (IMPLICIT, "x"),
}


def leaves(values: Any) -> Iterator[np.ndarray]:
    if isinstance(values, dict):
        for name in sorted(values):
            yield from leaves(values[name])
    else:
        yield values


def gradients(module: ModuleType, p: Any, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    model = module.MODEL
    z = {k: rng.normal(0, 0.3, (3, *f.shape)) for k, f in model.fields.items()}
    y = {k: rng.normal(0, 1, (3, *f.shape)) for k, f in model.targets.items()}
    inputs = {k: rng.normal(0, 1, (3, *f.shape)) for k, f in model.inputs.items()}
    wrt = ("params", "z0", *(["inputs"] if inputs else []))
    given: dict[str, Any] = {"inputs": inputs} if inputs else {}
    loss, grads = module.value_and_grad(p, z, y, wrt=wrt, check="off", **given)
    return [np.array(loss), *leaves(grads)]


@pytest.mark.parametrize("name", MODELS)
def test_gathers_around(name: str) -> None:
    text, folded = MODELS[name]
    source = from_text(text, f"{name}.npde")
    ours = module_of(compile_source(source, target="numba"))
    theirs = module_of(compile_source(source))
    p = theirs.init_params(1, "float64")
    for seed in (0, 1):  # the second time with what the first one left in buffers
        found, wanted = gradients(ours, p, seed), gradients(theirs, p, seed)
        for a, b in zip(found, wanted, strict=True):
            assert np.abs(a - b).max() <= 1e-13 * np.abs(b).max()
    written = inspect.getsource(ours._step_vjp.py_func)
    cleared = re.findall(r"_bar_?\[(.+)\] = 0\.0\n", written)
    places = [places.split(", ") for places in cleared]
    axes = {"xy"[k] for found in places for k, at in enumerate(found) if at.isdigit()}
    assert axes == set(folded), cleared
