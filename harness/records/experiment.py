"""All of a study's runs in MLflow at once: counted, removed, or brought under another name."""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from harness.errors import HarnessError
from harness.records.tracking import Tracker
from harness.records.workspace import Workspace

SET_ASIDE = " (removed "


class StudyRuns:
    """A study's runs, its parent run among them, whether MLflow calls them deleted or not.

    Args:
        name: The study's.
        experiment_id: Where its runs are; other runs may be there too, and are left alone.
        parent_run_id: The run that they are nested under.
        workspace: Says where MLflow's store is.

    Raises:
        HarnessError: The store cannot be reached.
    """

    def __init__(
        self, name: str, experiment_id: str, parent_run_id: str, workspace: Workspace
    ) -> None:
        self._tracker = Tracker(workspace)
        self._client = self._tracker.client
        self._name = name
        self._experiment_id = experiment_id
        self._checkpoints = workspace.checkpoints
        self._artifacts = workspace.artifacts.resolve()
        self._parent = parent_run_id
        runs = self._tracker.runs(experiment_id, deleted=True)
        self._runs = [run for run in runs if self._is_ours(run)]
        ours = {run.info.run_id for run in self._runs}
        self._models = [
            model for model in self._tracker.models(experiment_id) if model.source_run_id in ours
        ]

    @property
    def number(self) -> int:
        """How many runs there are, without the parent run."""
        return sum(run.data.tags.get("phase") != "study" for run in self._runs)

    def num_bytes(self) -> int:
        """Return how large their files are that lie on this machine."""
        folders = filter(None, map(_folder, self._own_places()))
        files = [file for folder in folders for file in _below(folder)]
        return sum(file.stat().st_size for file in (*files, *self._own_checkpoints()))

    def elsewhere(self) -> list[Path]:
        """Return the folders of files that are not this workspace's: they stay."""
        folders = filter(None, map(_folder, self._places()))
        return [folder for folder in folders if folder.exists() and not self._is_own(folder)]

    def remove(self) -> None:
        """Delete files, models and runs, and the experiment where nothing else is in it.

        What is deleted twice is no error, so an interrupted removal is begun anew. MLflow keeps
        the rows of what is deleted until `mlflow gc`; the experiment's name is free at once.
        """
        for place in self._own_places():
            self._tracker.delete_files(place)
            self._remove_empty(_folder(place))
        for file in self._own_checkpoints():
            file.unlink(missing_ok=True)
        for model in self._models:
            self._client.delete_logged_model(model.model_id)
        for run in self._runs:
            if run.info.lifecycle_stage == "active":
                self._client.delete_run(run.info.run_id)
        if self._runs and not self._tracker.runs(self._experiment_id):
            self._set_aside()

    def check_free(self, new: str) -> None:
        """Raise HarnessError if another experiment has a name."""
        there = self._client.get_experiment_by_name(new)
        if there is not None and there.experiment_id != self._experiment_id:
            raise HarnessError(
                f"MLflow's store has another experiment {new!r} (perhaps a deleted one): choose "
                "another name"
            )
        known = {each.experiment_id for each in self._client.search_experiments()}
        if self._experiment_id not in known:
            raise HarnessError(
                f"MLflow's store lacks the experiment of study {self._name!r}: both databases "
                "belong together"
            )

    def retag(self, new: str) -> None:
        """Let every run say that it is of the study `new`."""
        for run in self._runs:
            run_id = run.info.run_id
            if run.info.lifecycle_stage != "active":
                continue  # MLflow lets nobody write to it
            if run.data.tags.get("phase") == "study":
                self._client.update_run(run_id, name=new)
            self._client.set_tag(run_id, "study", new)

    def rename_experiment(self, new: str) -> None:
        """Give the experiment a name."""
        self._client.rename_experiment(self._experiment_id, new)

    def _set_aside(self) -> None:
        """Delete the experiment under a name that nobody will want."""
        experiment = self._client.get_experiment(self._experiment_id)
        if SET_ASIDE not in experiment.name:
            if experiment.lifecycle_stage != "active":
                self._client.restore_experiment(self._experiment_id)
            aside = f"{self._name}{SET_ASIDE}{datetime.now():%Y-%m-%d %H:%M:%S.%f})"
            self._client.rename_experiment(self._experiment_id, aside)
            self._client.delete_experiment(self._experiment_id)
        elif experiment.lifecycle_stage == "active":
            self._client.delete_experiment(self._experiment_id)

    def _is_ours(self, run: Any) -> bool:
        tags = run.data.tags
        nested = self._parent in (run.info.run_id, tags.get("mlflow.parentRunId"))
        return nested or tags.get("study") == self._name

    def _places(self) -> list[str]:
        """Return the addresses of all files."""
        runs = [run.info.artifact_uri for run in self._runs]
        return [*runs, *(model.artifact_location for model in self._models)]

    def _own_places(self) -> list[str]:
        """Return those on a server and in this workspace: a copied one still names the original."""
        return [place for place in self._places() if self._is_own(_folder(place))]

    def _is_own(self, folder: Path | None) -> bool:
        return folder is None or self._artifacts in folder.resolve().parents

    def _remove_empty(self, folder: Path | None) -> None:
        """Remove the folders around one that is gone, where they are ours and empty."""
        for around in folder.resolve().parents if folder else ():
            if self._artifacts not in around.parents:
                return
            with contextlib.suppress(OSError):
                around.rmdir()

    def _own_checkpoints(self) -> list[Path]:
        files = (self._checkpoints / f"{run.info.run_id}.pt" for run in self._runs)
        return [file for file in files if file.exists()]


def _folder(address: str) -> Path | None:
    """Return the folder of this machine behind an address, or None."""
    parts = urlparse(address)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def _below(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()] if folder.is_dir() else []
