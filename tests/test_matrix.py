"""Operator × boundary × scheme × dtype × target: the gradients of every combination.

The factors are the plug-ins that are found, so that a new file is tested by being
there.  By default each pair of them meets in some model (operators in groups, all of a
group in one model); with ``--full`` each combination has a model of its own.

Checked are: dot tests of vjp and jvp, the order of the remainder along the gradient,
float32 against float64, and that neither earlier calls, nor checkpoints, nor threads
change a bit.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from test_gradients import (
    Point,
    arguments,
    by_name,
    direction,
    dot,
    entries,
    gradients,
    largest,
    moved,
    norm,
    point_of,
    value_at,
)

from pdec.contracts import Boundary, Operator, Scheme, Target, discover
from pdec.errors import ModelErrors
from pdec.pipeline import Compilation, compile_source, derive, module_of
from pdec.source import from_text

OPERATORS = discover("pdec.operators", Operator)
BOUNDARIES = discover("pdec.boundaries", Boundary)
SCHEMES = discover("pdec.schemes", Scheme)
DTYPES = ("float64", "float32")
ACCURACIES = (2, 4, 6)
# a target that compiles for seconds is held against this one, in tests of its own
TARGETS = [t.name for t in discover("pdec.targets", Target).values() if not t.needs]
GROUPS = 5  # of operators; a model has all of one


@dataclass(frozen=True)
class Case:
    """One combination."""

    operators: tuple[str, ...]
    boundary: str
    scheme: str
    accuracy: int
    dtype: str
    target: str

    def __str__(self) -> str:
        parts = (self.scheme, self.boundary, str(self.accuracy), *self.operators)
        return "-".join((*parts, self.dtype, self.target))

    @property
    def solves(self) -> bool:
        """Whether the step solves for a stage that is defined by itself."""
        return solves(self.scheme)


def pairwise(factors: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """Few rows in which each pair of values of two factors meets.

    A row begins with a pair that has not met; each other factor then takes the value
    that makes most new pairs with those already chosen.
    """

    def pairs(row: dict[int, Any]) -> set[tuple[tuple[int, Any], ...]]:
        return set(itertools.combinations(sorted(row.items()), 2))

    places = itertools.combinations(enumerate(factors), 2)
    apart = {
        ((i, a), (j, b)): None
        for (i, left), (j, right) in places
        for a, b in itertools.product(left, right)
    }
    while apart:
        row = dict(next(iter(apart)))
        for place, values in enumerate(factors):
            if place not in row:
                news = [len(pairs(row | {place: v}) & apart.keys()) for v in values]
                row[place] = values[news.index(max(news))]
        for pair in pairs(row):
            apart.pop(pair, None)
        yield tuple(row[place] for place in range(len(factors)))


def cases(full: bool) -> list[Case]:
    """All combinations, or enough for each pair."""
    walls = ["periodic", *BOUNDARIES]
    rest = (walls, list(SCHEMES), ACCURACIES, DTYPES, TARGETS)
    if full:
        alone = [(name,) for name in OPERATORS]
        return [Case(*row) for row in itertools.product(alone, *rest)]
    names = list(OPERATORS)
    groups = [tuple(names[i::GROUPS]) for i in range(GROUPS)]
    return [Case(*row) for row in pairwise((groups, *rest))]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        found = cases(metafunc.config.getoption("--full"))
        metafunc.parametrize("case", found, ids=str)


# --- models ---------------------------------------------------------------------------

# A condition by the orders of its derivatives: each kind of boundary stands for one.
CONDITIONS = {
    frozenset({0}): "{u} = {g}",
    frozenset({1}): "∂n {u} = {g}",
    frozenset({0, 1}): "{u} + 0.5 ∂n {u} = {g}",
    frozenset({2}): "∂²{u} = {g}",
}


def solves(scheme: str) -> bool:
    """Whether a stage of a scheme is defined by itself."""
    lines = (line.split("=") for line in SCHEMES[scheme].text.strip().splitlines())
    return any(re.search(rf"\b{left.strip()}\b", right) for left, right in lines)


def text(case: Case) -> str:
    """A model with a trained rate, a diffusivity on faces and an input.

    It has two fields where the scheme needs pairs; the conditions at its walls take a
    parameter and an input.
    """
    in_rate = [name for name in case.operators if stands_in_rate(name, case)]
    in_loss = [name for name in case.operators if name not in in_rate]
    labels = any("logits" in OPERATORS[name].example for name in in_loss)
    terms = " + ".join(["U z", *(OPERATORS[name].example for name in in_rate)])
    losses = [f" + 0.1 {OPERATORS[name].example}" for name in in_loss]
    paired = SCHEMES[case.scheme].needs == "pairs"
    return f"""
