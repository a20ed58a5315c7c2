"""Cells, the units of a study's work, and what is known of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.randomness import derive_seed
from harness.run.runner import Outcome
from harness.study.space import Point

Phase = Literal["search", "confirm"]
CellState = Literal["waiting", "running", "complete", "failed"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One unit of work that a study expects.

    Attributes:
        key: Unique within its queue; decides what is missing after an interruption.
        point: Values of the tuned parameters; None where the sampler is to suggest them.
        seeds: Training seeds, one run each.
        trial: The number shown to people.
    """

    key: str
    point: Point | None
    seeds: list[int]
    trial: int


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """What is known of a cell.

    Attributes:
        cell: The unit of work; its point is filled in once it runs.
        state: Whether it waits, runs, has a recorded result, or failed with an error.
        outcome: How it ended, None before.
        reason: Why it did not finish.
        value: The objective on validation images, mean over its seeds; None without a score.
        scores: Means over its seeds of all scores at the full budget, by protocol key.
        run_ids: Seed -> MLflow run.
        seconds: From claim to end.
        ended: When that was, in seconds since 1970; None before.
    """

    cell: Cell
    state: CellState
    outcome: Outcome | None = None
    reason: str | None = None
    value: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    run_ids: Mapping[int, str] = field(default_factory=dict)
    seconds: float | None = None
    ended: float | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ("complete", "failed")


def ended_runs(cells: Sequence[CellRecord]) -> list[str]:
    """Return the runs of the cells that have ended, in order."""
    return [run_id for cell in cells if cell.is_done for run_id in cell.run_ids.values()]


def settings_hash(point: Mapping[str, Any]) -> str:
    """Return a short name for a point, the same in every process."""
    return f"{derive_seed(0, json.dumps(point, sort_keys=True)):016x}"[:8]
