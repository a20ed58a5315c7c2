"""The small pair that toy data are tried with: equal hidden layers, no norm.

Two of 128 units each, as Metz et al. 2017 ("Unrolled Generative Adversarial Networks", appendix A)
give their generator for a mixture of Gaussians.
"""

from __future__ import annotations

from torch import nn

from harness.systems.architectures.mlp import from_latents, to_numbers
from harness.systems.architectures.pair import (
    ARCHITECTURES,
    Architecture,
    DiscriminatorSettings,
    GeneratorSettings,
    SampleShape,
    no_maps,
)


def generator(settings: GeneratorSettings, latent_dim: int, sample_shape: SampleShape) -> nn.Module:
    """Return latents (N, latent_dim) -> `depth` hidden layers of `width` -> samples."""
    return from_latents(settings, [settings.width] * settings.depth, latent_dim, sample_shape)


def discriminator(
    settings: DiscriminatorSettings, sample_shape: SampleShape, num_outputs: int
) -> nn.Module:
    """Return samples -> `depth` hidden layers of `width` -> (N, num_outputs)."""
    return to_numbers(settings, [settings.width] * settings.depth, sample_shape, num_outputs)


ARCHITECTURES.add(
    "points",
    Architecture(
        generator=generator,
        discriminator=discriminator,
        generator_defaults={"width": 128, "depth": 2, "norm": "none", "activation": "relu"},
        discriminator_defaults={"width": 128, "depth": 2, "norm": "none"},
        flat=True,
        complaint=no_maps,
    ),
    "Small fully connected pair for points: hidden layers of equal width (Metz et al. 2017)",
)
