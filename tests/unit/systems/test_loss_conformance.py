"""What every loss must do, a plugin's too: whatever is registered is tested."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.systems.gan.losses import LOSSES, Loss


@pytest.fixture(params=list(LOSSES))
def loss(request: pytest.FixtureRequest) -> Loss:
    return LOSSES[request.param]


def column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def test_results_are_scalars(loss: Loss) -> None:
    real, fake = torch.randn(2, 6, 1, generator=torch.Generator().manual_seed(0))
    assert loss.discriminator(real, fake).shape == ()
    assert loss.generator(real, fake).shape == ()


@pytest.mark.parametrize("real_sign", [-1, 1])
@pytest.mark.parametrize("fake_sign", [-1, 1])
def test_finite_for_extreme_logits(loss: Loss, real_sign: int, fake_sign: int) -> None:
    for player in (loss.discriminator, loss.generator):
        real = torch.full((3, 1), 100.0 * real_sign, requires_grad=True)
        fake = torch.full((3, 1), 100.0 * fake_sign, requires_grad=True)
        value = player(real, fake)
        gradients = torch.autograd.grad(value, (real, fake), materialize_grads=True)
        assert value.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_players_pull_the_logits_in_opposite_directions(loss: Loss) -> None:
    # Between 0 and 1, least squares' targets, every loss has its slope.
    real = column([0.2, 0.5, 0.9]).requires_grad_(True)
    fake = column([0.1, 0.4, 0.8]).requires_grad_(True)
    by_real, by_fake = torch.autograd.grad(loss.discriminator(real, fake), (real, fake))
    assert (by_real < 0).all()
    assert (by_fake > 0).all()
    (by_fake,) = torch.autograd.grad(loss.generator(real.detach(), fake), fake)
    assert (by_fake < 0).all()


def test_generator_loss_uses_real_logits_only_if_it_says_so(loss: Loss) -> None:
    real, fake = column([0.2, 3.0]), column([0.5, -1.0])
    moved = loss.generator(real + torch.tensor([[1.0], [2.0]]), fake)
    assert loss.generator_sees_real == (moved.item() != loss.generator(real, fake).item())


def test_means_over_the_batch(loss: Loss) -> None:
    real, fake = column([0.2, 3.0]), column([0.5, -1.0])
    for player in (loss.discriminator, loss.generator):
        twice = player(real.repeat(2, 1), fake.repeat(2, 1))
        assert twice.item() == pytest.approx(player(real, fake).item(), rel=1e-12)
