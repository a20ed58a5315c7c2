"""Kinds of samples: how one is stored, shown to networks and drawn.

Whatever depends on the kind is asked of it here; nothing else looks at how many axes a sample has.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from harness.data.density import Mixture
from harness.data.pictures import Picture, class_grid, image_grid, stacked_grid


class Kind(abc.ABC):
    """What is done in another way with another kind of sample.

    Attributes:
        noun: What samples are called, in the plural; also their array's name in `.npz` files.
        dtype: As they are stored, scored and written.
        type_name: What that is called.
        precision: What storing does to what a network makes, in words.
        bounded: Whether networks see and make them in [-1, 1].
        has_pixels: Whether files of pictures can hold them, and changes of pictures change them.
        extractor: Name of the features that they have without any training; None: a ruler's.
        num_shown: How many a picture of samples shows.
        num_in_strip: How many its part shows that stands for it where there is little room.
        own_in_strips: Whether a system's own pictures of them are legible in a strip too.
        num_per_class: How many of each class a picture by class shows, where any can be had.
        by_class: How such a picture tells classes apart, in words.
    """

    noun: ClassVar[str]
    dtype: ClassVar[torch.dtype]
    type_name: ClassVar[str]
    precision: ClassVar[str]
    bounded: ClassVar[bool]
    has_pixels: ClassVar[bool]
    extractor: ClassVar[str | None]
    num_shown: ClassVar[int]
    num_in_strip: ClassVar[int]
    own_in_strips: ClassVar[bool]
    num_per_class: ClassVar[int]
    by_class: ClassVar[str]

    @abc.abstractmethod
    def to_networks(self, stored: Tensor) -> Tensor:
        """Return stored samples (N, ...) as float32 for networks."""

    @abc.abstractmethod
    def to_stored(self, made: Tensor) -> Tensor:
        """Return float32 samples of a network as they are stored."""

    @abc.abstractmethod
    def describe(self, shape: Sequence[int]) -> str:
        """Return in words what samples of a shape are, e.g. "1x28x28 images"."""

    @abc.abstractmethod
    def picture(self, samples: Tensor, density: Mixture | None) -> Picture:
        """Return a picture of stored samples (N, ...).

        Args:
            samples: `num_shown` of them, usually.
            density: What real ones are drawn from, where that is known.
        """

    @abc.abstractmethod
    def picture_by_class(
        self, samples: Tensor, classes: Tensor, num_classes: int, density: Mixture | None
    ) -> Picture:
        """Return a picture of stored samples (N, ...) that shows their classes (N,), of so many."""

    @abc.abstractmethod
    def picture_with_neighbours(self, samples: Tensor, neighbours: Tensor) -> Picture | None:
        """Return a picture of samples with a neighbour each; None where it would show nothing."""

    @abc.abstractmethod
    def part_of(self, picture: Picture) -> Picture:
        """Return the part of a picture of samples that stands for it where there is little room."""


class Images(Kind):
    """Pictures (C, H, W): uint8, so that a whole dataset fits beside the networks."""

    noun = "images"
    dtype = torch.uint8
    type_name = "uint8"
    precision = "rounded to 8 bits"
    bounded = True
    has_pixels = True
    extractor = None
    num_shown = 64
    num_in_strip = 16
    own_in_strips = False
    num_per_class = 10
    by_class = "a row per class of ten at most"

    def to_networks(self, stored: Tensor) -> Tensor:
        """Return uint8 images in [-1, 1]."""
        return to_unit_range(stored)

    def to_stored(self, made: Tensor) -> Tensor:
        """Return images in [-1, 1] as uint8."""
        return to_uint8(made)

    def describe(self, shape: Sequence[int]) -> str:
        """Return sides and noun."""
        return f"{'x'.join(map(str, shape))} images"

    def picture(self, samples: Tensor, density: Mixture | None) -> Picture:
        """Return a grid."""
        return image_grid(samples)

    def picture_by_class(
        self, samples: Tensor, classes: Tensor, num_classes: int, density: Mixture | None
    ) -> Picture:
        """Return a grid with a row per class."""
        return class_grid(samples, classes, num_classes)

    def picture_with_neighbours(self, samples: Tensor, neighbours: Tensor) -> Picture | None:
        """Return a grid of samples, each with its neighbour below it."""
        return stacked_grid(samples, neighbours)

    def part_of(self, picture: Picture) -> Picture:
        """Return a grid's upper left quarter: 16 of 64 images."""
        height, width = picture.shape[:2]
        return picture[: height // 2, : width // 2]


class Points(Kind):
    """Points (d,) in space: float32, as they are."""

    noun = "points"
    dtype = torch.float32
    type_name = "float32"
    precision = "in single precision"
    bounded = False
    has_pixels = False
    extractor = "points"
    num_shown = 1000
    num_in_strip = 1000
    own_in_strips = True
    num_per_class = 100
    by_class = "a colour per class"

    def to_networks(self, stored: Tensor) -> Tensor:
        """Return points as they are."""
        return stored

    def to_stored(self, made: Tensor) -> Tensor:
        """Return points as they are."""
        return made

    def describe(self, shape: Sequence[int]) -> str:
        """Return noun and number of dimensions."""
        return f"points in {shape[0]}-D"

    def picture(self, samples: Tensor, density: Mixture | None) -> Picture:
        """Return a scatter plot, or a histogram of points on a line, and the density."""
        from harness.data.plots import plot_points

        return plot_points(samples, density)

    def picture_by_class(
        self, samples: Tensor, classes: Tensor, num_classes: int, density: Mixture | None
    ) -> Picture:
        """Return the same in a colour per class."""
        from harness.data.plots import plot_points

        return plot_points(samples, density, classes)

    def picture_with_neighbours(self, samples: Tensor, neighbours: Tensor) -> Picture | None:
        """Return nothing: two points that lie close say no more than that they do."""
        return None

    def part_of(self, picture: Picture) -> Picture:
        """Return the whole plot, of which no part stands for the rest."""
        return picture


IMAGES, POINTS = Images(), Points()


def kind_of(sample_shape: Sequence[int]) -> Kind:
    """Return the kind of samples of a shape: (C, H, W) or (d,).

    Raises:
        ValueError: There is no such kind.
    """
    match len(sample_shape):
        case 1:
            return POINTS
        case 3:
            return IMAGES
    raise ValueError(f"samples are images (C, H, W) or points (d,), not {tuple(sample_shape)}")


def to_unit_range(images: Tensor) -> Tensor:
    """Map uint8 images to float32 in [-1, 1]."""
    return images.to(torch.float32).mul_(2 / 255).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Map float images in [-1, 1] to uint8: clamped and rounded, never rescaled per image."""
    return images.add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
