"""What is put into a study's ledger while it is run and read."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from harness.study.ledger import Entry, Ledger
from harness.study.study import StudyConfig
from harness.work.board import ArmState, OpenStudy


def note_display(opened: OpenStudy, states: Sequence[ArmState], shown_by: str) -> Ledger:
    """Note that test scores are about to be shown, if there are new ones.

    Args:
        opened: The study.
        states: Where every arm stands.
        shown_by: The command.

    Returns:
        The ledger with all that was noted.
    """
    ledger = opened.storage.ledger(opened.name)
    confirmed = num_confirmed(states)
    if not ledger.is_news(confirmed):
        return ledger
    entry = Entry(kind="displayed", time=time.time(), confirmed=confirmed, shown_by=shown_by)
    opened.storage.note(opened.name, entry)
    return Ledger(entries=(*ledger.entries, entry))


def register(
    opened: OpenStudy,
    states: Sequence[ArmState],
    source: str | None,
    *,
    known: StudyConfig | None = None,
) -> None:
    """Put a study's plan down before anything of it runs, or that it has become longer.

    Args:
        opened: The study, as its file has it now.
        states: Where every arm stands.
        source: The file's text.
        known: The plan of a study that was started before there were ledgers.
    """
    storage, name, study = opened.storage, opened.name, opened.study
    plan = storage.ledger(name).plan
    confirmed = num_confirmed(states)
    if plan is None and known is not None:
        # Nobody noted who saw what: what has ended counts as seen.
        plan = known
        storage.note(name, Entry(kind="registered", time=time.time(), study=known))
        if any(confirmed.values()):
            by = "a version without a ledger"
            seen = Entry(kind="displayed", time=time.time(), confirmed=confirmed, shown_by=by)
            storage.note(name, seen)
    if plan == study:
        return
    entry = Entry(
        kind="registered" if plan is None else "extended",
        time=time.time(),
        confirmed=confirmed,
        study=study,
        source_sha256=hashlib.sha256(source.encode()).hexdigest() if source else "",
    )
    storage.note(name, entry)


def num_confirmed(states: Sequence[ArmState]) -> dict[str, int]:
    """Return how many confirm runs have ended, by arm."""
    return {state.arm.name: sum(record.is_done for record in state.confirm) for state in states}
