"""Other views of a comparison, on curves whose answers are plain by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.results.report.analysis import Analysis, analyse
from harness.results.report.answer import answer
from harness.results.report.records import FLOPS, SECONDS
from harness.results.report.view_charts import build_view_charts
from harness.results.report.view_tables import turned, view_table
from harness.results.report.views import View, study_views

OBJECTIVE, METRIC = "val/fid_digits_cnn_v1_400", "test/fid_digits_cnn_v1_400"
Results = Sequence[float | str]
Curve = list[tuple[int, float]]
FAST: Curve = [(100, 80.0), (200, 40.0), (400, 20.0), (800, 10.0)]
SLOW: Curve = [(100, 16.0), (200, 8.0), (400, 4.0), (800, 2.0)]


def spent(curve: Curve, per_image: float) -> Curve:
    return [(step, step * per_image) for step, _ in curve]


@pytest.fixture
def study(make_records: Any, make_study: Any) -> Callable[..., Analysis]:
    """Return a function that analyses an arm `hinge` against `minimax`, by their test scores."""

    def study(minimax: Results, hinge: Results, **more: Any) -> Analysis:
        arms = {"minimax": minimax, "hinge": hinge}
        seeds = max(len(minimax), len(hinge))
        definition = make_study(compare={"loss": list(arms)}, confirm={"seeds": seeds})
        return analyse(make_records(arms, **{"study": definition} | more))

    return study


def curves(
    analysis: Analysis,
    *,
    seconds: Mapping[str, float] | None = None,
    flops: Mapping[str, float] | None = None,
    scores: Mapping[str, Curve] | None = None,
    factor: float = 1.0,
) -> dict[str, Any]:
    """Return every scored run's curves; run n of an arm scores `factor`**n times as much."""
    shapes = scores or {"minimax": FAST, "hinge": SLOW}
    made: dict[str, Any] = {}
    for arm in analysis.arms:
        for run in arm.scored:
            curve = [(step, score * factor**run.trial) for step, score in shapes[arm.name]]
            own = made[run.run_id] = {OBJECTIVE: curve}
            for key, per_image in ((SECONDS, seconds), (FLOPS, flops)):
                if per_image:
                    own[key] = spent(curve, per_image[arm.name])
    return made


def views(analysis: Analysis, **more: Any) -> dict[str, View]:
    return {view.name: view for view in study_views(analysis, curves(analysis, **more))}


def test_equal_seconds_are_between_evaluations(study: Any) -> None:
    # minimax ends after 800 s; hinge, twice as slow, has seen 400 images by then.
    got = views(study([10.0] * 3, [2.0] * 3), seconds={"minimax": 1.0, "hinge": 2.0})
    view = got["equal seconds"]
    assert view.values == pytest.approx((4.0, 10.0))
    assert (view.at, view.superiority, view.turns) == ("800 s", 1.0, False)
    # Three times as slow: 800 / 3 images lie between 200 and 400, where FID falls as 1 / images.
    got = views(study([10.0] * 3, [2.0] * 3), seconds={"minimax": 1.0, "hinge": 3.0})
    assert got["equal seconds"].values == pytest.approx((4 * 400 / (800 / 3), 10.0))


def test_views_are_of_the_runs_that_are_compared(make_records: Any, make_study: Any) -> None:
    """The baseline has three more runs, for another arm: each view pairs five with five."""
    scores = {"minimax": [10.0] * 8, "hinge": [2.0] * 5, "wasserstein": [9.0] * 8}
    definition = make_study(compare={"loss": list(scores)}, confirm={"looks": [5, 8]}, space={})
    analysis = analyse(make_records(scores, study=definition))
    shapes = {"minimax": FAST, "hinge": SLOW, "wasserstein": FAST}
    found = study_views(analysis, curves(analysis, scores=shapes))
    sizes = {view.main.arm: view.num_pairs for view in found}
    assert sizes == {"hinge": 25, "wasserstein": 64}
    row = view_table(analysis, found).rows[0]
    assert row.cells[0] == "hinge against minimax over the first 5 seeds: equal images"
    assert len(row.run_ids) == 10


