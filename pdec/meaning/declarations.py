"""Declarations: constants, dims, grids, arrays and functions of a file.

Stage 2a, called by ``resolve.py``: fills the scope's tables before any expression is
translated, so that the order of declarations in the file does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import sympy

from pdec.errors import suggest
from pdec.forms.model import UNSET, Channel, Definition, Init, Typed, Variable
from pdec.forms.statements import Array, Axis, Role
from pdec.forms.symbolic import BATCH, TIME, Access, Contraction
from pdec.meaning.expressions import integer, number
from pdec.meaning.grids import declare_axis, declare_dim
from pdec.meaning.scope import Builder, Mistake, UserFunction, array_axes
from pdec.reading import tree
from pdec.source import Span

ROLES = {"field": Role.STATE, "param": Role.PARAM, "input": Role.INPUT}
DRAWS = {"normal": "normal(mean, deviation)", "uniform": "uniform(low, high)"}
MAX_CELLS = 2**31


def declare_all(
    statements: Any, scope: Builder, overrides: Mapping[str, float]
) -> None:
    """Fill the scope with everything that the file declares."""
    for statement in statements.of(tree.DimStatement):
        statements.guard(declare_dim, statement, scope, overrides)
    hint = "one statement lists all axes: `grid x[…] on …, y[…] on …`"
    grid = statements.one(tree.GridStatement, "`grid` statement", hint)
    for axis in grid.axes if grid else ():
        statements.guard(declare_axis, axis, scope, overrides)
    for statement in statements.of(tree.Declaration):
        for item in statement.items:
            statements.guard(_declared, item, ROLES[statement.kind], scope)
    for statement in statements.of(tree.TargetStatement):
        statements.guard(_target, statement, scope)
    for statement in statements.of(tree.ReadoutStatement):
        statements.guard(_declared, statement.declared, Role.READOUT, scope)
    for statement in statements.of(tree.KernelStatement):
        statements.guard(_kernel, statement, scope)
    for statement in statements.of(tree.Equation):
        statements.guard(_equation, statement, scope)
    _refuse_successors(scope)


def _refuse_successors(scope: Builder) -> None:
    """``z_next`` is what the generated code calls the next state of a field ``z``."""
    for name, variable in scope.variables.items():
        taken = scope.declared.get(f"{name}_next")
        if variable.array.role is Role.STATE and taken is not None:
            scope.reporter.error(
                f"'{name}_next' stands for the next state of the field "
                f"'{variable.spelling}'",
                taken,
                "choose another name",
            )


# --- arrays ------------------------------------------------------------------------


def _declared(item: tree.Declared, role: Role, scope: Builder) -> None:
    """Declare an array; remember a mistake in it, so that its uses are left alone."""
    scope.declare(item.name)
    try:
        _variable(item, role, scope)
    except Mistake:
        scope.failed.add(item.name.name)
        raise


def _variable(item: tree.Declared, role: Role, scope: Builder) -> None:
    name = item.name.name
    shape = tuple(_channel(size, scope) for size in item.shape)
    domain = _domain(item, role, scope)
    sampled = role is not Role.PARAM
    axes = array_axes(
        scope.axes, shape, frozenset(domain), sampled=sampled, steps=scope.steps
    )
    if math.prod(axis.size or 1 for axis in axes) > MAX_CELLS:
        scope.fail(f"'{item.name.text}' would have more than 2³¹ numbers", item.span)
    if any(relation == "psd" for relation, _ in item.constraints):
        _bounds(item, role, scope)
        _factored(item, shape, domain, axes, scope)
        return
    low, high, init = _start(item, role, scope)
    scope.variables[name] = Variable(
        array=Array(name, axes, role),
        spelling=item.name.text,
        shape=shape,
        domain=domain,
        span=item.span,
        comment=_comment(item, scope),
        init=init,
        low=low,
        high=high,
    )


def _start(
    item: tree.Declared, role: Role, scope: Builder
) -> tuple[float, float, Init]:
    """Bounds and start; none where they have a mistake: the array itself is known."""
    try:
        low, high = _bounds(item, role, scope)
        return low, high, _init(item, role, scope, low, high)
    except Mistake:
        return -math.inf, math.inf, UNSET


def _factored(
    item: tree.Declared,
    shape: tuple[Channel, ...],
    domain: tuple[str, ...],
    axes: tuple[Axis, ...],
    scope: Builder,
) -> None:
    """A positive semidefinite matrix W = L Lᵀ: what is trained is the factor L.

    ``init`` is the multiple of the unit matrix that W starts from.
    """
    name = item.name.name
    if len(shape) != 2 or not shape[0].fits(shape[1]):
        hint = f"`param {item.name.text}[d,d] psd`"
        scope.fail("`psd` needs a square matrix", item.span, hint)
    init = _init_value(item.init, scope) if item.init else Init("constant", 0.0)
    if init.kind == "constant":
        if init.first < 0:
            scope.fail("a psd matrix cannot start negative", item.span)
        init = Init("diagonal", math.sqrt(init.first))
    factor = scope.fresh(f"{name}_factor")
    scope.declared[factor] = item.span
    scope.spellings[factor] = f"{item.name.text}_factor"
    array = Array(factor, axes, Role.PARAM)
    remark = f"{item.name.text} = L Lᵀ with L = {factor}"
    comment = f"{_comment(item, scope)}; {remark}" if _comment(item, scope) else remark
    scope.variables[factor] = Variable(
        array, scope.spellings[factor], shape, domain, item.span, comment, init
    )
    left = array.element().renamed({"i1": "k0"})
    right = array.element().renamed({"i0": "i1", "i1": "k0"})
    product = Contraction(left * right, sympy.Symbol("k0"))
    matrix = Array(name, axes, Role.COEFFICIENT)
    scope.definitions[name] = Definition(
        matrix, product, shape, frozenset(domain), item.span, written=True
    )


def _channel(size: tree.Expr, scope: Builder) -> Channel:
    if isinstance(size, tree.Name) and size.name in scope.dims:
        return Channel(size.name, scope.dims[size.name])
    return Channel("", integer(size, scope, "a channel length"))


def _domain(item: tree.Declared, role: Role, scope: Builder) -> tuple[str, ...]:
    names = item.domain or ()
    for axis in names:
        if axis.name == TIME and role in (Role.PARAM, Role.TARGET):
            continue
        if axis.name == TIME and TIME not in scope.claims:
            _refuse_time(item, axis, role, scope)
        if axis.name not in scope.axes:
            scope.unknown_axis(axis.text, axis.span)
    written = [axis.name for axis in names]
    if len(set(written)) != len(written):
        scope.fail("an axis is named twice", item.span)
    if role is Role.STATE and set(written) != set(scope.axes):
        every = ", ".join(scope.axes)
        scope.reporter.error(
            f"the field '{item.name.text}' must live on the whole grid",
            item.span,
            f"write `{item.name.text}({every})`" if every else "add a `grid` statement",
        )
        return tuple(scope.axes)
    order = [TIME, *scope.axes]
    return tuple(axis for axis in order if axis in written)


def _refuse_time(
    item: tree.Declared, axis: tree.Name, role: Role, scope: Builder
) -> None:
    if role is Role.STATE:
        others = [name.text for name in item.domain or () if name.name != TIME]
        hint = f"write `{item.name.text}({', '.join(others)})`"
        scope.fail("a field varies with t without saying so", axis.span, hint)
    word = f"an {role.value}" if role is Role.INPUT else f"a {role.value}"
    scope.fail(f"{word} does not vary with t", axis.span, "leave `t` out")


def _bounds(item: tree.Declared, role: Role, scope: Builder) -> tuple[float, float]:
    low, high = -math.inf, math.inf
    if item.constraints and role is not Role.PARAM:
        scope.fail("only a param can have bounds", item.span)
    for relation, operand in item.constraints:
        if relation == "psd":
            continue
        if isinstance(operand, tree.Interval):
            low = max(low, number(operand.low, scope, "a bound"))
            high = min(high, number(operand.high, scope, "a bound"))
        elif operand is not None and relation.startswith(">"):
            low = max(low, number(operand, scope, "a bound"))
        elif operand is not None:
            high = min(high, number(operand, scope, "a bound"))
    if low >= high:
        scope.fail(f"no number satisfies the bounds of '{item.name.text}'", item.span)
    return low, high


def _init(
    item: tree.Declared, role: Role, scope: Builder, low: float, high: float
) -> Init:
    if item.init is None:
        return Init("constant", 0.0)
    if role is not Role.PARAM:
        scope.fail("only a param has an `init`", item.init.span)
    init = _init_value(item.init, scope)
    if init.kind == "constant" and not low <= init.first <= high:
        scope.fail(
            f"the initial value {init.first:g} lies outside the bounds of "
            f"'{item.name.text}'",
            item.init.span,
            _bounds_in_words(low, high),
        )
    return init


def _bounds_in_words(low: float, high: float) -> str:
    parts = [f"at least {low:g}"] if low > -math.inf else []
    parts += [f"at most {high:g}"] if high < math.inf else []
    return f"it has to be {' and '.join(parts)}"


def _init_value(node: tree.Expr, scope: Builder) -> Init:
    if isinstance(node, tree.Juxtaposition) and len(node.items) == 2:
        name, group = node.items
        if isinstance(name, tree.Name) and isinstance(group, tree.Group):
            if name.name in DRAWS or name.name not in scope.constants:
                return _drawn(name, group, scope)
    return Init("constant", number(node, scope, "an init"))


def _drawn(name: tree.Name, group: tree.Group, scope: Builder) -> Init:
    """``normal(mean, deviation)`` or ``uniform(low, high)``."""
    if name.name not in DRAWS:
        if scope.is_function(name.name):
            return Init("constant", number(_together(name, group), scope, "an init"))
        known = " and ".join(f"`{usage}`" for usage in DRAWS.values())
        near = suggest(name.name, DRAWS)
        hint = f"did you mean `{near}`?" if near else f"known: {known}"
        scope.fail(f"unknown distribution '{name.text}'", name.span, hint)
    if len(group.items) != 2:
        hint = f"write `{DRAWS[name.name]}`"
        scope.fail(f"{name.name} takes two numbers", group.span, hint)
    first, second = (number(item, scope, "an init") for item in group.items)
    if name.name == "uniform" and not first < second:
        scope.fail("the interval of uniform is empty", group.span)
    if name.name == "normal" and second < 0:
        scope.fail("a standard deviation cannot be negative", group.items[1].span)
    return Init(name.name, first, second)


def _together(name: tree.Name, group: tree.Group) -> tree.Juxtaposition:
    return tree.Juxtaposition((name, group), Span(name.span.start, group.span.end))


def _comment(item: tree.Declared, scope: Builder) -> str:
    """The remark behind a declaration, which becomes the variable's documentation."""
    row, _ = scope.source.position(item.span.start)
    _, mark, remark = scope.source.line(row).partition("#")
    return remark.strip() if mark else ""


