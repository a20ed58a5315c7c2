"""MLflow, and nothing but MLflow: the only file that imports it."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import mlflow
import mlflow.pytorch
import numpy as np
from mlflow.entities import Dataset as DatasetRecord
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from torch import Tensor, nn

from harness.data import Dataset
from harness.data.pictures import Picture, read_picture
from harness.errors import HarnessError
from harness.records.provenance import environment, environment_kept
from harness.records.recorder import WEIGHTS_ARTIFACT, Point, RunRecorder
from harness.records.sqlite import prepare_sqlite, sqlite_file
from harness.records.view import COLOUR_TAG, RECORD_TAG, record, recorded
from harness.records.workspace import Workspace
from harness.run.runner import GRID_KEY
from harness.systems import TrainConfig

METRICS_PER_BATCH = 1000  # MLflow's limit
SYSTEM_METRICS_SECONDS = 5.0
TESTS = "compare/"  # what is said of comparisons begins with it
T = TypeVar("T")
Curves: TypeAlias = Mapping[str, Iterable[tuple[int, float]]]
"""Metric -> (step, finite value)."""


class Tracker:
    """The MLflow store of a workspace.

    Args:
        workspace: Says where the store is; a local one is created on first use.

    Raises:
        HarnessError: The store cannot be reached.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._uri = workspace.tracking_uri
        self._local = sqlite_file(self._uri) is not None
        self._artifacts = workspace.artifacts
        logging.getLogger("alembic").setLevel(logging.WARNING)
        prepare_sqlite(self._uri)
        # MLflow writes its address there, where the next workspace would find it.
        with environment_kept("MLFLOW_TRACKING_URI"):
            mlflow.set_tracking_uri(self._uri)
        try:
            self._client = mlflow.MlflowClient(self._uri)
            self._client.search_experiments(max_results=1)
        except MlflowException as error:
            reason = str(error).splitlines()[0]
            raise HarnessError(f"MLflow's store {self._uri} cannot be used: {reason}") from None

    def open_experiment(self, name: str) -> str:
        """Return the id of the experiment of this name, created if need be."""
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            location = (self._artifacts / name).absolute().as_uri() if self._local else None
            # The kind opens the UI on training runs rather than on traces of language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return str(self._client.create_experiment(name, location, tags=kind))
        if experiment.lifecycle_stage != "active":
            raise HarnessError(
                f"experiment {name!r} was deleted in MLflow: restore it or choose another --name"
            )
        return str(experiment.experiment_id)

    def open_parent(
        self, experiment_id: str, name: str, dataset: Dataset, tags: Mapping[str, str]
    ) -> str:
        """Return the id of a study's parent run, created if need be, and set its tags.

        It names the dataset before any worker does: MLflow fails where two processes are the first
        to name one in an experiment.
        """
        found = self._client.search_runs(
            [experiment_id], f"tags.study = '{name}' and tags.phase = 'study'", max_results=1
        )
        run = found[0] if found else self._client.create_run(experiment_id, run_name=name)
        run_id = str(run.info.run_id)
        tags = {"study": name, "phase": "study", **environment(), **tags}
        self._client.log_batch(run_id, tags=[RunTag(key, str(tags[key])) for key in tags])
        self._client.update_run(run_id, status="RUNNING")
        self._log_dataset(run_id, dataset)
        return run_id

    def log_file(self, run_id: str, name: str, text: str) -> None:
        """Attach a text file to a run, replacing one of the same name."""
        self._client.log_text(run_id, text, name)

    def describe_parent(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Record what is said of a study's tests; what an earlier summary said of them goes."""
        tags = {_safe(key): value for key, value in tags.items()}
        for key in {key for key in self.run(run_id).data.tags if key.startswith(TESTS)} - set(tags):
            with contextlib.suppress(MlflowException):  # somebody else was quicker
                self._client.delete_tag(run_id, key)
        self.set_tags(run_id, tags)

    def close_parent(self, run_id: str, complete: bool, curves: Curves) -> None:
        """Record what has come of a study: curves over steps; an incomplete one may go on later."""
        now = int(time.time() * 1000)
        points: list[Point] = []
        for name, curve in curves.items():
            known = dict(self.history(run_id, key := _safe(name)))
            points += [Point(key, y, now, x) for x, y in curve if known.get(x) != y]
        self.write_points(run_id, points)
        self.set_tags(run_id, {"state": "complete" if complete else "incomplete"})
        self.end_run(run_id, "FINISHED" if complete else "KILLED")

    def end_run(self, run_id: str, status: str) -> None:
        """Set how a run has ended."""
        self._client.set_terminated(run_id, status)

    def monitor(self, run_id: str) -> SystemMetricsMonitor:
        """Return what samples the machine for a run."""
        seconds = SYSTEM_METRICS_SECONDS
        return SystemMetricsMonitor(run_id, sampling_interval=seconds, resume_logging=True)

    def write_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Write scalars, all finite."""
        metrics = [Metric(*point) for point in points]
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_BATCH])

    def write_grid(self, run_id: str, key: str, picture: Picture, step: int) -> None:
        """Write a picture that the UI's step slider plays."""
        self._client.log_image(run_id, picture, key=key, step=step, synchronous=True)

    def write_model(self, run_id: str, name: str, generator: nn.Module, example: Tensor) -> None:
        """Write a generator as a model for `mlflow.pytorch`, an exported program."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.export's and mlflow's own deprecations
            with _active(run_id):
                mlflow.pytorch.log_model(
                    generator,
                    name=re.sub("[/:.%\"']", "_", name),  # MLflow allows no others
                    input_example=example.numpy(),
                    serialization_format="pt2",
                    pip_requirements=[f"torch=={version('torch')}"],
                )

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        self._client.log_batch(run_id, tags=[RunTag(key, tags[key]) for key in tags])

    def remove_tag(self, run_id: str, key: str) -> None:
        """Remove a tag that a run has."""
        self._client.delete_tag(run_id, key)

    def set_experiment_tags(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of an experiment."""
        for key, value in tags.items():
            self._client.set_experiment_tag(experiment_id, key, value)

    def start_run(
        self,
        experiment_id: str,
        name: str,
        config: TrainConfig,
        dataset: Dataset,
        *,
        tags: Mapping[str, Any],
        facts: Mapping[str, Any],
        varied: Set[str] | None = None,
        colour: str | None = None,
        parent: str | None = None,
    ) -> RunRecorder:
        """Start a run that records every resolved setting.

        Args:
            experiment_id: Where it belongs.
            name: The run's name in the UI.
            config: Its settings.
            dataset: Logged as an input with its digest.
            tags: Study, arm, phase, trial and the like; no other run has the same.
            facts: What else is recorded beside them, e.g. the evaluation protocol and the device.
            varied: What is a param too: MLflow prints params above every picture. None: all
                settings.
            colour: The run's in the UI.
            parent: The study's parent run.
        """
        run_tags = {key: str(value) for key, value in tags.items()} | environment()
        if parent is not None:
            run_tags["mlflow.parentRunId"] = parent
        run = self._orphan(experiment_id, tags) if parent is not None else None
        if run is None:
            run = self._client.create_run(experiment_id, run_name=name, tags=run_tags)
        run_id = str(run.info.run_id)
        settings = config.recorded()
        known = settings | dict(facts)
        params = known.keys() & varied if varied is not None else settings.keys()
        shown = {RECORD_TAG: record(known)} | ({COLOUR_TAG: colour} if colour else {})
        self._client.log_batch(
            run_id,
            params=[Param(key, str(known[key])) for key in known if key in params],
            tags=[RunTag(key, value) for key, value in shown.items()],
        )
        self._log_dataset(run_id, dataset)
        return RunRecorder(self, run_id, name)

    def _log_dataset(self, run_id: str, dataset: Dataset) -> None:
        record = DatasetRecord(
            name=dataset.name,
            digest=dataset.digest,
            source_type="local",
            source=json.dumps({"source": dataset.source}),
            profile=json.dumps(dataset.profile),
        )
        tag = InputTag("mlflow.data.context", "training")
        self._client.log_inputs(run_id, datasets=[DatasetInput(record, tags=[tag])])

    def _orphan(self, experiment_id: str, tags: Mapping[str, Any]) -> Run | None:
        """Return the run that a process made for the same cell and died before noting it."""
        same = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
        query = " and ".join(["attributes.status = 'RUNNING'", *same])
        found = self._client.search_runs([experiment_id], query, max_results=1)
        return found[0] if found else None

    def resume_run(self, run_id: str) -> RunRecorder:
        """Take up an interrupted run again; raises HarnessError if MLflow does not know it."""
        try:
            self._client.update_run(run_id, status="RUNNING")
        except MlflowException:
            raise HarnessError(
                f"MLflow's store {self._uri} lacks the run {run_id} that the study refers to: both "
                "databases belong together; restore it or choose another --name"
            ) from None
        return RunRecorder(self, run_id, self.run(run_id).info.run_name)

    def settings(self, run_id: str) -> dict[str, str]:
        """Return a run's settings and other facts as recorded."""
        return settings_of(self.run(run_id))

    @property
    def client(self) -> mlflow.MlflowClient:
        """MLflow's own client, for what is done to all of a study at once."""
        return self._client

    def runs(self, experiment_id: str, *, deleted: bool = False) -> list[Run]:
        """Return all runs of an experiment, parents included, and deleted ones if asked for."""
        view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
        search = functools.partial(self._client.search_runs, [experiment_id], "", view)
        return list(_all(search))

    def models(self, experiment_id: str) -> list[Any]:
        """Return all models that runs of an experiment have logged."""
        return list(_all(functools.partial(self._client.search_logged_models, [experiment_id])))

    def delete_files(self, address: str) -> None:
        """Delete all files at an address of artifacts; none there is no error."""
        with contextlib.suppress(MlflowException, FileNotFoundError):
            get_artifact_repository(address).delete_artifacts()

    def run(self, run_id: str) -> Run:
        """Return a run as recorded; raises HarnessError if MLflow does not have it."""
        try:
            return self._client.get_run(run_id)
        except MlflowException:
            raise HarnessError(
                f"MLflow's store {self._uri} does not have the run {run_id}"
            ) from None

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        """Return a metric's (images seen, value) pairs in order; none if it was never recorded."""
        recorded = self._client.get_metric_history(run_id, key)
        return sorted({metric.step: metric.value for metric in recorded}.items())

    def grids(
        self, run_id: str, key: str = GRID_KEY, *, last_only: bool = False
    ) -> dict[int, Picture]:
        """Return a run's pictures of a kind by images seen; none where they are lost."""
        pictures: dict[int, Picture] = {}
        with tempfile.TemporaryDirectory() as target, contextlib.suppress(MlflowException, OSError):
            files = self._grid_files(run_id).get(key, {})
            for step in sorted(files)[-1 if last_only else 0 :]:
                local = self._client.download_artifacts(run_id, files[step], target)
                pictures[step] = read_picture(Path(local))
        return pictures

    def grid_steps(self, run_id: str, key: str = GRID_KEY) -> list[int]:
        """Return after how many images a run has a picture of a kind; none where they are lost."""
        with contextlib.suppress(MlflowException, OSError):
            return sorted(self._grid_files(run_id).get(key, {}))
        return []

    def grid_keys(self, run_id: str) -> list[str]:
        """Return the kinds of pictures that a run has; none where they are lost."""
        with contextlib.suppress(MlflowException, OSError):
            return sorted(self._grid_files(run_id))
        return []

    def _grid_files(self, run_id: str) -> dict[str, dict[int, str]]:
        """Return the files of a run's pictures by kind and images seen."""
        files: dict[str, dict[int, str]] = {}
        for file in self._client.list_artifacts(run_id, "images"):
            if file.path.endswith(".png"):
                key, *facts = Path(file.path).name.split("+")
                files.setdefault(key, {})[int(facts[1])] = file.path
        return files

    def folders(self, run_id: str, name: str) -> list[str]:
        """Return the names of the folders in a folder that is attached to a run."""
        with contextlib.suppress(MlflowException, OSError):
            found = self._client.list_artifacts(run_id, name)
            return [Path(file.path).name for file in found if file.is_dir]
        return []

    def log_grids(self, run_id: str, key: str, pictures: Mapping[int, Picture]) -> None:
        """Attach pictures that the UI's step slider plays, those that are new."""
        known = self.grids(run_id, key)
        for step, picture in pictures.items():
            if step not in known or not np.array_equal(known[step], picture):
                self.write_grid(run_id, key, picture, step)

    def log_picture(self, run_id: str, picture: Picture, name: str) -> None:
        """Attach a picture to a run."""
        self._client.log_image(run_id, picture, artifact_file=name)

    def attached(self, run_id: str, name: str, read: Callable[[Path], T]) -> T | None:
        """Return what is read of a file attached to a run, or None where there is none."""
        with tempfile.TemporaryDirectory() as target, contextlib.suppress(MlflowException, OSError):
            return read(Path(self._client.download_artifacts(run_id, name, target)))
        return None

    def log_folder(self, run_id: str, folder: Path, name: str) -> None:
        """Attach a folder's files to a run under a name, replacing those of the same names.

        Raises:
            HarnessError: The store does not know the run or does not take files.
        """
        try:
            self._client.log_artifacts(run_id, str(folder), name)
        except (MlflowException, OSError) as error:
            raise HarnessError(str(error).splitlines()[0]) from None

    @contextlib.contextmanager
    def generator_folder(self, run_id: str) -> Iterator[Path]:
        """Yield a folder with the run's generator files, fetched if they lie on a server."""
        with tempfile.TemporaryDirectory() as target:
            try:
                yield Path(self._client.download_artifacts(run_id, WEIGHTS_ARTIFACT, target))
            except MlflowException as error:
                reason = str(error).splitlines()[0]
                raise HarnessError(f"run {run_id} has no generator to export: {reason}") from None


@contextlib.contextmanager
def _active(run_id: str) -> Iterator[None]:
    """Make a run the fluent API's active one without letting that API decide its status."""
    with mlflow.start_run(run_id=run_id, log_system_metrics=False):
        yield
    mlflow.MlflowClient().update_run(run_id, status="RUNNING")


def logged_dataset(run: Run) -> DatasetRecord:
    """Return the dataset that a run was trained on: its name, digest and profile (JSON)."""
    inputs = run.inputs.dataset_inputs if run.inputs is not None else []
    if not inputs:
        raise HarnessError(f"MLflow's record of run {run.info.run_id} names no dataset")
    return inputs[0].dataset


def settings_of(run: Run) -> dict[str, str]:
    """Return a run's settings and other facts as recorded."""
    return recorded(run.data.params, run.data.tags)


def _all(search: Callable[..., Any]) -> Iterator[Any]:
    """Yield what a search returns, page after page."""
    token: str | None = None
    while token != "":
        page = search(page_token=token)
        yield from page
        token = page.token or ""


def _safe(key: str) -> str:
    """Return a metric name that MLflow allows."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in key)
