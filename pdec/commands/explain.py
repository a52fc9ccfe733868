"""What ``pdec show`` prints: the derivation, and every form of the model on the way.

Derivation  →  explain(derivation)           →  formulas, as text or LaTeX
            →  data(derivation)              →  the same, as JSON
            →  stage(derivation, "program")  →  the statements of every block
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pdec.derivation import (
    Formula,
    as_latex,
    as_text,
    latex_line,
    sections,
    stability_lines,
    text_line,
)
from pdec.derive import Derivation
from pdec.forms.model import Typed, Variable
from pdec.forms.notation import text
from pdec.forms.statements import (
    Array,
    Block,
    Clear,
    Fold,
    Ghost,
    Linear,
    Map,
    Solve,
    Statement,
)
from pdec.forms.symbolic import Access, accesses
from pdec.reading.parser import parse
from pdec.source import Source, Span

_STEP = "  "


def explain(derived: Derivation, *, latex: bool = False) -> str:
    """The derivation, as text or as LaTeX."""
    return as_latex(derived) if latex else as_text(derived)


def stage(derived: Derivation, name: str) -> str:
    """An intermediate form by its name: model, program, adjoint, tangent, stability."""
    if name == "model":
        return "\n".join(_model(derived))
    if name == "stability":
        return "\n".join(_stability(derived))
    if name == "program":
        blocks = {block.name: [block] for block in derived.program.blocks}
    else:
        forms = derived.adjoints if name == "adjoint" else derived.tangents
        blocks = {key: [form.recompute, form.block] for key, form in forms.items()}
    lines = list(_arrays(derived)) if name == "program" else []
    for title, parts in blocks.items():
        statements = [line for part in parts for line in _block(part, derived)]
        lines += [title, *(f"{_STEP}{line}" for line in statements or ["(nothing)"])]
    return "\n".join(lines)


# --- tree ---------------------------------------------------------------------------


def tree(source: Source) -> str:
    """The syntax tree, one node a line: its kind, what it holds, its place."""
    found = parse(source)
    return "\n".join(
        line for node in found.statements for line in _node(node, "", source)
    )


def _node(node: Any, indent: str, source: Source) -> Iterator[str]:
    inner: list[tuple[str, Any]] = []
    facts = []
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if isinstance(value, Span):
            row, column = source.position(value.start)
            facts.append(f"at {row}:{column}")
        elif dataclasses.is_dataclass(value) or isinstance(value, tuple):
            inner.append((field.name, value))
        elif value is not None and value is not False:
            facts.append(f"{field.name}={value!r}")
    yield f"{indent}{type(node).__name__} {', '.join(facts)}"
    for name, value in inner:
        yield from _inside(name, value, indent + _STEP, source)


def _inside(name: str, value: Any, indent: str, source: Source) -> Iterator[str]:
    if dataclasses.is_dataclass(value):
        first, *rest = _node(value, indent, source)
        yield f"{indent}{name}: {first.lstrip()}"
        yield from rest
        return
    for item in value:
        if isinstance(item, tuple):
            yield from _inside(name, item, indent, source)
        elif dataclasses.is_dataclass(item):
            yield from _node(item, indent, source)
        elif item is not None:
            yield f"{indent}{name}: {item}"


# --- model --------------------------------------------------------------------------


def _model(derived: Derivation) -> Iterator[str]:
    model = derived.model
    spelling = model.spellings
    yield f"model {model.name}"
    for axis in model.axes.values():
        bracket = ") periodic" if axis.periodic else "]"
        interval = f"[{axis.low:g}, {axis.high:g}{bracket}"
        yield f"  axis {axis.name}: {axis.size} cells on {interval}"
    yield from (f"  dim {name} = {size}" for name, size in model.dims.items())
    yield from (f"  const {n} = {value:g}" for n, value in model.constants.items())
    for variable in model.variables.values():
        yield f"  {_variable(variable)}"
    for name, definition in model.definitions.items():
        over = f" over {', '.join(definition.over)}" if definition.over else ""
        yield f"  {name} = {text(definition.expr, spelling)}{over}"
    for name, value in model.evolution.items():
        yield f"  d{spelling.get(name, name)}/dt = {text(value.expr, spelling)}"
    for name, value in model.initial.items():
        yield f"  {spelling.get(name, name)}(t = 0) = {text(value.expr, spelling)}"
    for (name, along, side), walls in model.boundaries.items():
        end = model.axes[along].low if side < 0 else model.axes[along].high
        for wall in walls:
            terms = [
                f"({text(factor, spelling)}) {('', '∂n ', '∂²n ', '∂³n ')[order]}{name}"
                for order, factor in enumerate(wall.factors)
                if factor != 0
            ]
            left, right = " + ".join(terms), text(wall.value, spelling)
            yield f"  {wall.kind} at {along} = {end:g}: {left} = {right}"
    yield from _settings(derived)


def _settings(derived: Derivation) -> Iterator[str]:
    model = derived.model
    terms: tuple[tuple[str, Typed | None], ...] = (
        ("loss of a sample", model.loss),
        ("loss of the parameters", model.penalty),
    )
    for word, loss in terms:
        if loss is not None:
            yield f"  {word} = {text(loss.expr, model.spellings)}"
    if model.relaxation is not None:
        rate = text(model.relaxation.rate, model.spellings)
        rest = text(model.relaxation.equilibrium, model.spellings)
        yield f"  relaxation: rate {rate}, equilibrium {rest}"
    for word, value in (("ω", model.omega), ("dt", model.dt)):
        if value is not None:
            yield f"  {word} = {text(value, model.spellings)}"
    yield (
        f"  {model.steps} steps, scheme {model.scheme}, accuracy {model.accuracy}, "
        f"{model.dtype}"
    )


def _variable(variable: Variable) -> str:
    shape = ", ".join(c.label or str(c.size) for c in variable.shape)
    name = variable.spelling + (f"[{shape}]" if shape else "")
    name += f"({', '.join(variable.domain)})" if variable.domain else ""
    facts = [f"shape {variable.array.shape}"]
    if variable.array.role.value == "param":
        kind, first, second = variable.init
        drawn = (
            f"{kind}({first:g}, {second:g})" if kind in ("normal", "uniform") else ""
        )
        facts.append(f"init {drawn or format(first, 'g')}")
        facts.append(f"in [{variable.low:g}, {variable.high:g}]")
    return f"{variable.array.role.value} {name}: {', '.join(facts)}"


# --- blocks -------------------------------------------------------------------------


def _arrays(derived: Derivation) -> Iterator[str]:
    yield "arrays"
    for name, array in derived.program.arrays.items():
        axes = ", ".join(_axis_text(array)) or "one number"
        yield f"{_STEP}{name}: {array.role.value}, {axes}"


def _axis_text(array: Array) -> list[str]:
    return [
        f"{axis.name}{'' if axis.name == 'batch' else f' {axis.size}'}"
        f"{f' + {axis.ghosts} ghosts a side' if axis.ghosts else ''}"
        for axis in array.axes
    ]


def _block(block: Block, derived: Derivation) -> Iterator[str]:
    for statement in block.flat:
        yield _statement(statement, derived.model.spellings)


def _statement(statement: Statement, spelling: Mapping[str, str]) -> str:
    name = text(Access(statement.writes, ()), spelling)
    if isinstance(statement, Map):
        sign = "+=" if statement.accumulate else "="
        word = "max" if statement.maximum else "sum"
        over = f"{word} over {', '.join(statement.over)} of " if statement.over else ""
        places = [f"{n}{off:+d}" if off else n for n, off in statement.target.index]
        index = f"[{', '.join(places)}]" if places else ""
        line = f"{name}{index} {sign} {over}{text(statement.expr, spelling)}"
    elif isinstance(statement, Ghost):
        line = f"fill the ghosts of {name} along {statement.axis}"
    elif isinstance(statement, Fold):
        line = f"fold the ghosts of {name} along {statement.ghost.axis}"
    elif isinstance(statement, Solve | Linear):
        line = " ".join(statement.origin.text.split())
    else:
        assert isinstance(statement, Clear)
        line = f"clear {'the ghosts of ' if statement.ghosts_only else ''}{name}"
    place = f", {statement.origin.location}" if statement.origin.location else ""
    return f"{line}    # {' '.join(statement.origin.text.split())}{place}"


def _stability(derived: Derivation) -> Iterator[str]:
    yield from stability_lines(derived)
    axes = derived.model.axis_names
    for place, coefficient in sorted(derived.stability.stencil.items()):
        offsets = ", ".join(f"{a}{m:+d}" for a, m in zip(axes, place, strict=True))
        yield f"a[{offsets}] = {text(coefficient, derived.model.spellings)}"


# --- data ---------------------------------------------------------------------------


def data(derived: Derivation) -> str:
    """The derivation as JSON: sections with formulas, stencils, arrays, stability."""
    model = derived.model
    found = {
        "model": model.name,
        "source": model.source.name,
        "sha256": model.source.digest,
        "scheme": model.scheme,
        "steps": model.steps,
        "accuracy": model.accuracy,
        "dtype": model.dtype,
        "sections": [
            {
                "title": section.title,
                "formulas": [_formula(f, model.spellings) for f in section.formulas],
            }
            for section in sections(derived)
        ],
        "stencils": _stencils(derived),
        "arrays": {name: _array(a) for name, a in derived.program.arrays.items()},
        "stability": stability_lines(derived),
    }
    return json.dumps(found, ensure_ascii=False, indent=2)


def _formula(formula: Formula, spelling: Mapping[str, str]) -> dict[str, str | None]:
    latex = latex_line(formula, spelling) if formula.right is not None else None
    return {
        "text": text_line(formula, spelling),
        "latex": latex.strip().replace(" &", " ") if latex else None,
    }


def _stencils(derived: Derivation) -> list[dict[str, Any]]:
    """What each statement of the step reads of its neighbours, with what weight."""
    found = []
    spelling = derived.model.spellings
    for statement in derived.program.step.maps:
        terms = [
            {
                "array": access.array,
                "offset": {axis: access.offsets.get(axis, 0) for axis in axes},
                "weight": text(statement.expr.diff(access), spelling),
            }
            for access in accesses(statement.expr)
            if (axes := [n for n in access.indices if n in derived.model.axes])
        ]
        if any(any(term["offset"].values()) for term in terms):  # type: ignore[attr-defined]
            found.append({"target": statement.writes, "terms": terms})
    return found


def _array(array: Array) -> dict[str, Any]:
    axes = [
        {"name": axis.name, "size": axis.size or None, "ghosts": axis.ghosts}
        for axis in array.axes
    ]
    return {"role": array.role.value, "shape": list(array.shape), "axes": axes}
