"""Whether the better arm is the less stable one: runs lost, and the spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.results.spelling import number, p_phrase
from harness.statistics import (
    SIGNIFICANCE,
    Interval,
    finite_or_none,
    more_losses,
    pooled_sd,
    spread_ratio,
)

FAR = 2.0  # ratio of standard deviations from which a larger spread is worth a word


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Of two arms, the one with the better score first.

    Attributes:
        lost: Runs without a score.
        runs: All runs.
        spreads: Standard deviations of scores, pooled over strata; None below two scores.
        lost_p: Exact one-sided p of the better arm losing no more runs than the other (Fisher).
        ratio: How many times as far the better arm's scores spread; None where that is undefined.
        interval: Its 95 % interval, of the F distribution: for normal scores.
    """

    lost: tuple[int, int]
    runs: tuple[int, int]
    spreads: tuple[float | None, float | None]
    lost_p: float
    ratio: float | None
    interval: Interval | None

    @property
    def against(self) -> tuple[str, ...]:
        """What speaks against the better arm, in words that end where the evidence does."""
        found = []
        if self.lost[0] * self.runs[1] > self.lost[1] * self.runs[0]:
            weak = ", not resolved" * (self.lost_p > SIGNIFICANCE)
            found.append(
                f"it lost {self._losses()} (Fisher's exact one-sided {p_phrase(self.lost_p)}{weak})"
            )
        if self.ratio is not None and self.interval is not None and self.ratio >= FAR:
            low, high = (number(end) for end in self.interval)
            weak = ", not resolved" * (self.interval.low <= 1)
            found.append(
                f"its scores spread {number(self.ratio)} times as far over seeds (95 % interval "
                f"{low} to {high} for normal scores{weak})"
            )
        return tuple(found)

    def spell(self) -> str:
        """Return what it rests on: "lost 0 of 5 runs against 1 of 5, sd 0.20 against 0.26"."""
        first, second = (number(spread) for spread in self.spreads)
        return f"lost {self._losses()}, sd {first} against {second}"

    def _losses(self) -> str:
        return f"{self.lost[0]} of {self.runs[0]} runs against {self.lost[1]} of {self.runs[1]}"


def stability_of(
    costs: Sequence[tuple[Sequence[float], Sequence[float]]], *, wins: bool
) -> Stability:
    """Compare runs lost and spread.

    Args:
        costs: Of both arms, by stratum; `inf` for a run without a score.
        wins: Whether the first has the better score.
    """
    both = [(a, b) if wins else (b, a) for a, b in costs]
    better, other = [a for a, _ in both], [b for _, b in both]
    ratio, interval = spread_ratio(better, other)
    return Stability(
        lost=(_lost(better), _lost(other)),
        runs=(sum(map(len, better)), sum(map(len, other))),
        spreads=(finite_or_none(pooled_sd(better)), finite_or_none(pooled_sd(other))),
        lost_p=more_losses([(_lost([a]), len(a), _lost([b]), len(b)) for a, b in both]),
        ratio=finite_or_none(ratio),
        interval=interval if math.isfinite(ratio) else None,
    )


def _lost(groups: Sequence[Sequence[float]]) -> int:
    return sum(math.isinf(cost) for group in groups for cost in group)
