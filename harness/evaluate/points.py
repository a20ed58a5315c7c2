"""What points are measured by: their coordinates, and which mode each is of, exactly."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from harness.data import Dataset, Mixture
from harness.errors import HarnessError
from harness.evaluate.features import Extractor


class Coordinates(nn.Module):
    """Features of points are the points; class probabilities are the modes' posterior.

    Args:
        density: What real points are drawn from.
    """

    def __init__(self, density: Mixture) -> None:
        super().__init__()
        self.density = density

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return points (N, d), and log p(mode | point), (N, K), where there are several modes."""
        several = self.density.num_modes > 1
        return points, self.density.log_posterior(points) if several else None


def coordinates(dataset: Dataset, device: torch.device) -> Extractor:
    """Return the extractor of a dataset of points.

    Raises:
        HarnessError: Their density is not known.
    """
    density = dataset.density
    if density is None or dataset.kind.extractor is None:
        raise HarnessError(f"dataset {dataset.name!r}: a dataset of points needs its density")
    network = Coordinates(density)
    return Extractor(
        name=dataset.kind.extractor,
        sha256=hashlib.sha256(repr(density).encode()).hexdigest(),
        num_features=density.num_dims,
        network=network,
        extract=network,
        device=device,
        classes=density.num_modes > 1,
    )
