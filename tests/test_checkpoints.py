"""Checkpoints and threads: the same bits for less memory, or on more cores.

The models are some of ``tests/models``, run for more steps: the choice of states that
are kept, the number of threads and a fork must not change a bit of a gradient.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import multiprocessing
import os
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import pdec
from pdec import cli
from pdec.commands.memory import memory_of

ROOT = Path(__file__).resolve().parent.parent
STEPS = 23
CHOICES = ("sqrt", 1, 2, 3, 7, 22, 100)

# targets along the way and a value for each layer; walls, channels, inputs, readouts
MODELS: dict[str, dict[str, int]] = {
    "single": {},
    "trainable_omega": {},
    "tensor_layers": {},
    "inputs": {},
    "robin": {},
    "gray_scott_small": {},
    "started": {},
    "per_layer": {"x": 12},
    "implicit_burgers": {"steps": 9},
    "imex_walls": {"steps": 9},
    "trapezoidal_ring": {"steps": 9},
    "symplectic_pendula": {},
    "equilibrium_ring": {"steps": 5},
}


@cache
def loaded(name: str, steps: int = STEPS) -> ModuleType:
    folder = "examples" if name == "per_layer" else "tests/models"
    overrides = {"steps": steps, **MODELS.get(name, {})}
    return pdec.load(ROOT / folder / f"{name}.npde", overrides=overrides)


def drawn(variables: Any, batch: int, rng: Any, dtype: Any) -> Any:
    return {
        name: rng.integers(v.classes, size=(batch, *v.shape))
        if v.classes
        else rng.uniform(0.1, 0.6, (batch, *v.shape)).astype(dtype)
        for name, v in variables.items()
    }


def case(module: ModuleType, batch: int = 5, dtype: Any = np.float64) -> Any:
    """Arguments of value_and_grad, or of vjp; dtype None is the model's."""
    rng = np.random.default_rng(3)
    model = module.MODEL
    dtype = dtype or model.dtype
    given = {
        "p": module.init_params(1, dtype),
        "z0": drawn(model.fields, batch, rng, dtype)
        if "z0" in module._ENTRIES
        else None,
        "inputs": drawn(model.inputs, batch, rng, dtype),
    }
    if hasattr(module, "loss"):
        given["y"] = drawn(model.targets, batch, rng, dtype)
    return given


def gradients(module: ModuleType, given: Any, **options: Any) -> Any:
    """The loss and all gradients, as a flat list of arrays."""
    wrt = tuple(module._ENTRIES)
    if "y" in given:
        value, found = module.value_and_grad(**given, wrt=wrt, check="off", **options)
        parts = [np.asarray(value), *(found[entry] for entry in wrt)]
    else:
        zT, pullback = module.vjp(**given, wrt=wrt, **options)
        parts = [*pullback(zT)]
    return [
        array
        for part in parts
        for array in (part.values() if isinstance(part, dict) else [part])
    ]


def same_bits(a: Any, b: Any) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


