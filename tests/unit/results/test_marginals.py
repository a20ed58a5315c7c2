"""What a search shows of each parameter, from nothing but its trials' scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.evaluate.metric import figure_of
from harness.results.marginals import FEWEST_TRIALS, Marginal, marginals, spell
from harness.study.study import StudyConfig

FIGURE = figure_of("val/fid_digits_cnn_v1_400")
SPACE = {
    "architecture": ["mlp", "dc"],
    "d_steps": {"low": 1, "high": 6},
    "g_lr": {"low": 1e-4, "high": 1e-1, "log": True},
}


@pytest.fixture
def search_study(make_study: Any) -> StudyConfig:
    study: StudyConfig = make_study(compare={}, space=SPACE, search={"trials_per_arm": 60})
    return study


def shown(make_records: Any, study: StudyConfig, score: Any) -> dict[str, Marginal]:
    """Return the marginals of a search whose trials score as `score(point)` says."""
    points = study.points(study.arms()[0])
    trials = [score(point) for point in points]
    records = make_records({"tuned": []}, {"tuned": trials}, study)
    return {each.key: each for each in marginals(records.states[0], study.search, FIGURE)}


def test_only_the_parameter_that_matters_is_found(
    make_records: Any, search_study: StudyConfig
) -> None:
    found = shown(
        make_records,
        search_study,
        lambda point: 5.0 + (point["architecture"] == "mlp") + point["g_lr"] / 1e3,
    )
    assert list(found) == list(SPACE)
    assert found["architecture"].is_resolved
    assert not found["d_steps"].is_resolved
    mlp, dc = found["architecture"].pieces
    assert (mlp.name, dc.name) == ("mlp", "dc")
    assert mlp.num_trials + dc.num_trials == 59  # trial 0, the defaults, was not drawn
    assert dc.median == pytest.approx(5.0, abs=1e-3)
    assert mlp.median == pytest.approx(6.0, abs=1e-3)
    said = spell([*found.values()], FIGURE)
    assert said[0].startswith("Over all trials architecture makes a difference (p = 0.000")
    assert "d_steps" in said[-1]
    assert said[-1].endswith("no effect is shown")


def test_a_range_with_its_best_in_the_middle_is_found(
    make_records: Any, search_study: StudyConfig
) -> None:
    """A correlation would be near 0 here."""
    found = shown(
        make_records, search_study, lambda point: 1.0 + (not 1e-3 <= point["g_lr"] < 1e-2)
    )
    low, middle, high = found["g_lr"].pieces
    assert (low.name, middle.name, high.name) == ("[0.0001, 0.001)", "[0.001, 0.01)", "[0.01, 0.1]")
    assert (low.median, middle.median, high.median) == (2.0, 1.0, 2.0)
    assert found["g_lr"].is_resolved


def test_whole_numbers_lie_in_the_part_that_drew_them(
    make_records: Any, search_study: StudyConfig
) -> None:
    found = shown(make_records, search_study, lambda point: float(point["d_steps"]))
    names = [piece.name for piece in found["d_steps"].pieces]
    assert names == ["[1, 3)", "[3, 5)", "[5, 6]"]
    assert [piece.median for piece in found["d_steps"].pieces] == sorted(
        piece.median for piece in found["d_steps"].pieces if piece.median is not None
    )


def test_lost_trials_rank_worst_and_best_is_of_equally_many(
    make_records: Any, search_study: StudyConfig
) -> None:
    found = shown(
        make_records,
        search_study,
        lambda point: "diverged" if point["architecture"] == "mlp" else 3.0,
    )
    mlp, dc = found["architecture"].pieces
    assert (mlp.median, mlp.best) == (None, None)
    assert mlp.num_lost == mlp.num_trials
    assert (dc.median, dc.best, dc.num_lost) == (3.0, 3.0, 0)
    assert found["architecture"].is_resolved


def test_short_searches_show_nothing(make_records: Any, make_study: Any) -> None:
    trials = FEWEST_TRIALS - 1
    study = make_study(compare={}, space=SPACE, search={"trials_per_arm": trials})
    assert shown(make_records, study, lambda point: 1.0) == {}


def test_samplers_that_look_at_scores_have_no_p(make_records: Any, make_study: Any) -> None:
    study = make_study(compare={}, space=SPACE, search={"trials_per_arm": 30, "pruner": "median"})
    found = shown(make_records, study, lambda point: 1.0)
    assert {each.p_value for each in found.values()} == {None}
    (said,) = spell([*found.values()], FIGURE)
    assert said.endswith(
        "has no p: trials were not drawn at random, each without regard to the others"
    )


def test_few_whole_numbers_are_parts_of_their_own(make_records: Any, make_study: Any) -> None:
    space = {"d_steps": {"low": 1, "high": 2}, "g_lr": SPACE["g_lr"]}
    study = make_study(compare={}, space=space, search={"trials_per_arm": 40})
    found = shown(make_records, study, lambda point: float(point["d_steps"]))
    assert [piece.name for piece in found["d_steps"].pieces] == ["1", "2"]
    assert [piece.median for piece in found["d_steps"].pieces] == [1.0, 2.0]
    assert found["d_steps"].is_resolved


def test_parts_that_read_alike_in_three_digits_stay_apart(
    make_records: Any, make_study: Any
) -> None:
    space = {"g_lr": {"low": 1e-3, "high": 1.004e-3, "default": 1e-3}, "d_steps": [1]}
    study = make_study(compare={}, space=space, search={"trials_per_arm": 30})
    found = shown(make_records, study, lambda point: point["g_lr"])
    assert len(found["g_lr"].pieces) == 3
    assert found["g_lr"].p_holm == found["g_lr"].p_value  # d_steps is none to be tested
    assert found["d_steps"].untested == "all trials lie in one part"


def test_nothing_is_tested_before_the_search_has_ended(
    make_records: Any, search_study: StudyConfig
) -> None:
    points = search_study.points(search_study.arms()[0])
    trials: list[float | str] = [1.0 + (point["architecture"] == "mlp") for point in points]
    records = make_records({"tuned": []}, {"tuned": [*trials[:-1], "running"]}, search_study)
    state = replace(records.states[0], search_done=False)
    found = marginals(state, search_study.search, FIGURE)
    assert {each.p_holm for each in found} == {None}
    assert spell(found, FIGURE)[-1].endswith("has no p: the search has not ended")


def test_what_withholds_p_is_said(make_records: Any, search_study: StudyConfig) -> None:
    points = search_study.points(search_study.arms()[0])
    records = make_records({"tuned": []}, {"tuned": [1.0] * len(points)}, search_study)
    found = marginals(records.states[0], search_study.search, FIGURE, "it was looked at")
    assert {each.p_value for each in found} == {None}
    assert spell(found, FIGURE) == [
        "What the trials show of architecture, d_steps, g_lr has no p: it was looked at"
    ]
