"""A study removed: its runs in MLflow, their files, and its rows in Optuna's database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.records.experiment import StudyRuns
from harness.records.workspace import Workspace
from harness.work.queue import Storage
from harness.work.rows import Rows
from harness.work.standing import forget


@dataclass(frozen=True, kw_only=True)
class Removal:
    """A study that may be removed, and what that frees.

    Attributes:
        name: Its name.
        num_runs: Runs in MLflow.
        num_bytes: Of files on this machine: artifacts and checkpoints.
        elsewhere: Folders of its files that are not this workspace's, and stay.
        shown: Whether its test scores have been shown: the memory of it goes too.
    """

    name: str
    num_runs: int
    num_bytes: int
    elsewhere: tuple[Path, ...]
    shown: bool
    _rows: Rows
    _runs: StudyRuns | None
    _workspace: Workspace

    @classmethod
    def plan(cls, name: str, workspace: Workspace) -> Removal:
        """Look at a study; nothing is written.

        Raises:
            HarnessError: There is no such study, or it is running somewhere.
        """
        rows = Rows.find(name, Storage(workspace, create=False))
        rows.check_idle()
        runs = rows.runs(workspace)
        return cls(
            name=name,
            num_runs=0 if runs is None else runs.number,
            num_bytes=0 if runs is None else runs.num_bytes(),
            elsewhere=() if runs is None else tuple(runs.elsewhere()),
            shown=rows.shown(),
            _rows=rows,
            _runs=runs,
            _workspace=workspace,
        )

    def carry_out(self) -> None:
        """Remove the study; where that is interrupted, doing it again goes on.

        Raises:
            HarnessError: It is running by now.
        """
        self._rows.check_idle()
        reason = f"is being removed: `harness rm {self.name}` goes on with it"
        self._rows.storage.studies.close(self.name, reason)
        if self._runs is not None:
            self._runs.remove()
        self._rows.delete()
        forget(self.name, self._workspace)
