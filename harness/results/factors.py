"""What single factors do, and pairs of them, over the levels of the other factors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.results.comparison import FEWEST_FOR_INTERVALS
from harness.statistics import SIGNIFICANCE, Interval, holm, interaction, stratified_test

Levels = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class FactorArm:
    """What is needed of an arm.

    Attributes:
        name: Its name.
        levels: Factor -> level.
        costs: Scores of its ended confirm runs, the smaller wins, `inf` without a score.
        scores: Those of them that there are, as they are.
    """

    name: str
    levels: Levels
    costs: Sequence[float]
    scores: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class MarginalEffect:
    """A factor's level against the baseline's, over the levels of the other factors.

    Attributes:
        factor: The factor.
        level: Its level.
        reference: The baseline's.
        num_strata: Combinations of the other factors' levels with confirm runs on both sides.
        all_strata: All combinations.
        superiority: Chance that a run with the level scores better than one with the baseline's,
            ties half, mean over strata.
        p_value: Of the exact stratified test; None where it is not due or withheld.
        p_holm: Adjusted for all marginal effects; None likewise.
        smallest_p: The least that can be after that adjustment.
        arms: The arms that it rests on.
    """

    factor: str
    level: str
    reference: str
    num_strata: int
    all_strata: int
    superiority: float
    p_value: float | None
    p_holm: float | None
    smallest_p: float
    arms: tuple[str, ...]

    @property
    def is_resolved(self) -> bool:
        """Whether the level makes a difference, at 5 % after Holm's adjustment."""
        return self.p_holm is not None and self.p_holm <= SIGNIFICANCE


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
) -> tuple[MarginalEffect, ...]:
    """Test every level of every factor against the baseline's, stratified by the other factors.

    Args:
        arms: The study's.
        factors: Its factors with their levels.
        reference: The baseline's levels.
        tested: Whether p-values are due.
    """
    found = []
    for factor, levels in factors.items():
        for level in levels:
            step = {factor: (level, reference[factor])}
            strata = _matched(arms, step)
            if level != reference[factor] and len(strata) > 1:
                test = stratified_test([(a.costs, b.costs) for a, b in strata])
                names = tuple(arm.name for pair in strata for arm in pair)
                num_all = len(_matched(arms, step, empty=True))
                found.append((factor, level, (len(strata), num_all), test, names))
    adjusted = holm([test.p_value for _, _, _, test, _ in found])
    return tuple(
        MarginalEffect(
            factor=factor,
            level=str(level),
            reference=str(reference[factor]),
            num_strata=counts[0],
            all_strata=counts[1],
            superiority=test.superiority,
            p_value=test.p_value if tested else None,
            p_holm=p_holm if tested else None,
            smallest_p=min(1.0, len(found) * test.smallest_p),
            arms=names,
        )
        for (factor, level, counts, test, names), p_holm in zip(found, adjusted, strict=True)
    )


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
