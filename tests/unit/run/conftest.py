"""Small GANs and a few images, to be trained in no time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.data import Part
from harness.systems.gan import GAN

SHALLOW: dict[str, Any] = {"g_depth": 1, "d_depth": 1, "budget": {"g_steps": 12}}


@pytest.fixture(scope="session")
def make(small_gan: Callable[..., GAN]) -> Callable[..., GAN]:
    """Return the function that makes small GANs, or those of a subclass."""
    return lambda kind=GAN, **changes: small_gan(kind, **SHALLOW | changes)


@pytest.fixture
def part() -> Part:
    """Return ten random images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (10, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return Part(images=images, labels=None)
