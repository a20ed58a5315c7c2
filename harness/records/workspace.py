"""Where things live: one folder for all records, or servers named instead."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.records.sqlite import sqlite_file

UI_PORT = 5000  # where `harness ui` listens unless told otherwise


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The places that a study reads and writes.

    Attributes:
        root: Folder of the local records.
        tracking_uri: MLflow's store.
        storage_url: Optuna's database; never the same as MLflow's.
        data_dir: torchvision's datasets.
    """

    root: Path
    tracking_uri: str
    storage_url: str
    data_dir: Path

    def __post_init__(self) -> None:
        """Refuse one database for both stores: their migrations break each other."""
        if _place(self.storage_url) == _place(self.tracking_uri):
            raise HarnessError(
                f"--storage {self.storage_url}: Optuna and MLflow must not share one database"
            )

    @classmethod
    def locate(
        cls,
        *,
        root: Path | None = None,
        tracking_uri: str | None = None,
        storage_url: str | None = None,
        data_dir: Path | None = None,
    ) -> Workspace:
        """Return the workspace from arguments, else environment, else local defaults.

        The environment variables are HARNESS_HOME (mlruns), MLFLOW_TRACKING_URI, HARNESS_STORAGE
        and HARNESS_DATA (data).
        """
        root = root or Path(os.environ.get("HARNESS_HOME", "mlruns"))
        local_tracking = f"sqlite:///{(root / 'mlflow.db').as_posix()}"
        local_storage = f"sqlite:///{(root / 'optuna.db').as_posix()}"
        return cls(
            root=root,
            tracking_uri=tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", local_tracking),
            storage_url=storage_url or os.environ.get("HARNESS_STORAGE", local_storage),
            data_dir=data_dir or Path(os.environ.get("HARNESS_DATA", "data")),
        )

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts, where its store is the local one."""
        return self.root / "artifacts"

    @property
    def ui_port(self) -> int:
        """Where `harness ui` listened last, and where reports link to."""
        try:
            return int(self._ui_port_file.read_text())
        except (OSError, ValueError):
            return UI_PORT

    def remember_ui_port(self, port: int) -> None:
        """Note where `harness ui` listens."""
        with contextlib.suppress(OSError):  # a folder that others own can be browsed too
            self._ui_port_file.write_text(f"{port}\n")

    @property
    def _ui_port_file(self) -> Path:
        return self.root / "ui_port"

    @property
    def checkpoints(self) -> Path:
        """One file per unfinished run."""
        return self.root / "checkpoints"

    @property
    def cache(self) -> Path:
        """Features of real images and classifiers trained for other datasets."""
        return self.root / "cache"


def _place(url: str) -> str:
    file = sqlite_file(url)
    return url if file is None else str(file.resolve())


def check_replaceable(folder: Path, ours: Set[str], mark: str) -> None:
    """Raise HarnessError unless a folder is new, empty, or an earlier one of ours.

    Args:
        folder: Where something is to be written.
        ours: All names that may lie in it.
        mark: The name that an earlier one of ours certainly holds.
    """
    if folder.exists() and not folder.is_dir():
        raise HarnessError(f"--output {folder}: a file of this name is in the way")
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    if others := sorted(names - ours):
        raise HarnessError(
            f"--output {folder}: the folder holds other files ({others[0]}); name a new one"
        )
    if names and mark not in names:
        raise HarnessError(f"--output {folder}: the folder was not written by this command before")


@contextlib.contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`, and put it in its place: never half-written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        new.rename(folder)
