"""Random models: valid texts with tiny grids, drawn from a seed.

Every feature of the language stands in some of them, in combinations that nobody would
write: axes, walls, channels, parameters of every kind, definitions, functions, several
fields, inputs, initial states, readouts and losses.  ``untidy`` spoils a text's layout
without changing what it means.

    text(3)     →  "model random3\\ngrid x[5] on [0, 1)  periodic\\n…"
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

FUNCTIONS = (
    "tanh(s)",
    "sigmoid(s)",
    "sin(s)",
    "0.5 softplus(2 s) - 0.1",
    "s/√(1 + s²)",
    "atan(s) + 0.1 s",
    "gelu(s)",
    "silu(s)",
    "exp(-s²)",
    "tanh²(s)(1 - s/4)",
    "where(s, tanh(s), 2 tanh(s/2))",
)
NUMBERS = ("0.5", "0.25", "1.5", "2", "0.1", "3e-1")
SMALL = ("0.01", "0.02", "1e-3", "2e-3", "0.005")
NAMES = (
    "a",
    "b",
    "W0",
    "W₁",
    "κ",
    "σ_2",
    "beta",
    "q1",
    "Du",
    "λ",
    "mu",
    "Wx",
    "p_init",
)


@dataclass
class _Parameter:
    """A declared parameter: its name, channel shape and axes."""

    name: str
    shape: tuple[str, ...]
    domain: tuple[str, ...]
    small: bool


@dataclass
class _Writer:
    """A text in the making, and what it declares."""

    draw: random.Random
    axes: list[str] = field(default_factory=list)
    periodic: dict[str, bool] = field(default_factory=dict)
    channels: dict[str, str] = field(default_factory=dict)  # of each field, or ""
    inputs: list[str] = field(default_factory=list)
    parameters: list[_Parameter] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def over(self) -> str:
        return f"({', '.join(self.axes)})"

    @property
    def fields(self) -> list[str]:
        return list(self.channels)

    def channel(self, name: str) -> str:
        return f"[{self.channels[name]}]" if self.channels[name] else ""

    def shapes(self, name: str) -> tuple[tuple[str, ...], ...]:
        """The channel shapes of what may multiply a field element by element."""
        return ((), (self.channels[name],)) if self.channels[name] else ((),)

    def chance(self, probability: float) -> bool:
        return self.draw.random() < probability

    def parameter(
        self,
        *,
        small: bool,
        shape: tuple[str, ...] = (),
        steady: bool = False,
    ) -> str:
        """Declare a parameter (or take one again) and return its name."""
        same = [
            p
            for p in self.parameters
            if (p.shape, p.small) == (shape, small) and not (steady and "t" in p.domain)
        ]
        if same and self.chance(0.25):
            return self.draw.choice(same).name
        taken = {item.name for item in self.parameters}
        free = [name for name in NAMES if name not in taken]
        name = self.draw.choice(free) if free else f"P{len(taken)}"
        domain = tuple(axis for axis in self.axes if self.chance(0.35))
        domain += ("t",) if self.chance(0.25) and not steady else ()
        self.parameters.append(_Parameter(name, shape, domain, small))
        written = name + (f"[{', '.join(shape)}]" if shape else "")
        written += f"({', '.join(domain)})" if domain else ""
        bound = self.draw.choice(("", "", "", " >= 0", " > 0 <= 4", " in (0, 3)"))
        value = self.draw.choice(SMALL if small else NUMBERS)
        init = f" init {value}"
        if not bound and self.chance(0.4):
            init = f" init normal(0, {value})"
        self.lines.append(f"param {written}{bound}{init}")
        return name


def text(seed: int) -> str:
    """Return the random model of a seed."""
    write = _Writer(random.Random(seed))
    write.lines.append(f"model random{seed}")
    _grid(write)
    _state(write)
    for number in range(write.draw.randrange(3)):
        name = ("f", "g", "φ")[number]
        write.functions.append(name)
        write.lines.append(f"{name}(s) = {write.draw.choice(FUNCTIONS)}")
    if write.chance(0.5):
        write.lines.append(f"const c = {write.draw.choice(NUMBERS)}")
    _evolution(write)
    _walls(write)
    _loss(write)
    write.lines.append(f"steps {write.draw.randint(2, 4)}")
    body = write.lines[1:]
    write.draw.shuffle(body)  # the order of declarations is free
    return "\n".join([write.lines[0], *body]) + "\n"


# --- declarations -----------------------------------------------------------------


def _grid(write: _Writer) -> None:
    accuracy = write.draw.choice((2, 2, 2, 4, 6))
    if accuracy > 2:
        write.lines.append(f"accuracy {accuracy}")
    write.axes = ["x", "y"][: write.draw.choice((1, 1, 2))]
    least = {2: 4, 4: 7, 6: 9}[accuracy]
    declared = []
    for axis in write.axes:
        write.periodic[axis] = write.chance(0.5)
        size = write.draw.randint(least, least + 2)
        end = ") periodic" if write.periodic[axis] else "]"
        low, high = write.draw.choice((("0", "1"), ("-1", "1"), ("0", "2.5")))
        declared.append(f"{axis}[{size}] on [{low}, {high}{end}")
    write.lines.append(f"grid {', '.join(declared)}")


def _state(write: _Writer) -> None:
    fields = ["z", "u"][: write.draw.choice((1, 1, 2))]
    write.channels = dict.fromkeys(fields, "")
    if write.chance(0.4):  # the same, others, or beside a field without any
        write.channels = {
            name: write.draw.choice(("d", "d", "e", "")) for name in fields
        }
    for dim in sorted({*write.channels.values()} - {""}):
        write.lines.append(f"dim {dim} = {write.draw.randint(1, 3)}")
    declared = [f"{name}{write.channel(name)}{write.over}" for name in fields]
    write.lines.append(f"field {', '.join(declared)}")
    if write.chance(0.3):
        write.inputs.append("w")
        domain = write.draw.choice((write.over, "", f"({write.axes[0]})"))
        write.lines.append(f"input w{domain}")
    if write.chance(0.2):
        write.inputs.append("img")
        write.lines.append(f"input img{write.over}")
        for name, dim in write.channels.items():
            lift = "2"
            if dim:
                lift = write.parameter(small=False, shape=(dim,), steady=True)
            write.lines.append(f"at t = 0: {name} = {lift} img")


def _walls(write: _Writer) -> None:
    for axis in write.axes:
        if write.periodic[axis]:
            continue
        for name in write.fields:
            grid = next(line for line in write.lines if line.startswith("grid"))
            at = grid.index(f"{axis}[")
            low, high = grid[grid.index(" on [", at) + 5 :].split("]")[0].split(", ")
            mirrored = f"at {axis}: ∂{name} = 0"
            robin = f"at {axis}: 2 {name} + ∂n {name} = 0.5"
            low_side = write.draw.choice((f"{name} = 0.3", f"∂{name} = 0.1"))
            high_side = write.draw.choice((f"∂n {name} = 0", f"{name} - 2 ∂{name} = 1"))
            sides = f"at {axis} = {low}: {low_side}\nat {axis} = {high}: {high_side}"
            write.lines.append(write.draw.choice((mirrored, robin, sides)))


# --- equations --------------------------------------------------------------------


def _evolution(write: _Writer) -> None:
    relaxing = write.chance(0.6)
    definition = write.chance(0.4)
    if definition:
        write.lines.append(f"Q = {_sum(write, write.fields[0])}")
    for name in write.fields:
        inside = _sum(write, name)
        alike = write.channels[name] == write.channels[write.fields[0]]
        if definition and alike and write.chance(0.7):
            inside += f" {write.draw.choice('+-')} 0.5 Q"
        if relaxing:
            function = write.draw.choice(["tanh", *write.functions])
            rate = write.draw.choice(("", "γ", "γ * "))
            write.lines.append(
                f"d{name}/dt = -{rate or '1.5'}({name} - {function}({inside}))"
            )
            if rate and "const γ = 0.8" not in write.lines:
                write.lines.append("const γ = 0.8")
        else:
            write.lines.append(f"d{name}/dt = {inside}")
    rates = {line.split("(")[0].split("=")[-1] for line in write.lines if "/dt" in line}
    if relaxing and len({rate.strip(" *") for rate in rates}) == 1:
        step = write.draw.choice(
            ("ω = 0.5", "omega = 0.3", "param ω in (0, 2) init 0.4")
        )
        write.lines.append(step)
    else:
        write.lines.append("dt = 0.02")


def _sum(write: _Writer, name: str) -> str:
    terms = [_term(write, name) for _ in range(write.draw.randint(1, 4))]
    written = terms[0]
    for term in terms[1:]:
        written += f" {write.draw.choice('+-')} {term}"
    if write.chance(0.3):
        shape = write.draw.choice(write.shapes(name))
        written += f" - {write.parameter(small=False, shape=shape)}"
    return written


def _term(write: _Writer, name: str) -> str:
    axis = write.draw.choice(write.axes)
    dim = write.channels[name]
    kind = write.draw.randrange(13)
    if kind in (0, 2) and dim:
        matrix = write.parameter(small=kind == 2, shape=(dim, dim))
        return f"{matrix} {name}" if kind == 0 else f"{matrix} ∂{axis} {name}"
    shape = write.draw.choice(write.shapes(name))
    coefficient = write.parameter(small=2 <= kind <= 8, shape=shape)
    other = _other(write, name)
    one = len(write.axes) == 1
    match kind:
        case 0 | 1:
            return f"{coefficient} {name}"
        case 2:
            return f"{coefficient} {f'∂{name}' if one else f'∂{axis} {name}'}"
        case 3:
            return f"{coefficient} {f'd2/d{axis}2' if one else '∇²'} {name}"
        case 4:
            return f"0.01 ∂{axis}({coefficient} ∂{axis} {name})"
        case 5:
            return f"{coefficient} ∂{axis}({name}²)"
        case 6:
            return f"{coefficient} {other(f'∂{axis * 2} ')}"
        case 7:
            return f"{coefficient} ∂{write.axes[0]}∂{write.axes[-1]} {name}"
        case 8:
            return f"{coefficient}({name} + 0.5 {other()})²/2"
        case 9:
            function = write.draw.choice((*write.functions, "sin"))
            return f"{coefficient} {other(f'{function}(', ')')}"
        case 10 if write.inputs:
            return f"{write.draw.choice(write.inputs)} {coefficient}"
        case 11:
            return f"{coefficient} {axis} {name}/(2 + {axis}²)"
        case 12 if dim:
            return f"{coefficient} dot({name}, {name}) {name}/4"
    return f"{coefficient} · {name}"


def _other(write: _Writer, name: str) -> Callable[..., str]:
    """How any field is written in an equation of a field, between two texts: as it is
    where channels are the same or it has none, else all of them through a matrix, one
    of them, or their weighted sum."""
    field = write.draw.choice(write.fields)
    left, right = write.channels[name], write.channels[field]
    if right in ("", left):
        return lambda before="", after="": f"{before}{field}{after}"
    way = write.draw.randrange(3)
    if left and way == 0:
        matrix = write.parameter(small=False, shape=(left, right))
        return lambda before="", after="": f"({matrix} {before}{field}{after})"
    if way == 1:
        return lambda before="", after="": f"{before}{field}[0]{after}"
    weight = write.parameter(small=False, shape=(right,))
    return lambda before="", after="": f"dot({weight}, {before}{field}{after})"


def _loss(write: _Writer) -> None:
    name = write.fields[-1]
    kind = write.draw.randrange(5)
    if kind == 0:
        dim = write.channels[name]
        template = f"R[3, {dim}]" if dim else "R[3]"
        write.lines += [
            f"param {template}{write.over} init normal(0, 0.3), r0[3]",
            f"readout logits[3] = integral(R {name}) + r0",
            "target label: class",
        ]
        loss = "cross_entropy(logits, label)"
    else:
        write.lines.append(f"target goal{write.channel(name)}{write.over}")
        reduction = ("mean", "sum", "integral", "mean")[kind - 1]
        if reduction == "integral" and write.channels[name]:
            reduction = "sum"
        loss = f"{reduction}(({name} - goal)²)/2"
    scalar = [p for p in write.parameters if "t" not in p.domain]
    if scalar and write.chance(0.4):
        loss += f" + 1e-3 mean({write.draw.choice(scalar).name}²)"
    if write.chance(0.3):
        loss += f" + 0.1 mean({write.fields[0]}²)"
    write.lines.append(f"loss = {loss}")


# --- layout -----------------------------------------------------------------------


def untidy(text: str, seed: int) -> str:
    """Return a text with another layout, more comments and the same meaning."""
    draw = random.Random(seed)
    lines: list[str] = []
    for line in text.splitlines():
        lines += [draw.choice(("", "  ", "# a remark  "))] * (draw.random() < 0.2)
        lines.append(_untidy_line(line, draw))
    ends = draw.choice(("\n", "\r\n"))
    return draw.choice(("", ends * 2)) + ends.join(lines) + draw.choice(("", ends * 3))


def _untidy_line(line: str, draw: random.Random) -> str:
    written = draw.choice(("", "", "  ", "\t"))
    depth = 0
    for character in line:
        depth += (character in "([") - (character in ")]")
        if character == " " or (character in "+*" and draw.random() < 0.3):
            remark = draw.choice(("", "# why", "  # (not [ closed")) + "\n"
            blanks = [" ", " ", "  ", "\t", " \t "] + [f" {remark}    "] * (depth > 0)
            written += draw.choice(blanks)
        written += character.strip()
    return written + draw.choice(("", "", "  ", " # behind", "#tight"))
