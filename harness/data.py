"""Datasets as uint8 tensors with a deterministic train / validation / test split.

Everything inside the harness sees float images in [-1, 1], NCHW; storage is uint8 so that a whole
dataset fits beside the networks on the device.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from harness.errors import HarnessError
from harness.randomness import derive_seed
from harness.registry import Registry, first_line

Split = Literal["train", "validation", "test"]

SPLIT_SEED = 20_140_610  # one split for everyone, whatever the run's seed
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One split of a dataset.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64 class indices, or None where the data carry no labels.
    """

    images: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Tensor) -> Part:
        """Return the samples at `indices`, in that order."""
        labels = None if self.labels is None else self.labels[indices]
        return Part(images=self.images[indices], labels=labels)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset cut into three parts; `validation` is cut from the published training split.

    Attributes:
        name: As in a study file.
        source: Where the samples come from, for the record.
        extractor: The default feature extractor's name, or None if there is no shipped one.
    """

    name: str
    source: str
    train: Part
    validation: Part
    test: Part
    extractor: str | None = None

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train.images.shape[1:]
        return (channels, height, width)

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for unlabelled data."""
        return 0 if self.train.labels is None else int(self.train.labels.max()) + 1

    def part(self, split: Split) -> Part:
        """Return the part named `split`."""
        parts: dict[Split, Part] = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
        }
        return parts[split]

    @cached_property
    def digest(self) -> str:
        """First 16 hex digits of a SHA-256 over all images, labels and the split."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            digest.update(repr(tuple(part.images.shape)).encode())
            digest.update(part.images.contiguous().numpy().tobytes())
            if part.labels is not None:
                digest.update(part.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def to_unit_range(images: Tensor) -> Tensor:
    """Map uint8 images to float32 in [-1, 1]."""
    return images.to(torch.float32).mul_(2 / 255).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Map float images in [-1, 1] to uint8: clamped and rounded, never rescaled per image."""
    return images.add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


class Batches:
    """An endless stream of shuffled real batches, shuffled and gathered on the images' device.

    Every epoch visits each image once in a fresh order; a batch may span two epochs.

    Args:
        images: (N, C, H, W) uint8 on the training device.
        batch_size: Images per batch.
        generator: Source of the order, on the same device.
    """

    def __init__(self, images: Tensor, batch_size: int, generator: torch.Generator) -> None:
        self._images = images
        self._batch_size = batch_size
        self._generator = generator
        self._order = torch.empty(0, dtype=torch.int64, device=images.device)

    def take(self, num_batches: int) -> Tensor:
        """Return fresh batches, (num_batches, batch_size, C, H, W) float32 in [-1, 1]."""
        count = num_batches * self._batch_size
        while len(self._order) < count:
            epoch = torch.randperm(
                len(self._images), generator=self._generator, device=self._images.device
            )
            self._order = torch.cat([self._order, epoch])
        picked, self._order = self._order[:count], self._order[count:]
        images = to_unit_range(self._images.index_select(0, picked))
        return images.view(num_batches, self._batch_size, *images.shape[1:])

    def state_dict(self) -> dict[str, Any]:
        """Return what is left of the current epoch; the generator is saved by its owner."""
        return {"order": self._order.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what was left of the epoch."""
        self._order = state["order"].to(self._images.device)


Loader = Callable[[Path, int | None], Dataset]
DATASETS: Registry[Loader] = Registry("dataset")


def dataset(load: Loader) -> Loader:
    """Register a loader `(data_dir, image_size) -> Dataset` under the function's name."""
    DATASETS.add(load.__name__, load, first_line(load))
    return load


def load_dataset(name: str, data_dir: Path, image_size: int | None = None) -> Dataset:
    """Load a dataset by the name a study file uses.

    Args:
        name: A registered name, or `folder:PATH` for any folder of images.
        data_dir: Where torchvision's datasets lie or are downloaded to.
        image_size: Height and width to resize to; None keeps the dataset's own size.

    Raises:
        HarnessError: Unknown name, or data that are neither at hand nor downloadable.
    """
    if name.startswith("folder:"):
        return _folder(Path(name.removeprefix("folder:")).expanduser(), image_size)
    return DATASETS[name](data_dir, image_size)


def check_dataset_name(name: str) -> str:
    """Return `name` if a loader exists for it; raises ValueError otherwise."""
    return name if name.startswith("folder:") and name != "folder:" else DATASETS.check(name)


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
        extractor="digits_cnn_v1" if image_size in (None, 16) else None,
    )


@dataset
def mnist(data_dir: Path, image_size: int | None = None) -> Dataset:
    """MNIST: 50,000 + 10,000 + 10,000 handwritten digits, 28x28 grey."""
    dataset = _torchvision("mnist", "MNIST", data_dir, image_size, 10_000)
    return _with_extractor(dataset, "mnist_cnn_v1", image_size in (None, 28))


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


def _folder(root: Path, image_size: int | None) -> Dataset:
    """Load every image under `root` as RGB.

    Sub-folders are classes where all images lie in them.
    """
    from PIL import Image, UnidentifiedImageError
    from torchvision.transforms import v2

    if not root.is_dir():
        raise HarnessError(f"dataset 'folder:{root}': there is no such folder")
    paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if len(paths) < 12:
        raise HarnessError(
            f"dataset 'folder:{root}' has {len(paths)} images; at least 12 are needed for its "
            "training, validation and test parts"
        )
    size = image_size or 32
    shape = v2.Compose([v2.PILToTensor(), v2.Resize(size, antialias=True), v2.CenterCrop(size)])
    images = []
    for path in paths:
        try:
            with Image.open(path) as image:
                images.append(shape(image.convert("RGB")))
        except (UnidentifiedImageError, OSError) as error:
            raise HarnessError(
                f"dataset 'folder:{root}': {path} is not a readable image"
            ) from error
    classes = sorted({p.relative_to(root).parts[0] for p in paths if p.parent != root})
    labels = None
    if len(classes) > 1 and all(p.parent != root for p in paths):
        labels = torch.tensor([classes.index(p.relative_to(root).parts[0]) for p in paths])
    held_out = len(paths) // 6
    parts = _cut(torch.stack(images), labels, [len(paths) - 2 * held_out, held_out, held_out])
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
    generator = torch.Generator().manual_seed(derive_seed(SPLIT_SEED, "split"))
    order = torch.randperm(len(images), generator=generator)
    whole = Part(images=images, labels=labels)
    return [whole.take(indices.sort().values) for indices in torch.split(order, sizes)]
