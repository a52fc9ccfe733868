"""Stage 6a: what a scheme does to one mode, from the scheme's own text.

The text is evaluated with a linear right-hand side, F(z) = J z, in symbols that do not
commute, so that J may be a matrix; a stage that is defined by itself is solved for.
For a scheme of F alone J is then a number m, and Δt is h:

    heun:    k1 = F(z);  k2 = F(z + dt k1);  z_next = z + (dt/2)(k1 + k2)
      →      G = 1 + h m + h² m²/2

Whether a scheme inherits the contraction of Euler steps is read off its coefficients
(Kraaijevanger 1991; see ``contractivity``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import sympy
from numpy.typing import NDArray

from pdec.contracts import Scheme
from pdec.forms.symbolic import Constant
from pdec.reading import tree
from pdec.reading.parser import parse
from pdec.source import from_text

RATE = Constant("rate")  # of a mode: F(z) = rate z
LENGTH = Constant("h", positive=True)  # Δt, or ω = γ Δt where γ is 1
DECAY = Constant("gamma", positive=True)
NUMBERS = {"dt": LENGTH, "gamma": DECAY, "t": sympy.S.Zero}

JACOBIANS = {
    "F": sympy.Symbol("J", commutative=False),
    "L": sympy.Symbol("L", commutative=False),
    "N": sympy.Symbol("N", commutative=False),
    "Fq": sympy.Symbol("Q", commutative=False),
    "Fp": sympy.Symbol("P", commutative=False),
}


@dataclass(frozen=True, slots=True)
class Amplification:
    """What one step of a scheme does to a mode, and which contractions it inherits.

    ``factor`` is G in ``RATE`` and ``LENGTH``.  It is None where G is no function of
    one rate; then ``stages`` is z_next, or q_next and p_next, as a linear map in the
    matrices ``JACOBIANS`` and, from the left, the rates of decay ``DECAY``.  Where G is
    1 + w RATE, ``effective`` is w in ``LENGTH``: the step of forward Euler that does
    the same.  ``contractivity`` is the multiple of Euler's contractive step up to which
    the scheme contracts.
    """

    factor: sympy.Expr | None
    effective: sympy.Expr | None
    contractivity: float
    stages: tuple[sympy.Expr, ...] = ()

    @property
    def explicit(self) -> bool:
        """Whether nothing is solved for."""
        factor = self.factor
        if factor is None:
            return not any(stage.has(sympy.Pow) for stage in self.stages)
        return bool(factor.has(RATE) and factor.is_polynomial(RATE))


def amplification(
    scheme: Scheme, *, decaying: bool, layer: bool, affine: bool
) -> Amplification:
    """Derive what a scheme does to a mode.

    ``decaying`` says that F = γ (e - z), where γ is then 1, and ``layer`` that of this
    only -z is affine, unless ``affine`` says that e is so too.
    """
    stages = _stages(scheme)
    if "q_next" in stages:  # two groups of fields, advanced in turn
        pairs = (stages["q_next"], stages["p_next"])
        return Amplification(None, None, 0.0, pairs)
    step = stages["z_next"]
    parts = step.has(JACOBIANS["L"], JACOBIANS["N"]) and not layer
    if parts or (step.has(DECAY) and step.has(JACOBIANS["F"]) and not decaying):
        return Amplification(None, None, 0.0, (step,))
    linear: sympy.Expr = RATE if affine or not layer else -sympy.S.One
    values = {
        JACOBIANS["F"]: RATE,
        JACOBIANS["L"]: linear,
        JACOBIANS["N"]: RATE - linear,
        DECAY: sympy.S.One if decaying else DECAY,
    }
    factor = sympy.factor(step.subs(values))
    slope = sympy.cancel(sympy.diff(factor, RATE))
    effective = None if slope.has(RATE) or slope == 0 else sympy.simplify(slope)
    if effective is None:
        factor = sympy.expand(factor) if factor.is_polynomial(RATE) else factor
        return Amplification(factor, None, contractivity(scheme))
    factor = sympy.S.One + effective * RATE
    own = contractivity(scheme) if effective == LENGTH else math.inf
    return Amplification(factor, effective, own)


# --- the text, with a linear right-hand side ------------------------------------------


def _stages(scheme: Scheme) -> dict[str, sympy.Expr]:
    """Every stage of a scheme as a linear map of the old state z, or of q and p."""
    known = {
        "z": sympy.S.One,
        "q": sympy.Symbol("q", commutative=False),
        "p": sympy.Symbol("p", commutative=False),
        **NUMBERS,
    }
    for name, right in _lines(scheme):
        unknown = sympy.Symbol(f"{name}_", commutative=False)
        inside = {**known, name: unknown}
        value = _value(right, inside, lambda part, at: JACOBIANS[part] * at)
        known[name] = _solved(sympy.expand(value), unknown)
    return known


def _lines(scheme: Scheme) -> list[tuple[str, tree.Expr]]:
    """The stages of a scheme: the name that is assigned, and the right side."""
    found = []
    for stage in parse(from_text(scheme.text, scheme.name)).statements:
        assert isinstance(stage, tree.Equation) and isinstance(stage.left, tree.Name)
        found.append((stage.left.name, stage.right))
    return found


def _solved(value: sympy.Expr, unknown: sympy.Symbol) -> sympy.Expr:
    """u = a + B u  →  u = (1 - B)⁻¹ a, for maps that do not commute."""
    terms = sympy.Add.make_args(value)
    own = sympy.Add(*(term.subs(unknown, 1) for term in terms if term.has(unknown)))
    rest = sympy.Add(*(term for term in terms if not term.has(unknown)))
    return sympy.Mul(sympy.Pow(sympy.S.One - own, -1), rest) if own != 0 else rest


def _value(
    node: tree.Expr,
    known: Mapping[str, sympy.Expr],
    call: Callable[[str, sympy.Expr], sympy.Expr],
) -> sympy.Expr:
    """The value of an expression of a scheme's text; ``call`` stands for F, L, …."""
    if isinstance(node, tree.Number):
        return sympy.nsimplify(node.value, rational=True)
    if isinstance(node, tree.Name):
        return known[node.name]
    if isinstance(node, tree.Group):
        return _value(node.items[0], known, call)
    if isinstance(node, tree.Negate):
        return -_value(node.operand, known, call)
    if isinstance(node, tree.Binary):
        left, right = _value(node.left, known, call), _value(node.right, known, call)
        if node.op in "+*":
            return left + right if node.op == "+" else left * right
        return left / right if node.op == "/" else left - right
    assert isinstance(node, tree.Juxtaposition), node
    result, items = sympy.S.One, list(node.items)
    while items:
        item = items.pop(0)
        if isinstance(item, tree.Name) and item.name in JACOBIANS:
            result *= call(item.name, _value(items.pop(0), known, call))
        elif isinstance(item, tree.Name) and item.name == "exp":
            result *= sympy.exp(_value(items.pop(0), known, call))
        else:
            result *= _value(item, known, call)
    return result


