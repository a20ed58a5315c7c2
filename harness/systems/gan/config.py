"""The settings of a game of two networks."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, create_model, model_validator
from pydantic.fields import FieldInfo

from harness.config import Count, Fraction, NonNegative, Positive
from harness.data import Facts
from harness.errors import HarnessError
from harness.systems.config import TrainConfig
from harness.systems.gan.architectures import ARCHITECTURES
from harness.systems.gan.architectures.pair import (
    DiscriminatorSettings,
    GeneratorSettings,
    NetworkSettings,
)
from harness.systems.gan.losses import LOSSES
from harness.systems.gan.penalties import PENALTIES

DEFAULT_PENALTY_WEIGHT = 10.0  # Gulrajani et al. 2017; also the usual R1 scale


def _fields(settings: type[NetworkSettings], prefix: str, owner: str) -> dict[str, Any]:
    """Return the fields of one network's settings by the names that study files use."""
    return {
        f"{prefix}{name}": (
            field.rebuild_annotation(),
            FieldInfo(default=field.default, description=f"{owner}: {field.description}"),
        )
        for name, field in settings.model_fields.items()
    }


def _settings(kind: type[NetworkSettings], prefix: str, config: GANConfig) -> NetworkSettings:
    return kind(**{name: getattr(config, f"{prefix}{name}") for name in kind.model_fields})


_Networks: type[TrainConfig] = create_model(
    "_Networks",
    __base__=TrainConfig,
    **_fields(GeneratorSettings, "g_", "G"),
    **_fields(DiscriminatorSettings, "d_", "D"),
)


class GANConfig(_Networks):  # type: ignore[misc, valid-type]
    """Every setting of a game of two networks: those of each, and those below."""

    units: ClassVar[tuple[str, ...]] = ("d_steps", "g_steps")

    system: str = "gan"
    """What is trained, and with it which other settings there are."""
    architecture: Annotated[str, AfterValidator(ARCHITECTURES.check)] = "dc"
    """Generator and discriminator pair."""
    latent_dim: Count = 100
    """Size of z ~ N(0, I)."""

    loss: Annotated[str, AfterValidator(LOSSES.check)] = "non_saturating"
    """Adversarial loss."""
    penalty: Annotated[str, AfterValidator(PENALTIES.check)] = "none"
    """Gradient penalty added to D's loss."""
    penalty_weight: NonNegative | None = None
    """The penalty's weight (10 if omitted); exists only with a penalty."""
    penalty_interval: Count = 1
    """Apply the penalty at every n-th D step, multiplied by n (lazy regularisation)."""
    weight_clip: Positive | None = None
    """Clamp all of D's parameters to [-c, c] after every D step."""

    d_steps: Count = 1
    """k: discriminator updates per generator update, each on a fresh real batch."""
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    """Optimiser of both networks; each has its own instance."""
    g_lr: Positive = 2e-4
    """G's learning rate."""
    d_lr: Positive = 2e-4
    """D's learning rate."""
    adam_beta1: Fraction = 0.5
    """Decay of Adam's first moment."""
    adam_beta2: Fraction = 0.999
    """Decay of Adam's second moment."""
    weight_decay: NonNegative = 0.0
    """L2 (adam, rmsprop, sgd) or decoupled (adamw) weight decay."""

    @model_validator(mode="before")
    @classmethod
    def _resolve_defaults(cls, data: Any) -> Any:
        """Fill in what depends on other settings, so that a config is complete."""
        if not isinstance(data, dict):
            return data
        architecture = data.get("architecture", cls.model_fields["architecture"].default)
        # An unknown one gets defaults too, so that its name is the only complaint.
        known = isinstance(architecture, str) and architecture in ARCHITECTURES
        data = {**ARCHITECTURES[architecture if known else "dc"].defaults, **data}
        if data.get("penalty", "none") != "none" and data.get("penalty_weight") is None:
            data = {**data, "penalty_weight": DEFAULT_PENALTY_WEIGHT}
        return data

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.penalty != "none" and self.d_settings.norm == "batch":
            raise ValueError(
                f"d_norm = 'batch' with penalty = {self.penalty!r}: batch norm mixes samples, so D "
                "has no per-sample gradients; use d_norm = 'none', 'layer' or 'spectral'"
            )
        if self.penalty == "none" and self.penalty_weight is not None:
            raise ValueError(
                f"penalty_weight = {self.penalty_weight}: there is no penalty to weigh; set "
                f"penalty to one of {', '.join(name for name in PENALTIES if name != 'none')}"
            )
        if self.batch_size < 2 and "batch" in (self.g_settings.norm, self.d_settings.norm):
            raise ValueError(f"batch_size = {self.batch_size}: batch norm needs at least 2")
        return self

    @property
    def g_settings(self) -> NetworkSettings:
        """The generator's settings."""
        return _settings(GeneratorSettings, "g_", self)

    @property
    def d_settings(self) -> NetworkSettings:
        """The discriminator's settings."""
        return _settings(DiscriminatorSettings, "d_", self)

    def check(self, facts: Facts) -> None:
        """Raise HarnessError if the architecture cannot make samples of this (C, H, W)."""
        _, height, width = facts.sample_shape
        architecture = ARCHITECTURES[self.architecture]
        if height % 4 or width % 4:
            raise HarnessError(
                f"image_size: sides must be multiples of 4, {self.dataset} has {height}x{width}"
            )
        for key, settings in (("g_depth", self.g_settings), ("d_depth", self.d_settings)):
            if complaint := architecture.complaint(settings, facts.sample_shape):
                choice = f"{key} = {settings.depth} with architecture = {self.architecture!r}"
                raise HarnessError(f"{choice}: {complaint}")
