"""The second ruler: told apart by its name, of another shape, and it sees damage as the first."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

import harness.evaluate.classifier
from harness.data import Dataset, Part, load_dataset
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig, Evaluator
from harness.evaluate.classifier import train_classifier
from harness.evaluate.judge import check_is_none, facts_of, judge_of
from harness.evaluate.lenet import LeNet
from harness.evaluate.metric import figure_of, is_back, is_floor, is_judge, is_judged
from harness.evaluate.ruler import FOLDER, SHIPPED, load_ruler

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", params=["digits", pytest.param("mnist", marks=pytest.mark.mnist)])
def dataset(request: pytest.FixtureRequest) -> Dataset:
    data_dir = request.getfixturevalue("mnist_dir") if request.param == "mnist" else Path("unused")
    return load_dataset(request.param, data_dir)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", Path("unused"))


def judge(dataset: Dataset, cache: Path, samples: int | None = None) -> Evaluator:
    found = judge_of(dataset, EvaluateConfig(samples=samples), cache_dir=cache, device=CPU)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("key", "judged"),
    [
        ("test/fid_mnist_judge_v1_10k", True),
        ("test/fid_floor_sd_mnist_judge_v1_10k", True),
        ("val/coverage_folder_cats_judge_0a1b2c3d_400", True),
        ("test/fid_floor_copy_digits_judge_v12_32", True),
        ("test/fid_mnist_cnn_v2_10k", False),
        ("test/fid_mnist_cnn_v2_10k_to_a", False),
        ("test/fid_folder_judge_cnn_0a1b2c3d_10k", False),
        ("test/fid_folder_judge_v1_cnn_0a1b2c3d_10k", False),
        ("test/fid_folder_judge_v1_10k_cnn_0a1b2c3d_10k", False),
        ("train/fid_mnist_judge_v1_10k", False),
    ],
)
def test_its_keys_are_told_from_the_rulers(key: str, judged: bool) -> None:
    assert is_judged(key) is judged
    if key.startswith(("val/", "test/")):
        assert is_floor(key) is ("_floor_" in key)
        assert is_back(key) is key.endswith("_to_a")
        assert figure_of(key).name == key.partition("/")[2].partition("_")[0]


def test_its_figures_stand_under_its_own_name(digits: Dataset, cache: Path) -> None:
    scorer = judge(digits, cache, samples=64)
    assert scorer.protocol == "digits_judge_v1_64"
    scores, floors = scorer.score(digits.train.images[:64], "test"), scorer.floor("validation")
    names = ("fid", "precision", "recall", "density", "coverage")
    assert set(scores) == {f"test/{name}_digits_judge_v1_64" for name in names}
    assert set(floors) == {
        f"val/{name}{kind}_digits_judge_v1_64"
        for name in names
        for kind in ("_floor", "_floor_sd", "_floor_train")
    }
    assert all(map(is_judged, scores | floors))
    assert facts_of(scorer) == {
        "judge": "digits_judge_v1",
        "judge_sha256": SHIPPED["digits_judge_v1"][:16],
        "judge_accuracy": "0.9925 validation, 0.9975 test",
    }


def test_it_is_of_another_shape_than_the_ruler(dataset: Dataset) -> None:
    ruler, facts, _ = load_ruler(FOLDER / f"{dataset.name}_judge_v1.safetensors")
    kernels = [layer.kernel_size for layer in ruler.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert isinstance(ruler.classifier, LeNet)
    assert kernels == [(5, 5), (5, 5)]
    assert facts.train_digest == harness.evaluate.ruler.train_digest(dataset.train)
    assert facts.test_accuracy > 0.98


def test_its_features_are_whitened(dataset: Dataset) -> None:
    ruler, facts, _ = load_ruler(FOLDER / f"{dataset.name}_judge_v1.safetensors")
    with torch.no_grad():
        features, logits = ruler(dataset.train.images[:2000])
    assert features.shape[1] == facts.num_features
    assert logits.shape[1] == 10
    assert torch.cov(features.T).diagonal().mean() == pytest.approx(1, abs=0.1)


def drawn(images: Tensor, num: int) -> Tensor:
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(1))[:num]]


def test_it_sees_damage(dataset: Dataset, cache: Path) -> None:
    """Of 2,000 on MNIST, to be quick."""
    scorer = judge(dataset, cache, samples=2000 if dataset.name == "mnist" else None)
    num, labels = scorer.num_samples, dataset.train.labels
    assert labels is not None
    images = drawn(dataset.train.images, num)
    noise = 32 * torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    ladders = [
        [images, gaussian_blur(images, [13, 13], [1.0, 1.0])],
        [images, (images + noise).clamp(0, 255).to(torch.uint8)],
        [images, drawn(dataset.train.images[labels < 5].repeat(2, 1, 1, 1), num)],
        [images, images[:200].repeat(num // 200, 1, 1, 1), images[:50].repeat(num // 50, 1, 1, 1)],
    ]
    for ladder in ladders:
        scores = [scorer.score(each, "test") for each in ladder]
        fids = [score[scorer.key("test", "fid")] for score in scores]
        coverages = [score[scorer.key("test", "coverage")] for score in scores]
        assert fids == sorted(fids)
        assert fids[-1] > 2 * fids[0]
        assert coverages == sorted(coverages, reverse=True)


def test_other_labelled_data_get_one_of_their_own(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.evaluate.classifier, "MIN_STEPS", 10)
    monkeypatch.setattr(harness.evaluate.classifier, "EPOCHS", 1)
    part = digits.train.take(torch.arange(64))
    own = dataclasses.replace(
        digits, name="folder:/x/my cats", train=part, validation=part, test=part, extractor=None
    )
    first = judge(own, tmp_path)
    assert is_judge(facts_of(first)["judge"])
    assert first.protocol.startswith("folder_my_cats_judge_")
    monkeypatch.setattr(harness.evaluate.ruler, "train_classifier", None)
    again = judge(own, tmp_path)  # from the cache
    assert facts_of(again) == facts_of(first)


def test_points_and_data_without_labels_have_none(digits: Dataset, cache: Path) -> None:
    bare = Part(images=digits.train.images, labels=None)
    unlabelled = dataclasses.replace(digits, train=bare, validation=bare, test=bare)
    for dataset in (load_dataset("ring", Path("unused")), unlabelled):
        assert judge_of(dataset, EvaluateConfig(), cache_dir=cache, device=CPU) is None


@pytest.mark.parametrize("key", ["extractor", "extractor_back"])
def test_no_study_can_rank_by_it(key: str) -> None:
    config = EvaluateConfig(**{key: "digits_judge_v1"})
    with pytest.raises(HarnessError, match=f"evaluate.{key} = 'digits_judge_v1': a second ruler"):
        check_is_none(config)
    check_is_none(EvaluateConfig(**{key: "digits_cnn_v2"}))


def test_a_network_of_any_image_size_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.evaluate.classifier, "MIN_STEPS", 2)
    monkeypatch.setattr(harness.evaluate.classifier, "EPOCHS", 1)
    for side in (8, 40):
        images = torch.randint(0, 256, (16, 3, side, side), dtype=torch.uint8)
        part = Part(images=images, labels=torch.arange(16) % 4)
        network = train_classifier(part, 8, 0, LeNet)
        seen, logits = network.depths(images)
        assert (seen.shape, logits.shape) == ((16, (16 + 32) * 16 + 8), (16, 4))
