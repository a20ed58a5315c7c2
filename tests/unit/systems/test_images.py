"""Latents, and the images that a generator makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.config import parse
from harness.data import Facts
from harness.errors import HarnessError
from harness.randomness import seeded
from harness.systems import (
    System,
    TrainConfig,
    draw_inputs,
    generate,
    is_conditional,
    save_generator,
)
from harness.systems.gan import GANConfig
from harness.systems.generator import SAMPLES_PER_PASS
from harness.systems.pairs import build_generator

FACTS = Facts(sample_shape=(1, 8, 8), num_classes=10)
SMALL = {"dataset": "digits", "latent_dim": 5, "g_width": 4, "g_depth": 1}


def draw(num: int, latent_dim: int, seed: int) -> Tensor:
    config = parse(GANConfig, SMALL | {"latent_dim": latent_dim}, "test")
    (latents,) = draw_inputs(config, FACTS, num, seed)
    return latents


def test_latents_are_a_function_of_their_seed() -> None:
    before = torch.random.get_rng_state()
    latents = draw(100, 7, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(draw(100, 7, seed=3), latents)
    assert not torch.equal(draw(100, 7, seed=4), latents)
    assert latents.shape == (100, 7)
    assert latents.dtype == torch.float32
    assert latents.device.type == "cpu"


def test_latents_are_standard_normal() -> None:
    latents = draw(20_000, 3, seed=0)
    assert latents.mean(0).abs().max() < 0.04  # 5.6 standard errors
    assert (latents.std(0) - 1).abs().max() < 0.03
    assert torch.corrcoef(latents.T).fill_diagonal_(0).abs().max() < 0.04
    assert len(latents.unique()) > 59_000


class Echo(nn.Module):
    """Returns its latents as images (N, 1, 1, latent_dim), and counts its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.passes: list[int] = []

    def forward(self, latents: Tensor) -> Tensor:
        self.passes.append(len(latents))
        return (self.gain * latents).view(len(latents), 1, 1, -1)


def test_images_are_rounded_and_clamped() -> None:
    levels = torch.tensor([[-1.0, -0.999, -0.99, 0.0, 0.99, 1.0, -7.0, 7.0]])
    images = generate(Echo(), (levels,))
    assert images.dtype == torch.uint8
    assert images.device.type == "cpu"
    # 127.5 (x + 1): 0, 0.1275, 1.275, 127.5, 253.725, 255, and beyond the ends
    assert images.flatten().tolist() == [0, 0, 1, 128, 254, 255, 0, 255]


@pytest.mark.parametrize("num", [1, 499, 500, 501, 1003])
def test_images_do_not_depend_on_how_they_are_split(num: int) -> None:
    echo = Echo()
    latents = draw(num, 4, seed=0)
    images = generate(echo, (latents,))
    assert images.shape == (num, 1, 1, 4)
    assert sum(echo.passes) == num
    assert max(echo.passes) <= SAMPLES_PER_PASS
    one_by_one = torch.cat([generate(echo, (latent[None],)) for latent in latents])
    assert torch.equal(images, one_by_one)


def test_images_of_a_network_do_not_depend_on_how_they_are_split() -> None:
    dropout = {"architecture": "dc", "g_norm": "batch", "g_dropout": 0.3}
    with seeded(0):
        generator = build_generator(parse(GANConfig, SMALL | dropout, "test"), FACTS)
        for weight in generator.parameters():
            weight.data.add_(torch.randn_like(weight), alpha=0.1)
        for _ in range(3):  # batch norm's statistics leave their start
            generator(torch.randn(8, 5))
    generator.eval()
    latents = draw(501, 5, seed=0)
    images = generate(generator, (latents,))
    parts = torch.cat([generate(generator, (part,)) for part in latents.split([1, 400, 100])])
    assert (images.int() - parts.int()).abs().max() <= 1  # sums in another order
    assert torch.equal(generate(generator, (latents,)), images)
    assert images.float().std() > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", [0, 500])
def test_images_that_are_no_numbers(bad: float, where: int) -> None:
    latents = torch.zeros(501, 2)
    latents[where, 1] = bad
    with pytest.raises(FloatingPointError, match="not finite"):
        generate(Echo(), (latents,))


def test_images_carry_no_gradient() -> None:
    echo = Echo()
    generate(echo, (torch.zeros(3, 2),))
    assert echo.gain.grad is None


class Sum(nn.Module):
    """Adds two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (self.gain * (first + second)).view(len(first), 1, 1, -1)


def test_several_inputs_are_split_alike() -> None:
    first, second = draw(1003, 2, seed=0) / 8, draw(1003, 2, seed=1) / 8
    images = generate(Sum(), (first, second))
    assert torch.equal(images, generate(Echo(), (first + second,)))


# Samples of a class.


def stamp_config(stamp: type[System[Any]], **settings: Any) -> TrainConfig:
    return parse(stamp.Config, {"system": "stamp", "dataset": "digits"} | settings, "test")


def test_a_class_may_be_chosen(stamp: type[System[Any]]) -> None:
    config = stamp_config(stamp)
    latents, mixed = draw_inputs(config, FACTS, 50, seed=3)
    assert len(mixed.unique()) > 5
    same_latents, classes = draw_inputs(config, FACTS, 50, seed=3, label=7)
    assert torch.equal(latents, same_latents)
    assert classes.tolist() == [7] * 50
    assert is_conditional(config, FACTS)
    assert torch.equal(stamp.asked_classes(config, (latents, mixed)), mixed)


@pytest.mark.parametrize("label", [-1, 10, 99])
def test_a_class_that_the_data_lack(stamp: type[System[Any]], label: int) -> None:
    with pytest.raises(HarnessError, match=rf"^class {label}: allowed are 0 to 9$"):
        draw_inputs(stamp_config(stamp), FACTS, 5, seed=0, label=label)


@pytest.mark.parametrize("label", [3, 99])
def test_a_class_of_a_system_that_makes_none(stamp: type[System[Any]], label: int) -> None:
    for config in (
        parse(GANConfig, SMALL, "test"),
        stamp_config(stamp, conditional=False),
    ):
        assert not is_conditional(config, FACTS)
        words = f"system = '{config.system}' with these settings makes no samples of a chosen class"
        with pytest.raises(HarnessError, match=f"^{words}$"):
            draw_inputs(config, FACTS, 5, seed=0, label=label)


def test_a_description_passes_the_class_on(stamp: type[System[Any]], tmp_path: Path) -> None:
    config = stamp_config(stamp)
    network = stamp(config, FACTS, torch.device("cpu")).networks["average"]
    spec = save_generator(tmp_path, network, config, FACTS)
    assert spec.is_conditional
    assert spec.draw_inputs(4, seed=0, label=2)[1].tolist() == [2] * 4
    with pytest.raises(HarnessError, match="allowed are 0 to 9"):
        spec.draw_inputs(4, seed=0, label=10)
