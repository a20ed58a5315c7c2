"""DCGAN's convolutions against torch's own, in float32 and in bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from harness.systems.convolutions import DoublingConv, Flatten, HalvingConv, ToImages
from harness.systems.precision import InBFloat16

STOCK = {
    HalvingConv: nn.Conv2d,
    DoublingConv: nn.ConvTranspose2d,
    ToImages: nn.ConvTranspose2d,
}
SHAPES = [  # inputs, outputs, height, width, images
    (1, 64, 28, 28, 5),  # few inputs, or few outputs, are a case of their own
    (3, 20, 8, 12, 4),
    (16, 24, 8, 8, 33),  # one image more than are taken at a time
    (64, 32, 14, 14, 64),
    (32, 1, 14, 14, 6),
    (40, 3, 4, 6, 3),
]

cases = pytest.mark.parametrize("kind", list(STOCK), ids=lambda kind: kind.__name__)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def layer_and_stock(kind: type, shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module, Tensor]:
    """Return the layer, torch's own with the same weights, and inputs, all exact in bfloat16."""
    torch.manual_seed(0)
    num_inputs, num_outputs, height, width, images = shape
    layer = kind(num_inputs, num_outputs)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(weight.bfloat16())
    stock = STOCK[kind](num_inputs, num_outputs, 4, 2, 1)
    stock.load_state_dict(layer.state_dict())
    inputs = torch.randn(images, num_inputs, height, width).bfloat16().float()
    return layer, stock, inputs.requires_grad_()


def results(network: nn.Module | InBFloat16, weights: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Return the output, and the gradients of the inputs and of all weights."""
    output = network(inputs)
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(output.shape, generator=generator).bfloat16().float()
    gradients = torch.autograd.grad(output, [inputs, *weights.parameters()], direction)
    return [output.detach(), *gradients]


@cases
@shapes
def test_float32_is_torchs(kind: type, shape: tuple[int, ...]) -> None:
    layer, stock, inputs = layer_and_stock(kind, shape)
    ours, theirs = results(layer, layer, inputs), results(stock, stock, inputs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() < 1e-5 * other.norm()
        assert kind is ToImages or torch.equal(one, other)


@cases
@shapes
@pytest.mark.parametrize("channels_last", [True, False])
def test_bfloat16_is_torchs_float32_but_for_rounding(
    kind: type, shape: tuple[int, ...], channels_last: bool
) -> None:
    layer, stock, inputs = layer_and_stock(kind, shape)
    if channels_last:
        inputs = inputs.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    ours = results(InBFloat16(layer), layer, inputs)
    for one, other in zip(ours, results(stock, stock, inputs), strict=True):
        assert one.dtype == torch.float32
        assert one.shape == other.shape
        assert (one - other).norm() < 0.01 * other.norm()


def test_flattened_maps_get_their_gradient_in_their_layout() -> None:
    maps = torch.randn(2, 3, 4, 4).bfloat16().contiguous(memory_format=torch.channels_last)
    maps.requires_grad_()
    flat = Flatten()(maps)
    assert torch.equal(flat, maps.detach().flatten(1))
    direction = torch.randn_like(flat)
    (gradient,) = torch.autograd.grad(flat, maps, direction)
    assert torch.equal(gradient, direction.view(2, 3, 4, 4))
    assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_gradients_come_back_in_the_layout_of_the_maps() -> None:
    for kind in (HalvingConv, DoublingConv):
        layer = kind(32, 32).bfloat16()
        for layout in (torch.channels_last, torch.contiguous_format):
            maps = torch.randn(2, 32, 8, 8).bfloat16().contiguous(memory_format=layout)
            maps.requires_grad_()
            (gradient,) = torch.autograd.grad(layer(maps).sum(), maps)
            assert gradient.is_contiguous(memory_format=layout)
