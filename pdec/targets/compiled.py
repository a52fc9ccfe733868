"""The functions of one sample that Numba compiles: which arrays they get, and as what.

Arrays reach a function in tuples: ``v`` of one sample, ``c`` of all samples, ``v_bar``
and ``c_bar`` of their cotangents, ``v_dot`` and ``c_dot`` of their tangents.  A field
has a level for each state that is kept, and two for its cotangents.

    _step(n, here, there, c, v)  →  z, z_next = v[0][here], v[0][there]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pdec.adjoints.adjoint import BAR
from pdec.forms.statements import Array, Axis, Role, successor
from pdec.forms.symbolic import TIME
from pdec.targets.around import axes_around, filled, unfolded
from pdec.targets.body import MARKS, Module, split_mark
from pdec.targets.layout import INDENT, call, unpack
from pdec.targets.loops import Loops
from pdec.targets.nests import Piece, carried_arrays, scalars, schedule
from pdec.targets.teams import meetings
from pdec.targets.together import Function, together
from pdec.targets.vectors import Part

ACTIVE = (Role.PARAM, Role.COEFFICIENT)
# numbers that begin at a multiple of 64 bytes, which is one vector, or two
VECTOR = 16
# functions that take several samples together, and those that find one beside others
TOGETHER = ("_step", "_step_vjp")
BESIDE = ("_initial", "_initial_vjp", "_loss_vjp")
OF_ONE_SAMPLE = (Role.INPUT, Role.TARGET, Role.WORK, Role.READOUT, Role.LOSS)


@dataclass(frozen=True)
class Kernel:
    """A function to be: its signature, what it does, returns, and how it is made."""

    name: str
    arguments: tuple[str, ...]
    tail: str
    doc: str
    statements: tuple[Part, ...]
    result: str = ""
    how: str = "_inlined"


@dataclass
class Kernels:
    """The compiled functions of a module, and the order of their arrays in tuples."""

    module: Module
    margins: dict[str, int]
    shares: bool = False  # whether threads are to share samples out
    periodic: frozenset[str] = frozenset()  # axes
    used: dict[str, tuple[str, ...]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    together: int = 1  # samples that may take steps together
    beside: set[str] = field(default_factory=set)  # their arrays
    meets: dict[str, set[int]] | None = None  # where teams do, if samples may have one
    around: frozenset[str] = frozenset()  # periodic axes without ghosts on the way back
    beyond: set[str] = field(default_factory=set)  # shared arrays read past ends

    @property
    def row(self) -> int:
        """The cells of one sample along the first axis, with margins."""
        axes = [axis for array in self.arrays.values() for axis in array.axes]
        return next(self.length(a) for a in axes if a.name == self.module.axes[0])

    def length(self, axis: Axis) -> int:
        """The length of an axis with its margins, for vectors to begin rows."""
        length = axis.size + 2 * self.margins.get(axis.name, 0)
        aligned = self.margins.get(axis.name, 0) % VECTOR == 0
        last = axis.name == self.module.axes[-1]
        return -(-length // VECTOR) * VECTOR if last and aligned else length

    @property
    def arrays(self) -> Mapping[str, Array]:
        """The arrays of the program."""
        return self.module.arrays

    def of(self, role: Role) -> list[str]:
        """The arrays with a role, in the order of the model."""
        return [name for name, array in self.arrays.items() if array.role is role]

    def shared(self, mark: str = "") -> list[str]:
        """What all samples share and some function reads, or adds to (mark "~bar")."""
        return [
            name
            for name, array in self.arrays.items()
            if not array.per_sample and name + mark in self.touched
        ]

    def summed(self) -> list[str]:
        """Those of them whose cotangents a sample sums in its own precision."""
        return [name for name in self.shared(BAR) if self.summed_in_cells(name)]

    def summed_in_cells(self, name: str) -> bool:
        """Whether a sample sums the cotangents of a shared array in its own precision.

        It does where there is one for every cell; what every step has an own one of is
        added to once a sample anyway.
        """
        array = self.arrays[name]
        names = {axis.name for axis in array.axes}
        grid = bool(names & set(self.module.axes))
        return array.role in ACTIVE and grid and TIME not in names

    def texts(self, kernels: Iterable[Kernel]) -> list[str]:
        """Write the functions; what is an array in one depends on the others."""
        listed = list(kernels)
        carried = carried_arrays(kernel.statements for kernel in listed)
        axes, found = self.module.axes, {}
        every = [kernel.statements for kernel in listed]
        self.around = axes_around(self.periodic, every, self.arrays, axes)
        for kernel in listed:
            pieces = self._pieces(kernel.statements)
            numbers = scalars(pieces, self.arrays, carried) - {kernel.result}
            found[kernel.name] = pieces, numbers
        steps = [found[name] for name in TOGETHER if name in found]
        self.together, self.beside = together(steps, self.arrays, axes, carried)
        self.meets = self._meetings({n: found[n] for n in TOGETHER if n in found})
        apart = self.meets is not None
        bodies = []
        for name, (pieces, numbers) in found.items():
            several = name in TOGETHER and self.beside
            rows = "range(0, _ROW * len(c[-1]), _ROW)" if several else ""
            beside = self.beside if name in (*TOGETHER, *BESIDE) else ()
            body = Loops(
                self.module,
                self.margins,
                numbers,
                beside,
                rows,
                apart=apart,
                meets=(self.meets or {}).get(name),
                far=self.of(Role.STATE) if apart and name == TOGETHER[-1] else (),
                around=self.around,
            )
            body.add_all(pieces)
            bodies.append(body)
        self.touched = {name for body in bodies for name in body.touched}
        self.used = {mark: self._used(mark, bodies) for mark in MARKS}
        return [self._text(k, b) for k, b in zip(listed, bodies, strict=True)]

    def _pieces(self, statements: Sequence[Part]) -> list[Piece]:
        """The pieces of a function, those that fill the ends of a ring among them."""
        listed, axes = unfolded(statements, self.around), self.module.axes
        pieces = schedule(listed, self.arrays, axes, around=self.around)
        found, shared = filled(pieces, statements, self.around, self.arrays, axes)
        self.beyond |= shared
        return found

    def _meetings(self, steps: Mapping[str, Function]) -> dict[str, set[int]] | None:
        """Before which pieces of a step a team meets, if it can share samples out."""
        if not self.shares:
            return None
        found = {}
        for name, (pieces, numbers) in steps.items():
            body = Loops(self.module, self.margins, numbers, around=self.around)
            if (meets := meetings(pieces, body)) is None:
                return None
            found[name] = meets
        return found

    def rows_of(self, name: str) -> tuple[str, ...]:
        """The axis before those of a sum that is kept apart for each row."""
        apart = self.meets is not None
        axes = [axis.name for axis in self.arrays[split_mark(name)[0]].axes]
        return (str(self.row),) if apart and self.module.axes[0] not in axes else ()

    def _used(self, mark: str, bodies: list[Loops]) -> tuple[str, ...]:
        """The arrays of one sample in a tuple: fields first, then what is touched."""
        touched = {name for body in bodies for name in body.touched - body.scalars}
        found = self.of(Role.STATE)
        for name, array in self.arrays.items():
            given = array.role is Role.INPUT or (
                array.role in (Role.TARGET, Role.READOUT) and not mark
            )
            if array.role in OF_ONE_SAMPLE and (given or name + mark in touched):
                found.append(name)
        return tuple(found)

    def _text(self, kernel: Kernel, body: Loops) -> str:
        arrays = sorted(body.touched - body.scalars, key=self._rank)
        lines = unpack({body.local(name): self._home(name) for name in arrays})
        if any("real(" in line for line in body.lines):
            lines.append(f"{INDENT}real = v[0].dtype.type")
        if body.meets is not None:
            lines.append(f"{INDENT}low, high = c[-4][0], c[-4][1]")
            lines.append(f"{INDENT}_meet(c[-3], c[-2])")
        lines += body.lines
        if kernel.result:
            lines.append(f"{INDENT}return {body.local(kernel.result)}[()]")
        head = call(f"def {kernel.name}", list(kernel.arguments), "", kernel.tail)
        return "\n".join(
            [f"@{kernel.how}", *head, f'{INDENT}"""{kernel.doc}"""', *lines]
        )

    def _rank(self, name: str) -> tuple[str, int]:
        base, mark = split_mark(name)
        return mark, list(self.arrays).index(base)

    def _home(self, name: str) -> str:
        """Where an array is kept: ``v[2]``, ``v_bar[0][n % 2]``, ``c[4][()]``."""
        base, mark = split_mark(name)
        array, kind = self.arrays[base], MARKS[mark]
        if not array.per_sample:
            place = f"c{kind}[{self.shared(mark).index(base)}]"
            return place if array.axes or mark == BAR else f"{place}[()]"
        fields = self.of(Role.STATE)
        if array.role in (Role.STATE, Role.NEXT):
            here, there = ("n % 2", "(n + 1) % 2") if mark else ("here", "there")
            nexts = [successor(name) for name in fields]
            if base in nexts:
                return f"v{kind}[{nexts.index(base)}][{there}]"
            return f"v{kind}[{fields.index(base)}][{here}]"
        return f"v{kind}[{self.used[mark].index(base)}]"
