"""Samples that somebody names: a folder of pictures, or an array in a file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.data.decoding import load_images
from harness.data.kinds import kind_of
from harness.data.pictures import with_channels
from harness.errors import HarnessError


def read_samples(place: Path, shape: tuple[int, ...], whose: str) -> Tensor:
    """Return samples of one shape as they are stored: (N, C, H, W) uint8 or (N, d) float32.

    Args:
        place: `.npz` with such an array under `images` or `points`; or a folder of pictures, which
            are resized and cropped.
        shape: (C, H, W) or (d,).
        whose: What has samples of this shape, for the message.

    Raises:
        HarnessError: There are no such samples; says what is allowed.
    """
    kind = kind_of(shape)
    if place.is_dir():
        return _read_folder(place, shape, whose)
    if place.suffix != ".npz":
        folder = "a folder of images, or " * kind.has_pixels
        raise HarnessError(f"{place}: must be {folder}a .npz file with `{kind.noun}`")
    try:
        file = np.load(place, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with file:
            if kind.noun not in file:
                raise HarnessError(
                    f"{place}: has no array `{kind.noun}`, only {', '.join(file) or 'none'}"
                )
            array = file[kind.noun]
    except FileNotFoundError:
        raise HarnessError(f"{place} does not exist") from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        raise HarnessError(f"{place} is no .npz file of plain arrays") from None
    if array.dtype != kind.type_name or array.shape[1:] != shape:
        raise HarnessError(
            f"{place}: `{kind.noun}` is {array.dtype} of shape {array.shape}; allowed is "
            f"{kind.type_name} of shape (N, {', '.join(map(str, shape))}) for {whose}"
        )
    if not np.isfinite(array).all():
        raise HarnessError(f"{place}: `{kind.noun}` has values that are not finite")
    return torch.from_numpy(array)


def _read_folder(place: Path, shape: tuple[int, ...], whose: str) -> Tensor:
    """Return a folder's images."""
    kind = kind_of(shape)
    if not kind.has_pixels:
        raise HarnessError(
            f"{place}: is a folder, and {whose} has {kind.noun}; give a .npz file with "
            f"`{kind.noun}`"
        )
    channels, height, width = shape
    if height != width:
        raise HarnessError(f"{place}: images of a folder are square, the data are {height}x{width}")
    return with_channels(load_images(place, height)[0], channels)
