"""Small systems and the batches that they are fed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.config import parse
from harness.data import Batch, Batches, Facts, Part
from harness.systems import SYSTEMS, Precision, System, TrainConfig
from harness.systems.gan import GAN

GREY = Facts(sample_shape=(1, 8, 8), num_classes=10)
# What points need beside their own data, of whatever system has such settings.
FOR_POINTS: dict[str, Any] = {"dataset": "ring", "architecture": "mlp", "likelihood": "gaussian"}
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


class Small:
    """Makes small systems of any kind, and random images for them."""

    @staticmethod
    def config(name: str, **changes: Any) -> TrainConfig:
        """Return a system's config with small networks, whatever their sizes are called."""
        sizes = {
            key: 4 if key.endswith("width") else 3
            for key in SYSTEMS[name].Config.model_fields
            if key.endswith(("width", "latent_dim"))
        }
        settings = {"system": name, "dataset": "digits", "batch_size": 4}
        budget = {"budget": {"images": 20}}
        return parse(SYSTEMS[name].Config, settings | sizes | budget | changes, "test")

    @staticmethod
    def system(
        name: str,
        facts: Facts = GREY,
        precision: Precision = "float32",
        **changes: Any,
    ) -> System[Any]:
        """Return a system with that config, and with what these data need."""
        if facts.kind is not GREY.kind:
            known = SYSTEMS[name].Config.model_fields
            changes = {k: v for k, v in FOR_POINTS.items() if k in known} | changes
        config = Small.config(name, **changes)
        return SYSTEMS[name](config, facts, torch.device("cpu"), precision)

    @staticmethod
    def part(facts: Facts, num: int = 11) -> Part:
        """Return random samples, labelled where the data are."""
        generator = torch.Generator().manual_seed(0)
        shape = (num, *facts.sample_shape)
        images = torch.randint(0, 256, shape, generator=generator).to(facts.kind.dtype)
        images = images if facts.kind is GREY.kind else images / 64 - 2
        labels = torch.arange(num) % facts.num_classes if facts.num_classes else None
        return Part(images=images, labels=labels)

    @staticmethod
    def stream(system: System[Any]) -> Batches:
        """Return batches of such images for a system."""
        order = torch.Generator().manual_seed(1)
        return Batches(Small.part(system.facts), system.config.batch_size, order)


@pytest.fixture(scope="session")
def small() -> type[Small]:
    """Return what makes small systems."""
    return Small


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
