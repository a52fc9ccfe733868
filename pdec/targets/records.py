"""The records and device functions of a module for CuPy, as CUDA C.

What a sample has of its own is a record ``Values``; ``Cotangents`` and ``Tangents`` are
those of its values, ``Shared`` what all samples read, ``Sums`` and ``Totals`` what they
add to.  A field has a level for each of two states:

    step(team, n, c, v)  →  auto &z = v.z[n % 2];  auto &z_next = v.z[(n + 1) % 2];

Where each phase of a function is a launch of its own, so is its text, and the states
stay where they are kept:

    step_0(team, n, here, there, c, v)  →  auto &z = here.z;  auto &z_next = there.z;
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from pdec.adjoints.adjoint import BAR, DOT
from pdec.forms.statements import Axis, Role, successor
from pdec.forms.symbolic import BATCH
from pdec.targets.body import split_mark
from pdec.targets.compiled import Kernel, Kernels
from pdec.targets.cuda import Threads, laned_sums
from pdec.targets.layout import INDENT, WIDTH
from pdec.targets.loops import Loops
from pdec.targets.nests import carried_arrays, scalars, schedule
from pdec.targets.phases import phases

TEAM = "Team team"
STATES = ("State &here", "State &there")  # before and after a step
VALUES = {"": "v", BAR: "v_bar", DOT: "v_dot"}


@dataclass
class Functions(Kernels):
    """The device functions of a module, and the records that they work on."""

    laned: dict[str, int] = field(default_factory=dict)  # sums in so many parts
    threads: int = 0  # of a block
    blocks: int = 1  # of a sample; of several, each phase is a launch of its own
    rings: frozenset[str] = frozenset()  # axes without ghost cells
    parted: list[str] = field(default_factory=list)  # sums with a part of each block
    launches: dict[str, int] = field(default_factory=dict)  # of each function
    tiled: bool = False  # whether products of channels are among them

    @property
    def apart(self) -> bool:
        """Whether each phase is a launch of its own."""
        return self.blocks > 1

    def texts(self, kernels: Iterable[Kernel]) -> list[str]:
        """Write the functions; what is an array in one depends on the others."""
        listed = list(kernels)
        carried = carried_arrays(kernel.statements for kernel in listed)
        found = []
        for kernel in listed:
            axes = self.module.axes
            nests = schedule(kernel.statements, self.arrays, axes, zeros=True)
            pieces = phases(nests, self.arrays)
            numbers = scalars(pieces, self.arrays, carried) - {kernel.result}
            found.append((pieces, numbers))
        probe = Threads(self.module, self.margins, set(), {}, apart=self.apart)
        parts = self.blocks if self.apart else self.threads
        self.laned = laned_sums((pieces for pieces, _ in found), probe, parts)
        bodies = []
        for pieces, numbers in found:
            body = Threads(
                self.module,
                self.margins,
                numbers,
                self.laned,
                rings=self.rings,
                apart=self.apart,
            )
            body.add_all(pieces)
            bodies.append(body)
            self.parted += [n for n in body.parted if n not in self.parted]
            self.tiled |= body.tiled
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
        assert isinstance(body, Threads)
        homes = {}
        for name in sorted(body.touched - body.scalars, key=self._rank):
            home = self._home(name)
            if kernel.name == "_loss_vjp" and home.startswith("v_bar."):
                home = home.replace("[n % 2]", "[(n + 1) % 2]")  # joined to it later
            const = "" if home[0] in "vsth" else "const "
            homes[body.local(name)] = f"{INDENT}{const}auto &{{}} = {home};"
        for name in body.parted:
            local, mark = self.module.names(name), _mark(name)
            homes[local] = f"{INDENT}auto &{{}} = {VALUES[mark]}.{local};"
        own = kernel.name.lstrip("_")
        doc = [f"// {line.strip()}" for line in kernel.doc.splitlines() if line.strip()]
        if not self.apart:
            lines = [form.format(local) for local, form in homes.items()]
            head = function(own, kernel.arguments)
            return "\n".join([*doc, *head, "{", *lines, *body.lines, "}"])
        parts = body.launches()
        self.launches[own] = len(parts)
        texts = []
        for number, part in enumerate(parts):
            code = "\n".join(
                line for line in part if not line.lstrip().startswith("//")
            )
            used = set(re.findall(r"\w+", code))
            lines = [form.format(name) for name, form in homes.items() if name in used]
            head = function(f"{own}_{number}", kernel.arguments)
            texts.append("\n".join([*head, "{", *lines, *part, "}"]))
        return "\n".join([*doc, "\n\n".join(texts)])

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
            if self.apart and not mark:
                return f"{'there' if after else 'here'}.{self.member(own)}"
            return f"{record}.{self.member(own)}[{'(n + 1)' if after else 'n'} % 2]"
        return f"{record}.{member}"

    def member(self, name: str) -> str:
        """The member of a record that holds an array, or the parts of a sum."""
        if name in self.parted:
            return self.module.names(name)
        array = self.arrays[name]
        spare = array.role is Role.COORDINATE
        return self.module.names(f"{name}~at" if spare else name)

    def summed_in_cells(self, name: str) -> bool:
        """Whether a sample sums cotangents of a shared array in its own precision."""
        return super().summed_in_cells(name) and name + BAR not in self.laned

    # --- records

    def records(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """The members of each record and their shapes, by the names of arrays."""
        fields = self.of(Role.STATE)

        def parts(name: str) -> list[int]:
            count = self.laned.get(name + BAR)
            return [] if count is None else [count or self.threads]

        def of_sample(mark: str) -> dict[str, tuple[int, ...]]:
            names = [n for n in self.used[mark] if not self._in_states(n, mark)]
            found = {
                n: (2, *self.shape(n)) if n in fields else self.shape(n) for n in names
            }
            sums = dict.fromkeys(n for n in self.parted if _mark(n) == mark)
            found |= {n: (*self.shape(split_mark(n)[0]), self.blocks) for n in sums}
            return found

        return {
            "State": {n: self.shape(n) for n in fields},
            "Values": of_sample(""),
            "Cotangents": of_sample(BAR),
            "Tangents": of_sample(DOT),
            "Shared": {n: self.shape(n) for n in self.shared()},
            "SharedTangents": {n: self.shape(n) for n in self.shared(DOT)},
            "Sums": {n: self.shape(n) for n in self.summed()},
            "Totals": {n: (*self.shape(n), *parts(n)) for n in self.shared(BAR)},
        }

    def _in_states(self, name: str, mark: str) -> bool:
        """Whether a state lies where it is kept, and in no record of values."""
        return self.apart and not mark and name in self.of(Role.STATE)

    def record_texts(self) -> list[str]:
        """Write the records."""
        found = []
        for record, members in self.records().items():
            kind = "double" if record == "Totals" else "real"
            lines = [f"{INDENT}{kind} none;"] if not members else []
            for name, shape in members.items():
                lengths = "".join(f"[{length}]" for length in shape)
                lines.append(f"{INDENT}{kind} {self.member(name)}{lengths};")
            found.append("\n".join([f"struct {record} {{", *lines, "};"]))
        return found


def _mark(name: str) -> str:
    """The mark of the array that a name of parts begins with: "~bar" or "~dot"."""
    return next((mark for mark in (BAR, DOT) if mark in name), "")


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
