"""What D gives every place, where points lie on a line or in a plane and their density is known.

For a fixed G the best D gives p_data(x) / (p_data(x) + p_g(x)) (Goodfellow et al. 2014, proposition
1): one half wherever both are equally dense.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from harness.data.density import Mixture
from harness.data.pictures import Picture

KEY = "levels"
CAPTIONS = {
    1: "D's curve, the best D's for this G (dashed), the real density and a histogram of samples",
    2: "D's levels from blue (generated) to red (real), black where it is undecided, with samples "
    "and a circle of three standard deviations around every mode; scores that are no probabilities "
    "are coloured around their median",
}
"""Number of dimensions -> what a picture shows."""
NUM_SAMPLES = {1: 20_000, 2: 1_000}  # by dimensions: a histogram takes many
RARE = 0.01  # of the greatest density: below it a histogram says nothing of the best D
SIDE = 120  # places along each axis of a plane
NUM_LEVELS = 12

Judge = Callable[[Tensor], Tensor]
"""Places (N, d) float32 -> what D gives them, (N,), on the CPU."""


def plot_levels(judge: Judge, samples: Tensor, density: Mixture, *, probabilities: bool) -> Picture:
    """Return a picture of D's judgement on the axes of all pictures of these data.

    Args:
        judge: D, in eval mode.
        samples: Of the generator that D judges, (N, d).
        density: What real points are drawn from, with d of 1 or 2.
        probabilities: Whether D gives probabilities, not scores of a scale of their own.
    """
    draw = {1: _curve, 2: _plane}[density.num_dims]
    return draw(judge, samples, density, probabilities)


def _curve(judge: Judge, samples: Tensor, density: Mixture, probabilities: bool) -> Picture:
    from harness.data.plots import FINE, NUM_BINS, draw_density, draw_histogram, pixels, window
    from harness.data.plots import places as along

    figure, ax = window(density)
    shares = draw_histogram(ax, samples[:, 0], density)
    draw_density(ax, density)
    ax.set_position((0.11, 0.08, 0.78, 0.9))  # with room for a second axis
    over = ax.twinx()
    over.tick_params(labelsize=7)
    places = along(density, FINE).float()
    over.plot(places[:, 0], judge(places), color="black", linewidth=1.2)
    if probabilities:
        low, high = density.window
        half = (high - low) / NUM_BINS / 2
        middles = torch.linspace(low + half, high - half, NUM_BINS, dtype=torch.float64)
        real = density.density(middles[:, None])
        both = real + shares
        best = (real / both).masked_fill(both < RARE * both.max(), torch.nan)
        over.plot(middles, best, "--", color="black", linewidth=0.8)
        over.set_ylim(0, 1)
    return pixels(figure)


def _plane(judge: Judge, samples: Tensor, density: Mixture, probabilities: bool) -> Picture:
    from harness.data.plots import draw_modes, pixels, window
    from harness.data.plots import places as along

    figure, ax = window(density)
    axis = along(density, SIDE)[:, 0].float()
    values = judge(torch.cartesian_prod(axis, axis)).view(SIDE, SIDE).T.numpy()
    # Scores have no scale: they are drawn around their middle.
    middle = 0.5 if probabilities else float(np.median(values))
    reach = 0.5 if probabilities else max(1e-6, float(np.abs(values - middle).max()))
    levels = np.linspace(middle - reach, middle + reach, NUM_LEVELS + 1)
    ax.contourf(axis, axis, values, levels, cmap="RdBu_r", extend="both", alpha=0.7)
    if values.min() < middle < values.max():
        ax.contour(axis, axis, values, [middle], colors="black", linewidths=0.8)
    ax.scatter(samples[:, 0], samples[:, 1], s=2, c="black", alpha=0.5, linewidths=0)
    draw_modes(ax, density)
    return pixels(figure)
