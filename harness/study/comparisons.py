"""Which arms a study compares, all of it chosen before the first run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import unknown_name
from harness.study.arm import Arm

Factors = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two arms that are compared.

    Attributes:
        arm: The arm.
        reference: What it is compared with: the baseline, unless a contrast says otherwise.
        contrast: The contrast that asks for it; empty against the baseline.
    """

    arm: str
    reference: str
    contrast: str = ""


def check_contrast(text: str, factors: Factors) -> tuple[str, tuple[str, ...]]:
    """Return the factor that a contrast steps, and those within whose levels it does.

    Args:
        text: `FACTOR within OTHER, …`: all other factors of the study are named.
        factors: The study's.

    Raises:
        ValueError: It is not of that form, or names other factors.
    """
    form = re.fullmatch(r"\s*(\w+)\s+within\s+(\w+(?:\s*,\s*\w+)*)\s*", text)
    if form is None:
        raise ValueError(f"contrasts: {text!r} is not of the form 'FACTOR within OTHER'")
    step, within = form[1], tuple(re.split(r"\s*,\s*", form[2]))
    for factor in (step, *within):
        if factor not in factors:
            raise ValueError(str(unknown_name("factor in contrasts", factor, factors)))
    others = set(factors) - {step}
    if set(within) != others or len(within) != len(others):
        raise ValueError(
            f"contrasts: {text!r} must name every other factor once: {step} within "
            f"{', '.join(factor for factor in factors if factor != step)}"
        )
    return step, within


def planned_pairs(
    arms: Sequence[Arm], baseline: str, contrasts: Sequence[str], levels: Mapping[str, Any]
) -> tuple[Pair, ...]:
    """Return every comparison of a study: its primary tests.

    Args:
        arms: The study's.
        baseline: The name of that which others are compared with.
        contrasts: As `check_contrast` reads them.
        levels: The baseline's level of every factor, which a contrast steps away from.
    """
    pairs = [Pair(arm=arm.name, reference=baseline) for arm in arms if arm.name != baseline]
    known = {(pair.arm, pair.reference) for pair in pairs}
    for text in contrasts:
        step, _ = check_contrast(text, levels)
        for one, other in itertools.permutations(arms, 2):
            rest = {factor: level for factor, level in one.levels.items() if factor != step}
            if (
                all(other.levels[factor] == level for factor, level in rest.items())
                and other.levels[step] == levels[step]
                and (one.name, other.name) not in known
            ):
                known.add((one.name, other.name))
                pairs.append(Pair(arm=one.name, reference=other.name, contrast=text))
    return tuple(pairs)
