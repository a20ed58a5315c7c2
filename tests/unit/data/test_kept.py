"""Decoded images in the cache: read again, noticed when they are others, and never in the way."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data import Dataset, kept, load_dataset
from harness.data.loaders import SPLITS
from harness.progress import watched

NOWHERE = Path("nowhere")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a published split, whose files count as settled although they are new."""
    monkeypatch.setattr(kept, "SETTLED_SECONDS", -1.0)
    return write(tmp_path / "data")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def write(root: Path, value: int = 100) -> Path:
    for split, num in (("train", 14), ("test", 4)):
        (root / split).mkdir(parents=True)
        for index in range(num):
            write_image(root / split / f"{index:02}.bmp", (value, index, 0))
    return root


def write_image(path: Path, colour: tuple[int, int, int]) -> None:
    Image.new("RGB", (4, 4), colour).save(path)


def load(root: Path, cache: Path | None, size: int = 4) -> Dataset:
    return load_dataset(f"folder:{root}", NOWHERE, size, cache)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes every time that images are decoded or hashed."""
    calls: list[str] = []

    def noting(name: str) -> Callable[..., object]:
        original = getattr(kept, name)

        def call(*arguments: object) -> object:
            calls.append(name)
            return original(*arguments)

        return call

    for name in ("decode", "hash_files"):
        monkeypatch.setattr(kept, name, noting(name))
    return calls


def arrays(cache: Path) -> list[Path]:
    return sorted((cache / "images").glob("*.npy"))


def test_images_are_decoded_once(root: Path, cache: Path, decoded: list[str]) -> None:
    plain, first, second = load(root, None), load(root, cache), load(root, cache)
    assert decoded == ["decode", "decode"]  # without a cache, and once with it
    assert plain.digest == first.digest == second.digest
    for split in SPLITS:
        assert torch.equal(plain.part(split).images, second.part(split).images)


def test_kept_images_are_memory_mapped_and_never_written_to(root: Path, cache: Path) -> None:
    load(root, cache)
    dataset = load(root, cache)
    (file,) = arrays(cache)
    assert str(file) in Path("/proc/self/maps").read_text()
    dataset.train.images.zero_()
    assert load(root, cache).digest != dataset.digest
    assert load(root, cache).train.images.sum() > 0


def test_sizes_are_kept_apart(root: Path, cache: Path) -> None:
    assert load(root, cache).sample_shape == (3, 4, 4)
    assert load(root, cache, 6).sample_shape == (3, 6, 6)
    assert load(root, cache).sample_shape == (3, 4, 4)
    assert len(arrays(cache)) == 2


def test_a_change_that_size_and_time_do_not_tell_is_noticed(root: Path, cache: Path) -> None:
    before = load(root, cache)
    path = root / "train" / "03.bmp"
    old = path.stat()
    write_image(path, (7, 7, 7))
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_size == old.st_size
    after = load(root, cache)
    assert after.digest != before.digest
    assert after.digest == load(root, None).digest


@pytest.mark.parametrize("change", ["renamed", "removed", "added", "moved"])
def test_other_files_are_noticed(root: Path, cache: Path, change: str) -> None:
    load(root, cache)
    path = root / "train" / "03.bmp"
    if change == "renamed":
        path.rename(root / "train" / "99.bmp")
    elif change == "removed":
        path.unlink()
    elif change == "added":
        write_image(root / "train" / "50.bmp", (1, 2, 3))
    else:
        path.rename(root / "test" / "99.bmp")
    assert load(root, cache).digest == load(root, None).digest


def test_files_that_changed_a_moment_ago_are_hashed_again(
    root: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "SETTLED_SECONDS", 60.0)
    load(root, cache)
    load(root, cache)
    assert decoded == ["decode", "hash_files"]
    monkeypatch.setattr(kept, "SETTLED_SECONDS", -1.0)
    load(root, cache)
    load(root, cache)
    assert decoded == ["decode", "hash_files", "hash_files"]


def test_equal_contents_are_not_decoded_again(
    root: Path, cache: Path, tmp_path: Path, decoded: list[str]
) -> None:
    load(root, cache)
    os.utime(root / "train" / "03.bmp")
    load(root, cache)
    shutil.copytree(root, tmp_path / "copy")
    load(tmp_path / "copy", cache)
    assert decoded == ["decode", "hash_files", "hash_files"]
    assert len(arrays(cache)) == 1


def test_what_no_folder_has_any_more_is_deleted(
    root: Path, cache: Path, tmp_path: Path, decoded: list[str]
) -> None:
    load(write(tmp_path / "other", value=9), cache)
    load(root, cache)
    for value in (1, 2, 3):
        write_image(root / "train" / "03.bmp", (value, 0, 0))
        load(root, cache)
    assert len(arrays(cache)) == 2
    decoded.clear()
    load(tmp_path / "other", cache)
    assert decoded == []


@pytest.mark.parametrize("damage", ["flipped", "short", "gone", "no facts", "no index"])
def test_a_damaged_cache_is_made_anew(root: Path, cache: Path, damage: str) -> None:
    digest = load(root, cache).digest
    (file,) = arrays(cache)
    contents = bytearray(file.read_bytes())
    if damage == "flipped":
        contents[-5] ^= 1
        file.write_bytes(contents)
    elif damage == "short":
        file.write_bytes(contents[: len(contents) // 2])
    elif damage == "gone":
        file.unlink()
    elif damage == "no facts":
        file.with_suffix(".json").write_text("[]")
    else:
        for index in file.parent.glob("folder_*"):
            index.write_text("{")
    assert load(root, cache).digest == digest
    assert load(root, cache).digest == digest


def test_a_cache_that_cannot_be_written_is_done_without(
    root: Path, cache: Path, decoded: list[str]
) -> None:
    lines: list[str] = []

    class Heard:
        def say(self, line: str) -> None:
            lines.append(line)

        def advance(self, what: str, done: int, total: int) -> None:
            pass

    cache.mkdir()
    (cache / "images").write_text("a file in the way")
    with watched(Heard()):
        assert load(root, cache).digest == load(root, None).digest
    assert decoded == ["decode", "decode"]
    (line,) = [each for each in lines if "cannot be kept" in each]
    assert line.startswith(f"folder:{root}: decoded images cannot be kept in {cache / 'images'}: ")


def test_a_full_disk_costs_the_cache_alone(
    root: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", full)
        digest = load(root, cache).digest
    assert decoded == ["decode"]
    assert not list((cache / "images").glob("images_*"))
    assert load(root, cache).digest == digest
    assert len(arrays(cache)) == 1


def test_reading_needs_no_lock(
    root: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(root, cache)
    monkeypatch.setattr(kept, "FileLock", None)
    load(root, cache)
    assert decoded == ["decode"]


def test_what_a_killed_process_leaves_is_never_read(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            load(root, cache)
    assert len(list((cache / "images").glob("*.partial"))) == 1
    assert load(root, cache).digest == load(root, None).digest
    assert not list((cache / "images").glob("*.partial"))


def test_of_those_that_start_together_one_decodes(
    root: Path, cache: Path, decoded: list[str]
) -> None:
    barrier, digests = threading.Barrier(4), []

    def start() -> None:
        barrier.wait()
        digests.append(load(root, cache).digest)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert decoded == ["decode"]
    assert len(digests) == 4
    assert len(set(digests)) == 1


def test_pairs_and_changes_of_folders_are_kept_too(
    root: Path, cache: Path, tmp_path: Path, decoded: list[str]
) -> None:
    other = write(tmp_path / "other", value=9)
    names = [f"pairs:folder:{root}|folder:{other}", f"inverted:folder:{root}"]
    first = [load_dataset(name, NOWHERE, 4, cache).digest for name in names]
    decoded.clear()
    again = [load_dataset(name, NOWHERE, 4, cache).digest for name in names]
    assert first == again
    assert decoded == []
