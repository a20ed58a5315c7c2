"""A whole study: two honest phases, what extends it, and what becomes of arms that fail."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import harness.run.runner
import harness.work.worker
from harness.errors import HarnessError
from harness.records.tracking import Tracker
from harness.records.workspace import Workspace
from harness.results.report.records import load_records
from harness.results.status import read_status
from harness.statistics import mean_and_sd, median
from harness.systems.gan import GAN, GANConfig
from harness.work.queue import Storage

if TYPE_CHECKING:
    from conftest import Finished, Trained

NAME = "tiny"
ARMS = ("non_saturating", "hinge")


def dump(workspace: Workspace) -> list[str]:
    """Return both databases as SQL."""
    lines: list[str] = []
    for name in ("mlflow.db", "optuna.db"):
        with sqlite3.connect(workspace.root / name) as connection:
            lines += connection.iterdump()
        connection.close()
    return lines


def test_every_arm_gets_the_same_trials_and_fresh_seeds(
    finished: Finished, training_runs: Any, cell_of: Any, expected: Any
) -> None:
    found = training_runs(finished.workspace)
    assert sorted(map(cell_of, found)) == expected
    seeds = {
        phase: {int(run.data.tags["seed"]) for run in found if run.data.tags["phase"] == phase}
        for phase in ("search", "confirm")
    }
    assert seeds["search"].isdisjoint(seeds["confirm"])
    assert finished.summary.complete
    assert [arm.search_outcomes for arm in finished.summary.arms] == [{"finished": 2}] * 2
    assert [arm.confirm_outcomes for arm in finished.summary.arms] == [{"finished": 2}] * 2


def test_an_arms_defaults_are_its_trial_0(finished: Finished, training_runs: Any) -> None:
    for run_ in training_runs(finished.workspace):
        if run_.data.tags["phase"] == "search":
            is_default = float(run_.data.params["g_lr"]) == GANConfig.model_fields["g_lr"].default
            assert is_default is (run_.data.tags["trial"] == "0")


def test_confirm_runs_take_the_settings_that_were_best_on_validation(
    finished: Finished, training_runs: Any, records: Any
) -> None:
    found = records(finished.workspace, finished.study)
    objective = finished.summary.metric.replace("test/", "val/")
    for arm in finished.summary.arms:
        search = [found[arm.name, "search", trial] for trial in (0, 1)]
        assert [each.value for each in search] == [each.scores[objective] for each in search]
        best = min(search, key=lambda each: each.value or math.inf)
        assert arm.settings == best.cell.point
        assert arm.best_validation == best.value
        for run_ in training_runs(finished.workspace):
            tags = run_.data.tags
            if (tags["arm"], tags["phase"]) == (arm.name, "confirm"):
                assert float(run_.data.params["g_lr"]) == best.cell.point["g_lr"]  # type: ignore[index]


def test_only_confirm_runs_see_the_test_split(
    finished: Finished, training_runs: Any, records: Any
) -> None:
    for run_ in training_runs(finished.workspace):
        is_confirm = run_.data.tags["phase"] == "confirm"
        assert (finished.summary.metric in run_.data.metrics) is is_confirm
    for (_, phase, _), record in records(finished.workspace, finished.study).items():
        assert (finished.summary.metric in record.scores) is (phase == "confirm")


def test_the_summary_is_what_mlflow_holds(
    finished: Finished, training_runs: Any, parent: Any, cell_of: Any
) -> None:
    summary = finished.summary
    values: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for run_ in sorted(training_runs(finished.workspace), key=cell_of):
        if run_.data.tags["phase"] == "confirm":
            values[run_.data.tags["arm"]].append(run_.data.metrics[summary.metric])
    for arm in summary.arms:
        assert list(arm.scores) == values[arm.name]
        assert (arm.mean, arm.sd) == mean_and_sd(values[arm.name])
        assert arm.median == median(values[arm.name])
    (comparison,) = summary.comparisons
    assert (comparison.arm, comparison.baseline) == ("hinge", "non_saturating")
    differences = [a - b for a in values["hinge"] for b in values["non_saturating"]]
    assert comparison.difference == pytest.approx(median(differences))
    wins = sum(a < b for a in values["hinge"] for b in values["non_saturating"])
    assert comparison.superiority == wins / 4
    said = parent(finished.workspace).data
    metrics = said.metrics
    assert metrics[f"{summary.metric}/hinge"] == pytest.approx(summary.arm("hinge").mean)
    floor = summary.metric.replace("fid", "fid_floor")
    records = load_records(finished.name, finished.workspace, Tracker(finished.workspace))
    assert {run.metrics[floor] for run in records.runs} == {summary.floor}
    assert float(said.tags["compare/hinge/p_value"]) == comparison.p_value


def test_status_says_what_the_study_returned(finished: Finished) -> None:
    status = read_status(NAME, finished.workspace)
    assert status.summary == finished.summary
    assert status.running == ()
    assert status.remaining_seconds is None
    json.dumps(status.to_json(), allow_nan=False)


def test_a_complete_study_answers_at_once(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, launch: Any
) -> None:
    before = dump(finished.workspace)
    monkeypatch.setattr(harness.work.worker, "run", lambda *_, **__: pytest.fail("it trained"))
    assert launch(finished.workspace, finished.study) == finished.summary
    assert dump(finished.workspace) == before


CHANGES: dict[str, dict[str, Any]] = {
    "fixed": {"fixed": {"g_width": 5}},
    "budget": {"budget": {"images": 640}},
    "samples": {"evaluate": {"samples": 65}},
    "times": {"evaluate": {"times": 3}},
    "space": {"space": {"g_lr": {"low": 1e-4, "high": 1.0, "log": True}}},
    "tuned too": {"space": {"d_lr": {"low": 1e-5, "high": 1e-1}}},
    "sampler": {"search": {"sampler": "tpe"}},
    "pruner": {"search": {"pruner": "median"}},
    "share": {"search": {"budget_share": 0.5}},
    "seed": {"seed": 1},
    "fewer trials": {"search": {"trials_per_arm": 1}},
    "fewer seeds": {"confirm": {"seeds": 1}},
    "an arm less": {"compare": {"loss": ["non_saturating", "minimax"]}},
    "baseline": {"baseline": {"loss": "hinge"}},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_changed_file_is_refused_and_nothing_is_touched(
    finished: Finished,
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    make_study: Any,
    launch: Any,
) -> None:
    before = dump(finished.workspace)
    monkeypatch.setattr(harness.work.worker, "run", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(HarnessError, match="--name") as refusal:
        launch(finished.workspace, make_study(**changes))
    assert "\n" not in str(refusal.value)
    assert dump(finished.workspace) == before


def test_other_threads_are_refused_and_auto_keeps_what_there_was(
    finished: Finished, launch: Any
) -> None:
    with pytest.raises(HarnessError, match=r"--threads 2: .* was started with 1"):
        launch(finished.workspace, finished.study, threads=2)
    summary = launch(finished.workspace, finished.study, threads=None, device="auto", workers=2)
    assert summary == finished.summary


def test_fewer_trials_than_the_default_number_are_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, make_study: Any, launch: Any
) -> None:
    monkeypatch.setattr(harness.work.worker, "run", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch(workspace, make_study(search={"trials_per_arm": None}))
    assert read_status(NAME, workspace).summary.arm("hinge").search_outcomes == {"waiting": 20}
    with pytest.raises(HarnessError, match="trials_per_arm"):
        launch(workspace, make_study(search={"trials_per_arm": 5}))


def test_extending_a_study_only_adds_what_is_missing(
    workspace: Workspace, fake_runs: tuple[Trained, Any], make_study: Any, launch: Any
) -> None:
    trained, scoring = fake_runs
    first = launch(workspace, make_study())
    assert len(trained.clear()) == 8
    best = {arm.name: arm.settings for arm in first.arms}

    # A new trial that is the best in one arm and poor in the other.
    def fid(config: GANConfig) -> float:
        is_new = config.seed == 1_000_002
        poor = 50.0 if config.loss == "hinge" else 0.001
        return poor if is_new else 1.0 + abs(math.log10(config.g_lr) + 2)

    scoring["fid"] = fid
    larger = make_study(
        search={"trials_per_arm": 3},
        confirm={"seeds": 3},
        compare={"loss": [*ARMS, "least_squares"]},
    )
    second = launch(workspace, larger)
    assert second.complete
    new = trained.clear()
    counts = Counter(
        (config.loss, "search" if config.seed >= 1_000_000 else "confirm") for config in new
    )
    assert counts == {
        ("non_saturating", "search"): 1,
        ("non_saturating", "confirm"): 3,  # its best settings have changed: all anew
        ("hinge", "search"): 1,
        ("hinge", "confirm"): 1,  # they have not: the third seed only
        ("least_squares", "search"): 3,
        ("least_squares", "confirm"): 3,
    }
    assert second.arm("hinge").settings == best["hinge"]
    assert second.arm("non_saturating").settings != best["non_saturating"]
    assert [len(arm.scores) for arm in second.arms] == [3, 3, 3]
    confirmed = {
        config.g_lr for config in new if config.loss == "non_saturating" and config.seed < 1_000_000
    }
    assert confirmed == {second.arm("non_saturating").settings["g_lr"]}  # type: ignore[index]

    assert launch(workspace, larger) == second
    assert trained.clear() == []


def test_trials_of_several_seeds_are_judged_by_their_mean(
    workspace: Workspace, fake_runs: tuple[Trained, Any], make_study: Any, launch: Any, records: Any
) -> None:
    trained, scoring = fake_runs
    scoring["fid"] = lambda config: float(config.seed % 7)
    study = make_study(
        compare={"loss": ["hinge"]}, search={"trials_per_arm": 2, "seeds": 3}, confirm={"seeds": 1}
    )
    launch(workspace, study)
    found = records(workspace, study)
    for trial in (0, 1):
        seeds = study.search_seeds(trial)
        assert list(found["hinge", "search", trial].run_ids) == seeds
        assert found["hinge", "search", trial].value == sum(seed % 7 for seed in seeds) / 3
    assert [config.seed for config in trained.configs] == [
        *study.search_seeds(0),
        *study.search_seeds(1),
        1,
    ]


def test_search_runs_get_their_share_of_the_budget(
    workspace: Workspace, fake_runs: tuple[Trained, Any], make_study: Any, launch: Any
) -> None:
    launch(workspace, make_study(search={"trials_per_arm": 1, "budget_share": 0.25}))
    budgets = {(config.seed >= 1_000_000, config.budget.images) for config in fake_runs[0].configs}
    assert budgets == {(True, 80), (False, 320)}


def test_bad_trials_are_pruned_and_confirm_runs_never(
    workspace: Workspace,
    no_models: None,
    monkeypatch: pytest.MonkeyPatch,
    make_study: Any,
    launch: Any,
) -> None:
    asked: list[str] = []

    def spy(self: Any, step: int, value: float) -> bool:
        asked.append(self.cell.key)
        return True

    monkeypatch.setattr(harness.work.queue.Claim, "report", spy)
    study = make_study(compare={"loss": ["hinge"]}, evaluate={"times": 1}, confirm={"seeds": 1})
    assert launch(workspace, study).complete
    assert asked == ["0", "1"]


def test_a_failing_arm_is_recorded_and_the_study_goes_on(
    workspace: Workspace,
    no_models: None,
    monkeypatch: pytest.MonkeyPatch,
    make_study: Any,
    launch: Any,
    training_runs: Any,
    cell_of: Any,
) -> None:
    step = GAN.step
    study = make_study()

    def broken(self: GAN, *args: Any) -> Any:
        if self.config.loss == "hinge":
            raise RuntimeError("no kernel for hinges")
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(GAN, "step", broken)
        summary = launch(workspace, study)
    assert summary.complete
    assert summary.arm("non_saturating").num_scored == 2
    assert summary.arm("hinge").search_outcomes == {"failed": 2}
    assert summary.arm("hinge").settings is None
    assert summary.comparisons == ()
    assert any("no setting survived" in sentence for sentence in summary.answer())
    failed = [each for each in training_runs(workspace) if each.data.tags["arm"] == "hinge"]
    assert len(failed) == 2
    for each in failed:
        assert each.info.status == "FAILED"
        assert each.data.tags["outcome"] == "failed"
        assert each.data.tags["reason"] == "RuntimeError: no kernel for hinges"

    with monkeypatch.context() as patch:
        patch.setattr(harness.work.worker, "run", lambda *_, **__: pytest.fail("not asked for"))
        assert launch(workspace, study) == summary
    again = launch(workspace, study, retry_failed=True)
    assert again.complete
    assert again.arm("hinge").search_outcomes == {"finished": 2}
    assert again.arm("hinge").num_scored == 2
    assert again.arm("non_saturating") == summary.arm("non_saturating")
    statuses = Counter((cell_of(each)[0], each.info.status) for each in training_runs(workspace))
    assert statuses == {
        ("non_saturating", "FINISHED"): 4,
        ("hinge", "FINISHED"): 4,
        ("hinge", "FAILED"): 2,
    }


def test_a_diverging_arm_ranks_worst_and_is_never_averaged(
    workspace: Workspace, no_models: None, make_study: Any, launch: Any, training_runs: Any
) -> None:
    study = make_study(
        fixed={"optimizer": "sgd", "d_lr": 30.0},
        compare={"loss": ["non_saturating", "wasserstein"]},
        space={"g_lr": {"low": 20.0, "high": 40.0, "default": 30.0}},
        search={"trials_per_arm": 1},
        evaluate={"times": 1},
    )
    summary = launch(workspace, study)
    assert summary.complete
    assert summary.arm("wasserstein").search_outcomes == {"diverged": 1}
    assert summary.arm("wasserstein").settings is None
    (diverged,) = [
        each for each in training_runs(workspace) if each.data.tags["arm"] == "wasserstein"
    ]
    assert diverged.info.status == "FAILED"
    assert "not finite" in diverged.data.tags["reason"]
    assert all(math.isfinite(value) for value in diverged.data.metrics.values())


def test_changed_data_are_refused(
    finished: Finished,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_study: Any,
    launch: Any,
    locate: Any,
) -> None:
    shutil.copytree(finished.workspace.root, tmp_path / "mlruns")
    workspace = locate(tmp_path / "mlruns")
    storage = Storage(workspace)
    definition = storage.studies.definition(NAME)
    assert definition is not None
    storage.studies.write(NAME, definition.model_copy(update={"dataset_digest": "0123"}))
    monkeypatch.setattr(harness.work.worker, "run", lambda *_, **__: pytest.fail("it trained"))
    before = dump(workspace)
    with pytest.raises(HarnessError, match=r"digest .* 0123"):
        launch(workspace, make_study(confirm={"seeds": 3}))
    assert dump(workspace) == before


def test_a_study_whose_mlflow_store_is_gone_says_so(
    empty_stores: Path,
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_study: Any,
    launch: Any,
    locate: Any,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(harness.work.worker, "run", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            launch(workspace, make_study())
    moved = tmp_path / "moved"
    shutil.copytree(workspace.root, moved, ignore=shutil.ignore_patterns("mlflow.db*"))
    shutil.copy(empty_stores / "mlflow.db", moved / "mlflow.db")
    with pytest.raises(HarnessError, match="both databases belong together"):
        launch(locate(moved), make_study())


def _interrupted(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt
