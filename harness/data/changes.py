"""Datasets made of others by a change of every image, named `CHANGE:NAME`.

To add one, decorate a function of images with `@change`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from harness.data.dataset import Dataset, Part
from harness.errors import HarnessError
from harness.randomness import derive_seed
from harness.registry import Registry, first_line

COLOUR_SEED = 20_170_330  # the same colours for everyone, whatever the run's seed

Change: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
CHANGES: Registry[Change] = Registry("change of a dataset")


def change(apply: Change) -> Change:
    """Register a change of uint8 images (N, C, H, W) under the function's name.

    What it draws, it draws from the generator that it is given, which is seeded for each part.
    """
    CHANGES.add(apply.__name__, apply, first_line(apply))
    return apply


def changed(name: str, dataset: Dataset) -> Dataset:
    """Return a dataset with all its images changed; no shipped ruler knows them.

    Raises:
        HarnessError: It has none, or none that can be changed so.
    """
    check_images(f"{name}:{dataset.name}", dataset)

    def part(old: Part, split: str) -> Part:
        generator = torch.Generator().manual_seed(derive_seed(COLOUR_SEED, name, split))
        return dataclasses.replace(old, images=CHANGES[name](old.images, generator))

    return dataclasses.replace(
        dataset,
        name=f"{name}:{dataset.name}",
        source=f"{dataset.source}, {name}",
        train=part(dataset.train, "train"),
        validation=part(dataset.validation, "validation"),
        test=part(dataset.test, "test"),
        extractor=None,
    )


def check_images(name: str, *datasets: Dataset) -> None:
    """Raise HarnessError where one of the datasets that another is made of has no images."""
    for each in datasets:
        if not each.kind.has_pixels:
            raise HarnessError(
                f"dataset {name!r}: {each.name!r} has {each.kind.noun}; use one that has images"
            )


@change
def inverted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Dark where it was bright, and bright where it was dark."""
    return 255 - images


@change
def coloured(images: Tensor, generator: torch.Generator) -> Tensor:
    """Grey images in colours, one of full saturation per image, on black."""
    if images.shape[1] != 1:
        raise HarnessError(
            f"only grey images can be coloured, these have {images.shape[1]} channels"
        )
    hues = 6 * torch.rand(len(images), 1, generator=generator)
    # Red, green and blue of a hue on the circle, each a trapezium about its own place.
    distances = (hues - torch.tensor([0.0, 2.0, 4.0]) + 3).remainder(6) - 3
    colours = (2 - distances.abs()).clamp(0, 1)
    return (images.float() * colours[:, :, None, None]).round().to(torch.uint8)
