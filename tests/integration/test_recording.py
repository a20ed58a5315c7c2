"""Errors of MLflow or of the disk are no results: the run stays unfinished and goes on later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

import harness.run.runner
from harness.errors import HarnessError
from harness.launch import train_once
from harness.records.recorder import RunRecorder
from harness.records.tracking import Tracker
from harness.records.workspace import Workspace
from harness.results.summary import StudySummary
from harness.study.study import StudyConfig
from harness.work.board import open_study

FULL = OSError(28, "No space left on device")


def _failing(method: Any, number: int, error: Exception = FULL) -> Callable[..., Any]:
    """Return the method, whose call of this number raises, as a full disk does."""
    calls = iter(range(1, 10_000))

    def call(*args: Any, **options: Any) -> Any:
        if next(calls) == number:
            raise error
        return method(*args, **options)

    return call


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (RunRecorder, "flush"),
        (RunRecorder, "log_grid"),
        (RunRecorder, "log_generator"),
        (RunRecorder, "log_metrics"),
        (RunRecorder, "finish"),
        (harness.run.runner, "save_checkpoint"),
    ],
)
def test_a_run_that_could_not_be_recorded_goes_on_to_the_same_answer(
    owner: Any,
    name: str,
    workspace: Workspace,
    no_models: None,
    make_study: Callable[..., StudyConfig],
    launch: Callable[..., StudySummary],
    finished: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = make_study()
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, _failing(getattr(owner, name), 2))
        with pytest.raises(HarnessError, match=r"could not be recorded: OSError: .*No space left"):
            launch(workspace, study)
    states = open_study("tiny", workspace).board.states()
    cells = [cell for state in states for cell in (*state.search, *state.confirm)]
    assert {cell.outcome for cell in cells} <= {None, "finished"}
    assert all(cell.state in ("waiting", "complete") for cell in cells)

    summary = launch(workspace, study)
    assert summary.complete
    assert [arm.scores for arm in summary.arms] == [arm.scores for arm in finished.summary.arms]


def test_what_goes_wrong_after_the_error_does_not_hide_it(
    workspace: Workspace,
    no_models: None,
    make_study: Callable[..., StudyConfig],
    launch: Callable[..., StudySummary],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("and this failed too")

    with monkeypatch.context() as patch:
        patch.setattr(RunRecorder, "flush", _failing(RunRecorder.flush, 1))
        patch.setattr(RunRecorder, "interrupt", broken)
        with pytest.raises(HarnessError, match="No space left"):
            launch(workspace, make_study())
    assert launch(workspace, make_study()).complete


def test_a_single_run_says_so_in_one_line(
    workspace: Workspace,
    no_models: None,
    make_study: Callable[..., StudyConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = make_study()
    config = study.arms()[0].config({}, seed=1)
    monkeypatch.setattr(RunRecorder, "flush", _failing(RunRecorder.flush, 1))
    with pytest.raises(HarnessError, match="gan seed 1 could not be recorded: OSError") as error:
        train_once(config, study.evaluate, workspace, device="cpu", threads=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["describe_parent", "close_parent"])
def test_a_study_that_cannot_be_summed_up_says_so_in_one_line(
    name: str,
    workspace: Workspace,
    no_models: None,
    make_study: Callable[..., StudyConfig],
    launch: Callable[..., StudySummary],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise MlflowException("database or disk is full")

    study = make_study()
    calls = 2 if name == "describe_parent" else 1  # where it stood is said first
    with monkeypatch.context() as patch:
        patch.setattr(
            Tracker, name, _failing(getattr(Tracker, name), calls, MlflowException("full"))
        )
        with pytest.raises(HarnessError, match=r"study 'tiny' could not be recorded: MlflowExc"):
            launch(workspace, study)
    with monkeypatch.context() as patch:  # what stopped it is told, not what follows
        patch.setattr(RunRecorder, "flush", _failing(RunRecorder.flush, 1))
        patch.setattr(Tracker, "close_parent", broken)
        with pytest.raises(HarnessError, match=r"could not be recorded: OSError"):
            launch(workspace, make_study(confirm={"seeds": 3}))
    assert launch(workspace, make_study(confirm={"seeds": 3})).complete
