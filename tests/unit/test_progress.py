"""News of what takes long, and how the command line shows it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

import harness.evaluate.classifier
from harness.cli import output
from harness.cli.output import Preparation, preparing
from harness.data import load_dataset
from harness.evaluate.ruler import trained_ruler
from harness.progress import advance, say, watched


def test_nobody_needs_to_listen() -> None:
    say("a line")
    advance("decoding images", 1, 2)


def shown(terminal: bool) -> tuple[io.StringIO, Preparation]:
    text = io.StringIO()
    return text, Preparation(Console(file=text, force_terminal=terminal, width=80))


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_are_shown_once(terminal: bool) -> None:
    text, preparation = shown(terminal)
    with watched(preparation):
        for line in ("two [classes]", "grey", "two [classes]"):
            say(line)
    say("to nobody")
    assert text.getvalue() == "two [classes]\ngrey\n"


def test_a_bar_on_a_terminal() -> None:
    text, preparation = shown(terminal=True)
    preparation.advance("decoding images", 30, 60)
    preparation.advance("decoding images", 60, 60)
    assert "decoding images" in text.getvalue()
    assert "60/60" in text.getvalue()
    preparation.advance("training a ruler", 1, 200)
    preparation.close()  # as after an error
    preparation.close()
    assert "training a ruler" in text.getvalue()


def test_now_and_then_a_line_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    text, preparation = shown(terminal=False)
    preparation.advance("decoding images", 256, 60_000)
    preparation.advance("decoding images", 512, 60_000)
    assert text.getvalue() == ""
    monkeypatch.setattr(output, "LINE_SECONDS", -1.0)
    preparation.advance("decoding images", 768, 60_000)
    assert text.getvalue() == "decoding images: 768 of 60,000\n"


def test_training_a_ruler_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(harness.evaluate.classifier, "MIN_STEPS", 3)
    monkeypatch.setattr(harness.evaluate.classifier, "MAX_STEPS", 3)
    steps = []

    class Heard:
        def say(self, line: str) -> None:
            pass

        def advance(self, what: str, done: int, total: int) -> None:
            steps.append((what, done, total))

    digits = load_dataset("digits", tmp_path, 8)
    with watched(Heard()):
        for recipe in ("v2", "judge_v1"):
            trained_ruler(digits, tmp_path, torch.device("cpu"), recipe)
    nouns = ("training a ruler", "training a second ruler")
    assert steps == [(noun, step, 3) for noun in nouns for step in (1, 2, 3)]


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with preparing(quiet=True):
        say("a line")
    assert capsys.readouterr() == ("", "")
    with preparing():
        say("a line")
    assert capsys.readouterr() == ("", "a line\n")
