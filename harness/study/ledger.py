"""What a study remembers of its own plan: entries are added, never changed or removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.config import Config
from harness.study.study import StudyConfig

BEARING = ("confirm.seeds", "search.trials_per_arm", "arms")
"""What must not grow once test scores were seen: an answer would depend on them."""


class Entry(Config):
    """Something that bears on what a study's p-values mean."""

    kind: Literal["registered", "extended", "displayed"]
    """The first plan; a longer one; or test scores were shown to somebody."""
    time: float
    """Seconds since 1970."""
    confirmed: dict[str, int] = {}
    """Arm -> confirm runs that had ended by then."""
    study: StudyConfig | None = None
    """The plan, of the first two kinds."""
    source_sha256: str = ""
    """Of the study file's text."""
    shown_by: str = ""
    """The command, of the third kind."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """A plan that became longer.

    Attributes:
        entry: When.
        changes: What became longer, in words, by key.
        seen: The last time before it that test scores were shown; None if they never were.
    """

    entry: Entry
    changes: Mapping[str, str]
    seen: Entry | None

    @property
    def spoils(self) -> bool:
        """Whether the study's tests do not have their level any more."""
        return self.seen is not None and any(key in BEARING for key in self.changes)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """All entries, in order of time; none of a study that is older than this record."""

    entries: tuple[Entry, ...] = ()

    @property
    def registered(self) -> Entry | None:
        """The first plan."""
        return next((entry for entry in self.entries if entry.kind == "registered"), None)

    @property
    def plan(self) -> StudyConfig | None:
        """The plan as it was last put down."""
        plans = [entry.study for entry in self.entries if entry.study is not None]
        return plans[-1] if plans else None

    @property
    def displays(self) -> tuple[Entry, ...]:
        """Every time that test scores were shown of more runs than before."""
        return tuple(entry for entry in self.entries if entry.kind == "displayed")

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """Every extension of the plan."""
        found: list[Extension] = []
        plan: StudyConfig | None = None
        seen: Entry | None = None
        for entry in self.entries:
            if entry.kind == "displayed":
                seen = entry
            elif entry.study is not None:
                if plan is not None:
                    changes = _changes(plan, entry.study)
                    found.append(Extension(entry=entry, changes=changes, seen=seen))
                plan = entry.study
        return tuple(found)

    @property
    def spoilt(self) -> Extension | None:
        """The first extension after which p-values would be too small to believe; or None."""
        return next((each for each in self.extensions if each.spoils), None)

    def is_news(self, confirmed: Mapping[str, int]) -> bool:
        """Return whether showing test scores of so many runs now would show any for the first time.

        Args:
            confirmed: Arm -> confirm runs that have ended.
        """
        last = self.displays[-1].confirmed if self.displays else {}
        return any(number != last.get(arm, 0) for arm, number in confirmed.items())


def _changes(old: StudyConfig, new: StudyConfig) -> dict[str, str]:
    """Return what an extension has made longer."""
    changes = {}
    counts: Sequence[tuple[str, int | None, int | None]] = (
        ("confirm.seeds", old.confirm.seeds, new.confirm.seeds),
        ("search.trials_per_arm", old.num_trials, new.num_trials),
    )
    for key, had, has in counts:
        if had != has:
            changes[key] = f"{key} from {had} to {has}"
    had_arms = {arm.name for arm in old.arms()}
    if added := [arm.name for arm in new.arms() if arm.name not in had_arms]:
        changes["arms"] = f"arms added: {', '.join(added)}"
    return changes
