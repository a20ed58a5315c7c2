"""Sentences that appear exactly where their facts hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.results.report.analysis import Analysis, analyse
from harness.results.report.answer import answer, notices
from harness.results.report.records import RunRecord
from harness.results.report.threats import threats
from harness.study.ledger import Entry, Ledger
from harness.study.study import StudyConfig

NOTHING: Mapping[str, Any] = {}
METRIC, OBJECTIVE = "test/fid_digits_cnn_v1_400", "val/fid_digits_cnn_v1_400"
Results = Sequence[float | str]
LOW = [float(i) for i in range(1, 11)]
HIGH = [float(i) for i in range(101, 111)]
SEARCH = (500.0, 90.0, 300.0)  # the second trial is the best by far
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MIDDLE = {"g_lr": 1e-3}
SIZES = {"parameters.generator": "100", "parameters.discriminator": "100"}
TAGS = {"version.torch": "2.11.0", "mlflow.source.git.commit": COMMIT, "command": "harness run x"}
Edit = Callable[[RunRecord], RunRecord]


@pytest.fixture
def study(make_study: Any) -> Callable[..., StudyConfig]:
    """Return a function that makes studies of ten confirm runs and three trials an arm."""
    common = {"search": {"trials_per_arm": 3}, "confirm": {"seeds": 10}}
    return lambda **changes: make_study(**common | changes)


@pytest.fixture
def analysed(study: Any, make_records: Any) -> Callable[..., Analysis]:
    """Return a function that analyses a study with these runs, or one without any blemish."""

    def analysed(
        confirm: Mapping[str, Results] | None = None,
        search: Mapping[str, Results] = NOTHING,
        *,
        definition: StudyConfig | None = None,
        best: Mapping[str, Any] = MIDDLE,
        edit: Edit = lambda run: run,
    ) -> Analysis:
        def known(run: RunRecord) -> RunRecord:
            return edit(replace(run, params={**run.params, **SIZES}, tags=TAGS))

        confirm = confirm or {"minimax": HIGH, "hinge": LOW}
        definition = definition or study(compare={"loss": list(confirm)})
        tuned = {arm.name: SEARCH for arm in definition.arms() if arm.space}
        return analyse(
            make_records(confirm, {**tuned, **search}, definition, best=best, edit=known)
        )

    return analysed


def started(analysis: Analysis, word: str, curves: Any = NOTHING) -> list[str]:
    """Return the threats that start with a word."""
    return [text for text in threats(analysis, curves) if text.startswith(word)]


def changed(what: Mapping[str, str], *, arm: str = "hinge", tags: bool = False) -> Edit:
    """Return an edit of the params, or tags, of all runs of an arm."""

    def edit(run: RunRecord) -> RunRecord:
        if run.arm != arm:
            return run
        return (
            replace(run, tags={**run.tags, **what})
            if tags
            else replace(run, params={**run.params, **what})
        )

    return edit


# Threats.


def test_a_study_without_blemish_has_only_the_threats_of_every_study(analysed: Any) -> None:
    first_words = [text.split(":")[0].split(" ")[0] for text in threats(analysed(), {})]
    assert first_words == ["One", "Scores", "FID"]


@pytest.mark.parametrize(("count", "smallest"), [(3, "0.1000"), (5, "0.0079"), (9, "< 0.0001")])
def test_few_seeds(count: int, smallest: str, analysed: Any, study: Any) -> None:
    scores = {"minimax": HIGH[:count], "hinge": LOW[:count]}
    definition = study(compare={"loss": list(scores)}, confirm={"seeds": count})
    (text,) = started(analysed(scores, definition=definition), "Few seeds")
    assert f"{count} runs in an arm" in text
    assert smallest in text
    assert started(analysed(), "Few seeds") == []


def test_unequal_losses_in_the_search(analysed: Any) -> None:
    unequal = {"hinge": ["diverged", 90.0, "failed"]}
    (text,) = started(analysed(search=unequal), "Unequal losses")
    assert "minimax 0, hinge 2" in text
    equal = {"hinge": [500.0, 90.0, "diverged"], "minimax": ["failed", 90.0, 500.0]}
    assert started(analysed(search=equal), "Unequal losses") == []


def test_unequal_failure_rates(analysed: Any) -> None:
    unequal: dict[str, Results] = {"minimax": HIGH, "hinge": [*LOW[:8], "diverged", "failed"]}
    (text,) = started(analysed(unequal), "Unequal failure rates")
    assert "minimax 0 %, hinge 20 %" in text
    equal: dict[str, Results] = {"minimax": [*HIGH, "failed"], "hinge": ["diverged", *LOW]}
    assert started(analysed(equal), "Unequal failure rates") == []


@pytest.mark.parametrize(("size", "expected"), [("100", 0), ("200", 0), ("201", 1), ("900", 1)])
def test_unequal_numbers_of_parameters(size: str, expected: int, analysed: Any) -> None:
    found = started(analysed(edit=changed({"parameters.generator": size})), "Unequal compute")
    assert len(found) == expected
    assert all("hinge takes" in text and "trainable parameters of minimax" in text
               for text in found)  # fmt: skip


def test_unequal_seconds(analysed: Any) -> None:
    def edit(run: RunRecord) -> RunRecord:
        quick = run.arm == "minimax" and run.phase == "confirm"
        seconds = {"progress/train_seconds": 4.0 if quick else 10.0}
        return replace(run, metrics=dict(run.metrics) | seconds)

    (text,) = started(analysed(edit=edit), "Unequal compute")
    assert "hinge takes 2.5 times the seconds of training per run of minimax" in text
    assert "640 real images" in text


MIXED: dict[str, tuple[dict[str, str], bool, str]] = {
    "device": ({"device": "cuda"}, False, "(cpu, cuda)"),
    "precision": ({"precision": "bfloat16"}, False, "(bfloat16, float32)"),
    "thread count": ({"threads": "4"}, False, "(1, 4)"),
    "torch version": ({"version.torch": "2.12.0"}, True, "(2.11.0, 2.12.0)"),
    "commit": ({"mlflow.source.git.commit": "f" * 40}, True, "(0123456789ab, ffffffffffff)"),
    "budget": ({"budget.images": "1280"}, False, "(1280 images, 640 images)"),
}


@pytest.mark.parametrize("what", MIXED)
def test_mixed_conditions(what: str, analysed: Any) -> None:
    change, tags, listed = MIXED[what]
    (text,) = started(analysed(edit=changed(change, tags=tags)), "Mixed")
    assert text == f"Mixed conditions: the runs differ in {what} {listed}."


def test_a_shorter_search_is_no_mixed_budget(analysed: Any) -> None:
    def edit(run: RunRecord) -> RunRecord:
        shorter = {**run.params, "budget.images": "64"}
        return replace(run, params=shorter) if run.phase == "search" else run

    assert started(analysed(edit=edit), "Mixed") == []


def test_runs_that_do_not_count_mix_nothing(analysed: Any, make_run: Any) -> None:
    whole = analysed()
    other = make_run("hinge", "confirm", 77, 1.0, used=False, params={"device": "cuda"})
    runs = (*whole.records.runs, other)
    assert started(analyse(replace(whole.records, runs=runs)), "Mixed") == []


def test_uncommitted_changes(analysed: Any) -> None:
    dirty = {"mlflow.source.git.commit": f"{COMMIT}-dirty"}
    found = threats(analysed(edit=changed(dirty, tags=True)), {})
    assert "Some runs were trained from a checkout with uncommitted changes." in found
    assert any("(0123456789ab, 0123456789ab-dirty)" in text for text in found)
    assert not any("uncommitted" in text for text in threats(analysed(), {}))


def test_one_search(analysed: Any, study: Any) -> None:
    (text,) = started(analysed(), "One search")
    assert "among 3 trials per arm, each of 1 training seed." in text
    shorter = study(search={"trials_per_arm": 3, "budget_share": 0.25})
    (text,) = started(analysed(definition=shorter), "One search")
    assert "1 training seed at 25 % of the full budget" in text
    untuned = analysed(definition=study(space={}))
    assert started(untuned, "One search") == []
    assert len(started(untuned, "Nothing was tuned")) == 1


def test_an_unequal_search(analysed: Any, study: Any) -> None:
    four = study(search={"trials_per_arm": 4})
    more = analysed(search={"hinge": [*SEARCH, 80.0]}, definition=four)
    assert "with 3 to 4 trials;" in started(more, "Unequal search")[0]
    assert "among 3 to 4 trials per arm" in started(more, "One search")[0]
    assert "a search of 3 to 4 trials per arm" in answer(more)
    assert started(analysed(), "Unequal search") == []


@pytest.mark.parametrize(("second", "expected"), [(91.0, 1), (92.9, 1), (93.5, 0), (300.0, 0)])
def test_a_close_call_in_the_search(second: float, expected: int, analysed: Any) -> None:
    """The sd of ten numbers in a row is 3.03."""
    found = started(analysed(search={"hinge": [second, 90.0, 500.0]}), "Close call")
    assert len(found) == expected
    assert all("hinge" in text and "(3.03)" in text for text in found)


def test_values_that_others_do_not_publish(analysed: Any) -> None:
    assert any("published ones on Inception's" in text for text in threats(analysed(), {}))
    assert any("(n = 400)" in text for text in threats(analysed(), {}))
    records = analysed().records
    metric = METRIC.replace("digits_cnn_v1", "inception")
    inception = records.definition.model_copy(update={"metric": metric})
    found = threats(analyse(replace(records, definition=inception)), {})
    assert not any("published" in text for text in found)


# Notices.


def test_a_whole_study_needs_no_notice(analysed: Any) -> None:
    assert notices(analysed()) == []


def test_a_study_that_is_not_complete_says_so_first(analysed: Any) -> None:
    part: dict[str, Results] = {"minimax": [*HIGH[:8], "running", "waiting"], "hinge": LOW}
    found = notices(analysed(part))
    assert found == [
        "This study is not complete: 6 of 6 search trials and 18 of 20 confirm runs have ended. "
        "All figures are those so far."
    ]


def test_a_study_whose_search_is_under_way(analysed: Any) -> None:
    search = {"minimax": SEARCH, "hinge": (500.0, "waiting", "waiting")}
    (first, *_) = notices(analysed({"minimax": HIGH, "hinge": []}, search))
    assert "not complete: 4 of 6 search trials and 10 of 20 confirm runs" in first


def test_failures_and_collapses_are_noticed(analysed: Any) -> None:
    def edit(run: RunRecord) -> RunRecord:
        fell = run.arm == "minimax" and run.phase == "confirm" and run.trial < 3
        return replace(run, outcome="collapsed") if fell else run

    lost: dict[str, Results] = {"minimax": HIGH, "hinge": ["failed", "diverged", *LOW[:8]]}
    assert notices(analysed(lost, edit=edit)) == [
        "3 of 10 confirm runs of minimax collapsed.",
        "2 of 10 confirm runs of hinge have no score (diverged, failed); they rank worst in all "
        "tests.",
    ]


def without_settings(analysis: Analysis, arm: str) -> Analysis:
    states = tuple(
        replace(state, best=None) if state.arm.name == arm else state
        for state in analysis.records.states
    )
    return analyse(replace(analysis.records, states=states))


LOST: dict[str, Results] = {"minimax": HIGH, "hinge": []}
ALL_DIVERGED = {"hinge": ["diverged"] * 3}


def test_an_arm_lost_in_the_search_is_noticed(analysed: Any) -> None:
    analysis = without_settings(analysed(LOST, ALL_DIVERGED), "hinge")
    lost = "No setting of hinge survived the search: nothing was confirmed."
    assert notices(analysis) == [lost]


def test_no_run_is_expected_of_an_arm_lost_in_the_search(analysed: Any) -> None:
    part = {**LOST, "minimax": [*HIGH[:9], "waiting"]}
    (first, _) = notices(without_settings(analysed(part, ALL_DIVERGED), "hinge"))
    assert "9 of 10 confirm runs" in first


# The answer.


def test_an_answer_that_is_resolved(analysed: Any, study: Any) -> None:
    text = answer(analysed())
    assert text.startswith(
        "hinge beats minimax: test FID 5.5 ± 3.0 against 105.5 ± 3.0, median difference −100"
    )
    assert "resolved" not in text
    assert text.endswith(
        "The answer holds for the settings that a search of 3 trials per arm chose on validation "
        "data, for this budget and this data set."
    )
    untuned = answer(analysed(definition=study(space={})))
    assert "for the given settings, which nobody tuned, for this budget" in untuned


def test_an_answer_that_is_not_resolved_says_what_that_means(analysed: Any) -> None:
    text = answer(analysed({"minimax": HIGH, "hinge": [each + 0.5 for each in HIGH]}))
    assert "hinge against minimax is not resolved with 10 and 10 runs" in text
    assert "Not resolved means that these runs are compatible with no difference" in text


def test_arms_that_are_fully_apart_are_never_called_alike(analysed: Any, study: Any) -> None:
    scores: dict[str, Results] = {"minimax": HIGH[:3], "hinge": LOW[:3]}
    definition = study(compare={"loss": list(scores)}, confirm={"seeds": 3})
    text = answer(analysed(scores, definition=definition))
    assert "is not resolved with 3 and 3 runs, although one won every pair" in text
    assert "compatible" not in text
    assert "Fully apart, and yet not resolved for want of runs: hinge against minimax." in text
    assert "can attain is 0.1000 after" in text


def test_many_arms_are_answered_in_groups(analysed: Any) -> None:
    scores: dict[str, Results] = {
        "minimax": HIGH, "hinge": LOW, "wasserstein": [each + 500 for each in HIGH],
        "non_saturating": [each + 0.5 for each in HIGH],
    }  # fmt: skip
    text = answer(analysed(scores))
    assert text.startswith(
        "Against the baseline minimax (test FID 105.5 ± 3.0, 10 runs), with p after"
    )
    better, rest = text.split("better: ")[1].split("; worse: ")
    worse, unresolved = rest.split("; not resolved: ")
    assert better == "hinge (5.5 ± 3.0; P = 1.00, p < 0.0001)"
    assert worse.startswith("wasserstein (605.5 ± 3.0; P = 0.00")
    assert unresolved.startswith("non_saturating (106.0 ± 3.0; P = 0.4")
    assert "Not resolved means" in text


FOUR: dict[str, Results] = {
    "minimax": HIGH, "hinge": LOW, "wasserstein": [each + 500 for each in HIGH],
    "non_saturating": [each + 0.5 for each in HIGH],
}  # fmt: skip


def test_objections_are_spelt_out_in_groups_too(analysed: Any) -> None:
    def replayed(run: RunRecord) -> RunRecord:
        if METRIC not in run.metrics:
            return run
        coverage = {METRIC.replace("fid", "coverage"): 0.2 if run.arm == "hinge" else 0.9}
        return replace(run, metrics={**run.metrics, **coverage})

    text = answer(analysed(FOUR, edit=replayed))
    group = text.split("better on the score alone: ")[1].split("; worse")[0]
    assert group.startswith("hinge (5.5 ± 3.0; P = 1.00, p < 0.0001; its diversity is not shown to")
    assert "coverage 0.200 against 0.900, one-sided p = 1.0000" in group


def test_why_p_is_withheld_is_said_in_groups_too(analysed: Any) -> None:
    records = analysed(FOUR).records
    old = records.study.model_copy(
        update={"confirm": records.study.confirm.model_copy(update={"seeds": 5})}
    )
    ledger = Ledger(
        entries=(
            Entry(kind="registered", time=0, study=old),
            Entry(kind="displayed", time=1, confirmed={"minimax": 4}, shown_by="harness status"),
            Entry(kind="extended", time=2, study=records.study),
        )
    )
    text = answer(analyse(replace(records, ledgers={records.name: ledger})))
    why = "p withheld, since the study was extended after a look at its test scores (confirm.seeds"
    assert f": {why} from 5 to 10): hinge (5.5 ± 3.0; P = 1.00), wasserstein (605.5" in text
    assert "no p" not in text


def test_groups_are_of_the_runs_compared_at_a_look(analysed: Any, study: Any) -> None:
    """Against hinge it ended at five; against the others the baseline went on to eight."""
    scores: dict[str, Results] = {
        name: runs[: 5 if name == "hinge" else 8] for name, runs in FOUR.items()
    }
    scores["wasserstein"] = [each + 0.25 for each in HIGH[:8]]
    plan = {"compare": {"loss": list(scores)}, "confirm": {"looks": [5, 8]}}
    text = answer(analysed(scores, definition=study(**plan)))
    assert text.startswith(
        "Against the baseline minimax, with p after Holm's adjustment over 3 exact sequential "
        "Mann–Whitney tests: better: hinge (3.0 ± 1.6 against 103.0 ± 1.6 over the first 5 seeds; "
    )
    assert "non_saturating (105.0 ± 2.4 against 104.5 ± 2.4; P = 0.4" in text
    plan["confirm"] = {"looks": [5, 8, 12]}
    text = answer(analysed(scores, definition=study(**plan)))
    assert (
        "; further runs of the plan would hardly resolve it (conditional power below 10 %)" in text
    )


def test_contrasts_are_answered_where_the_baseline_has_no_runs(analysed: Any, study: Any) -> None:
    losses = ["minimax", "hinge", "wasserstein", "non_saturating"]
    plan: dict[str, Any] = {
        "compare": {"d_steps": [1, 5], "loss": losses},
        "contrasts": ["d_steps within loss"],
        "space": {},
    }
    scores: dict[str, Results] = {
        f"d_steps={steps},{loss}": [steps * each for each in HIGH]
        for steps in (1, 5)
        for loss in losses
    }
    scores["d_steps=1,minimax"] = ["waiting"] * 10
    text = answer(analysed(scores, definition=study(**plan)))
    assert text.startswith(
        "No arm has been compared with the baseline yet. So far, contrasts, with p after Holm's "
        "adjustment over 10 exact Mann–Whitney tests: d_steps within loss: worse: d_steps=5,hinge "
    )
    assert "the baseline d_steps=1,hinge" not in text


def test_a_study_under_way_answers_so_far(analysed: Any) -> None:
    part: dict[str, Results] = {"minimax": HIGH, "hinge": [*LOW[:9], "waiting"]}
    assert answer(analysed(part)).startswith(
        "So far, hinge against minimax is not tested before 10 seeds of either, of which 9 and 10"
    )
    part |= {"wasserstein": HIGH, "non_saturating": HIGH}
    assert answer(analysed(part)).startswith("So far, against the baseline minimax")
    nothing: dict[str, Results] = {"minimax": ["waiting"], "hinge": LOW}
    assert answer(analysed(nothing)).startswith("No arm has been compared with the baseline yet.")
