"""Stage 8: Derivation to the text of a module.

    Derivation  →  emit(derivation, target, options)  →  str

The mathematics is printed from the blocks by the target (``mathematics.py``); around
it stand the header, the tables (``tables.py``), and the machinery that is the same for
every model (``runtime/``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from pdec import runtime
from pdec.contracts import Target
from pdec.derivation import header
from pdec.derive import Derivation
from pdec.emission import verdict
from pdec.emission.mathematics import functions
from pdec.emission.tables import constants, model_record, tables
from pdec.errors import UsageError
from pdec.targets.body import Module
from pdec.targets.layout import section
from pdec.targets.names import Names
from pdec.targets.teams import worth_sharing


def emit(
    derivation: Derivation,
    *,
    target: Target,
    options: Mapping[str, float],
    accurate: bool = False,
    arrays: bool = False,
) -> str:
    """Write the module of a derived model.

    ``accurate`` leaves approximations out, ``arrays`` kernels.
    """
    model, features = derivation.model, features_of(derivation)
    chosen = target.name
    if accurate:
        features.add("accurate")
        chosen += ", accurate"
    if arrays and not target.arrays:
        raise UsageError(f"the target '{target.name}' has no kernels to leave out")
    if target.arrays and (arrays or not target.covers(derivation)):
        target = target.arrays
        features.add("arrays")
        chosen += ", arrays"
    before, after = runtime.files(target.tools, target.driver)
    names = Names(runtime.reserved_names((*before, *after)))
    program = derivation.program
    names.claim_globals(program.constants)
    names.claim(name for name in program.arrays if "~" not in name)
    apart = (*program.penalty.statements, *program.rates.statements)
    private = {s.writes for s in apart if not program.arrays[s.writes].per_sample}
    module = Module(program.arrays, model.axis_names, names, private=private)
    written = functions(derivation, module, features, target)
    if written.driver:
        before, after = runtime.files(written.tools, written.driver)
    mathematics = [*written.functions, *written.others]
    features |= called(mathematics)
    pieces = [
        *(runtime.paste(file, features) for file in before),
        constants(derivation, names),
        "\n\n\n".join([section("mathematics"), *mathematics]) + "\n",
        tables(derivation, module, written.tables),
        model_record(derivation, target.name, options),
        *(runtime.paste(file, features) for file in after),
    ]
    title = header(derivation, chosen, options, written.remark)
    head = f"{title}\n\nfrom __future__ import annotations\n"
    body = "\n\n".join(piece for piece in pieces if piece)
    return f"{head}\n{runtime.imports(body)}\n{body}"


def features_of(derivation: Derivation) -> set[str]:
    """Features of the runtime that a model needs."""
    model = derivation.model
    present = {
        "initial": bool(model.initial),
        "loss": model.loss is not None,
        "penalty": model.penalty is not None,
        "readout": bool(model.readouts),
        "classes": any(v.classes for v in model.targets.values()),
        **verdict.features(derivation),
        "every": model.every is not None,
        "implicit": bool(derivation.jacobians),
        "banded": len(model.axes) == 1,
        "rows": worth_sharing(model),
        "accelerated": any(j.solve.accelerated for j in derivation.jacobians.values()),
        "at_risk": bool(derivation.program.at_risk),
    }
    return {name for name, holds in present.items() if holds}


def called(texts: Sequence[str]) -> set[str]:
    """Features for the functions of ``numba/tools.py`` that the mathematics calls."""
    found = set(re.findall(r"\b_(exp|softplus|tanh)\(", "\n".join(texts)))
    return found | {"exp"} if "softplus" in found else found


def summarise(derivation: Derivation) -> str:
    """One line about a compiled model: state, parameters, step."""
    model = derivation.model
    states = ", ".join(
        f"{v.spelling} {_shape_words(('batch', *map(str, v.array.shape)))}"
        for v in model.fields.values()
    )
    count = sum(math.prod(v.array.shape) for v in model.params.values())
    omega = derivation.program.constants.get("omega")
    step = (
        f"ω = {omega.value:g}"
        if omega
        else f"{model.steps} step" + "s" * (model.steps > 1)
    )
    if omega is None and "dt" in derivation.program.constants:
        step = f"dt = {derivation.program.constants['dt'].value:g}"
    plural = "parameter" if len(model.params) == 1 else "parameters"
    numbers = "number" if count == 1 else "numbers"
    return f"state {states}, {len(model.params)} {plural} ({count:,} {numbers}), {step}"


def _shape_words(shape: tuple[str, ...]) -> str:
    return f"({', '.join(shape)})"
