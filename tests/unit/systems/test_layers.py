"""Norms by hand, the layer that makes images, and dropout from a stream of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.systems.gan import GAN
from harness.systems.layers import (
    ACTIVATIONS,
    Dropout,
    Images,
    Maxout,
    activation,
    dropout,
    normalisation,
)

Make = Callable[..., GAN]
Advance = Callable[..., dict[str, Tensor]]
Batches = Callable[..., Tensor]

EPS = 1e-5  # added to variances by every norm


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def only(layers: list[nn.Module]) -> nn.Module:
    (layer,) = layers
    return layer.double()


def standardised(part: Tensor) -> Tensor:
    """Return a part of a tensor with mean 0 and variance 1, by its own moments."""
    mean = part.sum() / part.numel()
    variance = (part - mean).square().sum() / part.numel()
    result: Tensor = (part - mean) / math.sqrt(variance + EPS)
    return result


# --- norms ----------------------------------------------------------------------------------------


def test_instance_norm_standardises_each_map_of_each_sample() -> None:
    inputs = values(3, 2, 4, 5)
    outputs = only(normalisation("instance", 2, spatial=True))(inputs)
    for sample in range(3):
        for channel in range(2):
            expected = standardised(inputs[sample, channel])
            torch.testing.assert_close(outputs[sample, channel], expected)


@pytest.mark.parametrize("spatial", [True, False])
@pytest.mark.parametrize(
    ("num_features", "num_groups"),
    [(1, 1), (8, 1), (16, 1), (24, 1), (32, 2), (40, 2), (48, 3), (51, 3), (53, 1), (64, 4)],
)
def test_group_norm_standardises_groups_of_at_least_sixteen(
    num_features: int, num_groups: int, spatial: bool
) -> None:
    inputs = values(2, num_features, *([3, 2] if spatial else []))
    layer = only(normalisation("group", num_features, spatial=spatial))
    size = num_features // num_groups
    outputs = layer(inputs)
    for sample in range(2):
        for first in range(0, num_features, size):
            group = slice(first, first + size)
            expected = standardised(inputs[sample, group])
            torch.testing.assert_close(outputs[sample, group], expected)


@pytest.mark.parametrize(
    ("name", "spatial"), [("layer", True), ("layer", False), ("instance", False)]
)
def test_layer_norm_standardises_each_sample(name: str, spatial: bool) -> None:
    inputs = values(3, 4, *([3, 2] if spatial else []))
    outputs = only(normalisation(name, 4, spatial=spatial))(inputs)
    for sample in range(3):
        torch.testing.assert_close(outputs[sample], standardised(inputs[sample]))


@pytest.mark.parametrize("name", ["layer", "instance", "group"])
@pytest.mark.parametrize("spatial", [True, False])
def test_norms_for_penalties_mix_no_samples(name: str, spatial: bool) -> None:
    layer = only(normalisation(name, 32, spatial=spatial))
    inputs = values(4, 32, *([3, 3] if spatial else []))
    torch.testing.assert_close(layer(inputs)[1:2], layer(inputs[1:2]))
    assert not [key for key in layer.state_dict() if "running" in key]
    inputs = (
        inputs[:2, ..., :1].requires_grad_(True) if spatial else inputs[:2].requires_grad_(True)
    )
    assert torch.autograd.gradcheck(layer, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(layer, inputs, fast_mode=True)


@pytest.mark.parametrize("spatial", [True, False])
def test_batch_norm_has_torchs_momentum_and_eps(spatial: bool) -> None:
    # 0.8 as the second argument would be an eps of 0.8, which is no momentum.
    layer = only(normalisation("batch", 3, spatial=spatial))
    assert (layer.eps, layer.momentum) == (EPS, 0.1)
    inputs = values(6, 3, *([2, 2] if spatial else []))
    outputs = layer(inputs)
    for feature in range(3):
        own = inputs[:, feature]
        torch.testing.assert_close(outputs[:, feature], standardised(own))
        expected = 0.9 * 0 + 0.1 * own.mean(), 0.9 * 1 + 0.1 * own.var()
        torch.testing.assert_close(layer.running_mean[feature], expected[0])
        torch.testing.assert_close(layer.running_var[feature], expected[1])


def test_maps_of_one_pixel_are_refused_instance_norm(make_gan: Make) -> None:
    with pytest.raises(HarnessError, match=r"d_norm = 'instance' .*one pixel"):
        make_gan(architecture="dc", d_norm="instance", d_depth=3)
    residual: dict[str, Any] = {"architecture": "dc_pool", "g_norm": "instance", "g_residual": 1}
    with pytest.raises(HarnessError, match=r"g_norm = 'instance' .*one pixel"):
        make_gan(**residual, g_depth=3, d_depth=1)


@pytest.mark.parametrize("changes", [{"g_residual": 0, "g_depth": 3}, {"g_depth": 2}])
def test_smallest_maps_that_instance_norm_takes_are_trained(
    make_gan: Make, advance: Advance, real_batches: Batches, changes: dict[str, Any]
) -> None:
    settings: dict[str, Any] = {"architecture": "dc_pool", "g_norm": "instance", "g_residual": 1}
    gan = make_gan(**settings | {"d_depth": 1, "d_norm": "instance", "d_residual": 1} | changes)
    measures = advance(gan, real_batches(1))
    assert all(each.isfinite() for each in measures.values())


# --- activations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", [0.0, 0.0, 3.0]),
        ("leaky_relu", [-0.4, 0.0, 3.0]),
        ("elu", [math.exp(-2) - 1, 0.0, 3.0]),
        ("none", [-2.0, 0.0, 3.0]),
        ("silu", [-2 / (1 + math.exp(2)), 0.0, 3 / (1 + math.exp(-3))]),
    ],
)
def test_activations_by_hand(name: str, expected: list[float]) -> None:
    outputs = activation(name)(torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64))
    assert outputs.tolist() == pytest.approx(expected)
    assert name in ACTIVATIONS


# --- maxout ---------------------------------------------------------------------------------------


def test_maxout_is_the_largest_piece_of_each_unit_by_hand() -> None:
    # Two units of three pieces: piece 0 of both, piece 1 of both, piece 2 of both.
    inputs = torch.tensor([[1.0, -5.0, 4.0, -7.0, 2.0, -6.0], [0.0, 3.0, -1.0, 9.0, -2.0, 8.0]])
    inputs.requires_grad_()
    outputs = Maxout(3)(inputs)
    assert outputs.tolist() == [[4.0, -5.0], [0.0, 9.0]]
    (outputs * torch.tensor([[2.0, 3.0], [5.0, 7.0]])).sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.tolist() == [[0, 3, 2, 0, 0, 0], [5, 0, 0, 7, 0, 0]]


def test_maxout_shares_a_gradient_among_equal_pieces() -> None:
    inputs = torch.tensor([[1.0, 1.0, -3.0]], requires_grad=True)
    Maxout(3)(inputs).sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.tolist() == [[0.5, 0.5, 0]]


def test_maxout_has_second_derivatives_for_penalties() -> None:
    inputs = values(3, 8).requires_grad_()
    assert torch.autograd.gradcheck(Maxout(4), inputs)
    assert torch.autograd.gradgradcheck(Maxout(4), inputs)


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("squash", ["tanh", "sigmoid"])
def test_frame_is_cropped_in_eval_mode_only(squash: Literal["tanh", "sigmoid"]) -> None:
    layer = Images(squash, 4, 6)
    inputs = torch.randn(2, 1, 8, 12)
    whole = layer(inputs)
    assert whole.shape == inputs.shape
    assert torch.equal(layer.eval()(inputs), whole[:, :, 2:6, 3:9])
    assert torch.equal(layer.train()(inputs), whole)


def test_image_without_a_frame_is_whole_in_eval_mode() -> None:
    inputs = torch.randn(2, 3, 4, 8)
    assert torch.equal(Images("tanh", 4, 8).eval()(inputs), inputs.tanh())


def test_sigmoid_is_a_tanh_of_half_the_numbers() -> None:
    inputs = values(2, 1, 4, 4) * 3
    torch.testing.assert_close(Images("sigmoid", 4, 4)(inputs), (inputs / 2).tanh())
    torch.testing.assert_close(Images("tanh", 4, 4)(inputs), inputs.tanh())


@pytest.mark.parametrize("squash", ["tanh", "sigmoid"])
def test_log_odds_are_those_of_the_pixels_as_probabilities(
    squash: Literal["tanh", "sigmoid"],
) -> None:
    layer = Images(squash, 4, 4)
    inputs = values(2, 1, 4, 4)
    probability = (layer(inputs) + 1) / 2
    expected = (probability / (1 - probability)).log()
    torch.testing.assert_close(layer.log_odds(inputs), expected)


@pytest.mark.parametrize("squash", ["tanh", "sigmoid"])
def test_images_gradients_equal_finite_differences(squash: Literal["tanh", "sigmoid"]) -> None:
    inputs = values(1, 1, 4, 4).requires_grad_(True)
    assert torch.autograd.gradcheck(Images(squash, 2, 2), inputs)
    assert torch.autograd.gradcheck(Images(squash, 2, 2).eval(), inputs)


# --- dropout --------------------------------------------------------------------------------------


def test_dropout_keeps_the_mean_and_draws_from_its_own_generator() -> None:
    (layer,) = dropout(0.25)
    assert isinstance(layer, Dropout)
    inputs = torch.ones(40_000)
    assert layer(inputs) is inputs  # nobody has given it a generator
    layer.generator = torch.Generator().manual_seed(0)
    before = torch.get_rng_state()
    outputs = layer(inputs)
    assert torch.equal(torch.get_rng_state(), before)
    assert outputs.unique().tolist() == pytest.approx([0, 4 / 3])
    assert outputs.mean().item() == pytest.approx(1, abs=0.015)  # sd of the mean: 0.0029
    assert layer.eval()(inputs) is inputs
    assert dropout(0.0) == []
