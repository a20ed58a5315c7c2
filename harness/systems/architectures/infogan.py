"""The pair of Lucic et al. 2018 for 28x28 pixels, after InfoGAN (Chen et al. 2016, table 1).

G is that of `dc_pool`, with other settings; D halves its maps as `dc` does.
"""

from __future__ import annotations

from torch import nn

from harness.systems.architectures.dc import halvings
from harness.systems.architectures.dc_pool import generator
from harness.systems.architectures.pair import (
    ARCHITECTURES,
    Architecture,
    DiscriminatorSettings,
    SampleShape,
    fully_connected,
    head,
    indivisible,
)
from harness.systems.convolutions import Flatten

HIDDEN_PER_WIDTH = 16  # 1,024 units at width 64


def discriminator(
    settings: DiscriminatorSettings, sample_shape: SampleShape, num_outputs: int
) -> nn.Module:
    """Return images -> `depth` strided convolutions -> 16 width units -> (N, num_outputs).

    The first has `width` channels and no normalisation, each further one twice as many.
    """
    channels, height, width = sample_shape
    layers, num_maps = halvings(settings, channels)
    scale = 2**settings.depth
    num_features = num_maps * (height // scale) * (width // scale)
    num_hidden = HIDDEN_PER_WIDTH * settings.width
    return nn.Sequential(
        *layers,
        Flatten(),
        *fully_connected(settings, num_features, [num_hidden]),
        *head(settings, num_hidden, num_outputs),
    )


SIZES = {"width": 64, "depth": 2, "kernel": 4, "init": "normal"}

ARCHITECTURES.add(
    "infogan",
    Architecture(
        generator=generator,
        discriminator=discriminator,
        generator_defaults={**SIZES, "activation": "leaky_relu", "output": "sigmoid"},
        discriminator_defaults=SIZES,
        gan_defaults={"d_norm": "batch"},
        complaint=indivisible,
    ),
    "Two convolutions and 1,024 fully connected units in each network (Lucic et al. 2018)",
)
