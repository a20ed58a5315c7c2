"""Named settings of published or widely used systems, one TOML file each."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Annotated, Any

from pydantic import Field

from harness.config import Config, parse
from harness.errors import unknown_name
from harness.systems import Budget

FOLDER = resources.files(__name__)


class Preset(Config):
    """What a preset's file says."""

    description: str
    """The system in one line."""
    settings: dict[str, Any]
    """Where it differs from what is used without a preset."""
    dataset: str | None = None
    """What it trains on outside of any study, where the system's default will not do."""
    budget: Budget | None = None
    """How long it was published to train."""
    deviations: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Where it differs from what was published, one sentence each."""

    def for_one_run(self) -> dict[str, Any]:
        """Return the settings of a run outside of any study: with its own budget and dataset."""
        budget = {} if self.budget is None else {"budget": self.budget.model_dump()}
        dataset = {} if self.dataset is None else {"dataset": self.dataset}
        return self.settings | budget | dataset


def list_presets() -> dict[str, str]:
    """Return {name: one-line description}."""
    return {name: load_preset(name).description for name in preset_names()}


def list_deviations() -> dict[str, str]:
    """Return {name: where the preset differs from what was published}."""
    return {name: " ".join(load_preset(name).deviations) or "none" for name in preset_names()}


def preset_names() -> list[str]:
    """Return the names of all presets."""
    return sorted(
        file.name.removesuffix(".toml") for file in FOLDER.iterdir() if file.name.endswith(".toml")
    )


def load_preset(name: str) -> Preset:
    """Return a preset.

    Raises:
        HarnessError: There is no such preset.
    """
    if name not in preset_names():
        raise unknown_name("preset", name, preset_names())
    text = FOLDER.joinpath(f"{name}.toml").read_text()
    return parse(Preset, tomllib.loads(text), f"preset {name}")
