"""Runs lost and spread over seeds, against counts by hand and simulated coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from harness.statistics import more_losses, pooled_sd, spread_ratio


@pytest.mark.parametrize(
    ("strata", "p_value"),
    [
        ([(0, 5, 0, 5)], 1.0),
        ([(3, 5, 0, 5)], 10 / 120),  # all three among the five of A: C(5, 3) of C(10, 3)
        ([(1, 5, 0, 5)], 0.5),
        ([(0, 5, 3, 5)], 1.0),
        ([(3, 5, 0, 5), (3, 5, 0, 5)], (10 / 120) ** 2),
        ([(1, 2, 1, 2), (1, 2, 0, 2)], 1 / 2 * 5 / 6 + 1 / 2 * 1 / 6),  # 2 or 3 of A's in all
    ],
)
def test_more_losses_by_hand(strata: list[tuple[int, int, int, int]], p_value: float) -> None:
    assert more_losses(strata) == pytest.approx(p_value)


def test_more_losses_keeps_its_level() -> None:
    """Exact: whatever is lost, the chance of p <= c over deals is at most c."""
    for lost in range(9):
        deals = [sum(d) for d in itertools.product((0, 1), repeat=8) if sum(d) == lost]
        found = [
            more_losses([(sum(deal[:4]), 4, lost - sum(deal[:4]), 4)])
            for deal in itertools.product((0, 1), repeat=8)
            if sum(deal) == lost
        ]
        assert len(found) == len(deals)
        for c in set(found):
            assert np.mean(np.array(found) <= c + 1e-12) <= c + 1e-9


def test_the_ratio_of_spreads_covers_in_95_of_100_normal_studies() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        a = (3 * generator.normal(size=(2, 4)) + [[0.0], [50.0]]).tolist()
        _, interval = spread_ratio(a, generator.normal(size=(1, 6)).tolist())
        hits += interval.low <= 3 <= interval.high
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


def test_spreads_are_of_finite_scores_within_groups() -> None:
    assert pooled_sd([[1.0, 3.0, math.inf], [101.0, 103.0], [7.0]]) == pytest.approx(math.sqrt(2))
    assert math.isnan(pooled_sd([[1.0], []]))
    assert math.isnan(spread_ratio([[1.0, 1.0]], [[1.0, 2.0]])[0])
    ratio, interval = spread_ratio([[0.0, 4.0]], [[0.0, 2.0]])
    assert ratio == pytest.approx(2)
    assert interval.low * interval.high == pytest.approx(4)  # symmetric on a logarithmic scale
