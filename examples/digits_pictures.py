"""Pictures of what a model of digits has learnt: see train_digits.py.

The parameters are drawn as what they mean in

    ∂z/∂t = -γ(z - f(W0 z + W1·∇z + W2 ∇²z - b))

where f' = 1: an amplitude W0, a velocity -γ W1 (a positive W1 carries the signal to the
left) and a diffusivity γ W2.  Lengths are pixels, and a layer is a step Δt = ω/γ.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only: no window, no display

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

Array = NDArray[Any]
Params = dict[str, Array]

MAP = "cividis"  # its lightness rises evenly, so that it can be read in grey


def draw_model(
    output: Path,
    model: ModuleType,
    params: Params,
    images: Array,
    labels: Array,
    given: Array,
) -> None:
    """Draw the learnt parameters that the model has, its states and its mistakes."""
    name = model.MODEL.name
    if {"W0", "Wx", "Wy", "W2"} <= params.keys() and params["W2"].ndim == 2:
        _save(draw_fields(model, params, images), output / f"{name}_fields.png")
    if "R" in params:
        _save(draw_templates(params["R"]), output / f"{name}_templates.png")
    matrices = {k: w for k, w in params.items() if w.ndim == 3 and k.startswith("W")}
    if matrices:
        _save(draw_matrices(matrices), output / f"{name}_moments.png")
    _save(draw_states(model, params, images, labels), output / f"{name}_states.png")
    _save(draw_confusion(name, labels, given), output / f"{name}_confusion.png")


def draw_fields(model: ModuleType, params: Params, images: Array) -> Figure:
    """Draw the velocity over the mean image, and the fields of the other moments."""
    gamma = float(getattr(model, "gamma", 1.0))
    vx, vy = -gamma * params["Wx"].T, -gamma * params["Wy"].T
    speed = np.hypot(vx, vy)
    figure, axes = plt.subplots(2, 2, figsize=(10.5, 9), layout="constrained")
    for ax, title, unit, value, colors in zip(
        axes.flat,
        ("velocity −γ (Wx, Wy)", "speed", "amplitude W0", "diffusivity γ W2"),
        ("mean grey value", "γ pixels", "no unit", "γ pixels²"),
        (images.mean(0).T, speed, params["W0"].T, gamma * params["W2"].T),
        ("Greys", MAP, MAP, MAP),
        strict=True,
    ):
        shown = ax.imshow(value, origin="lower", cmap=colors)
        figure.colorbar(shown, ax=ax, label=unit)
        ax.set(title=title, xlabel="x (pixels)", ylabel="y (pixels)")
    figure.suptitle("what the moments mean where f' = 1")
    axes[0, 0].images[0].set_clim(0.0, 1.0)
    fast = float(f"{np.quantile(speed, 0.98):.1g}")
    arrows = axes[0, 0].quiver(
        vx, vy, angles="xy", scale=fast / 2, scale_units="xy", width=0.005
    )
    axes[0, 0].quiverkey(
        arrows, 0.1, 0.94, fast, f"{fast:g} γ pixels", labelpos="E", coordinates="axes"
    )
    return figure


def draw_templates(R: Array) -> Figure:
    """Draw the template of each digit, (10, x, y), or one for each channel."""
    maps = _upright(R.reshape(10, -1, *R.shape[-2:])).swapaxes(0, 1)
    if len(maps) == 1:
        maps = maps.reshape(2, 5, *maps.shape[2:])
        rows, columns = ["0 to 4", "5 to 9"], [""] * 5
    else:
        rows = [f"channel {k}" for k in range(len(maps))]
        columns = [str(digit) for digit in range(10)]
    limit = float(np.quantile(np.abs(maps), 0.998))
    return _mosaic(maps, rows, columns, "R (logit per cell of z = 1)", limit)


def draw_matrices(matrices: Params) -> Figure:
    """Draw tensor moments, (layers, to channel, from channel), by layer."""
    maps = np.stack(list(matrices.values()), axis=1)
    rows = [f"layer {n + 1}" for n in range(len(maps))]
    label = "moment (Δx = 1 cell); row: to channel, column: from"
    return _mosaic(maps, rows, list(matrices), label, float(np.abs(maps).max()))


def draw_states(
    model: ModuleType, params: Params, images: Array, labels: Array
) -> Figure:
    """Draw how images relax: a row for each layer, from the image to the last state.

    The columns are some digits or, in a model with channels, those of one digit.
    """
    first = [int(np.flatnonzero(labels == d)[0]) for d in np.unique(labels)[:6]]
    run = model.trajectory(params, inputs={"img": images[first]})
    if run.ndim == 5:
        run, columns = run[:, 3], [f"channel {k}" for k in range(run.shape[2])]
    else:
        columns = [f"digit {labels[i]}" for i in first]
    rows = [f"t = {n} Δt" for n in range(len(run))]
    return _mosaic(_upright(run), rows, columns, "state z", 1.0)


def draw_confusion(name: str, labels: Array, given: Array) -> Figure:
    """Draw how often each digit was taken for each other one."""
    table = np.zeros((10, 10), int)
    np.add.at(table, (labels, given), 1)
    figure, ax = plt.subplots(figsize=(5.4, 4.6), layout="constrained")
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    shown = ax.imshow(share, cmap="Greys", vmin=0.0, vmax=1.0)
    figure.colorbar(shown, ax=ax, label="share of the images of a digit")
    for (row, column), count in np.ndenumerate(table):
        if count:
            color = "white" if share[row, column] > 0.5 else "black"
            ax.text(column, row, str(count), ha="center", va="center", color=color)
    right = np.mean(labels == given)
    ax.set(xticks=range(10), yticks=range(10), xlabel="classified as", ylabel="digit")
    ax.set_title(f"{name}: {right:.1%} of {len(labels)} test images right")
    return figure


def draw_training(output: Path, results: list[Any]) -> None:
    """Draw the training loss of every model that has one, for each split."""
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    trained = [result for result in results if result.losses]
    for result, style in zip(trained, _styles(), strict=False):
        for number, losses in enumerate(result.losses):
            label = result.name if number == 0 else None
            ax.plot(range(1, len(losses) + 1), losses, **style, label=label)
    ax.set(xlabel="iteration (L-BFGS-B) or epoch (Adam)", ylabel="training loss (nats)")
    ax.set(yscale="log", title="Training")
    ax.grid(alpha=0.3)
    ax.legend()
    _save(figure, output / "digits_training.png")


def _upright(field: Array) -> Array:
    """Return fields (…, x, y) as images: y upwards, x to the right."""
    return field.swapaxes(-1, -2)[..., ::-1, :]


def _mosaic(
    images: Array, rows: list[str], columns: list[str], label: str, limit: float
) -> Figure:
    """Draw images, (rows, columns, height, width), side by side in one scale."""
    height, width = images.shape[2:]
    gaps = ((0, 0), (0, 0), (0, 1), (0, 1))
    framed = np.pad(images.astype(float), gaps, constant_values=np.nan)
    sheet = framed.swapaxes(1, 2).reshape(
        len(rows) * (height + 1), len(columns) * (width + 1)
    )
    size = (1.3 * len(columns) + 1.8, 1.3 * len(rows) * height / width + 0.4)
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    shown = ax.imshow(sheet, cmap=MAP, vmin=-limit, vmax=limit, interpolation="none")
    places = (width + 1) * np.arange(len(columns)) + (width - 1) / 2
    ax.set_xticks(places, columns)
    ax.set_yticks((height + 1) * np.arange(len(rows)) + (height - 1) / 2, rows)
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    figure.colorbar(shown, ax=ax, label=label, extend="both", aspect=40)
    return figure


def _styles() -> list[dict[str, Any]]:
    lines, marks = ("-", "--", ":", "-."), ("o", "s", "^", "v")
    return [
        {"linestyle": line, "marker": mark, "markersize": 3, "color": f"C{k}"}
        for k, (line, mark) in enumerate(zip(lines, marks, strict=True))
    ]


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=130)
    plt.close(figure)
