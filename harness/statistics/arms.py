"""One arm's scores: middle, spread, shares, and what a search of n trials would find."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, trim_mean

from harness.statistics.interval import CONFIDENCE, Array, Interval

MOST_ENUMERATED = 10
"""Scores up to which all resamples are counted: 92,378 multisets of 10."""


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
    statistic: Callable[[Array], Array],
    scores: Sequence[float],
    *,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return a percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    Up to ten scores all resamples are counted, each multiset with its number of orders, so the
    interval has no noise; more are resampled. Its ends are order statistics of the bootstrap
    distribution, beyond each of which lie at most 2.5 %, so one may be infinite. It is too narrow
    for few scores; `docs/statistics.md` has measured coverages.

    Args:
        statistic: Takes resamples, (num_resamples, n), and reduces the last axis; the order of the
            scores in a resample may not matter to it.
        scores: Scores, (n,).
        num_resamples: Number of bootstrap resamples of more than ten scores.
        seed: Same seed, same interval.

    Raises:
        ValueError: There is no score or one is NaN.
    """
    array = np.asarray(scores, np.float64)
    if not array.size or np.isnan(array).any():
        raise ValueError("there must be a score and none may be NaN")
    # scipy.stats.bootstrap interpolates and takes standard errors, which with `inf` end in NaN.
    if array.size <= MOST_ENUMERATED:
        chosen, weights = multisets(array.size)
    else:
        generator = np.random.default_rng(seed)
        chosen = generator.integers(0, array.size, (num_resamples, array.size))
        weights = np.ones(num_resamples, dtype=np.int64)
    values = statistic(array[chosen])
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    cut = below[-1] * ((1 - CONFIDENCE) / 2)
    low = np.searchsorted(below, cut, side="right")
    high = np.searchsorted(below, below[-1] - cut, side="left")
    return Interval(float(values[order[low]]), float(values[order[high]]))


@lru_cache(maxsize=MOST_ENUMERATED)
def multisets(size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return all multisets of `size` indices below `size`, (count, size), and each one's orders."""
    chosen = np.array(list(itertools.combinations_with_replacement(range(size), size)))
    factorials = np.array([math.factorial(k) for k in range(size + 1)])
    repeats = (chosen[:, :, None] == np.arange(size)).sum(axis=1)
    return chosen, factorials[size] // factorials[repeats].prod(axis=1)


def wilson_interval(count: int, total: int) -> Interval:
    """Return an interval for a share of `count` in `total` (Wilson 1927).

    Raises:
        ValueError: `total` is not positive or `count` is not in [0, `total`].
    """
    if not 0 <= count <= total or total < 1:
        raise ValueError(f"count must lie in [0, total] and total be positive: {count} of {total}")
    interval = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(interval.low), float(interval.high))


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
