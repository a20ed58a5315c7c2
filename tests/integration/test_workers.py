"""Several processes work on one study, and any of them may die."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from harness.records.tracking import Tracker, logged_dataset
from harness.records.workspace import Workspace
from harness.results.status import read_status
from harness.work.board import Board
from harness.work.queue import Storage

if TYPE_CHECKING:
    from conftest import Finished


def cells(name: str, study: Any, workspace: Workspace) -> dict[tuple[str, str, int], Any]:
    states = Board(Storage(workspace), name, study, "test/fid_digits_cnn_v2_64").states()
    return {
        (state.arm.name, record.cell.key, record.cell.trial): (record.outcome, dict(record.scores))
        for state in states
        for record in (*state.search, *state.confirm)
    }


def trial_states(workspace: Workspace) -> set[str]:
    """Look at the database from outside, without taking part in its creation."""
    address = f"file:{workspace.root / 'optuna.db'}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            return {state for (state,) in connection.execute("SELECT state FROM trials")}
    except sqlite3.OperationalError:  # not there yet, or being made
        return set()


def test_the_study_names_its_data_before_any_worker_does(
    finished: Finished, parent: Any, workspace: Workspace, launch: Any, fake_runs: Any
) -> None:
    assert logged_dataset(parent(finished.workspace)).name == "digits"
    named: list[str] = []
    log = MlflowClient.log_inputs

    def note(client: Any, run_id: str, *arguments: Any, **options: Any) -> None:
        named.append(run_id)
        log(client, run_id, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "log_inputs", note)
        launch(workspace, finished.study)
        launch(workspace, finished.study, retry_failed=True)
    tracker = Tracker(workspace)
    study = tracker.run(named[0])
    assert study.data.tags["phase"] == "study"
    assert len(study.inputs.dataset_inputs) == 1
    assert len(set(named)) == 1 + 8


def test_two_workers_find_what_one_finds(
    finished: Finished, workspace: Workspace, launch: Any, training_runs: Any, listener: Any
) -> None:
    summary = launch(workspace, finished.study, workers=2, display=lambda metric: listener)
    events = listener.events
    assert summary == finished.summary
    expected = cells(finished.name, finished.study, finished.workspace)
    assert cells(finished.name, finished.study, workspace) == expected
    runs = training_runs(workspace, finished.name)
    assert len(runs) == len(expected)
    assert {run.info.status for run in runs} == {"FINISHED"}
    ended = [event for event in events if event.kind == "ended"]
    assert len(ended) == len(expected)
    assert {event.worker for event in events} <= {0, 1}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_study_is_finished_by_the_same_command(
    tmp_path: Path, workers: int, training_runs: Any, tiny_study: str
) -> None:
    file = tmp_path / "survival.toml"
    file.write_text(tiny_study.replace("images = 320", "images = 16_000"))
    workspace = Workspace.locate(root=tmp_path / "mlruns")
    command = [
        sys.executable,
        "-m",
        "harness.cli",
        "run",
        str(file),
        "--threads",
        "1",
        "--underpowered",
    ]
    command += ["--device", "cpu", "--workers", str(workers), "--quiet"]
    environment = os.environ | {"HARNESS_HOME": str(workspace.root)}
    process = subprocess.Popen(command, env=environment, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while True:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
        if {"COMPLETE", "RUNNING"} <= trial_states(workspace):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not read_status("survival", workspace).summary.complete

    again = subprocess.run(command, env=environment, cwd=tmp_path, check=False, timeout=300)
    assert again.returncode == 0
    status = read_status("survival", workspace)
    assert status.summary.complete
    assert status.running == ()
    runs = training_runs(workspace, "survival")
    assert {run.info.status for run in runs} == {"FINISHED"}
    done = Counter(tuple(run.data.tags[k] for k in ("arm", "phase", "trial")) for run in runs)
    assert len(done) == 8
    assert set(done.values()) == {1}
    assert list(workspace.checkpoints.glob("*")) == []
