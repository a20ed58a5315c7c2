"""What a search tries next and what it stops: samplers and pruners learn from all of its cells."""

from __future__ import annotations

import math
from typing import Any

import pytest

import harness.work.lease
from harness.records.workspace import Workspace
from harness.study.space import Choice, Range
from harness.work.cell import Cell
from harness.work.queue import Claim, Queue, Storage

SPACE: dict[str, Any] = {
    "g_lr": Range(low=1e-5, high=1e-1, log=True),
    "d_steps": Choice(values=(1, 2, 5)),
}
POINT = {"g_lr": 1e-3, "d_steps": 2}


def cells(number: int, *, point: Any = POINT) -> list[Cell]:
    return [Cell(key=str(n), point=point, seeds=[100 + n], trial=n) for n in range(number)]


def queue_of(workspace: Workspace, **options: Any) -> Queue:
    return Storage(workspace).queue("study", "arm", "search", space=SPACE, **options)


@pytest.fixture(autouse=True)
def _no_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.work.lease, "RENEW_SECONDS", 3600.0)


def take(queue: Queue) -> Claim:
    claim = queue.claim()
    assert claim is not None
    return claim


def test_tpe_gets_exactly_its_cells_and_learns(workspace: Workspace) -> None:
    number = 30
    queue = queue_of(workspace, sampler_seed=1)
    suggested = [Cell(key=str(n), point=None, seeds=[n], trial=n) for n in range(1, number)]
    queue.prepare([*cells(1), *suggested])

    distances = []
    while claim := queue.claim():
        point = claim.cell.point
        assert point is not None
        assert 1e-5 <= point["g_lr"] <= 1e-1
        assert point["d_steps"] in (1, 2, 5)
        distance = abs(math.log10(point["g_lr"]) + 2) + 0.3 * abs(point["d_steps"] - 5)
        distances.append(distance)
        if distance > 3:
            claim.prune("diverged", "nan")
        else:
            claim.complete("finished", distance, {})

    assert len(distances) == number == len(queue._study.get_trials())
    records = queue.records()
    assert records["0"].cell.point == POINT
    assert len({str(record.cell.point) for record in records.values()}) == number
    assert sum(distances[-10:]) < 0.6 * sum(distances[:10])


def test_tpe_is_reproducible_and_depends_on_study_seed(workspace: Workspace) -> None:
    def suggest(arm: str, seed: int) -> list[Any]:
        queue = Storage(workspace).queue(f"s{seed}", arm, "search", space=SPACE, sampler_seed=seed)
        queue.prepare(cells(3, point=None))
        points = []
        while claim := queue.claim():
            points.append(claim.cell.point)
            claim.complete("finished", 1.0, {})
        return points

    first = suggest("a", 1)
    assert suggest("b", 1) != first
    assert suggest("a", 2) != first
    again = Workspace.locate(root=workspace.root / "fresh")
    other = Storage(again).queue("s1", "a", "search", space=SPACE, sampler_seed=1)
    other.prepare(cells(3, point=None))
    points = []
    while claim := other.claim():
        points.append(claim.cell.point)
        claim.complete("finished", 1.0, {})
    assert points == first


@pytest.mark.parametrize(("pruner", "prunes"), [("none", False), ("median", True)])
def test_the_pruner_stops_a_bad_trial_and_no_good_one(
    workspace: Workspace, pruner: str, prunes: bool
) -> None:
    queue = queue_of(workspace, pruner=pruner)
    queue.prepare(cells(6))
    for n in range(4):
        claim = take(queue)
        assert not claim.report(1, 10.0 + n)
        assert not claim.report(2, 5.0 + n)
        claim.complete("finished", 5.0 + n, {})
    bad, good = take(queue), take(queue)
    assert bool(bad.report(1, 100.0)) is prunes
    assert not good.report(1, 1.0)


def test_halving_stops_a_bad_trial_and_no_good_one(workspace: Workspace) -> None:
    queue = queue_of(workspace, pruner="halving")
    queue.prepare(cells(6))
    for n in range(4):
        claim = take(queue)
        if not (claim.report(1, 5.0 - n) or claim.report(2, 4.0 - n)):
            claim.complete("finished", 4.0 - n, {})
        else:
            claim.prune("pruned", "poor")
    bad, good = take(queue), take(queue)
    assert bad.report(1, 100.0)
    assert not good.report(1, 0.1)


def test_a_value_told_again_after_a_continuation_is_no_trouble(workspace: Workspace) -> None:
    queue = queue_of(workspace)
    queue.prepare(cells(1))
    claim = take(queue)
    claim.report(1, 3.0)
    claim.report(1, 3.0)
    assert queue._study.get_trials()[0].intermediate_values == {1: 3.0}
