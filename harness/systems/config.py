"""What the settings of all systems share: data, batch size, budget and seed."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from harness.config import Config, Count, Positive, flatten
from harness.data import DOMAIN_SEPARATOR, Facts, check_dataset_name
from harness.errors import HarnessError


class Budget(Config):
    """How long a run trains, in exactly one unit; which updates there are is the system's."""

    images: Count | None = None
    """Real images that the networks were shown; of two domains, those of the target."""
    steps: Count | None = None
    """Updates of a system's only optimiser."""
    g_steps: Count | None = None
    """Generator updates."""
    d_steps: Count | None = None
    """Discriminator updates."""
    seconds: Positive | None = None
    """Seconds of training, evaluation excluded; the only budget that is not reproducible."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        # Not all that iterating yields: what was once cached is there too.
        given = [key for key in type(self).model_fields if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of {', '.join(type(self).model_fields)} is allowed, not {given}"
            )
        return self

    @cached_property
    def unit(self) -> str:
        """The key that is set."""
        return next(key for key, value in self if value is not None)

    @cached_property
    def amount(self) -> float:
        """Its value."""
        return float(getattr(self, self.unit))

    def describe(self) -> str:
        """Return it in words, e.g. "600,000 real images"."""
        words = {
            "images": "real images",
            "steps": "updates",
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
    """What every system's run has in common. What is omitted takes the value printed here, so that
    two runs with equal configs are equal runs."""

    units: ClassVar[tuple[str, ...]] = ("steps",)
    """Units of budget that the system counts itself, beside images and seconds."""
    translates: ClassVar[bool] = False
    """Whether it makes images of one domain from those of another, and so needs data with two."""

    system: str
    """What is trained, and with it which other settings there are."""
    dataset: str = "mnist"
    """A registered dataset, `folder:PATH`, `inverted:NAME`, or `pairs:A|B` to translate A to B."""
    image_size: Annotated[int, Field(ge=4, multiple_of=4)] | None = None
    """Side that images are resized to; omitted: the dataset's own (32 for folders)."""
    batch_size: Count = 64
    """Images per batch."""
    budget: Budget = Budget(images=600_000)
    """How long to train."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Root of every random stream of the run."""

    @model_validator(mode="before")
    @classmethod
    def _none(cls, data: Any) -> Any:
        """Read "none" as nothing where that is legal: study files have no word for it."""
        if not isinstance(data, dict):
            return data
        off = {key for key, field in cls.model_fields.items() if field.default is None}
        return {k: None if v == "none" and k in off else v for k, v in data.items()}

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, name: str) -> str:
        return check_dataset_name(name)

    @model_validator(mode="after")
    def _countable(self) -> Self:
        allowed = ("images", *self.units, "seconds")
        if self.budget.unit not in allowed:
            raise ValueError(
                f"budget.{self.budget.unit}: system = {self.system!r} counts {', '.join(allowed)}"
            )
        return self

    def recorded(self) -> dict[str, Any]:
        """Return all settings flat, as they are put on record: those that are off are left out.

        Where silence would mean something else than off, they are there as "none".
        """
        given = self.model_dump(mode="json", exclude_none=True)
        off = {key for key, value in self if value is None}
        try:
            again = type(self).model_validate(given)
            off = {key for key in off if getattr(again, key) is not None}
        except ValidationError:
            pass  # what silence would mean is impossible
        return flatten(given) | dict.fromkeys(sorted(off), "none")

    def check_budget(self) -> None:
        """Raise HarnessError if one batch has more images than a whole run is to see.

        Batches may be larger than the training part: they go through several epochs then.
        """
        if self.budget.images is not None and self.batch_size > self.budget.images:
            raise HarnessError(
                f"batch_size = {self.batch_size}: budget.images = {self.budget.images} is less "
                f"than one batch; allowed are batches of 1 to {self.budget.images} images"
            )

    def check(self, facts: Facts) -> None:
        """Raise HarnessError if the system cannot be trained on such data."""
        if self.translates and facts.source_shape is None:
            raise HarnessError(
                f"dataset = {self.dataset!r}: system = {self.system!r} translates images between "
                f"two domains; name both as 'pairs:A|B', e.g. 'pairs:{self.dataset}|"
                f"inverted:{self.dataset}'"
            )
        if facts.source_shape is not None and not self.translates:
            target = self.dataset.rpartition(DOMAIN_SEPARATOR)[2]
            raise HarnessError(
                f"dataset = {self.dataset!r}: system = {self.system!r} translates no images; name "
                f"one dataset, e.g. {target!r}"
            )
