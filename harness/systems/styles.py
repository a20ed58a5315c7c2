"""Layers of generators that styles steer (Karras et al. 2019 and 2020, StyleGAN and StyleGAN2).

A style is a vector per sample that scales the maps of one layer. Latents become styles in a
`Mapping` and pass through one `Styles` layer, by which anybody finds them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from harness.errors import HarnessError
from harness.systems.layers import RandomLayer, activation

EPSILON = 1e-8
MEAN_DECAY = 0.998
"""Share of the mean style that stays after a pass of training; as in the authors' code."""
MAPPING_RATE = 0.01
"""Learning rate of the mapping network, relative to the rest (Karras et al. 2019, appendix C)."""


def at_least_float32(values: Tensor) -> Tensor:
    """Return values in float32, or as they are where they have more digits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class ScaledLinear(nn.Module):
    """A linear layer whose weights learn at a rate of their own (Karras et al. 2018, section 4.1).

    Adam moves all weights equally far: these are kept 1 / rate times as large as they act. They
    start from N(0, 2 / num_inputs) as they act; other initialisations and norms leave them alone.

    Args:
        num_inputs: Features in.
        num_outputs: Features out.
        rate: What the learning rate is multiplied by.
    """

    def __init__(self, num_inputs: int, num_outputs: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.scale = rate * math.sqrt(2 / num_inputs)
        self.weight = nn.Parameter(torch.randn(num_outputs, num_inputs) / rate)
        self.bias = nn.Parameter(torch.zeros(num_outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (..., num_outputs) for inputs (..., num_inputs)."""
        return linear(inputs, self.weight * self.scale, self.bias * self.rate)


class Mapping(nn.Module):
    """Latents -> as many numbers that make a style: normalised, then fully connected layers.

    Args:
        num_features: Of latents and styles.
        num_layers: 0: styles are the normalised latents.
        chosen: One of `ACTIVATIONS`.
    """

    def __init__(self, num_features: int, num_layers: int, chosen: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(num_layers):
            layers += [ScaledLinear(num_features, num_features, MAPPING_RATE), activation(chosen)]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """Return styles of the latents' shape (..., num_features)."""
        squares = at_least_float32(latents).square().mean(dim=-1, keepdim=True)
        normalised = latents * (squares + EPSILON).rsqrt().to(latents.dtype)
        styles: Tensor = self.layers(normalised)
        return styles


class Styles(nn.Module):
    """Hands out one style per layer, follows their mean, and truncates in eval mode.

    A truncated style is mean + psi (style - mean) (Karras et al. 2019, section B).

    Args:
        num_styles: Layers that take one.
        num_features: Numbers of a style.
        psi: Share of the way from the mean; 1: styles as they are, 0: all the same.
    """

    mean: Tensor

    def __init__(self, num_styles: int, num_features: int, psi: float = 1.0) -> None:
        super().__init__()
        self.num_styles = num_styles
        self.psi = psi
        self.register_buffer("mean", torch.zeros(num_features))

    def forward(self, styles: Tensor) -> Tensor:
        """Return (N, num_styles, num_features) for that, or for one style per sample (N, …)."""
        if self.training:
            with torch.no_grad():
                now = at_least_float32(styles).flatten(0, -2).mean(dim=0)
                self.mean.lerp_(now, 1 - MEAN_DECAY)
        elif self.psi != 1:
            styles = self.mean.lerp(styles, self.psi)
        if styles.dim() == 2:
            styles = styles[:, None].expand(-1, self.num_styles, -1)
        return styles


def find_styles(network: nn.Module) -> Styles | None:
    """Return the layer that a network's styles pass through, if it has styles."""
    return next((each for each in network.modules() if isinstance(each, Styles)), None)


def truncate(network: nn.Module, psi: float) -> None:
    """Let a generator's samples come from styles nearer to their mean (see `Styles`).

    Raises:
        HarnessError: It has no styles.
    """
    styles = find_styles(network)
    if styles is None:
        raise HarnessError(
            f"psi {psi}: this generator has no styles, so there is no mean style to be nearer to"
        )
    styles.psi = psi


def crossed(first: Tensor, second: Tensor, places: Tensor, num_styles: int) -> Tensor:
    """Return latents per layer: below a place the first, from there on the second.

    Args:
        first: (N, latent_dim).
        second: (N, latent_dim).
        places: Layers (N,) at which they cross; `num_styles`: nowhere.
        num_styles: Layers that take a style.

    Returns:
        (N, num_styles, latent_dim).
    """
    layers = torch.arange(num_styles, device=places.device)
    below = layers < places[:, None]
    return torch.where(below[:, :, None], first[:, None], second[:, None])


class ModulatedConv(nn.Conv2d):
    """A convolution whose input maps a style scales (Karras et al. 2020, section 2.2).

    Demodulation divides each output map by the norm of its scaled kernels (eq. 3): inputs of
    variance 1 give outputs of variance 1. Instead of every sample's kernels, its maps are scaled
    before and after one common convolution, which is the same.

    Args:
        num_inputs: Maps in.
        num_outputs: Maps out.
        kernel: Odd side of the kernels; maps keep their sides.
        num_features: Numbers of a style.
        demodulated: Whether outputs are divided.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        kernel: int,
        num_features: int,
        *,
        demodulated: bool,
    ) -> None:
        super().__init__(num_inputs, num_outputs, kernel, padding=kernel // 2)
        self.demodulated = demodulated
        self.scales = nn.Linear(num_features, num_inputs)
        nn.init.zeros_(self.scales.bias)

    def forward(self, maps: Tensor, style: Tensor) -> Tensor:  # type: ignore[override]
        """Return maps (N, C', H, W) for maps (N, C, H, W) and one style each, (N, num_features)."""
        scales = 1 + self.scales(style)
        weight = self.weight  # may be computed, by spectral norm
        outputs = conv2d(maps * _over_maps(scales), weight, padding=self.padding)
        if self.demodulated:
            energies = at_least_float32(weight).square().sum(dim=(2, 3))
            squares = linear(at_least_float32(scales).square(), energies)
            outputs = outputs * _over_maps((squares + EPSILON).rsqrt().to(outputs.dtype))
        assert self.bias is not None
        return outputs + self.bias.to(outputs.dtype).view(-1, 1, 1)


def _over_maps(values: Tensor) -> Tensor:
    return values[:, :, None, None]


class Noise(RandomLayer):
    """Noise N(0, 1) of a map's size: fresh in training, in eval mode always the same.

    The same noise is a buffer: it is saved with the weights, so that samples can be repeated.

    Args:
        height: Rows of a map.
        width: Its columns.
    """

    constant: Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.register_buffer("constant", torch.randn(1, 1, height, width))

    def forward(self, maps: Tensor) -> Tensor:
        """Return noise for maps (N, C, H, W): (N, 1, H, W), or (1, 1, H, W) for all of them."""
        if not self.training or self.generator is None:
            return self.constant.to(maps.dtype)
        shape = (len(maps), *self.constant.shape[1:])
        return torch.randn(shape, generator=self.generator, device=maps.device, dtype=maps.dtype)
