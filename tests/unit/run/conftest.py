"""Small GANs and a few images, to be trained in no time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.config import parse
from harness.data import Facts, Part
from harness.systems.gan import GAN, GANConfig

SMALL: dict[str, Any] = {
    "dataset": "digits",
    "image_size": 8,
    "architecture": "mlp",
    "latent_dim": 3,
    "batch_size": 4,
    "g_width": 4,
    "d_width": 4,
    "g_depth": 1,
    "d_depth": 1,
    "budget": {"g_steps": 12},
}


def _make(kind: type[GAN] = GAN, **changes: Any) -> GAN:
    """Return a small GAN, or one of a subclass, for grey images of 8x8."""
    config = parse(GANConfig, SMALL | changes, "test")
    return kind(config, Facts(sample_shape=(1, 8, 8)), torch.device("cpu"))


@pytest.fixture(scope="session")
def make() -> Callable[..., GAN]:
    """Return the function that makes small GANs."""
    return _make


@pytest.fixture
def part() -> Part:
    """Return ten random images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (10, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return Part(images=images, labels=None)
