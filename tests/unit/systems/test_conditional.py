"""Networks that are told classes: what they compute, on whose classes, and that they obey."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.config import parse
from harness.data import Batch, Facts
from harness.errors import HarnessError
from harness.systems import draw_inputs
from harness.systems.gan import GAN, GANConfig
from harness.systems.gan.conditional import (
    CONDITIONINGS,
    LABEL_DIM,
    Concatenating,
    OfClass,
    Projecting,
)

Flat = Callable[..., dict[str, Any]]
Same = Callable[..., bool]

KINDS = [name for name in CONDITIONINGS if name != "none"]
FACTS = Facts(sample_shape=(1, 8, 8), num_classes=3)


def gan_of_classes(conditioning: str, facts: Facts = FACTS, **changes: Any) -> GAN:
    """Return a small GAN that is told classes."""
    settings: dict[str, Any] = {
        "dataset": "digits",
        "architecture": "mlp",
        "conditioning": conditioning,
        "latent_dim": 3,
        "batch_size": 6,
        "g_width": 4,
        "d_width": 4,
        "g_depth": 2,
        "d_depth": 2,
    }
    return GAN(parse(GANConfig, settings | changes, "test"), facts, torch.device("cpu"))


def batch(seed: int = 0, num: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(num, 1, 8, 8, generator=generator) * 2 - 1
    return Batch(images=images, labels=torch.randint(3, (num,), generator=generator))


def calls_of(network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Return a list that grows by what a network is given: images or latents, and classes."""
    calls: list[tuple[Tensor, Tensor]] = []
    network.register_forward_pre_hook(
        lambda _, args: calls.append((args[0].detach().clone(), args[1].clone()))
    )
    return calls


# --- what they compute ----------------------------------------------------------------------------


def test_generator_gets_the_classs_vector_beside_its_latents() -> None:
    network = OfClass(nn.Identity(), 4)
    latents, classes = torch.randn(3, 2), torch.tensor([2, 0, 2])
    told = network(latents, classes)
    assert told.shape == (3, 2 + LABEL_DIM)
    assert torch.equal(told[:, :2], latents)
    for row, label in zip(told[:, 2:], classes.tolist(), strict=True):
        assert torch.equal(row, network.embedding.weight[label])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 12)])
def test_concatenation_adds_the_classs_map_as_the_last_channel(
    shape: tuple[int, int, int],
) -> None:
    network = Concatenating(nn.Identity(), 4, shape)
    images, classes = torch.randn(3, *shape), torch.tensor([1, 3, 1])
    told = network(images, classes)
    assert told.shape == (3, shape[0] + 1, *shape[1:])
    assert torch.equal(told[:, :-1], images)
    for each, label in zip(told[:, -1], classes.tolist(), strict=True):
        assert torch.equal(each.flatten(), network.embedding.weight[label])


def test_projection_is_psi_plus_the_product_with_the_classs_vector() -> None:
    features, num_classes = 5, 3
    last = nn.Linear(features, 1 + num_classes).double()
    phi = nn.Sequential(nn.Flatten(), nn.Linear(6, features), nn.Tanh()).double()
    network = Projecting(nn.Sequential(phi, last))
    images = torch.randn(4, 1, 2, 3, dtype=torch.float64)
    classes = torch.tensor([2, 0, 1, 2])
    logits = network(images, classes)
    assert logits.shape == (4, 1)
    for image, label, logit in zip(images, classes.tolist(), logits, strict=True):
        seen = phi(image[None])[0]
        psi = torch.dot(last.weight[0], seen) + last.bias[0]
        product = torch.dot(last.weight[1 + label], seen) + last.bias[1 + label]
        torch.testing.assert_close(logit[0], psi + product)


