"""The group-sequential rank test against brute force, and what makes it hold at every look."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

from harness.statistics import Looks, SequentialTest, mann_whitney, smallest_shift
from harness.statistics.looks import _counted, lost_at_looks, null_law
from harness.statistics.ranks import p_by_lost_pairs

INF = math.inf
TINY = [(2, 3), (3, 4), (1, 2, 3), (2, 4)]
WHOLE = Looks((5, 8, 12, 20))


def orders(size: int) -> list[tuple[list[float], list[float]]]:
    """Return scores of A and B, in order of arrival, for every order of 2 size distinct runs."""
    ranks = [float(rank) for rank in range(2 * size)]
    found = []
    for chosen in itertools.combinations(ranks, size):
        others = [rank for rank in ranks if rank not in chosen]
        for a in itertools.permutations(chosen):
            found += [(list(a), list(b)) for b in itertools.permutations(others)]
    return found


def least_so_far(sizes: tuple[int, ...], a: list[float], b: list[float]) -> list[float]:
    p_values = [mann_whitney(a[:n], b[:n]).p_value for n in sizes]
    return list(itertools.accumulate(p_values, min))


@pytest.mark.parametrize("sizes", [(2, 3), (1, 3), (1, 2, 3)])
def test_against_brute_force(sizes: tuple[int, ...]) -> None:
    """All 720 orders: p at each look is the share of orders whose least p is as small."""
    everything = orders(sizes[-1])
    least = [least_so_far(sizes, a, b) for a, b in everything]
    smallest = np.array([each[-1] for each in least])
    looks = Looks(sizes)
    for (a, b), so_far in zip(everything[::7], least[::7], strict=True):
        for look, size in enumerate(sizes):
            test = looks.p_value(a[:size], b[:size])
            assert test is not None
            assert test.look == look + 1
            expected = float(np.mean(smallest <= so_far[look] + 1e-12))
            assert test.p_value == pytest.approx(expected, abs=1e-12)
            assert test.superiority == mann_whitney(a[:size], b[:size]).superiority


def test_two_and_three_by_hand() -> None:
    """Of 180 orders by arm and look, A or B leads at three in 18; two alone prove nothing.

    p at two is 1/3 at least, at three 0.1, 0.2, 0.4, 0.7, 1. Apart at two: 1/3 of all orders. Apart
    at three: 1/10 (all of which are apart at two). p = 0.2 at three: 1/10 more, U = 1 or 8.
    """
    looks = Looks((2, 3))
    assert looks.smallest_p(2) == pytest.approx(0.1)
    test = looks.p_value([1.0, 2.0, 4.0], [3.0, 5.0, 6.0])
    assert test is not None
    assert test.p_at_looks == pytest.approx((1 / 3, 0.2))
    assert test.p_value == pytest.approx(0.2)
    # Apart at two, or at three with p = 0.2 or less without being apart at two: 1/3 and those of
    # U = 1 or 8 in which the one inversion is among the first two of both: 4/9 of 1/10.
    assert looks.smallest_p(1) == pytest.approx(1 / 3 + 4 / 9 / 10)


@pytest.mark.parametrize("sizes", TINY)
def test_the_count_of_orders_is_complete(sizes: tuple[int, ...]) -> None:
    """Each look alone has the fixed test's law; (3, 4) too, which is too long for brute force."""
    lost, weights = _counted(sizes)
    assert weights.sum() == pytest.approx(1)
    for column, size in zip(lost.T, sizes, strict=True):
        law = np.bincount(column, weights=weights, minlength=size * size + 1)
        deals = itertools.combinations(range(1, 2 * size + 1), size)
        sums = [sum(deal) - size * (size + 1) // 2 for deal in deals]
        assert law == pytest.approx(np.bincount(sums) / len(sums))


def test_a_design_is_simulated_once_and_quickly_and_agrees_with_the_count() -> None:
    started = time.perf_counter()
    law = null_law.__wrapped__((5, 8, 12, 20))
    assert time.perf_counter() - started < 5
    assert not law.exact
    assert null_law((5, 8, 12, 20)) is null_law((5, 8, 12, 20))
    exact, drawn = null_law((3, 4, 5)), simulated((3, 4, 5))
    assert exact.exact
    for p_value in np.unique(exact.least):
        share = float(np.mean(drawn <= p_value))
        assert share == pytest.approx(exact.chance(p_value), abs=0.01)


def simulated(sizes: tuple[int, ...]) -> np.ndarray:
    generator = np.random.default_rng(1)
    studies = generator.normal(size=(10_000, 2, sizes[-1])).tolist()
    return np.array([least_so_far(sizes, a, b)[-1] for a, b in studies[:4000]])


@pytest.mark.parametrize("sizes", [*TINY, (5, 6), (3, 4, 5)])
def test_the_level_holds_at_every_look_and_over_all(sizes: tuple[int, ...]) -> None:
    """Exact: P(some look's p <= c) <= c for every c, with equality at the last look's values."""
    law = null_law(sizes)
    p_values = np.array([[law.chance(p) for p in row] for row in law.least])
    assert (np.diff(p_values, axis=1) <= 0).all()  # nothing is withdrawn
    for c in np.unique(p_values):
        by_look = [float(law.weights[column <= c + 1e-12].sum()) for column in p_values.T]
        assert by_look == sorted(by_look)
        assert by_look[-1] <= c + 1e-9


def test_one_look_is_the_rank_test() -> None:
    generator = np.random.default_rng(2)
    pool = np.append(generator.normal(size=8), [1.0, 1.0, INF, INF])
    looks = Looks((5,))
    for _ in range(50):
        a, b = generator.choice(pool, 5).tolist(), generator.choice(pool, 5).tolist()
        whole, test = mann_whitney(a, b), looks.p_value([*a, 9.0], b)
        assert test == SequentialTest(
            p_value=whole.p_value,
            look=1,
            superiority=whole.superiority,
            smallest_p=whole.smallest_p,
            p_at_looks=(whole.p_value,),
        )
    assert looks.can_decide(0.05) == (True,)
    assert looks.nominal(0.05) == 0.05
    assert looks.spent(0.05) == pytest.approx((8 / 252,))


def test_five_against_five_that_do_not_overlap_decide_alone_and_with_a_second_comparison() -> None:
    a, b = [1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, INF]
    test = WHOLE.p_value(a, b)
    assert test is not None
    assert test.p_at_looks == (2 / 252,)
    assert test.p_value == test.smallest_p == WHOLE.smallest_p(1)
    assert 2 / 252 < test.p_value <= 0.025
    assert WHOLE.can_decide(0.025) == (True,) * 4
    assert WHOLE.can_decide(0.05 / 3) == (False, True, True, True)


def test_spent_levels_rise_to_the_whole() -> None:
    for alpha in (0.05, 0.025):
        spent = WHOLE.spent(alpha)
        assert list(spent) == sorted(spent)
        assert 0.9 * alpha < spent[-1] <= alpha
        nominal = WHOLE.nominal(alpha)
        assert 0 < nominal < alpha
        assert spent[0] == pytest.approx(exact_level(5, nominal), abs=0.001)
    assert Looks((2, 3)).nominal(0.05) == 0
    assert Looks((2, 3)).spent(0.05) == (0, 0)


def exact_level(n: int, alpha: float) -> float:
    deals = [sum(deal) for deal in itertools.combinations(range(1, 2 * n + 1), n)]
    middle = n * (2 * n + 1) / 2
    tails = {
        d: np.mean([abs(t - middle) >= d for t in deals]) for d in {abs(t - middle) for t in deals}
    }
    return max((float(tail) for tail in tails.values() if tail <= alpha), default=0.0)


def test_incomplete_arms_meet_at_the_last_look_that_both_have_reached() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=30).tolist(), generator.normal(size=30).tolist()
    assert WHOLE.p_value(a[:4], b) is None
    assert WHOLE.reached(4, 30) == 0
    assert WHOLE.p_value(a[:7], b) == WHOLE.p_value(a[:5], b[:5])
    assert WHOLE.p_value(a[:20], b[:11]) == WHOLE.p_value(a[:8], b[:8])
    assert WHOLE.p_value(a, b) == WHOLE.p_value(a[:20], b[:20])
    p_values = [WHOLE.p_value(a[:n], b[:n]) for n in WHOLE.sizes]
    found = [test.p_value for test in p_values if test is not None]
    assert found == sorted(found, reverse=True)


