"""Convolutional pair with max-pooling in D and fully connected layers in both."""

from __future__ import annotations

from torch import nn

from harness.systems.architectures.dc import doublings
from harness.systems.architectures.pair import (
    ARCHITECTURES,
    Architecture,
    Complaint,
    DiscriminatorSettings,
    GeneratorSettings,
    SampleShape,
    fully_connected,
    head,
    hidden,
    residuals,
)
from harness.systems.blocks import SelfAttention

HIDDEN_PER_WIDTH = {"generator": 16, "discriminator": 32}  # 1,024 units at widths 64 and 32


def generator(settings: GeneratorSettings, latent_dim: int, sample_shape: SampleShape) -> nn.Module:
    """Return latents -> 16 width units -> maps -> `depth` transposed convolutions -> pixels.

    The last hidden map has `width` channels, each one before it twice as many.
    """
    channels, height, width = sample_shape
    scale = 2**settings.depth
    num_hidden = HIDDEN_PER_WIDTH["generator"] * settings.width
    num_maps = settings.width * scale // 2
    base = (num_maps, height // scale, width // scale)
    num_base = num_maps * base[1] * base[2]
    return nn.Sequential(
        *fully_connected(settings, latent_dim, [num_hidden]),
        *fully_connected(settings.model_copy(update={"residual": 0}), num_hidden, [num_base]),
        nn.Unflatten(1, base),
        *residuals(settings, num_maps, spatial=True),
        *doublings(settings, num_maps, channels),
    )


def discriminator(
    settings: DiscriminatorSettings, sample_shape: SampleShape, num_outputs: int
) -> nn.Module:
    """Return images -> `depth` times a convolution without padding and a 2x2 maximum -> outputs.

    The first has `width` channels, each further one twice as many; 32 width units follow.
    """
    num_inputs, *_ = sample_shape
    num_maps = settings.width
    layers: list[nn.Module] = []
    for index in range(settings.depth):
        layers += [
            nn.Conv2d(num_inputs, num_maps, settings.kernel or 5),
            *hidden(settings, num_maps, spatial=True),
            nn.MaxPool2d(2),
        ]
        if index == 0 and settings.attention:
            layers.append(SelfAttention(num_maps))
        num_inputs, num_maps = num_maps, num_maps * 2
    height, width = _last_sides(settings, sample_shape)
    num_hidden = HIDDEN_PER_WIDTH["discriminator"] * settings.width
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        *fully_connected(settings, num_inputs * height * width, [num_hidden]),
        *head(settings, num_hidden, num_outputs),
    )


def _last_sides(settings: DiscriminatorSettings, sample_shape: SampleShape) -> tuple[int, int]:
    _, height, width = sample_shape
    for _ in range(settings.depth):
        height, width = (side - (settings.kernel or 5) + 1 for side in (height, width))
        if min(height, width) < 2:
            return 0, 0
        height, width = height // 2, width // 2
    return height, width


def complaint(
    generator: GeneratorSettings, discriminator: DiscriminatorSettings, sample_shape: SampleShape
) -> Complaint | None:
    """Return why the pair cannot make samples of this shape, or None."""
    _, height, width = sample_shape
    scale = 2**generator.depth
    if height % scale or width % scale:
        reason = f"image sides must be divisible by {scale}, not {height}x{width}"
        return Complaint("generator", "depth", reason)
    if generator.norm == "instance" and generator.residual and height == width == scale:
        reason = "residual blocks on maps of one pixel have no spread; lessen the depth"
        return Complaint("generator", "norm", reason)
    if min(_last_sides(discriminator, sample_shape)) < 1:
        kernel = discriminator.kernel or 5
        reason = f"with kernels of {kernel} nothing is left of {height}x{width} pixels"
        return Complaint("discriminator", "depth", reason)
    return None


ARCHITECTURES.add(
    "dc_pool",
    Architecture(
        generator=generator,
        discriminator=discriminator,
        generator_defaults={"width": 64, "depth": 2, "kernel": 4, "norm_after": True},
        discriminator_defaults={"width": 32, "depth": 2, "kernel": 5},
        complaint=complaint,
    ),
    "Convolutions with max-pooling and 1,024 fully connected units; sides from 16",
)
