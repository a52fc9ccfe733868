"""Stages: the step of a scheme, from its text, as statements.

Stage 4c, called by ``discrete.py``.  The scheme is text in the notation of the models:
``z_next = z + dt F(z)``.  Each F(…) is the right-hand side at a state; for forward
Euler and dz/dt = -γ(z - f_Z),

    z⁺ = z + (ω/γ) (-γ (z - f_Z))  =  (1 - ω) z + ω f_Z.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import sympy

from pdec import tree
from pdec.contracts import Scheme, discover
from pdec.lowering import Lowering, Tables
from pdec.model import Model
from pdec.notation import text
from pdec.parser import parse
from pdec.source import from_text
from pdec.statements import Block, Map, Origin, Role, Statement, successor
from pdec.symbolic import Access


def step_block(model: Model, tables: Tables) -> Block:
    """The scheme's stages, with the right-hand side written out at each of them."""
    plugin = discover("pdec.schemes", Scheme)[model.scheme]
    stages = parse(from_text(plugin.text, plugin.name)).statements
    known: dict[str, dict[str, sympy.Expr]] = {
        "z": {name: variable.array.element() for name, variable in model.fields.items()}
    }
    statements: list[Statement] = []
    for stage in stages:
        assert isinstance(stage, tree.Equation) and isinstance(stage.left, tree.Name)
        evaluate = partial(_evaluate, stage.right, known, tables, statements)
        known[stage.left.name] = _stage(stage.left.name, evaluate(), tables, statements)
    return Block(
        "step", tuple(statements), tuple(successor(name) for name in model.fields)
    )


def _stage(
    name: str,
    values: dict[str, sympy.Expr],
    tables: Tables,
    statements: list[Statement],
) -> dict[str, sympy.Expr]:
    """Assign a stage's value for every field; the last stage is the new state."""
    model = tables.model
    found: dict[str, sympy.Expr] = {}
    for field, value in values.items():
        last = name == "z_next"
        array_name = successor(field) if last else tables.fresh(f"{field}_{name}")
        array = replace(
            tables.arrays[field], name=array_name, role=Role.NEXT if last else Role.WORK
        )
        tables.add(array)
        tables.field_of[array_name] = field
        lowering = Lowering(tables)
        spelled = model.spellings[field]
        origin = Origin("", model.source.location(model.evolution[field].span))
        lowering.assign(array.element(), value, origin, ready=True)
        *before, final = lowering.statements
        assert isinstance(final, Map)
        label = f"{spelled}⁺" if last else array_name
        formula = Origin(
            f"{label} = {text(final.expr, model.spellings)}", origin.location
        )
        statements += [*before, replace(final, origin=formula)]
        found[field] = array.element()
    return found


def _evaluate(
    node: tree.Expr,
    known: dict[str, dict[str, sympy.Expr]],
    tables: Tables,
    statements: list[Statement],
) -> dict[str, sympy.Expr]:
    """The value of a scheme's expression for every field of the model."""
    model = tables.model
    evaluate = partial(_evaluate, known=known, tables=tables, statements=statements)
    if isinstance(node, tree.Number):
        return dict.fromkeys(model.fields, sympy.nsimplify(node.value, rational=True))
    if isinstance(node, tree.Name):
        if node.name == "dt":
            assert model.dt is not None
            return dict.fromkeys(model.fields, model.dt)
        return known[node.name]
    if isinstance(node, tree.Group):
        return evaluate(node.items[0])
    if isinstance(node, tree.Negate):
        return {name: -value for name, value in evaluate(node.operand).items()}
    if isinstance(node, tree.Binary):
        left, right = evaluate(node.left), evaluate(node.right)
        return {name: _combine(node.op, left[name], right[name]) for name in left}
    assert isinstance(node, tree.Juxtaposition), node
    result = dict.fromkeys(model.fields, sympy.S.One)
    items = list(node.items)
    while items:
        item = items.pop(0)
        if isinstance(item, tree.Name) and item.name == "F":
            value = _right_side(evaluate(items.pop(0)), tables, statements)
        else:
            value = evaluate(item)
        result = {name: result[name] * value[name] for name in result}
    return result


def _combine(op: str, left: sympy.Expr, right: sympy.Expr) -> sympy.Expr:
    if op == "*":
        return left * right
    if op == "/":
        return left / right
    return left + right if op == "+" else left - right


def _right_side(
    state: dict[str, sympy.Expr], tables: Tables, statements: list[Statement]
) -> dict[str, sympy.Expr]:
    """F at a state: definitions are computed, the right side stays an expression."""
    model = tables.model
    places: dict[str, str] = {}
    suffix = ""
    for field, value in state.items():
        if value == model.fields[field].array.element():
            continue
        if not (isinstance(value, Access) and not value.offsets):
            made = _stage("stage", {field: value}, tables, statements)
            value = made[field]
        places[field] = value.array
        suffix = suffix or f"_{value.array}"
    lowering = Lowering(tables, places, suffix)
    rates = {
        name: lowering.lowered(value.expr) for name, value in model.evolution.items()
    }
    statements += lowering.statements
    return rates
