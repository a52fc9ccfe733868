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

from pdec import tree
from pdec.arithmetic import shape_text
from pdec.clock import read_clock
from pdec.contracts import Scheme, discover
from pdec.declarations import constants, declare_all, expression_names
from pdec.errors import Reporter, UsageError, suggest
from pdec.expressions import integer, number, translate
from pdec.kernels import known
from pdec.model import Definition, Model, Typed, Variable
from pdec.scope import Builder, Mistake
from pdec.source import Source, Span
from pdec.statements import Role
from pdec.symbolic import TIME, Access, Equal, per_sample
from pdec.walls import boundaries

DTYPES = ("float64", "float32")
SETTINGS: dict[str, object] = {"accuracy": 2, "scheme": "euler", "dtype": "float64"}


def resolve(
    syntax: tree.Tree, source: Source, overrides: Mapping[str, float] | None = None
) -> Model:
    """Resolve names, types and boundaries of a model.

    ``overrides`` replaces lengths of axes and dims, ``steps`` and constants by name.
    Raises ``ModelErrors`` with every mistake found, ``UsageError`` for an override of
    something that the model does not declare.
    """
    reporter = Reporter(source)
    scope = Builder(source, reporter, translate)
    statements = _Statements(syntax, scope)
    settings = _settings(statements, scope, dict(overrides or {}))
    reporter.raise_if_errors()
    model = _assemble(statements, scope, settings)
    reporter.raise_if_errors()
    assert model is not None, "a mistake was raised but not reported"
    return replace(model, warnings=reporter.diagnostics)


class _Statements:
    """The statements of a file by kind, and a guard that catches mistakes."""

    def __init__(self, syntax: tree.Tree, scope: Builder) -> None:
        self.all = syntax.statements
        self.scope = scope

    def of(self, kind: type[Any]) -> list[Any]:
        """Statements of one kind, in source order."""
        return [statement for statement in self.all if isinstance(statement, kind)]

    def one(self, kind: type[Any], what: str) -> Any | None:
        """The only statement of a kind; a second one is a mistake."""
        found = self.of(kind)
        for extra in found[1:]:
            self.scope.reporter.error(
                f"a second {what}", extra.span, "keep one of them"
            )
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
    }
    constants(statements.of(tree.ConstStatement), scope, overrides)
    found = dict(SETTINGS)
    for setting in statements.of(tree.SettingStatement):
        statements.guard(_setting, setting, scope, found, overrides)
    if "steps" not in found:
        scope.missing(
            "the number of time steps is missing",
            "add a line such as `steps 16`",
        )
    statements.guard(declare_all, statements, scope, overrides)
    unknown = sorted(
        set(overrides) - {*scope.axes, *scope.dims, *scope.constants, "steps"}
    )
    if unknown:
        known = [*scope.axes, *scope.dims, *scope.constants, "steps"]
        near = suggest(unknown[0], known) or ", ".join(known)
        raise UsageError(
            f"--set {unknown[0]}: the model has no such length; try {near}"
        )
    return _Settings(
        name,
        int(str(found["accuracy"])),
        str(found["scheme"]),
        str(found["dtype"]),
        equations.get("omega"),
        equations.get("dt"),
    )


def _setting(
    setting: tree.SettingStatement,
    scope: Builder,
    found: dict[str, object],
    overrides: Mapping[str, float],
) -> None:
    key, value = setting.key, setting.value
    if key == "steps":
        written = integer(value, scope, "the number of steps")
        found[key] = scope.steps = int(overrides.get("steps", written))
    elif key == "accuracy":
        found[key] = integer(value, scope, "the accuracy", least=2)
        if found[key] not in (2, 4, 6):
            scope.fail("the accuracy of stencils is 2, 4 or 6", value.span)
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


