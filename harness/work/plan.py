"""What a worker needs to know of a study, and the set-up of data and metric for its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """Load a study's data and metric, and check every arm against both."""
    bench = Bench.set_up(
        study.dataset,
        study.fixed.get("image_size"),
        study.evaluate,
        execution=execution,
        data_dir=workspace.data_dir,
        cache_dir=workspace.cache,
    )
    for arm in arms:
        for point in (*study.points(arm), *corner_points(arm.space)):
            bench.check(arm.config(point or {}, seed=0))
    return bench


def set_up_lone_bench(
    config: TrainConfig, evaluate: EvaluateConfig, execution: Execution, workspace: Workspace
) -> Bench:
    """Load one run's data and metric, and check its config against both."""
    bench = Bench.set_up(
        config.dataset,
        config.image_size,
        evaluate,
        execution=execution,
        data_dir=workspace.data_dir,
        cache_dir=workspace.cache,
    )
    bench.check(config)
    return bench
