"""What a better score has cost: the other axes of the comparison, and what they say to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from example.facts import Facts
from example.rank_tests import LEVEL, no_worse, spread_ratio, two_sided, wins
from example.spelling import NONE, chance, number

ALARM = 0.6  # share of samples nearer to training than to held-out images
CLEAR = 0.8  # share of pairs
FAR = 2  # ratio of spreads


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One further figure of both arms.

    Attributes:
        name: What it stands for.
        label: What the figure is called.
        direction: Which values are good.
        means: Of both arms as they are compared.
        wins: Share of pairs in which the first has the better value.
        swapped: Whether the second arm has the better score.
        no_worse: Of diversity: p against being worse by the margin.
    """

    name: str
    label: str
    direction: str
    means: tuple[float, float]
    wins: float
    swapped: bool
    no_worse: float | None

    @property
    def of_better(self) -> float:
        """The mean of the arm with the better score."""
        return self.means[self.swapped]

    @property
    def share_of_better(self) -> float:
        """The share of pairs that it wins on this axis."""
        return 1 - self.wins if self.swapped else self.wins

    def spell(self) -> str:
        """Return both means, that of the arm with the better score first."""
        first, second = reversed(self.means) if self.swapped else self.means
        return f"{self.label} {number(first)} against {number(second)}"


def swapped(facts: Facts) -> bool:
    """Return whether the baseline has the better score."""
    return wins(*map(facts.scores, facts.pair)) <= 0.5


def better_first(facts: Facts) -> tuple[str, str]:
    """Return both arms, that with the better score first."""
    one, other = facts.pair
    return (other, one) if swapped(facts) else (one, other)


def axes(facts: Facts) -> list[Axis]:
    """Return the axes beside FID."""
    return [
        _axis(facts, "diversity", "coverage", "coverage", "higher is better"),
        _axis(facts, "class balance", "class_distance", "class distance", "lower is better"),
        _axis(facts, "memorisation", "memorised", "memorised", "0.5 is best"),
        _axis(facts, "second ruler", "fid", "FID", "lower is better"),
    ]


def _axis(facts: Facts, name: str, figure: str, label: str, direction: str) -> Axis:
    values = [facts.figure(arm, figure, judged=name == "second ruler") for arm in facts.pair]
    if not np.isfinite(values).all():
        raise SystemExit(f"the check knows runs alone that all have a {label}")
    costs = [-each if direction.startswith("higher") else each for each in values]
    better, other = costs[::-1] if swapped(facts) else costs
    return Axis(
        name=name,
        label=label,
        direction=direction,
        means=(float(values[0].mean()), float(values[1].mean())),
        wins=wins(*costs),
        swapped=swapped(facts),
        no_worse=no_worse(better, other, facts.margin) if name == "diversity" else None,
    )


def rows(facts: Facts) -> Iterator[list[str]]:
    """Yield the table's rows: each axis, then stability."""
    name = " against ".join(facts.pair)
    for axis in axes(facts):
        yield [
            f"{name}: {axis.name}",
            f"{axis.label}, {axis.direction}",
            *map(number, axis.means),
            NONE if axis.name == "memorisation" else number(axis.wins, 2),
            NONE if axis.no_worse is None else chance(axis.no_worse),
        ]
    spreads = (facts.scores(arm).std(ddof=1) for arm in facts.pair)
    sides = (f"0/{len(facts.runs(facts.other))}, {number(spread)}" for spread in spreads)
    yield [f"{name}: stability", "runs lost, sd", *sides, NONE, NONE]


def objections(facts: Facts) -> list[str]:
    """Return why the arm with the better score is not said to beat the other."""
    diversity, _, copies, _ = axes(facts)
    found = []
    if diversity.no_worse is not None and diversity.no_worse > LEVEL:
        found.append(
            f"its diversity is not shown to be no worse by {facts.margin:g} ({diversity.spell()}, "
            f"one-sided p = {chance(diversity.no_worse)})"
        )
    if copies.of_better > ALARM:
        found.append(f"it copies training images ({copies.spell()}; alarm above {ALARM:g})")
    return found


def other_figures(facts: Facts) -> list[Axis]:
    """Return figures of no axis on which the arm with the worse score is clearly ahead."""
    found = [
        _axis(facts, "class KL", "class_kl", "class KL", "lower is better"),
        _axis(facts, "modes", "modes", "modes", "higher is better"),
        _axis(facts, "ambiguous", "ambiguous", "ambiguous", "lower is better"),
        _axis(facts, "KID", "kid", "KID", "lower is better"),
        _axis(facts, "precision", "precision", "precision", "higher is better"),
        _axis(facts, "recall", "recall", "recall", "higher is better"),
    ]
    return [each for each in found if each.share_of_better <= 1 - CLEAR + 1e-9]


def disagreeing(facts: Facts) -> list[Axis]:
    """Return axes that do not decide, on which the arm with the worse score is ahead."""
    _, balance, _, second = axes(facts)
    behind = [balance] if balance.share_of_better <= 1 - CLEAR + 1e-9 else []
    return [*behind, *([second] if second.share_of_better < 0.5 else [])]


def less_stable(facts: Facts) -> list[str]:
    """Return what of the spread over seeds speaks against the arm with the better score."""
    ratio, low, high = spread_ratio(*map(facts.scores, better_first(facts)))
    if ratio < FAR:
        return []
    weak = ", not resolved" * (low <= 1)
    return [
        f"its scores spread {number(ratio)} times as far over seeds (95 % interval {number(low)} "
        f"to {number(high)} for normal scores{weak})"
    ]


def sentences(facts: Facts) -> Iterator[str]:
    """Yield what the axes say to a resolved comparison; nothing to another one."""
    if two_sided(*map(facts.scores, facts.pair)) > LEVEL:
        return
    better, other = better_first(facts)
    against, unstable = disagreeing(facts), less_stable(facts)
    if against:
        ahead = ", ".join(f"{axis.name} ({axis.spell()})" for axis in against)
        yield f"The axes disagree on {better} against {other}: the latter is ahead on {ahead}."
    if unstable:
        yield f"Stability speaks against {better} beside {other}: {'; '.join(unstable)}."
    if not (against or unstable or objections(facts)):
        said = [f"{axis.name} ({axis.spell()})" for axis in axes(facts)]
        said.append(f"stability ({_stability(facts)})")
        yield f"Nor do other axes object to {better} against {other}: {', '.join(said)}."
    if others := other_figures(facts):
        yield f"Other figures speak for {other}: {', '.join(each.spell() for each in others)}."


def _stability(facts: Facts) -> str:
    scores = [facts.scores(arm) for arm in better_first(facts)]
    first, second = (number(each.std(ddof=1)) for each in scores)
    runs, others = map(len, scores)
    return f"lost 0 of {runs} runs against 0 of {others}, sd {first} against {second}"
