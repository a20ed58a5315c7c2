"""What a worker needs to know of a study, and the set-up of data and metric for its runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from harness.data import Facts, load_dataset
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig
from harness.records.workspace import Workspace
from harness.run.bench import Bench
from harness.run.execution import Execution
from harness.study.arm import Arm
from harness.study.definition import Definition
from harness.study.space import corner_points
from harness.study.study import StudyConfig
from harness.systems import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a worker process needs.

    Attributes:
        name: The study's name.
        definition: What is stored of it.
        workspace: Where things live.
        plugins: What to load beside the package.
        workers: Processes that work side by side, for the record.
    """

    name: str
    definition: Definition
    workspace: Workspace
    plugins: tuple[str, ...] = ()
    workers: int = 1


def set_up_bench(
    study: StudyConfig, arms: Sequence[Arm], execution: Execution, workspace: Workspace
) -> Bench:
    """Load a study's data and metric, and check every arm against both, and its budget."""
    points = [(arm, (*study.points(arm), *corner_points(arm.space))) for arm in arms]
    configs = [arm.config(point or {}, seed=0) for arm, tried in points for point in tried]
    for config in configs:
        config.check_budget()
    image_size = study.fixed.get("image_size")
    return _bench(study.dataset, image_size, configs, study.evaluate, execution, workspace)


def set_up_lone_bench(
    config: TrainConfig, evaluate: EvaluateConfig, execution: Execution, workspace: Workspace
) -> Bench:
    """Load one run's data and metric, and check its config against both."""
    return _bench(config.dataset, config.image_size, [config], evaluate, execution, workspace)


def _bench(
    dataset_name: str,
    image_size: int | None,
    configs: Sequence[TrainConfig],
    evaluate: EvaluateConfig,
    execution: Execution,
    workspace: Workspace,
) -> Bench:
    dataset = load_dataset(dataset_name, workspace.data_dir, image_size, workspace.cache)
    for config in configs:
        config.check(dataset.facts)  # before a metric is made, which may have to be trained
        _check_memory(config, dataset.facts)
    bench = Bench.set_up(dataset, evaluate, execution=execution, cache_dir=workspace.cache)
    for config in configs:
        bench.check(config)
    return bench


def _check_memory(config: TrainConfig, facts: Facts) -> None:
    """Raise HarnessError where a step cannot fit into the machine's memory.

    It holds three batches at least: real ones, generated ones, and the gradients of these.
    """
    needed = 3 * 4 * config.batch_size * math.prod(facts.sample_shape)
    if needed > (total := psutil.virtual_memory().total):
        raise HarnessError(
            f"batch_size = {config.batch_size}: a step takes more than {needed / 2**30:,.0f} GiB; "
            f"allowed are batches that fit into this machine's memory of {total / 2**30:,.0f} GiB"
        )