def _assemble(
    statements: _Statements, scope: Builder, settings: _Settings
) -> Model | None:
    """Translate every expression and put the model together."""
    for equation in list(scope.pending.values()):
        assert isinstance(equation.left, tree.Name)
        statements.guard(scope.definition, equation.left.name, equation.left.span)
    for kernel in scope.kernels.values():
        statements.guard(known, kernel, scope)
    evolution = _evolution(statements, scope)
    initial = _initial(statements, scope)
    walls = boundaries(statements.of(tree.AtStatement), scope, statements.guard)
    for readout in statements.of(tree.ReadoutStatement):
        statements.guard(_readout, readout, scope)
    loss_statement = statements.one(tree.LossStatement, "loss")
    loss: Typed | None = None
    if loss_statement is not None:
        loss = statements.guard(_loss, loss_statement, scope)
    clock = read_clock(evolution, scope, omega=settings.omega, dt=settings.dt)
    if any(item.severity == "error" for item in scope.reporter.diagnostics):
        return None
    assert clock is not None, "a mistake in the step was not reported"
    _warn_unused(scope, evolution, loss, initial)
    sampled, penalty = _split(loss)
    return Model(
        name=settings.name,
        source=scope.source,
        axes=scope.axes,
        dims=scope.dims,
        constants=scope.constants,
        spellings=scope.spellings,
        fields=_of_role(scope, Role.STATE),
        params=_of_role(scope, Role.PARAM),
        inputs=_of_role(scope, Role.INPUT),
        targets=_classes(_of_role(scope, Role.TARGET), scope),
        readouts=_of_role(scope, Role.READOUT),
        definitions=scope.definitions,
        evolution=evolution,
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


# --- evolution, initial state -------------------------------------------------------


def _evolution(statements: _Statements, scope: Builder) -> dict[str, Typed]:
    found: dict[str, Typed] = {}
    fields = _of_role(scope, Role.STATE)
    written: set[str] = set()
    for statement in statements.of(tree.EvolutionStatement):
        name = statement.name.name
        if name not in fields:
            near = suggest(name, fields)
            hint = f"did you mean `d{near}/dt`?" if near else "declare it: `field …`"
            scope.reporter.error(
                f"'{statement.name.text}' is not a field", statement.name.span, hint
            )
            continue
        if name in written:
            scope.reporter.error(f"a second equation for d{name}/dt", statement.span)
            continue
        written.add(name)
        value = statements.guard(_right_side, statement, fields[name], scope)
        if value is not None:
            found[name] = value
    if not fields:
        scope.missing("the model has no field", "add a line such as `field z(x)`")
    for name, variable in fields.items():
        if name not in written:
            scope.reporter.error(
                f"the field '{variable.spelling}' has no equation",
                variable.span,
                f"add `d{variable.spelling}/dt = …`",
            )
    return {name: found[name] for name in fields if name in found}


def _right_side(
    statement: tree.EvolutionStatement, variable: Variable, scope: Builder
) -> Typed:
    value = translate(statement.rhs, scope)
    _assignable(value, variable, statement.rhs.span, scope)
    return replace(value, span=statement.span)


def _assignable(value: Typed, variable: Variable, span: Span, scope: Builder) -> None:
    """Check that a value has the shape and domain of what it is assigned to."""
    pairs = zip(value.shape, variable.shape, strict=False)
    fits = len(value.shape) == len(variable.shape) and all(a.fits(b) for a, b in pairs)
    if value.shape and not fits:
        scope.fail(
            f"'{variable.spelling}' has shape {shape_text(variable.shape)}, "
            f"but this has {shape_text(value.shape)}",
            span,
        )
    extra = sorted(value.domain - set(variable.domain) - {TIME})
    if extra:
        scope.fail(
            f"'{variable.spelling}' does not vary along {', '.join(extra)}, "
            "but this does",
            span,
            "reduce it with `integral(…)` or `mean(…)`",
        )


def _initial(statements: _Statements, scope: Builder) -> dict[str, Typed]:
    found: dict[str, Typed] = {}
    fields = _of_role(scope, Role.STATE)
    for statement in statements.of(tree.AtStatement):
        if [axis.name for axis in statement.axes] != [TIME]:
            continue
        value = statements.guard(_initial_value, statement, fields, scope)
        if value is not None:
            found[statement.left.name] = value
    missing = [v for name, v in fields.items() if name not in found]
    if found and missing:
        scope.reporter.error(
            f"'{missing[0].spelling}' has no initial state, but another field has",
            missing[0].span,
            f"add `at t = 0: {missing[0].spelling} = …`",
        )
    return found


def _initial_value(
    statement: tree.AtStatement, fields: dict[str, Variable], scope: Builder
) -> Typed:
    place = statement.place
    if place is None or number(place, scope, "the initial time") != 0:
        scope.fail(
            "the initial state is given at t = 0", statement.span, "`at t = 0: …`"
        )
    if not isinstance(statement.left, tree.Name) or statement.left.name not in fields:
        scope.fail("the left side of an initial state is a field", statement.left.span)
    value = translate(statement.right, scope)
    if any(a.array in fields for a in value.expr.atoms(Access)):
        scope.fail("the initial state cannot depend on a field", statement.right.span)
    _assignable(value, fields[statement.left.name], statement.right.span, scope)
    return replace(value, span=statement.span)


# --- readouts and loss --------------------------------------------------------------


def _readout(statement: tree.ReadoutStatement, scope: Builder) -> None:
    variable = scope.variables[statement.declared.name.name]
    value = translate(statement.body, scope)
    _assignable(value, variable, statement.body.span, scope)
    if not per_sample(value.expr):
        scope.fail(
            "a readout must depend on the state or an input", statement.body.span
        )
    scope.definitions[variable.name] = Definition(
        variable.array,
        value.expr,
        variable.shape,
        frozenset(variable.domain),
        statement.span,
        written=True,
    )


def _loss(statement: tree.LossStatement, scope: Builder) -> Typed:
    value = translate(statement.body, scope)
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
) -> None:
    used = expression_names(scope, [*evolution.values(), *initial.values()], loss)
    for name, variable in scope.variables.items():
        optional = variable.array.role in (Role.PARAM, Role.INPUT, Role.TARGET)
        if optional and name not in used and name != "omega":
            word = variable.array.role.value
            scope.reporter.warning(
                f"the {word} '{variable.spelling}' is never used", variable.span
            )
