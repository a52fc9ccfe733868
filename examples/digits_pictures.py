"""Pictures of what a model of digits has learnt: see train_digits.py.

The parameters are drawn for what they mean in ∂z/∂t = -γ(z - f(W0 z + W1·∇z + W2 ∇²z - b))
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
    figure, axes = plt.subplots(1, 4, figsize=(16, 3.8), layout="constrained")
    shown = axes[0].imshow(images.mean(0).T, origin="lower", cmap="Greys", vmax=1.0)
    figure.colorbar(shown, ax=axes[0], label="mean grey value")
    vx, vy = -gamma * params["Wx"].T, -gamma * params["Wy"].T
    fastest = float(np.hypot(vx, vy).max())
    arrows = axes[0].quiver(vx, vy, angles="xy", scale=fastest / 2.5, scale_units="xy")
    label = f"{fastest:.2g} pixels per 1/γ"
    axes[0].quiverkey(arrows, 0.8, 1.05, fastest, label, labelpos="E")
    axes[0].set_title("velocity −γ (Wx, Wy)", loc="left")
    for ax, (title, unit, value) in zip(
        axes[1:],
        [
            ("amplitude W0", "1", params["W0"]),
            ("diffusivity γ W2", "pixels² γ", gamma * params["W2"]),
            ("speed γ |(Wx, Wy)|", "pixels γ", np.hypot(vx, vy).T),
        ],
        strict=True,
    ):
        shown = ax.imshow(value.T, origin="lower", cmap=MAP)
        figure.colorbar(shown, ax=ax, label=unit)
        ax.set_title(title)
    for ax in axes:
        ax.set(xlabel="x (pixels)", ylabel="y (pixels)")
    return figure


def draw_templates(R: Array) -> Figure:
    """Draw the template of each digit, (10, x, y), or one for each channel."""
    maps = R.reshape(10, -1, *R.shape[-2:])
    channels = maps.shape[1]
    rows, columns = (2, 5) if channels == 1 else (channels, 10)
    size = (9, 4) if channels == 1 else (10, 0.95 * channels + 0.6)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained")
    limit = float(np.abs(maps).max())
    for number, ax in enumerate(axes.flat):
        digit, channel = number % 10, number // 10
        image = maps[digit, channel].T
        shown = ax.imshow(image, origin="lower", cmap=MAP, vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[])
        if channel == 0:
            ax.set_title(str(digit))
        if channels > 1 and digit == 0:
            ax.set_ylabel(f"channel {channel}", fontsize="small")
    figure.colorbar(shown, ax=axes, label="R (logit per pixel of z = 1)", shrink=0.8)
    return figure


def draw_matrices(matrices: Params) -> Figure:
    """Draw tensor moments, (layers, channels, channels): a row for each layer."""
    layers = len(next(iter(matrices.values())))
    size = (2 * len(matrices) + 1, 2 * layers + 0.4)
    figure, axes = plt.subplots(
        layers, len(matrices), figsize=size, layout="constrained", squeeze=False
    )
    limit = max(float(np.abs(w).max()) for w in matrices.values())
    for column, (name, w) in enumerate(matrices.items()):
        axes[0, column].set_title(name)
        axes[-1, column].set_xlabel("from channel")
        for layer, ax in enumerate(axes[:, column]):
            shown = ax.imshow(w[layer], cmap=MAP, vmin=-limit, vmax=limit)
            if column == 0:
                ax.set_ylabel(f"layer {layer + 1}\nto channel")
    figure.colorbar(shown, ax=axes, label="moment (Δx = 1 cell)", shrink=0.8)
    return figure


def draw_states(
    model: ModuleType, params: Params, images: Array, labels: Array
) -> Figure:
    """Draw how images relax: the state before and after each layer."""
    first = [int(np.flatnonzero(labels == d)[0]) for d in np.unique(labels)[:4]]
    run = model.trajectory(params, inputs={"img": images[first]})
    layers, shape = len(run), run.shape[2:]
    if len(shape) == 3:  # with channels: one digit, its channels side by side
        panels = run[:, -1]
        names = [f"channel {k}" for k in range(shape[0])]
    else:
        panels = run.swapaxes(0, 1).swapaxes(0, 1)
        names = [f"digit {labels[i]}" for i in first]
    panels = panels.swapaxes(0, 1)  # (row, layer, x, y)
    size = (1.2 * layers + 1.5, 1.25 * len(panels) + 0.4)
    figure, axes = plt.subplots(len(panels), layers, figsize=size, layout="constrained")
    limit = float(np.abs(panels).max())
    for name, row, states in zip(names, axes, panels, strict=True):
        row[0].set_ylabel(name)
        for ax, state in zip(row, states, strict=True):
            shown = ax.imshow(
                state.T, origin="lower", cmap=MAP, vmin=-limit, vmax=limit
            )
            ax.set(xticks=[], yticks=[])
    for layer, ax in enumerate(axes[0]):
        ax.set_title(f"t = {layer} Δt", fontsize="small")
    figure.colorbar(shown, ax=axes, label="state z", shrink=0.8)
    return figure


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


def _styles() -> list[dict[str, Any]]:
    lines, marks = ("-", "--", ":", "-."), ("o", "s", "^", "v")
    return [
        {"linestyle": line, "marker": mark, "markersize": 3, "color": f"C{k}"}
        for k, (line, mark) in enumerate(zip(lines, marks, strict=True))
    ]


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=130)
    plt.close(figure)
