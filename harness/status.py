"""Where studies stand: reading only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.board import Board
from harness.config import parse
from harness.errors import HarnessError
from harness.search import Storage
from harness.study import StudyConfig
from harness.summary import StudySummary, summarise
from harness.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """A study's summary so far and what is left.

    Attributes:
        summary: Arms, outcomes and comparisons.
        running: Runs that are being trained now, "arm phase trial".
        remaining_seconds: What the waiting and running cells will take one after another, judged by
            the mean of those that have ended in the same arm and phase; None if nothing has.
    """

    summary: StudySummary
    running: tuple[str, ...]
    remaining_seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return self.summary.to_json() | {
            "running": list(self.running),
            "remaining_seconds": self.remaining_seconds,
        }


def list_studies(workspace: Workspace) -> list[str]:
    """Return the studies' names; none where there is no database yet."""
    try:
        return Storage(workspace, create=False).names()
    except HarnessError:
        return []


def read_status(name: str, workspace: Workspace) -> StudyStatus:
    """Return where a study stands.

    Raises:
        HarnessError: There is no such study.
    """
    storage = Storage(workspace, create=False)
    definition = storage.require_definition(name)
    study = parse(StudyConfig, definition["study"], f"the record of study {name!r}")
    states = Board(storage, name, study).states()
    summary = summarise(name, study, states, metric=definition["metric"], floor=definition["floor"])
    running = tuple(
        f"{state.arm.name} {phase} {record.cell.trial}"
        for state in states
        for phase, records in (("search", state.search), ("confirm", state.confirm))
        for record in records
        if record.state == "running"
    )
    remaining = 0.0
    for state in states:
        for records in (state.search, state.confirm):
            ended = [record.seconds for record in records if record.is_done and record.seconds]
            left = sum(not record.is_done for record in records)
            if left and ended:
                remaining += left * sum(ended) / len(ended)
    return StudyStatus(summary=summary, running=running, remaining_seconds=remaining or None)
