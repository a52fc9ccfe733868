"""The derivation for readers: what ``pdec show`` prints and a module's header says.

Derivation  →  sections(derivation)  →  titled formulas  →  text or LaTeX
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sympy

from pdec import __version__
from pdec.derive import Derivation
from pdec.forms.model import Model
from pdec.forms.notation import index_letter, latex, names_channels, text
from pdec.forms.statements import Block, Fold, Ghost, Linear, Map, Solve
from pdec.forms.symbolic import Access, negative
from pdec.forms.symbolic import Constant as Symbolic

WIDTH = 86


@dataclass(frozen=True, slots=True)
class Formula:
    """``left sign right``; right is summed over the indices in ``over``."""

    left: str
    sign: str
    right: sympy.Expr | None
    target: Access | Symbolic | None = None
    over: tuple[str, ...] = ()
    maximum: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A titled list of formulas."""

    title: str
    formulas: tuple[Formula, ...]


def sections(derivation: Derivation) -> list[Section]:
    """The derivation from equation to gradients, in reading order."""
    model, program = derivation.model, derivation.program
    named = {name: c.expr for name, c in program.constants.items() if c.expr}
    found = [
        Section(
            "equation", tuple(Formula(line, "", None) for line in equations(model))
        ),
        Section("kernels", tuple(Formula(line, "", None) for line in model.notes)),
        Section(
            "moments combined into stencils, once a call", _maps(program.coefficients)
        ),
        Section(
            "constant weights",
            tuple(Formula("", "=", e, Symbolic(name)) for name, e in named.items()),
        ),
        Section("initial state", _maps(program.initial)),
        Section(_step_title(model), _maps(program.step)),
        Section("readouts", _maps(program.readout)),
        Section("loss of a sample", _maps(program.loss)),
        Section("loss of the parameters", _maps(program.penalty)),
        Section("cotangents of the loss", _maps(derivation.adjoints["loss"].block)),
        Section(
            "adjoint step, from the last to the first",
            _maps(derivation.adjoints["step"].block),
        ),
        Section("gradients of the parameters", _gradients(derivation)),
    ]
    return [section for section in found if section.formulas]


def _step_title(model: Model) -> str:
    return f"step ({model.scheme}{f', {model.steps} of them' * (model.steps > 1)})"


def _maps(block: Block) -> tuple[Formula, ...]:
    """The Maps of a block, and the ghost cells they rely on."""
    found = []
    for statement in block.flat:
        if isinstance(statement, Map):
            found.append(_formula(statement))
        elif isinstance(statement, Ghost | Fold):
            words = "ghost cells: " if isinstance(statement, Ghost) else ""
            ghost = statement.ghost if isinstance(statement, Fold) else statement
            found.append(Formula(words + statement.origin.text, "", None))
            found += [] if ghost.periodic else map(_formula, statement.maps)
        elif isinstance(statement, Solve | Linear):
            found.append(Formula(statement.origin.text, "", None))
    return tuple(found)


def _formula(statement: Map) -> Formula:
    sign = "+=" if statement.accumulate else "="
    over, largest = statement.over, statement.maximum
    return Formula("", sign, statement.expr, statement.target, over, largest)


def _gradients(derivation: Derivation) -> tuple[Formula, ...]:
    blocks = ("penalty", "initial", "coefficients")
    return tuple(f for name in blocks for f in _maps(derivation.adjoints[name].block))


def equations(model: Model) -> list[str]:
    """The evolution equations as they were written."""
    return [
        " ".join(model.source.excerpt(v.span).split()) for v in model.evolution.values()
    ]


def title_of(model: Model) -> str:
    """The model's first comment line, which says what it is."""
    for line in model.source.text.splitlines():
        if line.strip().startswith("#"):
            return line.strip().lstrip("#").strip()
        if line.strip():
            break
    return ""


# --- text -----------------------------------------------------------------------------


