"""The answer of a study: failures rank worst, and sentences are as strong as the evidence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.evaluate.metric import figure_of
from harness.results.arms import ArmSummary, describe
from harness.results.report.records import RunRecord
from harness.results.summary import StudySummary, summarise
from harness.statistics import mann_whitney, superiority_interval
from harness.study.study import StudyConfig

METRIC, OBJECTIVE = "test/fid_digits_cnn_v1_400", "val/fid_digits_cnn_v1_400"
BETTER = [1.0, 2.0, 3.0, 4.0, 5.0]
WORSE = [11.0, 12.0, 13.0, 14.0, 15.0]


@pytest.fixture
def study(make_study: Any) -> Callable[..., StudyConfig]:
    """Return a function that makes a study of these variants."""
    common = {"space": {"d_steps": [1, 2]}, "search": {"trials_per_arm": 6}}
    return lambda *arms, **more: make_study(compare={"variant": list(arms)}, **common, **more)


def opposed(run: RunRecord) -> RunRecord:
    """Let validation say the opposite of a confirm run's test score: it must not be looked at."""
    if run.phase == "search" or OBJECTIVE not in run.metrics:
        return run
    return replace(run, metrics={**run.metrics, OBJECTIVE: -run.metrics[METRIC]})


@pytest.fixture
def answer(study: Any, make_records: Any) -> Callable[..., StudySummary]:
    """Return a function that summarises arms with these confirm runs, the first the baseline."""

    def answer(
        scores: dict[str, Sequence[float | str]],
        search: Sequence[float | str] = (9.0, 8.0),
        lost: Sequence[str] = (),
        floor: float | None = 0.5,
    ) -> StudySummary:
        trials = {arm: ["diverged"] * 2 if arm in lost else search for arm in scores}
        seeds = max(1, *(len(runs) for runs in scores.values()))
        definition = study(*scores, confirm={"seeds": seeds})
        made = make_records(scores, trials, definition, best={"d_steps": 2}, edit=opposed)
        states = [
            replace(state, best=None) if state.arm.name in lost else state for state in made.states
        ]
        summary = summarise("mine", made.study, states, metric=METRIC, floor=floor)
        json.dumps(summary.to_json(), allow_nan=False)  # holds for every summary made here
        return summary

    return answer


@pytest.fixture
def shown(make_study: Any, make_records: Any) -> Callable[..., StudySummary]:
    """Return a function that summarises a descriptive study of presets with these runs."""

    def shown(scores: dict[str, Sequence[float | str]], **changes: Any) -> StudySummary:
        presets = {"compare": {"preset": list(scores)}, "space": {}, "descriptive": True}
        made = make_records(scores, study=make_study(**presets | changes))
        summary = summarise("mine", made.study, made.states, metric=METRIC)
        json.dumps(summary.to_json(), allow_nan=False)
        return summary

    return shown


def test_a_descriptive_study_ranks_nothing(shown: Any, add_preset: Any) -> None:
    add_preset("long", budget={"images": 2000})
    add_preset("short", budget={"images": 700})
    own = {"budget": {"preset": 1}, "confirm": {"seeds": 1}}
    summary = shown({"long": WORSE, "short": [1.0]}, **own)
    assert summary.comparisons == ()
    assert summary.answer() == [
        "Budgets differ; nothing is ranked",
        "Test FID in the file's order: long 13.0 ± 1.6 after 2,000 real images; "
        "short 1.00 after 700 real images",
    ]
    assert [arm.name for arm in summary.arms] == ["long", "short"]
    under_way = shown({"long": [], "short": [1.0, "waiting"]}, **own)
    assert under_way.answer()[1] == (
        "So far, test FID in the file's order: long none yet; short 1.00 after 700 real images"
    )


def test_a_study_may_be_descriptive_at_equal_budgets(shown: Any) -> None:
    summary = shown({"mlp_relu": BETTER, "mlp_deep": [*WORSE[:4], "diverged"]})
    assert summary.comparisons == ()
    first, second = summary.answer()
    assert first == "The study is descriptive; nothing is ranked"
    assert second.endswith("mlp_deep 12.5 ± 1.3 (4/5 runs) after 640 real images")


