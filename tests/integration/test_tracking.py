"""What MLflow holds: everything about a run, its true status, and a model that loads."""

from __future__ import annotations

import ast
import json
import math
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow.pytorch
import numpy as np
import pytest
import torch

import harness
from harness.config import flatten, parse
from harness.data import load_dataset
from harness.evaluate.metric import is_floor
from harness.records.recorder import FLOORS_FILE, RunRecorder
from harness.records.tracking import Tracker, settings_of
from harness.records.workspace import Workspace
from harness.run.loop import Progress
from harness.run.runner import RunResult
from harness.systems import load_generator
from harness.systems.gan import GANConfig

if TYPE_CHECKING:
    from conftest import Finished

PACKAGE = Path(harness.__file__).parent


@pytest.fixture(scope="module")
def tracker(finished: Finished) -> Tracker:
    return Tracker(finished.workspace)


@pytest.fixture(scope="module")
def experiment(finished: Finished, tracker: Tracker) -> list[Any]:
    return tracker.runs(tracker.open_experiment(finished.name))


@pytest.fixture(scope="module")
def confirmed(experiment: list[Any]) -> Any:
    return next(run for run in experiment if run.data.tags["phase"] == "confirm")


@pytest.fixture(scope="module")
def parent(experiment: list[Any]) -> Any:
    (found,) = [run for run in experiment if run.data.tags["phase"] == "study"]
    return found


@pytest.fixture
def recorder(workspace: Workspace) -> RunRecorder:
    config = parse(GANConfig, {"dataset": "digits", "architecture": "mlp"}, "test")
    tracker = Tracker(workspace)
    dataset = load_dataset("digits", workspace.data_dir)
    return tracker.start_run(
        tracker.open_experiment("by-hand"), "a run", config, dataset, tags={}, facts={}
    )


def read(recorder: RunRecorder) -> Any:
    return recorder._store._client.get_run(recorder.run_id)


def history(tracker: Tracker, run: Any, key: str) -> dict[int, float]:
    points = tracker._client.get_metric_history(run.info.run_id, key)
    assert len({point.step for point in points}) == len(points)
    return {point.step: point.value for point in points}


def test_every_resolved_setting_is_recorded(finished: Finished, experiment: list[Any]) -> None:
    arms = {arm.name: arm for arm in finished.study.arms()}
    for run in experiment:
        tags = run.data.tags
        if tags["phase"] == "study":
            continue
        params = settings_of(run)
        config = arms[tags["arm"]].config({"g_lr": float(params["g_lr"])}, int(tags["seed"]))
        settings = flatten(config.model_dump(mode="json"))
        assert settings["budget.images"] == 320
        assert {key: params[key] for key in settings} == {k: str(v) for k, v in settings.items()}
        assert params["level.loss"] == tags["arm"] == params["loss"]
        assert (params["device"], params["threads"], params["precision"]) == ("cpu", "1", "float32")
        assert params["evaluate.samples"] == "64"
        assert params["evaluate.times"] == "2"
        assert params["evaluate.extractor"] in finished.summary.metric


def test_params_are_what_runs_differ_in(experiment: list[Any]) -> None:
    for run in experiment:
        if run.data.tags["phase"] != "study":
            settings = settings_of(run)
            assert run.data.params == {key: settings[key] for key in ("loss", "g_lr")}


def test_a_run_and_its_model_are_named_by_arm_and_seed(
    confirmed: Any, experiment: list[Any]
) -> None:
    tags = confirmed.data.tags
    assert tags["mlflow.runName"] == f"{tags['arm']} seed {tags['seed']}"
    (output,) = confirmed.outputs.model_outputs
    assert mlflow.get_logged_model(output.model_id).name == tags["mlflow.runName"]
    names = {run.data.tags["mlflow.runName"] for run in experiment}
    assert "hinge search 1 seed 1000001" in names


def test_tags_say_what_ran_where(finished: Finished, confirmed: Any, parent: Any) -> None:
    tags = confirmed.data.tags
    assert tags["study"] == finished.name
    assert tags["arm"] in ("non_saturating", "hinge")
    assert tags["trial"] in ("0", "1")
    assert int(tags["seed"]) == int(tags["trial"]) + 1
    assert tags["outcome"] == "finished"
    assert tags["mlflow.parentRunId"] == parent.info.run_id
    assert tags["host"] == platform.node()
    assert tags["command"]
    for name in ("torch", "torchmetrics", "mlflow", "optuna", "numpy"):
        assert tags[f"version.{name}"] == version(name)
    assert tags["version.python"] == platform.python_version()


