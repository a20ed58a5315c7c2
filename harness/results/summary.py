"""What a study has found so far: its arms and how they compare with the baseline."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.evaluate.metric import Figure, figure_of
from harness.results.spelling import p_phrase, p_text, plus_minus, with_interval
from harness.results.statistics import (
    Interval,
    finite_or_none,
    hodges_lehmann,
    holm,
    holm_levels,
    mann_whitney,
    mean_and_sd,
    median,
    shift_interval,
    superiority_interval,
)
from harness.study.budget import read_budget
from harness.study.study import StudyConfig
from harness.work.board import ArmState
from harness.work.cell import CellRecord

SIGNIFICANCE = 0.05
FEWEST_FOR_INTERVALS = 5
"""Runs a side below which no interval is stated: points and range say all that there is."""


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
        scores: One entry per ended confirm run, None where it has no score.
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
    scores: tuple[float | None, ...]
    mean: float | None
    sd: float | None
    median: float | None

    def costs(self, figure: Figure) -> list[float]:
        """Return the scores as the rank test sees them: less is better, `inf` is without one."""
        return [figure.cost(score) for score in self.scores]

    @property
    def num_scored(self) -> int:
        """Runs with a score."""
        return sum(score is not None for score in self.scores)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An arm against the baseline.

    Attributes:
        arm: The arm.
        baseline: The baseline arm.
        difference: Median of all differences of a run of the arm and one of the baseline (Hodges
            and Lehmann), None where failures reach it.
        difference_interval: All shifts that the test does not reject at `level`: it excludes 0
            where the comparison is resolved. None with fewer than five runs a side.
        level: The level of the comparison's step in Holm's procedure, 5 % for a single one.
        superiority: Chance that a run of the arm scores better than one of the baseline, ties half.
        interval: Its 95 % interval (Newcombe); None with fewer than five runs a side.
        p_value: Exact two-sided Mann-Whitney.
        p_holm: Adjusted for all comparisons of the study.
        smallest_p: What these numbers of runs could attain at all.
    """

    arm: str
    baseline: str
    difference: float | None
    difference_interval: Interval | None
    level: float
    superiority: float
    interval: Interval | None
    p_value: float
    p_holm: float
    smallest_p: float

    @property
    def is_resolved(self) -> bool:
        """Whether the difference is significant at 5 % after Holm's adjustment."""
        return self.p_holm <= SIGNIFICANCE


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """A study's answer so far.

    Attributes:
        name: The study.
        question: What it asks.
        metric: The key of what arms are compared by.
        figure: What that is called, and which values are best.
        floor: What real images score by it.
        complete: Whether all runs have ended.
        unranked: Why arms are shown and not compared; empty where they are compared.
        arms: In the file's order.
        comparisons: Of every other arm with the baseline.
    """

    name: str
    question: str
    metric: str
    figure: Figure
    floor: float | None
    complete: bool
    unranked: str
    arms: tuple[ArmSummary, ...]
    comparisons: tuple[Comparison, ...]

    def arm(self, name: str) -> ArmSummary:
        """Return the arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values; infinite ends of intervals as None."""
        values = asdict(self)
        for comparison in values["comparisons"]:
            if (interval := comparison["difference_interval"]) is not None:
                comparison["difference_interval"] = [finite_or_none(end) for end in interval]
        return values

    def answer(self) -> list[str]:
        """Return sentences whose strength is that of the evidence."""
        so_far = "" if self.complete else "So far, "
        if self.unranked:
            return [self.unranked, self._listed(so_far), *self.lost_arms()]
        sentences = [so_far + self._sentence(comparison) for comparison in self.comparisons]
        return sentences + self.lost_arms() or ["No arm has been compared with the baseline yet"]

    def lost_arms(self) -> list[str]:
        """Return a sentence for each arm of a complete study that has nothing to confirm."""
        return [
            f"{arm.name}: no setting survived the search, so there is nothing to confirm"
            for arm in self.arms
            if arm.settings is None and arm.search_outcomes and self.complete
        ]

    def _listed(self, so_far: str) -> str:
        """Return every arm's score, in the file's order."""
        arms = [
            f"{arm.name} {describe(arm)} after {arm.budget}"
            if arm.scores
            else f"{arm.name} none yet"
            for arm in self.arms
        ]
        first = f"test {self.figure.label}" if so_far else f"Test {self.figure.label}"
        return f"{so_far}{first} in the file's order: {'; '.join(arms)}"

    def _sentence(self, comparison: Comparison) -> str:
        arm, baseline = self.arm(comparison.arm), self.arm(comparison.baseline)
        if not comparison.is_resolved:
            sizes = f"{len(arm.scores)} and {len(baseline.scores)} runs"
            verdict = f"{arm.name} against {baseline.name} is not resolved with {sizes}"
        elif comparison.superiority > 0.5:
            verdict = f"{arm.name} beats {baseline.name}"
        else:
            verdict = f"{arm.name} loses to {baseline.name}"
        by = ""
        if comparison.difference is not None:
            interval = comparison.difference_interval
            by = f", median difference {with_interval(comparison.difference, interval, sign=True)}"
        adjusted = ""
        if len(self.comparisons) > 1:
            adjusted = f", {p_text(comparison.p_holm)} after Holm over {len(self.comparisons)}"
        return (
            f"{verdict}: test {self.figure.label} {describe(arm)} against {describe(baseline)}"
            f"{by}; P({arm.name} {self.figure.beats} {baseline.name}) = "
            f"{comparison.superiority:.2f}{_bracket(comparison.interval)}, "
            f"exact Mann-Whitney {p_phrase(comparison.p_value)}"
            f"{adjusted} (least attainable {p_text(comparison.smallest_p)})"
        )


