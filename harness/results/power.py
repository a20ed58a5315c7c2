"""What a plan can find at all, told before anything is spent on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.errors import HarnessError
from harness.results.factors import FactorArm, marginal_effects
from harness.results.spelling import counted, p_text
from harness.statistics import SIGNIFICANCE, Looks, smallest_holm_p, smallest_shift
from harness.study.arm import Arm
from harness.study.study import StudyConfig

POWER = 0.8


def attainable(study: StudyConfig, arms: Sequence[Arm]) -> tuple[int, float | None]:
    """Return how many tests Holm's adjustment is over, and the least p after it; None without."""
    if study.primary == "marginal" and not study.descriptive:
        # Any scores that are all apart will do: the level compared wins in every stratum.
        made = [
            FactorArm(name=arm.name, levels=arm.levels, costs=_apart(study, index), scores=())
            for index, arm in enumerate(arms)
        ]
        effects = marginal_effects(made, study.factors, study.baseline_levels)
        return len(effects), min((effect.smallest_p for effect in effects), default=None)
    num_tests = len(study.pairs(arms))
    least = smallest_holm_p(Looks(study.confirm.sizes), num_tests) if num_tests else None
    return num_tests, least


def is_underpowered(least: float | None) -> bool:
    """Return whether no result could resolve anything, from the least p after adjustment."""
    return least is not None and least >= SIGNIFICANCE


def power_of(study: StudyConfig, arms: Sequence[Arm]) -> dict[str, Any]:
    """Return what a plan can find, as JSON values; None where nothing is tested.

    `num_tests`: how many comparisons Holm's adjustment is over. `smallest_p`: the least p after it.
    `looks`: seeds per arm at each look. `can_decide`: which looks can resolve one comparison while
    none other is resolved. `smallest_shift`: the difference that the last look finds with 80 %
    power under that level, in standard deviations of a run; None where it finds none or the test
    is one of marginal effects. It is simulated, which takes a second or so.
    """
    num_tests, least = attainable(study, arms)
    facts: dict[str, Any] = {
        "num_tests": num_tests,
        "smallest_p": least,
        "looks": list(study.confirm.sizes),
        "can_decide": None,
        "smallest_shift": None,
    }
    if pairs := study.pairs(arms):
        looks, alpha = Looks(study.confirm.sizes), SIGNIFICANCE / len(pairs)
        shift = smallest_shift(looks, alpha=alpha, power=POWER)
        facts["can_decide"] = list(looks.can_decide(alpha))
        facts["smallest_shift"] = shift if shift < float("inf") else None
    return facts


def check_power(study: StudyConfig, arms: Sequence[Arm], *, all_the_same: str = "") -> None:
    """Refuse a plan that no result whatever could resolve.

    Args:
        study: The plan.
        arms: Its arms.
        all_the_same: The option that starts it nevertheless, if there is one.

    Raises:
        HarnessError: The least p that it can attain after Holm's adjustment is not below 5 %.
    """
    num_tests, least = attainable(study, arms)
    if not is_underpowered(least):
        return
    raise HarnessError(
        f"confirm.seeds = {study.confirm.seeds} with {counted(num_tests, 'test')}: the least p "
        f"that any result could have is {p_text(least)} after Holm's adjustment, so nothing can be "
        "resolved; give more seeds or fewer arms, name descriptive = true or, of a product of "
        "factors, primary = 'marginal'"
        + f", or start it all the same with {all_the_same}"
        * bool(all_the_same)
    )


def _apart(study: StudyConfig, index: int) -> list[float]:
    first = index * study.confirm.seeds
    return [float(first + seed) for seed in range(study.confirm.seeds)]