def test_the_commit_is_recorded_where_there_is_one(confirmed: Any) -> None:
    command = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, check=False)
    recorded = confirmed.data.tags.get("mlflow.source.git.commit")
    if head.returncode != 0:
        assert recorded is None
    else:
        assert recorded is not None
        assert recorded.removesuffix("-dirty") == head.stdout.strip()


def test_the_dataset_is_an_input_with_its_digest(confirmed: Any) -> None:
    (given,) = confirmed.inputs.dataset_inputs
    dataset = load_dataset("digits", Path("unused"))
    assert (given.dataset.name, given.dataset.digest) == ("digits", dataset.digest)
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "training"}
    profile = json.loads(given.dataset.profile)
    assert (profile["train"], profile["validation"], profile["test"]) == (997, 400, 400)


def test_curves_lie_over_images_seen(finished: Finished, tracker: Tracker, confirmed: Any) -> None:
    measured = list(range(16, 321, 16))
    for key in ("d_loss", "g_loss", "d_grad_norm", "g_grad_norm", "images_per_second"):
        assert list(history(tracker, confirmed, f"train/{key}")) == measured
    for key in ("epochs", "d_steps", "g_steps", "train_seconds"):
        assert list(history(tracker, confirmed, f"progress/{key}")) == measured
    if confirmed.data.params["loss"] == "non_saturating":
        assert list(history(tracker, confirmed, "train/d_real")) == measured
        assert list(history(tracker, confirmed, "train/d_fake")) == measured
    assert history(tracker, confirmed, "progress/d_steps")[320] == 20
    protocol = finished.summary.metric.removeprefix("test/fid_")
    for metric in ("fid", "kid", "feature_spread"):
        assert list(history(tracker, confirmed, f"val/{metric}_{protocol}")) == [192, 320]
        assert list(history(tracker, confirmed, f"test/{metric}_{protocol}")) == [320]


def test_floors_are_a_file_for_pages_show_what_is_the_runs_own(
    tracker: Tracker, confirmed: Any, finished: Finished
) -> None:
    assert not any(is_floor(key) for key in confirmed.data.metrics)
    text = tracker.attached(confirmed.info.run_id, FLOORS_FILE, lambda file: file.read_text())
    floors = json.loads(text or "")
    protocol = finished.summary.metric.removeprefix("test/fid_")
    assert {f"{s}/{m}_floor_{protocol}" for s in ("val", "test") for m in ("fid", "kid")} <= set(
        floors
    )


def test_probabilities_are_logged_where_logits_are_log_odds(experiment: list[Any]) -> None:
    for run in experiment:
        if run.data.tags["phase"] != "study":
            is_log_odds = run.data.tags["arm"] == "non_saturating"
            for key in ("train/d_real", "train/d_fake"):
                assert (key in run.data.metrics) is is_log_odds


def test_nothing_that_is_not_finite_is_in_the_store(experiment: list[Any]) -> None:
    for run in experiment:
        assert run.data.metrics
        assert all(math.isfinite(value) for value in run.data.metrics.values())
        assert all(abs(value) < 1e300 for value in run.data.metrics.values())


def test_grids_are_images_keyed_by_step(tracker: Tracker, confirmed: Any) -> None:
    names = [file.path for file in tracker._client.list_artifacts(confirmed.info.run_id, "images")]
    pictures = [name for name in names if name.endswith(".png")]
    found = [re.match(r"images/(\w+)[%+]step[%+](\d+)[%+]", name) for name in pictures]
    steps: dict[str, set[int]] = {}
    for match in found:
        assert match is not None
        steps.setdefault(match[1], set()).add(int(match[2]))
    assert steps == {"samples": {192, 320}, "neighbours": {320}, "classes": {320}}


def test_the_machine_is_measured(experiment: list[Any]) -> None:
    for run in experiment:
        if run.data.tags["phase"] != "study":
            assert "system/cpu_utilization_percentage" in run.data.metrics
            assert "system/system_memory_usage_megabytes" in run.data.metrics


def test_finished_runs_are_finished(experiment: list[Any]) -> None:
    assert {run.info.status for run in experiment} == {"FINISHED"}
    assert all(run.info.end_time >= run.info.start_time for run in experiment)


def test_the_study_run_carries_file_and_summary(
    finished: Finished, tracker: Tracker, parent: Any
) -> None:
    def text(name: str) -> str:
        return mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/{name}")

    assert text("study.toml") == "question = 'as in the file'\n"
    assert json.loads(text("study.json")) == finished.study.model_dump(mode="json")
    stored = json.loads(text("summary.json"))
    assert stored == json.loads(json.dumps(finished.summary.to_json()))
    assert parent.data.tags["question"] == finished.study.question
    assert parent.data.tags["state"] == "complete"
    assert parent.data.tags["baseline"] == "non_saturating"
    assert "mlflow.parentRunId" not in parent.data.tags


