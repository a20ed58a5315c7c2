"""Folders of images as datasets: sizes, colours, classes, and files that are broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data import Dataset, load_dataset
from harness.data.decoding import PARALLEL_BYTES
from harness.data.loaders import SPLITS
from harness.errors import HarnessError
from harness.progress import watched

NOWHERE = Path("nowhere")


class Heard:
    """Notes what is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[tuple[str, int, int]] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def advance(self, what: str, done: int, total: int) -> None:
        self.steps.append((what, done, total))


def loaded(name: str, size: int | None = None) -> tuple[list[str], Dataset]:
    heard = Heard()
    with watched(heard):
        dataset = load_dataset(name, NOWHERE, size)
    return heard.lines, dataset


def write_images(folder: Path, num: int, size: tuple[int, int] = (40, 48), red: int = 200) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num):
        Image.new("RGB", size, (red, 10 * index % 256, 0)).save(folder / f"{index:03}.png")


def test_folder_of_images(tmp_path: Path) -> None:
    write_images(tmp_path, 14)
    (tmp_path / "notes.txt").write_text("not an image")
    dataset = load_dataset(f"folder:{tmp_path}", NOWHERE)
    assert dataset.sample_shape == (3, 32, 32)
    assert [len(dataset.part(s)) for s in ("train", "validation", "test")] == [10, 2, 2]  # 14 // 6
    assert dataset.train.labels is None
    assert dataset.num_classes == 0
    assert dataset.extractor is None
    greens = [int(image[1, 0, 0]) for s in (dataset.train, dataset.validation, dataset.test)
              for image in s.images]  # fmt: skip
    assert sorted(greens) == [10 * index for index in range(14)]
    assert load_dataset(f"folder:{tmp_path}", NOWHERE).digest == dataset.digest


def test_folder_images_are_resized_by_the_shorter_side_and_cropped(tmp_path: Path) -> None:
    for index in range(12):
        image = Image.new("RGB", (80, 40), (0, 0, 0))
        image.paste((255, 255, 255), (20, 0, 60, 40))  # the central square
        image.save(tmp_path / f"{index}.png")
    dataset = load_dataset(f"folder:{tmp_path}", NOWHERE, 8)
    assert dataset.sample_shape == (3, 8, 8)
    assert dataset.train.images[:, :, :, 1:-1].min() == 255


def write_mode(folder: Path, mode: str, names: range, value: int = 255) -> None:
    for index in names:
        image = Image.new("RGB", (8, 8), (value,) * 3).convert(mode)
        image.save(folder / f"{index}.{'tif' if mode == 'CMYK' else 'png'}")


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK"])
def test_colours_become_rgb(tmp_path: Path, mode: str) -> None:
    write_mode(tmp_path, mode, range(12))
    dataset = load_dataset(f"folder:{tmp_path}", NOWHERE, 8)
    assert dataset.sample_shape == (3, 8, 8)
    assert dataset.train.images.min() == 255


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_stays_grey(tmp_path: Path, mode: str) -> None:
    write_mode(tmp_path, mode, range(12))
    said, dataset = loaded(f"folder:{tmp_path}", 8)
    assert dataset.sample_shape == (1, 8, 8)
    assert dataset.train.images.min() == 255
    assert said[-1] == f"folder:{tmp_path}: 8x8 pixels, all grey: one channel"


def test_grey_among_colours_has_three_equal_channels(tmp_path: Path) -> None:
    write_mode(tmp_path, "L", range(11), value=100)
    Image.new("RGB", (16, 9), (1, 2, 3)).save(tmp_path / "colour.png")
    said, dataset = loaded(f"folder:{tmp_path}", 8)
    images = torch.cat([dataset.part(split).images for split in SPLITS])
    assert images.shape == (12, 3, 8, 8)
    assert sorted(images[:, :, 4, 4].tolist()) == [[1, 2, 3]] + [[100] * 3] * 11
    assert said[-1].endswith(
        "8x8 to 16x9 pixels, resized and cropped to 8x8 (image_size), 11 of 12 grey: three equal "
        "channels among colours"
    )


