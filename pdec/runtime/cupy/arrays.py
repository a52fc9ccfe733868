"""Arrays of CuPy: what a module that runs on a GPU takes and returns; see host.py."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from pdec.runtime.generated import MODEL
from pdec.runtime.types import Array

# --- arrays of CuPy ------------------------------------------------------------------


def _find_cupy() -> Any:
    """Import CuPy, or say how to get it."""
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        raise ImportError(
            f"this module runs on a GPU by way of CuPy, which cannot be imported "
            f"({error}): pip install 'pdec[cupy]' (CUDA 12) or 'pdec[cupy13]' "
            "(CUDA 13), or compile the model with --target numba"
        ) from None


_lib: Any = _find_cupy()  # what makes arrays
# [feature: arrays]
cp = _lib  # in the mathematics
# [end]


# what errors of the driver and of cuBLAS begin with where the memory is full
_FULL = "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC"


def _is_full(error: Exception) -> bool:
    """Tell whether an error says that the memory of the GPU is full."""
    full = isinstance(error, _lib.cuda.memory.OutOfMemoryError)
    return full or str(error).startswith(_FULL)


@contextlib.contextmanager
def _in_memory() -> Iterator[None]:
    """Run what takes memory of the GPU, or say how to need less."""
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            raise
        raise MemoryError(
            f"{MODEL.name} does not fit the memory of the GPU ({error}): pass "
            'checkpoint="sqrt", or a smaller batch, or compile the model with '
            "--target numba"
        ) from None


@functools.cache
def _device_found() -> bool:
    """Find a GPU that works, or say what is missing."""
    try:
        count = _lib.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise RuntimeError(
            f"{MODEL.name} needs a GPU of NVIDIA and a driver for CuPy's version of "
            f"CUDA ({error}): install or update the driver, or compile the model with "
            "--target numba"
        ) from None
    if not count:
        raise RuntimeError(
            f"{MODEL.name} needs a GPU of NVIDIA, of which there is none here; compile "
            "the model with --target numba"
        )
    return True


# where DLPack says that an array lies: on a GPU of NVIDIA, or in memory of both
_ON_DEVICE = (2, 13)


def _is_array(value: Any) -> bool:
    return isinstance(value, _lib.ndarray) or (
        hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray | np.generic)
    )


def _taken(value: Any, label: str, expected: str, remedy: str) -> Array:
    """Return what the user passed if it is an array on the GPU, without a copy."""
    _device_found()
    array: Array = value
    if _lib.cuda.get_current_stream().is_capturing():
        raise RuntimeError(
            f"the current stream captures a graph, but {MODEL.name} reads parameters "
            "on the CPU: call it outside of the capture; it makes graphs of its own"
        )
    if isinstance(value, _lib.ndarray):
        here, there = _lib.cuda.Device().id, value.device.id
        if there != here:
            raise ValueError(
                f"{label} lies on GPU {there}, but GPU {here} is the current one; "
                f"call this within `with cupy.cuda.Device({there}):`"
            )
        return array
    if isinstance(value, np.ndarray | np.generic):
        raise TypeError(
            f"{label} is an array of NumPy, but this module takes CuPy's; pass "
            f"cupy.asarray({label}), or compile the model with --target numba"
        )
    if not hasattr(value, "__dlpack__"):
        raise TypeError(
            f"{label} is of type {type(value).__name__}, expected {expected} on the "
            f"GPU; pass {remedy.replace('np.', 'cupy.')}"
        )
    if value.__dlpack_device__()[0] not in _ON_DEVICE:
        raise TypeError(
            f"{label} lies in the memory of the CPU, but this module runs on a GPU; "
            "move it there, or compile the model with --target numba"
        )
    detached = value.detach() if hasattr(value, "detach") else value
    return _taken(_lib.from_dlpack(detached), label, expected, remedy)


def _each(values: Any, change: Callable[[Any], Any]) -> Any:
    """Change all arrays, in dicts and tuples too."""
    if isinstance(values, Mapping):
        return {name: _each(value, change) for name, value in values.items()}
    if isinstance(values, tuple):
        return tuple(_each(value, change) for value in values)
    return change(values)


def _on_host(values: Any) -> Any:
    """Return arrays, in dicts and tuples too, as NumPy's."""

    def change(value: Any) -> Any:
        if _is_array(value):
            return _lib.asnumpy(_taken(value, "an array", "one", "one"))
        return value

    return _each(values, change)


def _handed_out(values: Any) -> Any:
    """Return arrays of NumPy, in dicts and tuples too, as the user gets them."""

    def change(value: Any) -> Any:
        numpy = isinstance(value, np.ndarray | np.generic)
        return _lib.asarray(value) if numpy and _device_found() else value

    return _each(values, change)


# [feature: arrays]
def _row_dots(a: Any, b: Any) -> Any:
    """Return the sums of products along the last axis, which is NumPy's vecdot."""
    return _lib.einsum("...x,...x->...", a, b)


# [end]
