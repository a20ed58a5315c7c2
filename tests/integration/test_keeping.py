"""A study as a whole: removed, or brought under another name, with nothing else touched."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.records.experiment import StudyRuns
from harness.records.tracking import Tracker
from harness.records.workspace import Workspace
from harness.results.status import read_status
from harness.work.board import list_studies, open_study
from harness.work.removal import Removal
from harness.work.renaming import rename_study
from harness.work.rows import Rows

SHORT = {"search": {"trials_per_arm": 1}, "confirm": {"seeds": 1}}
NUM_RUNS = 4
pytestmark = pytest.mark.usefixtures("fake_runs")


def rows(file: Path) -> set[tuple[Any, ...]]:
    """Return all rows of a database, each with its table."""
    with closing(sqlite3.connect(file)) as database:
        tables = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        return {
            (table, *row) for table in tables for row in database.execute(f"SELECT * FROM {table}")
        }


def files(workspace: Workspace) -> dict[Path, str]:
    """Return the hash of every file below the artifacts."""
    return {
        file: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in workspace.artifacts.rglob("*")
        if file.is_file()
    }


def tags(workspace: Workspace, name: str) -> set[str]:
    """Return which studies the runs of an experiment say that they are of."""
    tracker = Tracker(workspace)
    return {run.data.tags["study"] for run in tracker.runs(tracker.open_experiment(name))}


def facts(workspace: Workspace, name: str) -> dict[str, Any]:
    """Return what is known of a study, but its name."""
    return read_status(name, workspace).to_json() | {"name": "", "ledger": ""}


def test_a_study_that_is_removed_leaves_all_others_as_they_are(
    workspace: Workspace, make_study: Any, launch: Any
) -> None:
    launch(workspace, make_study(**SHORT), name="other")
    optuna, mlflow = workspace.root / "optuna.db", workspace.root / "mlflow.db"
    before = rows(optuna), rows(mlflow), files(workspace)
    launch(workspace, make_study(**SHORT))
    removal = Removal.plan("tiny", workspace)
    assert removal.num_runs == NUM_RUNS
    assert removal.num_bytes == sum(
        file.stat().st_size for file in set(files(workspace)) - set(before[2])
    )
    removal.carry_out()
    assert rows(optuna) == before[0]
    assert before[1] <= rows(mlflow)
    assert files(workspace) == before[2]
    assert list_studies(workspace) == ["other"]
    assert not (workspace.artifacts / "tiny").exists()


def test_a_study_that_was_removed_begins_anew(
    workspace: Workspace, make_study: Any, launch: Any, fake_runs: Any
) -> None:
    first = launch(workspace, make_study(**SHORT))
    trained = fake_runs[0].clear()
    removal = Removal.plan("tiny", workspace)
    assert removal.shown
    removal.carry_out()
    again = launch(workspace, make_study(**SHORT))
    assert fake_runs[0].clear() == trained
    assert again.to_json() == first.to_json()
    assert open_study("tiny", workspace).storage.studies.ledger("tiny").has("displayed")


def test_checkpoints_are_counted_and_removed(
    workspace: Workspace, make_study: Any, launch: Any, training_runs: Any
) -> None:
    launch(workspace, make_study(**SHORT))
    run = training_runs(workspace)[0].info.run_id
    workspace.checkpoints.mkdir(exist_ok=True)
    ours, other = (workspace.checkpoints / f"{name}.pt" for name in (run, "0" * 32))
    size = Removal.plan("tiny", workspace).num_bytes
    ours.write_bytes(b"x" * 1000)
    other.write_bytes(b"x")
    removal = Removal.plan("tiny", workspace)
    assert removal.num_bytes == size + 1000
    removal.carry_out()
    assert not ours.exists()
    assert other.exists()


@pytest.mark.parametrize("act", ["remove", "rename"])
def test_a_running_study_is_left_alone(
    workspace: Workspace, make_study: Any, launch: Any, act: str
) -> None:
    launch(workspace, make_study(**SHORT))
    longer = make_study(search={"trials_per_arm": 2}, confirm={"seeds": 1})
    opened = open_study("tiny", workspace)
    opened.storage.studies.write("tiny", opened.definition.model_copy(update={"study": longer}))
    board = open_study("tiny", workspace).board
    work = board.claim(board.prepare())
    assert work is not None
    before = rows(workspace.root / "mlflow.db")
    acts = {
        "remove": lambda: Removal.plan("tiny", workspace).carry_out(),
        "rename": lambda: rename_study("tiny", "small", workspace),
    }
    with pytest.raises(HarnessError, match=r"'tiny' is running: .* search 1 on host"):
        acts[act]()
    assert rows(workspace.root / "mlflow.db") == before
    assert list_studies(workspace) == ["tiny"]
    work[0].release()
    acts[act]()
    assert list_studies(workspace) == ([] if act == "remove" else ["small"])


def test_an_interrupted_removal_is_ended_by_the_same_command(
    workspace: Workspace, make_study: Any, launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(workspace, make_study(**SHORT))
    with monkeypatch.context() as patch:
        patch.setattr(Rows, "delete", _killed)
        with pytest.raises(KeyboardInterrupt):
            Removal.plan("tiny", workspace).carry_out()
    for call in (
        lambda: read_status("tiny", workspace),
        lambda: launch(workspace, make_study(**SHORT)),
        lambda: rename_study("tiny", "small", workspace),
    ):
        with pytest.raises(HarnessError, match="is being removed: `harness rm tiny` goes on"):
            call()
    Removal.plan("tiny", workspace).carry_out()
    assert list_studies(workspace) == []
    launch(workspace, make_study(**SHORT))


def test_a_renamed_study_goes_on_bit_for_bit(
    workspace: Workspace, make_study: Any, launch: Any, fake_runs: Any, monkeypatch: Any
) -> None:
    # Twins would count as repeats of each other, and lose their p.
    monkeypatch.setattr("harness.work.notes._ends_elsewhere", lambda opened, name: [])
    longer = make_study(search={"trials_per_arm": 3}, confirm={"seeds": 2})
    for name in ("tiny", "kept"):
        launch(workspace, make_study(**SHORT), name=name)
    fake_runs[0].clear()
    launch(workspace, longer, name="kept")
    trained = fake_runs[0].clear()
    before = facts(workspace, "tiny")
    assert rename_study("tiny", "small", workspace) == NUM_RUNS
    assert sorted(list_studies(workspace)) == ["kept", "small"]
    assert facts(workspace, "small") == before
    assert tags(workspace, "small") == {"small"}
    assert tags(workspace, "kept") == {"kept"}
    launch(workspace, longer, name="small")
    assert fake_runs[0].clear() == trained
    assert facts(workspace, "small") | {"remaining_seconds": 0} == (
        facts(workspace, "kept") | {"remaining_seconds": 0}
    )


def test_a_name_that_is_taken_or_none_is_refused(
    workspace: Workspace, make_study: Any, launch: Any
) -> None:
    for name in ("tiny", "other"):
        launch(workspace, make_study(**SHORT), name=name)
    Tracker(workspace).open_experiment("alone")
    for new, words in (("other", "exists"), ("a/b", "allowed"), ("alone", "another experiment")):
        with pytest.raises(HarnessError, match=words):
            rename_study("tiny", new, workspace)
    with pytest.raises(HarnessError, match="unknown study 'tinny'"):
        rename_study("tinny", "small", workspace)
    assert tags(workspace, "tiny") == {"tiny"}
    read_status("tiny", workspace)


@pytest.mark.parametrize(
    ("step", "new"),
    [("retag", "another"), ("rename_experiment", "small"), ("rename", "another")],
)
def test_an_interrupted_renaming_is_ended_by_the_same_command_or_another_name(
    workspace: Workspace,
    make_study: Any,
    launch: Any,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    new: str,
) -> None:
    launch(workspace, make_study(**SHORT))
    before = facts(workspace, "tiny")
    with monkeypatch.context() as patch:
        if step == "retag":
            patch.setattr("mlflow.MlflowClient.set_tag", _killed_at(3))
        else:
            patch.setattr(Rows if step == "rename" else StudyRuns, step, _killed)
        with pytest.raises(KeyboardInterrupt):
            rename_study("tiny", "small", workspace)
    with pytest.raises(HarnessError, match="renamed: `harness rename tiny small` goes on"):
        read_status("tiny", workspace)
    assert rename_study("tiny", new, workspace) == NUM_RUNS
    assert tags(workspace, new) == {new}
    assert facts(workspace, new) == before
    Removal.plan(new, workspace).carry_out()
    assert not any(files(workspace))


def test_a_half_renamed_study_can_be_removed(
    workspace: Workspace, make_study: Any, launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(workspace, make_study(**SHORT))
    with monkeypatch.context() as patch:
        patch.setattr(Rows, "rename", _killed)
        with pytest.raises(KeyboardInterrupt):
            rename_study("tiny", "small", workspace)
    Removal.plan("tiny", workspace).carry_out()
    for name in ("tiny", "small"):
        launch(workspace, make_study(**SHORT), name=name)


def test_a_new_study_of_the_old_name_shares_nothing_with_the_renamed_one(
    workspace: Workspace, make_study: Any, launch: Any
) -> None:
    launch(workspace, make_study(**SHORT))
    rename_study("tiny", "small", workspace)
    before = files(workspace)
    launch(workspace, make_study(**SHORT))
    Removal.plan("tiny", workspace).carry_out()
    assert files(workspace) == before
    assert list_studies(workspace) == ["small"]


def test_what_others_keep_in_the_experiment_stays(
    workspace: Workspace, make_study: Any, launch: Any
) -> None:
    launch(workspace, make_study(**SHORT))
    tracker = Tracker(workspace)
    experiment = tracker.open_experiment("tiny")
    own = tracker._client.create_run(experiment, run_name="mine").info.run_id
    tracker.log_file(own, "note.txt", "mine")
    Removal.plan("tiny", workspace).carry_out()
    assert [run.info.run_id for run in tracker.runs(experiment)] == [own]
    assert [file.name for file in files(workspace)] == ["note.txt"]
    launch(workspace, make_study(**SHORT))


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def _killed_at(number: int) -> Any:
    from mlflow import MlflowClient

    original, calls = MlflowClient.set_tag, []

    def set_tag(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > number:
            raise KeyboardInterrupt
        return original(*arguments)

    return set_tag
