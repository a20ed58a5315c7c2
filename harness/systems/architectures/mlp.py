"""Fully connected pair: G's layers double in width, D mirrors them."""

from __future__ import annotations

import math

from torch import nn

from harness.systems.architectures.pair import (
    ARCHITECTURES,
    Architecture,
    DiscriminatorSettings,
    GeneratorSettings,
    SampleShape,
    fully_connected,
    head,
    no_maps,
)


def from_latents(
    settings: GeneratorSettings, widths: list[int], latent_dim: int, sample_shape: SampleShape
) -> nn.Module:
    """Return latents (N, latent_dim) -> hidden layers of these widths -> (N, *sample_shape)."""
    return nn.Sequential(
        *fully_connected(settings, latent_dim, widths),
        nn.Linear(widths[-1], math.prod(sample_shape)),
        nn.Unflatten(1, sample_shape),
    )


def to_numbers(
    settings: DiscriminatorSettings, widths: list[int], sample_shape: SampleShape, num_outputs: int
) -> nn.Module:
    """Return (N, *sample_shape) -> hidden layers of these widths -> (N, num_outputs)."""
    return nn.Sequential(
        nn.Flatten(),
        *fully_connected(settings, math.prod(sample_shape), widths),
        *head(settings, widths[-1], num_outputs),
    )


def generator(settings: GeneratorSettings, latent_dim: int, sample_shape: SampleShape) -> nn.Module:
    """Return latents -> hidden layers of width, 2 width, 4 width, … -> samples."""
    widths = [settings.width * 2**i for i in range(settings.depth)]
    return from_latents(settings, widths, latent_dim, sample_shape)


def discriminator(
    settings: DiscriminatorSettings, sample_shape: SampleShape, num_outputs: int
) -> nn.Module:
    """Return samples -> hidden layers of …, 4 width, 2 width, width -> (N, num_outputs)."""
    widths = [settings.width * 2**i for i in reversed(range(settings.depth))]
    return to_numbers(settings, widths, sample_shape, num_outputs)


ARCHITECTURES.add(
    "mlp",
    Architecture(
        generator=generator,
        discriminator=discriminator,
        generator_defaults={"width": 256, "depth": 3},
        discriminator_defaults={"width": 256, "depth": 3},
        gan_defaults={"g_activation": "leaky_relu", "g_norm_after": True, "d_dropout": 0.3},
        flat=True,
        complaint=no_maps,
    ),
    "Fully connected pair; hidden widths double in G and halve in D",
)
