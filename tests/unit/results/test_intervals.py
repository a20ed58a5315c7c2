"""Intervals, by bootstrap and of shares, against values by hand, equations and scipy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import bootstrap

from harness.results.statistics import (
    Interval,
    bootstrap_interval,
    interaction,
    interquartile_means,
    superiority_interval,
    wilson_interval,
)

Array = npt.NDArray[np.float64]

INF = math.inf

# By bootstrap.


def means(scores: Array) -> Array:
    return scores.mean(axis=-1)


def difference_of_means(a: Array, b: Array) -> Array:
    return a.mean(axis=-1) - b.mean(axis=-1)


def test_bootstrap_interval_of_two_scores_by_hand() -> None:
    """Means 0, ½, 1 with probability ¼, ½, ¼: more than 2.5 % at both ends."""
    assert bootstrap_interval(means, [0.0, 1.0]) == Interval(0.0, 1.0)
    assert bootstrap_interval(means, [4.0]) == Interval(4.0, 4.0)
    maximum = bootstrap_interval(lambda scores: scores.max(axis=-1), [*map(float, range(8))])
    # P(max <= 3) = (4/8)^8 = 0.4 %, P(max <= 4) = (5/8)^8 = 2.3 %, P(max <= 5) = 10 %.
    assert maximum == Interval(5.0, 7.0)


@pytest.mark.parametrize(
    ("statistic", "sizes"),
    [(means, [12]), (interquartile_means, [20]), (difference_of_means, [9, 14])],
)
def test_bootstrap_interval_agrees_with_scipy(
    statistic: Callable[..., Array], sizes: list[int]
) -> None:
    def along_last(*arrays: Array, axis: int) -> Array:
        assert axis == -1
        return statistic(*arrays)

    generator = np.random.default_rng(4)
    samples = [generator.lognormal(size=size).tolist() for size in sizes]
    expected = bootstrap(
        samples,
        along_last,
        method="percentile",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(5),
    ).confidence_interval
    interval = bootstrap_interval(statistic, *samples, num_resamples=20_000)
    assert interval == pytest.approx(tuple(expected), abs=0.04 * (expected.high - expected.low))


def test_bootstrap_interval_with_failures_is_never_undefined() -> None:
    low, high = bootstrap_interval(interquartile_means, [1.0, 2.0, 3.0, 4.0, INF])
    assert 1 <= low < 4
    assert high == INF
    assert bootstrap_interval(means, [INF, INF]) == Interval(INF, INF)
    # One failure in a hundred is drawn twice or more in a quarter of resamples, never 25 times.
    assert bootstrap_interval(interquartile_means, [*map(float, range(99)), INF]).high < 70
    assert bootstrap_interval(difference_of_means, [1.0, 2.0, INF], [1.0, INF]) == (-INF, INF)
    low, high = bootstrap_interval(difference_of_means, [1.0, 2.0, INF], [0.0, 0.5])
    assert (low >= 0.5, high) == (True, INF)


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


def test_samples_are_resampled_independently() -> None:
    """The same scores twice: their difference is not always 0."""
    low, high = bootstrap_interval(difference_of_means, [1.0, 2.0, 9.0], [1.0, 2.0, 9.0])
    assert low < -4
    assert high > 4


@pytest.mark.parametrize("samples", [[], [[]], [[1.0], []], [[1.0, math.nan]]])
def test_bootstrap_refuses_empty_or_undefined_samples(samples: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="every sample needs at least one score and none may be"):
        bootstrap_interval(means, *samples)


# Intervals for P(A < B) and for shares.


def newcombe_by_polynomial(estimate: float, n: int, m: int) -> list[float]:
    """Solve (estimate - t)^2 = z^2 V(t), cleared of fractions, for its roots in [0, 1]."""
    t, one = np.poly1d([1.0, 0.0]), np.poly1d([1.0])
    k, z2 = (n + m) / 2 - 1, 1.959963984540054**2
    both = (2 * one - t) * (one + t)
    spread = both + k * (one - t) * (one + t) + k * t * (2 * one - t)
    polynomial = n * m * (estimate * one - t) ** 2 * both - z2 * t * (one - t) * spread
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
    assert interval == (11, 11)
    groups = [[1.0, 3.0, INF], [4.0], [5.0, 7.0], [20.0, INF]]
    difference, (low, high) = interaction([tuple(groups)])
    assert difference == 11 + 1
    assert low <= 11 < 13 <= high


def test_interaction_resamples_every_group() -> None:
    groups = np.random.default_rng(8).lognormal(size=(4, 9)).tolist()

    def contrast(*groups: Array) -> Array:
        b, f, s, n = (group.mean(axis=-1) for group in groups)
        return b - f - s + n

    expected = bootstrap_interval(contrast, *groups, seed=3)
    failed = [[INF, *group] for group in groups]
    assert interaction([tuple(failed)], seed=3)[1] == pytest.approx(expected)
    assert interaction([tuple(groups)]) == interaction([tuple(groups)])
    assert interaction([tuple(groups)])[1] != pytest.approx(expected)


def test_interaction_with_a_group_that_failed_is_undefined() -> None:
    for group in ([], [INF, INF]):
        difference, interval = interaction([([1.0, 2.0], group, [1.0], [2.0])])
        assert math.isnan(difference)
        assert all(map(math.isnan, interval))