# --- contractivity --------------------------------------------------------------------

Matrix = NDArray[np.float64]
LARGEST = 1e3  # a radius beyond it counts as infinite


@lru_cache(maxsize=32)
def contractivity(scheme: Scheme) -> float:
    """The radius of absolute monotonicity of a Runge-Kutta scheme, 0 for others.

    What contracts under Euler steps up to h contracts under the scheme up to r h, in
    any norm, where r is the largest with

        K (I + r K)⁻¹ ≥ 0   and   r K (I + r K)⁻¹ e ≤ e,   K = (A 0; bᵀ 0)

    (Kraaijevanger 1991, BIT 31, theorem 4.2).
    """
    K = _tableau(scheme)
    if K is None or not _monotone(K, 1e-6):
        return 0.0
    if _monotone(K, LARGEST):
        return math.inf
    low, high = 0.0, LARGEST
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _monotone(K, middle) else (low, middle)
    return round(low, 6)


def _monotone(K: Matrix, r: float) -> bool:
    found = K @ np.linalg.inv(np.eye(len(K)) + r * K)
    return bool(found.min() >= -1e-12 and (r * found).sum(axis=1).max() <= 1.0 + 1e-12)


def _tableau(scheme: Scheme) -> Matrix | None:
    """Butcher's coefficients (A 0; bᵀ 0) of a scheme of F alone, else None.

    Each F(…) of the text is a slope k of its own; the arguments of F and z_next are
    then z + Σ h a k.
    """
    slopes: list[sympy.Symbol] = []
    rows: list[sympy.Expr] = []
    known: dict[str, sympy.Expr] = {"z": sympy.S.Zero, **NUMBERS}

    def call(part: str, at: sympy.Expr) -> sympy.Expr:
        slopes.append(sympy.Symbol(f"k{len(slopes)}" if part == "F" else part))
        rows.append(at)
        return slopes[-1]

    for name, right in _lines(scheme):
        own = sympy.Symbol(f"{name}_")
        known[name] = _value(right, {**known, name: own}, call)
        rows = [row.subs(own, known[name]) for row in rows]
    if "z_next" not in known or {str(s) for s in slopes} & JACOBIANS.keys():
        return None
    matrix = [[sympy.expand(row).coeff(s) for s in slopes] for row in rows]
    matrix.append([sympy.expand(known["z_next"]).coeff(s) for s in slopes])
    entries = sympy.Matrix(matrix) / LENGTH
    if entries.free_symbols:  # as in the exponential scheme
        return None
    return np.asarray([[*map(float, row), 0.0] for row in entries.tolist()])