def test_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path, 12)
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(deep)
    assert f"{deep} has more than 8 bits per channel (mode 'I;16')" in refusal(f"folder:{tmp_path}")


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    write_images(tmp_path / "cats", 9, red=0)
    write_images(tmp_path / "dogs" / "small", 9, red=100)
    write_images(tmp_path / "owls", 9, red=200)
    dataset = load_dataset(f"folder:{tmp_path}", NOWHERE, 4)
    assert dataset.num_classes == 3
    for part in (dataset.train, dataset.validation, dataset.test):
        assert part.labels is not None
        for image, label in zip(part.images, part.labels.tolist(), strict=True):
            assert int(image[0, 0, 0]) == 100 * label


def test_one_sub_folder_means_no_classes(tmp_path: Path) -> None:
    write_images(tmp_path / "all", 12)
    assert load_dataset(f"folder:{tmp_path}", NOWHERE).train.labels is None


def refusal(name: str) -> str:
    with pytest.raises(HarnessError) as caught:
        load_dataset(name, NOWHERE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    assert "there is no such folder" in refusal(f"folder:{tmp_path / 'absent'}")
    assert str(tmp_path / "absent") in refusal(f"folder:{tmp_path / 'absent'}")


def test_too_few_images(tmp_path: Path) -> None:
    write_images(tmp_path, 11)
    message = refusal(f"folder:{tmp_path}")
    assert "has 11 images" in message
    assert "at least 12" in message


@pytest.mark.parametrize("damage", ["text", "truncated", "bad chunk", "empty"])
def test_broken_image_is_named(tmp_path: Path, damage: str) -> None:
    write_images(tmp_path, 12)
    path = tmp_path / "005.png"
    content = path.read_bytes()
    broken = {
        "text": b"this is no image",
        "truncated": content[: len(content) // 2],
        "bad chunk": content.replace(b"IDAT", b"\0\1\2\3"),
        "empty": b"",
    }
    path.write_bytes(broken[damage])
    assert refusal(f"folder:{tmp_path}") == f"{path} is not a readable image"


def test_several_broken_images_are_named_at_once(tmp_path: Path) -> None:
    write_images(tmp_path, 12)
    for index in range(2, 7):
        (tmp_path / f"{index:03}.png").write_bytes(b"no image")
    (tmp_path / "link.png").symlink_to(tmp_path / "absent.png")
    assert "link.png is not a readable image" in refusal(f"folder:{tmp_path}")
    (tmp_path / "link.png").unlink()
    message = refusal(f"folder:{tmp_path}")
    assert message.count("is not a readable image") == 3
    assert message.endswith("(5 of 12 images are refused)")


def test_large_files_decode_to_the_same_in_threads(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for index in range(20):
        noise = random.integers(0, 256, (120, 120, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{index:02}.png")
    assert (tmp_path / "00.png").stat().st_size > PARALLEL_BYTES
    dataset = load_dataset(f"folder:{tmp_path}", NOWHERE, 120)
    images = torch.cat([dataset.part(split).images for split in SPLITS])
    expected = {
        np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes() for path in tmp_path.iterdir()
    }
    assert {image.numpy().tobytes() for image in images} == expected


def test_decoding_tells_how_far_it_is(tmp_path: Path) -> None:
    write_images(tmp_path, 14)
    heard = Heard()
    with watched(heard):
        load_dataset(f"folder:{tmp_path}", NOWHERE)
    assert heard.steps == [("decoding images", 14, 14)]


def test_names_that_are_hidden_are_passed_over(tmp_path: Path) -> None:
    write_images(tmp_path, 12)
    (tmp_path / "._000.png").write_bytes(b"a Mac's notes")
    write_images(tmp_path / "__MACOSX", 3)
    write_images(tmp_path / ".thumbnails", 3)
    assert loaded(f"folder:{tmp_path}")[1].profile["train"] == 8


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", 12)
    root = tmp_path / "root"
    root.mkdir()
    (root / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    assert loaded(f"folder:{root}")[1].profile["train"] == 8
