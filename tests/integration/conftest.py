"""Small studies on embedded data, and databases that are made once and copied."""

from __future__ import annotations

import math
import shutil
import sqlite3
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

import harness.records.tracking
from harness.config import parse
from harness.data import Facts, load_dataset
from harness.evaluate import EvaluateConfig
from harness.launch import run_study
from harness.records.tracking import Tracker
from harness.records.workspace import Workspace
from harness.results.summary import StudySummary
from harness.run.bench import Bench
from harness.run.execution import Execution
from harness.run.loop import Progress
from harness.run.runner import RunResult
from harness.study.study import StudyConfig
from harness.systems import TrainConfig
from harness.systems.gan import GANConfig
from harness.work.board import Board
from harness.work.cell import CellRecord
from harness.work.queue import Storage

NAME = "tiny"


@dataclass(frozen=True)
class Finished:
    """A study that has been run to its end."""

    name: str
    study: StudyConfig
    workspace: Workspace
    summary: StudySummary


def _launch(workspace: Workspace, study: StudyConfig, **options: Any) -> StudySummary:
    """Run or continue a study on one thread of the CPU, however few seeds it has."""
    usual = {"device": "cpu", "threads": 1, "underpowered": True}
    return run_study(options.pop("name", NAME), study, workspace, **usual | options)


