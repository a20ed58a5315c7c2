"""Folders of images as datasets: sizes, colours, classes, and files that are broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from harness.data import load_dataset
from harness.errors import HarnessError

NOWHERE = Path("nowhere")


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


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_folder_images_become_rgb(tmp_path: Path, mode: str) -> None:
    for index in range(12):
        image = Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode)
        image.save(tmp_path / f"{index}.{'tif' if mode == 'CMYK' else 'png'}")
    dataset = load_dataset(f"folder:{tmp_path}", NOWHERE, 8)
    assert dataset.sample_shape == (3, 8, 8)
    assert dataset.train.images.min() == 255


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


def test_loose_images_beside_sub_folders_mean_no_classes(tmp_path: Path) -> None:
    write_images(tmp_path / "cats", 6)
    write_images(tmp_path / "dogs", 6)
    write_images(tmp_path, 1)
    assert load_dataset(f"folder:{tmp_path}", NOWHERE).train.labels is None


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
    message = refusal(f"folder:{tmp_path}")
    assert f"{path} is not a readable image" in message
