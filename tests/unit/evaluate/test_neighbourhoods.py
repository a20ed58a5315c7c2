"""Precision, recall, density, coverage and memorisation: by other means, and on planted faults."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from harness.evaluate import Compared, EvaluateConfig
from harness.evaluate.metrics.classes import classes
from harness.evaluate.metrics.memorisation import memorisation
from harness.evaluate.metrics.neighbourhoods import K, neighbourhoods
from harness.evaluate.neighbours import distance_blocks, nearest, radii


def normal(num: int, seed: int, d: int = 6) -> Tensor:
    return torch.randn(num, d, generator=torch.Generator().manual_seed(seed))


def compared(real: Tensor, fake: Tensor, train: Tensor | None = None) -> Compared:
    train = real if train is None else train
    return Compared(real=real, fake=fake, train=train, config=EvaluateConfig())


def by_definition(real: Tensor, fake: Tensor) -> dict[str, float]:
    """Return the four figures from scikit-learn's neighbours and plain loops."""
    x, y = real.double().numpy(), fake.double().numpy()
    reach = {}
    for name, points in (("real", x), ("fake", y)):
        found = NearestNeighbors(n_neighbors=K + 1, algorithm="brute").fit(points)
        reach[name] = found.kneighbors(points)[0][:, -1]
    gaps = np.array([[np.linalg.norm(a - b) for b in y] for a in x])
    inside = gaps <= reach["real"][:, None]
    return {
        "precision": float(np.mean([inside[:, j].any() for j in range(len(y))])),
        "recall": float(np.mean([(gaps[i] <= reach["fake"]).any() for i in range(len(x))])),
        "density": float(inside.sum() / (K * len(y))),
        "coverage": float(np.mean([inside[i].any() for i in range(len(x))])),
    }


@pytest.mark.parametrize(
    ("scale", "shift"), [(1.0, 0.0), (0.3, 0.0), (1.0, 1.0), (2.0, 0.0), (1.0, 30.0)]
)
def test_they_are_what_the_papers_define(scale: float, shift: float) -> None:
    real, fake = normal(210, 0), scale * normal(190, 1) + shift
    assert neighbourhoods(compared(real, fake)) == pytest.approx(by_definition(real, fake))


def test_more_rows_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = normal(250, 0), normal(230, 1)
    whole = neighbourhoods(compared(real, fake))
    for module in ("neighbours", "metrics.neighbourhoods"):
        monkeypatch.setattr(f"harness.evaluate.{module}.BLOCK", 64)
    assert neighbourhoods(compared(real, fake)) == whole


def test_typical_samples_are_precise_and_cover_little() -> None:
    found = neighbourhoods(compared(normal(500, 0), 0.2 * normal(500, 1)))
    assert found["precision"] > 0.99
    assert found["density"] > 1
    assert found["recall"] < 0.2
    assert found["coverage"] < 0.5


def test_a_replay_of_few_real_images_is_precise_and_recalls_nothing() -> None:
    table = normal(30, 2)
    found = neighbourhoods(compared(normal(600, 0), table.repeat(20, 1)))
    assert found["precision"] > 0.8
    assert found["recall"] == 0
    assert found["coverage"] < 0.3


def test_a_missing_half_costs_coverage_and_no_precision() -> None:
    real = normal(600, 0)
    half = normal(1200, 1)
    half = half[half[:, 0] > 0][:500]
    found = neighbourhoods(compared(real, half))
    whole = neighbourhoods(compared(real, normal(500, 1)))
    assert found["precision"] > whole["precision"] - 0.1
    assert found["coverage"] < 0.8 * whole["coverage"]


def test_equal_features_have_distance_zero() -> None:
    points = normal(50, 0) + 1000
    (block,) = distance_blocks(points, points)
    assert (block.diagonal() == 0).all()
    assert (nearest(points, points)[1] == torch.arange(50)).all()
    assert (radii(points.repeat(2, 1), 1) == 0).all()


# Memorisation.


def test_unseen_samples_are_as_near_to_training_as_to_held_out_images() -> None:
    """4,000 fair coins: the standard error is 0.008."""
    found = memorisation(compared(normal(4000, 0), normal(4000, 1), normal(4000, 2)))
    assert found["memorised"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_copies_count_in_proportion(share: float) -> None:
    real, train, fake = normal(2000, 0), normal(2000, 2), normal(2000, 1)
    clean = memorisation(compared(real, fake, train))["memorised"]
    number = round(share * len(fake))
    fake[:number] = train[:number]
    expected = share + (1 - share) * clean
    found = memorisation(compared(real, fake, train))["memorised"]
    assert found == pytest.approx(expected, abs=0.02)


def test_what_is_equally_near_counts_half() -> None:
    points = normal(100, 0)
    assert memorisation(compared(points, points, points)) == {"memorised": 0.5}


# Classes.


def seen(labels: list[int], clear: float = 0.99, num: int = 4) -> Tensor:
    rest = (1 - clear) / (num - 1)
    table = torch.full((len(labels), num), rest)
    return table.scatter(1, torch.tensor(labels).unsqueeze(1), clear)


def class_figures(real: Tensor, fake: Tensor) -> dict[str, float]:
    nothing = torch.zeros(1, 1)
    return classes(
        Compared(
            real=nothing, fake=nothing, train=nothing, real_classes=real, fake_classes=fake,
            config=EvaluateConfig(),
        )
    )  # fmt: skip


def test_class_figures_by_hand() -> None:
    real = seen([0, 1, 2, 3] * 10)
    assert class_figures(real, real) == {
        "class_distance": 0.0, "class_kl": 0.0, "modes": 4.0, "ambiguous": 0.0,
    }  # fmt: skip
    half = class_figures(real, seen([0, 1] * 20))
    assert half["class_distance"] == pytest.approx(0.5)
    assert half["class_kl"] == pytest.approx(np.log(2))
    assert half["modes"] == 2
    unclear = torch.cat([seen([0, 1, 2] * 10), seen([3] * 10, clear=0.8)])
    assert class_figures(real, unclear)["ambiguous"] == 0.25


def test_a_class_that_is_hardly_made_is_no_mode() -> None:
    real = seen([0, 1, 2, 3] * 100)
    assert class_figures(real, seen([0, 1, 2] * 133 + [3]))["modes"] == 3
