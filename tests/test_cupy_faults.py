"""What the CuPy target does where memory, streams, devices and sizes are unusual."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from comparison import compare, point
from test_cupy import (
    derived,
    fake,
    loaded,
    reference,
    stand_in,
    to_device,
    walls1d,
)

from pdec.pipeline import compile_source
from pdec.source import from_text
from pdec.targets import cupy as cupy_target

__all__ = ["stand_in"]
pytestmark = [
    pytest.mark.skipif(fake.COMPILER is None, reason="no C++ compiler: g++ or c++"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]
FULL = "cudaErrorMemoryAllocation: out of memory"


def gradient(module: Any) -> Any:
    at = point(reference(walls1d()), "float64")
    return module.value_and_grad(at["p"], at["z0"], at["y"], check="off")[1]


def raising(error: Exception) -> Any:
    def function(*args: Any, **options: Any) -> Any:
        raise error

    return function


# --- memory ---------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("function", ["empty", "zeros", "asarray", "kernel"])
def test_too_little_memory(
    function: str, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = loaded(walls1d(), blocks=blocks)
    at = to_device(point(reference(walls1d()), "float64"))
    full = raising(fake.OutOfMemoryError("Out of memory allocating 9 bytes"))
    if function == "kernel":
        full = raising(fake.CUDARuntimeError(FULL))
        monkeypatch.setattr(fake._Kernel, "__call__", full)
    else:
        monkeypatch.setattr(fake, function, full, raising=False)
    with pytest.raises(MemoryError, match='checkpoint="sqrt", or a smaller batch'):
        module.module.value_and_grad(at["p"], at["z0"], at["y"], check="off")


@pytest.mark.parametrize("where", ["end_capture", "launch"])
def test_a_graph_that_does_not_fit_is_launched_one_by_one(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = loaded(walls1d(), blocks=3)
    kind = fake._Stream if where == "end_capture" else fake._Graph
    expected = gradient(module)
    monkeypatch.setattr(kind, where, raising(fake.CUDARuntimeError(FULL)))
    for _ in range(3):
        fake.launches.clear()
        compare({"": gradient(module)}, {"": expected}, 0.0)
        assert len(fake.launches) > 9
    other = fake.CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access")
    module = loaded(walls1d(), blocks=3)
    monkeypatch.setattr(kind, where, raising(other))
    gradient(module)
    with pytest.raises(fake.CUDARuntimeError, match="illegal"):
        gradient(module)


def test_what_goes_wrong_while_capturing_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ending the capture fails as well, and hides it not."""
    module = loaded(walls1d(), blocks=3)
    gradient(module)
    ended = raising(fake.CUDARuntimeError("cudaErrorStreamCaptureInvalidated: …"))
    monkeypatch.setattr(fake._Stream, "end_capture", ended)
    kernel = raising(fake.CUDARuntimeError("cudaErrorLaunchFailure: …"))
    monkeypatch.setattr(fake._Kernel, "__call__", kernel)
    with pytest.raises(fake.CUDARuntimeError, match="LaunchFailure"):
        gradient(module)


# --- streams, threads, devices ------------------------------------------------------


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, set[Any]]]:
    """Which streams and threads launch with each table, the first argument."""
    found: dict[int, set[Any]] = {}
    run = fake._Kernel.run

    def launched(self: Any, grid: Any, block: Any, shared: int, words: Any) -> None:
        if not self._name.startswith("add_"):
            where = fake.cuda.get_current_stream().ptr, threading.get_ident()
            found.setdefault(words[0], set()).add(where)
        run(self, grid, block, shared, words)

    monkeypatch.setattr(fake._Kernel, "run", launched)
    yield found


def test_each_stream_has_its_own_tables(tables: dict[int, set[Any]]) -> None:
    """A table that two streams use could be written, or its memory given to another
    array, while the other stream still reads it."""
    module = loaded(walls1d(), blocks=3)
    expected = gradient(module)
    streams = [fake.cuda.Stream() for _ in range(3)]
    for stream in (*streams, *streams):
        with stream:
            compare({"": gradient(module)}, {"": expected}, 0.0)
    assert len({user for users in tables.values() for user in users}) == 4
    assert all(len(users) == 1 for users in tables.values())


