"""Figures of ordinary and of poor studies: none fails, none warns, and equal ones are equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.results.report.analysis import Analysis, analyse
from harness.results.report.charts import build_charts, curve_keys
from harness.results.report.galleries import build_galleries, chosen_runs
from harness.results.report.style import Drawing, arm_styles
from harness.study.study import StudyConfig

Results = Sequence[float | str]
FIVE = [5.0, 1.0, 9.0, 2.0, 4.0]
SPACE = {"g_lr": {"low": 1e-4, "high": 1e-2, "log": True}, "d_steps": [1, 2, 5]}
TWO: dict[str, Results] = {"minimax": FIVE, "hinge": [value * 2 for value in FIVE]}
SEARCH = (50.0, 9.0, 30.0, 12.0)
ALL = {"scores", "score_curves", "search_budget", "training", "tuned", "parallel"}


@pytest.fixture
def study(make_study: Any) -> Callable[..., StudyConfig]:
    """Return a function that makes studies in which two settings are tuned."""
    return lambda **changes: make_study(**{"space": SPACE} | changes)


@pytest.fixture
def analysed(study: Any, make_records: Any) -> Callable[..., Analysis]:
    """Return a function that analyses a study with these runs."""

    def analysed(
        confirm: Mapping[str, Results],
        search: Mapping[str, Results] | None = None,
        definition: StudyConfig | None = None,
        **more: Any,
    ) -> Analysis:
        definition = definition or study(compare={"loss": list(confirm)})
        if search is None:
            search = {arm.name: SEARCH for arm in definition.arms() if arm.space}
        return analyse(make_records(confirm, search, definition, **more))

    return analysed


def curves(analysis: Analysis, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return curves of all confirm runs; those that diverged end early."""
    made = {}
    for arm in analysis.arms:
        for run in arm.confirm:
            steps = range(64, 641 if run.outcome == "finished" else 257, 64)
            made[run.run_id] = {
                key: [(step, 0.1 + run.seed / 10 + 10 / step) for step in steps]
                for key in curve_keys(analysis)
                if key not in without
            }
    return made


def names(drawings: Sequence[Drawing]) -> set[str]:
    """Return the drawings' names, after each was saved and found to be described."""
    for each in drawings:
        assert each.save("png").startswith(b"\x89PNG")
        assert each.caption.endswith(".")
        assert len(each.alt) > 30
    assert len({each.name for each in drawings}) == len(drawings)
    return {each.name for each in drawings}


def charts(analysis: Analysis, without: Sequence[str] = ()) -> set[str]:
    return names(build_charts(analysis, curves(analysis, without)))


# Charts.


def test_a_whole_study_has_all_charts(analysed: Any) -> None:
    importances = {"minimax": {"g_lr": 0.7, "d_steps": 0.3}, "hinge": {}}
    assert charts(analysed(TWO, importances=importances)) == ALL | {"importance"}


LOST: dict[str, Results] = {"minimax": FIVE, "hinge": ["diverged", "failed"]}
POOR: dict[str, tuple[Mapping[str, Results], dict[str, Any], set[str]]] = {
    "failing arm": (LOST, {}, ALL),
    "all fail": ({"minimax": ["diverged"], "hinge": ["failed"]}, {}, ALL),
    "one run per arm": ({"minimax": [3.0], "hinge": [4.0]}, {}, ALL),
    "equal runs": ({"minimax": [3.0] * 5, "hinge": [3.0] * 5}, {}, ALL),
    "far apart": ({"minimax": [1e-3, 5e4], "hinge": [4.0]}, {}, ALL),
    "an arm without runs": ({"minimax": FIVE, "hinge": []}, {}, ALL),
    "no runs": ({"minimax": [], "hinge": []}, {}, ALL - {"scores", "score_curves", "training"}),
    "no space": (TWO, {"space": {}}, {"scores", "score_curves", "training"}),
    "choices alone": (
        TWO, {"space": {"g_activation": ["relu", "leaky_relu"], "d_steps": [1, 2]}}, ALL,
    ),
    "one parameter": (TWO, {"space": {"d_steps": [1, 2]}}, ALL - {"parallel"}),
    "linear range": (TWO, {"space": {"adam_beta1": {"low": 0.0, "high": 0.9}}},
                     ALL - {"parallel"}),
    "qmc": (TWO, {"search": {"trials_per_arm": 4, "sampler": "qmc"}}, ALL),
}  # fmt: skip


@pytest.mark.parametrize("case", POOR)
def test_poor_studies_have_the_charts_that_they_can(case: str, analysed: Any, study: Any) -> None:
    confirm, changes, expected = POOR[case]
    assert charts(analysed(confirm, definition=study(**changes))) == expected


