"""A better score alone beats nothing: coverage, copies, balance and a second ruler are asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from harness.evaluate.metric import figure_of
from harness.results.axes import Axes, axes_of
from harness.results.comparison import Comparison, compare
from harness.results.report.answer import _on_axes
from harness.study.comparisons import Pair

END = "digits_cnn_v2_400"
FID, COVERAGE = f"test/fid_{END}", f"test/coverage_{END}"
MEMORISED, DISTANCE = f"test/memorised_{END}", f"test/class_distance_{END}"
SECOND = "test/fid_digits_judge_v1_400"
GOOD = {FID: 1.0, COVERAGE: 0.9, MEMORISED: 0.5, DISTANCE: 0.02, SECOND: 2.0}
POOR = {FID: 9.0, COVERAGE: 0.8, MEMORISED: 0.5, DISTANCE: 0.05, SECOND: 5.0}


def runs(scores: dict[str, float], num: int = 5, **changes: float) -> list[dict[str, float]]:
    """Return runs whose scores differ a little."""
    names = {"coverage": COVERAGE, "memorised": MEMORISED, "distance": DISTANCE, "second": SECOND}
    whole = scores | {names[key]: value for key, value in changes.items()}
    return [
        {key: value * (1 + 0.001 * seed) for key, value in whole.items()} for seed in range(num)
    ]


def axes(a: Sequence[Any], b: Sequence[Any], *, wins: bool = True, margin: float = 0.05) -> Axes:
    return axes_of(a, b, figure_of(FID), wins=wins, margin=margin)


def test_an_arm_that_is_better_in_all_has_no_objection() -> None:
    found = axes(runs(GOOD), runs(POOR))
    assert (found.objections, found.contradictions) == ((), ())
    assert [axis.name for axis in found.found] == [
        "diversity", "class balance", "memorisation", "second ruler",
    ]  # fmt: skip
    assert found.found[0].noninferior_p == pytest.approx(1 / 252)
    assert found == axes(runs(GOOD), runs(POOR), margin=0.0)


def test_a_replay_of_few_images_is_not_diverse() -> None:
    """The better FID with a fifth of the coverage: the attack that a ruler alone lets pass."""
    (objection,) = axes(runs(GOOD, coverage=0.2), runs(POOR)).objections
    assert objection.startswith("its diversity is not shown to be no worse by 0.05 (coverage 0.2")
    assert objection.endswith("one-sided p = 1.0000)")


def test_no_worse_must_be_shown_and_not_only_seen() -> None:
    """Three runs a side: whatever they are, p is 1/20 at least, and two cannot show it."""
    assert axes(runs(GOOD, 3), runs(POOR, 3)).objections == ()
    assert axes(runs(GOOD, 2), runs(POOR, 2)).objections != ()


@pytest.mark.parametrize(("coverage", "shown"), [(0.77, True), (0.73, False)])
def test_the_margin_is_what_coverage_may_lack(coverage: float, shown: bool) -> None:
    assert (axes(runs(GOOD, coverage=coverage), runs(POOR)).objections == ()) == shown


def test_copies_are_an_alarm() -> None:
    (objection,) = axes(runs(GOOD, memorised=0.75), runs(POOR)).objections
    assert "copies training images" in objection
    assert axes(runs(GOOD), runs(POOR, memorised=0.75)).objections == ()  # the worse arm's affair


def test_a_second_ruler_that_orders_them_otherwise_is_named() -> None:
    (axis,) = axes(runs(GOOD, second=7.0), runs(POOR)).contradictions
    assert (axis.name, axis.key) == ("second ruler", SECOND)
    assert axis.superiority == 0


def test_the_loser_may_be_the_first() -> None:
    found = axes(runs(POOR), runs(GOOD), wins=False)
    assert (found.objections, found.contradictions) == ((), ())
    assert axes(runs(POOR), runs(GOOD, coverage=0.2), wins=False).objections != ()


def test_runs_without_scores_rank_worst() -> None:
    found = axes([*runs(GOOD, 3), {}, {}], runs(POOR))
    assert found.found[0].superiority == pytest.approx(3 / 5)
    assert found.found[0].values[0] == pytest.approx(0.9009)


def test_what_is_not_on_record_is_no_axis() -> None:
    old = [{FID: float(seed)} for seed in range(5)]
    assert axes(old, old) == Axes(found=(), objections=(), contradictions=())


def test_an_axis_is_not_asked_of_what_arms_are_ranked_by() -> None:
    found = axes_of(runs(GOOD), runs(POOR), figure_of(COVERAGE), wins=True, margin=0.05)
    assert "diversity" not in [axis.name for axis in found.found]


def compared(a: Sequence[Any], b: Sequence[Any]) -> Comparison:
    sides = {"new": a, "old": b}
    costs = {arm: [each[FID] for each in side] for arm, side in sides.items()}
    pairs = [Pair(arm="new", reference="old")]
    (found,) = compare(pairs, costs, figure_of(FID), sizes=(5,), scores=sides, margin=0.05)
    return found


def test_an_arm_beats_another_only_without_objection() -> None:
    assert compared(runs(GOOD), runs(POOR)).is_beaten
    replay = compared(runs(GOOD, coverage=0.2), runs(POOR))
    assert replay.is_resolved
    assert not replay.is_beaten


def test_the_answer_names_the_axes() -> None:
    class Summary:
        comparisons = (
            compared(runs(GOOD), runs(POOR)),
            compared(runs(GOOD, second=7.0), runs(POOR)),
        )

    other, agreeing = _on_axes(Summary())  # type: ignore[arg-type]
    assert agreeing.startswith(
        "Nor do other axes object to new against old: diversity (coverage 0.902 "
    )
    assert "second ruler (FID 2.00 against 5.01)" in agreeing
    assert other == (
        "The axes disagree on new against old: the latter is ahead on second ruler (FID 7.01 "
        "against 5.01)."
    )


def test_of_many_verdicts_those_that_hold_are_counted() -> None:
    class Summary:
        comparisons = (compared(runs(GOOD), runs(POOR)),) * 3

    (text,) = _on_axes(Summary())  # type: ignore[arg-type]
    assert text.startswith("3 of 3 verdicts meet no objection from other axes: diversity, cl")
