"""The evaluator, its metrics and the extractors that do not ship with the package."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import harness.evaluate.classifier
import harness.evaluate.ruler
from harness.data import Dataset, Part, load_dataset
from harness.errors import HarnessError
from harness.evaluate import METRICS, EvaluateConfig, Evaluator
from harness.evaluate.features import Extractor
from harness.evaluate.metrics.fid import fid
from harness.evaluate.metrics.kid import kid
from harness.evaluate.metrics.spread import feature_spread

CPU = torch.device("cpu")


def normal(num: int, dim: int, seed: int) -> Tensor:
    return torch.randn(num, dim, generator=torch.Generator().manual_seed(seed))


def with_moments(mean: Tensor, cov: Tensor, num: int, seed: int) -> Tensor:
    """Draw samples whose sample mean and covariance are exactly the given ones."""
    raw = normal(num, len(mean), seed).double()
    centred = raw - raw.mean(0)
    white = centred @ torch.linalg.inv(torch.linalg.cholesky(centred.T.cov())).T
    return white @ torch.linalg.cholesky(cov).T + mean


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", Path("unused"))


def evaluator(dataset: Dataset, cache_dir: Path, **config: object) -> Evaluator:
    return Evaluator(
        dataset, EvaluateConfig.model_validate(config), cache_dir=cache_dir, device=CPU
    )


def small_dataset(name: str = "folder:/data/My cats", labelled: bool = True) -> Dataset:
    """Colour images of two classes, bright and dark."""
    generator = torch.Generator().manual_seed(0)

    def part(num: int) -> Part:
        labels = torch.arange(num) % 2
        images = torch.randint(0, 128, (num, 3, 8, 8), generator=generator)
        images = (images + 100 * labels[:, None, None, None]).to(torch.uint8)
        return Part(images=images, labels=labels if labelled else None)

    return Dataset(name=name, source="test", train=part(64), validation=part(20), test=part(24))


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many images every later call of an extractor gets."""
    calls: list[int] = []
    original = Extractor.__call__

    def counted(self: Extractor, images: Tensor) -> Tensor:
        calls.append(len(images))
        return original(self, images)

    monkeypatch.setattr(Extractor, "__call__", counted)
    return calls


# Metrics


def test_fid_of_gaussians_is_the_analytic_value() -> None:
    mean = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    real = with_moments(
        torch.zeros(3).double(), torch.diag(torch.tensor([1.0, 4.0, 9.0])).double(), 500, 0
    )
    fake = with_moments(mean, torch.diag(torch.tensor([4.0, 1.0, 16.0])).double(), 700, 1)
    # Commuting covariances: |Δμ|² + Σ (σ_r − σ_f)².
    expected = (1 + 4 + 0.25) + (1 - 2) ** 2 + (2 - 1) ** 2 + (3 - 4) ** 2
    assert fid(real, fake) == pytest.approx(expected, rel=1e-9)
    assert fid(real, real) == pytest.approx(0, abs=1e-9)


def test_fid_is_that_of_torch_fidelity() -> None:
    from torch_fidelity import metric_fid

    mix = normal(16, 16, 2)
    real, fake = normal(300, 16, 0) @ mix + 5, 1.2 * normal(250, 16, 1) @ mix + 5.5
    statistics = [metric_fid.fid_features_to_statistics(x.double()) for x in (real, fake)]
    expected = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    assert fid(real, fake) == pytest.approx(expected[metric_fid.KEY_METRIC_FID], rel=1e-6)


def test_kid_is_that_of_torch_fidelity() -> None:
    from torch_fidelity import metric_kid

    real, fake = normal(200, 16, 0), normal(200, 16, 1) * 1.2 + 0.3
    expected = metric_kid.kid_features_to_metric(
        real.double(), fake.double(), kid_subsets=1, kid_subset_size=200, verbose=False
    )
    ours = kid(real, fake, subsets=1, subset_size=200)
    assert ours == pytest.approx(expected[metric_kid.KEY_METRIC_KID_MEAN], rel=1e-6)


def test_kid_is_deterministic_and_leaves_the_global_random_state() -> None:
    real, fake = normal(100, 8, 0), normal(100, 8, 1) + 0.2
    values = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        values.append(kid(real, fake, subsets=5, subset_size=30))
        assert torch.equal(torch.get_rng_state(), before)
    assert values[0] == values[1]


def test_feature_spread_is_the_ratio_of_traces() -> None:
    real = normal(50, 4, 0)
    assert feature_spread(real, 0.5 * real + 7) == pytest.approx(0.25)
    assert feature_spread(real, real[:1].expand(50, -1)) == 0
    with pytest.raises(ValueError, match="all real features are equal"):
        feature_spread(real[:1].expand(50, -1), real)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(bad: float) -> None:
    real, fake = normal(20, 4, 0), normal(20, 4, 1)
    fake[3, 2] = bad
    with pytest.raises(ValueError, match="not finite"):
        fid(real, fake)
    with pytest.raises(ValueError, match="not finite"):
        kid(real, fake, subsets=2, subset_size=10)
    with pytest.raises(ValueError, match="not finite"):
        feature_spread(real, fake)


