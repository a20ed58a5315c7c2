"""The arms of a study: combinations of factor levels, each with its settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from pydantic import model_validator

from harness.config import Config
from harness.errors import HarnessError, unknown_name
from harness.study.space import Parameter, Point, default_point, read_space
from harness.systems import TrainConfig, known_settings, parse_config

# These have places of their own in a study.
NOT_SETTINGS = {"dataset", "seed", "budget", "preset"}
SAME_FOR_ALL = {"image_size"}  # arms on one dataset share one evaluation protocol


class Variant(Config):
    """A named bundle of settings, with parameters that exist only with it."""

    settings: dict[str, Any]
    space: dict[str, Parameter] = {}

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: Any) -> Any:
        if not isinstance(data, dict) or set(data) == {"settings", "space"}:
            return data
        settings = {key: value for key, value in data.items() if key != "space"}
        space = data.get("space", {})
        space = read_space(space) if isinstance(space, dict) else space
        return {"settings": settings, "space": space}

    @model_validator(mode="after")
    def _known(self) -> Self:
        check_keys(self.settings, "variant", allow=("budget", "preset"))
        check_keys(self.space, "variant's space")
        return self


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One combination of factor levels.

    Attributes:
        name: Short and unique within the study, e.g. "dc" or "dc,wgan_gp".
        levels: Factor -> level.
        preset: What its settings start from.
        settings: What a study file says of this arm; tuned parameters go over it.
        space: What is tuned.
    """

    name: str
    levels: Mapping[str, Any]
    preset: str | None
    settings: Mapping[str, Any]
    space: Mapping[str, Parameter]

    @cached_property
    def defaults(self) -> Point:
        """The point that is every search's trial 0: what the settings say if nothing is tuned."""
        if not self.space:
            return {}
        settings = self.config({}, seed=0).model_dump()
        for key in self.space:
            if key not in settings:
                raise HarnessError(
                    f"arm {self.name!r}: space.{key}: system = {settings['system']!r} has no such "
                    "setting; tune it in the space of the variants that have it"
                )
        return default_point(self.space, settings)

    def config(self, point: Point, seed: int, budget_share: float = 1.0) -> TrainConfig:
        """Return the complete config of one run."""
        settings = {**self.settings, **point, "seed": seed}
        config = parse_config(settings, f"arm {self.name!r}")
        budget = config.budget.scaled(budget_share)
        return config.model_copy(update={"budget": budget})


def varied_settings(arms: Sequence[Arm]) -> frozenset[str]:
    """Return the flat keys of what a study's runs differ in, beside their seeds.

    These are settings that arms differ in or tune, and factors, as `level.NAME`, that are not
    themselves such a setting.
    """
    configs = [arm.config({}, seed=0).recorded() for arm in arms]
    keys = {key for config in configs for key in config}
    varied = {key for key in keys if len({repr(config.get(key)) for config in configs}) > 1}
    varied |= {key for arm in arms for key in arm.space}
    factors = {f"level.{factor}" for arm in arms for factor in arm.levels if factor not in varied}
    return frozenset(varied | factors)


def check_keys(keys: Iterable[str], place: str, allow: tuple[str, ...] = ()) -> None:
    """Raise ValueError for keys that are no settings, or have a place of their own."""
    settings = set(known_settings()) - NOT_SETTINGS
    for key in keys:
        if key not in settings | NOT_SETTINGS:
            raise ValueError(str(unknown_name(f"key in {place}", key, {*settings, *allow})))
        if key in NOT_SETTINGS | SAME_FOR_ALL and key not in allow:
            hint = "belongs in [fixed]" if key in SAME_FOR_ALL else "has a place of its own"
            raise ValueError(f"{key!r} does not belong in {place}: it {hint}")
