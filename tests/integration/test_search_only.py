"""A study without `[compare]` from its file to its report, and the way its best generator takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.records.workspace import Workspace

STUDY = """
question = "Which architecture, k and loss?"
dataset = "digits"
[fixed]
batch_size = 16
g_width = 4
d_width = 4
latent_dim = 4
[space]
architecture = ["mlp", "dc"]
d_steps = [1, 2]
loss = ["hinge", "minimax"]
[search]
trials_per_arm = 3
[confirm]
seeds = 2
[budget]
images = 64
[evaluate]
times = 1
samples = 64
"""


@pytest.fixture
def place(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_models: None
) -> Path:
    """Stand in a folder with the file."""
    monkeypatch.setenv("HARNESS_HOME", str(workspace.root))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.toml").write_text(STUDY)
    return tmp_path


def test_one_search_ends_with_the_best_settings_confirmed(place: Path, call: Any) -> None:
    machine = ["--device", "cpu", "--threads", 1, "--workers", 1]
    planned = call("run", "best.toml", "--dry-run", *machine)
    assert planned.code == 0, planned.err
    assert "tuned: 3 search + 2 confirm runs" in planned.out

    run = call("run", "best.toml", *machine, "--quiet")
    assert run.code == 0, run.err
    assert "The best of 3 trials has architecture = " in run.out
    assert "over 2 fresh seeds (validation FID" in run.out
    summary = json.loads(call("status", "best", "--json").out)
    (arm,) = summary["arms"]
    assert arm["name"] == "tuned"
    assert set(arm["settings"]) == {"architecture", "d_steps", "loss"}
    assert (summary["comparisons"], summary["marginals"]) == ([], [])  # of three trials

    written = call("report", "best", "--output", "out", "--quiet")
    assert written.code == 0, written.err
    text = (place / "out/report.md").read_text()
    assert "**Answer.** The best of 3 trials has architecture" in text
    assert "This holds for the space that was searched" in text
    assert "Nothing is compared." in text
    for word in ("beats", "loses to", "baseline", "Mann", "compared with"):
        assert word not in text, word


def test_neither_compare_nor_space_is_one_line(place: Path, call: Any) -> None:
    (place / "best.toml").write_text(STUDY.replace("[space]", "[variants.mine]"))
    refused = call("run", "best.toml", "--dry-run")
    assert refused.code == 2
    assert "compare is missing, and so is space" in refused.err
    assert "Traceback" not in refused.err