# --- the schedule ---------------------------------------------------------------------


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module whose number of steps can be changed, for its schedule alone."""
    found = loaded("single")

    def set_steps(steps: int) -> None:
        model = dataclasses.replace(found.MODEL, steps=steps)
        monkeypatch.setattr(found, "MODEL", model)

    found.set_steps = set_steps
    return found


def replayed(module: Any, slots: int) -> list[int]:
    """How often each step runs; every move must find the states that it needs."""
    runs = [0] * module.MODEL.steps
    held: dict[int, int] = {0: 0}
    wanted = module.MODEL.steps
    for start, end, place in module._schedule(slots):
        assert held[place] == min(start, end)
        if start < end:
            for n in range(start, end):
                runs[n] += 1
            used = range(place + 1, place + 2 + (end - start > 1))
            held |= dict.fromkeys(used, -1) | {place + 1: end}
            assert max(held) < slots + 2
        else:
            assert start == wanted and held[place + 1] == start
            wanted = end
            assert end == start - 1
    assert wanted == 0
    return runs


@pytest.mark.parametrize("steps", [*range(1, 25), 100, 255])
def test_the_schedule_is_binomial(module: Any, steps: int) -> None:
    """C(s + r, s) steps run at most r times (Griewank & Walther 2000)."""
    module.set_steps(steps)
    for slots in {min(k, steps - 1) for k in (1, 2, 3, 4, 7, 22, steps)}:
        runs = replayed(module, slots)
        r = max(runs)
        assert r == 1 or math.comb(slots + r - 1, slots) < steps
        assert sum(runs) <= 1.03 * fewest(steps, slots)
    assert set(replayed(module, module._slots("all"))) == {1}
    slots = module._slots("sqrt")
    assert max(replayed(module, slots)) <= 2
    assert slots <= 1 or max(replayed(module, slots - 1)) > 2 or steps <= 2


@cache
def fewest(steps: int, slots: int) -> int:
    """The least number of runs of a step, by trying every state that could be kept."""
    if steps == 1:
        return 1
    if slots == 0:
        return 1 << 40
    if steps > 30:
        return 1 << 40  # too many to try
    return min(
        m + (fewest(m, slots) if m > 1 else 0) + fewest(steps - m, slots - 1)
        for m in range(1, steps)
    )


def test_sqrt_of_a_deep_run(module: Any) -> None:
    module.set_steps(4096)
    assert module._slots("sqrt") == 90 and module._slots("all") == 4095
    assert module._slots(np.int64(7)) == 7


@pytest.mark.parametrize("wrong", [0, -3, 2.0, True, "some", None])
def test_wrong_choices(wrong: Any) -> None:
    module = loaded("single")
    given = case(module)
    for call in (module.value_and_grad, module.vjp):
        arguments = (
            given if call is module.value_and_grad else dict(list(given.items())[:3])
        )
        with pytest.raises(ValueError, match='expected "all", "sqrt" or how many'):
            call(**arguments, checkpoint=wrong)


# --- the same bits --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", MODELS)
def test_every_choice_gives_the_same_bits(
    name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = loaded(name)
    monkeypatch.setattr(module, "_tile_size", lambda dtype: 2)
    given = case(module, 5, dtype)
    stored = gradients(module, given)
    assert all(np.isfinite(array).all() for array in stored)
    for choice in CHOICES:
        again = gradients(module, given, checkpoint=choice)
        assert same_bits(again, stored), choice


def test_a_step_finds_its_successor() -> None:
    """Implicit steps read <field>_next when they are reversed: it must be right."""
    module = loaded("single")
    plain, seen = module._step_vjp, []
    cells = module._CELLS["z"]

    def checked(n: int, c: Any, v: Any, c_bar: Any, v_bar: Any) -> None:
        told = v["z_next"][cells].copy()
        ghosts = v["z"].copy()
        module._step(n, c, v)
        seen.append(
            np.array_equal(v["z_next"][cells], told) and np.array_equal(v["z"], ghosts)
        )
        plain(n, c, v, c_bar, v_bar)

    given = case(module)
    module._step_vjp = checked
    try:
        for choice in ("all", *CHOICES):
            gradients(module, given, checkpoint=choice)
    finally:
        module._step_vjp = plain
    assert len(seen) == STEPS * (1 + len(CHOICES)) and all(seen)


# --- memory ---------------------------------------------------------------------------


def peak(module: ModuleType, call: Callable[[], Any]) -> int:
    call()  # what is made once
    module._KEPT.clear()  # the buffers of that call
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDEC_NUM_THREADS", "1")


DEEP = """\
grid x[256] on [0, 1) periodic
field z(x)
param W0 init 0.5, W2 >= 0 init 1e-6, b(x)
f(s) = tanh(s)
dz/dt = -(z - f(W0 z + W2 ∂²z - b))
steps 400
ω = 0.5
target y(x)
loss = mean((z - y)²)
"""


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    file = tmp_path_factory.mktemp("deep") / "deep.npde"
    file.write_text(DEEP, encoding="utf-8")
    return pdec.load(file)


@pytest.mark.usefixtures("one_thread")
def test_memory_is_that_of_the_states_kept(deep: ModuleType) -> None:
    """400 steps: 401 states, or 29 with "sqrt", which is C(27 + 2, 2) = 406 steps."""
    given = case(deep, 20)
    whole = peak(deep, lambda: gradients(deep, given))
    for choice, states in (("sqrt", 29), (10, 12), (6, 8)):
        assert deep._slots(choice) + 2 == states
        part = peak(
            deep, lambda choice=choice: gradients(deep, given, checkpoint=choice)
        )
        # beside the states: 2 cotangents, the work arrays twice, the gradient of z0
        rest = 2 + 2 * len(deep._WORK) + 2
        assert part <= 1.02 * whole * (states + rest) / (401 + 2)


@pytest.mark.parametrize("name", [*MODELS, "forced", "smooth", "definitions"])
def test_buffers_are_kept_and_what_is_in_them_does_not_matter(name: str) -> None:
    """A run that went wrong may leave anything behind."""
    module = loaded(name)
    given = case(module)

    def kept() -> list[Any]:
        ((_, spaces),) = module._KEPT.values()
        every = [space for pair in spaces for space in pair]
        return [a for s in every for a in (*s.states.values(), *s.v.values())]

    expected, before = gradients(module, given), kept()
    for array in before:
        array[...] = np.nan
    assert same_bits(gradients(module, given), expected)
    assert {*map(id, kept())} == {*map(id, before)}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["deep", "digits"])
def test_the_table_tells_what_is_allocated(name: str, deep: ModuleType) -> None:
    """The table has the driver's buffers; temporaries of a step come on top of all."""
    module = deep if name == "deep" else pdec.load(ROOT / f"examples/{name}.npde")
    for batch in (1, 17):
        given = {k: v for k, v in case(module, batch, None).items() if v is not None}
        whole, *others = memory_of(module, batch).choices[:3]
        most = peak(
            module, lambda given=given: module.value_and_grad(**given, check="off")
        )
        assert whole.bytes <= most
        if name == "deep" and batch > 1:
            assert most <= 1.01 * whole.bytes
        for row in others:
            call = partial(module.value_and_grad, **given, checkpoint=row.checkpoint)
            saved = most - peak(module, partial(call, check="off"))
            assert saved == pytest.approx(whole.bytes - row.bytes, rel=0.01, abs=10_000)


