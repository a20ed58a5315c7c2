"""Losses against values worked out by hand, and what every registered loss must do."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from harness.systems.gan.losses import LOSSES

NAMES = list(LOSSES)
LN3, LN7 = math.log(3), math.log(7)

# name: (real logits, fake logits, D's loss, G's loss). softplus(ln a) = ln(1 + a).
GOLDEN = {
    # D: (ln 2 + ln 4/3) / 2 + (ln 4/3 + ln 8) / 2 = ln(256/9) / 2; G: -(ln 4/3 + ln 8) / 2
    "minimax": ([0.0, LN3], [-LN3, LN7], 1.6739764335716716, -1.1835618070658085),
    # D: as above; G: (softplus(ln 3) + softplus(-ln 7)) / 2 = (ln 4 + ln 8/7) / 2
    "non_saturating": ([0.0, LN3], [-LN3, LN7], 1.6739764335716716, 0.7599128768722065),
    # D: ((2-1)² + (-1-1)²) / 4 + (0.5² + 3²) / 4 = 1.25 + 2.3125; G: (0.5² + 4²) / 4
    "least_squares": ([2.0, -1.0], [0.5, -3.0], 3.5625, 4.0625),
    # D: (0 + 2) / 2 + (1.5 + 0) / 2; G: -(0.5 - 3) / 2
    "hinge": ([2.0, -1.0], [0.5, -3.0], 1.75, 1.25),
    # D: -(2 - 1) / 2 + (0.5 - 3) / 2; G: -(0.5 - 3) / 2
    "wasserstein": ([2.0, -1.0], [0.5, -3.0], -1.75, 1.25),
    # mean real = ln 3, mean fake = 0.
    # D: (ln 10/9 + ln 2) / 2 + (ln 10/3 + ln 22/21) / 2 = ln(4400/567) / 2
    # G: (ln 10/7 + ln 22) / 2 + (ln 10 + ln 2) / 2 = ln(4400/7) / 2
    "relativistic_average": ([2 * LN3, 0.0], [LN7, -LN7], 1.0245002580893001, 3.2217248354255195),
    # Pairs are 0 and -ln 3, ln 3 and ln 7, in that order.
    # D: (softplus(-ln 3) + softplus(ln 7/3)) / 2 = (ln 4/3 + ln 10/3) / 2 = ln(40/9) / 2
    # G: (softplus(ln 3) + softplus(ln 3/7)) / 2 = (ln 4 + ln 10/7) / 2 = ln(40/7) / 2
    "relativistic_pairing": ([0.0, LN3], [-LN3, LN7], math.log(40 / 9) / 2, math.log(40 / 7) / 2),
}

# name: slopes of D's loss by the real and by the fake logits, summed over a batch at logits 0.
SLOPES_AT_ZERO = {
    "minimax": (-0.5, 0.5),  # -(1 - sigmoid(0)), sigmoid(0)
    "non_saturating": (-0.5, 0.5),
    "least_squares": (-1.0, 0.0),  # l_real - 1, l_fake
    "hinge": (-1.0, 1.0),
    "wasserstein": (-1.0, 1.0),
    "relativistic_average": (-1.0, 1.0),  # 0.5 through the own term, 0.5 through the mean
    "relativistic_pairing": (-0.5, 0.5),
}


def column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


@pytest.mark.parametrize("name", GOLDEN)
def test_values_worked_out_by_hand(name: str) -> None:
    real, fake, expected_d, expected_g = GOLDEN[name]
    d_loss = LOSSES[name].discriminator(column(real), column(fake))
    g_loss = LOSSES[name].generator(column(real), column(fake))
    assert d_loss.item() == pytest.approx(expected_d, rel=1e-12)
    assert g_loss.item() == pytest.approx(expected_g, rel=1e-12)


@pytest.mark.parametrize("name", SLOPES_AT_ZERO)
def test_discriminators_loss_is_the_sum_of_its_terms(name: str) -> None:
    real = torch.zeros(4, 1, requires_grad=True)
    fake = torch.zeros(4, 1, requires_grad=True)
    slopes = torch.autograd.grad(LOSSES[name].discriminator(real, fake), (real, fake))
    assert tuple(slope.sum().item() for slope in slopes) == pytest.approx(SLOPES_AT_ZERO[name])


def test_only_cross_entropy_logits_are_log_odds() -> None:
    log_odds = {name for name in NAMES if LOSSES[name].logits_are_log_odds}
    assert log_odds == {"minimax", "non_saturating"}


def test_both_goodfellow_losses_share_one_discriminator_loss() -> None:
    real, fake = column([0.3, -2.0]), column([1.0, -0.7])
    values = [LOSSES[n].discriminator(real, fake).item() for n in ("minimax", "non_saturating")]
    assert values[0] == values[1]


def test_generator_gradients_of_minimax_and_non_saturating_differ_as_theory_says() -> None:
    logits = [-4.0, -1.0, 0.0, 2.5]
    num = len(logits)
    gradients = {}
    for name in ("minimax", "non_saturating"):
        fake = column(logits).requires_grad_(True)
        (gradient,) = torch.autograd.grad(LOSSES[name].generator(fake.detach(), fake), fake)
        gradients[name] = gradient.flatten()
    sigmoid = torch.tensor([1 / (1 + math.exp(-x)) for x in logits], dtype=torch.float64)
    torch.testing.assert_close(gradients["minimax"], -sigmoid / num)
    torch.testing.assert_close(gradients["non_saturating"], -(1 - sigmoid) / num)
    assert (gradients["minimax"] * gradients["non_saturating"] > 0).all()
    ratio = gradients["minimax"] / gradients["non_saturating"]
    # sigmoid(l) / (1 - sigmoid(l)) = e^l: minimax saturates where D is sure of a fake.
    torch.testing.assert_close(ratio, torch.tensor(logits, dtype=torch.float64).exp())


@pytest.mark.parametrize("name", ["wasserstein", "relativistic_average", "relativistic_pairing"])
def test_relative_losses_ignore_a_common_shift(name: str) -> None:
    real, fake = column([0.2, 3.0]), column([0.5, -1.0])
    shifted = LOSSES[name].discriminator(real + 0.7, fake + 0.7)
    assert shifted.item() == pytest.approx(LOSSES[name].discriminator(real, fake).item())


@pytest.mark.parametrize("name", ["relativistic_average", "relativistic_pairing"])
def test_relativistic_generator_exchanges_real_and_fake(name: str) -> None:
    real, fake = column([0.2, 3.0]), column([0.5, -1.0])
    loss = LOSSES[name]
    assert loss.generator(real, fake).item() == loss.discriminator(fake, real).item()


# --- relativistic pairing (R3GAN) -----------------------------------------------------------------


def test_pairing_worked_out_by_hand() -> None:
    loss, real, fake = LOSSES["relativistic_pairing"], column([2 * LN3, 0.0]), column([LN7, -LN7])
    # fake - real = ln 7/9 and -ln 7. D: (ln 16/9 + ln 8/7) / 2; G: (ln 16/7 + ln 8) / 2.
    assert loss.discriminator(real, fake).item() == pytest.approx(math.log(128 / 63) / 2, rel=1e-12)
    assert loss.generator(real, fake).item() == pytest.approx(math.log(128 / 7) / 2, rel=1e-12)


def test_pairing_exchanges_real_and_fake_and_ignores_a_common_shift() -> None:
    loss, real, fake = LOSSES["relativistic_pairing"], column([0.2, 3.0]), column([0.5, -1.0])
    assert loss.generator(real, fake).item() == loss.discriminator(fake, real).item()
    shifted = loss.discriminator(real + 0.7, fake + 0.7).item()
    assert shifted == pytest.approx(loss.discriminator(real, fake).item())
    assert loss.discriminator(real, real).item() == pytest.approx(math.log(2))


def test_pairing_compares_partners_and_average_compares_with_all() -> None:
    real, fake = column([0.2, 3.0, -1.0]), column([0.5, -1.0, 2.0])
    pairing, average = (LOSSES[f"relativistic_{name}"] for name in ("pairing", "average"))
    other_order = fake.flip(0)
    same = [average.discriminator(real, each).item() for each in (fake, other_order)]
    assert same[0] == pytest.approx(same[1])
    differ = [pairing.discriminator(real, each).item() for each in (fake, other_order)]
    assert differ[0] != pytest.approx(differ[1])
    # Of one pair the average has the same term twice.
    twice = average.discriminator(real[:1], fake[:1]).item()
    assert twice == pytest.approx(2 * pairing.discriminator(real[:1], fake[:1]).item())


@pytest.mark.parametrize("name", ["relativistic_average", "relativistic_pairing"])
def test_relativistic_generator_learns_from_its_own_loss(name: str) -> None:
    """It is D's with the roles exchanged, not overwritten by a loss of fake logits alone."""
    real, fake = column([1.0, -0.5]), column([0.3, 2.0]).requires_grad_(True)
    (toward,) = torch.autograd.grad(LOSSES[name].generator(real, fake), fake)
    (moved,) = torch.autograd.grad(LOSSES[name].generator(real + 1, fake), fake)
    assert (toward < 0).all()
    assert (moved < toward).all()  # the further ahead the reals are, the steeper
    assert LOSSES[name].generator_sees_real


