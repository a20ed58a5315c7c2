"""What every entry of the smaller registries must do by itself, a plugin's too."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.randomness import seeded
from harness.systems.gan.augment import AUGMENTATIONS
from harness.systems.gan.prior import PRIORS
from harness.systems.initialise import INITIALISATIONS, initialise
from harness.systems.layers import ACTIVATIONS, NORMS, activation, normalisation
from harness.systems.optimizers import OPTIMIZERS, SCHEDULES, Learner, OptimizerSettings


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(num: int, channels: int = 3) -> Tensor:
    return torch.rand(num, channels, 12, 16, generator=generator(1)) * 2 - 1


# Optimisers and schedules.


def learner(weights: list[nn.Parameter], lr: float = 0.05, **settings: Any) -> Learner:
    return Learner(weights, lr, OptimizerSettings(**settings))


def distance(weights: list[nn.Parameter]) -> Tensor:
    return torch.stack([(weight - 1).square().sum() for weight in weights]).sum()


def some_weights() -> list[nn.Parameter]:
    shapes = [(3, 2), (4,), ()]
    return [nn.Parameter(torch.randn(shape, generator=generator())) for shape in shapes]


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_an_optimizer_finds_the_bottom_of_a_bowl(name: str) -> None:
    weights = some_weights()
    other = nn.Parameter(torch.ones(3))
    its = learner(weights, optimizer=name)
    assert [group["lr"] for group in its.optimizer.param_groups] == [0.05]
    start = distance(weights).item()
    for _ in range(200):
        norm = its.update(distance(weights) + other.sum())
    assert distance(weights).item() < 0.02 * start
    assert norm.shape == ()
    assert other.grad is None


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_an_optimizer_returns_from_its_state_bit_for_bit(name: str) -> None:
    settings = {"optimizer": name, "momentum": 0.5, "weight_decay": 0.01, "clip_grad": 1.0}
    first, second = some_weights(), some_weights()
    its, again = learner(first, **settings), learner(second, **settings)
    for _ in range(3):
        its.update(distance(first))
    with torch.no_grad():
        for ours, theirs in zip(second, first, strict=True):
            ours.copy_(theirs)
    again.optimizer.load_state_dict(copy.deepcopy(its.optimizer.state_dict()))
    for _ in range(3):
        assert torch.equal(its.update(distance(first)), again.update(distance(second)))
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_weight_decay_pulls_to_zero(name: str) -> None:
    weight = nn.Parameter(torch.full((4,), 2.0))
    its = learner([weight], optimizer=name, weight_decay=0.1)
    for _ in range(10):
        its.update((0 * weight).sum())
    assert (weight < 2).all()
    assert (weight > 0).all()


@pytest.mark.parametrize("name", list(SCHEDULES))
@pytest.mark.parametrize("warm_up", [0.0, 0.25])
def test_a_schedule_starts_at_the_rate_and_stays_within_it(name: str, warm_up: float) -> None:
    assert SCHEDULES[name](0.0) == 1
    weights = some_weights()
    its = learner(weights, 0.5, schedule=name, warm_up=warm_up)
    rates = []
    for number in range(40):
        its.set_rate(number / 40)
        rates += [group["lr"] for group in its.optimizer.param_groups]
    assert all(0 <= rate <= 0.5 for rate in rates)
    assert max(rates) == 0.5
    assert rates[: round(40 * warm_up)] == pytest.approx(
        [0.5 * number / 10 for number in range(round(40 * warm_up))]
    )


# Starts, norms and activations.


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 4, 4, bias=False),
        nn.Flatten(), nn.Linear(12, 5), nn.LayerNorm(5),
    )  # fmt: skip


@pytest.mark.parametrize("name", list(INITIALISATIONS))
def test_an_initialisation_is_a_function_of_the_seed(name: str) -> None:
    starts = []
    for seed in (0, 0, 1):
        with seeded(seed):
            starts.append(initialise(network(), name).state_dict())
    assert all(torch.equal(starts[0][key], starts[1][key]) for key in starts[0])
    for key, weight in starts[0].items():
        assert weight.isfinite().all()
        assert not weight.requires_grad
        if weight.dim() > 1:
            assert not torch.equal(weight, starts[2][key])
            assert 0.001 < weight.std() < 2


@pytest.mark.parametrize("num_features", [1, 3, 20, 64])
@pytest.mark.parametrize("spatial", [True, False])
@pytest.mark.parametrize("name", list(NORMS))
def test_a_norm_keeps_shapes_and_passes_gradients(
    name: str, spatial: bool, num_features: int
) -> None:
    layer = nn.Sequential(*normalisation(name, num_features, spatial=spatial))
    shape = (6, num_features, 4, 4) if spatial else (6, num_features)
    inputs = (10 * torch.randn(shape, generator=generator()) + 3).requires_grad_()
    for each in (layer.train(), layer.eval()):
        outputs = each(inputs)
        assert outputs.shape == shape
        (gradient,) = torch.autograd.grad(outputs.square().sum(), inputs)
        assert outputs.isfinite().all()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_an_activation_lets_large_numbers_through(name: str) -> None:
    inputs = torch.linspace(-50, 50, 101).requires_grad_()
    outputs = activation(name)(inputs)
    (gradient,) = torch.autograd.grad(outputs.sum(), inputs)
    assert outputs.shape == inputs.shape
    assert outputs.isfinite().all()
    assert gradient.isfinite().all()
    assert outputs[-1] > outputs[60] > outputs[0]


# What is drawn.


@pytest.mark.parametrize("name", list(PRIORS))
def test_a_prior_draws_from_its_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    first, again, other = (PRIORS[name]((500, 4), generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.shape, first.dtype) == ((500, 4), torch.float32)
    assert first.isfinite().all()
    assert len(first.unique(dim=0)) == 500
    assert first.mean(dim=0).abs().max() < 0.3


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_an_augmentation_draws_from_its_generator_alone(name: str) -> None:
    change, images = AUGMENTATIONS[name], pictures(9)
    kept, before = images.clone(), torch.get_rng_state()
    first, again, other = (change(images, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(images, kept)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.shape, first.dtype) == (images.shape, images.dtype)
    assert first.isfinite().all()


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_an_augmentation_changes_each_image_by_itself(name: str) -> None:
    """Gradients go from an image to itself, and no other image shows in it."""
    change, images = AUGMENTATIONS[name], pictures(5).requires_grad_()
    changed = change(images, generator())
    (gradient,) = torch.autograd.grad(changed[2].sum(), images)
    assert gradient[2].abs().sum() > 0
    assert not gradient[[0, 1, 3, 4]].any()
    others = images.detach().clone()
    others[[0, 1, 3, 4]] = 0.0
    torch.testing.assert_close(change(others, generator())[2], changed[2].detach())
