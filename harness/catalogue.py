"""What a study file may say, for `harness list`."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel

from harness.data import CHANGES, DATASETS
from harness.evaluate import EvaluateConfig
from harness.evaluate.metric import describe_figures
from harness.study.budget import PresetBudget
from harness.study.phases import ConfirmConfig, SearchConfig
from harness.study.presets import list_deviations, list_presets
from harness.study.study import StudyConfig
from harness.systems import SYSTEMS, Budget
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan.augment import AUGMENTATIONS
from harness.systems.gan.conditional import CONDITIONINGS
from harness.systems.gan.losses import LOSSES
from harness.systems.gan.penalties import PENALTIES
from harness.systems.gan.prior import PRIORS
from harness.systems.initialise import INITIALISATIONS
from harness.systems.layers import ACTIVATIONS, NORMS
from harness.systems.optimizers import OPTIMIZERS, SCHEDULES


def _fields(*models: type[BaseModel]) -> Callable[[], dict[str, str]]:
    def describe() -> dict[str, str]:
        return {
            name: " ".join((field.description or "").split())
            for model in models
            for name, field in model.model_fields.items()
        }

    return describe


def _datasets() -> dict[str, str]:
    return {
        **DATASETS.describe(),
        "folder:PATH": "Images of one's own, split by train/ and test/ or at random",
        **{f"{name}:NAME": f"Of any dataset: {CHANGES.describe()[name]}" for name in CHANGES},
        "pairs:A|B": "Two datasets as domains, for systems that translate images of A to B",
    }


CATALOGUE: dict[str, tuple[str, Callable[[], dict[str, str]]]] = {
    "losses": ("values of loss, and variants by themselves", LOSSES.describe),
    "penalties": ("values of penalty", PENALTIES.describe),
    "architectures": ("values of architecture", ARCHITECTURES.describe),
    "conditionings": ("values of conditioning", CONDITIONINGS.describe),
    "priors": ("values of prior", PRIORS.describe),
    "augmentations": ("what augment and augment_reals join with +", AUGMENTATIONS.describe),
    "optimizers": ("values of optimizer, g_optimizer and d_optimizer", OPTIMIZERS.describe),
    "schedules": ("values of schedule, g_schedule and d_schedule", SCHEDULES.describe),
    "initialisations": ("values of g_init and d_init", INITIALISATIONS.describe),
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
