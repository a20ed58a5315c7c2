"""What a study has found so far: its arms and how they compare with the baseline."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.evaluate.metric import Figure, figure_of
from harness.results.comparison import Comparison, compare
from harness.results.factors import FactorArm, MarginalEffect, marginal_effects
from harness.results.spelling import p_phrase, p_text, plus_minus, with_interval
from harness.statistics import Interval, finite_or_none, mean_and_sd, median
from harness.study.budget import read_budget
from harness.study.comparisons import Pair
from harness.study.ledger import Ledger
from harness.study.study import StudyConfig
from harness.work.board import ArmState
from harness.work.cell import CellRecord

NOTHING_NOTED = Ledger()


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


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """A study's answer so far.

    Attributes:
        name: The study.
        question: What it asks.
        metric: The key of what arms are compared by.
        figure: What that is called, and which values are best.
        floor: What real images score by it.
        complete: Whether all runs that the plan still asks for have ended.
        unranked: Why arms are shown and not compared; empty where they are compared.
        arms: In the file's order.
        comparisons: Of every other arm with the baseline, then the plan's contrasts.
        num_tests: How many comparisons the plan has, those included that have no runs yet.
        effects: Marginal effects of factors; empty for a single factor.
        withheld: Why no p is to be believed; empty where it may.
        primary: Whether these are what the plan tests, instead of comparisons.
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
    num_tests: int
    effects: tuple[MarginalEffect, ...]
    withheld: str
    primary: bool

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
        if self.primary:
            sentences = [so_far + self._effect(effect) for effect in self.effects]
            return sentences + self.lost_arms() or ["No factor's levels have been compared yet"]
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
        verdict = f"{self.verdict(comparison)}: test {self.figure.label} {describe(arm)} against "
        verdict += describe(baseline)
        if comparison.difference is not None:
            interval = comparison.difference_interval
            difference = with_interval(comparison.difference, interval, sign=True)
            verdict += f", median difference {difference}"
        return (
            f"{verdict}; P({arm.name} {self.figure.beats} {baseline.name}) = "
            f"{comparison.superiority:.2f}{_bracket(comparison.interval)}{self._p(comparison)}"
        )

    def _effect(self, effect: MarginalEffect) -> str:
        """Return what came of a factor's level."""
        step = f"{effect.factor} = {effect.level}"
        against = f"{effect.reference} over {effect.num_strata} of {effect.all_strata} strata"
        if effect.p_holm is None or effect.p_value is None:
            why = self.withheld or "it is not tested before the study is complete"
            verdict = f"{step} against {against} has no p: {why}"
        elif not effect.is_resolved:
            verdict = f"{step} against {against} is not resolved"
        else:
            verdict = f"{step} {'beats' if effect.superiority > 0.5 else 'loses to'} {against}"
        text = f"{verdict}: mean P({effect.level} {self.figure.beats} {effect.reference}) = "
        text += f"{effect.superiority:.2f}"
        if effect.p_value is None:
            return text
        return (
            f"{text}, exact stratified {p_phrase(effect.p_value)}, {p_text(effect.p_holm)} after "
            f"Holm over {len(self.effects)} (least attainable {p_text(effect.smallest_p)})"
        )

    def verdict(self, comparison: Comparison) -> str:
        """Return what came of a comparison, in as many words as it needs."""
        arm, baseline = comparison.arm, comparison.baseline
        sizes = " and ".join(map(str, comparison.num_runs))
        if comparison.due is not None:
            return (
                f"{arm} against {baseline} is not tested before {comparison.due} seeds of either, "
                f"of which {sizes} have ended"
            )
        if comparison.withheld:
            return f"{arm} against {baseline} has no p, since {comparison.withheld}"
        if comparison.is_resolved:
            axes = comparison.axes
            if axes and axes.objections:
                better, other = (arm, baseline) if comparison.wins else (baseline, arm)
                return (
                    f"{better} has the better {self.figure.label} than {other}, which is resolved, "
                    f"but does not beat it: {'; '.join(axes.objections)}"
                )
            return f"{arm} {'beats' if comparison.wins else 'loses to'} {baseline}"
        text = f"{arm} against {baseline} is not resolved with {sizes} runs"
        if comparison.is_separated:
            text += ", although one won every pair: fewer runs than it takes"
        if comparison.equivalent:
            text += ", and they are the same within the smallest effect that matters"
        if comparison.futile:
            text += "; further runs of the plan could not resolve it, and it was stopped (futility)"
        return text

    def _p(self, comparison: Comparison) -> str:
        if comparison.p_value is None or comparison.p_holm is None:
            return ""
        adjusted = ""
        if self.num_tests > 1:
            adjusted = f", {p_text(comparison.p_holm)} after Holm over {self.num_tests}"
        test, place = "exact", ""
        if comparison.most_runs is not None:
            test = "exact sequential"
            place = f" at {comparison.num_runs[0]} of at most {comparison.most_runs} seeds"
        return (
            f", {test} Mann-Whitney {p_phrase(comparison.p_value)}{place}{adjusted} (least "
            f"attainable {p_text(comparison.smallest_p)})"
        )


