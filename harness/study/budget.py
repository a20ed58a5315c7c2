"""How long a study's runs train: an amount, or what each arm's preset was published with."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from harness.config import Config, Positive, parse
from harness.errors import HarnessError
from harness.study.presets import Preset
from harness.systems import Budget


class PresetBudget(Config):
    """The budget of each arm's own preset, as `{ preset = 1 }`."""

    preset: Positive
    """Times the budget that the arm's preset has; where these differ nothing is ranked."""

    def describe(self) -> str:
        """Return it in words."""
        return f"{self.preset:g} times the preset's budget"

    def scaled(self, factor: float) -> PresetBudget:
        """Return a budget `factor` times as long."""
        return PresetBudget(preset=self.preset * factor)

    def of(self, preset: Preset | None, where: str) -> Budget:
        """Return the amount that it is under a preset.

        Raises:
            HarnessError: There is no preset, or it has no budget.
        """
        if preset is None:
            raise HarnessError(f"{where}: budget.preset = {self.preset:g}: there is no preset")
        if preset.budget is None:
            raise HarnessError(
                f"{where}: budget.preset = {self.preset:g}: its preset has no budget; give the arm "
                "one in a variant, e.g. budget = { images = 600_000 }"
            )
        return preset.budget.scaled(self.preset)


def is_by_preset(raw: object) -> bool:
    """Return whether a budget, also one as a file has it, is that of the preset."""
    return isinstance(raw, PresetBudget) or (isinstance(raw, dict) and "preset" in raw)


AnyBudget = Annotated[
    Annotated[Budget, Tag("(amount)")] | Annotated[PresetBudget, Tag("(preset)")],
    Discriminator(lambda raw: "(preset)" if is_by_preset(raw) else "(amount)"),
]


def read_budget(raw: Any, where: str) -> Budget | PresetBudget:
    """Return a variant's budget.

    Raises:
        HarnessError: It is none.
    """
    return parse(PresetBudget, raw, where) if is_by_preset(raw) else parse(Budget, raw, where)
