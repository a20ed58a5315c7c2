"""One run on its way into the records: written in batches, ended with its true status."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from harness.data import Facts
from harness.data.pictures import Picture
from harness.run.runner import Outcome, RunResult
from harness.systems import TrainConfig, example_inputs, save_generator

STATUS: dict[Outcome, str] = {
    "finished": "FINISHED",
    "collapsed": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "pruned": "KILLED",
    "interrupted": "KILLED",
}
WEIGHTS_ARTIFACT = "generator_weights"
FLOORS_FILE = "floors.json"


class Point(NamedTuple):
    """A metric's value at a step (images seen), and when it was measured, in ms since 1970."""

    key: str
    value: float
    timestamp: int
    step: int


class Store(Protocol):
    """What a run is written to."""

    def write_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Write scalars, all finite."""

    def write_grid(self, run_id: str, key: str, picture: Picture, step: int) -> None:
        """Write a picture that belongs to a step."""

    def write_model(self, run_id: str, name: str, generator: nn.Module, example: Tensor) -> None:
        """Write a generator in the store's own form."""

    def log_folder(self, run_id: str, folder: Path, name: str) -> None:
        """Attach a folder's files."""

    def log_file(self, run_id: str, name: str, text: str) -> None:
        """Attach a text file."""

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags."""

    def end_run(self, run_id: str, status: str) -> None:
        """Set how a run has ended."""

    def monitor(self, run_id: str) -> Any:
        """Return what samples the machine for a run."""


class RunRecorder:
    """Writes one run: scalars in batches, pictures by step, the generator at the end."""

    def __init__(self, store: Store, run_id: str, name: str) -> None:
        self.run_id = run_id
        self._name = name
        self._store = store
        self._pending: list[Point] = []
        self._pending_grids: list[tuple[str, int, Picture]] = []
        self._monitor = store.monitor(run_id)
        self._monitor.start()

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Hold back scalars for the next batch; non-finite ones would break MLflow's pages."""
        now = int(time.time() * 1000)
        self._pending += [
            Point(key, value, now, step) for key, value in values.items() if math.isfinite(value)
        ]

    def log_floors(self, floors: Mapping[str, float]) -> None:
        """Attach what real images score: a file, for beside the run's own it is the same in all."""
        self._store.log_file(self.run_id, FLOORS_FILE, json.dumps(dict(floors)))

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
        """Store the generator twice: as plain weights, and as a model of the store's own.

        The system's other networks are stored as plain weights only.
        """
        with tempfile.TemporaryDirectory() as folder:
            save_generator(Path(folder), generator, config, facts, others)
            self._store.log_folder(self.run_id, Path(folder), WEIGHTS_ARTIFACT)
        inputs = example_inputs(config, facts, 2)  # 1 would freeze the exported batch size
        if len(inputs) == 1:  # MLflow's signature for exported programs knows one tensor
            self._store.write_model(self.run_id, self._name, generator, inputs[0])

    def flush(self) -> None:
        """Write the scalars and pictures held back."""
        pending, self._pending = self._pending, []
        self._store.write_points(self.run_id, pending)
        grids, self._pending_grids = self._pending_grids, []
        for key, step, picture in grids:
            self._store.write_grid(self.run_id, key, picture, step)

    def finish(self, result: RunResult) -> None:
        """Write what is left and set the run's true status."""
        self.flush()
        tags: dict[str, str] = {"outcome": result.outcome}
        if result.reason:
            tags["reason"] = result.reason[:5000]
        if not result.scores and result.last_scores:
            tags["last_scores"] = json.dumps(dict(result.last_scores))[:5000]
        self._store.set_tags(self.run_id, tags)
        self._close(STATUS[result.outcome])

    def interrupt(self) -> None:
        """Leave the run to be resumed; what was held back is dropped, to be measured again."""
        self._store.set_tags(self.run_id, {"outcome": "interrupted"})
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
        self._store.end_run(self.run_id, status)
