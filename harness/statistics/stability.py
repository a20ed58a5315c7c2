"""Whether one arm loses more runs than another, and how much further its scores spread."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import fdtri
from scipy.stats import hypergeom

from harness.statistics.interval import CONFIDENCE, Interval

Losses = tuple[int, int, int, int]


def more_losses(strata: Sequence[Losses]) -> float:
    """Return the exact one-sided p of "A loses no more of its runs than B" (Fisher 1935).

    The chance that A has as many of the lost runs or more, if which runs are lost has nothing to do
    with the arm; over several strata, runs are dealt anew within each (Gart 1970).

    Args:
        strata: Lost runs of A, runs of A, lost runs of B, runs of B, for each.
    """
    law = np.ones(1)
    for lost_a, num_a, lost_b, num_b in strata:
        possible = np.arange(num_a + 1)
        law = np.convolve(law, hypergeom.pmf(possible, num_a + num_b, lost_a + lost_b, num_a))
    return min(1.0, float(law[sum(lost_a for lost_a, *_ in strata) :].sum()))


def spread_ratio(
    a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]
) -> tuple[float, Interval]:
    """Return how many times as far A's scores spread as B's, and the 95 % interval.

    The ratio of standard deviations pooled within groups, with the interval of the F distribution:
    exact for normal scores, and not to be trusted where tails are long.

    Args:
        a: Scores of A by group, such as a stratum; those that are not finite are left out.
        b: Scores of B, likewise.

    Returns:
        Ratio and interval; NaN where one side has no spread, or no two scores in a group.
    """
    (var_a, df_a), (var_b, df_b) = _pooled(a), _pooled(b)
    if not (var_a > 0 and var_b > 0):
        return math.nan, Interval(math.nan, math.nan)
    tail = (1 - CONFIDENCE) / 2
    ends = (var_a / var_b / fdtri(df_a, df_b, 1 - level) for level in (tail, 1 - tail))
    low, high = map(math.sqrt, ends)
    return math.sqrt(var_a / var_b), Interval(low, high)


def pooled_sd(groups: Sequence[Sequence[float]]) -> float:
    """Return the standard deviation within groups, of finite scores; NaN without two in a group."""
    variance, _ = _pooled(groups)
    return math.sqrt(variance)


def _pooled(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the variance within groups and its degrees of freedom."""
    finite = [[score for score in group if math.isfinite(score)] for group in groups]
    kept = [group for group in finite if len(group) > 1]
    df = sum(len(group) - 1 for group in kept)
    if not df:
        return math.nan, 0
    return sum((len(group) - 1) * float(np.var(group, ddof=1)) for group in kept) / df, df
