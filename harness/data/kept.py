"""Decoded images, kept in a file that is read memory-mapped by all who start later.

In the cache's folder `images` lie, for every content that was decoded, `images_….npy` and what is
known of it, `images_….json`; and for every folder and size one `folder_….json`, which says what
content its files had by their names, sizes and times. Where these are new the files are hashed, and
where that is new too they are decoded. What no folder has any more is deleted. All of it may be
deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from filelock import FileLock, Timeout
from PIL import features

from harness.data.decoding import Decoded, decode, hash_files
from harness.data.layout import File
from harness.files import write_atomically
from harness.progress import say

FORMAT = 1  # raised where equal files would be decoded or stored in another way
FOLDER = "images"
SETTLED_SECONDS = 2.0
"""A file that changed so lately may change again within one tick of its file system's clock."""


def kept_images(root: Path, files: Sequence[File], size: int, cache_dir: Path | None) -> Decoded:
    """Return a folder's images, decoded once and then read from the cache.

    Processes that start at the same time wait for the first one; one that is killed leaves nothing
    that would be read. A cache that cannot be written is done without.

    Args:
        root: The folder.
        files: Its images, in the order of the rows.
        size: Height and width to resize to.
        cache_dir: Where they are kept; None: nowhere.

    Raises:
        HarnessError: Files are no readable images.
    """
    if cache_dir is None:
        return decode(_paths(root, files), size)[0]
    store = _Store(cache_dir / FOLDER, root, files, size)
    if (found := store.read()) is not None:
        return found
    try:
        with store.locked():
            return store.read() or store.read_by_content() or store.make()
    except OSError as error:
        reason = error.strerror or str(error)
        say(f"folder:{root}: decoded images cannot be kept in {store.folder}: {reason}")
        return store.decoded or decode(_paths(root, files), size)[0]


class _Store:
    """What is kept of one folder at one size.

    Attributes:
        folder: Where it lies.
        decoded: Images that this process has decoded.
    """

    def __init__(self, folder: Path, root: Path, files: Sequence[File], size: int) -> None:
        self.folder = folder
        self.decoded: Decoded | None = None
        self._root = root
        self._size = size
        self._files = files
        self._made_by = (
            f"{FORMAT}, torch {torch.__version__}, torchvision {version('torchvision')}, "
            f"pillow {PIL.__version__}, libjpeg {features.version('jpg')}, {size}"
        )
        latest = max(file.stamp[2] for file in files)
        self._settled = time.time_ns() - latest > SETTLED_SECONDS * 1e9
        stamps = repr([(file.parts, file.stamp) for file in files])
        self._stamp = _digest(self._made_by, stamps)
        place = _digest(str(root.resolve()), str(size))[:16]
        self._index = folder / f"folder_{place}.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time write; raises OSError where none can."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            say(f"folder:{self._root}: another process decodes images, waiting for it")
            lock.acquire()
        except NotImplementedError as error:  # a file system without locks
            raise OSError(str(error)) from error
        try:
            yield
        finally:
            lock.release()

    def read(self) -> Decoded | None:
        """Return the images if the folder's files look as they did."""
        index = _read_json(self._index)
        if index.get("stamp") != self._stamp or not isinstance(index.get("images"), str):
            return None
        return self._read_images(index["images"])

    def read_by_content(self) -> Decoded | None:
        """Return images that were decoded from equal files, and note what these look like."""
        if not any(self.folder.glob(f"{self._name('*')}.npy")):
            return None
        name = self._name(self._content(hash_files(_paths(self._root, self._files))))
        if (found := self._read_images(name)) is not None:
            self._note(name)
        return found

    def make(self) -> Decoded:
        """Decode the images and keep them; raises OSError where they cannot be kept."""
        self.decoded, digests = decode(_paths(self._root, self._files), self._size)
        name = self._name(self._content(digests))
        images = self.decoded.images.numpy()
        partial = self.folder / f"{name}.partial"
        try:
            with partial.open("wb") as file:
                np.save(file, images)
                file.flush()
                os.fsync(file.fileno())
        except OSError:  # the disk is full
            partial.unlink(missing_ok=True)
            raise
        facts = {
            "num_grey": self.decoded.num_grey,
            "smallest": self.decoded.smallest,
            "largest": self.decoded.largest,
            "sha256": hashlib.sha256(images.data).hexdigest(),
        }
        write_atomically(self.folder / f"{name}.json", json.dumps(facts).encode())
        partial.replace(self.folder / f"{name}.npy")
        self._note(name)
        say(
            f"folder:{self._root}: decoded images are kept in {self.folder} "
            f"({images.nbytes / 1e6:,.0f} MB; may be deleted)"
        )
        return self._read_images(name) or self.decoded

    def _name(self, content: str) -> str:
        return f"images_{len(self._files)}_{self._size}px_{content}"

    def _content(self, digests: Sequence[bytes]) -> str:
        return _digest(self._made_by, *(each.hex() for each in digests))[:16]

    def _read_images(self, name: str) -> Decoded | None:
        """Return kept images, memory-mapped, or None where they are missing or damaged."""
        facts = _read_json(self.folder / f"{name}.json")
        try:
            # Copied on write: torch wants arrays that may be written to, and the file stays.
            images = np.load(self.folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
            if hashlib.sha256(images.data).hexdigest() != facts["sha256"]:
                return None
            return Decoded(
                images=torch.from_numpy(images),
                num_grey=facts["num_grey"],
                smallest=tuple(facts["smallest"]),
                largest=tuple(facts["largest"]),
            )
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            return None

    def _note(self, name: str) -> None:
        """Note that the folder has this content, and delete what no folder has any more."""
        stamp = self._stamp if self._settled else None
        index = {"folder": str(self._root.resolve()), "stamp": stamp, "images": name}
        write_atomically(self._index, json.dumps(index).encode())
        used = {_read_json(each).get("images") for each in self.folder.glob("folder_*.json")}
        for file in self.folder.glob("images_*"):
            if file.stem not in used:
                file.unlink(missing_ok=True)


def _paths(root: Path, files: Sequence[File]) -> list[Path]:
    return [root.joinpath(*file.parts) for file in files]


def _read_json(path: Path) -> dict[str, Any]:
    """Return what a file says, or nothing where it is missing or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
