"""What is put into a study's ledger while it is run and read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from harness.errors import HarnessError
from harness.study.arm import Arm
from harness.study.ledger import Entry, Ledger
from harness.study.study import StudyConfig
from harness.work.board import ArmState, OpenStudy
from harness.work.cell import CellRecord

Run: TypeAlias = tuple[str, int]
"""What tells a run on the same data: its settings, or all its scores, as JSON, and its seed."""
Ended: TypeAlias = tuple[str, set[Run], float]
"""The arm of a run, what tells it, and when it ended."""


def register(opened: OpenStudy, source: str | None, *, known: StudyConfig | None = None) -> None:
    """Put a study's plan down before anything of it runs, or that it has become longer.

    Args:
        opened: The study, as its file and what overrides it have it now.
        source: The file's text.
        known: The plan that it was started with, if it was.
    """
    storage, name, study = opened.storage, opened.name, opened.study
    plan, confirmed = storage.studies.ledger(name).plan, num_confirmed(opened)
    if plan is None and known is not None:  # it was started before there were ledgers
        plan = known
        late = Entry(kind="registered", time=time.time(), confirmed=confirmed, study=known)
        storage.studies.note(name, late)
    if plan == study:
        return
    entry = Entry(
        kind="registered" if plan is None else "extended",
        time=time.time(),
        confirmed=confirmed,
        study=study,
        source_sha256=hashlib.sha256(source.encode()).hexdigest() if source else "",
        plan_sha256=_digest(study.model_dump(mode="json")),
    )
    storage.studies.note(name, entry)


def note_display(opened: OpenStudy, states: Sequence[ArmState], shown_by: str) -> Ledger:
    """Note that test scores are about to be shown, if there are new ones.

    Args:
        opened: The study.
        states: Where every arm stands.
        shown_by: The command.

    Returns:
        The ledger with all that was noted.
    """
    ledger, entry = opened.storage.studies.ledger(opened.name), display_of(opened, states, shown_by)
    if entry is None or not ledger.is_news(entry.shown):
        return ledger
    return _add(opened, note_repeats(opened, states, ledger), entry)


def display_of(opened: OpenStudy, states: Sequence[ArmState], shown_by: str) -> Entry | None:
    """Return the entry that tells of a display of test scores; None where there are none."""
    shown = _results(states)
    if not shown:
        return None
    return _entry(opened, kind="displayed", shown=shown, shown_by=shown_by)


def note_opening(opened: OpenStudy, shown_by: str) -> Ledger:
    """Note that pages were opened that show test scores as they come; returns the ledger."""
    ledger = opened.storage.studies.ledger(opened.name)
    confirmed = num_confirmed(opened)
    if any(each.kind == "opened" and each.confirmed == confirmed for each in ledger.entries):
        return ledger
    return _note(opened, ledger, kind="opened", shown_by=shown_by)


def note_retry(opened: OpenStudy, states: Sequence[ArmState], ledger: Ledger) -> Ledger:
    """Note which failed runs are about to be run again, if there are any; returns the ledger."""
    failed: list[str] = []
    for state in states:
        search, confirm = (
            [
                f"{state.arm.name} {phase} {record.cell.trial}"
                for record in records
                if record.state == "failed"
            ]
            for phase, records in (("search", state.search), ("confirm", state.confirm))
        )
        failed += search or confirm  # a search that goes on comes first
    return _note(opened, ledger, kind="retried", runs=", ".join(failed)) if failed else ledger


def note_repeats(opened: OpenStudy, states: Sequence[ArmState], ledger: Ledger) -> Ledger:
    """Note which of a study's confirm runs had ended before under another name, if any had.

    A run is the same where data, settings and seed are, for it is bit for bit the same on a CPU,
    or where seed and all scores are; whoever plans by what came of it has seen its scores.

    Returns:
        The ledger with all that was noted.
    """
    if any(entry.kind == "repeated" for entry in ledger.entries):
        return ledger
    ends = [end for state in states for end in _ends(state.arm, state.confirm)]
    mine = {key: ended for _, keys, ended in ends for key in keys}
    for name in opened.storage.studies.names() if mine else ():
        repeated = [
            arm
            for arm, keys, ended in _ends_elsewhere(opened, name)
            if any(ended < mine.get(key, -math.inf) for key in keys)
        ]
        if repeated:
            runs = ", ".join(f"{arm} {number}" for arm, number in Counter(repeated).items())
            ledger = _note(opened, ledger, kind="repeated", runs=f"study {name!r}: {runs}")
    return ledger


def num_confirmed(opened: OpenStudy) -> dict[str, int]:
    """Return how many confirm runs have ended, by arm, whatever their settings."""
    return {arm: len(records) for arm, records in opened.board.confirmed().items()}


def _note(opened: OpenStudy, ledger: Ledger, **facts: Any) -> Ledger:
    return _add(opened, ledger, _entry(opened, **facts))


def _entry(opened: OpenStudy, **facts: Any) -> Entry:
    return Entry(time=time.time(), confirmed=num_confirmed(opened), **facts)


def _add(opened: OpenStudy, ledger: Ledger, entry: Entry) -> Ledger:
    opened.storage.studies.note(opened.name, entry)
    return Ledger(entries=(*ledger.entries, entry))


def _ends_elsewhere(opened: OpenStudy, name: str) -> list[Ended]:
    """Return which confirm runs of another study on the same data have ended, and when."""
    with contextlib.suppress(HarnessError):  # it needs a plugin, say
        definition = None if name == opened.name else opened.storage.studies.definition(name)
        if definition and definition.dataset_digest == opened.definition.dataset_digest:
            board = OpenStudy.of(name, definition, opened.storage).board
            confirmed = board.confirmed()
            return [end for arm in board.arms for end in _ends(arm, confirmed[arm.name])]
    return []


def _ends(arm: Arm, records: Iterable[CellRecord]) -> Iterator[Ended]:
    """Yield an arm's confirm runs; those that have not ended do so at infinity."""
    for record in records:
        config = arm.config(record.cell.point or {}, seed=0)
        known = {config.model_dump_json(exclude={"dataset"})}
        if record.scores:  # a setting that does nothing makes no other run
            known.add(json.dumps(dict(record.scores), sort_keys=True))
        ended = math.inf if record.ended is None else record.ended
        for seed in record.cell.seeds:
            yield arm.name, {(each, seed) for each in known}, ended


def _results(states: Sequence[ArmState]) -> str:
    """Return a digest of all that confirm runs have come to; empty where none has ended."""
    ended = [
        (state.arm.name, record.cell.key, record.outcome, dict(record.scores))
        for state in states
        for record in state.confirm
        if record.is_done
    ]
    return _digest(ended) if ended else ""


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
