"""What confirm runs have decided so far, and where more of them are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.statistics import SIGNIFICANCE, Looks, SequentialTest, holm
from harness.study.comparisons import Pair

Costs = Mapping[str, Sequence[float]]
"""Arm -> scores of its ended confirm runs in the order of their seeds; see `harness.statistics`."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How a comparison stands.

    Attributes:
        pair: What is compared.
        test: At the last look that both arms have reached; None before the first.
        p_holm: Its p adjusted for all comparisons of the study, those without a test at p = 1.
        alpha: The level that Holm's procedure tests it at.
        futile: Whether no outcome of further runs could resolve it.
    """

    pair: Pair
    test: SequentialTest | None
    p_holm: float
    alpha: float
    futile: bool

    @property
    def is_resolved(self) -> bool:
        """Whether the arms differ, at 5 % after Holm's adjustment."""
        return self.p_holm < SIGNIFICANCE


def decide(pairs: Sequence[Pair], sizes: tuple[int, ...], costs: Costs) -> tuple[Decision, ...]:
    """Test every pair at the last look that it has reached.

    Args:
        pairs: All of the study's comparisons, between which Holm's adjustment divides the level.
        sizes: Seeds per arm at each look.
        costs: What the arms' runs have come to.
    """
    looks = Looks(sizes)
    both = [(costs.get(pair.arm, ()), costs.get(pair.reference, ())) for pair in pairs]
    tests = [looks.p_value(a, b) for a, b in both]
    p_values = [1.0 if test is None else test.p_value for test in tests]
    adjusted = holm(p_values)
    order = sorted(range(len(pairs)), key=p_values.__getitem__)
    num_resolved = sum(p < SIGNIFICANCE for p in adjusted)
    ranks = {index: min(rank, num_resolved) for rank, index in enumerate(order)}
    return tuple(
        Decision(
            pair=pair,
            test=test,
            p_holm=p_holm,
            alpha=SIGNIFICANCE / (len(pairs) - ranks[index]),
            futile=test is not None and looks.futile(*both[index], SIGNIFICANCE),
        )
        for index, (pair, test, p_holm) in enumerate(zip(pairs, tests, adjusted, strict=True))
    )


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
    for decision in decide(pairs, sizes, costs):
        done = 0 if decision.test is None else decision.test.look
        if done < len(sizes) and not decision.is_resolved and not decision.futile:
            for arm in (decision.pair.arm, decision.pair.reference):
                needed[arm] = max(needed[arm], sizes[done])
    return {arm: max(number, _reached(costs, arm, sizes)) for arm, number in needed.items()}


def _reached(costs: Costs, arm: str, sizes: tuple[int, ...]) -> int:
    """Return the seeds of the last look that an arm has already been taken to."""
    return min((size for size in sizes if size >= len(costs.get(arm, ()))), default=sizes[-1])
