"""What a study has found so far: its arms and how they compare with the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.evaluate.metric import Figure, figure_of
from harness.results.arms import (
    ArmSummary,
    compared_costs,
    describe,
    factor_arm,
    summarise_arm,
)
from harness.results.comparison import Comparison, compare
from harness.results.factors import MarginalEffect, marginal_effects
from harness.results.marginals import Marginal, marginals, spell
from harness.results.spelling import assignments, capital, counted, number, setting_text
from harness.results.verdicts import comparison_sentence, effect_sentence, on_axes
from harness.statistics import finite_or_none
from harness.study.comparisons import Pair
from harness.study.ledger import Ledger
from harness.study.study import StudyConfig
from harness.work.board import ArmState, OpenStudy

NOTHING_NOTED = Ledger()


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
        is_search: Whether it is one search, whose best settings are confirmed.
        search_share: A search run's share of the full budget.
        marginals: What the trials show of each tuned parameter, arm by arm; nothing of searches of
            fewer than twenty.
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
    is_search: bool
    search_share: float
    marginals: tuple[Marginal, ...]

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
        if self.is_search:
            found = so_far + self._found(self.arms[0])
            return [capital(found), *spell(self.marginals, self.figure)]
        if self.unranked:
            return [self.unranked, self._listed(so_far), *self.lost_arms()]
        if self.primary:
            sentences = [
                so_far + effect_sentence(effect, self.figure, len(self.effects), self.withheld)
                for effect in self.effects
            ]
            return sentences + self.lost_arms() or ["No factor's levels have been compared yet"]
        sentences = [so_far + self.sentence(comparison) for comparison in self.comparisons]
        return sentences + self.lost_arms() or ["No arm has been compared with the baseline yet"]

    def sentence(self, comparison: Comparison) -> str:
        """Return what came of one comparison, with all its numbers."""
        arm, baseline = self.arm(comparison.arm), self.arm(comparison.baseline)
        return comparison_sentence(comparison, arm, baseline, self.figure, self.num_tests)

    def on_axes(self) -> list[str]:
        """Return on which axes verdicts hold, on which they do not, and what is not on record."""
        return on_axes(self.effects if self.primary else self.comparisons)

    def lost_arms(self) -> list[str]:
        """Return a sentence for each arm of a complete study that has nothing to confirm."""
        return [
            f"{arm.name}: no setting survived the search, so there is nothing to confirm"
            for arm in self.arms
            if arm.settings is None and arm.search_outcomes and self.complete
        ]

    def _found(self, arm: ArmSummary) -> str:
        """Return what the search has found, and what fresh seeds say of it."""
        planned = sum(arm.search_outcomes.values())
        open_ones = sum(arm.search_outcomes.get(state, 0) for state in ("waiting", "running"))
        trials = f"{planned - open_ones} of {planned}" if open_ones else str(planned)
        if arm.settings is None:
            return f"nothing has been chosen after {trials} trials"
        label = self.figure.label
        chosen = {key: setting_text(value) for key, value in arm.settings.items()}
        text = f"the best of {trials} trials has {assignments(chosen)}"
        if not arm.scores:
            return f"{text}; no fresh seed has ended yet"
        seeds = len(arm.scores)
        text += f": test {label} {describe(arm)} over {counted(seeds, 'fresh seed')}"
        if arm.best_validation is not None:
            share = self.search_share
            after = f" after {100 * share:g} % of the budget" if share < 1 else ""
            text += f" (validation {label} {number(arm.best_validation)} when it was chosen{after}"
            if arm.first_validation is not None:
                text += f", {number(arm.first_validation)} of the defaults, trial 0"
            text += ")"
        return text

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
    arms = tuple(summarise_arm(state, metric, figure) for state in states)
    joint = baseline is not None
    unranked = _why_unranked(study, arms, joint=joint)
    if baseline is None:
        pairs = study.pairs([state.arm for state in states])
    else:
        others = [arm.name for arm in arms if arm.name != baseline]
        pairs = tuple(Pair(arm=other, reference=baseline) for other in others)
    pairs = () if unranked else pairs
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
            compared_costs(arms, figure, joint=joint),
            figure,
            sizes=None if joint else study.confirm.sizes,
            withheld=withheld,
            smallest_effect=study.confirm.smallest_effect,
            scores={arm.name: arm.figures for arm in arms},
            margin=study.confirm.coverage_margin,
            confirmed={state.arm.name: len(state.confirm) for state in states},
        ),
        num_tests=len(pairs),
        effects=marginal_effects(
            [factor_arm(arm, figure) for arm in arms],
            crossed,
            study.baseline_levels,
            tested=complete and not withheld and len(study.confirm.sizes) == 1,
            figure=figure,
            margin=study.confirm.coverage_margin,
        ),
        withheld=withheld,
        primary=study.primary == "marginal" and not joint and not unranked,
        is_search=study.is_search and not joint,
        search_share=study.search.budget_share,
        marginals=tuple(
            found
            for state in states
            for found in marginals(state, study.search, figure, withheld or ledger.more_trials)
        ),
    )


def summary_of(opened: OpenStudy, states: Sequence[ArmState], ledger: Ledger) -> StudySummary:
    """Return what a study that was started has found, where its arms stand so."""
    metric, floor = opened.definition.metric, opened.definition.floor
    return summarise(opened.name, opened.study, states, metric=metric, floor=floor, ledger=ledger)


def _why_unranked(study: StudyConfig, arms: Sequence[ArmSummary], *, joint: bool) -> str:
    if study.is_search and not joint:
        return "The study is one search; nothing is compared"
    if not study.descriptive:
        return ""
    if len({arm.budget for arm in arms}) > 1:
        return "Budgets differ; nothing is ranked"
    return "The study is descriptive; nothing is ranked"
