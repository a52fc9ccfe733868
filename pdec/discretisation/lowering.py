"""Lowering: one block of statements from expressions of the model.

Stage 4b, called by ``discrete.py`` for the step, the loss, ….  Definitions become Maps
in the order in which they are needed; derivatives become stencils; linear expressions
are collected, and coefficients made of parameters alone move to the coefficients block:

    Z = W0 z + W1 ∂z + W2 ∂²z - b
      →  coefficients:  Z_m1 = W2/dx² - W1/(2 dx),  Z_0 = …,  Z_p1 = …
         step:          Z = Z_m1 z[x-1] + Z_0 z + Z_p1 z[x+1] - b
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import sympy

from pdec.discretisation.linear import (
    absorbed,
    by_coefficient,
    costly,
    linear_form,
    place_key,
    split,
)
from pdec.discretisation.stencil import apply_stencils, spacing
from pdec.forms.model import Definition, Model
from pdec.forms.notation import text
from pdec.forms.statements import Array, Axis, Map, Origin, Role, Statement
from pdec.forms.symbolic import (
    BATCH,
    NOW,
    TIME,
    Access,
    Constant,
    Contraction,
    access_key,
    accesses,
    indices_of,
    map_accesses,
    ordered,
    rename_indices,
    shift,
    varies,
)


@dataclass
class Tables:
    """Arrays and coefficient statements that all blocks share."""

    model: Model
    arrays: dict[str, Array] = field(default_factory=dict)
    coefficients: list[Statement] = field(default_factory=list)
    reach: dict[tuple[str, str], int] = field(default_factory=dict)
    corners: set[tuple[str, str, str]] = field(default_factory=set)
    field_of: dict[str, str] = field(default_factory=dict)
    copies: list[Statement] | None = None
    numbers: dict[sympy.Expr, str] = field(default_factory=dict)
    at_risk: dict[str, Origin] = field(default_factory=dict)
    _hoisted: dict[sympy.Expr, Access] = field(default_factory=dict)

    def apart(self) -> Tables:
        """The same arrays, with coefficients to come in a list of their own."""
        known = dict(self._hoisted)
        return replace(self, coefficients=[], copies=self.coefficients, _hoisted=known)

    def add(self, array: Array) -> None:
        """Register an array."""
        known = self.arrays.setdefault(array.name, array)
        assert known.axes == array.axes, f"two arrays are called {array.name}"

    def fresh(self, hint: str) -> str:
        """An unused array name."""
        taken = {*self.arrays, *self.model.spellings, *self.model.definitions}
        taken |= set(self.numbers.values())
        return _free(hint, taken, "_")

    def unspelt(self, hint: str) -> str:
        """A name for an array, always the same for a hint and none of the user's."""
        taken = {*self.model.spellings, *self.model.definitions}
        return _free(hint, taken, "__")

    def new(
        self, hint: str, indices: Iterable[str], size_from: sympy.Expr, role: Role
    ) -> Access:
        """Make an array over some of the indices of an expression."""
        sizes = self.sizes(size_from)
        wanted = set(indices)
        if BATCH in wanted:
            wanted.discard(TIME)  # a value of one step; parameters keep all steps
        names = ordered(wanted, self.model.axis_names)
        axes = tuple(Axis(name, sizes.get(name, 0)) for name in names)
        array = Array(self.fresh(hint), axes, role)
        self.add(array)
        return array.element()

    def sizes(self, expr: sympy.Expr) -> dict[str, int]:
        """Length of every index of an expression, read off the arrays it indexes."""
        fields = (field.array for field in self.model.fields.values())
        found = {axis.name: axis.size for array in fields for axis in array.axes}
        found |= {axis.name: axis.size for axis in self.model.axes.values()}
        for access in expr.atoms(Access):
            if access.array in self.arrays:
                for axis, name in zip(
                    self.arrays[access.array].axes, access.places, strict=True
                ):
                    found[name] = axis.size
        return found

    def hoist(self, expr: sympy.Expr, hint: str, origin: Origin) -> Access:
        """Compute a parameter-only expression once a call, under a name of its own."""
        if expr not in self._hoisted:
            terms = sympy.Add.make_args(expr)
            value = sympy.Add(*(sympy.factor_terms(term) for term in terms))
            value, over = self.uncontracted(value, hint, origin)
            indices = indices_of(value) - set(over)
            target = self.new(hint, indices, value, Role.COEFFICIENT)
            self.note_reach(value)
            formula = Origin(
                f"{target.array} = {text(value, self.model.spellings)}", origin.location
            )
            self.coefficients.append(Map(target, value, formula, over))
            self._hoisted[expr] = target
        return self._hoisted[expr]

    def number(self, expr: sympy.Expr, hint: str) -> sympy.Expr:
        """A name for an expression in constants alone, worked out at compile time."""
        if expr not in self.numbers:
            taken = {*self.arrays, *self.model.spellings, *self.model.definitions}
            taken |= {*self.numbers.values(), *self.model.constants}
            self.numbers[expr] = _free(hint, taken, "_")
        return Constant(self.numbers[expr])

    def uncontracted(
        self, expr: sympy.Expr, hint: str, origin: Origin
    ) -> tuple[sympy.Expr, tuple[str, ...]]:
        """A parameter-only expression as a sum: what is summed, over which indices."""
        over: tuple[str, ...] = ()
        if isinstance(expr, Contraction):
            expr, over = expr.args[0], (str(expr.args[1]),)
        outer = sorted(expr.atoms(Contraction), key=str)
        for part in (
            p
            for p in outer
            if not any(p in q.args[0].atoms(Contraction) for q in outer)
        ):
            expr = expr.xreplace({part: self.hoist(part, f"{hint}_part", origin)})
        return expr, over

    def note_reach(self, expr: sympy.Expr) -> None:
        """Remember how far an expression reaches along each axis of each array."""
        for access in expr.atoms(Access):
            for axis, offset in access.offsets.items():
                key = (access.array, axis)
                self.reach[key] = max(self.reach.get(key, 0), abs(offset))
                self.corners |= {(*key, other) for other in access.offsets}


