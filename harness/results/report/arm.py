"""One arm's runs, and the figures of merit that they make."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.evaluate.metric import Figure, figure_of, is_back, is_floor, is_judged
from harness.results.arms import ArmSummary
from harness.results.comparison import FEWEST_FOR_INTERVALS
from harness.results.report.records import RunRecord
from harness.statistics import (
    Interval,
    bootstrap_interval,
    expected_best,
    interquartile_mean,
    interquartile_means,
    mean_and_sd,
    wilson_interval,
)
from harness.systems import TrainConfig
from harness.work.board import ArmState


@dataclass(frozen=True, kw_only=True)
class Share:
    """A count out of a total, with Wilson's 95 % interval (None of nothing)."""

    count: int
    total: int

    @property
    def interval(self) -> Interval | None:
        """Wilson's interval of the share."""
        return wilson_interval(self.count, self.total) if self.total else None


@dataclass(frozen=True, kw_only=True)
class ArmAnalysis:
    """One arm.

    Attributes:
        state: Where it stands, with its settings and space.
        summary: Mean, sd, median and outcomes.
        metric: The key of what arms are compared by.
        figure: What that is called, and which values are best.
        confirm: Its ended confirm runs, by seed.
        search: Its ended search runs, by trial.
    """

    state: ArmState
    summary: ArmSummary
    metric: str
    figure: Figure
    confirm: tuple[RunRecord, ...]
    search: tuple[RunRecord, ...]

    @property
    def name(self) -> str:
        """The arm's name."""
        return self.state.arm.name

    @cached_property
    def costs(self) -> list[float]:
        """Scores of the confirm runs as tests see them: less is better, `inf` is without one."""
        return [self.figure.cost(run.score(self.metric)) for run in self.confirm]

    @property
    def scores(self) -> list[float]:
        """Scores of the confirm runs that have one, by seed."""
        found = [run.score(self.metric) for run in self.confirm]
        return [score for score in found if score is not None]

    @cached_property
    def scored(self) -> list[RunRecord]:
        """Confirm runs with a score, best first."""
        pairs = zip(self.costs, self.confirm, strict=True)
        return [run for cost, run in sorted(pairs, key=lambda pair: pair[0]) if cost < math.inf]

    @property
    def iqm(self) -> float | None:
        """Interquartile mean over all confirm runs, those without a score ranking worst."""
        return self.figure.value(interquartile_mean(self.costs)) if self.costs else None

    @cached_property
    def iqm_interval(self) -> Interval | None:
        """Its percentile bootstrap interval; None for fewer than five runs."""
        if len(self.costs) < FEWEST_FOR_INTERVALS:
            return None
        interval = bootstrap_interval(interquartile_means, self.costs)
        return Interval(*sorted(self.figure.sign * end for end in interval))

    def share(self, *outcomes: str) -> Share:
        """Return how many confirm runs ended in one of these ways."""
        count = sum(run.outcome in outcomes for run in self.confirm)
        return Share(count=count, total=len(self.confirm))

    def key(self, figure: Figure, *, back: bool = False, judged: bool = False) -> str | None:
        """Return a figure's full name on test images; None where no scored run has it.

        Args:
            figure: Which.
            back: Whether it is of translations back to the domain that was translated.
            judged: Whether it is by the second ruler, which not every run of an early study has.
        """
        names = [name for run in self.scored for name in run.metrics]
        own = [name for name in names if name.startswith(f"test/{figure.name}_")]
        return next(
            (
                name
                for name in own
                if not is_floor(name)
                and (is_back(name), is_judged(name)) == (back, judged)
                and figure_of(name) == figure
            ),
            None,
        )

    def metric_mean(self, key: str) -> tuple[float, float]:
        """Return mean and sd of any final metric over the runs that have it."""
        values = [run.score(key) for run in self.confirm]
        return mean_and_sd([value for value in values if value is not None])

    @property
    def num_parameters(self) -> dict[str, int]:
        """Trainable parameters by network, as some run recorded them; none from early versions."""
        prefix = "parameters."
        for run in (*self.confirm, *self.search):
            if sizes := {key: run.params[key] for key in run.params if key.startswith(prefix)}:
                return {key.removeprefix(prefix): int(size) for key, size in sizes.items()}
        return {}

    @property
    def config(self) -> TrainConfig:
        """Its settings as they are confirmed."""
        return self.state.arm.config(self.state.best or self.state.arm.defaults, seed=0)

    @property
    def seconds_per_run(self) -> float | None:
        """Mean seconds of training of the confirm runs that came to their end."""
        seconds = [run.train_seconds for run in self.scored]
        return float(np.mean(seconds)) if seconds else None

    @property
    def search_seconds(self) -> float:
        """Seconds of training that the search has taken."""
        return sum(run.train_seconds for run in self.search)

    @property
    def search_images(self) -> int:
        """Real images shown in the search."""
        return sum(run.images_seen for run in self.search)

    @property
    def _search_costs(self) -> list[float]:
        """Validation scores of the ended trials, in order, as costs; `inf` for one without."""
        return [self.figure.cost(record.value) for record in self.state.search if record.is_done]

    @cached_property
    def best_of_n(self) -> list[float]:
        """Expected best validation score of a random search of n trials, n = 1 …

        A search of n trials is trial 0 and n - 1 of the random ones, so trial 0 is in every draw.
        Infinite where all of a draw could be without a score; nothing before trial 0 has ended.
        """
        if not self.state.search or not self.state.search[0].is_done:
            return []
        first, *others = self._search_costs
        best = [first, *expected_best([min(first, cost) for cost in others])]
        return [self.figure.sign * cost for cost in best]

    @cached_property
    def best_so_far(self) -> list[float]:
        """Best validation score after each trial, in the order of the trials."""
        best = itertools.accumulate(self._search_costs, min)
        return [self.figure.sign * cost for cost in best]
