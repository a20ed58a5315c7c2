"""Where a study stands, kept for whoever asks: the same as what is computed, or nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import harness.launch
import harness.results.status
from harness.records.workspace import Workspace
from harness.results.status import keep_standing, keeping, read_status
from harness.study.ledger import Ledger
from harness.study.study import StudyConfig
from harness.work.board import open_study
from harness.work.queue import Storage
from harness.work.removal import Removal
from harness.work.renaming import rename_study
from harness.work.standing import Standing, kept

pytestmark = pytest.mark.usefixtures("fake_runs")


@pytest.fixture
def study(make_study: Callable[..., StudyConfig]) -> StudyConfig:
    return make_study(search={"trials_per_arm": 1})


@pytest.fixture
def finished(workspace: Workspace, study: StudyConfig, launch: Any) -> Workspace:
    """Return where a study has been run to its end."""
    launch(workspace, study)
    return workspace


@pytest.fixture
def unseen(workspace: Workspace, study: StudyConfig, launch: Any, monkeypatch: Any) -> Workspace:
    """Return where a study has been run to its end whose test scores nobody has looked at."""
    with monkeypatch.context() as patch:
        patch.setattr(harness.launch, "note_display", lambda opened, *_: ledger(workspace))
        launch(workspace, study)
    assert not ledger(workspace).has("displayed")
    return workspace


@contextlib.contextmanager
def changed(workspace: Workspace, statement: str) -> Iterator[None]:
    """Change a study's database, and put it back."""
    with (
        contextlib.closing(sqlite3.connect(workspace.root / "optuna.db")) as database,
        contextlib.closing(sqlite3.connect(":memory:")) as copy,
    ):
        database.backup(copy)
        with database:
            assert database.execute(statement).rowcount > 0
        yield
        copy.backup(database)


def ledger(workspace: Workspace) -> Ledger:
    return Storage(workspace).studies.ledger("tiny")


def computed(workspace: Workspace) -> Standing:
    """Return a standing as it is computed; what that keeps is taken away again."""
    standing = read_status("tiny", workspace).standing()
    for file in workspace.cache.glob("standing_*"):
        file.unlink()
    return standing


def same(one: Standing, other: Standing) -> bool:
    return one.page == other.page and json.dumps(one.values) == json.dumps(other.values)


def test_a_study_that_has_run_says_at_once_where_it_stands(finished: Workspace) -> None:
    standing = kept("tiny", finished)
    assert standing is not None
    assert standing.page.sentences[-1] == "The study is complete."
    assert same(standing, computed(finished))
    assert kept("tiny", finished) is None  # `computed` took it away
    read_status("tiny", finished)
    again = kept("tiny", finished)
    assert again is not None
    assert same(again, standing)


def test_it_is_kept_at_every_start_and_end_of_a_run(
    workspace: Workspace,
    study: StudyConfig,
    launch: Any,
    listener: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[tuple[Standing | None, Standing]] = []

    def look(event: Any) -> None:
        if event.kind in ("counts", "started"):
            looks.append((kept("tiny", workspace), computed(workspace)))

    monkeypatch.setattr(listener, "show", look)
    monkeypatch.setattr(harness.results.status, "REST", 0)
    launch(workspace, study, display=lambda _: listener)
    assert len(looks) == 6 + 7  # starts, and counts before each and after all
    assert all(found is not None and same(found, fresh) for found, fresh in looks)
    assert len({str(fresh.page) for _, fresh in looks}) == 6 + 7


def test_it_counts_only_while_nothing_has_changed(finished: Workspace) -> None:
    for statement in (
        "UPDATE trials SET state = 'RUNNING' WHERE trial_id = 1",
        "UPDATE trial_values SET value = value + 1 WHERE trial_id = 1",
        "UPDATE trial_user_attributes SET value_json = '{}' WHERE key = 'result'",
        "UPDATE harness_studies SET definition = replace(definition, 'hinge', 'Hinge')",
        "UPDATE harness_studies SET closed = 'is being removed'",
        "INSERT INTO harness_ledger (study, entry) "
        """VALUES (1, '{"kind": "retried", "time": 0, "runs": "hinge confirm 0"}')""",
    ):
        with changed(finished, statement):
            assert kept("tiny", finished) is None, statement
        assert kept("tiny", finished) is not None


def test_looks_take_little_of_a_studys_time(
    workspace: Workspace, study: StudyConfig, launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def look(*_: Any) -> None:
        looks.append(time.monotonic())
        time.sleep(0.02)

    monkeypatch.setattr(harness.results.status, "keep_standing", look)
    launch(workspace, study)
    *during, _ = looks  # one more when the study has ended
    assert during
    assert all(later - sooner > 0.4 for sooner, later in itertools.pairwise(during))


def test_without_news_it_is_looked_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Any] = []
    told: list[Any] = []
    monkeypatch.setattr(harness.results.status, "REST", 0)
    monkeypatch.setattr(harness.results.status, "keep_standing", lambda *_: looks.append(1))
    tell = keeping(None, None, told.append)  # type: ignore[arg-type]
    tell(None)
    tell(None)
    assert len(looks) == 2
    assert told == []


def test_a_study_that_was_extended_meanwhile_is_kept_as_it_is_now(
    workspace: Workspace, study: StudyConfig, make_study: Any, launch: Any
) -> None:
    launch(workspace, study)
    opened = open_study("tiny", workspace)
    longer = make_study(search={"trials_per_arm": 1}, confirm={"seeds": 3})
    now = opened.definition.model_copy(update={"study": longer})
    opened.storage.studies.write("tiny", now)  # as another process would
    keep_standing(opened, workspace)
    standing = kept("tiny", workspace)
    assert standing is not None
    assert not standing.values["complete"]
    assert same(standing, computed(workspace))


def test_two_that_show_the_same_scores_note_it_once(unseen: Workspace) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: kept("tiny", unseen), range(16)))
    assert None not in found
    assert len(ledger(unseen).entries) == 2


