"""Stage 2: tree to Model.  Names, types and boundaries are resolved here.

    Tree  →  resolve(tree, source, overrides)  →  Model

Declarations are collected first, so that their order in the file is free; expressions
are translated after that (``expressions.py``).  All mistakes of a file are reported
together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sympy

from pdec.contracts import Scheme, discover
from pdec.errors import Reporter, UsageError, suggest
from pdec.forms.model import Definition, Model, Typed, Variable
from pdec.forms.statements import Role
from pdec.forms.symbolic import TIME, Access, Equal, per_sample
from pdec.meaning.claims import claims
from pdec.meaning.clock import read_clock
from pdec.meaning.declarations import declare_all, expression_names
from pdec.meaning.equations import assignable, evolution, initial_state
from pdec.meaning.expressions import integer, translate
from pdec.meaning.grids import constants, set_length
from pdec.meaning.kernels import known
from pdec.meaning.scope import Builder, Mistake
from pdec.meaning.singular import guard
from pdec.meaning.walls import Conditions, boundaries
from pdec.reading import tree
from pdec.source import Source

DTYPES = ("float64", "float32")
SETTINGS: dict[str, object] = {"accuracy": 2, "scheme": "euler", "dtype": "float64"}


def resolve(
    syntax: tree.Tree,
    source: Source,
    overrides: Mapping[str, float] | None = None,
    reporter: Reporter | None = None,
) -> Model:
    """Resolve names, types and boundaries of a model.

    ``overrides`` replaces lengths of axes and dims, ``steps`` and constants by name;
    ``reporter`` holds what earlier stages found.  Raises ``ModelErrors`` with every
    mistake found, ``UsageError`` for an override of something that the model does not
    declare.
    """
    reporter = reporter or Reporter(source)
    scope = Builder(source, reporter, translate)
    scope.claims, scope.unread = claims(syntax.statements), syntax.unread
    statements = _Statements(syntax, scope)
    settings = _settings(statements, scope, dict(overrides or {}))
    model = _assemble(statements, scope, settings)
    reporter.raise_if_errors()
    assert model is not None, "a mistake was raised but not reported"
    model = guard(model, syntax.statements, scope.places, reporter)
    return replace(model, warnings=reporter.diagnostics)


class _Statements:
    """The statements of a file by kind, and a guard that catches mistakes."""

    def __init__(self, syntax: tree.Tree, scope: Builder) -> None:
        self.all = syntax.statements
        self.scope = scope

    def of(self, kind: type[Any]) -> list[Any]:
        """Statements of one kind, in source order."""
        return [statement for statement in self.all if isinstance(statement, kind)]

    def one(
        self, kind: type[Any], what: str, hint: str = "keep one of them"
    ) -> Any | None:
        """The only statement of a kind; a second one is a mistake."""
        found = self.of(kind)
        for extra in found[1:]:
            self.scope.reporter.error(f"a second {what}", extra.span, hint)
        return found[0] if found else None

    def guard(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Run an action; a mistake in it has been reported and gives None."""
        try:
            return action(*arguments)
        except Mistake:
            return None


@dataclass
class _Settings:
    """Numbers and words that hold for the whole model."""

    name: str
    accuracy: int
    scheme: str
    dtype: str
    omega: tree.Equation | None
    dt: tree.Equation | None


