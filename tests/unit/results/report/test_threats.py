"""Threats of budgets that were too short and of ranges that were too narrow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from harness.results.report.analysis import Analysis, analyse
from harness.results.report.threats import threats
from harness.statistics import sign_test
from harness.study.study import StudyConfig

OBJECTIVE = "val/fid_digits_cnn_v1_400"
RUNS = [float(i) for i in range(1, 11)]


@pytest.fixture
def study(make_study: Any) -> Callable[..., StudyConfig]:
    """Return a function that makes studies of ten confirm runs."""
    return lambda **changes: make_study(**{"confirm": {"seeds": 10}} | changes)


@pytest.fixture
def analysed(study: Any, make_records: Any) -> Callable[..., Analysis]:
    """Return a function that analyses a study of two losses; every trial has a score."""

    def analysed(
        definition: StudyConfig | None = None,
        best: Mapping[str, Any] | None = None,
        search: Sequence[float | str] = (500.0, 90.0, 300.0, 400.0),
        runs: Sequence[float] = RUNS,
    ) -> Analysis:
        definition = definition or study()
        arms = [arm.name for arm in definition.arms()]
        given = best or {"g_lr": 1e-3}
        searches = dict.fromkeys(arms, search)
        return analyse(make_records(dict.fromkeys(arms, runs), searches, definition, best=given))

    return analysed


def started(analysis: Analysis, word: str, curves: Any = ()) -> list[str]:
    return [text for text in threats(analysis, dict(curves)) if text.startswith(word)]


# Budgets.


def curve(*values: float) -> dict[str, list[tuple[int, float]]]:
    return {OBJECTIVE: list(zip((400, 800, 1000)[-len(values) :], values, strict=True))}


def changed(*percents: float) -> dict[str, Any]:
    """Return curves of hinge whose runs changed so late in training."""
    return {
        f"hinge-confirm-{index}": curve(500, 100, 100 + percent)
        for index, percent in enumerate(percents)
    }


@pytest.mark.parametrize(
    ("last", "percent"),
    [(80.0, "20 %"), (94.0, "6 %"), (96.0, None), (100.0, None), (120.0, None)],
)
def test_fid_that_was_still_falling(last: float, percent: str | None, analysed: Any) -> None:
    falls = changed(*[last - 100] * 10)
    flat = {f"minimax-confirm-{i}": curve(500, 50, 50) for i in range(10)}
    found = started(analysed(), "Budget", falls | flat)
    assert len(found) == (percent is not None)
    assert all("hinge was still" in text and f"by {percent} (median)" in text for text in found)
    assert all(
        "(better in 10 of 10 runs, one-sided sign test p = 0.0010)" in text for text in found
    )


@pytest.mark.parametrize(("last", "told"), [(94.0, False), (86.0, True)])
def test_a_fall_since_long_before_the_end_counts_by_its_pace(
    last: float, told: bool, analysed: Any
) -> None:
    # From 0.57 to 1 is 2.5 times as far, on a logarithmic scale, as from 0.8 to 1.
    falls = {f"hinge-confirm-{i}": {OBJECTIVE: [(572, 100.0), (1000, last)]} for i in range(10)}
    assert len(started(analysed(), "Budget", falls)) == told


@pytest.mark.parametrize(
    ("changes", "claimed", "said"),
    [
        ((-14, -8, 7, 2, -13), False, "in 3 of 5 runs (one-sided sign test p = 0.5000)"),
        ((-14, -8, -7, -2, -13), True, "better in 5 of 5 runs, one-sided sign test p = 0.0312"),
        ((-14, -8, -7, 2, -13), False, "in 4 of 5 runs (one-sided sign test p = 0.1875)"),
        ((-14, -8, -7, -13), False, "in 4 of 4 runs (one-sided sign test p = 0.0625)"),
        ((-14, -8, -7, 2, -9, -8, -9, -7), True, "better in 7 of 8 runs"),
        ((-14, -8, -7, 0, -13), False, "in 4 of 5 runs (one-sided sign test p = 0.0625)"),
    ],
)
def test_mixed_signs_are_no_improvement(
    changes: Sequence[float], claimed: bool, said: str, analysed: Any
) -> None:
    (text,) = started(analysed(), "Budget", changed(*changes))
    assert ("was still improving, by" in text) == claimed
    assert ("cannot be told" in text) != claimed
    assert said in text


def test_one_falling_run_of_three_is_not_the_median(analysed: Any) -> None:
    assert started(analysed(), "Budget", changed(-50, -1, -1)) == []
    assert started(analysed(), "Budget", {"hinge-confirm-0": curve(100)}) == []


def test_the_sign_test_counts_coins() -> None:
    assert [sign_test(k, 3) for k in range(4)] == [1, 7 / 8, 4 / 8, 1 / 8]
    assert sign_test(0, 0) == 1


# Ranges.


@pytest.mark.parametrize(
    ("value", "log", "side"),
    [
        (1.2e-4, True, "lower"), (9e-3, True, "upper"), (1e-4, True, "lower"), (1e-3, True, None),
        (1.3e-4, True, None), (5e-4, False, "lower"), (9.8e-3, False, "upper"),
        (7e-4, False, None), (9e-3, False, None),
    ],
)  # fmt: skip
def test_settings_at_the_edge_of_their_range(
    value: float, log: bool, side: str | None, analysed: Any, study: Any
) -> None:
    space = {"g_lr": {"low": 1e-4, "high": 1e-2, "log": log}}
    found = started(analysed(study(space=space), best={"g_lr": value}), "Range")
    assert len(found) == (2 if side else 0)  # both arms
    assert all(f"at the {side} edge of [0.0001, 0.01]; better" in text for text in found)


@pytest.mark.parametrize(("end", "side"), [(max, "largest"), (min, "smallest")])
@pytest.mark.parametrize("last", [400.0, "diverged"])
def test_settings_at_the_end_of_what_was_tried(
    end: Any, side: str, last: float | str, analysed: Any, study: Any
) -> None:
    definition = study(space={"g_lr": {"low": 1e-9, "high": 1e5, "log": True}}, seed=2)
    tried = [point["g_lr"] for point in definition.points(definition.arms()[0])]
    best = {"g_lr": end(tried)}
    (text,) = started(analysed(definition, best, (500.0, 90.0, 300.0, last)), "Range")  # of one arm
    assert text == (
        f"Range: minimax's confirmed g_lr = {end(tried):.3g} is the {side} of 4 tried (where a "
        "parameter has no effect, the best trial is at either end in 50 % of searches); better "
        "settings may lie beyond."
    )
    assert started(analysed(definition, {"g_lr": sorted(tried)[1]}), "Range") == []
    few = analysed(definition, best, (500.0, 90.0))  # two tried values have no middle
    assert started(few, "Range") == []


def test_one_sentence_tells_both_ends(analysed: Any, study: Any) -> None:
    definition = study(
        space={"d_steps": [1, 2, 5]}, search={"trials_per_arm": 3, "sampler": "grid"}
    )
    (text, _) = started(analysed(definition, {"d_steps": 5}, (5.0, 4.0, 3.0)), "Range")
    assert "d_steps = 5 lies at the upper edge of [1, 5] and is the largest of 3 tried (" in text


def test_a_choice_has_no_edge(analysed: Any, study: Any) -> None:
    definition = study(space={"batch_size": [16, 32]})
    assert started(analysed(definition, {"batch_size": 16}), "Range") == []


def test_a_list_with_none_among_its_numbers_has_no_edge(analysed: Any, study: Any) -> None:
    definition = study(space={"clip_grad": [0.5, 1.0, "none"]})
    assert started(analysed(definition, {"clip_grad": 1.0}), "Range") == []
    assert definition.arms()[0].defaults == {"clip_grad": "none"}
