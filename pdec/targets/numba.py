"""The Numba target: functions on one sample, compiled, that run all its steps in cache.

For one sample, the way forward and back through all steps is one call of compiled code
(``runtime/numba/driver.py``), whose states stay in the cache of a core:

    for x in range(3, 131):                              # cell 0 is at place 3
        Z = Z_m1[x] * z[x - 1] + Z_0[x] * z[x] + Z_p1[x] * z[x + 1] - b[x]
        z_next[x] = real(omega) * _tanh(Z) + real(1.0 - omega) * z[x]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pdec.contracts import SampleFunction, Target, Written
from pdec.forms.statements import Array, Ghost, Statement
from pdec.forms.symbolic import BATCH
from pdec.targets.body import MARKS, Module
from pdec.targets.compiled import BESIDE, VECTOR, Kernel, Kernels
from pdec.targets.copies import copies
from pdec.targets.layout import tuple_of
from pdec.targets.solves import residual_name
from pdec.targets.teams import worth_sharing
from pdec.targets.vectors import Part, by_number, evaluation, handed_over, product

if TYPE_CHECKING:
    from pdec.derive import Derivation


def write(
    functions: Sequence[SampleFunction], module: Module, derivation: Derivation
) -> Written:
    """Write the compiled functions, and the shapes of the arrays that they get."""
    model = derivation.model
    periodic = frozenset(name for name, axis in model.axes.items() if axis.periodic)
    kernels = Kernels(module, _margins(derivation), worth_sharing(model), periodic)
    solved = _solved(derivation)
    texts = kernels.texts(_kernel(f, functions, derivation, solved) for f in functions)
    every = model.every is not None
    along = {name for name, v in model.targets.items() if v.along}
    others = [*by_number(derivation.jacobians), *copies(kernels, along, every=every)]
    return Written(texts, others, _tables(kernels))


def _solved(derivation: Derivation) -> dict[str, tuple[Part, ...]]:
    """The functions of what a step solves for, which work on vectors."""
    found: dict[str, tuple[Part, ...]] = {}
    for jacobian in derivation.jacobians.values():
        name = residual_name(jacobian.solve)
        found |= {name: evaluation(jacobian), f"{name}_jvp": product(jacobian)}
    return found


def _kernel(
    function: SampleFunction,
    others: Sequence[SampleFunction],
    derivation: Derivation,
    solved: Mapping[str, tuple[Part, ...]],
) -> Kernel:
    row = ["row: int"] if function.name in BESIDE else []
    arguments = ["n: int", "here: int", "there: int", *row, "c: Any", "v: Any"]
    if function.name in solved:
        more = ["v_dot: Any"] if function.name.endswith("_jvp") else []
        arguments += [*more, "unknowns: Any", "residual: Any"]
        parts = solved[function.name]
        return Kernel(
            function.name,
            tuple(arguments),
            " -> None:",
            function.doc,
            parts,
            how="_compiled",
        )
    for ending, mark in (("_vjp", "bar"), ("_jvp", "dot")):
        if function.name.endswith(ending):
            arguments += [f"c_{mark}: Any", f"v_{mark}: Any"]
    before = {"_loss_vjp": ("_readout", "_loss")}.get(function.name, (function.first,))
    first = tuple(s for f in others if f.name in before for s in f.statements)
    own = tuple(s for s in function.statements if s not in first)
    again = _ghosts(derivation) if function.name == "_step_vjp" else ()
    parts = handed_over((*again, *first, *own), derivation.jacobians)
    judges = function.name in ("_loss", "_loss_vjp")
    result, tail = ("loss", " -> float:") if judges else ("", " -> None:")
    return Kernel(function.name, tuple(arguments), tail, function.doc, parts, result)


def _ghosts(derivation: Derivation) -> tuple[Statement, ...]:
    """The ghost cells of what was solved for, filled again on the way back.

    The next step may have filled them since, compiled in another place with another
    last bit, or, with fewer states kept, may not have.
    """
    residuals = [j.solve.residual for j in derivation.jacobians.values()]
    return tuple(s for r in residuals for s in r.statements if isinstance(s, Ghost))


def _margins(derivation: Derivation) -> dict[str, int]:
    """The cells around those of the grid: thrice as many as there are ghost cells.

    A gather into the ghost cells of an array reads as far away from them as they are
    from the cells, and the values there that far again.  Along the last axis, if it is
    long, they are so many that cells begin where vectors do.
    """
    axes = [a for array in derivation.program.arrays.values() for a in array.axes]
    *_, (last, axis) = derivation.model.axes.items()
    margins = {
        name: 3 * max((a.ghosts for a in axes if a.name == name), default=0)
        for name in derivation.model.axis_names
    }
    if axis.size >= 4 * VECTOR:
        margins[last] = -(-margins[last] // VECTOR) * VECTOR
    return margins


def _tables(kernels: Kernels) -> list[str]:
    """Names and shapes of the arrays, in the order of the tuples."""
    lines = []
    for mark, kind in MARKS.items():
        shapes = {n: _shape(kernels, n) for n in kernels.used[mark]}
        lines += _table(f"_V{kind.upper()}", f"the arrays in v{kind}", shapes)
    for mark, kind in MARKS.items():
        rows = kernels.rows_of if mark == "~bar" else lambda name: ()
        shapes = {n: _shape(kernels, n, rows(n)) for n in kernels.shared(mark)}
        lines += _table(f"_C{kind.upper()}", f"the arrays in c{kind}", shapes)
    every = dict.fromkeys(n for mark in MARKS for n in kernels.shared(mark))
    places = {n: _inner(kernels.arrays[n], kernels.margins) for n in every}
    lines += _table("_C_PLACES", "where they lie within their margins", places, "slice")
    lines += _ends(kernels)
    lines.append("# samples that may take steps together, and cells of each")
    lines.append(f"_TOGETHER = {kernels.together}")
    lines.append(f"_ROW = {kernels.row}")
    lines.append("# cells of the first axis, if a team can share a sample's rows out")
    lines.append(f"_ROWS = {_rows(kernels)}")
    lines.append("# those whose cotangents a sample sums in its own precision")
    summed = tuple_of([f'"{n}"' for n in kernels.summed()])
    lines.append(f"_C_SUMMED: tuple[str, ...] = {summed}")
    return lines


def _ends(kernels: Kernels) -> list[str]:
    """Which shared arrays the way back reads beyond the ends of periodic axes."""
    found = {}
    for name in (n for n in kernels.shared() if n in kernels.beyond):
        rows = []
        for number, axis in enumerate(kernels.arrays[name].axes):
            if axis.name in kernels.around:
                low = kernels.margins[axis.name]
                rows.append(f"({number}, {low}, {low + axis.size})")
        found[name] = tuple_of(rows)
    remark = "of those that are read beyond the ends of rings: axis, where cells are"
    return _table("_C_AROUND", remark, found, "tuple[int, int, int]")


def _table(
    name: str, remark: str, rows: Mapping[str, str], kind: str = "int"
) -> list[str]:
    head = f"{name}: dict[str, tuple[{kind}, ...]] = {{"
    if not rows:
        return [f"# {remark}", head + "}"]
    return [f"# {remark}", head, *(f'    "{k}": {v},' for k, v in rows.items()), "}"]


def _shape(kernels: Kernels, name: str, rows: tuple[str, ...] = ()) -> str:
    """Lengths with the margins, without the batch axis."""
    axes = [a for a in kernels.arrays[name].axes if a.name != BATCH]
    return tuple_of([*rows, *(str(kernels.length(axis)) for axis in axes)])


def _rows(kernels: Kernels) -> tuple[int, int]:
    """Where the rows begin and end that a team shares out; none if it cannot."""
    if kernels.meets is None:
        return 0, 0
    first = kernels.module.axes[0]
    axes = [axis for array in kernels.arrays.values() for axis in array.axes]
    low = kernels.margins[first]
    return low, low + next(a.size for a in axes if a.name == first)


def _inner(array: Array, margins: Mapping[str, int]) -> str:
    """The place of a shared array, with its ghost cells, inside of its margins."""
    parts = []
    for axis in array.axes:
        low = margins.get(axis.name, 0) - axis.ghosts
        high = low + axis.size + 2 * axis.ghosts
        parts.append(f"slice({low}, {high})")
    return tuple_of(parts)


PLUGINS = (
    Target(
        name="numba",
        doc="compiled by Numba; all steps of a sample in the cache of a core",
        write=write,
        driver=(
            "threads",
            "pattern",
            "numba/buffers",
            "numba/teams",
            "numba/implicit",
            "numba/samples",
            "stepping",
            "numba/driver",
        ),
        tools=("host", "numba/tools", "numba/meeting"),
        needs="numba",
    ),
)