def _settings(
    statements: _Statements, scope: Builder, overrides: dict[str, float]
) -> _Settings:
    """Read settings and declarations; the scope is filled on the way."""
    title = statements.one(tree.ModelStatement, "`model` statement")
    name = title.name.name if title else scope.source.name.split(".")[0]
    equations = {
        equation.left.name: equation
        for equation in statements.of(tree.Equation)
        if isinstance(equation.left, tree.Name)
        and equation.left.name in ("omega", "dt")
        and scope.claims[equation.left.name].span == equation.left.span
    }
    constants(statements.of(tree.ConstStatement), scope, overrides)
    found = dict(SETTINGS)
    seen: set[str] = set()
    for setting in statements.of(tree.SettingStatement):
        if setting.key in seen:
            message = f"a second `{setting.key}` statement"
            scope.reporter.error(message, setting.span, "keep one of them")
            continue
        seen.add(setting.key)
        if not statements.guard(_setting, setting, scope, found, overrides):
            scope.failed.add(setting.key)
    if _steady(str(found["scheme"])):
        _refuse_steps(statements, scope)
        found["steps"] = scope.steps = 1
    if "steps" not in found and not scope.doubtful("steps"):
        scope.missing(
            "the number of time steps is missing",
            "add a line such as `steps 16`",
        )
    statements.guard(declare_all, statements, scope, overrides)
    _refuse_spacings(scope)
    unknown = sorted(
        set(overrides) - {*scope.axes, *scope.dims, *scope.constants, "steps"}
    )
    if unknown and not scope.reporter.wrong:
        known = [*scope.axes, *scope.dims, *scope.constants, "steps"]
        near = suggest(unknown[0], known) or ", ".join(known)
        what = "the model has no such length or constant"
        if unknown[0] in scope.variables:
            what = "this is an array of the model, given when it runs"
        elif unknown[0] in ("omega", "dt"):
            what = "write it in terms of a const, and set that"
        raise UsageError(f"--set {unknown[0]}: {what}; try {near}")
    return _Settings(
        name,
        int(str(found["accuracy"])),
        str(found["scheme"]),
        str(found["dtype"]),
        equations.get("omega"),
        equations.get("dt"),
    )


def _steady(scheme: str) -> bool:
    """Whether a scheme finds a fixed point and takes no time."""
    return discover("pdec.schemes", Scheme)[scheme].steady


def _refuse_steps(statements: _Statements, scope: Builder) -> None:
    """An equilibrium is found at once: it has neither steps nor their length."""
    for setting in statements.of(tree.SettingStatement):
        if setting.key == "steps":
            message = "an equilibrium takes no steps"
            scope.reporter.error(message, setting.span, "remove this line")


def _refuse_spacings(scope: Builder) -> None:
    """``dx`` is the spacing of the axis x, in formulas and in the generated module."""
    for axis in scope.axes:
        name = f"d{axis}"
        if name in scope.declared:
            message = f"'{name}' is the spacing of the grid along {axis}"
            scope.reporter.error(message, scope.declared[name], "choose another name")


def _setting(
    setting: tree.SettingStatement,
    scope: Builder,
    found: dict[str, object],
    overrides: Mapping[str, float],
) -> bool:
    key, value = setting.key, setting.value
    if key == "steps":
        written = integer(value, scope, "the number of steps")
        found[key] = scope.steps = set_length("steps", written, overrides)
    elif key == "accuracy":
        accuracy = integer(value, scope, "the accuracy", least=2)
        if accuracy not in (2, 4, 6):
            scope.fail("the accuracy of stencils is 2, 4 or 6", value.span)
        found[key] = scope.accuracy = accuracy
    else:
        assert isinstance(value, tree.Name)
        known = DTYPES if key == "dtype" else tuple(discover("pdec.schemes", Scheme))
        if value.name not in known:
            scope.fail(
                f"unknown {key} '{value.text}'",
                value.span,
                f"known: {', '.join(known)}",
            )
        found[key] = value.name
    return True


def _assemble(
    statements: _Statements, scope: Builder, settings: _Settings
) -> Model | None:
    """Translate every expression and put the model together."""
    for equation in list(scope.pending.values()):
        assert isinstance(equation.left, tree.Name)
        statements.guard(scope.definition, equation.left.name, equation.left.span)
    scope.check_functions()
    for kernel in scope.kernels.values():
        statements.guard(known, kernel, scope)
    guard, fields = statements.guard, _of_role(scope, Role.STATE)
    right_sides = statements.of(tree.EvolutionStatement)
    conditions = statements.of(tree.AtStatement)
    evolving = evolution(right_sides, fields, scope, guard)
    initial = initial_state(conditions, fields, scope, guard)
    walls = boundaries(conditions, evolving, scope, guard)
    for readout in statements.of(tree.ReadoutStatement):
        statements.guard(_readout, readout, scope)
    loss_statement = statements.one(tree.LossStatement, "loss")
    loss: Typed | None = None
    if loss_statement is not None:
        loss = statements.guard(_loss, loss_statement, scope)
    length = {"omega": settings.omega, "dt": settings.dt}
    clock = read_clock(evolving, scope, **length, steady=_steady(settings.scheme))
    if scope.reporter.wrong:
        return None
    assert clock is not None, "a mistake in the step was not reported"
    _warn_unused(scope, evolving, loss, initial, walls)
    sampled, penalty = _split(loss)
    return Model(
        name=settings.name,
        source=scope.source,
        axes=scope.axes,
        dims=scope.dims,
        constants=scope.constants,
        spellings=scope.spellings,
        fields=fields,
        params=_of_role(scope, Role.PARAM),
        inputs=_of_role(scope, Role.INPUT),
        targets=_classes(_of_role(scope, Role.TARGET), scope),
        readouts=_of_role(scope, Role.READOUT),
        definitions=scope.definitions,
        evolution=evolving,
        initial=initial,
        boundaries=walls,
        loss=sampled,
        penalty=penalty,
        relaxation=clock.relaxation,
        steps=scope.steps,
        every=scope.every,
        omega=clock.omega,
        dt=clock.dt,
        scheme=settings.scheme,
        accuracy=settings.accuracy,
        dtype=settings.dtype,
        notes=tuple(scope.notes),
    )


