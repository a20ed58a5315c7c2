"""What an architecture is: two builders, their settings, and the shapes they can make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field
from torch import Tensor, nn

from harness.config import Config, Count, Fraction
from harness.data.pictures import Picture
from harness.registry import Registry
from harness.systems.blocks import MinibatchStd, Residual
from harness.systems.initialise import INITIALISATIONS
from harness.systems.layers import (
    ACTIVATIONS,
    NORMS,
    Maxout,
    activation,
    dropout,
    normalisation,
)

Norm = Annotated[str, AfterValidator(NORMS.check)]
Activation = Annotated[str, AfterValidator(ACTIVATIONS.check)]
Initialisation = Annotated[str, AfterValidator(INITIALISATIONS.check)]
Kernel = Annotated[int, Field(ge=2, le=7)]
Blocks = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
SampleShape = tuple[int, ...]
"""(C, H, W) of images, (d,) of points."""
Network = Literal["generator", "discriminator"]


class NetworkSettings(Config):
    """One network's settings, as `g_*` or `d_*` in a study file.

    A setting that is declared here is one of both networks, legal in study files and recorded; the
    architectures use it.
    """

    width: Count
    """Units or channels to count from; omitted: the architecture's default."""
    depth: Count
    """Hidden or resampling layers; omitted: the architecture's default."""
    norm: Norm = "none"
    """Normalisation; `batch` in D is refused with a penalty."""
    norm_after: bool = False
    """Whether normalisation comes after the activation instead of before it."""
    activation: Activation
    """Hidden activation."""
    dropout: Fraction = 0.0
    """Dropout probability after every hidden layer."""
    init: Initialisation = "torch"
    """How weights start; omitted: the architecture's default."""
    kernel: Kernel | None = None
    """Side of the kernels that change a map's size; omitted: the architecture's default."""
    residual: Blocks = 0
    """Residual blocks after every hidden layer."""
    attention: bool = False
    """Self-attention on the largest hidden maps."""


class GeneratorSettings(NetworkSettings):
    """The generator's."""

    norm: Norm = "batch"
    """Normalisation."""
    activation: Activation = "relu"
    """Hidden activation."""
    output: Literal["tanh", "sigmoid", "linear"] = "tanh"
    """What makes pixels in [-1, 1]: tanh(x), or 2 sigmoid(x) - 1. Of points `linear`: x itself."""
    mapping: Blocks = 0
    """Layers of the mapping network, latents -> styles; as those below, of styled networks only."""
    demodulation: bool = False
    """Whether a layer's outputs are divided by the norm of the kernels that a style has scaled."""
    noise: bool = False
    """Whether noise, times a learned strength, is added to every map."""
    skip: bool = False
    """Whether an image is the sum of one per resolution instead of made of the last maps alone."""
    psi: Share = 1.0
    """Share of the way from the mean style to its own that a sample keeps; training does not."""


STYLE_SETTINGS = ("mapping", "demodulation", "noise", "skip", "psi")
"""The generator's settings that only those with styles can use; without them at their defaults."""


class DiscriminatorSettings(NetworkSettings):
    """The discriminator's."""

    activation: Activation = "leaky_relu"
    """Hidden activation."""
    minibatch_std: bool = False
    """Whether the last layer is told how much the samples of a group of 4 differ."""


class Complaint(NamedTuple):
    """Why a pair cannot be built: of which network which setting, and what is wrong with it."""

    network: Network
    key: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class OwnPicture:
    """A picture of a generator that only its architecture can make.

    Attributes:
        shows: What it shows, for its caption.
        num_samples: How many inputs it is made of.
        draw: (settings, inputs, images of inputs) -> picture. The inputs are those of the whole
            generator, latents first, and its images uint8 on the CPU; the seed is always the same.
    """

    shows: str
    num_samples: int
    draw: Callable[
        [GeneratorSettings, tuple[Tensor, ...], Callable[[tuple[Tensor, ...]], Tensor]], Picture
    ]


