"""A stand-in for CuPy on a machine without a GPU, as strict as CuPy where it matters.

Arrays wrap those of NumPy and mix with them as little as CuPy's do; fresh memory
holds NaN. Of NumPy's functions there are those that the tables below name, with the
keywords of CuPy's; what reads a number back to the CPU is counted in ``reads``.
``RawModule`` compiles the text that it is given with the machine's C++ compiler and
``cpu.h``, and runs each thread of a block as a coroutine. ``ORDER`` says in which order
the threads of a block, or of all blocks of a launch that is one of many, run between
two meetings. A graph plays back what was launched while it was captured.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

HERE = Path(__file__).parent
ORDER = 0  # 0: as they are numbered, 1: the other way round, 2: another one each time
IN_CHIP = 227 << 10  # bytes of shared memory that a block may have
launches: list[str] = []
graphs: list[int] = []  # how many launches each graph had that was sent
reads: list[str] = []

# What the modules need of NumPy's functions, and CuPy has, with its keywords: the
# reference of CuPy 13, "Universal functions", and the page of each routine.
_UFUNCS = frozenset(
    """
    abs absolute add arctan bitwise_and bitwise_or cos cosh divide equal exp greater
    greater_equal heaviside invert isfinite less less_equal log log1p logaddexp
    logical_and logical_not matmul maximum minimum multiply negative not_equal power
    sign sin sinh sqrt subtract tan tanh
    """.split()
)
_FUNCTIONS = {
    "all": "axis out keepdims",
    "any": "axis out keepdims",
    "arange": "dtype",
    "argmax": "axis dtype out keepdims",
    "argwhere": "",
    "ascontiguousarray": "dtype",
    "broadcast_to": "",
    "concatenate": "axis out dtype casting",
    "copyto": "casting where",
    "count_nonzero": "axis",
    "einsum": "dtype optimize",
    "full": "dtype order",
    "max": "axis out keepdims",
    "mean": "axis dtype out keepdims",
    "ones": "dtype order",
    "ones_like": "dtype order subok shape",
    "pinv": "rcond",
    "split": "axis",
    "stack": "axis out dtype casting",
    "sum": "axis dtype out keepdims",
    "swapaxes": "",
    "where": "",
    "zeros": "dtype order",
    "zeros_like": "dtype order subok shape",
}
float32, float64, uint8 = np.float32, np.float64, np.uint8
__version__ = "of these tests"


class ndarray(NDArrayOperatorsMixin):
    """An array on the device."""

    __array_priority__ = 100

    def __init__(self, array: Any) -> None:
        assert isinstance(array, np.ndarray)
        self._array = array

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self._array.ctypes.data)

    @property
    def device(self) -> Any:
        return SimpleNamespace(id=0)

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_ufunc__(
        self, ufunc: Any, way: str, *inputs: Any, **options: Any
    ) -> Any:
        assert way == "__call__", f"cupy.{ufunc.__name__} has no method {way}"
        if "out" in options:
            (options["out"],) = options["out"]
        return __getattr__(ufunc.__name__)(*inputs, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, kw: Any) -> Any:
        if function.__module__ == "numpy.linalg":
            return getattr(linalg, function.__name__)(*args, **kw)
        return __getattr__(function.__name__)(*args, **kw)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._array, name)
        if not callable(found):
            return _wrapped(found)

        def method(*args: Any, **options: Any) -> Any:
            return _wrapped(found(*_deep(args), **_deep(options)))

        return method

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        if any(isinstance(k, ndarray) and k._array.dtype == bool for k in keys):
            reads.append("mask")
        return _wrapped(self._array[_deep(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        _apart(self._array[_deep(key)], value)
        self._array[_deep(key)] = _bare(value)

    def __len__(self) -> int:
        return len(self._array)

    def __bool__(self) -> bool:
        return bool(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __index__(self) -> int:
        return int(self.get())

    def __format__(self, form: str) -> str:
        return format(self.get(), form)

    def get(self) -> Any:
        reads.append("get")
        return self._array.copy()

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)


def _bare(value: Any) -> Any:
    """What NumPy works on; an array of NumPy beside one of the device is refused."""
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return value


def _deep(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_deep(v) for v in value)
    if isinstance(value, dict):
        return {k: _deep(v) for k, v in value.items()}
    return _bare(value)


def _wrapped(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return ndarray(value)
    if isinstance(value, np.generic):
        return ndarray(np.asarray(value))
    if isinstance(value, list):
        return [_wrapped(v) for v in value]
    return value


def _apart(out: Any, *inputs: Any) -> None:
    """An array may be written where it is read, but not some places off: CuPy's
    threads would overtake each other."""
    for given in inputs:
        if isinstance(given, ndarray) and np.shares_memory(out, given._array):
            a, b = (x.__array_interface__ for x in (out, given._array))
            same = all(a[key] == b[key] for key in ("data", "shape", "strides"))
            assert same, "reads what it writes elsewhere"


def asarray(value: Any, dtype: Any = None) -> ndarray:
    if isinstance(value, ndarray):
        return value if dtype is None else ndarray(value._array.astype(dtype))
    return ndarray(np.array(value, dtype))


array = asarray


def asnumpy(value: Any) -> Any:
    return value.get() if isinstance(value, ndarray) else np.asarray(value)


def from_dlpack(value: Any) -> ndarray:
    return ndarray(np.from_dlpack(value))


def empty(shape: Any, dtype: Any = float) -> ndarray:
    made = np.empty(shape, dtype)
    made.view(np.uint8 if made.ndim else made.dtype)[...] = 0xFF
    return ndarray(made)


def _like_numpy(name: str, home: Any = np) -> Any:
    """A function of NumPy that CuPy has, too."""
    keywords = {"out", "dtype"} if name in _UFUNCS else {*_FUNCTIONS[name].split()}

    def call(*args: Any, **options: Any) -> Any:
        assert set(options) <= keywords, f"cupy.{name}({', '.join(options)})"
        assert name != "where" or isinstance(args[0], ndarray)
        out = args[0] if name == "copyto" else options.get("out")
        if out is not None:
            assert isinstance(out, ndarray)
            _apart(out._array, *args)
        found = getattr(home, name)(*_deep(args), **_deep(options))
        return _wrapped(found) if out is None else out

    return call


def __getattr__(name: str) -> Any:
    if name in _UFUNCS or (name in _FUNCTIONS and name != "pinv"):
        return _like_numpy(name)
    raise AttributeError(
        f"module 'cupy' has no attribute {name!r}, or not in its table"
    )


def _solve(a: ndarray, b: ndarray) -> ndarray:
    """Singular matrices give numbers that are not finite, and no error."""
    assert a.shape[:-1] == b.shape[:-1], "cupy.linalg.solve does not broadcast"
    found = np.full(b.shape, np.nan, b.dtype)
    for k in np.ndindex(a.shape[:-2]):
        with contextlib.suppress(np.linalg.LinAlgError):
            found[k] = np.linalg.solve(a._array[k], b._array[k])
    return ndarray(found)


linalg = SimpleNamespace(solve=_solve, pinv=_like_numpy("pinv", np.linalg))


class _Event:
    def record(self) -> None:
        self.time = time.perf_counter()


class _Device:
    id = 0

    def synchronize(self) -> None: ...

    @property
    def attributes(self) -> dict[str, int]:
        return {"MaxSharedMemoryPerBlockOptin": IN_CHIP, "MultiProcessorCount": 7}


class OutOfMemoryError(MemoryError):
    """CuPy's own."""


