"""Sample grids."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

MIN_GRID_PIXELS = 512


def image_grid(images: Tensor, columns: int | None = None) -> npt.NDArray[np.uint8]:
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
    array: npt.NDArray[np.uint8] = grid.permute(1, 2, 0).numpy()
    return array


def png(picture: npt.NDArray[np.uint8]) -> Image.Image:
    """Return a grid as a PIL image, to be saved."""
    return Image.fromarray(picture)
