"""The moving average of G: its weights by hand, what it copies, and what it leaves alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.systems import draw_inputs, generate, load_generator, save_generator
from harness.systems.gan import GAN
from harness.systems.gan.average import MovingAverage
from harness.systems.initialise import spectrally_normed

Make = Callable[..., GAN]
Advance = Callable[..., dict[str, Tensor]]
Batches = Callable[..., Tensor]
Flat = Callable[..., dict[str, Any]]
Same = Callable[..., bool]

LATER = 10**9  # images, after which the rise is over


class Number(nn.Module):
    """A network of one weight."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value, dtype=torch.float64))


def test_takes_the_weights_first() -> None:
    average = Number(5.0)
    MovingAverage(average, Number(2.0), 100)
    assert average.weight.item() == 2.0


@pytest.mark.parametrize("steps", [1, 2, 4, 10])
def test_an_old_weight_counts_half_after_the_half_life(steps: int) -> None:
    average, network = Number(0.0), Number(8.0)
    follower = MovingAverage(average, network, 100)
    with torch.no_grad():
        network.weight.fill_(0.0)
    for _ in range(steps):  # however many steps these images take
        follower.follow(100 // steps, LATER)
    assert average.weight.item() == pytest.approx(4.0, rel=1e-12)


def test_worked_out_by_hand() -> None:
    average, network = Number(0.0), Number(0.0)
    follower = MovingAverage(average, network, 50)
    expected = 0.0
    for index, value in enumerate([4.0, -2.0, 8.0]):
        with torch.no_grad():
            network.weight.fill_(value)
        follower.follow(50, LATER + 50 * index)
        expected = expected / 2 + value / 2
        assert average.weight.item() == pytest.approx(expected, rel=1e-12)
    assert expected == 4.0  # (4 / 2 - 2) / 2 / 2 + 8 / 2


@pytest.mark.parametrize(
    ("before", "half_life"),
    [
        (0, 0.05 * 10),  # a twentieth of all images so far, these ones included
        (90, 0.05 * 100),
        (990, 0.05 * 1000),
        (1990, 100.0),  # from here on the half-life itself
        (4000, 100.0),
    ],
)
def test_the_first_images_are_forgotten_sooner(before: int, half_life: float) -> None:
    average, network = Number(0.0), Number(1.0)
    follower = MovingAverage(average, network, 100)
    with torch.no_grad():
        network.weight.fill_(0.0)
    follower.follow(10, before)
    assert average.weight.item() == pytest.approx(0.5 ** (10 / half_life), rel=1e-12)


def test_statistics_are_averaged_and_counters_copied() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = copy.deepcopy(network)
    follower = MovingAverage(average, network, 100)
    old = copy.deepcopy(network.state_dict())
    network(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(1)
    follower.follow(100, LATER)
    for key, value in average.state_dict().items():
        new = network.state_dict()[key]
        assert not torch.equal(new, old[key])
        if key == "1.num_batches_tracked":
            assert value == new == 1
            assert value.dtype == torch.int64
        else:
            torch.testing.assert_close(value, (old[key] + new) / 2)
    assert {"1.running_mean", "1.running_var"} <= set(average.state_dict())


def test_spectral_vectors_are_those_of_the_averaged_weights() -> None:
    network = spectrally_normed(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    average = copy.deepcopy(network)
    follower = MovingAverage(average, network, 100)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    old = copy.deepcopy(average.state_dict())
    network(torch.ones(1, 4))
    follower.follow(100, LATER)
    now = copy.deepcopy(average.state_dict())
    for _ in range(50):
        follower.follow(1, 10**12)
    average.eval()
    for layer in (average[0], average[1]):
        norm = torch.linalg.matrix_norm(layer.weight, 2).item()
        assert norm == pytest.approx(1, abs=1e-4)
    vectors = [key for key in old if key.endswith(("._u", "._v"))]
    assert len(vectors) == 4
    for key in vectors:
        own = average.state_dict()[key]
        assert own.norm().item() == pytest.approx(1, abs=1e-6)
    kept = "0.parametrizations.weight.original"
    expected = (old[kept] + network.state_dict()[kept]) / 2
    torch.testing.assert_close(now[kept], expected)


def test_statistics_of_a_network_that_is_a_norm_itself() -> None:
    network = nn.BatchNorm1d(2)
    average = copy.deepcopy(network)
    follower = MovingAverage(average, network, 10)
    network.running_mean.fill_(2.0)  # type: ignore[union-attr]
    follower.follow(10, LATER)
    assert average.running_mean is not None
    assert average.running_mean.tolist() == [1.0, 1.0]


# --- within a GAN ---------------------------------------------------------------------------------

SETTINGS: list[dict[str, Any]] = [
    {"architecture": "mlp", "g_dropout": 0.3},
    {"architecture": "dc", "g_norm": "spectral", "g_attention": True, "loss": "hinge"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_training_is_the_same_bit_for_bit_with_it(
    make_gan: Make,
    advance: Advance,
    real_batches: Batches,
    flat: Flat,
    same: Same,
    settings: dict[str, Any],
) -> None:
    plain, averaging = make_gan(**settings, average=0), make_gan(**settings, average=20)
    for index in range(3):
        measures = [flat(advance(gan, real_batches(1, index))) for gan in (plain, averaging)]
        assert same(*measures)
    states = [copy.deepcopy(gan.state_dict()) for gan in (plain, averaging)]
    assert states[1]["networks"].pop("average")
    assert same(*(flat(state) for state in states))


@pytest.mark.parametrize("settings", SETTINGS)
def test_follows_g_once_per_update_by_its_images(
    make_gan: Make, advance: Advance, real_batches: Batches, settings: dict[str, Any]
) -> None:
    gan = make_gan(**settings, average=20, d_steps=2)
    expected = {key: each.detach().clone() for key, each in gan.generator.named_parameters()}
    for index in range(3):
        advance(gan, real_batches(2, index))
        half_life = min(20, 0.05 * 4 * (index + 1))
        share = 0.5 ** (4 / half_life)
        for key, weight in gan.generator.named_parameters():
            expected[key] = share * expected[key] + (1 - share) * weight.detach()
    for key, weight in gan.networks["average"].named_parameters():
        torch.testing.assert_close(weight, expected[key])


def test_no_optimiser_holds_it(make_gan: Make) -> None:
    gan = make_gan(average=20)
    held = {
        id(weight)
        for optimizer in gan.optimizers.values()
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    weights = list(gan.networks["average"].parameters())
    assert not held & {id(weight) for weight in weights}
    assert not any(weight.requires_grad for weight in weights)
    assert "average" not in GAN.num_parameters(gan.config, gan.facts)
    shared = {each.data_ptr() for each in gan.generator.parameters()}
    assert not shared & {weight.data_ptr() for weight in weights}


def test_it_is_what_is_sampled_and_exported(
    make_gan: Make, advance: Advance, real_batches: Batches, tmp_path: Path
) -> None:
    gan = make_gan(average=1000)
    for index in range(3):
        advance(gan, real_batches(1, index))
    name = GAN.sampled(gan.config)
    assert name == "average"
    assert GAN.sampled(make_gan(average=0).config) == "generator"
    inputs = draw_inputs(gan.config, gan.facts, 10, seed=0)
    images = generate(gan.networks[name].eval(), inputs)
    save_generator(tmp_path, gan.networks[name], gan.config, gan.facts)
    loaded, _ = load_generator(tmp_path)
    assert torch.equal(generate(loaded, inputs), images)
    assert not torch.equal(generate(gan.generator.eval(), inputs), images)


@pytest.mark.parametrize("settings", SETTINGS)
def test_resume_restores_it_bit_for_bit(
    make_gan: Make,
    advance: Advance,
    real_batches: Batches,
    flat: Flat,
    same: Same,
    settings: dict[str, Any],
) -> None:
    gan = make_gan(**settings, average=100)
    for index in range(2):
        advance(gan, real_batches(1, index))
    saved = copy.deepcopy(gan.state_dict())
    again = make_gan(**settings, average=100)
    again.load_state_dict(saved)
    for each in (gan, again):
        for index in (2, 3):
            advance(each, real_batches(1, index))
    assert same(flat(again.state_dict()), flat(gan.state_dict()))
    assert not same(flat(saved["networks"]["average"]), flat(gan.networks["average"].state_dict()))
