"""What every penalty must do, a plugin's too: whatever is registered is tested."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from harness.systems.gan.penalties import PENALTIES, Penalty


@pytest.fixture(params=[name for name in PENALTIES if PENALTIES[name] is not None])
def penalty(request: pytest.FixtureRequest) -> Penalty:
    found = PENALTIES[request.param]
    assert found is not None
    return found


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batches() -> tuple[Tensor, Tensor]:
    real, fake = torch.rand(2, 6, 1, 4, 4, generator=generator(1)) * 2 - 1
    return real, fake


def network(scale: float = 1.0) -> nn.Module:
    """Return a discriminator whose weights go with `scale`; 0 leaves it flat."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ELU(), nn.Linear(8, 1))
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0, scale, generator=generator(2))
    return module


def test_it_is_a_scalar_that_punishes_steep_discriminators_most(penalty: Penalty) -> None:
    value = penalty(network(), *batches(), generator())
    assert value.shape == ()
    assert 0 <= value < penalty(network(10.0), *batches(), generator())


def test_its_gradient_reaches_the_discriminator_and_not_the_images(penalty: Penalty) -> None:
    real, fake = (batch.requires_grad_(True) for batch in batches())
    discriminator = network(3.0)
    penalty(discriminator, real, fake, generator()).backward()
    gradients = [p.grad for p in discriminator.parameters() if p.grad is not None]
    assert any(gradient.abs().max() > 0 for gradient in gradients)
    assert real.grad is None
    assert fake.grad is None


def test_a_vanishing_gradient_makes_no_nan(penalty: Penalty) -> None:
    discriminator = network(0.0)
    value = penalty(discriminator, *batches(), generator())
    value.backward()
    assert value.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in discriminator.parameters())


def test_norms_are_per_sample(penalty: Penalty) -> None:
    """A mean over samples: the value of a batch is the mean of its halves' values."""

    class Same(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).square().sum(1, keepdim=True)

    point = torch.full((1, 1, 4, 4), 0.25)
    one = penalty(Same(), point, point, generator())
    many = penalty(Same(), point.repeat(6, 1, 1, 1), point.repeat(6, 1, 1, 1), generator())
    # A norm over the whole batch would grow with it; noise around the points may move it a little.
    assert many.item() == pytest.approx(one.item(), rel=0.2)


def test_it_draws_from_the_given_generator_only(penalty: Penalty) -> None:
    before = torch.get_rng_state()
    values = [penalty(network(), *batches(), generator(seed)).item() for seed in (5, 5)]
    torch.manual_seed(7)
    again = penalty(network(), *batches(), generator(5)).item()
    torch.set_rng_state(before)
    assert values[0] == values[1] == again
    assert torch.equal(torch.get_rng_state(), before)
