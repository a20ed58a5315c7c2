"""Datasets that come with a name: their fixed split, and what is said where files are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from harness.data import Dataset, Part, load_dataset
from harness.errors import HarnessError

NOWHERE = Path("nowhere")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", NOWHERE)


def rows(part: Part) -> list[bytes]:
    return [image.numpy().tobytes() for image in part.images]


# --- digits ---------------------------------------------------------------------------------------


def test_digits_parts_are_the_whole_without_overlap(digits: Dataset) -> None:
    from sklearn.datasets import load_digits

    parts = [digits.train, digits.validation, digits.test]
    assert [len(part) for part in parts] == [997, 400, 400]
    # 8x8 keeps the file's own pixels, so that every image can be found again.
    small = load_dataset("digits", NOWHERE, 8)
    raw = load_digits()
    pixels = torch.from_numpy(raw.images).mul(255 / 16).round().to(torch.uint8)
    expected = sorted(zip([p.numpy().tobytes() for p in pixels], raw.target.tolist(), strict=True))
    found = []
    for part in (small.train, small.validation, small.test):
        assert part.labels is not None
        found += list(zip(rows(part), part.labels.tolist(), strict=True))
    assert len(set(expected)) == 1797
    assert sorted(found) == expected


def test_digits_shapes(digits: Dataset) -> None:
    assert digits.sample_shape == (1, 16, 16)
    assert digits.num_classes == 10
    assert digits.extractor == "digits_cnn_v2"
    for part in (digits.train, digits.validation, digits.test):
        assert part.images.dtype == torch.uint8
        assert part.labels is not None
        assert part.labels.dtype == torch.int64
        assert part.labels.bincount(minlength=10).min() > 20
    assert digits.part("validation") is digits.validation
    assert digits.part("train") is digits.train
    assert digits.part("test") is digits.test


def test_digits_at_another_size_have_no_shipped_extractor() -> None:
    resized = load_dataset("digits", NOWHERE, 8)
    assert resized.sample_shape == (1, 8, 8)
    assert resized.extractor is None


def test_digits_are_deterministic_whatever_the_global_state(digits: Dataset) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    again = load_dataset("digits", NOWHERE)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(again.train.images, digits.train.images)
    assert torch.equal(again.test.images, digits.test.images)


def test_digest_is_stable(digits: Dataset) -> None:
    # 8x8 involves no interpolation: any change here changes every published result on digits.
    assert load_dataset("digits", NOWHERE, 8).digest == "b462f24d043a85a6"
    assert digits.digest == "e32dbfc18f21628d"


def test_unknown_dataset_suggests_the_nearest() -> None:
    with pytest.raises(HarnessError, match="unknown dataset 'digit'; did you mean 'digits'"):
        load_dataset("digit", NOWHERE)


# --- published data -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "class_name", "files"),
    [
        ("mnist", "MNIST", ["MNIST/raw/", "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]),
        ("fashion_mnist", "FashionMNIST", ["FashionMNIST/raw/", "train-images-idx3-ubyte"]),
        ("cifar10", "CIFAR10", ["cifar-10-batches-py/", "data_batch_1", "test_batch"]),
    ],
)
def test_missing_files_offline_say_what_goes_where(
    name: str,
    class_name: str,
    files: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []

    def offline(root: str, *, train: bool, download: bool) -> Any:
        asked.append(download)
        if not download:
            raise RuntimeError("Dataset not found.")
        raise OSError("no network\nat all")

    monkeypatch.setattr(torchvision.datasets, class_name, offline)
    with pytest.raises(HarnessError) as caught:
        load_dataset(name, tmp_path)
    message = str(caught.value)
    assert asked == [False, True]
    assert "\n" not in message
    assert message.startswith(f"dataset '{name}' is not in {tmp_path}")
    for part in [*files, "--data-dir", "HARNESS_DATA"]:
        assert part in message


def test_files_at_hand_are_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, root: str, *, train: bool, download: bool) -> None:
            assert not download
            num = 10_030 if train else 7
            self.data = torch.zeros(num, 28, 28, dtype=torch.uint8)
            self.targets = torch.arange(num) % 10

    monkeypatch.setattr(torchvision.datasets, "MNIST", Fake)
    dataset = load_dataset("mnist", tmp_path)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (30, 10_000, 7)
    assert dataset.extractor == "mnist_cnn_v2"
    assert load_dataset("mnist", tmp_path, 32).extractor is None


def test_colour_images_become_channels_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    class Fake:
        def __init__(self, root: str, *, train: bool, download: bool) -> None:
            num = 10_002 if train else 3
            self.data = np.zeros((num, 4, 6, 3), dtype=np.uint8)
            self.data[..., 2] = 9
            self.targets = [index % 10 for index in range(num)]

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Fake)
    dataset = load_dataset("cifar10", tmp_path)
    assert dataset.sample_shape == (3, 4, 6)
    assert dataset.train.images[:, 2].min() == 9
    assert dataset.train.images[:, :2].max() == 0
    assert len(dataset.validation) == 10_000


@pytest.mark.mnist
def test_mnist_shapes(mnist_dir: Path) -> None:
    mnist = load_dataset("mnist", mnist_dir)
    assert mnist.sample_shape == (1, 28, 28)
    assert [len(mnist.part(s)) for s in ("train", "validation", "test")] == [50000, 10000, 10000]
    assert mnist.num_classes == 10
    assert mnist.train.images.dtype == torch.uint8
    labels = mnist.test.labels
    assert labels is not None
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]  # the published order of the test part
    # The published means are 0.1307 (training) and 0.1325 (test).
    assert mnist.test.images.float().mean().item() / 255 == pytest.approx(0.1325, abs=1e-4)
    both = torch.cat([mnist.train.images, mnist.validation.images]).float().mean().item() / 255
    assert both == pytest.approx(0.1307, abs=1e-4)
