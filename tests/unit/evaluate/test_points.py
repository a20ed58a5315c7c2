"""Points are measured by their coordinates, and modes by the exact posterior."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.data import Dataset, load_dataset
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig, Evaluator
from harness.evaluate.metric import METRICS, all_figures

CPU = torch.device("cpu")
NUM = 500


@pytest.fixture(scope="module")
def ring() -> Dataset:
    return load_dataset("ring", Path("unused"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def evaluator(dataset: Dataset, cache: Path, **config: object) -> Evaluator:
    settings = EvaluateConfig.model_validate({"samples": NUM, "kid_subsets": 2} | config)
    return Evaluator(dataset, settings, cache_dir=cache, device=CPU)


def scores(dataset: Dataset, cache: Path, points: Tensor) -> dict[str, float]:
    found = evaluator(dataset, cache).score(points, "test")
    return {key.removeprefix("test/").partition("_points_500")[0]: found[key] for key in found}


def on_modes(dataset: Dataset, modes: list[int], away: float = 0.0) -> Tensor:
    """Return points on these modes in turn, moved outwards by so many standard deviations."""
    assert dataset.density is not None
    means = torch.tensor(dataset.density.means)[modes]
    outwards = means / means.norm(dim=1, keepdim=True)
    places = (means + away * dataset.density.sd * outwards).float()
    return places.repeat(math.ceil(NUM / len(modes)), 1)[:NUM]


def test_keys_say_what_was_measured(ring: Dataset) -> None:
    by_default = Evaluator(ring, EvaluateConfig(), cache_dir=Path("unused"), device=CPU)
    assert by_default.key("validation", "fid") == "val/fid_points_4k"
    assert by_default.describe()["num_features"] == "2"


def test_every_figure_that_can_be_is_scored_and_has_a_floor(ring: Dataset, cache: Path) -> None:
    measure = evaluator(ring, cache)
    found = scores(ring, cache, ring.validation.images[:NUM])
    given = [
        each for each in METRICS if not (METRICS[each].needs_labels or METRICS[each].needs_returned)
    ]
    assert set(found) == {figure.name for each in given for figure in METRICS[each].figures}
    floors = measure.floor("test", conditional=True)
    for figure in all_figures():
        if any(METRICS[each].floor for each in METRICS if figure in METRICS[each].figures):
            assert math.isfinite(floors[measure.key("test", f"{figure.name}_floor")])
    assert floors["test/high_quality_floor_points_500"] == pytest.approx(0.989, abs=0.02)
    assert floors["test/modes_hit_floor_points_500"] == 8
    assert found["modes"] == 8
    assert found["fid"] < 0.05
    assert found["coverage"] > 0.9


def test_modes_and_their_quality_by_hand(ring: Dataset, cache: Path) -> None:
    """Three modes of eight, hit in the middle; the other five are dropped."""
    found = scores(ring, cache, on_modes(ring, [0, 3, 5]))
    assert (found["modes"], found["modes_hit"], found["high_quality"]) == (3, 3, 1)
    assert ring.test.labels is not None
    assert found["class_distance"] == pytest.approx(5 / 8, abs=0.06)
    assert found["ambiguous"] == 0


@pytest.mark.parametrize(("away", "share"), [(2.9, 1.0), (3.1, 0.0)])
def test_quality_ends_at_three_standard_deviations(
    ring: Dataset, cache: Path, away: float, share: float
) -> None:
    found = scores(ring, cache, on_modes(ring, list(range(8)), away))
    assert found["high_quality"] == share
    assert found["modes_hit"] == 8 * share
    assert found["modes"] == 8  # near enough to tell which mode it is


def test_points_between_two_modes_are_ambiguous(ring: Dataset, cache: Path) -> None:
    means = on_modes(ring, [0, 1])
    assert scores(ring, cache, (means + means.flip(0)) / 2)["ambiguous"] == 1


def test_copies_of_training_points_are_memorised(ring: Dataset, cache: Path) -> None:
    measure = evaluator(ring, cache)
    copies = measure._subset("train", 0)
    assert measure.score(copies, "test")["test/memorised_points_500"] == 1
    assert torch.equal(measure.nearest_training_images(copies[:7]), copies[:7])


def test_one_mode_has_no_classes_but_quality(cache: Path) -> None:
    gaussian = load_dataset("gaussian", Path("unused"))
    found = scores(gaussian, cache, gaussian.validation.images[:NUM])
    assert {"modes", "modes_hit", "class_distance"}.isdisjoint(found)
    assert found["high_quality"] == pytest.approx(0.997, abs=0.01)
    assert evaluator(gaussian, cache).classes_of(gaussian.test.images[:5]) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"extractor": "inception"}, "extractor = 'inception': dataset 'ring' has points, which"),
        ({"extractor": "mnist_cnn_v2"}, "leave it out or set 'points'"),
        ({"extractor_weights": "w.pt"}, "extractor_weights = 'w.pt': only"),
        ({"samples": 4001}, "samples = 4001: dataset 'ring' allows 16 to 4000"),
    ],
)
def test_what_points_have_not_is_refused(
    ring: Dataset, cache: Path, config: dict[str, object], message: str
) -> None:
    with pytest.raises(HarnessError, match=message):
        evaluator(ring, cache, **config)
    assert evaluator(ring, cache, extractor="points").protocol == "points_500"


def test_images_have_no_known_density_to_rank_by(cache: Path) -> None:
    digits = load_dataset("digits", Path("unused"))
    with pytest.raises(HarnessError, match="'high_quality': the density of dataset 'digits' is"):
        evaluator(digits, cache, samples=64, objective="high_quality")
    with pytest.raises(HarnessError, match=r"extractor 'points'|extractor = 'points'"):
        evaluator(digits, cache, samples=64, extractor="points")


def test_other_types_and_numbers_that_are_none_are_refused(ring: Dataset, cache: Path) -> None:
    measure = evaluator(ring, cache)
    with pytest.raises(ValueError, match=r"expected \(500, 2\) float32 points, got"):
        measure.score(torch.zeros(NUM, 2, dtype=torch.uint8), "test")
    with pytest.raises(ValueError, match="not finite"):
        measure.score(torch.full((NUM, 2), torch.nan), "test")


def test_one_mode_is_nothing_to_rank_by(cache: Path) -> None:
    gaussian = load_dataset("gaussian", Path("unused"))
    with pytest.raises(HarnessError, match="'modes_hit': points knows no classes"):
        evaluator(gaussian, cache, objective="modes_hit")
