"""Pairs of published comparisons, beside references written down from their tables."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, linear, relu

from harness.config import parse
from harness.data import Facts
from harness.errors import HarnessError
from harness.randomness import seeded
from harness.systems.blocks import Residual, SelfAttention
from harness.systems.gan import GAN, GANConfig
from harness.systems.layers import Dropout
from harness.systems.pairs import build_discriminator, build_generator

GREY = Facts(sample_shape=(1, 28, 28), num_classes=10)
COLOUR = Facts(sample_shape=(3, 32, 32), num_classes=10)
NARROW = {"g_width": 6, "d_width": 5, "latent_dim": 7}


def config(architecture: str, **changes: Any) -> GANConfig:
    return parse(GANConfig, {"architecture": architecture, "dataset": "mnist"} | changes, "test")


def pair(facts: Facts, architecture: str, **changes: Any) -> tuple[nn.Module, nn.Module]:
    """Return generator and discriminator in float64."""
    chosen = config(architecture, **changes)
    chosen.check(facts)
    with seeded(1):
        g = build_generator(chosen, facts)
        return g.double(), build_discriminator(chosen, chosen.framed_shape(facts)).double()


def layers(network: nn.Module, *kinds: type[nn.Module]) -> list[Any]:
    return [layer for layer in network.modules() if isinstance(layer, kinds)]


def num_weights(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- resnet ---------------------------------------------------------------------------------------


def test_residual_pair_has_the_weights_of_the_papers_table() -> None:
    """Table 4 of Miyato et al. 2018 for 32x32x3, every layer with its bias."""
    with torch.device("meta"):
        chosen = config("resnet", latent_dim=128)
        g = build_generator(chosen, COLOUR)
        d = build_discriminator(chosen, COLOUR.sample_shape)
    dense = (128 + 1) * 4 * 4 * 256
    convolution, shortcut, norm = (256 * 9 + 1) * 256, (256 + 1) * 256, 2 * 256
    up = 2 * convolution + shortcut + 2 * norm
    assert num_weights(g) == dense + 3 * up + norm + (256 * 9 + 1) * 3 == 4_276_739
    convolution, shortcut = (128 * 9 + 1) * 128, (128 + 1) * 128
    first = (3 * 9 + 1) * 128 + convolution + (3 + 1) * 128
    down, plain = 2 * convolution + shortcut, 2 * convolution
    assert num_weights(d) == first + down + 2 * plain + (128 + 1) == 1_053_825


def test_residual_generator_is_that_of_the_table() -> None:
    """Shortcuts by the table: pixels are repeated first, convolved then."""
    g, _ = pair(COLOUR, "resnet", **NARROW)
    (dense,) = layers(g, nn.Linear)
    norms, convolutions = iter(layers(g, nn.BatchNorm2d)), iter(layers(g, nn.Conv2d))
    latents = values(4, 7)
    maps = dense(latents).view(4, 6, 4, 4)
    for _ in range(3):
        change = interpolate(relu(next(norms)(maps)), scale_factor=2, mode="nearest")
        change = next(convolutions)(change)
        change = next(convolutions)(relu(next(norms)(change)))
        maps = change + next(convolutions)(interpolate(maps, scale_factor=2, mode="nearest"))
    expected = next(convolutions)(relu(next(norms)(maps))).tanh()
    assert next(convolutions, None) is next(norms, None) is None
    torch.testing.assert_close(g(latents), expected)


def test_residual_discriminator_is_that_of_the_table() -> None:
    """Shortcuts by the table: the second block's is convolved first, then made smaller."""
    _, d = pair(COLOUR, "resnet", **NARROW, d_norm="none")
    c = layers(d, nn.Conv2d)
    assert len(c) == 10
    (dense,) = layers(d, nn.Linear)
    images = values(4, 3, 32, 32)
    maps = avg_pool2d(c[1](relu(c[0](images))), 2) + c[2](avg_pool2d(images, 2))
    maps = avg_pool2d(c[4](relu(c[3](relu(maps)))) + c[5](maps), 2)
    for one, other in ((c[6], c[7]), (c[8], c[9])):
        maps = maps + other(relu(one(relu(maps))))
    assert maps.shape == (4, 5, 8, 8)
    torch.testing.assert_close(d(images), dense(relu(maps).sum(dim=3).sum(dim=2)))


@pytest.mark.parametrize(("depth", "side"), [(1, 8), (2, 16), (3, 32), (4, 64)])
def test_residual_pair_fits_sides_of_four_doubled(depth: int, side: int) -> None:
    facts = Facts(sample_shape=(1, side, side))
    g, d = pair(facts, "resnet", **NARROW, g_depth=depth, pad_to=side)
    images = g(values(2, 7))
    assert images.shape == (2, 1, side, side)
    assert d(images).shape == (2, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"g_depth": 2}, r"g_depth = 2 .*must be 16x16, not 32x32; set pad_to"),
        ({"pad_to": 36}, r"g_depth = 3 .*must be 32x32, not 36x36"),
        ({"d_depth": 6}, r"d_depth = 6 .*divisible by 64"),
        ({"d_depth": 5, "d_norm": "instance"}, r"d_norm = 'instance' .*one pixel"),
        ({"g_kernel": 4}, r"g_kernel = 4 .*3x3"),
        ({"d_kernel": 3}, r"d_kernel = 3 .*3x3"),
    ],
)
def test_residual_pair_says_what_it_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        config("resnet", **changes).check(GREY)