BuildGenerator = Callable[[GeneratorSettings, int, SampleShape], nn.Module]
BuildDiscriminator = Callable[[DiscriminatorSettings, SampleShape, int], nn.Module]
Judge = Callable[[GeneratorSettings, DiscriminatorSettings, SampleShape], Complaint | None]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A pair of builders. Spectral norm, initialisation and the last tanh are added to theirs.

    Attributes:
        generator: (settings, latent_dim, sample_shape) -> module that maps latents
            (N, latent_dim) to any numbers (N, *sample_shape), of which a tanh makes pixels.
        discriminator: (settings, sample_shape, num_outputs) -> module samples -> (N, num_outputs).
        generator_defaults: Its settings where a study file is silent; width and depth at least.
        discriminator_defaults: The other's.
        gan_defaults: A GAN's settings, with their prefixes, where a study file is silent.
        pad_to: The side that smaller images are framed to, or None.
        flat: Whether samples may also be points (d,).
        complaint: Why such a pair cannot be built for samples of this shape, or None.
        num_styles: How many layers of such a generator take a style, each of which may be given a
            latent of its own, (N, num_styles, latent_dim); the styles pass through a `Styles`
            layer. None: it has no styles.
        pictures: What can be drawn of such a generator when a run has ended, by key.
    """

    generator: BuildGenerator
    discriminator: BuildDiscriminator
    generator_defaults: Mapping[str, Any]
    discriminator_defaults: Mapping[str, Any]
    gan_defaults: Mapping[str, Any] = field(default_factory=dict)
    pad_to: int | None = None
    flat: bool = False
    complaint: Judge = field(default=lambda generator, discriminator, sample_shape: None)
    num_styles: Callable[[GeneratorSettings], int] | None = None
    pictures: Mapping[str, OwnPicture] = field(default_factory=dict)


ARCHITECTURES: Registry[Architecture] = Registry("architecture")


def hidden(settings: NetworkSettings, num_features: int, *, spatial: bool) -> list[nn.Module]:
    """Return all that follows a weighted layer: norm, activation, dropout, residual blocks.

    Args:
        settings: The network's.
        num_features: Channels or features that the layer gives.
        spatial: Whether they are maps (N, C, H, W) rather than (N, C).
    """
    parts = [
        *normalisation(settings.norm, num_features, spatial=spatial),
        activation(settings.activation),
    ]
    if settings.norm_after:
        parts.reverse()
    blocks = residuals(settings, num_features, spatial=spatial)
    return [*parts, *dropout(settings.dropout), *blocks]


def residuals(settings: NetworkSettings, num_features: int, *, spatial: bool) -> list[nn.Module]:
    """Return the residual blocks that follow a hidden layer."""
    return [
        Residual(num_features, settings.norm, settings.activation, spatial=spatial)
        for _ in range(settings.residual)
    ]


def fully_connected(
    settings: NetworkSettings, num_inputs: int, widths: Sequence[int], num_pieces: int = 1
) -> list[nn.Module]:
    """Return hidden layers (N, num_inputs) -> (N, widths[-1]).

    Args:
        settings: The network's.
        num_inputs: Features that the first one takes.
        widths: Units of each.
        num_pieces: Linear functions of which a unit is the largest (see `Maxout`).
    """
    layers: list[nn.Module] = []
    for width in widths:
        layers.append(nn.Linear(num_inputs, num_pieces * width))
        if num_pieces > 1:
            layers.append(Maxout(num_pieces))
        layers += hidden(settings, width, spatial=False)
        num_inputs = width
    return layers


def head(settings: DiscriminatorSettings, num_features: int, num_outputs: int) -> list[nn.Module]:
    """Return the discriminator's end: (N, num_features) -> (N, num_outputs)."""
    spread = [MinibatchStd()] if settings.minibatch_std else []
    return [*spread, nn.Linear(num_features + len(spread), num_outputs)]


def both(
    generator: GeneratorSettings, discriminator: DiscriminatorSettings
) -> tuple[tuple[Network, NetworkSettings], ...]:
    """Return both networks' settings with the names that complaints use."""
    return (("generator", generator), ("discriminator", discriminator))


def no_maps(
    generator: GeneratorSettings, discriminator: DiscriminatorSettings, sample_shape: SampleShape
) -> Complaint | None:
    """Return what fully connected layers have no use for."""
    for network, settings in both(generator, discriminator):
        for key in ("kernel", "attention"):
            if getattr(settings, key):
                return Complaint(network, key, "fully connected layers have no maps")
        if settings.norm == "instance":
            return Complaint(network, "norm", "fully connected layers have no maps; use 'layer'")
    return None


def indivisible(
    generator: GeneratorSettings, discriminator: DiscriminatorSettings, sample_shape: SampleShape
) -> Complaint | None:
    """Return why sides cannot be halved or doubled `depth` times by each network, or None."""
    _, height, width = sample_shape
    for network, settings in both(generator, discriminator):
        scale = 2**settings.depth
        if height % scale or width % scale:
            reason = f"image sides must be divisible by {scale}, not {height}x{width}"
            return Complaint(network, "depth", reason)
        if settings.norm == "instance" and height // scale * (width // scale) == 1:
            return Complaint(network, "norm", "maps of one pixel have no spread; lessen the depth")
    return None


def unequal(
    network: Network, settings: NetworkSettings, smallest: int, sample_shape: SampleShape
) -> Complaint | None:
    """Return why a network whose maps are `smallest` a side at their smallest does not fit."""
    sides, side = sample_shape[1:], smallest * 2**settings.depth
    if sides == (side, side):
        return None
    reason = f"images must be {side}x{side}, not {sides[0]}x{sides[1]}; set pad_to"
    return Complaint(network, "depth", reason)
