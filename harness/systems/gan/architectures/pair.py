"""What an architecture is: two builders, their settings, and the shapes they can make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator
from torch import nn

from harness.config import Config, Count, Fraction
from harness.registry import Registry
from harness.systems.layers import ACTIVATIONS, NORMS

Norm = Annotated[str, AfterValidator(NORMS.check)]
Activation = Annotated[str, AfterValidator(ACTIVATIONS.check)]
SampleShape = tuple[int, int, int]
"""(C, H, W)."""


class NetworkSettings(Config):
    """One network's settings, as `g_*` or `d_*` in a study file.

    A setting that is declared here is one of both networks, legal in study files and recorded; the
    architectures use it.
    """

    width: Count
    """Units or channels to count from; omitted: the architecture's default (mlp 256, dc 64)."""
    depth: Count
    """Hidden or resampling layers; omitted: the architecture's default (mlp 3, dc 2)."""
    norm: Norm = "none"
    """Normalisation; `batch` in D is refused with a penalty."""
    activation: Activation
    """Hidden activation."""
    dropout: Fraction = 0.0
    """Dropout probability after every hidden activation."""


class GeneratorSettings(NetworkSettings):
    """The generator's."""

    norm: Norm = "batch"
    """Normalisation."""
    activation: Activation = "relu"
    """Hidden activation."""


class DiscriminatorSettings(NetworkSettings):
    """The discriminator's."""

    activation: Activation = "leaky_relu"
    """Hidden activation."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A pair of builders.

    Attributes:
        generator: (settings, latent_dim, sample_shape) -> module that maps latents
            (N, latent_dim) to images in [-1, 1].
        discriminator: (settings, sample_shape) -> module images -> (N, 1) logits.
        defaults: Values of `g_width`, `g_depth`, … where a study file is silent.
        complaint: (settings, sample_shape) -> why this network cannot be built, or None.
    """

    generator: Callable[[NetworkSettings, int, SampleShape], nn.Module]
    discriminator: Callable[[NetworkSettings, SampleShape], nn.Module]
    defaults: Mapping[str, int]
    complaint: Callable[[NetworkSettings, SampleShape], str | None]


ARCHITECTURES: Registry[Architecture] = Registry("architecture")
