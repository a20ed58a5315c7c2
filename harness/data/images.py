"""Images that somebody names: a folder of pictures, or an array in a file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.data.dataset import with_channels
from harness.data.loaders import load_images
from harness.errors import HarnessError

KEY = "images"  # of an .npz file


def read_images(place: Path, shape: tuple[int, int, int], whose: str) -> Tensor:
    """Return images of one shape, (N, C, H, W) uint8.

    Args:
        place: `.npz` with such an array under `images`, or a folder of pictures, which are resized
            and cropped.
        shape: (C, H, W).
        whose: What has images of this shape, for the message.

    Raises:
        HarnessError: There are no such images; says what is allowed.
    """
    channels, height, width = shape
    if place.is_dir():
        if height != width:
            raise HarnessError(
                f"{place}: images of a folder are square, the data are {height}x{width}"
            )
        return with_channels(load_images(place, height)[0], channels)
    if place.suffix != ".npz":
        raise HarnessError(f"{place}: must be a folder of images, or a .npz file with `{KEY}`")
    try:
        file = np.load(place, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with file:
            if KEY not in file:
                raise HarnessError(
                    f"{place}: has no array `{KEY}`, only {', '.join(file) or 'none'}"
                )
            array = file[KEY]
    except FileNotFoundError:
        raise HarnessError(f"{place} does not exist") from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        raise HarnessError(f"{place} is no .npz file of plain arrays") from None
    if array.dtype != np.uint8 or array.shape[1:] != shape:
        raise HarnessError(
            f"{place}: `{KEY}` is {array.dtype} of shape {array.shape}; allowed is uint8 of shape "
            f"(N, {channels}, {height}, {width}) for {whose}"
        )
    return torch.from_numpy(array)
