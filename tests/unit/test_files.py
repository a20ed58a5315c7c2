"""What is known of the package's own files."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness.files
from harness.files import source_digest


def test_a_changed_source_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "losses.py").write_text("one = 1\n")
    monkeypatch.setattr(harness.files, "PACKAGE", tmp_path)
    before = source_digest()
    assert source_digest() == before
    (tmp_path / "losses.py").write_text("two = 22\n")
    assert source_digest() != before
