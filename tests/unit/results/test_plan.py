"""What a plan lets one say: looks, contrasts, marginal effects, and plans that were changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from harness.config import parse
from harness.errors import HarnessError
from harness.results.power import check_power, power_of
from harness.results.summary import StudySummary, summarise
from harness.statistics import Looks
from harness.study.ledger import Entry, Ledger
from harness.study.study import StudyConfig
from harness.work.board import ArmState
from harness.work.cell import Cell, CellRecord
from harness.work.notes import register

RAW: dict[str, Any] = {
    "question": "Which?",
    "dataset": "digits",
    "compare": {"loss": ["minimax", "hinge"]},
    "budget": {"images": 100},
}
METRIC = "test/fid_digits_cnn_v1_400"
BETTER = [1.0, 2.0, 3.0, 4.0, 5.0]
WORSE = [11.0, 12.0, 13.0, 14.0, 15.0]


def only_sentence(summary: StudySummary) -> str:
    (sentence,) = summary.answer()
    return sentence


def planned(make_study: Any, make_records: Any, scores: Any, **plan: Any) -> StudySummary:
    """Summarise two or more losses under a plan."""
    ledger = plan.pop("ledger", Ledger())
    definition = make_study(compare={"loss": list(scores)}, space={}, confirm=plan)
    made = make_records(scores, study=definition)
    return summarise("mine", definition, made.states, metric=METRIC, ledger=ledger)


def test_an_arm_may_be_decided_at_a_look(make_study: Any, make_records: Any) -> None:
    scores = {"minimax": WORSE, "hinge": BETTER}
    summary = planned(make_study, make_records, scores, looks=[5, 8, 12])
    (comparison,) = summary.comparisons
    looks = Looks((5, 8, 12))
    assert comparison.num_runs == (5, 5)
    assert comparison.p_value == looks.p_value(BETTER, WORSE).p_value  # type: ignore[union-attr]
    assert comparison.p_value > 2 / 252  # three looks have a price
    assert comparison.is_resolved
    assert comparison.difference_interval is not None
    assert comparison.difference_interval.high < 0
    assert "hinge beats minimax" in only_sentence(summary)


def test_runs_beyond_a_look_wait_for_the_next(make_study: Any, make_records: Any) -> None:
    scores = {"minimax": [*WORSE, 0.0, 0.0], "hinge": [*BETTER, 99.0]}
    summary = planned(make_study, make_records, scores, looks=[5, 8])
    assert summary.comparisons[0].num_runs == (5, 5)
    assert summary.comparisons[0].superiority == 1


def test_runs_count_in_the_order_of_their_seeds(make_study: Any, make_records: Any) -> None:
    scores = {"minimax": WORSE, "hinge": [1.0, "running", *BETTER[:3]]}
    summary = planned(make_study, make_records, scores, looks=[3, 5])
    assert summary.comparisons[0].due == 3


def test_what_is_futile_is_said_to_have_been_stopped(make_study: Any, make_records: Any) -> None:
    scores = {"minimax": [1.0, 4.0, 5.0, 8.0, 9.0], "hinge": [2.0, 3.0, 6.0, 7.0, 10.0]}
    summary = planned(make_study, make_records, scores, looks=[5, 6])
    assert summary.comparisons[0].futile
    assert "it was stopped (futility)" in only_sentence(summary)


def test_futile_pairs_whose_arms_go_on_were_not_stopped(make_study: Any, make_records: Any) -> None:
    """hinge is futile against the baseline, which goes on for wasserstein."""
    alike = {"minimax": [1.0, 4.0, 5.0, 8.0, 9.0], "hinge": [2.0, 3.0, 6.0, 7.0, 10.0]}
    close = [0.5, 1.5, 2.5, 3.5, 8.5]
    more = ["waiting", "waiting"]
    scores = {
        "minimax": [*alike["minimax"], *more], "hinge": alike["hinge"],
        "wasserstein": [*close, *more],
    }  # fmt: skip
    summary = planned(make_study, make_records, scores, looks=[5, 7])
    futile, _ = summary.comparisons
    assert (futile.futile, futile.going_on) == (True, ("minimax",))
    sentence = summary.answer()[0]
    assert "stopped (futility), while minimax goes on for another comparison: test" in sentence
    scores["hinge"] = [*alike["hinge"], *more]
    sentence = planned(make_study, make_records, scores, looks=[5, 7]).answer()[0]
    assert "stopped" not in sentence
    assert "10 %) (futility), though both arms go on for other comparisons" in sentence


def test_sentences_are_of_the_runs_that_are_compared(make_study: Any, make_records: Any) -> None:
    """The baseline went on to eight seeds for another arm: hinge still meets its first five."""
    scores = {
        "minimax": [*WORSE, 99.0, 99.0, 99.0], "hinge": BETTER,
        "wasserstein": [*WORSE, 12.5, 13.5, 14.5],
    }  # fmt: skip
    summary = planned(make_study, make_records, scores, looks=[5, 8])
    first, second = summary.answer()
    assert "test FID 3.0 ± 1.6 against 13.0 ± 1.6 over the first 5 seeds, median diff" in first
    assert "test FID 13.2 ± 1.3 against 45 ± 45, median" in second


@pytest.mark.parametrize(
    ("seen", "change", "spoilt"),
    [
        (True, {"confirm": {"seeds": 5}}, True),
        (False, {"confirm": {"seeds": 5}}, False),
        (True, {"search": {"trials_per_arm": 9}}, True),
        (True, {"compare": {"loss": ["minimax", "hinge", "wasserstein"]}}, True),
    ],
)
def test_p_is_withheld_where_the_plan_grew_after_a_look(
    seen: bool, change: Any, spoilt: bool, make_study: Any, make_records: Any
) -> None:
    before = {"compare": {"loss": ["minimax", "hinge"]}, "confirm": {"seeds": 4}}
    old, new = make_study(**before), make_study(**before | change)
    display = Entry(kind="displayed", time=1, confirmed={"minimax": 4}, shown_by="harness status")
    ledger = Ledger(
        entries=(
            Entry(kind="registered", time=0, study=old),
            *([display] if seen else []),
            Entry(kind="extended", time=2, study=new),
        )
    )
    scores = {"minimax": WORSE, "hinge": BETTER}
    summary = planned(make_study, make_records, scores, seeds=5, ledger=ledger)
    (comparison,) = summary.comparisons
    assert (comparison.p_value is None) == spoilt
    assert ("the study was extended after a look" in only_sentence(summary)) == spoilt
    assert comparison.superiority == 1


def test_equivalence_needs_the_whole_interval(make_study: Any, make_records: Any) -> None:
    scores = {"minimax": [1.0, 1.1, 1.2, 1.3, 1.4], "hinge": [1.05, 1.15, 1.22, 1.33, 1.38]}
    for margin, same in ((0.5, True), (0.05, False)):
        summary = planned(make_study, make_records, scores, seeds=5, smallest_effect=margin)
        assert summary.comparisons[0].equivalent is same
        words = "and they are" if same else "nor shown to be"
        assert f"{words} the same within ±{margin:g}" in only_sentence(summary)


def test_a_difference_that_does_not_matter_is_said_to_be_none_that_does(
    make_study: Any, make_records: Any
) -> None:
    scores = {"minimax": WORSE, "hinge": [each - 0.01 for each in sorted(BETTER)]}
    for margin, said in ((1000.0, True), (1e-6, False)):
        summary = planned(make_study, make_records, scores, seeds=5, smallest_effect=margin)
        (test,) = summary.comparisons
        assert test.is_resolved
        assert test.equivalent is said
        what = f"by less than the smallest effect that matters ({margin:g})"
        assert (what in only_sentence(summary)) is said


def test_contrasts_are_of_the_same_family(make_study: Any, make_records: Any) -> None:
    """k has opposite effects within the losses: the mean over both is none."""
    definition = make_study(
        compare={"d_steps": [1, 5], "loss": ["minimax", "hinge"]},
        contrasts=["d_steps within loss"],
        space={},
    )
    low, high = BETTER, WORSE
    scores = {
        "d_steps=1,minimax": high, "d_steps=1,hinge": low,
        "d_steps=5,minimax": low, "d_steps=5,hinge": high,
    }  # fmt: skip
    summary = summarise(
        "mine", definition, make_records(scores, study=definition).states, metric=METRIC
    )
    found = {(c.arm, c.baseline): c for c in summary.comparisons}
    assert len(found) == summary.num_tests == 4
    simple = found["d_steps=5,hinge", "d_steps=1,hinge"]
    assert simple.contrast == "d_steps within loss"
    assert simple.superiority == 0
    assert simple.is_resolved
    assert found["d_steps=5,minimax", "d_steps=1,minimax"].is_resolved


def test_marginal_effects_may_be_what_is_tested(make_study: Any, make_records: Any) -> None:
    """Three seeds of nine arms could resolve no arm, and do resolve every factor's levels."""
    levels = {"d_steps": [1, 2, 5], "loss": ["minimax", "hinge", "wasserstein"]}
    definition = make_study(compare=levels, primary="marginal", space={}, confirm={"seeds": 3})
    scores = {
        f"d_steps={steps},{loss}": [100.0 * place + steps + 0.01 * seed for seed in range(3)]
        for steps in levels["d_steps"]
        for place, loss in enumerate(levels["loss"])
    }
    made = make_records(scores, study=definition)
    summary = summarise("mine", definition, made.states, metric=METRIC)
    assert summary.comparisons == ()
    assert len(summary.effects) == 4
    assert all(effect.is_resolved for effect in summary.effects)
    least = 4 * 2 / 20**3
    assert summary.effects[0].p_holm == pytest.approx(least)
    assert power_of(definition, definition.arms())["smallest_p"] == pytest.approx(least)
    first = summary.answer()[0]
    assert first.startswith("d_steps = 2 loses to 1 over 3 of 3 strata: mean P(2 < 1) = 0.00, ")
    assert first.endswith("after Holm over 4 (least attainable 0.0010)")
    scores["d_steps=5,hinge"][2] = "waiting"
    states = make_records(scores, study=definition).states
    waiting = summarise("mine", definition, states, metric=METRIC)
    assert all(effect.p_value is None for effect in waiting.effects)
    assert "is not tested before the study is complete" in waiting.answer()[0]


