"""Threads that share one sample out: the same bits as one thread, NumPy's numbers."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from test_gradients import arguments, point_of
from test_numba import check_equal, results

from pdec.pipeline import compile_source, module_of
from pdec.source import from_text
from pdec.targets import teams

pytest.importorskip("numba")

LAYER = """\
param W0 init 0.5, Wx(x) init normal(0, 1e-3), Wy(y) init normal(0, 1e-3)
param W2 >= 0 init 1e-5, b(x, y) init normal(0, 0.1)
f(s) = tanh(s)
dz/dt = -(z - f(W0 z + Wx ∂x z + Wy ∂y z + W2 ∇²z - b))
steps 5
ω = 0.4
target q(x, y) every 2
loss = mean((z - q)²) + W0²
"""
MODELS = {
    # sums over all rows, over those of a column, none; losses along the way
    "periodic": "grid x[40] on [0, 1) periodic, y[24] on [0, 1) periodic\n"
    f"field z(x, y)\n{LAYER}",
    "walls": f"""\
grid x[36] on [0, 1], y[20] on [0, 1]
field z(x, y)
at x = 0: z + 0.1 ∂z = 0.3
at x = 1: ∂z = 0
at y: z = 0.1
{LAYER}""",
    # two stages, each with ghost cells of its own
    "stages": """\
grid x[40] on [0, 1) periodic, y[16] on [0, 1) periodic
field u(x, y)
param D >= 0 init 1e-4, U init 0.1
du/dt = D ∇²u - U ∂x u - u
scheme heun
steps 3
dt = 0.01
target q(x, y)
loss = mean((u - q)²)
""",
    # matrices, and a readout
    "channels": """\
dim d = 2
grid x[34] on [0, 1) periodic, y[12] on [0, 1) periodic
field z[d](x, y)
param A[d,d] init normal(0, 0.3), B[d,d] init normal(0, 1e-3), c[d] init 0.1
f(a) = tanh(a)
dz/dt = -(z - f(A z + B ∂x z - c))
steps 3
ω = 0.5
readout m[d] = integral(z)
target g[d]
loss = mean((m - g)²)
""",
}


def modules(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[ModuleType, ModuleType]:
    """A model for Numba, with as little work as may be shared out, and for NumPy."""
    monkeypatch.setattr(teams, "WORK", 1)
    source = from_text(MODELS[name], f"{name}.npde")
    ours = module_of(compile_source(source, target="numba"))
    monkeypatch.setattr(ours, "_MEMBER_ROWS", 10)
    monkeypatch.setattr(ours, "_MEMBER_WORK", 1)
    return ours, module_of(compile_source(source))


SLOW = {"periodic", "stages"}
ASKED = {"periodic": "z", "walls": "z", "stages": "u", "channels": "z[i0]"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in MODELS],
)
def test_rows_shared_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = modules(name, monkeypatch)
    assert ours._ROWS[0] > 0 and "_meet(" in inspect.getsource(ours._step.py_func)
    asked = f"_ask_for({ASKED[name]}, x + 6)"  # of each state once, on the way back
    assert inspect.getsource(ours._step_vjp.py_func).count("_ask_for(") == 1
    assert inspect.getsource(ours._step_vjp.py_func).count(asked) == 1
    assert "_ask_for(" not in inspect.getsource(ours._step.py_func)
    seen, member = [], ours._member
    monkeypatch.setattr(ours, "_member", lambda *a: seen.append(a) or member(*a))
    at, found = point_of(theirs, 1, 2), {}
    for threads in (1, 4, 6, 2):  # of them two and three for each of two samples
        monkeypatch.setenv("PDEC_NUM_THREADS", str(threads))
        seen.clear()
        found[threads] = results(ours, at, full=name == "periodic")
        assert {a[1] for a in seen} == {threads // 2} - {0, 1}
    for threads in (4, 6, 2):
        for key, (values, _) in found[1].items():
            for part, value in values.items():
                other = found[threads][key][0][part]
                assert other.tobytes() == value.tobytes(), (threads, key, part)
    monkeypatch.setenv("PDEC_NUM_THREADS", "2")
    check_equal(ours, theirs, batch=1, full=name == "periodic")


def test_small_grids_are_not_shared_out() -> None:
    text = MODELS["periodic"]
    module = module_of(compile_source(from_text(text, "a.npde"), target="numba"))
    assert module._ROWS == (0, 0) and not hasattr(module, "_meet")


def test_what_rows_depend_on_is_not_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mean over the plane in each step."""
    text = MODELS["stages"].replace("- u\n", "- mean(u) u\n")
    monkeypatch.setattr(teams, "WORK", 1)
    source = from_text(text, "mean.npde")
    module = module_of(compile_source(source, target="numba"))
    assert module._ROWS == (0, 0)
    monkeypatch.setenv("PDEC_NUM_THREADS", "2")
    check_equal(module, module_of(compile_source(source)), batch=1, full=False)


def test_ctrl_c_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch, ctrl_c: Callable[[], None]
) -> None:
    """One of two members waits for the other when Ctrl-C comes instead of that one."""
    ours, theirs = modules("channels", monkeypatch)
    monkeypatch.setenv("PDEC_NUM_THREADS", "2")
    given, run = arguments(point_of(theirs, 1, 1)), ours._run_samples
    wanted = ours.forward(**given)
    begun, ended, counters = threading.Event(), threading.Event(), []

    def member(first: int, last: int, *rest: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            counters.append(rest[4][-2])
            begun.set()
            run(first, last, *rest)
            ended.set()
        elif first < last:  # what comes before compiles
            assert begun.wait(60)
            ctrl_c()
            threading.Event().wait(60)
            raise AssertionError("Ctrl-C did not arrive")

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ours, "_run_samples", member)
        ours.forward(**given)
    try:
        assert ended.wait(60)
    finally:
        counters[0][0] = 1 << 62  # else its thread would run for ever
    assert ours.forward(**given).tobytes() == wanted.tobytes()
