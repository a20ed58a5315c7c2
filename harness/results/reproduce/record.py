"""A run as MLflow holds it: its config, how it was executed and scored, and all it recorded."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from torch import Tensor

from harness.config import explain
from harness.data import Split
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig
from harness.evaluate.metric import is_floor
from harness.plugins import check_plugins
from harness.records.provenance import environment
from harness.records.sqlite import sqlite_file
from harness.records.tracking import Tracker, logged_dataset, settings_of
from harness.records.workspace import Workspace
from harness.results.reproduce.comparison import Difference, Facts
from harness.run.bench import Bench
from harness.run.execution import Execution
from harness.systems import SYSTEMS, TrainConfig, as_recorded, load_generator, system_of

REPRODUCIBLE = ("finished", "collapsed", "diverged")
NOT_CONFIG = ("level.", "parameters.", "sha256.", "evaluate.", "machine.")
EXECUTION = ("device", "threads", "precision")
PROTOCOL = ("extractor", "samples", "times", "kid_subsets")
TIMED = ("train/images_per_second", "progress/train_seconds", "progress/load", "system/")
EARLY_PARAMS = {"evaluate.objective": EvaluateConfig.model_fields["objective"].default}
"""What records say that were made before it could be chosen."""
COMMIT = "mlflow.source.git.commit"


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run as MLflow holds it.

    Attributes:
        run_id: Its id.
        name: What MLflow calls it.
        outcome: What became of it.
        reason: Why it did not finish.
        config: Its settings.
        params: These and the other facts of it, as strings.
        tags: Study, phase and environment.
        digest: Of the data that it was trained on.
        facts: Every scalar that does not measure time, and hashes of grids and weights.
        num_grids: Number of sample grids; 0 where they are lost.
        num_weights: Number of the generator's weights; 0 where they are lost.
    """

    run_id: str
    name: str
    outcome: str
    reason: str | None
    config: TrainConfig
    params: Mapping[str, str]
    tags: Mapping[str, str]
    digest: str
    facts: Facts
    num_grids: int
    num_weights: int

    @classmethod
    def read(cls, run_id: str, workspace: Workspace) -> Record:
        """Read a run; raises HarnessError where there is nothing to reproduce."""
        file = sqlite_file(workspace.tracking_uri)
        if file is not None and not file.exists():
            raise HarnessError(f"{file} does not exist yet: there is no run to reproduce")
        tracker = Tracker(workspace)
        run = tracker.run(run_id)
        tags, params = dict(run.data.tags), EARLY_PARAMS | settings_of(run)
        _check_fitness(run_id, run.info.status, tags, params)
        plugins = {k.removeprefix("plugin."): v for k, v in tags.items() if k.startswith("plugin.")}
        check_plugins(plugins, f"run {run_id}", exactly=True)
        facts: Facts = {
            (key, step): value
            for key in run.data.metrics
            if is_compared(key)
            for step, value in tracker.history(run_id, key)
        }
        num_grids = 0
        for key in tracker.grid_keys(run_id):
            for step, picture in tracker.grids(run_id, key).items():
                if step > 0:  # early runs have one of noise, from before training
                    facts |= grid_fact(key, step, picture)
                    num_grids += 1
        weights = _recorded_weights(tracker, run_id) if tags["outcome"] != "diverged" else {}
        return cls(
            run_id=run_id,
            name=tags.get("mlflow.runName", run_id),
            outcome=tags["outcome"],
            reason=tags.get("reason"),
            config=rebuild_config(params, f"the record of run {run_id}"),
            params=params,
            tags=tags,
            digest=logged_dataset(run).digest,
            facts=facts | weight_facts(weights),
            num_grids=num_grids,
            num_weights=sum(tensor.numel() for tensor in weights.values()),
        )

    def execution(self) -> Execution:
        """Return the recorded way to train, on the CPU where the recorded device is not here."""
        execution = Execution.recorded(self.params)
        if execution.device == "cuda" and not torch.cuda.is_available():
            return execution.model_copy(update={"device": "cpu"})
        return execution

    def evaluate_config(self) -> EvaluateConfig:
        """Return the protocol; raises HarnessError where its weights file is not on record."""
        name = self.params["evaluate.extractor"]
        if name.startswith("inception_"):
            raise HarnessError(
                f"run {self.run_id} was scored by {name}, whose weights file is not on record"
            )
        return EvaluateConfig(
            samples=int(self.params["evaluate.samples"]),
            times=int(self.params["evaluate.times"]),
            extractor=name,
            objective=self.params["evaluate.objective"],
            kid_subsets=int(self.params["evaluate.kid_subsets"]),
        )

    def check_sources(self) -> None:
        """Raise HarnessError where the weights that the run started from have become others."""
        for key, digest in SYSTEMS[self.config.system].sources(self.config).items():
            if self.params.get(f"sha256.{key}", digest) != digest:
                raise HarnessError(
                    f"run {self.run_id} started from other weights than {key} = "
                    f"{getattr(self.config, key)!r} holds now: put those back"
                )

    @property
    def splits(self) -> tuple[Split, ...]:
        """What the last evaluation scored against."""
        return ("validation",) if self.tags["phase"] == "search" else ("validation", "test")

    def differences(self, execution: Execution, bench: Bench) -> tuple[Difference, ...]:
        """Return what is not the same here: libraries, commit, machine, device, protocol."""
        kept = ("version.", "plugin.", "host", "processor", COMMIT)
        then: dict[str, str] = {k: v for k, v in self.tags.items() if k.startswith(kept)}
        now: dict[str, str] = {k: v for k, v in environment().items() if k.startswith(kept)}
        facts: dict[str, Any] = execution.facts()
        facts |= {f"evaluate.{key}": value for key, value in bench.protocol.items()}
        if "evaluate.judge" not in self.params:  # it came later, and changes nothing else
            facts = {key: facts[key] for key in facts if not key.startswith("evaluate.judge")}
        now |= {key: str(value) for key, value in facts.items()}
        then |= {key: self.params[key] for key in facts if key in self.params}
        return tuple(
            Difference(key=key, recorded=then.get(key), reproduced=now.get(key))
            for key in sorted(then.keys() | now.keys())
            # Edits that no commit holds may differ between two equal names.
            if then.get(key) != now.get(key) or then[key].endswith("-dirty")
        )