def summarise(
    name: str,
    study: StudyConfig,
    states: Sequence[ArmState],
    *,
    metric: str,
    floor: float | None = None,
    baseline: str | None = None,
) -> StudySummary:
    """Condense a study's records.

    Args:
        name: The study's name.
        study: Its file.
        states: Where every arm stands.
        metric: The key of what is compared.
        floor: The real-vs-real value of that metric.
        baseline: The arm that others are compared with; None: the study's own.
    """
    figure = figure_of(metric)
    arms = tuple(_summarise_arm(state, metric, figure) for state in states)
    by_name = {arm.name: arm for arm in arms}
    unranked = _why_unranked(study, arms)
    reference = by_name[baseline or study.baseline_arm]
    others = [arm for arm in arms if arm is not reference and arm.scores and reference.scores]
    if unranked:
        others = []
    comparisons = compare([(arm, reference) for arm in others], figure)
    return StudySummary(
        name=name,
        question=study.question,
        metric=metric,
        figure=figure,
        floor=floor,
        complete=all(state.is_done for state in states),
        unranked=unranked,
        arms=arms,
        comparisons=comparisons,
    )


def _why_unranked(study: StudyConfig, arms: Sequence[ArmSummary]) -> str:
    if not study.descriptive:
        return ""
    if len({arm.budget for arm in arms}) > 1:
        return "Budgets differ; nothing is ranked"
    return "The study is descriptive; nothing is ranked"


def describe(arm: ArmSummary) -> str:
    """Return `mean ± sd`, with the share of runs it rests on where some have no score."""
    if arm.mean is None:
        return f"none ({arm.num_scored}/{len(arm.scores)} runs)"
    share = (
        "" if arm.num_scored == len(arm.scores) else f" ({arm.num_scored}/{len(arm.scores)} runs)"
    )
    return plus_minus(arm.mean, arm.sd) + share


def compare(
    pairs: Sequence[tuple[ArmSummary, ArmSummary]], figure: Figure
) -> tuple[Comparison, ...]:
    """Test the first arm of every pair against the second, adjusted for testing all of them."""
    costs = [(a.costs(figure), b.costs(figure)) for a, b in pairs]
    tests = [mann_whitney(a, b) for a, b in costs]
    p_values = [test.p_value for test in tests]
    adjusted, levels = holm(p_values), holm_levels(p_values, SIGNIFICANCE)
    return tuple(
        Comparison(
            arm=a.name,
            baseline=b.name,
            difference=finite_or_none(figure.sign * hodges_lehmann(*costs[index])),
            difference_interval=_difference_interval(*costs[index], levels[index], figure),
            level=levels[index],
            superiority=test.superiority,
            interval=_win_interval(test.superiority, len(a.scores), len(b.scores)),
            p_value=test.p_value,
            p_holm=adjusted[index],
            smallest_p=test.smallest_p,
        )
        for index, ((a, b), test) in enumerate(zip(pairs, tests, strict=True))
    )


def _difference_interval(
    a: Sequence[float], b: Sequence[float], level: float, figure: Figure
) -> Interval | None:
    """Return the interval of the difference of scores, from costs."""
    if min(len(a), len(b)) < FEWEST_FOR_INTERVALS:
        return None
    interval = shift_interval(a, b, alpha=level)
    return interval and Interval(*sorted(figure.sign * end for end in interval))


def _win_interval(superiority: float, num_a: int, num_b: int) -> Interval | None:
    enough = min(num_a, num_b) >= FEWEST_FOR_INTERVALS
    return superiority_interval(superiority, num_a, num_b) if enough else None


def _bracket(interval: Interval | None) -> str:
    return "" if interval is None else f" [{interval.low:.2f}, {interval.high:.2f}]"


def _summarise_arm(state: ArmState, metric: str, figure: Figure) -> ArmSummary:
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
        scores=scores,
        mean=finite_or_none(mean),
        sd=finite_or_none(sd),
        median=figure.value(median(costs)) if costs else None,
    )


def _outcomes(records: Sequence[CellRecord]) -> dict[str, int]:
    return dict(Counter(record.outcome or record.state for record in records))
