"""A better score alone beats nothing: coverage, copies, balance and a second ruler are asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from harness.evaluate.metric import figure_of
from harness.results.axes import Axes, Stratum, axes_of
from harness.results.comparison import Comparison, compare
from harness.results.verdicts import on_axes
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
    return axes_of([stratum(a, b)], figure_of(FID), wins=wins, margin=margin)


def stratum(a: Sequence[Any], b: Sequence[Any], key: str = FID) -> Stratum:
    figure = figure_of(key)
    costs = [[figure.cost(scores.get(key)) for scores in side] for side in (a, b)]
    return Stratum(costs=(costs[0], costs[1]), scores=(a, b))


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


def test_what_is_not_on_record_is_no_axis_and_is_named() -> None:
    old = [{FID: float(seed)} for seed in range(5)]
    found = axes(old, old)
    assert (found.found, found.contradictions) == ((), ())
    assert found.objections == ("its diversity and memorisation are not on record of all runs",)
    assert found.missing == ("diversity", "class balance", "memorisation", "second ruler")


def test_of_what_some_runs_lack_nobody_is_said_to_be_better_or_worse() -> None:
    """Old runs of the worse arm have no coverage: not to have been measured is not to be worse."""
    old = [{key: value for key, value in run.items() if key != COVERAGE} for run in runs(POOR)]
    found = axes(runs(GOOD, coverage=0.2), old)
    assert found.missing == ("diversity",)
    assert found.objections == ("its diversity is not on record of all runs",)
    assert "diversity" not in [axis.name for axis in found.found]


def test_an_axis_is_not_asked_of_what_arms_are_ranked_by() -> None:
    both = stratum(runs(GOOD), runs(POOR), COVERAGE)
    found = axes_of([both], figure_of(COVERAGE), wins=True, margin=0.05)
    assert "diversity" not in [axis.name for axis in found.found]
    assert "diversity" not in found.missing


def test_more_coverage_with_a_worse_fid_beats_nothing() -> None:
    both = stratum(runs(GOOD | {FID: 9.5}), runs(POOR), COVERAGE)
    found = axes_of([both], figure_of(COVERAGE), wins=True, margin=0.05)
    assert found.objections == ("its fidelity is clearly worse (FID 9.52 against 9.02)",)
    assert axes_of(
        [stratum(runs(GOOD), runs(POOR), COVERAGE)], figure_of(COVERAGE), wins=True, margin=0.05
    ).objections == ()  # fmt: skip


def test_over_strata_one_arm_that_lacks_coverage_or_copies_is_enough() -> None:
    good = stratum(runs(GOOD), runs(POOR))
    objective = figure_of(FID)
    assert axes_of([good] * 3, objective, wins=True, margin=0.05).objections == ()
    poor = stratum(runs(GOOD, coverage=0.2), runs(POOR))
    (objection,) = axes_of([good, good, good, poor], objective, wins=True, margin=0.05).objections
    assert objection == "its diversity is clearly worse by more than 0.05 in 1 of 4 strata"
    first, *_ = axes_of([poor, poor], objective, wins=True, margin=0.05).objections
    assert first.startswith("its diversity is not shown to be no worse by 0.05 (coverage 0.200 ")
    copies = stratum(runs(GOOD, memorised=0.75), runs(POOR))
    (objection,) = axes_of([good, good, copies], objective, wins=True, margin=0.05).objections
    assert "copies training images (memorised 0.585 against 0.501; up to 0.752 in an" in objection


def test_stability_is_named_where_it_speaks_against_the_better_arm() -> None:
    """It loses three of eight runs and still wins; its scores spread ten times as far."""
    wide = [GOOD | {FID: 1 + 0.1 * seed} for seed in range(8)]
    narrow = [POOR | {FID: 9 + 0.01 * seed} for seed in range(8)]
    assert axes(runs(GOOD), runs(POOR)).stability.against == ()
    lost, spread = axes([*wide[:5], {}, {}, {}], narrow).stability.against
    assert lost == (
        "it lost 3 of 8 runs against 0 of 8 (Fisher's exact one-sided p = 0.1000, not resolved)"
    )
    assert spread.startswith("its scores spread 6.45 times as far over seeds (95 % interval 2.75 ")
    assert spread.endswith("for normal scores)")
    other = axes(narrow, [*wide[:5], {}, {}, {}], wins=False).stability
    assert other.against == (lost, spread)
    assert axes(narrow, wide).stability.against == ()


def compared(a: Sequence[Any], b: Sequence[Any]) -> Comparison:
    sides = {"new": a, "old": b}
    costs = {arm: [each.get(FID, math.inf) for each in side] for arm, side in sides.items()}
    pairs = [Pair(arm="new", reference="old")]
    (found,) = compare(pairs, costs, figure_of(FID), sizes=(5,), scores=sides, margin=0.05)
    return found


def test_four_fifths_of_the_pairs_are_enough_whichever_arm_is_better() -> None:
    """5 of 25 pairs, as 0.2 and as 1 - 0.8, which a computer takes for more and for less."""
    better = [run | {DISTANCE: 0.03 if seed else 0.01} for seed, run in enumerate(runs(GOOD))]
    poorer = [run | {DISTANCE: 0.02} for run in runs(POOR)]
    for found in (axes(better, poorer), axes(poorer, better, wins=False)):
        assert [axis.name for axis in found.contradictions] == ["class balance"]


def test_an_arm_beats_another_only_without_objection() -> None:
    assert compared(runs(GOOD), runs(POOR)).is_beaten
    replay = compared(runs(GOOD, coverage=0.2), runs(POOR))
    assert replay.is_resolved
    assert not replay.is_beaten


def test_the_answer_names_the_axes() -> None:
    agreeing = compared(runs(GOOD), runs(POOR))
    other, text = on_axes([agreeing, compared(runs(GOOD, second=7.0), runs(POOR))])
    assert text.startswith(
        "Nor do other axes object to new against old: diversity (coverage 0.902 "
    )
    assert "second ruler (FID 2.00 against 5.01)" in text
    assert text.endswith("stability (lost 0 of 5 runs against 0 of 5, sd 0.00158 against 0.0142).")
    assert other == (
        "The axes disagree on new against old: the latter is ahead on second ruler (FID 7.01 "
        "against 5.01)."
    )


def test_the_answer_names_other_figures_that_speak_for_the_loser() -> None:
    kid, recall, spread = (f"test/{name}_{END}" for name in ("kid", "recall", "feature_spread"))
    good = [run | {kid: 0.2, recall: 0.3, spread: 0.5} for run in runs(GOOD)]
    poor = [run | {kid: 0.1, recall: 0.2, spread: 0.9} for run in runs(POOR)]
    agreement, others = on_axes([compared(good, poor)])
    assert agreement.startswith("Nor do other axes object to new against old")
    assert others == "Other figures speak for old: KID 0.200 against 0.100."
    assert "Other figures beside new speak for old" in on_axes([compared(good, poor)] * 2)[-1]
    assert compared(good, poor).is_beaten


def test_axes_that_disagree_are_named_beside_an_objection() -> None:
    (text,) = on_axes([compared(runs(GOOD, coverage=0.2, second=7.0), runs(POOR))])
    assert text.startswith("The axes disagree on new against old")


def test_the_answer_names_an_unstable_winner() -> None:
    wide = [run | {FID: 1 + 0.1 * seed} for seed, run in enumerate(runs(GOOD))]
    (text,) = on_axes([compared(wide, runs(POOR))])
    assert text.startswith("Stability speaks against new beside old: its scores spread 11.1 times ")


def test_the_answer_names_axes_without_a_record() -> None:
    old = [{FID: score[FID], MEMORISED: 0.5} for score in runs(GOOD)]
    worse = [{FID: score[FID], MEMORISED: 0.5} for score in runs(POOR)]
    *_, text = on_axes([compared(old, worse)])
    assert text == (
        "Not on record of all runs, and so not asked: diversity, class balance, second ruler."
    )
    *_, text = on_axes([compared(old, worse), compared(runs(GOOD), runs(POOR))])
    assert "and so not asked of new against old: diversity" in text


def test_of_many_verdicts_those_that_hold_are_counted() -> None:
    (text,) = on_axes([compared(runs(GOOD), runs(POOR))] * 3)
    assert text.startswith("3 of 3 verdicts meet no objection from other axes: diversity, cl")
    assert text.endswith("second ruler, stability.")
