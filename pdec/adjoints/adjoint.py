"""Stage 5: the adjoint and the tangent of a block.

    Block  →  transpose(block, …)  →  Block  (reverse sweep)
    Block  →  linearise(block, …)  →  Block  (forward sweep)

One cotangent rule serves every ``Map``.  From ``T = Σ_over e(u, …)`` follows, for each
element u that e reads,

    ū += Σ T̄ ∂e/∂u      over the indices of T and ``over`` that u does not have,

at the place where u was read: a scatter with u's offset.  ``Ghost`` is transposed by
``Fold``.  This is the discrete adjoint: exact to rounding for the numbers that the
forward code computes (Succi 2025, section 4, gives the continuous one).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import sympy

from pdec.adjoints.slope import in_terms_of_output
from pdec.forms.statements import (
    Array,
    Block,
    Clear,
    Fold,
    Ghost,
    Linear,
    Map,
    Origin,
    Role,
    Solve,
    Statement,
)
from pdec.forms.symbolic import TIME, Access, accesses, indices_of, ordered

BAR = "~bar"
DOT = "~dot"


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived block: the primal statements it recomputes, and its own."""

    recompute: Block
    block: Block


def bar(name: str) -> str:
    """Name of an array's cotangent."""
    return name + BAR


def dot(name: str) -> str:
    """Name of an array's tangent."""
    return name + DOT


def transpose(
    block: Block,
    arrays: dict[str, Array],
    axes: tuple[str, ...],
    *,
    states: Collection[str] = (),
    carried: bool = False,
) -> Derived:
    """Derive the block that carries cotangents from its outputs to its inputs.

    ``states`` are the fields whose cotangents the block sets; ``carried`` says that the
    cotangents of what the block makes come from elsewhere too and only accumulate here.
    """
    statements: list[Statement] = []
    emptied = _emptied(block, arrays)
    acting = _active(block, arrays)
    for statement, unknowns in reversed(_with_unknowns(block, acting)):
        active = acting - unknowns
        if isinstance(statement, Solve):
            statements.append(_pulled_back(statement))
            statements += _cleared(statement, acting, BAR)
            continue
        if isinstance(statement, Ghost):
            if statement.array in active:
                what = Origin(
                    f"adjoint of {statement.origin.text}", statement.origin.location
                )
                for row in statement.maps:
                    given = active - {statement.array}
                    statements += _cotangents(row, arrays, axes, given)
                statements.append(Fold(bar(statement.array), statement, what))
                if statement in emptied:
                    statements.append(Clear(bar(statement.array), True, what))
            continue
        assert isinstance(statement, Map)
        if statement.writes in active and not statement.maximum:
            statements += _cotangents(statement, arrays, axes, active)
    if not carried:
        statements = _inlined(_initialised(statements, block, arrays, states), arrays)
    return Derived(
        needed(block, statements), Block(f"{block.name}_vjp", tuple(statements))
    )


def _with_unknowns(
    block: Block, acting: set[str]
) -> list[tuple[Statement, frozenset[str]]]:
    """The statements in order, each with what is being solved for where it stands.

    There, the unknowns are held: how they answer is the business of the ``Solve``.
    Those whose ghost cells move with a wall's parameters are not: their cells are
    cleared instead.
    """
    found: list[tuple[Statement, frozenset[str]]] = []
    for statement in block.statements:
        if isinstance(statement, Solve):
            unknowns = frozenset(statement.unknowns) - _driven(statement, acting)
            found += [(inner, unknowns) for inner in statement.residual.statements]
        found.append((statement, frozenset()))
    return found


def _driven(solve: Solve, acting: set[str]) -> set[str]:
    """The unknowns whose ghost cells depend on more than their cells."""
    ghosts = [s for s in solve.residual.statements if isinstance(s, Ghost)]
    driven = {g.array for g in ghosts if _read([g]) & acting - {g.array}}
    return driven & set(solve.unknowns)


def _cleared(solve: Solve, acting: set[str], mark: str) -> list[Statement]:
    """Clear what the residual says about the cells of unknowns: they are held."""
    held = sorted(_driven(solve, acting))
    return [Clear(name + mark, False, solve.origin) for name in held]