def test_a_first_score_a_little_later_stands_for_it(study: Any) -> None:
    got = views(study([10.0] * 4, [2.0] * 4), seconds={"minimax": 1.0, "hinge": 9.0})
    view = got["equal seconds"]
    assert (view.at, view.superiority) == ("900 s", 0.0)
    assert view.values == pytest.approx((16.0, 10.0))
    assert view.turns_clearly
    much_later = views(study([10.0] * 4, [2.0] * 4), seconds={"minimax": 1.0, "hinge": 11.0})
    assert "equal seconds" not in much_later
    assert "seconds to a score" in much_later


def test_the_time_to_the_worse_arms_final_score(study: Any) -> None:
    got = views(
        study([10.0] * 4, [2.0] * 4),
        seconds={"minimax": 1.0, "hinge": 10.0},
        flops={"minimax": 2.0, "hinge": 2.0},
    )
    # hinge is at 10 between 100 (16) and 200 (8): at 160 images, for FID falls as 1 / images.
    assert got["images to a score"].values == pytest.approx((160, 800))
    assert got["images to a score"].at == "FID 10.0"
    assert got["FLOPs to a score"].values == pytest.approx((320, 1600))
    seconds = got["seconds to a score"]
    assert seconds.values == pytest.approx((1600, 800))
    assert (seconds.superiority, seconds.turns_clearly) == (0.0, True)


def test_more_than_half_of_the_worse_arm_reach_the_score_also_of_an_even_number(study: Any) -> None:
    view = views(study([10.0] * 4, [2.0] * 4), factor=1.1)["images to a score"]
    assert view.at == "FID 12.1"  # the third of 10, 11, 12.1 and 13.31
    assert view.values[1] == pytest.approx((800 / 1.1 + 800) / 2, rel=0.05)


def test_a_first_score_that_is_good_enough_counts_from_there(study: Any) -> None:
    scores = {"minimax": FAST, "hinge": [(step, score / 10) for step, score in SLOW]}
    got = views(study([10.0] * 3, [0.2] * 3), scores=scores)
    assert got["images to a score"].values == pytest.approx((100, 800))


def test_the_mean_over_the_curve_is_over_logarithms(study: Any) -> None:
    view = views(study([10.0] * 3, [2.0] * 3))["mean over the curve"]
    # Straight lines in both logarithms: the geometric mean of first and last.
    assert view.values == pytest.approx((math.sqrt(16 * 2), math.sqrt(80 * 10)))
    assert view.at == "100 to 800"


def test_the_test_is_exact_and_names_its_pairs(study: Any) -> None:
    view = views(study([10.0] * 5, [2.0] * 5), factor=1.1)["equal images"]
    assert (view.superiority, view.num_pairs) == (1.0, 25)
    assert view.p_value == pytest.approx(2 / math.comb(10, 5))
    assert view.values[0] == pytest.approx(np.mean([2.0 * 1.1**n for n in range(5)]))


def test_runs_without_a_score_rank_worst(study: Any) -> None:
    analysis = study([10.0, 10.0, 10.0], [2.0, "diverged", "failed"])
    got = views(analysis, seconds={"minimax": 1.0, "hinge": 1.0})
    assert got["equal images"].superiority == pytest.approx(3 / 9)
    assert got["equal images"].values == pytest.approx((2.0, 10.0))
    assert "images to a score" not in got  # one arm's median run has no score to reach
    assert got["mean over the curve"].superiority == pytest.approx(3 / 9)
    lost = study([10.0, 10.0, 10.0], [2.0, 2.0, "diverged"])
    reached = views(lost)["images to a score"]
    assert reached.superiority == pytest.approx(2 / 3)
    assert reached.values == pytest.approx((160, 800))


def test_views_without_data_are_left_out(study: Any) -> None:
    analysis = study([10.0, 10.0], [2.0, 2.0])
    assert set(views(analysis)) == {"equal images", "images to a score", "mean over the curve"}
    some = curves(analysis, flops={"minimax": 1.0, "hinge": 1.0})
    del some["hinge-confirm-1"][FLOPS]
    assert not [view for view in study_views(analysis, some) if "FLOPs" in view.name]
    assert study_views(analysis, {}) == []
    assert build_view_charts(analysis, {}) == []
    nobody = study(["failed", "failed"], [2.0, 2.0])
    assert study_views(nobody, curves(nobody)) == []


