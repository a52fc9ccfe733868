"""Two ways to write one model give one loss and one gradient.

Where the self-check is blind (a wrong forward with its own exact adjoint), a second
spelling of the same mathematics is the witness.
"""

from __future__ import annotations

import numpy as np
import pytest

from pdec.pipeline import compile_source, module_of
from pdec.source import from_text

CHANNELS = """\
dim d = 2
grid x[8] on [0, 1) periodic
field z[d](x)
param A[d,d] init normal(0, 1), B[d,d] init normal(0, 1), c[d] init normal(0, 1)
{body}
steps 3
dt = 0.02
loss = mean(z²)
"""

SCALAR = """\
grid x[9] on [0, 1]
at x: ∂z = 0
field z(x)
param b(x) init normal(0, 1), a init 0.3
{body}
steps 3
dt = 0.02
loss = mean(z²)
"""

PAIRS = {
    "a definition under a derivative": (
        CHANNELS.format(body="V = z² + c\ndz/dt = ∂(A V)"),
        CHANNELS.format(body="dz/dt = ∂(A (z² + c))"),
    ),
    "a component of a definition under a derivative": (
        CHANNELS.format(body="V = z² + c\ndz/dt = ∂(V[0]) z"),
        CHANNELS.format(body="dz/dt = ∂(z[0]² + c[0]) z"),
    ),
    "a product of matrices under a derivative": (
        CHANNELS.format(body="M = A B\ndz/dt = ∂(M z)"),
        CHANNELS.format(body="dz/dt = A (B ∂z)"),
    ),
    "a reference with its axes, squared": (
        SCALAR.format(body="dz/dt = -b(x)² z"),
        SCALAR.format(body="dz/dt = -b b z"),
    ),
    "a constant named like scratch space": (
        SCALAR.format(body="const t0 = 3, t1 = 2\ndz/dt = (-t0 z + t1 z² + a z³)/5"),
        SCALAR.format(body="const p = 3, q = 2\ndz/dt = (-p z + q z² + a z³)/5"),
    ),
    "a tangent that lacks an index": (
        SCALAR.format(body="dz/dt = sum(x + a) z/9 - z"),
        SCALAR.format(body="dz/dt = (0.5 + a) z - z"),
    ),
    "a conservative flux with a constant coefficient": (
        SCALAR.format(body="dz/dt = ∂(a ∂z)"),
        SCALAR.format(body="dz/dt = a ∂²z"),
    ),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
def test_two_spellings_agree(pair: tuple[str, str]) -> None:
    first, second = (module_of(compile_source(from_text(text))) for text in pair)
    p = first.init_params(seed=3)
    shape = next(iter(first.MODEL.fields.values())).shape
    z0 = np.random.default_rng(4).normal(size=(5, *shape))
    one = first.value_and_grad(p, z0, check="off")
    other = second.value_and_grad(p, z0, check="off")
    assert one[0] == pytest.approx(other[0], rel=1e-13)
    largest = max(np.abs(g).max() for g in other[1].values())
    for name, gradient in other[1].items():
        np.testing.assert_allclose(one[1][name], gradient, atol=1e-12 * largest)
    assert first.selfcheck().passed
