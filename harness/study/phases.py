"""The two phases of a study: how settings are found, and how arms are compared."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from harness.config import Config, Count, Positive
from harness.study.space import Sampler


class SearchConfig(Config):
    """How each arm's best settings are found, on validation statistics."""

    trials_per_arm: Count | None = None
    """Points tried in every arm, its defaults first; omitted: 20 (grid: all its points)."""
    sampler: Sampler = "random"
    """`random`, `tpe`, `qmc` (Sobol) or `grid`."""
    pruner: Literal["none", "median", "halving"] = "none"
    """Whether poor trials stop early."""
    seeds: Count = 1
    """Training seeds per trial; its value is their mean."""
    budget_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the full budget that a search run gets."""


class ConfirmConfig(Config):
    """How the arms are compared: their best settings on fresh seeds, at the full budget."""

    seeds: Count = 5
    """Fresh seeds per arm; with fewer than 4 a side no two-sided p can fall below 0.05."""
    looks: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] | None = None
    """Numbers of seeds at which arms are compared and decided ones stop; omitted: at the end."""
    coverage_margin: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """How much less coverage a better arm may have, at most."""
    smallest_effect: Positive | None = None
    """Smallest difference of the objective that matters; below it arms count as equivalent."""

    @model_validator(mode="before")
    @classmethod
    def _seeds_of_looks(cls, data: Any) -> Any:
        """Let the last look say how many seeds there are."""
        looks = data.get("looks") if isinstance(data, dict) else None
        if not isinstance(looks, list | tuple) or not looks:
            return data
        if data.get("seeds", looks[-1]) != looks[-1]:
            raise ValueError(
                f"seeds = {data['seeds']!r}: the last of looks = {list(looks)} says how many there "
                "are; leave seeds out"
            )
        return {**data, "seeds": looks[-1]}

    @model_validator(mode="after")
    def _looks_increase(self) -> Self:
        looks = self.looks or ()
        if any(one >= other for one, other in itertools.pairwise(looks)):
            raise ValueError(f"looks = {list(looks)}: each must be larger than the one before")
        return self

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of seeds at which arms are compared."""
        return self.looks or (self.seeds,)