class CUDARuntimeError(RuntimeError):
    """An error of the driver: "cudaErrorMemoryAllocation: out of memory"."""


class _Stream:
    """One in whose context launches are recorded while it captures."""

    current: Any = None

    def __init__(self, *, non_blocking: bool = False) -> None:
        self._before: Any = None
        self.captured: list[Any] | None = None

    def __enter__(self) -> None:
        self._before, _Stream.current = _Stream.current, self

    def __exit__(self, *error: Any) -> None:
        _Stream.current = self._before

    @property
    def ptr(self) -> int:
        return 0 if self is _null else id(self)

    def synchronize(self) -> None: ...

    def is_capturing(self) -> bool:
        return self.captured is not None

    def begin_capture(self) -> None:
        self.captured = []

    def end_capture(self) -> Any:
        captured, self.captured = self.captured, None
        assert captured is not None
        return _Graph(captured)


_null = _Stream()


class _Graph:
    def __init__(self, captured: list[Any]) -> None:
        self._captured = captured

    def launch(self) -> None:
        graphs.append(len(self._captured))
        for kernel, arguments in self._captured:
            kernel.run(*arguments)


cuda = SimpleNamespace(
    Device=_Device,
    Event=_Event,
    get_elapsed_time=lambda start, end: 1e3 * (end.time - start.time),
    Stream=_Stream,
    get_current_stream=lambda: _Stream.current or _null,
    memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    runtime=SimpleNamespace(
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda number: {"name": b"a CPU"},
        CUDARuntimeError=CUDARuntimeError,
    ),
)