dtype {case.dtype}
accuracy {case.accuracy}
grid x[9] on {"[0, 1)  periodic" if case.boundary == "periodic" else "[0, 1]"}
field z(x){", w(x)" if paired else ""}
{_walls(case.boundary, "zw" if paired else "z")}
input s(x)
param a init 0.5, U(x) init 0.3, D(x) > 0 init 0.002, b init 0.1, γ > 0 init 1.2
param m[2] init normal(0.5, 0.2)
{(_PAIRS if paired else _RELAXATION).format(terms=terms)}
scheme {case.scheme}
{"" if SCHEMES[case.scheme].steady else _CLOCK}
{_LABELS if labels else ""}
target y(x)
loss = mean((z - y)²){"".join(losses)} + 0.01 sum(m²)
"""


_CLOCK = """
steps 4
dt = 0.2
"""
_RELAXATION = "dz/dt = -γ(z - tanh(0.1 ({terms}) + a z ∂z/8 + ∂(D ∂z) + b s))"
_PAIRS = """
dz/dt = w/γ + b s ∂w
dw/dt = ∂(D ∂z) - 0.2 ({terms}) + a z ∂z
"""
_LABELS = """
param R[3](x) init normal(0, 0.3)
readout logits[3] = integral(R z)
target label: class
"""


def _walls(boundary: str, fields: str) -> str:
    """The condition at one end, another at the other; one value trained, one given."""
    if boundary == "periodic":
        return ""
    forms, kind = list(CONDITIONS.values()), BOUNDARIES[boundary]
    own = next(form for orders, form in CONDITIONS.items() if kind.matches(orders))
    other = forms[(forms.index(own) + 1) % len(forms)]
    lines = ["param g init 0.2", "input q"]
    for u in fields:
        lines.append(f"at x = 0: {own.format(u=u, g='g')}")
        lines.append(f"at x = 1: {other.format(u=u, g='q')}")
    return "\n".join(lines)


def stands_in_rate(operator: str, case: Case) -> bool:
    """Whether the operator's example is a term of the rate; else it is one of the loss.

    Logits are read off the last state; terms that read the whole grid have a full
    Jacobian, which no scheme solves.
    """
    return "logits" not in OPERATORS[operator].example and not (
        case.solves and reads_the_whole_grid(operator)
    )


@cache
def reads_the_whole_grid(operator: str) -> bool:
    if OPERATORS[operator].elementwise:
        return False
    model = f"""