def marginal(
    make_study: Any, make_records: Any, scores: Callable[[int, str, int], float], **figures: Any
) -> StudySummary:
    """Summarise two factors; a score of NaN is no run, figures are functions of the steps."""
    levels = {"d_steps": [1, 2], "loss": ["minimax", "hinge", "wasserstein"]}
    definition = make_study(compare=levels, primary="marginal", space={}, confirm={"seeds": 5})
    made = {
        f"d_steps={steps},{loss}": [
            score for seed in range(5) if not math.isnan(score := scores(steps, loss, seed))
        ]
        for steps in levels["d_steps"]
        for loss in levels["loss"]
    }

    def known(state: ArmState) -> ArmState:
        more = {
            f"test/{name}_digits_cnn_v1_400": value(state.arm.levels["d_steps"])
            for name, value in figures.items()
        }
        confirm = tuple(replace(cell, scores=cell.scores | more) for cell in state.confirm)
        return replace(state, confirm=confirm)

    states = make_records(made, study=definition).states
    return summarise("mine", definition, [known(state) for state in states], metric=METRIC)


def test_marginal_effects_are_asked_for_all_axes(make_study: Any, make_records: Any) -> None:
    def scores(steps: int, loss: str, seed: int) -> float:
        return 10.0 - steps + 0.1 * seed

    def found(**figures: Any) -> StudySummary:
        return marginal(make_study, make_records, scores, **figures)

    good = {"coverage": lambda k: 0.9, "memorised": lambda k: 0.5, "class_distance": lambda k: 0.1}
    summary = found(**good)
    assert summary.answer()[0].startswith("d_steps = 2 beats 1 over 3 of 3 strata: mean P(2 < 1)")
    *_, agreeing, missing = summary.on_axes()
    assert agreeing.startswith(
        "Nor do other axes object to d_steps = 2 against d_steps = 1: diversity (coverage 0.900 "
    )
    assert missing.startswith("Not on record of all runs, and so not asked: second ruler.")
    narrow = found(**good | {"coverage": lambda k: 0.9 if k == 1 else 0.2})
    assert narrow.effects[0].is_resolved
    assert not narrow.effects[0].is_beaten
    assert narrow.answer()[0].startswith(
        "d_steps = 2 has the better FID than d_steps = 1, which is resolved, but is not said to "
        "beat it: its diversity is not shown to be no worse by 0.05 (coverage 0.200 against 0.900, "
    )
    copies = found(**good | {"memorised": lambda k: 0.5 if k == 1 else 0.9})
    assert "but is not said to beat it: it copies training images" in copies.answer()[0]
    balance = found(**good | {"class_distance": lambda k: 0.1 * k})
    assert balance.on_axes()[0] == (
        "The axes disagree on d_steps = 2 against d_steps = 1: the latter is ahead on class "
        "balance (class distance 0.200 against 0.100)."
    )


