"""What every metric must do, a plugin's too: whatever is registered is tested."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from harness.data import Mixture
from harness.evaluate import METRICS, Compared, EvaluateConfig, Metric
from harness.evaluate.metric import describe_figures, figure_of, is_back, is_floor

N, D = 400, 8
# Two modes that features of the right kind reach, and a single spot does not.
DENSITY = Mixture(means=((1.0,) + (0.0,) * 7, (-1.0,) + (0.0,) * 7), sd=1.0)


def features(seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, D, generator=generator) * (1 + shift) + shift


def distance(metric: Metric, values: dict[str, float], name: str) -> float:
    """Return how far a figure is from its best value, larger being worse."""
    best = next(figure.best for figure in metric.figures if figure.name == name)
    if isinstance(best, str):
        return values[name] if best == "lower" else -values[name]
    return abs(values[name] - best)


@pytest.fixture(params=list(METRICS))
def metric(request: pytest.FixtureRequest) -> Metric:
    return METRICS[request.param]


def classes(seen: Tensor) -> Tensor:
    """Return class probabilities as a ruler's head would: clear where features are far apart."""
    return (4 * seen[:, :4]).softmax(dim=1)


def pictures(seen: Tensor) -> Tensor:
    """Return images (N, 1, 2, 4) that show features, as those that were translated and returned."""
    return (127.5 + 40 * seen).clamp(0, 255).to(torch.uint8).view(N, 1, 2, 4)


def score(metric: Metric, fake: Tensor) -> dict[str, float]:
    compared = Compared(
        real=features(0),
        fake=fake,
        train=features(2),
        real_classes=classes(features(0)),
        fake_classes=classes(fake),
        real_labels=classes(features(0)).argmax(1),
        fake_labels=classes(features(1)).argmax(1),
        sources=pictures(features(0)),
        returned=pictures(fake),
        density=DENSITY,
        config=EvaluateConfig(),
    )
    return dict(metric.compute(compared))


def test_it_returns_the_figures_that_it_names(metric: Metric) -> None:
    values = score(metric, features(1))
    assert list(values) == [figure.name for figure in metric.figures]
    assert all(math.isfinite(value) for value in values.values())


def test_the_same_features_get_the_same_bits(metric: Metric) -> None:
    before = torch.get_rng_state()
    assert score(metric, features(1)) == score(metric, features(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_samples_of_the_same_kind_are_better_than_others(metric: Metric) -> None:
    """Of some others: no single figure sees every difference, and a mode may still be there."""
    alike = score(metric, features(1))
    others = [
        score(metric, features(1, shift=1.0)),
        score(metric, 0.05 * features(1)),
        score(metric, features(2)),
        score(metric, features(1)[:1].expand(N, D) + 0.01 * features(3)),
    ]
    for name in alike:
        worst = max(distance(metric, other, name) for other in others)
        assert distance(metric, alike, name) < worst


def test_its_figures_are_described_with_their_direction(metric: Metric) -> None:
    lines = describe_figures()
    for figure in metric.figures:
        assert lines[figure.name].endswith(figure.direction())
        assert (f"{figure.name}_floor" in lines) == (metric.floor is not None)


def test_no_figure_has_two_owners() -> None:
    names = [figure.name for name in METRICS for figure in METRICS[name].figures]
    assert len(set(names)) == len(names)


def test_scores_of_the_way_back_are_told_by_their_end() -> None:
    assert is_back("test/fid_mnist_cnn_v2_10k_to_a")
    assert is_back("val/fid_floor_copy_mnist_cnn_v2_10k_to_a")
    assert not is_back("test/fid_folder_to_a_cnn_ab12_10k")


@pytest.mark.parametrize(
    ("key", "floor"),
    [
        ("test/fid_mnist_cnn_v2_10k", False),
        ("test/fid_floor_mnist_cnn_v2_10k", True),
        ("val/fid_floor_sd_mnist_cnn_v2_10k", True),
        ("val/fid_folder_dance_floor_cnn_ab12_10k", False),
        ("val/kid_floor_folder_dance_floor_cnn_ab12_10k", True),
        ("test/fid_floor_copy_mnist_cnn_v2_10k_to_a", True),
        ("test/fid_mnist_cnn_v2_10k_to_a", False),
    ],
)
def test_floors_are_told_from_scores(key: str, floor: bool) -> None:
    assert is_floor(key) is floor
    assert figure_of(key).name == key.partition("/")[2].partition("_")[0]
