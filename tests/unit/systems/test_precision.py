"""Networks in bfloat16: what stays float32, and that copies of weights are never old."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from harness.systems.precision import InBFloat16, frozen


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 3))


def inputs(num: int = 32) -> Tensor:
    return torch.randn(num, 6, generator=torch.Generator().manual_seed(1))


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).detach().norm() / other.detach().norm())


def test_results_and_gradients_are_float32_and_nearly_those_of_float32() -> None:
    net = network()
    half = InBFloat16(net)
    x = inputs().requires_grad_()
    found = half(x)
    assert found.dtype == torch.float32
    right = net(x)
    assert 0 < distance(found, right) < 0.02
    wanted = [x, *net.parameters()]
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), wanted),
        torch.autograd.grad(right.square().sum(), wanted),
        strict=True,
    ):
        assert one.dtype == torch.float32
        # A bias before batch norm has no gradient but rounding.
        assert distance(one, other) < 0.05 or other.abs().max() < 1e-3


def test_the_network_has_its_own_weights_again_after_a_pass() -> None:
    net = network()
    before = dict(net.named_parameters())
    half = InBFloat16(net)
    half(inputs())
    assert all(weight is before[name] for name, weight in net.named_parameters())
    with pytest.raises(RuntimeError):
        half(torch.randn(2, 5))
    assert all(weight is before[name] for name, weight in net.named_parameters())
    assert {weight.dtype for weight in net.parameters()} == {torch.float32}
    assert {buffer.dtype for buffer in net.buffers()} == {torch.float32, torch.int64}


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "fused adam": lambda weights: torch.optim.Adam(weights, 0.1, fused=True),
    "fused adamw": lambda weights: torch.optim.AdamW(weights, 0.1, fused=True),
    "fused sgd": lambda weights: torch.optim.SGD(weights, 0.1, fused=True),
    "rmsprop": lambda weights: torch.optim.RMSprop(weights, 0.1),
}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_pass_after_an_update_uses_the_new_weights(name: str) -> None:
    # Fused optimisers do not raise the versions of the weights that they change.
    net = network()
    half = InBFloat16(net)
    optimizer = OPTIMIZERS[name](list(net.parameters()))
    for _ in range(3):
        optimizer.zero_grad()
        half(inputs()).square().sum().backward()
        optimizer.step()
        assert distance(half(inputs()), net(inputs())) < 0.02


def test_a_pass_after_any_other_change_uses_the_new_weights() -> None:
    net, other = network(), network()
    half = InBFloat16(net)
    half(inputs())
    with torch.no_grad():
        torch._foreach_clamp_max_(list(net.parameters()), 0.05)
    assert distance(half(inputs()), net(inputs())) < 0.02
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(3)
    net.load_state_dict(other.state_dict())
    assert distance(half(inputs()), other(inputs())) < 0.02


def test_backward_after_an_update_is_an_error_as_it_is_in_float32() -> None:
    net = network()
    half = InBFloat16(net)
    loss = half(inputs()).square().sum()
    with torch.no_grad():
        net[3].weight.add_(1)
    half(inputs())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_two_passes_add_their_gradients_up() -> None:
    net = nn.Sequential(nn.Linear(6, 4))
    half = InBFloat16(net)
    x = inputs().bfloat16().float()
    (half(x).sum() + half(2 * x).sum()).backward()
    assert net[0].weight.grad is not None
    assert torch.allclose(net[0].weight.grad, 3 * x.sum(0).expand(4, -1), rtol=0.02, atol=0.05)


def test_a_pass_in_float32_and_one_in_bfloat16_share_weights() -> None:
    net = network()
    half = InBFloat16(net)
    x = inputs().requires_grad_()
    (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)  # as penalties do
    (slope.square().sum() + half(x).square().sum()).backward()
    assert all(weight.grad is not None for weight in net.parameters())


def test_spectral_norm_is_applied_in_bfloat16_too() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(spectral_norm(nn.Linear(6, 20)), nn.ReLU(), spectral_norm(nn.Linear(20, 1)))
    half = InBFloat16(net)
    net.eval()  # no power iteration, so that both passes have the same weight
    assert 0 < distance(half(inputs()), net(inputs())) < 0.02


def test_tanh_is_computed_in_float32() -> None:
    x = torch.full((2, 1), -3.8).requires_grad_()
    output = InBFloat16(nn.Sequential(nn.Tanh()))(x)
    (slope,) = torch.autograd.grad(output.sum(), x)
    assert (output > -1).all()
    assert (slope > 0).all()
    rounded = x.detach().bfloat16().requires_grad_()  # without that it is -1, with a slope of 0
    assert (torch.autograd.grad(nn.Tanh()(rounded).sum(), rounded)[0] == 0).all()


def test_frozen_weights_get_no_gradient_and_thaw() -> None:
    net = network()
    half = InBFloat16(net)
    x = inputs().requires_grad_()
    with frozen(net):
        loss = half(x).square().sum()
    loss.backward()
    assert x.grad is not None
    assert all(weight.grad is None for weight in net.parameters())
    assert all(weight.requires_grad for weight in net.parameters())
    with pytest.raises(ValueError, match="stop"), frozen(net):
        raise ValueError("stop")
    assert all(weight.requires_grad for weight in net.parameters())


def test_bits_are_the_same_every_time() -> None:
    outputs = [InBFloat16(network())(inputs()) for _ in range(3)]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