def test_show_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    model = str(ROOT / "examples/adr1d.npde")
    assert cli.main(["show", model, "--set", "steps=4096", "--batch", "8"]) == 0
    text = capsys.readouterr().out
    table = text[text.index("memory of a gradient (8 samples in float64") :]
    assert table.splitlines()[2].split()[:2] == ['"all"', "4,097"]
    assert table.splitlines()[3].split()[:2] == ['"sqrt"', "92"]
    assert cli.main(["show", model, "--json", "--batch", "8"]) == 0
    memory = json.loads(capsys.readouterr().out)["memory"]
    assert memory["batch"] == memory["tile"] == 8
    first, second = memory["choices"][:2]
    assert first["extra_steps"] == 0 and second["states"] == 7
    assert cli.main(["show", model, "--batch", "0"]) == 2


# --- threads --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["single", "inputs", "per_layer", "imex_walls"])
def test_threads_give_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded(name)
    monkeypatch.setattr(module, "_tile_size", lambda dtype: 2)
    given = case(module, 23)  # float64, which shows the order of a sum
    found = []
    for threads in ("1", "2", "5", "40"):
        monkeypatch.setenv("PDEC_NUM_THREADS", threads)
        arrays = gradients(module, given, checkpoint=3)
        run = {key: given[key] for key in ("p", "z0", "inputs")}
        arrays.append(module.trajectory(**run)[-1])
        found.append(arrays)
    assert all(same_bits(other, found[0]) for other in found[1:])