def _pulled_back(solve: Solve) -> Linear:
    """Cotangents of the residual from those of the unknowns: r̄ = -J⁻ᵀ ū."""
    origin = solve.origin._replace(text=f"adjoint: r̄ = -J⁻ᵀ ū, {_of(solve)}")
    given = tuple(map(bar, solve.unknowns))
    return Linear(solve, given, tuple(map(bar, solve.residual.outputs)), True, origin)


def _of(solve: Solve) -> str:
    """What u, r and J are."""
    unknowns = ", ".join(name.replace("_next", "⁺") for name in solve.unknowns)
    return f"u = {unknowns}, r = {', '.join(solve.residual.outputs)}, J = ∂r/∂u"


def _emptied(block: Block, arrays: dict[str, Array]) -> list[Ghost]:
    """The last ``Ghost`` to be transposed of each input.

    The cotangent of an input goes on from block to block, so that its ghost cells must
    be empty once they are folded, or the next block would fold them again.
    """
    first: dict[str, Ghost] = {}
    for statement in block.statements:
        if isinstance(statement, Ghost) and arrays[statement.array].role is Role.INPUT:
            first.setdefault(statement.array, statement)
    return list(first.values())


def linearise(
    block: Block, arrays: dict[str, Array], *, along: Collection[str] | None = None
) -> Derived:
    """Derive the block that carries tangents from its inputs to its outputs.

    ``along``: the only arrays with a tangent, at states without their ghost cells.
    """
    statements: list[Statement] = []
    acting = _active(block, arrays) if along is None else _moved(block, set(along))
    starts = [s for s in block.statements if isinstance(s, Solve)]
    for statement, unknowns in _with_unknowns(block, acting):
        active = acting - unknowns
        if starts and statement is starts[0].residual.statements[0]:
            statements += _cleared(starts.pop(0), acting, DOT)
        if isinstance(statement, Solve):
            statements.append(_pushed_forward(statement))
            continue
        if isinstance(statement, Ghost):
            if statement.array in active:
                statements.append(_ghost_tangent(statement, active))
            continue
        assert isinstance(statement, Map)
        if statement.writes in active:
            statements.append(_tangent(statement, arrays, active))
    again = needed(block, statements, filled=along is None)
    return Derived(again, Block(f"{block.name}_jvp", tuple(statements)))


def _pushed_forward(solve: Solve) -> Linear:
    """Tangents of the unknowns from those of the residual: J u̇ = -ṙ."""
    origin = solve.origin._replace(text=f"tangent: u̇ = -J⁻¹ ṙ, {_of(solve)}")
    given = tuple(map(dot, solve.residual.outputs))
    return Linear(solve, given, tuple(map(dot, solve.unknowns)), False, origin)


def _ghost_tangent(ghost: Ghost, active: set[str]) -> Ghost:
    """Fill the ghost cells of a tangent: the same weights, and ẇ u + ġ as value."""
    given, rows = active - {ghost.array}, []
    for row, statement in zip((*ghost.low, *ghost.high), ghost.maps, strict=True):
        terms = (s * a.of(dot(a.array)) for a, s in _partials(statement, given))
        rows.append(row._replace(value=sympy.Add(*terms)))
    low, high = tuple(rows[: len(ghost.low)]), tuple(rows[len(ghost.low) :])
    what = Origin(f"tangent of {ghost.origin.text}", ghost.origin.location)
    return replace(ghost, array=dot(ghost.array), low=low, high=high, origin=what)


def _active(block: Block, arrays: dict[str, Array]) -> set[str]:
    """Arrays of the block through which parameters, inputs or the state act."""
    roles = (Role.PARAM, Role.INPUT, Role.STATE, Role.COEFFICIENT)
    return _moved(block, {n for n, array in arrays.items() if array.role in roles})


def _moved(block: Block, active: set[str]) -> set[str]:
    """Arrays of the block that change with some of them, and those.

    A residual stands before its unknowns are found; where their ghost cells move with
    a wall's parameters, so does what reads them there.
    """
    found = _spread(block, active)
    solves = [s for s in block.statements if isinstance(s, Solve)]
    driven = {name for solve in solves for name in _driven(solve, found)}
    return _spread(block, found | driven) if driven else found