def only_sentence(summary: StudySummary) -> str:
    (sentence,) = summary.answer()
    return sentence


# One arm.


def test_figures_of_an_arm(answer: Any) -> None:
    arm = answer({"minimax": [1.0, 2.0, 6.0]}).arm("minimax")
    assert arm.scores == (1.0, 2.0, 6.0)
    assert arm.mean == pytest.approx(3.0)
    assert arm.sd == pytest.approx(math.sqrt(7))
    assert arm.median == 2.0
    assert arm.num_scored == 3
    assert arm.settings == {"d_steps": 2}
    assert arm.best_validation == 8.0
    assert arm.search_outcomes == {"finished": 2}
    assert arm.confirm_outcomes == {"finished": 3}
    assert describe(arm) == "3.0 ± 2.6"


@pytest.mark.parametrize("ending", ["diverged", "failed"])
def test_runs_without_a_score_rank_worst_and_are_never_averaged(ending: str, answer: Any) -> None:
    arm = answer({"minimax": [4.0, ending, 2.0, ending]}).arm("minimax")
    assert arm.scores == (4.0, None, 2.0, None)
    assert arm.costs(figure_of(METRIC)) == [4.0, math.inf, 2.0, math.inf]
    assert arm.mean == pytest.approx(3.0)
    assert arm.sd == pytest.approx(math.sqrt(2))
    assert arm.median is None  # between 4 and a failure
    assert arm.num_scored == 2
    assert arm.confirm_outcomes == {"finished": 2, ending: 2}
    assert describe(arm) == "3.0 ± 1.4 (2/4 runs)"


def test_the_median_ranks_failures_worst(answer: Any) -> None:
    assert answer({"minimax": [4.0, "failed", 2.0]}).arm("minimax").median == 4.0
    assert answer({"minimax": [4.0, "failed", "failed"]}).arm("minimax").median is None


def test_an_arm_with_one_score_or_none(answer: Any) -> None:
    one = answer({"minimax": [4.0, "diverged"]}).arm("minimax")
    assert (one.mean, one.sd, describe(one)) == (4.0, None, "4.00 (1/2 runs)")
    none = answer({"minimax": ["diverged", "failed"]}).arm("minimax")
    assert (none.mean, none.sd, none.median) == (None, None, None)
    assert describe(none) == "none (0/2 runs)"
    empty = answer({"minimax": []}).arm("minimax")
    assert (empty.scores, empty.mean, empty.median) == ((), None, None)


def test_runs_that_have_not_ended_are_no_results(answer: Any) -> None:
    arm = answer({"minimax": [4.0, "waiting", "running"]}).arm("minimax")
    assert arm.scores == (4.0,)
    assert arm.confirm_outcomes == {"finished": 1, "waiting": 1, "running": 1}


def test_outcomes_of_a_search(answer: Any) -> None:
    arm = answer({"minimax": []}, search=[5.0, "diverged", "pruned", 3.0, "pruned", "waiting"])
    assert arm.arm("minimax").search_outcomes == {
        "finished": 2, "diverged": 1, "pruned": 2, "waiting": 1,
    }  # fmt: skip
    assert arm.arm("minimax").best_validation == 3.0


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_no_score(score: float, answer: Any) -> None:
    summary = answer({"minimax": [1.0, 2.0], "hinge": [3.0, score]})
    assert summary.arm("hinge").scores == (3.0, None)


# Against the baseline.


def test_an_arm_that_is_lower_beats_the_baseline(answer: Any) -> None:
    summary = answer({"minimax": WORSE, "hinge": BETTER})
    (comparison,) = summary.comparisons
    assert (comparison.arm, comparison.baseline) == ("hinge", "minimax")
    assert comparison.difference == pytest.approx(-10)
    assert comparison.superiority == 1.0
    assert comparison.p_value == comparison.p_holm == comparison.smallest_p == 2 / 252
    assert comparison.interval == superiority_interval(1.0, 5, 5)
    assert comparison.is_resolved
    assert only_sentence(summary) == (
        "hinge beats minimax: test FID 3.0 ± 1.6 against 13.0 ± 1.6, "
        "median difference −10.0 [−13.0, −7.0]; P(hinge < minimax) = 1.00 [0.64, 1.00, "
        "unadjusted], exact Mann-Whitney p = 0.0079 (least attainable 0.0079)"
    )


