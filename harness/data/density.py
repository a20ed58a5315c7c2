"""Densities that are known exactly, for data whose right answers can be computed."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from harness.config import Config, Positive

REACH = 3.0  # standard deviations within which a sample is of high quality (Srivastava et al. 2017)
WIDEST = 4.0  # standard deviations that a drawing shows around the outermost mode, at least
MARGIN = 0.25  # of the outermost mode's distance from 0, likewise

Place = Annotated[tuple[float, ...], Field(strict=False)]


class Mixture(Config):
    """Equally likely round Gaussians."""

    means: Annotated[tuple[Place, ...], Field(strict=False)]
    """The modes' centres, K of d coordinates each."""
    sd: Positive
    """Standard deviation of every mode along every axis."""

    @property
    def num_modes(self) -> int:
        """K."""
        return len(self.means)

    @property
    def num_dims(self) -> int:
        """d."""
        return len(self.means[0])

    @property
    def window(self) -> tuple[float, float]:
        """Ends of the axes on which points are drawn: the same for all pictures of these data."""
        farthest = max(abs(part) for mean in self.means for part in mean)
        half = farthest + max(WIDEST * self.sd, MARGIN * farthest)
        return (-half, half)

    def draw(self, num: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return points (num, d) float32 and their modes (num,) int64, the same for one seed."""
        # NumPy's stream: torch's depends on the processor's vector units.
        random = np.random.default_rng(seed)
        modes = random.integers(self.num_modes, size=num)
        offsets = random.standard_normal((num, self.num_dims))
        points = np.asarray(self.means)[modes] + self.sd * offsets
        return torch.from_numpy(points).float(), torch.from_numpy(modes).long()

    def distances(self, points: Tensor) -> Tensor:
        """Return points' (N, d) distances to every mode in standard deviations, (N, K) float64."""
        means = torch.tensor(self.means, dtype=torch.float64, device=points.device)
        offsets: Tensor = points.double()[:, None] - means
        distances: Tensor = offsets.norm(dim=2) / self.sd
        return distances

    def log_densities(self, points: Tensor) -> Tensor:
        """Return log p(x, k) of points (N, d) and every mode k, (N, K) float64, in nats."""
        volume = self.num_dims * math.log(self.sd * math.sqrt(2 * math.pi))
        return -self.distances(points).square() / 2 - volume - math.log(self.num_modes)

    def density(self, points: Tensor) -> Tensor:
        """Return p(x) of points (N, d), (N,) float64."""
        return self.log_densities(points).logsumexp(dim=1).exp()

    def log_posterior(self, points: Tensor) -> Tensor:
        """Return log p(k | x) of points (N, d) and every mode k, (N, K) float64."""
        return self.log_densities(points).log_softmax(dim=1)
