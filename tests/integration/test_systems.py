"""Two systems in one study: trained, scored, reported, reproduced and exported side by side."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from harness.config import parse
from harness.data import load_dataset
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig, Evaluator
from harness.launch import train_once
from harness.records.tracking import Tracker
from harness.records.workspace import Workspace
from harness.results.export import export_best, sample
from harness.results.report import Report, write_report
from harness.results.reproduce import reproduce_run
from harness.results.summary import StudySummary
from harness.study.study import StudyConfig
from harness.systems import System, load_network

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


@pytest.fixture
def conditional(
    stamp: type[System[Any]],
    workspace: Workspace,
    no_models: None,
    launch: Callable[..., StudySummary],
) -> StudySummary:
    """Return a finished study of a conditional system, ranked by a figure of its own."""
    settings = {
        "question": "Does the average help?",
        "dataset": "digits",
        "fixed": {"system": "stamp", "batch_size": 80},
        "compare": {"latent_dim": [1, 2]},
        "confirm": {"seeds": 2},
        "budget": {"images": 1600},
        "evaluate": {"times": 1, "samples": 64, "objective": "intra_fid"},
    }
    return launch(workspace, parse(StudyConfig, settings, "test"))


def test_a_conditional_system_in_a_study(
    conditional: StudySummary, workspace: Workspace, tmp_path: Path
) -> None:
    assert conditional.complete
    assert conditional.metric == "test/intra_fid_digits_cnn_v2_64"
    assert conditional.floor is not None
    assert all(arm.mean is not None and arm.mean > conditional.floor for arm in conditional.arms)

    folder = tmp_path / "best"
    for _ in range(2):  # the second replaces the first, with the files of all networks
        exported = export_best("tiny", folder, workspace)
    files = {"raw_generator.safetensors", "critic.safetensors", "generator.safetensors"}
    assert files == {file.name for file in folder.glob("*.safetensors")}
    card = (folder / "README.md").read_text()
    for words in (
        "| `generator.safetensors` | weights of the network `average`",
        "| `raw_generator.safetensors` | weights of the network `generator` |",
        "| `critic.safetensors` | weights of the network `critic` |",
        "--class 3",
        "a row per class",
    ):
        assert words in card
    assert load_network(folder, "critic").keys() == {"weight", "bias"}
    with Image.open(folder / "samples.png") as picture:
        width, height = picture.size
    assert abs(width - height) < 0.1 * width  # ten classes of ten samples, not 8 x 8

    of_class, mixed = sample(folder, 40, label=3), sample(folder, 40)
    assert torch.equal(of_class, sample(folder, 40, label=3))
    assert not torch.equal(of_class, mixed)
    scorer = Evaluator(
        load_dataset("digits", workspace.data_dir),
        EvaluateConfig(samples=64),
        cache_dir=workspace.cache,
        device=torch.device("cpu"),
    )
    found = scorer.classes_of(of_class)
    assert found is not None
    assert (found == 3).float().mean() > 0.9
    with pytest.raises(HarnessError, match="class 10: allowed are 0 to 9"):
        sample(folder, 2, label=10)
    assert not reproduce_run(exported.run_id, workspace).differing


def test_a_systems_own_pictures_are_recorded_reported_and_reproduced(
    stamp: type[System[Any]], conditional: StudySummary, workspace: Workspace, tmp_path: Path
) -> None:
    run_id = export_best("tiny", tmp_path / "best", workspace).run_id
    tracker = Tracker(workspace)
    assert [*tracker.grids(run_id, "learned")] == [1600]
    assert [*tracker.grids(run_id, "ended")] == [1600]
    assert tracker.grid_keys(run_id) == ["classes", "ended", "learned", "neighbours", "samples"]
    reproduction = reproduce_run(run_id, workspace)
    assert reproduction.grids == 5
    assert not reproduction.differing
    report = write_report(["tiny"], workspace, tmp_path / "report")
    text = (report.folder / "report.md").read_text()
    for key, caption in stamp.pictures(stamp.Config()).items():
        assert (report.folder / "figures" / f"{key}.png").exists()
        assert f"such a picture: {caption}." in text


def test_a_study_that_ranks_by_what_an_arm_lacks_is_refused(
    stamp: type[System[Any]], workspace: Workspace, launch: Callable[..., StudySummary]
) -> None:
    settings = STUDY | {
        "fixed": {"system": "stamp", "batch_size": 80},
        "variants": {"with": {"conditional": True}, "without": {"conditional": False}},
        "compare": {"variant": ["with", "without"]},
        "search": {},
        "evaluate": {"samples": 64, "objective": "intra_fid"},
    }
    with pytest.raises(HarnessError, match=r"'intra_fid' ranks samples .* system = 'stamp' with"):
        launch(workspace, parse(StudyConfig, settings, "test"))
    study = parse(StudyConfig, settings | {"evaluate": {"samples": 64}}, "test")
    config = study.arms()[1].config({}, seed=1)
    with pytest.raises(HarnessError, match="'intra_fid' ranks samples"):
        train_once(config, EvaluateConfig(samples=64, objective="intra_fid"), workspace)
