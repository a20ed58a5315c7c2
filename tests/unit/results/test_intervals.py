"""Intervals, by bootstrap and of shares, against values by hand, equations and scipy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import bootstrap, t

from harness.statistics import (
    Interval,
    bootstrap_interval,
    interaction,
    interquartile_means,
    superiority_interval,
    wilson_interval,
)
from harness.statistics.arms import multisets

Array = npt.NDArray[np.float64]

INF = math.inf

# By bootstrap.


def means(scores: Array) -> Array:
    return scores.mean(axis=-1)


def test_bootstrap_interval_of_two_scores_by_hand() -> None:
    """Means 0, ½, 1 with probability ¼, ½, ¼: more than 2.5 % at both ends."""
    assert bootstrap_interval(means, [0.0, 1.0]) == Interval(0.0, 1.0)
    assert bootstrap_interval(means, [4.0]) == Interval(4.0, 4.0)
    maximum = bootstrap_interval(lambda scores: scores.max(axis=-1), [*map(float, range(8))])
    # P(max <= 3) = (4/8)^8 = 0.4 %, P(max <= 4) = (5/8)^8 = 2.3 %, P(max <= 5) = 10 %.
    assert maximum == Interval(5.0, 7.0)


@pytest.mark.parametrize(
    ("statistic", "size"), [(means, 12), (interquartile_means, 20), (interquartile_means, 7)]
)
def test_bootstrap_interval_agrees_with_scipy(
    statistic: Callable[[Array], Array], size: int
) -> None:
    def along_last(array: Array, axis: int) -> Array:
        assert axis == -1
        return statistic(array)

    scores = np.random.default_rng(4).lognormal(size=size).tolist()
    expected = bootstrap(
        (scores,),
        along_last,
        method="percentile",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(5),
    ).confidence_interval
    interval = bootstrap_interval(statistic, scores, num_resamples=20_000)
    assert interval == pytest.approx(tuple(expected), abs=0.04 * (expected.high - expected.low))


def test_bootstrap_interval_with_failures_is_never_undefined() -> None:
    low, high = bootstrap_interval(interquartile_means, [1.0, 2.0, 3.0, 4.0, INF])
    assert 1 <= low < 4
    assert high == INF
    assert bootstrap_interval(means, [INF, INF]) == Interval(INF, INF)
    # One failure in a hundred is drawn twice or more in a quarter of resamples, never 25 times.
    assert bootstrap_interval(interquartile_means, [*map(float, range(99)), INF]).high < 70


def test_bootstrap_interval_repeats_and_leaves_global_state_alone() -> None:
    scores = np.random.default_rng(6).normal(size=15).tolist()
    before = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    first = bootstrap_interval(means, scores)
    assert first == bootstrap_interval(means, scores)
    assert first != bootstrap_interval(means, scores, seed=1)
    assert first != bootstrap_interval(means, scores, num_resamples=500)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index, union-attr]


def test_bootstrap_interval_follows_a_change_of_units_or_sign() -> None:
    scores = np.random.default_rng(7).normal(size=15).tolist()
    low, high = bootstrap_interval(means, scores)
    assert bootstrap_interval(means, [2 * x + 3 for x in scores]) == pytest.approx(
        (2 * low + 3, 2 * high + 3)
    )
    assert bootstrap_interval(means, [-x for x in scores]) == pytest.approx((-high, -low))


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_up_to_ten_scores_every_resample_counts(size: int) -> None:
    """Against all size^size orders: beyond each end lie at most 2.5 %, with it more."""
    scores = [*np.random.default_rng(size).lognormal(size=size - 1).tolist(), INF]
    resamples = np.array(list(itertools.product(scores, repeat=size)))
    values = np.sort(interquartile_means(resamples))
    cut = math.floor(0.025 * len(values))
    expected = values[cut], values[len(values) - 1 - cut]
    assert bootstrap_interval(interquartile_means, scores) == pytest.approx(expected)


def test_ten_scores_have_92378_multisets_and_no_noise() -> None:
    chosen, weights = multisets(10)
    assert (len(chosen), weights.sum(), weights.min()) == (math.comb(19, 10), 10**10, 1)
    assert weights.max() == math.factorial(10)
    scores = np.random.default_rng(6).normal(size=10).tolist()
    first = bootstrap_interval(interquartile_means, scores)
    assert first == bootstrap_interval(interquartile_means, scores, seed=1, num_resamples=9)


@pytest.mark.parametrize("scores", [[], [1.0, math.nan]])
def test_bootstrap_refuses_empty_or_undefined_samples(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="there must be a score and none may be"):
        bootstrap_interval(means, scores)


# Intervals for P(A < B) and for shares.


def newcombe_by_polynomial(estimate: float, n: int, m: int) -> list[float]:
    """Solve (estimate - x)^2 = z^2 V(x), cleared of fractions, for its roots in [0, 1]."""
    x, one = np.poly1d([1.0, 0.0]), np.poly1d([1.0])
    k, z2 = (n + m) / 2 - 1, 1.959963984540054**2
    both = (2 * one - x) * (one + x)
    spread = both + k * (one - x) * (one + x) + k * x * (2 * one - x)
    polynomial = n * m * (estimate * one - x) ** 2 * both - z2 * x * (one - x) * spread
    real = [root.real for root in polynomial.roots if abs(root.imag) < 1e-9]
    return sorted(root for root in real if -1e-9 <= root <= 1 + 1e-9)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 3), (5, 5), (5, 10), (10, 5), (12, 20)])
def test_superiority_interval_solves_the_equation(n: int, m: int) -> None:
    for wins in range(2 * n * m + 1):
        estimate = wins / (2 * n * m)
        interval = superiority_interval(estimate, n, m)
        roots = newcombe_by_polynomial(estimate, n, m)
        assert len(roots) == 2
        assert interval == pytest.approx(roots, abs=1e-7)
        assert 0 <= interval.low <= estimate <= interval.high <= 1
        mirrored = superiority_interval(1 - estimate, m, n)
        assert interval == pytest.approx((1 - mirrored.high, 1 - mirrored.low), abs=1e-9)


def test_superiority_interval_by_hand() -> None:
    # One pair: V = t (1 - t), so z^2 t = 1 - t at the estimate 1, as in Wilson's interval.
    z2 = 1.959963984540054**2
    assert superiority_interval(1.0, 1, 1) == pytest.approx((1 / (1 + z2), 1.0), abs=1e-9)
    assert superiority_interval(1.0, 1, 1) == pytest.approx(wilson_interval(1, 1), abs=1e-9)
    # Three against three and all pairs won: 9 (1 - t) (2 - t) (1 + t) = z^2 t (4 + 5 t - 5 t^2).
    low, high = superiority_interval(1.0, 3, 3)
    assert high == 1.0
    left, right = 9 * (1 - low) * (2 - low) * (1 + low), z2 * low * (4 + 5 * low - 5 * low**2)
    assert left == pytest.approx(right)
    assert 0.5 < low < 0.502
    assert superiority_interval(0.0, 3, 3).low == 0.0
    widths = [high - low for low, high in (superiority_interval(0.7, n, n) for n in (3, 5, 20))]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("given", [(1.1, 5, 5), (-0.1, 5, 5), (math.nan, 5, 5), (0.5, 0, 5)])
def test_superiority_interval_refuses(given: tuple[float, int, int]) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        superiority_interval(*given)


def test_wilson_interval() -> None:
    z2 = 1.959963984540054**2
    assert wilson_interval(0, 5) == pytest.approx((0.0, z2 / (5 + z2)))
    assert wilson_interval(5, 5) == pytest.approx((5 / (5 + z2), 1.0))
    middle, half = (2 + z2 / 2) / (5 + z2), math.sqrt(z2 * (6 / 5 + z2 / 4)) / (5 + z2)
    assert wilson_interval(2, 5) == pytest.approx((middle - half, middle + half))
    for count, total in [(0, 0), (-1, 5), (6, 5)]:
        with pytest.raises(ValueError, match=f"{count} of {total}"):
            wilson_interval(count, total)


# Interactions.


def test_interaction_by_hand() -> None:
    difference, interval = interaction([([1.0], [4.0], [6.0], [20.0])])
    assert difference == (1 - 4) - (6 - 20) == 11
    assert interval == (-INF, INF)  # no spread known
    # Variances of the means 1, 1, 4, 4 with one degree of freedom each: 10^2 / (1 + 1 + 16 + 16).
    groups = [[1.0, 3.0, INF], [3.0, 5.0], [4.0, 8.0, INF], [18.0, 22.0]]
    difference, interval = interaction([tuple(groups)])
    assert difference == (2 - 4) - (6 - 20) == 12
    half = float(t.ppf(0.975, 100 / 34)) * math.sqrt(10)
    assert interval == pytest.approx((12 - half, 12 + half))
    # Two such strata: twice the variance and the degrees of freedom, of the mean of two.
    half = float(t.ppf(0.95, 200 / 34)) * math.sqrt(20) / 2
    assert interaction([tuple(groups)] * 2, alpha=0.1)[1] == pytest.approx((12 - half, 12 + half))
    assert interaction([([1.0, 1.0],) * 4]) == (0, (0, 0))


def test_interaction_with_a_group_that_failed_is_undefined() -> None:
    for group in ([], [INF, INF]):
        difference, interval = interaction([([1.0, 2.0], group, [1.0], [2.0])])
        assert math.isnan(difference)
        assert all(map(math.isnan, interval))
