"""The classifier inside every second ruler, of another shape than the one in `classifier`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from harness.data import to_unit_range
from harness.evaluate.classifier import Classifier

POOLED = 4  # side of the maps that leave the convolutions
WIDTHS = (16, 32)


class LeNet(Classifier):
    """Two 5x5 convolutions with max pooling and two linear layers, after LeCun et al. 1998.

    Larger kernels, fewer layers and fewer maps than the ruler has. Batch norm puts the depths on
    one scale: without it the principal components would be those of the last.
    """

    def __init__(
        self, sample_shape: tuple[int, int, int], *, num_features: int, num_classes: int
    ) -> None:
        super().__init__(sample_shape, num_features=num_features, num_classes=num_classes)
        first, second = WIDTHS
        self.first = nn.Sequential(
            nn.Conv2d(sample_shape[0], first, 5, padding=2, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
        )
        self.second = nn.Sequential(
            nn.Conv2d(first, second, 5, padding=2, bias=False), nn.BatchNorm2d(second), nn.ReLU()
        )
        self.pool = nn.MaxPool2d(2)
        self.shrink = nn.AdaptiveMaxPool2d(POOLED)
        self.hidden = nn.Sequential(
            nn.Linear(second * POOLED * POOLED, num_features, bias=False),
            nn.BatchNorm1d(num_features),
            nn.ReLU(),
        )
        self.classify = nn.Linear(num_features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of uint8 images: (N, C, H, W) -> (N, num_classes)."""
        return self._see(images)[-1]

    def depths(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what every depth sees of uint8 images, and their logits.

        Returns:
            Both convolutions' activations, averaged to 4x4, and the hidden layer's, side by side,
            (N, D), and the logits (N, num_classes).
        """
        *maps, hidden, logits = self._see(images)
        seen = [adaptive_avg_pool2d(each, POOLED).flatten(1) for each in maps]
        return torch.cat([*seen, hidden], dim=1), logits

    def _see(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the activations of all layers, the logits last."""
        first = self.first(to_unit_range(images))
        second = self.second(self.pool(first))
        hidden = self.hidden(self.shrink(second).flatten(1))
        return first, second, hidden, self.classify(hidden)
