"""What has become of a study's arms: outcomes, and scores of confirm runs on test images."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.evaluate.metric import Figure
from harness.results.factors import FactorArm
from harness.results.spelling import plus_minus
from harness.statistics import finite_or_none, mean_and_sd, median
from harness.study.budget import read_budget
from harness.work.board import ArmState
from harness.work.cell import CellRecord
from harness.work.decisions import Costs


@dataclass(frozen=True, kw_only=True)
class ArmSummary:
    """One arm's figures. Scores are the study's metric of confirm runs on test images.

    Attributes:
        name: The arm.
        budget: How long its runs train, in words.
        settings: The tuned settings that were confirmed, None if no trial survived the search.
        search_outcomes: Search trials by outcome (waiting and running ones by state).
        confirm_outcomes: Confirm runs by outcome, likewise.
        best_validation: Best validation score of the search: it was selected on, so no result.
        first_validation: That of trial 0, the defaults; None without a score or a search.
        scores: One entry per ended confirm run, None where it has no score.
        levels: Factor -> level.
        num_in_order: How many of these come before the first seed whose run has not ended.
        figures: All final scores of the same runs by protocol key, none of one without a score.
        mean: Mean over runs with a score, None if there are none.
        sd: Their standard deviation, None below two.
        median: Over all ended runs, those without a score ranking worst; None if it is such a run.
    """

    name: str
    budget: str
    settings: Mapping[str, Any] | None
    search_outcomes: Mapping[str, int]
    confirm_outcomes: Mapping[str, int]
    best_validation: float | None
    first_validation: float | None
    scores: tuple[float | None, ...]
    levels: Mapping[str, Any]
    num_in_order: int
    figures: tuple[Mapping[str, float], ...]
    mean: float | None
    sd: float | None
    median: float | None

    def costs(self, figure: Figure) -> list[float]:
        """Return the scores as the rank test sees them: less is better, `inf` is without one."""
        return [figure.cost(score) for score in self.scores]

    def costs_in_order(self, figure: Figure) -> list[float]:
        """Return those of the runs before the first seed whose run has not ended."""
        return self.costs(figure)[: self.num_in_order]

    @property
    def num_scored(self) -> int:
        """Runs with a score."""
        return sum(score is not None for score in self.scores)


def summarise_arm(state: ArmState, metric: str, figure: Figure) -> ArmSummary:
    """Condense an arm's records; scores are those under the metric's key."""
    scores = tuple(
        finite_or_none(record.scores.get(metric, math.nan))
        for record in state.confirm
        if record.is_done
    )
    mean, sd = mean_and_sd([score for score in scores if score is not None])
    costs = [figure.cost(score) for score in scores]
    searched = [figure.cost(record.value) for record in state.search]
    return ArmSummary(
        name=state.arm.name,
        budget=read_budget(state.arm.settings["budget"], state.arm.name).describe(),
        settings=state.best,
        search_outcomes=_outcomes(state.search),
        confirm_outcomes=_outcomes(state.confirm),
        best_validation=figure.value(min(searched, default=math.inf)),
        first_validation=figure.value(searched[0]) if searched else None,
        scores=scores,
        levels=dict(state.arm.levels),
        figures=tuple(_finite(record.scores) for record in state.confirm if record.is_done),
        num_in_order=len(list(itertools.takewhile(lambda record: record.is_done, state.confirm))),
        mean=finite_or_none(mean),
        sd=finite_or_none(sd),
        median=figure.value(median(costs)) if costs else None,
    )


def describe(arm: ArmSummary, num_runs: int | None = None) -> str:
    """Return `mean ± sd`, with the share of runs it rests on where some have no score.

    Args:
        arm: The arm.
        num_runs: Of how many of its runs, the first ones; None: of all.
    """
    scores = arm.scores[:num_runs]
    found = [score for score in scores if score is not None]
    if not found:
        return f"none (0/{len(scores)} runs)"
    mean, sd = mean_and_sd(found)
    share = "" if len(found) == len(scores) else f" ({len(found)}/{len(scores)} runs)"
    return plus_minus(finite_or_none(mean), finite_or_none(sd)) + share


def compared_costs(arms: Sequence[ArmSummary], figure: Figure, *, joint: bool) -> Costs:
    """Return what is compared: all ended runs of studies put together, else those in order."""
    return {arm.name: arm.costs(figure) if joint else arm.costs_in_order(figure) for arm in arms}


def factor_arm(arm: ArmSummary, figure: Figure) -> FactorArm:
    """Return what factors need of an arm."""
    scores = [score for score in arm.scores if score is not None]
    return FactorArm(
        name=arm.name,
        levels=arm.levels,
        costs=arm.costs(figure),
        scores=scores,
        figures=arm.figures,
    )


def _finite(scores: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in scores.items() if math.isfinite(value)}


def _outcomes(records: Sequence[CellRecord]) -> dict[str, int]:
    return dict(Counter(record.outcome or record.state for record in records))
