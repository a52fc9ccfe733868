"""Formulas for people: SymPy expressions as text and as LaTeX, in the user's spelling.

text(1 - omega)            →  "1 - ω"
text(Z_m1 * z[x-1])        →  "Z_m1 z[x-1]"
latex(…)                   →  r"Z_{-1}\\, z_{x-1}"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import sympy
from sympy.printing.latex import LatexPrinter, translate
from sympy.printing.pretty.pretty_symbology import split_super_sub

from pdec.forms.functions import Step
from pdec.forms.symbolic import (
    BATCH,
    TIME,
    Access,
    Constant,
    Contraction,
    Equal,
    IndexValue,
    Partial,
    access_key,
    negative,
    runs,
)

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_FUNCTIONS = {"Abs": "abs", "Select": "where", "Maximum": "max", "Minimum": "min"}
_ACCENTS = {"": "", "bar": "\N{COMBINING MACRON}", "dot": "\N{COMBINING DOT ABOVE}"}
_SUM, _PRODUCT, _UNIT = 0, 1, 2
_OFFSET, _SIGN = re.compile(r"\\mathrm{([a-z]?)([mp])(\d+)}"), {"m": "-", "p": "+"}


# How the compiler's channel indices are written; the batch and the cells stay unsaid.
_LETTERS = {"i0": "i", "i1": "j", "i2": "m", "k0": "k", "k1": "l", "k2": "n"}


def text(
    expr: sympy.Expr,
    spelling: Mapping[str, str] | None = None,
    *,
    channels: bool | None = None,
) -> str:
    """Write an expression as one line of Unicode.

    Channel indices are written where ``channels`` says so, by default where leaving
    them out would lose the meaning: in contractions and transposes.
    """
    shown = names_channels(expr) if channels is None else channels
    return _Text(spelling or {}, shown).render(expr, _SUM)


def index_letter(name: str) -> str:
    """A channel index as a letter: i0 is i, k0 is k; other indices are themselves."""
    return _LETTERS.get(name, name)


def value_letter(name: str) -> str:
    """The value of an index as a letter: that of t, along the steps, is n."""
    return "n" if name == TIME else index_letter(name)


def names_channels(expr: sympy.Expr) -> bool:
    """Whether an element's channels are not simply those of the result, in order."""
    for access in expr.atoms(Access):
        own = [place for place in access.places if place in _LETTERS]
        if own != [f"i{number}" for number in range(len(own))]:
            return True
    return False


def _subscripts(access: Access, channels: bool) -> list[str]:
    """What stands in brackets behind a name: channels, then steps to other cells."""
    shown = []
    for place, offset in access.index:
        if place.isdigit() or (channels and place in _LETTERS):
            shown.append(index_letter(place))
        elif offset or not runs(place):
            shown.append(f"{place}{offset:+d}" if offset else place)
    return shown


