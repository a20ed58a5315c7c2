"""Other views of the comparison: at equal cost, by what a score takes, over the whole curve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median_high

import numpy as np

from example.axes import CLEAR
from example.facts import SPENT, Array, Facts
from example.rank_tests import LEVEL, two_sided, wins
from example.spelling import NONE, chance, listed, number, spent

BEYOND = 1.25  # how far past an ended run the first score of another may lie


@dataclass(frozen=True, kw_only=True)
class View:
    """One way to look at it.

    Attributes:
        name: Which.
        at: At how much.
        costs: What the runs of both arms came to, (n,) each.
        resource: What that counts; empty: they are validation FIDs.
        main: Share of pairs that the arm wins on test FID.
        is_told: Whether the arms' seconds per image are told apart.
    """

    name: str
    at: str
    costs: tuple[Array, Array]
    resource: str
    main: float
    is_told: bool

    @property
    def is_of_seconds(self) -> bool:
        """Whether it rests on how fast machines were."""
        return "seconds" in self.name

    @property
    def wins(self) -> float:
        """Share of pairs that the arm wins in this view."""
        return wins(*self.costs)

    @property
    def values(self) -> list[str]:
        """Both arms' medians of what was spent, or means of FIDs."""
        if self.resource:
            return [spent(float(np.median(each)), self.resource) for each in self.costs]
        return [number(float(each.mean())) for each in self.costs]

    @property
    def order(self) -> str:
        """Whether it agrees with test FID."""
        sign = (self.main - 0.5) * (self.wins - 0.5)
        if self.is_of_seconds and not self.is_told:
            return "not told"
        return NONE if sign == 0 else "holds" if sign > 0 else "turns"

    @property
    def turns_clearly(self) -> bool:
        """Whether the other arm wins four fifths of the pairs."""
        return self.order == "turns" and max(self.wins, 1 - self.wins) >= CLEAR - 1e-9


def views(facts: Facts) -> list[View]:
    """Return all views."""
    found = [
        *(_equal(facts, resource) for resource in SPENT),
        *(_to_a_score(facts, resource) for resource in SPENT),
        _mean_over_the_curve(facts),
    ]
    return [view for view in found if view is not None]


def _view(facts: Facts, name: str, at: str, costs: list[Array], resource: str = "") -> View:
    main = wins(*map(facts.scores, facts.pair))
    return View(
        name=name,
        at=at,
        costs=(costs[0], costs[1]),
        resource=resource,
        main=main,
        is_told=_told(facts),
    )


def _told(facts: Facts) -> bool:
    """Return whether runs of one arm are slower than the other's, by the exact test."""
    column = "progress/train_seconds"
    return two_sided(*(facts.values(arm, column) for arm in facts.pair)) <= LEVEL


def _equal(facts: Facts, resource: str) -> View | None:
    """Return scores where as much was spent as all runs have spent."""
    tracks = [facts.spending(arm, resource) for arm in facts.pair]
    end = min(track[-1] for track in tracks)
    place = max(end, *(track[0] for track in tracks))
    if place > BEYOND * end:
        return None
    costs = [_each_run(facts, arm, _at(facts.spending(arm, resource), place)) for arm in facts.pair]
    return _view(facts, f"equal {resource}", spent(place, resource), costs)


def _to_a_score(facts: Facts, resource: str) -> View:
    """Return what it took to the worse of both arms' median final scores."""
    target = max(median_high(facts.curves(arm)[1][:, -1].tolist()) for arm in facts.pair)
    costs = [
        _each_run(facts, arm, _until(facts.spending(arm, resource), target)) for arm in facts.pair
    ]
    return _view(facts, f"{resource} to a score", f"FID {number(target)}", costs, resource)


def _mean_over_the_curve(facts: Facts) -> View | None:
    """Return geometric means of the scores, over the logarithm of images."""
    tracks = [facts.spending(arm, "images") for arm in facts.pair]
    start, end = max(track[0] for track in tracks), min(track[-1] for track in tracks)
    if start >= end:
        return None
    costs = [
        _each_run(facts, arm, _mean_between(images, start, end))
        for arm, images in zip(facts.pair, tracks, strict=True)
    ]
    at = f"{spent(start, 'images')} to {spent(end, 'images')}"
    return _view(facts, "mean over the curve", at, costs)


def _each_run(facts: Facts, arm: str, cost: Callable[[Array], float]) -> Array:
    return np.array([cost(scores) for scores in facts.curves(arm)[1]])


def _at(track: Array, place: float) -> Callable[[Array], float]:
    """Return what gives a run's score where so much was spent, linear in the logarithms."""
    return lambda scores: float(np.exp(np.interp(np.log(place), np.log(track), np.log(scores))))


def _until(track: Array, target: float) -> Callable[[Array], float]:
    """Return what gives the amount after which a run's curve is first as good as the target."""

    def amount(scores: Array) -> float:
        good = [place for place, score in enumerate(scores) if score <= target]
        if not good:
            return np.inf
        if good[0] == 0:
            return float(track[0])
        ends = slice(good[0] - 1, good[0] + 1)
        rising = np.log(scores[ends])[::-1], np.log(track[ends])[::-1]
        return float(np.exp(np.interp(np.log(target), *rising)))

    return amount


def _mean_between(images: Array, start: float, end: float) -> Callable[[Array], float]:
    """Return what gives a run's geometric mean over a stretch of its curve."""
    places = np.unique([start, *images[(images > start) & (images < end)], end])

    def mean(scores: Array) -> float:
        logs = np.interp(np.log(places), np.log(images), np.log(scores))
        area = np.trapezoid(logs, np.log(places))
        return float(np.exp(area / np.log(end / start)))

    return mean


def rows(facts: Facts) -> Iterator[list[str]]:
    """Yield the table's rows."""
    name = " against ".join(facts.pair)
    for view in views(facts):
        p_value = NONE if view.is_of_seconds else chance(two_sided(*view.costs))
        wins = number(view.wins, 2)
        yield [f"{name}: {view.name}", view.at, *view.values, wins, p_value, view.order]


def sentences(facts: Facts) -> Iterator[str]:
    """Yield which views turn the order round, if any does so clearly."""
    turning = [view for view in views(facts) if view.turns_clearly]
    if not turning:
        return
    view, *others = turning
    is_first = view.wins > 0.5
    winner = facts.pair[not is_first]
    pairs = len(view.costs[0]) * len(view.costs[1])
    won = pairs * (view.wins if is_first else 1 - view.wins)
    one, other = view.values if is_first else reversed(view.values)
    what = "" if view.resource else "validation FID "
    likewise = f"; likewise by {listed([each.name for each in others])}" * bool(others)
    yield (
        f"{_lead(view)} the order turns: {winner} wins {won:g} of {pairs} pairs "
        f"({what}{one} against {other}{likewise})."
    )


def _lead(view: View) -> str:
    if view.resource:
        return f"By {view.name} ({view.at})"
    return f"At {view.name}" if view.name.startswith("equal") else f"By the {view.name}"
