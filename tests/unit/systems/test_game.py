"""A step of the game: what D sees, who learns from what, and where penalties look."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.config import parse
from harness.data import Batch, Facts
from harness.systems import draw_inputs, generate
from harness.systems.gan import GAN, GANConfig
from harness.systems.gan.losses import LOSSES
from harness.systems.gan.penalties import PENALTIES

FACTS = Facts(sample_shape=(1, 8, 8), num_classes=3)
BATCH = 8

SMALL: dict[str, Any] = {
    "dataset": "digits",
    "architecture": "dc",
    "latent_dim": 3,
    "batch_size": BATCH,
    "g_width": 8,
    "d_width": 8,
    "g_depth": 2,
    "d_depth": 2,
    "d_norm": "none",
    "average": 0,
}


def game(**settings: Any) -> GAN:
    config = parse(GANConfig, SMALL | settings, "test")
    return GAN(config, FACTS, torch.device("cpu"))


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(BATCH, 1, 8, 8, generator=generator) * 2 - 1
    return Batch(images=images, labels=torch.randint(3, (BATCH,), generator=generator))


def played(gan: GAN) -> dict[str, Tensor]:
    """Run one iteration and return its measures."""
    return gan.step(batch, 0.0)


def inputs_of(module: nn.Module) -> list[Tensor]:
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    return seen


def outputs_of(module: nn.Module) -> list[Tensor]:
    seen: list[Tensor] = []
    module.register_forward_hook(lambda _, __, output: seen.append(output.detach().clone()))
    return seen


def is_black(frame: Tensor) -> bool:
    """Return whether all but the middle 8x8 of 16x16 images is black."""
    outside = torch.ones(16, 16, dtype=torch.bool)
    outside[4:12, 4:12] = False
    return bool((frame[..., outside] == -1).all())


# --- the frame ------------------------------------------------------------------------------------


def test_reals_get_a_black_frame_and_fakes_are_seen_whole() -> None:
    gan = game(pad_to=16)
    to_d, from_g = inputs_of(gan.discriminator), outputs_of(gan.generator)
    played(gan)
    real, fake = to_d[0].chunk(2)
    assert real.shape == (BATCH, 1, 16, 16)
    assert torch.equal(real[..., 4:12, 4:12], batch().images)
    assert is_black(real)
    assert not is_black(fake)
    assert torch.equal(fake, from_g[0])
    assert torch.equal(to_d[1], from_g[1])  # in G's step


def test_samples_are_without_the_frame() -> None:
    gan = game(pad_to=16, g_norm="none")
    inputs = draw_inputs(gan.config, gan.facts, 5, seed=0)
    whole = gan.generator(*inputs)
    assert whole.shape == (5, 1, 16, 16)
    sampled = gan.generator.eval()(*inputs)
    assert torch.equal(sampled, whole[..., 4:12, 4:12])
    assert generate(gan.generator, inputs).shape == (5, 1, 8, 8)


def test_what_changes_reals_alone_comes_before_the_frame_and_spares_fakes() -> None:
    plain, changed = game(pad_to=16), game(pad_to=16, augment_reals="cutout")
    seen = [inputs_of(gan.discriminator) for gan in (plain, changed)]
    for gan in (plain, changed):
        played(gan)
    (real, fake), (changed_real, changed_fake) = (each[0].chunk(2) for each in seen)
    assert torch.equal(fake, changed_fake)
    assert is_black(changed_real)
    assert (changed_real != real).flatten(1).any(1).all()
    assert ((changed_real == real) | (changed_real == 0)).all()


# --- real and generated images together or apart --------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "together"),
    [
        ({"d_norm": "none"}, True),
        ({"d_norm": "layer"}, True),
        ({"d_norm": "instance"}, True),
        ({"d_norm": "group"}, True),
        ({"d_norm": "spectral"}, True),
        ({"d_norm": "batch"}, False),
        ({"d_minibatch_std": True}, False),
    ],
)
def test_images_pass_together_only_where_none_sees_another(
    settings: dict[str, Any], together: bool
) -> None:
    gan = game(**settings)
    seen = inputs_of(gan.discriminator)
    played(gan)
    assert [len(each) for each in seen] == [16, 8] if together else [8, 8, 8]


@pytest.mark.parametrize("d_norm", ["none", "layer", "instance", "group"])
@pytest.mark.parametrize("conditioning", ["none", "projection"])
def test_together_they_get_the_logits_that_they_get_apart(d_norm: str, conditioning: str) -> None:
    together, apart = (game(d_norm=d_norm, conditioning=conditioning) for _ in range(2))
    apart._joint_pass = False
    measures = [played(gan) for gan in (together, apart)]
    for key in ("d_loss", "d_real_logit", "d_fake_logit", "d_grad_norm", "g_loss"):
        torch.testing.assert_close(measures[0][key], measures[1][key], rtol=1e-4, atol=1e-6)


# --- who learns from what -------------------------------------------------------------------------


@pytest.mark.parametrize("loss", list(LOSSES))
def test_d_gets_no_gradient_in_gs_step_and_g_none_in_ds(loss: str) -> None:
    gan = game(loss=loss, conditioning="projection", penalty="r2", augment="flip")
    real = gan._views(batch().images)
    labels = batch().labels
    assert labels is not None
    gan._discriminator_step(real, (labels,))
    assert all(weight.grad is None for weight in gan.generator.parameters())
    gan.discriminator.zero_grad()
    asked: list[bool] = []
    gan.discriminator.register_forward_pre_hook(
        lambda network, _: asked.append(any(each.requires_grad for each in network.parameters()))
    )
    gan._generator_step(real, (labels,))
    assert not asked[0]  # nothing is computed for gradients that nobody takes
    assert all(weight.grad is None for weight in gan.discriminator.parameters())
    assert all(weight.requires_grad for weight in gan.discriminator.parameters())
    assert all(weight.grad is not None for weight in gan.generator.parameters())


@pytest.mark.parametrize("loss", list(LOSSES))
def test_g_learns_from_the_loss_it_is_named(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is minimax the non-saturating loss, nor is a relativistic loss overwritten."""
    gan = game(loss=loss, g_norm="none")
    monkeypatch.setattr(gan.optimizers["g"], "step", lambda: None)
    to_g, from_d = inputs_of(gan.generator), outputs_of(gan.discriminator)
    measures = played(gan)
    relativistic = loss.startswith("relativistic")
    assert len(from_d) == (3 if relativistic else 2)
    fake = gan.discriminator(gan.generator(to_g[1]))
    real = gan.discriminator(batch().images).detach()
    written_out = {
        "minimax": lambda: (1 - fake.sigmoid()).log().mean(),
        "non_saturating": lambda: -fake.sigmoid().log().mean(),
        "least_squares": lambda: (fake - 1).square().mean() / 2,
        "hinge": lambda: -fake.mean(),
        "wasserstein": lambda: -fake.mean(),
        "relativistic_pairing": lambda: -(fake - real).sigmoid().log().mean(),
        "relativistic_average": lambda: (
            -(fake - real.mean()).sigmoid().log().mean()
            - (1 - (real - fake.mean()).sigmoid()).log().mean()
        ),
    }
    expected = written_out[loss]()
    torch.testing.assert_close(measures["g_loss"], expected.detach())
    weights = list(gan.generator.parameters())
    for weight, gradient in zip(weights, torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-3, atol=1e-7)


