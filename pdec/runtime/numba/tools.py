"""What compiled functions are made with, and the functions that LLVM vectorises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.extending import overload

# --- compiled code -------------------------------------------------------------------

# Sums may be reordered and products contracted; nothing is assumed of NaN and infinity,
# so that a run that blows up can be seen.
# [feature: accurate]
_MATHS = {"reassoc", "contract", "nsz"}
# [end]
# [feature: not accurate]
_MATHS = {"reassoc", "contract", "nsz", "arcp", "afn"}
# [end]


_OPTIONS: Any = {
    "fastmath": _MATHS,
    "nogil": True,
    "error_model": "numpy",
    "boundscheck": False,
}


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile a function for the use of other compiled functions alone."""
    options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(**_OPTIONS, **options)(function)


def _inlined(function: Callable[..., Any]) -> Any:
    """Make a function part of those that call it: it is not compiled by itself.

    Each is called from one place of an entry, which is then compiled once; a function
    by itself would be optimised and turned into machine code as often as others call
    it, and those that call them.
    """
    return numba.njit(inline="always", **_OPTIONS)(function)


def _entry(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called, and keep the code beside the module.

    Where nothing can be written, it is compiled again in every process.  The code that
    is kept imports the module by name, and its files have their names from the
    function's: a file that is imported by another name has code of its own.
    """
    function.__qualname__ = f"{__name__}.{function.__name__}"
    options: Any = {"no_cfunc_wrapper": True, **_OPTIONS}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)


# [feature: accurate]
# The functions of the C library: nothing was to be approximated.


# [feature: tanh]
@_compiled
def _tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return np.tanh(x)


# [end]
# [feature: exp]
@_compiled
def _exp(x: Any) -> Any:
    """Exponential."""
    return np.exp(x)


# [end]
# [feature: softplus]
@_compiled
def _softplus(x: Any) -> Any:
    """log(1 + eˣ) without overflow."""
    if x > 0.0:
        return x + np.log1p(np.exp(-x))
    return np.log1p(np.exp(x))


# [end]
# [end]
# [feature: not accurate]
# With 2ⁿ the power of two nearest to eʸ, and r = y - n ln 2:
#
#     eʸ - 1 = 2ⁿ p + (2ⁿ - 1),    p = eʳ - 1 = r + r²/2 + r³ q(r),   |r| <= ln(2)/2
#
# q interpolates in Chebyshev's points. 2ⁿ is made by writing n into the exponent of a
# number: the last bits of n + 2⁵² + 1023 (2²³ + 127 in float32) are those of n + 1023.
# tanh x = (e²ˣ - 1)/(e²ˣ + 1) has small errors for small x too. In float32 it is a
# quotient x p(x²)/q(x²), fitted to the least relative error for |x| <= 7.8 (1.2e-7), a
# third fewer operations; beyond, tanh is 1 within 4e-7; the quotient is less than 1.


# [feature: tanh]
def _tanh(x: Any) -> Any:
    """Hyperbolic tangent, within 1e-6 of it (float32) or 4 units in the last place."""
    return np.tanh(x)


# [end]
# [feature: exp]
def _exp(x: Any) -> Any:
    """Exponential, within 1e-6 of it (float32) or 4 units in the last place.

    It is 0 where it is less than e⁻⁷⁰⁸ (float32: e⁻⁸⁷), about the least number that has
    all digits.
    """
    return np.exp(x)


# [end]
# [feature: softplus]
def _softplus(x: Any) -> Any:
    """log(1 + eˣ) without overflow."""
    return np.logaddexp(0.0, x)


# [end]
# contraction alone: reordering would undo the reduction of y to r
_EXACTLY: Any = {"fastmath": {"contract"}, "error_model": "numpy"}


# [feature: tanh]
@overload(_tanh, jit_options=_EXACTLY)
def _overload_tanh(x: Any) -> Any:
    if x == numba.float32:

        def tanh_single(x: Any) -> Any:
            x = min(max(x, np.float32(-7.8)), np.float32(7.8))
            u = x * x
            p = np.float32(0.0029744556) + u * np.float32(1.168123e-05)
            p = np.float32(1.0) + u * (np.float32(0.12947552) + u * p)
            q = np.float32(0.00024197667) + u * np.float32(2.5400981e-07)
            q = np.float32(0.46280821) + u * (np.float32(0.02391159) + u * q)
            return x * p / (np.float32(1.0) + u * q)

        return tanh_single

    def tanh_double(x: Any) -> Any:
        y = 2.0 * min(max(x, -20.0), 20.0)
        n = np.floor(y * 1.4426950408889634 + 0.5)
        r = (y - n * 0.6931471803691238) - n * 1.9082149292705877e-10
        q = 2.0915059884917686e-09 + r * 1.6084576443690995e-10
        q = 2.5052077402178684e-08 + r * q
        q = 2.7557272742699346e-07 + r * q
        q = 2.755731924043258e-06 + r * q
        q = 2.4801587326261104e-05 + r * q
        q = 0.00019841269841266277 + r * q
        q = 0.0013888888888883544 + r * q
        q = 0.008333333333333333 + r * q
        q = 0.04166666666666667 + r * q
        q = 0.16666666666666666 + r * q
        p = r + r * r * (0.5 + r * q)
        shifted = np.float64(n + 4503599627371519.0)
        bits = shifted.view(np.int64)
        bits = np.int64(bits << 52)
        power = bits.view(np.float64)
        m = power * p + (power - 1.0)
        return m / (m + 2.0)

    return tanh_double


# [end]
# [feature: exp]
@overload(_exp, jit_options=_EXACTLY)
def _overload_exp(x: Any) -> Any:
    if x == numba.float32:

        def exp_single(x: Any) -> Any:
            y = min(max(x, np.float32(-87.0)), np.float32(88.72283))
            n = np.floor(y * np.float32(1.442695) + np.float32(0.5))
            r = (y - n * np.float32(0.693145751953125)) - n * np.float32(1.4286068e-06)
            q = np.float32(0.0013926552) + r * np.float32(0.00019883105)
            q = np.float32(0.008333321) + r * q
            q = np.float32(0.041666552) + r * q
            q = np.float32(0.16666667) + r * q
            p = r + r * r * (np.float32(0.5) + r * q)
            shifted = np.float32(n + np.float32(8388734.0))
            bits = shifted.view(np.int32)
            bits = np.int32(bits << 23)
            half = bits.view(np.float32)  # half of 2ⁿ: 2¹²⁸ itself is no number
            value = (half + half * p) * np.float32(2.0)
            inside = value if x > np.float32(-87.0) else np.float32(0.0)
            return inside if x <= np.float32(88.72283) else x * np.float32(np.inf)

        return exp_single

    def exp_double(x: Any) -> Any:
        y = min(max(x, -708.0), 709.782712893384)
        n = np.floor(y * 1.4426950408889634 + 0.5)
        r = (y - n * 0.6931471803691238) - n * 1.9082149292705877e-10
        q = 2.0915059884917686e-09 + r * 1.6084576443690995e-10
        q = 2.5052077402178684e-08 + r * q
        q = 2.7557272742699346e-07 + r * q
        q = 2.755731924043258e-06 + r * q
        q = 2.4801587326261104e-05 + r * q
        q = 0.00019841269841266277 + r * q
        q = 0.0013888888888883544 + r * q
        q = 0.008333333333333333 + r * q
        q = 0.04166666666666667 + r * q
        q = 0.16666666666666666 + r * q
        p = r + r * r * (0.5 + r * q)
        shifted = np.float64(n + 4503599627371518.0)
        bits = shifted.view(np.int64)
        bits = np.int64(bits << 52)
        half = bits.view(np.float64)
        value = (half + half * p) * 2.0
        inside = value if x > -708.0 else 0.0
        return inside if x <= 709.782712893384 else x * np.inf

    return exp_double


# [end]
# [feature: softplus]
@overload(_softplus, jit_options=_EXACTLY)
def _overload_softplus(x: Any) -> Any:
    zero = np.float32(0.0) if x == numba.float32 else np.float64(0.0)

    def softplus(x: Any) -> Any:
        return max(x, zero) + np.log1p(_exp(-abs(x)))

    return softplus


# [end]
# [end]