def as_text(derivation: Derivation) -> str:
    """The derivation as plain text."""
    model = derivation.model
    lines = [f"{model.name}: {title_of(model)}".rstrip(": ")]
    for section in sections(derivation):
        lines += ["", section.title]
        lines += [f"    {text_line(f, model.spellings)}" for f in section.formulas]
    lines += ["", "stability", *(f"    {line}" for line in stability_lines(derivation))]
    return "\n".join(lines) + "\n"


def text_line(formula: Formula, spelling: Mapping[str, str]) -> str:
    """One formula as text."""
    if formula.right is None:
        return formula.left
    assert formula.target is not None
    channels = _names_channels(formula)
    left = text(formula.target, spelling, channels=channels)
    big = "max" if formula.maximum else "Σ"
    letters = ", ".join(index_letter(name) for name in formula.over)
    total = f"{big}_{{{letters}}} " if formula.over else ""
    sign, value = _signed(formula)
    right = text(value, spelling, channels=channels)
    wrapped = f"({right})" if total and value.is_Add else right
    return f"{left} {sign} {total}{wrapped}"


def _signed(formula: Formula) -> tuple[str, sympy.Expr]:
    """The sign and the right side: ``+= -b`` is written ``-= b``."""
    assert formula.right is not None
    if formula.sign == "+=" and negative(formula.right):
        return "-=", -formula.right
    return formula.sign, formula.right


def _names_channels(formula: Formula) -> bool:
    """Whether a formula would lose its meaning without its channel indices."""
    assert formula.target is not None and formula.right is not None
    summed = any(index_letter(name) != name for name in formula.over)
    return summed or names_channels(formula.target) or names_channels(formula.right)


def stability_lines(derivation: Derivation) -> list[str]:
    """What is known about ω before any number is."""
    form, model = derivation.stability, derivation.model
    factor = form.scheme.factor
    if factor is not None:
        above, below = sympy.fraction(factor)
        if below.xreplace(dict.fromkeys(below.free_symbols, sympy.S.Zero)) < 0:
            factor = -above / -below  # 1/(1 - Δt rate), not -1/(Δt rate - 1)
    h = "Δt" if form.layer is None else "ω"
    words = "" if factor is None else f"G = {text(factor, {'h': h})}, "
    if form.layer is None:
        where = "" if form.affine else ", linearised about a state"
        return [f"{words}one rate for each mode θ of F{where}"]
    low, high = form.slopes
    moves = {
        place: text(a, model.spellings) for place, a in sorted(form.stencil.items())
    }
    waves = " + ".join(
        f"{a}{_phase(place, model.axis_names)}" for place, a in moves.items()
    )
    euler = "G(θ, s) = 1 - ω + ω s Λ(θ), stable where |G| ≤ 1 for every mode θ"
    other = f"{words}rate = s Λ(θ) - 1 for every mode θ"
    return [
        euler if model.scheme == "euler" else other,
        f"Λ(θ) = {waves}",
        f"slopes s = f' in [{low:g}, {high:g}]",
    ]


def _phase(place: tuple[int, ...], axes: tuple[str, ...]) -> str:
    """exp(i m·θ), with θ of an axis written θx."""
    parts = []
    for offset, axis in zip(place, axes, strict=True):
        if offset:
            size = "" if abs(offset) == 1 else str(abs(offset))
            parts.append(f"{'-' if offset < 0 else '+'}{size}iθ{axis}")
    return f" exp({''.join(parts).lstrip('+')})" if parts else ""


# --- LaTeX ----------------------------------------------------------------------------


def as_latex(derivation: Derivation) -> str:
    """The derivation as LaTeX: one aligned display for each section."""
    spelling = derivation.model.spellings
    pieces = [
        f"% {derivation.model.name}, derived by pdec {__version__}; needs amsmath"
    ]
    for section in sections(derivation):
        formulas = [f for f in section.formulas if f.right is not None]
        rows = [latex_line(f, spelling) for f in formulas]
        if section.title == "equation":
            rows = _latex_equations(derivation)
        if rows:
            title = rf"\paragraph{{{_escaped(section.title.capitalize())}}}"
            body = " \\\\\n".join(rows)
            pieces += [title, r"\begin{align*}", body, r"\end{align*}"]
    return "\n".join(pieces) + "\n"


