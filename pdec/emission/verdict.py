"""Stage 8c: what the verdict on ω reads of a model, as functions and tables.

Called by ``mathematics.py`` and ``tables.py``.  What they must be is in
``runtime/generated.pyi``; the arithmetic on them is in ``runtime/verdict/``.
"""

from __future__ import annotations

import math
from functools import partial

import sympy

from pdec.derive import Derivation
from pdec.discretisation.parts import partners
from pdec.discretisation.stages import scheme_of
from pdec.forms.model import Model
from pdec.forms.statements import Ghost
from pdec.forms.symbolic import indices_of, ordered
from pdec.meaning.clock import relaxation_form
from pdec.stability.amplification import DECAY, LENGTH, RATE
from pdec.stability.analysis import inverse, moments
from pdec.targets.body import Module
from pdec.targets.inline import Inline
from pdec.targets.layout import WIDTH, add_up, call, tuple_of
from pdec.targets.numpy import Function
from pdec.targets.shared import shared_operand
from pdec.targets.views import bare

JUDGED, CELLS = 32, 1 << 20  # at most so many steps are linearised, or cells in all
PLAIN = Inline(lambda symbol: str(symbol.name))


def features(derivation: Derivation) -> dict[str, bool]:
    """Which parts of the runtime the verdict on a model needs."""
    form, model = derivation.stability, derivation.model
    closed = (
        form.layer is not None
        and not form.channels
        and form.scheme.effective is not None
        and len(model.axes) == 1
    )
    ranged = form.layer is not None and all(map(math.isfinite, form.slopes))
    return {
        "layer": form.layer is not None,
        "channels": form.channels,
        "components": form.channels or (form.layer is None and _several(model)),
        "jacobian": form.layer is None,
        "effective": form.scheme.effective is not None,
        "matrix": form.scheme.factor is None,
        "decays": form.scheme.factor is None and form.scheme.stages[0].has(DECAY),
        "walls": not all(axis.periodic for axis in model.axes.values()),
        "closed": closed,
        "three": closed and all(abs(m) <= 1 for (m,) in form.stencil),
        "explicit": form.scheme.explicit,
        "quick": form.layer is not None
        and not form.channels
        and form.proven
        and 0.0 <= form.slopes[0] <= form.slopes[1] < math.inf
        and all(axis.periodic for axis in model.axes.values())
        and not set().union(*map(indices_of, form.stencil.values())),
        "moments": bool(_moments(derivation)),
        "ranged": ranged,
        "sampled": not form.proven,
        "steady": scheme_of(model).steady,
        "timed": form.timed,
    }


def _several(model: Model) -> bool:
    """Whether a cell has several components."""
    return len(model.fields) > 1 or any(field.shape for field in model.fields.values())


def _moments(derivation: Derivation) -> dict[str, float]:
    """The parameters that can be projected, with 1/Δx^k of each."""
    form = derivation.stability
    ranged = all(map(math.isfinite, form.slopes))
    if form.layer is None or form.channels or not ranged:
        return {}
    if form.scheme.effective is None:
        return {}
    return moments(form, derivation.model, derivation.program)


def functions(derivation: Derivation, module: Module) -> list[str]:
    """The scheme's amplification and the linearisation of the right-hand side."""
    form = derivation.stability
    found = [_clock(derivation, module), *_scheme(derivation, module)]
    if form.tangent is not None:
        rates = Function(
            module,
            "def _rates_jvp(n: int, c: Arrays, v: Arrays, v_dot: Arrays) -> None:",
            "Tangent of the rates of change of the fields, along the fields alone.",
        )
        recomputed = form.tangent.recompute.statements
        rates.add_all([*recomputed, *form.tangent.block.statements])
        return [*found, rates.text()]
    found.append(_stencil(derivation, module))
    if features(derivation)["walls"]:
        found.append(_walls(derivation, module))
    if form.slopes_at is not None:
        slopes = Function(
            module,
            "def _slopes_at(n: int, c: Arrays, v: Arrays) -> Any:",
            "The slopes f'(Z) at a state.",
        )
        slopes.add_all(form.slopes_at.statements)
        (name,) = form.slopes_at.outputs
        array = module.array(name)
        cells = bare(array.element(), array, module.home(name))
        slopes.lines.append(f"    return {cells}")
        found.append(slopes.text())
    return found


