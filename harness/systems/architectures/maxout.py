"""The fully connected pair of Goodfellow et al. 2014 for MNIST, as their released code has it."""

from __future__ import annotations

import math

from torch import Tensor, nn

from harness.systems.architectures.pair import (
    ARCHITECTURES,
    Architecture,
    Complaint,
    DiscriminatorSettings,
    GeneratorSettings,
    SampleShape,
    fully_connected,
    head,
    no_maps,
)
from harness.systems.architectures.points import generator as equal_layers
from harness.systems.layers import dropout

NUM_PIECES = 5
INPUT_DROPOUT = 0.4  # of the hidden units' share: 0.2 where that is 0.5


class Brightness(nn.Module):
    """Images in [-1, 1] -> pixels in [0, 1], of which dropout makes black ones."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return a tensor of the inputs' shape."""
        return (inputs + 1) / 2


def discriminator(
    settings: DiscriminatorSettings, sample_shape: SampleShape, num_outputs: int
) -> nn.Module:
    """Return images -> `depth` layers of `width` maxout units of 5 pieces -> (N, num_outputs).

    `activation` is what follows the maximum; a dropout of p is one of 0.4 p for pixels.
    """
    widths = [settings.width] * settings.depth
    return nn.Sequential(
        Brightness(),
        nn.Flatten(),
        *dropout(INPUT_DROPOUT * settings.dropout),
        *fully_connected(settings, math.prod(sample_shape), widths, NUM_PIECES),
        *head(settings, settings.width, num_outputs),
    )


def complaint(
    generator: GeneratorSettings, discriminator: DiscriminatorSettings, sample_shape: SampleShape
) -> Complaint | None:
    """Return what such a pair has no use for."""
    if discriminator.residual and discriminator.activation == "none":
        reason = "residual blocks would be linear; they have no maxout"
        return Complaint("discriminator", "activation", reason)
    return no_maps(generator, discriminator, sample_shape)


ARCHITECTURES.add(
    "maxout",
    Architecture(
        generator=equal_layers,
        discriminator=discriminator,
        generator_defaults={"width": 1200, "depth": 2, "norm": "none", "output": "sigmoid"},
        discriminator_defaults={"width": 240, "depth": 2, "activation": "none"},
        gan_defaults={"d_dropout": 0.5},
        complaint=complaint,
    ),
    "Fully connected pair of Goodfellow et al. 2014; D has maxout units of 5 pieces",
)
