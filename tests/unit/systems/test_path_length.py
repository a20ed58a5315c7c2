"""Path lengths of maps whose derivatives are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from harness.systems.gan.path_length import DECAY, path_length, path_lengths
from harness.systems.styles import Styles

SHAPE = (2, 4, 4)
PIXELS = 32


class Linear(nn.Module):
    """Styles (N, L, F) -> images A s, with A (C H W, L F)."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, styles: Tensor) -> Tensor:
        return (styles.flatten(1) @ self.matrix.t()).unflatten(1, SHAPE)


def network(scale: float = 1.0) -> nn.Sequential:
    random = torch.Generator().manual_seed(1)
    matrix = torch.randn(PIXELS, 6, generator=random, dtype=torch.float64) * scale
    return nn.Sequential(Styles(3, 2), Linear(matrix)).double()


def latents(num: int) -> Tensor:
    return torch.ones(num, 2, dtype=torch.float64)


def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_length_is_that_of_the_slope_by_the_styles() -> None:
    net = network()
    lengths = path_lengths(net, (latents(5),), random())
    noise = torch.randn(5, *SHAPE, generator=random(), dtype=torch.float64) / 4  # root of H W
    slopes = (noise.flatten(1) @ net[1].matrix).unflatten(1, (3, 2))
    expected = [
        sum(slope[layer].square().sum() / 3 for layer in range(3)).sqrt() for slope in slopes
    ]
    torch.testing.assert_close(lengths, torch.stack(expected))


def test_its_mean_square_is_the_frobenius_norms() -> None:
    net = network()
    squares = path_lengths(net, (latents(20_000),), random()).square()
    # E |A^T y|² = |A|² / (H W), averaged over 3 layers.
    expected = net[1].matrix.square().sum() / 16 / 3
    error = squares.std() / len(squares) ** 0.5
    assert abs(squares.mean() - expected) < 4 * error


def test_a_constant_image_has_length_zero_and_a_finite_gradient() -> None:
    net = network(0.0)
    lengths = path_lengths(net, (latents(3),), random())
    assert lengths.max() < 1e-5
    lengths.sum().backward()
    assert net[1].matrix.grad.isfinite().all()


def test_the_mean_takes_lengths_in_before_it_is_the_target() -> None:
    mean = torch.tensor(1.0)
    lengths = torch.tensor([2.0, 4.0], requires_grad=True)
    value = path_length(lengths, mean)
    target = DECAY * 1 + (1 - DECAY) * 3
    assert mean.item() == pytest.approx(target)
    assert value.item() == pytest.approx(((2 - target) ** 2 + (4 - target) ** 2) / 2)
    value.backward()
    assert lengths.grad is not None
    assert lengths.grad.tolist() == pytest.approx([2 - target, 4 - target])
    assert not mean.requires_grad


def test_lengths_draw_from_their_generator_alone() -> None:
    before = torch.get_rng_state()
    one, other = (path_lengths(network(), (latents(3),), random()) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, other)