def _clock(derivation: Derivation, module: Module) -> str:
    """The length of a step, and the rate that it is measured in."""
    model = derivation.model
    relaxing = model.relaxation is not None
    doc = "ω = γ Δt and the rate γ." if relaxing else "Δt, and 1."
    clock = Function(module, "def _clock(c: Arrays) -> tuple[Any, Any]:", doc)
    inline = Inline(clock.refer)
    length = model.omega if relaxing else model.dt
    rate = model.relaxation.rate if model.relaxation else sympy.S.One
    if length is None:  # a fixed point takes no time
        length = sympy.S.One
    clock.lines = [f"    return {inline(length)}, {inline(rate)}"]
    return clock.text()


def _scheme(derivation: Derivation, module: Module) -> list[str]:
    """What one step does to a mode, and the step of Euler that does the same."""
    scheme, name = derivation.stability.scheme, derivation.model.scheme
    if scheme.factor is None:
        return _matrix_step(derivation, module)
    head = "def _amplification(rate: Any, h: Any) -> Any:"
    doc = f"The factor G of a mode in a step of length h, dz/dt = rate z: {name}."
    factor = Function(module, head, doc)
    value = PLAIN(scheme.factor)
    if not scheme.factor.free_symbols:
        value = f"np.full(np.shape(rate), {value})"
    factor.lines = [f"    return {value}"]
    found = [factor.text(), _matrix_factor(derivation, module)]
    if scheme.effective is None:
        return found
    head = "def _effective(h: Any) -> Any:"
    same = "The step of forward Euler that does the same"
    effective = Function(module, head, f"{same} as a step of length h.")
    effective.lines = [f"    return {PLAIN(scheme.effective)}"]
    head = "def _length(w: Any) -> Any:"
    length = Function(module, head, "The length h of a step whose _effective is w.")
    length.lines = [f"    return {PLAIN(inverse(scheme))}"]
    return [*found, effective.text(), length.text()]


def _matrix_factor(derivation: Derivation, module: Module) -> str:
    """G as a ratio of polynomials in h J, for a matrix J."""
    scheme = derivation.stability.scheme
    assert scheme.factor is not None
    above, below = sympy.fraction(sympy.together(scheme.factor))
    rows = []
    for part in (above, below):
        powers = sympy.Poly(part, RATE).all_coeffs()[::-1]
        scaled = [sympy.simplify(a / LENGTH**k) for k, a in enumerate(powers)]
        rows.append(tuple_of([PLAIN(a) for a in scaled]))
    head = "def _polynomials(h: float) -> tuple[tuple[float, ...], tuple[float, ...]]:"
    doc = "The coefficients of G above and below its bar, in powers of h rate."
    function = Function(module, head, doc)
    function.lines = ["    return " + ", ".join(rows)]
    return function.text()


def _matrix_step(derivation: Derivation, module: Module) -> list[str]:
    """The matrix of one step, where G is no function of one rate.

    J stands over what else the scheme needs: the parts L and N that it is made of, or
    the rates of decay on a diagonal.
    """
    stages, name = derivation.stability.scheme.stages, derivation.model.scheme
    head = "def _amplification(J: Array, h: Any) -> Array:"
    function = Function(module, head, f"The matrix G of z⁺ = G z in one step: {name}.")
    lines = ["    n = J.shape[-1]", "    unit = np.eye(n)"]
    rate = Function(
        module, "def _whole(J: Array) -> Array:", "The matrix of dz/dt = J z."
    )
    rate.lines = ["    return J[..., : J.shape[-1], :]"]
    found = [function, rate]
    if len(stages) == 2:
        lines += [
            "    first = np.isin(np.arange(n) % (len(_FIRST) + len(_SECOND)), _FIRST)",
            "    q, p = unit[first], unit[~first]",
            "    Q, P = J[..., first, :][..., ~first], J[..., ~first, :][..., first]",
            "    G = np.empty_like(J)",
            *add_up("G[..., first, :]", _words(stages[0])),
            *add_up("G[..., ~first, :]", _words(stages[1])),
            "    return G",
        ]
    elif stages[0].has(DECAY):
        lines.append(
            "    J, gamma = J[..., :n, :], J[..., n:, :].sum(axis=-1)[..., None]"
        )
        lines.append(f"    return {_matrix(stages[0])}")
        found.append(_decays(derivation, module))
    else:
        lines += ["    L, N = J[..., :n, :], J[..., n:, :]"]
        lines.append(f"    return {_matrix(stages[0])}")
        rate.lines = ["    return J[..., : J.shape[-1], :] + J[..., J.shape[-1] :, :]"]
    function.lines = lines
    return [each.text() for each in found]


