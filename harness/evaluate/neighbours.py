"""Distances between sets of features, a block at a time, so that memory stays small."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 1000  # rows
FEW = 8  # features up to which differences are taken one by one, which is exact
SAME = 1e-6  # of the data's variance: what rounding leaves between two equal features


def distance_blocks(rows: Tensor, columns: Tensor) -> Iterator[Tensor]:
    """Yield squared Euclidean distances, `BLOCK` rows at a time.

    Args:
        rows: (N, d) floats.
        columns: (M, d) floats.

    Yields:
        (at most BLOCK, M) float32. Of more than a few features, what rounding leaves between equal
        ones is set to 0, unless they lie many times farther out than the columns do.
    """
    if rows.shape[1] <= FEW:
        for block in rows.split(BLOCK):
            yield (block[:, None] - columns).square().sum(dim=2)
        return
    center = columns.mean(dim=0)
    rows, columns = rows - center, columns - center
    lengths = columns.square().sum(dim=1)
    least = SAME * float(lengths.mean())
    for block in rows.split(BLOCK):
        squares = torch.addmm(lengths, block, columns.T, alpha=-2)
        squares += block.square().sum(dim=1, keepdim=True)
        squares[squares < least] = 0
        yield squares


def nearest(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row's squared distance to the nearest column, (N,), and which one it is, (N,)."""
    found = [block.min(dim=1) for block in distance_blocks(rows, columns)]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])


def radii(features: Tensor, k: int) -> Tensor:
    """Return every feature's squared distance to its k-th neighbour among the others, (N,)."""
    blocks = distance_blocks(features, features)
    return torch.cat([block.topk(k + 1, dim=1, largest=False).values[:, -1] for block in blocks])