def summarise(
    name: str,
    study: StudyConfig,
    states: Sequence[ArmState],
    *,
    metric: str,
    floor: float | None = None,
    baseline: str | None = None,
    ledger: Ledger = NOTHING_NOTED,
    withheld: str = "",
) -> StudySummary:
    """Condense a study's records.

    Args:
        name: The study's name.
        study: Its file.
        states: Where every arm stands.
        metric: The key of what is compared.
        floor: The real-vs-real value of that metric.
        baseline: The arm that others are compared with, with all runs that there are, where studies
            were put together; None: as the study's plan has it.
        ledger: What it remembers of its plan.
        withheld: Why no p is to be shown, whatever the ledger says.
    """
    figure = figure_of(metric)
    arms = tuple(_summarise_arm(state, metric, figure) for state in states)
    unranked = _why_unranked(study, arms)
    if baseline is None:
        pairs = study.pairs([state.arm for state in states])
    else:
        others = [arm.name for arm in arms if arm.name != baseline]
        pairs = tuple(Pair(arm=other, reference=baseline) for other in others)
    pairs = () if unranked else pairs
    joint = baseline is not None
    complete = all(state.is_done for state in states)
    withheld = withheld or ledger.spoilt
    crossed = {} if joint or unranked else study.factors
    return StudySummary(
        name=name,
        question=study.question,
        metric=metric,
        figure=figure,
        floor=floor,
        complete=complete,
        unranked=unranked,
        arms=arms,
        comparisons=compare(
            pairs,
            {arm.name: arm.costs(figure) if joint else arm.costs_in_order(figure) for arm in arms},
            figure,
            sizes=None if joint else study.confirm.sizes,
            withheld=withheld,
            smallest_effect=study.confirm.smallest_effect,
            scores={arm.name: arm.figures for arm in arms},
            margin=study.confirm.coverage_margin,
        ),
        num_tests=len(pairs),
        effects=marginal_effects(
            [factor_arm(arm, figure) for arm in arms],
            crossed,
            study.baseline_levels,
            tested=complete and not withheld and len(study.confirm.sizes) == 1,
        ),
        withheld=withheld,
        primary=study.primary == "marginal" and not joint and not unranked,
    )


def factor_arm(arm: ArmSummary, figure: Figure) -> FactorArm:
    """Return what factors need of an arm."""
    scores = [score for score in arm.scores if score is not None]
    return FactorArm(name=arm.name, levels=arm.levels, costs=arm.costs(figure), scores=scores)


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
        levels=dict(state.arm.levels),
        figures=tuple(_finite(record.scores) for record in state.confirm if record.is_done),
        num_in_order=len(list(itertools.takewhile(lambda record: record.is_done, state.confirm))),
        mean=finite_or_none(mean),
        sd=finite_or_none(sd),
        median=figure.value(median(costs)) if costs else None,
    )


def _finite(scores: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in scores.items() if math.isfinite(value)}


def _outcomes(records: Sequence[CellRecord]) -> dict[str, int]:
    return dict(Counter(record.outcome or record.state for record in records))
