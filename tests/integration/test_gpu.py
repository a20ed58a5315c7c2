"""The same code on a CUDA device; skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config import parse
from harness.data import Batch, Facts, load_dataset
from harness.evaluate import EvaluateConfig
from harness.launch import train_once
from harness.records.workspace import Workspace
from harness.run.loop import Measured, train
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan import GAN, GANConfig

pytestmark = pytest.mark.gpu

FACTS = Facts(sample_shape=(1, 16, 16), num_classes=10)

SETTINGS = {
    "dataset": "digits",
    "g_width": 8,
    "d_width": 8,
    "batch_size": 16,
    "d_steps": 2,
    "budget": {"images": 640},
}


def _config(**changes: object) -> GANConfig:
    return parse(GANConfig, SETTINGS | changes, "test")


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"architecture": architecture, "penalty": penalty, "d_norm": "none"}
            for architecture in ARCHITECTURES
            for penalty in ("none", "gradient", "r1")
        ),
        {"augment": "translation+cutout+flip+rotation+crop", "augment_target": 0.6},
        {"conditioning": "concatenation", "average": 1000, "smooth_real": 0.1},
        {"conditioning": "projection", "flip_labels": 0.1, "clip_grad": 1.0},
        {"pack": 2, "instance_noise": 0.1, "d_minibatch_std": True},
        {"g_attention": True, "d_attention": True, "g_residual": 1, "d_residual": 1},
        {"d_norm": "spectral", "optimizer": "rmsprop", "schedule": "linear", "warm_up": 0.1},
    ],
    ids=str,
)
def test_a_step_never_waits_for_the_device(changes: dict[str, Any]) -> None:
    device = torch.device("cuda")
    system = GAN(_config(**changes), FACTS, device)
    images = torch.rand(16, 1, 16, 16, device=device)
    batch = Batch(images=images, labels=torch.arange(16, device=device) % 10)
    system.step(lambda: batch, 0.0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        system.step(lambda: batch, 0.5)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_both_devices_start_from_the_same_weights(tmp_path: Path) -> None:
    config = _config()
    on_cpu = GAN(config, FACTS, torch.device("cpu"))
    on_gpu = GAN(config, FACTS, torch.device("cuda"))
    for ours, theirs in zip(
        on_cpu.generator.parameters(), on_gpu.generator.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs.cpu())


def test_resuming_from_a_snapshot_trains_on(tmp_path: Path) -> None:
    device = torch.device("cuda")
    part = load_dataset("digits", tmp_path).train.to(device)
    events = train(GAN(_config(), FACTS, device), part, milestones=1)
    snapshot = next(event for event in events if isinstance(event, Measured)).snapshot()
    torch.save(snapshot, tmp_path / "snapshot.pt")
    events.close()
    saved = torch.load(tmp_path / "snapshot.pt", weights_only=True, map_location="cpu")
    *_, last = train(GAN(_config(), FACTS, device), part, milestones=1, resume=saved)
    assert last.progress.images_seen == 640


def test_a_run_trains_scores_and_records(tmp_path: Path) -> None:
    workspace = Workspace.locate(root=tmp_path / "mlruns")
    evaluate = EvaluateConfig(samples=64, times=2)
    _, result = train_once(_config(), evaluate, workspace, device="cuda")
    assert result.outcome in ("finished", "collapsed")
    assert result.scores
