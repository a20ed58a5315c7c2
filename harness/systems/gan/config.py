"""The settings of a game of two networks."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, ValidationError, create_model, model_validator

from harness.config import Count, Fraction, NonNegative, Positive
from harness.data import Facts
from harness.errors import HarnessError
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan.augment import check_augmentation, needs_colour
from harness.systems.gan.conditional import CONDITIONINGS
from harness.systems.gan.losses import LOSSES
from harness.systems.gan.penalties import PENALTIES
from harness.systems.gan.prior import PRIORS
from harness.systems.gan.start import STARTS, file_of
from harness.systems.layers import NORMS
from harness.systems.optimizers import OptimizerSettings
from harness.systems.pairs import collected, pair_config, prefixed, styled

UNIT_NORM = ("gradient", "gradient_one_sided", "dragan")  # each sample's gradient is to have it
DEFAULT_PENALTY_WEIGHT = 10.0  # Gulrajani et al. 2017; also the usual R1 scale

Augmentation = Annotated[str, AfterValidator(check_augmentation)]
Share = Annotated[float, Field(ge=0, le=1)]


def _own(prefix: str, owner: str) -> dict[str, Any]:
    """Return the optimiser's fields of one network; omitted ones are those of both."""
    fields = prefixed(OptimizerSettings, prefix, f"{owner}, where it differs")
    for _, info in fields.values():
        info.default = None
    return {key: (annotation | None, info) for key, (annotation, info) in fields.items()}


_Networks: Any = create_model(
    "_Networks",
    __base__=pair_config(("g_", "G"), ("d_", "D")),
    **prefixed(OptimizerSettings, "", "Both networks"),
    **_own("g_", "G"),
    **_own("d_", "D"),
)


