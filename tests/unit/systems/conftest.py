"""Small GANs and the batches that they are fed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.config import parse
from harness.data import Batch, Facts
from harness.systems import System
from harness.systems.gan import GAN, GANConfig

SMALL: dict[str, Any] = {
    "dataset": "digits",
    "image_size": 8,
    "architecture": "mlp",
    "latent_dim": 3,
    "batch_size": 4,
    "g_width": 4,
    "d_width": 4,
    "g_depth": 2,
    "d_depth": 2,
}


def _make_gan(**changes: Any) -> GAN:
    """Return a small GAN for grey images of 8x8, in batches of 4."""
    config = parse(GANConfig, SMALL | changes, "test")
    return GAN(config, Facts(sample_shape=(1, 8, 8)), torch.device("cpu"))


def _real_batches(num: int, seed: int = 0) -> Tensor:
    """Return random batches (num, 4, 1, 8, 8) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(num, 4, 1, 8, 8, generator=generator) * 2 - 1


def _advance(system: System[Any], batches: Tensor) -> dict[str, Tensor]:
    """Run one iteration, which must take exactly these batches (num, N, C, H, W)."""
    feed = iter(batches)
    measures = system.step(lambda: Batch(images=next(feed), labels=None), 0.0)
    assert next(feed, None) is None, "a batch was not taken"
    return measures


@pytest.fixture(scope="session")
def make_gan() -> Callable[..., GAN]:
    """Return the function that makes small GANs."""
    return _make_gan


@pytest.fixture(scope="session")
def real_batches() -> Callable[..., Tensor]:
    """Return the function that makes batches for them."""
    return _real_batches


@pytest.fixture(scope="session")
def advance() -> Callable[..., dict[str, Tensor]]:
    """Return the function that runs one iteration on given batches."""
    return _advance