def test_several_callers_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded("single")
    monkeypatch.setattr(module, "_tile_size", lambda dtype: 1)
    monkeypatch.setenv("PDEC_NUM_THREADS", "2")
    cases = [case(module, batch) for batch in (3, 9, 17)]
    wanted = [gradients(module, given) for given in cases]
    found: dict[int, Any] = {}

    def call(i: int) -> None:
        found[i] = [gradients(module, cases[i]) for _ in range(3)]

    callers = [threading.Thread(target=call, args=(i,)) for i in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for i, arrays in found.items():
        assert all(same_bits(again, wanted[i]) for again in arrays)
    assert len(found) == 3


def test_a_fork_gets_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded("single")
    monkeypatch.setattr(module, "_tile_size", lambda dtype: 1)
    monkeypatch.setenv("PDEC_NUM_THREADS", "2")
    given = case(module, 6)
    wanted = gradients(module, given)  # the threads of this process exist now
    assert in_child(lambda: same_bits(gradients(module, given), wanted))


def in_child(call: Callable[[], Any]) -> Any:
    """What a function returns in a process that is forked, and may hang there."""
    ours, theirs = multiprocessing.Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=lambda: theirs.send(call()))
        process.start()
    try:
        assert ours.poll(20), "the child hangs"
        return ours.recv()
    finally:
        process.kill()
        process.join()


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that runs eight samples in eight tiles on two threads."""
    module = loaded("single")
    monkeypatch.setattr(module, "_tile_size", lambda dtype: 1)
    monkeypatch.setenv("PDEC_NUM_THREADS", "2")
    yield module


def huge(module: ModuleType) -> Any:
    given = case(module, 8)
    given["p"]["W0"] = np.full_like(given["p"]["W0"], 1e200)
    return given


def test_errstate_reaches_the_threads(two_threads: Any) -> None:
    given = case(two_threads, 8)
    step, seen = two_threads._step, {}
    both = threading.Barrier(2)

    def spying(*arguments: Any) -> None:
        thread = threading.current_thread()
        if thread not in seen:
            seen[thread] = np.geterr()["over"]
            both.wait(20)
        step(*arguments)

    two_threads._step = spying
    try:
        with np.errstate(over="raise"):
            gradients(two_threads, given)
    finally:
        two_threads._step = step
    assert list(seen.values()) == ["raise", "raise"]
    assert threading.main_thread() in seen


def test_ctrl_c_calls_the_rest_off(
    two_threads: Any, ctrl_c: Callable[[], None]
) -> None:
    given, begun, numbers = case(two_threads, 8), [], itertools.count()
    begin = two_threads._begin

    def interrupted(run: Any, values: Any, space: Any, rows: Any) -> Any:
        begun.append(rows)
        if next(numbers) == 1:  # the list may have grown again by now
            ctrl_c()
            threading.Event().wait(0.2)
        return begin(run, values, space, rows)

    wanted = gradients(two_threads, given)
    two_threads._begin = interrupted
    try:
        with pytest.raises(KeyboardInterrupt):
            gradients(two_threads, given)
    finally:
        two_threads._begin = begin
    assert len(begun) < 8
    assert same_bits(gradients(two_threads, given), wanted)


def test_ctrl_c_keeps_no_lock(two_threads: Any) -> None:
    """It comes at the end of each function in turn that the queue of tiles calls."""
    own = {f.__code__ for f in vars(two_threads._Queue).values() if callable(f)}

    def interrupted(moment: int) -> bool:
        moments = itertools.count()

        def look(frame: Any, event: str, _: Any) -> Any:
            within = event == "return" and frame.f_back.f_code in own
            if within and next(moments) == moment:
                raise KeyboardInterrupt
            return look

        sys.settrace(look)
        try:
            two_threads._each_tile(8, 1, int, lambda *_: time.sleep(1e-3), str)
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False

    assert in_child(lambda: [*itertools.takewhile(interrupted, range(1000))])


def test_few_sums_are_held_at_a_time(two_threads: Any) -> None:
    given, alive, most = case(two_threads, 50), [0], [0]
    make = two_threads._zero_sums

    class Counted(dict[str, Any]):
        def __init__(self, sums: Any) -> None:
            super().__init__(sums)
            alive[0] += 1
            most[0] = max(most[0], alive[0])

        def __del__(self) -> None:
            alive[0] -= 1

    two_threads._zero_sums = lambda: Counted(make())
    try:
        gradients(two_threads, given)
    finally:
        two_threads._zero_sums = make
    assert 2 <= most[0] <= 2 + 3  # all tiles' and, of two threads, those at hand


def test_the_first_tile_that_fails_is_the_one_that_is_reported(
    two_threads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, both = case(two_threads, 8), threading.Barrier(2)

    def failing(*given: Any) -> Any:
        (rows,) = (each for each in given if isinstance(each, slice))
        both.wait(20)  # two threads, and the later tile fails first
        if rows.start == 0:
            threading.Event().wait(0.1)
        raise ArithmeticError(f"tile {rows.start}")

    monkeypatch.setattr(two_threads, "_begin", failing)
    with pytest.raises(ArithmeticError, match="tile 0"):
        gradients(two_threads, given)


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "1.5"])
def test_wrong_numbers_of_threads(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded("single")
    monkeypatch.setenv("PDEC_NUM_THREADS", wrong)
    with pytest.raises(ValueError, match=f"PDEC_NUM_THREADS is '{wrong}', expected a"):
        gradients(module, case(module))


def test_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded("single")
    monkeypatch.delenv("PDEC_NUM_THREADS", raising=False)
    assert module._thread_count() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("PDEC_NUM_THREADS", " 3 ")
    assert module._thread_count() == 3
