"""The pair of DCGAN for 32 pixels: 4x4 convolutions alone, from latents to pixels, without bias."""

from __future__ import annotations

from torch import nn

from harness.systems.architectures.dc import doublings, halvings
from harness.systems.architectures.pair import (
    ARCHITECTURES,
    Architecture,
    Complaint,
    DiscriminatorSettings,
    GeneratorSettings,
    SampleShape,
    both,
    hidden,
    unequal,
)
from harness.systems.blocks import MinibatchStd

SMALLEST = 4  # side of the first and of the last maps


def generator(settings: GeneratorSettings, latent_dim: int, sample_shape: SampleShape) -> nn.Module:
    """Return latents -> maps of 4x4 -> `depth` transposed convolutions -> pixels.

    The last hidden map has `width` channels, each one before it twice as many.
    """
    num_maps = settings.width * 2 ** (settings.depth - 1)
    return nn.Sequential(
        nn.Unflatten(1, (latent_dim, 1, 1)),
        nn.ConvTranspose2d(latent_dim, num_maps, SMALLEST, bias=False),
        *hidden(settings, num_maps, spatial=True),
        *doublings(settings, num_maps, sample_shape[0], _doubling, _doubling),
    )


def _doubling(num_inputs: int, num_outputs: int) -> nn.Module:
    return nn.ConvTranspose2d(num_inputs, num_outputs, 4, 2, 1, bias=False)


def _halving(num_inputs: int, num_outputs: int) -> nn.Module:
    return nn.Conv2d(num_inputs, num_outputs, 4, 2, 1, bias=False)


def discriminator(
    settings: DiscriminatorSettings, sample_shape: SampleShape, num_outputs: int
) -> nn.Module:
    """Return images -> `depth` strided convolutions -> maps of 4x4 -> (N, num_outputs).

    The first has `width` channels and no normalisation, each further one twice as many.
    """
    layers, num_maps = halvings(settings, sample_shape[0], _halving)
    spread = [MinibatchStd()] if settings.minibatch_std else []
    last = nn.Conv2d(num_maps + len(spread), num_outputs, SMALLEST, bias=False)
    return nn.Sequential(*layers, *spread, last, nn.Flatten())


def complaint(
    generator: GeneratorSettings, discriminator: DiscriminatorSettings, sample_shape: SampleShape
) -> Complaint | None:
    """Return why the pair cannot make samples of this shape, or None."""
    for network, settings in both(generator, discriminator):
        if settings.kernel is not None:
            return Complaint(network, "kernel", "these kernels are 4x4")
        if complaint := unequal(network, settings, SMALLEST, sample_shape):
            return complaint
    return None


ARCHITECTURES.add(
    "dcgan32",
    Architecture(
        generator=generator,
        discriminator=discriminator,
        generator_defaults={"width": 64, "depth": 3, "init": "normal"},
        discriminator_defaults={"width": 64, "depth": 3, "init": "normal"},
        gan_defaults={"d_norm": "batch"},
        pad_to=32,
        complaint=complaint,
    ),
    "Convolutions alone, without bias, for 32x32 pixels; smaller images get a black frame",
)
