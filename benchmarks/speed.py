"""Time a loss and its gradients: pdec's targets and their peers, side by side.

    python benchmarks/speed.py [B1 B1d B2 B3 B4 B5 B6 B7 ceilings] [--rounds 7]

All variants of a workload are checked to give the same loss and gradients, then timed
in turn, each in a process of its own that stands still out of its turn (turns.py); the
tables show medians, and ratios to the fastest peer.  B6 is
B1 at several depths, time and peak memory, and B7 the time from a model's text to its
first gradient: their runs have processes of their own (growth.py, first.py).  What the
machine can do at most is in ceilings.py.  The tables go to the screen and, as they
grow, to speed.md and speed.json in the output folder, and at the end into a --page.
torch.compile of an unrolled loop takes minutes: --torch-compile names the workloads
that have it, all but B4 with its 500 steps if it is not given.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ceilings
import first
import growth
import numpy as np
import peers
import turns
import workloads
from tables import table, write
from workloads import Workload

TIMED = ("B1", "B1d", "B2", "B3", "B4", "B5")
COMPILED = ("B7", "B1", "B1d", "B2", "B3", "B5")
TARGETS = ("numba", "numpy")
OURS = tuple(f"pdec {target}" for target in TARGETS)


def labels(workload: Workload, *, compiled: bool, targets: Sequence[str]) -> list[str]:
    """Everything that computes a workload here, by what the tables call it."""
    found = [f"pdec {target}" for target in targets]
    found += ["JAX scan", "JAX checkpoint"]
    if find_spec("torch"):
        found += ["PyTorch", *(["torch.compile"] if compiled else [])]
    if workload.name in ("B1", "B1d"):
        found.append("NumPy")
    if workload.name == "B1":
        found.append("C")
    return found


def check(results: dict[str, tuple[float, Any]], workload: Workload) -> None:
    """Exit where a variant has another loss or other gradients than the last of pdec's.

    The tolerance is relative to the largest number of a gradient, or to a hundredth of
    the largest of all.
    """
    loss, grads = [result for label, result in results.items() if label in OURS][-1]
    largest = max(float(np.abs(g).max()) for g in grads.values())
    for label, (value, other) in results.items():
        errors = {"loss": (abs(value - loss), abs(loss))}
        for key, grad in grads.items():
            error = float(np.abs(other[key] - grad).max())
            errors[key] = error, max(float(np.abs(grad).max()), 1e-2 * largest)
        for key, (error, size) in errors.items():
            if not error <= workload.tolerance * size:
                raise SystemExit(f"{workload.name}: {label} differs in {key}: {error}")


def measure(
    workload: Workload,
    *,
    rounds: int,
    quick: bool = False,
    compiled: bool = False,
    targets: Sequence[str] = TARGETS,
) -> dict[str, Any]:
    """Check, then time in turn; seconds of every run, by what and by variant."""
    at = workloads.point(workload, peers.load(workload, "numpy"))
    listed = labels(workload, compiled=compiled, targets=targets)
    times: dict[str, dict[str, list[float]]] = {"gradient": {}}
    if workload.name in ("B1", "B2"):
        times["forward"] = {}
    with turns.started(listed, workload.name, at, quick=quick) as found:
        check({each.label: each.ask("result") for each in found}, workload)
        for what, taken in times.items():
            able = [each for each in found if what in each.ask("ready")]
            for _ in range(rounds):
                for each in able:
                    taken.setdefault(each.label, []).append(each.ask(what))
    return {"title": workload.title, "times": times}


# --- the tables ----------------------------------------------------------------------


def timed(found: dict[str, Any]) -> list[str]:
    """The tables of the workloads that are timed in this process."""
    texts = []
    for what in ("gradient", "forward"):
        medians = {
            name: {n: statistics.median(t) for n, t in each["times"][what].items()}
            for name, each in found.items()
            if what in each["times"]
        }
        if not medians:
            continue
        labels = list(dict.fromkeys(n for each in medians.values() for n in each))
        rows = [
            [name, *(f"{1e3 * t[n]:.1f}" if n in t else "" for n in labels), *_best(t)]
            for name, t in medians.items()
        ]
        texts.append(
            f"Milliseconds for {SAID[what]}, medians; behind them, how many times "
            "faster than the fastest peer pdec's targets are:"
        )
        mine = [name.removeprefix("pdec ") for name in OURS if name in labels]
        texts.append(table(["", *labels, *mine], rows))
    listed = [f"- {name}: {each['title']}" for name, each in found.items()]
    return [*texts, "\n".join(listed)] if listed else []


SAID = {
    "gradient": "a loss and all its gradients",
    "forward": "the last state alone",
}


def _best(times: dict[str, float]) -> list[str]:
    """How many times faster pdec's targets are than the fastest peer that is no C."""
    others = [t for n, t in times.items() if n not in (*OURS, "C")]
    return [f"{min(others) / times[n]:.2f} ×" for n in OURS if n in times]


def machine() -> dict[str, Any]:
    """What it was measured on, and with."""
    versions = {"Python": platform.python_version()}
    for name in ("numpy", "numba", "jax", "torch"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "versions": versions,
    }


def report(results: dict[str, Any], rounds: int) -> str:
    """All tables that there are so far."""
    where = results["machine"]
    named = ", ".join(f"{n} {v}" for n, v in where["versions"].items())
    head = f"{where['cores']} cores of {where['processor']}, {named}; {rounds} rounds."
    texts = [head, *timed({n: results[n] for n in TIMED if n in results})]
    if "B6" in results:
        texts += growth.tables(results["B6"])
    if "B7" in results:
        texts += first.tables(results["B7"])
    if "ceilings" in results:
        texts += ceilings.tables(results["ceilings"])
    return "\n\n".join(texts) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("B7", *TIMED, "B6", "ceilings")
    parser.add_argument("names", nargs="*", metavar="B", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("bench"))
    parser.add_argument("--page", type=Path, help="write the tables into this page too")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try it")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--torch-compile", nargs="*", metavar="B", default=COMPILED)
    options = parser.parse_args(arguments)
    chosen = options.names or names
    if unknown := set(chosen) - set(names):
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as kept:
        # what B7 compiles with torch.compile, B1 need not compile again
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", kept)
        results = run(chosen, options)
    text = report(results, options.rounds)
    if options.page:
        write(options.page, text)
    print(text)
    print(f"speed.md and speed.json are in {options.output}/")


def run(chosen: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Measure what was chosen; what there is so far is kept in the output folder."""
    results: dict[str, Any] = {"machine": machine()}
    known = workloads.all_of(quick=options.quick)
    for name in chosen:
        begin = time.perf_counter()
        compiled = name in options.torch_compile and find_spec("torch") is not None
        if name == "B6":
            results[name] = growth.measure(quick=options.quick)
        elif name == "B7":
            results[name] = first.measure(quick=options.quick, compiled=compiled)
        elif name == "ceilings":
            results[name] = ceilings.measure()
        else:
            results[name] = measure(
                known[name],
                rounds=options.rounds,
                quick=options.quick,
                compiled=compiled,
                targets=options.targets,
            )
        text = report(results, options.rounds)
        (options.output / "speed.md").write_text(text, "utf-8")
        (options.output / "speed.json").write_text(json.dumps(results), "utf-8")
        print(f"{name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    return results


if __name__ == "__main__":
    main()
