"""What one training run and its evaluation are: frozen, complete, checked on creation."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from harness.architectures import ACTIVATIONS, ARCHITECTURES, NORMS, NetworkSettings
from harness.data import check_dataset_name
from harness.errors import HarnessError
from harness.losses import LOSSES
from harness.penalties import PENALTIES

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]

DEFAULT_PENALTY_WEIGHT = 10.0  # Gulrajani et al. 2017; also the usual R1 scale


class Config(BaseModel):
    """Base of every configuration: frozen, strictly typed, and it knows the nearest legal key."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    nearest = difflib.get_close_matches(str(key), cls.model_fields, n=1, cutoff=0.5)
                    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
                    allowed = ", ".join(sorted(cls.model_fields))
                    raise ValueError(f"unknown key {key!r}{hint} (allowed: {allowed})")
        return data


C = TypeVar("C", bound=BaseModel)


def parse(model: type[C], data: object, where: str) -> C:
    """Validate `data` as `model`.

    Args:
        model: The configuration's class.
        data: Nested dicts as read from TOML or JSON.
        where: What the data are called in messages, e.g. the study file's path.

    Raises:
        HarnessError: One line naming the first wrong key, its value and what is allowed.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise HarnessError(f"{where}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """Return the first problem of a pydantic error as `key = value: what is allowed`."""
    first, *others = error.errors(include_url=False)
    # Parts in brackets name a branch of a union, which no file spells out.
    key = ".".join(str(part) for part in first["loc"] if not str(part).startswith("("))
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if first["type"] == "missing":
        text = f"{key} is missing"
    elif first["type"] == "value_error" and isinstance(first["input"], dict):
        text = f"{key}: {message}" if key else message
    else:
        text = f"{key} = {first['input']!r}: {message}"
    return text + (f" (and {len(others)} more)" if others else "")


class Budget(Config):
    """How long a run trains: exactly one of the four, counted as in `Progress`."""

    images: Count | None = None
    """Real images shown to the discriminator."""
    g_steps: Count | None = None
    """Generator updates."""
    d_steps: Count | None = None
    """Discriminator updates."""
    seconds: Positive | None = None
    """Seconds of training, evaluation excluded; the only budget that is not reproducible."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [key for key, value in self if value is not None]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of images, g_steps, d_steps, seconds is allowed, not {given}"
            )
        return self

    @property
    def unit(self) -> str:
        """The key that is set."""
        return next(key for key, value in self if value is not None)

    @property
    def amount(self) -> float:
        """Its value."""
        return float(getattr(self, self.unit))

    def describe(self) -> str:
        """Return it in words, e.g. "600,000 real images"."""
        words = {
            "images": "real images",
            "g_steps": "generator updates",
            "d_steps": "discriminator updates",
            "seconds": "seconds of training",
        }
        return f"{self.amount:,.12g} {words[self.unit]}"

    def scaled(self, factor: float) -> Budget:
        """Return a budget `factor` times as long, at least one unit."""
        if self.seconds is not None:
            return Budget(seconds=self.seconds * factor)
        return Budget(**{self.unit: max(1, round(self.amount * factor))})


