"""Stage 8b: the module's constants, its tables for the machinery, and its ``MODEL``.

Called by ``emit.py``.  What these tables must hold is in ``runtime/generated.pyi``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from pdec import __version__
from pdec.adjoints.adjoint import DOT
from pdec.derivation import equations, title_of
from pdec.derive import Derivation
from pdec.emission import verdict
from pdec.forms.model import Variable
from pdec.forms.statements import Array, Role
from pdec.forms.symbolic import Access, accesses
from pdec.targets.body import Module
from pdec.targets.layout import INDENT, WIDTH, section, table, tuple_of
from pdec.targets.names import Names
from pdec.targets.solves import residual_name
from pdec.targets.views import cells


def constants(derivation: Derivation, names: Names) -> str:
    """The named numbers, each with the formula it comes from."""
    lines = [section("constants"), ""]
    for name, constant in derivation.program.constants.items():
        remark = f"  # {constant.text}" if constant.text else ""
        lines.append(f"{names(name)} = {constant.value!r}{remark}")
    return "\n".join(lines) + "\n"


def tables(derivation: Derivation, module: Module, more: Iterable[str] = ()) -> str:
    """Shapes and places of the arrays, for the machinery to allocate and fill."""
    model, arrays = derivation.model, module.arrays
    state = {n: arrays[n].padded_shape for n in model.fields}
    inputs = {n: arrays[n].padded_shape for n in model.inputs}
    padded = [n for n in model.targets if n in arrays and arrays[n].padded]
    work = {n: arrays[n].padded_shape for n in padded} | {
        name: array.padded_shape
        for name, array in {**arrays, **module.scratch}.items()
        if array.role in (Role.WORK, Role.READOUT, Role.LOSS) and array.per_sample
    }
    shared = {
        name: array.padded_shape
        for name, array in arrays.items()
        if array.role in (Role.PARAM, Role.COEFFICIENT) and name not in module.private
    }
    shape, places = "dict[str, tuple[int, ...]]", "dict[str, tuple[slice, ...]]"
    blocks = [
        "# the fields with their ghost cells, after the batch axis; their cells",
        *table(f"_STATE: {shape} = ", state),
        *table(f"_CELLS: {places} = ", {n: _slices(arrays[n]) for n in state}),
        "# the inputs, likewise",
        *table(f"_INPUTS: {shape} = ", inputs),
        *table(f"_INPUT_CELLS: {places} = ", {n: _slices(arrays[n]) for n in inputs}),
        "# work arrays of each sample",
        *table(f"_WORK: {shape} = ", work),
        "# arrays that all samples share",
        *table(f"_SHARED: {shape} = ", shared),
    ]
    if derivation.program.at_risk:
        remark = "coefficients that no parameters may make infinite: conditions, params"
        kind = "dict[str, tuple[str, ...]]"
        blocks += [f"# {remark}", *table(f"_WALLS: {kind} = ", _at_risk(derivation))]
    if derivation.jacobians:
        blocks.append(_implicit(derivation))
    if model.loss is not None:
        every = model.every or model.steps
        steps = f"range({every}, {model.steps + 1}, {every})"
        blocks.append("# after these steps the loss is taken; it is the mean over them")
        blocks.append(f"_SNAPSHOTS = {steps}")
        cells = {n: _slices(arrays[n]) for n in padded}
        blocks.append("# the cells of targets that have ghost cells")
        blocks += table(f"_TARGET_CELLS: {places} = ", cells)
    blocks.append("\n".join(verdict.tables(derivation)))
    title = section("tables for the machinery below")
    return "\n".join([title, "", *blocks, *more]) + "\n"


def _implicit(derivation: Derivation) -> str:
    """The equations that a step solves, by the name that the step calls them."""
    axes = derivation.model.axes
    lines = ["# what a step solves for", "_IMPLICIT: dict[str, dict[str, Any]] = {"]
    for name, jacobian in derivation.jacobians.items():
        solve = jacobian.solve
        evaluate = residual_name(solve)
        dotted = {s.writes for s in jacobian.product.block.statements}
        dotted = {n.removesuffix(DOT) for n in dotted} | {*solve.unknowns}
        rows = {
            "unknowns": _names(solve.unknowns),
            "residuals": _names(solve.residual.outputs),
            "tangents": _names(sorted(dotted)),
            "evaluate": evaluate,
            "linearise": f"{evaluate}_jvp",
            "reach": tuple_of([str(cells) for cells in jacobian.reach.values()]),
            "periodic": tuple_of([str(axes[a].periodic) for a in jacobian.reach]),
            "shared": str(jacobian.shared),
            "constant": str(jacobian.constant),
        }
        lines.append(f'    "{name}": {{')
        for key, value in rows.items():
            lines += _entry(key, value)
        lines.append("    },")
    return "\n".join([*lines, "}"])


def _entry(key: str, value: str) -> list[str]:
    """An entry of a dict of dicts; a tuple that is too long, one item a line."""
    line = f'        "{key}": {value},'
    if len(line) <= WIDTH:
        return [line]
    items = value.strip("()").split(", ")
    return [
        f'        "{key}": (',
        *(f"            {item}," for item in items),
        "        ),",
    ]


def _names(names: Iterable[str]) -> str:
    return tuple_of([f'"{name}"' for name in names])


def _at_risk(derivation: Derivation) -> dict[str, str]:
    """The weights of ghost cells that parameters act on: their condition and those."""
    found = {}
    made = {s.writes: s for s in derivation.program.coefficients.maps}
    for name, origin in derivation.program.at_risk.items():
        read = accesses(made[name].expr)
        params = dict.fromkeys(
            a.array for a in read if a.array in derivation.model.params
        )
        found[name] = tuple_of([_string(origin.text), *map(_string, params)])
    return found


def _slices(array: Array) -> str:
    parts = []
    for axis in array.axes:
        inside = cells(axis)
        start, _, stop = inside.partition(":")
        bounds = ", ".join(bound or "None" for bound in (start, stop))
        parts.append("slice(None)" if inside == ":" else f"slice({bounds})")
    return tuple_of(parts)


# --- the description of the model ---------------------------------------------------


def model_record(
    derivation: Derivation, target: str, options: Mapping[str, float]
) -> str:
    """``MODEL``: what the module computes, and how it was compiled."""
    model = derivation.model
    set_by_user = {name: _string(f"{v:g}") for name, v in sorted(options.items())}
    lengths = {name: str(axis.size) for name, axis in model.axes.items()}
    lengths |= {name: str(length) for name, length in model.dims.items()}
    omega: object = None
    if isinstance(model.omega, Access):
        omega = model.omega.array
    elif "omega" in derivation.program.constants:
        omega = derivation.program.constants["omega"].value
    rows = [
        f"    name={_string(model.name)},",
        *_text_rows("doc", title_of(model)),
        *_text_rows("equation", "\n".join(equations(model))),
        *_text_rows("source", model.source.text),
        f"    source_hash={_string(model.source.digest)},",
        f"    pdec_version={_string(__version__)},",
        f"    target={_string(target)},",
        *table("options=", set_by_user, INDENT, ","),
        f"    dtype={_string(model.dtype)},",
        f"    steps={model.steps},",
        f"    omega={_string(omega) if isinstance(omega, str) else repr(omega)},",
        *table("dims=", lengths, INDENT, ","),
        *_variables("fields", model.fields),
        *_variables("params", model.params),
        *_variables("inputs", model.inputs),
        *_variables("targets", model.targets, model.steps // (model.every or 1)),
        *_variables("readouts", model.readouts),
    ]
    return "\n".join(["MODEL = Model(", *rows, ")"]) + "\n"


def _string(text: str) -> str:
    """A double-quoted literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"' if '"' not in text or "'" in text else repr(text)