def test_the_logged_model_is_the_exported_generator(
    finished: Finished, tracker: Tracker, confirmed: Any
) -> None:
    mlflow.set_tracking_uri(finished.workspace.tracking_uri)  # another test may have set its own
    (output,) = confirmed.outputs.model_outputs
    model = mlflow.pytorch.load_model(f"models:/{output.model_id}")
    with tracker.generator_folder(confirmed.info.run_id) as folder:
        generator, spec = load_generator(folder)
    for number in (1, 2, 7):
        (latents,) = spec.draw_inputs(number, 0)
        with torch.inference_mode():
            expected = generator(latents)
            images = model(latents)
        assert images.shape == (number, *spec.sample_shape)
        torch.testing.assert_close(images, expected, rtol=0, atol=1e-6)


def test_artifacts_lie_in_the_workspace(finished: Finished, confirmed: Any) -> None:
    assert confirmed.info.artifact_uri.startswith(finished.workspace.artifacts.absolute().as_uri())


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("finished", "FINISHED"),
        ("collapsed", "FINISHED"),
        ("diverged", "FAILED"),
        ("failed", "FAILED"),
        ("pruned", "KILLED"),
    ],
)
def test_a_run_ends_with_its_true_status(recorder: RunRecorder, outcome: Any, status: str) -> None:
    assert read(recorder).info.status == "RUNNING"
    reason = None if outcome == "finished" else "because of that"
    recorder.log_metrics({"train/d_loss": 1.0}, 16)
    recorder.finish(RunResult(outcome=outcome, progress=Progress(), reason=reason))
    run = read(recorder)
    assert run.info.status == status
    assert run.data.tags["outcome"] == outcome
    assert run.data.tags.get("reason") == reason
    assert run.data.metrics["train/d_loss"] == 1.0
    assert run.info.end_time


def test_an_interrupted_run_drops_what_was_held_back_and_goes_on(
    recorder: RunRecorder, workspace: Workspace
) -> None:
    recorder.log_metrics({"train/d_loss": 3.0}, 16)
    recorder.flush()
    recorder.log_metrics({"train/d_loss": 2.0}, 32)
    recorder.log_grid("samples", np.zeros((4, 4, 3), np.uint8), 32)
    recorder.interrupt()
    stopped = read(recorder)
    assert stopped.info.status == "KILLED"
    assert stopped.data.tags["outcome"] == "interrupted"

    tracker = Tracker(workspace)
    again = tracker.resume_run(recorder.run_id)
    assert read(again).info.status == "RUNNING"
    again.log_metrics({"train/d_loss": 2.5}, 32)
    again.finish(RunResult(outcome="finished", progress=Progress()))
    ended = read(again)
    assert ended.info.status == "FINISHED"
    assert ended.data.tags["outcome"] == "finished"
    assert history(tracker, ended, "train/d_loss") == {16: 3.0, 32: 2.5}
    assert tracker._client.list_artifacts(recorder.run_id, "images") == []


def test_non_finite_values_are_left_out(recorder: RunRecorder) -> None:
    values = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.0}
    recorder.log_metrics(values, 16)
    recorder.finish(RunResult(outcome="diverged", progress=Progress(), reason="a is not finite"))
    metrics = {k: v for k, v in read(recorder).data.metrics.items() if "system/" not in k}
    assert metrics == {"d": 1.0}


def test_more_values_than_one_batch_holds_are_all_written(recorder: RunRecorder) -> None:
    for step in range(1500):
        recorder.log_metrics({"a": float(step)}, step)
    recorder.finish(RunResult(outcome="finished", progress=Progress()))
    points = recorder._store._client.get_metric_history(recorder.run_id, "a")
    assert [point.value for point in points] == [float(step) for step in range(1500)]


def test_a_very_long_reason_still_ends_the_run(recorder: RunRecorder) -> None:
    result = RunResult(outcome="failed", progress=Progress(), reason="x" * 20_000)
    recorder.finish(result)
    assert read(recorder).info.status == "FAILED"


def test_each_library_has_one_importer() -> None:
    importers: dict[str, set[str]] = {"mlflow": set(), "optuna": set()}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                if (root := name.partition(".")[0]) in importers:
                    importers[root].add(file.name)
    assert importers == {"mlflow": {"tracking.py"}, "optuna": {"queue.py"}}


def test_a_second_workspace_has_a_store_of_its_own(tmp_path: Path) -> None:
    """MLflow writes the address of the first to the environment, where the second would find it."""
    Tracker(Workspace.locate(root=tmp_path / "one"))
    assert "/two/" in Workspace.locate(root=tmp_path / "two").tracking_uri