class Lowering:
    """The statements of one block in the making."""

    def __init__(
        self,
        tables: Tables,
        states: Mapping[str, str] | None = None,
        suffix: str = "",
        now: sympy.Expr = NOW,
    ) -> None:
        self.tables = tables
        self.model = tables.model
        self.statements: list[Statement] = []
        self.states = dict(states or {})
        self.suffix = suffix
        self.now = now  # the time at which the block looks at the state
        self._done: dict[str, str] = {}
        self._bound: set[str] = set()
        self._written_out: dict[Access, sympy.Expr] = {}

    def assign(
        self,
        target: Access,
        expr: sympy.Expr,
        origin: Origin,
        over: tuple[str, ...] = (),
        *,
        maximum: bool = False,
        ready: bool = False,
    ) -> None:
        """Add ``target = Σ_over expr`` and all that the expression needs.

        ``ready`` says that the expression has been lowered already.
        """
        value = expr if ready else self.lowered(expr)
        absent = set(over) & set(self.model.axes) - indices_of(value)
        if absent and not maximum:  # a sum of equal terms, as in mean(a + 0 x)
            value *= math.prod(self.model.axes[axis].size for axis in absent)
        over = tuple(name for name in over if name not in absent)
        if varies(value):
            if over and not maximum:
                value, over = absorbed(value, over)
            value = self._collected(value, target, origin, over)
        elif value.has(Contraction):
            value, summed = self.tables.uncontracted(value, target.array, origin)
            over = (*over, *summed)
        self.tables.note_reach(value)
        self.statements.append(Map(target, value, origin, over, maximum=maximum))

    def lowered(self, expr: sympy.Expr) -> sympy.Expr:
        """Replace derivatives by stencils, definitions by the arrays that hold them."""
        self._bound = indices_of(expr)
        self._written_out.clear()
        flat = apply_stencils(expr, self.model.accuracy, self.written_out)
        flat = flat.xreplace({NOW: self.now})
        for access in accesses(flat):
            if access.array in self.model.definitions:
                self.define(self.model.definitions[access.array])
        return map_accesses(flat, self._placed)

    def _placed(self, access: Access) -> sympy.Expr:
        """The array that an element lives in within this block."""
        name = access.array
        if name in self.model.axes and access.index == ((name, access.index[0][1]),):
            offset = access.index[0][1]
            self.tables.add(
                Array(name, (Axis(name, self.model.axes[name].size),), Role.COORDINATE)
            )
            return Access(name, ((name, 0),)) + offset * spacing(name)
        if access.offsets and not self.tables.arrays[name].per_sample:
            return access.of(self._widened(name))
        return access.of(self.states.get(name) or self._done.get(name) or name)

    def _widened(self, name: str) -> str:
        """A copy, with ghost cells, of an array of parameters that is shifted."""
        wide = self.tables.unspelt(f"{name}_wide")
        if wide not in self.tables.arrays:
            array = self.tables.arrays[name]
            self.tables.add(replace(array, name=wide, role=Role.COEFFICIENT))
            origin = Origin(f"{name} with ghost cells")
            copy = Map(array.element().of(wide), array.element(), origin)
            copies = self.tables.copies
            (self.tables.coefficients if copies is None else copies).append(copy)
        return wide

    def written_out(self, expr: sympy.Expr) -> sympy.Expr:
        """Write pointwise definitions out, so that their arrays can be shifted."""
        self._bound |= indices_of(expr)
        while True:
            found = {
                access: self._definition_at(access)
                for access in accesses(expr)
                if access.array in self.model.definitions
                and not self.model.definitions[access.array].over
            }
            if not found:
                return expr
            expr = expr.xreplace(found)
            self._bound |= indices_of(expr)

    def _definition_at(self, access: Access) -> sympy.Expr:
        """A definition's expression with the indices of the element that is read.

        V = A z read as V[k0]:  Σ_k0 A[i0, k0] z[k0]  →  Σ_k1 A[k0, k1] z[k1].
        """
        if access not in self._written_out:
            definition = self.model.definitions[access.array]
            expr = definition.expr
            names: dict[str, str] = {}
            for bound in sorted({str(c.args[1]) for c in expr.atoms(Contraction)}):
                if bound in self._bound | set(access.places):
                    taken = self._bound | indices_of(expr)
                    names[bound] = next(
                        k for n in range(1000) if (k := f"k{n}") not in taken
                    )
                    self._bound.add(names[bound])
            expr = expr.xreplace(
                {sympy.Symbol(k): sympy.Symbol(names[k]) for k in names}
            )
            own = definition.array.element().places
            names |= {i: j for i, j in zip(own, access.places, strict=True) if i != j}
            expr = rename_indices(expr, names)
            for axis, offset in access.offsets.items():
                expr = shift(expr, axis, offset)
            self._written_out[access] = expr
        return self._written_out[access]

    def define(self, definition: Definition) -> None:
        """Compute a definition once in this block, once a call if no sample enters."""
        name = definition.array.name
        if name in self._done:
            return
        location = self.model.source.location(definition.span)
        excerpt = " ".join(self.model.source.excerpt(definition.span).split())
        written = (
            name if not definition.written else self.model.spellings.get(name, name)
        )
        if definition.written and "=" in excerpt:
            label = excerpt
        elif (
            f"{name}_factor" in self.model.params
        ):  # declared psd: L is what is trained
            label = f"{written} = L Lᵀ, L = {name}_factor"
        else:
            label = f"{written} = {excerpt}"
        origin = Origin(label, location)
        if not definition.array.per_sample:
            self._define_shared(definition, origin)
            return
        array = definition.array
        if self.suffix and self._depends_on_state(definition.expr):
            array = replace(array, name=self.tables.unspelt(f"{name}{self.suffix}"))
        self._done[name] = array.name
        self.tables.add(array)
        self.assign(
            array.element(),
            definition.expr,
            origin,
            definition.over,
            maximum=definition.maximum,
        )

    def _depends_on_state(self, expr: sympy.Expr) -> bool:
        if expr.has(NOW):  # each stage has its own time
            return True
        for access in expr.atoms(Access):
            if access.array in self.model.fields:
                return True
            inner = self.model.definitions.get(access.array)
            if inner is not None and self._depends_on_state(inner.expr):
                return True
        return False

    def _define_shared(self, definition: Definition, origin: Origin) -> None:
        name = definition.array.name
        self._done[name] = name
        if name in self.tables.arrays:
            return
        self.tables.add(definition.array)
        shared = Lowering(self.tables)
        shared.assign(
            definition.array.element(), definition.expr, origin, definition.over
        )
        self.tables.coefficients += shared.statements

    # --- linear parts ---------------------------------------------------------------

    def _collected(
        self, expr: sympy.Expr, target: Access, origin: Origin, over: tuple[str, ...]
    ) -> sympy.Expr:
        """Collect an expression by what its samples share; hoist the coefficients."""
        form = linear_form(expr)
        stencil = any(a.offsets for basis in form for a in basis.atoms(Access))
        terms: list[sympy.Expr] = []
        groups = sorted(by_coefficient(form), key=lambda group: place_key(group[1]))
        for coefficient, members in groups:
            placed = [(s, self._basis(b, target, origin)) for s, b in members]
            if sympy.count_ops(coefficient) > 6 and not coefficient.atoms(Access):
                coefficient = self.tables.number(coefficient, f"{target.array}_weight")
            where = _suffix([b for _, b in members], self.model.axis_names)
            hint = f"{target.array}_{where}"
            if over:
                scalar, array = split(coefficient)
                if not isinstance(array, Access) and array.atoms(Access):
                    coefficient = scalar * self.tables.hoist(array, hint, origin)
            elif costly(coefficient, stencil):
                coefficient = self.tables.hoist(coefficient, hint, origin)
            group = sympy.Add(*(sign * basis for sign, basis in placed))
            terms.append(coefficient * group)
        return sympy.Add(*terms)

    def _basis(self, basis: sympy.Expr, target: Access, origin: Origin) -> sympy.Expr:
        """A basis value whose contractions are computed by statements of their own."""
        for part in sorted(basis.atoms(Contraction), key=str):
            if not varies(part):
                made = self.tables.hoist(part, f"{target.array}_c", origin)
                basis = basis.xreplace({part: made})
            elif not any(varies(c) for c in part.args[0].atoms(Contraction)):
                basis = basis.xreplace({part: self._contract(part, target, origin)})
        if basis.has(Contraction):
            return self._basis(basis, target, origin)
        return basis

    def _contract(
        self, part: Contraction, target: Access, origin: Origin
    ) -> sympy.Expr:
        """Σ_k Σ_m A_m[…, k] u[k]@m as one statement with the A_m hoisted."""
        inner, index = part.args
        apart: dict[int, sympy.Expr] = {}  # fields may differ in their channels
        for basis, coefficient in linear_form(inner).items():
            length = self.tables.sizes(basis * coefficient).get(str(index), 0)
            apart[length] = apart.get(length, 0) + basis * coefficient
        if len(apart) > 1:
            parts = (Contraction(terms, index) for terms in apart.values())
            return sympy.Add(*(self._contract(p, target, origin) for p in parts))
        terms: list[sympy.Expr] = []
        for basis, coefficient in linear_form(inner).items():
            value = basis
            if basis != 1 and not isinstance(basis, Access):
                value = self.tables.new("v", indices_of(basis), inner, Role.WORK)
                self.tables.note_reach(basis)
                self.statements.append(
                    Map(value, basis, _computing(value, basis, self.model, origin))
                )
            if coefficient.atoms(Access) - {coefficient}:
                hint = f"{target.array}_{_suffix([value], self.model.axis_names)}"
                coefficient = self.tables.hoist(coefficient, hint, origin)
            terms.append(coefficient * value)
        total = sympy.Add(*terms)
        indices = indices_of(total) - {str(index)}
        result = self.tables.new(f"{target.array}_c", indices, total, Role.WORK)
        self.tables.note_reach(total)
        label = _computing(result, total, self.model, origin)
        self.statements.append(Map(result, total, label, (str(index),)))
        return result


def _free(hint: str, taken: set[str], mark: str) -> str:
    """The first of hint, hint_1, hint_2, … that is not taken."""
    numbered = (f"{hint}{mark}{count}" for count in itertools.count(1))
    return next(n for n in itertools.chain([hint], numbered) if n not in taken)


def _computing(
    target: Access, expr: sympy.Expr, model: Model, origin: Origin
) -> Origin:
    return Origin(f"{target.array} = {text(expr, model.spellings)}", origin.location)


def _suffix(basis: list[sympy.Expr], axes: tuple[str, ...]) -> str:
    """Where a coefficient acts: 0, m1, p1 along a single axis, xm1, yp2 otherwise."""
    found = sorted((a for b in basis for a in b.atoms(Access)), key=access_key)
    if len(found) != len(basis) or len({a.array for a in found}) != 1:
        return "c"
    places = []
    for access in found:
        moves = [
            (axis if len(axes) > 1 else "")
            + ("m" if offset < 0 else "p")
            + str(abs(offset))
            for axis, offset in access.offsets.items()
        ]
        places.append("_".join(moves) or "0")
    return places[0] if len(places) == 1 else f"{places[0]}_{places[-1]}"