def _spread(block: Block, active: set[str]) -> set[str]:
    found = set(active)
    for statement in block.flat:
        if isinstance(statement, Solve):
            found |= set(statement.unknowns)
        elif isinstance(statement, Map) and not statement.maximum:
            if any(a.array in found for a in statement.expr.atoms(Access)):
                found.add(statement.writes)
    return found


# --- cotangents ----------------------------------------------------------------------


def _partials(statement: Map, active: set[str]) -> list[tuple[Access, sympy.Expr]]:
    """∂e/∂u for every active element u that the statement reads."""
    found = []
    for access in accesses(statement.expr):
        if access.array in active:
            slope = in_terms_of_output(statement, access)
            if slope != 0:
                found.append((access, slope))
    return found


def _cotangents(
    statement: Map, arrays: dict[str, Array], axes: tuple[str, ...], active: set[str]
) -> list[Statement]:
    """The contributions of one statement to the cotangents of what it reads."""
    upstream = statement.target.of(bar(statement.writes))
    running = {*statement.target.indices, *statement.over}
    what = Origin(f"adjoint of {statement.origin.text}", statement.origin.location)
    found: list[Statement] = []
    for access, slope in _partials(statement, active):
        value = upstream * sympy.factor_terms(slope)
        summed = running - set(access.indices)
        absent = summed - indices_of(value)
        if absent:
            value *= sympy.Integer(
                math.prod(_size(name, statement, arrays) for name in absent)
            )
        over = ordered(summed - absent, axes)
        target = access.of(bar(access.array))
        found.append(Map(target, value, what, over, accumulate=True))
    return found


def _size(index: str, statement: Map, arrays: dict[str, Array]) -> int:
    """Length of an index of a statement."""
    return next(
        axis.extent(name)
        for access in (statement.target, *accesses(statement.expr))
        for axis, name in zip(arrays[access.array].axes, access.places, strict=True)
        if name == index
    )


def _initialised(
    statements: list[Statement],
    block: Block,
    arrays: dict[str, Array],
    states: Collection[str],
) -> list[Statement]:
    """Let the first contribution to a cotangent set it; clear ghost cells before it.

    Cotangents of parameters, coefficients and inputs go on accumulating from call to
    call; those of work arrays and of the state that the block starts from begin here.
    """
    made = {statement.writes for statement in block.maps}
    local = {bar(name) for name in (made | set(states))}
    started: set[str] = set()
    found: list[Statement] = []
    for statement in _sets_first(statements):
        name = statement.writes
        if not isinstance(statement, Map) or name not in local or name in started:
            found.append(statement)
            continue
        started.add(name)
        base, target = arrays[name.removesuffix(BAR)], statement.target
        if base.name in block.outputs:  # what comes from elsewhere is in its cells
            found += [Clear(name, True, statement.origin)] if base.padded else []
            found.append(statement)
            continue
        whole = not (target.offsets or target.picked)
        if base.padded or not whole:
            found.append(Clear(name, whole, statement.origin))
        found.append(replace(statement, accumulate=not whole))
    untouched = sorted({bar(name) for name in states} - started)
    idle = [
        Clear(name, False, Origin(f"{name.removesuffix(BAR)} plays no part"))
        for name in untouched
    ]
    return found + idle


def _sets_first(statements: list[Statement]) -> list[Statement]:
    """Move a contribution without offset in front of its siblings with one."""
    result = list(statements)
    for name in dict.fromkeys(s.writes for s in statements):
        places = [
            i for i, s in enumerate(result) if s.writes == name and isinstance(s, Map)
        ]
        if not places:
            continue
        first = result[places[0]]
        assert isinstance(first, Map)
        if first.target.offsets:
            for place in places[1:]:
                candidate = result[place]
                assert isinstance(candidate, Map)
                if not candidate.target.offsets and candidate.origin == first.origin:
                    result.insert(places[0], result.pop(place))
                    break
    return result


