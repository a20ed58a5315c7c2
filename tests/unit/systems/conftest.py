"""Small GANs and the batches that they are fed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.data import Batch
from harness.systems import System
from harness.systems.gan import GAN

DEEP: dict[str, Any] = {"g_depth": 2, "d_depth": 2}


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
def make_gan(small_gan: Callable[..., GAN]) -> Callable[..., GAN]:
    """Return the function that makes small GANs."""
    return lambda **changes: small_gan(GAN, **DEEP | changes)


@pytest.fixture(scope="session")
def real_batches() -> Callable[..., Tensor]:
    """Return the function that makes batches for them."""
    return _real_batches


@pytest.fixture(scope="session")
def advance() -> Callable[..., dict[str, Tensor]]:
    """Return the function that runs one iteration on given batches."""
    return _advance
