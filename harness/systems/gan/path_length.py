"""Path-length regularisation of a styled generator (Karras et al. 2020, section 3.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from harness.systems.styles import find_styles

DECAY = 0.99  # of the mean length, a pass; as in the authors' code


def path_lengths(
    generator: nn.Module, inputs: tuple[Tensor, ...], random: torch.Generator
) -> Tensor:
    """Return |J^T y| of every sample: how far an image moves with its styles, (N,).

    J is the derivative of the pixels by the styles, y ~ N(0, 1 / (H W)) noise of an image's shape.
    Squares are summed over a style's numbers and averaged over the layers that take one.

    Args:
        generator: Has styles; twice differentiable.
        inputs: What it takes.
        random: Source of y.
    """
    layer = find_styles(generator)
    assert layer is not None
    seen: list[Tensor] = []

    def note(_layer: nn.Module, _inputs: object, styles: Tensor) -> None:
        seen.append(styles.requires_grad_())  # which they do not without a mapping network

    with layer.register_forward_hook(note):
        images = generator(*inputs)
    (styles,) = seen
    noise = torch.randn(images.shape, generator=random, device=images.device, dtype=images.dtype)
    moved = (images * noise).sum() / math.sqrt(images.shape[2] * images.shape[3])
    (slopes,) = torch.autograd.grad(moved, styles, create_graph=True)
    # The square root's slope is infinite at 0.
    return (slopes.square().sum(dim=2).mean(dim=1) + 1e-12).sqrt()


def path_length(lengths: Tensor, mean: Tensor) -> Tensor:
    """Return the mean of (length - mean)², once the running mean took the lengths in, in place.

    Args:
        lengths: (N,).
        mean: A scalar on the device; not differentiated.
    """
    with torch.no_grad():
        mean.lerp_(lengths.mean(), 1 - DECAY)
    return (lengths - mean).square().mean()