def test_an_arm_that_is_higher_loses_to_the_baseline(answer: Any) -> None:
    summary = answer({"minimax": BETTER, "hinge": WORSE})
    assert summary.comparisons[0].superiority == 0.0
    assert only_sentence(summary).startswith(
        "hinge loses to minimax: test FID 13.0 ± 1.6 against 3.0"
    )
    assert "difference +10.0 [+7.0, +13.0];" in only_sentence(summary)


def test_three_runs_a_side_resolve_nothing(answer: Any) -> None:
    summary = answer({"minimax": WORSE[:3], "hinge": BETTER[:3]})
    assert not summary.comparisons[0].is_resolved
    sentence = only_sentence(summary)
    assert sentence.startswith(
        "hinge against minimax is not resolved with 3 and 3 runs, although one won every pair: "
    )
    assert "p = 0.1000 (least attainable 0.1000)" in sentence
    assert "beats" not in sentence


@pytest.mark.parametrize(("hinge", "minimax"), [(4, 5), (5, 4)])
def test_four_runs_on_a_side_give_no_interval(hinge: int, minimax: int, answer: Any) -> None:
    summary = answer({"minimax": WORSE[:minimax], "hinge": BETTER[:hinge]})
    (comparison,) = summary.comparisons
    assert comparison.interval is comparison.p_value is comparison.difference_interval is None
    assert comparison.due == 5
    sentence = only_sentence(summary)
    assert sentence.startswith(
        "hinge against minimax is not tested before 5 seeds of either, of which "
        f"{hinge} and {minimax} have ended: test FID"
    )
    assert sentence.endswith("P(hinge < minimax) = 1.00")


def test_overlapping_arms_are_not_resolved(answer: Any) -> None:
    summary = answer({"minimax": [1.0, 3.0, 5.0, 7.0, 9.0], "hinge": [2.0, 4.0, 6.0, 8.0, 10.0]})
    assert "is not resolved with 5 and 5 runs" in only_sentence(summary)


def test_failures_count_against_an_arm(answer: Any) -> None:
    """The mean over its survivors is lower, yet the arm loses: most of its runs have no score."""
    scores: dict[str, Sequence[float | str]] = {
        "minimax": [10.0, 11.0, 12.0, 13.0, 14.0, 15.0],
        "hinge": [9.0, *["diverged"] * 5],
    }
    summary = answer(scores)
    (comparison,) = summary.comparisons
    expected = mann_whitney([9.0, *[math.inf] * 5], [10.0, 11.0, 12.0, 13.0, 14.0, 15.0])
    assert comparison.superiority == expected.superiority == pytest.approx(1 / 6)
    assert comparison.p_value == expected.p_value
    assert comparison.difference is None  # where most differences are infinite
    assert comparison.difference_interval == (-1.0, math.inf)  # 9 - 10
    assert summary.to_json()["comparisons"][0]["difference_interval"] == [-1.0, None]
    assert "test FID 9.00 (1/6 runs) against 12.5 ± 1.9" in only_sentence(summary)


def test_an_arm_that_always_fails_loses_without_a_difference(answer: Any) -> None:
    summary = answer({"minimax": BETTER, "hinge": ["diverged", "failed", *["diverged"] * 3]})
    assert summary.comparisons[0].difference is None
    sentence = only_sentence(summary)
    assert sentence.startswith(
        "hinge loses to minimax: test FID none (0/5 runs) against 3.0 ± 1.6;"
    )


def test_two_arms_that_always_fail_are_alike(answer: Any) -> None:
    summary = answer({"minimax": ["failed"] * 5, "hinge": ["diverged"] * 5})
    (comparison,) = summary.comparisons
    assert (comparison.superiority, comparison.p_value) == (0.5, 1.0)
    assert "is not resolved" in only_sentence(summary)


