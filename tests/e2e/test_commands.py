"""Small commands as a user types them: version, completion, a new file, removal, another name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from harness.records.workspace import Workspace
from harness.study.presets import preset_names
from harness.work.board import list_studies


def complete(folder: Path, words: str) -> list[str]:
    """Return what the shell would offer after these words."""
    place = len(words.split(" ")) - 1
    shell = {"COMP_WORDS": words, "COMP_CWORD": str(place), "_HARNESS_COMPLETE": "complete_bash"}
    script = "import sys; sys.argv = ['harness']; from harness.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=os.environ | {"HARNESS_HOME": str(folder / "mlruns")} | shell,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_the_version_is_told_without_torch(tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv = ['harness', '--version']\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'mlflow', 'optuna'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    harness, torch = version("gan-ablation-harness"), version("torch")
    assert done.stdout == f"harness {harness} (torch {torch})\n"


def test_the_shell_completes_commands_studies_and_presets(study: Path, tmp_path: Path) -> None:
    assert complete(study, "harness re") == ["reproduce", "report", "rename"]
    assert complete(study, "harness status ti") == ["tiny"]
    assert complete(study, "harness report tiny t") == ["tiny"]
    assert complete(study, "harness rm x") == []
    assert complete(study, "harness train --preset ") == sorted(preset_names())
    assert complete(tmp_path, "harness status ") == []
    assert not list(tmp_path.iterdir())
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "optuna.db").write_text("no database")
    assert complete(tmp_path, "harness status ") == []


def test_a_new_file_is_accepted_by_a_dry_run(
    tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--set", "architecture=mlp", "--set", "g_width=8", "--images", 640]
    said = call("new", "mine.toml", "--compare", "d_steps=1,2", "--trials", 2, *small)
    assert said.code == 0
    said = call("run", "mine.toml", "--dry-run", "--device", "cpu", "--workers", 1)
    assert (said.code, said.err) == (0, "")
    assert "14 runs, about" in said.out
    assert "1 test at 5 seeds per arm" in said.out


def test_a_study_is_renamed_and_then_removed(there: Path, call: Any, refused: Any) -> None:
    workspace = Workspace.locate(root=there / "mlruns")
    refused(call("rename", "tinny", "small"), "'tinny'", "'tiny'")
    said = call("rename", "tiny", "small")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("tiny is now small, with its 8 runs")
    assert call("status", "small").out.startswith("small: Is the hinge loss better?")
    assert call("rename", "small", "tiny").code == 0  # as other tests know it
    assert call("status", "tiny").out == (there / "stdout").read_text()
    said = call("rm", "tiny")
    assert said.code == 2
    assert "--yes" in said.err
    assert "tiny" in list_studies(workspace)


def test_removing_a_study_from_a_copy_leaves_the_original_alone(
    there: Path, tmp_path: Path, call: Any, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(there / "mlruns", tmp_path / "mlruns")
    before = files(there)
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "mlruns"))
    said = call("rm", "tiny", "--yes")
    assert (said.code, said.err) == (0, "")
    assert "8 runs" in said.out
    assert "are of another workspace and stay" in said.out
    assert "The memory of that goes with it" in said.out
    assert "0.0 MB are free" in said.out
    assert "tiny" not in call("status").out.split()
    assert files(there) == before
    assert "tiny" in list_studies(Workspace.locate(root=there / "mlruns"))
