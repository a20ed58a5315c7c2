"""Deep convolutional pair after Radford et al. 2016 (DCGAN), for any size divisible by 2^depth."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from torch import nn

from harness.systems.architectures.pair import (
    ARCHITECTURES,
    Architecture,
    DiscriminatorSettings,
    GeneratorSettings,
    SampleShape,
    head,
    hidden,
    indivisible,
)
from harness.systems.blocks import SelfAttention
from harness.systems.convolutions import Flatten, doubling, halving, to_images

Resize: TypeAlias = Callable[[int, int], nn.Module]
"""(maps in, maps out) -> a layer that changes their sides."""


def generator(settings: GeneratorSettings, latent_dim: int, sample_shape: SampleShape) -> nn.Module:
    """Return latents -> small maps -> `depth` transposed convolutions -> pixels.

    The first maps have the image's sides divided by 2^depth; the last hidden map has `width`
    channels, each one before it twice as many.
    """
    channels, height, width = sample_shape
    scale = 2**settings.depth
    num_maps = settings.width * scale // 2
    base = (num_maps, height // scale, width // scale)
    return nn.Sequential(
        nn.Linear(latent_dim, num_maps * base[1] * base[2]),
        nn.Unflatten(1, base),
        *hidden(settings, num_maps, spatial=True),
        *doublings(settings, num_maps, channels),
    )


def doublings(
    settings: GeneratorSettings,
    num_maps: int,
    channels: int,
    double: Resize | None = None,
    to_pixels: Resize | None = None,
) -> list[nn.Module]:
    """Return a generator's `depth` transposed convolutions, from its first maps to pixels.

    Args:
        settings: The network's.
        num_maps: Its first maps; all but the last layer halve their number.
        channels: Of an image.
        double: Makes a layer that doubles sides; None: one with the settings' kernel.
        to_pixels: Makes the last one; None: likewise.
    """
    kernel = settings.kernel or 4
    double = double or partial(doubling, kernel=kernel)
    to_pixels = to_pixels or partial(to_images, kernel=kernel)
    layers: list[nn.Module] = []
    for _ in range(settings.depth - 1):
        layers += [double(num_maps, num_maps // 2), *hidden(settings, num_maps // 2, spatial=True)]
        num_maps //= 2
    attention = [SelfAttention(num_maps)] if settings.attention else []
    return [*layers, *attention, to_pixels(num_maps, channels)]


def discriminator(
    settings: DiscriminatorSettings, sample_shape: SampleShape, num_outputs: int
) -> nn.Module:
    """Return images -> `depth` strided convolutions -> (N, num_outputs).

    The first has `width` channels, each further one twice as many. As in the original, the first
    convolution has no normalisation.
    """
    channels, height, width = sample_shape
    layers, num_maps = halvings(settings, channels)
    scale = 2**settings.depth
    num_features = num_maps * (height // scale) * (width // scale)
    return nn.Sequential(*layers, Flatten(), *head(settings, num_features, num_outputs))


def halvings(
    settings: DiscriminatorSettings, channels: int, halve: Resize | None = None
) -> tuple[list[nn.Module], int]:
    """Return a discriminator's strided convolutions, and how many maps the last one gives.

    Args:
        settings: The network's.
        channels: Of an image.
        halve: Makes a layer that halves sides; None: one with the settings' kernel.
    """
    halve = halve or partial(halving, kernel=settings.kernel or 4)
    num_inputs, num_maps = channels, settings.width
    layers: list[nn.Module] = []
    for index in range(settings.depth):
        own = settings if index else settings.model_copy(update={"norm": "none"})
        layers += [
            halve(num_inputs, num_maps),
            *hidden(own, num_maps, spatial=True),
        ]
        if index == 0 and settings.attention:
            layers.append(SelfAttention(num_maps))
        num_inputs, num_maps = num_maps, num_maps * 2
    return layers, num_inputs


ARCHITECTURES.add(
    "dc",
    Architecture(
        generator=generator,
        discriminator=discriminator,
        generator_defaults={"width": 64, "depth": 2, "kernel": 4, "init": "normal"},
        discriminator_defaults={"width": 64, "depth": 2, "kernel": 4, "init": "normal"},
        gan_defaults={"d_norm": "batch"},
        complaint=indivisible,
    ),
    "Deep convolutional pair (DCGAN); each of depth layers halves or doubles the side",
)