@pytest.fixture(autouse=True)
def _local_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no setting of the caller's environment lead a test to another store."""
    for key in ("HARNESS_HOME", "HARNESS_STORAGE", "HARNESS_DATA", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(key, raising=False)


def _locate(root: Path) -> Workspace:
    """Return the workspace under a folder, whatever the environment says."""
    return Workspace(
        root=root,
        tracking_uri=f"sqlite:///{(root / 'mlflow.db').as_posix()}",
        storage_url=f"sqlite:///{(root / 'optuna.db').as_posix()}",
        data_dir=root / "no-data",
    )


@pytest.fixture(scope="session")
def make_study(tiny_study: str) -> Callable[..., StudyConfig]:
    """Return a function that makes the tiny study with other tables.

    A dict is merged into the table of its name.
    """

    def make_study(**changes: Any) -> StudyConfig:
        raw = tomllib.loads(tiny_study)
        for key, value in changes.items():
            raw[key] = _merged(raw.get(key), value)
        return parse(StudyConfig, raw, "test")

    return make_study


def _merged(table: Any, value: Any) -> Any:
    both = isinstance(table, dict) and isinstance(value, dict)
    return {**table, **value} if both else value


@pytest.fixture(scope="session")
def launch() -> Callable[..., StudySummary]:
    """Return the function that runs or continues them."""
    return _launch


class Listener:
    """A display that shows nothing and keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Any) -> None:
        self.events.append(event)

    def notes(self) -> list[str]:
        """Return the notes among it."""
        return [event.reason for event in self.events if event.kind == "note"]


@pytest.fixture
def listener() -> Listener:
    """Return a display that keeps what it is told."""
    return Listener()


@pytest.fixture(scope="session")
def locate() -> Callable[[Path], Workspace]:
    """Return the function that makes a workspace of a folder."""
    return _locate


@pytest.fixture(scope="session")
def empty_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with both databases, created but empty: MLflow's migrations take seconds."""
    workspace = _locate(tmp_path_factory.mktemp("empty") / "mlruns")
    Tracker(workspace)
    Storage(workspace)
    for name in ("mlflow.db", "optuna.db"):
        with sqlite3.connect(workspace.root / name) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    return workspace.root


@pytest.fixture
def workspace(empty_stores: Path, tmp_path: Path) -> Workspace:
    """Return a workspace of its own with empty databases."""
    root = tmp_path / "mlruns"
    root.mkdir()
    for name in ("mlflow.db", "optuna.db"):
        shutil.copy(empty_stores / name, root / name)
    return _locate(root)


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without MLflow's model of each generator, which takes longer than a tiny run."""
    monkeypatch.setattr(harness.records.tracking.mlflow.pytorch, "log_model", lambda *_, **__: None)


@pytest.fixture(scope="session")
def finished(
    empty_stores: Path,
    tmp_path_factory: pytest.TempPathFactory,
    make_study: Callable[..., StudyConfig],
) -> Finished:
    """Return the tiny study, run without any interruption; only to be read."""
    root = tmp_path_factory.mktemp("finished") / "mlruns"
    shutil.copytree(empty_stores, root)
    workspace, study = _locate(root), make_study()
    summary = _launch(workspace, study, source="question = 'as in the file'\n")
    return Finished(name=NAME, study=study, workspace=workspace, summary=summary)


@dataclass
class Trained:
    """A record of the configs that were trained."""

    configs: list[GANConfig]

    def clear(self) -> list[GANConfig]:
        """Return what was trained and start anew."""
        configs, self.configs = self.configs, []
        return configs


Score = Callable[[GANConfig], float]


@pytest.fixture
def fake_runs(monkeypatch: pytest.MonkeyPatch, no_models: None) -> tuple[Trained, Any]:
    """Replace training by a formula: a run's FID is what `scoring["fid"]` makes of its config."""
    trained = Trained([])
    scoring: dict[str, Score] = {"fid": lambda config: abs(math.log10(config.g_lr) + 2)}

    def fake(config: GANConfig, bench: Bench, recorder: Any, **options: Any) -> RunResult:
        trained.configs.append(config)
        value = scoring["fid"](config)
        scores: Mapping[str, float] = {
            bench.evaluator.key(split, "fid"): value + (split == "test") * config.seed / 1e3
            for split in options["final_splits"]
        }
        recorder.log_metrics(scores, 320)
        progress = Progress(images_seen=320)
        return RunResult(outcome="finished", progress=progress, scores=scores, last_scores=scores)

    monkeypatch.setattr("harness.work.worker.run", fake)
    return trained, scoring


def _runs(workspace: Workspace, name: str = NAME) -> list[Any]:
    tracker = Tracker(workspace)
    return tracker.runs(tracker.open_experiment(name))


@pytest.fixture(scope="session")
def training_runs() -> Callable[..., list[Any]]:
    """Return the function that finds a study's training runs in MLflow."""
    return lambda *where: [run for run in _runs(*where) if run.data.tags["phase"] != "study"]


@pytest.fixture(scope="session")
def parent() -> Callable[[Workspace], Any]:
    """Return the function that finds the run of the whole study in MLflow."""

    def parent(workspace: Workspace) -> Any:
        (found,) = [run for run in _runs(workspace) if run.data.tags["phase"] == "study"]
        return found

    return parent


@pytest.fixture(scope="session")
def records() -> Callable[[Workspace, StudyConfig], dict[tuple[str, str, int], CellRecord]]:
    """Return the function that finds a study's cells, by arm, phase and trial."""

    def records(workspace: Workspace, study: StudyConfig) -> dict[tuple[str, str, int], CellRecord]:
        states = Board(Storage(workspace), NAME, study, "test/fid_digits_cnn_v2_64").states()
        return {
            (state.arm.name, phase, record.cell.trial): record
            for state in states
            for phase, found in (("search", state.search), ("confirm", state.confirm))
            for record in found
        }

    return records


@pytest.fixture(scope="session")
def cell_of() -> Callable[[Any], tuple[str, str, int, int]]:
    """Return the function that says which arm, phase, trial and seed a run in MLflow is of."""

    def cell_of(run: Any) -> tuple[str, str, int, int]:
        tags = run.data.tags
        return tags["arm"], tags["phase"], int(tags["trial"]), int(tags["seed"])

    return cell_of


@pytest.fixture(scope="session")
def expected() -> list[tuple[str, str, int, int]]:
    """Return what `cell_of` says of the runs of the tiny study, in order."""
    return sorted(
        (arm, phase, trial, seed)
        for arm in ("non_saturating", "hinge")
        for phase, trial, seed in (
            ("search", 0, 1_000_000),
            ("search", 1, 1_000_001),
            ("confirm", 0, 1),
            ("confirm", 1, 2),
        )
    )


class Memory:
    """A recorder that holds values back until they are flushed, as the real one does."""

    def __init__(self) -> None:
        self.scalars: list[tuple[str, int, float]] = []
        self.grids: list[tuple[str, int, Any]] = []
        self.generators: list[dict[str, Tensor]] = []
        self.modes: list[bool] = []
        self.others: list[str] = []
        self.floors: dict[str, float] = {}
        self._pending: list[tuple[str, int, float]] = []
        self._pending_grids: list[tuple[str, int, Any]] = []

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Hold scalars back."""
        self._pending += [(key, step, value) for key, value in values.items()]

    def log_floors(self, floors: Mapping[str, float]) -> None:
        """Keep what real images score."""
        self.floors = dict(floors)

    def log_grid(self, key: str, picture: Any, step: int) -> None:
        """Hold a picture back."""
        self._pending_grids.append((key, step, picture))

    def log_generator(
        self,
        generator: nn.Module,
        config: TrainConfig,
        facts: Facts,
        others: Mapping[str, nn.Module],
    ) -> None:
        """Keep a copy of the weights."""
        weights = {key: value.clone() for key, value in generator.state_dict().items()}
        self.generators.append(weights)
        self.modes.append(generator.training)
        self.others = list(others)

    def flush(self) -> None:
        """Keep what was held back."""
        self.scalars += self._pending
        self.grids += self._pending_grids
        self.drop()

    def drop(self) -> None:
        """Forget what was held back."""
        self._pending, self._pending_grids = [], []

    @property
    def weights(self) -> dict[str, Tensor]:
        """The last generator's."""
        return self.generators[-1]

    def series(self, key: str) -> dict[int, float]:
        """Return a scalar by images seen."""
        return {step: value for name, step, value in self.scalars if name == key}


@pytest.fixture(scope="session")
def memory() -> type[Memory]:
    """Return the recorder that remembers what a run reported."""
    return Memory


@pytest.fixture(scope="session")
def small_config(tiny_settings: dict[str, Any]) -> Callable[..., GANConfig]:
    """Return a function that makes configs of a small GAN with a budget of 320 images."""
    common = tiny_settings | {"dataset": "digits", "budget": {"images": 320}, "seed": 3}
    return lambda **changes: parse(GANConfig, common | changes, "test")


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return the digits, scored twice in a run by 64 samples."""
    return Bench.set_up(
        load_dataset("digits", Path("unused")),
        EvaluateConfig(samples=64, times=2, kid_subsets=2),
        execution=Execution(device="cpu", threads=1),
        cache_dir=tmp_path_factory.mktemp("cache"),
    )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return a place for a run's checkpoint."""
    return tmp_path / "run.pt"
