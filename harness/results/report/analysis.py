"""From runs to figures of merit: everything that a report's tables and sentences state."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.evaluate.metric import (
    COPY,
    FLOOR,
    Figure,
    all_figures,
    figure_of,
    is_back,
    is_floor,
    is_judged,
    is_score,
)
from harness.results.arms import compared_costs, factor_arm
from harness.results.comparison import Comparison, compare
from harness.results.factors import Interaction, MarginalEffect, interactions
from harness.results.report.arm import ArmAnalysis
from harness.results.report.records import RunRecord, StudyRecords
from harness.results.summary import StudySummary, summarise
from harness.results.verdicts import first_seeds
from harness.statistics import finite_or_none, hedges_g
from harness.study.comparisons import Pair
from harness.work.cell import ended_runs

MOST_ARMS_FOR_PAIRS = 6
UNPLANNED = "none of the studies planned it"
"""Why comparisons of studies that were put together have no p: arms were added, and may have been
added one by one until one of them won."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Two arms compared.

    Attributes:
        test: Rank test, P(A < B) and difference.
        effect_size: Hedges' g of those of the runs compared that have a score, None where
            undefined.
    """

    test: Comparison
    effect_size: float | None


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything a report states.

    Attributes:
        records: The runs it rests on.
        summary: Arms, comparisons and answer, the same as `harness status` shows.
        arms: One per arm, in the study's order.
        contrasts: Every other arm against the baseline: the primary tests; empty, as all below, of
            a descriptive study.
        pairs: All pairs, exploratory; empty for two arms or more than six.
        interactions: Of steps of two factors; empty for a single factor.
    """

    records: StudyRecords
    summary: StudySummary
    arms: tuple[ArmAnalysis, ...]
    contrasts: tuple[Contrast, ...]
    pairs: tuple[Comparison, ...]
    interactions: tuple[Interaction, ...]

    @property
    def metric(self) -> str:
        """The key of what arms are compared by, on test images."""
        return self.summary.metric

    @property
    def effects(self) -> tuple[MarginalEffect, ...]:
        """Marginal effects; empty for a single factor."""
        return self.summary.effects

    @property
    def figure(self) -> Figure:
        """What that is called, and which values are best."""
        return self.summary.figure

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """All that runs were scored by, without what real images score."""
        return self._figures(judged=False)

    @cached_property
    def judged(self) -> tuple[Figure, ...]:
        """Those that a second ruler has measured too; none of early records."""
        return self._figures(judged=True)

    def _figures(self, *, judged: bool) -> tuple[Figure, ...]:
        keys = {key for run in self.records.runs for key in run.metrics if is_score(key)}
        own = [key for key in keys if not is_floor(key) and is_judged(key) == judged]
        found = {figure_of(key).name for key in own}
        return tuple(figure for figure in all_figures() if figure.name in found)

    @cached_property
    def leads_back(self) -> bool:
        """Whether runs were scored by translations back too."""
        return any(is_back(key) for run in self.records.runs for key in run.metrics)

    def floor(
        self, figure: Figure, *, back: bool = False, judged: bool = False
    ) -> tuple[float | None, float | None]:
        """Return what real images score against the test split, mean and sd over draws."""
        mean, sd = (
            self._beside(figure, kind, back=back, judged=judged) for kind in (FLOOR, f"{FLOOR}_sd")
        )
        return mean, sd

    def copies(self, figure: Figure, *, back: bool = False, judged: bool = False) -> float | None:
        """Return what images score that are translated, left as they are; None without any."""
        return self._beside(figure, COPY, back=back, judged=judged)

    def _beside(self, figure: Figure, kind: str, **whose: bool) -> float | None:
        """Return what was recorded beside a figure of test images under a longer name."""
        key = next(filter(None, (arm.key(figure, **whose) for arm in self.arms)), "")
        name = key.replace(f"/{figure.name}_", f"/{figure.name}{kind}_", 1)
        values = (run.metrics.get(name) for arm in self.arms for run in arm.scored)
        return next((value for value in values if value is not None), None)

    @property
    def objective(self) -> str:
        """The key of what settings are chosen by, on validation images."""
        return self.records.definition.objective

    @property
    def verdicts(self) -> tuple[Comparison | MarginalEffect, ...]:
        """What the plan tests: comparisons of arms, or marginal effects."""
        return self.summary.effects if self.summary.primary else self.summary.comparisons

    def name_of(self, test: Comparison | MarginalEffect) -> str:
        """Return what is compared, and of how many seeds where arms have more."""
        if isinstance(test, MarginalEffect):
            return f"{test.factor}: {test.level} against {test.reference}"
        sides = self.summary.arm(test.arm), self.summary.arm(test.baseline)
        return f"{test.arm} against {test.baseline}{first_seeds(test, *sides)}"

    @property
    def has_more_runs(self) -> bool:
        """Whether some arm has more runs than a comparison with it is of."""
        return any(
            len(self.arm(name).confirm) > count
            for test in self.summary.comparisons
            for name, count in zip((test.arm, test.baseline), test.num_runs, strict=True)
        )

    def runs_of(self, test: Comparison | MarginalEffect) -> list[RunRecord]:
        """Return the confirm runs that a test is of."""
        if isinstance(test, MarginalEffect):
            return [run for name in test.arms for run in self.arm(name).confirm]
        counts = zip((test.arm, test.baseline), test.num_runs, strict=True)
        return [run for name, count in counts for run in self.arm(name).confirm[:count]]

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
        records.name,
        records.study,
        records.states,
        metric=metric,
        floor=floor,
        baseline=baseline,
        ledger=records.ledger,
        withheld=UNPLANNED * records.is_joint,
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
    crossed = {} if baseline or summary.unranked else records.study.factors
    return Analysis(
        records=records,
        summary=summary,
        arms=arms,
        contrasts=contrasts,
        pairs=() if summary.unranked else _pairs(records, arms, summary),
        interactions=interactions(
            [factor_arm(arm.summary, summary.figure) for arm in arms],
            crossed,
            records.study.baseline_levels,
        ),
    )


def _contrast(test: Comparison, arm: ArmAnalysis, baseline: ArmAnalysis) -> Contrast:
    sides = [
        [score for score in each.summary.scores[:count] if score is not None]
        for each, count in zip((arm, baseline), test.num_runs, strict=True)
    ]
    effect_size = finite_or_none(hedges_g(*sides))
    return Contrast(test=test, effect_size=effect_size)


def _pairs(
    records: StudyRecords, arms: Sequence[ArmAnalysis], summary: StudySummary
) -> tuple[Comparison, ...]:
    figure = summary.figure
    scored = [arm.summary for arm in arms if arm.costs]
    if not 2 < len(scored) <= MOST_ARMS_FOR_PAIRS:
        return ()
    found = [
        Pair(arm=one.name, reference=other.name) for one, other in itertools.combinations(scored, 2)
    ]
    return compare(
        found,
        compared_costs(scored, figure, joint=records.is_joint),
        figure,
        sizes=None if records.is_joint else records.study.confirm.sizes,
        withheld=summary.withheld,
    )