def _target(statement: tree.TargetStatement, scope: Builder) -> None:
    _snapshots(statement, scope)
    if statement.classes:
        name = statement.declared.name
        scope.declare(name)
        if statement.declared.shape or statement.declared.domain:
            hint = f"write `target {name.text}: class`"
            what = "a class label is one number per sample"
            scope.reporter.error(what, statement.declared.span, hint)
        array = Array(name.name, (Axis(BATCH, 0),), Role.TARGET)
        variable = Variable(array, name.text, (), (), statement.span, classes=-1)
        scope.variables[name.name] = variable
        return
    _declared(statement.declared, Role.TARGET, scope)
    variable = scope.variables[statement.declared.name.name]
    if TIME in variable.domain:
        space = frozenset(variable.domain) - {TIME}
        axes = array_axes(scope.axes, variable.shape, space, sampled=True)
        array = replace(variable.array, axes=axes)
        domain = tuple(axis for axis in variable.domain if axis != TIME)
        scope.variables[variable.name] = replace(
            variable, array=array, domain=domain, along=True
        )


def _snapshots(statement: tree.TargetStatement, scope: Builder) -> None:
    """``every k``: the loss is a mean over the steps k, 2k, …."""
    domain = statement.declared.domain or ()
    if statement.every is None and all(axis.name != TIME for axis in domain):
        return
    place = statement.every.span if statement.every else statement.span
    try:
        every = integer(statement.every, scope, "every") if statement.every else 1
    except Mistake:
        return
    if scope.every not in (None, every):
        scope.reporter.error(
            "all targets along the trajectory must share one `every`", place
        )
    if every > scope.steps and not scope.doubtful("steps"):
        scope.reporter.error(
            f"every {every} is more than the {scope.steps} steps of the run",
            place,
            f"write a number from 1 to {scope.steps}",
        )
    scope.every = every