class _Text:
    def __init__(self, spelling: Mapping[str, str], channels: bool) -> None:
        self.spelling = spelling
        self.channels = channels

    def render(self, expr: sympy.Expr, tightness: int) -> str:
        level, written = self._dispatch(expr)
        return f"({written})" if level < tightness else written

    def _dispatch(self, expr: sympy.Expr) -> tuple[int, str]:
        if isinstance(expr, Access):
            return _UNIT, self._access(expr)
        if isinstance(expr, IndexValue):
            return _UNIT, value_letter(expr.index_name)
        if isinstance(expr, sympy.Symbol):
            return _UNIT, self.spelling.get(expr.name, expr.name.rstrip("?"))
        if expr == sympy.pi:
            return _UNIT, "π"
        if expr.is_Number:
            return self._number(expr)
        if expr.is_Add:
            return _SUM, self._sum(expr)
        if expr.is_Mul:
            return self._product(expr)
        if expr.is_Pow:
            return self._power(expr)
        if isinstance(expr, Partial):
            return _UNIT, self._partial(expr)
        if isinstance(expr, Contraction):
            letter = index_letter(str(expr.args[1]))
            return _PRODUCT, f"Σ_{letter} {self.render(expr.args[0], _UNIT)}"
        if isinstance(expr, Equal):
            left, right = (self.render(argument, _SUM) for argument in expr.args)
            return _UNIT, f"[{left} = {right}]"
        if isinstance(expr, Step):
            return _UNIT, f"[{self.render(expr.args[0], _SUM)} > 0]"
        name = _FUNCTIONS.get(type(expr).__name__, type(expr).__name__)
        if isinstance(expr, sympy.exp):
            name = "exp"
        inside = ", ".join(self.render(argument, _SUM) for argument in expr.args)
        return _UNIT, f"{name}({inside})"

    def _access(self, access: Access) -> str:
        base, _, mark = access.array.partition("~")
        field = base.removesuffix("_next")
        nexts = base != field and field in self.spelling
        name = (
            self.spelling.get(field, field) if nexts else self.spelling.get(base, base)
        )
        name += _ACCENTS[mark] + ("⁺" if nexts else "")
        shown = _subscripts(access, self.channels)
        return f"{name}[{', '.join(shown)}]" if shown else name

    def _number(self, value: sympy.Expr) -> tuple[int, str]:
        if value.is_Rational and not value.is_Integer:
            return _PRODUCT, f"{value.p}/{value.q}"
        written = str(value.p) if value.is_Integer else f"{float(value):g}"
        return (_UNIT if float(value) >= 0 else _SUM), written

    def _sum(self, expr: sympy.Expr) -> str:
        terms = sorted(expr.args, key=term_key)
        written = self.render(terms[0], _SUM)
        for term in terms[1:]:
            if negative(term):
                written += f" - {self.render(-term, _PRODUCT)}"
            else:
                written += f" + {self.render(term, _PRODUCT)}"
        return written

    def _product(self, expr: sympy.Expr) -> tuple[int, str]:
        if negative(expr):
            return _SUM, f"-{self.render(-expr, _PRODUCT)}"
        above, below = sympy.fraction(expr, exact=True)
        factors = sorted(sympy.Mul.make_args(above), key=factor_key)
        written = " ".join(self.render(factor, _UNIT) for factor in factors)
        if below == 1:
            return _PRODUCT, written
        return _PRODUCT, f"{written}/{self.render(below, _UNIT)}"

    def _power(self, expr: sympy.Expr) -> tuple[int, str]:
        base, exponent = expr.args
        if exponent == sympy.Rational(1, 2):
            return _UNIT, f"√{self.render(base, _UNIT)}"
        if exponent.is_Integer and exponent < 0:
            return _PRODUCT, f"1/{self.render(base**-exponent, _UNIT)}"
        if exponent.is_Integer:
            raised = str(exponent).translate(_SUPERSCRIPT)
            return _UNIT, f"{self.render(base, _UNIT)}{raised}"
        return _UNIT, f"{self.render(base, _UNIT)}^{self.render(exponent, _UNIT)}"

    def _partial(self, expr: sympy.Expr) -> str:
        inner, axis, order, _ = expr.args
        sign = "∂" + (str(order).translate(_SUPERSCRIPT) if order > 1 else "")
        return f"{sign}{axis} {self.render(inner, _UNIT)}"


def term_key(term: sympy.Expr) -> tuple[bool, bool, str]:
    """Positive terms first, then those with arrays, in the order of their elements."""
    found = sorted(term.atoms(Access), key=_sampled_first)
    return (negative(term), not found, _order_text(term, found))


def factor_key(factor: sympy.Expr) -> tuple[int, bool, str]:
    """Numbers, then constants, then parameters, then what differs by sample."""
    if factor.is_number:
        return (0, False, str(factor))
    found = sorted(factor.atoms(Access), key=access_key)
    sampled = any(BATCH in access.indices for access in found)
    return (1 if not found else 2, sampled, _order_text(factor, found))


def _sampled_first(access: Access) -> tuple[bool, object]:
    return (BATCH not in access.indices, access_key(access))


def _order_text(expr: sympy.Expr, found: list[Access]) -> str:
    offsets = ["".join(f"{offset + 50:03d}" for _, offset in a.index) for a in found]
    names = [f"{a.array}{o}" for a, o in zip(found, offsets, strict=True)]
    return " ".join(names) + str(expr)