class TrainConfig(Config):
    """Every setting of one training run. What is omitted takes the value printed here, so that two
    runs with equal configs are equal runs."""

    dataset: str = "mnist"
    """A registered dataset or `folder:PATH`."""
    image_size: Annotated[int, Field(ge=4, multiple_of=4)] | None = None
    """Side that images are resized to; omitted: the dataset's own (32 for folders)."""

    architecture: str = "dc"
    """Generator and discriminator pair."""
    latent_dim: Count = 100
    """Size of z ~ N(0, I)."""
    g_width: Count
    """G's width; omitted: the architecture's default (mlp 256, dc 64)."""
    d_width: Count
    """D's width; omitted: the architecture's default (mlp 256, dc 64)."""
    g_depth: Count
    """G's hidden layers; omitted: the architecture's default (mlp 3, dc 2)."""
    d_depth: Count
    """D's hidden layers; omitted: the architecture's default (mlp 3, dc 2)."""
    g_norm: str = "batch"
    """Normalisation in G."""
    d_norm: str = "none"
    """Normalisation in D; `batch` is refused with a penalty."""
    g_activation: str = "relu"
    """Hidden activation of G."""
    d_activation: str = "leaky_relu"
    """Hidden activation of D."""
    g_dropout: Fraction = 0.0
    """Dropout probability in G."""
    d_dropout: Fraction = 0.0
    """Dropout probability in D."""

    loss: str = "non_saturating"
    """Adversarial loss."""
    penalty: str = "none"
    """Gradient penalty added to D's loss."""
    penalty_weight: NonNegative | None = None
    """The penalty's weight (10 if omitted); exists only with a penalty."""
    penalty_interval: Count = 1
    """Apply the penalty at every n-th D step, multiplied by n (lazy regularisation)."""
    weight_clip: Positive | None = None
    """Clamp all of D's parameters to [-c, c] after every D step."""

    d_steps: Count = 1
    """k: discriminator updates per generator update, each on a fresh real batch."""
    batch_size: Count = 64
    """Images per batch."""
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

    budget: Budget = Budget(images=600_000)
    """How long to train."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Root of every random stream of the run."""

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

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, name: str) -> str:
        return check_dataset_name(name)

    @field_validator("architecture")
    @classmethod
    def _known_architecture(cls, name: str) -> str:
        return ARCHITECTURES.check(name)

    @field_validator("loss")
    @classmethod
    def _known_loss(cls, name: str) -> str:
        return LOSSES.check(name)

    @field_validator("penalty")
    @classmethod
    def _known_penalty(cls, name: str) -> str:
        return PENALTIES.check(name)

    @field_validator("g_norm", "d_norm")
    @classmethod
    def _known_norm(cls, name: str) -> str:
        return NORMS.check(name)

    @field_validator("g_activation", "d_activation")
    @classmethod
    def _known_activation(cls, name: str) -> str:
        return ACTIVATIONS.check(name)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.penalty != "none" and self.d_norm == "batch":
            raise ValueError(
                f"d_norm = 'batch' with penalty = {self.penalty!r}: batch norm mixes samples, so D "
                "has no per-sample gradients; use d_norm = 'none', 'layer' or 'spectral'"
            )
        if self.penalty == "none" and self.penalty_weight is not None:
            raise ValueError(
                f"penalty_weight = {self.penalty_weight}: there is no penalty to weigh; set "
                f"penalty to one of {', '.join(name for name in PENALTIES if name != 'none')}"
            )
        if self.batch_size < 2 and "batch" in (self.g_norm, self.d_norm):
            raise ValueError(f"batch_size = {self.batch_size}: batch norm needs at least 2")
        return self

    @property
    def g_settings(self) -> NetworkSettings:
        """The generator's settings."""
        return self._network("g")

    @property
    def d_settings(self) -> NetworkSettings:
        """The discriminator's settings."""
        return self._network("d")

    def _network(self, prefix: str) -> NetworkSettings:
        keys = ("width", "depth", "norm", "activation", "dropout")
        return NetworkSettings(**{key: getattr(self, f"{prefix}_{key}") for key in keys})

    def check_shape(self, sample_shape: tuple[int, int, int]) -> None:
        """Raise HarnessError if the architecture cannot make samples of this (C, H, W)."""
        _, height, width = sample_shape
        architecture = ARCHITECTURES[self.architecture]
        if height % 4 or width % 4:
            raise HarnessError(
                f"image_size: sides must be multiples of 4, {self.dataset} has {height}x{width}"
            )
        for key, settings in (("g_depth", self.g_settings), ("d_depth", self.d_settings)):
            if complaint := architecture.complaint(settings, sample_shape):
                choice = f"{key} = {settings.depth} with architecture = {self.architecture!r}"
                raise HarnessError(f"{choice}: {complaint}")


class EvaluateConfig(Config):
    """How every run of a study is scored: one protocol for all arms."""

    samples: Annotated[int, Field(ge=16)] | None = None
    """Generated and real samples per score; omitted: what every part has, at most 10,000."""
    times: Count = 5
    """Evaluations per run, evenly spaced over the budget, the last at its end."""
    extractor: str | None = None
    """Feature extractor; omitted: the dataset's own classifier. Or `inception`."""
    extractor_weights: Annotated[Path, Field(strict=False)] | None = None
    """File with Inception's weights; omitted: downloaded on first use."""
    kid_subsets: Count = 20
    """Subsets per KID, each of min(1000, samples / 2)."""
