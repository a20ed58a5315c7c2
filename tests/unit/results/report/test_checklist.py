"""The checklist says what was done to the plan, and what of uncertainty is there to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.results.report.analysis import Analysis, analyse
from harness.results.report.plan_tables import checklist
from harness.results.report.records import merge
from harness.study.ledger import Entry, Ledger
from harness.study.study import StudyConfig

Results = Sequence[float | str]
LOW = [1.0, 2.0, 3.0, 4.0, 5.0]
HIGH = [11.0, 12.0, 13.0, 14.0, 15.0]
PLAN, FOUND, SHOWN = (
    "Was the plan fixed in advance?",
    "What could it have found?",
    "Is uncertainty over seeds shown?",
)
SEEN = Entry(kind="displayed", time=1, confirmed={"minimax": 4}, shown_by="harness status")
RETRY = Entry(kind="retried", time=3, confirmed={"minimax": 4},
              runs="hinge confirm 1, hinge confirm 3")  # fmt: skip
REPEAT = Entry(kind="repeated", time=3, runs="study 'one': minimax 4, hinge 4")
START = "registered before its first confirm run; "
Analysed = Callable[..., Analysis]


@pytest.fixture
def plan(make_study: Any) -> Callable[[int], StudyConfig]:
    """Return a function that makes plans of so many seeds."""
    return lambda seeds: make_study(space={}, confirm={"seeds": seeds})


@pytest.fixture
def analysed(plan: Any, make_records: Any) -> Analysed:
    """Return a function that analyses a study with these entries after its registration."""

    def analysed(
        *entries: Entry, scores: Mapping[str, Results] | None = None, **given: Any
    ) -> Analysis:
        scores = scores or {"minimax": HIGH, "hinge": LOW}
        records = make_records(scores, study=plan(len(scores["hinge"])), **given)
        ledger = Ledger(entries=(Entry(kind="registered", time=0, study=plan(4)), *entries))
        return analyse(replace(records, ledgers={records.name: ledger}))

    return analysed


def answers(analysis: Analysis) -> dict[str, str]:
    table = checklist(analysis, [analysis.records])
    return {each.cells[0]: each.cells[1] for each in table.rows}


def test_a_plan_that_was_kept(analysed: Analysed) -> None:
    found = answers(analysed(SEEN))
    assert found[PLAN] == f"{START}extended 0 times; compared as planned"
    assert found[FOUND].startswith("least attainable p 0.0079 after Holm over 1; differences of ")
    assert found[SHOWN] == "points, sd and intervals, by table and figure"


def test_what_was_done_to_a_plan_is_named(analysed: Analysed, plan: Any) -> None:
    longer, longest = (
        Entry(kind="extended", time=2, study=plan(seeds)) for seeds in (5, 6)
    )  # fmt: skip
    same = Entry(kind="extended", time=2, study=plan(4))
    cases: list[tuple[Sequence[Entry], str]] = [
        ([longer], "extended once before any look; compared as planned"),
        ([SEEN, same], "extended once in nothing that bears on the tests; compared as planned"),
        ([SEEN, longer], "extended once after a look: not kept"),
        ([SEEN, longer, longest], "extended twice after a look: not kept"),
        ([longer, SEEN, longest],
         "extended once before any look and once after a look: not kept"),
        ([RETRY], "2 failed runs run again after a look: not kept"),
        ([replace_runs(RETRY, "hinge search 1")],
         "1 failed run run again before any look; compared as planned"),
        ([REPEAT], "runs of another study repeated: not kept"),
        ([REPEAT, REPEAT], "runs of 2 other studies repeated: not kept"),
        ([SEEN, longer, RETRY, REPEAT],
         "extended once after a look, 2 failed runs run again after a look, runs of another study "
         "repeated: not kept"),
    ]  # fmt: skip
    for entries, said in cases:
        assert answers(analysed(*entries))[PLAN] == START + said


def replace_runs(entry: Entry, runs: str) -> Entry:
    """Return an entry of other runs, before any confirm run had ended."""
    return entry.model_copy(update={"runs": runs, "confirmed": {}})


@pytest.mark.parametrize("entry", [RETRY, REPEAT])
def test_no_p_is_stated_where_it_is_withheld(entry: Entry, analysed: Analysed) -> None:
    analysis = analysed(SEEN, entry)
    found = answers(analysis)
    assert analysis.summary.withheld
    assert found[FOUND] == f"no p is stated, since {analysis.summary.withheld}"
    said = "points, sd and intervals, by table and figure; of differences none, as p is withheld"
    assert found[SHOWN] == said


def test_studies_put_together_name_what_was_done_to_either(
    plan: Any, make_records: Any, make_study: Any
) -> None:
    other = make_study(space={}, compare={"loss": ["minimax", "wasserstein"]},
                       confirm={"seeds": 5})  # fmt: skip
    parts = [
        make_records({"minimax": HIGH, "hinge": LOW}, study=plan(5), name="one"),
        make_records({"minimax": HIGH, "wasserstein": LOW}, study=other, name="two"),
    ]
    first = Entry(kind="registered", time=0, study=plan(5))
    studies = [
        replace(part, ledgers={part.name: Ledger(entries=(first, *more))})
        for part, more in zip(parts, ((RETRY,), ()), strict=True)
    ]
    analysis = analyse(merge(studies), baseline="one: minimax")
    (said,) = (each.cells[1] for each in checklist(analysis, studies).rows if each.cells[0] == PLAN)
    done = "2 failed runs run again after a look: not kept; put together after the fact"
    assert said == START + done


@pytest.mark.parametrize(
    ("minimax", "hinge", "said"),
    [
        (HIGH[:4], LOW[:4], "points and sd, by table and figure; no intervals below five runs"),
        (HIGH[:1], LOW[:1], "points, by table and figure; no intervals below five runs"),
        (
            HIGH,
            LOW[:4],
            "points, sd and, of arms with five runs or more, intervals, by table and figure",
        ),
        (["waiting"], ["waiting"], "no confirm run has ended"),
    ],
)
def test_uncertainty_is_what_is_there(
    minimax: Results, hinge: Results, said: str, analysed: Analysed
) -> None:
    assert answers(analysed(scores={"minimax": minimax, "hinge": hinge}))[SHOWN] == said
