"""A descriptive study from its file to its report: everything is shown, and nothing is ranked."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.records.workspace import Workspace

STUDY = """
question = "What do the systems make?"
dataset = "digits"
descriptive = true
[compare]
preset = ["long", "coder"]
[confirm]
seeds = 1
[budget]
preset = 1
[evaluate]
times = 2
samples = 64
"""
RANKING = re.compile(r"beats|loses to|resolved|P\(|Mann|Holm|Newcombe|baseline|least attainable")


@pytest.fixture
def place(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    add_preset: Any, tiny_settings: dict[str, Any], no_models: None,
) -> Path:  # fmt: skip
    """Stand in a folder with the file of a study of a GAN and a VAE in their own budgets."""
    monkeypatch.setenv("HARNESS_HOME", str(workspace.root))
    monkeypatch.chdir(tmp_path)
    small = {"latent_dim": 4, "batch_size": 16, "encoder_width": 4}
    deviations = ["z is much smaller."]
    add_preset("long", settings=tiny_settings, budget={"images": 640}, deviations=deviations)
    add_preset("coder", settings={"system": "vae", **small}, budget={"images": 320})
    (tmp_path / "notes.toml").write_text(STUDY)
    return tmp_path


def test_everything_is_shown_and_nothing_is_ranked(place: Path, call: Any) -> None:
    machine = ["--device", "cpu", "--threads", 1, "--workers", 1]
    planned = call("run", "notes.toml", "--dry-run", *machine)
    assert planned.code == 0
    assert "2 runs, about" in planned.out
    assert planned.out.rstrip().endswith("nothing is ranked")

    run = call("run", "notes.toml", *machine, "--quiet")
    assert run.code == 0, run.err
    status = call("status", "notes")
    assert "Budgets differ; nothing is ranked" in run.out
    assert run.out.index("│ long") < run.out.index("│ coder")
    summary = json.loads(call("status", "notes", "--json").out)
    assert summary["comparisons"] == []
    assert [arm["budget"] for arm in summary["arms"]] == ["640 real images", "320 real images"]

    written = call("report", "notes", "--output", "out", "--quiet")
    assert written.code == 0, written.err
    texts = {name: (place / "out" / name).read_text() for name in ("report.md", "tables.tex")}
    texts["report.html"] = re.sub(r'"data:[^"]*"', "", (place / "out/report.html").read_text())
    for text in (planned.out, run.out, status.out, written.out, *texts.values()):
        assert not RANKING.search(text), RANKING.search(text)
    for name, text in texts.items():
        results = text[re.search(r"n\\?_ok/n", text).end() :]  # type: ignore[union-attr]
        assert results.index("long") < results.index("coder"), name
        assert "least p" not in text
    assert "Budgets differ; nothing is ranked. Test FID in the file" in texts["report.md"]
    assert "z is much smaller." in texts["report.md"]
    with (place / "out/runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["param.budget.images"]) for row in rows] == [
        ("long", "640"), ("coder", "320"),
    ]  # fmt: skip

    refused = call("export", "notes", "-o", "best")
    assert refused.code == 2
    assert all(word in refused.err for word in ("descriptive", "--arm", "long", "coder"))
    assert call("export", "notes", "-o", "best", "--arm", "coder").code == 0


def test_a_descriptive_study_does_not_become_a_ranking(place: Path, call: Any) -> None:
    """Else one that was started to rank could be shown without its tests, and the reverse."""
    machine = ["--device", "cpu", "--threads", 1, "--workers", 1, "--quiet"]
    assert call("run", "notes.toml", *machine).code == 0
    equal = ["--set", "descriptive=false", "--set", "budget.images=320"]
    refused = call("run", "notes.toml", *machine, *equal)
    assert refused.code == 2
    assert "descriptive = true, the file now says false" in refused.err
