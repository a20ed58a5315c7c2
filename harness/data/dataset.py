"""Data as tensors in three parts, stored as their kind of samples is (see `kinds`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from harness.data.density import Mixture
from harness.data.kinds import Kind, kind_of

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One split of a dataset.

    Attributes:
        images: The samples as stored: images (N, C, H, W) uint8, or points (N, d) float32.
        labels: (N,) int64 class indices, or None where the data carry no labels.
    """

    images: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> Part:
        """Return the samples on a device."""
        labels = None if self.labels is None else self.labels.to(device)
        return Part(images=self.images.to(device), labels=labels)

    def take(self, indices: Tensor) -> Part:
        """Return the samples at `indices`, in that order."""
        labels = None if self.labels is None else self.labels[indices]
        return Part(images=self.images[indices], labels=labels)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What networks are built for.

    Attributes:
        sample_shape: (C, H, W) of images, (d,) of points.
        num_classes: 0 for unlabelled data.
        class_shares: How often training images are of each class; empty: all equally often.
        density: What samples are drawn from, where that is known; pictures show it.
    """

    sample_shape: tuple[int, ...]
    num_classes: int = 0
    class_shares: tuple[float, ...] = ()
    density: Mixture | None = None

    @property
    def kind(self) -> Kind:
        """What kind of samples they are."""
        return kind_of(self.sample_shape)

    def draw_classes(self, num: int, generator: torch.Generator) -> Tensor:
        """Return classes (num,) int64 on the CPU, as often as training images have them."""
        shares = torch.tensor(self.class_shares or [1.0] * self.num_classes)
        return torch.multinomial(shares, num, replacement=True, generator=generator)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset cut into three parts; `validation` is cut from the published training split.

    Attributes:
        name: As in a study file.
        source: Where the samples come from, for the record.
        extractor: The default feature extractor's name, or None if there is no shipped one.
        density: What samples are drawn from, where that is known: of points always.
    """

    name: str
    source: str
    train: Part
    validation: Part
    test: Part
    extractor: str | None = None
    density: Mixture | None = None

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(C, H, W) of images, (d,) of points."""
        return tuple(self.train.images.shape[1:])

    @property
    def kind(self) -> Kind:
        """What kind of samples they are."""
        return kind_of(self.sample_shape)

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for unlabelled data."""
        return 0 if self.train.labels is None else int(self.train.labels.max()) + 1

    @property
    def facts(self) -> Facts:
        """What networks are built for."""
        labels = self.train.labels
        shares = [] if labels is None else (labels.bincount() / len(labels)).tolist()
        return Facts(
            sample_shape=self.sample_shape,
            num_classes=self.num_classes,
            class_shares=tuple(shares),
            density=self.density,
        )

    @property
    def profile(self) -> dict[str, int | list[int]]:
        """Sizes of its parts and shape of its images, for the record."""
        return {
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
            "sample_shape": list(self.sample_shape),
        }

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
