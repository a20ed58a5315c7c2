"""The settings of a system that is made of one architecture's two networks, and their building."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import AfterValidator, Field, create_model, model_validator
from pydantic.fields import FieldInfo
from torch import Tensor, nn
from torch.nn.functional import pad

from harness.config import Config, Count
from harness.data import Facts, kind_named
from harness.errors import HarnessError
from harness.systems.architectures import (
    ARCHITECTURES,
    STYLE_SETTINGS,
    Architecture,
    Complaint,
    DiscriminatorSettings,
    GeneratorSettings,
    NetworkSettings,
)
from harness.systems.architectures.pair import SampleShape
from harness.systems.blocks import group_size
from harness.systems.config import TrainConfig
from harness.systems.initialise import initialise, spectrally_normed
from harness.systems.layers import Images, Points

BLACK = -1.0  # of images in [-1, 1]
SIDE_MULTIPLE = 4
C = TypeVar("C", bound=Config)


def prefixed(settings: type[Config], prefix: str, owner: str, **fixed: Any) -> dict[str, Any]:
    """Return the fields of settings by the names that study files use, for `create_model`.

    Args:
        settings: What is set.
        prefix: What their keys start with.
        owner: What their descriptions start with.
        fixed: Other defaults: key without its prefix -> value.
    """
    return {
        f"{prefix}{name}": (
            field.rebuild_annotation(),
            FieldInfo(
                default=fixed.get(name, field.default), description=f"{owner}: {field.description}"
            ),
        )
        for name, field in settings.model_fields.items()
    }


def collected(settings: type[C], prefix: str, config: Config) -> C:
    """Return the settings that `prefixed` has spread over a config."""
    values = {name: getattr(config, f"{prefix}{name}") for name in settings.model_fields}
    return settings(**values)


class PairConfig(TrainConfig):
    """What all such systems have in common; `pair_config` adds the settings of each network."""

    prefixes: ClassVar[tuple[str, str]]
    """What the keys of the generating and of the judging network start with."""

    architecture: Annotated[str, AfterValidator(ARCHITECTURES.check)] = "dc"
    """Pair of networks."""
    latent_dim: Count = 100
    """Size of z."""
    pad_to: Annotated[int, Field(ge=4, multiple_of=4)] | None = None
    """Side of the black frame that smaller images are trained in; samples are cropped again."""

    @classmethod
    def architecture_of(cls, settings: Mapping[str, Any]) -> Architecture:
        """Return the architecture that settings name, or mean by their silence."""
        name = settings.get("architecture", cls.model_fields["architecture"].default)
        # An unknown one gets defaults too, so that its name is the only complaint.
        known = isinstance(name, str) and name in ARCHITECTURES
        return ARCHITECTURES[name if known else "dc"]

    @model_validator(mode="before")
    @classmethod
    def _architecture_defaults(cls, data: Any) -> Any:
        """Fill in what depends on the architecture, so that a config is complete."""
        if not isinstance(data, dict):
            return data
        pair = cls.architecture_of(data)
        defaults: dict[str, Any] = {"pad_to": pair.pad_to}
        if not kind_named(data.get("dataset", cls.model_fields["dataset"].default)).bounded:
            defaults[f"{cls.prefixes[0]}output"] = "linear"
        for prefix, own in zip(
            cls.prefixes, (pair.generator_defaults, pair.discriminator_defaults), strict=True
        ):
            defaults |= {f"{prefix}{key}": value for key, value in own.items()}
        return {**defaults, **data}

    @model_validator(mode="after")
    def _enough_for_statistics(self) -> Self:
        if self.batch_size < 2 and "batch" in (self.g_settings.norm, self.d_settings.norm):
            raise ValueError(f"batch_size = {self.batch_size}: batch norm needs at least 2")
        num_judged = self.batch_size // getattr(self, "pack", 1)
        if self.d_settings.minibatch_std and group_size(num_judged) == 1:
            raise ValueError(
                f"{self.prefixes[1]}minibatch_std = True: {num_judged} are judged at once, which "
                "no group of 2 to 4 divides; set batch_size to a multiple of 4"
            )
        return self

    @property
    def g_settings(self) -> GeneratorSettings:
        """The generating network's settings."""
        return collected(GeneratorSettings, self.prefixes[0], self)

    @property
    def d_settings(self) -> DiscriminatorSettings:
        """The judging network's settings."""
        return collected(DiscriminatorSettings, self.prefixes[1], self)

    def framed_shape(self, facts: Facts) -> SampleShape:
        """Return the shape that the networks see."""
        num, *sides = facts.sample_shape
        return num, *(max(side, self.pad_to or 0) for side in sides)

    def check(self, facts: Facts) -> None:
        """Raise HarnessError if the architecture cannot make samples of this shape."""
        super().check(facts)
        pair = ARCHITECTURES[self.architecture]
        _, *sides = facts.sample_shape
        if not facts.kind.has_pixels:
            self._check_flat(pair)
        if any(side % SIDE_MULTIPLE for side in sides):
            raise HarnessError(
                f"image_size: sides must be multiples of 4, {self.dataset} has {_by(sides)}"
            )
        if self.pad_to is not None and self.pad_to < max(sides):
            raise HarnessError(
                f"pad_to = {self.pad_to}: {self.dataset} has {_by(sides)} pixels; a frame is "
                "at least as large"
            )
        if facts.kind.bounded == (self.g_settings.output == "linear"):
            allowed = "'tanh' or 'sigmoid'" if facts.kind.bounded else "'linear'"
            raise HarnessError(
                f"{self.prefixes[0]}output = {self.g_settings.output!r}: {self.dataset} has "
                f"{facts.kind.noun}, whose values are "
                f"{'in [-1, 1]' if facts.kind.bounded else 'any numbers'}; use {allowed}"
            )
        shape = self.framed_shape(facts)
        complaint = self._style_complaint() or pair.complaint(
            self.g_settings, self.d_settings, shape
        )
        if complaint:
            network, key, reason = complaint
            key = f"{self.prefixes[0 if network == 'generator' else 1]}{key}"
            value = getattr(self, key)
            raise HarnessError(
                f"{key} = {value!r} with architecture = {self.architecture!r}: {reason}"
            )

    def _check_flat(self, pair: Architecture) -> None:
        """Raise HarnessError for what points, which have no sides, cannot have."""
        if not pair.flat:
            flat = (repr(name) for name in ARCHITECTURES if ARCHITECTURES[name].flat)
            raise HarnessError(
                f"architecture = {self.architecture!r}: makes images, and {self.dataset} has "
                f"points; allowed are {', '.join(flat)}"
            )
        if self.pad_to is not None:
            raise HarnessError(
                f"pad_to = {self.pad_to}: {self.dataset} has points, which have no frame; leave it "
                "out"
            )

    def _style_complaint(self) -> Complaint | None:
        """Return the setting of styles that is made where there are none."""
        if ARCHITECTURES[self.architecture].num_styles is not None:
            return None
        fields = GeneratorSettings.model_fields
        for key in STYLE_SETTINGS:
            if getattr(self.g_settings, key) != fields[key].default:
                return Complaint("generator", key, f"it has no styles; use one of {styled()}")
        return None


