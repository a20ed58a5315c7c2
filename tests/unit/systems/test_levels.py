"""What D gives every place, drawn: only where it can be, the same again, and where it belongs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.config import parse
from harness.data import DENSITIES, Facts, Part, load_dataset
from harness.systems.gan import GAN, GANConfig
from harness.systems.gan.levels import plot_levels

SMALL: dict[str, Any] = {"architecture": "points", "g_width": 8, "d_width": 8, "latent_dim": 2}


def game(dataset: str, **changes: Any) -> tuple[GAN, Part]:
    data = load_dataset(dataset, None)  # type: ignore[arg-type]
    config = parse(GANConfig, SMALL | {"dataset": dataset} | changes, "test")
    return GAN(config, data.facts, torch.device("cpu")), data.validation


@pytest.mark.parametrize("loss", ["non_saturating", "wasserstein"])
@pytest.mark.parametrize("dataset", list(DENSITIES))
def test_what_is_declared_is_drawn_and_disturbs_nothing(dataset: str, loss: str) -> None:
    gan, real = game(dataset, loss=loss)
    declared = gan.pictures(gan.config)
    assert list(declared) == ["levels"]
    before = torch.get_rng_state(), gan.random.state_dict()
    for network in gan.networks.values():
        network.eval()
    drawn = gan.draw(real, final=False)
    assert drawn.keys() == declared.keys()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(torch.equal(each, before[1][key]) for key, each in gan.random.state_dict().items())
    assert np.array_equal(drawn["levels"], gan.draw(real, final=True)["levels"])


@pytest.mark.parametrize(
    "changes",
    [
        {"pack": 2},
        {"conditioning": "projection"},
        {"conditioning": "concatenation"},
        {"d_minibatch_std": True},
    ],
)
def test_where_d_judges_more_than_a_point_there_is_no_such_picture(changes: dict[str, Any]) -> None:
    gan, real = game("ring", **changes)
    assert gan.pictures(gan.config) == gan.draw(real, final=False) == {}


def test_images_have_none() -> None:
    config = parse(GANConfig, {"dataset": "digits", "architecture": "mlp"}, "test")
    gan = GAN(config, Facts(sample_shape=(1, 16, 16)), torch.device("cpu"))
    assert gan.pictures(config) == gan.draw(Part(images=torch.zeros(0), labels=None), final=True)


@pytest.mark.parametrize("probabilities", [True, False])
def test_colours_lie_where_d_says(probabilities: bool) -> None:
    """A D that calls the upper right real: red there, blue below on the left."""

    def judge(places: Tensor) -> Tensor:
        slope = places.sum(1)
        return slope.sigmoid() if probabilities else 5 * slope + 100

    samples = torch.full((10, 2), 99.0)  # outside, where they hide nothing
    picture = plot_levels(judge, samples, DENSITIES["ring"], probabilities=probabilities)
    height, width = picture.shape[:2]
    real, fake = (
        picture[int(height * y), int(width * x)].astype(int) for x, y in ((0.92, 0.1), (0.2, 0.85))
    )
    assert real[0] > real[2] + 50
    assert fake[2] > fake[0] + 50


def test_the_best_d_is_drawn_where_densities_are_equal() -> None:
    """With samples that follow the density the dashed line is at one half, as D's constant is."""
    density = DENSITIES["gaussian"]
    samples, _ = density.draw(20_000, seed=0)
    undecided = plot_levels(
        lambda places: torch.full((len(places),), 0.5), samples, density, probabilities=True
    )
    sure = plot_levels(
        lambda places: torch.full((len(places),), 0.9), samples, density, probabilities=True
    )
    dark = (sure < 60).all(axis=2)[:, 150:300]  # the middle of the axes
    rows = dark.any(axis=1).nonzero()[0] / sure.shape[0]
    assert ((rows > 0.08) & (rows < 0.14)).any()  # D's line at 0.9
    assert ((rows > 0.4) & (rows < 0.6)).any()  # the dashed line near 0.5
    assert not np.array_equal(undecided, sure)
