"""Stages: the step of a scheme, from its text, as statements.

Stage 4c, called by ``discrete.py``.  The scheme is text in the notation of the models:
``z_next = z + dt F(z, t)``.  Each F(…) is the right-hand side at a state and a time;
for forward Euler and dz/dt = -γ(z - f_Z),

    z⁺ = z + (ω/γ) (-γ (z - f_Z))  =  (1 - ω) z + ω f_Z.

A line that mentions what it assigns is an equation for it and becomes a ``Solve``:
``z_next = z + dt F(z_next, t + dt)`` has the residual z⁺ - z - Δt F(z⁺, t + Δt).
"""

from __future__ import annotations

from dataclasses import replace

import sympy

from pdec.contracts import Scheme, discover
from pdec.discretisation.lowering import Lowering, Tables
from pdec.discretisation.parts import affine_part, partners
from pdec.errors import Diagnostic, ModelErrors
from pdec.forms.model import Model
from pdec.forms.notation import text
from pdec.forms.statements import Block, Map, Origin, Role, Solve, Statement, successor
from pdec.forms.symbolic import TIME, Access, IndexValue
from pdec.meaning.clock import relaxation_form
from pdec.reading import tree
from pdec.reading.parser import parse
from pdec.source import Span, from_text

Values = dict[str, sympy.Expr]  # by field


def scheme_of(model: Model) -> Scheme:
    """The plug-in of the model's scheme."""
    return discover("pdec.schemes", Scheme)[model.scheme]


def step_block(model: Model, tables: Tables) -> Block:
    """The scheme's stages, with the right-hand side written out at each of them."""
    scheme = scheme_of(model)
    stages = _Stages(tables, scheme)
    for line in parse(from_text(scheme.text, scheme.name)).statements:
        assert isinstance(line, tree.Equation) and isinstance(line.left, tree.Name)
        if _mentions(line.right, line.left.name):
            stages.solve(line.left.name, line.right)
        else:
            stages.assign(line.left.name, stages.value(line.right))
    outputs = tuple(successor(name) for name in model.fields)
    return Block("step", tuple(stages.statements), outputs)