def _inlined(statements: list[Statement], arrays: dict[str, Array]) -> list[Statement]:
    """Write a cotangent into its place of use where it is used once, or is a mere copy.

    ``f_Z_bar = ω z⁺_bar`` followed by ``Z_bar = f_Z_bar (1 - f_Z²)`` becomes the α of
    the adjoint equations, ``Z_bar = ω z⁺_bar (1 - f_Z²)``.
    """
    result = list(statements)
    for writer in statements:
        writer = next((s for s in result if s.writes == writer.writes), writer)
        if not isinstance(writer, Map) or not _inlinable(writer, result, arrays):
            continue
        element = writer.target
        readers = [
            s for s in result if isinstance(s, Map) and element in s.expr.free_symbols
        ]
        copied = isinstance(writer.expr, Access)
        if not copied and (len(readers) != 1 or readers[0].over):
            continue
        for reader in readers:
            merged = replace(reader, expr=reader.expr.xreplace({element: writer.expr}))
            result[result.index(reader)] = merged
        result.remove(writer)
    return result


def _inlinable(
    writer: Map, statements: list[Statement], arrays: dict[str, Array]
) -> bool:
    """Whether a cotangent is set once, pointwise, and read only where it stands."""
    base = arrays[writer.writes.removesuffix(BAR)]
    if writer.accumulate or writer.over or base.padded or base.role is Role.STATE:
        return False
    if isinstance(writer.expr, Access) and set(writer.expr.indices) != set(
        writer.target.indices
    ):
        return False
    alone = sum(s.writes == writer.writes for s in statements) == 1
    places = {
        access
        for statement in statements
        if isinstance(statement, Map)
        for access in statement.expr.atoms(Access)
        if access.array == writer.writes
    }
    return alone and places <= {writer.target} and bool(places)


def needed(
    block: Block, statements: Iterable[Statement], *, filled: bool = True
) -> Block:
    """The primal statements whose values a derived block reads, in their order.

    ``filled``: the states that it is run at have their ghost cells.
    What was solved for is among the stored states where it is an output of the block;
    of its residual, only what the Jacobian reads is computed again.
    """
    listed = tuple(statements)
    wanted = _read(listed)
    candidates: list[Statement] = []
    for statement in block.statements:
        if isinstance(statement, Solve) and set(statement.unknowns) <= {*block.outputs}:
            candidates += statement.residual.statements
        else:
            candidates.append(statement)
    for solve in (s.solve for s in listed if isinstance(s, Linear)):
        wanted |= _read(solve.residual.statements)
    made = {s.writes for s in candidates if isinstance(s, Map | Solve)}
    # a stored state may have been given the ghost cells of the step after
    ghosts = (s for s in candidates if isinstance(s, Ghost))
    made |= {g.array for g in ghosts if any(TIME in indices_of(m.expr) for m in g.maps)}
    kept: list[Statement] = []
    for statement in reversed(candidates):
        names = statement.unknowns if isinstance(statement, Solve) else ()
        if not filled and isinstance(statement, Ghost):
            made |= {a.array for a in _elements([*listed, *kept]) if a.offsets}
        if wanted & {statement.writes, *names} and statement.writes in made:
            kept.append(statement)
            wanted |= _read((statement,))
    return Block(f"{block.name}_again", tuple(reversed(kept)))


def _read(statements: Iterable[Statement]) -> set[str]:
    """The arrays that Maps and ghost cells read, those of residuals among them."""
    return {access.array for access in _elements(statements)}


def _elements(statements: Iterable[Statement]) -> set[Access]:
    block = Block("", tuple(statements))
    ghosts = [row for s in block.flat if isinstance(s, Ghost) for row in s.maps]
    return {a for m in (*block.maps, *ghosts) for a in m.expr.atoms(Access)}


# --- tangents -------------------------------------------------------------------------


def _tangent(statement: Map, arrays: dict[str, Array], active: set[str]) -> Map:
    """Ṫ = Σ_over Σ_u ∂e/∂u u̇; an index that no u̇ has is a factor, its length."""
    terms = [
        sympy.factor_terms(slope) * access.of(dot(access.array))
        for access, slope in _partials(statement, active)
    ]
    what = Origin(f"tangent of {statement.origin.text}", statement.origin.location)
    target = statement.target.of(dot(statement.writes))
    value = sympy.Add(*terms)
    absent = set(statement.over) - indices_of(value)
    value *= math.prod(_size(name, statement, arrays) for name in absent)
    over = tuple(name for name in statement.over if name not in absent)
    return Map(target, value, what, over)
