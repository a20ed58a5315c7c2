"""Where studies stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.records.workspace import Workspace
from harness.results.summary import StudySummary, summarise
from harness.study.study import StudyConfig
from harness.work.board import ArmState, open_study
from harness.work.queue import Storage


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """A study's summary so far and what is left.

    Attributes:
        summary: Arms, outcomes and comparisons.
        running: Runs that are being trained now, "arm phase trial".
        remaining_seconds: What searches and confirm runs that have not ended will take one after
            another, judged by the same arm's that have; None if none has or nothing is left.
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
    return Storage(workspace, create=False).names() if Storage.exists(workspace) else []


def read_status(name: str, workspace: Workspace) -> StudyStatus:
    """Return where a study stands.

    Raises:
        HarnessError: There is no such study.
    """
    opened = open_study(name, workspace)
    definition, states = opened.definition, opened.board.states()
    ledger = opened.note_display(states, "harness status")
    summary = summarise(
        name,
        definition.study,
        states,
        metric=definition.metric,
        floor=definition.floor,
        ledger=ledger,
    )
    running = tuple(
        f"{state.arm.name} {phase} {record.cell.trial}"
        for state in states
        for phase, records in (("search", state.search), ("confirm", state.confirm))
        for record in records
        if record.state == "running"
    )
    remaining = _remaining_seconds(definition.study, states)
    return StudyStatus(summary=summary, running=running, remaining_seconds=remaining)


def _remaining_seconds(study: StudyConfig, states: Sequence[ArmState]) -> float | None:
    """Judge what is left by what has ended, in units of a full budget: None if nothing has."""
    share = study.search.budget_share * study.search.seeds
    per_arm = []
    for state in states:
        search = [record.seconds / share for record in state.search if record.seconds]
        confirm = [record.seconds for record in state.confirm if record.seconds]
        per_arm.append(confirm or search)
    ended = [seconds for arm in per_arm for seconds in arm]
    if not ended:
        return None
    remaining = 0.0
    for state, own in zip(states, per_arm, strict=True):
        known = own or ended
        search_left = sum(not record.is_done for record in state.search)
        confirm_left = sum(not record.is_done for record in state.confirm)
        if not state.search_done:
            confirm_left = study.confirm.seeds
        remaining += (search_left * share + confirm_left) * sum(known) / len(known)
    return remaining or None
