"""Pictures of points: scatter plots and histograms, on the same axes for the same data.

Equal points give equal pixels: nothing here is random, and no state of matplotlib's is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from torch import Tensor

from harness.data.density import REACH, Mixture
from harness.data.pictures import Picture

SIDE_INCHES, DPI = 3.2, 120
NUM_BINS = 50  # of a histogram over the window
FINE = 401  # places at which a curve is drawn
REAL, MADE = "#D55E00", "#0072B2"
# Okabe and Ito's colours, which the colour-blind tell apart, over and over.
COLOURS = (MADE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def plot_points(points: Tensor, density: Mixture | None, classes: Tensor | None = None) -> Picture:
    """Return a picture of points (N, d) before the density of real ones.

    Points on a line are a histogram; of points in space the first two coordinates are drawn, with a
    circle around every mode that a real point is within.

    Args:
        points: Those to draw.
        density: Of real ones.
        classes: Their classes (N,), a colour each; None: one colour.
    """
    if density is None:
        raise ValueError("points are drawn on the axes of a known density")
    figure, ax = window(density)
    colours = np.array([MADE] if classes is None else COLOURS)
    of_class = torch.zeros(len(points), dtype=torch.int64) if classes is None else classes
    if points.shape[1] == 1:
        for label in of_class.unique().tolist():
            draw_histogram(ax, points[of_class == label, 0], density, colours[label % len(colours)])
        draw_density(ax, density)
    else:
        draw_modes(ax, density)
        colour = colours[of_class.numpy() % len(colours)]
        ax.scatter(points[:, 0], points[:, 1], s=3, c=colour, alpha=0.5, linewidths=0)
    return pixels(figure)


def window(density: Mixture) -> tuple[Figure, Any]:
    """Return a figure with axes that show where a density's points lie, and no more."""
    figure = Figure(figsize=(SIDE_INCHES, SIDE_INCHES), dpi=DPI)
    figure.set_layout_engine("none")
    ax = figure.add_axes((0.11, 0.08, 0.87, 0.9))
    ax.set_xlim(density.window)
    ax.grid(visible=False)
    ax.tick_params(labelsize=7)
    if density.num_dims > 1:
        ax.set_ylim(density.window)
    else:
        ax.set_ylim(0, 1.75 * float(density.density(places(density, FINE)).max()))
    return figure, ax


def places(density: Mixture, num: int) -> Tensor:
    """Return evenly spaced places (num, 1) float64 along an axis of the window."""
    return torch.linspace(*density.window, num, dtype=torch.float64)[:, None]


def draw_modes(ax: Any, density: Mixture) -> None:
    """Draw a circle of three standard deviations around every mode."""
    means = np.asarray(density.means)[:, :2]
    size = np.full(len(means), 2 * REACH * density.sd)
    circles = EllipseCollection(
        size, size, np.zeros(len(means)), units="xy", offsets=means, offset_transform=ax.transData,
        facecolors="none", edgecolors=REAL, linewidths=0.8, zorder=3,
    )  # fmt: skip
    ax.add_collection(circles)


def draw_density(ax: Any, density: Mixture) -> None:
    """Draw the curve of a density on a line."""
    at = places(density, FINE)
    ax.plot(at[:, 0], density.density(at), color=REAL, linewidth=1.2)


def draw_histogram(ax: Any, values: Tensor, density: Mixture, colour: str = MADE) -> Tensor:
    """Draw the histogram of values (N,) in the window and return it, (NUM_BINS,), as a density."""
    low, high = density.window
    counts = torch.histc(values.float(), NUM_BINS, low, high)
    shares = counts / (max(1, len(values)) * (high - low) / NUM_BINS)
    edges = np.linspace(low, high, NUM_BINS + 1)
    ax.stairs(shares, edges, fill=True, color=colour, alpha=0.35, linewidth=0)
    return shares


def pixels(figure: Figure) -> Picture:
    """Return a figure as a picture."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
