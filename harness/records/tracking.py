"""MLflow, and nothing but MLflow: the only file that imports it."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pytorch
from mlflow.entities import Dataset as DatasetRecord
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from torch import nn

from harness.data import Dataset, Facts
from harness.data.pictures import Picture, read_picture
from harness.errors import HarnessError
from harness.records.provenance import environment, environment_kept
from harness.records.sqlite import prepare_sqlite, sqlite_file
from harness.records.ui import ui_address
from harness.records.workspace import Workspace
from harness.run.runner import GRID_KEY, Outcome, RunResult
from harness.systems import TrainConfig, example_inputs, save_generator

STATUS: dict[Outcome, str] = {
    "finished": "FINISHED",
    "collapsed": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "pruned": "KILLED",
    "interrupted": "KILLED",
}
METRICS_PER_BATCH = 1000  # MLflow's limit
SYSTEM_METRICS_SECONDS = 5.0
TESTS = "compare/"  # what is said of comparisons begins with it
WEIGHTS_ARTIFACT = "generator_weights"


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

    def describe_parent(
        self, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        """Record a study's summary; what an earlier one said of tests goes."""
        tags = {_safe(key): value for key, value in tags.items()}
        for key in {key for key in self.run(run_id).data.tags if key.startswith(TESTS)} - set(tags):
            with contextlib.suppress(MlflowException):  # somebody else was quicker
                self._client.delete_tag(run_id, key)
        now = int(time.time() * 1000)
        finite = {_safe(key): value for key, value in metrics.items() if math.isfinite(value)}
        self._client.log_batch(
            run_id,
            metrics=[Metric(key, value, now, 0) for key, value in finite.items()],
            tags=[RunTag(*item) for item in tags.items()],
        )

    def close_parent(self, run_id: str, complete: bool) -> None:
        """End a study's run; an incomplete one may go on later."""
        self._client.set_terminated(run_id, "FINISHED" if complete else "KILLED")

    def start_run(
        self,
        experiment_id: str,
        name: str,
        config: TrainConfig,
        dataset: Dataset,
        *,
        tags: Mapping[str, Any],
        params: Mapping[str, Any],
        parent: str | None = None,
    ) -> RunRecorder:
        """Start a run that records every resolved setting.

        Args:
            experiment_id: Where it belongs.
            name: The run's name in the UI.
            config: Its settings, one param each.
            dataset: Logged as an input with its digest.
            tags: Study, arm, phase, trial and the like.
            params: Further params, e.g. the evaluation protocol and the device.
            parent: The study's parent run.
        """
        run_tags = {key: str(value) for key, value in tags.items()} | environment()
        if parent is not None:
            run_tags["mlflow.parentRunId"] = parent
        run = self._orphan(experiment_id, tags) if parent is not None else None
        if run is None:
            run = self._client.create_run(experiment_id, run_name=name, tags=run_tags)
        run_id = str(run.info.run_id)
        settings = config.recorded() | dict(params)
        self._client.log_batch(run_id, params=[Param(k, str(v)) for k, v in settings.items()])
        self._log_dataset(run_id, dataset)
        return RunRecorder(self._client, run_id)

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
        return RunRecorder(self._client, run_id)

    def params(self, run_id: str) -> dict[str, str]:
        """Return a run's settings as recorded."""
        return dict(self.run(run_id).data.params)

    def runs(self, experiment_id: str) -> list[Run]:
        """Return all runs of an experiment, parents included."""
        runs: list[Run] = []
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [experiment_id], run_view_type=ViewType.ACTIVE_ONLY, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs

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

    def log_picture(self, run_id: str, picture: Picture, name: str) -> None:
        """Attach a picture to a run."""
        self._client.log_image(run_id, picture, artifact_file=name)

    def picture(self, run_id: str, name: str) -> Picture | None:
        """Return a picture that was attached to a run, or None where it is lost."""
        with tempfile.TemporaryDirectory() as target, contextlib.suppress(MlflowException, OSError):
            local = self._client.download_artifacts(run_id, name, target)
            return read_picture(Path(local))
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

    def page(self, experiment_id: str, run_id: str) -> str:
        """Return the address of a run's page: on the server, or where `harness ui` serves it."""
        return f"{ui_address(self._uri)}/#/experiments/{experiment_id}/runs/{run_id}"

    @contextlib.contextmanager
    def generator_folder(self, run_id: str) -> Iterator[Path]:
        """Yield a folder with the run's generator files, fetched if they lie on a server."""
        with tempfile.TemporaryDirectory() as target:
            try:
                yield Path(self._client.download_artifacts(run_id, WEIGHTS_ARTIFACT, target))
            except MlflowException as error:
                reason = str(error).splitlines()[0]
                raise HarnessError(f"run {run_id} has no generator to export: {reason}") from None