def styled() -> str:
    """Return the names of all architectures whose generators have styles."""
    return ", ".join(name for name in ARCHITECTURES if ARCHITECTURES[name].num_styles is not None)


def pair_config(generating: tuple[str, str], judging: tuple[str, str]) -> type[PairConfig]:
    """Return the config of a pair whose keys start with these prefixes.

    Args:
        generating: Prefix of the generating network's keys, and its name in descriptions.
        judging: The same of the judging one.
    """
    model = create_model(
        "NetworksConfig",
        __base__=PairConfig,
        **prefixed(GeneratorSettings, *generating),
        **prefixed(DiscriminatorSettings, *judging),
    )
    model.prefixes = (generating[0], judging[0])
    return model


def build_generator(config: PairConfig, facts: Facts, num_more_inputs: int = 0) -> nn.Sequential:
    """Return latents (N, latent_dim + num_more_inputs) -> samples (see `Images`, `Points`)."""
    settings = config.g_settings
    shape = config.framed_shape(facts)
    build = ARCHITECTURES[config.architecture].generator
    network = build(settings, config.latent_dim + num_more_inputs, shape)
    layers = network if isinstance(network, nn.Sequential) else [network]
    last = (
        Points()
        if settings.output == "linear"
        else Images(settings.output, *facts.sample_shape[1:])
    )
    return _finished(nn.Sequential(*layers, last), settings)


def build_discriminator(config: PairConfig, shape: SampleShape, num_outputs: int = 1) -> nn.Module:
    """Return framed images, or points, of a shape -> (N, num_outputs)."""
    settings = config.d_settings
    build = ARCHITECTURES[config.architecture].discriminator
    return _finished(build(settings, shape, num_outputs), settings)


def _by(sides: list[int]) -> str:
    return "x".join(map(str, sides))


N = TypeVar("N", bound=nn.Module)


def _finished(network: N, settings: NetworkSettings) -> N:
    """Draw the weights as the settings say, and norm them if that is so."""
    initialise(network, settings.init)
    if settings.norm == "spectral":
        spectrally_normed(network)
    return network


def framed(images: Tensor, config: PairConfig) -> Tensor:
    """Return images with a black frame around them where the config has one."""
    if config.pad_to is None or images.shape[2:] == (config.pad_to, config.pad_to):
        return images
    _, _, height, width = images.shape
    top, left = (config.pad_to - height) // 2, (config.pad_to - width) // 2
    sides = (left, config.pad_to - width - left, top, config.pad_to - height - top)
    return pad(images, sides, value=BLACK)
