"""What a kernel's moments miss: its Fourier transform against their Taylor polynomial.

    K̂(κ) = ∫ K(r) e^{iκr} dr        against        Σ_{k≤n} M_k (iκ)^k / k!

at the wavenumbers κ = θ/Δx of the grid, θ in [0, π] (Succi 2025, arXiv:2502.06739,
section 2: the moments stand for the kernel as far as z is smooth on its scale).  The
numbers hold at the initial parameters and are meant for people: three digits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
import sympy
from numpy.typing import NDArray

from pdec.moments.integrals import INFINITY, Line, Piece
from pdec.moments.quadrature import sample

Complex = NDArray[np.complex128]
Floats = NDArray[np.float64]

ANGLES = 65
CELLS = 1 << 14
TAIL = 1e-5
GOOD = 0.01


def missed(
    products: Sequence[Sequence[Line]],
    start: Mapping[sympy.Symbol, float],
    moments: Mapping[tuple[int, ...], float],
    spacings: Sequence[float],
    name: str,
) -> list[str]:
    """Say how far the truncated kernel is from the kernel on the grid's modes."""
    theta = np.linspace(0.0, math.pi, ANGLES)
    waves = [theta / spacing for spacing in spacings]
    exact: Complex = np.zeros([ANGLES] * len(spacings), np.complex128)
    for product in products:
        sides = [transform(p, w, start) for p, w in zip(product, waves, strict=True)]
        known = [side for side in sides if side is not None]
        if len(known) < len(sides):
            return []
        exact += reduce(np.multiply.outer, known)
    close: Complex = np.zeros_like(exact)
    for powers, value in moments.items():
        terms: list[Complex] = [
            np.asarray((1j * wave) ** k / math.factorial(k), np.complex128)
            for wave, k in zip(waves, powers, strict=True)
        ]
        close += value * reduce(np.multiply.outer, terms)
    scale = abs(exact.flat[0])
    if not scale > 1e-12 * float(np.max(np.abs(exact))):
        return []
    error = np.abs(exact - close) / scale
    along = error[(slice(None),) + (0,) * (len(spacings) - 1)]
    order = max(map(sum, moments))
    text = (
        f"truncated at order {order}, {name} is off by up to "
        f"{float(np.max(error)):.2g} of K̂(0) on the grid's modes"
    )
    bad = np.flatnonzero(along > GOOD)
    if bad.size and bad[0] > 0:
        points = 2 * math.pi / theta[bad[0]]
        text += f", and by less than {GOOD:g} for waves longer than {points:.0f} points"
    return [text]


def transform(
    kernel: Line, waves: Floats, start: Mapping[sympy.Symbol, float]
) -> Complex | None:
    """K̂ at some wavenumbers, by the midpoint rule; None where K gives no numbers.

    A wave too short for the rule is thousands of times shorter than the kernel, whose
    transform there counts as 0.
    """
    total = np.zeros(len(waves), np.complex128)
    for piece in kernel.pieces:
        ends = _range(piece, kernel, start)
        if ends is None:
            return None
        low, high = ends
        points = low + (np.arange(CELLS) + 0.5) * (high - low) / CELLS
        values = _values(piece, kernel, start, points)
        for index, wave in enumerate(waves):
            if wave * (high - low) > CELLS:
                continue
            phases = np.exp(1j * wave * points)
            total[index] += np.sum(values * phases) * (high - low) / CELLS
    return total if np.all(np.isfinite(total)) else None


def _range(
    piece: Piece, kernel: Line, start: Mapping[sympy.Symbol, float]
) -> tuple[float, float] | None:
    """An interval that holds nearly all of the kernel."""
    values = {s: sympy.Float(v) for s, v in start.items()}
    low, high = piece.low.xreplace(values), piece.high.xreplace(values)
    finite = [float(end) for end in (low, high) if end not in (INFINITY, -INFINITY)]
    if len(finite) == 2:
        return (finite[0], finite[1]) if finite[0] < finite[1] else None
    # The range of r over which |K| is not negligible, on a logarithmic scale.
    reach = np.geomspace(1e-8, 1e8, 1601)
    centre = finite[0] if finite else 0.0
    places = np.concatenate([centre - reach[::-1], [centre], centre + reach])
    if low == piece.low and finite and low != -INFINITY:
        places = places[places >= centre]
    if finite and high != INFINITY:
        places = places[places <= centre]
    size = np.abs(_values(piece, kernel, start, places))
    mass = np.concatenate(
        [[0.0], np.cumsum((size[1:] + size[:-1]) / 2 * np.diff(places))]
    )
    if not np.isfinite(mass[-1]) or mass[-1] <= 0:
        return None
    first = places[max(int(np.searchsorted(mass, TAIL * mass[-1])) - 1, 0)]
    last = places[
        min(int(np.searchsorted(mass, (1 - TAIL) * mass[-1])) + 1, len(places) - 1)
    ]
    return float(first), float(last)


def _values(
    piece: Piece, kernel: Line, start: Mapping[sympy.Symbol, float], points: Floats
) -> Floats:
    known = {name: np.asarray(value, np.longdouble) for name, value in start.items()}
    places = {kernel.r: points.astype(np.longdouble), **known}
    values = np.broadcast_to(sample(piece.body, places), points.shape)
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def worst_growth(moments: Mapping[tuple[int, ...], float]) -> int:
    """The order of the leading even moments if they amplify short waves, else 0.

    The symbol's part of order 2m is (-1)^m Σ M_jk κ^j λ^k / (j! k!): where it is
    positive in some direction, growth has no bound as Δx → 0.
    """
    even = [sum(p) for p, value in moments.items() if sum(p) % 2 == 0 and value]
    leading = max(even, default=0)
    if leading == 0:
        return 0
    count = len(next(iter(moments)))
    sides = itertools.product(np.linspace(-1.0, 1.0, 9), repeat=count)
    growth = max(
        sum(
            value
            * math.prod(d**k / math.factorial(k) for d, k in zip(side, p, strict=True))
            for p, value in moments.items()
            if sum(p) == leading
        )
        * (-1) ** (leading // 2)
        for side in sides
    )
    return leading if growth > 0 else 0
