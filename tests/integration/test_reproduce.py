"""A recorded run trained again: equal bits where they are due, and every difference named."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

import harness.cli
import harness.records.tracking
import harness.results.reproduce.record
from harness.config import flatten, parse
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig
from harness.launch import train_once
from harness.records.tracking import Tracker, settings_of
from harness.records.workspace import Workspace
from harness.results.reproduce import Reproduction, rebuild_config, reproduce_run
from harness.run.runner import RunResult
from harness.systems.gan import GANConfig

EVALUATE = EvaluateConfig(samples=64, times=2, kid_subsets=2)
HUGE_STEPS = {"optimizer": "sgd", "loss": "wasserstein", "g_lr": 1e30, "d_lr": 1e30}
SECONDS = {"budget": {"seconds": 0.2}}
Train = Callable[..., tuple[str, RunResult]]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Do without MLflow's model of each generator, which takes longer than a tiny run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness.records.tracking.mlflow.pytorch, "log_model", lambda *_, **__: None)
        yield


@pytest.fixture(scope="module")
def original(
    quick: None,
    empty_stores: Path,
    tmp_path_factory: pytest.TempPathFactory,
    locate: Callable[[Path], Workspace],
) -> Workspace:
    """Return a workspace for the runs of this file; only to be added to."""
    root = tmp_path_factory.mktemp("reproduce") / "mlruns"
    shutil.copytree(empty_stores, root)
    return locate(root)


@pytest.fixture(scope="session")
def train(tiny_settings: dict[str, Any]) -> Train:
    """Return the function that trains a tiny GAN by itself."""

    def train(workspace: Workspace, **changes: Any) -> tuple[str, RunResult]:
        settings = {"dataset": "digits", "budget": {"images": 320}, **tiny_settings, **changes}
        config = parse(GANConfig, settings, "test")
        return train_once(config, EVALUATE, workspace, device="cpu", threads=1)

    return train


@pytest.fixture(scope="module")
def run_id(original: Workspace, train: Train) -> str:
    run_id, result = train(original)
    assert result.outcome == "finished"
    return run_id


@pytest.fixture(scope="module")
def study_runs(original: Workspace, make_study: Any, launch: Any) -> list[Any]:
    """Return all runs of a study whose search has half the budget."""
    search = {"trials_per_arm": 1, "budget_share": 0.5}
    study = make_study(compare={"loss": ["hinge"]}, search=search, confirm={"seeds": 1})
    launch(original, study)
    tracker = Tracker(original)
    return tracker.runs(tracker.open_experiment("tiny"))


@pytest.fixture
def copy(
    original: Workspace, run_id: str, tmp_path: Path, locate: Callable[[Path], Workspace]
) -> Workspace:
    """Return a copy of the record to tamper with; its artifacts stay where they are."""
    root = tmp_path / "mlruns"
    shutil.copytree(original.root, root, ignore=shutil.ignore_patterns("artifacts"))
    return locate(root)


@pytest.fixture
def call(call: Any, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return a function that runs `harness reproduce …` on a workspace in this process."""

    def reproduce(workspace: Workspace, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("HARNESS_HOME", str(workspace.root))
        said: tuple[int, str, str] = call("reproduce", *arguments)
        return said

    return reproduce


def tag(workspace: Workspace, run_id: str, key: str, value: str) -> None:
    Tracker(workspace)._client.set_tag(run_id, key, value)


def dump(workspace: Workspace) -> list[str]:
    with sqlite3.connect(workspace.root / "mlflow.db") as connection:
        lines = list(connection.iterdump())
    connection.close()
    return lines


def test_a_finished_run_comes_out_bit_for_bit_and_nothing_is_written(
    original: Workspace, run_id: str
) -> None:
    before = dump(original)
    files = sorted(original.root.rglob("*"))
    threads = torch.get_num_threads()
    result = reproduce_run(run_id, original)
    assert result.differing == ()
    assert (result.reproduced, result.exact) == (True, True)
    assert (result.outcome, result.outcome_here) == ("finished", "finished")
    # Per measurement: 2 losses, 2 gradient norms, d_real, d_fake, 3 counters; then the scores.
    assert result.steps == 20
    assert result.values >= 20 * 9 + 2 * 3 + 3 + 4
    assert result.grids == 4
    assert result.weights > 4 * 4 + 4 * 256
    assert [score.step for score in result.final] == [320, 320]
    assert [score.key.partition("/")[0] for score in result.final] == ["val", "test"]
    assert f"{result.values} values at 20 steps, 4 pictures and" in result.verdict
    assert dump(original) == before
    assert sorted(original.root.rglob("*")) == files
    assert torch.get_num_threads() == threads


def test_runs_of_either_phase_of_a_study(original: Workspace, study_runs: list[Any]) -> None:
    splits = {"search": ["val"], "confirm": ["val", "test"]}
    seen = set()
    for run in study_runs:
        phase = run.data.tags["phase"]
        seen.add(phase)
        if phase == "study":
            with pytest.raises(HarnessError, match="is a study"):
                reproduce_run(run.info.run_id, original)
            continue
        result = reproduce_run(run.info.run_id, original)
        assert result.reproduced, result.describe()
        assert result.exact
        assert [score.key.partition("/")[0] for score in result.final] == splits[phase]
        assert {score.step for score in result.final} == {160 if phase == "search" else 320}
    assert seen == {"study", "search", "confirm"}


def test_a_changed_scalar_is_found_and_named(
    copy: Workspace, run_id: str, call: Call, original: Workspace
) -> None:
    value = dict(Tracker(copy).history(run_id, "train/d_loss"))[160]
    with sqlite3.connect(copy.root / "mlflow.db") as connection:
        sql = "UPDATE metrics SET value = ? WHERE run_uuid = ? AND key = ? AND step = ?"
        connection.execute(sql, (value * (1 + 1e-15), run_id, "train/d_loss", 160))
    connection.close()
    code, out, err = call(copy, run_id, "--quiet")
    assert (code, err) == (1, "")
    assert "compared: every scalar, sample grid and weight, bit for bit" in out
    assert "not reproduced: 1 difference in" in out
    assert "the final score is within 0.25" in out
    assert "  train/d_loss at 160 images: recorded " in out
    assert out.endswith(f", here {value}\n")


def test_a_record_of_before_there_was_a_second_ruler_comes_out_bit_for_bit(
    copy: Workspace, run_id: str
) -> None:
    client = Tracker(copy)._client
    run = client.get_run(run_id)
    settings = settings_of(run)
    early = {key: settings[key] for key in settings if not key.startswith("evaluate.judge")}
    assert len(early) < len(settings)
    for key in early.keys() - run.data.params:  # as early runs had all of them
        client.log_param(run_id, key, early[key])
    client.delete_tag(run_id, "record")
    with sqlite3.connect(copy.root / "mlflow.db") as connection:
        where = "FROM metrics WHERE run_uuid = ? AND key LIKE '%judge%'"
        (number,) = connection.execute(f"SELECT COUNT(*) {where}", (run_id,)).fetchone()
        assert number > 0
        connection.execute(f"DELETE {where}", (run_id,))
    connection.close()
    result = reproduce_run(run_id, copy)
    assert (result.exact, result.reproduced) == (True, True)
    assert not [each for each in result.environment if "judge" in each.key]


def test_a_scalar_that_one_side_lacks_is_found(copy: Workspace, run_id: str) -> None:
    Tracker(copy)._client.log_metric(run_id, "train/g_loss", 1.0, step=8)
    with sqlite3.connect(copy.root / "mlflow.db") as connection:
        sql = "DELETE FROM metrics WHERE run_uuid = ? AND key = 'train/d_loss' AND step = 32"
        connection.execute(sql, (run_id,))
    connection.close()
    first, second = reproduce_run(run_id, copy).differing
    assert (first.key, first.step, first.recorded, first.reproduced) == ("train/g_loss", 8, 1, None)
    assert (second.key, second.step, second.recorded) == ("train/d_loss", 32, None)


def test_one_changed_weight_is_found(
    original: Workspace, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = harness.results.reproduce.record._recorded_weights

    def changed(tracker: Tracker, run_id: str) -> Mapping[str, torch.Tensor]:
        weights = read(tracker, run_id)
        tensor = next(iter(weights.values()))
        tensor.view(-1)[0] = torch.nextafter(tensor.view(-1)[0], torch.tensor(torch.inf))
        return weights

    monkeypatch.setattr(harness.results.reproduce.record, "_recorded_weights", changed)
    (difference,) = reproduce_run(run_id, original).differing
    assert difference.key.startswith("generator/")
    assert str(difference.recorded).startswith("sha256 ")


def test_lost_weights_are_said(
    original: Workspace, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.records.tracking, "WEIGHTS_ARTIFACT", "nowhere")
    result = reproduce_run(run_id, original)
    assert (result.reproduced, result.weights) == (True, 0)
    assert "no weights, for the recorded ones are lost" in result.verdict


def test_other_libraries_leave_the_final_score_to_compare(
    copy: Workspace, run_id: str, call: Call
) -> None:
    tag(copy, run_id, "version.torch", "1.0")
    code, out, _ = call(copy, run_id, "--quiet", "--tolerance", "0")
    assert code == 0
    assert f"version.torch: recorded 1.0, here {version('torch')}" in out
    assert "compared: final scores within 0, relative, since version.torch differs" in out
    assert "reproduced: recorded as finished, finished here; val/fid" in out

    with sqlite3.connect(copy.root / "mlflow.db") as connection:
        sql = "UPDATE metrics SET value = 1.2 * value WHERE key LIKE 'test/fid_digits%'"
        connection.execute(sql)
    connection.close()
    assert reproduce_run(run_id, copy, tolerance=0.25).reproduced
    result = reproduce_run(run_id, copy, tolerance=0.1)
    (off,) = result.differing
    assert off.key.startswith("test/fid_")
    assert "(-16.67%); 0.1 is allowed" in result.verdict


def test_another_processor_leaves_the_final_score_to_compare(copy: Workspace, run_id: str) -> None:
    tag(copy, run_id, "processor", "Z80, family 1 model 2 stepping 3, DEFAULT")
    result = reproduce_run(run_id, copy)
    assert result.inexact_because == ("processor differs",)
    assert result.reproduced
    with sqlite3.connect(copy.root / "mlflow.db") as connection:
        connection.execute("DELETE FROM tags WHERE key = 'processor'")  # an early record
    connection.close()
    result = reproduce_run(run_id, copy)
    assert result.inexact_because == ("the record does not name its processor",)


@pytest.mark.parametrize("key", ["version.python", "version.optuna", "host", "version.torchvision"])
def test_what_decides_no_digit_is_only_reported(copy: Workspace, run_id: str, key: str) -> None:
    tag(copy, run_id, key, "another")
    tag(copy, run_id, "mlflow.source.git.commit", "0" * 40)
    result = reproduce_run(run_id, copy)
    assert result.exact
    assert result.reproduced
    assert {"mlflow.source.git.commit", key} <= {each.key for each in result.environment}


def test_a_diverged_run_diverges_again(original: Workspace, train: Train) -> None:
    run_id, trained = train(original, **HUGE_STEPS)
    assert trained.outcome == "diverged"
    result = reproduce_run(run_id, original)
    assert result.reproduced, result.describe()
    assert result.exact
    assert (result.outcome_here, result.reason_here) == ("diverged", trained.reason)
    assert result.weights == 0
    assert result.values > 0

    tag(original, run_id, "reason", "weights are not finite at images_seen = 7")
    (difference,) = reproduce_run(run_id, original).differing
    assert (difference.key, difference.reproduced) == ("reason", trained.reason)


def test_a_budget_in_seconds_is_compared_by_its_score(original: Workspace, train: Train) -> None:
    run_id, trained = train(original, **SECONDS)
    assert trained.scores
    result = reproduce_run(run_id, original, tolerance=1e9)
    assert result.inexact_because == (
        "a budget in seconds buys another number of steps every time",
    )
    assert result.reproduced
    assert len(result.final) == 2


def test_a_missing_gpu_is_replaced_and_said(
    copy: Workspace, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = Tracker(copy).settings(run_id)
    settings |= {"device": "cuda", "precision": "float32, convolutions tf32"}
    tag(copy, run_id, "record", json.dumps(settings))
    result = reproduce_run(run_id, copy)
    assert result.inexact_because == ("device differs", "precision differs")
    assert result.reproduced


@pytest.mark.parametrize("outcome", ["pruned", "interrupted", "failed"])
def test_runs_without_an_end_of_their_own_are_refused(
    copy: Workspace, run_id: str, outcome: str, call: Call
) -> None:
    tag(copy, run_id, "outcome", outcome)
    code, out, err = call(copy, run_id)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: run {run_id} is {outcome}: only finished, collapsed")
    assert err.count("\n") == 1


def test_what_is_no_ended_run_is_refused(copy: Workspace, run_id: str, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="does not have the run nothing"):
        reproduce_run("nothing", copy)
    with pytest.raises(HarnessError, match="tolerance"):
        reproduce_run(run_id, copy, tolerance=-1.0)
    tracker = Tracker(copy)
    foreign = tracker._client.create_run(tracker.open_experiment("train")).info.run_id
    tracker._client.set_terminated(foreign)
    with pytest.raises(HarnessError, match="no training run of this harness"):
        reproduce_run(foreign, copy)
    tracker._client.update_run(run_id, status="RUNNING")
    with pytest.raises(HarnessError, match="still running"):
        reproduce_run(run_id, copy)
    empty = Workspace.locate(root=tmp_path / "empty")
    with pytest.raises(HarnessError, match="does not exist yet"):
        reproduce_run(run_id, empty)
    assert not empty.root.exists()


def test_other_data_are_refused_with_both_digests(copy: Workspace, run_id: str) -> None:
    digest = Tracker(copy).run(run_id).inputs.dataset_inputs[0].dataset.digest
    with sqlite3.connect(copy.root / "mlflow.db") as connection:
        connection.execute("UPDATE datasets SET digest = 'of-others'")
    connection.close()
    with pytest.raises(HarnessError, match=rf"has digest {digest}, run .* of-others"):
        reproduce_run(run_id, copy)


def test_other_weights_to_start_from_are_refused(
    original: Workspace, train: Train, run_id: str, tmp_path: Path
) -> None:
    folder, tracker = tmp_path / "best", Tracker(original)
    with tracker.generator_folder(run_id) as files:
        shutil.copytree(files, folder)
    begun, _ = train(original, g_from=str(folder))
    assert not reproduce_run(begun, original).differing
    with tracker.generator_folder(begun) as files:
        shutil.copytree(files, folder, dirs_exist_ok=True)
    with pytest.raises(HarnessError, match=f"started from other weights than g_from = '{folder}'"):
        reproduce_run(begun, original)


def test_the_result_as_json(original: Workspace, run_id: str, call: Call) -> None:
    code, out, err = call(original, run_id, "--json")
    assert code == 0
    assert "finished" in err  # the line that `harness train` shows
    result = json.loads(out)
    fields = set(Reproduction.__dataclass_fields__) | {"exact", "reproduced", "verdict"}
    assert set(result) == fields
    assert (result["run_id"], result["reproduced"], result["differing"]) == (run_id, True, [])


CONFIGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "small rates": {"g_lr": 1e-05, "d_lr": 3e-4, "adam_beta1": 0.0, "weight_decay": 1e-12},
    "digits of a float": {"g_lr": 0.1 + 0.2, "d_lr": 1 / 3, "adam_beta2": 1 - 2**-53},
    "penalty": {"penalty": "r1", "penalty_weight": 0.05, "penalty_interval": 16},
    "penalty without weight": {"penalty": "gradient"},
    "weight of nought": {"penalty": "dragan", "penalty_weight": 0.0},
    "clip": {"loss": "wasserstein", "optimizer": "rmsprop", "weight_clip": 0.01},
    "network": {"architecture": "mlp", "g_norm": "layer", "g_dropout": 0.3, "d_depth": 5},
    "folder": {"dataset": "folder:/data/cats.and dogs=1", "image_size": 64},
    "folder of digits": {"dataset": "folder:1e-05"},
    "images": {"budget": {"images": 10**12}},
    "g_steps": {"budget": {"g_steps": 1}},
    "d_steps": {"budget": {"d_steps": 7}, "d_steps": 5},
    "seconds": {"budget": {"seconds": 1e-05}, "seed": 2**63},
    "whole seconds": {"budget": {"seconds": 3600.0}},
}


@pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS)
def test_every_setting_survives_the_record(settings: dict[str, Any]) -> None:
    config = parse(GANConfig, settings, "test")
    flat = flatten(config.model_dump(mode="json"))
    others = {"level.loss": "hinge", "level.g.lr": 1, "device": "cpu", "threads": 2}
    others |= {"precision": "float32", "parameters.generator": 7, "evaluate.samples": 64}
    params = {key: str(value) for key, value in (flat | others).items()}
    again = rebuild_config(params, "test")
    assert again == config
    assert again.model_dump_json() == config.model_dump_json()


def test_a_setting_of_another_version_is_refused() -> None:
    with pytest.raises(HarnessError, match="here: unknown key 'impetus'"):
        rebuild_config({"impetus": "0.9"}, "here")