def _decays(derivation: Derivation, module: Module) -> Function:
    """The rate of decay of each component."""
    head = "def _decays(c: Arrays) -> list[Any]:"
    function = Function(module, head, "The rate of decay γ of each component.")
    inline, rates = Inline(function.refer), []
    for name, equation in derivation.model.evolution.items():
        form = relaxation_form(name, equation.expr)
        assert form is not None
        count = math.prod(c.size for c in derivation.model.fields[name].shape)
        rates += [inline(form.rate)] * count
    function.lines = [f"    return [{', '.join(rates)}]"]
    return function


def _matrix(expr: sympy.Expr) -> str:
    """A linear map as a matrix: (1 - h L)⁻¹ (1 + h N) → np.linalg.solve(…, …)."""
    if expr.is_Mul and isinstance(expr.args_cnc()[1][0], sympy.Pow):
        number, (inverse, *rest) = expr.args_cnc()
        if inverse.exp == -1:
            right = _matrix(sympy.Mul(*number, *rest))
            return f"np.linalg.solve({_matrix(inverse.base)}, {right})"
    return " ".join(_words(expr))


def _words(expr: sympy.Expr) -> list[str]:
    """The terms of a sum of products of matrices, each later one with its sign."""
    first, *rest = map(_word, sympy.Add.make_args(sympy.expand(expr)))
    return [first, *(f"+ {word}" for word in rest)]


def _word(term: sympy.Expr) -> str:
    """A product of a number and matrices: h²/2 Q P q → h**2 / 2.0 * (Q @ P @ q)."""
    number, matrices = term.args_cnc()
    letters = [
        letter
        for factor in matrices
        for letter in [str(factor.as_base_exp()[0])] * int(factor.as_base_exp()[1])
    ]
    word = " @ ".join(letters or ["unit"])
    factor = sympy.Mul(*number)
    if factor == 1:
        return word
    return f"{PLAIN(factor, 2)} * {word if len(letters) < 2 else f'({word})'}"


def _stencil(derivation: Derivation, module: Module) -> str:
    """The coefficients of Z, aligned: time, channels, all axes if any or channels."""
    form = derivation.stability
    head = "def _stencil(c: Arrays) -> dict[tuple[int, ...], Any]:"
    doc = "The coefficients a_m of Z by their offsets m along the axes."
    stencil = Function(module, head, doc)
    found = set().union(*(indices_of(a) for a in form.stencil.values()))
    if found & set(module.axes) or form.channels or features(derivation)["walls"]:
        found |= set(module.axes)
    running = ordered(found, module.axes)
    inline = Inline(partial(shared_operand, stencil, running))
    rows = []
    for place, coefficient in sorted(form.stencil.items()):
        key = tuple_of([str(m) for m in place])
        rows.append(f"        {key}: {inline(coefficient)},")
    stencil.lines = ["    return {", *rows, "    }"]
    return stencil.text()


