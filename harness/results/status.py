"""Where studies stand."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.records.workspace import Workspace
from harness.results.page import page_of
from harness.results.summary import StudySummary, summary_of
from harness.study.ledger import Entry, Ledger
from harness.study.study import StudyConfig
from harness.work import standing
from harness.work.board import ArmState, OpenStudy, open_study
from harness.work.display import Event
from harness.work.notes import display_of, note_display, note_repeats
from harness.work.standing import Page, Standing

SHOWN_BY = "harness status"
REFRESH_SECONDS = 3.0
REST = 20  # between looks at where a study stands, in their own length: 5 % of the time


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

    def page(self) -> Page:
        """Return what is printed."""
        page = page_of(self.summary)
        below = [f"Running: {run}" for run in self.running]
        if self.remaining_seconds is not None:
            minutes = self.remaining_seconds / 60
            left = f"about {minutes:.0f} minutes" if minutes >= 1.5 else "about a minute or less"
            below.append(f"Left: {left} of single-worker time.")
        return replace(page, sentences=[*page.sentences, *below])

    def standing(self, display: Entry | None = None) -> Standing:
        """Return what may be kept, with the ledger's entry once it is shown."""
        noted = None if display is None else display.model_dump(mode="json")
        return Standing(page=self.page(), values=self.to_json(), display=noted)


def read_status(name: str, workspace: Workspace) -> StudyStatus:
    """Return where a study stands, note that its test scores are shown, and keep it.

    Raises:
        HarnessError: There is no such study.
    """
    stamp = standing.stamp(name, workspace)  # before anything is read that may change
    opened = open_study(name, workspace)
    states = opened.board.states()
    status = _status(opened, states, note_display(opened, states, SHOWN_BY))
    _keep(opened, workspace, stamp, states, status)
    return status


def keep_standing(opened: OpenStudy, workspace: Workspace) -> None:
    """Keep where a study stands, so that `harness status` can say it at once.

    Somebody else may have extended it since it was opened.
    """
    stamp = standing.stamp(opened.name, workspace)
    if stamp is None or standing.is_kept(opened.name, workspace, stamp):
        return
    definition = opened.storage.studies.definition(opened.name)
    if definition is None:
        return
    if definition != opened.definition:
        opened = OpenStudy.of(opened.name, definition, opened.storage)
    states = opened.board.states()
    ledger = note_repeats(opened, states, opened.storage.studies.ledger(opened.name))
    _keep(opened, workspace, stamp, states, _status(opened, states, ledger))


def try_to_keep(opened: OpenStudy, workspace: Workspace) -> None:
    """Keep where a study stands, unless that fails: no run ends for it."""
    with contextlib.suppress(Exception):
        keep_standing(opened, workspace)


def keeping(
    opened: OpenStudy, workspace: Workspace, show: Callable[[Event], None]
) -> Callable[[Event | None], None]:
    """Return what shows news, and keeps where the study stands where that has changed.

    It is called without news too, now and then.
    """
    next_at = 0.0

    def tell(event: Event | None) -> None:
        nonlocal next_at
        if (started := time.monotonic()) >= next_at:
            try_to_keep(opened, workspace)
            ended = time.monotonic()
            next_at = ended + REST * (ended - started)
        if event is not None:
            show(event)

    return tell


def _keep(
    opened: OpenStudy,
    workspace: Workspace,
    stamp: str | None,
    states: Sequence[ArmState],
    status: StudyStatus,
) -> None:
    if stamp is None or opened.definition.plugins:  # whose code may change
        return
    kept = status.standing(display_of(opened, states, SHOWN_BY))
    standing.keep(opened.name, workspace, stamp, kept)


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
            ledger = note_display(opened, states, "harness watch")
            seen, status = states, _status(opened, states, ledger)
        yield status
        if status.summary.complete:
            return
        time.sleep(REFRESH_SECONDS)
        definition = opened.storage.studies.definition(name)
        if definition != opened.definition:  # it was extended, or is gone
            opened = open_study(name, workspace)


def _status(opened: OpenStudy, states: Sequence[ArmState], ledger: Ledger) -> StudyStatus:
    """Return where a study stands."""
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
