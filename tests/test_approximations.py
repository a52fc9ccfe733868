"""How well compiled code computes the functions of the language, against mpmath.

Each function is printed and compiled as models are, in a loop of its own, with and
without ``--accurate``; its documented error holds from the least to the largest number.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy

from pdec.forms.functions import NUMERIC, Maximum, Minimum, Select, Step, softplus
from pdec.forms.symbolic import Access
from pdec.runtime import paste
from pdec.targets.numbers import FUNCTIONS, Numbers

numba = pytest.importorskip("numba")

mpmath.mp.prec = 200  # sinh and tanh of tiny numbers, the period of sin at 1e300
S = Access("s", (("x", 0),))

# The functions of the language that have one argument, and powers as models have them.
EXACT: dict[type, Callable[[Any], Any]] = {
    sympy.exp: mpmath.exp,
    sympy.log: mpmath.log,
    sympy.sin: mpmath.sin,
    sympy.cos: mpmath.cos,
    sympy.tan: mpmath.tan,
    sympy.tanh: mpmath.tanh,
    sympy.sinh: mpmath.sinh,
    sympy.cosh: mpmath.cosh,
    sympy.atan: mpmath.atan,
    sympy.Abs: abs,
    sympy.sign: mpmath.sign,
    softplus: lambda s: mpmath.log1p(mpmath.exp(s)),
    Step: lambda s: mpmath.mpf(s > 0),
}
OF_SEVERAL = {
    "max": (Maximum(S, sympy.S.Half), lambda s: max(s, 0.5)),
    "max of a number": (Maximum(sympy.S.Half, S), lambda s: max(0.5, s)),
    "max of two": (Maximum(S, -S), abs),
    "min": (Minimum(S, sympy.S.Half), lambda s: min(s, 0.5)),
    "min of a number": (Minimum(sympy.S.Half, S), lambda s: min(0.5, s)),
    "min of two": (Minimum(S, -S), lambda s: -abs(s)),
    "where": (Select(S, S, 2 * S), lambda s: s if s > 0 else 2 * s),
}
POWERS = [
    2,
    3,
    4,
    -1,
    -2,
    *(sympy.Rational(p, 2) for p in (1, -1, 3)),
    sympy.Float(1.75),
]
EXPRESSIONS = {
    **{kind.__name__: (kind(S), exact) for kind, exact in EXACT.items()},
    **{f"s^{p}": (S**p, lambda s, p=p: s ** mpmath.mpf(float(p))) for p in POWERS},
    **OF_SEVERAL,
}
POSITIVE = {"log", *(f"s^{p}" for p in POWERS if not sympy.sympify(p).is_Integer)}
BOUNDS = {np.float64: 4 * 2.0**-52, np.float32: 1e-6}


def test_every_function_is_here() -> None:
    several = {type(expr) for expr, _ in OF_SEVERAL.values()}
    assert {*EXACT, *several} == set(NUMERIC)
    assert {*FUNCTIONS, Step, Select} == set(NUMERIC)


@cache
def compiled(name: str, accurate: bool, folder: Path) -> Callable[[Any, Any], None]:
    """The loop over an expression, compiled as a part of a model is."""
    printed = Numbers(lambda symbol: "s[x]")(EXPRESSIONS[name][0])
    text = f"""
import numba
import numpy as np
from collections.abc import Callable
from typing import Any
from numba.extending import overload
{paste("numba/tools", {"exp", "softplus", "tanh", *["accurate"] * accurate})}

def loop(s, out):
    real = s.dtype.type
    for x in range(len(s)):
        out[x] = {printed}