def test_each_thread_has_its_own_tables(tables: dict[int, set[Any]]) -> None:
    module = loaded(walls1d(), blocks=3)
    expected, found = gradient(module), []
    for _ in range(2):  # one after the other: the stand-in has one stream in hand
        thread = threading.Thread(target=lambda: found.append(gradient(module)))
        thread.start()
        thread.join()
    assert len(found) == 2
    for other in found:
        compare({"": other}, {"": expected}, 0.0)
    assert all(len(users) == 1 for users in tables.values())


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_stream_that_captures_is_refused(blocks: int) -> None:
    module = loaded(walls1d(), blocks=blocks)
    stream = fake.cuda.Stream()
    with stream:
        stream.begin_capture()
        with pytest.raises(RuntimeError, match="captures a graph, but walls1d reads"):
            gradient(module)


def test_a_pullback_on_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps arrays, which lie where they lay."""
    module = loaded(walls1d()).module
    at = to_device(point(reference(walls1d()), "float64"))
    zT, pullback = module.vjp(at["p"], at["z0"])
    other = fake.asarray(zT.get())

    def where(array: Any) -> Any:
        return SimpleNamespace(id=int(array is other))

    monkeypatch.setattr(fake.ndarray, "device", property(where))
    monkeypatch.setattr(fake._Device, "id", 1)
    with pytest.raises(ValueError, match=r"lies on GPU 0, but GPU 1 .*Device\(0\)"):
        pullback(other)


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_pullback_has_copies(blocks: int) -> None:
    """What the caller changes afterwards changes nothing."""
    module = loaded(walls1d(), blocks=blocks).module
    at = to_device(point(reference(walls1d()), "float64"))
    zT, pullback = module.vjp(at["p"], at["z0"])
    first = pullback(zT)
    for arrays in (at["p"], at["z0"]):
        for array in arrays.values():
            array[...] = 7.0
    again = pullback(zT)
    for name, value in first[0].items():
        assert np.array_equal(value.get(), again[0][name].get())
    assert np.array_equal(first[1].get(), again[1].get())


# --- sizes ----------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [1, 3])
def test_an_empty_batch(blocks: int) -> None:
    module = loaded(walls1d(), blocks=blocks)
    at = point(reference(walls1d()), "float64")
    none = {name: z[:0] for name, z in at["z0"].items()}
    with pytest.raises(ValueError, match="z0 is an empty batch"):
        module.forward(at["p"], none)


def test_more_samples_than_a_grid_has_rows() -> None:
    """65,535 at most are at work at a time, others after them."""
    module = loaded(walls1d(), threads=1, blocks=2)
    run = SimpleNamespace(dtype=np.dtype(np.float32), batch=1 << 20)
    assert module._at_once(run, 2, run.batch) == 65535


def test_more_numbers_than_an_int_counts() -> None:
    """Kernels count in int: such a model has array operations, and says why."""

    def text(size: int) -> str:
        source = from_text(
            f"""
            grid x[{size}] on [0, 1) periodic, y[32768] on [0, 1) periodic
            field z(x, y)
            param D init 1e-3
            dz/dt = D ∇²z
            steps 2
            dt = 0.1
            """,
            "large",
        )
        return compile_source(source, target="cupy").text

    assert "kernels " in text(32700).partition('"""\n')[0]
    head = text(32768).partition('"""\n')[0]
    assert "arrays   it has arrays of over 1,073,676,288 numbers: array op" in head


def test_loops_do_not_count_beyond_an_int() -> None:
    """Of the largest model with kernels: each loop's end, and a stride more."""
    lanes = cupy_target.THREADS * cupy_target.MOST_BLOCKS
    assert 2 * cupy_target.MOST + lanes < 2**31
    derivation, _ = derived(walls1d())
    assert cupy_target.covers(derivation)
