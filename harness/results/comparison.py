"""Arms compared with each other: what a plan lets one say of their scores so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.evaluate.metric import Figure
from harness.results.axes import Axes, Scores, Stratum, axes_of
from harness.statistics import (
    SIGNIFICANCE,
    Interval,
    Looks,
    RankTest,
    SequentialTest,
    finite_or_none,
    hodges_lehmann,
    holm,
    holm_least,
    holm_levels,
    is_equivalent,
    mann_whitney,
    shift_interval,
    superiority_interval,
)
from harness.study.comparisons import Pair
from harness.work.decisions import Costs

FEWEST_FOR_INTERVALS = 5
"""Runs a side below which no interval is stated: points and range say all that there is."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An arm against another, mostly the baseline.

    Attributes:
        arm: The arm.
        baseline: What it is compared with.
        contrast: The contrast of the plan that asks for it; empty against the baseline.
        num_runs: Runs of either that are compared: those up to the look that both have reached.
        most_runs: Seeds at the last look of the plan; None where it has one look.
        difference: Median of all differences of a run of the arm and one of the baseline (Hodges
            and Lehmann), None where failures reach it.
        difference_interval: All shifts that the test does not reject at `level`: it excludes 0
            where the comparison is resolved. None with fewer than five runs a side.
        level: The level of the comparison's step in Holm's procedure, 5 % for a single one.
        wins: Whether the arm is the better one, by where the interval of the shift lies: what is
            resolved was so at the look that resolved it.
        superiority: Chance that a run of the arm scores better than one of the baseline, ties half.
        interval: Its 95 % interval (Newcombe); None with fewer than five runs a side.
        p_value: Two-sided p of the exact rank test, sequential where the plan has several looks;
            None where it is not due, or withheld.
        p_holm: Adjusted for all comparisons of the study; None likewise.
        smallest_p: The least that `p_holm` can be by this look, given ties such as these.
        is_exact: Whether the null law is counted out; else it is simulated.
        due: Seeds per arm from which on there is a test; None where both have reached them.
        withheld: Why there is no p although there are runs enough; empty if there is one.
        futile: Whether the runs that are left in the plan would hardly resolve it.
        going_on: Those of both arms that get more seeds than are compared here, for another
            comparison if this one is futile.
        axes: What the better score has cost; None before the test is due.
        smallest_effect: The smallest difference that matters by the plan, in units of the figure.
        equivalent: Whether the interval lies within the smallest effect that matters; None where
            the plan names none, or there is no interval.
    """

    arm: str
    baseline: str
    contrast: str = ""
    num_runs: tuple[int, int]
    most_runs: int | None = None
    difference: float | None
    difference_interval: Interval | None
    level: float
    wins: bool
    superiority: float
    interval: Interval | None
    p_value: float | None
    p_holm: float | None
    smallest_p: float
    is_exact: bool = True
    due: int | None = None
    withheld: str = ""
    futile: bool = False
    going_on: tuple[str, ...] = ()
    smallest_effect: float | None = None
    equivalent: bool | None = None
    axes: Axes | None = None

    @property
    def is_resolved(self) -> bool:
        """Whether the difference is significant at 5 % after Holm's adjustment."""
        return self.p_holm is not None and self.p_holm <= SIGNIFICANCE

    @property
    def is_beaten(self) -> bool:
        """Whether one arm beats the other: it is resolved, and no axis objects."""
        return self.is_resolved and not (self.axes and self.axes.objections)

    @property
    def better(self) -> tuple[str, str]:
        """The arm with the better score, and the other."""
        return (self.arm, self.baseline) if self.wins else (self.baseline, self.arm)

    @property
    def is_separated(self) -> bool:
        """Whether one arm won every pair of runs."""
        return self.superiority in (0, 1)


