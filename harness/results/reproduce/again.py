"""Reproducing: train a recorded run again from MLflow's record alone, and compare."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from harness.data import Facts as Facts_
from harness.data import check_unchanged
from harness.errors import HarnessError
from harness.records.workspace import Workspace
from harness.results.reproduce.comparison import (
    Difference,
    Facts,
    Reproduction,
    Value,
    compare,
    off,
)
from harness.results.reproduce.record import EXECUTION, Record, grid_fact, is_compared, weight_facts
from harness.run.bench import Bench
from harness.run.execution import Execution, cpu_threads
from harness.run.runner import RunResult, run
from harness.systems import TrainConfig
from harness.work.display import Display, ended, show_lone_run, silent
from harness.work.plan import set_up_lone_bench

DEFAULT_TOLERANCE = 0.25
COMPUTING = ("torch", "torchmetrics", "numpy", "scipy")
DIGITS_DEPEND_ON = (*EXECUTION, "processor", *(f"version.{name}" for name in COMPUTING))
REASON_LENGTH = 5000  # of what a record keeps


def reproduce_run(
    run_id: str,
    workspace: Workspace,
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    display: Callable[[str], Display] = silent,
    tell: Callable[[str], None] = lambda line: None,
) -> Reproduction:
    """Train a recorded run again and compare; nothing is written to MLflow.

    On a CPU, with the same libraries, threads, precision and data, every recorded scalar, sample
    grid and weight must be equal, bit for bit. What measures time is left out, and so is what the
    record never measured. Another commit is reported, and the bits are expected to be equal all
    the same.

    Elsewhere the outcome must be the same and the final score on each split within `tolerance`, and
    only that: other libraries or another device round differently, adversarial training enlarges
    every rounding, and after some hundred steps the trajectories have parted company. Such a run
    is as good as one of another seed, of which only the final score is comparable.

    Args:
        run_id: An MLflow run that finished, collapsed or diverged.
        workspace: Where the record, the data and the cache are.
        tolerance: Relative difference of final scores.
        display: Given the validation metric's key, makes what shows the progress.
        tell: Told, before training, what is checked and what differs here.

    Raises:
        HarnessError: The run is unknown, unfit, or was trained on other data.
    """
    if not tolerance >= 0:
        raise HarnessError(f"--tolerance {tolerance}: must be at least 0")
    record = Record.read(run_id, workspace)
    execution = record.execution()
    with cpu_threads(execution.threads):
        record.check_sources()
        check_unchanged(
            record.config.dataset,
            workspace.data_dir,
            record.config.image_size,
            cache_dir=workspace.cache,
            digest=record.digest,
            owner=f"run {record.run_id} was trained on",
            advice="name the place of the old ones with --data-dir",
        )
        evaluate = record.evaluate_config()
        bench = set_up_lone_bench(record.config, evaluate, execution, workspace)
        bench = replace(bench, evenly="evaluate.spacing" not in record.params)
        differences = record.differences(execution, bench)
        because = _inexact_because(record, execution, differences)
        for line in _announcement(record, execution, differences, because, tolerance):
            tell(line)
        memory = _Memory()
        result = _train(record, bench, memory, display)
    recorded = record.facts | _ending(record.outcome, record.reason)
    here = memory.facts | _ending(result.outcome, result.reason)
    final = _final(record, bench, recorded, here) if result.scores else ()
    scalars = [place for place, value in record.facts.items() if isinstance(value, float)]
    return Reproduction(
        run_id=run_id,
        outcome=record.outcome,
        reason=record.reason,
        outcome_here=result.outcome,
        reason_here=result.reason,
        environment=differences,
        inexact_because=because,
        tolerance=tolerance,
        values=len(scalars),
        steps=len({step for _, step in scalars}),
        grids=record.num_grids,
        weights=record.num_weights,
        final=final,
        differing=off(recorded, here, final, tolerance) if because else compare(recorded, here),
    )


class _Memory:
    """A recorder that keeps what is to be compared, and writes nothing."""

    def __init__(self) -> None:
        self.facts: Facts = {}

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Keep scalars as a store would: the finite ones."""
        self.facts |= {
            (key, step): value
            for key, value in values.items()
            if math.isfinite(value) and is_compared(key)
        }

    def log_floors(self, floors: Mapping[str, float]) -> None:
        """Keep nothing: they are of the data, not of the run."""

    def log_grid(self, key: str, picture: npt.NDArray[np.uint8], step: int) -> None:
        """Keep a picture's hash."""
        self.facts |= grid_fact(key, step, picture)

    def log_generator(
        self,
        generator: nn.Module,
        config: TrainConfig,
        facts: Facts_,
        others: Mapping[str, nn.Module],
    ) -> None:
        """Keep the hashes of the generator's weights."""
        self.facts |= weight_facts(generator.state_dict())

    def flush(self) -> None:
        """Do nothing: nothing is held back."""


def _inexact_because(
    record: Record, execution: Execution, differences: tuple[Difference, ...]
) -> tuple[str, ...]:
    """Return why equal bits are not to be expected."""
    keys = [difference.key for difference in differences]
    reasons = [f"{key} differs" for key in keys if key in DIGITS_DEPEND_ON]
    if "processor" not in record.tags:
        reasons[reasons.index("processor differs")] = "the record does not name its processor"
    reasons += [f"{key} differs" for key in keys if key.startswith("evaluate.")]
    if execution.device != "cpu":
        reasons.append("a GPU does not add in a fixed order")
    if record.config.budget.unit == "seconds":
        reasons.append("a budget in seconds buys another number of steps every time")
    return tuple(reasons)


def _announcement(
    record: Record,
    execution: Execution,
    differences: tuple[Difference, ...],
    because: tuple[str, ...],
    tolerance: float,
) -> Iterator[str]:
    """Yield what is checked, and each difference of the environment."""
    yield (
        f"run {record.run_id} ({record.name}), {record.outcome}: trained again on "
        f"{execution.device} with {execution.threads} thread(s) in {execution.precision}"
    )
    for difference in differences:
        yield f"  {difference.describe()}"
    if because:
        yield f"compared: final scores within {tolerance:.3g}, relative, since {'; '.join(because)}"
    else:
        yield "compared: every scalar, sample grid and weight, bit for bit"


def _train(
    record: Record, bench: Bench, memory: _Memory, display: Callable[[str], Display]
) -> RunResult:
    with tempfile.TemporaryDirectory() as folder, display(bench.objective) as shown:
        event, on_progress = show_lone_run(shown, "reproduce", record.name, record.config)
        result = run(
            record.config,
            bench,
            memory,
            checkpoint=Path(folder) / "run.pt",
            final_splits=record.splits,
            on_progress=on_progress,
        )
        shown.show(ended(event, result))
    return result


def _ending(outcome: str, reason: str | None) -> Facts:
    return {("outcome", None): outcome, ("reason", None): reason and reason[:REASON_LENGTH]}


def _final(record: Record, bench: Bench, recorded: Facts, here: Facts) -> tuple[Difference, ...]:
    """Return the last score on each split that the record has."""

    def last(facts: Facts, key: str) -> tuple[int | None, Value]:
        steps = [step for name, step in facts if name == key and step is not None]
        return (max(steps), facts[key, max(steps)]) if steps else (None, None)

    keys = [bench.evaluator.key(split, bench.evaluator.objective.name) for split in record.splits]
    return tuple(
        Difference(
            key=key,
            step=last(recorded, key)[0],
            recorded=last(recorded, key)[1],
            reproduced=last(here, key)[1],
        )
        for key in keys
    )