def test_ties_are_broken_least_favourably() -> None:
    """No way to break them at random gives a smaller p, at any look."""
    generator = np.random.default_rng(4)
    looks = Looks((3, 5))
    for _ in range(40):
        scores = generator.integers(0, 3, (2, 5)).astype(float)
        scores[generator.random((2, 5)) < 0.3] = INF
        test = looks.p_value(*scores.tolist())
        assert test is not None
        ranks = np.where(np.isinf(scores), 9.0, scores)
        for _ in range(20):
            broken = looks.p_value(*(ranks + 0.1 * generator.random((2, 5))).tolist())
            assert broken is not None
            assert broken.p_value <= test.p_value
            for fixed, least_favourable in zip(broken.p_at_looks, test.p_at_looks, strict=True):
                assert fixed <= least_favourable


def test_failures_of_one_arm_alone_cost_nothing_and_of_both_nothing_is_known() -> None:
    a = [1.0, 2.0, 3.0, 4.0, 5.0]
    failed = WHOLE.p_value(a, [INF] * 5)
    assert failed is not None
    assert failed.p_value == WHOLE.smallest_p(1)
    both = WHOLE.p_value([INF] * 5, [INF] * 5)
    assert both is not None
    assert (both.p_value, both.superiority) == (1.0, 0.5)


