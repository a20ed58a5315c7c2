"""From runs to figures of merit: everything that a report's tables and sentences state."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from harness.evaluate.metric import FLOOR, Figure, all_figures, figure_of, is_floor, is_score
from harness.results.report.records import RunRecord, StudyRecords, ended_runs
from harness.results.statistics import (
    Interval,
    bootstrap_interval,
    expected_best,
    finite_or_none,
    hedges_g,
    holm,
    interaction,
    interquartile_mean,
    interquartile_means,
    mean_and_sd,
    stratified_test,
    wilson_interval,
)
from harness.results.summary import (
    FEWEST_FOR_INTERVALS,
    ArmSummary,
    Comparison,
    StudySummary,
    compare,
    summarise,
)
from harness.systems import TrainConfig
from harness.work.board import ArmState

MOST_ARMS_FOR_PAIRS = 6


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

    def key(self, figure: Figure) -> str | None:
        """Return a figure's full name on test images; None where no scored run has it."""
        names = [name for run in self.scored[:1] for name in run.metrics]
        own = [name for name in names if name.startswith(f"test/{figure.name}_")]
        return next(
            (name for name in own if not is_floor(name) and figure_of(name) == figure), None
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


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Two arms compared.

    Attributes:
        test: Rank test, P(A < B) and difference of means.
        difference_interval: Percentile bootstrap interval of that difference; None below five
            scored runs a side.
        effect_size: Hedges' g of the scored runs, None where undefined.
    """

    test: Comparison
    difference_interval: Interval | None
    effect_size: float | None


@dataclass(frozen=True, kw_only=True)
class MarginalEffect:
    """A factor's level against the baseline's, over the levels of the other factors.

    `num_strata` of `all_strata` combinations of these have confirm runs on both sides.
    """

    factor: str
    level: str
    reference: str
    num_strata: int
    all_strata: int
    superiority: float
    p_value: float
    p_holm: float
    run_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """How much more one factor's step changes the mean score when another factor's step is made."""

    first: str
    second: str
    contrast: float
    interval: Interval | None
    run_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything a report states.

    Attributes:
        records: The runs it rests on.
        summary: Arms, comparisons and answer, the same as `harness status` shows.
        arms: One per arm, in the study's order.
        contrasts: Every other arm against the baseline: the primary tests.
        pairs: All pairs, exploratory; empty for two arms or more than six.
        effects: Marginal effects; empty for a single factor.
        interactions: Likewise.
    """

    records: StudyRecords
    summary: StudySummary
    arms: tuple[ArmAnalysis, ...]
    contrasts: tuple[Contrast, ...]
    pairs: tuple[Comparison, ...]
    effects: tuple[MarginalEffect, ...]
    interactions: tuple[Interaction, ...]

    @property
    def metric(self) -> str:
        """The key of what arms are compared by, on test images."""
        return self.summary.metric

    @property
    def figure(self) -> Figure:
        """What that is called, and which values are best."""
        return self.summary.figure

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """All that runs were scored by, without what real images score."""
        keys = {key for run in self.records.runs for key in run.metrics if is_score(key)}
        found = {figure_of(key).name for key in keys if not is_floor(key)}
        return tuple(figure for figure in all_figures() if figure.name in found)

    def floor(self, figure: Figure) -> tuple[float | None, float | None]:
        """Return what real images score against the test split, mean and sd over draws."""
        key = next(filter(None, (arm.key(figure) for arm in self.arms)), "")
        mean, sd = (
            key.replace(f"/{figure.name}_", f"/{figure.name}{FLOOR}{kind}_", 1)
            for kind in ("", "_sd")
        )
        runs = (run.metrics for arm in self.arms for run in arm.scored if mean in run.metrics)
        metrics = next(runs, {})
        return metrics.get(mean), metrics.get(sd)

    @property
    def objective(self) -> str:
        """The key of what settings are chosen by, on validation images."""
        return self.records.definition.objective

    def arm(self, name: str) -> ArmAnalysis:
        """Return the arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)


def analyse(records: StudyRecords, *, baseline: str | None = None) -> Analysis:
    """Compute everything.

    Args:
        records: The runs.
        baseline: The arm that others are compared with; None: the study's own.
    """
    metric = records.definition.metric
    floor = records.definition.floor
    summary = summarise(
        records.name, records.study, records.states, metric=metric, floor=floor, baseline=baseline
    )
    by_id = {run.run_id: run for run in records.runs}

    arms = tuple(
        ArmAnalysis(
            state=state,
            summary=summary.arm(state.arm.name),
            metric=metric,
            figure=summary.figure,
            confirm=tuple(by_id[run_id] for run_id in ended_runs(state.confirm)),
            search=tuple(by_id[run_id] for run_id in ended_runs(state.search)),
        )
        for state in records.states
    )
    by_name = {arm.name: arm for arm in arms}
    contrasts = tuple(
        _contrast(test, by_name[test.arm], by_name[test.baseline]) for test in summary.comparisons
    )
    crossed = {} if baseline else records.study.factors
    return Analysis(
        records=records,
        summary=summary,
        arms=arms,
        contrasts=contrasts,
        pairs=_pairs(arms, summary.figure),
        effects=_marginal_effects(arms, crossed, records.study.baseline_levels),
        interactions=_interactions(arms, crossed, records.study.baseline_levels),
    )


def _contrast(test: Comparison, arm: ArmAnalysis, baseline: ArmAnalysis) -> Contrast:
    a, b = arm.scores, baseline.scores
    enough = min(len(a), len(b)) >= FEWEST_FOR_INTERVALS
    return Contrast(
        test=test,
        difference_interval=bootstrap_interval(_difference, a, b) if enough else None,
        effect_size=finite_or_none(hedges_g(a, b)),
    )


def _difference(a: Any, b: Any) -> Any:
    return a.mean(axis=-1) - b.mean(axis=-1)


def _pairs(arms: Sequence[ArmAnalysis], figure: Figure) -> tuple[Comparison, ...]:
    scored = [arm for arm in arms if arm.costs]
    if not 2 < len(scored) <= MOST_ARMS_FOR_PAIRS:
        return ()
    return compare(list(itertools.combinations([arm.summary for arm in scored], 2)), figure)


Levels = Mapping[str, Any]


def _marginal_effects(
    arms: Sequence[ArmAnalysis], factors: Mapping[str, Sequence[Any]], reference: Levels
) -> tuple[MarginalEffect, ...]:
    """Test every level of every factor against the baseline's, stratified by the other factors."""
    found = []
    for factor, levels in factors.items():
        for level in levels:
            step = {factor: (level, reference[factor])}
            strata = _matched(arms, step)
            if level != reference[factor] and len(strata) > 1:
                test = stratified_test([(a.costs, b.costs) for a, b in strata])
                ids = tuple(run.run_id for pair in strata for arm in pair for run in arm.confirm)
                num_all = len(_matched(arms, step, empty=True))
                found.append((factor, level, (len(strata), num_all), test, ids))
    adjusted = holm([test.p_value for _, _, _, test, _ in found])
    return tuple(
        MarginalEffect(
            factor=factor,
            level=str(level),
            reference=str(reference[factor]),
            num_strata=counts[0],
            all_strata=counts[1],
            superiority=test.superiority,
            p_value=test.p_value,
            p_holm=p_holm,
            run_ids=ids,
        )
        for (factor, level, counts, test, ids), p_holm in zip(found, adjusted, strict=True)
    )


def _interactions(
    arms: Sequence[ArmAnalysis], factors: Mapping[str, Sequence[Any]], reference: Levels
) -> tuple[Interaction, ...]:
    """Contrast every pair of steps away from the baseline's levels, within the other factors."""
    found = []
    for one, other in itertools.combinations(factors, 2):
        for first, second in itertools.product(factors[one], factors[other]):
            if first == reference[one] or second == reference[other]:
                continue
            steps = {one: (first, reference[one]), other: (second, reference[other])}
            matched = _matched(arms, steps)
            if not matched:
                continue
            contrast, interval = interaction(
                [(b.scores, f.scores, s.scores, n.scores) for b, f, s, n in matched]
            )
            fewest = min(len(arm.scored) for corners in matched for arm in corners)
            enough = fewest >= FEWEST_FOR_INTERVALS
            ids = [run.run_id for corners in matched for arm in corners for run in arm.confirm]
            if math.isfinite(contrast):
                found.append(
                    Interaction(
                        first=f"{one} {reference[one]} → {first}",
                        second=f"{other} {reference[other]} → {second}",
                        contrast=contrast,
                        interval=interval if enough else None,
                        run_ids=tuple(ids),
                    )
                )
    return tuple(found)


def _matched(
    arms: Sequence[ArmAnalysis], steps: Mapping[str, tuple[Any, Any]], *, empty: bool = False
) -> list[tuple[ArmAnalysis, ...]]:
    """Return, for every setting of the factors not stepped, the arms at all ends of the steps.

    The order is that of a truth table, "step made" first: (both, first only, second only, neither)
    for two steps. Settings where an arm is missing are left out, and unless
    `empty` those where one has no runs.
    """
    by_levels = {tuple(arm.state.arm.levels.items()): arm for arm in arms if arm.costs or empty}
    matched: dict[tuple[Any, ...], tuple[ArmAnalysis, ...]] = {}
    for arm in arms:
        levels = arm.state.arm.levels
        if not set(steps) <= set(levels):
            continue
        corners = [
            tuple({**levels, **dict(zip(steps, ends, strict=True))}.items())
            for ends in itertools.product(*steps.values())
        ]
        if all(corner in by_levels for corner in corners):
            others = tuple((key, levels[key]) for key in levels if key not in steps)
            matched[others] = tuple(by_levels[corner] for corner in corners)
    return list(matched.values())