# --- kernels --------------------------------------------------------------------------

COMPILER = shutil.which("g++") or shutil.which("c++")
_FLAGS = ["-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-fno-strict-aliasing"]
_CACHE = Path(os.environ.get("PDEC_CUDA_CACHE", tempfile.gettempdir())) / "pdec_cuda"
_ENTRY = r'^(?:KERNEL|extern "C" __global__ void) (\w+)\('
_PART = r"^(?:FORWARD|BACKWARD|TANGENT)\((\w+)\)"  # a macro that makes run_…
_WORDS = """
namespace cpu {
template <class T> T from_word(long long word)
{
    T t;
    memcpy(&t, &word, sizeof t);
    return t;
}
template <class... A, size_t... I>
void call_with(void (*f)(A...), const long long *w, index_list<I...>)
{
    f(from_word<A>(w[I])...);
}
template <class... A> void call(void (*f)(A...), const long long *w)
{
    call_with(f, w, typename make<sizeof...(A)>::type());
}
}
"""
_LISTS = """
namespace cpu {
template <size_t... I> struct index_list {};
template <size_t N, size_t... I> struct make : make<N - 1, N - 1, I...> {};
template <size_t... I> struct make<0, I...> { typedef index_list<I...> type; };
}
"""


def build(code: str, options: tuple[str, ...]) -> Path:
    """Compile CUDA C for the CPU, and return the library."""
    names = re.findall(_ENTRY, code, re.MULTILINE)
    names += [f"run_{part}" for part in re.findall(_PART, code, re.MULTILINE)]
    entries = "".join(
        f'extern "C" void {name}_words(const long long *words) '
        f"{{ cpu::call(model::{name}, words); }}\n"
        for name in names
    )
    text = code + _LISTS + _WORDS + entries
    flags = [o for o in options if o.startswith("-D")]
    flags += [f'-DPDEC_CPU="{HERE / "cpu.h"}"']
    key = repr((text, flags, (HERE / "cpu.h").read_text()))
    library = _CACHE / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.so"
    if not library.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        source = library.with_suffix(f".{os.getpid()}.cpp")
        source.write_text(text, "utf-8")
        made = source.with_suffix(".so")
        command = [str(COMPILER), *_FLAGS, *flags, str(source), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:4000]
        made.replace(library)
        source.unlink()
    return library


class RawModule:
    """Kernels that run on the CPU."""

    def __init__(self, *, code: str, options: tuple[str, ...]) -> None:
        self._library = ctypes.CDLL(str(build(code, options)))
        self._apart = "#define BLOCKS 1\n" not in code

    def get_function(self, name: str) -> Any:
        return _Kernel(self._library, name, self._apart)


class _Kernel:
    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self, library: Any, name: str, apart: bool) -> None:
        self._launch, self._kernel = library.launch, getattr(library, f"{name}_words")
        self._name, self._together = name, apart and not name.startswith("add_")

    def __call__(
        self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0
    ) -> None:
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        assert shared_mem <= max(IN_CHIP, 48 << 10)
        words = (ctypes.c_longlong * len(args))(*map(_word, args))
        captured = None if _Stream.current is None else _Stream.current.captured
        arguments = (*grid, 1)[:2], block[0], shared_mem, words
        if captured is None:
            self.run(*arguments)
        else:
            captured.append((self, arguments))

    def run(self, grid: Any, threads: int, shared: int, words: Any) -> None:
        launches.append(self._name)
        how = threads, self._together, ORDER, shared
        self._launch(self._kernel, *grid, *how, words)


def _word(value: Any) -> int:
    if isinstance(value, ndarray):
        assert value._array.flags.c_contiguous
        return int(value._array.ctypes.data)
    assert isinstance(value, np.int64 | np.float64), "a number of 8 bytes"
    return int(value.view(np.int64))
