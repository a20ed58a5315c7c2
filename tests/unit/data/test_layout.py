"""What the places of a folder's images say of split and classes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from harness.data import load_dataset
from harness.data.layout import SPELLINGS, find_images, recognise
from harness.errors import HarnessError

NOWHERE = Path("nowhere")


def write(root: Path, tree: dict[str, int]) -> Path:
    """Write so many images into each folder, of a colour of the folder's own."""
    for value, (folder, num) in enumerate(tree.items()):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(num):
            Image.new("RGB", (4, 4), (value, index, 0)).save(root / folder / f"{index:03}.png")
    return root


def summary(root: Path) -> str:
    return recognise(root, find_images(root)).summary


def refusal(root: Path) -> str:
    with pytest.raises(HarnessError) as caught:
        summary(root)
    message = str(caught.value)
    assert message.startswith(f"dataset 'folder:{root}': ")
    assert "\n" not in message
    return message


def test_published_split_with_validation(tmp_path: Path) -> None:
    tree = {
        f"{split}/{name}": num
        for split, num in (("train", 6), ("val", 3), ("test", 2))
        for name in ("cats", "dogs")
    }
    dataset = load_dataset(f"folder:{write(tmp_path, tree)}", NOWHERE, 4)
    folders = list(tree)
    for place, split in enumerate(("train", "validation", "test")):
        part = dataset.part(split)  # type: ignore[arg-type]
        assert part.labels is not None
        num = tree[folders[2 * place]]
        assert part.labels.tolist() == [0] * num + [1] * num
        values = [2 * place] * num + [2 * place + 1] * num
        assert part.images[:, 0, 0, 0].tolist() == values
    assert dataset.num_classes == 2
    assert summary(tmp_path) == (
        f"folder:{tmp_path}: published split: 12 training, 6 validation and 4 test images, "
        "2 classes (cats, dogs)"
    )


def test_validation_is_held_out_of_train(tmp_path: Path) -> None:
    dataset = load_dataset(f"folder:{write(tmp_path, {'train': 60, 'test': 5})}", NOWHERE, 4)
    assert dataset.profile == {
        "train": 50, "validation": 10, "test": 5, "sample_shape": [3, 4, 4]
    }  # fmt: skip
    assert dataset.test.images[:, 0, 0, 0].unique().tolist() == [1]
    train, validation = (p.images[:, 1, 0, 0].tolist() for p in (dataset.train, dataset.validation))
    assert sorted(train + validation) == list(range(60))
    assert train == sorted(train)
    assert validation != list(range(50, 60))  # drawn, not cut off
    assert summary(tmp_path) == (
        f"folder:{tmp_path}: published split: 50 training, 10 validation (held out of train/) and "
        "5 test images, no classes"
    )


@pytest.mark.parametrize("spelling", [str.upper, str.title, str.lower])
def test_spellings(tmp_path: Path, spelling: object) -> None:
    for name, split in SPELLINGS.items():
        others = {"train": 6, "val": 6, "test": 6}
        others.pop({"validation": "val"}.get(split, split))
        root = write(tmp_path / name, {spelling(name): 8, **others})  # type: ignore[operator]
        assert len(recognise(root, find_images(root)).files[split]) == 8


@pytest.mark.parametrize("suffix", ["_set", "-set", " Set", "set", "_images", "_data", "DATA"])
def test_suffixes_say_nothing_of_the_split(tmp_path: Path, suffix: str) -> None:
    for name, split in SPELLINGS.items():
        others = {"train": 6, "val": 6, "test": 6}
        others.pop({"validation": "val"}.get(split, split))
        root = write(tmp_path / name, {f"{name}{suffix}": 8, **others})
        assert len(recognise(root, find_images(root)).files[split]) == 8


@pytest.mark.parametrize("names", [("training_set", "test_set"), ("trn", "tst")])
def test_spelled_parts_are_no_classes(tmp_path: Path, names: tuple[str, str]) -> None:
    train, test = names
    write(tmp_path, {f"{train}/a": 12, f"{test}/a": 3})
    assert summary(tmp_path) == (
        f"folder:{tmp_path}: published split: 10 training, 2 validation (held out of {train}/) and "
        "3 test images, no classes"
    )


