"""Declarations: constants, dims, grids, arrays and functions of a file.

Stage 2a, called by ``resolve.py``: fills the scope's tables before any expression is
translated, so that the order of declarations in the file does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import sympy

from pdec import tree
from pdec.expressions import integer, number
from pdec.model import Channel, Definition, GridAxis, Init, Typed, Variable
from pdec.scope import Builder, Mistake, UserFunction, array_axes
from pdec.statements import Array, Axis, Role
from pdec.symbolic import BATCH, TIME, Access, Contraction

ROLES = {"field": Role.STATE, "param": Role.PARAM, "input": Role.INPUT}
MAX_CELLS = 2**31


def constants(
    statements: list[tree.ConstStatement],
    scope: Builder,
    overrides: Mapping[str, float],
) -> None:
    """Evaluate ``const`` statements, in whatever order they stand."""
    waiting = {
        name.name: (name, value)
        for statement in statements
        for name, value in statement.items
    }
    seen: set[str] = set()
    for statement in statements:
        for name, _ in statement.items:
            _attempt(lambda name=name: scope.declare(name))
            seen.add(name.name)
    while waiting:
        ready = [
            n for n, (_, value) in waiting.items() if not names_in(value) & set(waiting)
        ]
        for key in ready or list(waiting):
            name, value = waiting.pop(key)
            found = _attempt(
                lambda v=value, n=name: number(v, scope, f"the constant '{n.text}'")
            )
            scope.constants[key] = float(overrides.get(key, found or 0.0))


def _attempt(action: Any) -> Any:
    try:
        return action()
    except Mistake:
        return None


def names_in(node: Any) -> set[str]:
    """Canonical names that occur anywhere inside a tree node."""
    if isinstance(node, tree.Name):
        return {node.name}
    if isinstance(node, tuple):
        return set().union(*(names_in(item) for item in node))
    if is_dataclass(node):
        return set().union(*(names_in(getattr(node, f.name)) for f in fields(node)))
    return set()


def declare_all(
    statements: Any, scope: Builder, overrides: Mapping[str, float]
) -> None:
    """Fill the scope with everything that the file declares."""
    for statement in statements.of(tree.DimStatement):
        _attempt(lambda s=statement: _dim(s, scope, overrides))
    grid = statements.one(tree.GridStatement, "`grid` statement")
    for axis in grid.axes if grid else ():
        _attempt(lambda a=axis: _axis(a, scope, overrides))
    for statement in statements.of(tree.Declaration):
        for item in statement.items:
            _attempt(lambda i=item, s=statement: _variable(i, ROLES[s.kind], scope))
    for statement in statements.of(tree.TargetStatement):
        _attempt(lambda s=statement: _target(s, scope))
    for statement in statements.of(tree.ReadoutStatement):
        _attempt(lambda s=statement: _variable(s.declared, Role.READOUT, scope))
    for statement in statements.of(tree.KernelStatement):
        _attempt(lambda s=statement: _kernel(s, scope))
    for statement in statements.of(tree.Equation):
        _attempt(lambda s=statement: _equation(s, scope))


def _dim(
    statement: tree.DimStatement, scope: Builder, overrides: Mapping[str, float]
) -> None:
    scope.declare(statement.name)
    written = integer(statement.size, scope, "a dim")
    scope.dims[statement.name.name] = _length(
        overrides.get(statement.name.name, written)
    )


def _length(value: float) -> int:
    return max(int(value), 1)


def _axis(axis: tree.Axis, scope: Builder, overrides: Mapping[str, float]) -> None:
    name = axis.name.name
    scope.declare(axis.name)
    if len(name) != 1:
        scope.fail(f"an axis is one letter, not '{axis.name.text}'", axis.name.span)
    size = _length(
        overrides.get(name, integer(axis.size, scope, f"the length of {name}"))
    )
    low = number(axis.interval.low, scope, f"the start of {name}")
    high = number(axis.interval.high, scope, f"the end of {name}")
    if not low < high:
        scope.fail(
            f"the interval of {name} is empty", axis.interval.span, "write [low, high]"
        )
    if not axis.interval.low_closed or axis.interval.high_closed == axis.periodic:
        expected = "[low, high)" if axis.periodic else "[low, high]"
        scope.fail(
            f"{'a periodic' if axis.periodic else 'an'} axis is written on {expected}",
            axis.interval.span,
            None
            if axis.periodic
            else f"or make {name} periodic: `on [low, high) periodic`",
        )
    if len(scope.axes) == 3:
        scope.fail("a grid has at most three axes", axis.span)
    scope.axes[name] = GridAxis(name, size, low, high, axis.periodic, axis.span)


# --- arrays ------------------------------------------------------------------------


def _variable(item: tree.Declared, role: Role, scope: Builder) -> None:
    name = item.name.name
    scope.declare(item.name)
    shape = tuple(_channel(size, scope) for size in item.shape)
    domain = _domain(item, role, scope)
    sampled = role is not Role.PARAM
    axes = array_axes(
        scope.axes, shape, frozenset(domain), sampled=sampled, steps=scope.steps
    )
    if math.prod(axis.size or 1 for axis in axes) > MAX_CELLS:
        scope.fail(f"'{item.name.text}' would have more than 2³¹ numbers", item.span)
    low, high = _bounds(item, role, scope)
    if any(relation == "psd" for relation, _ in item.constraints):
        _factored(item, shape, domain, axes, scope)
        return
    scope.variables[name] = Variable(
        array=Array(name, axes, role),
        spelling=item.name.text,
        shape=shape,
        domain=domain,
        span=item.span,
        comment=_comment(item, scope),
        init=_init(item, role, scope, low, high),
        low=low,
        high=high,
    )


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
        if axis.name not in scope.axes:
            hint = (
                f"its axes: {', '.join(scope.axes)}" if scope.axes else "add a `grid`"
            )
            scope.fail(f"the grid has no axis '{axis.text}'", axis.span, hint)
    written = [axis.name for axis in names]
    if len(set(written)) != len(written):
        scope.fail("an axis is named twice", item.span)
    if role is Role.STATE and set(written) != set(scope.axes):
        every = ", ".join(scope.axes)
        scope.fail(
            f"the field '{item.name.text}' must live on the whole grid",
            item.span,
            f"write `{item.name.text}({every})`" if every else "add a `grid` statement",
        )
    order = [TIME, *scope.axes]
    return tuple(axis for axis in order if axis in written)


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
        )
    return init


def _init_value(node: tree.Expr, scope: Builder) -> Init:
    if isinstance(node, tree.Juxtaposition) and len(node.items) == 2:
        name, group = node.items
        if isinstance(name, tree.Name) and isinstance(group, tree.Group):
            if name.name in ("normal", "uniform"):
                if len(group.items) != 2:
                    scope.fail(f"{name.name} takes two numbers", group.span)
                first, second = (number(item, scope, "an init") for item in group.items)
                return Init(name.name, first, second)
    return Init("constant", number(node, scope, "an init"))


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
            scope.fail("a class label is one number per sample", statement.span)
        array = Array(name.name, (Axis(BATCH, 0),), Role.TARGET)
        variable = Variable(array, name.text, (), (), statement.span, classes=-1)
        scope.variables[name.name] = variable
        return
    _variable(statement.declared, Role.TARGET, scope)
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
    every = integer(statement.every, scope, "every") if statement.every else 1
    if scope.every not in (None, every):
        scope.fail(
            "all targets along the trajectory must share one `every`", statement.span
        )
    if every > scope.steps:
        scope.fail(
            f"every {every} is more than the {scope.steps} steps of the run",
            statement.span,
        )
    scope.every = every


def _kernel(statement: tree.KernelStatement, scope: Builder) -> None:
    scope.declare(statement.name)
    names = [name.name for name in statement.variables]
    if len(set(names)) != len(names):
        scope.fail("a variable of the kernel is named twice", statement.span)
    scope.kernels[statement.name.name] = statement


# --- definitions and functions ------------------------------------------------------


def _equation(statement: tree.Equation, scope: Builder) -> None:
    left = statement.left
    if isinstance(left, tree.Name):
        if left.name in ("omega", "dt"):
            if left.name in scope.variables:
                scope.fail(
                    f"'{left.text}' is declared as a param already", statement.span
                )
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