# --- penalties ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"pack": 2, "d_norm": "layer"},
        {"conditioning": "projection"},
        {"conditioning": "concatenation", "pad_to": 12},
        {"augment": "cutout+translation", "instance_noise": 0.3},
    ],
)
@pytest.mark.parametrize("name", ["gradient", "r1", "r2"])
def test_penalties_see_what_d_sees_and_take_norms_one_by_one(
    name: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gan = game(penalty=name, penalty_weight=3.0, **settings)
    penalty = PENALTIES[name]
    assert penalty is not None
    given, values = [], []

    def remember(judge: Any, real: Tensor, fake: Tensor, random: torch.Generator) -> Tensor:
        given.extend([real, fake])
        values.append(penalty(judge, real, fake, random))
        return values[0]

    gan._penalty = remember
    seen = inputs_of(gan.discriminator)
    monkeypatch.setattr(gan.optimizers["d"], "step", lambda: None)
    plain = game(**settings)
    played_without = played(plain)
    measures = played(gan)
    for each, half in zip(given, seen[0].chunk(2), strict=True):
        assert torch.equal(each, half)
        assert not each.requires_grad
    # Its points one at a time, each told its own class.
    labels = batch().labels
    assert labels is not None
    terms = []
    for index, point in enumerate(seen[1]):
        single = point[None].requires_grad_(True)
        classes = () if gan.config.conditioning == "none" else (labels[index : index + 1],)
        (slope,) = torch.autograd.grad(gan.discriminator(single, *classes).sum(), single)
        norm = slope.norm().item()
        terms.append((norm - 1) ** 2 if name == "gradient" else norm**2 / 2)
    assert len(terms) == BATCH // gan.config.pack
    expected = sum(terms) / len(terms)
    assert values[0].item() == pytest.approx(expected, rel=1e-4, abs=1e-9)
    added = (measures["d_loss"] - played_without["d_loss"]).item()
    assert added == pytest.approx(3 * expected, rel=1e-3, abs=1e-6)