def test_settings_of_both_networks_show_in_the_residual_pair() -> None:
    changes = {"norm": "group", "residual": 2, "dropout": 0.1, "attention": True}
    both = {f"{own}_{key}": value for own in "gd" for key, value in changes.items()}
    g, d = pair(COLOUR, "resnet", **NARROW, **both, d_minibatch_std=True)
    # Three blocks in G, four in D. Two activations in each but in D's first, and one at the end.
    for network, num_blocks, num_active, num_norms in ((g, 3, 7, 7), (d, 4, 8, 7)):
        assert len(layers(network, Residual)) == 2 * num_blocks
        assert len(layers(network, SelfAttention)) == 1
        assert len(layers(network, Dropout)) == num_active
        in_blocks = sum(len(layers(block, nn.GroupNorm)) for block in layers(network, Residual))
        assert len(layers(network, nn.GroupNorm)) - in_blocks == num_norms
    assert layers(d, nn.Linear)[-1].in_features == NARROW["d_width"] + 1


def test_a_class_is_projected_on_the_sums_of_the_residual_discriminator() -> None:
    chosen = config("resnet", **NARROW, conditioning="projection", d_norm="none")
    d = GAN.builders(chosen, GREY)["discriminator"]()
    (dense,) = layers(d, nn.Linear)
    assert dense.weight.shape == (11, 5)
    images, classes = values(3, 1, 32, 32).float(), torch.tensor([0, 4, 9])
    features: list[Tensor] = []
    dense.register_forward_pre_hook(lambda _, inputs: features.extend(inputs))
    logits = d(images, classes)
    rows = dense.weight[:1] + dense.weight[1 + classes]
    biases = dense.bias[:1] + dense.bias[1 + classes]
    expected = (features[0] * rows).sum(1) + biases
    torch.testing.assert_close(logits, expected[:, None])


# --- infogan --------------------------------------------------------------------------------------


def test_settings_scale_the_infogan_pair() -> None:
    shape = Facts(sample_shape=(3, 32, 32))
    g, d = pair(shape, "infogan", g_width=4, d_width=4, g_depth=3, d_depth=3)
    assert [each.out_features for each in layers(g, nn.Linear)] == [64, 16 * 4 * 4]
    assert [each.out_channels for each in layers(g, nn.ConvTranspose2d)] == [8, 4, 3]
    assert [each.out_channels for each in layers(d, nn.Conv2d)] == [4, 8, 16]
    assert [each.out_features for each in layers(d, nn.Linear)] == [64, 1]
    with pytest.raises(HarnessError, match=r"d_depth = 3 .*divisible by 8, not 28x28"):
        config("infogan", d_depth=3).check(GREY)


def test_infogan_has_no_norm_under_a_penalty_where_none_is_chosen() -> None:
    assert config("infogan").d_norm == "batch"
    assert config("infogan", penalty="gradient").d_norm == "none"


# --- maxout ---------------------------------------------------------------------------------------


def test_maxout_discriminator_is_the_largest_of_five_of_pixels_in_the_unit_range() -> None:
    _, d = pair(GREY, "maxout", **NARROW)
    first, second, last = layers(d, nn.Linear)
    images = values(3, 1, 28, 28)
    units = (images.flatten(1) + 1) / 2
    for layer in (first, second):
        weights, biases = layer.weight.chunk(5), layer.bias.chunk(5)
        pieces = [linear(units, weights[piece], biases[piece]) for piece in range(5)]
        units = torch.stack(pieces).max(dim=0).values
    assert units.shape == (3, 5)
    torch.testing.assert_close(d(images), last(units))


def test_pixels_that_the_maxout_discriminator_drops_are_black() -> None:
    _, d = pair(GREY, "maxout", **NARROW)
    of_pixels, *_ = layers(d, Dropout)
    of_pixels.generator = torch.Generator().manual_seed(0)
    seen: list[Tensor] = []
    of_pixels.register_forward_hook(lambda *args: seen.append(args[2]))
    d(torch.ones(50, 1, 28, 28, dtype=torch.float64))
    assert seen[0].unique().tolist() == pytest.approx([0, 1 / 0.8])
    # 39,200 draws: the standard error of the share is 0.002.
    assert (seen[0] == 0).double().mean().item() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(("share", "layers_by_share"), [(0.25, [0.1, 0.25, 0.25]), (0.0, [])])
def test_one_setting_rules_all_dropout_of_the_maxout_discriminator(
    share: float, layers_by_share: list[float]
) -> None:
    _, d = pair(GREY, "maxout", **NARROW, d_dropout=share)
    assert [each.probability for each in layers(d, Dropout)] == layers_by_share


@pytest.mark.parametrize("key", ["kernel", "attention", "norm", "residual"])
def test_maxout_pair_says_what_it_has_no_use_for(key: str) -> None:
    value = {"kernel": 4, "attention": True, "norm": "instance", "residual": 1}[key]
    about = "activation" if key == "residual" else key
    with pytest.raises(HarnessError, match=f"d_{about} = "):
        config("maxout", **{f"d_{key}": value}).check(GREY)


def test_maxout_units_may_have_what_follows_any_layer() -> None:
    changes = {"d_norm": "layer", "d_activation": "elu", "d_residual": 1, "d_norm_after": True}
    _, d = pair(GREY, "maxout", **NARROW, **changes, d_minibatch_std=True)
    assert len(layers(d, Residual)) == 2
    # One after each maxout, one in either layer of each residual block's change.
    assert len(layers(d, nn.LayerNorm)) == len(layers(d, nn.ELU)) == 2 + 2 * 2
    assert layers(d, nn.Linear)[-1].in_features == NARROW["d_width"] + 1
