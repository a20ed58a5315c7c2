"""Deep convolutional pair after Radford et al. 2016 (DCGAN), for any size divisible by 2^depth."""

from __future__ import annotations

from torch import nn

from harness.systems.architectures.pair import (
    ARCHITECTURES,
    Architecture,
    Complaint,
    DiscriminatorSettings,
    GeneratorSettings,
    SampleShape,
    both,
    head,
    hidden,
)
from harness.systems.blocks import SelfAttention
from harness.systems.convolutions import Flatten, doubling, halving, to_images


def generator(settings: GeneratorSettings, latent_dim: int, sample_shape: SampleShape) -> nn.Module:
    """Return latents -> small maps -> `depth` transposed convolutions -> pixels.

    The first maps have the image's sides divided by 2^depth; the last hidden map has `width`
    channels, each one before it twice as many.
    """
    channels, height, width = sample_shape
    scale = 2**settings.depth
    num_inputs = settings.width * scale // 2
    base = (num_inputs, height // scale, width // scale)
    kernel = settings.kernel or 4
    layers: list[nn.Module] = [
        nn.Linear(latent_dim, num_inputs * base[1] * base[2]),
        nn.Unflatten(1, base),
        *hidden(settings, num_inputs, spatial=True),
    ]
    for _ in range(settings.depth - 1):
        layers += [
            doubling(num_inputs, num_inputs // 2, kernel),
            *hidden(settings, num_inputs // 2, spatial=True),
        ]
        num_inputs //= 2
    attention = [SelfAttention(num_inputs)] if settings.attention else []
    return nn.Sequential(*layers, *attention, to_images(num_inputs, channels, kernel))


def discriminator(
    settings: DiscriminatorSettings, sample_shape: SampleShape, num_outputs: int
) -> nn.Module:
    """Return images -> `depth` strided convolutions -> (N, num_outputs).

    The first has `width` channels, each further one twice as many. As in the original, the first
    convolution has no normalisation.
    """
    num_inputs, height, width = sample_shape
    num_outputs_of_layer = settings.width
    layers: list[nn.Module] = []
    for index in range(settings.depth):
        own = settings if index else settings.model_copy(update={"norm": "none"})
        layers += [
            halving(num_inputs, num_outputs_of_layer, settings.kernel or 4),
            *hidden(own, num_outputs_of_layer, spatial=True),
        ]
        if index == 0 and settings.attention:
            layers.append(SelfAttention(num_outputs_of_layer))
        num_inputs, num_outputs_of_layer = num_outputs_of_layer, num_outputs_of_layer * 2
    scale = 2**settings.depth
    num_features = num_inputs * (height // scale) * (width // scale)
    return nn.Sequential(*layers, Flatten(), *head(settings, num_features, num_outputs))


def complaint(
    generator: GeneratorSettings, discriminator: DiscriminatorSettings, sample_shape: SampleShape
) -> Complaint | None:
    """Return why the pair cannot make samples of this shape, or None."""
    _, height, width = sample_shape
    for network, settings in both(generator, discriminator):
        scale = 2**settings.depth
        if height % scale or width % scale:
            reason = f"image sides must be divisible by {scale}, not {height}x{width}"
            return Complaint(network, "depth", reason)
        if settings.norm == "instance" and height // scale * (width // scale) == 1:
            return Complaint(network, "norm", "maps of one pixel have no spread; lessen the depth")
    return None


ARCHITECTURES.add(
    "dc",
    Architecture(
        generator=generator,
        discriminator=discriminator,
        generator_defaults={"width": 64, "depth": 2, "kernel": 4, "init": "normal"},
        discriminator_defaults={"width": 64, "depth": 2, "kernel": 4, "init": "normal"},
        gan_defaults={"d_norm": "batch"},
        complaint=complaint,
    ),
    "Deep convolutional pair (DCGAN); each of depth layers halves or doubles the side",
)
