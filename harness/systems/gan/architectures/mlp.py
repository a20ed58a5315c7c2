"""Fully connected pair: G's layers double in width, D mirrors them."""

from __future__ import annotations

import math

from torch import nn

from harness.systems.gan.architectures.pair import (
    ARCHITECTURES,
    Architecture,
    NetworkSettings,
    SampleShape,
)
from harness.systems.layers import activation, dropout, normalisation, weighted


def _stack(settings: NetworkSettings, num_inputs: int, widths: list[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [
            weighted(nn.Linear(num_inputs, width), settings.norm),
            *normalisation(settings.norm, width, spatial=False),
            activation(settings.activation),
            *dropout(settings.dropout),
        ]
        num_inputs = width
    return layers


def generator(settings: NetworkSettings, latent_dim: int, sample_shape: SampleShape) -> nn.Module:
    """Return latents (N, latent_dim) -> hidden layers of width, 2 width, 4 width, … -> images."""
    widths = [settings.width * 2**i for i in range(settings.depth)]
    num_pixels = math.prod(sample_shape)
    return nn.Sequential(
        *_stack(settings, latent_dim, widths),
        weighted(nn.Linear(widths[-1], num_pixels), settings.norm),
        nn.Tanh(),
        nn.Unflatten(1, sample_shape),
    )


def discriminator(settings: NetworkSettings, sample_shape: SampleShape) -> nn.Module:
    """Return images -> hidden layers of …, 4 width, 2 width, width -> logits (N, 1)."""
    widths = [settings.width * 2**i for i in reversed(range(settings.depth))]
    return nn.Sequential(
        nn.Flatten(),
        *_stack(settings, math.prod(sample_shape), widths),
        weighted(nn.Linear(widths[-1], 1), settings.norm),
    )


ARCHITECTURES.add(
    "mlp",
    Architecture(
        generator=generator,
        discriminator=discriminator,
        defaults={"g_width": 256, "g_depth": 3, "d_width": 256, "d_depth": 3},
        complaint=lambda settings, sample_shape: None,
    ),
    "Fully connected pair; hidden widths double in G and halve in D",
)
