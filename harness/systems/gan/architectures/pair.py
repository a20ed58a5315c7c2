"""What an architecture is: two builders, their defaults, and the shapes they can make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from harness.registry import Registry

SampleShape = tuple[int, int, int]
"""(C, H, W)."""


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """One network's settings, as `g_*` or `d_*` in a study file.

    Attributes:
        width: Units or channels of the layer that the architecture counts from.
        depth: Hidden (mlp) or resampling (dc) layers.
        norm: One of `NORMS`.
        activation: One of `ACTIVATIONS`.
        dropout: Probability after every hidden activation.
    """

    width: int
    depth: int
    norm: str
    activation: str
    dropout: float


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A pair of builders.

    Attributes:
        description: One line for `harness list`.
        generator: (settings, latent_dim, sample_shape) -> module that maps latents
            (N, latent_dim) to images in [-1, 1].
        discriminator: (settings, sample_shape) -> module images -> (N, 1) logits.
        defaults: Values of `g_width`, `g_depth`, … where a study file is silent.
        complaint: (settings, sample_shape) -> why this network cannot be built, or None.
    """

    description: str
    generator: Callable[[NetworkSettings, int, SampleShape], nn.Module]
    discriminator: Callable[[NetworkSettings, SampleShape], nn.Module]
    defaults: Mapping[str, int]
    complaint: Callable[[NetworkSettings, SampleShape], str | None]


ARCHITECTURES: Registry[Architecture] = Registry("architecture")
