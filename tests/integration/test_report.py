"""A study written up: what stands in the report is what lies in the stores."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from PIL import Image
from scipy import stats

import harness.cli
import harness.records.tracking
from harness.errors import HarnessError
from harness.records.tracking import Tracker, settings_of
from harness.records.workspace import Workspace
from harness.results.report import Report, write_report
from harness.work.board import open_study

METRIC = "test/fid_digits_cnn_v2_64"
BROKEN = {"optimizer": "sgd", "g_lr": 1e30, "d_lr": 1e30}
FIGURES = {
    "scores",
    "samples",
    "neighbours",
    "classes",
    "score_curves",
    "costs",
    "training",
    "over_training",
    "tuned",
    "search_budget",
}


@dataclass(frozen=True)
class Written:
    """Studies that have been run, and a report on the one named `tiny`."""

    workspace: Workspace
    report: Report

    @property
    def folder(self) -> Path:
        return self.report.folder


@pytest.fixture(scope="module")
def written(
    empty_stores: Path,
    tmp_path_factory: pytest.TempPathFactory,
    locate: Any,
    make_study: Any,
    launch: Any,
) -> Written:
    """Run two arms, and two of which one diverges, and write up the former."""
    place = tmp_path_factory.mktemp("report")
    shutil.copytree(empty_stores, place / "mlruns")
    workspace = locate(place / "mlruns")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness.records.tracking.mlflow.pytorch, "log_model", lambda *_, **__: None)
        launch(workspace, make_study(confirm={"seeds": 5}), name="tiny")
        diverging = make_study(variants={"broken": BROKEN}).model_copy(
            update={"compare": {"variant": ("minimax", "broken")}, "space": {}}
        )
        launch(workspace, diverging, name="diverging")
    return Written(workspace, write_report(["tiny"], workspace, place / "report"))


def text(folder: Path, name: str) -> str:
    return (folder / name).read_text()


def table(markdown: str, heading: str) -> dict[str, list[str]]:
    """Return the cells after the first of the table whose header starts so, by the first."""
    _, _, rest = markdown.partition(f"| {heading} |")
    lines = rest.split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0].strip(): row[1:] for row in rows}


def csv_scores(folder: Path, metric: str = METRIC) -> dict[str, list[float]]:
    """Return arm -> test scores of its confirm runs, from runs.csv alone."""
    scores: dict[str, list[float]] = {}
    with (folder / "runs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["phase"] == "confirm" and row["used"] == "True":
                value = row[f"metric.{metric}"]
                scores.setdefault(row["arm"], []).append(float(value) if value else np.inf)
    return scores


def numbers(cell: str) -> list[float]:
    return [float(each) for each in re.findall(r"[+-]?\d+\.?\d*", cell.replace("−", "-"))]


# The whole.


def test_all_files_are_there(written: Written) -> None:
    names = {file.relative_to(written.folder).as_posix() for file in written.folder.rglob("*")}
    figures = {f"figures/{name}.{kind}" for name in FIGURES for kind in ("png", "pdf")}
    assert names == {
        "report.html", "report.md", "tables.tex", "runs.csv", "figures", *figures,
    }  # fmt: skip
    for file in written.folder.glob("figures/*.png"):
        with Image.open(file) as picture:
            picture.load()
            assert picture.width > 900
    for file in written.folder.glob("figures/*.pdf"):
        assert file.read_bytes().startswith(b"%PDF")
    assert written.report.num_runs == 14
    assert written.report.notices == ()
    assert written.report.answer in text(written.folder, "report.md")


def test_every_view_of_the_comparison_is_there(written: Written) -> None:
    rows = table(text(written.folder, "report.md"), "arms A against B: view")
    ways = [f"equal {each}" for each in ("images", "seconds", "FLOPs")]
    ways += [f"{each} to a score" for each in ("images", "seconds", "FLOPs")]
    assert list(rows) == [
        f"hinge against non_saturating: {way}" for way in (*ways, "mean over the curve")
    ]
    with (written.folder / "runs.csv").open(newline="") as file:
        runs = [row for row in csv.DictReader(file) if row["phase"] == "confirm"]
    finals: dict[str, list[float]] = {}
    for run in runs:
        scores, seconds, flops = (
            [part.split(":") for part in run[f"curve.{key}"].split()]
            for key in ("val/fid_digits_cnn_v2_64", "progress/train_seconds", "progress/flops")
        )
        steps = [step for step, _ in scores]
        assert steps == ["192", "320"] == [step for step, _ in seconds]
        per_image = {float(value) / int(step) for step, value in flops}
        assert len(per_image) == 1
        assert float(run["metric.progress/load"]) > 0
        assert run["param.machine.workers"] == "1"
        finals.setdefault(run["arm"], []).append(float(scores[-1][1]))
    mean = np.mean(finals["hinge"])
    cells = rows["hinge against non_saturating: equal images"]
    assert cells[0] == "320"
    assert numbers(cells[1])[0] == pytest.approx(mean, rel=6e-3)
    # Both arms make the same updates.
    assert cells[1:] == rows["hinge against non_saturating: equal FLOPs"][1:]


def test_numbers_follow_from_the_csv_alone(written: Written) -> None:
    scores = csv_scores(written.folder)
    assert {arm: len(values) for arm, values in scores.items()} == {
        "non_saturating": 5, "hinge": 5,
    }  # fmt: skip
    markdown = text(written.folder, "report.md")
    results = table(markdown, "arm | n_ok/n")
    for arm, values in scores.items():
        assert results[arm][0] == "5/5"
        mean, sd = numbers(results[arm][1])
        assert mean == pytest.approx(np.mean(values), rel=2e-2)
        assert sd == pytest.approx(np.std(values, ddof=1), rel=6e-2)
        assert numbers(results[arm][2])[0] == pytest.approx(np.median(values), rel=6e-3)
        assert numbers(results[arm][3])[0] == pytest.approx(stats.trim_mean(values, 0.25), rel=6e-3)
        assert numbers(results[arm][4])[0] == pytest.approx(min(values), rel=6e-3)
    test = stats.mannwhitneyu(scores["hinge"], scores["non_saturating"], method="exact")
    (row,) = table(markdown, "arms A against B | P(A < B)").values()
    assert numbers(row[0])[0] == pytest.approx(1 - test.statistic / 25, abs=5e-3)
    assert numbers(row[1])[0] == pytest.approx(test.pvalue, abs=5e-5)
    assert row[3] == "0.0079"
    differences = np.subtract.outer(scores["hinge"], scores["non_saturating"]).ravel()
    # All shifts after which each arm wins three pairs of 25 or more.
    expected = [np.median(differences), np.sort(differences)[2], np.sort(differences)[22]]
    assert numbers(row[4]) == pytest.approx(expected, abs=6e-3)


def test_the_csv_is_what_mlflow_holds(written: Written) -> None:
    client = mlflow.MlflowClient(written.workspace.tracking_uri)
    with (written.folder / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    for row in rows:
        run = client.get_run(row["run_id"])
        for key, value in settings_of(run).items():
            assert row[f"param.{key}"] == value
        for key, number in run.data.metrics.items():
            if not key.startswith("system/"):
                assert float(row[f"metric.{key}"]) == number
        assert row["arm"] == run.data.tags["arm"]
        assert row["outcome"] == "finished"


def test_all_forms_state_the_same_numbers(written: Written) -> None:
    mean = table(text(written.folder, "report.md"), "arm | n_ok/n")["hinge"][1]
    assert f"<td>{mean}</td>" in text(written.folder, "report.html")
    assert mean.replace("±", r"$\pm$") in text(written.folder, "tables.tex")


def test_a_second_ruler_has_a_table_of_its_own_and_saw_no_search(written: Written) -> None:
    page = text(written.folder, "report.md")
    assert "measured by a second ruler, digits_judge_v1," in page
    assert "Confirm runs end with a second measurement, by digits_judge_v1 (SHA-256" in page
    with (written.folder / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert row["param.evaluate.judge"] == "digits_judge_v1"
        judged = row["metric.test/fid_digits_judge_v1_64"]
        assert bool(judged) is (row["phase"] == "confirm")


def test_every_link_to_a_run_has_its_target(written: Written) -> None:
    html = text(written.folder, "report.html")
    targets = set(re.findall(r'id="run-(\w+)"', html))
    assert set(re.findall(r'href="#run-(\w+)"', html)) == targets
    assert len(targets) == 14
    pages = re.findall(r'href="(http[^"]*)"', html)
    runs = {found[1] for page in pages if (found := re.search(r"/runs/(\w+)\?", page))}
    assert runs == targets
    assert all("workflowType=machine_learning" in page for page in pages)
    (study,) = [page for page in pages if "/runs?" in page]
    assert study.endswith("viewStateShareKey=overview")


def test_the_report_hangs_on_the_studys_run_in_mlflow(written: Written) -> None:
    definition = open_study("tiny", written.workspace).definition
    client = mlflow.MlflowClient(written.workspace.tracking_uri)
    files = client.list_artifacts(definition.parent_run_id, "reports/tiny")
    assert {Path(file.path).name for file in files} == {
        "report.html", "report.md", "tables.tex", "runs.csv", "figures",
    }  # fmt: skip


# Again, and in the way.


def test_a_second_report_replaces_the_first(written: Written, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(written.folder, folder)
    (folder / "figures" / "old.png").touch()
    (folder / "report.md").write_text("old")
    write_report(["tiny"], written.workspace, folder)
    assert text(folder, "report.md") == text(written.folder, "report.md")
    assert not (folder / "figures" / "old.png").exists()
    for file in written.folder.glob("figures/*"):
        assert file.read_bytes() == (folder / "figures" / file.name).read_bytes(), file.name
    assert [each.name for each in tmp_path.iterdir()] == ["again"]


def test_a_folder_with_other_files_is_left_alone(written: Written, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(HarnessError, match=r"thesis\.tex"):
        write_report(["tiny"], written.workspace, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("names", "words"),
    [(["tinny"], ["'tinny'", "'tiny'"]), (["tiny", "tiny"], ["tiny", "twice"])],
)
def test_studies_that_cannot_be_named_so(
    written: Written, tmp_path: Path, names: list[str], words: list[str]
) -> None:
    with pytest.raises(HarnessError) as refusal:
        write_report(names, written.workspace, tmp_path / "new")
    assert all(word in str(refusal.value) for word in words)
    assert list(tmp_path.iterdir()) == []


# An arm that diverges.


def test_an_arm_that_diverges_is_named_and_ranks_worst(written: Written, tmp_path: Path) -> None:
    report = write_report(["diverging"], written.workspace, tmp_path / "report")
    notice = "2 of 2 confirm runs of broken have no score (diverged); they rank worst in all tests."
    assert report.notices == (notice,)
    markdown = text(report.folder, "report.md")
    assert markdown.index(notice) < markdown.index("**Answer.**")
    assert table(markdown, "arm | n_ok/n")["broken"] == ["0/2", "–", "–", "–", "–"]
    assert table(markdown, "arm | diverged")["broken"][0].startswith("2/2 [")
    assert csv_scores(report.folder)["broken"] == [np.inf, np.inf]
    assert "Nothing was tuned" in markdown
    assert "broken against minimax is not resolved with 2 and 2 runs" in report.answer


# Studies that are not whole, and several, with training replaced by a formula.


def stop_after(scoring: dict[str, Any], count: int) -> None:
    """Let a study be interrupted when so many runs have ended."""
    formula, calls = scoring["fid"], iter(range(count))

    def fid(config: Any) -> float:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return float(formula(config)) + 1

    scoring["fid"] = fid


@pytest.mark.parametrize(
    ("count", "counted"),
    [(1, "1 of 4 search trials and 0 of 4"), (4, "4 of 4 search trials and 0 of 4"),
     (6, "4 of 4 search trials and 2 of 4")],
)  # fmt: skip
def test_a_study_stopped_half_way_says_so_first(
    workspace: Workspace, fake_runs: Any, make_study: Any, launch: Any, tmp_path: Path,
    count: int, counted: str,
) -> None:  # fmt: skip
    stop_after(fake_runs[1], count)
    with pytest.raises(KeyboardInterrupt):
        launch(workspace, make_study())
    report = write_report(["tiny"], workspace, tmp_path / "report")
    assert "not complete" in report.notices[0]
    assert f"{counted} confirm runs have ended" in report.notices[0]
    for name in ("report.md", "report.html"):
        head = text(report.folder, name).partition("Answer.")[0]
        assert "This study is not complete" in head
    assert report.answer.startswith(("So far, ", "No arm has been compared"))


def test_a_study_without_a_finished_run(
    workspace: Workspace, fake_runs: Any, make_study: Any, launch: Any, tmp_path: Path
) -> None:
    stop_after(fake_runs[1], 0)
    with pytest.raises(KeyboardInterrupt):
        launch(workspace, make_study())
    with pytest.raises(HarnessError, match="'tiny' has no finished run yet"):
        write_report(["tiny"], workspace, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_first_trial_of_which_one_seed_has_ended(
    workspace: Workspace, fake_runs: Any, make_study: Any, launch: Any, tmp_path: Path
) -> None:
    stop_after(fake_runs[1], 1)
    with pytest.raises(KeyboardInterrupt):
        launch(workspace, make_study(search={"seeds": 2}))
    try:
        report = write_report(["tiny"], workspace, tmp_path / "report")
    except HarnessError:
        return
    assert "not complete" in report.notices[0]


def test_several_studies_in_one_report(
    workspace: Workspace, fake_runs: Any, make_study: Any, launch: Any, tmp_path: Path
) -> None:
    one, two = make_study(), make_study(compare={"loss": ["minimax", "wasserstein"]})
    other = make_study(budget={"images": 640})
    for name, study in (("one", one), ("two", two), ("other", other)):
        launch(workspace, study, name=name)
    report = write_report(["one", "two"], workspace, tmp_path / "report")
    markdown = text(report.folder, "report.md")
    arms = ["one: non_saturating", "one: hinge", "two: minimax", "two: wasserstein"]
    assert list(table(markdown, "arm | n_ok/n")) == arms
    compared = table(markdown, "arms A against B | P(A < B)")
    assert list(compared) == [f"{arm} against one: non_saturating" for arm in arms[1:]]
    assert set(csv_scores(report.folder)) == set(arms)
    assert "harness report one two" in markdown
    client = mlflow.MlflowClient(workspace.tracking_uri)
    for name in ("one", "two"):
        parent = open_study(name, workspace).definition.parent_run_id
        assert client.list_artifacts(parent, "reports/one+two")
    with pytest.raises(HarnessError, match="budget differs: 320 real images in study 'one', 640"):
        write_report(["one", "other"], workspace, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


# The command.

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(call: Any, written: Written, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Return a function that runs `harness report …` in an empty folder."""
    monkeypatch.setenv("HARNESS_HOME", str(written.workspace.root))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: call("report", *arguments)


