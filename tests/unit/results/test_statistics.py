"""Tests, estimates and intervals against values by hand, brute force and scipy."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import bootstrap, mannwhitneyu, rankdata, trim_mean

from harness.results.statistics import (
    Interval,
    RankTest,
    StratifiedTest,
    bootstrap_interval,
    expected_best,
    hedges_g,
    holm,
    interaction,
    interquartile_mean,
    interquartile_means,
    mann_whitney,
    mean_and_sd,
    median,
    smallest_p,
    stratified_test,
    superiority_interval,
    wilson_interval,
)

Array = npt.NDArray[np.float64]

INF = math.inf
SAMPLES: list[tuple[list[float], list[float]]] = [
    ([1.0, 2.0], [1.0, 2.0]),
    ([1.0, 1.0, 2.0], [2.0, 3.0]),
    ([3.0, INF, 1.0], [2.0, INF, INF]),
    ([INF, INF, INF], [1.0, 2.0, 3.0]),
    ([INF, INF], [INF, INF, INF]),
    ([5.0], [1.0, 1.0, 1.0, 5.0]),
    ([1.0, 2.0, 2.0, 2.0, 7.0], [2.0, 3.0, 3.0, INF]),
    ([1.0, 4.0, 4.0, 9.0, INF], [4.0, 9.0, 9.0, 10.0, INF]),
    ([0.0, -1.0, -1.0], [1e300, -1e300, INF, 0.0]),
]


def brute_force(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Return the two-sided p over all ways to deal the midranks, and the share of pairs won."""
    ranks = rankdata([*a, *b])
    deals = [sum(deal) for deal in itertools.combinations(ranks, len(a))]
    expected = len(a) * (len(ranks) + 1) / 2
    observed = abs(sum(ranks[: len(a)]) - expected)
    p_value = sum(abs(total - expected) >= observed - 1e-9 for total in deals) / len(deals)
    won = sum((x < y) + (x == y) / 2 for x in a for y in b) / (len(a) * len(b))
    return p_value, won


@pytest.mark.parametrize(
    ("a", "b", "p_value", "superiority"),
    [
        # Rank sums of two out of {1, 2, 3, 4}: 3, 4, 5, 5, 6, 7 around 5.
        ([1.0, 2.0], [3.0, 4.0], 2 / 6, 1.0),
        ([3.0, 4.0], [1.0, 2.0], 2 / 6, 0.0),
        ([1.0, 3.0], [2.0, 4.0], 4 / 6, 3 / 4),
        ([1.0, 4.0], [2.0, 3.0], 1.0, 1 / 2),
        # Midranks 2, 2, 2, 4: sums 4 or 6, all equally far from 5.
        ([1.0, 1.0], [1.0, 2.0], 1.0, 3 / 4),
        # Midranks 1, 2, 3.5, 3.5: sums 3, 4.5, 4.5, 5.5, 5.5, 7.
        ([1.0, 2.0], [INF, INF], 2 / 6, 1.0),
        ([INF, INF], [1.0, 2.0], 2 / 6, 0.0),
        ([1.0, INF], [2.0, INF], 1.0, (1 + 1 + 0 + 1 / 2) / 4),
        ([1.0], [2.0], 1.0, 1.0),
        ([7.0], [7.0], 1.0, 1 / 2),
    ],
)
def test_by_hand(a: list[float], b: list[float], p_value: float, superiority: float) -> None:
    result = mann_whitney(a, b)
    assert result.p_value == pytest.approx(p_value, abs=1e-12)
    assert result.superiority == pytest.approx(superiority, abs=1e-12)


@pytest.mark.parametrize(("a", "b"), SAMPLES)
def test_against_brute_force_with_ties_and_failures(a: list[float], b: list[float]) -> None:
    p_value, won = brute_force(a, b)
    result = mann_whitney(a, b)
    assert result.p_value == pytest.approx(p_value, abs=1e-12)
    assert result.superiority == pytest.approx(won, abs=1e-12)


