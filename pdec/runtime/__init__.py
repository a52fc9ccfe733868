"""The part of a generated module that is the same for every model, kept as real files.

The compiler pastes the text of these files around the model's mathematics: `paste`
removes a file's docstring and imports and resolves its feature sections. What the
mathematics must provide is in `generated.pyi`. A generated module imports none of this.

A section is a block between marker lines, kept or dropped as a whole; sections nest:

    # [feature: loss]        kept where the model has a loss
    # [feature: not initial] kept where it has no `at t = 0`
    # [end]
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from importlib import resources

# features, what a model has: "accelerated" (a fixed point), "accurate" (compiled so, no
# approximations), "arrays" (of CuPy, in place of kernels), "at_risk" (walls whose
# conditions parameters can break), "banded" (implicit on one axis), "classes" (a target
# of labels), "every" (targets on the way), "implicit" (steps that are solved for),
# "initial" (at t = 0), "loss", "penalty" (loss terms in parameters alone), "readout";
# for the verdict on ω "layer" (z relaxes to f(Z), Z linear) with "channels", or else
# "jacobian"; "components" (more than one in a cell); "walls"; of its scheme "effective"
# (like an Euler step), "explicit", "matrix" (G is not of one rate) with "decays";
# "quick" (a layer of one number per moment on a ring, f' of one sign: modes decide);
# "closed" (layer, "effective", in 1-D), "three" (of three points);
# "moments" (whose stencil is linear in parameters that share one domain);
# "steady" (a fixed point is sought, nothing is stepped);
# "ranged" (a layer whose f' has a range that is finite);
# "sampled" (a range of slopes that is not proven); "timed" (its linearisation
# is another one in each step); "exp", "softplus", "tanh": what compiled functions call
FEATURES = (
    "accelerated",
    "accurate",
    "arrays",
    "at_risk",
    "banded",
    "channels",
    "classes",
    "closed",
    "components",
    "decays",
    "effective",
    "every",
    "exp",
    "explicit",
    "implicit",
    "initial",
    "jacobian",
    "layer",
    "loss",
    "matrix",
    "moments",
    "penalty",
    "quick",
    "ranged",
    "readout",
    "rows",
    "sampled",
    "softplus",
    "steady",
    "tanh",
    "three",
    "timed",
    "walls",
)

# files in the order of pasting; the target's own stand where its tools and driver do
BEFORE_MATHEMATICS = ("types",)
AFTER_MATHEMATICS = (
    "interface",
    "verdict/watch",
    "storage",
    "checks",
    "checkpoints",
)
TEST = ("selfcheck",)
STABILITY = (
    "verdict/guard",
    "verdict/stability",
    "verdict/meaning",
    "verdict/judging",
    "verdict/linearised",
    "verdict/spectrum",
    "verdict/waves",
    "verdict/certificates",
    "verdict/jacobian",
    "verdict/powers",
    "verdict/projection",
)
LAST = ("main",)

# what the pasted text may need, in the order of isort
IMPORTS = """\
import contextlib
import contextvars
import dataclasses
import difflib
import functools
import importlib
import io
import itertools
import json
import math
import os
import sys
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple, TypeAlias

import numba
import numpy as np
from llvmlite import ir
from numba.extending import overload
from numpy.typing import DTypeLike, NDArray
from scipy.linalg import get_lapack_funcs
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu
"""

_MARKER = re.compile(r"\s*# \[(?:feature: (?P<condition>.+)|end)\]")


def imports(text: str) -> str:
    """Return the imports that a module's text needs, of those in IMPORTS."""
    lines = []
    for line in IMPORTS.splitlines():
        head, word, names = line.rpartition("import ")
        bound = {name: name.split()[-1] for name in names.split(", ") if word}
        end = r"\b" if head else r"\.\w"  # a module is used by way of what is in it
        used = [n for n, b in bound.items() if re.search(rf"\b{b}{end}", text)]
        if used or not line:
            lines.append(f"{head}{word}{', '.join(used)}")
    return _explained("\n".join(lines) + "\n")


def _explained(text: str) -> str:
    """Say how to install what Python users need not have, where it is missing."""
    own = re.findall(r"^(?:import|from) (?:numba|llvmlite)\b.*\n", text, re.MULTILINE)
    for line in own:
        text = text.replace(line, "")
    if own:
        text += f"""
try:
{"".join(f"    {line}" for line in own)}except ModuleNotFoundError as error:
    raise ModuleNotFoundError("this module needs numba: pip install numba") from error
"""
    return text


def paste(file: str, features: Collection[str]) -> str:
    """Return the text of `file` for a model with these features, ready to be pasted."""
    assert set(features) <= set(FEATURES), features
    text = resources.files(__name__).joinpath(f"{file}.py").read_text("utf-8")
    kept = _select(without_head(text), features).strip("\n")
    return f"{kept}\n" if kept else ""


def files(
    tools: tuple[str, ...], driver: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the files before the mathematics of a target, and those behind it."""
    behind = (*AFTER_MATHEMATICS, *driver, *TEST, *STABILITY, *LAST)
    return (*BEFORE_MATHEMATICS, *tools), behind


@cache
def reserved_names(files: tuple[str, ...]) -> frozenset[str]:
    """Return the names that pasted text uses at top level, which no model may take."""
    names = {"annotations"}
    for line in IMPORTS.splitlines():
        imported = line.rpartition("import ")[2].split(", ")
        names |= {name.split()[-1] for name in imported if name}
    for file in files:
        for found in _BOUND.finditer(paste(file, FEATURES)):
            names |= set(re.findall(r"\w+", found["defined"] or found["assigned"]))
    return frozenset(names)


# what a line at top level binds: def f(…), class C, a = …, a, b = …, a: type = …
_BOUND = re.compile(
    r"^(?:(?:def|class) (?P<defined>\w+)|(?P<assigned>\w+(?:, \w+)*)(?:: [^=\n]+)? = )",
    re.MULTILINE,
)


def without_head(text: str) -> str:
    """Drop the docstring and the imports: what stands above the first section."""
    first = _FIRST.search(text)
    assert first is not None, "a file of the runtime begins with a section"
    return text[first.start() :]


_FIRST = re.compile(r"^# (?:---|\[)", re.MULTILINE)


def _select(text: str, features: Collection[str]) -> str:
    """Resolve the feature sections of a text, and drop their marker lines."""
    lines = []
    open_sections: list[bool] = []  # whether each is kept, outermost first
    for line in text.splitlines(keepends=True):
        marker = _MARKER.fullmatch(line.rstrip("\n"))
        if marker is None and all(open_sections):
            lines.append(line)
        elif marker and marker["condition"]:
            open_sections.append(_holds(marker["condition"], features))
        elif marker:
            open_sections.pop()
    assert not open_sections, "a section has no end"
    return "".join(lines)


def _holds(condition: str, features: Collection[str]) -> bool:
    """Tell whether a section with this condition is kept."""
    name = condition.removeprefix("not ")
    assert name in FEATURES, condition
    return (name in features) == (name == condition)