def test_an_effect_of_dead_arms_does_not_vanish(make_study: Any, make_records: Any) -> None:
    def scores(steps: int, loss: str, seed: int) -> float:
        return math.nan if loss == "hinge" else 10.0 * steps + seed + 100 * len(loss)

    summary = marginal(make_study, make_records, scores)
    steps, hinge, _ = summary.answer()
    assert len(summary.effects) == 3
    assert steps.startswith(
        "d_steps = 2 loses to 1 over 2 of 3 strata (no runs of d_steps=2,hinge, d_steps=1,hinge): "
    )
    assert "after Holm over 3 (" in steps
    assert hinge == (
        "loss = hinge against minimax has no p: none of 2 strata has runs on both sides (no runs "
        "of d_steps=1,hinge, d_steps=2,hinge); of the 3 tests of Holm's adjustment it is one"
    )


@pytest.mark.parametrize(
    ("plan", "num_tests", "enough"),
    [
        ({"confirm": {"seeds": 3}}, 1, False),
        ({"confirm": {"seeds": 4}}, 1, True),
        ({"confirm": {"looks": [4, 5]}}, 1, True),
        (
            {"compare": {"loss": ["minimax", "hinge", "wasserstein"]}, "confirm": {"seeds": 4}},
            2,
            False,
        ),
        ({"compare": {"d_steps": [1, 2, 5], "g_lr": [1e-4, 2e-4, 4e-4]}}, 8, False),
        (
            {"compare": {"d_steps": [1, 2, 5], "g_lr": [1e-4, 2e-4, 4e-4]}, "primary": "marginal"},
            4,
            True,
        ),
    ],
)
def test_a_plan_that_nothing_could_resolve_is_refused(
    plan: Any, num_tests: int, enough: bool, make_study: Any
) -> None:
    study = make_study(**{"compare": {"loss": ["minimax", "hinge"]}, "space": {}} | plan)
    facts = power_of(study, study.arms())
    assert facts["num_tests"] == num_tests
    assert (facts["smallest_p"] < 0.05) == enough
    if enough:
        check_power(study, study.arms())
        return
    words = rf"confirm\.seeds = {study.confirm.seeds} with {num_tests} tests?: the least p "
    with pytest.raises(HarnessError, match=words):
        check_power(study, study.arms())