@pytest.mark.parametrize("player", ["discriminator", "generator"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_finite_differences(name: str, player: str) -> None:
    real, fake = column([0.3, -2.0, 0.6]), column([1.7, -0.7, 0.1])
    inputs = real.requires_grad_(True), fake.requires_grad_(True)
    assert torch.autograd.gradcheck(getattr(LOSSES[name], player), inputs)


@pytest.mark.parametrize("name", NAMES)
def test_soft_terms_make_up_the_discriminators_loss(name: str) -> None:
    real, fake = column([0.3, -2.0]), column([1.0, -0.7])
    terms = LOSSES[name].terms
    if terms is None:
        assert name.startswith("relativistic")
        return
    total = terms[0](real).mean() + terms[1](fake).mean()
    assert total.item() == LOSSES[name].discriminator(real, fake).item()
    assert terms[0](real).shape == real.shape


@pytest.mark.parametrize("name", NAMES)
def test_sure_logits_overflow_nothing(name: str) -> None:
    real = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    fake = torch.tensor([[-1e4], [1e4]], requires_grad=True)
    for player in (LOSSES[name].discriminator, LOSSES[name].generator):
        value = player(real, fake)
        slopes = torch.autograd.grad(value, (real, fake), allow_unused=True)
        assert value.isfinite()
        assert all(slope is None or slope.isfinite().all() for slope in slopes)
