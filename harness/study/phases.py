"""The two phases of a study: how settings are found, and how arms are compared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.config import Config, Count
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
