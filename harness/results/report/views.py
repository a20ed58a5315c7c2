"""Other ways to look at a comparison: at equal seconds or operations, by time to a score, by area.

All of it is exploratory and rests on validation scores, for test scores exist at a run's end only.
A run without a final test score ranks worst here as it does in the primary test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median, median_high
from typing import Any

import numpy as np

from harness.evaluate.metric import Figure
from harness.results.axes import BEHIND
from harness.results.comparison import Comparison
from harness.results.report.analysis import Analysis
from harness.results.report.arm import ArmAnalysis
from harness.results.report.records import FLOPS, SECONDS, Curves
from harness.results.spelling import number, operations
from harness.statistics import SIGNIFICANCE, finite_or_none, mann_whitney, mean_and_sd

RESOURCES = {"images": None, "seconds": SECONDS, "FLOPs": FLOPS}
"""What training spends -> the metric that records it; images are the curves' own x axis."""
BEYOND = 1.25
"""How far the first score of a slow arm may lie past the end of a fast one, as a ratio."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """A run's validation scores by what had been spent.

    Attributes:
        spent: (T,), increasing.
        scores: (T,).
    """

    spent: Any
    scores: Any


@dataclass(frozen=True, kw_only=True)
class View:
    """A comparison seen in another way.

    Attributes:
        main: The comparison on test scores.
        name: Which way, e.g. "equal seconds".
        at: At how much, with its unit; empty where that means nothing.
        values: What the arm and the baseline come to: means over runs with a score, or medians over
            all of a time to a target; None where that is never.
        superiority: Share of pairs that the arm wins, ties half.
        p_value: Exact two-sided Mann-Whitney, not adjusted; None of seconds, whose own spread over
            runs it would leave out.
        num_pairs: Pairs of runs.
        resource: What `values` count, a key of `RESOURCES`; None: they are scores.
        is_told: Whether it can tell an order: of seconds, only where the arms' paces differ by more
            than what else the machine did may explain.
    """

    main: Comparison
    name: str
    at: str
    values: tuple[float | None, float | None]
    superiority: float
    p_value: float | None
    num_pairs: int
    resource: str | None = None
    is_told: bool = True

    @property
    def is_spent(self) -> bool:
        """Whether it compares what was spent, and not scores."""
        return self.resource is not None

    def spell(self, value: float) -> str:
        """Spell one of its values."""
        return number(value) if self.resource is None else spell(value, self.resource)

    @property
    def turns(self) -> bool:
        """Whether the other arm than in the main comparison comes out ahead."""
        return self.is_told and (self.main.superiority - 0.5) * (self.superiority - 0.5) < 0

    @property
    def turns_clearly(self) -> bool:
        """Whether it does so in at least four fifths of the pairs."""
        return self.turns and not BEHIND < self.superiority < 1 - BEHIND


def study_views(analysis: Analysis, curves: Curves) -> list[View]:
    """Return every view of every comparison, of the runs compared, that the records allow.

    Args:
        analysis: The study; a descriptive one compares nothing and has no views.
        curves: Of the confirm runs, with what they spent.
    """
    return [
        view
        for main in analysis.summary.comparisons
        for view in _views(main, analysis, curves)
        if view is not None
    ]


def _views(main: Comparison, analysis: Analysis, curves: Curves) -> list[View | None]:
    figure = analysis.figure
    arms = [
        replace(arm, confirm=arm.confirm[:count])
        for arm, count in zip(
            (analysis.arm(main.arm), analysis.arm(main.baseline)), main.num_runs, strict=True
        )
    ]
    tracks = {
        resource: tuple(arm_tracks(arm, curves, analysis.objective, resource) for arm in arms)
        for resource in RESOURCES
    }
    known = {resource: pair for resource, pair in tracks.items() if all(map(_has_data, pair))}
    found = [
        *(_at_equal(main, figure, resource, *pair) for resource, pair in known.items()),
        *(_to_target(main, figure, resource, *pair) for resource, pair in known.items()),
        *(_area(main, figure, *pair) for resource, pair in known.items() if resource == "images"),
    ]
    is_told = _paces_differ(arms, curves)
    return [
        replace(view, p_value=None, is_told=is_told) if view and "seconds" in view.name else view
        for view in found
    ]


def _paces_differ(arms: Sequence[ArmAnalysis], curves: Curves) -> bool:
    """Return whether the exact rank test tells the arms' seconds per image apart at 5 %."""
    paces = []
    for arm in arms:
        ends = [own[-1] for run in arm.scored if (own := curves.get(run.run_id, {}).get(SECONDS))]
        paces.append([spent / images for images, spent in ends if images > 0])
    return all(paces) and mann_whitney(paces[0], paces[1]).p_value <= SIGNIFICANCE


Tracks = list[Track | None]
"""One of each confirm run of an arm; None of a run without a final score."""


def arm_tracks(arm: ArmAnalysis, curves: Curves, objective: str, resource: str) -> Tracks:
    """Return an arm's runs by what they spent; empty where a run with a score lacks the record.

    Seconds depend on what else the machine did: where all runs were scored at the same numbers of
    images, each is given the median of what the arm's runs had spent there.
    """
    key = RESOURCES[resource]
    found: dict[str, tuple[list[int], list[float], list[float]]] = {}
    for run in arm.scored:
        own = curves.get(run.run_id, {})
        points = [(step, score) for step, score in own.get(objective, ()) if step > 0]
        spent = {step: step for step, _ in points} if key is None else dict(own.get(key, ()))
        if not points or any(spent.get(step, 0) <= 0 for step, _ in points):
            return []
        steps, scores = map(list, zip(*points, strict=True))
        found[run.run_id] = steps, [float(spent[step]) for step in steps], scores
    if len({tuple(steps) for steps, _, _ in found.values()}) == 1:
        columns = zip(*(spent for _, spent, _ in found.values()), strict=True)
        typical = [median(column) for column in columns]
        found = {run_id: (steps, typical, scores) for run_id, (steps, _, scores) in found.items()}
    return [
        Track(spent=np.array(found[run.run_id][1]), scores=np.array(found[run.run_id][2]))
        if run.run_id in found
        else None
        for run in arm.confirm
    ]


