"""The permutation test of several groups, against brute force and its own level."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from harness.statistics import kruskal_wallis

INF = math.inf


def by_brute_force(groups: list[list[float]]) -> float:
    """Return the share of all ways to deal the ranks that are as uneven."""
    ranks = scipy.stats.rankdata([score for group in groups for score in group])
    sizes = [len(group) for group in groups]
    ends = list(itertools.accumulate(sizes))

    def unevenness(order: tuple[float, ...]) -> float:
        parts = [order[end - size : end] for size, end in zip(sizes, ends, strict=True)]
        return sum(sum(part) ** 2 / len(part) for part in parts)

    orders = list(itertools.permutations(ranks))
    least = unevenness(tuple(ranks)) - 1e-9
    return sum(unevenness(order) >= least for order in orders) / len(orders)


@pytest.mark.parametrize(
    "groups",
    [
        [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
        [[1.0, 5.0], [2.0, 6.0, 3.0], [4.0]],
        [[1.0, 1.0, 2.0], [2.0, INF], [INF, 3.0]],
        [[INF, INF], [INF, 1.0], [0.5, 0.7]],
    ],
)
def test_p_is_the_share_of_deals_as_uneven(groups: list[list[float]]) -> None:
    exact = by_brute_force(groups)
    assert kruskal_wallis(groups) == pytest.approx(exact, abs=4 * math.sqrt(exact / 20_000))


def test_large_groups_agree_with_scipys_limit() -> None:
    generator = np.random.default_rng(1)
    groups = [list(generator.normal(shift, 1, 60)) for shift in (0.0, 0.1, 0.35)]
    assert kruskal_wallis(groups) == pytest.approx(scipy.stats.kruskal(*groups).pvalue, abs=0.01)


def test_groups_that_say_nothing_have_p_one() -> None:
    assert kruskal_wallis([[1.0, 2.0], []]) == kruskal_wallis([]) == 1.0
    assert kruskal_wallis([[2.0, 2.0], [2.0], [2.0, 2.0]]) == 1.0


def test_the_same_scores_have_the_same_p_and_nan_is_refused() -> None:
    groups = [[1.0, 4.0, 2.0], [3.0, 5.0, 6.0]]
    assert kruskal_wallis(groups) == kruskal_wallis(groups)
    with pytest.raises(ValueError, match="NaN"):
        kruskal_wallis([[1.0], [math.nan]])


def test_the_test_keeps_its_level() -> None:
    """Rejections at 5 % among 400 draws without a difference: 20 ± 4.4 are expected."""
    generator = np.random.default_rng(0)
    rejected = 0
    for _ in range(400):
        scores = generator.exponential(size=20).tolist()
        labels = generator.integers(0, 3, 20)
        groups = [[s for s, at in zip(scores, labels, strict=True) if at == g] for g in range(3)]
        rejected += kruskal_wallis(groups) <= 0.05
    assert rejected <= 20 + 3 * 4.4
