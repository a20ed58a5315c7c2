"""Scoring images that somebody else made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data import Dataset, load_dataset

NUM = 60


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", Path("nowhere"))


@pytest.fixture
def file(digits: Dataset, tmp_path: Path) -> Path:
    """Return a file of real images that no training saw."""
    np.savez(tmp_path / "images.npz", images=digits.validation.images[:NUM].numpy())
    return tmp_path / "images.npz"


def scores(said: Any) -> dict[str, float]:
    assert said.code == 0, said.err
    found = json.loads(said.out)
    return {key.split("/")[1].rsplit("_digits", 1)[0]: v for key, v in found["scores"].items()}


def test_real_images_score_as_their_floor_and_a_replayed_one_does_not(
    call: Callable[..., Any], file: Path, digits: Dataset, tmp_path: Path
) -> None:
    said = call("score", file, "--dataset", "digits", "--json")
    found = json.loads(said.out)
    assert found["protocol"] == f"digits_cnn_v2_{NUM}"
    assert (found["images"], found["given"]) == (NUM, NUM)
    real = scores(said)
    one = digits.train.images[:1].repeat(NUM, 1, 1, 1).numpy()
    np.savez(tmp_path / "one.npz", images=one)
    replayed = scores(call("score", tmp_path / "one.npz", "--dataset", "digits", "--json"))
    assert replayed["fid"] > 2 * real["fid"]
    assert replayed["coverage"] < 0.3 < real["coverage"]
    assert replayed["recall"] == 0
    assert replayed["modes"] == 1


def test_a_table_names_floors_and_directions(call: Callable[..., Any], file: Path) -> None:
    code, out, _ = call("score", file, "--dataset", "digits", "--samples", 40)
    assert code == 0
    for word in ("FID", "precision", "memorised", "higher is better", "0.5 is best", "±"):
        assert word in out
    assert f"40 of {NUM} images were scored, drawn at random." in out


def test_a_second_ruler_scores_images_where_it_is_asked_to(
    call: Callable[..., Any], file: Path
) -> None:
    said = call("score", file, "--dataset", "digits", "--ruler", "digits_judge_v1", "--json")
    found = json.loads(said.out)
    assert found["protocol"] == f"digits_judge_v1_{NUM}"
    assert f"test/fid_digits_judge_v1_{NUM}" in found["floors"]
    assert (
        scores(said)["fid"] != scores(call("score", file, "--dataset", "digits", "--json"))["fid"]
    )


def test_a_folder_is_scored_as_grey_images_where_the_data_are(
    call: Callable[..., Any], digits: Dataset, file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, image in enumerate(digits.validation.images[:NUM]):
        Image.fromarray(image[0].numpy()).save(folder / f"{index:03d}.png")
    one, other = (
        call("score", place, "--dataset", "digits", "--ruler", "digits_cnn_v1", "--json")
        for place in (folder, file)
    )
    assert scores(one) == pytest.approx(scores(other))


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ({"images": np.zeros((20, 1, 8, 8), np.uint8)}, [], "allowed is uint8 of shape (N, 1, 16"),
        ({"images": np.zeros((20, 1, 16, 16))}, [], "is float64 of shape"),
        ({"images": np.zeros((5, 1, 16, 16), np.uint8)}, [], "allowed is 16 or more"),
        ({"other": np.zeros(3)}, [], "has no array `images`, only other"),
        (None, [], "is no .npz file of plain arrays"),
        ({"images": np.zeros((20, 1, 16, 16), np.uint8)}, ["--samples", "30"], "has 20 images"),
        ({"images": np.zeros((20, 1, 16, 16), np.uint8)}, ["--split", "train"], "unknown --split"),
        ({"images": np.zeros((20, 1, 16, 16), np.uint8)}, ["--ruler", "x"], "(allowed: "),
    ],
)
def test_refusals(
    content: Any, options: list[str], words: str, call: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "images.npz"
    if content is None:
        file.write_text("certainly no archive")
    else:
        np.savez(file, **content)
    code, _, err = call("score", file, "--dataset", "digits", *options)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
