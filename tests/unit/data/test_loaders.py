"""Datasets, their fixed split, pixel ranges, and the stream of batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor

from harness.data import (
    Batches,
    Dataset,
    Part,
    load_dataset,
    to_uint8,
    to_unit_range,
)
from harness.errors import HarnessError

NOWHERE = Path("nowhere")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", NOWHERE)


def rows(part: Part) -> list[bytes]:
    return [image.numpy().tobytes() for image in part.images]


# --- digits ---------------------------------------------------------------------------------------


def test_digits_parts_are_the_whole_without_overlap(digits: Dataset) -> None:
    from sklearn.datasets import load_digits

    parts = [digits.train, digits.validation, digits.test]
    assert [len(part) for part in parts] == [997, 400, 400]
    # 8x8 keeps the file's own pixels, so that every image can be found again.
    small = load_dataset("digits", NOWHERE, 8)
    raw = load_digits()
    pixels = torch.from_numpy(raw.images).mul(255 / 16).round().to(torch.uint8)
    expected = sorted(zip([p.numpy().tobytes() for p in pixels], raw.target.tolist(), strict=True))
    found = []
    for part in (small.train, small.validation, small.test):
        assert part.labels is not None
        found += list(zip(rows(part), part.labels.tolist(), strict=True))
    assert len(set(expected)) == 1797
    assert sorted(found) == expected


def test_digits_shapes(digits: Dataset) -> None:
    assert digits.sample_shape == (1, 16, 16)
    assert digits.num_classes == 10
    assert digits.extractor == "digits_cnn_v2"
    for part in (digits.train, digits.validation, digits.test):
        assert part.images.dtype == torch.uint8
        assert part.labels is not None
        assert part.labels.dtype == torch.int64
        assert part.labels.bincount(minlength=10).min() > 20
    assert digits.part("validation") is digits.validation
    assert digits.part("train") is digits.train
    assert digits.part("test") is digits.test


def test_digits_at_another_size_have_no_shipped_extractor() -> None:
    resized = load_dataset("digits", NOWHERE, 8)
    assert resized.sample_shape == (1, 8, 8)
    assert resized.extractor is None


def test_digits_are_deterministic_whatever_the_global_state(digits: Dataset) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    again = load_dataset("digits", NOWHERE)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(again.train.images, digits.train.images)
    assert torch.equal(again.test.images, digits.test.images)


def test_digest_is_stable(digits: Dataset) -> None:
    # 8x8 involves no interpolation: any change here changes every published result on digits.
    assert load_dataset("digits", NOWHERE, 8).digest == "b462f24d043a85a6"
    assert digits.digest == "e32dbfc18f21628d"


def test_digest_sees_pixels_labels_and_the_split(digits: Dataset) -> None:
    part = Part(images=torch.zeros(4, 1, 2, 2, dtype=torch.uint8), labels=torch.arange(4))

    def digest(train: Part, validation: Part = part) -> str:
        return Dataset(name="", source="", train=train, validation=validation, test=part).digest

    other_pixels = Part(images=part.images + 1, labels=part.labels)
    other_labels = Part(images=part.images, labels=torch.arange(1, 5))
    digests = [
        digest(part),
        digest(other_pixels),
        digest(part, other_pixels),
        digest(other_labels),
        digest(Part(images=part.images.view(4, 1, 4, 1), labels=part.labels)),
    ]
    assert len(set(digests)) == len(digests)
    assert len(digests[0]) == 16


def test_unknown_dataset_suggests_the_nearest() -> None:
    with pytest.raises(HarnessError, match="unknown dataset 'digit'; did you mean 'digits'"):
        load_dataset("digit", NOWHERE)


def test_take_keeps_images_and_labels_together(digits: Dataset) -> None:
    taken = digits.train.take(torch.tensor([5, 2]))
    assert digits.train.labels is not None
    assert taken.labels is not None
    assert torch.equal(taken.images[0], digits.train.images[5])
    assert taken.labels.tolist() == digits.train.labels[[5, 2]].tolist()


# --- pixels ---------------------------------------------------------------------------------------


def test_pixels_survive_the_round_trip_exactly() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    unit = to_unit_range(pixels)
    assert unit.dtype == torch.float32
    assert unit.min().item() == -1
    assert unit.max().item() == 1
    # The middle of the range: 2 * 51 / 255 - 1 = -0.6
    assert unit.flatten()[51].item() == pytest.approx(-0.6, abs=1e-6)
    assert torch.equal(to_uint8(unit), pixels)
    assert torch.equal(pixels, torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16))


def test_to_uint8_rounds_and_clamps() -> None:
    # (x + 1) * 127.5: 0.0 -> 127.5, -0.999 -> 0.1275, 0.997 -> 254.6, 0.0079 -> 128.5+
    values = torch.tensor([-5.0, -1.0, -0.999, 0.997, 1.0, 1.3, 0.01])
    assert to_uint8(values).tolist() == [0, 0, 0, 255, 255, 255, 129]
    assert values.tolist()[0] == -5.0  # the input is untouched


def test_to_uint8_never_rescales() -> None:
    faint = torch.full((2, 1, 2, 2), -0.2)
    faint[0, 0, 0, 0] = 0.2
    assert to_uint8(faint)[0].unique().tolist() == [102, 153]  # 0.8 * 127.5, 1.2 * 127.5
    assert torch.equal(to_uint8(faint)[1:], to_uint8(faint[1:]))


# --- batches --------------------------------------------------------------------------------------


def numbered(num: int) -> Tensor:
    """Images that show their own index."""
    return torch.arange(num, dtype=torch.uint8).view(num, 1, 1, 1).expand(num, 1, 2, 2).clone()


def stream(num: int, batch_size: int, seed: int = 0) -> tuple[Batches, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    return Batches(Part(images=numbered(num), labels=None), batch_size, generator), generator


def take(batches: Batches, num: int) -> Tensor:
    """Return as many batches, (num, N, C, H, W)."""
    return torch.stack([batches.take().images for _ in range(num)])


def indices(batches: Tensor) -> list[int]:
    return to_uint8(batches)[:, :, 0, 0, 0].flatten().tolist()


def taken(batches: Batches, num: int) -> list[int]:
    return indices(take(batches, num))


def test_every_epoch_visits_each_image_once_in_a_fresh_order() -> None:
    batches, _ = stream(20, 4)
    epochs = [taken(batches, 5) for _ in range(4)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert list(range(20)) not in epochs


def test_a_batch_may_span_epochs() -> None:
    batches, _ = stream(10, 4)
    seen = taken(batches, 5)
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))


def test_batches_larger_than_an_epoch() -> None:
    batches, _ = stream(3, 8)
    seen = taken(batches, 3)
    assert len(seen) == 24
    for start in range(0, 24, 3):
        assert sorted(seen[start : start + 3]) == [0, 1, 2]


def test_shape_and_range_of_batches() -> None:
    batches, _ = stream(256, 5)
    got = take(batches, 60)
    assert got.shape == (60, 5, 1, 2, 2)
    assert got.dtype == torch.float32
    assert got.min() == -1
    assert got.max() == 1


def test_the_stream_does_not_depend_on_how_it_is_cut() -> None:
    for batch_size in (1, 4, 12, 30):
        batches, _ = stream(10, batch_size)
        assert taken(batches, 60 // batch_size) == taken(stream(10, 3)[0], 20)


def test_images_are_counted() -> None:
    batches, _ = stream(10, 3)
    assert batches.images_seen == 0
    take(batches, 5)
    assert batches.images_seen == 15


def test_labels_stay_with_their_images() -> None:
    part = Part(images=numbered(20), labels=torch.arange(20) * 7)
    batches = Batches(part, 6, torch.Generator().manual_seed(0))
    for _ in range(10):
        batch = batches.take()
        assert batch.labels is not None
        assert batch.labels.dtype == torch.int64
        assert batch.labels.tolist() == [7 * index for index in indices(batch.images[None])]
    assert stream(20, 6)[0].take().labels is None


def test_order_depends_on_the_generator_only() -> None:
    torch.manual_seed(0)
    first = taken(stream(20, 10)[0], 2)
    torch.manual_seed(1)
    assert taken(stream(20, 10)[0], 2) == first
    assert taken(stream(20, 10, seed=1)[0], 2) != first


def test_batches_continue_from_their_state() -> None:
    batches, generator = stream(10, 3)
    take(batches, 2)
    saved, generator_state = batches.state_dict(), generator.get_state()
    expected = taken(batches, 6)
    resumed, other = stream(10, 3, seed=77)
    resumed.take()
    resumed.load_state_dict(saved)
    other.set_state(generator_state)
    assert resumed.images_seen == 2 * 3
    assert taken(resumed, 6) == expected
    assert resumed.images_seen == 8 * 3


# --- folders --------------------------------------------------------------------------------------


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


# --- published data -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "class_name", "files"),
    [
        ("mnist", "MNIST", ["MNIST/raw/", "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]),
        ("fashion_mnist", "FashionMNIST", ["FashionMNIST/raw/", "train-images-idx3-ubyte"]),
        ("cifar10", "CIFAR10", ["cifar-10-batches-py/", "data_batch_1", "test_batch"]),
    ],
)
def test_missing_files_offline_say_what_goes_where(
    name: str,
    class_name: str,
    files: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []

    def offline(root: str, *, train: bool, download: bool) -> Any:
        asked.append(download)
        if not download:
            raise RuntimeError("Dataset not found.")
        raise OSError("no network\nat all")

    monkeypatch.setattr(torchvision.datasets, class_name, offline)
    with pytest.raises(HarnessError) as caught:
        load_dataset(name, tmp_path)
    message = str(caught.value)
    assert asked == [False, True]
    assert "\n" not in message
    assert message.startswith(f"dataset '{name}' is not in {tmp_path}")
    for part in [*files, "--data-dir", "HARNESS_DATA"]:
        assert part in message


def test_files_at_hand_are_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, root: str, *, train: bool, download: bool) -> None:
            assert not download
            num = 10_030 if train else 7
            self.data = torch.zeros(num, 28, 28, dtype=torch.uint8)
            self.targets = torch.arange(num) % 10

    monkeypatch.setattr(torchvision.datasets, "MNIST", Fake)
    dataset = load_dataset("mnist", tmp_path)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (30, 10_000, 7)
    assert dataset.extractor == "mnist_cnn_v2"
    assert load_dataset("mnist", tmp_path, 32).extractor is None


def test_colour_images_become_channels_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    class Fake:
        def __init__(self, root: str, *, train: bool, download: bool) -> None:
            num = 10_002 if train else 3
            self.data = np.zeros((num, 4, 6, 3), dtype=np.uint8)
            self.data[..., 2] = 9
            self.targets = [index % 10 for index in range(num)]

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Fake)
    dataset = load_dataset("cifar10", tmp_path)
    assert dataset.sample_shape == (3, 4, 6)
    assert dataset.train.images[:, 2].min() == 9
    assert dataset.train.images[:, :2].max() == 0
    assert len(dataset.validation) == 10_000


@pytest.mark.mnist
def test_mnist_shapes(mnist_dir: Path) -> None:
    mnist = load_dataset("mnist", mnist_dir)
    assert mnist.sample_shape == (1, 28, 28)
    assert [len(mnist.part(s)) for s in ("train", "validation", "test")] == [50000, 10000, 10000]
    assert mnist.num_classes == 10
    assert mnist.train.images.dtype == torch.uint8
    labels = mnist.test.labels
    assert labels is not None
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]  # the published order of the test part
    # The published means are 0.1307 (training) and 0.1325 (test).
    assert mnist.test.images.float().mean().item() / 255 == pytest.approx(0.1325, abs=1e-4)
    both = torch.cat([mnist.train.images, mnist.validation.images]).float().mean().item() / 255
    assert both == pytest.approx(0.1307, abs=1e-4)