def compare(
    pairs: Sequence[Pair],
    costs: Costs,
    figure: Figure,
    *,
    sizes: tuple[int, ...] | None = None,
    withheld: str = "",
    smallest_effect: float | None = None,
    scores: Mapping[str, Sequence[Scores]] | None = None,
    margin: float = 0.0,
    confirmed: Mapping[str, int] | None = None,
) -> tuple[Comparison, ...]:
    """Test the arms of every pair against each other, adjusted for testing all of them.

    Args:
        pairs: All that are to be tested; left out are those of which an arm has no run yet.
        costs: Arm -> scores of its ended runs as costs, in the order of their seeds.
        figure: What these are scores of.
        sizes: Seeds per arm at the looks of the plan; None: all runs that there are, at once.
        withheld: Why no p is to be shown; empty: it is.
        smallest_effect: Smallest difference that matters, in units of the figure.
        scores: Arm -> all final scores of the same runs; None: only these costs are compared.
        margin: How much less coverage the better arm may have.
        confirmed: Arm -> seeds that it is confirmed on as things stand, those to come included.
    """
    looks = None if sizes is None else Looks(sizes)
    sides = [(costs.get(pair.arm, ()), costs.get(pair.reference, ())) for pair in pairs]
    tests = [_tested(a, b, looks) for a, b in sides]
    p_values = [1.0 if test is None else test.p_value for test in tests]
    adjusted, levels = holm(p_values), holm_levels(p_values, SIGNIFICANCE)
    least = holm_least(p_values, [test.smallest_p if test else _least(looks) for test in tests])
    found = []
    for index, (pair, (all_a, all_b), test) in enumerate(zip(pairs, sides, tests, strict=True)):
        if not all_a or not all_b:
            continue
        num_a, num_b = test.num_runs if test else (None, None)
        a, b = all_a[:num_a], all_b[:num_b]
        shifts = shift_interval(a, b, alpha=levels[index], looks=looks) if test else None
        has_p = test is not None and not withheld
        superiority = test.superiority if test else mann_whitney(a, b).superiority
        below, above = (shifts.high < 0, shifts.low > 0) if shifts else (False, False)
        enough = min(len(a), len(b)) >= FEWEST_FOR_INTERVALS
        interval = _of_scores(shifts, figure) if has_p and enough else None
        equivalent = None
        if interval is not None and smallest_effect is not None:
            equivalent = is_equivalent(interval, smallest_effect)
        wins = below or (not above and superiority > 0.5)
        axes = None
        if scores is not None and test is not None:
            runs = scores[pair.arm][:num_a], scores[pair.reference][:num_b]
            stratum = Stratum(costs=(a, b), scores=runs)
            axes = axes_of([stratum], figure, wins=wins, margin=margin, level=levels[index])
        found.append(
            Comparison(
                arm=pair.arm,
                baseline=pair.reference,
                contrast=pair.contrast,
                num_runs=(len(a), len(b)),
                most_runs=sizes[-1] if sizes and len(sizes) > 1 else None,
                difference=finite_or_none(figure.sign * hodges_lehmann(a, b)),
                difference_interval=interval,
                level=levels[index],
                wins=wins,
                superiority=superiority,
                interval=superiority_interval(superiority, len(a), len(b))
                if enough and has_p
                else None,
                p_value=p_values[index] if has_p else None,
                p_holm=adjusted[index] if has_p else None,
                smallest_p=least[index],
                is_exact=looks is None or looks.is_exact,
                due=None if test is not None or sizes is None else sizes[0],
                withheld=withheld if test is not None else "",
                futile=has_p
                and looks is not None
                and len(a) < looks.sizes[-1]
                and looks.futile(a, b, SIGNIFICANCE),
                going_on=tuple(
                    arm
                    for arm, runs in ((pair.arm, a), (pair.reference, b))
                    if (confirmed or {}).get(arm, 0) > len(runs)
                ),
                smallest_effect=smallest_effect,
                equivalent=equivalent,
                axes=axes,
            )
        )
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class _Tested:
    """A test of two arms: its p, the least it could be, pairs won, and how many runs it is of."""

    p_value: float
    smallest_p: float
    superiority: float
    num_runs: tuple[int, int]


def _tested(a: Sequence[float], b: Sequence[float], looks: Looks | None) -> _Tested | None:
    """Test two arms as the plan has it; None before that is due."""
    test: RankTest | SequentialTest | None
    if looks is None:
        test = mann_whitney(a, b) if a and b else None
        sizes = (len(a), len(b))
    else:
        test = looks.p_value(a, b)
        sizes = (looks.sizes[test.look - 1],) * 2 if test else (0, 0)
    if test is None:
        return None
    return _Tested(
        p_value=test.p_value,
        smallest_p=test.smallest_p,
        superiority=test.superiority,
        num_runs=sizes,
    )


def _least(looks: Looks | None) -> float:
    return 1.0 if looks is None else looks.smallest_p(len(looks.sizes))


def _of_scores(shifts: Interval | None, figure: Figure) -> Interval | None:
    """Return the interval of a difference of scores from that of costs."""
    if shifts is None or shifts == (-math.inf, math.inf):
        return shifts
    return Interval(*sorted(figure.sign * end for end in shifts))
