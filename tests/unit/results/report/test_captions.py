"""Captions and sentences on the tests say what was tested, and by which law."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from harness.results.report.analysis import Analysis, analyse
from harness.results.report.answer import answer
from harness.results.report.methods import methods
from harness.results.report.score_chart import draw_scores
from harness.results.report.style import arm_styles
from harness.results.report.tables import build_tables

Results = Sequence[float | str]
LOW = [float(each) for each in range(1, 13)]
THREE: Mapping[str, Results] = {
    "minimax": [each + 20 for each in LOW],
    "hinge": LOW,
    "wasserstein": [each + 40 for each in LOW],
}
FOUR = {**THREE, "non_saturating": [each + 60 for each in LOW]}
LAW = " (null law from 400,000 orders)"
Analysed = Callable[..., Analysis]


@pytest.fixture
def analysed(make_study: Any, make_records: Any) -> Analysed:
    """Return a function that analyses a study of losses without a search under this plan."""

    def analysed(
        scores: Mapping[str, Results] = THREE, confirm: Any = None, **plan: Any
    ) -> Analysis:
        confirm = confirm or {"seeds": len(scores["minimax"])}
        plan = {"compare": {"loss": list(scores)}, "space": {}, "confirm": confirm} | plan
        return analyse(make_records(scores, study=make_study(**plan)))

    return analysed


def caption(analysis: Analysis, name: str) -> str:
    return next(each.caption for each in build_tables(analysis) if each.name == name)


def test_captions_of_a_plain_plan(analysed: Analysed) -> None:
    text = caption(analysed(), "comparison")
    assert text.startswith("Every arm against the baseline on test FID. ")
    assert "p is the exact two-sided Mann–Whitney test, fixed in advance" in text
    assert "can yield after Holm's adjustment. A − B" in text
    assert "the interval excludes 0 where the comparison is resolved. Descriptive" in text
    assert "unadjusted, exact two-sided Mann–Whitney p, Holm's" in caption(analysed(), "pairs")


def test_contrasts_are_named_where_there_are_any(
    analysed: Analysed, make_study: Any, make_records: Any
) -> None:
    plan = {
        "compare": {"d_steps": [1, 2], "loss": ["minimax", "hinge"]},
        "contrasts": ["d_steps within loss"],
        "space": {},
        "confirm": {"seeds": 12},
    }
    study = make_study(**plan)
    scores = {arm.name: LOW for arm in study.arms()}
    text = caption(analyse(make_records(scores, study=study)), "comparison")
    assert text.startswith("Every arm against the baseline, and contrasts of the plan, on test FID")
    without = {**scores, study.baseline_arm: ["waiting"] * 12}
    text = caption(analyse(make_records(without, study=study)), "comparison")
    assert text.startswith("Contrasts of the plan on test FID. ")


@pytest.mark.parametrize(("looks", "exact", "law"), [([5, 8], "exact ", ""), ([5, 12], "", LAW)])
def test_the_law_of_looks_is_named(
    looks: list[int], exact: str, law: str, analysed: Analysed
) -> None:
    scores = {name: runs[: looks[-1]] for name, runs in FOUR.items()}
    analysis = analysed(scores, {"looks": looks})
    name = f"group-sequential {exact}two-sided Mann–Whitney"
    assert f"p is the {name} test{law}, fixed in" in caption(analysis, "comparison")
    assert f"unadjusted, {name} p{law}, Holm's" in caption(analysis, "pairs")
    statistics = next(text for text in methods(analysis, [analysis.records]) if "primary" in text)
    assert f"The primary test is a {name} test{law} of every arm against the b" in statistics
    assert f"over 3 {exact}sequential Mann–Whitney tests{law}: " in answer(analysis)


def test_an_interval_that_holds_zero_for_ties_is_not_said_to_exclude_it(analysed: Analysed) -> None:
    tied = {"minimax": [10.0] * 5, "hinge": [10.0, 9.0, 9.0, 9.0, 9.0]}
    analysis = analysed(tied)
    (test,) = analysis.summary.comparisons
    assert test.is_resolved
    assert test.difference_interval is not None
    assert test.difference_interval.low <= 0 <= test.difference_interval.high
    assert "where the comparison is resolved, ties aside. D" in caption(analysis, "comparison")
    for scores, said in ((tied, "is resolved, ties aside."), (THREE, "is resolved.")):
        analysis = analysed(scores)
        drawing = draw_scores(analysis, arm_styles(list(scores)))
        assert drawing is not None
        assert said in drawing.caption


def test_methods_name_the_smallest_effect(analysed: Analysed) -> None:
    for confirm in ({"seeds": 12, "smallest_effect": 0.5}, {"seeds": 12}):
        analysis = analysed(confirm=confirm)
        text = " ".join(methods(analysis, [analysis.records]))
        said = "by the plan, is 0.5 FID: arms are the same within ±0.5" in text
        assert said == ("smallest_effect" in confirm)
