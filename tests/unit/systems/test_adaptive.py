"""ADA's rule: which way its share goes, how fast, how far, and from where after a resume."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.config import parse
from harness.errors import HarnessError
from harness.systems.gan import GAN, GANConfig
from harness.systems.gan import gan as gan_module
from harness.systems.gan.adaptive import adapt

Make = Callable[..., GAN]
Advance = Callable[..., dict[str, Tensor]]
Batches = Callable[..., Tensor]
Flat = Callable[..., dict[str, Any]]
Same = Callable[..., bool]

ADA: dict[str, Any] = {"augment": "translation+cutout+flip", "augment_target": 0.6}


def after(share: float, logits: list[float], target: float, num_images: int) -> float:
    tensor = torch.tensor(share, dtype=torch.float64)
    adapt(tensor, torch.tensor(logits).unsqueeze(1), target, num_images)
    return tensor.item()


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        # Mean signs 1, 0.5 and 0: above, at and below the target of 0.5.
        ([0.1, 9.0, 3.0, 0.2], 0.3 + 1000 / 500_000),
        ([-99.0, 0.1, 0.1, 0.1], 0.3),
        ([-0.1, -0.1, 99.0, 99.0], 0.3 - 1000 / 500_000),
    ],
)
def test_share_follows_the_mean_sign(logits: list[float], expected: float) -> None:
    assert after(0.3, logits, 0.5, 1000) == pytest.approx(expected, abs=1e-6)


def test_share_rises_from_nothing_to_all_in_half_a_million_images() -> None:
    share, steps = torch.zeros(()), 0
    while share < 1:
        adapt(share, torch.ones(4, 1), 0.6, 500)
        steps += 1
    assert steps in (1000, 1001)  # sums in float32


@pytest.mark.parametrize(
    ("start", "sign"), [(0.0, -1.0), (1.0, 1.0), (0.0005, -1.0), (0.9995, 1.0)]
)
def test_share_stays_a_share(start: float, sign: float) -> None:
    assert after(start, [sign], 0.6, 1000) == (1.0 if sign > 0 else 0.0)


def test_share_changes_in_place_and_is_not_differentiated() -> None:
    share, logits = torch.zeros(()), torch.ones(2, 1, requires_grad=True)
    adapt(share, logits, 0.6, 64)
    assert share.item() == pytest.approx(64 / 500_000)
    assert not share.requires_grad


def test_share_of_nothing_is_no_augmentation(
    make_gan: Make, advance: Advance, real_batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gan_module, "adapt", lambda *_: None)
    seen = {}
    for name, settings in (("ada", ADA), ("none", {})):
        gan = make_gan(**settings)
        inputs: list[Tensor] = []
        gan.discriminator.register_forward_pre_hook(
            lambda _, args, inputs=inputs: inputs.append(args[0].detach().clone())
        )
        for index in range(2):
            advance(gan, real_batches(1, index))
        seen[name] = inputs
    assert all(torch.equal(a, b) for a, b in zip(seen["ada"], seen["none"], strict=True))


def test_share_of_all_is_plain_augmentation_of_every_image(
    make_gan: Make, real_batches: Batches
) -> None:
    (images,) = real_batches(1)
    gan = make_gan(augment="flip+cutout", augment_target=0.6, batch_size=4)
    gan.buffers["augmented"].fill_(1)
    assert not torch.equal(gan._views(images), images)
    hidden = (gan._views(torch.ones(500, 1, 8, 8)) == 0).flatten(1).any(1)
    assert hidden.all()


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_each_image_is_augmented_with_that_probability(make_gan: Make, share: float) -> None:
    num = 4000
    gan = make_gan(augment="cutout", augment_target=0.6)
    gan.buffers["augmented"].fill_(share)
    hidden = (gan._views(torch.ones(num, 1, 8, 8)) == 0).flatten(1).any(1).double().mean().item()
    assert abs(hidden - share) < 5 * (share * (1 - share) / num) ** 0.5


def test_each_transformation_has_a_draw_of_its_own(make_gan: Make) -> None:
    gan = make_gan(augment="translation+cutout", augment_target=0.6)
    gan.buffers["augmented"].fill_(0.5)
    seen = gan._views(torch.ones(4000, 1, 8, 8)).flatten(1)
    shifted, hidden = (seen == -1).any(1).double(), (seen == 0).any(1).double()
    # Of those that are shifted, 8 of 9 show black; a cut square may hide it.
    assert 0.35 < shifted.mean() < 0.5
    assert abs((shifted * hidden).mean() - shifted.mean() * hidden.mean()) < 0.03


def test_logits_of_real_images_as_d_sees_them_decide(
    make_gan: Make, advance: Advance, real_batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[float, float, float, int]] = []

    def remember(share: Tensor, logits: Tensor, target: float, num_images: int) -> None:
        calls.append((share.item(), logits.mean().item(), target, num_images))
        adapt(share, logits, target, num_images)

    monkeypatch.setattr(gan_module, "adapt", remember)
    gan = make_gan(**ADA, d_steps=2, pack=2)
    measures = [advance(gan, real_batches(2, index)) for index in range(3)]
    assert len(calls) == 6  # at every step of D, none of G
    shares, logits, targets, nums = (list(each) for each in zip(*calls, strict=True))
    assert set(targets) == {0.6}
    assert set(nums) == {4}  # images, not packs
    for index, each in enumerate(measures):
        pair = slice(2 * index, 2 * index + 2)
        assert each["d_real_logit"].item() == pytest.approx(sum(logits[pair]) / 2)
        assert each["augmented"].item() == pytest.approx(sum(shares[pair]) / 2)
    assert shares[0] == 0


def test_resume_restores_share_and_draws_bit_for_bit(
    make_gan: Make, advance: Advance, real_batches: Batches, flat: Flat, same: Same
) -> None:
    gan = make_gan(**ADA)
    gan.buffers["augmented"].fill_(0.4)
    advance(gan, real_batches(1, 0))
    saved = copy.deepcopy(gan.state_dict())
    expected = [flat(advance(gan, real_batches(1, index))) for index in (1, 2)]
    again = make_gan(**ADA)
    again.load_state_dict(saved)
    found = [flat(advance(again, real_batches(1, index))) for index in (1, 2)]
    assert all(same(one, other) for one, other in zip(found, expected, strict=True))
    assert same(flat(again.state_dict()), flat(gan.state_dict()))
    assert again.buffers["augmented"] != saved["buffers"]["augmented"]
    assert abs(again.buffers["augmented"].item() - 0.4) < 1e-3


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"augment_target": 0.6}, "there is nothing to adapt"),
        ({**ADA, "loss": "hinge"}, "whose logits are log-odds"),
        ({**ADA, "augment_target": 1.0}, "augment_target = 1.0"),
    ],
)
def test_what_cannot_be_adapted_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(HarnessError, match=complaint):
        parse(GANConfig, settings, "test")
