"""A study that is interrupted or killed goes on to the answer that it would have had."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

import harness.run.runner
import harness.work.worker
from harness.records.recorder import RunRecorder
from harness.records.tracking import Tracker
from harness.records.workspace import Workspace
from harness.results.status import read_status
from harness.run.runner import run
from harness.work.cell import CellRecord

if TYPE_CHECKING:
    from conftest import Finished

NAME = "tiny"


def scores(found: dict[Any, CellRecord]) -> dict[Any, Any]:
    return {key: (found[key].cell.point, dict(found[key].scores)) for key in found}


Interruption = Callable[[pytest.MonkeyPatch, int], None]


def in_training(patch: pytest.MonkeyPatch, number: int) -> None:
    """Press Ctrl-C in the middle of the n-th run."""
    started = iter(range(1, 1000))

    def interrupted(*args: Any, on_progress: Any, **options: Any) -> Any:
        this, calls = next(started), iter(range(1, 1000))

        def press(*news: Any) -> None:
            on_progress(*news)
            if this == number and next(calls) == 13:
                raise KeyboardInterrupt

        return run(*args, on_progress=press, **options)

    patch.setattr(harness.work.worker, "run", interrupted)


def at_the_end(patch: pytest.MonkeyPatch, number: int) -> None:
    """Press Ctrl-C while the n-th run's result is written."""
    finish, ended = RunRecorder.finish, iter(range(1, 1000))

    def press(self: RunRecorder, result: Any) -> None:
        if next(ended) == number:
            raise KeyboardInterrupt
        finish(self, result)

    patch.setattr(RunRecorder, "finish", press)


@pytest.mark.parametrize(
    ("interrupt", "number"),
    [(in_training, 2), (in_training, 6), (at_the_end, 3)],
    ids=["search", "confirm", "end of a run"],
)
def test_an_interrupted_study_goes_on_to_the_same_answer(
    finished: Finished,
    workspace: Workspace,
    no_models: None,
    monkeypatch: pytest.MonkeyPatch,
    interrupt: Interruption,
    number: int,
    launch: Any,
    training_runs: Any,
    parent: Any,
    records: Any,
    cell_of: Any,
    expected: Any,
) -> None:
    monkeypatch.setattr(harness.run.runner, "CHECKPOINT_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        interrupt(patch, number)
        with pytest.raises(KeyboardInterrupt):
            launch(workspace, finished.study)

    stopped = training_runs(workspace)
    assert len(stopped) == number
    assert Counter(each.info.status for each in stopped) == {"FINISHED": number - 1, "KILLED": 1}
    (killed,) = [each for each in stopped if each.info.status == "KILLED"]
    assert killed.data.tags["outcome"] == "interrupted"
    assert parent(workspace).info.status == "KILLED"
    assert parent(workspace).data.tags["state"] == "incomplete"
    status = read_status(NAME, workspace)
    assert not status.summary.complete
    assert status.running == ()

    summary = launch(workspace, finished.study)
    assert summary == finished.summary
    assert scores(records(workspace, finished.study)) == scores(
        records(finished.workspace, finished.study)
    )
    found = training_runs(workspace)
    assert sorted(map(cell_of, found)) == expected
    assert {each.info.status for each in found} == {"FINISHED"}
    assert {each.data.tags["outcome"] for each in found} == {"finished"}
    assert parent(workspace).info.status == "FINISHED"
    assert list(workspace.checkpoints.glob("*")) == []
    client = Tracker(workspace)._client
    for key in ("train/d_loss", summary.metric.replace("test/", "val/")):
        steps = [point.step for point in client.get_metric_history(killed.info.run_id, key)]
        assert len(steps) == len(set(steps))


def test_a_killed_process_leaves_nothing_behind_for_good(
    finished: Finished,
    workspace: Workspace,
    no_models: None,
    monkeypatch: pytest.MonkeyPatch,
    launch: Any,
    training_runs: Any,
    cell_of: Any,
    expected: Any,
) -> None:
    # SIGKILL: no handler runs, the trial and its MLflow run stay RUNNING and the lease's holder
    # is gone.
    monkeypatch.setattr(harness.run.runner, "CHECKPOINT_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        in_training(patch, 2)
        patch.setattr(RunRecorder, "interrupt", RunRecorder.abandon)
        patch.setattr(harness.work.queue.Claim, "release", lambda claim: claim._lease.end())
        with pytest.raises(KeyboardInterrupt):
            launch(workspace, finished.study)
    assert "RUNNING" in {each.info.status for each in training_runs(workspace)}
    assert len(read_status(NAME, workspace).running) == 1

    monkeypatch.setattr(harness.work.lease.psutil, "Process", _no_process)
    summary = launch(workspace, finished.study)
    assert summary == finished.summary
    found = training_runs(workspace)
    assert sorted(map(cell_of, found)) == expected
    assert {each.info.status for each in found} == {"FINISHED"}


def _no_process(pid: int | None = None) -> Any:
    import psutil

    if pid is None:  # our own, asked for when a lease is written

        class Own:
            def create_time(self) -> float:
                return 1.0

        return Own()
    raise psutil.NoSuchProcess(pid)


def test_a_claim_is_released_that_was_interrupted_while_it_was_made(
    finished: Finished,
    workspace: Workspace,
    no_models: None,
    monkeypatch: pytest.MonkeyPatch,
    launch: Any,
) -> None:
    take = harness.work.queue.Queue.claim

    def interrupted(queue: Any) -> Any:
        claim = take(queue)
        signal.raise_signal(signal.SIGINT)
        return claim

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(harness.work.queue.Queue, "claim", interrupted)
            with pytest.raises(KeyboardInterrupt):
                launch(workspace, finished.study)
    finally:
        signal.signal(signal.SIGINT, before)
    assert read_status(NAME, workspace).running == ()
    assert launch(workspace, finished.study) == finished.summary
