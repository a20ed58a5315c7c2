"""Known densities: values that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from harness.config import parse
from harness.data import DENSITIES, Facts, Mixture
from harness.data.kinds import IMAGES, POINTS, kind_of
from harness.data.plots import plot_points
from harness.errors import HarnessError

PAIR = Mixture(means=((-1.0,), (1.0,)), sd=0.5)
SQUARE = Mixture(means=((0.0, 0.0), (3.0, 0.0), (0.0, 4.0), (3.0, 4.0)), sd=1.0)


def test_the_normal_density_by_hand() -> None:
    density = DENSITIES["gaussian"].density(torch.tensor([[0.0], [1.0], [-2.0]]))
    expected = [math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) for x in (0, 1, 2)]
    assert density.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("density", [*DENSITIES.values(), PAIR, SQUARE], ids=str)
def test_it_integrates_to_one(density: Mixture) -> None:
    """Around every mode apart, where a grid can be fine; the modes' shares are equal."""
    reach = torch.linspace(-8 * density.sd, 8 * density.sd, 161, dtype=torch.float64)
    offsets = torch.cartesian_prod(*[reach] * density.num_dims).view(-1, density.num_dims)
    cell = float(reach[1] - reach[0]) ** density.num_dims
    for mode, mean in enumerate(density.means):
        joint = density.log_densities(offsets + torch.tensor(mean, dtype=torch.float64))[:, mode]
        assert float(joint.exp().sum()) * cell == pytest.approx(1 / density.num_modes, rel=1e-6)


def test_the_posterior_by_hand() -> None:
    """p(k | x) of two equal modes is a sigmoid of (|x - other|² - |x - own|²) / 2 sd²."""
    for x in (-1.0, 0.0, 0.125, 0.75):
        log_odds = ((x + 1) ** 2 - (x - 1) ** 2) / (2 * 0.5**2)
        posterior = PAIR.log_posterior(torch.tensor([[x]])).exp()[0]
        share = 1 / (1 + math.exp(-log_odds))
        assert posterior.tolist() == pytest.approx([1 - share, share], abs=1e-9)


def test_distances_are_in_standard_deviations() -> None:
    distances = Mixture(means=((0.0, 0.0), (3.0, 4.0)), sd=0.5).distances(torch.zeros(1, 2))
    assert distances.tolist() == [[0, 10]]


def test_far_off_points_have_a_posterior_too() -> None:
    posterior = DENSITIES["ring"].log_posterior(torch.tensor([[1e4, 1.0], [0.0, 0.0]])).exp()
    assert posterior.isfinite().all()
    assert posterior[0].argmax() == 0
    assert posterior[1].tolist() == pytest.approx([1 / 8] * 8)


def test_the_modes_are_those_of_the_literature() -> None:
    ring, grid = DENSITIES["ring"], DENSITIES["grid"]
    assert (ring.num_modes, ring.num_dims, ring.sd) == (8, 2, 0.02)
    assert [math.hypot(*mean) for mean in ring.means] == pytest.approx([2] * 8)
    assert (grid.num_modes, grid.num_dims, grid.sd) == (25, 2, 0.05)
    assert sorted(grid.means) == [(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)]


def test_draws_are_a_function_of_their_seed() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    points, modes = SQUARE.draw(1000, seed=3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    again, other = SQUARE.draw(1000, seed=3), SQUARE.draw(1000, seed=4)
    assert torch.equal(points, again[0])
    assert torch.equal(modes, again[1])
    assert not torch.equal(points, other[0])
    assert (points.dtype, modes.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("shape", [(), (2, 3), (1, 2, 3, 4)])
def test_other_shapes_are_no_samples(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="samples are images"):
        kind_of(shape)
    assert kind_of((2,)) is POINTS
    assert kind_of((1, 8, 8)) is IMAGES
    assert Facts(sample_shape=(2,)).kind is POINTS


def test_a_density_is_read_back_from_plain_lists() -> None:
    assert parse(Mixture, SQUARE.model_dump(mode="json"), "test") == SQUARE
    with pytest.raises(HarnessError, match="sd = 0"):
        parse(Mixture, {"means": [[0.0]], "sd": 0.0}, "test")


def test_pictures_have_the_same_axes_wherever_samples_lie() -> None:
    """Only what is drawn at samples differs: frame and modes are the same pixels."""
    near, far = (plot_points(torch.full((50, 2), at), SQUARE) for at in (1.0, 1e6))
    frame = np.ones(near.shape[:2], dtype=bool)
    frame[60:-60, 80:-60] = False
    assert np.array_equal(near[frame], far[frame])
    assert not np.array_equal(near, far)


def test_a_histogram_shows_where_points_on_a_line_lie() -> None:
    left, right = (plot_points(torch.full((50, 1), at), PAIR) for at in (-1.0, 1.0))
    changed = (left != right).any(axis=2).nonzero()[1]
    assert changed.min() < left.shape[1] / 2 < changed.max()


def test_classes_have_colours_of_their_own() -> None:
    points, modes = SQUARE.draw(400, seed=0)
    by_class = plot_points(points, SQUARE, modes)
    colours = {tuple(pixel) for pixel in by_class.reshape(-1, 3).tolist()}
    assert len(colours) > len(
        {tuple(pixel) for pixel in plot_points(points, SQUARE).reshape(-1, 3).tolist()}
    )