def _has_data(tracks: Tracks) -> bool:
    return any(track is not None for track in tracks)


def _present(*arms: Tracks) -> list[Track]:
    return [track for tracks in arms for track in tracks if track is not None]


def _at_equal(
    main: Comparison, figure: Figure, resource: str, arm: Tracks, baseline: Tracks
) -> View | None:
    """Compare scores where as much was spent as every run has spent.

    Where some run was first scored later than that, there instead, if it is not much later; runs
    that have ended by then keep their last score.
    """
    tracks = _present(arm, baseline)
    end = min(track.spent[-1] for track in tracks)
    place = max(end, *(track.spent[0] for track in tracks))
    if place > BEYOND * end:
        return None
    log = _is_log(figure, tracks)
    scores = [
        [None if track is None else _score_at(track, place, log) for track in tracks]
        for tracks in (arm, baseline)
    ]
    return _view(main, f"equal {resource}", spell(place, resource), scores, figure.cost)


def _score_at(track: Track, place: float, log: bool) -> float:
    """Return the score between evaluations, linear in the logarithm of what was spent."""
    scores = np.log(track.scores) if log else track.scores
    found = float(np.interp(math.log(place), np.log(track.spent), scores))
    return math.exp(found) if log else found


def _is_log(figure: Figure, tracks: Sequence[Track]) -> bool:
    return figure.log and all((track.scores > 0).all() for track in tracks)


def _to_target(
    main: Comparison, figure: Figure, resource: str, arm: Tracks, baseline: Tracks
) -> View | None:
    """Compare what it took to reach the worse of both arms' median final scores.

    Of an even number of runs the worse one in the middle: more than half of an arm reach it.
    """
    finals = [
        [math.inf if track is None else figure.cost(track.scores[-1]) for track in tracks]
        for tracks in (arm, baseline)
    ]
    worse = max(map(median_high, finals))
    if not math.isfinite(worse):
        return None
    target = figure.sign * worse
    log = _is_log(figure, _present(arm, baseline))
    times = [
        [None if track is None else _time_to(track, target, figure, log) for track in tracks]
        for tracks in (arm, baseline)
    ]
    at = f"{figure.label} {number(target)}"
    return _view(main, f"{resource} to a score", at, times, _as_cost, resource)


def _as_cost(spent: float | None) -> float:
    return math.inf if spent is None else spent


def _time_to(track: Track, target: float, figure: Figure, log: bool) -> float | None:
    """Return what was spent when a run first was as good, between evaluations; None: never.

    A run whose first score is good enough already is given what it had spent by then.
    """
    reached = np.flatnonzero(figure.sign * track.scores <= figure.sign * target)
    if not len(reached):
        return None
    after = int(reached[0])
    if after == 0:
        return float(track.spent[0])
    early, late, goal = (
        math.log(each) if log else each for each in (*track.scores[after - 1 : after + 1], target)
    )
    share = (early - goal) / (early - late)
    return float(track.spent[after - 1] ** (1 - share) * track.spent[after] ** share)


def _area(main: Comparison, figure: Figure, arm: Tracks, baseline: Tracks) -> View | None:
    """Compare mean scores over the logarithm of images, where all runs were scored.

    Of figures on a logarithmic scale it is the mean of the logarithm, so a geometric mean.
    """
    tracks = _present(arm, baseline)
    start = max(track.spent[0] for track in tracks)
    end = min(track.spent[-1] for track in tracks)
    if start >= end:
        return None
    log = _is_log(figure, tracks)
    means = [
        [None if track is None else _mean_over(track, start, end, log) for track in tracks]
        for tracks in (arm, baseline)
    ]
    at = f"{spell(start, 'images')} to {spell(end, 'images')}"
    return _view(main, "mean over the curve", at, means, figure.cost)


def _mean_over(track: Track, start: float, end: float, log: bool) -> float:
    """Return the mean score over the logarithm of what was spent, by trapezoids."""
    inside = track.spent[(track.spent > start) & (track.spent < end)]
    places = [start, *inside.tolist(), end]
    scores = np.array([_score_at(track, place, log) for place in places])
    scores = np.log(scores) if log else scores
    widths = np.diff(np.log(places))
    mean = float((widths * (scores[1:] + scores[:-1]) / 2).sum() / widths.sum())
    return math.exp(mean) if log else mean


def _view(
    main: Comparison,
    name: str,
    at: str,
    found: Sequence[Sequence[float | None]],
    cost: Callable[[float | None], float],
    resource: str | None = None,
) -> View:
    """Test what two arms' runs came to; None of a run ranks worst."""
    one, other = ([cost(each) for each in arm] for arm in found)
    test = mann_whitney(one, other)
    if resource is None:
        values = [mean_and_sd([each for each in arm if each is not None])[0] for arm in found]
    else:
        values = [median(one), median(other)]
    first, second = map(finite_or_none, values)
    return View(
        main=main,
        name=name,
        at=at,
        values=(first, second),
        superiority=test.superiority,
        p_value=test.p_value,
        num_pairs=len(one) * len(other),
        resource=resource,
    )


def spell(amount: float, resource: str) -> str:
    """Spell what was spent: images whole, seconds and FLOPs with three significant digits."""
    if resource == "images":
        return f"{amount:,.0f}"
    return f"{number(amount)} s" if resource == "seconds" else operations(amount)