@pytest.mark.parametrize(
    ("searches", "expected"),
    [
        ({"minimax": SEARCH, "hinge": ["diverged"] * 4}, ALL),
        ({arm: ["diverged", "diverged", "failed", 3.0] for arm in TWO}, ALL - {"parallel"}),
        ({arm: ["diverged"] * 4 for arm in TWO}, ALL - {"parallel"}),
    ],
    ids=["one arm", "all but one trial", "none"],
)
def test_searches_without_scores(
    searches: Mapping[str, Results], expected: set[str], analysed: Any
) -> None:
    assert charts(analysed(TWO, searches)) == expected


def test_twelve_arms_look_different(analysed: Any, study: Any) -> None:
    definition = study(
        compare={"g_width": list(range(4, 16))}, space={"g_lr": SPACE["g_lr"], "d_steps": [1, 2]}
    )
    arms: dict[str, Results] = {f"g_width={width}": FIVE for width in range(4, 16)}
    analysis = analysed(arms, definition=definition)
    assert charts(analysis) == ALL
    styles = arm_styles(list(arms))
    assert len({(each.colour, each.line) for each in styles.values()}) == 12
    assert len({(each.colour, each.marker) for each in styles.values()}) == 12


def test_training_draws_what_each_system_declares(analysed: Any) -> None:
    # minimax has probabilities, hinge has only logits: they share the losses' panels alone.
    analysis = analysed(TWO)
    chart = {each.name: each for each in build_charts(analysis, curves(analysis))}["training"]
    drawn = {axes.get_title(): axes for axes in chart.figure.axes if axes.get_title()}
    assert {title: len(axes.get_lines()) for title, axes in drawn.items()} == {
        "discriminator's loss": 2,
        "generator's loss": 2,
        "probability that D gives": 2,
        "logit that D gives": 2,
    }
    assert drawn["generator's loss"].get_ylabel() == "nats / loss"
    said = chart.caption.replace("\n", " ")
    assert "Logit that D gives: real images solid, generated images dotted." in said


def test_charts_without_curves(analysed: Any) -> None:
    analysis = analysed(TWO)
    assert names(build_charts(analysis, {})) == ALL - {"score_curves", "training"}


def test_the_search_chart_shows_what_it_says(analysed: Any, study: Any) -> None:
    analysis = analysed(TWO)
    chart = next(each for each in build_charts(analysis, {}) if each.name == "search_budget")
    line = chart.figure.axes[0].get_lines()[0]
    assert list(line.get_ydata()) == pytest.approx(analysis.arms[0].best_of_n)
    assert chart.caption.startswith("Expected best")
    other = analysed(TWO, definition=study(search={"trials_per_arm": 4, "pruner": "median"}))
    chart = next(each for each in build_charts(other, {}) if each.name == "search_budget")
    line = chart.figure.axes[0].get_lines()[0]
    assert list(line.get_ydata()) == [50, 9, 9, 9]
    assert "no expectation" in chart.caption


def test_scores_without_a_mark_are_counted_in_words(analysed: Any) -> None:
    chart = build_charts(analysed(LOST), {})[0]
    texts = [text.get_text() for text in chart.figure.axes[0].texts]
    assert "2 of 2 without a score" in texts
    assert "minimax: 1.00 to 9.00 over 5 runs; hinge: no scores over 2 runs." in chart.alt


OWN_CHOICES = {
    "variants": {
        "few": {"loss": "minimax", "space": {"d_steps": [1, 2]}},
        "many": {"loss": "minimax", "space": {"d_steps": [2, 5]}},
    },
    "compare": {"variant": ["few", "many"]},
    "space": {},
    "search": {"trials_per_arm": 2, "sampler": "grid"},
}


