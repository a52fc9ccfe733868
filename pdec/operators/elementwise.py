"""Functions of numbers, applied cell by cell: tanh, exp, relu, min, where, …

Each is a SymPy expression or function whose derivative SymPy knows.  At a kink the
derivative is a documented choice (relu'(0) = 0, |s|' = 0 at 0), made by selection and
never by multiplying with an infinite slope.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy

from pdec.contracts import Operator, Scope
from pdec.forms.functions import Maximum, Minimum, Select, softplus
from pdec.forms.model import Typed
from pdec.source import Span

Function = Callable[..., sympy.Expr]


def _sigmoid(s: sympy.Expr) -> sympy.Expr:
    """1/(1 + e^-s), written so that no exponential can overflow."""
    return (1 + sympy.tanh(s / 2)) / 2


def _gelu(s: sympy.Expr) -> sympy.Expr:
    """The tanh form of GELU (Hendrycks & Gimpel 2016, section 2)."""
    inner = sympy.sqrt(2 / sympy.pi) * (s + sympy.Float("0.044715") * s**3)
    return s * (1 + sympy.tanh(inner)) / 2


_UNARY: tuple[tuple[str, Function, str, str], ...] = (
    ("tanh", sympy.tanh, "hyperbolic tangent", "tanh(z)"),
    ("sinh", sympy.sinh, "hyperbolic sine", "sinh(z)"),
    ("cosh", sympy.cosh, "hyperbolic cosine", "cosh(z)"),
    ("exp", sympy.exp, "exponential", "exp(-z²)"),
    ("log", sympy.log, "natural logarithm", "log(2 + z²)"),
    ("sin", sympy.sin, "sine", "sin(z)"),
    ("cos", sympy.cos, "cosine", "cos(z)"),
    ("atan", sympy.atan, "inverse tangent", "atan(z)"),
    ("sqrt", sympy.sqrt, "square root", "sqrt(1 + z²)"),
    ("abs", sympy.Abs, "absolute value; its slope at 0 is 0", "abs(z - 0.4)"),
    ("sigmoid", _sigmoid, "1/(1 + exp(-s))", "sigmoid(z)"),
    ("softplus", softplus, "log(1 + exp(s))", "softplus(z)"),
    (
        "relu",
        lambda s: Maximum(s, sympy.S.Zero),
        "max(s, 0); its slope at 0 is 0",
        "relu(z - 0.4)",
    ),
    ("silu", lambda s: s * _sigmoid(s), "s sigmoid(s)", "silu(z)"),
    ("gelu", _gelu, "s Φ(s) in its tanh form", "gelu(z)"),
)

_BINARY: tuple[tuple[str, Function, str, str], ...] = (
    ("min", Minimum, "the smaller of two", "min(z, 0.4)"),
    ("max", Maximum, "the larger of two", "max(z, 0.4)"),
)


def _elementwise(
    name: str, function: Function, arity: int, doc: str, example: str
) -> Operator:
    def apply(arguments: tuple[Typed, ...], scope: Scope, span: Span) -> Typed:
        shape, domain = arguments[0].shape, arguments[0].domain
        for other in arguments[1:]:
            if shape and other.shape and shape != other.shape:
                scope.fail(f"the arguments of {name} differ in shape", span)
            shape, domain = shape or other.shape, domain | other.domain
        value = function(*(argument.expr for argument in arguments))
        return Typed(value, shape, domain, span)

    return Operator(name, arity, apply, doc, example, elementwise=True)


PLUGINS = (
    *(_elementwise(name, function, 1, *texts) for name, function, *texts in _UNARY),
    *(_elementwise(name, function, 2, *texts) for name, function, *texts in _BINARY),
    _elementwise(
        "where",
        Select,
        3,
        "where(c, a, b): a where c > 0, else b",
        "where(z, z², z)",
    ),
)
