"""An exact rank test that may look several times while runs come in."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from harness.statistics.interval import Array
from harness.statistics.ranks import mann_whitney, p_by_lost_pairs, smallest_p

Losses = npt.NDArray[np.int64]

NUM_SIMULATED = 400_000
"""Orders from which the null law of a larger design is simulated."""
MOST_STATES = 1_500_000
"""Bound on the states of the exact count; larger designs are simulated."""
FUTILE = 0.1
"""Conditional power below which further runs are advised against."""
PLANNED = 0.8
"""Power of the last look for the difference that conditional power takes to be true."""


@dataclass(frozen=True, kw_only=True)
class SequentialTest:
    """Result of the rank test at the last look that both arms have reached.

    Attributes:
        p_value: Sequential p, two-sided: valid whenever and for whatever reason one stops.
        look: That look, counted from 1.
        superiority: P(A < B) + ½ P(A = B) among its runs.
        smallest_p: The least p that the design can have yielded by this look; of one look, given
            ties such as these.
        p_at_looks: The fixed-sample p of every look so far; by themselves no results.
    """

    p_value: float
    look: int
    superiority: float
    smallest_p: float
    p_at_looks: tuple[float, ...]


@dataclass(frozen=True)
class Looks:
    """A group-sequential Mann-Whitney test of A against B with equal numbers of runs.

    At look k the first n_k runs of A, in the order of their seeds, meet the first n_k of B. p_k is
    the exact two-sided Mann-Whitney p of these runs as if nothing else had been looked at, and
    t_k = min(p_1, …, p_k) the least so far. The sequential p at look k is

        q(t_k) = P0(min over ALL looks of the design of p_j <= t_k).

    Where both arms have one distribution and no scores tie, every order of the 2 n_K runs is
    equally likely, so P0 is a fixed law of the design: counted exactly for small designs, otherwise
    from 400,000 orders with a fixed seed as (1 + count) / (1 + N), which is a valid p over the
    draw of these orders (Phipson and Smyth 2010); its standard error at 0.05 is 0.0003.

    Why it holds. q rises with t, and t_k >= t_K, so q(t_k) >= q(t_K) at every look; q(t_K) is an
    ordinary p-value, P0(q(t_K) <= α) <= α. Hence q is valid at any stopping time, also one that
    depends on the data, and never rises from look to look. It is the sequential p-value (Liu and
    Anderson 2008) of the nested rejection regions "some p_j <= t". Holm over such p-values rejects
    at any time only what Holm over the q(t_K) would reject in the end, so it keeps the familywise
    level with optional stopping in any comparison, and withdraws nothing at a later look: the
    group-sequential Holm procedure with look-back of Maurer and Bretz (2013).

    Ties: all pairs of A and B that tie count for A or for B, whichever brings the number of pairs
    won nearer to one half, at each look. No way to break them at random gives a smaller p.

    One look is `mann_whitney`, ties exact.

    Attributes:
        sizes: Runs per arm at each look, rising.
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what is no design.

        Raises:
            ValueError: There is no look, or the sizes do not rise from at least 1.
        """
        rising = all(one < other for one, other in zip((0, *self.sizes), self.sizes, strict=False))
        if not self.sizes or not rising:
            raise ValueError(f"looks must have rising numbers of runs per arm: {self.sizes}")

    @property
    def is_exact(self) -> bool:
        """Whether p counts all orders of the runs; otherwise it is from `NUM_SIMULATED` of them."""
        return len(self.sizes) == 1 or _num_states(self.sizes) <= MOST_STATES

    def reached(self, num_a: int, num_b: int) -> int:
        """Return how many looks arms of so many runs have reached."""
        return bisect.bisect_right(self.sizes, min(num_a, num_b))

    def p_value(self, a: Sequence[float], b: Sequence[float]) -> SequentialTest | None:
        """Test A against B at the last look that both have reached, None before the first.

        Args:
            a: Scores of arm A in the order of their seeds, the smaller wins; `inf` for runs without
                a score. Runs beyond the look are not used.
            b: Scores of arm B, likewise.

        Raises:
            ValueError: A score is NaN.
        """
        look = self.reached(len(a), len(b))
        if not look:
            return None
        size = self.sizes[look - 1]
        whole = mann_whitney(a[:size], b[:size])
        if len(self.sizes) == 1:
            return SequentialTest(
                p_value=whole.p_value,
                look=look,
                superiority=whole.superiority,
                smallest_p=whole.smallest_p,
                p_at_looks=(whole.p_value,),
            )
        p_at_looks = tuple(_p_least_favourable(a[:n], b[:n]) for n in self.sizes[:look])
        return SequentialTest(
            p_value=self._adjusted(min(p_at_looks)),
            look=look,
            superiority=whole.superiority,
            smallest_p=self.smallest_p(look),
            p_at_looks=p_at_looks,
        )

    def smallest_p(self, look: int) -> float:
        """Return the least p that can be had by a look, counted from 1."""
        return self._adjusted(smallest_p(self.sizes[look - 1], self.sizes[look - 1]))

    def can_decide(self, alpha: float) -> tuple[bool, ...]:
        """Return which looks can reject at this level at all."""
        return tuple(self.smallest_p(look + 1) <= alpha for look in range(len(self.sizes)))

    def nominal(self, alpha: float) -> float:
        """Return the largest fixed-sample p that rejects at any look, 0 if none does."""
        if len(self.sizes) == 1:
            return alpha
        attainable = np.unique(np.concatenate([p_by_lost_pairs(n, n)[::2] for n in self.sizes]))
        enough = [float(p) for p in attainable if self._adjusted(float(p)) <= alpha]
        return max(enough, default=0.0)

    def spent(self, alpha: float) -> tuple[float, ...]:
        """Return the chance of a false rejection at this level by each look."""
        law, nominal = null_law(self.sizes), self.nominal(alpha)
        return tuple(float(law.weights[least <= nominal].sum()) for least in law.least.T)

    def futile(self, a: Sequence[float], b: Sequence[float], alpha: float) -> bool:
        """Return whether further runs would hardly reject at this level (see `conditional_power`).

        Advice that binds nobody: stopping on it or not leaves the level as it is. Never so before
        the first look, after the last one, or where it rejects already.
        """
        test = self.p_value(a, b)
        if test is None or test.look == len(self.sizes) or test.p_value <= alpha:
            return False
        return self.conditional_power(a, b, alpha) < FUTILE

    def conditional_power(self, a: Sequence[float], b: Sequence[float], alpha: float) -> float:
        """Return the chance that the last look rejects, given the runs of the last look reached.

        It is taken that the arms differ, in the direction seen so far, by what the last look finds
        with 80 % power: a difference that the plan was made for, and not the one seen, which few
        runs hardly know. The standardised number of pairs won is a Brownian motion in the share of
        runs (stochastic curtailment, Lan, Simon and Halperin 1982; Lan and Wittes 1988).

        Args:
            a: Scores of arm A in the order of their seeds, as `p_value` takes them.
            b: Scores of arm B, likewise; both have reached the first look.
            alpha: Level of the test.

        Raises:
            ValueError: Some arm has not reached the first look.
        """
        look = self.reached(len(a), len(b))
        if not look:
            raise ValueError(f"no look is reached by {len(a)} and {len(b)} runs of {self.sizes}")
        nominal, size, last = self.nominal(alpha), self.sizes[look - 1], self.sizes[-1]
        if not nominal:
            return 0.0
        needed, share = float(ndtri(1 - nominal / 2)), size / last
        won = mann_whitney(a[:size], b[:size]).superiority - 0.5
        seen = abs(won) * size / math.sqrt((2 * size + 1) / 12)
        if share == 1:
            return float(seen >= needed)
        drift = needed + float(ndtri(PLANNED))
        missing = needed - seen * math.sqrt(share) - drift * (1 - share)
        return float(ndtr(-missing / math.sqrt(1 - share)))

    def _adjusted(self, least: float) -> float:
        """Return q, the chance that some look of the design yields such a p or less."""
        return least if len(self.sizes) == 1 else null_law(self.sizes).chance(least)


def _p_least_favourable(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the untied p with ties broken towards an equal share of pairs won."""
    one, other = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)
    lost, tied = int((one > other).sum()), int((one == other).sum())
    return float(p_by_lost_pairs(len(a), len(b))[lost_doubled(lost, tied, len(a) * len(b))])


