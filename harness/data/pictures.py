"""Pictures of samples: grids of images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

Picture: TypeAlias = npt.NDArray[np.uint8]
"""(height, width, 3)."""

MIN_GRID_PIXELS = 512
REAL_FILE = "real.png"  # what real images look like, attached to a study's parent run
MAX_CLASSES = 20  # rows of a class grid
CLASS_COLUMNS = 10


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Return uint8 images (N, C, H, W) with one channel or three: their mean, or copies of it."""
    if images.shape[1] == channels:
        return images
    grey = images.float().mean(1, keepdim=True).round().byte()
    return grey.expand(-1, channels, -1, -1)


def image_grid(images: Tensor, columns: int | None = None) -> Picture:
    """Return one picture (height, width, 3) uint8 of many images (N, C, H, W) uint8.

    Small images are enlarged by whole factors, pixel by pixel, so that nothing is smoothed over.
    """
    from torchvision.utils import make_grid

    columns = columns or math.ceil(math.sqrt(len(images)))
    if images.shape[1] not in (1, 3):
        images = images[:, :1]
    factor = max(1, MIN_GRID_PIXELS // (columns * images.shape[-1]))
    if factor > 1:
        images = interpolate(images.float(), scale_factor=factor, mode="nearest").to(images.dtype)
    grid = make_grid(images, nrow=columns, padding=2, pad_value=128)
    array: Picture = grid.permute(1, 2, 0).numpy()
    return array


def stacked_grid(*kinds: Tensor) -> Picture:
    """Return a picture of images, each with what belongs to it below it: (N, C, H, W) uint8 all."""
    columns = math.ceil(math.sqrt(len(kinds) * len(kinds[0])))
    channels = max(each.shape[1] for each in kinds)
    rows = zip(*(with_channels(each, channels).split(columns) for each in kinds), strict=True)
    filled = [_filled(each, columns, each) for row in rows for each in row]
    return image_grid(torch.cat(filled), columns)


def _filled(row: Tensor, columns: int, like: Tensor) -> Tensor:
    """Return a row of images with grey ones, like others, where it has too few."""
    blank = torch.full_like(like[:1], 128).expand(columns - len(row), *like.shape[1:])
    return torch.cat([row, blank])


def class_grid(
    images: Tensor, classes: Tensor, num_classes: int, columns: int = CLASS_COLUMNS
) -> Picture:
    """Return a picture with a row per class, in order, blank where images are too few.

    Args:
        images: (N, C, H, W) uint8, N at least 1.
        classes: (N,) class indices.
        num_classes: How many there are; of more than 20 the first 20 are shown.
        columns: Images per class, the first ones.
    """
    rows = range(min(max(num_classes, int(classes.max()) + 1), MAX_CLASSES))
    shown = [_filled(images[classes == label][:columns], columns, images) for label in rows]
    return image_grid(torch.cat(shown), columns)


def png(picture: Picture) -> Image.Image:
    """Return a grid as a PIL image, to be saved."""
    return Image.fromarray(picture)


def read_picture(file: Path) -> Picture:
    """Return a picture file as (height, width, 3) uint8."""
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))
