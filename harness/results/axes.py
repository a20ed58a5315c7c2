"""What a better score must not have cost: the axes of a verdict beside the figure ranked by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.evaluate.metric import Figure, figure_of, is_back, is_floor, is_judged
from harness.results.spelling import number, p_phrase
from harness.results.stability import Stability, stability_of
from harness.statistics import (
    SIGNIFICANCE,
    finite_or_none,
    mean_and_sd,
    noninferiority,
    stratified_test,
)

Scores = Mapping[str, float]
"""Final scores of a run by protocol key; empty of one that has none."""

AXES = {
    "fidelity": "fid",
    "diversity": "coverage",
    "class balance": "class_distance",
    "memorisation": "memorised",
}
"""Axis -> the figure that stands for it; what arms are ranked by is no further axis."""
REQUIRED = ("diversity", "memorisation")  # unseen, nobody knows what a better score has cost
SECOND = "second ruler"
ALARM = 0.6
"""Mean share of samples nearer to training than to held-out images that is an alarm; real held-out
images have a half."""
BEHIND = 0.2 + 1e-9
"""Largest share of pairs won that contradicts a verdict: of 25 pairs five, however they round."""


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Runs of two arms that differ in nothing but what is compared.

    Attributes:
        costs: Of both arms, their runs' scores that they are ranked by, as costs; `inf` for a run
            without a score.
        scores: Of both, all final scores of the same runs.
    """

    costs: tuple[Sequence[float], Sequence[float]]
    scores: tuple[Sequence[Scores], Sequence[Scores]]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One further figure of two arms that are compared.

    Attributes:
        name: What it stands for.
        figure: What it is.
        key: Its full name.
        values: Means of both arms over the runs that have it; of several strata, their mean.
        superiority: Chance that a run of the first has the better value, ties half, likewise.
        noninferior_p: Of diversity: one-sided p against the arm with the better score being worse
            by the margin or more; None of the others.
    """

    name: str
    figure: Figure
    key: str
    values: tuple[float | None, float | None]
    superiority: float
    noninferior_p: float | None = None

    def spell(self, *, swapped: bool = False) -> str:
        """Return both values, the second first if `swapped`: "coverage 0.81 against 0.70"."""
        values = reversed(self.values) if swapped else self.values
        first, second = (number(value) for value in values)
        return f"{self.figure.label} {first} against {second}"


@dataclass(frozen=True, kw_only=True)
class Axes:
    """All axes of a comparison.

    Attributes:
        found: Those that are on record.
        missing: The others: some run with a score lacks their figure.
        stability: Runs lost, and the spread over seeds.
        objections: Why the arm with the better score is not said to beat the other, in words.
        contradictions: Axes on which the other is clearly ahead; they do not decide.
        others: Figures of no axis on which the other is clearly ahead; nor do they.
    """

    found: tuple[Axis, ...]
    missing: tuple[str, ...]
    stability: Stability
    objections: tuple[str, ...]
    contradictions: tuple[Axis, ...]
    others: tuple[Axis, ...]


def axes_of(
    strata: Sequence[Stratum],
    objective: Figure,
    *,
    wins: bool,
    margin: float,
    level: float = SIGNIFICANCE,
) -> Axes:
    """Return the axes of two arms, or of two levels of a factor over strata.

    Args:
        strata: Their runs; one for two arms.
        objective: What they are ranked by.
        wins: Whether the first has the better score.
        margin: How much less coverage the better one may have.
        level: Of the test of that: the level of the comparison's step in Holm's procedure.
    """
    found, missing, objections, against = [], [], [], []
    for name, figure_name in {**AXES, SECOND: objective.name}.items():
        if name != SECOND and figure_name == objective.name:
            continue
        key = _key(strata, figure_name, judged=name == SECOND)
        if key is None:
            missing.append(name)
            continue
        seen = _Seen(strata, key, wins=wins)
        axis = seen.axis(name, margin if name == "diversity" else None)
        found.append(axis)
        said = axis.spell(swapped=not wins)
        if name == "diversity":
            objections += seen.lacks_diversity(axis, said, margin, level)
        elif name == "memorisation":
            if (most := seen.most_copied) > ALARM:
                up_to = "" if len(strata) == 1 else f"up to {number(most)} in an arm; "
                objections.append(
                    f"it copies training images ({said}; {up_to}alarm above {ALARM:g})"
                )
        elif name == "fidelity":
            if _is_behind(axis, wins):
                objections.append(f"its fidelity is clearly worse ({said})")
        elif _is_behind(axis, wins):
            against.append(axis)
    if unseen := [name for name in REQUIRED if name in missing]:
        verb = "is" if len(unseen) == 1 else "are"
        objections.append(f"its {' and '.join(unseen)} {verb} not on record of all runs")
    return Axes(
        found=tuple(found),
        missing=tuple(missing),
        stability=stability_of([each.costs for each in strata], wins=wins),
        objections=tuple(objections),
        contradictions=tuple(against),
        others=tuple(_others(strata, objective, wins=wins)),
    )


def _others(strata: Sequence[Stratum], objective: Figure, *, wins: bool) -> Iterator[Axis]:
    """Yield figures of no axis on which the arm with the better score is clearly behind.

    Density is none of them: typical samples alone raise it, beyond that of real images.
    """
    named = {objective.name, *AXES.values(), "density"}
    recorded = next((run for each in strata for side in each.scores for run in side if run), {})
    for name in dict.fromkeys(figure_of(key).name for key in recorded if key.startswith("test/")):
        key = None if name in named else _key(strata, name, judged=False)
        if key is not None and isinstance(figure_of(key).best, str):
            axis = _Seen(strata, key, wins=wins).axis(name, None)
            if _is_behind(axis, wins):
                yield axis


class _Seen:
    """One figure of all runs of two sides, by stratum."""

    def __init__(self, strata: Sequence[Stratum], key: str, *, wins: bool) -> None:
        self.key, self.figure, self.wins = key, figure_of(key), wins
        self.scores = [stratum.scores for stratum in strata]
        self.costs = [
            tuple([self.figure.cost(run.get(key)) for run in side] for side in sides)
            for sides in self.scores
        ]
        self.better = [(a, b) if wins else (b, a) for a, b in self.costs]

    def axis(self, name: str, margin: float | None) -> Axis:
        """Return it as an axis, with the test of its being no worse if there is a margin."""
        means = [[_mean(side, self.key) for side in sides] for sides in self.scores]
        values = [_mean_of(column) for column in zip(*means, strict=True)]
        return Axis(
            name=name,
            figure=self.figure,
            key=self.key,
            values=(values[0], values[1]),
            superiority=stratified_test([(a, b) for a, b in self.costs]).superiority,
            noninferior_p=None if margin is None else noninferiority(self.better, margin),
        )

    @property
    def most_copied(self) -> float:
        """The largest mean of an arm on the side with the better score."""
        means = [_mean(sides[0 if self.wins else 1], self.key) for sides in self.scores]
        return max((mean for mean in means if mean is not None), default=0.0)

    def lacks_diversity(self, axis: Axis, said: str, margin: float, level: float) -> list[str]:
        """Return why the better side may be less diverse, on average or in some stratum."""
        found = []
        if axis.noninferior_p is not None and axis.noninferior_p > level:
            found.append(
                f"its diversity is not shown to be no worse by {margin:g} ({said}, one-sided "
                f"{p_phrase(axis.noninferior_p)})"
            )
        shares = [
            stratified_test([([cost - margin for cost in better], worse)]).superiority
            for better, worse in self.better
        ]
        behind = sum(share <= BEHIND for share in shares)
        if len(shares) > 1 and behind:
            found.append(
                f"its diversity is clearly worse by more than {margin:g} in {behind} of "
                f"{len(shares)} strata"
            )
        return found


def _is_behind(axis: Axis, wins: bool) -> bool:
    """Return whether the arm with the better score is clearly behind; of rulers, at all."""
    share = axis.superiority if wins else 1 - axis.superiority
    return share < 0.5 if axis.name == SECOND else share <= BEHIND


def _key(strata: Sequence[Stratum], name: str, *, judged: bool) -> str | None:
    """Return a figure's full name on test images; None unless every run with scores has it."""
    runs = [run for stratum in strata for side in stratum.scores for run in side if run]
    return next(
        (
            key
            for key in (runs[0] if runs else ())
            if key.startswith(f"test/{name}_")
            and not is_floor(key)
            and not is_back(key)
            and is_judged(key) == judged
            and figure_of(key).name == name
            and all(key in run for run in runs)
        ),
        None,
    )


def _mean(runs: Sequence[Scores], key: str) -> float | None:
    return finite_or_none(mean_and_sd([scores[key] for scores in runs if key in scores])[0])


def _mean_of(values: Sequence[float | None]) -> float | None:
    return finite_or_none(mean_and_sd([value for value in values if value is not None])[0])
