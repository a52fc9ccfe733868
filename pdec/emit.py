"""Stage 8: Derivation to the text of a module.

    Derivation  →  emit(derivation, target, options)  →  str

The mathematics is printed from the blocks by the target; around it stand the header, the
tables, and the machinery that is the same for every model (``runtime/``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import sympy

from pdec import __version__, runtime
from pdec.adjoint import bar
from pdec.derivation import equations, header, title_of
from pdec.derive import Derivation
from pdec.model import Variable
from pdec.statements import Array, Block, Map, Role, Statement
from pdec.symbolic import Access
from pdec.targets.inline import Inline
from pdec.targets.layout import call
from pdec.targets.names import Names
from pdec.targets.numpy import Function, Module
from pdec.targets.views import cells

RULE = 88

SHARED = "(c: Arrays) -> None:"
SHARED_VJP = "(c: Arrays, c_bar: Arrays) -> None:"
SHARED_JVP = "(c: Arrays, c_dot: Arrays) -> None:"
TILE = "(c: Arrays, v: Arrays) -> None:"
TILE_VJP = "(c: Arrays, v: Arrays, c_bar: Arrays, v_bar: Arrays) -> None:"
TILE_JVP = "(c: Arrays, v: Arrays, c_dot: Arrays, v_dot: Arrays) -> None:"


def emit(derivation: Derivation, *, target: str, options: Mapping[str, float]) -> str:
    """Write the module of a derived model."""
    model, features = derivation.model, features_of(derivation)
    names = Names(runtime.reserved_names())
    program = derivation.program
    names.claim(program.constants)
    names.claim(name for name in program.arrays if "~" not in name)
    private = {s.writes for s in program.penalty.statements}
    module = Module(program.arrays, model.axis_names, names, private=private)
    functions = _functions(derivation, module, features)
    pieces = [
        *(runtime.paste(file, features) for file in runtime.BEFORE_MATHEMATICS),
        _constants(derivation, names),
        _section("mathematics") + "\n\n\n" + "\n\n\n".join(functions) + "\n",
        _tables(derivation, module),
        _model(derivation, target, options),
        *(runtime.paste(file, features) for file in runtime.AFTER_MATHEMATICS),
        *(runtime.paste(file, features) for file in runtime.STABILITY),
        *(runtime.paste(file, features) for file in runtime.LAST),
    ]
    head = (
        f"{header(derivation, target, options)}\n\nfrom __future__ import annotations\n"
    )
    return f"{head}\n{runtime.IMPORTS}\n" + "\n\n".join(pieces)


def features_of(derivation: Derivation) -> set[str]:
    """Features of the runtime that a model needs."""
    model = derivation.model
    present = {
        "initial": bool(model.initial),
        "loss": model.loss is not None,
        "penalty": model.penalty is not None,
        "readout": bool(model.readouts),
        "classes": any(v.classes for v in model.targets.values()),
        "stencil": derivation.stability is not None,
    }
    return {name for name, holds in present.items() if holds}


def summarise(derivation: Derivation) -> str:
    """One line about a compiled model: state, parameters, step."""
    model = derivation.model
    states = ", ".join(
        f"{v.spelling} {_shape_words(('batch', *map(str, v.array.shape)))}"
        for v in model.fields.values()
    )
    count = sum(math.prod(v.array.shape) for v in model.params.values())
    omega = derivation.program.constants.get("omega")
    step = f"ω = {omega.value:g}" if omega else f"{model.steps} steps"
    if omega is None and "dt" in derivation.program.constants:
        step = f"dt = {derivation.program.constants['dt'].value:g}"
    plural = "parameter" if len(model.params) == 1 else "parameters"
    return f"state {states}, {len(model.params)} {plural} ({count:,} numbers), {step}"


def _shape_words(shape: tuple[str, ...]) -> str:
    return f"({', '.join(shape)})"


def _section(title: str) -> str:
    return f"# --- {title} ".ljust(RULE - 1, "-")


# --- constants and tables ------------------------------------------------------------


def _constants(derivation: Derivation, names: Names) -> str:
    lines = [_section("constants"), ""]
    for name, constant in derivation.program.constants.items():
        remark = f"  # {constant.text}" if constant.text else ""
        lines.append(f"{names(name)} = {constant.value!r}{remark}")
    return "\n".join(lines) + "\n"


def _tables(derivation: Derivation, module: Module) -> str:
    model, arrays = derivation.model, derivation.program.arrays
    state = {n: arrays[n].padded_shape for n in model.fields}
    inputs = {n: arrays[n].padded_shape for n in model.inputs}
    work = {
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
        _table(
            "_STATE",
            shape,
            state,
            "the fields with their ghost cells, after the batch axis",
        ),
        _table("_CELLS", places, {n: _slices(arrays[n]) for n in state}, "their cells"),
        _table("_INPUTS", shape, inputs, "the inputs, likewise"),
        _table(
            "_INPUT_CELLS",
            places,
            {n: _slices(arrays[n]) for n in inputs},
            "their cells",
        ),
        _table("_WORK", shape, work, "work arrays of each sample"),
        _table("_SHARED", shape, shared, "arrays that all samples share"),
    ]
    if derivation.stability is not None:
        axes = [f"({a.size}, {a.spacing!r}, {a.periodic})" for a in model.axes.values()]
        comma = "," if len(axes) == 1 else ""
        low, high = derivation.stability.slopes
        blocks.append("# cells, spacing and periodicity of the axes; the range of f'")
        blocks += ["\n".join(call("_AXES = ", [", ".join(axes) + comma], ""))]
        blocks.append(f"_SLOPES = ({low!r}, {high!r})")
    return "\n".join([_section("tables for the machinery below"), "", *blocks]) + "\n"


def _slices(array: Array) -> str:
    parts = []
    for axis in array.axes:
        inside = cells(axis)
        start, _, stop = inside.partition(":")
        bounds = ", ".join(bound or "None" for bound in (start, stop))
        parts.append("slice(None)" if inside == ":" else f"slice({bounds})")
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def _table(name: str, kind: str, entries: Mapping[str, object], remark: str) -> str:
    lines = [f"# {remark}"]
    if not entries:
        return "\n".join([*lines, f"{name}: {kind} = {{}}"])
    rows = [f'    "{key}": {value},' for key, value in entries.items()]
    return "\n".join([*lines, f"{name}: {kind} = {{", *rows, "}"])


# --- the description of the model --------------------------------------------------------


def _model(derivation: Derivation, target: str, options: Mapping[str, float]) -> str:
    model = derivation.model
    omega: object = None
    if isinstance(model.omega, Access):
        omega = model.omega.array
    elif "omega" in derivation.program.constants:
        omega = derivation.program.constants["omega"].value
    rows = [
        f"    name={_string(model.name)},",
        f"    doc={_string(title_of(model))},",
        *_text_rows("equation", "\n".join(equations(model))),
        *_text_rows("source", model.source.text),
        f"    source_hash={_string(model.source.digest)},",
        f"    pdec_version={_string(__version__)},",
        f"    target={_string(target)},",
        f"    options={_plain_dict({k: _string(f'{v:g}') for k, v in sorted(options.items())})},",
        f"    dtype={_string(model.dtype)},",
        f"    steps={model.steps},",
        f"    omega={_string(omega) if isinstance(omega, str) else repr(omega)},",
        f"    dims={_plain_dict({n: str(a.size) for n, a in model.axes.items()} | {n: str(d) for n, d in model.dims.items()})},",
        *_variables("fields", model.fields),
        *_variables("params", model.params),
        *_variables("inputs", model.inputs),
        *_variables("targets", model.targets),
        *_variables("readouts", model.readouts),
    ]
    return "\n".join(["MODEL = Model(", *rows, ")"]) + "\n"


def _string(text: str) -> str:
    """A double-quoted literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"' if '"' not in text or "'" in text else repr(text)


