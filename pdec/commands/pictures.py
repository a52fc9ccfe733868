"""Pictures of a verdict on ω, in grey: |G| over θ, the stable region, ω_max over x.

Input: a compiled module, its parameters and its report.  Output: an SVG or PNG file.
The numbers are those of the module's own functions; Matplotlib draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pdec.commands.plane import Params, Plane

Array = NDArray[Any]
Draw = Callable[[Axes], None]

# DejaVu comes with Matplotlib and has the Greek letters.  A fixed salt: the same bytes.
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-3, 4),
    "hatch.linewidth": 0.6,
    "hatch.color": "0.55",
    "svg.hashsalt": "pdec",
}
STYLES = ("-", "--", "-.", ":")
HATCH: dict[str, Any] = {"edgecolor": "0.55", "linewidth": 0.0}
FINE = 721  # angles of a curve


def draw(
    path: Path,
    module: ModuleType,
    p: Params,
    report: Any,
    region: Plane | None,
    origins: Sequence[float],
) -> None:
    """Draw the pictures that a model has, side by side, and write them.

    ``origins`` are the low ends of the axes of the grid.
    """
    found = _Found(module, p, report, origins)
    panels: list[Draw] = [found.factor]
    if region is not None:
        panels.append(lambda axes: _region(axes, region, found.step))
    if found.varies:
        panels.append(found.map)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6 * len(panels), 4.6), layout="constrained")
        for number, panel in enumerate(panels):
            panel(figure.add_subplot(1, len(panels), number + 1))
        figure.suptitle(
            f"{module.MODEL.name}: {report.numerical} at "
            f"{found.step} = {report.omega:.4g} ({report.basis})"
        )
        figure.savefig(path, dpi=150, metadata=_metadata(path))


def _metadata(path: Path) -> dict[str, Any]:
    return {"Date": None} if path.suffix.lower() == ".svg" else {}


class _Found:
    """The linearisation that the report judged, and what is drawn of it."""

    def __init__(
        self, module: ModuleType, p: Params, report: Any, origins: Sequence[float]
    ) -> None:
        c = {name: np.asarray(a, np.float64) for name, a in p.items()}
        module._coefficients(c)
        self.module, self.report, self.origins = module, report, origins
        self.judged = module._judged(c, None, None)
        self.layer = hasattr(module, "_stencil")
        self.step = "Δt" if module.MODEL.omega is None else "ω"
        self.axes = list(module.MODEL.dims)[: len(module._AXES)]
        cells = max(len(a) for a in self.judged.rows.values())
        self.varies = cells > 1

    # --- the amplification factor -------------------------------------------------

    def factor(self, axes: Axes) -> None:
        """|G| over θ: a curve in one dimension, a map in two, three rays in three."""
        draw = {0: self._points, 1: self._curves, 2: self._map_of_modes}
        draw.get(len(self.axes), self._rays)(axes)
        several = next(iter(self.judged.rows.values())).shape[-1] > 1
        what = "largest |eigenvalue| of G" if several else "|G|"
        axes.set_title(f"Amplification of a wave in a step: {what}")

    def _sizes(self, theta: Array) -> list[tuple[float, Array, Array]]:
        """(s, |G|, the equation's own growth) at the ends of the slopes.

        Both arrays are (cells, modes), of the component that grows most.
        """
        module, judged, h = self.module, self.judged, self.report.omega
        matrix = module._symbol(judged.rows, theta)
        symbol = np.linalg.eigvals(matrix) if matrix.shape[-1] > 1 else matrix[..., 0]
        modes = module._Modes(theta, symbol, matrix, judged.slopes, True)
        found = []
        for s in sorted(set(judged.slopes)) if self.layer else [1.0]:
            rates = s * symbol - 1.0 if self.layer else symbol
            size = module._factor_size(modes, rates, h).max(axis=-1)
            found.append((s, size, np.exp(np.minimum(h * rates.real.max(-1), 50.0))))
        return found

    def _curves(self, axes: Axes) -> None:
        theta = np.linspace(0.0, math.pi, FINE)
        self._lines(axes, theta[None], theta)
        axes.set_xlabel("θ (radians per cell)")
        angles = np.arange(5) / 4
        axes.set_xticks(math.pi * angles, ["0", "π/4", "π/2", "3π/4", "π"])
        axes.set_xlim(0.0, math.pi)
        top = axes.secondary_xaxis("top")
        top.set_xticks(math.pi * angles[1:], ["8 cells", "4", "8/3", "2 cells"])

    def _lines(self, axes: Axes, theta: Array, along: Array) -> None:
        own = np.ones(len(along))
        for (s, size, growth), style in zip(self._sizes(theta), STYLES, strict=False):
            label = f"slope f' = {s:.3g}" if self.layer else "|G|"
            axes.plot(along, size.max(axis=0), style, color="black", label=label)
            if len(size) > 1:
                axes.fill_between(
                    along, size.min(axis=0), size.max(axis=0), color="0.5", alpha=0.2
                )
            own = np.maximum(own, growth.max(axis=0))
        axes.axhline(1.0, color="0.45", linewidth=1.0, label="unit circle, |G| = 1")
        if own.max() > 1.0 + 1e-12:
            label = "growth of the equation itself"
            axes.plot(along, own, ":", color="0.45", linewidth=2.5, label=label)
        self._mark_on_curve(axes)
        axes.set_ylabel("growth in a step")
        _frame(axes)
        handles, _ = axes.get_legend_handles_labels()
        if self.varies:
            band = Patch(facecolor="0.5", alpha=0.2, label="the cells (line: largest)")
            handles.append(band)
        _explain(axes, handles=handles)

    def _mark_on_curve(self, axes: Axes) -> None:
        if len(self.axes) != 1:
            return
        theta = abs((self.report.theta[0] + math.pi) % (2.0 * math.pi) - math.pi)
        size = max(g.max() for _, g, _ in self._sizes(np.asarray([[theta]])))
        self._mark(axes, theta, size, [self.axes[0]])

    def _mark(self, axes: Axes, x: float, y: float, names: list[str]) -> None:
        """Mark the mode that the verdict is about, and say which wave it is."""
        word = "critical" if self.report.growth > 1e-12 else "least stable"
        waves = "the mean"
        if math.isfinite(self.report.wavelength):
            waves = f"waves of {self.report.wavelength:.3g} cells"
        axes.plot(
            [x],
            [y],
            "o",
            markersize=9,
            markerfacecolor="white",
            markeredgecolor="black",
            markeredgewidth=1.6,
            linestyle="none",
            label=f"{word}: {waves}",
            clip_on=False,
            zorder=5,
        )

    def _map_of_modes(self, axes: Axes) -> None:
        x, y = np.linspace(0.0, math.pi, 61), np.linspace(-math.pi, math.pi, 121)
        theta = np.stack([a.ravel() for a in np.meshgrid(x, y)])
        size = np.max([g.max(axis=0) for _, g, _ in self._sizes(theta)], axis=0)
        size = size.reshape(len(y), len(x))
        _shade(axes, x, y, size, "growth in a step, largest over slopes and cells")
        if size.max() > 1.0 > size.min():
            axes.contour(x, y, size, [1.0], colors="black", linewidths=2.0)
            axes.contourf(x, y, size, [1.0, math.inf], colors="none", hatches=["///"])
            label = "|G| = 1, hatched where larger"
            axes.plot([], [], color="black", linewidth=2.0, label=label)
        turned = [(a + math.pi) % (2.0 * math.pi) - math.pi for a in self.report.theta]
        if turned[0] < -1e-12:
            turned = [-a for a in turned]
        if abs(abs(turned[0]) - math.pi) < 1e-9:
            turned[0] = math.pi
        self._mark(axes, turned[0], turned[1], self.axes)
        axes.set_xticks(math.pi * np.arange(3) / 2, ["0", "π/2", "π"])
        axes.set_yticks(math.pi * np.arange(-2, 3) / 2, ["−π", "−π/2", "0", "π/2", "π"])
        axes.set_xlabel(f"θ along {self.axes[0]} (radians per cell)")
        axes.set_ylabel(f"θ along {self.axes[1]} (radians per cell)")
        axes.legend(fontsize="small", loc="upper right")

    def _rays(self, axes: Axes) -> None:
        """|G| along an axis, a face diagonal and the space diagonal, all slopes."""
        t = np.linspace(0.0, math.pi, FINE)
        a, b, c = self.axes
        rays = {f"θ{a}": (1, 0, 0), f"θ{a} = θ{b}": (1, 1, 0), "all equal": (1, 1, 1)}
        for (label, ray), style in zip(rays.items(), STYLES, strict=False):
            sizes = self._sizes(np.asarray(ray)[:, None] * t)
            size = np.max([g.max(axis=0) for _, g, _ in sizes], axis=0)
            axes.plot(t, size, style, color="black", label=label)
        axes.axhline(1.0, color="0.45", linewidth=1.0, label="unit circle, |G| = 1")
        axes.set_xticks(math.pi * np.arange(5) / 4, ["0", "π/4", "π/2", "3π/4", "π"])
        axes.set_xlabel(f"θ (radians per cell) along {a}, {a}{b} and {a}{b}{c}")
        axes.set_ylabel("growth in a step")
        _frame(axes)
        _explain(axes)

    def _points(self, axes: Axes) -> None:
        """Without a grid: the eigenvalues of a step in the complex plane."""
        module, h = self.module, self.report.omega
        turn = np.linspace(0.0, 2.0 * math.pi, FINE)
        axes.plot(np.cos(turn), np.sin(turn), color="0.45", label="unit circle")
        G = module._amplification(self.judged.modes.symbol * 1.0, h)
        axes.plot(G.real.ravel(), G.imag.ravel(), "ko", label="eigenvalues of a step")
        axes.set_aspect("equal")
        axes.set_xlabel("real part")
        axes.set_ylabel("imaginary part")
        axes.legend(fontsize="small")

    # --- the largest stable step over space ---------------------------------------

    def map(self, axes: Axes) -> None:
        """The largest stable step of each cell, coefficients frozen there."""
        limits = self._over_space()
        name = self.step
        axes.set_title(f"Largest stable {name} in each cell (coefficients frozen)")
        centres = [self._centres(k) for k in range(len(self.axes))]
        if limits.ndim == 1:
            (x,) = centres
            _band(axes, x, limits, self.report.omega, name)
            axes.set_xlabel(self.axes[0])
            return
        if limits.ndim == 3:  # the least along the third axis
            with np.errstate(all="ignore"):
                limits = np.nanmin(limits, axis=2)
        x, y = centres[:2]
        _shade(axes, x, y, limits.T, f"largest stable {name}")
        below = np.where(np.isnan(limits), np.inf, limits) < self.report.omega
        if below.any():
            axes.contourf(
                x, y, below.T.astype(float), [0.5, 1.5], colors="none", hatches=["///"]
            )
            hatched = Patch(facecolor="none", hatch="///", label=f"below {name}")
            axes.legend(handles=[hatched], fontsize="small", loc="upper right")
        axes.set_xlabel(self.axes[0])
        axes.set_ylabel(self.axes[1])
        axes.set_aspect("equal")

    def _over_space(self) -> Array:
        """The largest stable step of each cell, the least over the layers."""
        limits = np.asarray(self.module._largest_steps(self.judged.modes))
        space = [size for size, _, _ in self.module._AXES]
        cells = math.prod(space)
        total = max(len(a) for a in self.judged.walled.values())
        if len(limits) % cells:  # rows that read ghost cells are left out
            full = np.full(total, np.nan)
            full[self.module._within(total)] = limits
            limits = full
        return np.asarray(limits.reshape(-1, *space).min(axis=0))

    def _centres(self, axis: int) -> Array:
        """The positions of the cells of an axis."""
        size, spacing, wraps = self.module._AXES[axis]
        low = self.origins[axis]
        return np.asarray(low + (np.arange(size) + (0.0 if wraps else 0.5)) * spacing)


def _explain(axes: Axes, **given: Any) -> None:
    """Put the legend below, where it covers no curve."""
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}
    axes.legend(fontsize="small", ncols=2, frameon=False, **place, **given)


def _frame(axes: Axes) -> None:
    """From 0 up, or near 1 where all the curves are."""
    low, high = axes.get_ylim()
    if low > 0.8 and high < 1.2:
        axes.set_ylim(low, high + 0.5 * (high - low))
        return
    axes.set_ylim(0.0, max(high, 1.15))


def _band(axes: Axes, x: Array, limits: Array, h: float, name: str) -> None:
    """ω_max over x, and where the run's ω lies above it."""
    finite = limits[np.isfinite(limits)]
    top = 1.2 * max(float(finite.max()) if finite.size else h, h)
    shown = np.where(np.isinf(limits), top, limits)
    axes.plot(x, shown, color="black", label=f"largest stable {name}")
    axes.axhline(h, color="0.35", linestyle="--", label=f"{name} of the run")
    axes.fill_between(
        x,
        shown,
        h,
        where=(shown < h).tolist(),
        facecolor="0.9",
        hatch="///",
        label=f"unstable: {name} is too large",
        **HATCH,
    )
    axes.set_ylim(0.0, top)
    axes.set_xlim(float(x[0]), float(x[-1]))
    axes.set_ylabel(f"{name}")
    axes.legend(fontsize="small")


def _shade(axes: Axes, x: Array, y: Array, values: Array, label: str) -> None:
    """A map in grey, with its scale."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0, 1)
    if high - low <= 1e-9 * abs(high):  # one value: a scale around it
        low, high = low - 0.1 * (abs(low) or 1.0), high + 0.1 * (abs(high) or 1.0)
    shown = np.where(np.isposinf(values), high, values)
    mesh = axes.pcolormesh(x, y, shown, cmap="Greys", vmin=low - 0.1 * (high - low))
    mesh.set_rasterized(True)  # thousands of tiles: an image, in SVG too
    mesh.set_clim(low, high + 0.8 * (high - low))
    assert axes.figure is not None
    bar = axes.figure.colorbar(mesh, ax=axes, label=label)
    bar.ax.set_ylim(low, high)


# --- the stable region ------------------------------------------------------------


def _region(axes: Axes, region: Plane, name: str) -> None:
    """Where the steps add growth, where the equation grows; contours of ω_max.

    What grows by itself may be made to grow twice as much in the run: it is marginal.
    """
    x, y = region.first.values, region.second.values
    own = region.found.own
    growth = region.found.growth - np.where(own > 1e-9, math.log(2.0) / region.steps, 0)
    handles: list[Any] = [Patch(facecolor="white", edgecolor="0.3", label="stable")]
    for values, colour, hatch, label in (
        (growth, "0.9", "///", f"unstable: {name} is too large"),
        (own, "none", "..", "the equation itself grows"),
    ):
        if values.max() > 1e-9:
            ends = [1e-9, 2.0 * max(float(values.max()), 1e-9)]
            axes.contourf(x, y, values, ends, colors=[colour], hatches=[hatch])
            handles.append(Patch(facecolor=colour, hatch=hatch, label=label, **HATCH))
    if growth.min() < 1e-9 < growth.max():
        axes.contour(x, y, growth, [1e-9], colors="black", linewidths=2.0)
    if not (region.first.step or region.second.step):
        _contours(axes, region, name, handles)
    (point,) = axes.plot(
        [region.first.current],
        [region.second.current],
        "*",
        markersize=15,
        markerfacecolor="white",
        markeredgecolor="black",
        markeredgewidth=1.4,
        linestyle="none",
        label="this model",
        clip_on=False,
        zorder=5,
    )
    axes.set_xlim(float(x[0]), float(x[-1]))
    axes.set_ylim(float(y[0]), float(y[-1]))
    axes.set_xlabel(region.first.label)
    axes.set_ylabel(region.second.label)
    alone = region.first.step or region.second.step
    axes.set_title(
        "Stable region" + ("" if alone else f" at {name} = {region.step:.4g}")
    )
    axes.legend(
        handles=[point, *handles], fontsize="small", loc="best", framealpha=0.95
    )


def _contours(axes: Axes, region: Plane, name: str, handles: list[Any]) -> None:
    """Lines of equal largest step, with their values."""
    capped = np.where(region.found.own > 1e-9, np.nan, region.found.largest)
    finite = capped[(capped > 0.0) & (capped < 1e3)]
    if not finite.size or np.ptp(finite) < 1e-6 * finite.max():
        return
    low, high = np.quantile(finite, [0.02, 0.98])
    levels = np.asarray(MaxNLocator(6).tick_values(low, high))
    levels = levels[(levels > 0.0) & (levels < finite.max()) & (levels != region.step)]
    if not levels.size:
        return
    lines = axes.contour(
        region.first.values,
        region.second.values,
        capped,
        levels,
        colors="0.35",
        linestyles="--",
        linewidths=0.9,
    )
    axes.clabel(lines, fmt="%g", fontsize="x-small")
    label = f"largest stable {name}"
    handles.append(Line2D([], [], color="0.35", ls="--", lw=0.9, label=label))
