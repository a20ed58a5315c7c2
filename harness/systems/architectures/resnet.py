"""The residual pair of Miyato et al. 2018 (SNGAN, table 4) for 32x32 pixels.

A block adds two 3x3 convolutions, each after norm and activation, to a shortcut. G's blocks double
sides by repeating pixels, D's halve them by means of four.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from harness.systems.architectures.pair import (
    ARCHITECTURES,
    Architecture,
    Complaint,
    DiscriminatorSettings,
    GeneratorSettings,
    NetworkSettings,
    SampleShape,
    both,
    head,
    hidden,
    indivisible,
    residuals,
    unequal,
)
from harness.systems.blocks import SelfAttention

SMALLEST = 4  # side of G's first maps
NUM_PLAIN = 2  # D's last blocks, which keep sides


class Sum(nn.Module):
    """change(x) + shortcut(x).

    Args:
        change: Layers of the one.
        shortcut: Layers of the other, which give the same shape; none: x itself.
    """

    def __init__(self, change: Sequence[nn.Module], shortcut: Sequence[nn.Module]) -> None:
        super().__init__()
        self.change = nn.Sequential(*change)
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return maps (N, C', H', W') of maps (N, C, H, W)."""
        outputs: Tensor = self.change(inputs) + self.shortcut(inputs)
        return outputs


class Total(nn.Module):
    """Maps (N, C, H, W) -> their sums over all positions (N, C)."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, C)."""
        return inputs.sum(dim=(2, 3))


def generator(settings: GeneratorSettings, latent_dim: int, sample_shape: SampleShape) -> nn.Module:
    """Return latents -> `width` maps of 4x4 -> `depth` blocks that double sides -> pixels.

    `residual` blocks follow each of them.
    """
    num_maps = settings.width
    layers: list[nn.Module] = [
        nn.Linear(latent_dim, num_maps * SMALLEST**2),
        nn.Unflatten(1, (num_maps, SMALLEST, SMALLEST)),
    ]
    for _ in range(settings.depth):
        layers += [_doubling(settings, num_maps), *residuals(settings, num_maps, spatial=True)]
    attention = [SelfAttention(num_maps)] if settings.attention else []
    to_images = _conv(num_maps, sample_shape[0], 3)
    return nn.Sequential(*layers, *attention, *_ready(settings, num_maps), to_images)


def discriminator(
    settings: DiscriminatorSettings, sample_shape: SampleShape, num_outputs: int
) -> nn.Module:
    """Return images -> `depth` blocks that halve sides, two that do not -> sums -> outputs.

    All have `width` maps; the first has no norm, and neither norm nor activation before its first
    convolution. `residual` blocks follow each of them.
    """
    num_maps = settings.width
    blocks = [
        _first(settings, sample_shape[0], num_maps),
        *(_halving(settings, num_maps) for _ in range(settings.depth - 1)),
        *(Sum(_change(settings, num_maps), []) for _ in range(NUM_PLAIN)),
    ]
    layers: list[nn.Module] = []
    for index, block in enumerate(blocks):
        layers += [block, *residuals(settings, num_maps, spatial=True)]
        if index == 0 and settings.attention:
            layers.append(SelfAttention(num_maps))
    ready = _ready(settings, num_maps)
    return nn.Sequential(*layers, *ready, Total(), *head(settings, num_maps, num_outputs))


# A convolution of 1x1 and a change of size may change places: here it takes the smaller maps.


def _doubling(settings: NetworkSettings, num_maps: int) -> Sum:
    change = _change(settings, num_maps, nn.Upsample(scale_factor=2))
    return Sum(change, [_conv(num_maps, num_maps, 1), nn.Upsample(scale_factor=2)])


def _halving(settings: NetworkSettings, num_maps: int) -> Sum:
    change = [*_change(settings, num_maps), nn.AvgPool2d(2)]
    return Sum(change, [nn.AvgPool2d(2), _conv(num_maps, num_maps, 1)])


def _first(settings: NetworkSettings, channels: int, num_maps: int) -> Sum:
    without_norm = settings.model_copy(update={"norm": "none"})
    change = [
        _conv(channels, num_maps, 3),
        *_ready(without_norm, num_maps),
        _conv(num_maps, num_maps, 3),
        nn.AvgPool2d(2),
    ]
    return Sum(change, [nn.AvgPool2d(2), _conv(channels, num_maps, 1)])


def _change(settings: NetworkSettings, num_maps: int, *resized: nn.Module) -> list[nn.Module]:
    """Return two convolutions, each after norm and activation; the first one of resized maps."""
    return [
        *_ready(settings, num_maps),
        *resized,
        _conv(num_maps, num_maps, 3),
        *_ready(settings, num_maps),
        _conv(num_maps, num_maps, 3),
    ]


def _ready(settings: NetworkSettings, num_maps: int) -> list[nn.Module]:
    """Return what precedes a convolution: norm, activation, dropout."""
    return hidden(settings.model_copy(update={"residual": 0}), num_maps, spatial=True)


def _conv(num_inputs: int, num_outputs: int, side: int) -> nn.Module:
    return nn.Conv2d(num_inputs, num_outputs, side, padding=side // 2)


def complaint(
    generator: GeneratorSettings, discriminator: DiscriminatorSettings, sample_shape: SampleShape
) -> Complaint | None:
    """Return why the pair cannot make samples of this shape, or None."""
    for network, settings in both(generator, discriminator):
        if settings.kernel is not None:
            return Complaint(network, "kernel", "these kernels are 3x3")
    complaint = unequal("generator", generator, SMALLEST, sample_shape)
    return complaint or indivisible(generator, discriminator, sample_shape)


ARCHITECTURES.add(
    "resnet",
    Architecture(
        generator=generator,
        discriminator=discriminator,
        generator_defaults={"width": 256, "depth": 3, "init": "uniform"},
        discriminator_defaults={"width": 128, "depth": 2, "activation": "relu", "init": "uniform"},
        gan_defaults={"d_norm": "spectral"},
        pad_to=32,
        complaint=complaint,
    ),
    "Residual blocks for 32x32 pixels (SNGAN); smaller images get a black frame",
)
