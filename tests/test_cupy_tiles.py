"""Products of channels by tiles: the CUDA C of the CuPy target on a CPU, beside NumPy.

The channels are as many as no tile has, and fields differ in them; with walls, around
rings, in a block a sample and in several, on the chip and not.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import compare, flat, point, results
from test_cupy import NVCC, fake, loaded, reference, stand_in, tolerance

from pdec.pipeline import compile_source
from pdec.runtime import paste
from pdec.source import Source, from_text

__all__ = ["stand_in"]
pytestmark = [
    pytest.mark.skipif(fake.COMPILER is None, reason="no C++ compiler: g++ or c++"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]


def plane(d: int = 10, size: int = 6) -> Source:
    """Channels on a ring of rings."""
    return from_text(
        f"""
        dim d = {d}
        grid x[{size}] on [0, 1) periodic, y[{size}] on [0, 1) periodic
        field z[d](x, y)
        param W0[d,d] init normal(0, 0.1), W2[d,d] psd init 1e-3, b[d](x, y)
        dz/dt = -(z - tanh(W0 z + W2 ∇²z - b))
        steps 3
        ω = 0.5
        target q[d](x, y)
        loss = mean((z - q)²)/2
        """,
        "plane",
    )


def unequal() -> Source:
    """Two fields of other channels, walls and a ring, two stages, mixed derivatives."""
    return from_text(
        """
        dim d = 10
        dim e = 13
        grid x[9] on [0, 1], y[5] on [0, 1) periodic
        field z[d](x, y), u[e](x, y)
        at x: ∂z = 0
        at x = 0: u = 0.1
        at x = 1: ∂u + 0.5 u = 0.2
        param A[d,d] init normal(0, 0.1), B[d,e] init normal(0, 0.1)
        param C[e,d] init normal(0, 0.1), V[e,e] init normal(0, 0.1)
        param D[d,d] psd init 1e-3, b[d](x, y) init 0.1
        dz/dt = -(z - tanh(A z + B u + D ∇²z - b))
        du/dt = -(u - tanh(C z + V ∂x u + V ∂x∂y u))
        steps 3
        dt = 0.1
        scheme heun
        target q[d](x, y)
        loss = mean((z - q)²)/2
        """,
        "unequal",
    )


def shared() -> Source:
    """A matrix whose gradient is two products, with the same terms."""
    return from_text(
        """
        dim d = 9
        grid x[9] on [0, 1) periodic
        field z[d](x)
        param A[d,d] init normal(0, 0.3), n[d] init 0.1
        dz/dt = -(z - tanh(A z + n sum(A z)))
        steps 2
        ω = 0.5
        target q[d](x)
        loss = mean((z - q)²)
        """,
        "shared",
    )


KINDS = [(5, 1, 227 << 10), (32, 1, 0), (5, 3, 0), (32, 2, 0), (64, 3, 0)]


@pytest.mark.parametrize("make", [plane, unequal, shared])
@pytest.mark.parametrize(("threads", "blocks", "in_chip"), KINDS)
def test_equals_numpy(make: Any, threads: int, blocks: int, in_chip: int) -> None:
    source = make()
    ours: Any = loaded(source, threads=threads, blocks=blocks, in_chip=in_chip)
    theirs: Any = reference(source)
    assert ours.module._TILES
    at = point(theirs, "float64", batch=3)
    first = results(ours, at)
    compare(first, results(theirs, at), tolerance(theirs, at))
    for order in (1, 2) if threads < 64 else ():
        fake.ORDER = order
        for one, other in zip(flat(results(ours, at)), flat(first), strict=True):
            assert one.tobytes() == other.tobytes(), f"order {order}"


@pytest.mark.parametrize("blocks", [1, 3])
def test_float32(blocks: int) -> None:
    ours, theirs = loaded(plane(), threads=32, blocks=blocks), reference(plane())
    at, at32 = point(theirs, "float64"), point(theirs, "float32")
    exact = theirs.value_and_grad(at["p"], at["z0"], at["y"])[1]
    found = ours.value_and_grad(at32["p"], at32["z0"], at32["y"])[1]
    for key, value in exact.items():
        assert found[key].dtype == np.float32
        assert np.abs(found[key] - value).max() <= 1e-5 * np.abs(value).max(), key


PRODUCT = """
namespace model {{
#define THREADS {threads}
#define BLOCKS {blocks}
#define TILES 2304
{team}
{tiles}
}}
using namespace model;
extern "C" __global__ void run_product(const real *a, const real *b, real *c)
{{
    extern __shared__ __align__(16) unsigned char chip[];
    Team team = {{int(blockIdx.x * THREADS + threadIdx.x), (double *)chip}};
    multiply<{rows}, {columns}, {terms}, {parts}, {beside}>(
        team, [&](int i, int k) -> real {{ return a[i * {terms} + k]; }},
        [&](int k, int j) -> real {{ return b[k * {columns} + j]; }},
        [&](int i, int j, int part, real sum) {{
            c[(part * {rows} + i) * {columns} + j] += sum;
        }});
}}
"""


@pytest.mark.parametrize("threads", [1, 5, 96, 256])
@pytest.mark.parametrize(
    ("rows", "columns", "terms", "parts"),
    [(8, 8, 8, 1), (63, 70, 17, 1), (130, 9, 40, 1), (9, 1200, 33, 1), (16, 48, 99, 4)],
)
def test_a_product_of_any_size(
    threads: int, rows: int, columns: int, terms: int, parts: int
) -> None:
    """Each result is set once, whatever the tiles; parts are of terms in order."""
    blocks, beside = (1 + columns % 3, "true" if parts > 1 else "false")
    sizes = {"rows": rows, "columns": columns, "terms": terms, "parts": parts}
    tools, own = _text("cupy/tools"), _text("cupy/tiles")
    code = (
        tools["_CUDA_TOOLS"]
        + PRODUCT.format(
            threads=threads,
            blocks=blocks,
            team=tools["_CUDA_TEAM"],
            tiles=own["_CUDA_TILES"],
            beside=beside,
            **sizes,
        ).replace("using namespace model;", "namespace model {")
        + "}\n"
    )
    kernel = fake.RawModule(code=code, options=("-DREAL=double",))
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((rows, terms)), rng.standard_normal((terms, columns))
    c = fake.asarray(np.zeros((parts, rows, columns)))
    run = kernel.get_function("run_product")
    run((blocks,), (threads,), (fake.asarray(a), fake.asarray(b), c), shared_mem=18432)
    size = -(-terms // parts)
    for part, found in enumerate(c.get()):
        some = slice(part * size, (part + 1) * size)
        np.testing.assert_allclose(found, a[:, some] @ b[some], atol=1e-12)


def _text(file: str) -> dict[str, str]:
    found: dict[str, str] = {}
    exec(paste(file, set()), found)
    return found


def test_few_channels_have_no_tiles() -> None:
    """Nor do they ship the text of the tiles; a step is as many launches with them."""
    texts = {
        d: compile_source(plane(d, 64), target="cupy").text for d in (4, 8, 10, 63)
    }
    assert "_CUDA_TILES" not in texts[4]
    for d in (8, 10, 63):
        assert texts[d].count("multiply<") == 5  # there, back: two, tangent: two
        assert '"step": 1' in texts[d]
        assert '"step_vjp": 2' in texts[d]
    sizes = [len(re.sub(r"\d+", "0", texts[d])) for d in (8, 10, 63)]
    assert max(sizes) - min(sizes) < 100, "text grows with channels"


@pytest.mark.skipif(NVCC is None, reason="no compiler of CUDA: nvcc")
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize(
    ("d", "real"),
    [
        (63, "float"),
        *(
            pytest.param(d, r, marks=pytest.mark.slow)
            for d, r in [(16, "float"), (16, "double"), (63, "double")]
        ),
    ],
)
def test_nothing_is_spilled(d: int, real: str, arch: str, tmp_path: Path) -> None:
    """Results stay in registers, and tiles within what every device has."""
    module = loaded(plane(d, 64), threads=256, blocks=128)
    assert module._lanes_bytes(np.dtype(np.float64)) <= 48 << 10
    source = tmp_path / "kernels.cu"
    source.write_text(module._code(), "utf-8")
    command = [str(NVCC), "-cubin", "-std=c++17", f"-arch={arch}", f"-DREAL={real}"]
    command += ["-Xptxas", "-v", str(source), "-o", str(tmp_path / "kernels.cubin")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    spilled = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill", done.stderr)
    assert len(spilled) > 10
    assert set(spilled) == {("0", "0")}
