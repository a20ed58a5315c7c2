"""Fidelity and diversity where modes are known: the pair of figures that toy data are judged by.

Srivastava et al. 2017, "VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational
Learning", section 4.1; Lin et al. 2018, "PacGAN", section 4.1: a sample is of high quality if it
lies within three standard deviations of the nearest mode, and a mode is hit that such a sample is
nearest to. Of a Gaussian in one dimension 99.7 % lie so near, in two 98.9 %.
"""

from __future__ import annotations

from torch import Tensor

from harness.data.density import REACH
from harness.evaluate.features import check_finite
from harness.evaluate.metric import Compared, Figure, metric


def _nearest(compared: Compared) -> tuple[Tensor, Tensor]:
    """Return which samples are of high quality, (N,) bool, and the mode nearest to each, (N,)."""
    assert compared.density is not None
    distances, modes = compared.density.distances(check_finite(compared.fake)).min(dim=1)
    return distances <= REACH, modes


@metric(
    Figure(
        name="high_quality",
        label="high quality",
        description=f"Share of samples within {REACH:g} sd of a mode (Srivastava et al. 2017)",
        best="higher",
        caveat="is met by samples of one mode",
    ),
    floor="held_out",
    needs_density=True,
)
def high_quality(compared: Compared) -> dict[str, float]:
    """Share of samples of high quality."""
    near, _ = _nearest(compared)
    return {"high_quality": float(near.double().mean())}


@metric(
    Figure(
        name="modes_hit",
        label="modes hit",
        description=f"Modes with a sample within {REACH:g} sd (Srivastava et al. 2017)",
        best="higher",
        caveat="counts a mode for a single sample",
    ),
    floor="held_out",
    needs_classes=True,
    needs_density=True,
)
def modes_hit(compared: Compared) -> dict[str, float]:
    """Number of modes with a sample of high quality."""
    near, modes = _nearest(compared)
    return {"modes_hit": float(len(modes[near].unique()))}