def test_arms_with_other_choices_of_one_parameter(analysed: Any, study: Any) -> None:
    two: dict[str, Results] = {"few": FIVE, "many": FIVE}
    searches: dict[str, Results] = {arm: [3.0, 4.0] for arm in two}
    definition = study(**OWN_CHOICES)
    assert "tuned" in charts(analysed(two, searches, definition))


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_saved_twice_a_figure_is_the_same(kind: str, analysed: Any) -> None:
    analysis = analysed(TWO)
    one, two = (build_charts(analysis, curves(analysis)) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        data = first.save(kind)
        assert data == first.save(kind), first.name
        assert data == second.save(kind), first.name


# Galleries.

GALLERIES = {"samples", "neighbours", "classes", "over_training"}


def picture(height: int = 66, width: int | None = None) -> Any:
    ramp = np.arange(height * (width or height) * 3) % 251
    return ramp.reshape(height, width or height, 3).astype(np.uint8)


class Grids:
    """Pictures of every run, but for some."""

    def __init__(self, without: Sequence[str] = (), **sizes: Any) -> None:
        self.without, self.sizes, self.asked = without, sizes, set[str]()

    def __call__(self, run_id: str, key: str = "samples", *, last_only: bool) -> Mapping[int, Any]:
        self.asked.add(run_id)
        if run_id in self.without:
            return {}
        size = self.sizes.get(run_id.replace("-", "_"), 66)
        steps = [640] if last_only else [0, 64, 640]
        return {step: picture(size) for step in steps}


def test_galleries(analysed: Any) -> None:
    drawings = build_galleries(analysed(TWO), Grids(), None)
    assert names(drawings) == GALLERIES
    titles = [text.get_text() for text in drawings[0].figure.axes[0].texts]
    assert titles == [
        "best: test FID 1.00, seed 1", "median: test FID 4.00, seed 4",
        "worst: test FID 9.00, seed 2", "minimax",
    ]  # fmt: skip
    steps = [text.get_text() for text in drawings[-1].figure.axes[1].texts]
    assert steps == ["64", "640", "hinge, seed 4"]


def test_real_images_lead_and_medians_stand_side_by_side(analysed: Any) -> None:
    drawings = {each.name: each for each in build_galleries(analysed(TWO), Grids(), picture())}
    titles = [text.get_text() for text in drawings["samples"].figure.axes[0].texts]
    assert titles == ["of the test split", "real images"]
    for name in ("neighbours", "classes"):
        (axes,) = drawings[name].figure.axes
        assert [text.get_text() for text in axes.texts if text.get_text()] == [
            "minimax, seed 4; hinge, seed 4"
        ]


def test_the_runs_that_are_shown(analysed: Any) -> None:
    def shown(*scores: float | str) -> dict[str, int]:
        arm = analysed({"minimax": scores, "hinge": []}).arm("minimax")
        return {which: run.seed for which, run in chosen_runs(arm).items()}

    assert shown(5.0, 1.0, 9.0, "diverged", 2.0) == {"best": 1, "median": 4, "worst": 2}
    assert shown(5.0, 1.0) == {"best": 1, "worst": 0}
    assert shown("failed", 1.0) == {"best": 1}
    assert shown("failed") == {}


def test_pictures_that_are_missing(analysed: Any) -> None:
    all_ids = [run.run_id for run in analysed(TWO).records.runs]
    assert build_galleries(analysed(TWO), Grids(all_ids), None) == []
    some = build_galleries(
        analysed(TWO), Grids([each for each in all_ids if "hinge" in each]), None
    )
    assert len(some[0].figure.axes) == 1
    best_lost = build_galleries(analysed(TWO), Grids(["minimax-confirm-1"]), None)
    assert names(best_lost) == GALLERIES


def test_one_run_or_none(analysed: Any) -> None:
    grids = Grids()
    assert (
        names(build_galleries(analysed({"minimax": [3.0], "hinge": []}), grids, None)) == GALLERIES
    )
    assert build_galleries(analysed({"minimax": ["failed"], "hinge": []}), grids, None) == []
    assert grids.asked == {"minimax-confirm-0"}


def test_a_large_grid_makes_no_large_file(analysed: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (4000, 4000, 3), np.uint8)
    analysis = analysed({"minimax": [3.0], "hinge": []})
    drawings = build_galleries(analysis, lambda run_id, key="", last_only=True: {640: noise}, None)
    for each in drawings:
        assert len(each.save("png")) < 2_000_000
    assert all(max(ax.images[0].get_array().shape) <= 480 for ax in drawings[0].figure.axes)


def test_arms_with_grids_of_other_sizes(analysed: Any) -> None:
    sizes = {f"hinge_confirm_{index}": 130 for index in range(5)}
    drawings = build_galleries(analysed(TWO), Grids(**sizes), None)
    assert names(drawings) == GALLERIES


def test_a_run_with_a_smaller_grid_than_the_others(analysed: Any) -> None:
    assert names(build_galleries(analysed(TWO), Grids(minimax_confirm_4=34), None))


def test_a_run_with_a_larger_grid_than_the_others_is_shown_whole(analysed: Any) -> None:
    for large in ("minimax_confirm_4", "hinge_confirm_4"):
        drawings = build_galleries(analysed(TWO), Grids(**{large: 130}), None)
        (axes,) = next(each for each in drawings if each.name == "classes").figure.axes
        canvas = axes.images[0].get_array()
        assert canvas.shape[0] == 130
        assert sum(np.array_equal(canvas[:, left : left + 130], picture(130))
                   for left in range(canvas.shape[1] - 129)) == 1  # fmt: skip


def test_at_most_eight_arms_are_shown(analysed: Any, study: Any) -> None:
    arms: dict[str, Results] = {f"d_steps={k}": [3.0] for k in range(1, 11)}
    definition = study(compare={"d_steps": list(range(1, 11))}, space={})
    drawings = build_galleries(analysed(arms, definition=definition), Grids(), None)
    assert len(drawings[0].figure.axes) == 8


def test_a_collapsed_run_is_shown_like_any_other(analysed: Any) -> None:
    records = analysed(TWO).records
    runs = tuple(replace(run, outcome="collapsed") for run in records.runs)
    assert len(build_galleries(analyse(replace(records, runs=runs)), Grids(), None)) == 4
