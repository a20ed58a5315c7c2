"""Scores of translations: in both directions, beside the images that are translated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.data import Dataset, load_dataset
from harness.errors import HarnessError
from harness.evaluate import Compared, EvaluateConfig, Evaluator
from harness.evaluate.metric import BACK
from harness.evaluate.metrics.cycle import cycle

CPU = torch.device("cpu")
N = 64


@pytest.fixture(scope="module")
def pair() -> Dataset:
    return load_dataset("pairs:coloured:digits|digits", Path("unused"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def evaluator(pair: Dataset, cache: Path) -> Evaluator:
    config = EvaluateConfig(samples=N, kid_subsets=1)
    return Evaluator(pair.target, config, cache_dir=cache, device=CPU, source=pair.counterpart)


def compared(sources: Tensor, returned: Tensor) -> Compared:
    none = torch.zeros(2, 1)
    return Compared(
        real=none,
        fake=none,
        train=none,
        sources=sources,
        returned=returned,
        config=EvaluateConfig(),
    )


def test_cycle_error_is_the_mean_absolute_difference_in_units_of_the_brightest_pixel() -> None:
    sources = torch.tensor([0, 255, 100, 200], dtype=torch.uint8).view(2, 1, 1, 2)
    returned = torch.tensor([51, 255, 151, 149], dtype=torch.uint8).view(2, 1, 1, 2)
    found = cycle(compared(sources, returned))
    assert found == {"cycle_error": pytest.approx(3 * 0.2 / 4)}  # 51 / 255, thrice of four
    assert cycle(compared(sources, sources)) == {"cycle_error": 0.0}


def test_sources_are_a_fixed_subset_of_the_split(evaluator: Evaluator, pair: Dataset) -> None:
    sources = evaluator.sources("validation")
    assert sources is not None
    assert sources.shape == (N, 3, 16, 16)
    assert torch.equal(sources, evaluator.sources("validation"))  # type: ignore[arg-type]
    assert pair.counterpart is not None
    whole = {image.numpy().tobytes() for image in pair.counterpart.validation.images}
    assert {image.numpy().tobytes() for image in sources} <= whole


def test_images_as_they_are_are_scored_as_a_translation_would_be(evaluator: Evaluator) -> None:
    floors = evaluator.floor("test")
    sources = evaluator.sources("test")
    assert sources is not None
    grey = sources.float().mean(1, keepdim=True).round().byte()
    for key, value in evaluator.score(grey, "test").items():
        figure, protocol = key.split("_digits_cnn")
        copied = f"{figure}_floor_copy_digits_cnn{protocol}"
        if f"{figure}_floor_digits_cnn{protocol}" in floors:
            assert floors[copied] == pytest.approx(value)
        else:
            assert copied not in floors
    protocol = f"digits_cnn_v2_{N}"
    assert floors[f"test/fid_floor_copy_{protocol}"] > 2 * floors[f"test/fid_floor_{protocol}"]


def test_cycle_error_is_scored_where_images_come_back(evaluator: Evaluator) -> None:
    sources = evaluator.sources("test")
    assert sources is not None
    fakes = sources[:, :1]
    assert not any("cycle" in key for key in evaluator.score(fakes, "test"))
    found = evaluator.score(fakes, "test", final=False, sources=sources, returned=sources)
    assert found[f"test/cycle_error_digits_cnn_v2_{N}"] == 0


def test_keys_of_the_way_back_end_differently(pair: Dataset, cache: Path) -> None:
    back = Evaluator(
        pair.target, EvaluateConfig(samples=N), cache_dir=cache, device=CPU, suffix=BACK
    )
    assert back.key("test", "fid") == f"test/fid_digits_cnn_v2_{N}_to_a"
    assert back.sources("test") is None


def test_nothing_is_ranked_by_a_way_back_that_there_is_not(pair: Dataset, cache: Path) -> None:
    config = EvaluateConfig(samples=N, objective="cycle_error")
    with pytest.raises(HarnessError, match="'cycle_error': dataset 'digits' has one domain"):
        Evaluator(pair.target, config, cache_dir=cache, device=CPU)
    Evaluator(pair.target, config, cache_dir=cache, device=CPU, source=pair.counterpart)


def test_the_number_of_samples_is_what_both_domains_have(pair: Dataset, cache: Path) -> None:
    whole = load_dataset("digits", Path("unused"))
    evaluator = Evaluator(
        whole, EvaluateConfig(), cache_dir=cache, device=CPU, source=pair.counterpart
    )
    assert evaluator.num_samples == 200
