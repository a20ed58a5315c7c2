"""How often looks cry wolf when one may stop at any of them, by simulation with fixed seeds.

A bound fails a correct implementation with a fresh seed with chance `ALARM`; the slow runs
are those of the documented size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

from harness.statistics import Looks, holm, shift_interval
from harness.statistics.looks import lost_at_looks, null_law
from harness.statistics.ranks import p_by_lost_pairs

LEVEL = 0.05
ALARM = 1e-6
LOOKS = Looks((5, 8, 12, 20))
SIZES = [3000, pytest.param(40_000, marks=pytest.mark.slow)]

Array = npt.NDArray[np.float64]


def fixed_p(a: Array, b: Array, sizes: tuple[int, ...]) -> Array:
    """Return the fixed-sample p at each look, (N, K), of N studies."""
    lost = lost_at_looks(a, b, sizes)
    columns = [p_by_lost_pairs(n, n)[2 * lost[:, k]] for k, n in enumerate(sizes)]
    return np.stack(columns, axis=1)


def sequential_p(a: Array, b: Array, sizes: tuple[int, ...]) -> Array:
    """Return the sequential p at each look, (N, K), of N studies."""
    least = np.minimum.accumulate(fixed_p(a, b, sizes), axis=1)
    values, inverse = np.unique(least, return_inverse=True)
    chances = np.array([null_law(sizes).chance(float(value)) for value in values])
    return chances[inverse].reshape(least.shape)


def most(num_studies: int, level: float = LEVEL) -> float:
    return float(binom.ppf(1 - ALARM, num_studies, level))


def test_many_studies_at_once_are_tested_as_one_by_one() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 30, 20))
    p_values = sequential_p(a, b, LOOKS.sizes)
    for study in range(30):
        for look, size in enumerate(LOOKS.sizes):
            test = LOOKS.p_value(a[study, :size].tolist(), b[study, :size].tolist())
            assert test is not None
            assert test.p_value == p_values[study, look]


@pytest.mark.parametrize("num_studies", SIZES)
@pytest.mark.parametrize("alpha", [0.05, 0.025, 0.01])
@pytest.mark.parametrize("sizes", [(5, 8, 12, 20), (4, 6, 8), (5, 6, 7, 8, 9, 10)])
def test_stopping_at_the_best_look_keeps_the_level(
    sizes: tuple[int, ...], alpha: float, num_studies: int
) -> None:
    a, b = np.random.default_rng([1, len(sizes)]).normal(size=(2, num_studies, sizes[-1]))
    p_values = sequential_p(a, b, sizes)
    for look, spent in enumerate(Looks(sizes).spent(alpha)):
        rejected = int((p_values[:, : look + 1] <= alpha).any(axis=1).sum())
        low, high = binom.ppf([ALARM / 2, 1 - ALARM / 2], num_studies, spent)
        # Where the law is simulated, so is what is spent.
        assert low - 0.001 * num_studies <= rejected <= high + 0.001 * num_studies
        assert rejected <= most(num_studies, alpha)


@pytest.mark.parametrize("num_studies", SIZES)
@pytest.mark.parametrize("better", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("num_arms", [1, 2, 3])
def test_holm_at_any_look_keeps_the_familywise_level(
    num_arms: int, better: float, num_studies: int
) -> None:
    """Arms share a baseline; one may be truly better. A false claim at any look counts."""
    generator = np.random.default_rng([2, num_arms, int(better)])
    baseline = generator.normal(size=(num_studies, 20))
    shifts = [0.0] * (num_arms - 1) + [better]
    arms = generator.normal(size=(num_arms, num_studies, 20)) - np.array(shifts)[:, None, None]
    p_values = np.stack([sequential_p(arm, baseline, LOOKS.sizes) for arm in arms], axis=1)
    false = 0
    for study in p_values[p_values.min(axis=(1, 2)) <= LEVEL]:
        claims = [
            adjusted <= LEVEL and shift == 0
            for look in study.T.tolist()
            for adjusted, shift in zip(holm(look), shifts, strict=True)
        ]
        false += any(claims)
    assert false <= most(num_studies)


@pytest.mark.parametrize("kind", ["ties", "failures"])
def test_ties_and_failures_keep_the_level(kind: str) -> None:
    generator, num_studies, rejected = np.random.default_rng(3), 1000, 0
    for _ in range(num_studies):
        scores = generator.normal(size=(2, 20))
        if kind == "ties":
            scores = np.round(scores)
        else:
            scores[generator.random((2, 20)) < 0.3] = np.inf
        test = LOOKS.p_value(*scores.tolist())
        assert test is not None
        rejected += test.p_value <= LEVEL
    assert rejected <= most(num_studies)


@pytest.mark.parametrize(("last", "share"), [(10, 0.101), (20, 0.170)])
def test_adding_runs_until_the_fixed_test_rejects_is_an_attack_that_looks_withstand(
    last: int, share: float
) -> None:
    sizes, num_studies = tuple(range(5, last + 1)), 4000
    a, b = np.random.default_rng([4, last]).normal(size=(2, num_studies, last))
    fooled = int((fixed_p(a, b, sizes) <= LEVEL).any(axis=1).sum())
    low, high = binom.ppf([ALARM / 2, 1 - ALARM / 2], num_studies, share)
    assert low <= fooled <= high
    assert int((sequential_p(a, b, sizes)[:, -1] <= LEVEL).sum()) <= most(num_studies)


def test_the_interval_holds_the_shift_when_stopped_as_soon_as_resolved() -> None:
    generator, num_studies, covered = np.random.default_rng(5), 600, 0
    for a, b in generator.normal([[[0.0]], [[1.0]]], size=(2, num_studies, 20)).swapaxes(0, 1):
        for size in LOOKS.sizes:
            interval = shift_interval(a[:size].tolist(), b[:size].tolist(), looks=LOOKS)
            assert interval is not None
            if not interval.low <= 0 <= interval.high:
                break
        covered += interval.low <= -1 <= interval.high
    assert num_studies - covered <= most(num_studies)


def test_looks_decide_early_what_is_large_and_lose_little() -> None:
    a, b = np.random.default_rng(6).normal([[[0.0]], [[2.0]]], size=(2, 3000, 20))
    found = sequential_p(a, b, LOOKS.sizes) <= LEVEL
    runs = np.array(LOOKS.sizes)[found.argmax(axis=1)]
    assert found[:, -1].mean() > 0.99
    assert runs.mean() < 8


UNEQUAL = {  # (runs of A, of B, sd of B over that of A): rejections though P(A < B) is one half
    (5, 5, 1): 0.031,
    (5, 5, 3): 0.045,
    (5, 5, 10): 0.060,
    (10, 10, 3): 0.060,
    (10, 10, 10): 0.088,
    (20, 5, 1): 0.041,
    (20, 5, 3): 0.128,
    (20, 5, 10): 0.240,
    (5, 20, 10): 0.006,
}


@pytest.mark.parametrize(("n", "m", "ratio"), UNEQUAL)
def test_unequal_spread_is_told_apart_too_often_for_one_half(n: int, m: int, ratio: int) -> None:
    """What the rank test does not promise: its null is one distribution, not P(A < B) = ½."""
    generator, num_studies = np.random.default_rng([7, n, m, ratio]), 6000
    a, b = generator.normal(size=(num_studies, n)), ratio * generator.normal(size=(num_studies, m))
    lost = (a[:, :, None] > b[:, None, :]).sum((1, 2))
    rejected = int((p_by_lost_pairs(n, m)[2 * lost] <= LEVEL).sum())
    share = UNEQUAL[n, m, ratio]
    low, high = binom.ppf([ALARM / 2, 1 - ALARM / 2], num_studies, share)
    assert low - 0.002 * num_studies <= rejected <= high + 0.002 * num_studies