class _Stages:
    """The values of the names in a scheme's text, and the statements made so far."""

    def __init__(self, tables: Tables, scheme: Scheme) -> None:
        self.tables = tables
        self.model = tables.model
        self.scheme = scheme
        self.statements: list[Statement] = []
        self.outside: list[Statement] | None = None  # of the residual in the making
        self.unknown = ""  # the stage being solved for
        old = {n: v.array.element() for n, v in self.model.fields.items()}
        self.known: dict[str, Values] = {"z": old}
        if scheme.needs == "pairs":
            first = partners(self.model, scheme.name)
            self.known["q"] = {n: z for n, z in old.items() if n in first}
            self.known["p"] = {n: z for n, z in old.items() if n not in first}
        if scheme.needs == "relaxation":
            self.known["gamma"] = {n: self._rate(n) for n in old}

    def _rate(self, field: str) -> sympy.Expr:
        """γ of dz/dt = -γ(z - …)."""
        equation = self.model.evolution[field]
        form = relaxation_form(field, equation.expr)
        if form is None:
            raise _refused(
                self.model,
                f"scheme {self.scheme.name} needs a relaxation, dz/dt = -γ(z - …)",
                equation.span,
                "write the equation in that form, or take another scheme: heun, rk4",
            )
        return form.rate

    # --- lines --------------------------------------------------------------------

    def assign(self, name: str, values: Values) -> None:
        """Assign a stage for every field; the last one is the new state."""
        self.known[name] = {
            field: self._store(field, name, value) for field, value in values.items()
        }

    def solve(self, name: str, right: tree.Expr) -> None:
        """Assign a stage that is defined by itself."""
        fields = tuple(self.known["z"])
        unknowns = {field: self._array(field, name) for field in fields}
        self.known[name] = unknowns
        outer, self.statements = self.statements, []
        self.outside, self.unknown = outer, name
        values = self.value(right)
        self.outside, self.unknown = None, ""
        residuals = []
        for field in fields:
            unknown = unknowns[field]
            stage = name.removesuffix("_next").removesuffix("z")
            residual = self._array(field, "_".join(filter(None, (stage, "residual"))))
            self._lower(residual, unknown - values[field], field, residual.array)
            residuals.append(residual.array)
        inner = Block(f"{name}_residual", tuple(self.statements), tuple(residuals))
        location = self._origin(fields[0]).location
        guess = tuple(
            Map(unknowns[field], self.known["z"][field], Origin("", location))
            for field in fields
        )
        self.statements = outer
        self.statements.append(
            Solve(
                name,
                tuple(u.array for u in unknowns.values()),
                inner,
                guess,
                Origin(self._equation(name, fields, residuals), location),
                accelerated=self.scheme.steady,
            )
        )

    def _equation(
        self, name: str, fields: tuple[str, ...], residuals: list[str]
    ) -> str:
        unknowns = ", ".join(self._label(field, name) for field in fields)
        return f"solve {' = 0, '.join(residuals)} = 0 for {unknowns}"

    def _store(self, field: str, name: str, value: sympy.Expr) -> Access:
        target = self._array(field, name)
        self._lower(target, value, field, self._label(field, name))
        return target

    def _label(self, field: str, name: str) -> str:
        last = name.endswith("_next")
        array = self._name(field, name)
        return f"{self.model.spellings[field]}⁺" if last else array

    def _name(self, field: str, name: str) -> str:
        stage = name.removeprefix("z_").removeprefix("q_").removeprefix("p_")
        return f"{field}_{stage}"

    def _array(self, field: str, name: str) -> Access:
        """A new array like a field's: the new state, or a stage of its own."""
        old = self.tables.arrays[field]
        if name.endswith("_next"):
            new = replace(old, name=successor(field), role=Role.NEXT)
        else:
            fresh = self.tables.fresh(self._name(field, name))
            new = replace(old, name=fresh, role=Role.WORK)
        self.tables.add(new)
        self.tables.field_of[new.name] = field
        return new.element()

    def _lower(self, target: Access, value: sympy.Expr, field: str, label: str) -> None:
        """Add ``target = value``, said as a formula."""
        lowering = Lowering(self.tables)
        lowering.assign(target, value, self._origin(field), ready=True)
        *before, final = lowering.statements
        assert isinstance(final, Map)
        formula = f"{label} = {text(final.expr, self.model.spellings)}"
        named = replace(final, origin=final.origin._replace(text=formula))
        self.statements += [*before, named]

    def _origin(self, field: str) -> Origin:
        return Origin("", self.model.source.location(self.model.evolution[field].span))

    # --- expressions ---------------------------------------------------------------

    def value(self, node: tree.Expr) -> Values:
        """The value of a scheme's expression for the fields that it is about."""
        if isinstance(node, tree.Number):
            number = sympy.nsimplify(node.value, rational=True)
            return dict.fromkeys(self.known["z"], number)
        if isinstance(node, tree.Name):
            if node.name == "dt":
                assert self.model.dt is not None
                return dict.fromkeys(self.known["z"], self.model.dt)
            return self.known[node.name]
        if isinstance(node, tree.Group):
            return self.value(node.items[0])
        if isinstance(node, tree.Negate):
            return {name: -value for name, value in self.value(node.operand).items()}
        if isinstance(node, tree.Binary):
            return _combine(node.op, self.value(node.left), self.value(node.right))
        assert isinstance(node, tree.Juxtaposition), node
        result = dict.fromkeys(self.known["z"], sympy.S.One)
        items = list(node.items)
        while items:
            item = items.pop(0)
            if isinstance(item, tree.Name) and items and item.name == "exp":
                argument = self.value(items.pop(0))
                factor = {name: sympy.exp(value) for name, value in argument.items()}
            elif isinstance(item, tree.Name) and item.name in _RATES:
                group = items.pop(0)
                assert isinstance(group, tree.Group)
                factor = self._rates(item.name, *group.items)
            else:
                factor = self.value(item)
            result = _combine("*", result, factor)
        return result

    def _rates(self, which: str, state: tree.Expr, time: tree.Expr) -> Values:
        """F, a part of F, or F of a part of the fields, at a state and a time.

        Definitions are computed, the right side itself stays an expression.
        """
        if self.outside is not None and not _mentions(state, self.unknown):
            return self._apart(which, state, time)
        places, suffix = self._places(self.value(state))
        now = (IndexValue(TIME) + _share(time)) * self.model.dt
        lowering = Lowering(self.tables, places, suffix, now=now)
        rates = {}
        for field, equation in self.model.evolution.items():
            expr = equation.expr
            if which in ("Fq", "Fp") and field not in self.known[which[1]]:
                continue
            if which in ("L", "N"):
                linear = affine_part(expr, self.model)
                expr = linear if which == "L" else expr - linear
            rates[field] = lowering.lowered(expr)
        self.statements += lowering.statements
        return rates

    def _apart(self, which: str, state: tree.Expr, time: tree.Expr) -> Values:
        """Rates that do not depend on the unknown, computed before it is solved for."""
        assert self.outside is not None
        inner, self.statements, self.outside = self.statements, self.outside, None
        stored = {
            field: self._store(field, "explicit", value)
            for field, value in self._rates(which, state, time).items()
        }
        self.statements, self.outside = inner, self.statements
        return stored

    def _places(self, state: Values) -> tuple[dict[str, str], str]:
        """The arrays that hold a state, and a suffix for what is computed from it."""
        places: dict[str, str] = {}
        suffix = ""
        for field, value in state.items():
            if value == self.model.fields[field].array.element():
                continue
            if not (isinstance(value, Access) and not value.offsets):
                value = self._store(field, "stage", value)
            places[field] = value.array
            suffix = suffix or f"_{value.array}"
        return places, suffix