# The protocol


def test_keys_name_the_protocol(digits: Dataset, tmp_path: Path) -> None:
    scorer = evaluator(digits, tmp_path)
    assert (scorer.num_samples, scorer.protocol) == (400, "digits_cnn_v2_400")
    assert scorer.key("validation", "fid") == "val/fid_digits_cnn_v2_400"
    assert scorer.key("test", "kid") == "test/kid_digits_cnn_v2_400"
    figures = {
        each.name: METRICS[name].floor
        for name in METRICS
        for each in METRICS[name].figures
        if not (METRICS[name].needs_labels or METRICS[name].needs_returned)
    }
    assert set(scorer.score(digits.train.images[:400], "test")) == {
        f"test/{name}_digits_cnn_v2_400" for name in figures
    }
    kinds = {"train": ("_floor", "_floor_sd", "_floor_train"), "held_out": ("_floor",), None: ()}
    assert set(scorer.floor("validation")) == {
        f"val/{name}{kind}_digits_cnn_v2_400" for name in figures for kind in kinds[figures[name]]
    }


@pytest.mark.parametrize(("num", "name"), [(10_000, "10k"), (2_500, "2500"), (1_000, "1k")])
def test_whole_thousands_are_abbreviated(
    num: int, name: str, digits: Dataset, tmp_path: Path
) -> None:
    empty = Part(images=torch.zeros(num, 1, 16, 16, dtype=torch.uint8), labels=None)
    large = dataclasses.replace(digits, train=empty, validation=empty, test=empty)
    assert evaluator(large, tmp_path).protocol == f"digits_cnn_v2_{name}"


def test_describe(digits: Dataset, tmp_path: Path) -> None:
    facts = evaluator(digits, tmp_path, samples=300, kid_subsets=7).describe()
    accuracy = facts.pop("extractor_accuracy")
    assert re.fullmatch(r"0\.9\d+ validation, [01]\.\d+ test", accuracy)
    assert facts == {
        "extractor": "digits_cnn_v2",
        "extractor_sha256": harness.evaluate.ruler.SHIPPED["digits_cnn_v2"][:16],
        "num_features": "32",
        "samples": "300",
        "objective": "fid",
        "kid_subsets": "7",
        "kid_subset_size": "150",
    }


def test_each_split_is_scored_against_its_own_images(digits: Dataset, tmp_path: Path) -> None:
    scorer = evaluator(digits, tmp_path)
    for split, other in (("validation", "test"), ("test", "validation")):
        images = digits.part(split).images
        assert scorer.score(images, split)[scorer.key(split, "fid")] == pytest.approx(0, abs=1e-6)
        assert scorer.score(images, other)[scorer.key(other, "fid")] > 0.05


def test_a_subset_is_random_and_fixed_not_the_head(digits: Dataset, tmp_path: Path) -> None:
    # A split in the order of its classes: the head holds two of ten.
    order = digits.test.labels.argsort()
    ordered = dataclasses.replace(digits, test=digits.test.take(order))
    scorer = evaluator(ordered, tmp_path, samples=80)
    head = scorer.score(ordered.test.images[:80], "test")[scorer.key("test", "fid")]
    fresh = scorer.score(digits.train.images[:80], "test")[scorer.key("test", "fid")]
    assert head > 1.2 * fresh
    again = evaluator(ordered, tmp_path / "other", samples=80)
    assert again.floor("test") == scorer.floor("test")


def test_floor_is_that_of_training_images(digits: Dataset, tmp_path: Path) -> None:
    scorer = evaluator(digits, tmp_path)
    floor = scorer.floor("test")
    typical = scorer.score(digits.train.images[:400], "test")
    assert floor[scorer.key("test", "fid_floor")] == pytest.approx(
        typical[scorer.key("test", "fid")], rel=0.5
    )
    assert abs(floor[scorer.key("test", "kid_floor")]) < 0.05


def test_precision_settings_of_a_trainer_do_not_reach_the_ruler(
    digits: Dataset, tmp_path: Path
) -> None:
    scorer, images = evaluator(digits, tmp_path), digits.train.images[:400]
    plain = scorer.score(images, "test")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert scorer.score(images, "test") == plain
        assert torch.is_autocast_enabled("cpu")


