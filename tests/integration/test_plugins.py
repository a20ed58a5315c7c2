"""Plugins: a user's own code beside the package's, recorded and held to what it was."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import harness.plugins
from harness.errors import HarnessError
from harness.evaluate import METRICS
from harness.evaluate.metric import figure_of
from harness.plugins import check_plugins, load_plugins, plugin_hashes
from harness.records.tracking import Tracker
from harness.records.workspace import Workspace
from harness.results.export import export_best, sample
from harness.results.report import write_report
from harness.results.status import read_status
from harness.results.summary import StudySummary
from harness.study.study import StudyConfig
from harness.systems import SYSTEMS
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan.losses import LOSSES
from harness.work.board import list_studies, open_study

LOSS = '''
from harness.systems.gan.losses import Loss, loss


@loss
def shifted() -> Loss:
    """Wasserstein, shifted."""
    return Loss(
        discriminator=lambda real, fake: fake.mean() - real.mean() + 1,
        generator=lambda real, fake: -fake.mean(),
    )
'''
SYSTEM = '''
from harness.systems import system
from harness.systems.vae import VAE, VAEConfig


class TwinConfig(VAEConfig):
    """A VAE by another name."""

    system: str = "twin"
    """What is trained."""


@system
class Twin(VAE):
    """A VAE by another name."""

    Config = TwinConfig
'''


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what a test has loaded and registered."""
    monkeypatch.setattr(harness.plugins, "_sources", {})
    monkeypatch.setattr(harness.plugins, "_hashes", {})
    for registry in (LOSSES, SYSTEMS, METRICS, ARCHITECTURES):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        monkeypatch.setattr(registry, "_descriptions", dict(registry._descriptions))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_a_study_with_a_plugin_is_recorded_and_goes_on_only_with_it(
    workspace: Workspace,
    no_models: None,
    make_study: Callable[..., StudyConfig],
    launch: Callable[..., StudySummary],
    write: Callable[[str, str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load_plugins([write("shifted_loss.py", LOSS)])
    study = make_study(compare={"loss": ["hinge", "shifted"]})
    assert launch(workspace, study).complete
    definition = open_study("tiny", workspace).definition
    assert definition.plugins == {"shifted_loss": plugin_hashes()["shifted_loss"]}
    runs = Tracker(workspace).runs(definition.experiment_id)
    assert all(run.data.tags["plugin.shifted_loss"] == definition.plugins["shifted_loss"]
               for run in runs)  # fmt: skip
    assert read_status("tiny", workspace).summary.complete

    more = make_study(compare={"loss": ["hinge", "shifted"]}, confirm={"seeds": 3})
    monkeypatch.setitem(harness.plugins._hashes, "shifted_loss", "0123")
    with pytest.raises(HarnessError, match="another version of the plugin 'shifted_loss'"):
        launch(workspace, more)
    monkeypatch.delitem(harness.plugins._hashes, "shifted_loss")
    with pytest.raises(HarnessError, match="plugin 'shifted_loss': name it with --plugin"):
        read_status("tiny", workspace)


def test_a_system_is_a_plugin_too(write: Callable[[str, str], str]) -> None:
    load_plugins([write("twin.py", SYSTEM)])
    assert "twin" in SYSTEMS


def test_loading_twice_is_loading_once(write: Callable[[str, str], str]) -> None:
    file = write("shifted_loss.py", LOSS)
    load_plugins([file])
    load_plugins([file])
    assert list(LOSSES).count("shifted") == 1


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("broken.py", "1 / 0", "ZeroDivisionError"),
        ("taken.py", LOSS.replace("shifted", "hinge"), "the loss 'hinge' is registered twice"),
    ],
)
def test_a_bad_plugin_is_one_line(
    name: str, text: str, complaint: str, write: Callable[[str, str], str]
) -> None:
    with pytest.raises(HarnessError, match=f"--plugin .*{name}: .*{complaint}") as error:
        load_plugins([write(name, text)])
    assert "\n" not in str(error.value)


def test_a_missing_plugin_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"--plugin .*none\.py: FileNotFoundError"):
        load_plugins([str(tmp_path / "none.py")])
    with pytest.raises(HarnessError, match="--plugin no_such_module: ModuleNotFoundError"):
        load_plugins(["no_such_module"])