def test_holm_over_all_arms(answer: Any) -> None:
    """Alone 0.0159 would do; as one of four, the weakest of them is not resolved."""
    summary = answer(
        {
            "minimax": WORSE,
            "hinge": BETTER,
            "non_saturating": [*BETTER[:4], 11.5],
            "least_squares": [*BETTER[:4], 12.5],
            "wasserstein": [*WORSE[:4], 16.0],
        }
    )
    p_values = [comparison.p_value for comparison in summary.comparisons]
    assert p_values[:2] == pytest.approx([2 / 252, 4 / 252])
    assert p_values[2] == pytest.approx(8 / 252)
    assert [comparison.p_holm for comparison in summary.comparisons] == pytest.approx(
        [8 / 252, 12 / 252, 16 / 252, p_values[3]]
    )
    resolved = [comparison.is_resolved for comparison in summary.comparisons]
    assert resolved == [True, True, False, False]
    sentences = summary.answer()
    assert len(sentences) == 4
    assert sentences[0].startswith("hinge beats minimax")
    assert ", 0.0317 after Holm over 4 (least" in sentences[0]
    assert sentences[2].startswith("least_squares against minimax is not resolved")


def test_the_baseline_is_the_studys_not_the_first(study: Any, make_records: Any) -> None:
    definition = study("minimax", "hinge", baseline={"variant": "hinge"})
    states = make_records({"minimax": BETTER, "hinge": WORSE}, study=definition).states
    summary = summarise("mine", definition, states, metric=METRIC)
    assert [(c.arm, c.baseline) for c in summary.comparisons] == [("minimax", "hinge")]
    assert only_sentence(summary).startswith("minimax beats hinge")


# Studies that are not whole.


def test_before_anything_is_confirmed(answer: Any) -> None:
    summary = answer({"minimax": [], "hinge": []}, search=[5.0, "waiting"])
    assert not summary.complete
    assert summary.comparisons == ()
    assert only_sentence(summary) == "No arm has been compared with the baseline yet"


def test_without_the_baselines_runs_nothing_is_compared(answer: Any) -> None:
    assert answer({"minimax": ["waiting"], "hinge": BETTER}).comparisons == ()


def test_a_study_under_way_says_how_many_runs_it_rests_on(answer: Any) -> None:
    summary = answer({"minimax": WORSE, "hinge": [*BETTER[:3], "running", "waiting"]})
    assert not summary.complete
    assert summary.comparisons[0].smallest_p == pytest.approx(2 / 252)
    assert only_sentence(summary).startswith(
        "So far, hinge against minimax is not tested before 5 seeds of either, of which 3 and 5 "
    )
    whole = answer({"minimax": WORSE, "hinge": BETTER})
    assert whole.complete
    assert only_sentence(whole).startswith("hinge beats minimax: ")


def test_an_arm_that_no_setting_survived(answer: Any) -> None:
    summary = answer({"minimax": WORSE, "hinge": BETTER, "wasserstein": []}, lost=["wasserstein"])
    assert summary.complete
    lost = summary.arm("wasserstein")
    assert (lost.settings, lost.best_validation, lost.mean) == (None, None, None)
    assert lost.search_outcomes == {"diverged": 2}
    assert summary.answer()[-1] == (
        "wasserstein: no setting survived the search, so there is nothing to confirm"
    )
    assert len(summary.answer()) == 2


def test_a_baseline_that_no_setting_survived(answer: Any) -> None:
    summary = answer({"minimax": [], "hinge": BETTER}, lost=["minimax"])
    assert summary.comparisons == ()
    assert only_sentence(summary).startswith("minimax: no setting survived")


# As JSON.


def test_json_is_complete_and_finite(answer: Any) -> None:
    summary = answer({"minimax": [*WORSE, "failed"], "hinge": ["failed"] * 6}, floor=None)
    tree: Any = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert set(tree) == {
        "name", "question", "metric", "figure", "floor", "complete", "unranked", "arms",
        "comparisons", "num_tests", "effects", "primary", "withheld", "is_search", "marginals",
        "search_share",
    }  # fmt: skip
    assert (tree["name"], tree["question"], tree["metric"]) == ("mine", "Which loss?", METRIC)
    assert tree["floor"] is None
    assert tree["arms"][0]["scores"] == [*WORSE, None]
    assert tree["arms"][1]["mean"] is None
    assert tree["comparisons"][0]["difference"] is None
    assert set(tree["arms"][0]) == set(ArmSummary.__dataclass_fields__)
