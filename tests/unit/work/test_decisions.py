"""Where seeds are spent: decided by scores alone, whichever of several runs ends first."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from harness.study.comparisons import Pair
from harness.work.decisions import seeds_needed

ARMS = ("base", "a", "b", "c")
PAIRS = (
    *(Pair(arm=arm, reference="base") for arm in ARMS[1:]),
    Pair(arm="c", reference="b", contrast="steps within loss"),
)
SIZES = (5, 8, 12)
SEEDS = range(SIZES[-1])
OPEN = {"base": [5.0, 6.0, 7.0, 8.0, 9.0]} | {arm: [1.0, 2.0, 3.0, 4.0, 6.5] for arm in "abc"}
"""Scores at the first look that leave it open who is better than the baseline."""

Scores = Mapping[str, Sequence[float]]


def work_through(scores: Scores, num_workers: int, order: np.random.Generator) -> set[tuple]:
    """Return the runs that are made if any run that is wanted may start or end next."""
    started: set[tuple[str, int]] = set()
    ended: set[tuple[str, int]] = set()
    while True:
        costs = {
            arm: [
                scores[arm][seed]
                for seed in itertools.takewhile(lambda seed, arm=arm: (arm, seed) in ended, SEEDS)
            ]
            for arm in scores
        }
        needed = seeds_needed(ARMS, PAIRS, SIZES, costs)
        wanted = [(arm, seed) for arm in scores for seed in range(needed[arm])]
        assert started <= set(wanted)  # what has been asked for is never taken back
        running = started - ended
        waiting = [cell for cell in wanted if cell not in started]
        if not running and not waiting:
            return ended
        can_start = waiting if len(running) < num_workers else []
        choices = [*can_start, *sorted(running)]
        chosen = choices[order.integers(len(choices))]
        (ended if chosen in running else started).add(chosen)


def make_scores(seed: int) -> Scores:
    """Return scores of arms that differ clearly, a little or not at all; some runs fail."""
    generator = np.random.default_rng(seed)
    shifts = generator.choice([0.0, 0.8, 2.0, 4.0], size=len(ARMS))
    drawn = generator.normal(shifts[:, None], size=(len(ARMS), len(SEEDS)))
    drawn[generator.random(drawn.shape) < 0.05] = np.inf
    return dict(zip(ARMS, drawn.tolist(), strict=True))


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_the_order_in_which_runs_end_decides_nothing(num_workers: int) -> None:
    found = set()
    for study in range(6):
        scores = make_scores(study)
        order = np.random.default_rng([study, num_workers])
        runs = [work_through(scores, num_workers, order) for _ in range(4)]
        assert all(each == runs[0] for each in runs)
        found.add(frozenset(sum(arm == name for name, _ in runs[0]) for arm in ARMS))
    assert len(found) > 2  # these studies end in different ways


def test_nothing_goes_past_a_look_before_all_have_reached_it() -> None:
    first, second, _ = SIZES
    late = OPEN | {"c": OPEN["c"][:-1]}
    assert seeds_needed(ARMS, PAIRS, SIZES, late) == dict.fromkeys(ARMS, first)
    assert seeds_needed(ARMS, PAIRS, SIZES, OPEN) == dict.fromkeys(ARMS, second)


def test_runs_beyond_the_look_decide_nothing() -> None:
    more = {arm: [*scores, 5.0] for arm, scores in OPEN.items()} | {"c": OPEN["c"]}
    assert seeds_needed(ARMS, PAIRS, SIZES, more) == dict.fromkeys(ARMS, SIZES[1])


def test_an_arm_that_has_nothing_to_confirm_keeps_nobody_waiting() -> None:
    known = {arm: scores for arm, scores in OPEN.items() if arm != "c"}
    assert seeds_needed(ARMS, PAIRS, SIZES, known) == dict.fromkeys(ARMS, SIZES[1]) | {
        "c": SIZES[0]
    }
