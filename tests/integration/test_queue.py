"""Cells: each is done exactly once, whoever dies."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.trial import TrialState

import harness.work.lease
import harness.work.queue
from harness.records.workspace import Workspace
from harness.run.runner import Stop
from harness.study.space import Choice, Range
from harness.work.cell import Cell
from harness.work.queue import Claim, Queue, Storage

SPACE: dict[str, Any] = {
    "g_lr": Range(low=1e-5, high=1e-1, log=True),
    "d_steps": Choice(values=(1, 2, 5)),
}
POINT = {"g_lr": 1e-3, "d_steps": 2}
THREADS = 4


def cells(number: int, *, point: Any = POINT) -> list[Cell]:
    return [Cell(key=str(n), point=point, seeds=[100 + n], trial=n) for n in range(number)]


def queue_of(workspace: Workspace, **options: Any) -> Queue:
    """Return the same queue through a connection of its own, as another process would have it."""
    return Storage(workspace).queue("study", "arm", "search", space=SPACE, **options)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("optuna")
    Storage(Workspace.locate(root=root))
    with sqlite3.connect(root / "optuna.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return root / "optuna.db"


@pytest.fixture
def workspace(empty: Path, tmp_path: Path) -> Workspace:
    shutil.copy(empty, tmp_path / "optuna.db")
    return Workspace.locate(root=tmp_path)


@pytest.fixture
def queue(workspace: Workspace) -> Queue:
    return queue_of(workspace)


@pytest.fixture(autouse=True)
def _no_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases change only where a test wants it."""
    monkeypatch.setattr(harness.work.lease, "RENEW_SECONDS", 3600.0)


def take(queue: Queue) -> Claim:
    claim = queue.claim()
    assert claim is not None
    return claim


def trials(workspace: Workspace) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(
        study_name="study/arm/search", storage=workspace.storage_url
    ).get_trials()


