"""Random models and mutants: what compiles is right, what is wrong says why."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import mutations
import pytest
import random_models
from limits import time_limit

from pdec.errors import ModelErrors, PdecError
from pdec.formatting.layout import format_model
from pdec.formatting.respell import meaning
from pdec.meaning.resolve import resolve
from pdec.pipeline import compile_source, module_of
from pdec.reading.parser import parse
from pdec.source import from_text

ROOT = Path(__file__).resolve().parent.parent
PARTS = 10  # the mutants of one test, so that a failure names a few hundred of them

# Of the mutants that are valid models every tenth is taken all the way, each with
# --full: most of the time goes into those.
COMPILED = 10


def seeds():
    """The models that are mutated, by name."""
    paths = [
        *(ROOT / "examples").glob("*.npde"),
        *(ROOT / "tests/models").glob("*.npde"),
    ]
    return [path.read_text("utf-8") for path in sorted(paths)]


@pytest.mark.parametrize("part", range(PARTS))
def test_mutants(part, request):
    full = request.config.getoption("--full")
    texts = seeds()
    valid = 0
    for number in range(part, 20_000 if full else 1000, PARTS):
        draw = random.Random(number)
        original = draw.choice(texts)
        text = mutations.mutant(original, draw)
        try:
            with time_limit():
                new = run_front_end(text, original)
            valid += new
            if new and (full or valid % COMPILED == 1):
                with time_limit():
                    compile_source(from_text(text, "mutant.npde"))
        except PdecError as error:
            assert str(error)
        except BaseException as error:
            error.add_note(f"mutant {number}:\n{text}")
            raise
    assert valid, "no mutant was a valid model: the mutations are too wild"


@functools.cache
def meaning_of(text):
    return meaning(parse(from_text(text)))


def run_front_end(text, original):
    """Parse, lay out and resolve a mutant; tell whether it is another valid model."""
    source = from_text(text, "mutant.npde")
    tree = parse(source)
    if meaning(tree) == meaning_of(original):
        return False
    laid_out = format_model(source)
    assert meaning(parse(from_text(laid_out))) == meaning(tree)
    resolve(tree, source)
    return True


# --- random models ----------------------------------------------------------------


def pytest_generate_tests(metafunc):
    """The random models that are compiled: 30, or 300 with --full."""
    if "seed" in metafunc.fixturenames:
        count = 300 if metafunc.config.getoption("--full") else 30
        metafunc.parametrize("seed", range(count))


def test_random_models_pass_their_self_check(seed):
    text = random_models.text(seed)
    try:
        module = module_of(compile_source(from_text(text, f"random{seed}.npde")))
    except ModelErrors as error:
        pytest.fail(f"{error}\n{text}")
    report = module.selfcheck()
    assert report.passed, f"{report}\n{text}"


def test_random_models_are_resolved():
    """Many more than are compiled: the declarations and types of each fit."""
    for seed in range(1000, 1060):
        source = from_text(random_models.text(seed), f"random{seed}.npde")
        resolve(parse(source), source)
