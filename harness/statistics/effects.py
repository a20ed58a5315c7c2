"""How far two arms differ, and between which limits."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln

from harness.statistics.interval import CONFIDENCE, Array, Interval
from harness.statistics.looks import Looks, lost_doubled
from harness.statistics.ranks import mann_whitney, p_by_lost_pairs
from harness.statistics.strata import ROUNDING, Pair, stratified_test


def hodges_lehmann(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the median of all differences, a run of A less a run of B (Hodges and Lehmann 1963).

    It is the shift after which each arm wins half of the pairs. Two runs without a score (`inf`)
    have no difference, tie after any shift, and are left out.

    Args:
        a: Scores of arm A, (n,).
        b: Scores of arm B, (m,).

    Returns:
        The shift; infinite where failures reach the middle, NaN where no pair has a difference.

    Raises:
        ValueError: A sample is empty or holds NaN.
    """
    differences = _differences(a, b)
    if not differences.size:
        return math.nan
    middle = differences[(len(differences) - 1) // 2] + differences[len(differences) // 2]
    return float(middle / 2)


def shift_interval(
    a: Sequence[float],
    b: Sequence[float],
    *,
    alpha: float = 1 - CONFIDENCE,
    looks: Looks | None = None,
) -> Interval | None:
    """Return all shifts δ for which the test does not tell (A - δ) from B at level alpha.

    The exact interval of the shift, at least 1 - alpha, that belongs to the exact test (Lehmann
    1975, section 2.5): it excludes 0 just where the test rejects. Its ends are differences of a run
    of A and one of B, or infinite where failures or too few runs leave the test powerless. With
    looks it is the intersection of all looks' so far, and holds at any stopping time (repeated
    confidence intervals, Jennison and Turnbull 1989); were they disjoint, the gap between them.

    Where finite scores of A and B are equal, the interval breaks these ties least favourably. The
    test without looks counts them exactly and may then reject although the interval holds 0.

    Args:
        a: Scores of arm A in the order of their seeds, (n,), the smaller wins; `inf` for runs
            without a score.
        b: Scores of arm B, likewise, (m,).
        alpha: Level of the test, e.g. that of its step in Holm's procedure.
        looks: The group-sequential design; None: one look at all runs.

    Returns:
        The interval; None before the first look.

    Raises:
        ValueError: A sample is empty or holds NaN.
    """
    if looks is None:
        return _inverted(a, b, alpha)
    reached = looks.reached(len(a), len(b))
    if not reached:
        return None
    if len(looks.sizes) == 1:
        return _inverted(a[: looks.sizes[0]], b[: looks.sizes[0]], alpha)
    nominal = looks.nominal(alpha)
    each = [_accepted(a[:size], b[:size], nominal) for size in looks.sizes[:reached]]
    return Interval(*sorted((max(one.low for one in each), min(one.high for one in each))))


def _inverted(a: Sequence[float], b: Sequence[float], alpha: float) -> Interval:
    """Return the interval of the test at one look, failures that tie counted exactly."""
    num_failed = sum(math.isinf(score) for score in (*a, *b))
    interval = _accepted(a, b, alpha, num_failed=num_failed)
    if interval.low <= 0 <= interval.high or mann_whitney(a, b).p_value <= alpha:
        return interval
    return Interval(min(interval.low, 0.0), max(interval.high, 0.0))  # finite scores tie at 0


def _accepted(
    a: Sequence[float], b: Sequence[float], alpha: float, *, num_failed: int | None = None
) -> Interval:
    """Return the shifts whose p exceeds alpha.

    Between two neighbouring differences the pairs that A - δ loses are those whose difference
    exceeds δ. Pairs of failures tie; with `num_failed` as in the law of so many tied ranks, without
    it they are broken least favourably.
    """
    differences = _differences(a, b)
    num_pairs = len(a) * len(b)
    tied = num_pairs - len(differences)
    lost = np.arange(len(differences) + 1)
    if num_failed is None:
        law = p_by_lost_pairs(len(a), len(b))
        p_values = law[[lost_doubled(int(count), tied, num_pairs) for count in lost]]
    else:
        p_values = p_by_lost_pairs(len(a), len(b), num_failed)[2 * lost + tied]
    kept = lost[p_values > alpha]
    ends = np.concatenate([[-math.inf], differences, [math.inf]])
    return Interval(float(ends[len(lost) - 1 - kept[-1]]), float(ends[len(lost) - kept[0]]))


def stratified_shift(strata: Sequence[Pair]) -> float:
    """Return the shift after which A and B win equally often, mean over strata.

    It is the median of all differences within strata, every stratum with equal weight (the
    Hodges-Lehmann estimate of the stratified test). Pairs of failures are left out.

    Args:
        strata: One pair of scores per combination, as in `stratified_test`.

    Returns:
        The shift; infinite where failures reach the middle, NaN where no pair has a difference.
    """
    found, weights = [np.empty(0)], [np.empty(0)]
    for a, b in strata:
        differences = _differences(a, b)
        found.append(differences)
        weights.append(np.full(len(differences), 1 / (len(a) * len(b))))
    values, shares = np.concatenate(found), np.concatenate(weights)
    if not values.size:
        return math.nan
    order = np.argsort(values)
    values, below = values[order], np.cumsum(shares[order])
    half = below[-1] / 2
    first = int(np.searchsorted(below, half - ROUNDING))
    is_between = abs(below[first] - half) <= ROUNDING and first + 1 < len(values)
    return float((values[first] + values[first + is_between]) / 2)


def stratified_interval(strata: Sequence[Pair], *, alpha: float = 1 - CONFIDENCE) -> Interval:
    """Return all shifts δ for which `stratified_test` does not tell (A - δ) from B at level alpha.

    One shift in all strata. The test changes at differences of two runs of a stratum only, so it is
    made between them, and its p falls off to both sides of the estimate.

    Args:
        strata: One pair of scores per combination, as in `stratified_test`.
        alpha: Level of the test, e.g. that of its step in Holm's procedure.

    Returns:
        The interval: ends are differences, or infinite where the test rejects no shift that far.
    """
    differences = np.concatenate([_differences(a, b) for a, b in strata] or [np.empty(0)])
    ends = np.unique(differences[np.isfinite(differences)])
    if not ends.size:
        return Interval(-math.inf, math.inf)
    places = [ends[0] - 1, *((ends[1:] + ends[:-1]) / 2), ends[-1] + 1]

    def is_accepted(index: int) -> bool:
        moved = [([score - places[index] for score in a], b) for a, b in strata]
        return stratified_test(moved).p_value > alpha

    shift = stratified_shift(strata)
    middle = int(np.searchsorted(ends, shift)) if math.isfinite(shift) else 0
    inside = [index for index in (middle, middle + 1) if index < len(places) and is_accepted(index)]
    if not inside:
        return Interval(-math.inf, math.inf)
    low = bisect_left(range(inside[0]), True, key=is_accepted)
    above = range(inside[-1] + 1, len(places))
    high = inside[-1] + bisect_left(above, True, key=lambda index: not is_accepted(index))
    bounds = [-math.inf, *ends.tolist(), math.inf]
    found = Interval(bounds[low], bounds[high + 1])
    if found.low <= 0 <= found.high or stratified_test(strata).p_value <= alpha:
        return found
    return Interval(min(found.low, 0.0), max(found.high, 0.0))  # scores of both sides tie


def _differences(a: Sequence[float], b: Sequence[float]) -> Array:
    """Return all differences A - B in rising order, without those of two failures."""
    one, other = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if not one.size or not other.size or np.isnan(one).any() or np.isnan(other).any():
        raise ValueError("both samples need at least one score and none may be NaN")
    with np.errstate(invalid="ignore"):  # inf - inf
        differences = (one[:, None] - other).ravel()
    return np.sort(differences[~np.isnan(differences)])


def is_equivalent(interval: Interval, margin: float) -> bool:
    """Return whether an interval of the difference lies within (-margin, margin).

    With an interval of level alpha = 0.10 this is the test of equivalence at 5 % (two one-sided
    tests, Schuirmann 1987); with one of 0.05, at 2.5 %.

    Raises:
        ValueError: The margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"the margin must be positive: {margin}")
    return -margin < interval.low and interval.high < margin


def hedges_g(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the standardised difference of means, A - B, of the finite scores (Hedges 1981).

    The pooled standard deviation has n + m - 2 degrees of freedom; the correction for small
    samples is the exact one, a ratio of gamma functions. Negative where A has the smaller mean.
    NaN with fewer than two finite scores on a side or no spread on either.
    """
    one, other = _finite(a), _finite(b)
    if min(one.size, other.size) < 2 or np.ptp(one) == np.ptp(other) == 0:
        return math.nan
    df = one.size + other.size - 2
    pooled = math.sqrt(
        ((one.size - 1) * one.var(ddof=1) + (other.size - 1) * other.var(ddof=1)) / df
    )
    correction = math.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / math.sqrt(df / 2)
    return float((one.mean() - other.mean()) / pooled * correction)


def _finite(scores: Sequence[float]) -> Array:
    array = np.asarray(scores, np.float64)
    return array[np.isfinite(array)]
