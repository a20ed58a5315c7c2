"""A store and an export written by commit a89f2a2, before systems had settings of their own."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.pictures import image_grid
from harness.errors import HarnessError
from harness.records.workspace import Workspace
from harness.results.export import export_best, sample
from harness.results.report import write_report
from harness.results.reproduce import reproduce_run
from harness.results.status import read_status
from harness.study.file import load_study
from harness.systems.architectures import ARCHITECTURES
from harness.work.board import list_studies

ASSET = Path(__file__).parents[1] / "assets" / "store_a89f2a2.tar.xz"
PLACE = "/OLD_STORE"  # MLflow keeps absolute paths


@pytest.fixture
def old(tmp_path: Path, locate: Callable[[Path], Workspace]) -> Workspace:
    """Return the old workspace, unpacked; the export lies beside it."""
    with tarfile.open(ASSET) as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / "mlruns"
    connection = sqlite3.connect(root / "mlflow.db")
    for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
        connection.execute(
            f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (PLACE, str(root))
        )
    connection.commit()
    connection.close()
    return locate(root)


def test_status_reads_an_old_study(old: Workspace) -> None:
    assert list_studies(old) == ["old"]
    status = read_status("old", old)
    assert status.summary.complete
    assert [arm.name for arm in status.summary.arms] == ["non_saturating", "hinge"]
    assert all(arm.num_scored == 2 for arm in status.summary.arms)


def test_report_reads_an_old_study(old: Workspace, tmp_path: Path) -> None:
    report = write_report(["old"], old, tmp_path / "report")
    assert report.num_runs == 6
    assert "non_saturating" in report.answer


def test_an_old_run_is_exported_and_sampled_as_it_was(old: Workspace, tmp_path: Path) -> None:
    exported = export_best("old", tmp_path / "new", old)
    before = json.loads((tmp_path / "export" / "record.json").read_text())
    assert exported.run_id == before["run_id"]
    assert exported.scores == before["scores"]
    images = sample(tmp_path / "export", 64)
    assert torch.equal(images, sample(tmp_path / "new", 64))
    with Image.open(tmp_path / "export" / "samples.png") as picture:
        drawn = np.asarray(picture.convert("RGB"))
    assert np.array_equal(image_grid(images), drawn)


def test_an_old_run_is_reproduced_within_its_rounding(old: Workspace) -> None:
    run_id = export_best("old", old.root / "best", old).run_id
    reproduction = reproduce_run(run_id, old)
    # It was made on a processor of which nothing is known, perhaps with other libraries.
    assert "the record does not name its processor" in reproduction.inexact_because
    assert reproduction.outcome_here == "finished"
    assert all(each.recorded is not None for each in reproduction.final)
    assert reproduction.reproduced, reproduction.verdict


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    """Return the file that the old study was started with, confirm seeds left to say."""
    file = tmp_path / "study.toml"
    file.write_text(
        'question = "Is the hinge loss better?"\ndataset = "digits"\n'
        'baseline = { loss = "non_saturating" }\n'
        'fixed = { architecture = "mlp", latent_dim = 4, batch_size = 16, g_width = 4, '
        "d_width = 4, g_depth = 1, d_depth = 1 }\n"
        'compare = { loss = ["non_saturating", "hinge"] }\n'
        "space = { g_lr = { low = 1e-4, high = 1e-1, log = true } }\n"
        "search = { trials_per_arm = 1 }\nconfirm = { seeds = 2 }\n"
        "budget = { images = 320 }\nevaluate = { times = 2, samples = 64 }\n"
    )
    return file


def test_an_old_study_does_not_go_on_with_other_defaults(old: Workspace, study_file: Path) -> None:
    from harness.launch import run_study

    more = load_study(study_file, ["confirm.seeds=3"])
    words = "'old' was started with g_norm_after = False in arm 'non_saturating'"
    with pytest.raises(HarnessError, match=words):
        run_study("old", more, old, device="cpu", threads=1, underpowered=True)
    # What it has is whole, and is shown.
    assert run_study("old", load_study(study_file), old, device="cpu", threads=1).complete


def test_an_old_study_goes_on_where_its_defaults_hold(
    old: Workspace, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.launch import run_study

    then = dataclasses.replace(ARCHITECTURES["mlp"], gan_defaults={"average": 0})
    monkeypatch.setitem(ARCHITECTURES._entries, "mlp", then)
    more = load_study(study_file, ["confirm.seeds=3"])
    summary = run_study("old", more, old, device="cpu", threads=1, underpowered=True)
    assert summary.complete
    assert [arm.num_scored for arm in summary.arms] == [3, 3]