def _walls(derivation: Derivation, module: Module) -> str:
    """The ghost cells as (cell, weight), from the wall outwards, cells inwards."""
    layer = derivation.stability.layer
    assert layer is not None
    head = "def _walls() -> dict[int, tuple[Any, Any]]:"
    doc = (
        "Each ghost cell's cells and weights, of the low and the high wall of an axis."
    )
    walls = Function(module, head, doc)
    inline = Inline(walls.refer)
    lines = ["    return {"]
    for statement in derivation.program.rates.statements:
        if not isinstance(statement, Ghost) or statement.array != layer.field:
            continue
        if derivation.model.axes[statement.axis].periodic:
            continue
        lines.append(f"        {module.axes.index(statement.axis)}: (")
        for rows in (statement.low, statement.high):
            ghosts = [
                tuple_of([f"({cell}, {inline(w)})" for _, cell, w in row.cells])
                for row in rows
            ]
            line = f"            {tuple_of(ghosts)},"
            inner = [f"                {ghost}," for ghost in ghosts]
            whole = ["            (", *inner, "            ),"]
            lines += [line] if len(line) <= WIDTH else whole
        lines.append("        ),")
    walls.lines = [*lines, "    }"]
    return walls.text()


def tables(derivation: Derivation) -> list[str]:
    """The grid, the scheme's contractivity and the ranges of the slopes."""
    model, form = derivation.model, derivation.stability
    axes = [f"({a.size}, {a.spacing!r}, {a.periodic})" for a in model.axes.values()]
    quantity = "ω" if model.relaxation else "Δt"
    lines = ["# cells, spacing and periodicity of the axes"]
    lines += call("_AXES = ", [tuple_of(axes)[1:-1]], "")
    lines += [
        f'_QUANTITY = "{quantity}"  # what the length of a step is called',
        "# the highest even order of a derivative along each axis",
        f"_ORDERS = {tuple_of([str(order) for order in form.orders])}",
        "# whether the stencil of ∂² has a fourth moment: at accuracy 2",
        f"_FOURTH = {model.accuracy == 2}",
        "# multiple of Euler's contractive step up to which the scheme contracts",
        f"_CONTRACTIVITY = {_number(form.scheme.contractivity)}",
    ]
    if len(form.scheme.stages) == 2:
        lines += _groups(derivation)
    rates = [f'"{name}"' for name in derivation.program.rates.outputs]
    if form.layer is None:
        cells = math.prod(axis.size for axis in model.axes.values())
        most = max(JUDGED, CELLS // cells)
        stride = -(-model.steps // most) if form.timed else model.steps
        every = not form.clocked and (stride == 1 or not form.timed)
        return [
            *lines,
            "# the steps at which the rates are linearised",
            f"_JUDGED = range(0, {model.steps}, {stride})",
            "# whether what is found there holds at every state and in every step",
            f"_EVERYWHERE = {form.affine and every}",
            "# how far a rate reaches along each axis; whether all cells are alike",
            f"_REACH = {tuple_of([str(reach) for reach in form.reach])}",
            f"_UNIFORM = {form.uniform}",
            "# the rates, by field",
            f"_RATES = {tuple_of(rates)}",
        ]
    low, high = (_number(end) for end in form.slopes)
    lines += [
        "# closure of the range of f'" + ("" if form.proven else ", sampled"),
        f"_SLOPES = ({low}, {high})",
    ]
    largest = max(map(abs, form.values))
    if form.layer.argument is None:
        largest = float("inf")
    lines += ["# the largest |f|", f"_LARGEST = {_number(largest)}"]
    scales = [f'"{name}": {scale!r}' for name, scale in _moments(derivation).items()]
    if scales:
        lines += ["# 1/Δx^k of the moments W_k", f"_MOMENTS = {{{', '.join(scales)}}}"]
    return lines


def _groups(derivation: Derivation) -> list[str]:
    """The components of the two groups of fields of a scheme of pairs."""
    first = partners(derivation.model, derivation.model.scheme)
    places: dict[bool, list[int]] = {True: [], False: []}
    count = 0
    for name, field in derivation.model.fields.items():
        size = 1
        for channel in field.shape:
            size *= channel.size
        places[name in first] += range(count, count + size)
        count += size
    return [
        "# the components of the two groups of fields",
        f"_FIRST = {places[True]}",
        f"_SECOND = {places[False]}",
    ]


def _number(value: float) -> str:
    """A float as Python writes it; math.inf for an infinite one."""
    return repr(value).replace("inf", "math.inf")
