"""Comparing arms: pure functions on arrays of scores that are costs: the smaller wins.

A run without a score (it diverged or failed) is `inf`: it ranks worst, and two of them tie.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import gammaln, ndtri
from scipy.stats import binomtest, rankdata, trim_mean

Array = npt.NDArray[np.float64]

CONFIDENCE = 0.95
"""Confidence of every interval in this module."""


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    high: float


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
        a: Scores of arm A, (n,), the smaller wins; `inf` for runs without a score.
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


def _subset_sums(values: npt.NDArray[np.int64], size: int) -> Array:
    """Count, at index t, the subsets of `size` elements that sum to t (floats: counts get huge)."""
    counts = np.zeros((size + 1, int(values.sum()) + 1))
    counts[0, 0] = 1
    for value in values:
        for k in range(size, 0, -1):
            counts[k, value:] += counts[k - 1, :-value]
    totals: Array = counts[size]
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


def finite_or_none(value: float) -> float | None:
    """Return a figure, or None where it is infinite or undefined and has no place in a table."""
    return value if math.isfinite(value) else None


def interquartile_means(scores: Array) -> Array:
    """Return the means of the middle half of the last axis, (..., n) to (...).

    A quarter of the scores, rounded down, is cut at each end (Agarwal et al. 2021, rliable).
    """
    means: Array = trim_mean(scores, 0.25, axis=-1)
    return means


def interquartile_mean(scores: Sequence[float]) -> float:
    """Return the mean of the middle half; `inf` once failures reach it, NaN without scores."""
    return float(interquartile_means(np.asarray(scores, np.float64))) if len(scores) else math.nan


def bootstrap_interval(
    statistic: Callable[..., Array],
    *samples: Sequence[float],
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return a percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    Its endpoints are order statistics of the bootstrap distribution, so one may be infinite. It is
    too narrow for few scores; `docs/statistics.md` has measured coverages.

    Args:
        statistic: Takes one array (num_resamples, n_i) per sample and reduces the last axis. A
            resample where it is NaN (`inf - inf`) could be anything and widens both ends.
        *samples: Scores, (n_i,), each resampled by itself.
        num_resamples: Number of bootstrap resamples.
        seed: Same seed, same interval.

    Raises:
        ValueError: There is no sample, or one is empty or holds NaN.
    """
    arrays = [np.asarray(sample, np.float64) for sample in samples]
    if not arrays or any(not array.size or np.isnan(array).any() for array in arrays):
        raise ValueError("every sample needs at least one score and none may be NaN")
    generator = np.random.default_rng(seed)
    # scipy.stats.bootstrap interpolates and takes standard errors, which with `inf` end in NaN.
    resamples = [
        array[generator.integers(0, array.size, (num_resamples, array.size))] for array in arrays
    ]
    with np.errstate(invalid="ignore"):
        values = statistic(*resamples)
    undefined = np.isnan(values)
    cut = int(num_resamples * (1 - CONFIDENCE) / 2)
    lows, highs = (np.sort(np.where(undefined, end, values)) for end in (-math.inf, math.inf))
    return Interval(float(lows[cut]), float(highs[-1 - cut]))


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


