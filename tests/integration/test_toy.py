"""Points of known density from a study file to a report: all that images can, points can."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.config import parse
from harness.data import DENSITIES, load_dataset
from harness.data.kinds import POINTS
from harness.data.pictures import REAL_FILE, read_picture
from harness.errors import HarnessError
from harness.launch import preview
from harness.records.tracking import Tracker
from harness.records.workspace import Workspace
from harness.results.export import export_best, sample, write_samples
from harness.results.report import write_report
from harness.results.reproduce import reproduce_run
from harness.results.score import score_images
from harness.results.status import read_status
from harness.results.summary import StudySummary
from harness.run.execution import Execution
from harness.study.study import StudyConfig
from harness.systems import SYSTEMS, load_generator, parse_config, save_generator

SMALL: dict[str, Any] = {"latent_dim": 2, "batch_size": 16}
VARIANTS: dict[str, Any] = {
    "plain": {"architecture": "points", "g_width": 8, "d_width": 8},
    "critic": {"architecture": "mlp", "g_width": 4, "d_width": 4, "loss": "wasserstein"},
    "of_class": {"architecture": "points", "g_width": 8, "conditioning": "concatenation"},
    "vae": {"system": "vae", "likelihood": "gaussian", "decoder_width": 8, "encoder_width": 8},
}
STUDY = {
    "question": "Does any of them find the ring?",
    "dataset": "ring",
    "fixed": SMALL,
    "variants": VARIANTS,
    "compare": {"variant": list(VARIANTS)},
    "confirm": {"seeds": 2},
    "budget": {"images": 320},
    "evaluate": {"times": 2, "samples": 64, "objective": "coverage"},
}


@pytest.fixture
def finished(
    workspace: Workspace, no_models: None, launch: Callable[..., StudySummary]
) -> StudySummary:
    """Return a finished study of points."""
    return launch(workspace, parse(StudyConfig, STUDY, "test"))


def test_a_study_of_points(finished: StudySummary, workspace: Workspace, tmp_path: Path) -> None:
    assert finished.complete
    assert finished.metric == "test/coverage_points_64"
    assert {arm.name: arm.num_scored for arm in finished.arms} == dict.fromkeys(VARIANTS, 2)
    assert json.dumps(read_status("tiny", workspace).to_json())

    folder = write_report(["tiny"], workspace, tmp_path / "report").folder
    text = (folder / "report.md").read_text()
    for words in ("real points", "high quality", "D's levels", "64 real points, in single precis"):
        assert words in text
    figures = {file.stem for file in (folder / "figures").glob("*.png")}
    assert {"samples", "over_training", "classes", "levels"} <= figures
    assert "neighbours" not in figures

    tracker, density = Tracker(workspace), DENSITIES["ring"]
    for arm in VARIANTS:
        exported = export_best("tiny", tmp_path / arm, workspace, arm=arm)
        reproduction = reproduce_run(exported.run_id, workspace)
        assert not reproduction.differing
        keys = tracker.grid_keys(exported.run_id)
        assert ("levels" in keys) == (arm in ("plain", "critic"))
        assert [*tracker.grids(exported.run_id)] == [192, 320]
        generator, spec = load_generator(tmp_path / arm)
        assert spec.sample_shape == (2,)
        assert spec.density == density
        with torch.no_grad():
            assert generator(*spec.draw_inputs(5, seed=1)).shape == (5, 2)
        points = sample(tmp_path / arm, 7)
        assert (points.shape, points.dtype) == ((7, 2), torch.float32)
        with Image.open(tmp_path / arm / "samples.png") as picture:
            drawn = np.asarray(picture)
        if arm == "plain":
            again = sample(tmp_path / arm, POINTS.num_shown)
            assert np.array_equal(drawn, POINTS.picture(again, density))
    parent = tracker.run(exported.run_id).data.tags["mlflow.parentRunId"]
    real = tracker.attached(parent, REAL_FILE, read_picture)
    assert real is not None
    assert real.shape == drawn.shape  # the same axes: one can be laid on the other


def test_samples_of_points_as_files_and_their_scores(workspace: Workspace, tmp_path: Path) -> None:
    best = tmp_path / "best"
    config = parse_config({"dataset": "ring"} | SMALL | VARIANTS["of_class"], "test")
    facts = load_dataset("ring", workspace.data_dir).facts
    made = SYSTEMS[config.system](config, facts, torch.device("cpu")).networks["average"].eval()
    save_generator(best, made, config, facts)
    write_samples(sample(best, 100, seed=3), tmp_path / "a.npz", best)
    points = np.load(tmp_path / "a.npz")["points"]
    assert (points.shape, points.dtype) == ((100, 2), np.float32)
    assert np.array_equal(points, sample(best, 100, seed=3).numpy())
    write_samples(sample(best, 100, seed=3, label=2), tmp_path / "a.png", best)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (384, 384)

    scored = score_images(tmp_path / "a.npz", "ring", workspace)
    assert scored.protocol == "points_100"
    found = {line.figure.name: line for line in scored.lines}
    assert {"fid", "modes", "high_quality", "modes_hit", "coverage"} <= found.keys()
    assert found["high_quality"].floor == pytest.approx(0.989, abs=0.05)

    def refused(message: str, **arrays: Any) -> None:
        np.savez(tmp_path / "b.npz", **arrays)
        with pytest.raises(HarnessError, match=message):
            score_images(tmp_path / "b.npz", "ring", workspace)

    refused("has no array `points`, only images", images=points)
    refused(
        r"`points` is float64 of shape \(100, 2\); allowed is float32 of",
        points=points.astype(float),
    )
    refused(r"float32 of shape \(N, 2\) for dataset 'ring'", points=points[:, :1])
    refused("`points` has values that are not finite", points=points * np.float32("nan"))
    with pytest.raises(HarnessError, match=r"is a folder, and dataset 'ring' has points; give"):
        score_images(tmp_path, "ring", workspace)
    with pytest.raises(HarnessError, match=r"must be a \.npz file with `points`"):
        score_images(tmp_path / "a.png", "ring", workspace)
    with pytest.raises(HarnessError, match="image_size = 32: dataset 'ring' has points"):
        score_images(tmp_path / "a.npz", "ring", workspace, image_size=32)
    with pytest.raises(HarnessError, match="extractor = 'inception': dataset 'ring' has points"):
        score_images(tmp_path / "a.npz", "ring", workspace, ruler="inception")


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({}, "architecture = 'dc': makes images, and ring has points; allowed are 'mlp', 'points'"),
        ({"architecture": "mlp", "g_output": "tanh"}, "g_output = 'tanh': ring has points, whose"),
        ({"architecture": "mlp", "pad_to": 32}, "pad_to = 32: ring has points, which have no"),
        ({"architecture": "mlp", "augment": "flip"}, "augment = 'flip': ring has points"),
        ({"architecture": "mlp", "g_attention": True}, "g_attention = True with architecture"),
        ({"architecture": "mlp", "image_size": 16}, "image_size = 16: dataset 'ring' has points"),
        ({"system": "vae"}, "likelihood = 'bernoulli': ring has points, whose values"),
    ],
)
def test_what_points_cannot_have_is_refused_before_anything_starts(
    fixed: dict[str, Any], message: str, workspace: Workspace
) -> None:
    changed = {"fixed": {"batch_size": 16} | fixed, "variants": {}}
    settings = STUDY | changed | {"compare": {"latent_dim": [2, 3]}}
    execution = Execution(device="cpu", threads=1)
    with pytest.raises(HarnessError, match=message) as refusal:
        preview("tiny", parse(StudyConfig, settings, "test"), workspace, execution, 1)
    assert "\n" not in str(refusal.value)
