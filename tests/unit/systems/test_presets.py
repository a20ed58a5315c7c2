"""Every preset trains on its data's shapes; most have layers and settings written down by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from harness.data import Facts, load_dataset
from harness.study.presets import load_preset, preset_names
from harness.systems import Budget, System, TrainConfig, parse_config, system_of
from harness.systems.gan.losses import LOSSES
from harness.systems.layers import Dropout, Maxout

MNIST = Facts(sample_shape=(1, 28, 28), num_classes=10)
CPU = torch.device("cpu")

Small = Any  # what makes batches, see conftest.py


def config_of(name: str, **changes: Any) -> TrainConfig:
    return parse_config(load_preset(name).for_one_run() | changes, f"preset {name}")


def facts_for(name: str) -> Facts:
    """Return what a preset's networks are built for: its own data's, else MNIST's."""
    dataset = load_preset(name).dataset
    return MNIST if dataset is None else load_dataset(dataset, Path("unused")).facts


def start(name: str, **changes: Any) -> System[Any]:
    config = config_of(name, **changes)
    return system_of({"system": config.system})(config, facts_for(name), CPU)


def networks_of(name: str) -> dict[str, nn.Module]:
    """Return a preset's networks for MNIST, without their weights."""
    config = config_of(name)
    with torch.device("meta"):
        builders = system_of({"system": config.system}).builders(config, MNIST)
        return {key: build() for key, build in builders.items()}


