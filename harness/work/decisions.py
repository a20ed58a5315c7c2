"""What confirm runs have decided so far, and where more of them are needed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from harness.statistics import SIGNIFICANCE, Looks, holm
from harness.study.comparisons import Pair

Costs = Mapping[str, Sequence[float]]
"""Arm -> scores of its ended confirm runs in the order of their seeds; see `harness.statistics`."""


def seeds_needed(
    arms: Sequence[str], pairs: Sequence[Pair], sizes: tuple[int, ...], costs: Costs
) -> dict[str, int]:
    """Return how many seeds every arm is to be confirmed on, from what its runs have come to.

    All arms get those of the first look. Once all that were taken to a look have ended it, and not
    before, each comparison that is neither resolved nor futile takes both of its arms to the next.
    So scores alone decide, and not the order in which runs happen to end.

    Args:
        arms: All of the study.
        pairs: What is tested.
        sizes: Seeds per arm at the looks.
        costs: Of every arm that has anything to confirm, or may still have.
    """
    needed = dict.fromkeys(arms, sizes[0])
    for size, following in itertools.pairwise(sizes):
        active = [arm for arm in costs if needed[arm] == size]
        if any(len(costs[arm]) < size for arm in active):
            break
        so_far = {arm: costs[arm][: needed[arm]] for arm in costs}
        for pair in _undecided(pairs, Looks(sizes), so_far):
            needed[pair.arm] = needed[pair.reference] = following
    return needed


def _undecided(pairs: Sequence[Pair], looks: Looks, costs: Costs) -> Iterable[Pair]:
    """Yield the comparisons of arms that have runs and are neither resolved nor futile."""
    sides = [(costs.get(pair.arm, ()), costs.get(pair.reference, ())) for pair in pairs]
    tests = [looks.p_value(a, b) for a, b in sides]
    adjusted = holm([1.0 if test is None else test.p_value for test in tests])
    for pair, (a, b), test, p_holm in zip(pairs, sides, tests, adjusted, strict=True):
        if test is None or p_holm <= SIGNIFICANCE:
            continue
        size = looks.sizes[test.look - 1]
        if not looks.futile(a[:size], b[:size], SIGNIFICANCE):
            yield pair
