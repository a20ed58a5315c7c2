"""Exact rank tests of two arms, Holm's adjustment, and how sure P(A < B) is.

Scores are costs: the smaller wins. A run without a score (it diverged or failed) is `inf`: it
ranks worst, and two of them tie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import rankdata

from harness.statistics.interval import CONFIDENCE, Array, Interval


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

    The null hypothesis is that both arms have the same distribution. The law of A's rank sum is
    counted over all ways to deal the observed midranks into groups of these sizes, so no normal
    approximation and no assumption of distinct values.

    Args:
        a: Scores of arm A, (n,), the smaller wins; `inf` for runs without a score.
        b: Scores of arm B, (m,).

    Raises:
        ValueError: A sample is empty or holds NaN.
    """
    doubled = _doubled_ranks(a, b)
    counts = subset_sums(doubled, len(a))
    tails = _two_sided(counts, len(a) * (len(doubled) + 1))
    observed = int(doubled[: len(a)].sum())
    lost_doubled = observed - len(a) * (len(a) + 1)  # twice the pairs that A loses, ties half
    return RankTest(
        p_value=float(tails[observed]),
        superiority=1 - lost_doubled / (2 * len(a) * len(b)),
        smallest_p=float(tails[counts > 0].min()),
    )


def _doubled_ranks(a: Sequence[float], b: Sequence[float]) -> npt.NDArray[np.int64]:
    scores = np.asarray([*a, *b], dtype=np.float64)
    if not len(a) or not len(b) or np.isnan(scores).any():
        raise ValueError("both samples need at least one score and none may be NaN")
    doubled: npt.NDArray[np.int64] = np.rint(2 * rankdata(scores)).astype(np.int64)
    return doubled  # midranks come in halves


def subset_sums(values: npt.NDArray[np.int64], size: int) -> Array:
    """Count, at index t, the subsets of `size` elements that sum to t (floats: counts get huge)."""
    counts = np.zeros((size + 1, int(values.sum()) + 1))
    counts[0, 0] = 1
    for value in values:
        for k in range(size, 0, -1):
            counts[k, value:] += counts[k - 1, :-value]
    totals: Array = counts[size]
    return totals


def _two_sided(counts: Array, center: int) -> Array:
    """Return, at index t, the share of counts at least as far from the center as t."""
    distances = np.abs(np.arange(len(counts)) - center)
    by_distance = np.bincount(distances, weights=counts)
    tails = np.cumsum(by_distance[::-1])[::-1]
    shares: Array = np.minimum(1, tails / tails[0])[distances]
    return shares


@lru_cache(maxsize=256)
def p_by_lost_pairs(num_a: int, num_b: int, num_failed: int = 0) -> Array:
    """Return the two-sided p at index 2 U, U the pairs that A loses, ties half; (2 n m + 1,).

    Args:
        num_a: Runs of A, n.
        num_b: Runs of B, m.
        num_failed: How many of all runs tie at the worst rank; the others are distinct.
    """
    total = num_a + num_b
    doubled = 2 * np.arange(1, total + 1)
    if num_failed:
        doubled[total - num_failed :] = 2 * total - num_failed + 1
    tails = _two_sided(subset_sums(doubled, num_a), num_a * (total + 1))
    least = num_a * (num_a + 1)
    p_values = tails[least : least + 2 * num_a * num_b + 1]
    p_values.setflags(write=False)
    return p_values


def smallest_p(num_a: int, num_b: int) -> float:
    """Return the least two-sided p of the exact test without ties: 2 of all ways to deal ranks."""
    return min(1.0, 2 / math.comb(num_a + num_b, num_a))


def sign_test(successes: int, total: int) -> float:
    """Return the one-sided p of so many successes or more, if each were as likely as not."""
    return sum(math.comb(total, k) for k in range(successes, total + 1)) / (1 << total)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for testing all of them (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def holm_least(p_values: Sequence[float], least: Sequence[float]) -> list[float]:
    """Return the least that each p could have been after Holm's adjustment, the others as they are.

    Args:
        p_values: Of all tests.
        least: What each of them can yield at all, before the adjustment.
    """
    return [
        holm([*p_values[:index], low, *p_values[index + 1 :]])[index]
        for index, low in enumerate(least)
    ]


def holm_levels(p_values: Sequence[float], alpha: float) -> list[float]:
    """Return the level at which Holm's procedure judges each p, in the order given.

    Of m tests the smallest p meets α/m, the next α/(m - 1) and so on; the first that fails sets
    the level of all that are left. So p <= its level just where its adjusted p is <= α.
    """
    num_rejected = sum(adjusted <= alpha for adjusted in holm(p_values))
    num_smaller = [sum(other < p_value for other in p_values) for p_value in p_values]
    return [alpha / (len(p_values) - min(count, num_rejected)) for count in num_smaller]


def superiority_interval(superiority: float, num_a: int, num_b: int) -> Interval:
    """Return an interval for P(A < B) + ½ P(A = B) from its estimate (Newcombe 2006, method 5).

    An endpoint is the value that lies z of its own standard errors from the estimate; the variance
    is Hanley and McNeil's (1982) with the mean of the two sample sizes in both of its terms, so it
    is symmetric about ½. At an estimate of 0 or 1 the interval starts or ends there, and still has
    width. Ties lower the true variance; with many the interval is wider than needed. Statistics in
    Medicine 25:559-573.

    Raises:
        ValueError: `superiority` lies outside [0, 1] or a sample is empty.
    """
    if not 0 <= superiority <= 1 or min(num_a, num_b) < 1:
        given = f"{superiority} from {num_a} and {num_b}"
        raise ValueError(f"superiority must lie in [0, 1] and both samples need scores: {given}")
    return Interval(
        _lowest_superiority(superiority, num_a, num_b),
        1 - _lowest_superiority(1 - superiority, num_a, num_b),
    )


def _lowest_superiority(estimate: float, num_a: int, num_b: int) -> float:
    """Solve for the lower endpoint; the variance is symmetric about ½, so this gives both."""
    if estimate == 0:
        return 0.0
    z = ndtri((1 + CONFIDENCE) / 2)
    k = (num_a + num_b) / 2 - 1

    def excess(theta: float) -> float:
        spread = 1 + k * (1 - theta) / (2 - theta) + k * theta / (1 + theta)
        variance = theta * (1 - theta) * spread / (num_a * num_b)
        return float((estimate - theta) ** 2 - z**2 * variance)

    # At 1 the variance vanishes, a second root that is not the endpoint: stop just short of it.
    return float(brentq(excess, 0, min(estimate, 1 - 1e-9), xtol=1e-12))
