"""Small systems and the batches that they are fed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.config import parse
from harness.data import Batch, Batches, Facts, Part, kind_of
from harness.systems import SYSTEMS, Precision, System, TrainConfig, draw_inputs
from harness.systems.gan import GAN

GREY = Facts(sample_shape=(1, 8, 8), num_classes=10)
# What points need beside their own data, of whatever system has such settings.
FOR_POINTS: dict[str, Any] = {"dataset": "ring", "architecture": "mlp", "likelihood": "gaussian"}
DEEP: dict[str, Any] = {"g_depth": 2, "d_depth": 2}


def _real_batches(num: int, seed: int = 0) -> Tensor:
    """Return random batches (num, 4, 1, 8, 8) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(num, 4, 1, 8, 8, generator=generator) * 2 - 1


def _random_samples(num: int, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    samples = torch.randint(0, 256, (num, *shape), generator=generator).to(kind_of(shape).dtype)
    return samples / 64 - 2 if samples.is_floating_point() else samples


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
        return SYSTEMS[name](config, Small.fitting(name, facts), torch.device("cpu"), precision)

    @staticmethod
    def fitting(name: str, facts: Facts) -> Facts:
        """Return facts of such data as a system needs: with a second domain, of other channels."""
        if not SYSTEMS[name].Config.translates:
            return facts
        if len(facts.sample_shape) == 1:
            pytest.skip("points are not translated")
        channels, height, width = facts.sample_shape
        return dataclasses.replace(facts, source_shape=(4 - channels, height, width))

    @staticmethod
    def part(facts: Facts, num: int = 11) -> Part:
        """Return random samples, labelled where the data are, and more of a second domain."""
        images = _random_samples(num, facts.sample_shape)
        labels = torch.arange(num) % facts.num_classes if facts.num_classes else None
        sources = Small.sources(facts, num + 2)
        counterpart = None if sources is None else Part(images=sources, labels=None)
        return Part(images=images, labels=labels, counterpart=counterpart)

    @staticmethod
    def sources(facts: Facts, num: int) -> Tensor | None:
        """Return random images to translate; None where none are translated."""
        return None if facts.source_shape is None else _random_samples(num, facts.source_shape)

    @staticmethod
    def inputs(config: TrainConfig, facts: Facts, num: int, seed: int) -> tuple[Tensor, ...]:
        """Return what a system's generator takes."""
        return draw_inputs(config, facts, num, seed, sources=Small.sources(facts, num))

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
