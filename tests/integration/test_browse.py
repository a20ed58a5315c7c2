"""What MLflow's pages are told of a study: its view, its description, its own run's curves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.records.tracking import Tracker
from harness.records.view import recorded, run_filter, view_state
from harness.records.workspace import UI_PORT, Workspace
from harness.results.browse import open_pages, prepare_pages
from harness.results.status import read_status
from harness.study.file import load_study
from harness.work.board import open_study

STUDIES = Path(__file__).parents[2] / "studies"

if TYPE_CHECKING:
    from conftest import Finished


@pytest.fixture(scope="module")
def tags(finished: Finished) -> dict[str, str]:
    tracker = Tracker(finished.workspace)
    return dict(tracker._client.get_experiment_by_name(finished.name).tags)


def test_the_view_shows_confirm_runs_by_arm(finished: Finished, tags: dict[str, str]) -> None:
    view = json.loads(tags["mlflow.sharedViewState.overview"])
    metric = finished.summary.metric
    assert view["searchFilter"] == "tags.phase = 'confirm'"
    assert (view["orderByKey"], view["orderByAsc"]) == (f"metrics.`{metric}`", True)
    assert view["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "arm"}]
    assert view["selectedColumns"][0] == f"metrics.`{metric}`"
    assert view["selectedColumns"][-1] == "params.`g_lr`"
    charts = {chart["type"]: chart for chart in view["compareRunCharts"]}
    assert charts["LINE"]["metricKey"] == metric.replace("test/", "val/")
    assert charts["BAR"]["metricKey"] == metric
    assert (charts["IMAGE"]["imageKeys"], charts["IMAGE"]["step"]) == (["samples"], 320)
    assert charts["IMAGE"]["showRunParams"] is False
    open_sections = [each["name"] for each in view["compareRunSections"] if each["display"]]
    assert open_sections == ["Scores", "Samples", "train"]


def test_higher_is_better_sorts_the_other_way() -> None:
    state = view_state(
        metric="test/recall", objective="val/recall", ascending=False, columns=[], runs="", step=0
    )
    assert json.loads(state)["orderByAsc"] is False


def test_of_many_runs_every_arm_shows_its_first_seeds() -> None:
    assert run_filter(5, 10) == "tags.phase = 'confirm'"
    assert run_filter(5, 60) == "tags.phase = 'confirm' and tags.trial LIKE '_'"


def test_the_description_has_question_answer_and_a_way_to_the_report(
    finished: Finished, tags: dict[str, str]
) -> None:
    note = tags["mlflow.note.content"]
    assert f" · **{finished.study.question}** " in note
    assert "is not resolved with 2 and 2 runs" in note
    assert "non\\_saturating" in note  # as Markdown shows it
    assert f"`harness report {finished.name}`" in note


def test_runs_of_an_arm_share_a_colour(
    finished: Finished, training_runs: Callable[..., list[Any]]
) -> None:
    colours: dict[str, set[str]] = {}
    for run in training_runs(finished.workspace):
        colours.setdefault(run.data.tags["arm"], set()).add(run.data.tags["mlflow.runColor"])
    first, second = (colours[arm.name] for arm in finished.study.arms())
    assert len(first) == len(second) == 1
    assert first != second


def test_the_studys_run_charts_mean_curves(
    finished: Finished, parent: Callable[[Workspace], Any]
) -> None:
    tracker, run = Tracker(finished.workspace), parent(finished.workspace)
    metric, objective = finished.summary.metric, finished.summary.metric.replace("test/", "val/")
    for arm in finished.summary.arms:
        curve = tracker.history(run.info.run_id, f"{objective}/{arm.name}")
        assert [step for step, _ in curve] == [192, 320]
        means = tracker.history(run.info.run_id, f"{metric}/{arm.name}")
        assert [step for step, _ in means] == [1, 2]
        assert means[0][1] == arm.scores[0]
        assert means[1][1] == pytest.approx(arm.mean)
    others = [key for key in run.data.metrics if not key.startswith((f"{metric}/", objective))]
    assert others == []


def test_only_runs_that_have_a_place_are_asked_for_pictures(
    finished: Finished,
    training_runs: Callable[..., list[Any]],
    locate: Callable[[Path], Workspace],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workspace = locate(Path(shutil.copytree(finished.workspace.root, tmp_path / "mlruns")))

    def pictured() -> set[str]:
        runs = training_runs(workspace)
        confirm = [run.data.tags for run in runs if run.data.tags["phase"] == "confirm"]
        return {tags["trial"] for tags in confirm if "mlflow.loggedImages" in tags}

    assert pictured() == {"0", "1"}
    monkeypatch.setattr("harness.records.view.MOST_PICTURES", 2)
    opened, tracker = open_study(finished.name, workspace), Tracker(workspace)
    prepare_pages(opened, tracker, opened.storage.studies.ledger(finished.name))
    assert pictured() == {"0"}


def test_opening_the_pages_is_noted_and_names_every_study(finished: Finished) -> None:
    (name, page), *others = open_pages(finished.workspace).items()
    assert (name, others) == (finished.name, [])
    assert page.startswith("/#/experiments/")
    assert page.endswith("viewStateShareKey=overview")
    assert read_status(name, finished.workspace).summary.complete


def test_settings_are_read_from_early_and_from_late_runs() -> None:
    params = {"g_lr": "0.1", "loss": "hinge"}
    assert recorded(params, {}) == params
    assert recorded({"loss": "hinge"}, {"record": json.dumps(params)}) == params


def test_the_last_port_is_where_reports_lead(workspace: Workspace) -> None:
    assert workspace.ui_port == UI_PORT
    workspace.remember_ui_port(5001)
    assert workspace.ui_port == 5001


def test_what_a_run_records_fits_into_a_tag() -> None:
    """MLflow refuses tags of more than 8,000 characters."""
    for file in sorted(STUDIES.glob("*.toml")):
        for arm in load_study(file).arms():
            assert len(json.dumps(arm.config({}, seed=0).recorded(), default=str)) < 5000
