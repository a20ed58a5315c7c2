"""What a study file may say, for `harness list`."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel

from harness.data import DATASETS
from harness.evaluate import EvaluateConfig
from harness.evaluate.metric import describe_figures
from harness.study.budget import PresetBudget
from harness.study.phases import ConfirmConfig, SearchConfig
from harness.study.presets import list_deviations, list_presets
from harness.study.study import StudyConfig
from harness.systems import SYSTEMS, Budget
from harness.systems.gan.architectures import ARCHITECTURES
from harness.systems.gan.losses import LOSSES
from harness.systems.gan.penalties import PENALTIES
from harness.systems.layers import ACTIVATIONS, NORMS


def _fields(*models: type[BaseModel]) -> Callable[[], dict[str, str]]:
    def describe() -> dict[str, str]:
        return {
            name: " ".join((field.description or "").split())
            for model in models
            for name, field in model.model_fields.items()
        }

    return describe


def _datasets() -> dict[str, str]:
    return DATASETS.describe() | {"folder:PATH": "Any folder of images, resized to image_size"}


CATALOGUE: dict[str, tuple[str, Callable[[], dict[str, str]]]] = {
    "losses": ("values of loss, and variants by themselves", LOSSES.describe),
    "penalties": ("values of penalty", PENALTIES.describe),
    "architectures": ("values of architecture", ARCHITECTURES.describe),
    "norms": ("values of g_norm and d_norm", NORMS.describe),
    "activations": ("values of g_activation and d_activation", ACTIVATIONS.describe),
    "datasets": ("values of dataset", _datasets),
    "presets": ("values of preset", list_presets),
    "deviations": ("where presets differ from what was published", list_deviations),
    "metrics": ("what runs are scored by", describe_figures),
    "systems": ("values of system", SYSTEMS.describe),
    **{
        f"{name}-settings": (
            f"keys of [fixed], [compare] and [space] with system = {name!r}",
            _fields(SYSTEMS[name].Config),
        )
        for name in SYSTEMS
    },
    "study": ("tables and keys of a study file", _fields(StudyConfig)),
    "search": ("keys of [search]", _fields(SearchConfig)),
    "confirm": ("keys of [confirm]", _fields(ConfirmConfig)),
    "budget": ("keys of [budget]", _fields(Budget, PresetBudget)),
    "evaluate": ("keys of [evaluate]", _fields(EvaluateConfig)),
}