def _of_role(scope: Builder, role: Role) -> dict[str, Variable]:
    return {n: v for n, v in scope.variables.items() if v.array.role is role}


# --- readouts and loss --------------------------------------------------------------


def _readout(statement: tree.ReadoutStatement, scope: Builder) -> None:
    variable = scope.variables.get(statement.declared.name.name)
    value = translate(statement.body, scope)
    if variable is None:
        raise Mistake
    assignable(value, variable, statement.body.span, scope)
    _refuse_time(value, "a readout", statement.body, scope)
    if not per_sample(value.expr):
        hint = "such as `readout s = integral(z)`"
        what = "a readout must depend on the state or an input"
        scope.fail(what, statement.body.span, hint)
    scope.definitions[variable.name] = Definition(
        variable.array,
        value.expr,
        variable.shape,
        frozenset(variable.domain),
        statement.span,
        written=True,
    )


def _refuse_time(value: Typed, what: str, node: tree.Expr, scope: Builder) -> None:
    """The last state is looked at once: there is no time, and no step, to it."""
    if TIME in value.domain:
        hint = "a field can carry what is to be read off: `dq/dt = …`"
        scope.fail(f"{what} cannot depend on the time t", node.span, hint)


def _loss(statement: tree.LossStatement, scope: Builder) -> Typed:
    value = translate(statement.body, scope)
    _refuse_time(value, "the loss", statement.body, scope)
    if value.shape or value.domain:
        scope.fail(
            "the loss must be one number per sample",
            statement.body.span,
            "reduce it with `mean(…)`, `sum(…)` or `integral(…)`",
        )
    return replace(value, span=statement.span)


def _split(loss: Typed | None) -> tuple[Typed | None, Typed | None]:
    """Split a loss into what each sample adds and what the parameters alone add."""
    if loss is None:
        return None, None
    terms = sympy.Add.make_args(loss.expr)
    sampled = [term for term in terms if per_sample(term)]
    shared = [term for term in terms if not per_sample(term)]
    each = replace(loss, expr=sympy.Add(*sampled))
    return each, replace(loss, expr=sympy.Add(*shared)) if shared else None


def _classes(targets: dict[str, Variable], scope: Builder) -> dict[str, Variable]:
    """Give class targets the number of logits that they are paired with."""
    found = dict(targets)
    for definition in scope.definitions.values():
        for pair in definition.expr.atoms(Equal):
            label = pair.args[1]
            if isinstance(label, Access) and label.array in found:
                size = next(
                    axis.size
                    for access in definition.expr.atoms(Access)
                    for axis in _array(access, scope).axes
                    if axis.name == "i0"
                )
                found[label.array] = replace(found[label.array], classes=size)
    return found


def _array(access: Access, scope: Builder) -> Any:
    known = {n: v.array for n, v in scope.variables.items()}
    return known.get(access.array) or scope.definitions[access.array].array


def _warn_unused(
    scope: Builder,
    evolution: dict[str, Typed],
    loss: Typed | None,
    initial: dict[str, Typed],
    walls: Conditions,
) -> None:
    used = expression_names(scope, [*evolution.values(), *initial.values()], loss)
    conditions = (condition for side in walls.values() for condition in side)
    used |= {access.array for condition in conditions for access in condition.accesses}
    for name, variable in scope.variables.items():
        optional = variable.array.role in (Role.PARAM, Role.INPUT, Role.TARGET)
        if optional and name not in used and name != "omega":
            word = variable.array.role.value
            scope.reporter.warning(
                f"the {word} '{variable.spelling}' is never used", variable.span
            )