def at_once(workers: Sequence[Callable[[], Any]]) -> list[Any]:
    """Return what the functions return, called in threads that start together."""
    barrier, results = threading.Barrier(len(workers)), [None] * len(workers)

    def work(index: int) -> None:
        barrier.wait()
        results[index] = workers[index]()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(workers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def expire(claim: Claim, **changes: Any) -> None:
    """Rewrite a lease, by default as if its holder had been silent for too long."""
    lease = dict(claim._trial.user_attrs["lease"])
    claim._trial.set_user_attr("lease", lease | (changes or {"until": time.time() - 1}))


def test_prepare_enqueues_exactly_the_expected_cells_once(
    workspace: Workspace, queue: Queue
) -> None:
    queue.prepare(cells(3))
    queue.prepare(cells(3))
    queue_of(workspace).prepare(cells(3))
    assert len(trials(workspace)) == 3
    assert list(queue.records()) == ["0", "1", "2"]
    assert {record.state for record in queue.records().values()} == {"waiting"}
    queue.prepare(cells(4))
    assert len(trials(workspace)) == 4


def test_cells_are_claimed_in_order_and_carry_what_they_were_given(queue: Queue) -> None:
    queue.prepare(cells(3))
    assert [take(queue).cell for _ in range(3)] == cells(3)
    assert queue.claim() is None


def test_what_is_running_or_done_is_not_enqueued_again(workspace: Workspace, queue: Queue) -> None:
    queue.prepare(cells(3))
    take(queue).complete("finished", 1.0, {})
    take(queue).prune("pruned", "poor")
    take(queue)
    queue.prepare(cells(3))
    assert len(trials(workspace)) == 3
    assert queue.claim() is None


def test_simultaneous_claims_never_get_the_same_cell(workspace: Workspace, queue: Queue) -> None:
    number = 16
    queue.prepare(cells(number))
    queues = [queue_of(workspace) for _ in range(THREADS)]
    together = threading.Barrier(THREADS)

    def drain(mine: Queue) -> list[str]:
        claims = []
        for _ in range(number):  # who loses a race gets None and asks again
            together.wait()
            claims.append(mine.claim())
        return [claim.cell.key for claim in claims if claim]

    taken = at_once([lambda mine=mine: drain(mine) for mine in queues])
    assert Counter(key for keys in taken for key in keys) == Counter(map(str, range(number)))


def test_an_expired_lease_is_taken_over_with_all_that_is_remembered(
    workspace: Workspace, queue: Queue
) -> None:
    queue.prepare([replace(cells(1)[0], point=None)])
    first = take(queue)
    first.remember("runs", {"100": "abc"})
    assert queue_of(workspace).claim() is None  # the lease holds

    expire(first)
    second = take(queue_of(workspace))
    assert second.cell == first.cell
    assert second.cell.point is not None
    assert second.recall("runs") == {"100": "abc"}
    assert queue.claim() is None
    second.complete("finished", 1.5, {})
    assert [record.state for record in queue.records().values()] == ["complete"]
    assert queue.records()["0"].run_ids == {100: "abc"}


def test_an_expired_lease_is_taken_over_exactly_once(workspace: Workspace, queue: Queue) -> None:
    queue.prepare(cells(1))
    expire(take(queue))
    queues = [queue_of(workspace) for _ in range(THREADS)]
    claims = at_once([mine.claim for mine in queues])
    late = [mine.claim() for mine in queues]  # who came second may see the cell only now
    assert len([claim for claim in [*claims, *late] if claim]) == 1
    states = Counter(trial.state for trial in trials(workspace))
    assert states[TrialState.RUNNING] == 1
    assert states[TrialState.WAITING] == 0


def test_a_lease_is_renewed(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.work.lease, "RENEW_SECONDS", 0.01)
    queue.prepare(cells(1))
    claim = take(queue)
    expire(claim)
    deadline = time.monotonic() + 10
    while queue._study.get_trials()[0].user_attrs["lease"]["until"] < time.time():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    claim.complete("finished", 1.0, {})
    assert not claim._lease._thread.is_alive()


def test_the_old_holder_is_stopped_after_its_renewal_fails(
    workspace: Workspace, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.work.lease, "RENEW_SECONDS", 0.05)
    queue.prepare(cells(1))
    old = take(queue)
    old.check()
    other = queue_of(workspace)
    with monkeypatch.context() as patch:
        patch.setattr(harness.work.queue, "is_abandoned", lambda trial: True)
        assert other.claim() is not None
    assert old._lease._lost.wait(10)
    with pytest.raises(Stop):
        old.check()
    with pytest.raises(Stop):
        old.remember("done", {})
    with pytest.raises(Stop):
        old.report(1, 1.0)
    with pytest.raises(Stop):
        old.complete("finished", 1.0, {})


@pytest.mark.parametrize(
    "use",
    [
        lambda claim: claim.remember("done", {}),
        lambda claim: claim.report(1, 1.0),
        lambda claim: claim.complete("finished", 1.0, {}),
        lambda claim: claim.prune("pruned", "poor"),
        lambda claim: claim.fail("error"),
    ],
    ids=["remember", "report", "complete", "prune", "fail"],
)
def test_the_old_holder_is_stopped_even_before_its_next_renewal(
    workspace: Workspace, queue: Queue, use: Callable[[Claim], Any]
) -> None:
    # As when a machine wakes up after a long sleep: the renewal comes only seconds later.
    queue.prepare(cells(1))
    old = take(queue)
    expire(old)
    new = take(queue_of(workspace))
    with pytest.raises(Stop):
        use(old)
    new.complete("finished", 2.0, {})
    assert queue.records()["0"].value == 2.0


def test_an_old_holder_that_lets_go_disturbs_nobody(workspace: Workspace, queue: Queue) -> None:
    queue.prepare(cells(1))
    old = take(queue)
    expire(old)
    new = take(queue_of(workspace))
    old.release()
    assert queue.claim() is None
    new.complete("finished", 2.0, {})
    assert queue.records()["0"].value == 2.0


@pytest.mark.parametrize(
    ("lease", "is_free"),
    [
        ({"pid": 2**22 + 1}, True),
        ({"born": 1.0}, True),  # the number belongs to a younger process now
        ({"host": "elsewhere", "pid": 2**22 + 1}, False),
        ({"pid": os.getpid()}, False),
    ],
    ids=["dead", "recycled", "another host", "alive"],
)
def test_a_dead_process_on_this_host_loses_its_cell_at_once(
    workspace: Workspace, queue: Queue, lease: dict[str, Any], is_free: bool
) -> None:
    queue.prepare(cells(1))
    claim = take(queue)
    assert claim._trial.user_attrs["lease"]["host"] == platform.node()
    assert claim._trial.user_attrs["lease"]["born"] == psutil.Process().create_time()
    expire(claim, **lease)
    assert (queue_of(workspace).claim() is not None) is is_free


def test_a_released_cell_is_continued(workspace: Workspace, queue: Queue) -> None:
    queue.prepare([replace(cell, point=None) for cell in cells(2)])
    claim = take(queue)
    claim.remember("done", {"100": {"scores": {}}})
    claim.release()
    assert not claim._lease._thread.is_alive()
    queue.prepare([replace(cell, point=None) for cell in cells(2)])
    assert {key: record.state for key, record in queue.records().items()} == {
        "0": "waiting",
        "1": "waiting",
    }
    again = [take(queue), take(queue)]
    continued = next(each for each in again if each.cell.key == "0")
    assert continued.cell == claim.cell
    assert continued.recall("done") == {"100": {"scores": {}}}
    assert queue.claim() is None


def test_settling_records_what_became_of_a_cell(workspace: Workspace, queue: Queue) -> None:
    queue.prepare(cells(5))
    take(queue).complete("finished", 12.5, {"val/fid": 12.5, "val/kid": 0.1})
    take(queue).complete("collapsed", 99.0, {"val/fid": 99.0})
    take(queue).prune("diverged", "d_loss is not finite")
    take(queue).prune("pruned", "poor")
    take(queue).fail("RuntimeError: out of memory")

    records = list(queue_of(workspace).records().values())
    assert [record.state for record in records] == ["complete"] * 4 + ["failed"]
    outcomes = ["finished", "collapsed", "diverged", "pruned", "failed"]
    assert [record.outcome for record in records] == outcomes
    assert [record.value for record in records] == [12.5, 99.0, None, None, None]
    assert records[0].scores == {"val/fid": 12.5, "val/kid": 0.1}
    assert [record.reason for record in records[2:]] == [
        "d_loss is not finite",
        "poor",
        "RuntimeError: out of memory",
    ]
    assert all(record.is_done and (record.seconds or -1) >= 0 for record in records)
    assert [trial.state for trial in trials(workspace)] == [
        TrialState.COMPLETE,
        TrialState.COMPLETE,
        TrialState.PRUNED,  # the sampler learns from a pruned trial, not from a failed one
        TrialState.PRUNED,
        TrialState.FAIL,
    ]


def test_failed_cells_are_tried_again_only_on_request(workspace: Workspace, queue: Queue) -> None:
    queue.prepare(cells(2))
    take(queue).fail("no luck")
    take(queue).prune("diverged", "nan")
    queue.prepare(cells(2))
    assert queue.claim() is None

    queue.prepare(cells(2), retry_failed=True)
    queue.prepare(cells(2), retry_failed=True)
    claim = take(queue)
    assert claim.cell == cells(2)[0]
    assert claim.recall("runs") is None
    assert queue.claim() is None
    claim.complete("finished", 1.0, {})
    assert queue.records()["0"].outcome == "finished"
    queue.prepare(cells(2), retry_failed=True)
    assert queue.claim() is None


def test_duplicates_of_two_simultaneous_prepares_are_dropped(
    workspace: Workspace, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.prepare(cells(3))
    hasty = queue_of(workspace)
    with monkeypatch.context() as patch:
        patch.setattr(hasty, "records", dict)  # looked before the other had written
        hasty.prepare(cells(3))
    assert len(trials(workspace)) == 6

    keys = []
    while claim := queue.claim():
        keys.append(claim.cell.key)
        claim.complete("finished", 1.0, {})
    assert keys == ["0", "1", "2"]
    assert [record.state for record in queue.records().values()] == ["complete"] * 3


def test_simultaneous_prepares_leave_every_cell_to_be_done_once(workspace: Workspace) -> None:
    queues = [queue_of(workspace) for _ in range(THREADS)]
    at_once([lambda mine=mine: mine.prepare(cells(4)) for mine in queues])
    keys = []
    while claim := queues[0].claim():
        keys.append(claim.cell.key)
        claim.complete("finished", 1.0, {})
    assert sorted(keys) == ["0", "1", "2", "3"]
