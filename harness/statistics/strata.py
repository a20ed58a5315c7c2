"""Effects over several strata: a factor's level against another, and how two changes add up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit
from scipy.stats import rankdata

from harness.statistics.interval import CONFIDENCE, Array, Interval
from harness.statistics.ranks import subset_sums

Pair = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class StratifiedTest:
    """Result of the two-sided stratified permutation test of one level of a factor, A, against B.

    Attributes:
        p_value: Probability, if the level made no difference in any stratum, of a mean
            superiority at least as far from ½.
        superiority: Mean over strata of P(A < B) + ½ P(A = B), every stratum with equal weight.
        smallest_p: The least p that these sample sizes, and ties such as these, can yield at all.
        exact: Whether all relabelings were counted, not drawn.
    """

    p_value: float
    superiority: float
    smallest_p: float
    exact: bool


def stratified_test(
    strata: Sequence[Pair],
    *,
    most_points: int = 200_000,
    num_permutations: int = 9_999,
    seed: int = 0,
) -> StratifiedTest:
    """Test the marginal effect of one level of a factor against another, by ranks per stratum.

    Labels are permuted within strata only. The law of the mean superiority is the convolution of
    the strata's exact laws of the rank sum, on the lattice of their common denominator; with so
    many unequal sizes that this has too many points, relabelings are drawn and
    p = (1 + count) / (1 + num_permutations) (Phipson and Smyth 2010). Related: van Elteren 1960.

    Args:
        strata: One pair of scores, (n_i,) of A and (m_i,) of B, per combination of the levels of
            all other factors; `inf` for runs without a score.
        most_points: Largest lattice for the exact law.
        num_permutations: Relabelings to draw beyond it.
        seed: Same seed, same p.

    Raises:
        ValueError: There is no stratum, or a sample is empty or holds NaN.
    """
    if not strata or not all(len(sample) for pair in strata for sample in pair):
        raise ValueError("there must be a stratum, and every sample needs at least one score")
    if any(math.isnan(score) for pair in strata for sample in pair for score in sample):
        raise ValueError("scores may not be NaN")
    ranked = [_ranked(*pair) for pair in strata]
    denominator = math.lcm(*(each.num_pairs for each in ranked))
    scales = [denominator // each.num_pairs for each in ranked]
    observed = sum(each.observed * scale for each, scale in zip(ranked, scales, strict=True))
    superiority = 0.5 + observed / (2 * denominator * len(strata))
    if 4 * denominator * len(strata) + 1 <= most_points:
        tails = _tails(ranked, scales, 2 * denominator * len(strata))
        return StratifiedTest(
            p_value=float(tails[abs(observed)]),
            superiority=superiority,
            smallest_p=float(tails[np.flatnonzero(tails)[-1]]),
            exact=True,
        )
    generator = np.random.default_rng(seed)
    drawn = np.zeros(num_permutations)
    for each in ranked:
        deals = generator.permuted(np.tile(each.doubled, (num_permutations, 1)), axis=1)
        drawn += (each.center - deals[:, : each.num_a].sum(axis=1)) / each.num_pairs
    # Sums of the same terms may differ in the last bits; true differences are far larger.
    count = int((np.abs(drawn) >= abs(observed) / denominator - 1e-9).sum())
    return StratifiedTest(
        p_value=(1 + count) / (1 + num_permutations),
        superiority=superiority,
        smallest_p=1 / (1 + num_permutations),
        exact=False,
    )


@dataclass(frozen=True, kw_only=True)
class _Ranked:
    """A stratum's doubled midranks, A's first; `observed` is twice (pairs won less half of all)."""

    doubled: npt.NDArray[np.int64]
    num_a: int
    num_pairs: int
    center: int
    observed: int


def _ranked(a: Sequence[float], b: Sequence[float]) -> _Ranked:
    doubled = np.rint(2 * rankdata([*a, *b])).astype(np.int64)
    center = len(a) * (len(doubled) + 1)  # twice the expected rank sum of A
    return _Ranked(
        doubled=doubled,
        num_a=len(a),
        num_pairs=len(a) * len(b),
        center=center,
        observed=center - int(doubled[: len(a)].sum()),
    )


def _tails(strata: Sequence[_Ranked], scales: Sequence[int], farthest: int) -> Array:
    """Return, at index d, the chance that the sum over strata lies at least d from 0."""
    law = np.zeros(2 * farthest + 1)
    law[farthest] = 1
    for each, scale in zip(strata, scales, strict=True):
        counts = subset_sums(each.doubled, each.num_a)
        mixed = np.zeros_like(law)
        for total in np.flatnonzero(counts):
            mixed += counts[total] / counts.sum() * np.roll(law, (each.center - total) * scale)
        law = mixed
    by_distance = law[farthest:].copy()
    by_distance[1:] += law[:farthest][::-1]
    tails: Array = np.minimum(1, np.cumsum(by_distance[::-1])[::-1])
    return tails


def interaction(
    strata: Sequence[tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]]],
    *,
    alpha: float = 1 - CONFIDENCE,
) -> tuple[float, Interval]:
    """Return how far two changes together differ from the sum of each, with its interval.

    The difference of differences of means of finite scores, (both - first) - (second - neither),
    averaged over strata with equal weights. The interval is Student's t of that contrast with
    every arm's own variance and the degrees of freedom of Satterthwaite (1946) and Welch (1947). It
    depends on the scale of the score: none on a linear scale is one on a logarithmic scale.

    Args:
        strata: Per combination of the other factors' levels, the scores of the arms with both
            changes, only the first, only the second, and neither, (n_i,) each. One in which an arm
            has no finite score is left out.
        alpha: One less the confidence.

    Returns:
        The contrast and its interval: infinite where an arm has a single finite score, NaN where no
        stratum is left.
    """
    groups = [[_finite(scores) for scores in stratum] for stratum in strata]
    whole = [group for stratum in groups for group in stratum if all(each.size for each in stratum)]
    if not whole:
        return math.nan, Interval(math.nan, math.nan)
    signs = (1, -1, -1, 1)
    contrast = sum(signs[index % 4] * float(arm.mean()) for index, arm in enumerate(whole))
    contrast /= len(whole) // 4
    if min(arm.size for arm in whole) < 2:
        return contrast, Interval(-math.inf, math.inf)
    parts = [float(arm.var(ddof=1)) / arm.size for arm in whole]
    if not sum(parts):
        return contrast, Interval(contrast, contrast)
    spread = sum(part**2 / (arm.size - 1) for part, arm in zip(parts, whole, strict=True))
    half = float(stdtrit(sum(parts) ** 2 / spread, 1 - alpha / 2))
    half *= math.sqrt(sum(parts)) / (len(whole) // 4)
    return contrast, Interval(contrast - half, contrast + half)


def _finite(scores: Sequence[float]) -> Array:
    array = np.asarray(scores, np.float64)
    return array[np.isfinite(array)]
