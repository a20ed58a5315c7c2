"""What a study remembers of its own plan: entries are added, never changed or removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.config import Config
from harness.study.study import StudyConfig


class Entry(Config):
    """Something that bears on what a study's p-values mean."""

    kind: Literal["registered", "extended", "retried", "repeated", "displayed", "opened"]
    """The first plan; a longer one; failed runs were run again; its runs were made before, under
    another name; test scores were shown; or MLflow's pages were opened, where they can be seen."""
    time: float
    """Seconds since 1970."""
    confirmed: dict[str, int] = {}
    """Arm -> confirm runs that had ended by then: what MLflow's pages have shown since."""
    study: StudyConfig | None = None
    """The plan, of the first two kinds."""
    source_sha256: str = ""
    """Of the study file's text."""
    plan_sha256: str = ""
    """Of the plan, whatever of it stood in the file."""
    runs: str = ""
    """Which ones were run again, or are repeated, in words."""
    shown: str = ""
    """Digest of the results that were shown."""
    shown_by: str = ""
    """The command."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """A plan that became longer, or failed runs that got another chance.

    Attributes:
        entry: When.
        changes: What is longer, or runs again, in words.
        seen: Whether any confirm run had ended before: its test scores could be looked at.
    """

    entry: Entry
    changes: str
    seen: bool

    @property
    def spoils(self) -> bool:
        """Whether the study's tests do not have their level any more."""
        return self.seen and bool(self.changes)


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
    def extensions(self) -> tuple[Extension, ...]:
        """Every extension of the plan, and every time that failed runs were run again."""
        found: list[Extension] = []
        plan: StudyConfig | None = None
        seen = False
        for entry in self.entries:
            seen = seen or any(entry.confirmed.values())
            changes = entry.runs
            if entry.study is not None:
                changes = "" if plan is None else ", ".join(_changes(plan, entry.study))
            if entry.kind in ("extended", "retried"):
                found.append(Extension(entry=entry, changes=changes, seen=seen))
            plan = entry.study or plan
        return tuple(found)

    @property
    def spoilt(self) -> str:
        """Why p-values would be too small to believe; empty where they are not."""
        for entry in self.entries:
            if entry.kind == "repeated":
                return f"its confirm runs had been made before under another name ({entry.runs})"
        for extension in self.extensions:
            if extension.spoils:
                look = "after a look at its test scores"
                if extension.entry.kind == "retried":
                    return f"failed runs of the study were run again {look} ({extension.changes})"
                return f"the study was extended {look} ({extension.changes})"
        return ""

    @property
    def more_trials(self) -> str:
        """Why nothing is tested that rests on how many trials there are; empty where it may be."""
        added = any("search.trials_per_arm" in each.changes for each in self.extensions)
        return "trials were added to the search" if added else ""

    def is_news(self, shown: str) -> bool:
        """Return whether test scores with this digest, empty where there are none, are new ones."""
        last = next((entry for entry in reversed(self.entries) if entry.kind == "displayed"), None)
        return bool(shown) and (last is None or last.shown != shown)

    def has(self, kind: str) -> bool:
        """Return whether there is any entry of a kind."""
        return any(entry.kind == kind for entry in self.entries)


def _changes(old: StudyConfig, new: StudyConfig) -> list[str]:
    """Return what an extension has made longer: an answer would depend on all of it."""
    counts: Sequence[tuple[str, int | None, int | None]] = (
        ("confirm.seeds", old.confirm.seeds, new.confirm.seeds),
        ("search.trials_per_arm", old.num_trials, new.num_trials),
    )
    changes = [f"{key} from {had} to {has}" for key, had, has in counts if had != has]
    had_arms = {arm.name for arm in old.arms()}
    if added := [arm.name for arm in new.arms() if arm.name not in had_arms]:
        changes.append(f"arms added: {', '.join(added)}")
    return changes