def test_the_command(call: Call, written: Written, tmp_path: Path) -> None:
    code, out, err = call("tiny")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        written.report.answer, "Report on 14 runs: reports/tiny/report.html",
    ]  # fmt: skip
    assert text(tmp_path / "reports/tiny", "report.md") == text(written.folder, "report.md")
    code, out, _ = call("tiny", "--json", "-o", "elsewhere")
    assert json.loads(out) == {
        "folder": "elsewhere", "answer": written.report.answer, "notices": [], "runs": 14,
    }  # fmt: skip


def test_refusals_are_one_line(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for arguments, words in (
        (["tiny", "-o", "mine"], ["thesis.tex"]),
        (["tinny"], ["'tinny'", "'tiny'"]),
        (["tiny", "tiny"], ["twice"]),
    ):
        code, out, err = call(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert all(word in err for word in words)
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_nothing_is_left_where_there_are_no_studies(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "mlruns"))
    code, _, err = call("tiny")
    assert code == 2
    assert "harness run" in err
    assert list(tmp_path.iterdir()) == []


def test_grids_are_those_of_the_runs(written: Written) -> None:
    tracker = Tracker(written.workspace)
    run_id = next(iter(re.findall(r'id="run-(\w+)"', text(written.folder, "report.html"))))
    pictures = tracker.grids(run_id)
    assert min(pictures) > 0
    assert [*tracker.grids(run_id, last_only=True)] == [max(pictures)]
