"""Where studies stand."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.records.workspace import Workspace
from harness.results.summary import StudySummary, summary_of
from harness.study.study import StudyConfig
from harness.work.board import ArmState, OpenStudy, open_study
from harness.work.notes import note_display

REFRESH_SECONDS = 3.0


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


def read_status(name: str, workspace: Workspace) -> StudyStatus:
    """Return where a study stands.

    Raises:
        HarnessError: There is no such study.
    """
    opened = open_study(name, workspace)
    return _status(opened, opened.board.states(), "harness status")


def follow(name: str, workspace: Workspace) -> Iterator[StudyStatus]:
    """Look at a study every few seconds and yield where it stands, until it is complete.

    Where nothing has changed the same object comes again, and nothing is computed.

    Raises:
        HarnessError: There is no such study, or no more.
    """
    opened = open_study(name, workspace)
    seen: Sequence[ArmState] = ()
    while True:
        states = opened.board.states()
        if states != seen:
            seen, status = states, _status(opened, states, "harness watch")
        yield status
        if status.summary.complete:
            return
        time.sleep(REFRESH_SECONDS)
        definition = opened.storage.studies.definition(name)
        if definition != opened.definition:  # it was extended, or is gone
            opened = open_study(name, workspace)


def _status(opened: OpenStudy, states: Sequence[ArmState], shown_by: str) -> StudyStatus:
    """Return where a study stands, and note that its test scores are shown."""
    ledger = note_display(opened, states, shown_by)
    summary = summary_of(opened, states, ledger)
    running = tuple(
        f"{state.arm.name} {phase} {record.cell.trial}"
        for state in states
        for phase, records in (("search", state.search), ("confirm", state.confirm))
        for record in records
        if record.state == "running"
    )
    remaining = _remaining_seconds(opened.study, states)
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
