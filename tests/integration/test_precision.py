"""A study's precision: chosen once, stored, recorded, and kept by everything that trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import harness.launch
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig
from harness.launch import preview, train_once
from harness.records.tracking import settings_of
from harness.records.workspace import Workspace
from harness.results.reproduce import reproduce_run
from harness.run.execution import Execution
from harness.run.precision import Choice
from harness.study.study import StudyConfig
from harness.systems.gan import GANConfig
from harness.work.queue import Storage

EVALUATE = EvaluateConfig(samples=64, times=2, kid_subsets=2)


def test_it_is_chosen_once_and_kept(
    workspace: Workspace,
    make_study: Callable[..., StudyConfig],
    launch: Any,
    training_runs: Any,
    parent: Any,
    no_models: None,
    listener: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def choose(precision: Any, configs: Any, bench: Any) -> Choice:
        asked.append((precision, list(configs)))
        return Choice(precision="bfloat16", reason="the test says so")

    monkeypatch.setattr(harness.launch, "choose_precision", choose)
    study = make_study(precision="auto", confirm={"seeds": 1}, search={"trials_per_arm": 1})
    launch(workspace, study, display=lambda metric: listener)
    assert listener.notes() == ["training in bfloat16: the test says so"]
    monkeypatch.setattr(harness.launch, "choose_precision", pytest.fail)
    more = make_study(precision="auto", confirm={"seeds": 2}, search={"trials_per_arm": 1})
    launch(workspace, more, display=lambda metric: listener)
    assert asked == [("auto", ["non_saturating", "hinge"])]
    assert "when the study started" in listener.notes()[1]
    definition = Storage(workspace).studies.definition("tiny")
    assert definition is not None
    assert definition.execution.precision == "bfloat16"
    assert definition.precision_reason == "the test says so"
    assert parent(workspace).data.tags["precision_reason"] == "the test says so"
    runs = training_runs(workspace)
    assert len(runs) == 6
    assert {settings_of(run)["precision"] for run in runs} == {"bfloat16"}
    with pytest.raises(HarnessError, match='precision = "auto", the file now says "float32"'):
        launch(workspace, make_study(precision="float32"))


@pytest.mark.slow
def test_two_workers_find_in_bfloat16_what_one_finds(
    make_study: Callable[..., StudyConfig],
    workspace: Workspace,
    locate: Callable[[Path], Workspace],
    tmp_path: Path,
    launch: Any,
    training_runs: Any,
    no_models: None,
) -> None:
    study = make_study(precision="bfloat16", confirm={"seeds": 1}, search={"trials_per_arm": 1})
    one = launch(workspace, study)
    (tmp_path / "other").mkdir()
    other = locate(tmp_path / "other")
    assert launch(other, study, workers=2) == one
    float32 = launch(other, make_study(confirm={"seeds": 1}), name="float32")
    assert [arm.scores for arm in float32.arms] != [arm.scores for arm in one.arms]
    assert {settings_of(run)["precision"] for run in training_runs(other)} == {"bfloat16"}


def test_a_run_in_bfloat16_is_reproduced_bit_for_bit(
    workspace: Workspace, tiny_settings: dict[str, Any]
) -> None:
    settings = {**tiny_settings, "dataset": "digits", "budget": {"images": 320}, "seed": 3}
    config = GANConfig.model_validate(settings)
    options: dict[str, Any] = {"device": "cpu", "threads": 1}
    run_id, result = train_once(config, EVALUATE, workspace, precision="bfloat16", **options)
    assert result.outcome in ("finished", "collapsed")
    said: list[str] = []
    again = reproduce_run(run_id, workspace, tell=said.append)
    assert again.inexact_because == ()
    assert again.reproduced
    assert "1 thread(s) in bfloat16" in said[0]
    other, _ = train_once(config, EVALUATE, workspace, precision="float32", **options)
    assert reproduce_run(other, workspace).reproduced


def test_weights_in_a_record_are_float32(
    workspace: Workspace, tiny_settings: dict[str, Any]
) -> None:
    from harness.records.tracking import Tracker
    from harness.systems import load_generator

    settings = {**tiny_settings, "dataset": "digits", "budget": {"images": 160}}
    config = GANConfig.model_validate(settings)
    run_id, _ = train_once(config, EVALUATE, workspace, device="cpu", precision="bfloat16")
    with Tracker(workspace).generator_folder(run_id) as folder:
        generator, _ = load_generator(folder)
    assert {weight.dtype for weight in generator.parameters()} == {torch.float32}


def test_a_dry_run_says_what_would_be_chosen(
    workspace: Workspace, make_study: Callable[..., StudyConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = Choice(precision="bfloat16", reason="the test says so")
    monkeypatch.setattr(harness.launch, "choose_precision", lambda *_: choice)
    plan = preview("new", make_study(), workspace, Execution(device="cpu", threads=1), None)
    assert plan["precision"] == "bfloat16"
    assert plan["workers"] >= 1