grid x[5] on [0, 1)  periodic
field z(x)
param U(x), m[2]
dz/dt = {OPERATORS[operator].example} + 0 sum(m) + 0 U
scheme implicit
steps 1
dt = 1
"""
    try:
        derive(from_text(model, "probe"))
    except ModelErrors as error:
        assert "a sum over the grid" in str(error)
        return True
    return False


def anew(compilation: Compilation) -> ModuleType:
    """The module of a compilation, without a past."""
    module = module_of(compilation)
    del sys.modules[module.__name__]
    return module_of(compilation)


# --- checks ---------------------------------------------------------------------------


def test_gradients(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    compilation = compile_source(from_text(text(case), "matrix"), target=case.target)
    module = anew(compilation)
    point, other = point_of(module, 1, 5), point_of(module, 2, 5)
    transposes(module, point, 1e-12 if case.solves else 1e-13)
    remainder_is_of_second_order(module, point)
    if case.dtype == "float32":
        point, other = single(point), single(other)
        is_near_double(module, point)
    first = gradients(module, point)
    changed = gradients(module, other)
    monkeypatch.setattr(module, "_tile_size", lambda dtype: 2)
    nothing_else_matters(module, point, monkeypatch)
    monkeypatch.undo()
    same(gradients(module, point), first, "after other parameters")
    same(gradients(anew(compilation), other), changed, "without a past")


def transposes(module: ModuleType, point: Point, tolerance: float) -> None:
    """<J v, w> = <v, Jᵀ w> for the parameters, the state and the inputs, each alone."""
    rng = np.random.default_rng(3)
    fields, names = module.MODEL.fields, entries(module)
    zT, pullback = module.vjp(**arguments(point), wrt=names)
    zT = by_name(zT, fields)
    w = {n: rng.standard_normal(z.shape) for n, z in zT.items()}
    pulled = dict(zip(names, pullback(w), strict=True))
    for entry, keyword in (("params", "dp"), ("z0", "dz0"), ("inputs", "dinputs")):
        v = direction(module, point, rng)[entry]
        Jv = by_name(module.jvp(**arguments(point), **{keyword: v}), fields)
        error = abs(dot(Jv, w) - dot(v, by_name(pulled[entry], fields)))
        assert error <= tolerance * norm(Jv) * norm(w), f"dot test in {entry}"


def remainder_is_of_second_order(module: ModuleType, point: Point) -> None:
    """The loss along its gradient: steps get smaller until no kink is passed."""
    value, g = gradients(module, point)
    v = direction(module, point, np.random.default_rng(8))
    for entry, arrays in v.items():
        for key, d in arrays.items():
            arrays[key] = np.where(g[entry][key] < 0.0, -1.0, 1.0) * np.abs(d)
    slope = sum(dot(g[entry], v[entry]) for entry in v)
    best = np.inf
    for exponent in np.arange(-3.0, -15.0, -1.0):
        steps = 2.0 ** (exponent - np.arange(4))
        values = [value_at(module, moved(point, v, h)) for h in steps]
        rest = [abs(b - value - h * slope) for h, b in zip(steps, values, strict=True)]
        if min(rest) > 1e-14 * abs(value):
            orders = np.log2(np.divide(rest[:-1], rest[1:]))
            best = min(best, float(np.abs(orders - 2.0).max()))
        if best <= 0.05:
            return
    raise AssertionError(f"order of the remainder is off by {best:.2g}")


def single(point: Point, kind: type = np.float32) -> Point:
    """A point rounded to float32, in float32 or in float64."""
    return {
        entry: {
            name: x.astype(np.float32).astype(kind) if x.dtype.kind == "f" else x
            for name, x in arrays.items()
        }
        for entry, arrays in point.items()
    }


def is_near_double(module: ModuleType, point: Point) -> None:
    """Gradients in float32 are those in float64 but for rounding."""
    _, exact = gradients(module, single(point, np.float64))
    _, rough = gradients(module, point)
    for entry, arrays in exact.items():
        bound = 1e-5 * largest(arrays)
        for name, g in arrays.items():
            assert rough[entry][name].dtype == np.float32
            error = np.abs(rough[entry][name] - g).max()
            assert error <= bound, f"float32 {name}: {error:.1e} > {bound:.1e}"


def nothing_else_matters(
    module: ModuleType, point: Point, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither checkpoints nor threads change a bit of three tiles' gradients."""
    found = {}
    for threads, checkpoint in (("1", "all"), ("2", "all"), ("1", "sqrt"), ("2", 1)):
        monkeypatch.setenv("PDEC_NUM_THREADS", threads)
        loss, g = module.value_and_grad(
            **arguments(point, y=True),
            wrt=entries(module),
            check="off",
            checkpoint=checkpoint,
        )
        g = {entry: by_name(arrays, module.MODEL.fields) for entry, arrays in g.items()}
        found[threads, checkpoint] = loss, g
    stored = found["1", "all"]
    for choice, other in found.items():
        same(other, stored, f"threads, checkpoint = {choice}")


def same(one: Any, other: Any, what: str) -> None:
    """Equal to the bit."""
    (loss, g), (loss_too, h) = one, other
    assert loss == loss_too, what
    for entry in g:
        for name in g[entry]:
            assert np.array_equal(g[entry][name], h[entry][name]), f"{name}, {what}"


# --- the matrix itself ----------------------------------------------------------------


def test_every_pair_meets() -> None:
    rows = cases(full=False)
    for operator, scheme in itertools.product(OPERATORS, SCHEMES):
        assert any(operator in c.operators and c.scheme == scheme for c in rows)
    for factor in (("periodic", *BOUNDARIES), ACCURACIES, DTYPES, TARGETS):
        for value, scheme in itertools.product(factor, SCHEMES):
            assert any(
                value in (c.boundary, c.accuracy, c.dtype, c.target)
                and c.scheme == scheme
                for c in rows
            )


def test_only_sums_over_the_grid_are_refused_by_solvers() -> None:
    refused = [name for name in OPERATORS if "logits" not in OPERATORS[name].example]
    refused = [name for name in refused if reads_the_whole_grid(name)]
    assert sorted(refused) == ["integral", "mean", "sum"]
