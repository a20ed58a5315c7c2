"""What the trials of one search show about each parameter, whatever the others were."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.evaluate.metric import Figure
from harness.results.spelling import number, p_phrase, setting_text
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
        p_value: Of the permutation test that all pieces score alike; None where trials were not
            drawn at random.
        p_holm: Adjusted for all parameters of the arm; None likewise.
    """

    arm: str
    key: str
    pieces: tuple[Piece, ...]
    p_value: float | None
    p_holm: float | None

    @property
    def is_resolved(self) -> bool:
        """Whether the parameter matters in this search, at 5 % after Holm's adjustment."""
        return self.p_holm is not None and self.p_holm <= SIGNIFICANCE


def marginals(state: ArmState, search: SearchConfig, figure: Figure) -> tuple[Marginal, ...]:
    """Return what an arm's trials show of each of its parameters; nothing below twenty trials.

    Random search draws every parameter without regard to the others and to the noise of training,
    so that a parameter without any effect has a valid test, whatever the others do. The first
    trial, the defaults, is not drawn and stays out of it all. Other samplers have no p.
    """
    ended = [record for record in state.search if record.is_done and record.cell.point]
    drawn = [(record.cell.point or {}, record.value) for record in ended if record.cell.trial > 0]
    if len(ended) < FEWEST_TRIALS:
        return ()
    random = search.sampler == "random" and search.pruner == "none"
    found = []
    for key, parameter in state.arm.space.items():
        costs: dict[str, list[float]] = {name: [] for name in _names(parameter)}
        for point, value in drawn:
            costs[_place(parameter, point[key])].append(figure.cost(value))
        fullest = {name: each for name, each in costs.items() if each}
        fewest = min(map(len, fullest.values()))
        pieces = tuple(
            Piece(
                name=name,
                num_trials=len(each),
                num_lost=sum(map(math.isinf, each)),
                median=figure.value(median(each)),
                best=figure.value(expected_best(each)[fewest - 1]),
            )
            for name, each in fullest.items()
        )
        found.append((key, pieces, kruskal_wallis(list(fullest.values()))))
    adjusted = holm([p_value for _, _, p_value in found])
    return tuple(
        Marginal(
            arm=state.arm.name,
            key=key,
            pieces=pieces,
            p_value=p_value if random else None,
            p_holm=p_holm if random else None,
        )
        for (key, pieces, p_value), p_holm in zip(found, adjusted, strict=True)
    )


def _edges(parameter: Range) -> list[float]:
    """Return where the parts of a range end, its own ends included."""
    inner = [float(parameter.at(part / PIECES)) for part in range(1, PIECES)]
    return sorted({parameter.low, *inner, parameter.high})


def _names(parameter: Parameter) -> list[str]:
    """Return the names of all pieces, in order."""
    if isinstance(parameter, Choice):
        return [setting_text(value) for value in parameter.values]
    edges = [setting_text(edge) for edge in _edges(parameter)]
    last = len(edges) - 2
    return [
        f"[{low}, {high}{']' if place == last else ')'}"
        for place, (low, high) in enumerate(itertools.pairwise(edges))
    ]


def _place(parameter: Parameter, value: Any) -> str:
    """Return the name of the piece that a value lies in."""
    names = _names(parameter)
    if isinstance(parameter, Choice):
        return names[list(parameter.values).index(value)]
    inner = _edges(parameter)[1:-1]
    return names[sum(1 for edge in inner if value >= edge)]


def spell(found: Sequence[Marginal], figure: Figure) -> list[str]:
    """Return in sentences which parameters matter in a search, and of which nothing can be told."""
    tested = [each for each in found if each.p_holm is not None]
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
    return sentences
