"""What the trials of one search show about each parameter, whatever the others were."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.evaluate.metric import Figure
from harness.results.spelling import number, p_phrase
from harness.statistics import SIGNIFICANCE, expected_best, holm, kruskal_wallis, median
from harness.study.phases import SearchConfig
from harness.study.space import Choice, Parameter, Range
from harness.work.board import ArmState

FEWEST_TRIALS = 20
"""Below which nothing is said of parameters; so many are a study's default."""
PIECES = 3  # that a range falls into, equal on the scale that it is searched on


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The trials at one value of a parameter, or in one part of its range.

    Attributes:
        name: The value, or the part as [low, high).
        num_trials: Trials that have ended there.
        num_lost: Those of them without a score.
        median: Of their validation scores, those without one ranking worst; None where it is one.
        best: Expected best of as many trials as the piece with fewest has; None where any draw of
            so many could be without a score.
    """

    name: str
    num_trials: int
    num_lost: int
    median: float | None
    best: float | None


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """One parameter of a search.

    Attributes:
        arm: Whose search.
        key: The parameter.
        pieces: Those with trials, in order.
        p_value: Of the permutation test that all pieces score alike; None where it is not tested.
        p_holm: Adjusted for all tested parameters of the arm; None likewise.
        untested: Why it is not; empty if it is.
    """

    arm: str
    key: str
    pieces: tuple[Piece, ...]
    p_value: float | None
    p_holm: float | None
    untested: str

    @property
    def is_resolved(self) -> bool:
        """Whether the parameter matters in this search, at 5 % after Holm's adjustment."""
        return self.p_holm is not None and self.p_holm <= SIGNIFICANCE


def marginals(
    state: ArmState, search: SearchConfig, figure: Figure, withheld: str = ""
) -> tuple[Marginal, ...]:
    """Return what an arm's trials show of each of its parameters; nothing below twenty trials.

    Random search draws every parameter without regard to the others and to the noise of training,
    so that a parameter without any effect has a valid test, whatever the others do. The first
    trial, the defaults, is not drawn and stays out of it all. Nothing is tested before the search
    has ended, for whoever tests at every trial finds what is not there.

    Args:
        state: Where the arm stands.
        search: How its points were drawn.
        figure: What trials score.
        withheld: Why no p is to be shown; empty where it may.
    """
    ended = [record for record in state.search if record.is_done and record.cell.point]
    if len(ended) < FEWEST_TRIALS:
        return ()
    drawn = [(record.cell.point or {}, record.value) for record in ended if record.cell.trial > 0]
    if not state.search_done:
        withheld = "the search has not ended"
    elif (search.sampler, search.pruner) != ("random", "none"):
        withheld = "trials were not drawn at random, each without regard to the others"
    found = []
    for key, parameter in state.arm.space.items():
        costs = _by_piece(parameter, [(point[key], figure.cost(cost)) for point, cost in drawn])
        why = withheld or ("all trials lie in one part" if len(costs) < 2 else "")
        p_value = None if why else kruskal_wallis(list(costs.values()))
        found.append((key, _pieces(costs, figure), why, p_value))
    adjusted = iter(holm([p_value for _, _, _, p_value in found if p_value is not None]))
    return tuple(
        Marginal(
            arm=state.arm.name,
            key=key,
            pieces=pieces,
            p_value=p_value,
            p_holm=None if p_value is None else next(adjusted),
            untested=why,
        )
        for key, pieces, why, p_value in found
    )


def _by_piece(parameter: Parameter, trials: Sequence[tuple[Any, float]]) -> dict[str, list[float]]:
    """Return the costs of (value, cost) pairs by the name of the piece, those with trials."""
    if isinstance(parameter, Choice):
        values = list(parameter.values)
        names, places = [*map(str, values)], [values.index(value) for value, _ in trials]
    else:
        inner = _edges(parameter)
        ends = _texts([parameter.low, *inner, parameter.high])
        names = [f"[{low}, {high})" for low, high in itertools.pairwise(ends)]
        names[-1] = names[-1][:-1] + "]"
        if parameter.integer and parameter.high - parameter.low < PIECES:
            names = [str(int(parameter.low) + place) for place in range(len(inner) + 1)]
        places = [sum(1 for edge in inner if value >= edge) for value, _ in trials]
    costs: list[list[float]] = [[] for _ in names]
    for place, (_, cost) in zip(places, trials, strict=True):
        costs[place].append(cost)
    return {name: each for name, each in zip(names, costs, strict=True) if each}


def _edges(parameter: Range) -> list[float]:
    """Return where the parts of a range end, without its own ends; of few whole numbers, each."""
    if parameter.integer and parameter.high - parameter.low < PIECES:
        return [
            parameter.low + place for place in range(1, int(parameter.high - parameter.low) + 1)
        ]
    return [float(parameter.at(part / PIECES)) for part in range(1, PIECES)]


def _texts(values: Sequence[float]) -> list[str]:
    """Spell numbers with 3 significant digits, or as many as tell them apart."""
    texts: list[str] = []
    for digits in (3, 6, 17):
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


def _pieces(costs: Mapping[str, Sequence[float]], figure: Figure) -> tuple[Piece, ...]:
    fewest = min(map(len, costs.values()))
    return tuple(
        Piece(
            name=name,
            num_trials=len(each),
            num_lost=sum(map(math.isinf, each)),
            median=figure.value(median(each)),
            best=figure.value(expected_best(each)[fewest - 1]),
        )
        for name, each in costs.items()
    )


def spell(found: Sequence[Marginal], figure: Figure) -> list[str]:
    """Return in sentences which parameters matter in a search, and of which nothing can be told."""
    tested = [each for each in found if not each.untested]
    resolved = [each for each in tested if each.is_resolved]
    sentences = []
    for each in resolved:
        pieces = "; ".join(
            f"{piece.name} {number(piece.median)}, {number(piece.best)}" for piece in each.pieces
        )
        sentences.append(
            f"Over all trials {each.key} makes a difference ({p_phrase(each.p_holm)} after Holm "
            f"over {len(tested)}; median and expected best validation {figure.label} with {pieces})"
        )
    if quiet := [each.key for each in tested if not each.is_resolved]:
        sentences.append(
            f"{'Of' if resolved else 'Over all trials, of'} {', '.join(quiet)} no effect is shown"
        )
    whys = dict.fromkeys(each.untested for each in found if each.untested)
    for why in whys:
        keys = ", ".join(each.key for each in found if each.untested == why)
        sentences.append(f"What the trials show of {keys} has no p: {why}")
    return sentences