_RATES = ("F", "Fq", "Fp", "L", "N")


def _combine(op: str, left: Values, right: Values) -> Values:
    """An operation on the fields that both sides are about."""
    found = {}
    for name in left.keys() & right.keys():
        a, b = left[name], right[name]
        if op == "*":
            found[name] = a * b
        elif op == "/":
            found[name] = a / b
        else:
            found[name] = a + b if op == "+" else a - b
    return {name: found[name] for name in left if name in found}


def _share(time: tree.Expr) -> sympy.Expr:
    """The part of a step that has passed at a stage's time: t + dt/2 gives 1/2."""
    if isinstance(time, tree.Number):
        return sympy.nsimplify(time.value, rational=True)
    if isinstance(time, tree.Name):
        return {"t": sympy.S.Zero, "dt": sympy.S.One}[time.name]
    if isinstance(time, tree.Group):
        return _share(time.items[0])
    if isinstance(time, tree.Binary):
        both = {"": _share(time.left)}, {"": _share(time.right)}
        return _combine(time.op, *both)[""]
    assert isinstance(time, tree.Juxtaposition), time
    return sympy.Mul(*(_share(item) for item in time.items))


def _mentions(node: object, name: str) -> bool:
    """Whether a name stands anywhere in an expression of a scheme."""
    if isinstance(node, tree.Name):
        return node.name == name
    if isinstance(node, tree.Binary):
        return _mentions(node.left, name) or _mentions(node.right, name)
    if isinstance(node, tree.Negate):
        return _mentions(node.operand, name)
    items = node.items if isinstance(node, tree.Group | tree.Juxtaposition) else ()
    return any(_mentions(item, name) for item in items)


def _refused(model: Model, message: str, span: Span, hint: str) -> ModelErrors:
    return ModelErrors(model.source, (Diagnostic(message, span, hint),))