def lost_doubled(lost: int, tied: int, num_pairs: int) -> int:
    """Return twice the pairs lost, those tied given where it brings the share nearest to ½."""
    return min(max(num_pairs, 2 * lost), 2 * (lost + tied))


class NullLaw(NamedTuple):
    """The joint law of the least p so far, if both arms are alike.

    Attributes:
        least: min(p_1, …, p_k) at each look, (outcomes, K), in the order of the last.
        weights: Probability of each outcome, (outcomes,).
        below: Their running sums.
        exact: Whether all outcomes are counted.
    """

    least: Array
    weights: Array
    below: Array
    exact: bool

    def chance(self, least: float) -> float:
        """Return P0(least p of all looks <= this), (1 + count) / (1 + N) where simulated."""
        count = int(np.searchsorted(self.least[:, -1], least, side="right"))
        if not self.exact:
            return (1 + count) / (1 + len(self.weights))
        return min(1.0, float(self.below[count - 1])) if count else 0.0


@lru_cache(maxsize=32)
def null_law(sizes: tuple[int, ...]) -> NullLaw:
    """Return the law of a design, exact for small ones."""
    exact = _num_states(sizes) <= MOST_STATES
    lost, weights = _counted(sizes) if exact else (simulated_losses(sizes), None)
    p_values = [p_by_lost_pairs(n, n)[2 * lost[:, k]] for k, n in enumerate(sizes)]
    least = np.minimum.accumulate(np.stack(p_values, axis=1), axis=1)
    order = np.argsort(least[:, -1])
    weights = np.full(len(least), 1 / len(least)) if weights is None else weights[order]
    return NullLaw(least[order], weights, np.cumsum(weights), exact)


