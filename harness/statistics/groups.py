"""Whether scores differ among more than two groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

NUM_SHUFFLES = 20_000
CHUNK = 1_000_000  # numbers that are shuffled at a time


def kruskal_wallis(groups: Sequence[Sequence[float]], *, seed: int = 0) -> float:
    """Return the permutation p of the Kruskal-Wallis rank test (1952): do all groups score alike?

    The null hypothesis is that what group a score is in was drawn without regard to the score. Its
    law is that of the observed midranks, ties included, dealt anew into groups of these sizes; so
    many random deals are drawn, and p = (1 + those at least as uneven) / (1 + all), which is a
    valid p for any number of deals (Phipson and Smyth 2010).

    Args:
        groups: Costs of every group; `inf` for runs without a score. Empty groups do not count.
        seed: Of the deals.

    Returns:
        1 where fewer than two groups have scores, or all scores tie.

    Raises:
        ValueError: A score is NaN.
    """
    groups = [group for group in groups if len(group)]
    scores = np.array([score for group in groups for score in group], dtype=np.float64)
    if np.isnan(scores).any():
        raise ValueError("scores may not be NaN")
    if len(groups) < 2:
        return 1.0
    sizes = np.array([len(group) for group in groups])
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))

    def unevenness(ranks: np.ndarray) -> np.ndarray:
        """Return what Kruskal and Wallis' H rises with, of ranks (..., n)."""
        sums = np.add.reduceat(ranks, starts, axis=-1)
        uneven: np.ndarray = (sums**2 / sizes).sum(axis=-1)
        return uneven

    ranks = rankdata(scores)
    observed = float(unevenness(ranks)) * (1 - 1e-12)  # rounding depends on the order of a sum
    generator = np.random.default_rng(seed)
    as_uneven, left = 0, NUM_SHUFFLES
    while left:
        count = min(left, max(1, CHUNK // len(ranks)))
        dealt = generator.permuted(np.tile(ranks, (count, 1)), axis=1)
        as_uneven += int((unevenness(dealt) >= observed).sum())
        left -= count
    return (1 + as_uneven) / (1 + NUM_SHUFFLES)