def test_a_single_evaluation_has_no_curve(study: Any) -> None:
    got = views(study([10.0] * 2, [2.0] * 2), scores={"minimax": FAST[-1:], "hinge": SLOW[-1:]})
    assert set(got) == {"equal images", "images to a score"}


def test_a_descriptive_study_has_no_views(make_study: Any, make_records: Any) -> None:
    confirm = {"minimax": [10.0], "hinge": [2.0]}
    analysis = analyse(make_records(confirm, study=make_study(descriptive=True)))
    assert study_views(analysis, curves(analysis)) == []
    assert turned(analysis, []) == []


def test_seconds_are_an_arms_typical_ones(study: Any) -> None:
    analysis = study([10.0] * 3, [2.0] * 3)
    made = curves(analysis, seconds={"minimax": 1.0, "hinge": 2.0})
    for name in ("minimax-confirm-2", "hinge-confirm-0"):  # beside a busy neighbour
        made[name][SECONDS] = spent(made[name][SECONDS], 5.0)
    got = {view.name: view for view in study_views(analysis, made)}
    assert got["equal seconds"].at == "800 s"
    assert got["equal seconds"].values == pytest.approx((4.0, 10.0))


def test_where_more_is_better_signs_turn(study: Any) -> None:
    # Density rises; its curves are not logarithmic, and the higher one wins.
    figure = "density"
    analysis = study([0.5] * 3, [0.9] * 3)
    other = replace(
        analysis,
        records=replace(
            analysis.records,
            definition=analysis.records.definition.model_copy(
                update={"metric": f"test/{figure}_x", "objective": f"val/{figure}_x"}
            ),
            runs=tuple(
                replace(run, metrics={**run.metrics, f"test/{figure}_x": run.metrics[METRIC]})
                for run in analysis.records.runs
            ),
            states=tuple(
                replace(
                    state,
                    confirm=tuple(
                        replace(each, scores={f"test/{figure}_x": each.scores[METRIC]})
                        for each in state.confirm
                    ),
                )
                for state in analysis.records.states
            ),
        ),
    )
    again = analyse(other.records)
    rising = {"minimax": [(100, 0.1), (400, 0.5)], "hinge": [(100, 0.1), (400, 0.9)]}
    runs = [(arm.name, run) for arm in again.arms for run in arm.scored]
    made = {run.run_id: {f"val/{figure}_x": rising[name]} for name, run in runs}
    got = {view.name: view for view in study_views(again, made)}
    assert got["equal images"].superiority == 1.0
    assert got["images to a score"].values == pytest.approx((200, 400))  # half-way of 0.1 to 0.9
    assert got["mean over the curve"].values == pytest.approx((0.5, 0.3))
    assert not got["equal images"].turns


# In words.


def test_what_turns_stands_in_the_answer(study: Any) -> None:
    analysis = study([10.0] * 5, [2.0] * 5)
    made = curves(analysis, seconds={"minimax": 1.0, "hinge": 9.0})
    found = study_views(analysis, made)
    (sentence,) = turned(analysis, found)
    assert sentence == (
        "At equal seconds the order turns: minimax wins 25 of 25 pairs (validation FID 10.0 "
        "against 16.0; likewise by seconds to a score)."
    )
    whole = answer(analysis, found)
    assert sentence in whole
    assert whole.index("beats minimax") < whole.index(sentence) < whole.index("The answer holds")
    assert sentence not in answer(analysis)


def test_a_time_alone_that_turns_is_spelt_as_one(study: Any) -> None:
    analysis = study([10.0] * 4, [2.0] * 4)
    found = study_views(analysis, curves(analysis, seconds={"minimax": 1.0, "hinge": 11.0}))
    assert turned(analysis, found) == [
        "By seconds to a score (FID 10.0) the order turns: minimax wins 16 of 16 pairs "
        "(800 s against 1760 s)."
    ]


