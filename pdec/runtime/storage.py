"""Parameters as one vector for optimisers, and as a file."""

from __future__ import annotations

import json
import math
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pdec.runtime.checks import _check_params, _common_dtype
from pdec.runtime.generated import MODEL
from pdec.runtime.host import _handed_out
from pdec.runtime.types import Array, Arrays

# --- parameters as a vector, and as a file -------------------------------------------

# the entry of a file that says which model its parameters belong to
_SIGNATURE = "__model__"


def ravel(p: Arrays) -> tuple[Array, Callable[[Array], Arrays]]:
    """Return p (or its gradient) as one float64 vector, and the way back.

    The parameters follow one another in the order of MODEL.params, each in C order;
    unravel(theta) returns new arrays in the dtype of p.
    """
    dtype = _common_dtype(p)
    values = _check_params(p, "p", dtype, finite=False)
    theta = np.concatenate([np.zeros(0), *(v.ravel() for v in values.values())])
    size = theta.size

    def unravel(theta: Array) -> Arrays:
        vector = np.asarray(theta)
        if vector.shape != (size,):
            raise ValueError(f"theta has shape {vector.shape}, expected ({size},)")
        back, start = {}, 0
        for name, variable in MODEL.params.items():
            stop = start + math.prod(variable.shape)
            back[name] = vector[start:stop].reshape(variable.shape).astype(dtype)
            start = stop
        return dict(_handed_out(back))

    return theta, unravel


def bounds() -> Array:
    """Return (low, high) for each entry of the raveled parameters, (entries, 2).

    Ready for scipy.optimize.minimize(bounds=bounds()).
    """
    rows = [np.zeros((0, 2))]
    for variable in MODEL.params.values():
        pair = (variable.low, variable.high)
        rows.append(np.full((math.prod(variable.shape), 2), pair))
    return np.concatenate(rows)


def save(path: str | os.PathLike[str], p: Arrays) -> None:
    """Write p to an .npz file, which appears whole or not at all."""
    values = _check_params(p, "p", _common_dtype(p))
    signature = {"model": MODEL.name, "source_hash": MODEL.source_hash}
    values[_SIGNATURE] = np.array(json.dumps(signature))
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {path}: there is no folder {target.parent}"
        )
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(partial, "w") as archive:
            for name, value in values.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as entry:
                    np.lib.format.write_array(entry, value, allow_pickle=False)
        os.replace(partial, target)
    except OSError as error:  # names the file that the user knows
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        partial.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> Arrays:
    """Read the parameters that save wrote.

    ValueError if the file does not fit the model; a warning if it fits, but was written
    for another version of the model's source.
    """
    values = _read(path)
    signature = json.loads(str(values.pop(_SIGNATURE, "{}")))
    other = signature.get("source_hash") != MODEL.source_hash
    origin = f"{path} was written for {signature.get('model', 'an unknown model')!r}"
    try:
        p = _handed_out(values)
        p = _handed_out(_check_params(p, "p", _common_dtype(p)))
    except (TypeError, ValueError) as error:
        reason = origin if other else f"{path} is damaged"
        raise ValueError(f"{reason} and does not fit {MODEL.name!r}: {error}") from None
    if other:
        text = f"{origin}, from another source than this {MODEL.name!r}; its shapes fit"
        warnings.warn(text, stacklevel=2)
    return dict(p)


def _read(path: str | os.PathLike[str]) -> Arrays:
    """Read all arrays of an .npz file, which may hold no objects."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no .npz file of arrays: {error}") from None
