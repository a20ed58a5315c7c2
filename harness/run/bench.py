"""What all runs of a study share: data, metric, device and precision."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from harness.data import Dataset, Part
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig, Evaluator
from harness.evaluate.judge import check_is_none, facts_of, judge_of
from harness.evaluate.metric import BACK, FLOOR
from harness.run.execution import Execution
from harness.systems import SYSTEMS, Precision, System, TrainConfig, is_conditional

SPACING = "by one factor"  # of evaluations, for the record; early ones say nothing of it


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all runs of a study share: data, metric, device and precision.

    Attributes:
        dataset: The data; `part` is its training part on the device.
        evaluator: Scores samples by the study's one protocol.
        back: Where the data have two domains, scores translations back to the first one.
        judge: Scores what ends on test images a second time; None where the data have none.
        times: Evaluations per run.
        evenly: Whether they are evenly spaced, as those of early records were.
        device: Where runs train.
        precision: Of training's matrix products.
    """

    dataset: Dataset
    part: Part
    evaluator: Evaluator
    back: Evaluator | None = None
    judge: Evaluator | None = None
    times: int
    device: torch.device
    precision: Precision
    evenly: bool = False

    @classmethod
    def set_up(
        cls,
        dataset: Dataset,
        evaluate: EvaluateConfig,
        *,
        execution: Execution,
        cache_dir: Path,
    ) -> Bench:
        """Make what scores a dataset's runs; raises HarnessError where that is impossible."""
        device = torch.device(execution.device)
        source, back = dataset.counterpart, None
        if source is None and evaluate.extractor_back is not None:
            raise HarnessError(
                f"evaluate.extractor_back = {evaluate.extractor_back!r}: {dataset.name} has one "
                "domain, so nothing is translated back; leave it out"
            )
        check_is_none(evaluate)
        evaluator = Evaluator(
            dataset.target, evaluate, cache_dir=cache_dir, device=device, source=source
        )
        judge = judge_of(
            dataset.target, evaluate, cache_dir=cache_dir, device=device, source=source
        )
        if source is not None:
            # Another extractor than Inception's knows the images of its own domain only.
            general = "inception" if evaluate.extractor == "inception" else None
            own = evaluate.model_copy(update={"extractor": evaluate.extractor_back or general})
            back = Evaluator(
                source, own, cache_dir=cache_dir, device=device, source=dataset.target, suffix=BACK
            )
        return cls(
            dataset=dataset,
            part=dataset.train.to(device),
            evaluator=evaluator,
            back=back,
            judge=judge,
            times=evaluate.times,
            device=device,
            precision=execution.precision,
        )

    @cached_property
    def floors(self) -> Mapping[str, float]:
        """Real-vs-real scores, by protocol key, as `floors_of` returns them of most runs.

        Made when they are first asked for, which takes a minute on MNIST, and kept in the cache.
        """
        floors = _floors(self.evaluator, conditional=self.evaluator.ranks_by_asked_classes)
        for other in filter(None, (self.back, self.judge)):
            floors |= _floors(other, conditional=False)
        return floors

    def floors_of(self, *, conditional: bool) -> Mapping[str, float]:
        """Return what real images score by the figures of a run, recorded beside its own.

        Args:
            conditional: Whether the run's samples are asked of a class.
        """
        if not conditional or self.evaluator.ranks_by_asked_classes:
            return self.floors
        return {**self.floors, **_floors(self.evaluator, conditional=True)}

    def check(self, config: TrainConfig) -> None:
        """Raise HarnessError for settings that do not fit what runs are ranked by."""
        if self.evaluator.ranks_by_asked_classes and not is_conditional(config, self.dataset.facts):
            raise HarnessError(
                f"evaluate.objective = {self.evaluator.objective.name!r} ranks samples that are "
                f"asked of a class, and system = {config.system!r} with these settings asks for "
                "none: choose another objective, or class-conditional settings for every run"
            )

    def start(self, config: TrainConfig) -> System[Any]:
        """Return the system that a run trains, freshly made.

        Raises:
            HarnessError: The settings do not fit the data or what runs are ranked by. Whatever
                else its networks raise passes.
        """
        self.check(config)
        cls = SYSTEMS[config.system]
        return cls(config, self.dataset.facts, self.device, self.precision)

    @property
    def protocol(self) -> dict[str, str]:
        """Facts for the record: of the evaluator, how the way back differs, and of the judge."""
        facts = self.evaluator.describe()
        own = self.back.describe() if self.back else {}
        back = {f"{key}_{BACK}": own[key] for key in own if own[key] != facts.get(key)}
        return facts | back | (facts_of(self.judge) if self.judge else {})

    @property
    def objective(self) -> str:
        """The key of what runs are chosen by, on validation images."""
        return self.evaluator.key("validation", self.evaluator.objective.name)

    @property
    def metric(self) -> str:
        """The key of what arms are compared by, on test images."""
        return self.evaluator.key("test", self.evaluator.objective.name)

    @property
    def floor(self) -> float | None:
        """What real images score by that metric; None where it has no such value."""
        return self.floors.get(
            self.evaluator.key("test", f"{self.evaluator.objective.name}{FLOOR}")
        )


def _floors(evaluator: Evaluator, *, conditional: bool) -> dict[str, float]:
    """Return what real images score against either held-out part."""
    of_validation = evaluator.floor("validation", conditional=conditional)
    return of_validation | evaluator.floor("test", conditional=conditional)


def run_facts(config: TrainConfig, execution: Execution, bench: Bench) -> dict[str, Any]:
    """Return what is recorded of a run beside its config: size, device, threads, cores and
    protocol."""
    protocol = {f"evaluate.{key}": value for key, value in bench.protocol.items()}
    try:
        sizes = SYSTEMS[config.system].num_parameters(config, bench.dataset.facts)
    except Exception:  # networks that cannot be built are the run's own result
        sizes = {}
    facts = execution.facts() | {"machine.cores": os.cpu_count()}
    facts |= {f"parameters.{network}": number for network, number in sizes.items()}
    sources = SYSTEMS[config.system].sources(config)
    facts |= {f"sha256.{key}": digest for key, digest in sources.items()}
    return facts | {"evaluate.times": bench.times, "evaluate.spacing": SPACING} | protocol
