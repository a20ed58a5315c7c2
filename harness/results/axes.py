"""What a better score must not have cost: the axes of a verdict beside the figure ranked by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.evaluate.metric import Figure, figure_of, is_back, is_floor, is_judged
from harness.results.spelling import number, p_phrase
from harness.statistics import (
    SIGNIFICANCE,
    finite_or_none,
    mann_whitney,
    mean_and_sd,
    noninferiority,
)

Scores = Mapping[str, float]
"""Final scores of a run by protocol key; empty of one that has none."""

AXES = {"diversity": "coverage", "class balance": "class_distance", "memorisation": "memorised"}
"""Axis -> the figure that stands for it."""
SECOND = "second ruler"
ALARM = 0.6
"""Mean share of samples nearer to training than to held-out images that is an alarm; real held-out
images have a half."""
CLEAR = 0.8  # share of pairs in which the worse arm is ahead that contradicts a verdict


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One further figure of two arms that are compared.

    Attributes:
        name: What it stands for.
        figure: What it is.
        key: Its full name.
        values: Means of both arms over the runs that have it.
        superiority: Chance that a run of the first has the better value, ties half.
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
        objections: Why the arm with the better score does not beat the other, in words.
        contradictions: Axes on which the other is clearly ahead; they do not decide.
    """

    found: tuple[Axis, ...]
    objections: tuple[str, ...]
    contradictions: tuple[Axis, ...]


def axes_of(
    a: Sequence[Scores],
    b: Sequence[Scores],
    objective: Figure,
    *,
    wins: bool,
    margin: float,
    level: float = SIGNIFICANCE,
) -> Axes:
    """Return the axes of two arms.

    Args:
        a: Scores of the first arm's runs.
        b: Of the second's.
        objective: What they are ranked by.
        wins: Whether the first has the better score.
        margin: How much less coverage the better one may have.
        level: Of the test of that: the level of the comparison's step in Holm's procedure.
    """
    found, objections, against = [], [], []
    for name, figure_name in {**AXES, SECOND: objective.name}.items():
        key = _key((*a, *b), figure_name, judged=name == SECOND)
        if key is None or (name != SECOND and figure_name == objective.name):
            continue
        figure = figure_of(key)
        costs = [[figure.cost(scores.get(key)) for scores in side] for side in (a, b)]
        better, worse = costs if wins else reversed(costs)
        values = [_mean(side, key) for side in (a, b)]
        axis = Axis(
            name=name,
            figure=figure,
            key=key,
            values=(values[0], values[1]),
            superiority=mann_whitney(*costs).superiority,
            noninferior_p=noninferiority([(better, worse)], margin)
            if name == "diversity"
            else None,
        )
        found.append(axis)
        own = values[0 if wins else 1]
        if axis.noninferior_p is not None and axis.noninferior_p > level:
            said = axis.spell(swapped=not wins)
            objections.append(
                f"its diversity is not shown to be no worse by {margin:g} ({said}, one-sided "
                f"{p_phrase(axis.noninferior_p)})"
            )
        elif name == "memorisation" and own is not None and own > ALARM:
            objections.append(
                f"it copies training images ({axis.spell(swapped=not wins)}; alarm above {ALARM:g})"
            )
        elif name != "memorisation" and _is_behind(axis, wins):
            against.append(axis)
    return Axes(found=tuple(found), objections=tuple(objections), contradictions=tuple(against))


def _is_behind(axis: Axis, wins: bool) -> bool:
    """Return whether the arm with the better score is clearly behind; of rulers, at all."""
    share = axis.superiority if wins else 1 - axis.superiority
    return share < 0.5 if axis.name == SECOND else share <= 1 - CLEAR


def _key(runs: Sequence[Scores], name: str, *, judged: bool) -> str | None:
    """Return a figure's full name on test images; None where no run has it."""
    return next(
        (
            key
            for scores in runs
            for key in scores
            if key.startswith(f"test/{name}_")
            and not is_floor(key)
            and not is_back(key)
            and is_judged(key) == judged
            and figure_of(key).name == name
        ),
        None,
    )


def _mean(runs: Sequence[Scores], key: str) -> float | None:
    return finite_or_none(mean_and_sd([scores[key] for scores in runs if key in scores])[0])
