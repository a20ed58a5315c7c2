"""How far arms differ: the Hodges-Lehmann difference, and intervals that invert the tests."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from harness.statistics import (
    Interval,
    Looks,
    hodges_lehmann,
    is_equivalent,
    mann_whitney,
    shift_interval,
    smallest_holm_p,
    smallest_shift,
)

INF = math.inf
LOOKS = Looks((5, 8))


@pytest.mark.parametrize(
    ("a", "b", "shift"),
    [
        ([3.0], [1.0], 2.0),
        ([1.0, 2.0, 3.0], [10.0], -8.0),
        ([1.0, 4.0], [0.0, 10.0], -2.5),  # -9, -6, 1, 4
        ([1.0, INF], [0.0, 2.0], INF),  # -1, 1, inf, inf: between 1 and infinity
        ([1.0, 2.0, INF], [0.0], 2.0),
        ([1.0, 2.0, INF], [0.0, INF], 1.0),  # -inf, -inf, 1, 2, inf, and one undefined
        ([INF, INF], [1.0], INF),
        ([1.0], [INF], -INF),
    ],
)
def test_hodges_lehmann_by_hand(a: list[float], b: list[float], shift: float) -> None:
    assert hodges_lehmann(a, b) == shift
    assert hodges_lehmann(b, a) == -shift


def test_hodges_lehmann_where_there_is_none() -> None:
    assert math.isnan(hodges_lehmann([INF], [INF]))
    assert hodges_lehmann([INF, 1.0], [INF, 1.0]) == 0  # -inf, 0, inf
    for a, b in [([], [1.0]), ([1.0], [math.nan])]:
        with pytest.raises(ValueError, match="at least one score and none may be NaN"):
            hodges_lehmann(a, b)


def test_after_the_shift_each_arm_wins_half() -> None:
    generator = np.random.default_rng(0)
    for n, m in itertools.product((3, 5, 6), repeat=2):
        a, b = generator.normal(size=n), generator.normal(size=m)
        shifted = (a - hodges_lehmann(a.tolist(), b.tolist())).tolist()
        assert mann_whitney(shifted, b.tolist()).superiority == pytest.approx(
            0.5, abs=0.51 / (n * m)
        )


def test_the_interval_of_five_and_five_by_hand() -> None:
    """p is 2, 4, 8 and 14 of 252 where an arm wins 0, 1, 2 and 3 pairs of 25."""
    a, b = [1.0, 2.0, 3.0, 4.0, 5.0], [11.1, 12.2, 13.4, 14.8, 16.6]
    differences = sorted(x - y for x in a for y in b)
    assert shift_interval(a, b) == (differences[2], differences[22])
    assert shift_interval(a, b, alpha=0.0158) == (differences[0], differences[24])
    assert shift_interval(a, b, alpha=0.007) == (-INF, INF)
    assert shift_interval(a[:3], b[:3]) == (-INF, INF)


def shifted_p(a: list[float], b: list[float], shift: float, looks: Looks | None) -> float:
    moved = [x - shift for x in a]
    if looks is None:
        return mann_whitney(moved, b).p_value
    test = looks.p_value(moved, b)
    assert test is not None
    return test.p_value


@pytest.mark.parametrize("looks", [None, Looks((6,)), LOOKS, Looks((3, 5, 6))])
@pytest.mark.parametrize("failing", [0.0, 0.3])
def test_the_interval_holds_the_shifts_that_the_test_accepts(
    looks: Looks | None, failing: float
) -> None:
    generator = np.random.default_rng(1)
    for _ in range(15):
        n = 9 if looks is LOOKS else 6
        a, b = generator.normal(size=n).tolist(), generator.normal(1.5, size=n).tolist()
        for scores in (a, b):
            scores[:] = [INF if generator.random() < failing else score for score in scores]
        for alpha in (0.05, 0.2):
            interval = shift_interval(a, b, alpha=alpha, looks=looks)
            assert interval is not None
            ends = sorted({x - y for x in a for y in b if x < INF and y < INF})
            inner = [(low + high) / 2 for low, high in itertools.pairwise(ends)]
            for shift in [ends[0] - 1, *inner, ends[-1] + 1] if ends else [0.0]:
                accepted = shifted_p(a, b, shift, looks) > alpha
                assert (interval.low < shift < interval.high) == accepted
            resolved = shifted_p(a, b, 0.0, looks) <= alpha
            assert (not interval.low <= 0 <= interval.high) == resolved


def test_ties_of_finite_scores_keep_zero_where_the_test_does() -> None:
    """It may hold zero where the test, which counts these ties exactly, rejects; not with looks."""
    generator = np.random.default_rng(2)
    for _ in range(200):
        a, b = generator.integers(0, 5, (2, 6)).astype(float).tolist()
        b = [x + 1.0 for x in b]
        interval = shift_interval(a, b)
        assert interval is not None
        if mann_whitney(a, b).p_value > 0.05:
            assert interval.low <= 0 <= interval.high
        sequential, test = shift_interval(a, b, looks=Looks((3, 6))), Looks((3, 6)).p_value(a, b)
        assert sequential is not None
        assert test is not None
        assert (sequential.low <= 0 <= sequential.high) == (test.p_value > 0.05)


def test_failures_open_the_interval_and_never_close_it() -> None:
    a, b = [1.0, 2.0, 3.0, 4.0, INF], [11.0, 12.0, 13.0, 14.0, 15.0]
    interval = shift_interval(a, b)
    assert interval is not None
    assert (interval.low, interval.high) == (-13.0, INF)
    assert shift_interval([INF] * 5, b) == (INF, INF)
    assert shift_interval([INF] * 5, [INF] * 5) == (-INF, INF)


def test_before_the_first_look_there_is_no_interval_and_later_ones_lie_within_earlier_ones() -> (
    None
):
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=8).tolist(), generator.normal(1, size=8).tolist()
    assert shift_interval(a[:4], b, looks=LOOKS) is None
    first, last = shift_interval(a[:5], b, looks=LOOKS), shift_interval(a, b, looks=LOOKS)
    assert first is not None
    assert last is not None
    assert first.low <= last.low <= last.high <= first.high


def test_looks_that_contradict_each_other_leave_the_gap() -> None:
    a = [0.0] * 5 + [100.0] * 15
    b = [10.0 + i for i in range(5)] + [float(i) for i in range(15)]
    a = [x + i / 100 for i, x in enumerate(a)]
    looks = Looks((5, 20))
    early = shift_interval(a[:5], b[:5], looks=looks)
    late = shift_interval(a, b, looks=looks)
    assert early is not None
    assert late is not None
    assert early.high < 0 < late.high
    assert late.low <= late.high


def test_equivalence() -> None:
    assert is_equivalent(Interval(-0.4, 0.3), 0.5)
    assert not is_equivalent(Interval(-0.5, 0.3), 0.5)
    assert not is_equivalent(Interval(-0.1, INF), 0.5)
    with pytest.raises(ValueError, match="must be positive"):
        is_equivalent(Interval(0, 0), 0)


# What a design can find.


def test_the_smallest_shift_of_few_runs() -> None:
    """The share of normal studies in which the exact test finds it, counted anew."""
    for sizes, alpha in [((5,), 0.05), ((8,), 0.01), ((5, 8), 0.05)]:
        looks = Looks(sizes)
        shift = smallest_shift(looks, alpha=alpha)
        generator = np.random.default_rng(7)
        found = 0
        for a, b in generator.normal(size=(1000, 2, sizes[-1])).tolist():
            test = looks.p_value(a, [score + shift for score in b])
            assert test is not None
            found += test.p_value <= alpha and test.superiority > 0.5
        assert found / 1000 == pytest.approx(0.8, abs=0.06)


def test_more_runs_find_less_and_more_comparisons_need_more() -> None:
    shifts = [smallest_shift(Looks((n,))) for n in (4, 5, 8, 12, 20)]
    assert shifts == sorted(shifts, reverse=True)
    looks = Looks((5, 8, 12, 20))
    assert smallest_shift(Looks((20,))) < smallest_shift(looks) < smallest_shift(Looks((12,)))
    assert smallest_shift(looks, alpha=0.025) > smallest_shift(looks)
    assert smallest_shift(looks, power=0.9) > smallest_shift(looks)
    assert smallest_shift(Looks((3,))) == INF
    assert smallest_shift(looks) == smallest_shift(looks)


def test_the_least_p_after_holm() -> None:
    assert smallest_holm_p(Looks((5,)), 6) == pytest.approx(6 * 2 / 252)
    assert smallest_holm_p(Looks((3,)), 60) == 1
    looks = Looks((2, 3))
    assert smallest_holm_p(looks, 2) == 2 * looks.smallest_p(2)
