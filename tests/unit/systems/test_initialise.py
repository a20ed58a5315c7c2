"""How weights start: their spread, their shape, and the norm that stays on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from harness.randomness import seeded
from harness.systems.gan import GAN
from harness.systems.initialise import (
    INITIALISATIONS,
    SCALED,
    WEIGHTED,
    initialise,
    spectrally_normed,
)

Make = Callable[..., GAN]
Advance = Callable[..., dict[str, Tensor]]
Batches = Callable[..., Tensor]

NAMES = list(INITIALISATIONS)


def layers() -> list[nn.Module]:
    """Return one layer of each kind whose weights are drawn."""
    with seeded(0):
        return [
            nn.Linear(120, 80),
            nn.Conv2d(40, 50, 4),
            nn.ConvTranspose2d(60, 30, 4),
            nn.Linear(30, 70),
        ]


def drawn(layer: nn.Module, name: str) -> Tensor:
    with seeded(1):
        initialise(layer, name)
    weight: Tensor = layer.weight.detach()  # type: ignore[operator]
    return weight


@pytest.mark.parametrize("layer", layers())
def test_normal_has_its_deviation(layer: nn.Module) -> None:
    weight = drawn(layer, "normal").double()
    num = weight.numel()
    assert weight.std().item() == pytest.approx(0.02, rel=5 / math.sqrt(2 * num))
    assert abs(weight.mean().item()) < 5 * 0.02 / math.sqrt(num)
    assert weight.abs().max() > 0.05  # 2.5 deviations: no uniform distribution's


@pytest.mark.parametrize("layer", layers())
def test_orthogonal_rows_or_columns_have_length_one(layer: nn.Module) -> None:
    matrix = drawn(layer, "orthogonal").flatten(1)
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(len(matrix)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layer", layers())
def test_uniform_fills_glorots_bound(layer: nn.Module) -> None:
    weight = drawn(layer, "uniform").double()
    per_place = math.prod(weight.shape[2:])
    inputs_and_outputs = (weight.shape[0] + weight.shape[1]) * per_place
    bound = math.sqrt(6 / inputs_and_outputs)
    assert weight.abs().max() <= bound * (1 + 1e-6)
    assert weight.abs().max() > 0.99 * bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize(("name", "bound"), [("uniform_0_05", 0.05), ("uniform_0_005", 0.005)])
@pytest.mark.parametrize("layer", layers())
def test_uniform_with_a_bound_fills_it(layer: nn.Module, name: str, bound: float) -> None:
    weight = drawn(layer, name).double()
    assert 0.99 * bound < weight.abs().max() <= bound * (1 + 1e-6)
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "torch"])
@pytest.mark.parametrize("layer", layers())
def test_biases_start_at_zero(layer: nn.Module, name: str) -> None:
    nn.init.ones_(layer.bias)  # type: ignore[arg-type]
    drawn(layer, name)
    assert layer.bias.abs().max() == 0  # type: ignore[operator]


def test_torch_leaves_weights_as_they_are() -> None:
    layer, again = layers()[0], layers()[0]
    before = torch.get_rng_state()
    initialise(layer, "torch")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(layer.weight, again.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(4000),
        nn.BatchNorm2d(4000),
        nn.InstanceNorm2d(4000, affine=True),
        nn.GroupNorm(2, 4000),
        nn.LayerNorm(4000),
    ],
)
def test_scales_of_norms_are_drawn_by_normal_only(norm: nn.Module) -> None:
    assert isinstance(norm, SCALED)
    for name in set(NAMES) - {"normal"}:
        initialise(norm, name)
        assert torch.equal(norm.weight, torch.ones(4000))  # type: ignore[arg-type]
    nn.init.ones_(norm.bias)  # type: ignore[arg-type]
    scales = drawn(norm, "normal")
    assert scales.mean().item() == pytest.approx(1, abs=5 * 0.02 / math.sqrt(4000))
    assert scales.std().item() == pytest.approx(0.02, rel=5 / math.sqrt(8000))
    assert norm.bias.abs().max() == 0  # type: ignore[operator]


def test_norms_without_scales_are_left_alone() -> None:
    for norm in (nn.BatchNorm2d(3, affine=False), nn.InstanceNorm2d(3)):
        initialise(norm, "normal")
        assert norm.weight is None


# --- within a GAN ---------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["none", "spectral"])
@pytest.mark.parametrize("architecture", ["mlp", "dc", "dc_pool"])
def test_every_weight_of_both_networks_is_drawn(
    make_gan: Make, architecture: str, norm: str
) -> None:
    """Spectral norm comes second: what it divides is what was drawn."""
    maps: dict[str, Any] = {"g_attention": True, "d_attention": True}
    blocks = {"g_residual": 1, "d_residual": 1} | (maps if architecture != "mlp" else {})
    inits = {"g_init": "orthogonal", "d_init": "orthogonal", "g_norm": norm, "d_norm": norm}
    gan = make_gan(architecture=architecture, d_depth=1, **blocks, **inits)
    num = 0
    for network in (gan.generator, gan.discriminator):
        for layer in network.modules():
            if isinstance(layer, WEIGHTED):
                num += 1
                weight = layer.weight
                if norm == "spectral":
                    weight = layer.parametrizations.weight.original  # type: ignore[union-attr]
                singular = torch.linalg.svdvals(weight.detach().flatten(1))
                torch.testing.assert_close(singular, torch.ones_like(singular))
                assert layer.bias is None or layer.bias.abs().max() == 0
    assert num >= 9


def test_each_network_has_its_own_initialisation(make_gan: Make) -> None:
    gan = make_gan(g_init="normal", d_init="uniform", g_width=64, d_width=64)
    of_g, of_d = (
        max(
            layer.weight.abs().max().item()
            for layer in net.modules()
            if isinstance(layer, WEIGHTED)
        )
        for net in (gan.generator, gan.discriminator)
    )
    assert 0.06 < of_g < 0.13  # up to six deviations of 0.02
    assert of_d == pytest.approx(math.sqrt(6 / (64 + 1)), rel=0.05)


# --- spectral norm --------------------------------------------------------------------------------


def largest(layer: nn.Module) -> float:
    """Return the largest singular value of the matrix that a layer multiplies with."""
    weight: Tensor = layer.weight.detach()  # type: ignore[operator]
    if isinstance(layer, nn.ConvTranspose2d):
        weight = weight.transpose(0, 1)  # outputs first, as the others have them
    return torch.linalg.svdvals(weight.flatten(1))[0].item()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(12, 7), (1, 12)),
        (nn.Conv2d(3, 8, 4), (1, 3, 5, 5)),
        (nn.ConvTranspose2d(6, 4, 4), (1, 6, 2, 2)),
    ],
)
def test_largest_singular_value_is_one(layer: nn.Module, shape: tuple[int, ...]) -> None:
    drawn(layer, "normal")
    spectrally_normed(layer)
    inputs = torch.randn(shape)
    for _ in range(100):
        layer(inputs)
    assert largest(layer) == pytest.approx(1, abs=1e-4)
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(30)  # type: ignore[union-attr, operator]
    assert largest(layer) == pytest.approx(1, abs=1e-4)


def test_power_iterations_happen_in_training_only() -> None:
    (layer,) = spectrally_normed(nn.Sequential(nn.Linear(5, 5)))
    vector = layer.parametrizations.weight[0]._u  # type: ignore[union-attr, index]
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(torch.randn(5, 5))  # type: ignore[union-attr]
    before = vector.clone()
    layer.eval()(torch.ones(1, 5))
    assert torch.equal(vector, before)
    layer.train()(torch.ones(1, 5))
    assert not torch.equal(vector, before)


def test_spectrally_normed_gradients_equal_finite_differences() -> None:
    layer = spectrally_normed(nn.Linear(3, 2, bias=False)).double().eval()
    key = "parametrizations.weight.original"
    weight = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = torch.eye(3, dtype=torch.float64)

    def outputs(original: Tensor) -> Tensor:
        result: Tensor = functional_call(layer, {key: original}, (inputs,))
        return result

    assert torch.autograd.gradcheck(outputs, weight.requires_grad_(True))


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_spectrally_normed_networks_are_trained_and_stay_normed(
    make_gan: Make, advance: Advance, real_batches: Batches, architecture: str
) -> None:
    gan = make_gan(architecture=architecture, d_norm="spectral", g_norm="spectral", penalty="r1")
    for index in range(20):
        measures = advance(gan, real_batches(1, index))
    assert all(each.isfinite() for each in measures.values())
    for network in (gan.generator, gan.discriminator):
        normed = [largest(layer) for layer in network.modules() if isinstance(layer, WEIGHTED)]
        assert len(normed) >= 3
        assert normed == pytest.approx([1.0] * len(normed), abs=0.1)
