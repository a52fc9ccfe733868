"""The records and device functions of a module for CuPy, as CUDA C.

What a sample has of its own is a record ``Values``; ``Cotangents`` and ``Tangents`` are
those of its values, ``Shared`` what all samples read, ``Sums`` and ``Totals`` what they
add to.  A field has a level for each of two states:

    step(team, n, c, v)  →  auto &z = v.z[n % 2];  auto &z_next = v.z[(n + 1) % 2];
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from pdec.adjoints.adjoint import BAR, DOT
from pdec.forms.statements import Array, Axis, Role, successor
from pdec.forms.symbolic import BATCH
from pdec.targets.body import split_mark
from pdec.targets.compiled import Kernel, Kernels
from pdec.targets.cuda import Threads, laned_sums, phases
from pdec.targets.layout import INDENT, WIDTH
from pdec.targets.loops import Loops
from pdec.targets.nests import carried_arrays, scalars, schedule

TEAM = "Team team"
VALUES = {"": "v", BAR: "v_bar", DOT: "v_dot"}


@dataclass
class Functions(Kernels):
    """The device functions of a module, and the records that they work on."""

    laned: set[str] = field(default_factory=set)

    def texts(self, kernels: Iterable[Kernel]) -> list[str]:
        """Write the functions; what is an array in one depends on the others."""
        listed = list(kernels)
        carried = carried_arrays(kernel.statements for kernel in listed)
        found = []
        for kernel in listed:
            nests = schedule(kernel.statements, self.arrays, self.module.axes)
            pieces = phases(nests, self.arrays)
            numbers = scalars(pieces, self.arrays, carried) - {kernel.result}
            found.append((pieces, numbers))
        probe = Threads(self.module, self.margins, set(), set())
        self.laned = laned_sums((pieces for pieces, _ in found), probe)
        bodies = []
        for pieces, numbers in found:
            body = Threads(self.module, self.margins, numbers, self.laned)
            body.add_all(pieces)
            bodies.append(body)
        self.touched = {name for body in bodies for name in body.touched}
        self.used = {mark: self._used(mark, list(bodies)) for mark in VALUES}
        return [self._text(k, b) for k, b in zip(listed, bodies, strict=True)]

    def length(self, axis: Axis) -> int:
        """The length of an axis with its margins."""
        return axis.size + 2 * self.margins.get(axis.name, 0)

    def shape(self, name: str) -> tuple[int, ...]:
        """Lengths of an array with the margins, without the batch axis."""
        axes = self.arrays[name].axes
        return tuple(self.length(axis) for axis in axes if axis.name != BATCH)

    def _text(self, kernel: Kernel, body: Loops) -> str:
        arrays = sorted(body.touched - body.scalars, key=self._rank)
        lines = []
        for name in arrays:
            home = self._home(name)
            if kernel.name == "_loss_vjp" and home.startswith("v_bar."):
                home = home.replace("[n % 2]", "[(n + 1) % 2]")  # joined to it later
            const = "" if home[0] in "vst" else "const "
            lines.append(f"{INDENT}{const}auto &{body.local(name)} = {home};")
        head = function(kernel.name.lstrip("_"), kernel.arguments)
        doc = [f"// {line.strip()}" for line in kernel.doc.splitlines() if line.strip()]
        return "\n".join([*doc, *head, "{", *lines, *body.lines, "}"])

    def _home(self, name: str) -> str:
        """Where an array is kept: ``v.Z``, ``v_bar.z[n % 2]``, ``totals.b``."""
        base, mark = split_mark(name)
        array, member = self.arrays[base], self.member(base)
        if not array.per_sample:
            if mark != BAR:
                return f"c{'_dot' if mark else ''}.{member}"
            return f"{'sums' if base in self.summed() else 'totals'}.{member}"
        record = VALUES[mark]
        if array.role in (Role.STATE, Role.NEXT):
            fields = self.of(Role.STATE)
            nexts = [successor(name) for name in fields]
            after = base in nexts
            own = fields[nexts.index(base)] if after else base
            return f"{record}.{self.member(own)}[{'(n + 1)' if after else 'n'} % 2]"
        return f"{record}.{member}"

    def member(self, name: str) -> str:
        """The member of a record that holds an array."""
        array = self.arrays[name]
        spare = array.role is Role.COORDINATE
        return self.module.names(f"{name}~at" if spare else name)

    def summed_in_cells(self, name: str) -> bool:
        """Whether a sample sums cotangents of a shared array in its own precision."""
        return super().summed_in_cells(name) and name + BAR not in self.laned

    # --- records

    def records(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """The members of each record and their shapes."""
        fields = self.of(Role.STATE)

        def of_sample(mark: str) -> dict[str, tuple[int, ...]]:
            return {
                n: (2, *self.shape(n)) if n in fields else self.shape(n)
                for n in self.used[mark]
            }

        totals = {n: self.shape(n) for n in self.shared(BAR)}
        return {
            "State": {n: self.shape(n) for n in fields},
            "Values": of_sample(""),
            "Cotangents": of_sample(BAR),
            "Tangents": of_sample(DOT),
            "Shared": {n: self.shape(n) for n in self.shared()},
            "SharedTangents": {n: self.shape(n) for n in self.shared(DOT)},
            "Sums": {n: self.shape(n) for n in self.summed()},
            "Totals": totals,
        }

    def record_texts(self) -> list[str]:
        """Write the records."""
        found = []
        for record, members in self.records().items():
            kind = "double" if record == "Totals" else "real"
            lines = [f"{INDENT}{kind} none;"] if not members else []
            for name, shape in members.items():
                laned = "[LANES]" if self._is_laned(record, name) else ""
                lengths = "".join(f"[{length}]" for length in shape)
                lines.append(f"{INDENT}{kind} {self.member(name)}{lengths}{laned};")
            found.append("\n".join([f"struct {record} {{", *lines, "};"]))
        return found

    def _is_laned(self, record: str, name: str) -> bool:
        return record == "Totals" and name + BAR in self.laned


def function(name: str, arguments: Collection[str]) -> list[str]:
    """The head of a device function."""
    line = f"__device__ void {name}({', '.join(arguments)})"
    if len(line) <= WIDTH:
        return [line]
    return [f"__device__ void {name}(", *wrapped([*arguments], ")")]


def wrapped(items: list[str], end: str) -> list[str]:
    """Items with commas between them, as many to a line as there is room for."""
    lines: list[str] = []
    for number, item in enumerate(items):
        text = item + (end if number == len(items) - 1 else ",")
        if lines and len(f"{lines[-1]} {text}") <= WIDTH:
            lines[-1] += f" {text}"
        else:
            lines.append(INDENT + text)
    return lines


# --- copies ---------------------------------------------------------------------------


Move = tuple[str, str, str, bool]  # array, its level, row, whether it is taken out


def copies(kernels: Functions, along: Collection[str]) -> str:
    """Write what brings a sample in and takes it out; ``given`` is a list of addresses.

    The targets ``along`` have one for each of several steps.
    """
    fields, inputs = kernels.of(Role.STATE), kernels.of(Role.INPUT)
    targets, readouts = kernels.of(Role.TARGET), kernels.of(Role.READOUT)
    level, rows = ["long long level"], len(inputs)
    snapshot = "(number + s * SNAPSHOTS)"

    def state(out: bool) -> list[Move]:
        return [(f, "[level % 2]", "s", out) for f in fields]

    taken = [(i, "", f"(s % given[{rows + k}])", False) for k, i in enumerate(inputs)]
    aims = [(y, "", snapshot if y in along else "s", False) for y in targets]
    given = [(i, "", "s", True) for i in inputs]
    read = [(r, "", "s", True) for r in readouts]
    found = [
        _copy(kernels, "take_state", level, state(False)),
        _copy(kernels, "give_state", level, state(True)),
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
    return [
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