def test_what_is_not_ranked_needs_no_power(make_study: Any) -> None:
    study = make_study(compare={"loss": ["minimax"]}, descriptive=True, confirm={"seeds": 1})
    check_power(study, study.arms())


def test_a_study_without_a_ledger_counts_as_seen() -> None:
    """It had ended runs before anything was noted: an extension cannot say that nobody looked."""
    entries: list[Entry] = []

    class Kept:
        def ledger(self, name: str) -> Ledger:
            return Ledger(entries=tuple(entries))

        def note(self, name: str, entry: Entry) -> None:
            entries.append(entry)

    old = parse(StudyConfig, RAW | {"confirm": {"seeds": 5}}, "test")
    new = parse(StudyConfig, RAW | {"confirm": {"seeds": 20}}, "test")
    arm = old.arms()[0]
    cell = Cell(key="a/1", point={}, seeds=[1], trial=0)
    ended = CellRecord(cell=cell, state="complete", outcome="finished", value=1.0)
    board = SimpleNamespace(confirmed=lambda: {arm.name: [ended]})
    kept = SimpleNamespace(studies=Kept())
    opened: Any = SimpleNamespace(name="old", study=new, board=board, storage=kept)
    register(opened, None, known=old)
    assert [entry.kind for entry in entries] == ["registered", "extended"]
    spoilt = Ledger(entries=tuple(entries)).spoilt
    assert spoilt.endswith("after a look at its test scores (confirm.seeds from 5 to 20)")
