"""What every dataset must be, a plugin's too: whatever is registered and at hand is tested."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data import DATASETS, Dataset, kind_named, load_dataset
from harness.errors import HarnessError

DATA_DIR = Path(os.environ.get("HARNESS_DATA", "data"))


@pytest.fixture(scope="module", params=list(DATASETS))
def dataset(request: pytest.FixtureRequest) -> Dataset:
    try:
        return load_dataset(request.param, DATA_DIR)
    except HarnessError as error:
        pytest.skip(str(error))


def test_parts_hold_samples_of_one_kind_and_shape(dataset: Dataset) -> None:
    assert dataset.kind is kind_named(dataset.name)
    for part in (dataset.train, dataset.validation, dataset.test):
        assert part.images.dtype == dataset.kind.dtype
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


def test_it_resizes_or_has_nothing_to_resize(dataset: Dataset) -> None:
    if not dataset.kind.has_pixels:
        with pytest.raises(HarnessError, match=f"image_size = 8: dataset '{dataset.name}' has"):
            load_dataset(dataset.name, DATA_DIR, 8)
        return
    small = load_dataset(dataset.name, DATA_DIR, 8)
    assert small.sample_shape == (dataset.sample_shape[0], 8, 8)
    assert len(small.train) == len(dataset.train)
    assert small.digest != dataset.digest


def test_networks_see_and_give_back_what_is_stored(dataset: Dataset) -> None:
    stored = dataset.test.images[:50]
    seen = dataset.kind.to_networks(stored)
    assert seen.dtype == torch.float32
    assert seen.abs().max() <= 1 or not dataset.kind.bounded
    assert torch.equal(dataset.kind.to_stored(seen), stored)


def test_its_pictures_are_the_same_again_and_as_large_for_other_samples(dataset: Dataset) -> None:
    kind, num = dataset.kind, min(dataset.kind.num_shown, len(dataset.test))
    samples = dataset.test.images[:num]
    picture = kind.picture(samples, dataset.density)
    assert np.array_equal(picture, kind.picture(samples.clone(), dataset.density))
    other = kind.picture(dataset.validation.images[:num], dataset.density)
    assert other.shape == picture.shape
    assert not np.array_equal(other, picture)
    assert kind.part_of(picture).size <= picture.size
    if dataset.test.labels is not None:
        sorted_ones = kind.picture_by_class(
            samples, dataset.test.labels[:num], dataset.facts.num_classes, dataset.density
        )
        assert sorted_ones.dtype == np.uint8


def test_what_is_drawn_from_a_known_density_follows_it(dataset: Dataset) -> None:
    if dataset.density is None:
        assert dataset.kind.bounded  # points always have one
        pytest.skip("no density is known")
    density, dims = dataset.density, dataset.density.num_dims
    for part in (dataset.train, dataset.validation, dataset.test):
        distances, nearest = density.distances(part.images).min(dim=1)
        # The squared distance to its mode, in standard deviations, is chi-squared.
        spread = (2 * dims / len(part)) ** 0.5
        assert abs(distances.square().mean() - dims) < 4 * spread
        if part.labels is not None:
            assert torch.equal(part.labels, nearest)
            shares = part.labels.bincount() / len(part)
            assert (shares - 1 / density.num_modes).abs().max() < 4 * (0.1 / len(part)) ** 0.5
    low, high = density.window
    assert low < dataset.test.images.min() or density.num_modes == 1
    assert high > dataset.test.images.max() or density.num_modes == 1
