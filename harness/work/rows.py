"""All that Optuna's database holds of one study at once: closed, renamed or deleted.

Optuna has no word for another name, so its table is written to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy

from harness.errors import HarnessError, unknown_name
from harness.records.experiment import StudyRuns
from harness.records.workspace import Workspace
from harness.work.queue import Storage, is_abandoned
from harness.work.studies import OPTUNA_STUDIES, SEPARATOR


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What there is of one study.

    Attributes:
        name: Its name.
        ids: Name of each of its queues -> id.
        storage: Where.
    """

    name: str
    ids: Mapping[str, int]
    storage: Storage

    @classmethod
    def find(cls, name: str, storage: Storage) -> Rows:
        """Return a study's; raises HarnessError if there is none."""
        if name not in storage.studies.names():
            raise unknown_name("study", name, storage.studies.names())
        ids = {
            each.study_name: each._study_id
            for each in storage._storage.get_all_studies()
            if each.study_name.startswith(f"{name}{SEPARATOR}")
        }
        return cls(name=name, ids=ids, storage=storage)

    def runs(self, workspace: Workspace) -> StudyRuns | None:
        """Return its runs in MLflow; None of a study that was never wholly started."""
        if (definition := self.storage.studies.raw(self.name)) is None:
            return None
        experiment, parent = definition["experiment_id"], definition["parent_run_id"]
        return StudyRuns(self.name, experiment, parent, workspace)

    def shown(self) -> bool:
        """Return whether its test scores have been shown, or nobody can know."""
        with contextlib.suppress(HarnessError):
            return self.storage.studies.ledger(self.name).has("displayed")
        return True

    def check_idle(self) -> None:
        """Raise HarnessError if somebody trains one of its runs."""
        for queue, number in self.ids.items():
            for trial in self.storage._storage.get_all_trials(number, deepcopy=False):
                running = trial.state.name == "RUNNING" and "key" in trial.user_attrs
                if running and not is_abandoned(trial):
                    cell = (
                        f"{queue.removeprefix(self.name + SEPARATOR)} {trial.user_attrs['trial']}"
                    )
                    host = trial.user_attrs.get("lease", {}).get("host", "unknown")
                    raise HarnessError(
                        f"study {self.name!r} is running: {' '.join(cell.split(SEPARATOR))} on "
                        f"host {host}; end it first"
                    )

    def rename(self, new: str) -> None:
        """Give it another name, all at once, and open it again.

        Raises:
            HarnessError: There is a study of this name by now.
        """
        try:
            with self.storage._storage.engine.begin() as connection:
                for name, number in self.ids.items():
                    connection.execute(
                        sqlalchemy.update(OPTUNA_STUDIES)
                        .where(OPTUNA_STUDIES.c.study_id == number)
                        .values(study_name=new + name.removeprefix(self.name))
                    )
                self.storage.studies.rename(self.name, new, connection)
        except sqlalchemy.exc.IntegrityError:
            raise HarnessError(f"study {new!r} exists: choose another name") from None

    def delete(self) -> None:
        """Delete all of it, its name last."""
        for number in self.ids.values():
            self.storage._storage.delete_study(number)
        self.storage.studies.delete(self.name)
