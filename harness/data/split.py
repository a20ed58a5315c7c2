"""How images that were published together are divided: at random, the same for everyone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.randomness import derive_seed

SPLIT_SEED = 20_140_610  # one split for everyone, whatever the run's seed


def divide(sizes: Sequence[int]) -> list[Tensor]:
    """Return the places, in ascending order, of disjoint parts of the given sizes."""
    generator = torch.Generator().manual_seed(derive_seed(SPLIT_SEED, "split"))
    order = torch.randperm(sum(sizes), generator=generator)
    return [places.sort().values for places in torch.split(order, list(sizes))]
