"""What a pruner is told of a run's evaluations."""

from __future__ import annotations

import types
from typing import Any

import pytest

from harness.work.worker import Worker

KEY = "val/fid"


def told(times: int, indices: list[int], phase: str = "search", seeds: int = 0) -> list[int]:
    """Return the steps at which a claim hears of milestones with these indices."""
    steps: list[int] = []
    claim: Any = types.SimpleNamespace(report=lambda step, value: bool(steps.append(step)))
    worker: Any = types.SimpleNamespace(
        _bench=types.SimpleNamespace(times=times, objective=KEY),
    )
    done: Any = {str(seed): {"scores": {KEY: 1.0}} for seed in range(seeds)}
    hears = Worker._pruner(worker, claim, phase, done)  # type: ignore[arg-type]
    for index in indices:
        assert hears(index, 2.0) is False
    return steps


@pytest.mark.parametrize(
    ("times", "expected"),
    [(8, [1, 2, 3, 4, 5]), (5, [1, 2, 3, 4, 5]), (2, [1, 2]), (1, [1])],
)
def test_it_hears_of_what_lies_beyond_a_tenth_of_the_budget(
    times: int, expected: list[int]
) -> None:
    assert told(times, list(range(1, times + 1))) == expected


def test_equal_steps_are_equal_shares_also_where_milestones_fall_together() -> None:
    assert told(8, [3, 5, 8]) == [2, 5]


def test_further_seeds_follow_and_confirm_runs_are_not_told_of() -> None:
    assert told(8, [3, 4, 8], seeds=1) == [6, 10]
    assert told(8, [1, 8], phase="confirm") == []