class _Latex(LatexPrinter):
    """SymPy's LaTeX printer, taught the compiler's symbols."""

    def __init__(self, spelling: Mapping[str, str], channels: bool) -> None:
        super().__init__({"mul_symbol": r"\,", "fold_short_frac": False})
        self.spelling = spelling
        self.channels = channels

    def _as_ordered_terms(self, expr: sympy.Expr, **_: Any) -> list[sympy.Expr]:
        return sorted(expr.args, key=term_key)

    def _print_Access(self, expr: Access, **_: Any) -> str:
        name = self._name(expr.array)
        shown = _subscripts(expr, self.channels)
        if not shown:
            return name
        places = re.sub(r"_(low|high)", r"_{\\mathrm{\1}}", ", ".join(shown))
        return f"{{{name}}}_{{[{places}]}}"

    def _print_Constant(self, expr: Constant, **_: Any) -> str:
        name = str(expr.name)
        spacing = len(name) == 2 and name[0] == "d" and name not in self.spelling
        return rf"\Delta {name[1]}" if spacing or name == "dt" else self._name(name)

    def _print_IndexValue(self, expr: IndexValue, **_: Any) -> str:
        return value_letter(expr.index_name)

    def _print_Symbol(self, expr: sympy.Symbol, *_: Any, **__: Any) -> str:
        return self._name(str(expr.name))

    def _print_Equal(self, expr: sympy.Expr, **_: Any) -> str:
        left, right = (self.doprint(argument) for argument in expr.args)
        return rf"\delta_{{{left},\,{right}}}"

    def _print_Step(self, expr: sympy.Expr, **_: Any) -> str:
        return rf"\left[{self.doprint(expr.args[0])} > 0\right]"

    def _print_Maximum(self, expr: sympy.Expr, **_: Any) -> str:
        inside = ",\\, ".join(self.doprint(argument) for argument in expr.args)
        return rf"\max\left({inside}\right)"

    def _print_Minimum(self, expr: sympy.Expr, **_: Any) -> str:
        inside = ",\\, ".join(self.doprint(argument) for argument in expr.args)
        return rf"\min\left({inside}\right)"

    def _print_Partial(self, expr: sympy.Expr, **_: Any) -> str:
        inner, axis, order, _bias = expr.args
        power = f"^{{{order}}}" if order > 1 else ""
        return rf"\partial_{{{axis}}}{power} {self.parenthesize(inner, 70)}"

    def _print_Contraction(self, expr: sympy.Expr, **_: Any) -> str:
        index = index_letter(str(expr.args[1]))
        return rf"\sum_{{{index}}} {self.parenthesize(expr.args[0], 40)}"

    def _name(self, name: str) -> str:
        base, _, mark = name.partition("~")
        following = (
            base.endswith("_next") and base.removesuffix("_next") in self.spelling
        )
        stem, supers, subs = split_super_sub(
            base.removesuffix("_next") if following else base
        )
        written = str(translate(stem))
        if len(written) > 1 and not written.startswith("\\"):
            written = rf"\mathrm{{{written}}}"
        if mark:
            written = rf"\{mark}{{{written}}}"
        below = ",".join(
            word if len(word) == 1 or word.isdigit() else rf"\mathrm{{{word}}}"
            for word in [*subs, *supers]
        )
        if base not in self.spelling:  # a coefficient of the compiler's
            below = _OFFSET.sub(lambda at: f"{at[1]}{_SIGN[at[2]]}{at[3]}", below)
        above = "^{+}" if following else ""
        return f"{written}_{{{below}}}{above}" if below else f"{written}{above}"


def latex(
    expr: sympy.Expr,
    spelling: Mapping[str, str] | None = None,
    *,
    channels: bool | None = None,
) -> str:
    """Write an expression as LaTeX; ``channels`` as for ``text``."""
    shown = names_channels(expr) if channels is None else channels
    return str(_Latex(spelling or {}, shown).doprint(expr))
