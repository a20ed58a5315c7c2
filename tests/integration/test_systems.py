"""Two systems in one study: trained, scored, reported, reproduced and exported side by side."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config import parse
from harness.records.workspace import Workspace
from harness.results.export import export_best, sample
from harness.results.report import Report, write_report
from harness.results.reproduce import reproduce_run
from harness.results.summary import StudySummary
from harness.study.study import StudyConfig

GAN: dict[str, Any] = {
    "system": "gan",
    "architecture": "mlp",
    "latent_dim": 4,
    "g_width": 4,
    "d_width": 4,
}
VAE: dict[str, Any] = {
    "system": "vae",
    "latent_dim": 4,
    "encoder_width": 8,
    "decoder_width": 8,
}
VARIANTS: dict[str, Any] = {
    "pair": {**GAN, "space": {"g_lr": {"low": 1e-4, "high": 1e-2, "log": True}}},
    "bernoulli": {**VAE, "space": {"lr": {"low": 1e-4, "high": 1e-2, "log": True}}},
    "gaussian": {**VAE, "likelihood": "gaussian", "space": {"lr": [1e-3, 1e-2]}},
}
STUDY = {
    "question": "Does a VAE beat a GAN?",
    "dataset": "digits",
    "fixed": {"batch_size": 16},
    "variants": VARIANTS,
    "compare": {"variant": list(VARIANTS)},
    "search": {"trials_per_arm": 2},
    "confirm": {"seeds": 2},
    "budget": {"images": 320},
    "evaluate": {"times": 2, "samples": 64},
}


@pytest.fixture
def compared(
    workspace: Workspace,
    no_models: None,
    launch: Callable[..., StudySummary],
) -> StudySummary:
    """Return a finished study of a GAN and two VAEs."""
    study = parse(StudyConfig, STUDY, "test")
    return launch(workspace, study)


def test_a_gan_and_two_vaes_in_one_study(
    compared: StudySummary, workspace: Workspace, tmp_path: Path
) -> None:
    assert compared.complete
    assert {arm.name: arm.num_scored for arm in compared.arms} == dict.fromkeys(VARIANTS, 2)

    report: Report = write_report(["tiny"], workspace, tmp_path / "report")
    text = (report.folder / "report.md").read_text()
    for declared in ("generator's loss", "negative evidence bound"):
        assert declared in text
    assert "encoder" in text
    assert "discriminator" in text

    with (report.folder / "runs.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["phase"] == "confirm"]
    for arm in VARIANTS:
        row = next(row for row in rows if row["arm"] == arm)
        reproduction = reproduce_run(row["run_id"], workspace)
        assert not reproduction.differing
        folder = tmp_path / arm
        export_best("tiny", folder, workspace, arm=arm)
        images = sample(folder, 8)
        assert images.shape == (8, 1, 16, 16)
        assert torch.equal(images, sample(folder, 8))
