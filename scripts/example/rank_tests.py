"""Tests and intervals of two arms, counted out or searched on a grid; costs: less is better."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
from scipy.stats import f, norm, rankdata, trim_mean

Array = np.ndarray
LEVEL = 0.05


def wins(a: Array, b: Array) -> float:
    """Return the share of pairs that A wins, ties half."""
    return float(np.mean(a[:, None] < b) + np.mean(a[:, None] == b) / 2)


def deals(a: Array, b: Array) -> tuple[float, Array]:
    """Return A's sum of ranks, and that of every way to deal all runs into such groups."""
    ranks = rankdata([*a, *b])
    chosen = itertools.combinations(range(len(ranks)), len(a))
    return float(ranks[: len(a)].sum()), ranks[np.array(list(chosen))].sum(axis=1)


def two_sided(a: Array, b: Array) -> float:
    """Return the exact p of rank sums at least as far from their mean, ties counted as they are."""
    seen, dealt = deals(a, b)
    middle = dealt.mean()
    return float(np.mean(abs(dealt - middle) >= abs(seen - middle) - 1e-9))


def no_worse(better: Array, other: Array, margin: float) -> float:
    """Return the exact one-sided p against costs being worse by the margin or more."""
    seen, dealt = deals(better - margin, other)
    return float(np.mean(dealt <= seen + 1e-9))


@cache
def least_p(n: int, m: int) -> float:
    """Return the p of two groups of which one wins every pair."""
    return two_sided(np.arange(n), n + np.arange(m))


@cache
def newcombe(estimate: float, n: int, m: int) -> tuple[float, float]:
    """Return the interval of P(A < B): the grid points within z standard errors of their own."""
    theta = np.linspace(0, 1, 1_000_001)
    k = (n + m) / 2 - 1
    spread = 1 + k * (1 - theta) / (2 - theta) + k * theta / (1 + theta)
    error = norm.ppf(0.975) * np.sqrt(theta * (1 - theta) * spread / (n * m))
    inside = theta[np.abs(estimate - theta) <= error + 1e-12]
    return float(inside.min()), float(inside.max())


def shifts(a: Array, b: Array, level: float = LEVEL) -> tuple[float, float]:
    """Return the ends of the shifts that the test accepts, tried between the differences."""
    ends = np.sort((a[:, None] - b).ravel())
    middles = (ends[1:] + ends[:-1]) / 2
    kept = [place for place, shift in enumerate(middles) if two_sided(a - shift, b) > level]
    return float(ends[kept[0]]), float(ends[kept[-1] + 1])


def hedges(a: Array, b: Array) -> float:
    """Return the difference of means over the pooled sd, corrected for few runs."""
    df = len(a) + len(b) - 2
    pooled = math.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / df)
    correction = math.gamma(df / 2) / math.gamma((df - 1) / 2) / math.sqrt(df / 2)
    return float((a.mean() - b.mean()) / pooled * correction)


def interquartile(scores: Array) -> tuple[float, float, float]:
    """Return the mean of the middle half and its bootstrap interval, over all resamples."""
    resamples = np.array(list(itertools.product(scores, repeat=len(scores))))
    means = np.sort(trim_mean(resamples, 0.25, axis=1))
    cut = math.floor(0.025 * len(means))
    return float(trim_mean(scores, 0.25)), float(means[cut]), float(means[-1 - cut])


def sign_test(better: int, runs: int) -> float:
    """Return the chance of so many better ones or more, if each is as likely as not."""
    outcomes = itertools.product((0, 1), repeat=runs)
    return float(np.mean([sum(each) >= better for each in outcomes]))


def spread_ratio(a: Array, b: Array) -> tuple[float, float, float]:
    """Return how many times as far A spreads as B, with the 95 % interval for normal scores."""
    ratio = a.std(ddof=1) / b.std(ddof=1)
    ends = (f.ppf(level, len(a) - 1, len(b) - 1) for level in (0.975, 0.025))
    low, high = (float(ratio / math.sqrt(end)) for end in ends)
    return float(ratio), low, high


@cache
def smallest_shift(runs: int, level: float = LEVEL, power: float = 0.8) -> float:
    """Return the difference of normal arms, in sds, that so many runs each find with this power.

    By simulation, to about 0.02. A less the difference loses the pairs that are further apart.
    """
    _, sums = deals(np.arange(runs), np.arange(runs, 2 * runs))
    lost = sums - sums.min()
    allowed = [
        count
        for count in range(runs * runs // 2)
        if np.mean(abs(lost - lost.mean()) >= lost.mean() - count) <= level
    ]
    a, b = np.random.default_rng(1).normal(size=(2, 40_000, runs))
    apart = np.sort((a[:, :, None] - b[:, None]).reshape(len(a), -1), axis=1)
    return float(np.quantile(apart[:, -1 - max(allowed)], power))
