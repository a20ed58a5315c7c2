"""Which images are compared, and how many: the same for every run of every study."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.data import Dataset, Split
from harness.errors import HarnessError
from harness.evaluate.config import EvaluateConfig
from harness.randomness import derive_seed

SUBSET_SEED = 0
MIN_SAMPLES = 16
MAX_DEFAULT_SAMPLES = 10_000


def shuffled_places(num_images: int, split: Split) -> Tensor:
    """Return all places of a split in a random order, the same for everyone."""
    generator = torch.Generator().manual_seed(derive_seed(SUBSET_SEED, "subset", split))
    return torch.randperm(num_images, generator=generator)


def count_samples(dataset: Dataset, config: EvaluateConfig, source: Dataset | None = None) -> int:
    """Return n: as configured, or the largest that every part has, at most 10,000.

    Args:
        dataset: What is compared with.
        config: The study's `[evaluate]` table.
        source: The other domain, whose images are scored as translations.
    """
    domains = [dataset] if source is None else [dataset, source]
    splits: tuple[Split, ...] = ("train", "validation", "test")
    maximum = min(len(each.part(split)) for each in domains for split in splits)
    if maximum < MIN_SAMPLES:
        raise HarnessError(
            f"dataset {dataset.name!r}: its smallest part has {maximum} images, a score needs at "
            f"least {MIN_SAMPLES}"
        )
    samples = min(maximum, MAX_DEFAULT_SAMPLES) if config.samples is None else config.samples
    if not MIN_SAMPLES <= samples <= maximum:
        raise HarnessError(
            f"evaluate.samples = {samples}: dataset {dataset.name!r} allows {MIN_SAMPLES} to "
            f"{maximum}, the size of its smallest part"
        )
    return samples