class GANConfig(_Networks):  # type: ignore[misc]
    """Every setting of a game of two networks: those of each, and those below."""

    units: ClassVar[tuple[str, ...]] = ("d_steps", "g_steps")

    system: str = "gan"
    """What is trained, and with it which other settings there are."""
    prior: Annotated[str, AfterValidator(PRIORS.check)] = "normal"
    """Distribution of z."""
    truncation: Positive | None = None
    """Samples come from z whose parts are all below this in absolute value; training does not."""
    conditioning: Annotated[str, AfterValidator(CONDITIONINGS.check)] = "none"
    """How both networks learn the class of an image."""

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
    g_lr: Positive = 2e-4
    """G's learning rate."""
    d_lr: Positive = 2e-4
    """D's learning rate."""
    average: Annotated[int, Field(ge=0)] = 20_000
    """Half-life of the moving average of G that is sampled, in images that G made; 0: none."""
    mixing: Share = 0.0
    """Probability that an image in training has styles of two latents; needs a styled generator."""
    path_length: NonNegative = 0.0
    """Weight of path-length regularisation in G's loss, 0: none; needs a styled generator."""
    path_length_interval: Count = 4
    """Apply it at every n-th G step, to half a batch, multiplied by n (lazy regularisation)."""
    g_from: str | None = None
    """Folder of an exported generator whose weights G starts from."""
    d_from: str | None = None
    """Folder of an exported generator whose discriminator's weights D starts from."""

    smooth_real: Fraction = 0.0
    """Label smoothing: D is to call real images real with a probability of 1 minus this."""
    smooth_fake: Fraction = 0.0
    """Label smoothing: D is to call generated images real with this probability."""
    flip_labels: Fraction = 0.0
    """Share of labels that D is told wrongly, at random."""
    instance_noise: NonNegative = 0.0
    """Standard deviation of Gaussian noise on all images that D sees, at the start."""
    instance_noise_until: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the budget over which the noise falls to 0."""
    augment_reals: Augmentation = "none"
    """Random transformations of real images alone, e.g. `flip` or `rotation+crop`."""
    augment: Augmentation = "none"
    """Random transformations of all that D sees, e.g. `translation+cutout` (DiffAugment)."""
    augment_target: Fraction | None = None
    """Mean sign of D's logits of real images that `augment` adapts its share to (ADA: 0.6)."""
    pack: Count = 1
    """Images that D judges together, which must divide the batch (PacGAN)."""

    @model_validator(mode="before")
    @classmethod
    def _resolve_defaults(cls, data: Any) -> Any:
        """Fill in what depends on other settings, so that a config is complete."""
        if not isinstance(data, dict):
            return data
        defaults = dict(cls.architecture_of(data).gan_defaults)
        if data.get("penalty", "none") != "none" and defaults.get("d_norm") == "batch":
            del defaults["d_norm"]  # under a penalty it would be refused
        data = {**defaults, **data}
        if data.get("penalty", "none") != "none":
            data = {"penalty_weight": DEFAULT_PENALTY_WEIGHT, **data}
        shared = {key: data[key] for key in OptimizerSettings.model_fields if key in data}
        try:
            both = OptimizerSettings(**shared).model_dump()
        except ValidationError:  # each wrong value is complained of once, under its own name
            both = {}
        own = {f"{prefix}{key}": value for prefix in cls.prefixes for key, value in both.items()}
        return {**own, **data}

    @model_validator(mode="after")
    def _possible(self) -> Self:
        d_settings = self.d_settings
        if self.penalty != "none" and d_settings.norm == "batch":
            others = ", ".join(repr(name) for name in NORMS if name != "batch")
            raise ValueError(
                f"d_norm = 'batch' with penalty = {self.penalty!r}: batch norm mixes samples, so "
                f"D has no per-sample gradients; use one of {others}"
            )
        if self.penalty != "none" and self.penalty_weight is None:
            raise ValueError(
                f"penalty_weight = 'none' with penalty = {self.penalty!r}: give it a weight, or "
                "set penalty to 'none' too"
            )
        if self.penalty == "none" and self.penalty_weight is not None:
            raise ValueError(
                f"penalty_weight = {self.penalty_weight}: there is no penalty to weigh; set "
                f"penalty to one of {', '.join(name for name in PENALTIES if name != 'none')}"
            )
        if self.batch_size % self.pack or self.batch_size == self.pack > 1:
            raise ValueError(
                f"pack = {self.pack}: batch_size = {self.batch_size} must be a multiple of it, at "
                "least twice as large"
            )
        if d_settings.minibatch_std and self.penalty in UNIT_NORM:
            raise ValueError(
                f"d_minibatch_std = True with penalty = {self.penalty!r}: D judges groups, so that "
                "no sample's gradient has a norm of its own to be 1; use 'r1', 'r2' or 'r1_r2'"
            )
        if self.pack > 1 and self.conditioning != "none":
            raise ValueError(f"pack = {self.pack}: packs of images of several classes have none")
        told = {key: getattr(self, key) for key in ("smooth_real", "smooth_fake", "flip_labels")}
        for key, value in told.items():
            if value and LOSSES[self.loss].terms is None:
                raise ValueError(
                    f"{key} = {value} with loss = {self.loss!r}: it compares images with each "
                    "other and has no labels"
                )
        if self.truncation is not None and self.prior != "normal":
            raise ValueError(f"truncation = {self.truncation}: only prior = 'normal' has tails")
        if self.augment_target is not None:
            if self.augment == "none":
                raise ValueError(
                    f"augment_target = {self.augment_target}: there is nothing to adapt; set "
                    "augment, e.g. to 'translation+cutout'"
                )
            if not LOSSES[self.loss].logits_are_log_odds:
                raise ValueError(
                    f"augment_target = {self.augment_target} with loss = {self.loss!r}: the rule "
                    "is for losses whose logits are log-odds"
                )
        return self

    @model_validator(mode="after")
    def _styled(self) -> Self:
        if ARCHITECTURES[self.architecture].num_styles is None:
            for key in ("mixing", "path_length"):
                if value := getattr(self, key):
                    raise ValueError(
                        f"{key} = {value} with architecture = {self.architecture!r}: it has no "
                        f"styles; use one of {styled()}"
                    )
        return self

    def optimizer_settings(self, prefix: str) -> OptimizerSettings:
        """Return how the network with this prefix, `g_` or `d_`, follows its gradients."""
        return collected(OptimizerSettings, prefix, self)

    def check(self, facts: Facts) -> None:
        """Raise HarnessError if such a game cannot be played on such data."""
        super().check(facts)
        if self.conditioning != "none" and facts.num_classes == 0:
            raise HarnessError(
                f"conditioning = {self.conditioning!r}: {self.dataset} has no classes"
            )
        for key in STARTS:
            if getattr(self, key) is not None:
                file_of(self, key)
        for key in ("augment", "augment_reals"):
            if getattr(self, key) != "none" and not facts.kind.has_pixels:
                raise HarnessError(
                    f"{key} = {getattr(self, key)!r}: {self.dataset} has {facts.kind.noun}, which "
                    "only instance_noise may move; leave it out"
                )
            if needs_colour(getattr(self, key)) and facts.sample_shape[0] != 3:
                raise HarnessError(
                    f"{key} = {getattr(self, key)!r}: {self.dataset} has no colour to change"
                )