def _num_states(sizes: tuple[int, ...]) -> int:
    """Return a bound on the states of the exact count."""
    steps = np.diff((0, *sizes))
    placed = math.prod(int(step + 1) ** 2 for step in steps)
    return placed * math.prod(n * n + 1 for n in sizes)


def _counted(sizes: tuple[int, ...]) -> tuple[Losses, Array]:
    """Return all vectors of pairs lost by A at the looks, (outcomes, K), and their probabilities.

    Ranks are dealt from the best to the worst. A state is how many runs of each arm have been
    placed that arrive at each look, and the pairs lost so far; its value is the number of ways.
    """
    steps = [int(step) for step in np.diff((0, *sizes))]
    num_looks = len(sizes)
    none = (0,) * num_looks
    states: Counter[tuple[tuple[int, ...], ...]] = Counter({(none, none, none): 1})
    for _ in range(2 * sizes[-1]):
        following: Counter[tuple[tuple[int, ...], ...]] = Counter()
        for (of_a, of_b, lost), ways in states.items():
            for k in range(num_looks):
                if of_a[k] < steps[k]:  # it loses to every run of B that is better, at each look
                    losses = tuple(
                        count + sum(of_b[: j + 1]) * (j >= k) for j, count in enumerate(lost)
                    )
                    more = (*of_a[:k], of_a[k] + 1, *of_a[k + 1 :])
                    following[more, of_b, losses] += ways
                if of_b[k] < steps[k]:
                    more = (*of_b[:k], of_b[k] + 1, *of_b[k + 1 :])
                    following[of_a, more, lost] += ways
        states = following
    total = sum(states.values())
    outcomes = np.array([lost for _, _, lost in states], dtype=np.int64)
    return outcomes, np.array([ways / total for ways in states.values()])


def simulated_losses(sizes: Sequence[int], num: int = NUM_SIMULATED, *, seed: int = 0) -> Losses:
    """Return the pairs that A loses at each look if both arms are alike, (num, K).

    Drawn uniformly; for any other distribution without ties the law is the same.
    """
    generator = np.random.default_rng(seed)
    rows = max(1, 2_000_000 // sizes[-1] ** 2)
    found = []
    for start in range(0, num, rows):
        scores = generator.random((min(rows, num - start), 2, sizes[-1]))
        found.append(lost_at_looks(scores[:, 0], scores[:, 1], sizes))
    return np.concatenate(found)


def lost_at_looks(a: Array, b: Array, sizes: Sequence[int]) -> Losses:
    """Return the pairs that A loses at each look, (N, n_K) twice to (N, K)."""
    columns, lost, before = [], np.zeros(len(a), dtype=np.int64), 0
    for size in sizes:
        newer = a[:, before:size, None] > b[:, None, :size]
        older = a[:, :before, None] > b[:, None, before:size]
        lost = lost + newer.sum((1, 2)) + older.sum((1, 2))
        columns.append(lost)
        before = size
    return np.stack(columns, axis=1)
