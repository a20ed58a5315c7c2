"""What every dataset must be, a plugin's too: whatever is registered and at hand is tested."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from harness.data import DATASETS, Dataset, load_dataset
from harness.errors import HarnessError

DATA_DIR = Path(os.environ.get("HARNESS_DATA", "data"))


@pytest.fixture(scope="module", params=list(DATASETS))
def dataset(request: pytest.FixtureRequest) -> Dataset:
    try:
        return load_dataset(request.param, DATA_DIR)
    except HarnessError as error:
        pytest.skip(str(error))


def test_parts_hold_images_of_one_shape(dataset: Dataset) -> None:
    for part in (dataset.train, dataset.validation, dataset.test):
        assert part.images.dtype == torch.uint8
        assert part.images.shape[1:] == dataset.sample_shape
        assert len(part) > 0
        assert part.images.max() > part.images.min()


def test_labels_are_classes_of_every_part(dataset: Dataset) -> None:
    for part in (dataset.train, dataset.validation, dataset.test):
        assert (part.labels is None) == (dataset.num_classes == 0)
        if part.labels is not None:
            assert part.labels.dtype == torch.int64
            assert part.labels.unique().tolist() == list(range(dataset.num_classes))


def test_validation_is_drawn_and_not_cut_from_an_end(dataset: Dataset) -> None:
    if dataset.validation.labels is None:
        pytest.skip("no labels")
    shares = torch.bincount(dataset.validation.labels).float() / len(dataset.validation)
    whole = torch.bincount(dataset.train.labels).float() / len(dataset.train)
    assert (shares - whole).abs().max() < 0.05


def test_it_loads_the_same_again(dataset: Dataset) -> None:
    state = torch.get_rng_state()
    again = load_dataset(dataset.name, DATA_DIR)
    assert torch.equal(torch.get_rng_state(), state)
    assert again.digest == dataset.digest
    assert again.name == dataset.name


def test_it_resizes(dataset: Dataset) -> None:
    small = load_dataset(dataset.name, DATA_DIR, 8)
    assert small.sample_shape == (dataset.sample_shape[0], 8, 8)
    assert len(small.train) == len(dataset.train)
    assert small.digest != dataset.digest
