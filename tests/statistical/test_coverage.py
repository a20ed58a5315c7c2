"""How often 95 % intervals hold the truth: the figures that docs/statistics.md states.

Simulations have fixed seeds. Every bound states the chance `ALARM` that a correct implementation
would fail it with a fresh seed; the slow runs are those that the documented figures come from.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.integrate import quad
from scipy.stats import binom, lognorm, norm

from harness.statistics import (
    CONFIDENCE,
    bootstrap_interval,
    interaction,
    interquartile_means,
    shift_interval,
    superiority_interval,
    wilson_interval,
)
from harness.statistics.arms import MOST_ENUMERATED, multisets

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
BOOTSTRAP = {  # (scores, n): coverage of the interquartile mean
    ("normal", 5): 0.8999,
    ("normal", 10): 0.9355,
    ("normal", 20): 0.943,
    ("normal", 50): 0.9433,
    ("skewed", 5): 0.8979,
    ("skewed", 10): 0.9354,
    ("skewed", 20): 0.9418,
    ("skewed", 50): 0.9445,
}


def drawn(generator: np.random.Generator, scores: str, shape: tuple[int, ...]) -> Array:
    draws = generator.normal(size=shape)
    return np.exp(SKEW * draws) if scores == "skewed" else draws


def true_interquartile_mean(scores: str) -> float:
    """Return the mean of the middle half of the distribution: its quantiles from ¼ to ¾."""
    if scores == "normal":
        return 0.0
    return 2 * quad(lambda q: float(lognorm.ppf(q, SKEW)), 0.25, 0.75)[0]


def enumerated_coverage(studies: Array, truth: float) -> Array:
    """Return which studies' intervals hold the truth, (N, n) to (N,), for all multisets at once.

    An end lies beyond the truth where at most 2.5 % of the resamples reach the truth.
    """
    n = studies.shape[1]
    chosen, weights = multisets(n)
    middle = chosen[:, n // 4 : n - n // 4]  # of sorted scores, each multiset is sorted
    shares = (middle[:, :, None] == np.arange(n)).mean(axis=1)
    covered = []
    for some in np.array_split(np.sort(studies), -(-len(studies) // 50)):
        means = some @ shares.T
        reach = [(means <= truth) @ weights, (means >= truth) @ weights]
        covered.append(np.minimum(*reach) > weights.sum() * (1 - CONFIDENCE) / 2)
    return np.concatenate(covered)


def bootstrap_coverage(scores: str, n: int, num_studies: int) -> int:
    studies = drawn(np.random.default_rng([n, num_studies]), scores, (num_studies, n))
    truth = true_interquartile_mean(scores)
    if n <= MOST_ENUMERATED:
        return int(enumerated_coverage(studies, truth).sum())
    covered = 0
    for seed, sample in enumerate(studies.tolist()):
        low, high = bootstrap_interval(
            interquartile_means, sample, num_resamples=NUM_RESAMPLES, seed=seed
        )
        covered += low <= truth <= high
    return covered


@pytest.mark.parametrize("in_full", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("scores", "n"), BOOTSTRAP)
def test_bootstrap_interval_is_as_good_as_documented(scores: str, n: int, in_full: bool) -> None:
    num_studies = NUM_STUDIES_DOCUMENTED if in_full else NUM_STUDIES[n]
    covered = bootstrap_coverage(scores, n, num_studies)
    documented = BOOTSTRAP[scores, n]
    assert is_as_documented(covered, num_studies, documented), covered / num_studies


@pytest.mark.parametrize("n", [5, 8])
def test_all_studies_at_once_are_covered_as_one_by_one(n: int) -> None:
    studies, truth = drawn(np.random.default_rng(n), "skewed", (40, n)), 1.0
    covered = []
    for sample in studies.tolist():
        low, high = bootstrap_interval(interquartile_means, sample)
        covered.append(low <= truth <= high)
    assert enumerated_coverage(studies, truth).tolist() == covered


# The difference of two arms, and the interaction of two changes.

INTERACTION = {  # (scores, spread of the first arm, n): coverage of Welch's interval
    ("normal", 1, 5): 0.953,
    ("normal", 1, 10): 0.953,
    ("normal", 1, 20): 0.948,
    ("skewed", 1, 5): 0.966,
    ("skewed", 1, 10): 0.960,
    ("skewed", 1, 20): 0.957,
    ("normal", 3, 5): 0.946,
    ("normal", 3, 10): 0.950,
    ("skewed", 3, 5): 0.941,
    ("skewed", 3, 10): 0.939,
}


@pytest.mark.parametrize("in_full", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("scores", "spread", "n"), INTERACTION)
def test_interval_of_the_interaction(scores: str, spread: int, n: int, in_full: bool) -> None:
    num_studies = NUM_STUDIES_DOCUMENTED if in_full else 1500
    studies = drawn(np.random.default_rng([n, spread, num_studies]), scores, (num_studies, 4, n))
    studies[:, 0] *= spread
    truth = (spread - 1) * (math.exp(SKEW**2 / 2) if scores == "skewed" else 0.0)
    covered = 0
    for groups in studies.tolist():
        _, (low, high) = interaction([tuple(groups)])
        covered += low <= truth <= high
    documented = INTERACTION[scores, spread, n]
    assert is_as_documented(covered, num_studies, documented), covered / num_studies


@pytest.mark.parametrize("scores", ["normal", "skewed"])
@pytest.mark.parametrize(("n", "m"), [(5, 5), (10, 10), (8, 5)])
def test_interval_of_the_difference_between_shifted_arms(n: int, m: int, scores: str) -> None:
    """Exact: as often as the test accepts, which is counted here from all ways to deal ranks."""
    sums = np.array([sum(deal) for deal in itertools.combinations(range(1, n + m + 1), n)])
    distances = np.abs(sums - n * (n + m + 1) / 2)
    tails = np.array([np.mean(distances >= distance) for distance in np.unique(distances)])
    size = max(tails[tails <= 1 - CONFIDENCE])
    generator, covered, num_studies = np.random.default_rng([n, m]), 0, 1500
    for a, b in zip(
        (drawn(generator, scores, (num_studies, n)) + 0.7).tolist(),
        drawn(generator, scores, (num_studies, m)).tolist(),
        strict=True,
    ):
        interval = shift_interval(a, b)
        assert interval is not None
        covered += interval.low <= 0.7 <= interval.high
    low, high = binom.ppf([ALARM / 2, 1 - ALARM / 2], num_studies, 1 - size)
    assert low <= covered <= high


# Wilson's interval: no chance here, the binomial distribution gives its coverage exactly.

WILSON = {  # n: coverage averaged over shares from 0.001 to 0.999, and the least at any share
    5: (0.955, 0.832),
    10: (0.954, 0.835),
    20: (0.953, 0.837),
    50: (0.952, 0.838),
}


@pytest.mark.parametrize("n", WILSON)
def test_wilson_interval(n: int) -> None:
    """The least coverage is just outside an end of an interval."""
    intervals = np.array([wilson_interval(count, n) for count in range(n + 1)])

    def coverage(shares: Array) -> Array:
        held = (intervals[:, :1] <= shares) & (shares <= intervals[:, 1:])
        whole: Array = (held * binom.pmf(np.arange(n + 1)[:, None], n, shares)).sum(axis=0)
        return whole

    average, least = WILSON[n]
    ends = np.concatenate([intervals.ravel() - 1e-9, intervals.ravel() + 1e-9])
    assert coverage(np.linspace(0.001, 0.999, 999)).mean() == pytest.approx(average, abs=6e-4)
    assert coverage(np.clip(ends, 0, 1)).min() == pytest.approx(least, abs=6e-4)
