"""The package's own pairs: their layers, and what each setting changes in them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from harness.config import parse
from harness.data import Facts
from harness.errors import HarnessError
from harness.randomness import seeded
from harness.systems.convolutions import DoublingConv, ToImages
from harness.systems.gan import GANConfig
from harness.systems.layers import ACTIVATIONS, Dropout, activation
from harness.systems.pairs import build_discriminator, build_generator

NAMES = ["mlp", "dc"]
LATENT_DIM = 6
WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
NORM_LAYERS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.GroupNorm,
    nn.InstanceNorm2d,
    nn.LayerNorm,
)


def config(name: str, **changes: Any) -> GANConfig:
    """Return a config in which both networks have the same settings."""
    base = {"width": 4, "depth": 2, "norm": "none", "activation": "relu", "dropout": 0.0}
    both = {f"{own}_{key}": value for own in "gd" for key, value in (base | changes).items()}
    return parse(GANConfig, {"architecture": name, "latent_dim": LATENT_DIM, **both}, "test")


def generator(chosen: GANConfig, shape: tuple[int, int, int]) -> nn.Module:
    with seeded(1):
        return build_generator(chosen, Facts(sample_shape=shape))


def discriminator(chosen: GANConfig, shape: tuple[int, int, int]) -> nn.Module:
    with seeded(1):
        return build_discriminator(chosen, shape)


def make_g(name: str, shape: tuple[int, int, int] = (1, 8, 8), **changes: Any) -> nn.Module:
    return generator(config(name, **changes), shape)


def make_d(name: str, shape: tuple[int, int, int] = (1, 8, 8), **changes: Any) -> nn.Module:
    return discriminator(config(name, **changes), shape)


def latents(num: int) -> Tensor:
    return torch.randn(num, LATENT_DIM, generator=torch.Generator().manual_seed(0))


def pictures(num: int, shape: tuple[int, int, int] = (1, 8, 8)) -> Tensor:
    return torch.rand(num, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def layers(module: nn.Module, kinds: Any) -> list[Any]:
    return [layer for layer in module.modules() if isinstance(layer, kinds)]


def num_outputs(module: nn.Module) -> list[int]:
    return [
        layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        for layer in layers(module, WEIGHTED)
    ]


def attach(module: nn.Module, seed: int = 0) -> torch.Generator:
    generator = torch.Generator().manual_seed(seed)
    for layer in layers(module, Dropout):
        layer.generator = generator
    return generator


@pytest.mark.parametrize("name", NAMES)
def test_generator_uses_its_whole_range(name: str) -> None:
    images = make_g(name)(latents(8) * 1e6)
    assert images.min() < -0.99
    assert images.max() > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_not_squashed(name: str) -> None:
    d = make_d(name)
    logits = d(pictures(4) * 1e6)
    assert logits.abs().max() > 10


def test_mlp_widths_double_in_g_and_mirror_in_d() -> None:
    silent = parse(GANConfig, {"architecture": "mlp"}, "test")
    shape = (1, 28, 28)
    g, d = generator(silent, shape), discriminator(silent, shape)
    assert num_outputs(g) == [256, 512, 1024, 784]
    assert num_outputs(d) == [1024, 512, 256, 1]
    assert layers(g, nn.Linear)[0].in_features == 100
    assert layers(d, nn.Linear)[0].in_features == 784


def test_dc_channels_halve_in_g_and_double_in_d() -> None:
    silent = parse(GANConfig, {"architecture": "dc"}, "test")
    shape = (3, 32, 32)
    g, d = generator(silent, shape), discriminator(silent, shape)
    assert num_outputs(g) == [128 * 8 * 8, 64, 3]
    assert num_outputs(d) == [64, 128, 1]
    assert layers(d, nn.Linear)[0].in_features == 128 * 8 * 8
    deeper = make_g("dc", (1, 32, 32), width=4, depth=4)
    assert num_outputs(deeper) == [32 * 2 * 2, 16, 8, 4, 1]
    assert num_outputs(make_d("dc", (1, 32, 32), width=4, depth=4)) == [4, 8, 16, 32, 1]


def test_dc_initialisation_follows_radford() -> None:
    settings = {"architecture": "dc", "g_width": 32, "d_width": 32}
    chosen = parse(GANConfig, settings | {"g_norm": "batch", "d_norm": "batch"}, "test")
    g, d = generator(chosen, (1, 32, 32)), discriminator(chosen, (1, 32, 32))
    for layer in layers(g, WEIGHTED) + layers(d, WEIGHTED):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert layer.weight.mean().item() == pytest.approx(0, abs=0.005)
        assert not layer.bias.any()
    for layer in layers(g, nn.BatchNorm2d):
        assert layer.weight.mean().item() == pytest.approx(1, abs=0.02)
        assert 0 < layer.weight.std() < 0.05
        assert not layer.bias.any()


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_depth_counts_hidden_layers(name: str, depth: int) -> None:
    g = make_g(name, depth=depth, dropout=0.1)
    d = make_d(name, depth=depth, dropout=0.1)
    for module in (g, d):
        assert len(layers(module, WEIGHTED)) == depth + 1
        assert len(layers(module, nn.ReLU)) == depth
        assert len(layers(module, Dropout)) == depth


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [make_g, make_d])
def test_width_scales_the_weights(make: Any, name: str) -> None:
    narrow, wide = (sum(p.numel() for p in make(name, width=w).parameters()) for w in (4, 8))
    assert wide > 1.5 * narrow


@pytest.mark.parametrize("chosen", list(ACTIVATIONS))
@pytest.mark.parametrize("name", NAMES)
def test_activation_is_the_chosen_one(name: str, chosen: str) -> None:
    for module in (make_g(name, activation=chosen), make_d(name, activation=chosen)):
        assert len(layers(module, ACTIVATIONS[chosen])) == 2
        for other in set(ACTIVATIONS) - {chosen}:
            assert not layers(module, ACTIVATIONS[other])


def test_leaky_relu_has_slope_one_fifth() -> None:
    assert activation("leaky_relu")(torch.tensor(-1.0)).item() == pytest.approx(-0.2)


@pytest.mark.parametrize("name", NAMES)
def test_no_norm_means_none(name: str) -> None:
    for module in (make_g(name), make_d(name)):
        assert not layers(module, NORM_LAYERS)
        assert not list(module.buffers())


@pytest.mark.parametrize(
    ("name", "norm", "kind"),
    [
        ("mlp", "batch", nn.BatchNorm1d),
        ("mlp", "layer", nn.LayerNorm),
        ("mlp", "group", nn.GroupNorm),
        ("dc", "batch", nn.BatchNorm2d),
        ("dc", "layer", nn.GroupNorm),
        ("dc", "group", nn.GroupNorm),
        ("dc", "instance", nn.InstanceNorm2d),
    ],
)
def test_norm_layers_follow_hidden_layers(name: str, norm: str, kind: type[nn.Module]) -> None:
    assert len(layers(make_g(name, norm=norm), kind)) == 2
    # A DC discriminator's first convolution has none (Radford et al. 2016).
    assert len(layers(make_d(name, norm=norm), kind)) == (1 if name == "dc" else 2)
    for layer in layers(make_g(name, norm=norm), NORM_LAYERS):
        assert layer.eps == 1e-5
        if norm == "batch":
            assert layer.momentum == 0.1


@pytest.mark.parametrize(
    ("norm", "mixes"), [("none", False), ("batch", True), ("layer", False), ("spectral", False)]
)
@pytest.mark.parametrize("name", NAMES)
def test_only_batch_norm_mixes_samples(name: str, norm: str, mixes: bool) -> None:
    d = make_d(name, norm=norm).train()
    for parameter in d.parameters():  # DC's start is so small that everything looks equal
        parameter.data.mul_(10)
    images = pictures(4)
    buffers = {key: value.clone() for key, value in d.state_dict().items()}
    first = d(images)[0]
    d.load_state_dict(buffers)
    images[1:] = -images[1:] * 3
    again = d(images)[0]
    assert torch.allclose(first, again, rtol=1e-4, atol=1e-6) is not mixes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [make_g, make_d])
def test_spectral_norm_bounds_every_layer(make: Any, name: str) -> None:
    module = make(name, norm="spectral")
    assert all(is_parametrized(layer, "weight") for layer in layers(module, WEIGHTED))
    assert not layers(module, NORM_LAYERS)
    for _ in range(20):  # power iterations
        module(latents(2) if make is make_g else pictures(2))
    module.eval()
    for layer in layers(module, WEIGHTED):
        weight = layer.weight.detach()
        if isinstance(layer, nn.ConvTranspose2d):
            weight = weight.transpose(0, 1)
        largest = torch.linalg.matrix_norm(weight.flatten(1), 2)
        assert largest.item() == pytest.approx(1, abs=0.1)


def test_dropout_scales_what_it_keeps() -> None:
    layer = Dropout(0.25)
    attach(layer)
    out = layer(torch.ones(100, 100))
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.75])
    # 10,000 draws: the standard error of the share is 0.0043.
    assert (out == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_dropout_draws_anew_from_its_own_generator() -> None:
    layer = Dropout(0.5)
    ones = torch.ones(50)
    before = torch.get_rng_state()
    attach(layer, 3)
    first, second = layer(ones), layer(ones)
    attach(layer, 3)
    torch.manual_seed(99)
    again = layer(ones)
    torch.set_rng_state(before)
    layer(ones)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_dropout_is_the_identity_in_eval_mode_and_without_a_generator() -> None:
    layer = Dropout(0.5)
    ones = torch.ones(50)
    assert torch.equal(layer(ones), ones)
    generator = attach(layer)
    before = generator.get_state()
    assert torch.equal(layer.eval()(ones), ones)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [make_g, make_d])
def test_dropout_is_there_only_on_request(make: Any, name: str) -> None:
    assert not layers(make(name), Dropout)
    module = make(name, dropout=0.3)
    assert [layer.probability for layer in layers(module, Dropout)] == [0.3, 0.3]
    assert not layers(module, (nn.Dropout, nn.Dropout2d))  # they draw from the global state
    attach(module)
    inputs = latents(3) if make is make_g else pictures(3)
    assert not torch.equal(module(inputs), module(inputs))
    module.eval()
    assert torch.equal(module(inputs), module(inputs))


@pytest.mark.parametrize("player", ["g", "d"])
def test_too_deep_a_network_is_refused_by_key_and_value(player: str) -> None:
    key = f"{player}_depth"
    chosen = parse(GANConfig, {"dataset": "mnist", "architecture": "dc", key: 3}, "test")
    with pytest.raises(HarnessError) as caught:
        chosen.check(Facts(sample_shape=(1, 28, 28)))
    message = str(caught.value)
    assert "\n" not in message
    for part in (f"{key} = 3", "'dc'", "divisible by 8", "28x28"):
        assert part in message
    chosen.check(Facts(sample_shape=(1, 32, 32)))


@pytest.mark.parametrize("shape", [(1, 30, 28), (1, 28, 30)])
@pytest.mark.parametrize("name", NAMES)
def test_sides_must_be_multiples_of_four(name: str, shape: tuple[int, int, int]) -> None:
    chosen = parse(GANConfig, {"dataset": "mnist", "architecture": name}, "test")
    with pytest.raises(HarnessError, match=f"multiples of 4, mnist has {shape[1]}x{shape[2]}"):
        chosen.check(Facts(sample_shape=shape))


def test_a_deep_mlp_fits_any_shape() -> None:
    chosen = parse(GANConfig, {"architecture": "mlp", "g_depth": 7, "d_depth": 9}, "test")
    chosen.check(Facts(sample_shape=(1, 28, 28)))


def test_only_the_layer_that_makes_images_is_no_kernel_of_torchs_in_float32() -> None:
    *inner, last = layers(make_g("dc", (1, 16, 16), depth=3, width=2), nn.ConvTranspose2d)
    assert [type(layer) for layer in inner] == [DoublingConv] * 2
    assert type(last) is ToImages
