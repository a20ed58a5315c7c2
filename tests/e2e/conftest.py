"""A study that a real process ran, and what a command leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Point to no store of the caller's, and put back the signal handler that `run` replaces."""
    for key in ("HARNESS_HOME", "HARNESS_STORAGE", "HARNESS_DATA", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(key, raising=False)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_study: str) -> Path:
    """Return a folder with a study file in which the tests of a whole study work in turn."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "tiny.toml").write_text(tiny_study)
    return folder


@pytest.fixture(scope="session")
def study(place: Path) -> Path:
    """Return that folder after `harness run`, the one time that it is a real process."""
    command = [sys.executable, "-m", "harness.cli", "run", "tiny.toml", "--underpowered"]
    done = subprocess.run(
        [*command, "--device", "cpu", "--threads", "1"],
        cwd=place,
        env=_environment(place),
        capture_output=True,
        text=True,
        check=False,
    )
    (place / "stdout").write_text(done.stdout)
    (place / "stderr").write_text(done.stderr)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def there(study: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in the folder of the finished study."""
    monkeypatch.chdir(study)
    return study


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_study: str) -> Path:
    """Stand in a folder with the study file only."""
    (tmp_path / "tiny.toml").write_text(tiny_study)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def best(study: Path) -> Path:
    """Return an exported generator."""
    from harness.records.workspace import Workspace
    from harness.results.export import export_best

    folder = study / "best"
    export_best("tiny", folder, Workspace.locate(root=study / "mlruns"))
    return folder


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {"HARNESS_HOME": str(folder / "mlruns")}


def _files(folder: Path) -> set[str]:
    """Return all that lies in a folder, but SQLite's own files beside a database in use."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {name for name in found if not name.endswith(("-wal", "-shm"))}


def _refused(said: Any, *words: str) -> None:
    """Check that a command ended with exit code 2 and one helpful line."""
    assert said.code == 2, said
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


@pytest.fixture(scope="session")
def environment() -> Callable[[Path], dict[str, str]]:
    """Return the function that says which environment leads to the stores in a folder."""
    return _environment


@pytest.fixture(scope="session")
def files() -> Callable[[Path], set[str]]:
    """Return the function that lists all that lies in a folder."""
    return _files


@pytest.fixture(scope="session")
def refused() -> Callable[..., None]:
    """Return the function that checks that a command was refused in one line with these words."""
    return _refused
