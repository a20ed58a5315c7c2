"""What single factors do, and pairs of them, over the levels of the other factors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.evaluate.metric import Figure
from harness.results.axes import Axes, Scores, Stratum, axes_of
from harness.results.comparison import FEWEST_FOR_INTERVALS
from harness.statistics import (
    SIGNIFICANCE,
    Interval,
    StratifiedTest,
    finite_or_none,
    holm,
    holm_least,
    holm_levels,
    interaction,
    stratified_interval,
    stratified_shift,
    stratified_test,
)

Levels = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class FactorArm:
    """What is needed of an arm.

    Attributes:
        name: Its name.
        levels: Factor -> level.
        costs: Scores of its ended confirm runs, the smaller wins, `inf` without a score.
        scores: Those of them that there are, as they are.
        figures: All final scores of the same runs as `costs`.
    """

    name: str
    levels: Levels
    costs: Sequence[float]
    scores: Sequence[float]
    figures: Sequence[Scores] = ()


@dataclass(frozen=True, kw_only=True)
class MarginalEffect:
    """A factor's level against the baseline's, over the levels of the other factors.

    Attributes:
        factor: The factor.
        level: Its level.
        reference: The baseline's.
        num_strata: Combinations of the other factors' levels with confirm runs on both sides.
        all_strata: All combinations of the plan.
        without_runs: Arms of these that have no confirm runs.
        superiority: Chance that a run with the level scores better than one with the baseline's,
            ties half, mean over strata; None where no stratum has runs on both sides.
        difference: Shift of the score over strata after which both win equally often; None where
            no stratum has runs on both sides.
        difference_interval: All shifts that the test does not reject at the level of its step;
            None where there is no p.
        p_value: Of the exact stratified test; None where it is not due or withheld, or there is
            nothing to test.
        p_holm: Adjusted for all marginal effects of the plan; None likewise.
        smallest_p: The least that can be after that adjustment.
        arms: The arms that it rests on.
        axes: What the better score has cost; None where it is not tested.
    """

    factor: str
    level: str
    reference: str
    num_strata: int
    all_strata: int
    without_runs: tuple[str, ...]
    superiority: float | None
    difference: float | None
    difference_interval: Interval | None
    p_value: float | None
    p_holm: float | None
    smallest_p: float
    arms: tuple[str, ...]
    axes: Axes | None = None

    @property
    def is_resolved(self) -> bool:
        """Whether the level makes a difference, at 5 % after Holm's adjustment."""
        return self.p_holm is not None and self.p_holm <= SIGNIFICANCE

    @property
    def is_beaten(self) -> bool:
        """Whether one level beats the other: it is resolved, and no axis objects."""
        return self.is_resolved and not (self.axes and self.axes.objections)

    @property
    def wins(self) -> bool:
        """Whether the level scores better than the baseline's."""
        return self.superiority is not None and self.superiority > 0.5

    @property
    def better(self) -> tuple[str, str]:
        """The level with the better score, and the other."""
        level, reference = (f"{self.factor} = {each}" for each in (self.level, self.reference))
        return (level, reference) if self.wins else (reference, level)


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """How much more one factor's step changes the mean score when another factor's step is made."""

    first: str
    second: str
    contrast: float
    interval: Interval | None
    arms: tuple[str, ...]


