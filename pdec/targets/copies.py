"""Compiled functions that bring the arrays of a sample in and take its results out.

z0 (batch, 128)  →  z[here, j0] = z0[s, j0 - 3]      for j0 in the cells of z
"""

from __future__ import annotations

from collections.abc import Collection

from pdec.adjoints.adjoint import BAR, DOT
from pdec.forms.statements import Role
from pdec.forms.symbolic import BATCH
from pdec.targets.body import split_mark
from pdec.targets.compiled import Kernels
from pdec.targets.layout import INDENT

Head = tuple[str, str]  # a signature, and what the function does
Lines = list[str]
# of each axis: variable, its range, what it is outside of the margins, and inside
Cells = list[tuple[str, str, str, str]]


def copies(kernels: Kernels, along: Collection[str], *, every: bool) -> list[str]:
    """Write them; the targets ``along`` have one for each of several steps.

    ``every`` is whether losses are taken along the way.
    """
    found = {**_in_and_out(kernels, along), **_on_the_way_back(kernels)}
    found |= _between_levels(kernels, every)
    return [
        "\n".join(
            [
                f"@_inlined\ndef {head}:",
                f'{INDENT}"""{doc}"""',
                *(line for nest in nests for line in nest),
            ]
        )
        for (head, doc), nests in found.items()
    ]


def _in_and_out(kernels: Kernels, along: Collection[str]) -> dict[Head, list[Lines]]:
    """What brings a sample in, and takes its state and readouts out."""
    fields = list(enumerate(kernels.of(Role.STATE)))
    inputs = list(enumerate(kernels.of(Role.INPUT)))
    targets = list(enumerate(kernels.of(Role.TARGET)))
    readouts = list(enumerate(kernels.of(Role.READOUT)))
    v, v_dot = (kernels.used[mark].index for mark in ("", "~dot"))

    def own(name: str) -> Cells:
        return _cells(kernels, name)

    return {
        (
            "_take_state(s, here, row, z, v)",
            "Copy sample s of z to a level of its fields.",
        ): [
            _move(own(f), f"v[{k}]", ["here"], "=", f"z[{k}]", ["s"]) for k, f in fields
        ],
        (
            "_give_state(s, here, row, v, z)",
            "Copy a level of the fields to sample s of z.",
        ): [
            _move(own(f), f"v[{k}]", ["here"], "=", f"z[{k}]", ["s"], out=True)
            for k, f in fields
        ],
        ("_take_inputs(s, row, x, v)", "Copy the inputs of sample s, or of all."): [
            _move(own(i), f"v[{v(i)}]", [], "=", f"x[{k}]", [f"s % len(x[{k}])"])
            for k, i in inputs
        ],
        ("_take_tangents(s, x, v_dot)", "Copy tangents of inputs likewise."): [
            _move(
                own(i + DOT),
                f"v_dot[{v_dot(i)}]",
                [],
                "=",
                f"x[{k}]",
                [f"s % len(x[{k}])"],
            )
            for k, i in inputs
        ],
        ("_give_readouts(s, v, out)", "Copy the readouts to sample s of out."): [
            _move(own(r), f"v[{v(r)}]", [], "=", f"out[{k}]", ["s"], out=True)
            for k, r in readouts
        ],
        ("_take_targets(s, number, y, v)", "Copy the targets of a snapshot."): [
            _move(
                own(y),
                f"v[{v(y)}]",
                [],
                "=",
                f"y[{k}]",
                ["s", "number"] if y in along else ["s"],
            )
            for k, y in targets
        ],
    }


