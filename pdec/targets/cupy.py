"""The CuPy target: CUDA C in the module, compiled when it is first needed.

A sample is taken there and back in one launch by one block of threads, in the memory of
its chip, or, where it does not fit that and has many cells, by several blocks, with a
launch for each phase of a step.  The text is that of one thread; what it does with
cells, all threads of the sample do in strides:

    for (int x = 3 + team.lane; x < 131; x += LANES) {        // cell 0 is at place 3
        real Z = Z_m1[x] * z[x - 1] + Z_0[x] * z[x] + Z_p1[x] * z[x + 1] - b[x];
        z_next[x] = real(omega) * tanh(Z) + real(1.0 - omega) * z[x];
    }

A step that solves an equation has no kernels, and many channels are best multiplied by
cuBLAS.  Then, or if asked, the module has the statements of the NumPy target, for all
samples at a time:

    cp.multiply(Z_m1, z_m1, out=Z)
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pdec.adjoints.adjoint import BAR
from pdec.contracts import SampleFunction, Target, Written
from pdec.forms.statements import Role, Statement
from pdec.forms.symbolic import BATCH, accesses
from pdec.targets import numpy, rings
from pdec.targets.body import Module
from pdec.targets.compiled import Kernel
from pdec.targets.layout import tuple_of
from pdec.targets.names import Names
from pdec.targets.records import STATES, TEAM, Functions, wrapped
from pdec.targets.tiles import TILES
from pdec.targets.transfers import copies

if TYPE_CHECKING:
    from pdec.derive import Derivation

# memory of the chip that a sample may have, beside the tiles of its block; beyond it,
# one of many cells has several blocks
ON_CHIP, MANY_CELLS, MOST_THREADS = 150 * 1024, 4096, 512
# these blocks: their threads, their cells of a field, and how many there are at most
THREADS, CELLS_OF_BLOCK, MOST_BLOCKS = 256, 512, 256
# half of what an int counts, as a field has two levels, less the threads of a sample
MOST = 2**30 - 2**16
# so many channels are multiplied by cuBLAS, with array operations around it
WIDE = 64
# what drives a sample that has a block of its own, and one that has several
BLOCKS = ("cupy/driver", "cupy/blocks", "stepping")
STEPS = ("cupy/driver", "cupy/launches", "cupy/steps", "stepping")
TOOLS = ("cupy/arrays", "cupy/tools")
PRODUCTS = ("cupy/tiles",)  # besides, if there are products of channels

# names of C++ and CUDA, and those of the functions that the printed ones call
WORDS = frozenset(
    """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class
    compl const constexpr const_cast continue decltype default delete do double
    dynamic_cast else enum explicit export extern false float for friend goto if inline
    int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private
    protected public register reinterpret_cast return short signed sizeof static
    static_assert static_cast struct switch template this thread_local throw true try
    typedef typeid typename union unsigned using virtual void volatile wchar_t while xor
    xor_eq linux unix real team at Word Team State Values Cotangents Tangents Shared
    SharedTangents Sums Totals LANES THREADS BLOCKS LEAST SNAPSHOTS sums totals c_dot
    tanh exp softplus sinh cosh log sin cos tan atan fabs sign larger smaller sqrt pow
    squared cubed raised none threadIdx blockIdx blockDim gridDim warpSize NULL assert
    step step_vjp step_jvp initial initial_vjp initial_jvp readout loss loss_vjp first
    wipe copy add keep fetch join_levels clear_sample add_up join_lanes set_loss loss_of
    take_state give_state take_inputs give_inputs give_readouts take_targets begin
    take_level give_level AT_Z AT_X AT_Y AT_Z_MORE AT_X_MORE AT_Z_OUT AT_X_OUT
    AT_READ_OUT AT_SAMPLES REAL KERNEL Forward Backward Tangent chip model run_samples
    read_samples judge_samples push_samples differentiate_samples add_rows add_totals
    add_samples WORK_IN GROUP GROUPS A_TEAM IN_CHIP EOF errno stdin stdout stderr
    INFINITY NAN signbit isnan isinf isfinite OF_ALL OF_ALL_DOT STATES PLACES VALUES
    MORE SUMS TOTALS LOSSES COUNT GIVEN ARGUMENTS SAMPLE FORWARD BACKWARD TANGENT OWN
    give give_read begin_tangent give_tangent clear take_back end_back join aim judge
    score join_back TILES ROOM multiply row column term sum least_power most_power
    smaller_of steps_of CONSTANT
    """.split()
)


def write(
    functions: Sequence[SampleFunction], module: Module, derivation: Derivation
) -> Written:
    """Write the device functions, and what the driver must know of their records.

    A sample that is too large for a block has many, and each phase a launch.
    """
    kernels, texts = _functions(functions, module, derivation)
    threads, blocks = team(kernels)
    if blocks > 1:
        axes = derivation.model.axes
        around = rings.rings(axes, functions, module.arrays)
        closed = rings.closed(functions, module.arrays, around)
        arrays = rings.without_ghosts(module.arrays, around)
        module = replace(module, arrays=arrays)
        kernels, texts = _functions(closed, module, derivation, threads, blocks, around)
    along = {name for name, v in derivation.model.targets.items() if v.along}
    kernels.threads = threads
    sizes = [_team(kernels), _constants(derivation, kernels), _addresses(kernels)]
    head = [
        _quoted("_CUDA_SIZES", "\n\n".join(sizes)),
        _quoted("_CUDA_RECORDS", "\n\n".join(kernels.record_texts())),
    ]
    named = [f"_CUDA{f.name.upper()}" for f in functions]
    written = [_quoted(n, t) for n, t in zip(named, texts, strict=True)]
    tiles = ["_CUDA_TILES"] if kernels.tiled else []
    parts = ["_CUDA_SIZES", "_CUDA_TEAM", *tiles, "_CUDA_RECORDS", *named]
    parts.append("_CUDA_COPIES")
    return Written(
        ["\n\n\n".join([*head, written[0]]), *written[1:]],
        [_quoted("_CUDA_COPIES", copies(kernels, along))],
        _tables(kernels, parts),
        f"kernels  {_why(kernels)}",
        STEPS if kernels.apart else BLOCKS,
        (*TOOLS, *(PRODUCTS if kernels.tiled else ())),
    )


def _functions(
    functions: Sequence[SampleFunction],
    module: Module,
    derivation: Derivation,
    threads: int = 0,
    blocks: int = 1,
    around: frozenset[str] = frozenset(),
) -> tuple[Functions, list[str]]:
    """The device functions, and what is known of them."""
    own = [f.name.lstrip("_") for f in functions] if blocks > 1 else []
    launched = {f"{run}{f}_{k}" for run in ("", "run_") for f in own for k in range(99)}
    names = Names(WORDS | launched)
    names.claim(derivation.program.constants)
    names.claim(name for name in derivation.program.arrays if "~" not in name)
    module = replace(module, names=names)
    margins = _margins(derivation, module)
    kernels = Functions(module, margins, threads=threads, blocks=blocks, rings=around)
    return kernels, kernels.texts(_kernel(f, functions, blocks > 1) for f in functions)


def _kernel(
    function: SampleFunction, others: Sequence[SampleFunction], apart: bool
) -> Kernel:
    first: tuple[Statement, ...] = ()
    for other in others:
        if other.name == function.first:
            first = other.statements
    arguments = [TEAM, "long long n", *(STATES if apart else ())]
    arguments += ["const Shared &c", "Values &v"]
    if function.name.endswith("_vjp"):
        arguments += ["Sums &sums", "Totals &totals", "Cotangents &v_bar"]
    if function.name.endswith("_jvp"):
        arguments += ["const SharedTangents &c_dot", "Tangents &v_dot"]
    statements = (*first, *function.statements)
    return Kernel(function.name, tuple(arguments), "", function.doc, statements, "loss")


def _margins(derivation: Derivation, module: Module) -> dict[str, int]:
    """The cells around those of the grid: thrice as many as there are ghost cells."""
    axes = [a for array in module.arrays.values() for a in array.axes]
    return {
        name: 3 * max((a.ghosts for a in axes if a.name == name), default=0)
        for name in derivation.model.axis_names
    }


def _quoted(name: str, text: str) -> str:
    """A constant of the module that holds text."""
    return f'{name} = r"""\n{text}\n"""'


def _constants(derivation: Derivation, kernels: Functions) -> str:
    names = kernels.module.names
    lines = [
        f"constexpr double {names(name)} = {constant.value!r};"
        for name, constant in derivation.program.constants.items()
    ]
    every = derivation.model.every or derivation.model.steps
    lines.append(f"constexpr int SNAPSHOTS = {derivation.model.steps // every};")
    for name in sorted(kernels.rings):
        n, i = derivation.model.axes[name].size, names(name)
        lines.append(
            f"__device__ int {names(f'in~{name}')}(int {i})\n"
            f"{{\n    return {i} < 0 ? {i} + {n} : {i} < {n} ? {i} : {i} - {n};\n}}"
        )
    return "\n".join(lines)


def _addresses(kernels: Functions) -> str:
    """Where in an address list the arrays of a call begin."""
    fields, inputs, targets = (
        len(kernels.of(role)) for role in (Role.STATE, Role.INPUT, Role.TARGET)
    )
    lengths = {
        "AT_Z": fields,
        "AT_X": 2 * inputs,
        "AT_Y": targets,
        "AT_Z_MORE": fields,
        "AT_X_MORE": 2 * inputs,
        "AT_Z_OUT": fields,
        "AT_X_OUT": inputs,
        "AT_READ_OUT": len(kernels.of(Role.READOUT)),
        "AT_SAMPLES": 0,
    }
    starts, at = [], 0
    for name, length in lengths.items():
        starts.append(f"{name} = {at}")
        at += length
    return "\n".join(["enum {", *wrapped(starts, ""), "};"])


# --- who works on a sample ------------------------------------------------------------


def _bytes(kernels: Functions) -> int:
    """The memory that the way there and back takes for a sample in float32."""
    records = kernels.records()
    names = ("Values", "Cotangents", "Sums")
    return 4 * sum(math.prod(s) for name in names for s in records[name].values())


def team(kernels: Functions) -> tuple[int, int]:
    """How many threads a block has, and how many blocks work on a sample.

    There are several where a sample does not fit a chip, and has cells for them.
    """
    cells = max(math.prod(shape) for shape in kernels.records()["State"].values())
    if _bytes(kernels) <= ON_CHIP or cells < MANY_CELLS:
        return min(MOST_THREADS, -(-cells // 32) * 32), 1
    return THREADS, min(MOST_BLOCKS, -(-cells // CELLS_OF_BLOCK))


def _why(kernels: Functions) -> str:
    """Say how many threads there are for a sample, and why."""
    size = f"{_bytes(kernels) / 1024:.1f} KB of a sample in float32"
    if kernels.apart:
        return f"{size}, too many for a chip: a launch for each phase of a step"
    if _bytes(kernels) > ON_CHIP:
        return f"{size}, too many for a chip, of few cells: one block a sample"
    return f"{size}: one block a sample, in the memory of its chip"


def _team(kernels: Functions) -> str:
    """The number of threads and blocks of a sample."""
    return "\n".join(
        [
            f"// {_why(kernels)}",
            f"#define THREADS {kernels.threads}",
            f"#define BLOCKS {kernels.blocks}",
            f"#define TILES {TILES if kernels.tiled else 0}",
        ]
    )


# --- tables ---------------------------------------------------------------------------


def _tables(kernels: Functions, parts: Sequence[str]) -> list[str]:
    """Names and shapes of the members of the records."""
    lines = ["# the model's part of the text that is compiled"]
    lines += _tuple("_CUDA_PARTS", parts)
    lines.append("# records: their members and the shapes of these")
    lines.append("_RECORDS: dict[str, dict[str, tuple[int, ...]]] = {")
    for record, members in kernels.records().items():
        if not members:
            lines.append(f'    "{record}": {{}},')
            continue
        lines.append(f'    "{record}": {{')
        for name, shape in members.items():
            lines.append(f'        "{name}": {tuple_of([str(n) for n in shape])},')
        lines.append("    },")
    lines += ["}", "# where shared arrays lie within their margins"]
    lines.append("_PLACES: dict[str, tuple[slice, ...]] = {")
    every = dict.fromkeys(n for mark in ("", BAR, "~dot") for n in kernels.shared(mark))
    for name in every:
        parts_ = []
        for axis in kernels.arrays[name].axes:
            low = kernels.margins.get(axis.name, 0) - axis.ghosts
            parts_.append(f"slice({low}, {low + axis.size + 2 * axis.ghosts})")
        lines.append(f'    "{name}": {tuple_of(parts_)},')
    lines.append("}")
    if kernels.apart:
        lines += _launches(kernels)
    laned = [f'"{n}"' for n in kernels.shared(BAR) if n + BAR in kernels.laned]
    lines.append("# totals in parts, of each thread or each block of a sample")
    lines += _tuple("_LANED", laned)
    lines.append("# threads of a block, and blocks that work on one sample")
    lines += [f"_THREADS = {kernels.threads}", f"_BLOCKS = {kernels.blocks}"]
    lines.append("# numbers that tiles of products take in the chip")
    return [*lines, f"_TILES = {TILES if kernels.tiled else 0}"]


def _launches(kernels: Functions) -> list[str]:
    """How many launches each function has."""
    found = ["# how many launches a function has", "_LAUNCHES: dict[str, int] = {"]
    found += [f'    "{name}": {n},' for name, n in kernels.launches.items()]
    return [*found, "}"]


def _tuple(name: str, items: Sequence[str]) -> list[str]:
    """A tuple, one item a line."""
    head = f"{name}: tuple[str, ...] = ("
    return [head, *(f"    {i}," for i in items), ")"] if items else [f"{head})"]


def covers(derivation: Derivation) -> bool:
    """Whether there are kernels for a model."""
    return not _lacking(derivation)


def _lacking(derivation: Derivation) -> str:
    """Why there are no kernels for a model, or nothing."""
    if derivation.jacobians:
        return "its steps solve equations"
    if (channels := _channels(derivation)) >= WIDE:
        return f"it multiplies {channels} channels, with cuBLAS"
    largest = max(
        math.prod(a.size + 6 * a.ghosts for a in array.axes if a.name != BATCH)
        for array in derivation.program.arrays.values()
    )
    return f"it has arrays of over {MOST:,} numbers" if largest > MOST else ""


def _channels(derivation: Derivation) -> int:
    """The rows and columns of the largest matrix that multiplies channels in a step."""
    arrays, axes = derivation.program.arrays, derivation.model.axis_names
    found = [0]
    for statement in derivation.program.step.maps:
        made = dict(
            zip(statement.target.places, arrays[statement.writes].axes, strict=True)
        )
        rows = [axis.size for i, axis in made.items() if i not in (BATCH, *axes)]
        for access in accesses(statement.expr) if rows else ():
            lengths = zip(access.places, arrays[access.array].axes, strict=True)
            found += [min(max(rows), a.size) for i, a in lengths if i in statement.over]
    return max(found)


def write_arrays(
    functions: Sequence[SampleFunction], module: Module, derivation: Derivation
) -> Written:
    """Write operations on arrays of CuPy: those of NumPy under another name."""
    written = numpy.write(functions, module, derivation)
    texts = [
        _NO_COMMENT.sub(lambda line: _NUMPY.sub("cp.", line[0]), text)
        for text in written.functions
    ]
    texts = [text.replace("cp.vecdot(", "_row_dots(") for text in texts]  # none there
    why = _lacking(derivation) or "as asked"
    return written._replace(
        functions=texts, remark=f"arrays   {why}: array operations of CuPy, no kernels"
    )


_NO_COMMENT, _NUMPY = re.compile("^(?! *#).+", re.MULTILINE), re.compile(r"\bnp\.")

ARRAYS = Target(
    name="cupy",
    doc="array operations of CuPy",
    write=write_arrays,
    driver=("numpy/tiles", "numpy/driver", "stepping", "pattern", "numpy/implicit"),
    tools=("cupy/arrays",),
    arrange=numpy.arrange,
)

PLUGINS = (
    Target(
        name="cupy",
        doc="CUDA C by way of CuPy: all steps in one launch, if a sample fits a chip",
        write=write,
        driver=tuple(dict.fromkeys((*BLOCKS, *STEPS))),
        tools=(*TOOLS, *PRODUCTS),
        needs="cupy",
        covers=covers,
        arrays=ARRAYS,
    ),
)
