"""Image files as uint8 arrays: squares of one side, grey where all of them are."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import joblib
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from harness.data.layout import find_images
from harness.errors import HarnessError
from harness.progress import advance

Pixels: TypeAlias = npt.NDArray[np.uint8]

GREY = {"1", "L", "LA"}  # Pillow's modes of images without colour
DEEP = ("I", "F")  # and how those start that have more than 8 bits per channel
CHUNK = 256  # images decoded between two words of how far it is
PARALLEL_BYTES = 16_384  # files from this size on gain by threads: smaller ones wait for each other
NUM_NAMED = 3  # unreadable files that a message names
BROKEN = (
    UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Images and what they were.

    Attributes:
        images: (N, C, H, W) uint8, one channel where all are grey, else three.
        num_grey: How many are grey; among colours they have three equal channels.
        smallest: (width, height) of the file with the fewest pixels.
        largest: Likewise with the most.
    """

    images: Tensor
    num_grey: int
    smallest: tuple[int, int]
    largest: tuple[int, int]

    def describe(self) -> str:
        """Return in words which size and colours the files have, and what was made of them."""
        side = self.images.shape[-1]
        sizes = dict.fromkeys("{}x{}".format(*each) for each in (self.smallest, self.largest))
        text = f"{' to '.join(sizes)} pixels"
        if set(sizes) != {f"{side}x{side}"}:
            text += f", resized and cropped to {side}x{side} (image_size)"
        if self.images.shape[1] == 1:
            return f"{text}, all grey: one channel"
        if self.num_grey:
            text += f", {self.num_grey:,} of {len(self.images):,} grey: three equal channels among"
            return f"{text} colours"
        return f"{text}, colour"


def decode(paths: Sequence[Path], size: int) -> tuple[Decoded, list[bytes]]:
    """Decode images, resized by the shorter side and cropped to a square.

    Args:
        paths: At least one.
        size: Height and width.

    Returns:
        The images in this order, and the SHA-256 of every file that they were made of.

    Raises:
        HarnessError: Files are no readable images, or have more than 8 bits per channel.
    """
    images = np.empty((len(paths), 3, size, size), np.uint8)
    grey = np.zeros(len(paths), bool)
    digests, sizes = [], []
    broken: list[HarnessError] = []
    threads = _count_threads(paths)
    with ThreadPoolExecutor(threads) as pool:
        in_turn = pool.map if threads > 1 else map
        for start in range(0, len(paths), CHUNK):  # an interruption waits for one of them
            chunk = paths[start : start + CHUNK]
            for place, result in enumerate(in_turn(partial(_decode, size=size), chunk), start):
                if isinstance(result, HarnessError):
                    broken.append(result)
                    continue
                pixels, original, digest = result
                images[place, : len(pixels)] = pixels
                grey[place] = len(pixels) == 1
                sizes.append(original)
                digests.append(digest)
            advance("decoding images", start + len(chunk), len(paths))
    if broken:
        more = "" if len(broken) == 1 else f" ({len(broken)} of {len(paths)} images are refused)"
        raise HarnessError("; ".join(map(str, broken[:NUM_NAMED])) + more)
    if grey.all():
        images = np.ascontiguousarray(images[:, :1])
    else:
        images[grey, 1:] = images[grey, :1]
    by_area = sorted(set(sizes), key=lambda each: (each[0] * each[1], each))
    decoded = Decoded(
        images=torch.from_numpy(images),
        num_grey=int(grey.sum()),
        smallest=by_area[0],
        largest=by_area[-1],
    )
    return decoded, digests


def hash_files(paths: Sequence[Path]) -> list[bytes]:
    """Return the SHA-256 of every file; raises HarnessError for what cannot be read."""
    digests = []
    for place, path in enumerate(paths):
        digests.append(hashlib.sha256(_read(path)).digest())
        if place % CHUNK == CHUNK - 1 or place == len(paths) - 1:
            advance("looking for changes", place + 1, len(paths))
    return digests


def load_images(root: Path, size: int) -> tuple[Tensor, list[Path]]:
    """Load every image under a folder as RGB, resized and cropped to a square.

    Returns:
        (N, 3, size, size) uint8 in the order of their paths, and these.

    Raises:
        HarnessError: There is no such folder, or a file is no readable image.
    """
    paths = [root.joinpath(*file.parts) for file in find_images(root)]
    if not paths:
        return torch.zeros(0, 3, size, size, dtype=torch.uint8), paths
    return decode(paths, size)[0].images.expand(-1, 3, -1, -1), paths


def _decode(path: Path, size: int) -> tuple[Pixels, tuple[int, int], bytes] | HarnessError:
    """Return pixels (C, size, size), original (width, height) and SHA-256 of a file, or why not."""
    try:
        contents = _read(path)
        with Image.open(io.BytesIO(contents)) as image:
            if image.mode.startswith(DEEP):
                return HarnessError(
                    f"{path} has more than 8 bits per channel (mode {image.mode!r}): save it with 8"
                )
            pixels = np.array(image.convert("L" if image.mode in GREY else "RGB"))
            return _square(pixels, size), image.size, hashlib.sha256(contents).digest()
    except HarnessError as error:
        return error
    except BROKEN:
        return HarnessError(f"{path} is not a readable image")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HarnessError(f"{path} is not a readable image") from error


def _square(pixels: Pixels, size: int) -> Pixels:
    """Return pixels (H, W) or (H, W, 3) as (C, size, size)."""
    channels_last = pixels if pixels.ndim == 3 else pixels[:, :, None]
    if pixels.shape[:2] == (size, size):
        return channels_last.transpose(2, 0, 1)
    from torchvision.transforms.v2 import functional

    image = torch.from_numpy(channels_last).permute(2, 0, 1)
    resized = functional.resize(image, [size], antialias=True)
    square: Pixels = functional.center_crop(resized, [size, size]).numpy()
    return square


def _count_threads(paths: Sequence[Path]) -> int:
    """Return how many threads decode: one where files are small, judged by some of them."""
    some = paths[:: max(1, len(paths) // 100)]
    sizes = [path.stat().st_size for path in some if path.exists()]
    large = bool(sizes) and np.mean(sizes) >= PARALLEL_BYTES
    return int(joblib.cpu_count()) if large else 1