def test_two_files_of_one_name_are_refused(
    write: Callable[[str, str], str], tmp_path: Path
) -> None:
    file = write("shifted_loss.py", LOSS)
    load_plugins([file])
    (tmp_path / "other").mkdir()
    shutil.copy(file, tmp_path / "other")
    with pytest.raises(HarnessError, match="already has the name 'shifted_loss'"):
        load_plugins([str(tmp_path / "other" / "shifted_loss.py")])


def test_unknown_and_changed_plugins_are_told_apart() -> None:
    with pytest.raises(HarnessError, match="was made with the plugin 'x'"):
        check_plugins({"x": "1"}, "study 'a'")


METRIC = '''
from harness.evaluate.metric import Compared, Figure, metric


@metric(Figure(name="likeness", label="likeness", description="Made up", best="higher"))
def likeness(compared: Compared) -> dict[str, float]:
    """How close the means are."""
    apart = (compared.real.mean(dim=0) - compared.fake.mean(dim=0)).square().sum()
    return {"likeness": float(1 / (1 + apart))}
'''


def test_a_study_ranks_by_a_plugins_metric_of_which_more_is_better(
    workspace: Workspace,
    make_study: Callable[..., StudyConfig],
    launch: Callable[..., StudySummary],
    write: Callable[[str, str], str],
    tmp_path: Path,
) -> None:
    load_plugins([write("likeness.py", METRIC)])
    evaluate = {"times": 2, "samples": 64, "objective": "likeness"}
    study = make_study(evaluate=evaluate, search={"trials_per_arm": 3, "pruner": "median"})
    summary = launch(workspace, study)
    assert summary.complete
    assert summary.metric.startswith("test/likeness_")
    assert summary.floor is None
    for state in open_study("tiny", workspace).board.states():
        scored = [record for record in state.search if record.value is not None]
        best = max(scored, key=lambda record: record.value or 0.0)
        assert state.best == best.cell.point
        assert 0 < (best.value or 0.0) <= 1
    validation = "val" + summary.metric.removeprefix("test")
    confirmed = [
        record.scores[validation]
        for state in open_study("tiny", workspace).board.states()
        for record in state.confirm
    ]
    exported = export_best("tiny", tmp_path / "best", workspace)
    assert exported.scores[validation] == max(confirmed)
    assert "best validation likeness" in (tmp_path / "best" / "README.md").read_text()
    report = write_report(["tiny"], workspace, tmp_path / "report")
    text = (report.folder / "report.md").read_text()
    assert "higher is better" in text
    assert "P(A > B)" in text


@pytest.mark.parametrize("objective", ["fdi", "feature_spread"])
def test_an_objective_is_a_figure_whose_lowest_or_highest_value_is_best(
    objective: str, workspace: Workspace, make_study: Callable[..., StudyConfig],
    launch: Callable[..., StudySummary],
) -> None:  # fmt: skip
    study = make_study(evaluate={"times": 2, "samples": 64, "objective": objective})
    with pytest.raises(
        HarnessError, match=rf"evaluate.objective '{objective}'.*\(allowed: .*fid, kid"
    ):
        launch(workspace, study)
    assert list_studies(workspace) == []


NAN = METRIC.replace("float(1 / (1 + apart))", 'float("nan")')
BUGGY = """
from harness.systems.architectures.pair import ARCHITECTURES, Architecture


def build(*_):
    raise RuntimeError("my bug")


ARCHITECTURES.add(
    "buggy",
    Architecture(
        generator=build,
        discriminator=build,
        generator_defaults={"width": 4, "depth": 1},
        discriminator_defaults={"width": 4, "depth": 1},
    ),
    "Cannot be built",
)
"""


