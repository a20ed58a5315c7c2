"""What D sees of images: noise that fades, and packs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.config import parse
from harness.data import Batch
from harness.errors import HarnessError
from harness.systems.gan import GAN, GANConfig

Make = Callable[..., GAN]
Advance = Callable[..., dict[str, Tensor]]
Batches = Callable[..., Tensor]
Flat = Callable[..., dict[str, Any]]
Same = Callable[..., bool]


def seen_by_d(gan: GAN) -> list[Tensor]:
    """Return a list that grows by every batch of images that D is given."""
    seen: list[Tensor] = []
    gan.discriminator.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].detach().clone())
    )
    return seen


# --- noise ----------------------------------------------------------------------------------------


def test_noise_is_gaussian_of_the_given_deviation(make_gan: Make) -> None:
    views = make_gan(instance_noise=0.3)._views
    views.set_time(0.0)
    noise = views(torch.full((500, 1, 8, 8), 0.25)) - 0.25  # 32,000 draws
    assert noise.mean().item() == pytest.approx(0, abs=5 * 0.3 / 32_000**0.5)
    assert noise.std().item() == pytest.approx(0.3, rel=5 / 64_000**0.5)
    within = [(noise.abs() < 0.3 * z).double().mean().item() for z in (1, 2)]
    assert within == pytest.approx([0.6827, 0.9545], abs=0.015)
    assert len(noise.unique()) > 30_000  # each pixel of each image has its own


@pytest.mark.parametrize(
    ("until", "done", "expected"),
    [
        (1.0, 0.0, 0.4),
        (1.0, 0.25, 0.3),
        (1.0, 0.999, 0.0004),
        (0.5, 0.125, 0.3),
        (0.5, 0.25, 0.2),
        (0.5, 0.5, 0.0),
        (0.5, 0.75, 0.0),
    ],
)
def test_noise_falls_in_a_straight_line(
    make_gan: Make, until: float, done: float, expected: float
) -> None:
    views = make_gan(instance_noise=0.4, instance_noise_until=until)._views
    views.set_time(done)
    assert views.noise == pytest.approx(expected, abs=1e-12)


def test_without_noise_nothing_is_drawn_and_images_are_left_alone(make_gan: Make) -> None:
    gan = make_gan(instance_noise=0.4, instance_noise_until=0.5)
    gan._views.set_time(0.5)
    before = gan.random.state_dict()
    images = torch.rand(4, 1, 8, 8)
    assert gan._views(images) is images
    assert all(torch.equal(before[key], each) for key, each in gan.random.state_dict().items())


def test_real_and_generated_images_have_noise_in_both_steps(
    make_gan: Make, advance: Advance, monkeypatch: pytest.MonkeyPatch
) -> None:
    gan = make_gan(instance_noise=0.5, d_steps=2, loss="relativistic_average", batch_size=64)
    monkeypatch.setattr(gan, "_generate", lambda *inputs: torch.zeros(64, 1, 8, 8))
    monkeypatch.setattr(gan._learners["g"], "update", lambda loss: torch.zeros(()))
    seen = seen_by_d(gan)
    advance(gan, torch.zeros(2, 64, 1, 8, 8))
    # Twice real and generated images together; then G's, and real ones beside them.
    assert [len(each) for each in seen] == [128, 128, 64, 64]
    halves = [half for each in seen[:2] for half in each.chunk(2)] + seen[2:]
    for half in halves:
        assert half.std().item() == pytest.approx(0.5, rel=0.06)
    different = halves[:-1]
    assert len({each.sum().item() for each in different}) == len(different)
    assert torch.equal(halves[-1], halves[2])  # the real images of D's last step


def test_step_tells_the_time(make_gan: Make, real_batches: Batches) -> None:
    gan = make_gan(instance_noise=0.4)
    batch = Batch(images=real_batches(1)[0], labels=None)
    for done in (0.0, 0.5, 0.75):
        gan.step(lambda: batch, done)
        assert gan._views.noise == pytest.approx(0.4 * (1 - done))


def test_noise_goes_on_bit_for_bit_after_a_resume(
    make_gan: Make, real_batches: Batches, flat: Flat, same: Same
) -> None:
    settings: dict[str, Any] = {"instance_noise": 0.4, "pack": 2, "augment": "flip"}
    batch = Batch(images=real_batches(1)[0], labels=None)
    gan = make_gan(**settings)
    gan.step(lambda: batch, 0.1)
    saved = copy.deepcopy(gan.state_dict())
    expected = flat(gan.step(lambda: batch, 0.2))
    again = make_gan(**settings)
    again.load_state_dict(saved)
    assert same(flat(again.step(lambda: batch, 0.2)), expected)


def test_noise_lets_gradients_through_unchanged(make_gan: Make) -> None:
    gan = make_gan(instance_noise=0.4, pack=2)
    images = torch.rand(4, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 2, 8, 8, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((gan._views(images) * weights).sum(), images)
    assert torch.equal(gradient, weights.view(4, 1, 8, 8))


# --- packs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [1, 2, 3, 6])
def test_packs_are_consecutive_images_channel_after_channel(make_gan: Make, pack: int) -> None:
    gan = make_gan(pack=pack, batch_size=12)
    images = torch.rand(12, 3, 4, 8)
    packed = gan._views(images)
    assert packed.shape == (12 // pack, 3 * pack, 4, 8)
    for index, image in enumerate(images):
        place = index % pack * 3
        assert torch.equal(packed[index // pack, place : place + 3], image)


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_d_judges_packs_of_as_many_channels(
    make_gan: Make, advance: Advance, real_batches: Batches, architecture: str
) -> None:
    gan = make_gan(architecture=architecture, pack=2, d_depth=1, penalty="gradient")
    seen = seen_by_d(gan)
    batches = real_batches(1)
    advance(gan, batches)
    # Two real and two generated packs; two points between them; two generated ones in G's step.
    assert [each.shape for each in seen] == [(4, 2, 8, 8), (2, 2, 8, 8), (2, 2, 8, 8)]
    assert torch.equal(seen[0][:2], batches[0].view(2, 2, 8, 8))
    assert gan._generate(torch.randn(5, 3)).shape == (5, 1, 8, 8)  # G makes single images


def test_packs_are_never_of_real_and_generated_images(
    make_gan: Make, advance: Advance, monkeypatch: pytest.MonkeyPatch
) -> None:
    gan = make_gan(pack=2)
    monkeypatch.setattr(gan, "_generate", lambda *inputs: torch.zeros(4, 1, 8, 8))
    monkeypatch.setattr(gan._learners["g"], "update", lambda loss: torch.zeros(()))
    seen = seen_by_d(gan)
    advance(gan, torch.ones(1, 4, 1, 8, 8))
    assert [each.mean().item() for each in seen[0]] == [1.0, 1.0, 0.0, 0.0]


def test_augmentation_comes_before_noise_and_packs(make_gan: Make) -> None:
    gan = make_gan(pack=2, augment="cutout", instance_noise=0.1)
    images = torch.ones(40, 1, 8, 8)
    packed = gan._views(images).view(40, 1, 8, 8)
    cut = packed < 0.5
    assert 0 < cut.double().mean() < 0.25 + 1e-9
    assert cut.flatten(1).any(1).all()  # each image by itself
    assert len({tuple(each.flatten().tolist()) for each in cut}) > 10
    assert (packed[cut] != 0).all()  # noise lies on what was cut, too


@pytest.mark.parametrize(
    ("batch_size", "pack", "allowed"),
    [(4, 2, True), (4, 3, False), (4, 4, False), (4, 8, False), (1, 1, True), (6, 3, True)],
)
def test_a_batch_is_of_several_whole_packs(batch_size: int, pack: int, allowed: bool) -> None:
    settings = {"batch_size": batch_size, "pack": pack, "g_norm": "none", "d_norm": "none"}
    if allowed:
        assert parse(GANConfig, settings, "test").pack == pack
        return
    with pytest.raises(HarnessError, match=f"pack = {pack}: .*must be a multiple of it"):
        parse(GANConfig, settings, "test")


def test_packs_have_no_class() -> None:
    settings = {"pack": 2, "conditioning": "projection"}
    with pytest.raises(HarnessError, match="pack = 2: packs of images of several classes"):
        parse(GANConfig, settings, "test")
