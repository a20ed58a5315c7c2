"""Datasets by the names that study files use, each with a deterministic split in three.

To add one, decorate a loader with `@dataset`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from harness.data.changes import CHANGES, changed
from harness.data.dataset import Dataset, Part, Split
from harness.data.domains import domain_names, paired
from harness.data.kept import kept_images
from harness.data.layout import find_images, recognise
from harness.data.split import divide
from harness.errors import HarnessError
from harness.progress import say
from harness.registry import Registry, first_line

FOLDER_SIZE = 32  # side of a folder's images unless `image_size` says another
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
FOLDER, PAIRS = "folder", "pairs"  # what names start with, before a colon

Loader = Callable[[Path, int | None], Dataset]
DATASETS: Registry[Loader] = Registry("dataset")


def dataset(load: Loader) -> Loader:
    """Register a loader `(data_dir, image_size) -> Dataset` under the function's name."""
    DATASETS.add(load.__name__, load, first_line(load))
    return load


def load_dataset(
    name: str, data_dir: Path, image_size: int | None = None, cache_dir: Path | None = None
) -> Dataset:
    """Load a dataset by the name a study file uses.

    Args:
        name: A registered name; `folder:PATH` for any folder of images; `inverted:NAME` or another
            change of a dataset; or `pairs:A|B` for images of B with those of A as counterpart.
        data_dir: Where torchvision's datasets lie or are downloaded to.
        image_size: Height and width to resize to; None keeps the dataset's own size.
        cache_dir: Where a folder's decoded images are kept; None: nowhere.

    Raises:
        HarnessError: Unknown name, or data that are neither at hand nor downloadable.
    """
    kind, _, rest = name.partition(":")
    if kind == FOLDER:
        return _folder(Path(rest).expanduser(), image_size, cache_dir)
    if kind == PAIRS:
        source, target = (
            load_dataset(each, data_dir, image_size, cache_dir) for each in domain_names(rest)
        )
        return paired(name, source, target)
    if rest and kind in CHANGES:
        return changed(kind, load_dataset(rest, data_dir, image_size, cache_dir))
    return DATASETS[name](data_dir, image_size)


def check_unchanged(
    name: str,
    data_dir: Path,
    image_size: int | None,
    *,
    cache_dir: Path,
    digest: str,
    owner: str,
    advice: str,
) -> None:
    """Raise HarnessError for other data than recorded, before a ruler is made of them.

    Args:
        name: The dataset.
        data_dir: Where torchvision's datasets lie.
        image_size: As it was loaded.
        cache_dir: Where a folder's decoded images are kept.
        digest: The record's.
        owner: Whose record it is, for the message, e.g. "run 1 was trained on".
        advice: What to do about it.
    """
    found = load_dataset(name, data_dir, image_size, cache_dir).digest
    if found != digest:
        raise HarnessError(
            f"dataset {name!r} has digest {found}, {owner} {digest}: data have changed; {advice}"
        )


def check_dataset_name(name: str) -> str:
    """Return `name` if it can be loaded; raises ValueError otherwise."""
    kind, _, rest = name.partition(":")
    if kind == PAIRS:
        for each in domain_names(rest):
            if each.startswith(f"{PAIRS}:"):
                raise ValueError(f"dataset {name!r}: a pair is no domain of another")
            check_dataset_name(each)
    elif rest and kind in CHANGES:
        if rest.startswith(f"{PAIRS}:"):
            raise ValueError(f"dataset {name!r}: write 'pairs:{kind}:A|{kind}:B' instead")
        check_dataset_name(rest)
    elif not rest or kind != FOLDER:
        DATASETS.check(name)
    return name


