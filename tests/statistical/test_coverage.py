"""How often 95 % intervals hold the truth: the figures that docs/statistics.md states.

Simulations have fixed seeds. Every bound states the chance `ALARM` that a correct implementation
would fail it with a fresh seed; the slow runs are those that the documented figures come from.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy.integrate import quad
from scipy.stats import binom, lognorm, norm

from harness.statistics import (
    CONFIDENCE,
    bootstrap_interval,
    interquartile_means,
    superiority_interval,
    wilson_interval,
)

ALARM = 1e-6
NUM_RESAMPLES = 1000
NUM_STUDIES = {5: 2000, 10: 1000, 20: 600, 50: 300}
NUM_STUDIES_DOCUMENTED = 10_000

Array = npt.NDArray[np.float64]


def is_as_documented(covered: int, num_studies: int, documented: float) -> bool:
    """Whether all but `ALARM` of simulations with the documented coverage are so close to it.

    Both shares vary: the documented one is from `NUM_STUDIES_DOCUMENTED` studies itself.
    """
    variance = documented * (1 - documented) * (1 / num_studies + 1 / NUM_STUDIES_DOCUMENTED)
    return abs(covered / num_studies - documented) <= norm.isf(ALARM / 2) * math.sqrt(variance)


# P(A < B) with Newcombe's interval.

SUPERIORITY = {  # (n, m, shift): coverage
    (5, 5, 0.0): 0.9426,
    (5, 5, 1.0): 0.9576,
    (5, 5, 2.0): 0.9508,
    (5, 10, 0.0): 0.9627,
    (5, 10, 1.0): 0.9628,
    (5, 10, 2.0): 0.9542,
    (10, 10, 0.0): 0.9462,
    (10, 10, 1.0): 0.9545,
    (10, 10, 2.0): 0.9548,
}


def superiority_coverage(a: Array, b: Array, truth: float) -> int:
    """Count the studies whose interval holds `truth`; `a` is (num_studies, n), `b` (…, m)."""
    pairs = a[:, :, None], b[:, None, :]
    won = np.less(*pairs).sum((1, 2)) + np.equal(*pairs).sum((1, 2)) / 2
    covered = 0
    for wins, count in zip(*np.unique(won, return_counts=True), strict=True):
        n, m = a.shape[1], b.shape[1]
        low, high = superiority_interval(float(wins) / (n * m), n, m)
        covered += int(count) * (low <= truth <= high)
    return covered


def test_superiority_interval_has_nearly_nominal_coverage() -> None:
    """Whole pairs make it jump about: 0.943 where all the ways to deal ranks are equally likely."""
    assert min(SUPERIORITY.values()) > CONFIDENCE - 0.01
    ways = [sum(deal) - 15 for deal in itertools.combinations(range(1, 11), 5)]
    intervals = [superiority_interval(losses / 25, 5, 5) for losses in range(26)]
    covered = [intervals[losses].low <= 0.5 <= intervals[losses].high for losses in ways]
    assert np.mean(covered) == pytest.approx(238 / 252)


@pytest.mark.parametrize(("n", "m", "shift"), SUPERIORITY)
def test_superiority_interval_between_normal_arms(n: int, m: int, shift: float) -> None:
    generator = np.random.default_rng([n, m, int(shift)])
    a = generator.normal(size=(NUM_STUDIES_DOCUMENTED, n))
    b = generator.normal(shift, size=(NUM_STUDIES_DOCUMENTED, m))
    covered = superiority_coverage(a, b, float(norm.cdf(shift / math.sqrt(2))))
    documented = SUPERIORITY[n, m, shift]
    assert is_as_documented(covered, NUM_STUDIES_DOCUMENTED, documented), covered


@pytest.mark.parametrize(("n", "m"), [(5, 5), (5, 10), (10, 10)])
@pytest.mark.parametrize("kind", ["ties", "failures"])
def test_superiority_interval_with_ties_and_failures(n: int, m: int, kind: str) -> None:
    """Two arms alike: at least nominal coverage of one half."""
    generator = np.random.default_rng([n, m])
    shape = NUM_STUDIES_DOCUMENTED, n + m
    if kind == "ties":
        scores = generator.integers(0, 4, shape).astype(float)
    else:
        scores = np.where(generator.random(shape) < 0.4, math.inf, generator.normal(size=shape))
    covered = superiority_coverage(scores[:, :n], scores[:, n:], 0.5)
    assert covered >= binom.ppf(ALARM, NUM_STUDIES_DOCUMENTED, CONFIDENCE)


# The percentile bootstrap. Scores are normal, or skewed: exp of normal with this deviation.

SKEW = 0.5
BOOTSTRAP = {  # (statistic, scores, n): coverage
    ("iqm", "normal", 5): 0.8999,
    ("iqm", "normal", 10): 0.9355,
    ("iqm", "normal", 20): 0.943,
    ("iqm", "normal", 50): 0.9433,
    ("iqm", "skewed", 5): 0.8979,
    ("iqm", "skewed", 10): 0.9354,
    ("iqm", "skewed", 20): 0.9418,
    ("iqm", "skewed", 50): 0.9445,
    ("difference", "normal", 5): 0.8768,
    ("difference", "normal", 10): 0.9148,
    ("difference", "normal", 20): 0.9311,
    ("difference", "normal", 50): 0.9435,
    ("difference", "skewed", 5): 0.8746,
    ("difference", "skewed", 10): 0.9094,
    ("difference", "skewed", 20): 0.9259,
    ("difference", "skewed", 50): 0.9411,
}


def difference_of_means(a: Array, b: Array) -> Array:
    return a.mean(axis=-1) - b.mean(axis=-1)


def true_interquartile_mean(scores: str) -> float:
    """Return the mean of the middle half of the distribution: its quantiles from ¼ to ¾."""
    if scores == "normal":
        return 0.0
    return 2 * quad(lambda q: float(lognorm.ppf(q, SKEW)), 0.25, 0.75)[0]


def bootstrap_coverage(statistic: str, scores: str, n: int, num_studies: int) -> int:
    generator = np.random.default_rng([n, num_studies])
    draws = generator.normal(size=(num_studies, 2, n))
    if scores == "skewed":
        draws = np.exp(SKEW * draws)
    function: Callable[..., Array] = interquartile_means
    num_samples, truth = 1, true_interquartile_mean(scores)
    if statistic == "difference":
        function, num_samples, truth = difference_of_means, 2, 0.0
    covered = 0
    for seed, samples in enumerate(draws[:, :num_samples].tolist()):
        low, high = bootstrap_interval(function, *samples, num_resamples=NUM_RESAMPLES, seed=seed)
        covered += low <= truth <= high
    return covered


@pytest.mark.parametrize("in_full", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("statistic", "scores", "n"), BOOTSTRAP)
def test_bootstrap_interval_is_as_good_as_documented(
    statistic: str, scores: str, n: int, in_full: bool
) -> None:
    num_studies = NUM_STUDIES_DOCUMENTED if in_full else NUM_STUDIES[n]
    covered = bootstrap_coverage(statistic, scores, n, num_studies)
    documented = BOOTSTRAP[statistic, scores, n]
    assert is_as_documented(covered, num_studies, documented), covered / num_studies


# Wilson's interval: no chance here, the binomial distribution gives its coverage exactly.

WILSON = {  # n: coverage averaged over all shares from 0.001 to 0.999, and the least of them
    5: (0.955, 0.833),
    10: (0.954, 0.842),
    20: (0.953, 0.852),
    50: (0.952, 0.861),
}


@pytest.mark.parametrize("n", WILSON)
def test_wilson_interval(n: int) -> None:
    shares = np.linspace(0.001, 0.999, 999)
    coverage = np.zeros_like(shares)
    for count in range(n + 1):
        low, high = wilson_interval(count, n)
        coverage += binom.pmf(count, n, shares) * ((low <= shares) & (shares <= high))
    average, least = WILSON[n]
    assert coverage.mean() == pytest.approx(average, abs=6e-4)
    assert coverage.min() == pytest.approx(least, abs=6e-4)
