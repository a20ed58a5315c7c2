"""A study watched while it runs."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

import harness.cli.watching
from harness.errors import HarnessError
from harness.records.workspace import Workspace
from harness.results.status import follow
from harness.study.ledger import Ledger
from harness.work.board import open_study
from harness.work.removal import Removal

pytestmark = pytest.mark.usefixtures("fake_runs")


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that says what happens between looks, one by one."""

    def meanwhile(*happenings: Callable[[], object]) -> None:
        coming = iter(happenings)
        monkeypatch.setattr("harness.results.status.time.sleep", lambda _: next(coming)())

    return meanwhile


@pytest.fixture
def half(workspace: Workspace, make_study: Any, launch: Any, monkeypatch: Any) -> Callable[[], Any]:
    """Return a function that goes on with a study of four runs that is broken off after two."""
    from harness.work.worker import Worker

    original, taken = Worker._work_on_one, []

    def two(self: Worker, states: Any) -> bool:
        taken.append(1)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return original(self, states)

    study = make_study(search={"trials_per_arm": 1}, confirm={"seeds": 1})
    monkeypatch.setattr(Worker, "_work_on_one", two)
    with pytest.raises(KeyboardInterrupt):
        launch(workspace, study)
    return lambda: launch(workspace, study)


def _shown_by(ledger: Ledger) -> list[str]:
    return [entry.shown_by for entry in ledger.entries if entry.kind == "displayed"]


def test_every_change_is_told_once_until_the_study_is_complete(
    workspace: Workspace, half: Callable[[], Any], meanwhile: Any
) -> None:
    meanwhile(lambda: None, lambda: None, half)
    first, second, third, last = follow("tiny", workspace)
    assert first is second is third
    assert not first.summary.complete
    assert last.summary.complete
    ledger = open_study("tiny", workspace).storage.studies.ledger("tiny")
    # What the second half showed of itself when it ended was no news to the watcher.
    assert _shown_by(ledger) == ["harness run"]


def test_what_is_shown_is_noted_once_per_news(
    workspace: Workspace, half: Callable[[], Any], meanwhile: Any, monkeypatch: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "harness.launch.note_display",
            lambda opened, *_: opened.storage.studies.ledger(opened.name),
        )
        meanwhile(lambda: None, half, lambda: None)
        assert len(list(follow("tiny", workspace))) == 3
    ledger = open_study("tiny", workspace).storage.studies.ledger("tiny")
    assert _shown_by(ledger) == ["harness watch"]


def test_without_a_terminal_changes_are_lines(
    workspace: Workspace, half: Callable[[], Any], meanwhile: Any, call: Any
) -> None:
    meanwhile(lambda: None, half)
    options = ("--tracking-uri", workspace.tracking_uri, "--storage", workspace.storage_url)
    said = call("watch", "tiny", *options)
    assert (said.code, said.err) == (0, "")
    first, last, *answer = [line for line in said.out.splitlines() if "warn" not in line.lower()]
    assert "2 runs have ended; nobody works on it now" in first
    assert "4 runs have ended; test FID: non_saturating" in last
    assert answer[0] == "tiny: Is the hinge loss better?"
    assert answer[-1] == "The study is complete."


def test_ctrl_c_ends_the_watching_alone(
    workspace: Workspace, half: Callable[[], Any], meanwhile: Any, call: Any
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    meanwhile(interrupt)
    options = ("--tracking-uri", workspace.tracking_uri, "--storage", workspace.storage_url)
    said = call("watch", "tiny", *options)
    assert (said.code, said.err) == (0, "")
    assert len(said.out.splitlines()) == 1


def test_a_terminal_shows_a_table_and_then_the_answer(
    workspace: Workspace, half: Callable[[], Any], meanwhile: Any, call: Any, monkeypatch: Any
) -> None:
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=160)
    monkeypatch.setattr(harness.cli.watching, "stdout", lambda: terminal)
    meanwhile(half)
    options = ("--tracking-uri", workspace.tracking_uri, "--storage", workspace.storage_url)
    said = call("watch", "tiny", *options)
    assert "2 runs have ended" in shown.getvalue()
    assert "best validation" in shown.getvalue()
    assert said.out.splitlines()[-1] == "The study is complete."


def test_a_study_that_is_removed_meanwhile_is_told(
    workspace: Workspace, half: Callable[[], Any], meanwhile: Any
) -> None:
    meanwhile(lambda: Removal.plan("tiny", workspace).carry_out())
    looks = follow("tiny", workspace)
    next(looks)
    with pytest.raises(HarnessError, match="unknown study 'tiny'"):
        next(looks)