@pytest.mark.parametrize(
    ("name", "code", "changes", "reason"),
    [
        ("nowhere", NAN, {"evaluate": {"times": 2, "samples": 64}}, "likeness.* is nan"),
        (
            "buggy",
            BUGGY,
            {
                "baseline": {"variant": "plain"},
                "compare": [{"variant": "buggy"}],
                "variants": {"plain": {"loss": "hinge"}, "buggy": {"architecture": "buggy"}},
            },
            "RuntimeError: my bug",
        ),
    ],
)
def test_a_plugins_mistake_is_the_runs_failure_and_no_trouble_of_the_records(
    name: str,
    code: str,
    changes: dict[str, Any],
    reason: str,
    workspace: Workspace,
    make_study: Callable[..., StudyConfig],
    launch: Callable[..., StudySummary],
    write: Callable[[str, str], str],
) -> None:
    load_plugins([write(f"{name}.py", code)])
    summary = launch(workspace, make_study(space={}, **changes))
    assert summary.complete
    last = open_study("tiny", workspace).board.states()[-1]
    ended = [*last.search, *last.confirm]
    assert {record.outcome for record in ended} == {"failed"}
    assert all(re.search(reason, record.reason or "") for record in ended)


def test_a_study_goes_on_with_no_other_plugin_than_before(
    workspace: Workspace,
    no_models: None,
    make_study: Callable[..., StudyConfig],
    launch: Callable[..., StudySummary],
    write: Callable[[str, str], str],
) -> None:
    launch(workspace, make_study())
    load_plugins([write("shifted_loss.py", LOSS)])
    more = make_study(confirm={"seeds": 3})
    with pytest.raises(HarnessError, match="was started without the plugin 'shifted_loss'"):
        launch(workspace, more)
    assert read_status("tiny", workspace).summary.complete  # reading needs no less


def test_the_hash_of_a_package_is_of_all_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("from my_package import inner\n")
    monkeypatch.syspath_prepend(tmp_path)
    hashes = []
    for text in ("X = 1\n", "X = 2\n"):
        (package / "inner.py").write_text(text)
        monkeypatch.setattr(harness.plugins, "_sources", {})
        load_plugins(["my_package"])
        hashes.append(plugin_hashes()["my_package"])
    assert hashes[0] != hashes[1]


def test_installed_packages_announce_plugins(
    write: Callable[[str, str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("announced_loss.py", LOSS.replace("shifted", "announced"))
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("mine", "announced_loss:announced", harness.plugins.GROUP)
    monkeypatch.setattr(harness.plugins, "entry_points", lambda group: [point])
    load_plugins()
    assert "announced" in LOSSES


def test_a_figure_has_one_owner(write: Callable[[str, str], str]) -> None:
    code = METRIC.replace('name="likeness"', 'name="fid"')
    with pytest.raises(HarnessError, match="the figure 'fid' is taken by another metric"):
        load_plugins([write("likeness.py", code)])
    assert figure_of("test/fid_x_400").best == "lower"


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("my loss (2).py", "", "allowed are files"),
        ("leaves.py", "import sys; sys.exit()", "SystemExit"),
        (
            "nameless.py",
            SYSTEM.replace('    system: str = "twin"\n', "    system: str\n"),
            "default",
        ),
    ],
)
def test_a_plugin_that_cannot_be_one_is_refused_in_a_line(
    name: str, code: str, words: str, write: Callable[[str, str], str]
) -> None:
    with pytest.raises(HarnessError, match=words) as caught:
        load_plugins([write(name, code)])
    assert "\n" not in str(caught.value)


def test_an_export_names_the_plugins_that_it_needs(
    workspace: Workspace,
    make_study: Callable[..., StudyConfig],
    launch: Callable[..., StudySummary],
    write: Callable[[str, str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load_plugins([write("shifted_loss.py", LOSS)])
    launch(workspace, make_study(space={}, compare={"loss": ["hinge", "shifted"]}))
    export_best("tiny", tmp_path / "best", workspace, arm="shifted")
    assert "--plugin shifted_loss.py" in (tmp_path / "best" / "README.md").read_text()
    assert sample(tmp_path / "best", 4).shape == (4, 1, 16, 16)
    monkeypatch.setattr(harness.plugins, "_hashes", {})
    with pytest.raises(HarnessError, match="made with the plugin 'shifted_loss'"):
        sample(tmp_path / "best", 4)
