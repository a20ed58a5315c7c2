"""How often the comparison of arms cries wolf, by simulation with fixed seeds.

Every test below states the chance that a correct implementation would fail it with a fresh seed:
`ALARM` for each bound.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom, rankdata

from harness.statistics import holm, mann_whitney, stratified_test

LEVEL = 0.05
ALARM = 1e-6
NUM_STUDIES = 1500

Draw = Callable[[np.random.Generator, int], list[float]]


def rejections(n: int, m: int, draw: Draw, shift: float = 0.0) -> int:
    generator = np.random.default_rng([n, m])
    rejected = 0
    for _ in range(NUM_STUDIES):
        a = draw(generator, n)
        b = [score + shift for score in draw(generator, m)]
        rejected += mann_whitney(a, b).p_value <= LEVEL
    return rejected


def normal(generator: np.random.Generator, size: int) -> list[float]:
    return generator.normal(size=size).tolist()


def coarse(generator: np.random.Generator, size: int) -> list[float]:
    """Scores with many ties."""
    return generator.integers(0, 4, size).astype(float).tolist()


def failing(generator: np.random.Generator, size: int) -> list[float]:
    """Scores of runs that diverge in two of five cases."""
    scores = generator.normal(size=size)
    scores[generator.random(size) < 0.4] = math.inf
    return scores.tolist()


def size_without_ties(n: int, m: int) -> float:
    """Return the exact probability of p <= LEVEL when all dealings of 1 … n + m are equally likely.

    Counted here from scratch: dealings by their rank sum, tails from the outside in.
    """
    sums = [sum(deal) for deal in itertools.combinations(range(1, n + m + 1), n)]
    distances = sorted((abs(total - n * (n + m + 1) / 2) for total in sums), reverse=True)
    largest = 0.0
    for distance in set(distances):
        tail = sum(d >= distance for d in distances) / len(sums)
        if tail <= LEVEL:
            largest = max(largest, tail)
    return largest


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 5), (4, 6)])
def test_without_a_difference_the_rate_is_the_exact_one(n: int, m: int) -> None:
    rate = size_without_ties(n, m)
    assert rate <= LEVEL
    low, high = binom.ppf([ALARM / 2, 1 - ALARM / 2], NUM_STUDIES, rate)
    assert low <= rejections(n, m, normal) <= high


@pytest.mark.parametrize("draw", [coarse, failing])
@pytest.mark.parametrize(("n", "m"), [(5, 5), (6, 4)])
def test_with_ties_and_failures_the_rate_stays_below_the_level(n: int, m: int, draw: Draw) -> None:
    assert rejections(n, m, draw) <= binom.ppf(1 - ALARM, NUM_STUDIES, LEVEL)


def test_a_real_difference_is_found() -> None:
    """At a shift of three standard deviations, five seeds a side see it nearly always."""
    assert rejections(5, 5, normal, shift=3.0) > 0.9 * NUM_STUDIES


@pytest.mark.parametrize("pool", [[1, 1, 2, 2, 2, 3, math.inf], [0, 0, 0, 1, 1, 5, 5, 6]])
def test_dealing_the_same_scores_in_every_way_rejects_no_more_than_p_says(
    pool: list[float],
) -> None:
    """No chance here: over all dealings of one pool, P(p <= c) <= c for every c."""
    n = 3
    p_values = []
    for chosen in itertools.combinations(range(len(pool)), n):
        rest = [pool[i] for i in range(len(pool)) if i not in chosen]
        p_values.append(mann_whitney([pool[i] for i in chosen], rest).p_value)
    for p_value in set(p_values):
        share = np.mean([other <= p_value + 1e-12 for other in p_values])
        assert share == pytest.approx(p_value, abs=1e-12)
    assert len(set(rankdata(p_values))) > 1


def test_holm_keeps_the_chance_of_any_false_alarm_below_the_level() -> None:
    """Four arms against one baseline, all alike, six seeds each."""
    generator = np.random.default_rng(0)
    alarms = plain = 0
    num_studies = 500
    for _ in range(num_studies):
        baseline, *arms = generator.normal(size=(5, 6)).tolist()
        p_values = [mann_whitney(arm, baseline).p_value for arm in arms]
        alarms += min(holm(p_values)) <= LEVEL
        plain += min(p_values) <= LEVEL
    assert alarms <= binom.ppf(1 - ALARM, num_studies, LEVEL)
    assert plain > alarms  # without Holm some arm stands out more often


# The stratified test of a marginal effect.

Sizes = list[tuple[int, int]]


def stratified_rejections(
    sizes: Sizes, draw: Draw, num_permutations: int, num_studies: int, shift: float = 0.0
) -> int:
    """Count rejections where strata differ a lot from one another, but A is like B in each.

    With `shift`, B is worse by as much in every stratum.
    """
    generator = np.random.default_rng([*itertools.chain(*sizes), num_permutations])
    rejected = 0
    for study in range(num_studies):
        strata = []
        for level, (n, m) in enumerate(sizes):
            a, b = draw(generator, n), draw(generator, m)
            strata.append(([10 * level + x for x in a], [10 * level + x + shift for x in b]))
        # Drawn where there are more relabelings than that, to test what large designs need.
        whole = math.prod(math.comb(n + m, n) for n, m in sizes) <= num_permutations
        points = {} if whole else {"most_points": 0, "num_permutations": num_permutations}
        test = stratified_test(strata, seed=study, **points)
        rejected += test.p_value <= LEVEL
    return rejected


def stratified_size(sizes: Sizes, num_permutations: int) -> float:
    """Return the exact chance of p <= LEVEL when in every stratum all dealings are equally likely.

    Counted from scratch, in pairs won over pairs, as fractions. With drawn relabelings p is
    (1 + a binomial count) / (1 + their number).
    """
    means = Counter({Fraction(0): 1})
    for n, m in sizes:
        combined: Counter[Fraction] = Counter()
        for deal in itertools.combinations(range(1, n + m + 1), n):
            losses = sum(deal) - n * (n + 1) // 2
            for mean, ways in means.items():
                combined[mean + Fraction(losses, n * m) - Fraction(1, 2)] += ways
        means = combined
    total = sum(means.values())
    size = 0.0
    for mean, ways in means.items():
        tail = sum(w for other, w in means.items() if abs(other) >= abs(mean)) / total
        if total <= num_permutations:
            chance = float(tail <= LEVEL)
        else:
            most = math.floor(LEVEL * (1 + num_permutations) + 1e-9) - 1
            chance = float(binom.cdf(most, num_permutations, tail))
        size += ways / total * chance
    return size


@pytest.mark.parametrize(
    ("sizes", "num_permutations"),
    [([(3, 3), (3, 3)], 400), ([(2, 4), (4, 2)], 399), ([(5, 5), (5, 5)], 199), ([(4, 6)], 20)],
)
def test_the_stratified_test_keeps_its_exact_rate(sizes: Sizes, num_permutations: int) -> None:
    rate = stratified_size(sizes, num_permutations)
    assert 0.02 < rate <= LEVEL
    low, high = binom.ppf([ALARM / 2, 1 - ALARM / 2], NUM_STUDIES, rate)
    assert low <= stratified_rejections(sizes, normal, num_permutations, NUM_STUDIES) <= high


@pytest.mark.parametrize("draw", [coarse, failing])
@pytest.mark.parametrize(
    ("sizes", "num_permutations"), [([(3, 3), (3, 3)], 400), ([(5, 5), (6, 3), (2, 5)], 199)]
)
def test_the_stratified_test_with_ties_and_failures_stays_below_the_level(
    sizes: Sizes, num_permutations: int, draw: Draw
) -> None:
    rejected = stratified_rejections(sizes, draw, num_permutations, NUM_STUDIES)
    assert rejected <= binom.ppf(1 - ALARM, NUM_STUDIES, LEVEL)


def test_strata_together_show_what_none_shows_alone() -> None:
    """Three seeds a side never reach p = 0.05; three strata of them find two deviations."""
    found = stratified_rejections([(3, 3)] * 3, normal, 8_000, 200, shift=2.0)
    assert found > 0.8 * 200
