"""What brings a sample into the records of a module for CuPy, and out, as CUDA C.

v.z[level % 2][3 + i] = all[i + 128 * s];       // a state, from those of the batch
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from pdec.adjoints.adjoint import BAR
from pdec.forms.statements import Array, Role
from pdec.forms.symbolic import BATCH
from pdec.targets.layout import INDENT
from pdec.targets.records import TEAM, Functions, function

Move = tuple[str, str, str, bool]  # array, its level, row, whether it is taken out


def copies(kernels: Functions, along: Collection[str]) -> str:
    """Write what brings a sample in and takes it out; ``given`` is a list of addresses.

    The targets ``along`` have one for each of several steps.
    """
    fields, inputs = kernels.of(Role.STATE), kernels.of(Role.INPUT)
    targets, readouts = kernels.of(Role.TARGET), kernels.of(Role.READOUT)
    level, rows = ["long long level"], len(inputs)
    snapshot = "(number + s * SNAPSHOTS)"

    def state(out: bool, of: str = "[level % 2]") -> list[Move]:
        return [(f, of, "s", out) for f in fields]

    taken = [(i, "", f"(s % given[{rows + k}])", False) for k, i in enumerate(inputs)]
    aims = [(y, "", snapshot if y in along else "s", False) for y in targets]
    given = [(i, "", "s", True) for i in inputs]
    read = [(r, "", "s", True) for r in readouts]
    what = "level" if kernels.apart else "state"
    states = (("take_state", False), ("give_state", True)) if kernels.apart else ()
    found = [
        *(_copy(kernels, name, [], state(out, "")) for name, out in states),
        _copy(kernels, f"take_{what}", level, state(False)),
        _copy(kernels, f"give_{what}", level, state(True)),
        _copy(kernels, "take_inputs", [], taken),
        _copy(kernels, "give_inputs", [], given),
        _copy(kernels, "give_readouts", [], read),
        _copy(kernels, "take_targets", ["long long number"], aims),
        *_levels(kernels, fields),
        *_sums(kernels),
    ]
    return "\n\n".join(found)


def _copy(kernels: Functions, name: str, more: list[str], moves: Sequence[Move]) -> str:
    """A function that copies arrays from those of the batch (without margins), or back.

    ``given`` has their addresses.
    """
    arguments = [TEAM, "long long s", *more, "const Word *given", "V &v"]
    lines = ["template <class V>", *function(name, arguments), "{"]
    for number, (array, level, row, out) in enumerate(moves):
        size = math.prod(kernels.arrays[array].shape)
        kind = "real" if out else "const real"
        own = f"v.{kernels.member(array)}{level}"
        own += _decoded(kernels, kernels.arrays[array])
        away = f"all[{row}]" if size == 1 else f"all[i + {size} * {row}]"
        left, right = (away, own) if out else (own, away)
        lines += [
            f"{INDENT}{{",
            f"{INDENT * 2}{kind} *all = ({kind} *)given[{number}];",
            f"{INDENT * 2}for (int i = team.lane; i < {size}; i += LANES)",
            f"{INDENT * 3}{left} = {right};",
            f"{INDENT}}}",
        ]
    return "\n".join([*lines, f"{INDENT}team.meet();", "}"])


def _decoded(kernels: Functions, array: Array) -> str:
    """Subscripts of the cell number i of an array, within its margins."""
    axes = [axis for axis in array.axes if axis.name != BATCH]
    text = ""
    for number, axis in enumerate(axes):
        behind = math.prod(a.size for a in axes[number + 1 :])
        value = f"i / {behind}" if behind > 1 else "i"
        if number:
            value += f" % {axis.size}"
        low = kernels.margins.get(axis.name, 0)
        text += f"[{low} + {value}]" if low else f"[{value}]"
    return text


def _levels(kernels: Functions, fields: list[str]) -> list[str]:
    """What moves whole states: to those that are kept, and between levels."""

    def whole(head: list[str], form: str, pairs: list[tuple[str, str]]) -> str:
        lines = [*head, "{"]
        for left, right in pairs:
            lines.append(f"{INDENT}{form.format(left, right)}")
        return "\n".join([*lines, f"{INDENT}team.meet();", "}"])

    names = [kernels.member(f) for f in fields]
    kept = [
        whole(
            function("keep", [TEAM, "long long n", "const Values &v", "State &kept"]),
            "copy(team, {1}, {0});",
            [(f"kept.{f}", f"v.{f}[n % 2]") for f in names],
        ),
        whole(
            function("fetch", [TEAM, "long long n", "const State &kept", "Values &v"]),
            "copy(team, {1}, {0});",
            [(f"v.{f}[n % 2]", f"kept.{f}") for f in names],
        ),
    ]
    return [
        *(kept if not kernels.apart else []),
        whole(
            function("join_levels", [TEAM, "long long n", "Cotangents &v_bar"]),
            "add(team, {1}, {0});",
            [(f"v_bar.{f}[n % 2]", f"v_bar.{f}[(n + 1) % 2]") for f in names],
        ),
        whole(
            function("clear_sample", [TEAM, "Cotangents &v_bar"]),
            "wipe(team, {0});",
            [
                (f"v_bar.{kernels.member(n)}", "")
                for n in (*fields, *kernels.of(Role.INPUT))
            ],
        ),
    ]


def _sums(kernels: Functions) -> list[str]:
    """What adds the sums of a sample to those of all, and those of the threads up."""
    texts = []
    for loss in kernels.of(Role.LOSS):
        member = kernels.member(loss)
        value = f"{INDENT}return v.{member};"
        texts.append("\n".join([*_LOSS_OF, "{", value, "}"]))
        head = function("set_loss", [TEAM, "real value", "Cotangents &v_bar"])
        seed = f"{INDENT}if (team.lane == 0) v_bar.{member} = value;"
        seeds = [seed] if loss in kernels.used[BAR] else []
        texts.append("\n".join([*head, "{", *seeds, f"{INDENT}team.meet();", "}"]))
    lines = function("add_up", [TEAM, "Sums &sums", "Totals &totals"])
    lines.append("{")
    for name in kernels.summed():
        member = kernels.member(name)
        lines.append(f"{INDENT}add(team, sums.{member}, totals.{member});")
        lines.append(f"{INDENT}wipe(team, sums.{member});")
    texts.append("\n".join([*lines, f"{INDENT}team.meet();", "}"]))
    lines = [*function("join_lanes", [TEAM, "Totals &totals"]), "{"]
    for name in kernels.shared(BAR):
        if name + BAR in kernels.laned:
            lines.append(f"{INDENT}team.join(totals.{kernels.member(name)});")
    return [*texts, "\n".join([*lines, f"{INDENT}team.meet();", "}"])]


_LOSS_OF = ["__device__ double loss_of(const Values &v)"]
