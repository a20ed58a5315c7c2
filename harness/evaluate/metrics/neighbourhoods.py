"""Fidelity and diversity apart: precision and recall, density and coverage.

Kynkaanniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative Models",
equations 1 and 2; Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative
Models", equations 3 and 4. All with balls around features that reach to their k-th neighbour.
"""

from __future__ import annotations

import torch

from harness.evaluate.features import check_finite
from harness.evaluate.metric import Compared, Figure, metric
from harness.evaluate.neighbours import BLOCK, distance_blocks, radii

K = 5


@metric(
    Figure(
        name="precision",
        label="precision",
        description=f"Share of samples within reach of real images (k = {K}; Kynkaanniemi 2019)",
        best="higher",
        caveat="does not see what is missing",
    ),
    Figure(
        name="recall",
        label="recall",
        description=f"Share of real images within reach of samples (k = {K}; Kynkaanniemi 2019)",
        best="higher",
        caveat="is raised by a few far-off samples",
    ),
    Figure(
        name="density",
        label="density",
        description=f"Real neighbourhoods that hold a sample, per k = {K} (Naeem 2020)",
        best="higher",
        caveat="may exceed that of real images: typical samples alone raise it",
    ),
    Figure(
        name="coverage",
        label="coverage",
        description=f"Share of real images with a sample as near as the k-th real one (k = {K}; "
        "Naeem 2020)",
        best="higher",
    ),
    floor="train",
    at_end=True,
)
def neighbourhoods(compared: Compared) -> dict[str, float]:
    """Precision, recall, density and coverage."""
    real, fake = check_finite(compared.real), check_finite(compared.fake)
    k = min(K, len(real) - 1)
    real_radii, fake_radii = radii(real, k), radii(fake, k)
    precise = torch.zeros(len(fake), dtype=torch.bool)
    recalled, covered, held = 0, 0, 0
    for distances, reach in zip(
        distance_blocks(real, fake), real_radii.unsqueeze(1).split(BLOCK), strict=True
    ):
        inside = distances <= reach
        precise |= inside.any(dim=0)
        covered += int(inside.any(dim=1).sum())
        held += int(inside.sum())
        recalled += int((distances <= fake_radii).any(dim=1).sum())
    return {
        "precision": float(precise.float().mean()),
        "recall": recalled / len(real),
        "density": held / (k * len(fake)),
        "coverage": covered / len(real),
    }