def test_exchanging_the_arms_changes_only_the_side() -> None:
    scores = np.random.default_rng(5).normal(size=(2, 12)).round(1).tolist()
    one, other = WHOLE.p_value(*scores), WHOLE.p_value(*scores[::-1])
    assert one is not None
    assert other is not None
    assert one.p_value == other.p_value
    assert one.superiority == pytest.approx(1 - other.superiority)


def test_conditional_power_by_simulation() -> None:
    """Among studies with the planned difference, as many reject at 20 as it says after 12."""
    shift, nominal = smallest_shift(Looks((20,)), alpha=WHOLE.nominal(0.05)), WHOLE.nominal(0.05)
    a, b = np.random.default_rng(6).normal([[[shift]], [[0.0]]], size=(2, 40_000, 20))
    lost = lost_at_looks(a, b, (12, 20))
    rejects = p_by_lost_pairs(20, 20)[2 * lost[:, 1]] <= nominal
    assert rejects.mean() == pytest.approx(0.8, abs=0.03)
    for low, high in [(73, 76), (80, 85), (90, 95), (105, 110)]:
        own = (low <= lost[:, 0]) & (lost[:, 0] <= high)
        said = [
            WHOLE.conditional_power(one[:12].tolist(), other[:12].tolist(), 0.05)
            for one, other in zip(a[own][:200], b[own][:200], strict=True)
        ]
        assert float(np.mean(said)) == pytest.approx(rejects[own].mean(), abs=0.07)


def test_futile_at_the_ends() -> None:
    alike = [float(i) for i in range(20)]
    near = [x + 0.5 for x in alike]
    assert not WHOLE.futile([], [], 0.05)
    assert WHOLE.futile(alike[:12], alike[:12], 0.05)
    assert not WHOLE.futile(alike[:5], alike[:5], 0.05)  # 15 runs can still show it
    assert not WHOLE.futile(alike, near, 0.05)  # nothing is left to stop
    assert not WHOLE.futile(alike[:12], [x + 50 for x in alike[:12]], 0.05)
    assert not WHOLE.futile(alike[:12], [x + 4 for x in alike[:12]], 0.05)
    assert WHOLE.conditional_power(alike, [x + 50 for x in alike], 0.05) == 1
    assert WHOLE.conditional_power(alike[:5], near[:5], 1e-9) == 0
    with pytest.raises(ValueError, match="no look is reached"):
        WHOLE.conditional_power([], [], 0.05)


def test_more_runs_cannot_be_futile_for_the_arm_that_is_ahead() -> None:
    """The farther apart, the greater the conditional power."""
    a = [float(i) for i in range(8)]
    powers = [WHOLE.conditional_power(a, [x + gap for x in a], 0.05) for gap in (0.5, 1.5, 3.5)]
    assert powers == sorted(powers)


@pytest.mark.parametrize("sizes", [(), (0, 3), (5, 5), (8, 5)])
def test_designs_that_are_none_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rising numbers of runs per arm"):
        Looks(sizes)


def test_undefined_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="none may be NaN"):
        Looks((2, 3)).p_value([1.0, math.nan], [1.0, 2.0])


@pytest.mark.parametrize("sizes", [(3,), (40,), (2, 3), (5, 8), (5, 10), (5, 8, 12)])
def test_whether_a_law_is_exact_is_known_without_making_it(sizes: tuple[int, ...]) -> None:
    assert Looks(sizes).is_exact == (len(sizes) == 1 or null_law(sizes).exact)
