"""What is measured of samples that were asked of a class."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.data import Dataset, load_dataset
from harness.errors import HarnessError
from harness.evaluate import METRICS, Compared, EvaluateConfig, Evaluator
from harness.evaluate.metrics.conditional import class_distances
from harness.evaluate.metrics.fid import fid

CONDITIONAL = {"intra_fid", "class_accuracy"}
N = 64


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", Path("unused"))


def unlabelled(dataset: Dataset) -> Dataset:
    bare = {
        name: dataclasses.replace(dataset.part(name), labels=None)
        for name in ("train", "validation", "test")
    }
    return dataclasses.replace(dataset, **bare)


def evaluator(dataset: Dataset, cache_dir: Path, **config: Any) -> Evaluator:
    return Evaluator(
        dataset,
        EvaluateConfig.model_validate({"samples": N, "kid_subsets": 1} | config),
        cache_dir=cache_dir,
        device=torch.device("cpu"),
    )


def figures(scores: dict[str, float]) -> set[str]:
    return {key.partition("/")[2].removesuffix(f"_digits_cnn_v2_{N}") for key in scores}


def normal(num: int, dim: int, seed: int) -> Tensor:
    return torch.randn(num, dim, generator=torch.Generator().manual_seed(seed))


def intra_fid(
    real: Tensor, real_labels: Tensor, fake: Tensor, fake_labels: Tensor
) -> dict[str, float]:
    compared = Compared(
        real=real,
        fake=fake,
        train=real,
        real_labels=real_labels,
        fake_labels=fake_labels,
        config=EvaluateConfig(),
    )
    return dict(METRICS["intra_class_distance"].compute(compared))


# Intra FID.

# In one dimension a class's distance is (difference of means)^2 + (difference of sds)^2.
REAL = torch.tensor([[0.0], [2.0], [10.0], [14.0]])  # means 1 and 12, variances 2 and 8
REAL_LABELS = torch.tensor([0, 0, 1, 1])


def test_intra_fid_by_hand() -> None:
    fake = torch.tensor([[10.0], [3.0], [18.0], [5.0]])  # 1: mean 14, variance 32; 0: mean 4, 2
    labels = torch.tensor([1, 0, 1, 0])
    # class 0: (4 - 1)^2 + 0 = 9; class 1: (14 - 12)^2 + (32^0.5 - 8^0.5)^2 = 4 + 8
    found = class_distances(REAL, REAL_LABELS, fake, labels)
    assert found == {0: pytest.approx(9), 1: pytest.approx(12)}
    assert intra_fid(REAL, REAL_LABELS, fake, labels) == {"intra_fid": pytest.approx(10.5)}


def test_samples_under_the_wrong_labels_are_far_off_though_fid_is_zero() -> None:
    right = intra_fid(REAL, REAL_LABELS, REAL, REAL_LABELS)
    swapped = intra_fid(REAL, REAL_LABELS, REAL, 1 - REAL_LABELS)
    assert right["intra_fid"] == pytest.approx(0, abs=1e-9)
    # either class: (12 - 1)^2 + (8^0.5 - 2^0.5)^2 = 121 + 2
    assert swapped["intra_fid"] == pytest.approx(123)
    assert fid(REAL, REAL) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("num", "dim"), [(200, 8), (12, 8), (9, 8), (5, 8), (2, 8), (30, 1)])
def test_a_class_is_compared_as_fid_does(num: int, dim: int) -> None:
    """Also where a class has fewer images than features, and its covariance is singular."""
    real, fake = normal(num, dim, 0), 1.5 * normal(num + 3, dim, 1) + 0.5
    (found,) = class_distances(
        real, torch.zeros(num, dtype=torch.int64), fake, torch.zeros(num + 3, dtype=torch.int64)
    ).values()
    assert found == pytest.approx(fid(real, fake), rel=1e-5)


def test_every_class_weighs_the_same() -> None:
    fake = torch.cat([REAL[:2]] * 50 + [REAL[2:] + 4])
    labels = torch.tensor([0, 0] * 50 + [1, 1])
    found = class_distances(REAL, REAL_LABELS, fake, labels)
    assert found[1] == pytest.approx(16)
    mean = intra_fid(REAL, REAL_LABELS, fake, labels)["intra_fid"]
    assert mean == pytest.approx((found[0] + 16) / 2)


@pytest.mark.parametrize(
    ("real_labels", "fake_labels", "kept"),
    [
        ([0, 0, 1, 1], [0, 0, 0, 1], [0]),  # one sample of class 1
        ([0, 0, 0, 1], [0, 0, 1, 1], [0]),  # one real image of class 1
        ([0, 0, 1, 1], [0, 0, 2, 2], [0]),  # no sample of class 1, no real image of class 2
        ([0, 0, 3, 3], [3, 3, 3, 3], [3]),
        ([0, 1, 2, 3], [0, 0, 1, 1], []),
    ],
)
def test_a_class_with_fewer_than_two_images_is_left_out(
    real_labels: list[int], fake_labels: list[int], kept: list[int]
) -> None:
    arguments = (REAL, torch.tensor(real_labels), REAL + 1, torch.tensor(fake_labels))
    found = class_distances(*arguments)
    assert list(found) == kept
    figure = intra_fid(*arguments)
    assert figure == ({"intra_fid": pytest.approx(sum(found.values()))} if kept else {})


def test_features_that_are_not_finite_are_refused() -> None:
    bad = REAL.clone()
    bad[1] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        intra_fid(REAL, REAL_LABELS, bad, REAL_LABELS)


# Class accuracy.


def test_class_accuracy_by_hand() -> None:
    probabilities = torch.tensor(
        [[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.1, 0.6, 0.3], [0.4, 0.3, 0.3]]
    )
    for asked, expected in (([0, 2, 1, 0], 1.0), ([0, 2, 2, 1], 0.5), ([2, 0, 0, 7], 0.0)):
        compared = Compared(
            real=REAL,
            fake=REAL,
            train=REAL,
            real_labels=REAL_LABELS,
            fake_classes=probabilities,
            fake_labels=torch.tensor(asked),
            config=EvaluateConfig(),
        )
        assert METRICS["accuracy"].compute(compared) == {"class_accuracy": expected}


# Through the evaluator.


def test_they_are_scored_only_where_classes_were_asked_for(digits: Dataset, tmp_path: Path) -> None:
    scorer, part = evaluator(digits, tmp_path), digits.train.take(torch.arange(N))
    plain = scorer.score(part.images, "test")
    asked = scorer.score(part.images, "test", classes=part.labels)
    assert not CONDITIONAL & figures(plain)
    assert figures(asked) == figures(plain) | CONDITIONAL
    assert {key: asked[key] for key in plain} == plain
    during = scorer.score(part.images, "test", final=False, classes=part.labels)
    assert not CONDITIONAL & figures(during)
    ranked = evaluator(digits, tmp_path, objective="intra_fid")
    during = ranked.score(part.images, "test", final=False, classes=part.labels)
    assert CONDITIONAL & figures(during) == {"intra_fid"}


def test_real_images_are_compared_with_those_of_their_own_class(
    digits: Dataset, tmp_path: Path
) -> None:
    scorer = evaluator(digits, tmp_path, samples=400)  # all test images, in another order
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    part = digits.test.take(order)
    same = scorer.score(part.images, "test", classes=part.labels)
    assert same[scorer.key("test", "intra_fid")] == pytest.approx(0, abs=1e-5)
    assert same[scorer.key("test", "class_accuracy")] == 1.0


def test_permuted_labels_hurt(digits: Dataset, tmp_path: Path) -> None:
    scorer, part = evaluator(digits, tmp_path, samples=400), digits.train.take(torch.arange(400))
    assert part.labels is not None
    right = scorer.score(part.images, "test", classes=part.labels)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    wrong = scorer.score(part.images, "test", classes=part.labels[order])
    turned = scorer.score(part.images, "test", classes=(part.labels + 1) % 10)
    intra, accuracy = scorer.key("test", "intra_fid"), scorer.key("test", "class_accuracy")
    for other in (wrong, turned):
        assert other[intra] > 1.5 * right[intra]
        assert other[accuracy] < 0.2
        assert other[scorer.key("test", "fid")] == right[scorer.key("test", "fid")]
    assert right[accuracy] > 0.95


def test_floors_are_of_real_images_under_their_own_labels(digits: Dataset, tmp_path: Path) -> None:
    scorer = evaluator(digits, tmp_path, samples=200)
    plain, both = scorer.floor("test"), scorer.floor("test", conditional=True)
    assert {key: both[key] for key in plain} == plain
    new = {key.partition("/")[2].partition("_digits")[0] for key in both.keys() - plain.keys()}
    assert new == {
        "intra_fid_floor",
        "intra_fid_floor_sd",
        "intra_fid_floor_train",
        "class_accuracy_floor",
    }
    part = digits.train.take(torch.arange(200))
    score = scorer.score(part.images, "test", classes=part.labels)
    intra = scorer.key("test", "intra_fid")
    assert both[scorer.key("test", "intra_fid_floor")] == pytest.approx(score[intra], rel=0.3)
    assert both[scorer.key("test", "class_accuracy_floor")] > 0.95


def test_the_floors_of_others_are_neither_computed_nor_kept_anew(
    digits: Dataset, tmp_path: Path
) -> None:
    plain = evaluator(digits, tmp_path).floor("test")
    (file,) = tmp_path.glob("floors_*.json")
    content = file.read_bytes()
    assert not any("intra" in key or "accuracy" in key for key in plain)
    both = evaluator(digits, tmp_path).floor("test", conditional=True)
    assert file.read_bytes() == content
    assert len(list(tmp_path.glob("floors_*.json"))) == 2
    assert evaluator(digits, tmp_path).floor("test", conditional=True) == both
    assert evaluator(digits, tmp_path).floor("test") == plain


def test_the_record_of_the_protocol_says_nothing_of_them(digits: Dataset, tmp_path: Path) -> None:
    facts = evaluator(digits, tmp_path).describe()
    assert not any(key.startswith(tuple(CONDITIONAL)) for key in facts)


def test_data_without_labels_leave_them_out(digits: Dataset, tmp_path: Path) -> None:
    bare = unlabelled(digits)
    scorer, images = evaluator(bare, tmp_path), bare.train.images[:N]
    classes = torch.zeros(N, dtype=torch.int64)
    assert scorer.score(images, "test", classes=classes) == scorer.score(images, "test")
    assert scorer.floor("test", conditional=True) == scorer.floor("test")
    with pytest.raises(HarnessError, match=r"objective = 'intra_fid': dataset 'digits' has no lab"):
        evaluator(bare, tmp_path, objective="intra_fid")


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (torch.zeros(N - 1, dtype=torch.int64), r"expected \(64,\) int64 classes, got \(63,\)"),
        (torch.zeros(N, 1, dtype=torch.int64), r"got \(64, 1\) torch.int64"),
        (torch.zeros(N), r"got \(64,\) torch.float32"),
        (torch.full((N,), 10), "expected classes from 0 to 9"),
        (torch.full((N,), -1), "expected classes from 0 to 9"),
    ],
    ids=str,
)
def test_what_no_class_is(classes: Tensor, words: str, digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        evaluator(digits, tmp_path).score(digits.train.images[:N], "test", classes=classes)
