"""Layers that styles steer, against loops and values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from harness.errors import HarnessError
from harness.systems.gan.mixing import mixed
from harness.systems.precision import InBFloat16
from harness.systems.styles import (
    MAPPING_RATE,
    MEAN_DECAY,
    Mapping,
    ModulatedConv,
    Noise,
    ScaledLinear,
    Styles,
    crossed,
    truncate,
)


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(layer: nn.Module) -> nn.Module:
    layer = layer.double()
    with torch.no_grad():
        for index, weight in enumerate(layer.parameters()):
            weight.copy_(values(*weight.shape, seed=index + 1))
    return layer


def conv(kernel: int = 3, *, demodulated: bool = True) -> ModulatedConv:
    layer = filled(ModulatedConv(4, 5, kernel, 6, demodulated=demodulated))
    assert isinstance(layer, ModulatedConv)
    return layer


# --- modulated convolutions -----------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("demodulated", [True, False])
def test_each_sample_has_kernels_of_its_own(kernel: int, demodulated: bool) -> None:
    layer = conv(kernel, demodulated=demodulated)
    maps, styles = values(3, 4, 7, 5), values(3, 6, seed=9)
    outputs = layer(maps, styles)
    assert outputs.shape == (3, 5, 7, 5)
    for image, style, output in zip(maps, styles, outputs, strict=True):
        scales = 1 + layer.scales.weight @ style + layer.scales.bias
        kernels = layer.weight.clone()
        for number in range(5):
            kernels[number] = layer.weight[number] * scales[:, None, None]
            if demodulated:
                kernels[number] = kernels[number] / kernels[number].norm()
        expected = conv2d(image[None], kernels, layer.bias, padding=kernel // 2)[0]
        torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-7)


def test_demodulation_keeps_a_variance_of_one() -> None:
    layer = conv()
    with torch.no_grad():
        assert layer.bias is not None
        layer.bias.zero_()
    outputs = layer(values(2, 4, 200, 200), values(1, 6, seed=9).expand(2, -1) * 10)
    # 80,000 values with few neighbours alike: the standard error of a variance is about 0.01.
    variances = outputs.var(dim=(0, 2, 3))
    torch.testing.assert_close(variances, torch.ones_like(variances), rtol=0.05, atol=0)
    plain = conv(demodulated=False)(values(2, 4, 50, 50), values(1, 6, seed=9).expand(2, -1) * 10)
    assert plain.var() > 100


def test_a_style_of_zeros_scales_nothing_at_first() -> None:
    layer = ModulatedConv(4, 5, 3, 6, demodulated=False)
    maps = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = conv2d(maps, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(maps, torch.zeros(2, 6)), expected)


@pytest.mark.parametrize("demodulated", [True, False])
def test_modulated_convolutions_have_right_gradients_twice(demodulated: bool) -> None:
    layer = conv(demodulated=demodulated)
    maps, styles = values(2, 4, 3, 3).requires_grad_(), values(2, 6, seed=9).requires_grad_()
    assert torch.autograd.gradcheck(layer, (maps, styles))
    assert torch.autograd.gradgradcheck(layer, (maps, styles))


def test_a_modulated_convolution_in_bfloat16_is_nearly_that_in_float32() -> None:
    class OfBoth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = ModulatedConv(32, 16, 3, 8, demodulated=True)

        def forward(self, maps: Tensor, styles: Tensor) -> Tensor:
            outputs: Tensor = self.conv(maps, styles)
            return outputs

    network = OfBoth()
    maps, styles = values(4, 32, 8, 8).float(), values(4, 8, seed=1).float().requires_grad_()
    found, right = InBFloat16(network)(maps, styles), network(maps, styles)
    assert 0 < (found - right).norm() / right.norm() < 0.02
    wanted = [styles, *network.parameters()]
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), wanted),
        torch.autograd.grad(right.square().sum(), wanted),
        strict=True,
    ):
        assert one.dtype == torch.float32
        # A demodulated map's energy hardly depends on its style: small differences of large sums.
        assert (one - other).norm() / other.norm() < 0.15


# --- the mapping network --------------------------------------------------------------------------


def test_a_scaled_layer_acts_as_one_of_unit_gain_and_learns_at_its_rate() -> None:
    layer = ScaledLinear(400, 300, 0.01)
    assert layer.weight.std().item() == pytest.approx(100, rel=0.02)
    inputs = values(50, 400).float()
    # A leaky ReLU halves the second moment: times 2 / inputs it is kept.
    assert layer(inputs).square().mean().item() == pytest.approx(2, rel=0.05)
    before = layer(inputs).detach()
    optimizer = torch.optim.Adam(layer.parameters(), 1e-3)
    layer(inputs).sum().backward()
    optimizer.step()
    # Adam moves every number by 1e-3: every weight acts 0.01 sqrt(2 / 400) 1e-3 less, a bias 1e-5.
    moved = 1e-3 * (0.01 * math.sqrt(2 / 400) * inputs @ inputs.sum(0).sign() + 0.01)
    torch.testing.assert_close(before - layer(inputs).detach(), moved[:, None].expand(-1, 300),
                               rtol=0.01, atol=1e-4)  # fmt: skip


def test_without_layers_styles_are_latents_of_mean_square_one() -> None:
    latents = values(5, 8) * 30
    styles = Mapping(8, 0, "leaky_relu")(latents)
    torch.testing.assert_close(styles.square().mean(dim=1), torch.ones(5, dtype=torch.float64))
    ratio = styles / latents
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))


def test_a_mapping_has_its_layers_and_maps_every_latent_alike() -> None:
    mapping = Mapping(8, 3, "leaky_relu")
    layers = [each for each in mapping.modules() if isinstance(each, ScaledLinear)]
    assert [each.rate for each in layers] == [MAPPING_RATE] * 3
    latents = values(5, 4, 8).float()
    torch.testing.assert_close(mapping(latents)[:, 2], mapping(latents[:, 2]))


# --- styles: their mean, and truncation -----------------------------------------------------------


def test_the_mean_style_follows_those_of_training() -> None:
    layer = Styles(3, 2)
    layer(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    first = 1 - MEAN_DECAY
    torch.testing.assert_close(layer.mean, torch.tensor([2.0, 4.0]) * first)
    layer(torch.ones(5, 3, 2))
    torch.testing.assert_close(layer.mean, torch.tensor([2.0, 4.0]) * first * MEAN_DECAY + first)
    kept = layer.mean.clone()
    layer.eval()(torch.ones(5, 2))
    assert torch.equal(layer.mean, kept)


@pytest.mark.parametrize("psi", [0.0, 0.25, 1.0])
def test_truncation_goes_a_share_of_the_way_from_the_mean(psi: float) -> None:
    layer = Styles(3, 2, psi)
    layer.mean.copy_(torch.tensor([1.0, -1.0]))
    styles = values(4, 2).float()
    mean = layer.mean.clone()
    expected = (mean + psi * (styles - mean))[:, None].expand(-1, 3, -1)
    assert torch.equal(layer.train()(styles), styles[:, None].expand(-1, 3, -1))
    layer.mean.copy_(mean)
    torch.testing.assert_close(layer.eval()(styles), expected)
    per_layer = styles[:, None].expand(-1, 3, -1)
    torch.testing.assert_close(layer(per_layer), expected)


def test_what_has_no_styles_cannot_be_truncated() -> None:
    with pytest.raises(HarnessError, match=r"psi 0\.7: this generator has no styles"):
        truncate(nn.Linear(2, 2), 0.7)


# --- mixing ---------------------------------------------------------------------------------------


def test_styles_cross_where_they_are_told_to() -> None:
    first, second = torch.zeros(4, 2), torch.ones(4, 2)
    latents = crossed(first, second, torch.tensor([0, 1, 2, 3]), 3)
    assert latents.shape == (4, 3, 2)
    assert latents[..., 0].tolist() == [[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert torch.equal(latents[..., 0], latents[..., 1])


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_mixing_keeps_the_first_below_a_place_that_varies(probability: float) -> None:
    num, layers = 6000, 5
    first, second = torch.zeros(num, 1), torch.ones(num, 1)
    random = torch.Generator().manual_seed(0)
    before = torch.get_rng_state()
    chosen = mixed(first, second, layers, probability, random)[..., 0]
    assert torch.equal(torch.get_rng_state(), before)
    assert (chosen[:, 0] == 0).all()
    assert (chosen.diff(dim=1) >= 0).all()
    places = (chosen == 0).sum(dim=1)
    # Shares of 6,000 draws: four standard errors are at most 0.026.
    shares = torch.bincount(places, minlength=layers + 1) / num
    assert shares[layers].item() == pytest.approx(1 - probability, abs=0.026)
    for place in range(1, layers):
        assert shares[place].item() == pytest.approx(probability / (layers - 1), abs=0.026)


# --- noise ----------------------------------------------------------------------------------------


def test_noise_is_fresh_in_training_and_constant_in_eval_mode() -> None:
    layer, maps = Noise(3, 4), torch.zeros(5, 2, 3, 4)
    assert torch.equal(layer(maps), layer.constant)  # nobody gave it a generator
    layer.generator = torch.Generator().manual_seed(0)
    before = torch.get_rng_state()
    first, second = layer(maps), layer(maps)
    assert first.shape == (5, 1, 3, 4)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    layer.generator.manual_seed(0)
    assert torch.equal(layer(maps), first)
    state = layer.generator.get_state()
    layer.eval()
    assert torch.equal(layer(maps), layer.state_dict()["constant"])
    assert torch.equal(layer.generator.get_state(), state)
    assert torch.equal(torch.get_rng_state(), before)
