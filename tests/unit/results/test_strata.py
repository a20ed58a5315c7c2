"""The stratified rank test, counted and drawn, against brute force."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from harness.statistics import (
    StratifiedTest,
    hodges_lehmann,
    mann_whitney,
    noninferiority,
    shift_interval,
    stratified_interval,
    stratified_shift,
    stratified_test,
)

INF = math.inf
SAMPLES: list[tuple[list[float], list[float]]] = [
    ([1.0, 2.0], [1.0, 2.0]),
    ([3.0, INF, 1.0], [2.0, INF, INF]),
    ([INF, INF, INF], [1.0, 2.0, 3.0]),
    ([INF, INF], [INF, INF, INF]),
    ([1.0, 2.0, 2.0, 2.0, 7.0], [2.0, 3.0, 3.0, INF]),
    ([0.0, -1.0, -1.0], [1e300, -1e300, INF, 0.0]),
]
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
    assert (result.p_value, result.superiority) == (pytest.approx(2 / 36), 1.0)
    assert (result.smallest_p, result.exact) == (result.p_value, True)
    opposed = [([1.0, 2.0], [3.0, 4.0]), ([70.0, 80.0], [50.0, 60.0])]
    result = stratified_test(opposed)
    assert (result.p_value, result.superiority) == (pytest.approx(1), 0.5)
    assert result.smallest_p == pytest.approx(2 / 36)
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
    assert stratified_test(strata).p_value == pytest.approx(exact)
    drawn = num_relabelings - 1
    error = 6 * math.sqrt(exact * (1 - exact) / drawn) + 2 / drawn
    result = stratified_test(strata, most_points=0, num_permutations=drawn)
    assert result.p_value == pytest.approx(exact, abs=error)
    assert not result.exact


def test_drawn_relabelings_repeat_and_never_reach_zero() -> None:
    apart = [([float(i) for i in range(6)], [float(i + 6) for i in range(6)])] * 4
    first = stratified_test(apart, most_points=0)
    least = 1 / 10_000
    assert first == StratifiedTest(p_value=least, superiority=1.0, smallest_p=least, exact=False)
    assert stratified_test(apart, most_points=0, num_permutations=99).p_value == 1 / 100
    mixed = [([1.0, 4.0, 5.0, 7.0, INF], [2.0, 3.0, 6.0, INF, INF])] * 3
    first = stratified_test(mixed, most_points=0)
    assert first == stratified_test(mixed, most_points=0)
    other = stratified_test(mixed, most_points=0, seed=1)
    assert first.p_value != other.p_value
    assert first.p_value == pytest.approx(other.p_value, abs=0.05)


def test_many_strata_of_many_runs_are_still_counted() -> None:
    """Unequal sizes share a lattice; drawing can only come near."""
    generator = np.random.default_rng(3)
    sizes = [(5, 5), (5, 4), (8, 5), (6, 6)]
    strata = [
        (generator.normal(size=n).tolist(), generator.normal(0.6, size=m).tolist())
        for n, m in sizes
    ]
    started = time.perf_counter()
    exact = stratified_test(strata)
    assert time.perf_counter() - started < 2
    assert exact.exact
    ways = math.prod(math.comb(n + m, n) for n, m in sizes)
    assert exact.smallest_p == pytest.approx(2 / ways)
    drawn = stratified_test(strata, most_points=0, num_permutations=40_000)
    error = 6 * math.sqrt(exact.p_value * (1 - exact.p_value) / 40_000)
    assert drawn.p_value == pytest.approx(exact.p_value, abs=error)
    assert drawn.superiority == pytest.approx(exact.superiority)


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


# No worse by a margin, over strata.


def test_noninferiority_over_strata_by_brute_force() -> None:
    """All 20 x 10 relabelings: the share with a mean superiority as large or larger."""
    strata = [([1.0, 4.0, 6.0], [2.0, 3.0, 5.0]), ([0.5, 2.5], [1.5, 3.5, 4.5])]
    for margin in (0.0, 0.6, 2.0):
        laws, observed = [], 0.0
        for a, b in strata:
            moved = [cost - margin for cost in a]
            pooled = np.array([*moved, *b])
            shares = []
            for chosen in itertools.combinations(range(len(pooled)), len(a)):
                one, other = pooled[list(chosen)], np.delete(pooled, chosen)
                gaps = one[:, None] - other
                shares.append(float(np.mean((gaps < 0) + 0.5 * (gaps == 0))))
            laws.append(shares)
            observed += shares[0]
        sums = np.add.outer(*laws).ravel()
        expected = np.mean(sums >= observed - 1e-9)
        assert noninferiority(strata, margin) == pytest.approx(expected)
        drawn = noninferiority(strata, margin, most_points=1)
        assert drawn == pytest.approx(expected, abs=0.02)


def shifted(strata: Any, shift: float) -> list[Any]:
    return [([score - shift for score in a], b) for a, b in strata]


@pytest.mark.parametrize("seed", range(6))
def test_the_interval_holds_the_shifts_that_the_test_does_not_reject(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [(5, 5), (4, 6), (3, 3)][: 1 + seed % 3]
    strata = [(rng.normal(1, 1, n).tolist(), rng.normal(0, 1, m).tolist()) for n, m in sizes]
    low, high = stratified_interval(strata)
    assert low < stratified_shift(strata) < high
    for shift in np.linspace(-3, 5, 81):
        accepted = stratified_test(shifted(strata, shift)).p_value > 0.05
        assert accepted == (low < shift < high)
    assert stratified_shift(shifted(strata, 2.0)) == pytest.approx(stratified_shift(strata) - 2)


def test_of_one_stratum_it_is_the_interval_of_two_arms() -> None:
    a, b = [5.0, 7.5, 6.1, 9.3, 4.4], [1.2, 3.9, 2.2, 0.4, 5.1]
    assert stratified_interval([(a, b)]) == shift_interval(a, b)
    assert stratified_shift([(a, b)]) == hodges_lehmann(a, b)


def test_shifts_where_failures_or_too_few_runs_leave_no_power() -> None:
    few = [([1.0, 2.0], [3.0, 4.0])]
    assert stratified_interval(few) == (-math.inf, math.inf)
    assert stratified_shift([([math.inf] * 3, [1.0, 2.0, 3.0])]) == math.inf
    assert math.isnan(stratified_shift([([math.inf], [math.inf])]))
    assert stratified_interval([([math.inf], [math.inf])]) == (-math.inf, math.inf)