def test_nothing_is_kept_where_the_study_has_no_folder(finished: Workspace, tmp_path: Path) -> None:
    elsewhere = dataclasses.replace(finished, root=tmp_path / "nowhere")
    assert read_status("tiny", elsewhere).summary.complete
    assert not elsewhere.root.exists()


def test_it_goes_with_its_study(finished: Workspace) -> None:
    rename_study("tiny", "little", finished)
    assert not [*finished.cache.glob("standing_*")]
    read_status("little", finished)
    assert len([*finished.cache.glob("standing_*")]) == 1
    Removal.plan("little", finished).carry_out()
    assert not [*finished.cache.glob("standing_*")]


def test_what_a_summary_does_not_know_of_changes_nothing(finished: Workspace) -> None:
    for statement in (
        "UPDATE trial_user_attributes SET value_json = '{}' WHERE key = 'lease'",
        "INSERT INTO studies (study_name) VALUES ('tiny2/hinge/search')",
        "INSERT INTO harness_studies (name, definition) VALUES ('tiny2', '{}')",
    ):
        with changed(finished, statement):
            assert kept("tiny", finished) is not None, statement


def test_it_does_not_outlive_a_change_of_the_package(
    finished: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.work.standing._own_sources", lambda: "of another version")
    assert kept("tiny", finished) is None


def test_what_cannot_be_read_is_computed(finished: Workspace) -> None:
    (file,) = finished.cache.glob("standing_*")
    for broken in ("", "{", "[]", "{}", '{"stamp": 1, "page": {}}'):
        file.write_text(broken)
        assert kept("tiny", finished) is None
    assert read_status("tiny", finished).summary.complete
    assert kept("tiny", finished) is not None


def test_scores_that_are_shown_from_it_are_noted_once(unseen: Workspace) -> None:
    for _ in range(3):
        assert kept("tiny", unseen) is not None
    (entry,) = [entry for entry in ledger(unseen).entries if entry.kind == "displayed"]
    assert entry.shown_by == "harness status"
    assert entry.time >= ledger(unseen).entries[0].time
    states = open_study("tiny", unseen).board.states()
    assert entry.confirmed == {state.arm.name: len(state.confirm) for state in states}
    read_status("tiny", unseen)  # shows the same scores
    assert len(ledger(unseen).entries) == 2


def test_nothing_is_kept_of_a_study_with_plugins(
    workspace: Workspace, study: StudyConfig, launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.launch, "plugin_hashes", lambda: {"mine": "1"})
    monkeypatch.setattr("harness.work.studies.check_plugins", lambda *_: None)
    launch(workspace, study)
    assert read_status("tiny", workspace).summary.complete
    assert kept("tiny", workspace) is None


def test_a_failure_to_keep_it_stops_no_run(
    workspace: Workspace, study: StudyConfig, launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(harness.results.status, "keep_standing", fail)
    assert launch(workspace, study).complete


def test_what_cannot_be_kept_is_computed_every_time(finished: Workspace) -> None:
    (file,) = finished.cache.glob("standing_*")
    file.unlink()
    file.mkdir()  # nothing can be kept here
    assert read_status("tiny", finished).summary.complete
    assert kept("tiny", finished) is None


def test_status_does_without_torch_the_second_time(finished: Workspace) -> None:
    code = (
        "import sys; from harness.cli import app; "
        "app(sys.argv[1:], standalone_mode=False); "
        "print([name for name in ('torch', 'optuna', 'scipy', 'numpy') if name in sys.modules])"
    )
    options = ["--storage", finished.storage_url, "--tracking-uri", finished.tracking_uri]
    said = subprocess.run(
        [sys.executable, "-c", code, "status", "tiny", *options],
        capture_output=True,
        text=True,
        check=True,
        cwd=finished.root.parent,
        env={"HARNESS_HOME": str(finished.root)},
    )
    assert said.stdout.splitlines()[-2:] == ["The study is complete.", "[]"]