def test_against_brute_force_at_random() -> None:
    generator = np.random.default_rng(0)
    for _ in range(60):
        n, m = generator.integers(1, 6, 2)
        pool = np.append(generator.integers(0, 4, 8).astype(float), [INF, INF])
        a, b = generator.choice(pool, n).tolist(), generator.choice(pool, m).tolist()
        p_value, won = brute_force(a, b)
        result = mann_whitney(a, b)
        assert result.p_value == pytest.approx(p_value, abs=1e-12)
        assert result.superiority == pytest.approx(won, abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 3), (5, 5), (6, 6), (4, 9), (9, 4), (12, 15)])
@pytest.mark.parametrize("shift", [-1.5, 0.0, 0.7])
def test_against_scipy_without_ties(n: int, m: int, shift: float) -> None:
    generator = np.random.default_rng([n, m])
    a, b = generator.normal(size=n).tolist(), generator.normal(shift, size=m).tolist()
    for one, other in ((a, b), (b, a)):
        expected = mannwhitneyu(one, other, method="exact")
        result = mann_whitney(one, other)
        assert result.p_value == pytest.approx(expected.pvalue, rel=1e-9)
        # scipy counts the pairs that the first sample loses (is larger in).
        losses = float(expected.statistic)
        assert result.superiority == pytest.approx(1 - losses / (n * m), abs=1e-12)


@pytest.mark.parametrize(("a", "b"), SAMPLES)
def test_exchanging_the_samples_changes_only_the_sign(a: list[float], b: list[float]) -> None:
    one, other = mann_whitney(a, b), mann_whitney(b, a)
    assert one.p_value == other.p_value
    assert one.smallest_p == other.smallest_p
    assert one.superiority == pytest.approx(1 - other.superiority, abs=1e-12)


def test_only_ranks_count() -> None:
    a, b = [3.1, 0.2, 5.0], [4.0, 9.0, 8.0, 0.1]
    stretched = mann_whitney([math.exp(x) for x in a], [math.exp(x) for x in b])
    assert stretched == mann_whitney(a, b)
    assert mann_whitney(a[::-1], b[::-1]) == mann_whitney(a, b)
    worst = max(*a, *b)
    as_failure = [INF if x == worst else x for x in b]
    assert mann_whitney(a, as_failure) == mann_whitney(a, b)


@pytest.mark.parametrize(("n", "p"), [(3, 0.1), (5, 0.0079), (6, 0.0022)])
def test_the_least_p_that_so_many_seeds_can_give(n: int, p: float) -> None:
    assert round(smallest_p(n, n), 4) == p
    apart = mann_whitney([float(i) for i in range(n)], [float(i + n) for i in range(n)])
    assert apart.p_value == apart.smallest_p == smallest_p(n, n)
    failed = mann_whitney([float(i) for i in range(n)], [INF] * n)
    assert failed == RankTest(p_value=smallest_p(n, n), superiority=1.0, smallest_p=apart.p_value)


def test_the_least_p_is_a_probability() -> None:
    assert smallest_p(1, 1) == 1.0
    assert smallest_p(1, 3) == 0.5
    assert smallest_p(4, 7) == smallest_p(7, 4) == 2 / 330


def test_no_p_is_below_the_least_attainable_one() -> None:
    """Three runs against five that all failed: ties make the two tails uneven."""
    result = mann_whitney([1.0, 2.0, 3.0], [INF] * 5)
    assert result.p_value == pytest.approx(brute_force([1.0, 2.0, 3.0], [INF] * 5)[0])
    assert result.smallest_p <= result.p_value


@pytest.mark.parametrize(("a", "b"), [([], [1.0]), ([1.0], []), ([math.nan], [1.0])])
def test_empty_or_undefined_samples_are_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one score and none may be NaN"):
        mann_whitney(a, b)


