"""Datasets made of others, and two datasets as the domains of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from harness.data import Batches, Dataset, Part, check_dataset_name, load_dataset, with_channels
from harness.errors import HarnessError

NOWHERE = Path("nowhere")
SPLITS = ("train", "validation", "test")


def load(name: str, size: int | None = None) -> Dataset:
    return load_dataset(name, NOWHERE, size)


def contents(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


# Changes.


def test_an_inverted_dataset_is_the_same_but_for_its_pixels() -> None:
    plain, inverted = load("digits"), load("inverted:digits")
    assert torch.equal(inverted.train.images, 255 - plain.train.images)
    assert torch.equal(inverted.test.labels, plain.test.labels)  # type: ignore[arg-type]
    assert (inverted.name, inverted.extractor) == ("inverted:digits", None)
    assert inverted.digest != plain.digest
    assert torch.equal(load("inverted:inverted:digits").train.images, plain.train.images)


def test_every_image_gets_a_colour_of_its_own() -> None:
    plain, coloured = load("digits").test.images, load("coloured:digits").test.images
    assert coloured.shape == (400, 3, 16, 16)
    assert torch.equal(coloured.amax(dim=1, keepdim=True), plain)  # full saturation and value
    brightest = coloured.flatten(2).amax(dim=2).double() / plain.flatten(1).amax(dim=1)[:, None]
    assert len(contents(brightest)) > 300
    assert brightest.min() == 0
    shares = (brightest == 1).double().mean(dim=0)  # each is the leading one as often
    assert all(0.25 < share < 0.42 for share in shares.tolist())
    assert torch.equal(coloured, load("coloured:digits").test.images)
    assert not torch.equal(coloured[:50], load("coloured:digits").validation.images[:50])


def test_colours_are_for_grey_images() -> None:
    with pytest.raises(HarnessError, match="only grey images can be coloured, these have 3"):
        load("coloured:coloured:digits")


def test_channels_are_copied_or_averaged() -> None:
    grey = torch.tensor([10, 20], dtype=torch.uint8).view(1, 1, 1, 2)
    assert with_channels(grey, 3).flatten().tolist() == [10, 20] * 3
    colour = torch.tensor([0, 30, 61], dtype=torch.uint8).view(1, 3, 1, 1)
    assert with_channels(colour, 1).tolist() == [[[[30]]]]
    assert with_channels(colour, 3) is colour


# Names.


@pytest.mark.parametrize(
    "name",
    [
        "pairs:digits|inverted:digits",
        "pairs:mnist|fashion_mnist",
        "pairs:folder:x|folder:y",
        "inverted:coloured:mnist",
        "coloured:folder:a:b",
    ],
)
def test_names_that_can_be_loaded(name: str) -> None:
    assert check_dataset_name(name) == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pairs:digits", r"must be 'pairs:A\|B'"),
        ("pairs:digits|", r"must be 'pairs:A\|B'"),
        ("pairs:a|b|c", r"must be 'pairs:A\|B'"),
        ("pairs:digits|mnost", "unknown dataset 'mnost'; did you mean 'mnist'"),
        ("pairs:digits|pairs:x", "a pair is no domain"),
        ("inverted:pairs:digits|mnist", r"write 'pairs:inverted:A\|inverted:B'"),
        ("inverted:", "unknown dataset"),
        ("inverted:digit", "did you mean 'digits'"),
        ("folder:", "unknown dataset"),
        ("inverse:digits", "unknown dataset 'inverse:digits'"),
    ],
)
def test_names_that_cannot(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_dataset_name(name)


# Pairs.


def test_a_pair_is_its_target_with_the_source_as_counterpart() -> None:
    pair = load("pairs:digits|coloured:digits")
    source = pair.counterpart
    assert source is not None
    assert (source.name, pair.target.name) == ("digits", "coloured:digits")
    assert (pair.facts.sample_shape, pair.facts.source_shape) == ((3, 16, 16), (1, 16, 16))
    assert pair.target.facts.source_shape is None
    for split in SPLITS:
        assert pair.part(split).counterpart is source.part(split)  # type: ignore[arg-type]
        assert pair.target.part(split).counterpart is None  # type: ignore[arg-type]
    assert pair.profile["from"]["sample_shape"] == [1, 16, 16]
    names = [pair.name, "pairs:coloured:digits|digits", "pairs:digits|inverted:digits"]
    assert len({load(name).digest for name in names} | {pair.target.digest, source.digest}) == 5


@pytest.mark.parametrize("names", ["digits|inverted:digits", "inverted:digits|digits"])
def test_domains_of_the_same_images_share_none(names: str) -> None:
    pair, whole = load(f"pairs:{names}"), load("digits")
    for split in SPLITS:
        part = pair.part(split)  # type: ignore[arg-type]
        assert part.counterpart is not None
        here, there = (
            contents(each.images if each.images[0, 0, 0, 0] < 128 else 255 - each.images)
            for each in (part, part.counterpart)
        )
        everything = contents(whole.part(split).images)  # type: ignore[arg-type]
        assert not here & there
        assert here | there == everything
        assert abs(len(part) - len(part.counterpart)) <= 1


def test_domains_of_other_images_keep_all(tmp_path: Path) -> None:
    for name, shade in (("dark", 20), ("bright", 220)):
        (tmp_path / name).mkdir()
        for number in range(18):
            picture = Image.new("L", (8, 8), shade + number)
            picture.save(tmp_path / name / f"{number:02d}.png")
    one, other = (f"folder:{tmp_path / name}" for name in ("dark", "bright"))
    pair = load(f"pairs:{one}|{other}", 8)
    assert (len(pair.train), len(pair.test)) == (12, 3)
    assert pair.train.counterpart is not None
    assert pair.train.counterpart.images.max() < 128 < pair.train.images.min()
    same = load(f"pairs:{one}|inverted:folder:{tmp_path}/bright/../dark", 8)
    assert len(same.train) == 6  # the same images by another path


def test_sides_must_be_equal(tmp_path: Path) -> None:
    for number in range(12):
        Image.new("L", (8, 8), 20 * number).save(tmp_path / f"{number:02d}.png")
    name = f"pairs:digits|folder:{tmp_path}"
    with pytest.raises(HarnessError, match=r"'digits' has 16x16 pixels and .* 32x32 .* image_size"):
        load(name)
    assert load(name, 16).facts.source_shape == (1, 16, 16)


# Batches of two domains.


def numbered(num: int, first: int = 0) -> Tensor:
    places = torch.arange(first, first + num, dtype=torch.uint8)
    return places.view(num, 1, 1, 1).expand(num, 1, 2, 2).clone()


def stream(seed: int = 0) -> Batches:
    counterpart = Part(images=numbered(7, 100), labels=None)
    part = Part(images=numbered(10), labels=None, counterpart=counterpart)
    return Batches(part, 5, torch.Generator().manual_seed(seed))


def taken(batches: Batches, num: int) -> tuple[list[int], list[int]]:
    here, there = [], []
    for _ in range(num):
        batch = batches.take()
        assert batch.counterpart is not None
        for found, images in ((here, batch.images), (there, batch.counterpart.images)):
            found.extend(((images[:, 0, 0, 0] + 1) * 127.5).round().int().tolist())
    return here, there


def test_each_domain_has_epochs_of_its_own_and_the_target_is_counted() -> None:
    batches = stream()
    here, there = taken(batches, 14)
    assert batches.images_seen == 70
    for start in range(0, 70, 10):
        assert sorted(here[start : start + 10]) == list(range(10))
    for start in range(0, 70, 7):
        assert sorted(there[start : start + 7]) == list(range(100, 107))
    assert len({tuple(there[start : start + 7]) for start in range(0, 70, 7)}) == 10


def test_both_streams_resume_bit_for_bit() -> None:
    batches = stream()
    taken(batches, 3)
    saved, state = batches.state_dict(), batches._generator.get_state()
    expected = taken(batches, 9)
    other = stream(seed=5)
    other._generator.set_state(state)
    other.load_state_dict(saved)
    assert taken(other, 9) == expected
    assert other.images_seen == batches.images_seen


@pytest.mark.parametrize(
    "name", ["inverted:ring", "pairs:ring|grid", "pairs:digits|gaussian", "pairs:grid|digits"]
)
def test_points_are_no_images_to_be_changed_or_paired(name: str) -> None:
    with pytest.raises(HarnessError, match=r"has points; use one that has images$"):
        load(name)