def rebuild_config(params: Mapping[str, str], where: str) -> TrainConfig:
    """Return the config whose flattened settings are `params`, as strings, among other facts.

    Args:
        params: A run's params; `level.*`, `parameters.*`, `evaluate.*`, `machine.*` and the
            execution's are not of the config, and any other key must be.
        where: What the params are called in messages.

    Raises:
        HarnessError: The params do not make a config.
    """
    tree: dict[str, Any] = {}
    for key, value in params.items():
        if key in EXECUTION or key.startswith(NOT_CONFIG):
            continue
        *tables, name = key.split(".")
        target = tree
        for table in tables:
            target = target.setdefault(table, {})
        target[name] = value
    try:
        return system_of(tree).Config.model_validate(as_recorded(tree), strict=False)
    except ValidationError as error:
        raise HarnessError(f"{where}: {explain(error)}") from None


def _check_fitness(
    run_id: str, status: str, tags: Mapping[str, str], params: Mapping[str, str]
) -> None:
    """Raise HarnessError for a run that has no end of its own to be reached again."""
    phase, outcome = tags.get("phase"), tags.get("outcome")
    if phase == "study":
        raise HarnessError(f"run {run_id} is a study, not a training run: name one of its runs")
    if status == "RUNNING":
        raise HarnessError(f"run {run_id} is still running, or was killed: it has no end yet")
    if outcome is not None and outcome not in REPRODUCIBLE:
        raise HarnessError(
            f"run {run_id} is {outcome}: only {', '.join(REPRODUCIBLE)} runs can be reproduced"
        )
    needed = [*EXECUTION[:2], *(f"evaluate.{key}" for key in PROTOCOL)]
    if outcome is None or phase is None or any(key not in params for key in needed):
        raise HarnessError(f"run {run_id} is no training run of this harness")


def _recorded_weights(tracker: Tracker, run_id: str) -> Mapping[str, Tensor]:
    """Return the generator's weights, none where they are lost; raises where they are damaged."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tracker.generator_folder(run_id))
        except (HarnessError, OSError):
            return {}
        return load_generator(folder)[0].state_dict()


def weight_facts(weights: Mapping[str, Tensor]) -> Facts:
    """Return the hash of every tensor of a generator."""
    return {
        (f"generator/{name}", None): _hash(tensor.detach().cpu().contiguous().numpy())
        for name, tensor in weights.items()
    }


def is_compared(key: str) -> bool:
    """Return whether a metric says something of the run: neither of time nor of real images."""
    return not key.startswith(TIMED) and not is_floor(key)


def grid_fact(key: str, step: int, picture: npt.NDArray[np.uint8]) -> Facts:
    """Return the hash of a picture."""
    return {(key, step): _hash(picture)}


def _hash(array: npt.NDArray[Any]) -> str:
    content = repr((array.shape, array.dtype.name)).encode() + array.tobytes()
    return f"sha256 {hashlib.sha256(content).hexdigest()[:12]}"
