"""What every pair of networks must do, a plugin's too: whatever is registered is tested."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.config import parse
from harness.data import Batches, Facts, Part
from harness.errors import HarnessError
from harness.randomness import seeded
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan import GAN, GANConfig
from harness.systems.layers import ACTIVATIONS, NORMS, Dropout

CPU = torch.device("cpu")
SHAPES = [(1, 8, 8), (3, 12, 12), (1, 28, 28), (3, 32, 32), (1, 8, 12)]
SMALL = (1, 16, 16)
LATENT_DIM = 6

pytestmark = pytest.mark.parametrize("name", list(ARCHITECTURES))


def config(name: str, **changes: Any) -> GANConfig:
    small = {"g_width": 4, "d_width": 4, "latent_dim": LATENT_DIM, "batch_size": 4}
    settings = {"architecture": name, "dataset": "digits", "budget": {"images": 12}}
    return parse(GANConfig, settings | small | changes, "test")


def pair(
    name: str, shape: tuple[int, int, int] = SMALL, **changes: Any
) -> tuple[nn.Module, nn.Module]:
    """Return a generator and a discriminator; skips where the pair refuses the shape."""
    settings = config(name, **changes)
    try:
        settings.check(Facts(sample_shape=shape))
    except HarnessError as refused:
        pytest.skip(str(refused))
    architecture = ARCHITECTURES[name]
    with seeded(1):
        generator = architecture.generator(settings.g_settings, LATENT_DIM, shape)
        return generator, architecture.discriminator(settings.d_settings, shape)


def latents(num: int) -> Tensor:
    return torch.randn(num, LATENT_DIM, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_and_range(name: str, shape: tuple[int, int, int]) -> None:
    generator, discriminator = pair(name, shape)
    for num in (2, 5):
        images = generator(latents(num) * 100)
        assert images.shape == (num, *shape)
        assert images.dtype == torch.float32
        assert images.abs().max() <= 1
        assert discriminator(images).shape == (num, 1)


def test_it_makes_some_of_the_usual_shapes(name: str) -> None:
    refused = 0
    for shape in SHAPES:
        try:
            config(name).check(Facts(sample_shape=shape))
        except HarnessError:
            refused += 1
    assert refused < len(SHAPES)


@pytest.mark.parametrize("norm", list(NORMS))
def test_every_weight_receives_a_gradient(name: str, norm: str) -> None:
    generator, discriminator = pair(name, g_norm=norm, d_norm=norm)
    discriminator(generator(latents(4))).square().sum().backward()
    for module in (generator, discriminator):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("chosen", list(ACTIVATIONS))
def test_every_activation_works(name: str, chosen: str) -> None:
    generator, discriminator = pair(name, g_activation=chosen, d_activation=chosen)
    assert discriminator(generator(latents(4))).isfinite().all()


def test_its_defaults_are_settings(name: str) -> None:
    defaults = ARCHITECTURES[name].defaults
    assert defaults.keys() <= GANConfig.model_fields.keys()
    silent = parse(GANConfig, {"architecture": name}, "test").model_dump()
    assert {key: silent[key] for key in defaults} == dict(defaults)


def test_building_draws_from_the_run_alone(name: str) -> None:
    before = torch.get_rng_state()
    first, second = (pair(name, g_norm="batch", g_dropout=0.1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first, second, strict=True):
        weights = other.state_dict()
        assert all(torch.equal(value, weights[key]) for key, value in one.state_dict().items())


def test_only_batch_norm_may_mix_samples(name: str) -> None:
    for norm in NORMS:
        if norm == "batch":
            continue
        _, discriminator = pair(name, d_norm=norm)
        images = torch.rand(4, *SMALL, generator=torch.Generator().manual_seed(0)) * 2 - 1
        discriminator.eval()
        alone = discriminator(images[:1])
        assert torch.allclose(discriminator(images)[:1], alone, rtol=1e-4, atol=1e-6)


def test_training_draws_from_its_own_streams(name: str) -> None:
    images = torch.randint(0, 256, (32, *SMALL), dtype=torch.uint8)
    part = Part(images=images, labels=None)
    system = GAN(config(name, g_dropout=0.2, d_dropout=0.2), Facts(sample_shape=SMALL), CPU)
    dropouts = [m for net in system.networks.values() for m in net.modules()
                if isinstance(m, Dropout)]  # fmt: skip
    assert all(each.generator is not None for each in dropouts)
    before = torch.get_rng_state()
    measured = system.step(Batches(part, 4, torch.Generator().manual_seed(0)).take, 0.0)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(value.isfinite() for value in measured.values())