def _text_rows(key: str, text: str) -> list[str]:
    """A keyword argument with a text of several lines, one literal a line."""
    pieces = text.splitlines(keepends=True) or [""]
    if len(pieces) == 1 and len(pieces[0]) < 60:
        return [f"    {key}={_string(pieces[0])},"]
    return [
        f"    {key}=(",
        *(f"        {_string(piece)}" for piece in pieces),
        "    ),",
    ]


def _plain_dict(entries: Mapping[str, str]) -> str:
    inside = ", ".join(f'"{key}": {value}' for key, value in entries.items())
    return f"{{{inside}}}"


def _variables(key: str, variables: Mapping[str, Variable]) -> list[str]:
    if not variables:
        return [f"    {key}={{}},"]
    rows = [f"    {key}={{"]
    for name, variable in variables.items():
        rows += [f'        "{name}": Variable(']
        rows += [f"            {field}={value}," for field, value in _fields(variable)]
        rows += ["        ),"]
    return [*rows, "    },"]


def _fields(variable: Variable) -> list[tuple[str, str]]:
    """What a ``Variable`` of the module says, defaults left out."""
    channels = [c.label or str(c.size) for c in variable.shape]
    time = ["t"] if "t" in variable.domain else []
    axes = [*time, *channels, *(a for a in variable.domain if a != "t")]
    found = [
        ("shape", _tuple([str(n) for n in variable.array.shape])),
        ("axes", _tuple([f'"{axis}"' for axis in axes])),
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


def _tuple(items: list[str]) -> str:
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


# --- functions -------------------------------------------------------------------------


def _functions(derivation: Derivation, module: Module, features: set[str]) -> list[str]:
    """All functions of the mathematics, in reading order."""
    program, adjoints, tangents = (
        derivation.program,
        derivation.adjoints,
        derivation.tangents,
    )
    make = _Maker(module)
    again = "Recomputes what it reads of the forward step from the stored state."
    found = [
        make(
            "_coefficients" + SHARED,
            "Combine the parameters, once a call.",
            program.coefficients,
            coordinates=_coordinates(derivation, module),
        ),
        make(
            "_step(n: int, " + TILE[1:],
            "Advance step n: the fields to their successors; fills ghost cells on the way.",
            program.step,
        ),
        make(
            "_step_vjp(n: int, " + TILE_VJP[1:],
            f"Adjoint of _step: cotangents of the new fields to those of the old.\n\n    {again}\n    ",
            adjoints["step"].recompute,
            adjoints["step"].block,
        ),
        make(
            "_step_jvp(n: int, " + TILE_JVP[1:],
            "Tangent of _step: advances the fields and their tangents.",
            tangents["step"].block,
            before=["    _step(n, c, v)"],
        ),
        make(
            "_coefficients_vjp" + SHARED_VJP,
            "Adjoint of _coefficients: adds to the cotangents of the parameters.",
            adjoints["coefficients"].block,
        ),
        make(
            "_coefficients_jvp" + SHARED_JVP,
            "Tangent of _coefficients.",
            tangents["coefficients"].block,
        ),
    ]
    if "initial" in features:
        found += [
            make("_initial" + TILE, "Set the state at t = 0.", program.initial),
            make(
                "_initial_vjp" + TILE_VJP,
                "Adjoint of _initial: adds to the cotangents of inputs and parameters.",
                adjoints["initial"].recompute,
                adjoints["initial"].block,
            ),
            make(
                "_initial_jvp" + TILE_JVP,
                "Tangent of _initial.",
                tangents["initial"].block,
            ),
        ]
    if "readout" in features:
        found.append(
            make("_readout" + TILE, "Read the last state out.", program.readout)
        )
    if "loss" in features:
        what = "_loss and _readout" if "readout" in features else "_loss"
        found += [
            make(
                "_loss" + TILE,
                "The loss of each sample, from its last state.",
                program.loss,
            ),
            make(
                "_loss_vjp" + TILE_VJP,
                f"Adjoint of {what}: from the cotangent of the loss to that of the state.",
                adjoints["loss"].recompute,
                adjoints["loss"].block,
            ),
        ]
    if "penalty" in features:
        found += _penalty(derivation, make)
    if derivation.stability is not None:
        found += _stability(derivation, module)
    return found


def _coordinates(derivation: Derivation, module: Module) -> dict[str, str]:
    """The coordinates that the equations mention, by axis."""
    values: dict[str, str] = {}
    for name, array in derivation.program.arrays.items():
        if array.role is not Role.COORDINATE:
            continue
        axis = derivation.model.axes[name]
        cell = "np.arange" if axis.periodic else "0.5 + np.arange"
        spacing = module.names(f"d{name}")
        value = f"{axis.low!r} + {spacing} * ({cell}({axis.size}))"
        kind = ", next(iter(c.values())).dtype" if derivation.model.params else ""
        values[name] = f"{value}{kind}"
    return values


class _Maker:
    """Makes the text of a function from blocks."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def __call__(
        self,
        head: str,
        doc: str,
        *blocks: Block,
        before: list[str] | None = None,
        coordinates: Mapping[str, str] | None = None,
        after: list[str] | None = None,
    ) -> str:
        function = Function(self.module, f"def {head}", doc)
        statements: list[Statement] = [s for block in blocks for s in block.statements]
        function.body += before or []
        for name, value in (coordinates or {}).items():
            function.make(name, f'c["{name}"]', value)
        function.add_all(statements)
        function.body += after or []
        return function.text()


def _penalty(derivation: Derivation, make: _Maker) -> list[str]:
    block, adjoint = derivation.program.penalty, derivation.adjoints["penalty"]
    (output,) = block.outputs
    name = make.module.names(output)
    seed = make.module.names(bar(output))
    make.module.private.add(output)
    return (
        [
            make(
                "_penalty(c: Arrays) -> float:",
                "The terms of the loss in parameters alone.",
                block,
                after=[f"    return float({name})"],
            ),
            make(
                "_penalty_vjp" + SHARED_VJP,
                "Adjoint of _penalty: adds to the cotangents of the parameters.",
                adjoint.recompute,
                _seeded(adjoint.block, bar(output)),
            ),
        ]
        if seed
        else []
    )


def _seeded(block: Block, name: str) -> Block:
    """A block in which the cotangent of its only output is 1."""
    statements: list[Statement] = []
    for statement in block.statements:
        assert isinstance(statement, Map)
        ones = {a: sympy.S.One for a in statement.expr.atoms(Access) if a.array == name}
        statements.append(replace(statement, expr=statement.expr.xreplace(ones)))
    return replace(block, statements=tuple(statements))


def _stability(derivation: Derivation, module: Module) -> list[str]:
    """The functions that the verdict on ω reads: ω itself and the stencil of Z."""
    form = derivation.stability
    assert form is not None and derivation.model.omega is not None
    omega = Function(
        module, "def _omega(c: Arrays) -> Any:", "The relaxation parameter ω = γ Δt."
    )
    omega.body = [f"    return {Inline(omega.refer)(derivation.model.omega)}"]
    stencil = Function(
        module,
        "def _stencil(c: Arrays) -> dict[tuple[int, ...], Any]:",
        "The coefficients a_m of Z by their offsets m along the axes.",
    )
    rows = []
    for place, coefficient in form.stencil.items():
        key = _tuple([str(m) for m in place])
        rows.append(f"        {key}: {Inline(stencil.refer)(coefficient)},")
    stencil.body = ["    return {", *rows, "    }"]
    return [omega.text(), stencil.text()]