@pytest.mark.parametrize("name", preset_names())
def test_it_trains_on_the_shapes_of_its_data(name: str, small: Small) -> None:
    system = start(name, batch_size=4)
    batches = small.stream(system)
    before = torch.get_rng_state()
    for number in range(2):
        measures = system.step(batches.take, number / 2)
        assert all(math.isfinite(value.item()) for value in measures.values())
    assert system.is_finite()
    inputs = small.inputs(system.config, system.facts, 3, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.inference_mode():
        images = system.networks[type(system).sampled(system.config)].eval()(*inputs)
    assert images.shape == (3, *facts_for(name).sample_shape)
    assert images.abs().max() <= 1 or not system.facts.kind.bounded
    assert images.std() > 0


@pytest.mark.parametrize("name", preset_names())
def test_it_says_how_long_it_trains_and_where_it_deviates(name: str) -> None:
    preset = load_preset(name)
    assert preset.budget is not None
    assert preset.deviations


# Layers by hand.


def described(network: nn.Module) -> Iterator[str]:
    """Return a line for every layer that computes, in order."""
    for layer in network.modules():
        match layer:
            case nn.Linear():
                yield f"linear {layer.in_features} {layer.out_features}{_bias(layer)}"
            case nn.Conv2d() | nn.ConvTranspose2d():
                kind = "conv" if isinstance(layer, nn.Conv2d) else "up"
                sizes = f"{layer.kernel_size[0]}/{layer.stride[0]} p{layer.padding[0]}"
                yield f"{kind} {layer.in_channels} {layer.out_channels} {sizes}{_bias(layer)}"
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                yield f"bn {layer.num_features}"
            case nn.LeakyReLU():
                yield f"leaky {layer.negative_slope}"
            case nn.MaxPool2d() | nn.AvgPool2d():
                kind = "pool" if isinstance(layer, nn.MaxPool2d) else "mean"
                yield f"{kind} {layer.kernel_size}"
            case nn.Upsample():
                yield f"{layer.mode} {layer.scale_factor:g}"
            case Maxout():
                yield f"maxout {layer.num_pieces}"
            case Dropout():
                yield f"dropout {layer.probability}"
            case nn.Embedding():
                yield f"embedding {layer.num_embeddings} {layer.embedding_dim}"
            case nn.ReLU() | nn.Tanh() | nn.Sigmoid():
                yield type(layer).__name__.lower()
            case ParametrizationList():
                pass  # the weight of the layer that holds it
            case _:
                # What is left holds others, or changes shapes alone.
                assert not list(layer.parameters(recurse=False)), layer


def _bias(layer: Any) -> str:
    return "" if layer.bias is not None else " no bias"


def mlp(sizes: list[int], *after: str) -> list[str]:
    """Return fully connected layers, each but the last followed by others; {} is its size."""
    layers = []
    for num_inputs, num_outputs in itertools.pairwise(sizes[:-1]):
        layers += [f"linear {num_inputs} {num_outputs}"]
        layers += [each.format(num_outputs) for each in after]
    return [*layers, f"linear {sizes[-2]} {sizes[-1]}"]


POOL_G = [
    "relu", "bn 1024", "linear 1024 6272", "relu", "bn 6272",
    "up 128 64 4/2 p1", "relu", "bn 64", "up 64 1 4/2 p1", "tanh",
]  # fmt: skip
POOL_D = [
    "leaky 0.2", "pool 2", "conv 32 64 5/1 p0", "leaky 0.2", "pool 2",
    "linear 1024 1024", "leaky 0.2",
]  # fmt: skip
DCGAN_G = [
    "up 100 256 4/1 p0 no bias", "bn 256", "relu", "up 256 128 4/2 p1 no bias", "bn 128", "relu",
    "up 128 64 4/2 p1 no bias", "bn 64", "relu", "up 64 1 4/2 p1 no bias", "tanh",
]  # fmt: skip
DCGAN_D = [
    "conv 1 64 4/2 p1 no bias", "leaky 0.2",
    "conv 64 128 4/2 p1 no bias", "bn 128", "leaky 0.2",
    "conv 128 256 4/2 p1 no bias", "bn 256", "leaky 0.2", "conv 256 1 4/1 p0 no bias",
]  # fmt: skip
WITHOUT_BN = [layer for layer in DCGAN_D if not layer.startswith("bn")]
UP = [
    "bn 256", "relu", "nearest 2", "conv 256 256 3/1 p1", "bn 256", "relu", "conv 256 256 3/1 p1",
    "conv 256 256 1/1 p0", "nearest 2",
]  # fmt: skip
PLAIN = ["relu", "conv 128 128 3/1 p1", "relu", "conv 128 128 3/1 p1"]
MLP_D = [784, 1024, 512, 256, 1]


class Pair(NamedTuple):
    """Layers and number of weights of the network that makes images, and of the other."""

    making: list[str]
    num_making: int
    judging: list[str]
    num_judging: int


PAIRS = {
    "dc_pool": Pair(
        ["linear 100 1024", *POOL_G],
        # with biases: 100 1024, 1024 6272, 128 64 16, 64 16; two of each batch norm's features
        103_424 + 6_428_800 + 131_136 + 1_025 + 2 * (1_024 + 6_272 + 64),
        ["conv 1 32 5/1 p0", *POOL_D, "linear 1024 1"],
        832 + 51_264 + 1_049_600 + 1_025,  # 25 32, 32 25 64, 1024 1024, 1024
    ),
    "mlp_bn": Pair(
        [*mlp([100, 256, 512, 1024, 784], "leaky 0.2", "bn {}"), "sigmoid"],
        25_856 + 131_584 + 525_312 + 803_600 + 2 * (256 + 512 + 1_024),
        mlp(MLP_D, "leaky 0.2", "dropout 0.3"),
        803_840 + 524_800 + 131_328 + 257,
    ),
    "mlp_relu": Pair(
        [*mlp([100, 256, 512, 1024, 784], "relu"), "tanh"],
        25_856 + 131_584 + 525_312 + 803_600,
        mlp(MLP_D, "leaky 0.2"),
        803_840 + 524_800 + 131_328 + 257,
    ),
    "mlp_leaky": Pair(
        [*mlp([100, 256, 512, 1024, 784], "leaky 0.2"), "tanh"],
        25_856 + 131_584 + 525_312 + 803_600,
        mlp([784, 512, 256, 1], "leaky 0.2"),
        401_920 + 131_328 + 257,
    ),
    "mlp_deep": Pair(
        [*mlp([64, 64, 128, 256, 512, 1024, 784], "relu"), "tanh"],
        4_160 + 8_320 + 33_024 + 131_584 + 525_312 + 803_600,
        mlp([784, 1024, 512, 256, 128, 1], "relu"),
        803_840 + 524_800 + 131_328 + 32_896 + 129,
    ),
    "dcgan32": Pair(
        DCGAN_G,
        409_600 + 524_288 + 131_072 + 1_024 + 2 * (256 + 128 + 64),
        DCGAN_D,
        1_024 + 131_072 + 524_288 + 4_096 + 2 * (128 + 256),
    ),
    "wgan": Pair(DCGAN_G, 1_066_880, DCGAN_D, 661_248),
    "wgan_gp": Pair(DCGAN_G, 1_066_880, WITHOUT_BN, 661_248 - 2 * (128 + 256)),
    "cgan": Pair(
        ["embedding 10 50", "linear 150 1024", *POOL_G],
        6_679_105 + 10 * 50 + 50 * 1_024,
        ["embedding 10 784", "conv 2 32 5/1 p0", *POOL_D, "linear 1024 1"],
        1_102_721 + 10 * 784 + 25 * 32,
    ),
    "vae": Pair(
        ["linear 100 1024", *POOL_G],
        6_679_105,
        ["conv 1 32 5/1 p0", *POOL_D, "linear 1024 200"],  # means and log-variances of 100
        1_102_721 + 199 * 1_025,
    ),
    "infogan": Pair(
        [
            "linear 64 1024", "bn 1024", "leaky 0.2", "linear 1024 6272", "bn 6272", "leaky 0.2",
            "up 128 64 4/2 p1", "bn 64", "leaky 0.2", "up 64 1 4/2 p1", "sigmoid",
        ],
        # 64 1024, 1024 6272, 128 64 16, 64 16; two of each batch norm's features
        66_560 + 6_428_800 + 131_136 + 1_025 + 2 * (1_024 + 6_272 + 64),
        [
            "conv 1 64 4/2 p1", "leaky 0.2", "conv 64 128 4/2 p1", "bn 128", "leaky 0.2",
            "linear 6272 1024", "bn 1024", "leaky 0.2", "linear 1024 1",
        ],
        # 16 64, 64 128 16, 6272 1024, 1024
        1_088 + 131_200 + 6_423_552 + 1_025 + 2 * (128 + 1_024),
    ),
    "maxout": Pair(
        [*mlp([100, 1200, 1200, 784], "relu"), "sigmoid"],
        121_200 + 1_441_200 + 941_584,
        [
            "dropout 0.2", "linear 784 1200", "maxout 5", "dropout 0.5",
            "linear 240 1200", "maxout 5", "dropout 0.5", "linear 240 1",
        ],
        942_000 + 289_200 + 241,
    ),
    "resnet": Pair(
        ["linear 128 4096", *UP, *UP, *UP, "bn 256", "relu", "conv 256 1 3/1 p1", "tanh"],
        # 128 4096; three blocks of 256 256 9 twice, 256 256 and two norms; a norm; 256 9
        528_384 + 3 * (2 * 590_080 + 65_792 + 2 * 512) + 512 + 2_305,
        [
            "conv 1 128 3/1 p1", "relu", "conv 128 128 3/1 p1", "mean 2", "mean 2",
            "conv 1 128 1/1 p0", *PLAIN, "mean 2", "mean 2", "conv 128 128 1/1 p0",
            *PLAIN, *PLAIN, "relu", "linear 128 1",
        ],
        # 9 128, 128 128 9, 128; the second block with its 128 128; two plain ones; 128
        1_280 + 147_584 + 256 + 2 * 147_584 + 16_512 + 4 * 147_584 + 129,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(PAIRS))
def test_layers_are_those_by_hand(name: str) -> None:
    pair, networks = PAIRS[name], networks_of(name)
    making, judging = ("decoder", "encoder") if name == "vae" else ("generator", "discriminator")
    assert sorted(networks) == sorted((making, judging))
    assert list(described(networks[making])) == pair.making
    assert list(described(networks[judging])) == pair.judging
    numbers = {
        key: sum(weight.numel() for weight in network.parameters())
        for key, network in networks.items()
    }
    assert numbers == {making: pair.num_making, judging: pair.num_judging}


# Settings by hand.


NORMAL = ("normal", "normal")


class Game(NamedTuple):
    """How a preset trains."""

    lr: float
    betas: tuple[float, float] | None
    """Adam's; None: RMSprop or, with a momentum, SGD."""
    batch_size: int
    images: int
    """Epochs times 60,000."""
    latent_dim: int = 100
    loss: str = "non_saturating"
    d_steps: int = 1
    weight_clip: float | None = None
    penalty: tuple[str, float | None] = ("none", None)
    d_lr: float | None = None
    """Where it is not G's."""
    momentum: float | None = None
    schedule: str = "constant"
    prior: str = "normal"
    conditioning: str = "none"
    inits: tuple[str, str] = ("torch", "torch")
    """G's and D's."""


GAMES = {
    "dc_pool": Game(1e-4, (0.5, 0.999), 128, 20 * 60_000),
    "mlp_bn": Game(2e-4, (0.5, 0.999), 128, 50 * 60_000),
    "mlp_relu": Game(2e-4, (0.9, 0.999), 64, 50 * 60_000),
    "mlp_leaky": Game(2e-4, (0.9, 0.999), 64, 100 * 60_000),
    "mlp_deep": Game(1e-4, (0.9, 0.999), 32, 100 * 60_000, latent_dim=64),
    "dcgan32": Game(2e-4, (0.5, 0.999), 64, 20 * 60_000, inits=NORMAL),
    "wgan": Game(
        5e-5, None, 64, 100 * 60_000,
        loss="wasserstein", d_steps=5, weight_clip=0.01, inits=NORMAL,
    ),
    "wgan_gp": Game(
        1e-4, (0.0, 0.9), 64, 100 * 60_000,
        loss="wasserstein", d_steps=5, penalty=("gradient", 10.0),
        inits=NORMAL,
    ),
    "cgan": Game(1e-4, (0.5, 0.999), 128, 20 * 60_000, conditioning="concatenation"),
    "infogan": Game(
        1e-4, (0.5, 0.999), 64, 15_625 * 64, latent_dim=64, prior="uniform", inits=NORMAL
    ),
    "maxout": Game(
        0.1, None, 100, 250 * 50_000,
        d_lr=0.05, momentum=0.5, inits=("uniform_0_05", "uniform_0_005"),
    ),
    "resnet": Game(
        2e-4, (0.0, 0.9), 64, 100_000 * 5 * 64, latent_dim=128, loss="hinge", d_steps=5,
        schedule="linear", inits=("uniform", "uniform"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(GAMES))
def test_training_is_that_by_hand(name: str) -> None:
    game, system = GAMES[name], start(name)
    config = system.config
    assert config.budget == Budget(images=game.images)
    assert (config.batch_size, config.latent_dim) == (game.batch_size, game.latent_dim)
    assert (config.loss, config.d_steps) == (game.loss, game.d_steps)
    assert config.loss in LOSSES
    assert config.weight_clip == game.weight_clip
    assert (config.penalty, config.penalty_weight) == game.penalty
    assert config.penalty_interval == 1
    assert (config.prior, config.conditioning) == (game.prior, game.conditioning)
    for name, optimizer in system.optimizers.items():
        (group,) = optimizer.param_groups
        assert group["lr"] == (game.d_lr if name == "d" and game.d_lr else game.lr)
        assert group["weight_decay"] == 0
        if game.momentum is not None:
            assert type(optimizer) is torch.optim.SGD
            assert group["momentum"] == game.momentum
        elif game.betas is None:
            assert type(optimizer) is torch.optim.RMSprop
            assert group["momentum"] == 0
        else:
            assert type(optimizer) is torch.optim.Adam
            assert group["betas"] == game.betas
    # None of the tricks that these systems do without.
    told = ("smooth_real", "smooth_fake", "flip_labels", "instance_noise", "average", "warm_up")
    assert {key: getattr(config, key) for key in told} == dict.fromkeys(told, 0)
    assert {config.augment, config.augment_reals} == {"none"}
    assert {config.g_schedule, config.d_schedule} == {game.schedule}
    assert config.pack == 1
    assert (config.g_init, config.d_init) == game.inits


def test_spectral_norm_is_on_every_layer_of_the_residual_discriminator_alone() -> None:
    normed = {
        name: {is_parametrized(layer, "weight") for layer in network.modules()
               if isinstance(layer, nn.Linear | nn.Conv2d)}
        for name, network in networks_of("resnet").items()
    }  # fmt: skip
    assert normed == {"generator": {False}, "discriminator": {True}}


def test_the_vae_maximises_the_evidence_bound() -> None:
    system = start("vae")
    config = system.config
    assert (config.likelihood, config.kl_weight, config.latent_dim) == ("bernoulli", 1.0, 100)
    assert (config.batch_size, config.budget) == (128, Budget(images=20 * 60_000))
    (optimizer,) = system.optimizers.values()
    (group,) = optimizer.param_groups
    assert type(optimizer) is torch.optim.Adam
    assert (group["lr"], group["betas"]) == (1e-3, (0.9, 0.999))
