"""Blocks: how they start, references written as loops, and groups that mix only their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.config import parse
from harness.errors import HarnessError
from harness.systems.blocks import MinibatchStd, Residual, SelfAttention, group_size
from harness.systems.gan import GAN, GANConfig
from harness.systems.layers import NORMS

Make = Callable[..., GAN]
Advance = Callable[..., dict[str, Tensor]]
Batches = Callable[..., Tensor]


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(block: nn.Module, gain: float = 0.7) -> nn.Module:
    """Return a block with known weights and a gain, in float64."""
    block = block.double()
    with torch.no_grad():
        for index, weight in enumerate(block.parameters()):
            weight.copy_(values(*weight.shape, seed=index + 1) / 2)
        block.gain.fill_(gain)
    return block


# --- residual blocks ------------------------------------------------------------------------------


@pytest.mark.parametrize("spatial", [True, False])
@pytest.mark.parametrize("norm", list(NORMS))
def test_residual_block_starts_as_the_identity(norm: str, spatial: bool) -> None:
    inputs = torch.randn(4, 6, *([5, 3] if spatial else []))
    block = Residual(6, norm, "relu", spatial=spatial)
    assert torch.equal(block(inputs), inputs)


def test_residual_block_adds_two_layers_each_after_its_activation() -> None:
    block = filled(Residual(2, "none", "leaky_relu", spatial=False))
    inputs = values(3, 2)
    weights = [each for name, each in block.named_parameters() if name != "gain"]
    first, first_bias, second, second_bias = weights
    for given, result in zip(inputs, block(inputs), strict=True):
        hidden = first @ torch.where(given > 0, given, 0.2 * given) + first_bias
        change = second @ torch.where(hidden > 0, hidden, 0.2 * hidden) + second_bias
        torch.testing.assert_close(result, given + 0.7 * change)


@pytest.mark.parametrize("spatial", [True, False])
def test_residual_blocks_gradients_equal_finite_differences(spatial: bool) -> None:
    block = filled(Residual(2, "none", "silu", spatial=spatial))
    inputs = values(2, 2, *([3, 2] if spatial else [])).requires_grad_(True)
    assert torch.autograd.gradcheck(block, inputs)
    assert torch.autograd.gradgradcheck(block, inputs)


@pytest.mark.parametrize("block", [Residual(4, "none", "elu", spatial=True), SelfAttention(4)])
def test_only_the_gain_learns_from_the_first_gradient(block: nn.Module) -> None:
    inputs = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    (block(inputs) * inputs.sin()).sum().backward()
    gradients = {name: each.grad for name, each in block.named_parameters()}
    assert gradients.pop("gain").abs() > 0
    assert all(each.abs().max() == 0 for each in gradients.values())


# --- self-attention -------------------------------------------------------------------------------


def test_attention_starts_as_the_identity() -> None:
    inputs = torch.randn(2, 16, 4, 6)
    assert torch.equal(SelfAttention(16)(inputs), inputs)


def test_attention_equals_a_reference_written_as_loops() -> None:
    """SAGAN's eq. 1 to 3: place j looks at places i with softmax over i of <key i, query j>."""
    channels, height, width = 8, 2, 3
    block = filled(SelfAttention(channels))
    query, key, value, output = (
        getattr(block, name).weight.flatten(1) for name in ("query", "key", "value", "output")
    )
    assert [each.shape for each in (query, key, value, output)] == [(1, 8), (1, 8), (4, 8), (8, 4)]
    inputs = values(2, channels, height, width)
    expected = inputs.clone()
    places = [(row, column) for row in range(height) for column in range(width)]
    for index, image in enumerate(inputs):
        for here in places:
            queried = query @ image[:, here[0], here[1]]
            scores = [torch.dot(key @ image[:, r, c], queried).item() for r, c in places]
            total = sum(math.exp(score) for score in scores)
            seen = torch.zeros(4, dtype=torch.float64)
            for score, (r, c) in zip(scores, places, strict=True):
                seen += math.exp(score) / total * (value @ image[:, r, c])
            expected[index, :, here[0], here[1]] += 0.7 * (output @ seen)
    torch.testing.assert_close(block(inputs), expected)


def test_attention_follows_a_permutation_of_places_and_mixes_no_samples() -> None:
    block = filled(SelfAttention(4))
    inputs = values(3, 4, 2, 5)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    moved = inputs.flatten(2)[..., order].unflatten(2, (2, 5))
    expected = block(inputs).flatten(2)[..., order].unflatten(2, (2, 5))
    torch.testing.assert_close(block(moved), expected)
    torch.testing.assert_close(block(inputs[1:2]), block(inputs)[1:2])


def test_attentions_gradients_equal_finite_differences() -> None:
    block = filled(SelfAttention(3))
    inputs = values(1, 3, 2, 2).requires_grad_(True)
    assert torch.autograd.gradcheck(block, inputs)
    assert torch.autograd.gradgradcheck(block, inputs)


# --- spread within a group ------------------------------------------------------------------------


def test_spread_worked_out_by_hand() -> None:
    # Two groups of 4. First: feature 0 is ±1, sd 1; feature 1 is 0, 0, 0, 4: mean 1, variance
    # (1 + 1 + 1 + 9) / 4 = 3. Second: equal samples.
    inputs = torch.tensor([[1.0, 0], [-1, 0], [1, 0], [-1, 4], *[[5, 6]] * 4])
    outputs = MinibatchStd()(inputs)
    assert torch.equal(outputs[:, :2], inputs)
    spread = (1 + math.sqrt(3)) / 2
    torch.testing.assert_close(outputs[:, 2], torch.tensor([spread] * 4 + [1e-4] * 4))


def test_spread_of_maps_is_the_mean_over_channels_and_places() -> None:
    inputs = values(4, 3, 2, 5)
    outputs = MinibatchStd()(inputs)
    assert outputs.shape == (4, 4, 2, 5)
    assert torch.equal(outputs[:, :3], inputs)
    spreads = [
        math.sqrt(inputs[:, c, y, x].var(correction=0).item() + 1e-8)
        for c in range(3)
        for y in range(2)
        for x in range(5)
    ]
    expected = torch.full((4, 2, 5), sum(spreads) / len(spreads), dtype=torch.float64)
    torch.testing.assert_close(outputs[:, 3], expected)


@pytest.mark.parametrize(
    ("num", "size"),
    [(1, 1), (2, 2), (3, 3), (4, 4), (5, 1), (6, 3), (7, 1), (8, 4), (9, 3), (10, 2), (64, 4)],
)
def test_groups_are_as_large_as_divides_the_batch(num: int, size: int) -> None:
    assert group_size(num) == size
    inputs = values(num, 3)
    outputs = MinibatchStd()(inputs)[:, 3]
    grouped = outputs.view(-1, size)
    assert (grouped == grouped[:, :1]).all()
    for first in range(0, num, size):
        own = inputs[first : first + size]
        expected = (own.var(0, correction=0) + 1e-8).sqrt().mean()
        torch.testing.assert_close(outputs[first], expected)


def test_spread_is_the_same_in_bfloat16_but_for_rounding() -> None:
    inputs = values(8, 5).to(torch.bfloat16)
    outputs = MinibatchStd()(inputs)
    assert outputs.dtype == torch.bfloat16
    expected = MinibatchStd()(inputs.double())[:, 5]
    torch.testing.assert_close(outputs[:, 5].double(), expected, rtol=2**-8, atol=0)


def test_spreads_gradients_equal_finite_differences() -> None:
    inputs = values(6, 2, 2, 1).requires_grad_(True)
    assert torch.autograd.gradcheck(MinibatchStd(), inputs)
    assert torch.autograd.gradgradcheck(MinibatchStd(), inputs)


def test_equal_samples_make_no_nan() -> None:
    inputs = torch.ones(4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(MinibatchStd()(inputs)[:, 3].sum(), inputs, create_graph=True)
    gradient.square().sum().backward()
    assert gradient.isfinite().all()
    assert inputs.grad is not None
    assert inputs.grad.isfinite().all()


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_real_and_generated_images_never_share_a_group(
    make_gan: Make, advance: Advance, real_batches: Batches, architecture: str
) -> None:
    gan = make_gan(architecture=architecture, d_minibatch_std=True, batch_size=4, penalty="r1")
    (layer,) = (each for each in gan.discriminator.modules() if isinstance(each, MinibatchStd))
    seen: list[int] = []
    layer.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    advance(gan, real_batches(1))
    assert seen == [4, 4, 4, 4]  # real, generated, reals of the penalty; generated


@pytest.mark.parametrize(
    ("batch_size", "pack", "num"), [(5, 1, 5), (1, 1, 1), (10, 2, 5), (49, 7, 7)]
)
def test_batches_without_groups_are_refused(batch_size: int, pack: int, num: int) -> None:
    settings: dict[str, Any] = {
        "batch_size": batch_size,
        "pack": pack,
        "g_norm": "none",
        "d_norm": "none",
    }
    parse(GANConfig, settings, "test")
    with pytest.raises(HarnessError, match=f"{num} are judged at once"):
        parse(GANConfig, {**settings, "d_minibatch_std": True}, "test")