def test_large_samples_are_exact_and_quick() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.normal(size=50).tolist(), generator.normal(0.4, size=50).tolist()
    started = time.perf_counter()
    result = mann_whitney(a, b)
    assert time.perf_counter() - started < 5
    assert result.p_value == pytest.approx(mannwhitneyu(a, b, method="exact").pvalue, rel=1e-6)
    tied_a, tied_b = np.round(a, 1).tolist(), np.round(b, 1).tolist()
    approximate = mannwhitneyu(tied_a, tied_b, method="asymptotic").pvalue
    assert mann_whitney(tied_a, tied_b).p_value == pytest.approx(approximate, rel=0.05)


# Holm, medians and means.


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([0.9, 0.5], [1.0, 1.0]),
        ([0.04, 0.01], [0.04, 0.02]),
        ([0.01, 0.011, 0.9], [0.03, 0.03, 0.9]),
    ],
)
def test_holm_by_hand(p_values: list[float], adjusted: list[float]) -> None:
    assert holm(p_values) == pytest.approx(adjusted, abs=1e-12)


def test_holm_keeps_the_order_and_never_helps() -> None:
    generator = np.random.default_rng(2)
    for size in (1, 2, 5, 9):
        p_values = generator.random(size).tolist()
        adjusted = holm(p_values)
        assert all(p <= q <= min(1, size * p) for p, q in zip(p_values, adjusted, strict=True))
        by_p = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
        assert by_p == sorted(by_p)
        shuffled = generator.permutation(size)
        again = holm([p_values[i] for i in shuffled])
        assert again == [adjusted[i] for i in shuffled]


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


# The mean of the middle half and bootstrap intervals.


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


# Hedges' g and interactions.


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


# Marginal effects.

STRATA: list[list[tuple[list[float], list[float]]]] = [
    [([1.0, 2.0], [3.0, 4.0]), ([10.0, 20.0], [30.0, 15.0])],
    [([1.0, 2.0, 3.0], [2.0, INF]), ([5.0], [5.0, 7.0, 9.0])],
    [([0.1, 0.2], [0.3]), ([0.7, 0.9], [0.8]), ([INF, 1.0], [INF])],
    [([INF, INF], [INF]), ([INF], [1.0, 2.0])],
    [([1.0, 1.0], [1.0, 1.0])],
]


def share_won(a: Sequence[float], b: Sequence[float]) -> float:
    return sum((x < y) + (x == y) / 2 for x in a for y in b) / (len(a) * len(b))


def stratified_by_brute_force(
    strata: Sequence[tuple[Sequence[float], Sequence[float]]],
) -> tuple[float, float]:
    """Return p and mean share over all relabelings within strata, counting pairs each time."""
    shares = []
    for a, b in strata:
        pooled, labels = [*a, *b], range(len(a) + len(b))
        shares.append(
            [
                share_won(
                    [pooled[i] for i in chosen], [pooled[i] for i in labels if i not in chosen]
                )
                for chosen in itertools.combinations(labels, len(a))
            ]
        )
    means = [sum(combined) / len(strata) for combined in itertools.product(*shares)]
    observed = sum(itertools.starmap(share_won, strata)) / len(strata)
    extreme = [abs(mean - 0.5) >= abs(observed - 0.5) - 1e-9 for mean in means]
    return sum(extreme) / len(means), observed


@pytest.mark.parametrize("strata", STRATA)
def test_stratified_test_against_brute_force(
    strata: list[tuple[list[float], list[float]]],
) -> None:
    p_value, superiority = stratified_by_brute_force(strata)
    result = stratified_test(strata)
    assert result.p_value == pytest.approx(p_value, abs=1e-12)
    assert result.superiority == pytest.approx(superiority, abs=1e-12)


def test_stratified_test_by_hand() -> None:
    # Shares won by A: 0, 1/4, 1/2, 1/2, 3/4, 1 in each; both 1 or both 0 in 2 of 36.
    apart = [([1.0, 2.0], [3.0, 4.0]), ([50.0, 60.0], [70.0, 80.0])]
    result = stratified_test(apart)
    assert result == StratifiedTest(p_value=2 / 36, superiority=1.0)
    opposed = [([1.0, 2.0], [3.0, 4.0]), ([70.0, 80.0], [50.0, 60.0])]
    assert stratified_test(opposed) == StratifiedTest(p_value=1.0, superiority=0.5)
    # Strata weigh the same whatever their size.
    uneven = [([1.0], [2.0]), ([3.0, 3.0], [1.0, 1.0, 2.0])]
    assert stratified_test(uneven).superiority == pytest.approx(0.5)


@pytest.mark.parametrize(("a", "b"), SAMPLES)
def test_one_stratum_is_the_rank_test(a: list[float], b: list[float]) -> None:
    one, expected = stratified_test([(a, b)]), mann_whitney(a, b)
    assert one.p_value == pytest.approx(expected.p_value, abs=1e-12)
    assert one.superiority == pytest.approx(expected.superiority, abs=1e-12)


@pytest.mark.parametrize("strata", STRATA)
def test_stratified_test_needs_only_ranks_and_has_two_sides(
    strata: list[tuple[list[float], list[float]]],
) -> None:
    result = stratified_test(strata)
    swapped = stratified_test([(b, a) for a, b in strata])
    assert swapped.p_value == pytest.approx(result.p_value, abs=1e-12)
    assert swapped.superiority == pytest.approx(1 - result.superiority, abs=1e-12)
    stretched = [
        ([math.exp(x / 9) for x in a], [math.exp(x / 9) for x in b]) for a, b in strata[::-1]
    ]
    again = stratified_test(stretched)
    assert again.p_value == pytest.approx(result.p_value, abs=1e-12)
    assert again.superiority == pytest.approx(result.superiority, abs=1e-12)


@pytest.mark.parametrize(
    "strata",
    [
        STRATA[1],
        STRATA[2] * 2,
        # Alike, so that permuting both in the same way would show.
        [([1.0, 2.0, 3.0, 6.0], [4.0, 5.0, 7.0, 8.0])] * 2,
    ],
)
def test_drawn_relabelings_approach_all_of_them(
    strata: list[tuple[list[float], list[float]]],
) -> None:
    """Six standard errors: fails for one seed in 10^9."""
    exact, _ = stratified_by_brute_force(strata)
    num_relabelings = math.prod(math.comb(len(a) + len(b), len(a)) for a, b in strata)
    assert stratified_test(strata, num_permutations=num_relabelings).p_value == pytest.approx(exact)
    drawn = num_relabelings - 1
    error = 6 * math.sqrt(exact * (1 - exact) / drawn) + 2 / drawn
    assert stratified_test(strata, num_permutations=drawn).p_value == pytest.approx(
        exact, abs=error
    )


def test_drawn_relabelings_repeat_and_never_reach_zero() -> None:
    apart = [([float(i) for i in range(6)], [float(i + 6) for i in range(6)])] * 4
    first = stratified_test(apart)
    assert first == StratifiedTest(p_value=1 / 10_000, superiority=1.0)
    assert stratified_test(apart, num_permutations=99).p_value == 1 / 100
    mixed = [([1.0, 4.0, 5.0, 7.0, INF], [2.0, 3.0, 6.0, INF, INF])] * 3
    first = stratified_test(mixed)
    assert first == stratified_test(mixed)
    assert first.p_value != stratified_test(mixed, seed=1).p_value
    assert first.p_value == pytest.approx(stratified_test(mixed, seed=1).p_value, abs=0.05)


def test_sums_in_another_order_are_ties() -> None:
    """Mirrored relabelings lie exactly as far from one half, whatever the rounding."""
    for size in (3, 5, 6, 7):
        strata = [([0.0], [float(i + 1) for i in range(size)])] * 3
        assert stratified_test(strata).p_value == pytest.approx(2 / (size + 1) ** 3, abs=1e-12)


@pytest.mark.parametrize(
    ("strata", "message"),
    [
        ([], "there must be a stratum"),
        ([([1.0], [])], "every sample needs at least one score"),
        ([([1.0], [2.0]), ([], [2.0])], "every sample needs at least one score"),
        ([([1.0], [math.nan])], "may not be NaN"),
    ],
)
def test_stratified_test_refuses(
    strata: list[tuple[list[float], list[float]]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        stratified_test(strata)


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
