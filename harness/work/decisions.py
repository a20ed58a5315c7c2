"""What confirm runs have decided so far, and where more of them are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.statistics import SIGNIFICANCE, Looks, holm
from harness.study.comparisons import Pair

Costs = Mapping[str, Sequence[float]]
"""Arm -> scores of its ended confirm runs in the order of their seeds; see `harness.statistics`."""


def seeds_needed(
    arms: Sequence[str], pairs: Sequence[Pair], sizes: tuple[int, ...], costs: Costs
) -> dict[str, int]:
    """Return how many seeds every arm is to be confirmed on, from what its runs have come to.

    All arms get those of the first look. A comparison that is neither resolved nor futile takes
    both of its arms to the next.
    """
    needed = dict.fromkeys(arms, sizes[0])
    if len(sizes) == 1:
        return needed
    looks = Looks(sizes)
    both = [(costs.get(pair.arm, ()), costs.get(pair.reference, ())) for pair in pairs]
    tests = [looks.p_value(a, b) for a, b in both]
    adjusted = holm([1.0 if test is None else test.p_value for test in tests])
    for pair, (a, b), test, p_holm in zip(pairs, both, tests, adjusted, strict=True):
        if test is None or test.look == len(sizes) or p_holm <= SIGNIFICANCE:
            continue
        size = sizes[test.look - 1]
        if not looks.futile(a[:size], b[:size], SIGNIFICANCE):
            for arm in (pair.arm, pair.reference):
                needed[arm] = max(needed[arm], sizes[test.look])
    return {arm: max(number, _reached(costs, arm, sizes)) for arm, number in needed.items()}


def _reached(costs: Costs, arm: str, sizes: tuple[int, ...]) -> int:
    """Return the seeds of the last look that an arm has already been taken to."""
    return min((size for size in sizes if size >= len(costs.get(arm, ()))), default=sizes[-1])
