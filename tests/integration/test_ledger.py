"""What a study's ledger knows, and what follows from it: no way to a p that was not planned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import harness.work.worker
from harness.records.workspace import Workspace
from harness.results.browse import open_pages
from harness.results.status import read_status
from harness.run.loop import Progress
from harness.run.runner import RunResult
from harness.study.ledger import Ledger
from harness.study.study import StudyConfig
from harness.systems.gan import GANConfig
from harness.work.queue import Storage
from harness.work.studies import Studies

Fails = Callable[[GANConfig], bool]


@pytest.fixture
def untuned(make_study: Callable[..., StudyConfig]) -> Callable[..., StudyConfig]:
    """Return the function that makes a study of two arms with nothing to tune."""

    def untuned(seeds: int = 4, **changes: Any) -> StudyConfig:
        study = make_study(confirm={"seeds": seeds}, **changes)
        return study.model_copy(update={"space": {}})

    return untuned


@pytest.fixture
def study(untuned: Callable[..., StudyConfig]) -> StudyConfig:
    """Return one that four seeds can resolve."""
    return untuned()


@pytest.fixture(autouse=True)
def scoring(fake_runs: Any) -> None:
    """Let one arm be better than the other."""
    fake_runs[1]["fid"] = lambda config: (
        1.0 + (config.loss == "hinge") + config.latent_dim / 100 + config.budget.images / 1e6
    )


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fails], None]:
    """Return the function that says which runs fail."""
    fake = harness.work.worker.run

    def failing(fails: Fails) -> None:
        def run(config: GANConfig, *arguments: Any, **options: Any) -> RunResult:
            if not fails(config):
                return fake(config, *arguments, **options)
            none = Progress(images_seen=0)
            return RunResult(
                outcome="failed", reason="out of memory", progress=none, scores={}, last_scores={}
            )

        monkeypatch.setattr(harness.work.worker, "run", run)

    return failing


def ledger(workspace: Workspace, name: str = "tiny") -> Ledger:
    return Storage(workspace).studies.ledger(name)


def kinds(workspace: Workspace, name: str = "tiny") -> list[str]:
    return [entry.kind for entry in ledger(workspace, name).entries]


@pytest.mark.parametrize(
    ("tuned", "seed", "runs"),
    [(False, 2, "hinge confirm 1"), (True, 1_000_001, "hinge search 1")],
)
def test_failed_runs_that_run_again_after_a_look_cost_the_p(
    tuned: bool,
    seed: int,
    runs: str,
    untuned: Any,
    make_study: Any,
    workspace: Workspace,
    launch: Any,
    failing: Callable[[Fails], None],
) -> None:
    study = make_study(confirm={"seeds": 4}) if tuned else untuned()
    failing(lambda config: config.loss == "hinge" and config.seed == seed)
    (before,) = launch(workspace, study).comparisons
    assert before.p_value is not None
    failing(lambda config: False)
    (after,) = launch(workspace, study, retry_failed=True).comparisons
    assert kinds(workspace)[:3] == ["registered", "displayed", "retried"]
    assert after.p_value is None
    words = "failed runs of the study were run again after a look at its test scores"
    assert f"{words} ({runs})" in after.withheld
    assert ledger(workspace).extensions[0].entry.confirmed == {"non_saturating": 4, "hinge": 4}
    if "confirm" in runs:  # as many runs as before, and another result
        assert kinds(workspace)[3:] == ["displayed"]


def test_asking_for_a_retry_of_nothing_costs_nothing(
    study: StudyConfig, workspace: Workspace, launch: Any
) -> None:
    launch(workspace, study)
    (test,) = launch(workspace, study, retry_failed=True).comparisons
    assert test.p_value is not None
    assert kinds(workspace) == ["registered", "displayed"]


def test_no_p_is_left_standing_in_mlflow(
    study: StudyConfig,
    untuned: Any,
    workspace: Workspace,
    launch: Any,
    parent: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (test,) = launch(workspace, study).comparisons
    said = parent(workspace).data
    assert float(said.tags["compare/hinge/p_value"]) == test.p_value
    assert float(said.tags["compare/hinge/p_holm"]) == test.p_holm
    seen: list[Any] = []
    fake = harness.work.worker.run

    def run(*arguments: Any, **options: Any) -> RunResult:
        seen.append(parent(workspace).data)
        return fake(*arguments, **options)

    monkeypatch.setattr(harness.work.worker, "run", run)
    launch(workspace, untuned(5))
    for said in (*seen, parent(workspace).data):
        assert not [key for key in (*said.tags, *said.metrics) if "/p_" in key]
    assert seen


def test_runs_that_were_seen_under_another_name_have_no_p(
    study: StudyConfig, untuned: Any, workspace: Workspace, launch: Any, listener: Any
) -> None:
    launch(workspace, study, name="one")
    more = untuned(6)
    (test,) = launch(workspace, more, name="two", display=lambda _: listener).comparisons
    assert kinds(workspace, "two") == ["registered", "repeated", "displayed"]
    assert test.p_value is None
    assert "under another name (study 'one': non_saturating 4, hinge 4)" in test.withheld
    notes = listener.notes()
    assert len(notes) == 1
    assert "there will be no p" in notes[0]
    assert "--set seed=" in notes[0]
    # Whoever came first keeps what it has.
    assert launch(workspace, study, name="one").comparisons[0].p_value is not None
    assert kinds(workspace, "one") == ["registered", "displayed"]


@pytest.mark.parametrize(
    "change", [{"seed": 100}, {"budget": {"images": 160}}, {"fixed": {"latent_dim": 5}}]
)
def test_other_runs_start_afresh(
    change: Any, study: StudyConfig, untuned: Any, workspace: Workspace, launch: Any
) -> None:
    launch(workspace, study, name="one")
    (test,) = launch(workspace, untuned(**change), name="two").comparisons
    assert test.p_value is not None
    assert kinds(workspace, "two") == ["registered", "displayed"]


def test_runs_that_differ_in_a_setting_that_does_nothing_are_the_same(
    study: StudyConfig, untuned: Any, workspace: Workspace, launch: Any
) -> None:
    """Adam has no momentum: seeds could be added under another name until p is small."""
    launch(workspace, study, name="one")
    other = untuned(6, fixed={"momentum": 0.5})
    (test,) = launch(workspace, other, name="two").comparisons
    assert kinds(workspace, "two") == ["registered", "repeated", "displayed"]
    assert test.p_value is None


def test_tuned_arms_that_come_to_the_same_settings_are_found_when_they_are_shown(
    make_study: Any, workspace: Workspace, launch: Any
) -> None:
    """Another search range hides it until the search has ended: the defaults win in both."""
    for name, high in (("one", 1e-1), ("two", 2e-1)):
        space = {"g_lr": {"low": 1e-4, "high": high, "log": True}}
        (test,) = launch(
            workspace, make_study(space=space, confirm={"seeds": 4}), name=name
        ).comparisons
        assert (test.p_value is None) == (name == "two")
    assert kinds(workspace, "two") == ["registered", "repeated", "displayed"]


def test_the_plan_is_put_down_before_there_is_anything_to_work_on(
    study: StudyConfig, workspace: Workspace, launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        """The lights go out."""

    def crash(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Studies, "write", crash)
        with pytest.raises(Crash):
            launch(workspace, study)
    assert kinds(workspace) == ["registered"]
    assert Storage(workspace).studies.definition("tiny") is None
    assert launch(workspace, study).complete
    assert kinds(workspace) == ["registered", "displayed"]


def test_the_plan_has_a_hash_whatever_of_it_stood_in_the_file(
    untuned: Any, workspace: Workspace, launch: Any
) -> None:
    for name, seed in (("one", 100), ("two", 200)):
        launch(workspace, untuned(seed=seed), name=name, source="the same file")
    one, two = (ledger(workspace, name).entries[0] for name in ("one", "two"))
    assert one.source_sha256 == two.source_sha256
    assert len(one.plan_sha256) == 64
    assert one.plan_sha256 != two.plan_sha256


def test_pages_that_are_opened_are_noted_before_there_is_anything_to_see(
    study: StudyConfig,
    untuned: Any,
    workspace: Workspace,
    launch: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(harness.work.worker, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            launch(workspace, study)
    for _ in range(2):
        open_pages(workspace)
    assert kinds(workspace) == ["registered", "opened"]
    # Nothing had ended: nothing could be seen.
    longer = untuned(5)
    assert launch(workspace, longer).comparisons[0].p_value is not None
    assert kinds(workspace) == ["registered", "opened", "extended", "displayed"]


def test_what_has_ended_counts_as_seen_though_no_command_showed_it(
    study: StudyConfig,
    untuned: Any,
    workspace: Workspace,
    launch: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pages that were opened before show scores as they come, and a killed study notes nothing."""
    with monkeypatch.context() as patch:
        patch.setattr("harness.launch.note_display", lambda opened, states, by: Ledger())
        launch(workspace, study)
    assert kinds(workspace) == ["registered"]
    assert launch(workspace, untuned(5)).comparisons[0].p_value is None
    assert read_status("tiny", workspace).summary.withheld.startswith("the study was extended")
