"""The convolutions of DCGAN, which halve or double sides: kernel 4, stride 2, padding 1.

They are torch's own layers with the same parameters. In bfloat16 maps are `channels_last`, and what
a matrix product does faster on a CPU is one (docs/benchmarks.md); in float32 torch's own kernels do
all but the layer that makes images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, fold, linear, pad

KERNEL, STRIDE, PADDING = 4, 2, 1
FEW_IMAGES = 32
FEW_CHANNELS = 16  # see `ToImages`


class HalvingConv(nn.Conv2d):
    """Halves the sides of maps: (N, C, H, W) -> (N, C', H/2, W/2)."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__(num_inputs, num_outputs, KERNEL, STRIDE, PADDING)

    def forward(self, input: Tensor) -> Tensor:
        """Return (N, C', H/2, W/2)."""
        if input.dtype != torch.bfloat16:
            return super().forward(input)
        weight, bias = _cast(self)
        if self.in_channels >= FEW_CHANNELS:
            halved: Tensor = _Halve.apply(input, weight, bias)
            return halved
        num, _, height, width = input.shape
        patches: Tensor = _Unfold.apply(input)
        rows = linear(patches.transpose(1, 2).flatten(0, 1), weight.flatten(1), bias)
        return _maps(rows, num, height // 2, width // 2)


class DoublingConv(nn.ConvTranspose2d):
    """Doubles the sides of maps: (N, C, H, W) -> (N, C', 2H, 2W)."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__(num_inputs, num_outputs, KERNEL, STRIDE, PADDING)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return (N, C', 2H, 2W); `output_size` is only here for the base class."""
        if input.dtype != torch.bfloat16:
            return super().forward(input)
        doubled: Tensor = _Double.apply(input, *_cast(self))
        return doubled


class ToImages(DoublingConv):
    """Doubles the sides and mixes maps into an image's few channels.

    It is a product whose patches are then added up: kernels pad output channels to their vectors'
    16, so that a grey image costs them several times as much.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return (N, C', 2H, 2W); `output_size` is only here for the base class."""
        kernels = self.weight.flatten(1).t()
        size = (2 * input.shape[2], 2 * input.shape[3])
        if input.dtype == torch.bfloat16:
            rows = linear(_rows(input), kernels.to(input.dtype))
            maps: Tensor = _Fold.apply(rows.unflatten(0, (len(input), -1)).transpose(1, 2), size)
        else:
            maps = _fold(kernels @ input.flatten(2), size)
        assert self.bias is not None
        return maps + self.bias.to(maps.dtype).view(-1, 1, 1)


class Flatten(nn.Flatten):
    """Maps (N, C, H, W) -> (N, C H W); gradients come back in the maps' layout."""

    def forward(self, input: Tensor) -> Tensor:
        """Return (N, C H W)."""
        if input.dtype != torch.bfloat16:
            return super().forward(input)
        flat: Tensor = _Flatten.apply(input)
        return flat


def halving(num_inputs: int, num_outputs: int, kernel: int) -> nn.Module:
    """Return a convolution that halves even sides, for kernels of 2 to 7."""
    if kernel == KERNEL:
        return HalvingConv(num_inputs, num_outputs)
    return nn.Conv2d(num_inputs, num_outputs, kernel, STRIDE, (kernel - 1) // 2)


def doubling(num_inputs: int, num_outputs: int, kernel: int) -> nn.Module:
    """Return a transposed convolution that doubles sides, for kernels of 2 to 7."""
    if kernel == KERNEL:
        return DoublingConv(num_inputs, num_outputs)
    padding, more = (kernel - 1) // 2, kernel % 2
    return nn.ConvTranspose2d(num_inputs, num_outputs, kernel, STRIDE, padding, more)


def to_images(num_inputs: int, channels: int, kernel: int) -> nn.Module:
    """Return what doubles sides and mixes maps into an image's channels."""
    if kernel == KERNEL:
        return ToImages(num_inputs, channels)
    return doubling(num_inputs, channels, kernel)


class _Halve(torch.autograd.Function):
    """A halving convolution, the gradient of whose weights is one matrix product."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.layout = _layout(maps)
        maps = _channels_last(maps)
        ctx.save_for_backward(maps, weight)
        return conv2d(maps, weight, bias, STRIDE, PADDING)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        gradient = _channels_last(gradient)
        of_maps = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_maps = _gradient_of_maps(gradient, maps, weight).contiguous(memory_format=ctx.layout)
        if ctx.needs_input_grad[1]:
            of_weight = _kernels(_products(gradient, maps), weight)
            of_bias = _rows(gradient).sum(0)
        return of_maps, of_weight, of_bias


class _Double(torch.autograd.Function):
    """A doubling convolution, whose gradients are matrix products with the same patches."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.layout = _layout(maps)
        maps = _channels_last(maps)
        ctx.save_for_backward(maps, weight)
        return conv_transpose2d(maps, weight, bias, STRIDE, PADDING)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        num, channels, height, width = maps.shape
        gradient = _channels_last(gradient)
        patches = _patches(gradient)
        of_maps = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            kernels = weight.permute(0, 2, 3, 1).reshape(channels, -1)
            of_maps = _maps(patches @ kernels.t(), num, height, width)
            of_maps = of_maps.contiguous(memory_format=ctx.layout)
        if ctx.needs_input_grad[1]:
            of_weight = _kernels(_rows(maps).t() @ patches, weight)
            of_bias = _rows(gradient).sum(0)
        return of_maps, of_weight, of_bias


class _Unfold(torch.autograd.Function):
    """Maps (N, C, H, W) -> what kernels see of them (N, 16 C, H/2 W/2), as `unfold` gives it."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.size = maps.shape[2:]
        return _unfold(maps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _fold(gradient, ctx.size)


class _Fold(torch.autograd.Function):
    """The other way round, overlaps added up, as `fold` gives it."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, size: tuple[int, int]) -> Tensor:
        return _fold(patches, size)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _unfold(gradient), None


class _Flatten(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.shape, ctx.layout = maps.shape, _layout(maps)
        return maps.flatten(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.view(ctx.shape).contiguous(memory_format=ctx.layout)


def _gradient_of_maps(gradient: Tensor, maps: Tensor, weight: Tensor) -> Tensor:
    of_maps: Tensor = torch.ops.aten.convolution_backward(
        gradient,
        maps,
        weight,
        None,
        [STRIDE, STRIDE],
        [PADDING, PADDING],
        [1, 1],
        False,
        [0, 0],
        1,
        [True, False, False],
    )[0]
    return of_maps


def _cast(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """Return weight and bias in bfloat16; nothing is done where they are."""
    assert layer.bias is not None
    return layer.weight.to(torch.bfloat16), layer.bias.to(torch.bfloat16)


def _layout(maps: Tensor) -> torch.memory_format:
    last = maps.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _channels_last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)


def _rows(maps: Tensor) -> Tensor:
    """Return maps (N, C, H, W) as rows (N H W, C); free of cost where they are channels-last."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _maps(rows: Tensor, num: int, height: int, width: int) -> Tensor:
    """Return rows (N H W, C) as channels-last maps (N, C, H, W)."""
    return rows.view(num, height, width, -1).permute(0, 3, 1, 2)


def _patches(maps: Tensor) -> Tensor:
    """Return what kernels see of channels-last maps (N, C, H, W): (N H/2 W/2, 16 C).

    A row has the order (4, 4, C).
    """
    num, channels, height, width = maps.shape
    padded = pad(maps.permute(0, 2, 3, 1), (0, 0, PADDING, PADDING, PADDING, PADDING))
    image, row, column, _ = padded.stride()
    windows = padded.as_strided(
        (num, height // 2, width // 2, KERNEL, KERNEL * channels),
        (image, STRIDE * row, STRIDE * column, row, 1),
    )
    return windows.reshape(-1, KERNEL * KERNEL * channels)


def _unfold(maps: Tensor) -> Tensor:
    """Return `unfold` of maps (N, C, H, W) in a third of its time."""
    num, channels, height, width = maps.shape
    padded = pad(maps, (PADDING, PADDING, PADDING, PADDING))
    image, channel, row, column = padded.stride()
    windows = padded.as_strided(
        (num, channels, KERNEL, KERNEL, height // 2, width // 2),
        (image, channel, row, column, STRIDE * row, STRIDE * column),
    )
    return windows.reshape(num, channels * KERNEL * KERNEL, -1)


def _fold(patches: Tensor, size: tuple[int, int]) -> Tensor:
    return fold(patches, size, KERNEL, padding=PADDING, stride=STRIDE)


def _products(gradient: Tensor, maps: Tensor) -> Tensor:
    """Return sums over all places of gradient times what the kernel saw there: (C', 16 C) float32.

    Few images at a time, whose patches fit into a cache.
    """
    pairs = zip(gradient.split(FEW_IMAGES), maps.split(FEW_IMAGES), strict=True)
    products = [(_rows(some).t() @ _patches(seen)).float() for some, seen in pairs]
    return torch.stack(products).sum(0)


def _kernels(products: Tensor, weight: Tensor) -> Tensor:
    """Return (C, 16 C') as the weight's (C, C', 4, 4)."""
    return products.view(len(weight), KERNEL, KERNEL, -1).permute(0, 3, 1, 2)
