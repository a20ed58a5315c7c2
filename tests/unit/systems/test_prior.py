"""Distributions of z: their ranges, their shapes, and where they are used."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from harness.config import parse
from harness.errors import HarnessError
from harness.systems import draw_inputs
from harness.systems.gan import GAN, GANConfig
from harness.systems.gan.prior import PRIORS, truncated_normal

Make = Callable[..., GAN]
Advance = Callable[..., dict[str, Tensor]]
Batches = Callable[..., Tensor]

SHAPE = (2000, 5)
FALSE_ALARMS = 1e-4  # probability that a sound distribution fails here; the seed is fixed


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents_of_step(gan: GAN, advance: Advance, batches: Tensor) -> Tensor:
    """Return all that G is given during one iteration."""
    seen: list[Tensor] = []
    handle = gan.generator.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    advance(gan, batches)
    handle.remove()
    return torch.cat(seen)


@pytest.mark.parametrize(
    ("name", "distribution"), [("normal", stats.norm()), ("uniform", stats.uniform(-1, 2))]
)
def test_priors_have_their_distribution(name: str, distribution: Any) -> None:
    latents = PRIORS[name](SHAPE, generator())
    assert latents.shape == SHAPE
    assert latents.dtype == torch.float32
    assert stats.kstest(latents.flatten().numpy(), distribution.cdf).pvalue > FALSE_ALARMS


def test_uniform_fills_its_range_and_no_more() -> None:
    latents = PRIORS["uniform"]((100_000, 1), generator())
    assert latents.min() >= -1
    assert latents.max() <= 1
    assert latents.min() < -0.999
    assert latents.max() > 0.999


@pytest.mark.parametrize("limit", [0.04, 0.5, 1.0, 2.0, 5.0])
def test_truncated_normal_is_a_normal_within_the_limit(limit: float) -> None:
    latents = truncated_normal(SHAPE, limit, generator())
    assert latents.dtype == torch.float32
    assert latents.abs().max() <= limit
    distribution = stats.truncnorm(-limit, limit)
    assert stats.kstest(latents.flatten().numpy(), distribution.cdf).pvalue > FALSE_ALARMS
    # Not a normal that is clamped: nothing piles up at the limit.
    assert (latents.abs() == latents.abs().max()).sum() <= 2
    assert latents.std().item() == pytest.approx(distribution.std(), rel=0.04)


@pytest.mark.parametrize("limit", [1e-6, 9.0, 50.0])
def test_extreme_limits_give_finite_numbers(limit: float) -> None:
    latents = truncated_normal((100_000, 1), limit, generator())
    assert latents.isfinite().all()
    assert latents.abs().max() <= limit


def test_truncated_normals_come_from_the_given_generator_only() -> None:
    before = torch.get_rng_state()
    one, again, other = (truncated_normal((3, 4), 1.0, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_is_not_truncated(make_gan: Make, advance: Advance, real_batches: Batches) -> None:
    settings: dict[str, Any] = {"latent_dim": 500}
    plain, truncated = make_gan(**settings), make_gan(**settings, truncation=0.5)
    batches = real_batches(1)
    seen = latents_of_step(truncated, advance, batches)
    assert torch.equal(seen, latents_of_step(plain, advance, batches))
    assert seen.abs().max() > 2


def test_samples_are_truncated(make_gan: Make) -> None:
    gan = make_gan(latent_dim=50, truncation=0.5)
    (latents,) = draw_inputs(gan.config, gan.facts, 400, seed=1)
    assert latents.shape == (400, 50)
    assert 0.49 < latents.abs().max() <= 0.5
    (plain,) = draw_inputs(make_gan(latent_dim=50).config, gan.facts, 400, seed=1)
    assert plain.abs().max() > 2


@pytest.mark.parametrize("name", list(PRIORS))
def test_training_and_samples_follow_one_prior(
    make_gan: Make, advance: Advance, real_batches: Batches, name: str
) -> None:
    gan = make_gan(prior=name, latent_dim=500)
    in_training = latents_of_step(gan, advance, real_batches(1)).flatten()
    (sampled,) = draw_inputs(gan.config, gan.facts, 8, seed=1)
    both = stats.ks_2samp(in_training.numpy(), sampled.flatten().numpy())
    assert both.pvalue > FALSE_ALARMS
    assert in_training.std().item() == pytest.approx(
        {"normal": 1, "uniform": 1 / math.sqrt(3)}[name], abs=0.05
    )


def test_latents_go_on_after_a_resume(
    make_gan: Make, advance: Advance, real_batches: Batches
) -> None:
    gan = make_gan(prior="uniform")
    advance(gan, real_batches(1))
    saved = copy.deepcopy(gan.state_dict())
    expected = latents_of_step(gan, advance, real_batches(1))
    again = make_gan(prior="uniform")
    again.load_state_dict(saved)
    assert torch.equal(latents_of_step(again, advance, real_batches(1)), expected)


def test_only_tails_are_truncated() -> None:
    with pytest.raises(HarnessError, match=r"truncation = 0\.5: only prior = 'normal' has tails"):
        parse(GANConfig, {"prior": "uniform", "truncation": 0.5}, "test")
    with pytest.raises(HarnessError, match=r"truncation = 0\.0"):
        parse(GANConfig, {"truncation": 0.0}, "test")
