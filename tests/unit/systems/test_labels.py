"""Labels that are not all true: against losses of soft labels, and counted flips."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from harness.config import parse
from harness.errors import HarnessError
from harness.systems.gan import GAN, GANConfig
from harness.systems.gan.labels import Labels
from harness.systems.gan.losses import LOSSES

Make = Callable[..., GAN]
Advance = Callable[..., dict[str, Tensor]]
Batches = Callable[..., Tensor]
Flat = Callable[..., dict[str, Any]]
Same = Callable[..., bool]

WITH_LABELS = [name for name in LOSSES if LOSSES[name].terms is not None]
WITHOUT = [name for name in LOSSES if LOSSES[name].terms is None]
KNOBS = ["smooth_real", "smooth_fake", "flip_labels"]


def labels(loss: str = "non_saturating", **settings: Any) -> Labels:
    config = parse(GANConfig, {"loss": loss, **settings}, "test")
    return Labels(config, torch.Generator().manual_seed(0))


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


REAL, FAKE = column(0.3, -1.2, 2.0), column(-0.4, 1.5, -3.0)


@pytest.mark.parametrize(
    ("smooth_real", "smooth_fake"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.2), (0.1, 0.2), (0.5, 0.5)]
)
@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])
def test_smoothing_is_cross_entropy_of_soft_labels(
    loss: str, smooth_real: float, smooth_fake: float
) -> None:
    found = labels(loss, smooth_real=smooth_real, smooth_fake=smooth_fake).loss(REAL, FAKE)
    entropy = binary_cross_entropy_with_logits
    expected = entropy(REAL, torch.full_like(REAL, 1 - smooth_real))
    expected = expected + entropy(FAKE, torch.full_like(FAKE, smooth_fake))
    torch.testing.assert_close(found, expected)


def test_one_sided_smoothing_leaves_generated_images_alone() -> None:
    # Two-sided smoothing moves the optimum by p_g / p_data (Salimans et al. 2016, section 3.4).
    fake = FAKE.clone().requires_grad_(True)
    gradients = [
        torch.autograd.grad(labels(smooth_real=amount).loss(REAL, fake), fake)[0]
        for amount in (0.0, 0.1)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("smooth_real", "smooth_fake"), [(0.1, 0.0), (0.0, 0.2), (0.3, 0.2)])
def test_smoothed_least_squares_are_soft_targets_but_for_a_constant(
    smooth_real: float, smooth_fake: float
) -> None:
    found = labels("least_squares", smooth_real=smooth_real, smooth_fake=smooth_fake)
    target = 1 - smooth_real
    soft = ((REAL - target).square() + (FAKE - smooth_fake).square()).mean() / 2
    constant = (target * (1 - target) + smooth_fake * (1 - smooth_fake)) / 2
    torch.testing.assert_close(found.loss(REAL, FAKE), soft + constant)


@pytest.mark.parametrize("loss", ["non_saturating", "least_squares"])
def test_best_logits_are_those_of_the_soft_labels(loss: str) -> None:
    # Cross-entropy: log-odds of 0.9 and of 0.2; least squares: the labels themselves.
    odds = loss == "non_saturating"
    real = column(0.9).logit() if odds else column(0.9)
    fake = column(0.2).logit() if odds else column(0.2)
    real, fake = real.requires_grad_(True), fake.requires_grad_(True)
    value = labels(loss, smooth_real=0.1, smooth_fake=0.2).loss(real, fake)
    for gradient in torch.autograd.grad(value, (real, fake)):
        assert gradient.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("knobs", [{}, {"smooth_real": 0.1, "smooth_fake": 0.2}])
@pytest.mark.parametrize("loss", WITH_LABELS)
def test_gradients_equal_finite_differences(loss: str, knobs: dict[str, float]) -> None:
    inputs = [REAL.clone().requires_grad_(True), FAKE.clone().requires_grad_(True)]
    assert torch.autograd.gradcheck(labels(loss, **knobs).loss, inputs)


@pytest.mark.parametrize("loss", WITH_LABELS)
def test_true_labels_are_the_loss_itself_and_draw_nothing(loss: str) -> None:
    told = labels(loss)
    before = told._random.get_state()
    assert torch.equal(told.loss(REAL, FAKE), LOSSES[loss].discriminator(REAL, FAKE))
    assert torch.equal(told._random.get_state(), before)


def told(loss: Labels, num: int) -> tuple[Tensor, Tensor]:
    """Return what D is told of images, as probabilities of being real.

    Cross-entropy's slope at logit 0 is half less the label, over the number of images.
    """
    real, fake = (torch.zeros(num, 1, requires_grad=True) for _ in range(2))
    slopes = torch.autograd.grad(loss.loss(real, fake), (real, fake))
    of_real, of_fake = (0.5 - num * slope for slope in slopes)
    return of_real, of_fake


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_labels_flip_at_their_rate_each_by_itself(rate: float) -> None:
    num = 10_000
    of_real, of_fake = told(labels(flip_labels=rate), num)
    wrong = torch.cat([1 - of_real, of_fake], dim=1).round(decimals=3)
    assert set(wrong.unique().tolist()) == {0.0, 1.0}
    error = 5 * (rate * (1 - rate) / num) ** 0.5
    for each in wrong.T:
        assert abs(each.mean().item() - rate) < error
    both = wrong.prod(dim=1).mean().item()  # a real and a generated image's draws are independent
    assert abs(both - rate**2) < 5 * (rate**2 / num) ** 0.5


def test_a_flipped_image_is_told_what_the_other_kind_is_told() -> None:
    of_real, of_fake = told(labels(flip_labels=0.5, smooth_real=0.1, smooth_fake=0.2), 200)
    for each in (of_real, of_fake):
        assert sorted({round(value, 4) for value in each.flatten().tolist()}) == [0.2, 0.9]


def test_mean_loss_of_flips_is_that_of_smoothing_both_sides() -> None:
    flips, smooth = (
        labels("hinge", flip_labels=0.25),
        labels("hinge", smooth_real=0.25, smooth_fake=0.25),
    )
    losses = torch.stack([flips.loss(REAL, FAKE) for _ in range(4000)])
    error = 5 * losses.std() / 4000**0.5
    assert (losses.mean() - smooth.loss(REAL, FAKE)).abs() < error


@pytest.mark.parametrize("loss", WITH_LABELS)
def test_generators_loss_knows_true_labels_only(
    make_gan: Make,
    advance: Advance,
    real_batches: Batches,
    loss: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = []
    for changes in ({}, {"smooth_real": 0.1, "smooth_fake": 0.2, "flip_labels": 0.5}):
        gan = make_gan(loss=loss, **changes)
        monkeypatch.setattr(gan.optimizers["d"], "step", lambda: None)
        measures = advance(gan, real_batches(1))
        losses.append((measures["d_loss"].item(), measures["g_loss"].item()))
    assert losses[0][0] != losses[1][0]
    assert losses[0][1] == losses[1][1]


def test_flips_go_on_bit_for_bit_after_a_resume(
    make_gan: Make, advance: Advance, real_batches: Batches, flat: Flat, same: Same
) -> None:
    gan = make_gan(flip_labels=0.5)
    advance(gan, real_batches(1))
    saved = copy.deepcopy(gan.state_dict())
    expected = flat(advance(gan, real_batches(1, 1)))
    again = make_gan(flip_labels=0.5)
    again.load_state_dict(saved)
    assert same(flat(advance(again, real_batches(1, 1))), expected)


@pytest.mark.parametrize("key", KNOBS)
@pytest.mark.parametrize("loss", WITHOUT)
def test_losses_without_labels_are_refused(loss: str, key: str) -> None:
    parse(GANConfig, {"loss": loss, key: 0.0}, "test")
    with pytest.raises(HarnessError, match=f"{key} = 0.1 with loss = '{loss}'.* no labels"):
        parse(GANConfig, {"loss": loss, key: 0.1}, "test")


def test_relativistic_losses_have_no_labels() -> None:
    assert WITHOUT == ["relativistic_average", "relativistic_pairing"]