"""
    loop: Callable[[Any, Any], None] = numba.njit(**imported(text, folder)._OPTIONS)(
        imported(text, folder).loop
    )
    return loop


@cache
def imported(text: str, folder: Path) -> ModuleType:
    file = folder / f"loop{len(list(folder.iterdir()))}.py"
    file.write_text(text, "utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loops")


def points(dtype: Any, positive: bool) -> Any:
    """Numbers of all sizes and signs, and those beside where functions change."""
    info, rng = np.finfo(dtype), np.random.default_rng(0)
    exponents = rng.uniform(np.log10(info.tiny), np.log10(info.max), 400)
    edges = [0.0, info.tiny, info.max, 1.0, np.pi / 2, np.log(info.max), 20.0, 10.0]
    edges += [-np.log(info.tiny), 708.0, 87.0, 709.75, 88.7, np.log(2.0) / 2]
    sizes = [10.0**exponents, rng.uniform(0, 50, 400), rng.uniform(0, 1, 200), edges]
    near = np.concatenate(sizes).astype(dtype)
    near = np.concatenate([near, np.nextafter(near, dtype(0.0))])
    return near if positive else np.concatenate([near, -near])


@pytest.mark.parametrize("accurate", [False, True], ids=["", "accurate"])
@pytest.mark.parametrize("dtype", BOUNDS, ids=["float64", "float32"])
@pytest.mark.parametrize("name", EXPRESSIONS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_errors(name: str, dtype: Any, accurate: bool, folder: Path) -> None:
    """|f - exact| <= bound |exact| + the least number that has all digits, twice."""
    s = points(dtype, name in POSITIVE)
    out = np.empty_like(s)
    compiled(name, accurate, folder)(s, out)
    info, exact = np.finfo(dtype), EXPRESSIONS[name][1]
    for x, value in zip(s, out, strict=True):
        if x == 0 and not defined_at_zero(name):
            assert not np.isfinite(value)
            continue
        true = exact(mpmath.mpf(float(x)))
        if abs(true) > float(info.max):
            assert abs(value) >= info.max * (1 - BOUNDS[dtype]), (x, value)
            continue
        error = abs(mpmath.mpf(float(value)) - true)
        bound = BOUNDS[dtype] * abs(true) + underflow(name) * float(info.tiny)
        assert error <= bound, (x, value, float(true), float(error / abs(true or 1)))


def test_tanh_in_float32_stays_below_one(folder: Path) -> None:
    """Where f is bounded by one, the verdict on ω counts on it."""
    s = np.append(np.linspace(-9.0, 9.0, 1_000_001), [np.inf, np.nan])
    out = np.empty_like(s, np.float32)
    compiled("tanh", False, folder)(s.astype(np.float32), out)
    assert np.abs(out[:-1]).max() <= 1.0 and np.isnan(out[-1])


def defined_at_zero(name: str) -> bool:
    return name != "log" and not name.startswith("s^-")


def underflow(name: str) -> float:
    """How many of the least numbers with all digits a result may be off by.

    exp is 0 below e⁻⁷⁰⁸ and softplus with it; 1/s² is 0 where s² has no number.
    """
    return 2.0 if name in ("exp", "softplus") else 1.0


@pytest.mark.parametrize("name", sorted({*EXPRESSIONS} - {"Step"}))
def test_infinity_and_not_a_number(name: str, folder: Path) -> None:
    """A run that blows up can be seen, as with NumPy: Step alone is never a value."""
    s = np.array([np.inf, np.nan] if name in POSITIVE else [np.inf, np.nan, -np.inf])
    expr, _ = EXPRESSIONS[name]
    with np.errstate(all="ignore"):
        expected = sympy.lambdify(S, expr, [_by_name(), "numpy"])(s)
    for accurate in (False, True):
        out = np.empty_like(s)
        compiled(name, accurate, folder)(s, out)
        np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
        np.testing.assert_array_equal(out[~np.isnan(out)], expected[~np.isnan(out)])


def _by_name() -> dict[str, Any]:
    return {kind.__name__: function for kind, function in NUMERIC.items()}


def test_a_bound_that_fails(folder: Path) -> None:
    """The approximations are not exact, and the accurate ones are others."""
    s = np.linspace(-3.0, 3.0, 1001)
    found = []
    for accurate, name in itertools.product((False, True), ("tanh", "exp")):
        out = np.empty_like(s)
        compiled(name, accurate, folder)(s, out)
        found.append(out.tobytes())
    assert found[0] != found[2] and found[1] != found[3]
