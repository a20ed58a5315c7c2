"""Blocks that any architecture may contain; each starts as the identity or adds a feature."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.systems.layers import activation, normalisation

GROUP = 4  # Karras et al. 2018, section 3, as in the authors' code


def group_size(num_samples: int) -> int:
    """Return the most samples, up to 4, whose groups make up a batch."""
    return next(size for size in range(GROUP, 0, -1) if num_samples % size == 0)


class Residual(nn.Module):
    """x + gain f(x) with two layers in f, each after norm and activation (He et al. 2016).

    The gain starts at 0, so that a deep network starts as a shallow one (De and Smith 2020).

    Args:
        num_features: Channels or features, in and out.
        norm: One of `NORMS`.
        chosen: One of `ACTIVATIONS`.
        spatial: Whether the input is (N, C, H, W) rather than (N, C).
    """

    def __init__(self, num_features: int, norm: str, chosen: str, *, spatial: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [
                *normalisation(norm, num_features, spatial=spatial),
                activation(chosen),
                nn.Conv2d(num_features, num_features, 3, padding=1)
                if spatial
                else nn.Linear(num_features, num_features),
            ]
        self.change = nn.Sequential(*layers)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return a tensor of the inputs' shape."""
        change: Tensor = self.change(inputs)
        return inputs + self.gain.to(change.dtype) * change


class SelfAttention(nn.Module):
    """x + gain A(x): every position of a map looks at all others (Zhang et al. 2019, SAGAN).

    The gain starts at 0. Keys have an eighth of the channels, values a half, as in the paper.

    Args:
        num_features: Channels, in and out.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        few, half = max(1, num_features // 8), max(1, num_features // 2)
        self.query = nn.Conv2d(num_features, few, 1, bias=False)
        self.key = nn.Conv2d(num_features, few, 1, bias=False)
        self.value = nn.Conv2d(num_features, half, 1, bias=False)
        self.output = nn.Conv2d(half, num_features, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return maps of the inputs' shape (N, C, H, W)."""
        keys, queries = self.key(inputs).flatten(2), self.query(inputs).flatten(2)
        weights = (queries.transpose(1, 2) @ keys).softmax(dim=2)  # a row per position
        seen = self.value(inputs).flatten(2) @ weights.transpose(1, 2)
        change: Tensor = self.output(seen.unflatten(2, inputs.shape[2:]))
        return inputs + self.gain.to(change.dtype) * change


class MinibatchStd(nn.Module):
    """Appends one feature: how much the samples of a group differ (Karras et al. 2018, section 3).

    Standard deviations over a group of 4 samples, or the most below that divide the batch, averaged
    over all features and positions. With it D's logits depend on the whole group.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, C + 1, …) for inputs (N, C, …)."""
        group = group_size(len(inputs))
        at_least_float32 = torch.promote_types(inputs.dtype, torch.float32)
        grouped = inputs.to(at_least_float32).unflatten(0, (-1, group))
        variances = grouped.var(dim=1, correction=0)
        spreads = (variances + 1e-8).sqrt().flatten(1).mean(dim=1)
        feature = spreads.repeat_interleave(group).view(-1, *[1] * (inputs.dim() - 1))
        shape = (len(inputs), 1, *inputs.shape[2:])
        return torch.cat([inputs, feature.expand(shape).to(inputs.dtype)], dim=1)
