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
    law = _null_law(strata, most_points, num_permutations, seed)
    distances = np.abs(law.sums)
    farthest = distances[law.weights > 0].max()
    return StratifiedTest(
        p_value=law.chance(distances >= abs(law.observed) - ROUNDING),
        superiority=0.5 + law.observed / (2 * law.denominator * len(strata)),
        smallest_p=law.chance(distances >= farthest) if law.exact else 1 / (1 + num_permutations),
        exact=law.exact,
    )


def noninferiority(
    strata: Sequence[Pair],
    margin: float,
    *,
    most_points: int = 200_000,
    num_permutations: int = 9_999,
    seed: int = 0,
) -> float:
    """Return the one-sided p of "A is worse than B by the margin or more", in every stratum.

    The rank test of A's costs, lowered by the margin, against B's: a small p says that A is not
    worse by as much, over strata on average. It takes A to be B but for a shift. Ties are counted
    exactly; one stratum is the one-sided Mann-Whitney test.

    Args:
        strata: One pair of costs, (n_i,) of A and (m_i,) of B, per combination of the levels of all
            other factors; `inf` for runs without a score, which no margin saves.
        margin: How much worse is still accepted, in units of the score.
        most_points: As in `stratified_test`.
        num_permutations: Likewise.
        seed: Likewise.

    Raises:
        ValueError: There is no stratum, a sample is empty or holds NaN, or the margin is negative
            or not finite.
    """
    if not 0 <= margin < math.inf:
        raise ValueError(f"the margin must be finite and not negative: {margin}")
    moved = [([cost - margin for cost in a], b) for a, b in strata]
    law = _null_law(moved, most_points, num_permutations, seed)
    return law.chance(law.sums >= law.observed - ROUNDING)


ROUNDING = 1e-6  # sums of the same terms may differ in the last bits; true differences are 1


@dataclass(frozen=True, kw_only=True)
class _NullLaw:
    """Sums over strata of twice (pairs won less half of all), over a common denominator.

    Attributes:
        observed: That of the runs as they are.
        sums: Those that relabeling gives.
        weights: Their probabilities, or 1 of each that was drawn.
        denominator: What one stratum's pairs are brought to.
        exact: Whether all relabelings are counted.
    """

    observed: float
    sums: Array
    weights: Array
    denominator: int
    exact: bool

    def chance(self, chosen: npt.NDArray[np.bool_]) -> float:
        """Return the probability of these sums, (1 + count) / (1 + N) where they were drawn."""
        whole = float(self.weights[chosen].sum())
        return min(1.0, whole) if self.exact else (1 + whole) / (1 + len(self.sums))


def _null_law(strata: Sequence[Pair], most_points: int, num_draws: int, seed: int) -> _NullLaw:
    if not strata or not all(len(sample) for pair in strata for sample in pair):
        raise ValueError("there must be a stratum, and every sample needs at least one score")
    if any(math.isnan(score) for pair in strata for sample in pair for score in sample):
        raise ValueError("scores may not be NaN")
    ranked = [_ranked(*pair) for pair in strata]
    denominator = math.lcm(*(each.num_pairs for each in ranked))
    scales = [denominator // each.num_pairs for each in ranked]
    observed = sum(each.observed * scale for each, scale in zip(ranked, scales, strict=True))
    farthest = 2 * denominator * len(strata)
    if exact := 2 * farthest + 1 <= most_points:
        sums = np.arange(-farthest, farthest + 1, dtype=np.float64)
        weights = _convolved(ranked, scales, farthest)
    else:
        generator = np.random.default_rng(seed)
        sums, weights = np.zeros(num_draws), np.ones(num_draws)
        for each, scale in zip(ranked, scales, strict=True):
            deals = generator.permuted(np.tile(each.doubled, (num_draws, 1)), axis=1)
            sums += (each.center - deals[:, : each.num_a].sum(axis=1)) * scale
    return _NullLaw(
        observed=observed, sums=sums, weights=weights, denominator=denominator, exact=exact
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


def _convolved(strata: Sequence[_Ranked], scales: Sequence[int], farthest: int) -> Array:
    """Return the probability of every sum over strata, index `farthest` is 0."""
    law = np.zeros(2 * farthest + 1)
    law[farthest] = 1
    for each, scale in zip(strata, scales, strict=True):
        counts = subset_sums(each.doubled, each.num_a)
        mixed = np.zeros_like(law)
        for total in np.flatnonzero(counts):
            mixed += counts[total] / counts.sum() * np.roll(law, (each.center - total) * scale)
        law = mixed
    return law


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