@dataset
def digits(data_dir: Path, image_size: int | None = None) -> Dataset:
    """scikit-learn's 1,797 handwritten digits, embedded; 8x8 pixels enlarged to 16x16."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.from_numpy(raw.images).float().mul(255 / 16).unsqueeze(1)
    pixels = _resize(images.round().to(torch.uint8), image_size or 16)
    # The file runs writer by writer, so the split is drawn, not cut from its ends.
    parts = _cut(pixels, torch.from_numpy(raw.target).long(), [997, 400, 400])
    return Dataset(
        name="digits",
        source="sklearn.datasets.load_digits (UCI Optical Recognition of Handwritten Digits)",
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        extractor="digits_cnn_v2" if image_size in (None, 16) else None,
    )


@dataset
def mnist(data_dir: Path, image_size: int | None = None) -> Dataset:
    """MNIST: 50,000 + 10,000 + 10,000 handwritten digits, 28x28 grey."""
    dataset = _torchvision("mnist", "MNIST", data_dir, image_size, 10_000)
    return _with_extractor(dataset, "mnist_cnn_v2", image_size in (None, 28))


@dataset
def fashion_mnist(data_dir: Path, image_size: int | None = None) -> Dataset:
    """Fashion-MNIST: 50,000 + 10,000 + 10,000 pieces of clothing, 28x28 grey."""
    return _torchvision("fashion_mnist", "FashionMNIST", data_dir, image_size, 10_000)


@dataset
def cifar10(data_dir: Path, image_size: int | None = None) -> Dataset:
    """CIFAR-10: 40,000 + 10,000 + 10,000 photographs of ten classes, 32x32 colour."""
    return _torchvision("cifar10", "CIFAR10", data_dir, image_size, 10_000)


_FILES = {
    "mnist": (
        "MNIST/raw/ with train-images-idx3-ubyte, train-labels-idx1-ubyte, "
        "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"
    ),
    "fashion_mnist": (
        "FashionMNIST/raw/ with train-images-idx3-ubyte, train-labels-idx1-ubyte, "
        "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"
    ),
    "cifar10": "cifar-10-batches-py/ with data_batch_1 to data_batch_5, test_batch, batches.meta",
}


def _torchvision(
    name: str, class_name: str, data_dir: Path, image_size: int | None, num_validation: int
) -> Dataset:
    """Load both published splits through torchvision and cut validation from the training split."""
    import torchvision.datasets

    kind = getattr(torchvision.datasets, class_name)
    splits = []
    for train in (True, False):
        try:
            # torchvision reports its progress on both streams; one line is ours to print.
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                try:
                    raw = kind(str(data_dir), train=train, download=False)
                except RuntimeError:
                    raw = kind(str(data_dir), train=train, download=True)
        except Exception as error:
            raise HarnessError(
                f"dataset {name!r} is not in {data_dir} and could not be downloaded "
                f"({type(error).__name__}): put {_FILES[name]} there, or name another place with "
                "--data-dir or HARNESS_DATA"
            ) from error
        images = torch.as_tensor(raw.data)
        images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)
        splits.append(
            (_resize(images.contiguous(), image_size), torch.as_tensor(raw.targets).long())
        )
    (images, labels), (test_images, test_labels) = splits
    train_part, validation = _cut(images, labels, [len(images) - num_validation, num_validation])
    return Dataset(
        name=name,
        source=f"torchvision.datasets.{class_name}",
        train=train_part,
        validation=validation,
        test=Part(images=test_images, labels=test_labels),
    )


def _with_extractor(dataset: Dataset, extractor: str, applies: bool) -> Dataset:
    return dataclasses.replace(dataset, extractor=extractor if applies else None)


def _folder(root: Path, image_size: int | None, cache_dir: Path | None) -> Dataset:
    """Load a folder's images in the split that their places say, or one drawn at random."""
    layout = recognise(root, find_images(root))
    say(layout.summary)
    files = [file for split in SPLITS for file in layout.files[split]]
    decoded = kept_images(root, files, image_size or FOLDER_SIZE, cache_dir)
    say(f"folder:{root}: {decoded.describe()}")
    parts, start = [], 0
    for split in SPLITS:
        end = start + len(layout.files[split])
        labels = None if layout.labels is None else torch.tensor(layout.labels[split])
        parts.append(Part(images=decoded.images[start:end], labels=labels))
        start = end
    return Dataset(
        name=f"folder:{root}", source=str(root), train=parts[0], validation=parts[1], test=parts[2]
    )


def _resize(images: Tensor, size: int | None) -> Tensor:
    if size is None or images.shape[-2:] == (size, size):
        return images
    from torchvision.transforms.v2.functional import resize

    return torch.cat(
        [resize(chunk, [size, size], antialias=True) for chunk in torch.split(images, 4096)]
    )


def _cut(images: Tensor, labels: Tensor | None, sizes: list[int]) -> list[Part]:
    """Draw disjoint parts of the given sizes with the one fixed split seed."""
    whole = Part(images=images, labels=labels)
    return [whole.take(places) for places in divide(sizes)]