def marginal_effects(
    arms: Sequence[FactorArm],
    factors: Mapping[str, Sequence[Any]],
    reference: Levels,
    *,
    tested: bool = True,
    figure: Figure | None = None,
    margin: float = 0.0,
) -> tuple[MarginalEffect, ...]:
    """Test every level of every factor against the baseline's, stratified by the other factors.

    All that the plan has two or more strata of are one family, whatever has become of their arms:
    what cannot be tested counts in Holm's adjustment with p = 1.

    Args:
        arms: The study's, those without runs too.
        factors: Its factors with their levels.
        reference: The baseline's levels.
        tested: Whether p-values are due.
        figure: What arms are ranked by; None: other axes are not looked at.
        margin: How much less coverage the better level may have.
    """
    planned = []
    for factor, levels in factors.items():
        for level in levels:
            step = {factor: (level, reference[factor])}
            strata = _matched(arms, step, empty=True)
            if level != reference[factor] and len(strata) > 1:
                planned.append((factor, level, strata))
    kept = [[pair for pair in strata if all(arm.costs for arm in pair)] for *_, strata in planned]
    tests = [stratified_test(_costs(pairs)) if pairs else None for pairs in kept]
    p_values = [test.p_value if test else 1.0 for test in tests]
    adjusted, judged = holm(p_values), holm_levels(p_values, SIGNIFICANCE)
    least = holm_least(p_values, [test.smallest_p if test else 1.0 for test in tests])
    found = []
    for index, (factor, level, strata) in enumerate(planned):
        pairs, test = kept[index], tests[index]
        has_p = tested and test is not None
        axes = None
        if has_p and test is not None and figure is not None:
            axes = _axes(pairs, test, figure, margin=margin, level=judged[index])
        found.append(
            MarginalEffect(
                factor=factor,
                level=str(level),
                reference=str(reference[factor]),
                num_strata=len(pairs),
                all_strata=len(strata),
                without_runs=tuple(arm.name for pair in strata for arm in pair if not arm.costs),
                superiority=test.superiority if test else None,
                difference=_shift(pairs, figure) if pairs else None,
                difference_interval=_interval(pairs, figure, judged[index]) if has_p else None,
                p_value=p_values[index] if has_p else None,
                p_holm=adjusted[index] if has_p else None,
                smallest_p=least[index],
                arms=tuple(arm.name for pair in pairs for arm in pair),
                axes=axes,
            )
        )
    return tuple(found)


def _sign(figure: Figure | None) -> int:
    return 1 if figure is None else figure.sign


def _shift(pairs: Sequence[tuple[FactorArm, ...]], figure: Figure | None) -> float | None:
    return finite_or_none(_sign(figure) * stratified_shift(_costs(pairs)))


def _interval(
    pairs: Sequence[tuple[FactorArm, ...]], figure: Figure | None, level: float
) -> Interval:
    found = stratified_interval(_costs(pairs), alpha=level)
    return Interval(*sorted(_sign(figure) * end for end in found))


def _costs(pairs: Sequence[tuple[FactorArm, ...]]) -> list[tuple[Sequence[float], Sequence[float]]]:
    return [(one.costs, other.costs) for one, other in pairs]


def _axes(
    pairs: Sequence[tuple[FactorArm, ...]],
    test: StratifiedTest,
    figure: Figure,
    *,
    margin: float,
    level: float,
) -> Axes:
    strata = [
        Stratum(costs=(one.costs, other.costs), scores=(one.figures, other.figures))
        for one, other in pairs
    ]
    wins = test.superiority > 0.5
    return axes_of(strata, figure, wins=wins, margin=margin, level=level)


def interactions(
    arms: Sequence[FactorArm], factors: Mapping[str, Sequence[Any]], reference: Levels
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
            fewest = min(len(arm.scores) for corners in matched for arm in corners)
            enough = fewest >= FEWEST_FOR_INTERVALS
            names = tuple(arm.name for corners in matched for arm in corners)
            if math.isfinite(contrast):
                found.append(
                    Interaction(
                        first=f"{one} {reference[one]} → {first}",
                        second=f"{other} {reference[other]} → {second}",
                        contrast=contrast,
                        interval=interval if enough else None,
                        arms=names,
                    )
                )
    return tuple(found)


def _matched(
    arms: Sequence[FactorArm], steps: Mapping[str, tuple[Any, Any]], *, empty: bool = False
) -> list[tuple[FactorArm, ...]]:
    """Return, for every setting of the factors not stepped, the arms at all ends of the steps.

    The order is that of a truth table, "step made" first: (both, first only, second only, neither)
    for two steps. Settings where an arm is missing are left out, and unless
    `empty` those where one has no runs.
    """
    by_levels = {tuple(arm.levels.items()): arm for arm in arms if arm.costs or empty}
    matched: dict[tuple[Any, ...], tuple[FactorArm, ...]] = {}
    for arm in arms:
        levels = arm.levels
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
