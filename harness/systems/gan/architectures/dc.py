"""Deep convolutional pair after Radford et al. 2016 (DCGAN), for any size divisible by 2^depth."""

from __future__ import annotations

from torch import nn

from harness.systems.convolutions import DoublingConv, Flatten, HalvingConv, ToImages
from harness.systems.gan.architectures.pair import (
    ARCHITECTURES,
    Architecture,
    NetworkSettings,
    SampleShape,
)
from harness.systems.layers import activation, dropout, normalisation, weighted

INIT_STD = 0.02  # Radford et al. 2016, section 4


def _initialise(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), norm scales from N(1, 0.02); biases start at 0."""
    if nn.utils.parametrize.is_parametrized(module, "weight"):
        return  # spectral norm divides the scale away
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0, INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
        nn.init.normal_(module.weight, 1, INIT_STD)
        nn.init.zeros_(module.bias)


def generator(settings: NetworkSettings, latent_dim: int, sample_shape: SampleShape) -> nn.Module:
    """Return latents -> small maps -> `depth` transposed convolutions -> images in [-1, 1].

    The first maps have the image's sides divided by 2^depth; the last hidden map has `width`
    channels, each one before it twice as many.
    """
    channels, height, width = sample_shape
    scale = 2**settings.depth
    num_inputs = settings.width * scale // 2
    base = (num_inputs, height // scale, width // scale)
    num_base = num_inputs * base[1] * base[2]
    layers: list[nn.Module] = [
        weighted(nn.Linear(latent_dim, num_base), settings.norm),
        nn.Unflatten(1, base),
        *normalisation(settings.norm, num_inputs, spatial=True),
        activation(settings.activation),
        *dropout(settings.dropout),
    ]
    for _ in range(settings.depth - 1):
        layers += [
            weighted(DoublingConv(num_inputs, num_inputs // 2), settings.norm),
            *normalisation(settings.norm, num_inputs // 2, spatial=True),
            activation(settings.activation),
            *dropout(settings.dropout),
        ]
        num_inputs //= 2
    layers += [weighted(ToImages(num_inputs, channels), settings.norm), nn.Tanh()]
    return nn.Sequential(*layers).apply(_initialise)


def discriminator(settings: NetworkSettings, sample_shape: SampleShape) -> nn.Module:
    """Return images -> `depth` strided convolutions -> logits (N, 1).

    The first has `width` channels, each further one twice as many. As in the
    original, the first convolution has no normalisation.
    """
    num_inputs, height, width = sample_shape
    num_outputs = settings.width
    layers: list[nn.Module] = []
    for index in range(settings.depth):
        norm = "none" if index == 0 and settings.norm != "spectral" else settings.norm
        layers += [
            weighted(HalvingConv(num_inputs, num_outputs), norm),
            *normalisation(norm, num_outputs, spatial=True),
            activation(settings.activation),
            *dropout(settings.dropout),
        ]
        num_inputs, num_outputs = num_outputs, num_outputs * 2
    scale = 2**settings.depth
    num_features = num_inputs * (height // scale) * (width // scale)
    layers += [Flatten(), weighted(nn.Linear(num_features, 1), settings.norm)]
    return nn.Sequential(*layers).apply(_initialise)


def complaint(settings: NetworkSettings, sample_shape: SampleShape) -> str | None:
    """Return why the pair cannot make samples of this shape, or None."""
    _, height, width = sample_shape
    scale = 2**settings.depth
    if height % scale or width % scale:
        return (
            f"depth {settings.depth} needs image sides divisible by {scale}, not {height}x{width}"
        )
    return None


ARCHITECTURES.add(
    "dc",
    Architecture(
        generator=generator,
        discriminator=discriminator,
        defaults={"g_width": 64, "g_depth": 2, "d_width": 64, "d_depth": 2},
        complaint=complaint,
    ),
    "Deep convolutional pair (DCGAN); each of depth layers halves or doubles the side",
)
