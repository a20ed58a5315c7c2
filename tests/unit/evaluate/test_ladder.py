"""FID in words: from what shipped rulers were measured to make of damaged images."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from harness.evaluate.ladder import CLOSE, FILE, in_words, ladders
from harness.evaluate.ruler import SHIPPED

MNIST = ("mnist_cnn_v2", 10_000)
DIGITS = ("digits_cnn_v2", 400)


def script() -> ModuleType:
    place = Path(__file__).parents[3] / "scripts" / "make_ladders.py"
    spec = importlib.util.spec_from_file_location("make_ladders", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_is_what_the_script_makes_of_the_measurements() -> None:
    assert FILE.read_text() == script().contents()


@pytest.mark.parametrize(
    "name", ["digits_cnn_v2", "digits_judge_v1", "mnist_cnn_v2", "mnist_judge_v1"]
)
def test_ladders_are_of_shipped_rulers_and_rise(name: str) -> None:
    ladder = ladders()[name]
    values = list(ladder.rungs.values())
    assert name in SHIPPED
    assert values == sorted(values)
    assert values[0] > CLOSE * ladder.real > 0
    assert len(values) >= 5


@pytest.mark.parametrize(("ruler", "num"), [MNIST, DIGITS])
def test_every_rung_is_about_itself(ruler: str, num: int) -> None:
    for name, value in ladders()[ruler].rungs.items():
        assert in_words(ruler, num, value) == f"about {name}"


@pytest.mark.parametrize(
    ("fid", "words"),
    [
        (-0.1, "about real images"),
        (0.486, "about real images"),
        (0.9, "better than one class missing"),
        (1.35, "about one class missing"),
        (14.0, "about a replay of 100 training images"),
        (9.5, "between a replay of 200 training images and a replay of 100 training images"),
        (1e4, "worse than noise of 64 grey levels"),
        (float("inf"), "worse than noise of 64 grey levels"),
        (float("nan"), None),
    ],
)
def test_a_value_between_rungs_is_named_by_both(fid: float, words: str | None) -> None:
    assert in_words(*MNIST, fid) == words


def test_there_are_no_words_for_another_ruler_or_number_of_samples() -> None:
    assert in_words("mnist_cnn_v2", 2_000, 10.0) is None
    assert in_words("digits_cnn_v2", 10_000, 10.0) is None
    assert in_words("folder_cats_cnn_0a1b2c3d", 10_000, 10.0) is None