def wilson_interval(count: int, total: int) -> Interval:
    """Return an interval for a share of `count` in `total` (Wilson 1927).

    Raises:
        ValueError: `total` is not positive or `count` is not in [0, `total`].
    """
    if not 0 <= count <= total or total < 1:
        raise ValueError(f"count must lie in [0, total] and total be positive: {count} of {total}")
    interval = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def hedges_g(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the standardised difference of means, A - B, of the finite scores (Hedges 1981).

    The pooled standard deviation has n + m - 2 degrees of freedom; the correction for small
    samples is the exact one, a ratio of gamma functions. Negative where A has the smaller mean.
    NaN with fewer than two finite scores on a side or no spread on either.
    """
    one, other = _finite(a), _finite(b)
    if min(one.size, other.size) < 2 or np.ptp(one) == np.ptp(other) == 0:
        return math.nan
    df = one.size + other.size - 2
    pooled = math.sqrt(
        ((one.size - 1) * one.var(ddof=1) + (other.size - 1) * other.var(ddof=1)) / df
    )
    correction = math.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / math.sqrt(df / 2)
    return float((one.mean() - other.mean()) / pooled * correction)


def _finite(scores: Sequence[float]) -> Array:
    array = np.asarray(scores, np.float64)
    return array[np.isfinite(array)]


@dataclass(frozen=True, kw_only=True)
class StratifiedTest:
    """Result of the two-sided stratified permutation test of one level of a factor, A, against B.

    Attributes:
        p_value: Probability, if the level made no difference in any stratum, of a mean
            superiority at least as far from ½.
        superiority: Mean over strata of P(A < B) + ½ P(A = B), every stratum with equal weight.
    """

    p_value: float
    superiority: float


def stratified_test(
    strata: Sequence[tuple[Sequence[float], Sequence[float]]],
    *,
    num_permutations: int = 9_999,
    seed: int = 0,
) -> StratifiedTest:
    """Test the marginal effect of one level of a factor against another, by ranks per stratum.

    Labels are permuted within strata only. All relabelings are enumerated where there are at most
    `num_permutations`; otherwise as many are drawn and p = (1 + count) / (1 + num_permutations)
    (Phipson and Smyth 2010). Related: van Elteren 1960.

    Args:
        strata: One pair of scores, (n_i,) of A and (m_i,) of B, per combination of the levels of
            all other factors; `inf` for runs without a score.
        num_permutations: Most relabelings to look at.
        seed: Same seed, same p.

    Raises:
        ValueError: There is no stratum, or a sample is empty or holds NaN.
    """
    if not strata or not all(len(sample) for pair in strata for sample in pair):
        raise ValueError("there must be a stratum, and every sample needs at least one score")
    pooled = [np.asarray([*a, *b], dtype=np.float64) for a, b in strata]
    if any(np.isnan(scores).any() for scores in pooled):
        raise ValueError("scores may not be NaN")
    generator = np.random.default_rng(seed)
    sizes = [(len(a), len(b)) for a, b in strata]
    exact = math.prod(math.comb(n + m, n) for n, m in sizes) <= num_permutations
    observed, permuted = 0.0, np.zeros(1 if exact else num_permutations)
    for (n, m), scores in zip(sizes, pooled, strict=True):
        ranks = rankdata(scores)
        center = n * (n + m + 1) / 2  # expected rank sum of A
        scale = n * m * len(strata)
        observed += (center - ranks[:n].sum()) / scale  # share of pairs that A wins, less ½
        if exact:
            sums = np.array([sum(deal) for deal in itertools.combinations(ranks, n)])
            permuted = np.add.outer(permuted, (center - sums) / scale).ravel()
        else:
            deals = generator.permuted(np.tile(ranks, (num_permutations, 1)), axis=1)
            permuted += (center - deals[:, :n].sum(axis=1)) / scale
    # Sums of the same terms may differ in the last bits; true differences are far larger.
    count = int((np.abs(permuted) >= abs(observed) - 1e-9).sum())
    p_value = count / permuted.size if exact else (1 + count) / (1 + num_permutations)
    return StratifiedTest(p_value=p_value, superiority=0.5 + float(observed))


def interaction(
    strata: Sequence[tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]]],
    *,
    seed: int = 0,
) -> tuple[float, Interval]:
    """Return how far two changes together differ from the sum of each, with its interval.

    The difference of differences of means of finite scores, (both - first) - (second - neither),
    averaged over strata with equal weights, and its percentile bootstrap interval, every arm
    resampled by itself. It depends on the scale of the score: none on a linear scale is one on a
    logarithmic scale.

    Args:
        strata: Per combination of the other factors' levels, the scores of the arms with both
            changes, only the first, only the second, and neither, (n_i,) each. One in which an arm
            has no finite score is left out.
        seed: Seed of the bootstrap.

    Returns:
        The contrast and its interval, NaN where no stratum is left.
    """
    groups = [[_finite(scores) for scores in stratum] for stratum in strata]
    whole = [group for stratum in groups for group in stratum if all(each.size for each in stratum)]
    if not whole:
        return math.nan, Interval(math.nan, math.nan)

    def contrast(*arms: Array) -> Array:
        signs = (1, -1, -1, 1)
        total: Array = sum(signs[index % 4] * arm.mean(axis=-1) for index, arm in enumerate(arms))
        return total / (len(arms) // 4)

    interval = bootstrap_interval(contrast, *(group.tolist() for group in whole), seed=seed)
    return float(contrast(*whole)), interval


def expected_best(scores: Sequence[float]) -> list[float]:
    """Return the expected best of n = 1 … N scores drawn without replacement from these N.

    Element n - 1 is exact: the i-th smallest score is the best of C(N - i, n - 1) of the C(N, n)
    subsets. It is `inf` where all n could be failures. Holds for an unpruned random search, whose
    trials are exchangeable (Lucic et al. 2018; Dodge et al. 2019, who draw with replacement).

    Raises:
        ValueError: A score is NaN.
    """
    if any(math.isnan(score) for score in scores):
        raise ValueError("scores may not be NaN")
    ordered, total = sorted(scores), len(scores)
    return [
        math.fsum(
            math.comb(total - i, n - 1) / math.comb(total, n) * score
            for i, score in enumerate(ordered[: total - n + 1], start=1)
        )
        for n in range(1, total + 1)
    ]
