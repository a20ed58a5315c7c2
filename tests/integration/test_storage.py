"""Optuna's database: made when it is needed, safe for several workers, named in errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest

from harness.errors import HarnessError
from harness.records.workspace import Workspace
from harness.run.execution import Execution
from harness.study.definition import Definition
from harness.study.ledger import Entry
from harness.study.study import StudyConfig
from harness.work.board import open_study
from harness.work.queue import Storage


def test_the_database_is_in_wal_mode(workspace: Workspace) -> None:
    Storage(workspace)
    with sqlite3.connect(workspace.root / "optuna.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_one_database_for_both_stores_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'one.db'}"
    with pytest.raises(HarnessError, match="must not share one database"):
        Workspace.locate(root=tmp_path, storage_url=url, tracking_uri=url)
    assert list(tmp_path.iterdir()) == []


def test_reading_creates_no_database(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="harness run"):
        Storage(Workspace.locate(root=tmp_path / "mlruns"), create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_driver_is_named_and_no_password(tmp_path: Path) -> None:
    url = "postgresql+pg8000://me:p@s/s@127.0.0.1/optuna"
    place = Workspace.locate(root=tmp_path, storage_url=url)
    words = r"postgresql\+pg8000://127.0.0.1/optuna cannot be used: install its driver .*'pg8000'"
    with pytest.raises(HarnessError, match=words):
        Storage(place)


def test_an_impossible_address_is_one_line(tmp_path: Path) -> None:
    place = Workspace.locate(root=tmp_path, storage_url="postgresql://me:s@127.0.0.1:port/o")
    with pytest.raises(HarnessError, match=r"postgresql://127\.0\.0\.1:port/o cannot be used: "):
        Storage(place)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_text("certainly not a database, " * 100)
    with pytest.raises(HarnessError, match=r"optuna\.db"):
        Storage(Workspace.locate(root=tmp_path))


@pytest.fixture
def definition(make_study: Callable[..., StudyConfig]) -> Definition:
    return Definition(
        study=make_study(),
        execution=Execution(device="cpu", threads=1),
        experiment_id="1",
        parent_run_id="p",
        metric="test/fid_x",
        objective="val/fid_x",
        floor=0.5,
        dataset_digest="0123",
        created=1.5,
    )


def test_definitions_and_names(workspace: Workspace, definition: Definition) -> None:
    storage = Storage(workspace)
    storage.queue("study", "arm", "search")  # whose name is no study's
    optuna.create_study(study_name="somebody's", storage=storage._storage)
    storage.studies.start("losses")
    storage.studies.write("losses", definition)
    assert storage.studies.names() == ["losses"]
    assert storage.studies.definition("losses") == definition
    assert storage.studies.definition("study") is None
    assert open_study("losses", workspace).definition == definition
    with pytest.raises(HarnessError, match="did you mean 'losses'"):
        open_study("loses", workspace)
    other = definition.model_copy(update={"created": 2.5})
    with pytest.raises(HarnessError, match="'losses' has just been started by another process"):
        storage.studies.start("losses")
    assert storage.studies.definition("losses") == definition
    storage.studies.write("losses", other)  # an extension
    assert storage.studies.definition("losses") == other


def test_a_study_that_was_only_named_is_started(
    workspace: Workspace, definition: Definition
) -> None:
    storage = Storage(workspace)
    storage.studies.start("half")  # and then the lights went out
    assert storage.studies.definition("half") is None
    storage.studies.start("half")
    storage.studies.write("half", definition)
    assert storage.studies.definition("half") == definition


def test_a_dashboard_of_optuna_lists_what_has_trials(finished: Any) -> None:
    studies = optuna.get_all_study_summaries(finished.workspace.storage_url)
    assert len(studies) > 1
    for each in studies:
        assert each.study_name.count("/") == 2
        assert each.n_trials > 0
        assert each.user_attrs == {}


def test_two_processes_make_the_tables_at_once(workspace: Workspace) -> None:
    optuna.storages.RDBStorage(workspace.storage_url)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: Storage(workspace).studies.names(), range(4)))
    assert found == [[]] * 4


def earlier(workspace: Workspace, name: str, **attributes: Any) -> None:
    """Put a study where earlier versions had them: among Optuna's."""
    study = optuna.create_study(study_name=name, storage=workspace.storage_url)
    for key, value in attributes.items():
        study.set_user_attr(key, value)


def test_studies_of_earlier_versions_are_taken_over(
    workspace: Workspace, definition: Definition
) -> None:
    raw = definition.model_dump(mode="json")
    entries = [Entry(kind="opened", time=float(n), confirmed={"a": n}) for n in range(3)]
    ledger = {f"ledger.{n:020d}.7": entries[n].model_dump(mode="json") for n in (2, 0, 1)}
    earlier(workspace, "early", definition=raw, **ledger)
    earlier(workspace, "gone", definition=raw, closed="is being removed: really")
    earlier(workspace, "somebody's")
    studies = Storage(workspace).studies
    assert studies.names() == ["early", "gone"]
    assert studies.definition("early") == definition
    assert studies.ledger("early").entries == tuple(entries)
    with pytest.raises(HarnessError, match="'gone' is being removed: really"):
        studies.definition("gone")
    assert optuna.get_all_study_names(workspace.storage_url) == ["somebody's"]


def test_a_name_that_an_earlier_version_takes_again_breaks_nothing(
    workspace: Workspace, definition: Definition
) -> None:
    storage = Storage(workspace)
    storage.studies.start("mine")
    storage.studies.write("mine", definition)
    earlier(workspace, "mine", definition={"other": 1})
    assert Storage(workspace).studies.definition("mine") == definition


def test_a_study_that_was_only_named_says_so(workspace: Workspace) -> None:
    Storage(workspace).studies.start("half")
    with pytest.raises(HarnessError, match=r"'half' was never wholly started: .* `harness rm`"):
        open_study("half", workspace)