def test_several_comparisons_are_named(make_records: Any) -> None:
    analysis = analyse(
        make_records({"minimax": [10.0] * 4, "hinge": [2.0] * 4, "least_squares": [5.0] * 4})
    )
    shapes = {"minimax": FAST, "hinge": SLOW, "least_squares": SLOW}
    pace = {"minimax": 1.0, "hinge": 9.0, "least_squares": 1.0}
    found = study_views(analysis, curves(analysis, scores=shapes, seconds=pace))
    (sentence,) = turned(analysis, found)
    assert sentence.startswith("At equal seconds the order of hinge and minimax turns: minimax ")


def test_what_holds_is_not_told(study: Any) -> None:
    analysis = study([10.0] * 3, [2.0] * 3)
    found = study_views(analysis, curves(analysis, seconds={"minimax": 1.0, "hinge": 1.0}))
    assert len(found) == 5
    assert turned(analysis, found) == []
    assert answer(analysis, found) == answer(analysis)


def test_a_small_lead_is_not_told(study: Any) -> None:
    analysis = study([10.0] * 5, [2.0] * 5)
    got = views(analysis)["equal images"]
    assert replace(got, superiority=0.19).turns_clearly
    assert not replace(got, superiority=0.21).turns_clearly
    assert replace(got, superiority=0.21).turns


def test_the_table_names_every_view_and_its_runs(study: Any) -> None:
    analysis = study([10.0] * 4, [2.0] * 4)
    made = curves(analysis, seconds={"minimax": 1.0, "hinge": 9.0})
    table = view_table(analysis, study_views(analysis, made))
    rows = {row.cells[0]: row.cells[1:] for row in table.rows}
    assert rows["hinge against minimax: equal images"] == (
        "800", "2.00", "10.0", "1.00", "0.0286", "holds",
    )  # fmt: skip
    assert rows["hinge against minimax: equal seconds"][-2:] == ("–", "turns")
    assert len(table.rows[0].run_ids) == 8
    assert all(len(row.cells) == len(table.columns) for row in table.rows)
    for word in ("validation", "exploratory", "not adjusted"):
        assert word in table.caption


def test_scores_are_drawn_against_what_was_spent(study: Any) -> None:
    analysis = study([10.0] * 2, [2.0] * 2)
    more = {"seconds": {"minimax": 1.0, "hinge": 9.0}, "flops": {"minimax": 1e9, "hinge": 2e9}}
    (drawing,) = build_view_charts(analysis, curves(analysis, **more))
    assert [ax.get_xlabel() for ax in drawing.figure.axes] == [
        "seconds of training (log)", "operations of training (log)",
    ]  # fmt: skip
    assert all(ax.get_xscale() == ax.get_yscale() == "log" for ax in drawing.figure.axes)
    assert "hinge 2.00 after a median of 7.2k" in drawing.alt
    assert drawing.save("png").startswith(b"\x89PNG")


def test_seconds_tell_nothing_where_machines_may_have_made_them(study: Any) -> None:
    """Two arms of one pace on a busy machine: medians differ, and would turn the order."""
    analysis = study([10.0] * 5, [2.0] * 5)
    made = curves(analysis)
    for arm, paces in (("minimax", (1, 2, 3, 4, 5)), ("hinge", (2, 4, 27, 30, 31))):
        for run, pace in enumerate(paces):
            own = made[f"{arm}-confirm-{run}"]
            own[SECONDS] = spent(own[OBJECTIVE], pace)
    found = {view.name: view for view in study_views(analysis, made)}
    view = found["equal seconds" if "equal seconds" in found else "seconds to a score"]
    assert view.superiority < 0.2
    assert (view.is_told, view.turns, view.p_value) == (False, False, None)
    assert turned(analysis, list(found.values())) == []
    rows = {row.cells[0]: row.cells for row in view_table(analysis, list(found.values())).rows}
    assert rows[f"hinge against minimax: {view.name}"][-2:] == ("–", "not told")
    assert found["equal images"].is_told