def _latex_equations(derivation: Derivation) -> list[str]:
    """The evolution equations with their definitions named."""
    model = derivation.model
    rows = []
    for name, value in model.evolution.items():
        field = latex(Symbolic(name), model.spellings)
        right = latex(value.expr, model.spellings)
        rows.append(rf"\frac{{\partial {field}}}{{\partial t}} &= {right}")
    for name, definition in model.definitions.items():
        if definition.array.per_sample and not definition.over:
            left = latex(Symbolic(name), model.spellings)
            rows.append(f"{left} &= {latex(definition.expr, model.spellings)}")
    return [f"  {row}" for row in rows]


def latex_line(formula: Formula, spelling: Mapping[str, str]) -> str:
    """One formula as a row of an ``align`` environment."""
    assert formula.target is not None and formula.right is not None
    sign, value = _signed(formula)
    sign = rf"\mathrel{{{sign[0]}}}=" if sign != "=" else sign
    big = r"\max" if formula.maximum else r"\sum"
    channels = _names_channels(formula)
    letters = (index_letter(name) for name in formula.over)
    indices = ", ".join(latex(sympy.Symbol(letter)) for letter in letters)
    total = rf"{big}_{{{indices}}} " if formula.over else ""
    right = latex(value, spelling, channels=channels)
    inside = rf"\left({right}\right)" if total and value.is_Add else right
    left = latex(formula.target, spelling, channels=channels)
    return f"  {left} &{sign} {total}{inside}"


def _escaped(words: str) -> str:
    for special in "_%#&$":
        words = words.replace(special, rf"\{special}")
    return words


# --- the header of a module -----------------------------------------------------------


def header(
    derivation: Derivation, target: str, options: Mapping[str, float], remark: str
) -> str:
    """The head of a module: what it computes, how it was derived and compiled."""
    model = derivation.model
    lines = [f"{model.name}: {title_of(model) or 'a neural PDE'}"]
    if len(lines[0]) > WIDTH - 6:
        lines = [f"{model.name}: a neural PDE", "", *_wrapped(title_of(model))]
    lines.append("")
    for section in sections(derivation):
        lines.append(section.title)
        for formula in section.formulas:
            lines += _wrapped(text_line(formula, model.spellings))
        lines.append("")
    rows = [row for line in stability_lines(derivation) for row in _wrapped(line)]
    lines += ["stability", *rows, ""]
    changed = ", ".join(f"{name}={value:g}" for name, value in sorted(options.items()))
    lines += [
        "A bar marks a cotangent (z̄ = ∂loss/∂z), ⁺ the next step, "
        "z[x+1] the next cell.",
        "",
        f"source   {model.source.name}, sha256 {model.source.digest[:16]}",
        f"compiled by pdec {__version__}, target {target}"
        + (f", set {changed}" if changed else ""),
        *([remark] if remark else []),
    ]
    body = "\n".join(line.rstrip() for line in lines)
    escaped = body.replace("\\", "\\\\").replace('"""', "'''")
    return (
        f'# generated by pdec {__version__} from {model.source.name}\n"""{escaped}\n"""'
    )


def _wrapped(line: str) -> Iterable[str]:
    """A formula indented, broken before a term where it is too long for the page."""
    room, indent = WIDTH - 4, "    "
    while len(line) > room:
        cut = max(line.rfind(" + ", 0, room), line.rfind(" - ", 0, room))
        cut = cut if cut > 20 else line.rfind(" ", 0, room)
        if cut <= 0:
            break
        yield indent + line[:cut]
        line, indent, room = line[cut + 1 :], " " * 8, WIDTH - 8
    yield indent + line
