"""Medians, means, effect sizes and expected bests, against values by hand and scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import trim_mean

from harness.statistics import (
    expected_best,
    hedges_g,
    interquartile_mean,
    interquartile_means,
    mean_and_sd,
    median,
)

INF = math.inf

# Medians and means.


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([3.0], 3.0),
        ([5.0, 1.0, 3.0], 3.0),
        ([4.0, 1.0, 3.0, 2.0], 2.5),
        ([1.0, INF, 2.0], 2.0),
        ([1.0, INF], INF),
        ([INF, 1.0, INF], INF),
        ([INF, INF], INF),
        ([1.0, 2.0, INF, INF], INF),
        ([1.0, 2.0, 3.0, INF], 2.5),
    ],
)
def test_median(scores: list[float], expected: float) -> None:
    before = list(scores)
    assert median(scores) == expected
    assert scores == before


def test_mean_and_sd_are_of_the_finite_scores() -> None:
    assert mean_and_sd([1.0, 2.0, 3.0, 4.0]) == pytest.approx((2.5, math.sqrt(5 / 3)))
    assert mean_and_sd([1.0, INF, 3.0]) == pytest.approx((2.0, math.sqrt(2)))
    mean, sd = mean_and_sd([7.0, INF])
    assert (mean, math.isnan(sd)) == (7.0, True)
    assert all(map(math.isnan, mean_and_sd([INF, INF])))
    assert all(map(math.isnan, mean_and_sd([])))


# The mean of the middle half.


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([7.0], 7.0),
        ([9.0, 1.0, 2.0], 4.0),  # a quarter of three is less than one score
        ([100.0, 1.0, 2.0, 4.0], 3.0),
        ([5.0, 1.0, 2.0, 4.0, 9.0], 11 / 3),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 80.0], 4.5),
        ([1.0, 2.0, 3.0, INF, 2.0], 7 / 3),
        ([1.0, 2.0, 3.0, INF, INF], INF),
        ([1.0, INF, 3.0], INF),
        ([INF, INF], INF),
    ],
)
def test_interquartile_mean(scores: list[float], expected: float) -> None:
    assert interquartile_mean(scores) == pytest.approx(expected, rel=1e-12)


def test_interquartile_means_reduce_the_last_axis_as_scipy_does() -> None:
    generator = np.random.default_rng(3)
    for size in (1, 3, 4, 5, 11, 20):
        scores = generator.normal(size=(2, 6, size))
        scores[0, :3, 0] = INF
        means = interquartile_means(scores)
        assert np.array_equal(means, trim_mean(scores, 0.25, axis=-1))
        assert means[1, 2] == interquartile_mean(scores[1, 2].tolist())
    assert math.isnan(interquartile_mean([]))


# Hedges' g.


def test_hedges_g_by_hand() -> None:
    # Means 2 and 4, pooled variance 1 with 4 degrees of freedom; exact correction
    # Gamma(2) / (sqrt(2) Gamma(3/2)) = sqrt(2 / pi).
    assert hedges_g([1.0, 2.0, 3.0], [3.0, 4.0, 5.0]) == pytest.approx(-2 * math.sqrt(2 / math.pi))
    assert hedges_g([3.0, 4.0, 5.0, INF], [1.0, INF, 2.0, 3.0]) == pytest.approx(
        2 * math.sqrt(2 / math.pi)
    )
    # Deviations of unequal samples: (2 + 18) / (1 + 2) in the pooled variance.
    b = [1.0, 4.0, 7.0]
    correction = math.gamma(1.5) / (math.sqrt(1.5) * math.gamma(1))
    assert hedges_g([0.0, 2.0], b) == pytest.approx(-3 / math.sqrt(20 / 3) * correction)
    large = [*np.linspace(-1, 1, 200)]
    cohen = 0.5 / float(np.std(large, ddof=1))
    assert hedges_g([x + 0.5 for x in large], large) == pytest.approx(
        cohen * (1 - 3 / (4 * 398 - 1)), rel=1e-6
    )


@pytest.mark.parametrize(
    ("a", "b"),
    [([1.0], [1.0, 2.0]), ([1.0, 2.0], [3.0, INF]), ([0.1] * 3, [0.2] * 3), ([], [1.0, 2.0])],
)
def test_hedges_g_is_undefined_without_spread(a: list[float], b: list[float]) -> None:
    assert math.isnan(hedges_g(a, b))
    assert math.isnan(hedges_g(b, a))


# The expected best of n trials.


@pytest.mark.parametrize(
    "scores",
    [
        [3.0],
        [3.0, 1.0, 2.0],
        [5.0, 5.0, 1.0, 8.0, -2.0, 0.5],
        [4.0, INF, 1.0, INF],
        [INF, INF],
        [0.0, INF, 0.0, 2.0, 1.0, INF, 7.0],
    ],
)
def test_expected_best_is_the_mean_over_all_subsets(scores: list[float]) -> None:
    before = list(scores)
    expected = [
        float(np.mean([min(subset) for subset in itertools.combinations(scores, n)]))
        for n in range(1, len(scores) + 1)
    ]
    assert expected_best(scores) == pytest.approx(expected)
    assert scores == before


def test_expected_best_by_hand() -> None:
    assert expected_best([]) == []
    # Two of {1, 2, 4}: best 1, 1, 2.
    assert expected_best([4.0, 1.0, 2.0]) == pytest.approx([7 / 3, 4 / 3, 1.0])
    # Both of two could be failures only while there are two.
    assert expected_best([1.0, INF, INF]) == [INF, INF, 1.0]
    assert expected_best([1.0, 3.0, INF]) == pytest.approx([INF, 5 / 3, 1.0])
    many = expected_best([float(i) for i in range(400)])
    assert many == sorted(many, reverse=True)
    # The least of n among 0 … N - 1 has mean (N - n) / (n + 1).
    assert many == pytest.approx([(400 - n) / (n + 1) for n in range(1, 401)])
    with pytest.raises(ValueError, match="may not be NaN"):
        expected_best([1.0, math.nan])
