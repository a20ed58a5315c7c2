"""What systems are trained on and scored against: datasets in three parts, fed in fresh batches."""

from harness.data.changes import CHANGES
from harness.data.dataset import DOMAIN_SEPARATOR, Dataset, Facts, Part, Split
from harness.data.decoding import load_images
from harness.data.density import Mixture
from harness.data.feed import Batch, Batches
from harness.data.kinds import Kind, kind_of, to_uint8, to_unit_range
from harness.data.loaders import (
    DATASETS,
    check_dataset_name,
    check_unchanged,
    dataset,
    load_dataset,
)
from harness.data.pictures import with_channels
from harness.data.split import SPLIT_SEED
from harness.data.toy import DENSITIES, kind_named, points

__all__ = [
    "CHANGES",
    "DATASETS",
    "DENSITIES",
    "DOMAIN_SEPARATOR",
    "SPLIT_SEED",
    "Batch",
    "Batches",
    "Dataset",
    "Facts",
    "Kind",
    "Mixture",
    "Part",
    "Split",
    "check_dataset_name",
    "check_unchanged",
    "dataset",
    "kind_named",
    "kind_of",
    "load_dataset",
    "load_images",
    "points",
    "to_uint8",
    "to_unit_range",
    "with_channels",
]