def _kernel(statement: tree.KernelStatement, scope: Builder) -> None:
    scope.declare(statement.name)
    names = [name.name for name in statement.variables]
    if len(set(names)) != len(names):
        scope.failed.add(statement.name.name)
        scope.fail("a variable of the kernel is named twice", statement.span)
    scope.kernels[statement.name.name] = statement


# --- definitions and functions ------------------------------------------------------


def _equation(statement: tree.Equation, scope: Builder) -> None:
    left = statement.left
    if isinstance(left, tree.Name):
        if left.name in ("omega", "dt"):
            scope.declare(left)
            return
        scope.declare(left)
        scope.pending[left.name] = statement
        return
    if isinstance(left, tree.Juxtaposition) and len(left.items) == 2:
        name, group = left.items
        if isinstance(name, tree.Name) and isinstance(group, tree.Group):
            names = tuple(item for item in group.items if isinstance(item, tree.Name))
            if len(names) == len(group.items):
                _named_equation(name, names, statement, scope)
                return
    scope.fail(
        "the left side of a definition is a name or a function of names",
        left.span,
        "such as `Z = …` or `f(s) = …`",
    )


def _named_equation(
    name: tree.Name,
    names: tuple[tree.Name, ...],
    statement: tree.Equation,
    scope: Builder,
) -> None:
    scope.declare(name)
    if all(argument.name in scope.axes for argument in names):
        scope.pending[name.name] = replace(statement, left=name)
        scope.located[name.name] = tuple(argument.name for argument in names)
        return
    arguments = [argument.name for argument in names]
    if len(set(arguments)) != len(arguments):
        scope.fail("an argument is named twice", statement.left.span)
    scope.functions[name.name] = UserFunction(name, names, statement.right)


def expression_names(
    scope: Builder, values: Iterable[Typed], loss: Typed | None
) -> set[str]:
    """Names of the arrays that any expression of the model reads."""
    exprs: list[sympy.Expr] = [value.expr for value in values]
    exprs += [definition.expr for definition in scope.definitions.values()]
    if loss is not None:
        exprs.append(loss.expr)
    return {access.array for expr in exprs for access in expr.atoms(Access)}
