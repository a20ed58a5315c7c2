"""Golden trajectories: the losses of two small runs, number by number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from harness.config import parse
from harness.data import load_dataset
from harness.run.loop import Measured, train
from harness.systems.gan import GAN, GANConfig

# (D's loss, G's loss) of 20 iterations. A change of these numbers is a change of results and an
# entry in CHANGELOG.md.
GOLDEN: dict[str, list[tuple[float, float]]] = {
    "mlp": [
        (1.385268, 0.7836493),
        (1.372983, 0.7814433),
        (1.359754, 0.7787253),
        (1.34034, 0.777559),
        (1.327375, 0.776484),
        (1.308452, 0.7759092),
        (1.284901, 0.7761399),
        (1.260921, 0.7754048),
        (1.240064, 0.7736557),
        (1.204059, 0.7734575),
        (1.171072, 0.7711949),
        (1.139999, 0.7669865),
        (1.103157, 0.7668248),
        (1.081125, 0.7588172),
        (1.035597, 0.7568693),
        (0.9986372, 0.7498409),
        (0.9796926, 0.7489308),
        (0.9502056, 0.7492913),
        (0.9337727, 0.7425747),
        (0.9325446, 0.7544869),
    ],
    "dc": [
        (1.385503, 0.6940483),
        (1.384205, 0.6943646),
        (1.382523, 0.6955199),
        (1.379904, 0.6969626),
        (1.37564, 0.6985872),
        (1.369657, 0.6998198),
        (1.359852, 0.7009261),
        (1.349577, 0.7017018),
        (1.337058, 0.7015677),
        (1.323031, 0.7005103),
        (1.299737, 0.6977389),
        (1.284025, 0.6971227),
        (1.263058, 0.6949516),
        (1.23056, 0.696332),
        (1.21921, 0.6945387),
        (1.189278, 0.6957018),
        (1.175259, 0.6957884),
        (1.13556, 0.6984674),
        (1.13048, 0.7030046),
        (1.094051, 0.7092181),
    ],
}


def golden_run(architecture: str) -> Iterator[tuple[float, float]]:
    digits = load_dataset("digits", Path("nowhere"), 8)
    values = {
        "dataset": "digits",
        "image_size": 8,
        "architecture": architecture,
        "g_width": 8,
        "d_width": 8,
        "latent_dim": 16,
        "batch_size": 16,
        "g_activation": "relu",
        "g_norm_after": False,
        "d_norm": "none",
        "d_dropout": 0.0,
        "average": 0,
        "d_steps": 2,
        "penalty": "r1",
        "penalty_weight": 0.1,
        "g_lr": 1e-3,
        "d_lr": 1e-3,
        "budget": {"g_steps": 20},
        "seed": 7,
    }
    gan = GAN(parse(GANConfig, values, "test"), digits.facts, torch.device("cpu"))
    for event in train(gan, digits.train, milestones=2):
        if isinstance(event, Measured):
            yield event.values["d_loss"], event.values["g_loss"]


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_golden_trajectory(architecture: str) -> None:
    got = list(golden_run(architecture))
    assert len(got) == 20
    for number, (pair, expected) in enumerate(zip(got, GOLDEN[architecture], strict=True), 1):
        # Linear algebra libraries differ in the last digits.
        assert pair == pytest.approx(expected, rel=1e-4), f"iteration {number}"