def test_scoring_leaves_the_global_random_state(digits: Dataset, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    scorer = evaluator(digits, tmp_path)
    scorer.score(digits.train.images[:400], "test")
    scorer.floor("test")
    assert torch.equal(torch.get_rng_state(), before)


# The cache


def test_real_features_are_computed_once(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch)
    first = evaluator(digits, tmp_path).floor("test")
    assert calls == [400] * 4  # two disjoint draws of 997 training images, both held-out parts
    assert evaluator(digits, tmp_path).floor("test") == first
    assert calls == [400] * 4
    evaluator(digits, tmp_path, samples=200).floor("test")
    evaluator(digits, tmp_path).floor("validation")
    assert calls == [400] * 4 + [200] * 6


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:100], lambda raw: raw[:-1] + b"\x7f", lambda _: b""]
)
def test_damaged_cache_files_are_computed_anew(
    damage: object, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluator(digits, tmp_path).floor("test")
    files = sorted(tmp_path.iterdir())
    contents = [file.read_bytes() for file in files]
    assert len(files) == 5  # features of four subsets, and the floors
    for file in files:
        file.write_bytes(damage(file.read_bytes()))
    calls = count_calls(monkeypatch)
    assert evaluator(digits, tmp_path).floor("test") == first
    assert calls == [400] * 4
    assert [file.read_bytes() for file in files] == contents


# Rulers of other labelled data


@pytest.fixture
def quick_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.evaluate.classifier, "MIN_STEPS", 1)


@pytest.mark.usefixtures("quick_recipe")
def test_ruler_of_other_labelled_data_is_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = small_dataset()
    scorer = evaluator(dataset, tmp_path)
    assert re.fullmatch(r"folder_My_cats_cnn_[0-9a-f]{8}_20", scorer.protocol)
    assert scorer.score(dataset.train.images[:20], "test")[scorer.key("test", "fid")] > 0
    assert scorer.describe()["extractor_accuracy"] == "1.0000 validation, 1.0000 test"
    # Deterministic, whatever the global random state.
    torch.rand(3)
    other = evaluator(dataset, tmp_path / "other")
    assert other.describe() == scorer.describe()

    def fail(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(harness.evaluate.ruler, "train_classifier", fail)
    assert evaluator(dataset, tmp_path).describe() == scorer.describe()
    changed = dataclasses.replace(dataset, validation=dataset.validation.take(torch.arange(19)))
    with pytest.raises(AssertionError, match="trained again"):
        evaluator(changed, tmp_path)


@pytest.mark.usefixtures("quick_recipe")
def test_a_damaged_trained_ruler_is_trained_anew(tmp_path: Path) -> None:
    first = evaluator(small_dataset(), tmp_path).describe()
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    assert evaluator(small_dataset(), tmp_path).describe() == first


# Refusals


def test_more_samples_than_a_split_has(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"evaluate\.samples = 401: .*400"):
        evaluator(digits, tmp_path, samples=401)


def test_too_small_a_dataset(tmp_path: Path) -> None:
    dataset = small_dataset()
    tiny = dataclasses.replace(dataset, test=dataset.test.take(torch.arange(3)))
    with pytest.raises(HarnessError, match=r"smallest part has 3 images.*at least 16"):
        evaluator(tiny, tmp_path)


def test_unlabelled_data_need_inception(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r'set evaluate\.extractor = "inception"'):
        evaluator(small_dataset(labelled=False), tmp_path)


def test_unknown_extractor(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"evaluate\.extractor 'incepton'.*mean 'inception'"):
        evaluator(digits, tmp_path, extractor="incepton")


def test_ruler_of_another_shape(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(
        HarnessError, match=r"'mnist_cnn_v1' measures 1x28x28.*'digits' has 1x16x16"
    ):
        evaluator(digits, tmp_path, extractor="mnist_cnn_v1")


def test_weights_are_for_inception_only(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"evaluate\.extractor_weights = .*only"):
        evaluator(digits, tmp_path, extractor_weights=tmp_path / "weights.pth")


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(399, 1, 16, 16, dtype=torch.uint8),
        torch.zeros(400, 3, 16, 16, dtype=torch.uint8),
        torch.zeros(400, 1, 16, 16),
    ],
)
def test_wrong_samples(images: Tensor, digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected \(400, 1, 16, 16\) uint8 images, got"):
        evaluator(digits, tmp_path).score(images, "test")


def test_a_small_training_part_has_one_draw_and_no_spread(tmp_path: Path, digits: Dataset) -> None:
    small = dataclasses.replace(digits, train=digits.train.take(torch.arange(600)))
    floor = evaluator(small, tmp_path).floor("test")
    assert any("fid_floor_digits" in key for key in floor)
    assert not any("_sd_" in key or "_train_" in key for key in floor)


def test_an_objective_that_the_ruler_cannot_serve_is_refused(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = evaluator(digits, tmp_path)._extractor
    blind.classes = False
    monkeypatch.setattr(harness.evaluate.evaluator, "_extractor", lambda *_: blind)
    with pytest.raises(HarnessError, match=r"evaluate.objective = 'modes': .* knows no classes"):
        evaluator(digits, tmp_path, objective="modes")
    assert not any("modes" in key for key in evaluator(digits, tmp_path).floor("test"))
