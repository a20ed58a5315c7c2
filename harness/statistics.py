"""Comparing arms: pure functions on arrays of scores, where lower is better.

A run without a score (it diverged or failed) is `inf`: it ranks worst, and two of them tie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata


@dataclass(frozen=True, kw_only=True)
class RankTest:
    """Result of the exact two-sided Mann-Whitney test of A against B.

    Attributes:
        p_value: Probability, if both arms had the same distribution, of ranks at least as uneven.
        superiority: P(A < B) + ½ P(A = B), the share of pairs that A wins; ½ is no difference.
        smallest_p: The least p that these sample sizes, and ties such as these, can yield at all.
    """

    p_value: float
    superiority: float
    smallest_p: float


def mann_whitney(a: Sequence[float], b: Sequence[float]) -> RankTest:
    """Test two independent samples, exactly, ties included (Mann and Whitney 1947).

    The null distribution of A's rank sum is counted over all ways to deal the observed midranks
    into groups of these sizes, so no normal approximation and no assumption of distinct values.

    Args:
        a: Scores of arm A, (n,), lower is better; `inf` for runs without a score.
        b: Scores of arm B, (m,).

    Raises:
        ValueError: A sample is empty or holds NaN.
    """
    scores = np.asarray([*a, *b], dtype=np.float64)
    if not a or not b or np.isnan(scores).any():
        raise ValueError("both samples need at least one score and none may be NaN")
    doubled = np.rint(2 * rankdata(scores)).astype(np.int64)  # midranks come in halves
    observed = int(doubled[: len(a)].sum())
    counts = _subset_sums(doubled, len(a))
    center = len(a) * (len(scores) + 1)  # twice the expected rank sum
    distances = np.abs(np.arange(len(counts)) - center)
    farthest = distances[counts > 0].max()

    def tail(distance: int) -> float:
        ways = float(counts[distances >= distance].sum())
        return min(1.0, ways / math.comb(len(scores), len(a)))

    u_doubled = observed - len(a) * (len(a) + 1)  # twice the pairs that A loses, ties half
    return RankTest(
        p_value=tail(abs(observed - center)),
        superiority=1 - u_doubled / (2 * len(a) * len(b)),
        smallest_p=tail(farthest),
    )


def _subset_sums(values: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.float64]:
    """Count, at index t, the subsets of `size` elements that sum to t (floats: counts get huge)."""
    counts = np.zeros((size + 1, int(values.sum()) + 1))
    counts[0, 0] = 1
    for value in values:
        for k in range(size, 0, -1):
            counts[k, value:] += counts[k - 1, :-value]
    totals: npt.NDArray[np.float64] = counts[size]
    return totals


def smallest_p(num_a: int, num_b: int) -> float:
    """Return the least two-sided p of the exact test without ties: 2 of all ways to deal ranks."""
    return min(1.0, 2 / math.comb(num_a + num_b, num_a))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for testing all of them (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def median(scores: Sequence[float]) -> float:
    """Return the median; with runs lacking a score as `inf` it stays honest up to half of them."""
    ordered = sorted(scores)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def mean_and_sd(scores: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation of the finite scores (NaN where undefined)."""
    finite = [score for score in scores if math.isfinite(score)]
    if not finite:
        return math.nan, math.nan
    return float(np.mean(finite)), float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan
