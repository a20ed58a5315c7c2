"""Exact rank tests against brute force and scipy; Holm over them."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, rankdata

from harness.statistics import (
    RankTest,
    holm,
    holm_least,
    holm_levels,
    mann_whitney,
    noninferiority,
    smallest_p,
)

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


# Holm over several tests.


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


def test_holms_levels_by_hand() -> None:
    """0.05 over 4, 3, 2, 1; all that are left meet the level of the first that fails."""
    assert holm_levels([0.01, 0.04, 0.03, 0.005], 0.05) == pytest.approx(
        [0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4]
    )
    assert holm_levels([0.03, 0.04], 0.05) == [0.025, 0.025]
    assert holm_levels([0.02, 0.02], 0.05) == [0.025, 0.025]
    assert holm_levels([0.9], 0.05) == [0.05]
    assert holm_levels([], 0.05) == []


def test_holms_levels_decide_as_its_adjusted_p_do() -> None:
    generator = np.random.default_rng(3)
    for _ in range(300):
        p_values = (generator.integers(1, 40, generator.integers(1, 7)) / 500).tolist()
        levels = holm_levels(p_values, 0.05)
        decided = [p <= level for p, level in zip(p_values, levels, strict=True)]
        assert decided == [p <= 0.05 for p in holm(p_values)]


# Not worse by a margin.


@pytest.mark.parametrize(
    ("a", "b", "margin", "p_value"),
    [
        # Rank sums of two out of four: 3, 4, 5, 5, 6, 7.
        ([1.0, 2.0], [3.0, 4.0], 0.0, 1 / 6),
        ([3.0, 4.0], [1.0, 2.0], 1.5, 5 / 6),
        ([3.0, 4.0], [1.0, 2.0], 5.0, 1 / 6),
        # Midranks 1, 2, 3.5, 3.5: sums 3, 4.5, 4.5, 5.5, 5.5, 7.
        ([1.0, INF], [2.0, INF], 0.1, 3 / 6),
        ([INF, INF], [1.0, 2.0], 1e9, 1.0),
        ([1.0, 1.0], [1.0, 1.0], 0.0, 1.0),
    ],
)
def test_noninferiority_by_hand(
    a: list[float], b: list[float], margin: float, p_value: float
) -> None:
    assert noninferiority([(a, b)], margin) == pytest.approx(p_value, abs=1e-12)


@pytest.mark.parametrize(("a", "b"), SAMPLES)
def test_noninferiority_is_one_side_of_the_test(a: list[float], b: list[float]) -> None:
    """Both sides share the observed value; a wider margin never raises p."""
    assert noninferiority([(a, b)], 0.0) + noninferiority([(b, a)], 0.0) >= 1 - 1e-12
    p_values = [noninferiority([(a, b)], margin) for margin in (0.0, 0.5, 1.5, 4.0, 100.0)]
    assert p_values == sorted(p_values, reverse=True)
    for margin in (-0.1, INF, math.nan):
        with pytest.raises(ValueError, match="margin must be finite"):
            noninferiority([(a, b)], margin)


def test_no_p_is_below_the_least_that_it_could_have_been() -> None:
    """Of two tests the later in Holm's order counts once: its least does too."""
    p_values, least = [0.0133, 0.0074, 0.4], [0.0133, 0.0074, 0.0079]
    assert holm_least(p_values, least) == pytest.approx([0.0266, 0.0222, 0.0222])
    for drawn in itertools.permutations([0.008, 0.01, 0.03]):
        found = holm_least(drawn, [0.0079] * 3)
        assert all(low <= p for low, p in zip(found, holm(drawn), strict=True))
    assert holm_least([1.0] * 3, [0.0079] * 3) == pytest.approx([3 * 0.0079] * 3)
