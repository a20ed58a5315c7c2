"""What systems are trained on and scored against: datasets in three parts, fed in fresh batches."""

from harness.data.changes import CHANGES
from harness.data.dataset import (
    DOMAIN_SEPARATOR,
    Dataset,
    Facts,
    Part,
    Split,
    to_uint8,
    to_unit_range,
    with_channels,
)
from harness.data.feed import Batch, Batches
from harness.data.loaders import (
    DATASETS,
    SPLIT_SEED,
    check_dataset_name,
    check_unchanged,
    dataset,
    load_dataset,
    load_images,
)

__all__ = [
    "CHANGES",
    "DATASETS",
    "DOMAIN_SEPARATOR",
    "SPLIT_SEED",
    "Batch",
    "Batches",
    "Dataset",
    "Facts",
    "Part",
    "Split",
    "check_dataset_name",
    "check_unchanged",
    "dataset",
    "load_dataset",
    "load_images",
    "to_uint8",
    "to_unit_range",
    "with_channels",
]
