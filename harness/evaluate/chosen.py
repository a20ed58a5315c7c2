"""Which feature extractor samples are seen with."""

from __future__ import annotations

from pathlib import Path

import torch

from harness.data import Dataset
from harness.errors import HarnessError, unknown_name
from harness.evaluate.config import EvaluateConfig
from harness.evaluate.features import Extractor
from harness.evaluate.inception import inception
from harness.evaluate.points import coordinates
from harness.evaluate.ruler import RECIPE, SHIPPED, own_rulers, shipped_ruler, trained_ruler


def chosen_extractor(
    dataset: Dataset, config: EvaluateConfig, cache_dir: Path, device: torch.device
) -> Extractor:
    """Return the one that is configured, else the dataset's own.

    Raises:
        HarnessError: There is no such one, or it does not measure such samples.
    """
    kind = dataset.kind
    name = config.extractor or kind.extractor or dataset.extractor
    if config.extractor_weights is not None and name != "inception":
        raise HarnessError(
            f"evaluate.extractor_weights = {str(config.extractor_weights)!r}: only "
            'evaluate.extractor = "inception" takes a weights file'
        )
    if kind.extractor is not None:
        if name != kind.extractor:
            raise HarnessError(
                f"evaluate.extractor = {name!r}: dataset {dataset.name!r} has {kind.noun}, which "
                f"are measured as they are; leave it out or set {kind.extractor!r}"
            )
        return coordinates(dataset, device)
    if name == "inception":
        return inception(config.extractor_weights, device)
    if name in SHIPPED:
        return shipped_ruler(name, dataset, device)
    own = own_rulers(dataset)
    if name is not None and name not in own:
        raise unknown_name("evaluate.extractor", name, [*SHIPPED, *own, "inception"])
    return trained_ruler(dataset, cache_dir, device, own[name] if name else RECIPE)