def _on_the_way_back(kernels: Kernels) -> dict[Head, list[Lines]]:
    """What takes the cotangents of a sample out, and clears what the next adds to."""
    fields = list(enumerate(kernels.of(Role.STATE)))
    inputs = list(enumerate(kernels.of(Role.INPUT)))
    v_bar, place = kernels.used["~bar"].index, kernels.shared("~bar").index
    found = []
    for k, f in fields:
        own = _cells(kernels, f + BAR)
        found.append(
            _move(own, f"v_bar[{k}]", ["0"], "=", f"z_bar[{k}]", ["s"], out=True)
        )
    for k, i in inputs:
        own, row = _cells(kernels, i + BAR), [f"s % len(x_bar[{k}])"]
        inner = f"v_bar[{v_bar(i)}]"
        add = _move(own, inner, [], "+=", f"x_bar[{k}]", row, out=True)
        found.append([*add, _cleared(own, inner)])
    sums = []
    for k, c in enumerate(kernels.summed()):
        whole = _cells(kernels, c, ghosts=True)
        for rows in kernels.rows_of(c):
            whole.insert(0, ("at", f"range({rows})", "at", "at"))
        inner = f"c_bar[{place(c)}]"
        total = f"{_at(f'sums[{k}]', [], whole)} += {_at(inner, [], whole)}"
        sums.append([*_nest(whole, total), _cleared(whole, inner)])
    head = "_give_cotangents(s, row, v_bar, z_bar, x_bar)"
    doc = "Take those of sample s out, or add them up, and clear what is added to."
    more = "_add_up(c_bar, sums)", "Add up what samples share, and clear it."
    return {(head, doc): found, more: sums}


def _cleared(cells: Cells, array: str) -> str:
    """The line that sets an array to zero, behind another one in its loops."""
    return f"{INDENT * (len(cells) + 1)}{_at(array, [], cells)} = 0.0"


def _between_levels(kernels: Kernels, every: bool) -> dict[Head, list[Lines]]:
    """Cotangents from nothing; with several losses along the way, they add up."""
    joined, cleared = [], []
    for k, f in enumerate(kernels.of(Role.STATE)):
        own = _cells(kernels, f + BAR)
        whole = _cells(kernels, f + BAR, ghosts=True)
        name = f"v_bar[{k}]"
        other = _at(name, ["(n + 1) % 2"], own)
        joined.append(_nest(own, f"{_at(name, ['n % 2'], own)} += {other}"))
        for level in ("0", "1"):
            cleared.append(_nest(whole, _at(name, [level], whole) + " = 0.0"))
    clear = "_clear_levels(row, v_bar)", "Set the cotangents of the fields to zero."
    join = "_join_levels(n, row, v_bar)", "Add the cotangents in the other level."
    return {clear: cleared, join: joined} if every else {clear: cleared}


def _cells(kernels: Kernels, name: str, *, ghosts: bool = False) -> Cells:
    found: Cells = []
    for axis in kernels.arrays[split_mark(name)[0]].axes:
        if axis.name == BATCH:
            continue
        beside = name in kernels.beside and axis.name == kernels.module.axes[0]
        margin = kernels.margins.get(axis.name, 0)
        own = axis.ghosts if ghosts else 0
        index, low, high = f"j{len(found)}", margin - own, margin + axis.size + own
        bounds = f"range({low}, {high})" if low else f"range({high})"
        away = f"{index} - {low}" if low else index
        found.append((index, bounds, away, f"{index} + row" if beside else index))
    return found


def _move(
    cells: Cells,
    inner: str,
    here: list[str],
    sign: str,
    outer: str,
    row: list[str],
    *,
    out: bool = False,
) -> list[str]:
    """Loops that copy from an array without margins to one with them, or back."""
    own = _at(inner, here, cells)
    away = f"{outer}[{', '.join([*row, *(less for _, _, less, _ in cells)])}]"
    left, right = (away, own) if out else (own, away)
    return _nest(cells, f"{left} {sign} {right}")


def _at(array: str, before: list[str], cells: Cells) -> str:
    return f"{array}[{', '.join([*before, *(own for *_, own in cells)]) or '()'}]"


def _nest(cells: Cells, *statements: str) -> list[str]:
    lines, indent = [], INDENT
    for index, bounds, *_ in cells:
        lines.append(f"{indent}for {index} in {bounds}:")
        indent += INDENT
    return [*lines, *(f"{indent}{statement}" for statement in statements)]
