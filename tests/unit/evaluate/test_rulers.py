"""The shipped rulers: intact, as accurate as recorded, and they grow with every kind of damage."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

import harness.evaluate.classifier
import harness.evaluate.ruler
from harness.data import Dataset, Part, load_dataset
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig, Evaluator
from harness.evaluate.classifier import accuracy, train_classifier
from harness.evaluate.ruler import FOLDER, SHIPPED, dump_ruler, load_ruler

MAX_BYTES = 2_000_000
MIN_ACCURACY = {"digits": 0.97, "mnist": 0.99}


MNIST = pytest.param("mnist", marks=pytest.mark.mnist)
# To damage MNIST in all ways takes minutes; whether its ruler is what it says it is does not.
LONG_MNIST = pytest.param("mnist", marks=[pytest.mark.mnist, pytest.mark.slow])


@pytest.fixture(scope="module", params=["digits", LONG_MNIST])
def dataset(request: pytest.FixtureRequest) -> Dataset:
    data_dir = request.getfixturevalue("mnist_dir") if request.param == "mnist" else Path("unused")
    return load_dataset(request.param, data_dir)


@pytest.fixture(scope="module")
def evaluator(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    # 2,000 of MNIST's 10,000 keep the tests short; the docs give the figures at 10,000.
    config = EvaluateConfig(samples=2_000 if dataset.name == "mnist" else None, kid_subsets=10)
    return Evaluator(
        dataset, config, cache_dir=tmp_path_factory.mktemp("cache"), device=torch.device("cpu")
    )


def fresh(part: Part, num: int) -> Tensor:
    """Draw images of a part, without repetition where it has enough."""
    generator = torch.Generator().manual_seed(1)
    repeats = -(-num // len(part))
    order = [torch.randperm(len(part), generator=generator) for _ in range(repeats)]
    return part.images[torch.cat(order)[:num]]


def noisy(images: Tensor, sigma: float) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    return (images + sigma * noise).round().clamp(0, 255).to(torch.uint8)


def blurred(images: Tensor, sigma: float) -> Tensor:
    return gaussian_blur(images, [13, 13], [sigma, sigma])


def without_classes(part: Part, num_dropped: int, num: int) -> Tensor:
    assert part.labels is not None
    return fresh(part.take((part.labels < 10 - num_dropped).nonzero().flatten()), num)


def scores(evaluator: Evaluator, images: Tensor) -> tuple[float, float]:
    result = evaluator.score(images, "test")
    return result[evaluator.key("test", "fid")], result[evaluator.key("test", "kid")]


@pytest.mark.parametrize("kind", ["noise", "blur", "dropped classes"])
def test_fid_and_kid_grow_with_damage(kind: str, dataset: Dataset, evaluator: Evaluator) -> None:
    num = evaluator.num_samples
    images = fresh(dataset.train, num)
    damage = {
        "noise": [partial(noisy, images, sigma) for sigma in (16, 32, 64, 128)],
        "blur": [partial(blurred, images, sigma) for sigma in (0.5, 1, 1.5, 2, 4)],
        "dropped classes": [
            partial(without_classes, dataset.train, dropped, num) for dropped in (1, 2, 4, 6, 8, 9)
        ],
    }[kind]
    ladder = [scores(evaluator, images), *(scores(evaluator, make()) for make in damage)]
    for metric in zip(*ladder, strict=True):
        assert list(metric) == sorted(metric)
        assert len(set(metric)) == len(metric)
    assert ladder[-1][0] > 10 * ladder[0][0]


def replayed(part: Part, size: int, num: int) -> Tensor:
    table = fresh(part, size)
    return table[torch.randint(size, (num,), generator=torch.Generator().manual_seed(3))]


def checkered(images: Tensor) -> Tensor:
    rows, columns = torch.arange(images.shape[2])[:, None], torch.arange(images.shape[3])
    return (images.int() + ((rows + columns) % 2 * 16 - 8)).clamp(0, 255).to(torch.uint8)


def test_tables_of_replayed_images_are_seen_the_more_the_smaller(
    dataset: Dataset, evaluator: Evaluator
) -> None:
    num, key = evaluator.num_samples, evaluator.key
    found = [
        evaluator.score(replayed(dataset.train, size, num), "test") for size in (20, 50, 100, 200)
    ]
    floor = evaluator.floor("test")
    fids = [each[key("test", "fid")] for each in found]
    covered = [each[key("test", "coverage")] for each in found]
    assert fids == sorted(fids, reverse=True)
    assert fids[-1] > 1.5 * floor[key("test", "fid_floor")]
    assert covered == sorted(covered)
    assert covered[-1] < 0.9 * floor[key("test", "coverage_floor")]


def test_a_faint_checkerboard_is_seen(dataset: Dataset, evaluator: Evaluator) -> None:
    images = fresh(dataset.train, evaluator.num_samples)
    found, floor = evaluator.score(checkered(images), "test"), evaluator.floor("test")
    times = found[evaluator.key("test", "fid")] / floor[evaluator.key("test", "fid_floor")]
    assert times > (1.5 if dataset.name == "mnist" else 1.05)


def test_classes_tell_what_is_missing(dataset: Dataset, evaluator: Evaluator) -> None:
    images = without_classes(dataset.train, 4, evaluator.num_samples)
    found = evaluator.score(images, "test")
    assert found[evaluator.key("test", "modes")] == 6
    assert found[evaluator.key("test", "class_distance")] > 0.35
    assert found[evaluator.key("test", "precision")] > 0.8  # each of them is a digit


def test_one_prototype_per_class_is_far_worse_than_the_floor(
    dataset: Dataset, evaluator: Evaluator
) -> None:
    part, num = dataset.train, evaluator.num_samples
    assert part.labels is not None
    first = [int((part.labels == label).nonzero()[0]) for label in range(10)]
    fid, kid = scores(evaluator, part.images[first].repeat(-(-num // 10), 1, 1, 1)[:num])
    floor = evaluator.floor("test")
    assert fid > 5 * floor[evaluator.key("test", "fid_floor")]
    assert kid > 5 * abs(floor[evaluator.key("test", "kid_floor")])


def test_feature_spread_tells_collapse(dataset: Dataset, evaluator: Evaluator) -> None:
    num, key = evaluator.num_samples, evaluator.key("test", "feature_spread")
    assert evaluator.score(fresh(dataset.train, num), "test")[key] == pytest.approx(1, abs=0.1)
    one_image = dataset.train.images[:1].repeat(num, 1, 1, 1)
    assert evaluator.score(one_image, "test")[key] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_small_and_intact(name: str) -> None:
    path = FOLDER / f"{name}.safetensors"
    ruler, facts, sha256 = load_ruler(path)
    assert path.stat().st_size <= MAX_BYTES
    assert sha256 == SHIPPED[name]
    assert facts.num_features <= (32 if name.startswith("digits") else 64)
    assert (facts.num_classes, facts.sample_shape) == (10, ruler.classifier.sample_shape)
    assert not ruler.training


@pytest.mark.parametrize("dataset", ["digits", MNIST], indirect=True)
def test_recorded_accuracy_is_reproduced(dataset: Dataset) -> None:
    ruler, facts, _ = load_ruler(FOLDER / f"{dataset.extractor}.safetensors")
    network = ruler.classifier
    assert facts.dataset == dataset.name
    # One image of 400 more or less is what another processor's rounding may change.
    assert accuracy(network, dataset.test) == pytest.approx(facts.test_accuracy, abs=0.0025)
    assert accuracy(network, dataset.validation) == pytest.approx(
        facts.validation_accuracy, abs=0.0025
    )
    assert facts.test_accuracy >= MIN_ACCURACY[dataset.name]


@pytest.mark.parametrize("dataset", ["digits", MNIST], indirect=True)
def test_rulers_were_trained_on_the_training_part(dataset: Dataset) -> None:
    _, facts, _ = load_ruler(FOLDER / f"{dataset.extractor}.safetensors")
    assert facts.train_digest == harness.evaluate.ruler.train_digest(dataset.train)
    assert facts.train_digest != harness.evaluate.ruler.train_digest(dataset.validation)


def test_a_damaged_shipped_ruler_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = (FOLDER / "digits_cnn_v2.safetensors").read_bytes()
    monkeypatch.setattr(harness.evaluate.ruler, "FOLDER", tmp_path)
    digits = load_dataset("digits", Path("unused"))
    path = tmp_path / "digits_cnn_v2.safetensors"
    for contents in (None, b"", original[:-1] + b"\x7f"):
        if contents is not None:
            path.write_bytes(contents)
        with pytest.raises(HarnessError, match="shipped ruler 'digits_cnn_v2' is damaged"):
            Evaluator(
                digits, EvaluateConfig(), cache_dir=tmp_path / "c", device=torch.device("cpu")
            )


def test_training_is_deterministic_and_leaves_the_global_random_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(harness.evaluate.classifier, "MIN_STEPS", 20)
    monkeypatch.setattr(harness.evaluate.classifier, "EPOCHS", 1)
    digits = load_dataset("digits", Path("unused"))
    part = digits.train.take(torch.arange(32))
    files = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        network = train_classifier(part, 8, seed=0)
        assert torch.equal(torch.get_rng_state(), before)
        assert not network.training
        _, facts, _ = load_ruler(FOLDER / "digits_cnn_v2.safetensors")
        files.append(dump_ruler(network, facts))
    assert files[0] == files[1]
    other = train_classifier(part, 8, seed=1)
    assert dump_ruler(other, facts) != files[0]