def _cut(line: str) -> list[str]:
    """A line of text in pieces that fit into the page as literals."""
    room = WIDTH - 14
    pieces = []
    while len(line) > room:
        place = line.rfind(" ", 1, room) + 1 or room
        pieces.append(line[:place])
        line = line[place:]
    return [*pieces, line]


def _text_rows(key: str, text: str) -> list[str]:
    """A keyword argument with a text of several lines, one literal a line."""
    line = f"    {key}={_string(text)},"
    if len(line) <= WIDTH:
        return [line]
    whole = f"        {_string(text)}"
    if len(whole) <= WIDTH:
        return [f"    {key}=(", whole, "    ),"]
    pieces = [p for line in text.splitlines(keepends=True) for p in _cut(line)]
    return [
        f"    {key}=(",
        *(f"        {_string(piece)}" for piece in pieces),
        "    ),",
    ]


def _variables(
    key: str, variables: Mapping[str, Variable], snapshots: int = 0
) -> list[str]:
    if not variables:
        return [f"    {key}={{}},"]
    rows = [f"    {key}={{"]
    for name, variable in variables.items():
        items = [f"{field}={x}" for field, x in _fields(variable, snapshots)]
        line = f'        "{name}": Variable({", ".join(items)}),'
        if len(line) <= WIDTH:
            rows.append(line)
            continue
        rows += [f'        "{name}": Variable(']
        rows += [*(f"            {item}," for item in items), "        ),"]
    return [*rows, "    },"]


def _fields(variable: Variable, steps: int) -> list[tuple[str, str]]:
    """What a ``Variable`` of the module says, defaults left out."""
    snapshots = [str(steps)] if variable.along else []
    channels = [c.label or str(c.size) for c in variable.shape]
    time = ["t"] if "t" in variable.domain or snapshots else []
    axes = [*time, *channels, *(a for a in variable.domain if a != "t")]
    found = [
        ("shape", tuple_of([*snapshots, *(str(n) for n in variable.array.shape)])),
        ("axes", tuple_of([f'"{axis}"' for axis in axes])),
        ("spelling", _string(variable.spelling)),
    ]
    if variable.comment:
        found.append(("doc", _string(variable.comment)))
    if variable.low != -math.inf:
        found.append(("low", repr(variable.low)))
    if variable.high != math.inf:
        found.append(("high", repr(variable.high)))
    if tuple(variable.init) != ("constant", 0.0, 0.0):
        kind, first, second = variable.init
        found.append(("init", f'("{kind}", {float(first)!r}, {float(second)!r})'))
    if variable.classes:
        found.append(("classes", str(variable.classes)))
    return found