def test_classes_may_begin_like_a_part(tmp_path: Path) -> None:
    write(tmp_path, {"trains": 9, "valleys": 9, "cars": 9})
    assert summary(tmp_path).endswith("3 classes (cars, trains, valleys)")


def test_one_folder_in_every_part_is_no_class(tmp_path: Path) -> None:
    write(tmp_path, {"train/all": 12, "test/images": 3})
    assert summary(tmp_path).endswith("no classes")


def test_folders_without_images_may_lie_beside(tmp_path: Path) -> None:
    write(tmp_path, {"train": 12, "test": 3})
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "boxes.xml").write_text("")
    assert "published split" in summary(tmp_path)


def test_many_classes_are_not_all_named(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys("abcde", 3))
    assert summary(tmp_path) == (
        f"folder:{tmp_path}: split drawn at random: 11 training, 2 validation and 2 test images, "
        "5 classes (a, b, c, …)"
    )


AMBIGUOUS: dict[str, tuple[dict[str, int], str]] = {
    "beside classes": ({"train": 9, "test": 9, "cats": 9}, "has test/, train/ beside cats/"),
    "a class of that name": ({"valid": 9, "invalid": 9}, "has valid/ beside invalid/"),
    "no test": ({"train": 12}, "has train/ but no test/"),
    "no test but val": ({"train": 12, "val": 3}, "rename val/ to test/"),
    "no train": ({"test": 12}, "has test/ but no train/"),
    "twice": ({"train": 9, "Training": 9, "test": 9}, "has both Training/ and train/"),
    "loose beside": ({"train": 9, "test": 9, ".": 2}, "2 images, such as 000.png, lie beside"),
    "empty part": ({"train": 9, "test": 0}, "test/ has no images"),
    "small part": ({"train": 12, "test": 1}, "the test part has 1 images; at least 2"),
    "no validation left": ({"train": 9, "test": 2}, "the validation part has 1 images"),
    "class missing": (
        {"train/a": 9, "train/b": 9, "train/c": 9, "test/a": 9, "test/b": 9},
        "test/ has other classes than train/: it lacks c;",
    ),
    "other classes": (
        {"train/a": 9, "train/b": 9, "test/a": 9, "test/d": 9},
        "it lacks b and has d besides",
    ),
    "one class of two": ({"train/cat": 9, "train/dog": 9, "test/cat": 9}, "it lacks dog;"),
    "classes in one part": ({"train/a": 9, "train/b": 9, "test": 9}, "it lacks a, b;"),
    "mixed part": ({"train": 9, "train/a": 9, "test": 9}, "images lie in train/ itself (9, such"),
    "mixed": (
        {".": 1, "cats": 9, "dogs": 9}, "images lie in the folder itself (1, such as 000.png) and"
    ),
    "empty class": ({"cats": 9, "dogs": 9, "owls": 0}, "owls/ is empty"),
    "too few": ({"cats": 5, "dogs": 6}, "has 11 images; at least 12"),
    "nothing": ({".": 0}, "has 0 images"),
    "one level down": (
        {"cifar/train": 9, "cifar/test": 9}, "train/ and test/ lie in cifar/; name folder:"
    ),
    "within classes": (
        {"a/train": 9, "a/test": 9, "b/train": 9, "b/test": 9}, "in a/; put these at the top"
    ),
    "like a split": (
        {"train_v2/a": 9, "test_v2/a": 9, "boxes": 0},
        "test_v2/, train_v2/ look like the parts of a published split, whose folders are named",
    ),
    "like a split, shorter": ({"trn1": 9, "tst1": 9, "dev1": 9}, "dev1/, trn1/, tst1/ look like"),
    "two of one part": ({"trn": 9, "dev": 9, "val_set": 9}, "has both dev/ and val_set/"),
    "suffixed, one level down": (
        {"mine/train_set": 9, "mine/test_set": 9}, "train/ and test/ lie in mine/; name folder:"
    ),
    "two domains": (
        {"trainA": 9, "trainB": 9, "testA": 9, "testB": 9}, "pairs:folder:A|folder:B"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_could_be_read_in_two_ways_is_refused(tmp_path: Path, name: str) -> None:
    tree, words = AMBIGUOUS[name]
    assert words in refusal(write(tmp_path, tree))