def test_projections_gradients_equal_finite_differences() -> None:
    network = Projecting(nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(4, 4))).double()
    images = torch.randn(3, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    classes = torch.tensor([2, 0, 1])
    assert torch.autograd.gradcheck(lambda each: network(each, classes), images)
    assert torch.autograd.gradgradcheck(lambda each: network(each, classes), images)


def test_only_the_vectors_of_told_classes_learn() -> None:
    network = Projecting(nn.Sequential(nn.Flatten(), nn.Linear(4, 1 + 3)))
    network(torch.rand(2, 1, 2, 2), torch.tensor([2, 2])).sum().backward()
    gradient = network.outputs[1].weight.grad  # type: ignore[index, union-attr]
    assert gradient.abs().sum(1).gt(0).tolist() == [True, False, False, True]


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
@pytest.mark.parametrize("conditioning", KINDS)
def test_another_class_changes_both_networks_outputs(conditioning: str, architecture: str) -> None:
    gan = gan_of_classes(conditioning, architecture=architecture)
    gan.generator.eval()
    latents, images = torch.randn(1, 3).expand(3, -1), torch.rand(1, 1, 8, 8).expand(3, -1, -1, -1)
    classes = torch.arange(3)
    assert len(gan.generator(latents, classes).flatten(1).unique(dim=0)) == 3
    logits = gan.discriminator(images, classes)
    assert logits.shape == (3, 1)
    assert len(logits.unique()) == 3


# --- whose classes --------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["non_saturating", "relativistic_pairing"])
@pytest.mark.parametrize("d_norm", ["none", "batch"])
@pytest.mark.parametrize("conditioning", KINDS)
def test_generated_images_are_of_the_real_batchs_classes(
    conditioning: str, d_norm: str, loss: str
) -> None:
    gan = gan_of_classes(conditioning, d_norm=d_norm, d_steps=2, loss=loss)
    to_g, to_d = calls_of(gan.generator), calls_of(gan.discriminator)
    batches = [batch(1), batch(2)]
    feed = iter(batches)
    gan.step(lambda: next(feed), 0.0)
    labels = [each.labels for each in batches]
    asked = [classes for _, classes in to_g]
    assert all(torch.equal(a, b) for a, b in zip(asked, [*labels, labels[1]], strict=True))  # type: ignore[arg-type]
    judged = torch.cat([classes for _, classes in to_d])
    in_g_step = [labels[1]] * (2 if loss == "relativistic_pairing" else 1)
    expected = [labels[0], labels[0], labels[1], labels[1], *in_g_step]
    assert torch.equal(judged, torch.cat(expected))  # type: ignore[arg-type]
    # Every real image has its own label.
    shown = torch.cat([images for images, _ in to_d])
    assert torch.equal(shown[:6], batches[0].images)
    assert torch.equal(shown[12:18], batches[1].images)


@pytest.mark.parametrize("conditioning", KINDS)
@pytest.mark.parametrize("penalty", ["gradient", "r1", "r2", "r1_r2", "dragan"])
def test_penalties_are_of_d_told_the_classes_per_sample(penalty: str, conditioning: str) -> None:
    gan = gan_of_classes(conditioning, penalty=penalty)
    calls = calls_of(gan.discriminator)
    real = batch()
    gan.step(lambda: real, 0.0)
    points = calls[1:-1]
    assert len(points) == (2 if penalty == "r1_r2" else 1)
    for _, classes in points:
        assert torch.equal(classes, real.labels)  # type: ignore[arg-type]


def test_classes_of_samples_are_in_range_and_all_are_drawn() -> None:
    gan = gan_of_classes("projection")
    latents, classes = draw_inputs(gan.config, gan.facts, 300, seed=0)
    assert latents.shape == (300, 3)
    assert set(classes.tolist()) == {0, 1, 2}
    again = draw_inputs(gan.config, gan.facts, 300, seed=0)
    assert torch.equal(again[0], latents)
    assert torch.equal(again[1], classes)


@pytest.mark.parametrize("conditioning", KINDS)
def test_resume_is_bit_for_bit(conditioning: str, flat: Flat, same: Same) -> None:
    gan, again = (gan_of_classes(conditioning, average=50) for _ in range(2))
    gan.step(lambda: batch(0), 0.0)
    again.load_state_dict(copy.deepcopy(gan.state_dict()))
    for each in (gan, again):
        each.step(lambda: batch(1), 0.5)
    assert same(flat(gan.state_dict()), flat(again.state_dict()))


def test_data_without_classes_are_refused() -> None:
    with pytest.raises(HarnessError, match="conditioning = 'projection': digits has no classes"):
        gan_of_classes("projection", Facts(sample_shape=(1, 8, 8)))
    with pytest.raises(HarnessError, match="did you mean 'projection'"):
        gan_of_classes("projecton")


# --- they obey ------------------------------------------------------------------------------------


@pytest.mark.parametrize("conditioning", KINDS)
def test_learns_to_make_the_class_asked_for(conditioning: str) -> None:
    """Toy images: class c is bright in the c-th third of the rows, dark elsewhere, with noise."""
    shape = (1, 12, 4)
    patterns = torch.full((3, *shape), -0.8)
    for label in range(3):
        patterns[label, :, 4 * label : 4 * label + 4] = 0.8
    generator = torch.Generator().manual_seed(0)

    def take() -> Batch:
        labels = torch.randint(3, (32,), generator=generator)
        noise = 0.1 * torch.randn(32, *shape, generator=generator)
        return Batch(images=patterns[labels] + noise, labels=labels)

    gan = gan_of_classes(
        conditioning,
        Facts(sample_shape=shape, num_classes=3),
        batch_size=32,
        g_width=16,
        d_width=16,
        g_lr=2e-3,
        d_lr=2e-3,
        average=1000,
    )
    for index in range(300):
        gan.step(take, index / 300)
    sampled = gan.networks[GAN.sampled(gan.config)].eval()
    asked = torch.arange(3).repeat(50)
    with torch.inference_mode():
        images = sampled(torch.randn(150, 3, generator=generator), asked)
    distances = (images[:, None] - patterns[None]).square().mean(dim=(2, 3, 4))
    assert torch.equal(distances.argmin(1), asked)
    assert distances.min(1).values.mean() < 0.2  # 1.7 from the other classes