class RunRecorder:
    """Writes one run to MLflow: scalars in batches, pictures by step, the generator at the end."""

    def __init__(self, client: mlflow.MlflowClient, run_id: str) -> None:
        self.run_id = run_id
        self._client = client
        self._pending: list[Metric] = []
        self._pending_grids: list[tuple[str, int, Picture]] = []
        self._monitor = SystemMetricsMonitor(
            run_id, sampling_interval=SYSTEM_METRICS_SECONDS, resume_logging=True
        )
        self._monitor.start()

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Hold back scalars for the next batch; non-finite ones would break MLflow's pages."""
        now = int(time.time() * 1000)
        self._pending += [
            Metric(key, value, now, step) for key, value in values.items() if math.isfinite(value)
        ]

    def log_grid(self, key: str, picture: Picture, step: int) -> None:
        """Hold back a picture that the UI's step slider plays."""
        self._pending_grids.append((key, step, picture))

    def log_generator(
        self,
        generator: nn.Module,
        config: TrainConfig,
        facts: Facts,
        others: Mapping[str, nn.Module],
    ) -> None:
        """Store the generator twice: as plain weights, and as a model for `mlflow.pytorch`.

        The system's other networks are stored as plain weights only.
        """
        with tempfile.TemporaryDirectory() as folder:
            save_generator(Path(folder), generator, config, facts, others)
            self._client.log_artifacts(self.run_id, folder, WEIGHTS_ARTIFACT)
        inputs = example_inputs(config, facts, 2)  # 1 would freeze the exported batch size
        if len(inputs) > 1:
            return  # MLflow's signature for exported programs knows one tensor
        example = inputs[0].numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.export's and mlflow's own deprecations
            with _active(self.run_id):
                mlflow.pytorch.log_model(
                    generator,
                    name="generator",
                    input_example=example,
                    serialization_format="pt2",
                    pip_requirements=[f"torch=={version('torch')}"],
                )

    def flush(self) -> None:
        """Write the scalars and pictures held back."""
        pending, self._pending = self._pending, []
        for start in range(0, len(pending), METRICS_PER_BATCH):
            batch = pending[start : start + METRICS_PER_BATCH]
            self._client.log_batch(self.run_id, metrics=batch)
        grids, self._pending_grids = self._pending_grids, []
        for key, step, picture in grids:
            self._client.log_image(self.run_id, picture, key=key, step=step, synchronous=True)

    def finish(self, result: RunResult) -> None:
        """Write what is left and set the run's true status."""
        self.flush()
        tags: dict[str, str] = {"outcome": result.outcome}
        if result.reason:
            tags["reason"] = result.reason[:5000]
        if not result.scores and result.last_scores:
            tags["last_scores"] = json.dumps(dict(result.last_scores))[:5000]
        self._client.log_batch(self.run_id, tags=[RunTag(*item) for item in tags.items()])
        self._close(STATUS[result.outcome])

    def interrupt(self) -> None:
        """Leave the run to be resumed; what was held back is dropped, to be measured again."""
        self._client.set_tag(self.run_id, "outcome", "interrupted")
        self._close(STATUS["interrupted"])

    def abandon(self) -> None:
        """Let go of a run that somebody else has taken over."""
        self._monitor.finish()

    def _close(self, status: str) -> None:
        # A run shorter than the sampling interval still gets its one sample.
        with contextlib.suppress(Exception):
            self._monitor.collect_metrics()
            self._monitor.publish_metrics(self._monitor.aggregate_metrics())
        self._monitor.finish()
        self._client.set_terminated(self.run_id, status)


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


def _safe(key: str) -> str:
    """Return a metric name that MLflow allows."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in key)
