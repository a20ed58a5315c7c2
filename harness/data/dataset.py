"""Data as tensors in three parts, stored as their kind of samples is (see `kinds`)."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from harness.data.density import Mixture
from harness.data.kinds import Kind, kind_of

Split = Literal["train", "validation", "test"]
DOMAIN_SEPARATOR = "|"  # between the names of two domains, that of the target last


@dataclass(frozen=True, kw_only=True)
class Part:
    """One split of a dataset.

    Attributes:
        images: The samples as stored: images (N, C, H, W) uint8, or points (N, d) float32.
        labels: (N,) int64 class indices, or None where the data carry no labels.
        counterpart: The same split of the other domain, where the data have two. Nothing pairs its
            samples with these, and there may be another number of them.
    """

    images: Tensor
    labels: Tensor | None
    counterpart: Part | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> Part:
        """Return the samples on a device."""
        labels = None if self.labels is None else self.labels.to(device)
        counterpart = None if self.counterpart is None else self.counterpart.to(device)
        return Part(images=self.images.to(device), labels=labels, counterpart=counterpart)

    def take(self, indices: Tensor) -> Part:
        """Return the samples at `indices`, in that order, without their counterpart."""
        labels = None if self.labels is None else self.labels[indices]
        return Part(images=self.images[indices], labels=labels)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What networks are built for.

    Attributes:
        sample_shape: (C, H, W) of images, (d,) of points.
        num_classes: 0 for unlabelled data.
        class_shares: How often training images are of each class; empty: all equally often.
        source_shape: (C, H, W) of the domain that images are translated from; None of data that
            have one domain.
        density: What samples are drawn from, where that is known; pictures show it.
    """

    sample_shape: tuple[int, ...]
    num_classes: int = 0
    class_shares: tuple[float, ...] = ()
    source_shape: tuple[int, ...] | None = None
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
        counterpart: Where the data have two domains, the one that images are translated from; its
            parts are the counterparts of these.
        density: What samples are drawn from, where that is known: of points always.
    """

    name: str
    source: str
    train: Part
    validation: Part
    test: Part
    extractor: str | None = None
    counterpart: Dataset | None = None
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
            source_shape=None if self.counterpart is None else self.counterpart.sample_shape,
            density=self.density,
        )

    @property
    def profile(self) -> dict[str, Any]:
        """Sizes of its parts and shape of its images, for the record."""
        sizes = {
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
            "sample_shape": list(self.sample_shape),
        }
        return sizes if self.counterpart is None else {**sizes, "from": self.counterpart.profile}

    @cached_property
    def target(self) -> Dataset:
        """The data as they are scored: without the other domain, under their own name."""
        if self.counterpart is None:
            return self
        train, validation, test = (
            dataclasses.replace(part, counterpart=None) for part in self._parts.values()
        )
        return dataclasses.replace(
            self,
            name=self.name.rpartition(DOMAIN_SEPARATOR)[2],
            train=train,
            validation=validation,
            test=test,
            counterpart=None,
        )

    def part(self, split: Split) -> Part:
        """Return the part named `split`."""
        return self._parts[split]

    @property
    def _parts(self) -> dict[Split, Part]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @cached_property
    def digest(self) -> str:
        """First 16 hex digits of a SHA-256 over all images, labels and the split."""
        digest = hashlib.sha256()
        for part in self._parts.values():
            digest.update(repr(tuple(part.images.shape)).encode())
            digest.update(part.images.contiguous().numpy().data)
            if part.labels is not None:
                digest.update(part.labels.contiguous().numpy().data)
        if self.counterpart is not None:
            digest.update(self.counterpart.digest.encode())
        return digest.hexdigest()[:16]
