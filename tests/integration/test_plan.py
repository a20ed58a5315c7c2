"""A study keeps to its plan: what is registered, what is noted, and where seeds are spent."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.config import parse
from harness.errors import HarnessError
from harness.launch import preview
from harness.records.workspace import Workspace
from harness.results.report import write_report
from harness.results.status import read_status
from harness.run.execution import Execution
from harness.study.file import check_extension
from harness.study.study import StudyConfig
from harness.systems.gan import GAN
from harness.work.board import open_study
from harness.work.queue import Storage


def test_a_decided_arm_stops_and_the_others_go_on(
    tiny_study: str, workspace: Workspace, launch: Callable[..., Any]
) -> None:
    raw = tomllib.loads(tiny_study)
    raw["fixed"]["average"] = 0
    raw |= {
        # A baseline that learns nothing, an arm that breaks, and one that hardly learns.
        "compare": {"g_lr": [1e-9, 2e-2, 2e-3]},
        "space": {},
        "confirm": {"looks": [5, 10]},
        "budget": {"images": 1280},
    }
    summary = launch(workspace, parse(StudyConfig, raw, "test"))
    assert summary.complete
    runs = {arm.name: len(arm.scores) for arm in summary.arms}
    assert runs == {"g_lr=1e-09": 10, "g_lr=0.02": 5, "g_lr=0.002": 10}
    found = {test.arm: test for test in summary.comparisons}
    assert found["g_lr=0.02"].is_resolved
    assert found["g_lr=0.02"].num_runs == (5, 5)
    assert found["g_lr=0.002"].num_runs == (10, 10)
    assert not found["g_lr=0.002"].is_resolved


def test_the_ledger_knows_the_plan_before_the_first_run_and_every_look(
    make_study: Callable[..., Any],
    workspace: Workspace,
    launch: Callable[..., Any],
    tmp_path: Path,
) -> None:
    plan = {"space": {}, "budget": {"images": 160}}
    study = make_study(**plan, confirm={"seeds": 1})
    launch(workspace, study, source="text")
    ledger = Storage(workspace).studies.ledger("tiny")
    assert [entry.kind for entry in ledger.entries] == ["registered", "displayed"]
    registered, shown = ledger.entries
    opened = open_study("tiny", workspace)
    runs = [record for state in opened.board.states() for record in state.confirm]
    assert registered.study == study
    assert set(registered.confirmed.values()) == {0}
    assert len(registered.source_sha256) == 64
    assert registered.time < shown.time
    assert (shown.shown_by, set(shown.confirmed.values())) == ("harness run", {1})
    assert runs

    # What shows nothing new is no further look.
    read_status("tiny", workspace)
    write_report(["tiny"], workspace, tmp_path / "report")
    launch(workspace, study)
    assert Storage(workspace).studies.ledger("tiny") == ledger

    # More seeds after a look: the tests are not what they were.
    summary = launch(workspace, make_study(**plan, confirm={"seeds": 2}))
    (test,) = summary.comparisons
    assert test.p_value is None
    assert "extended after a look at its test scores (confirm.seeds from 1 to 2)" in test.withheld
    (extension,) = Storage(workspace).studies.ledger("tiny").extensions
    assert extension.spoils
    assert extension.entry.confirmed == shown.confirmed
    report = write_report(["tiny"], workspace, tmp_path / "report")
    assert "has no p, since the study was extended after a look" in report.answer


@pytest.mark.parametrize(
    "change",
    [{"coverage_margin": 0.5}, {"smallest_effect": 1.0}, {"looks": [1, 2]}],
)
def test_what_decides_an_answer_is_never_changed(
    change: Any, make_study: Callable[..., Any]
) -> None:
    with pytest.raises(HarnessError, match=r"study 'tiny' exists with confirm\."):
        check_extension("tiny", make_study(), make_study(confirm=change))


def test_a_study_that_could_resolve_nothing_is_refused_before_anything_is_written(
    make_study: Callable[..., Any], workspace: Workspace, launch: Callable[..., Any]
) -> None:
    with pytest.raises(HarnessError, match="--underpowered"):
        launch(workspace, make_study(space={}), underpowered=False)
    assert Storage(workspace).studies.names() == []


def test_a_batch_beyond_the_machines_memory_is_refused(
    make_study: Callable[..., Any], workspace: Workspace, launch: Callable[..., Any]
) -> None:
    study = make_study(fixed={"batch_size": 10**10}, budget={"images": 10**11})
    with pytest.raises(HarnessError, match="= 10000000000: a step takes more than 28,610 G"):
        launch(workspace, study)
    assert Storage(workspace).studies.names() == []


def test_a_dry_run_names_the_arm_whose_first_steps_fail(
    make_study: Callable[..., Any], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(GAN, "step", step)
    execution = Execution(device="cpu", threads=1)
    with pytest.raises(HarnessError, match=r"arm 'non_saturating' fails at its first steps: Runt"):
        preview("tiny", make_study(), workspace, execution, 1)
