"""Operations of an iteration: by hand, by torch's own counter, and without a trace in training."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from harness.data import Part
from harness.run.flops import ProductCounter, flops_per_iteration
from harness.systems.gan import GAN

Make = Callable[..., GAN]
BATCH = 4  # of small GANs
MLP: dict[str, Any] = {"g_depth": 2, "d_depth": 2}
# One image through every layer of such a pair, two operations per weight.
G = [2 * 3 * 4, 2 * 4 * 8, 2 * 8 * 64]
D = [2 * 64 * 8, 2 * 8 * 4, 2 * 4 * 1]


def counted(gan: GAN, part: Part) -> float | None:
    """Return the operations of one iteration of a system such as this one."""
    bench: Any = types.SimpleNamespace(
        start=lambda config: type(gan)(config, gan.facts, gan.device),
        device=gan.device,
        part=part,
    )
    return flops_per_iteration(gan.config, bench)


def d_update() -> int:
    """Return what D's update takes: G forward; D forward, to its weights and to hidden layers."""
    return BATCH * sum(G) + 2 * BATCH * (sum(D) + sum(D) + sum(D[1:]))


def g_update() -> int:
    """Return what G's update takes: both forward; through D to images; to G's weights and so on."""
    return BATCH * (sum(G) + sum(D) + sum(D) + sum(G) + sum(G[1:]))


@pytest.mark.parametrize("d_steps", [1, 2])
def test_an_mlp_step_by_hand(make: Make, part: Part, d_steps: int) -> None:
    gan = make(**MLP, d_steps=d_steps)
    assert counted(gan, part) == d_steps * d_update() + g_update()


def penalised() -> int:
    """Return what a gradient penalty adds to D's update.

    Points pass forward and back to themselves. From the norms of these gradients it goes on through
    the backward pass: to every weight, and to what each layer was given there but for the last one,
    which was given ones. From there through the forward pass below the last layer, with zeros, for
    leaky ReLUs do not bend: to weights, and to what each layer but the first was given.
    """
    there = sum(D) + sum(D)
    through_backward = sum(D) + sum(D[:-1])
    through_forward = sum(D[:-1]) + sum(D[1:-1])
    return BATCH * (there + through_backward + through_forward)


@pytest.mark.parametrize("d_steps", [1, 2])
def test_a_gradient_penalty_by_hand(make: Make, part: Part, d_steps: int) -> None:
    gan = make(**MLP, d_steps=d_steps, penalty="gradient", penalty_weight=1.0)
    assert counted(gan, part) == d_steps * (d_update() + penalised()) + g_update()


@pytest.mark.parametrize(
    ("interval", "d_steps", "period"), [(3, 1, 3), (3, 2, 3), (4, 2, 2), (6, 4, 3), (2, 2, 1)]
)
def test_lazy_penalties_count_by_their_share(
    make: Make, part: Part, interval: int, d_steps: int, period: int
) -> None:
    lazy = {"penalty": "gradient", "penalty_weight": 1.0, "penalty_interval": interval}
    gan = make(**MLP, d_steps=d_steps, **lazy)
    assert gan.period(gan.config) == period
    per_update = d_update() + penalised() / interval
    assert counted(gan, part) == pytest.approx(d_steps * per_update + g_update(), rel=1e-12)


def test_a_convolution_by_hand() -> None:
    layer = nn.Conv2d(3, 5, 4, 2, 1)
    images = torch.randn(2, 3, 8, 8, requires_grad=True)
    with ProductCounter() as counter:
        outputs = layer(images)
    assert outputs.shape == (2, 5, 4, 4)
    once = 2 * outputs.numel() * 3 * 4 * 4  # every output is a product of 3 channels' kernels
    assert counter.total == once
    with counter:
        outputs.sum().backward()
    assert counter.total == 3 * once  # to weights and to images as much each


@pytest.mark.parametrize(
    "settings",
    [
        {"architecture": "mlp"},
        {"architecture": "dc", "d_norm": "batch"},
        {"architecture": "dc", "loss": "relativistic_average", "d_steps": 2},
        {"architecture": "dc", "g_attention": True},
    ],
)
def test_it_agrees_with_torchs_counter(make: Make, part: Part, settings: dict[str, Any]) -> None:
    gan = make(**settings)
    batch = gan.facts.sample_shape
    images = torch.zeros(BATCH, *batch)
    counter = FlopCounterMode(display=False)
    with counter:
        gan.step(lambda: types.SimpleNamespace(images=images, labels=None), 0.0)  # type: ignore[arg-type, return-value]
    assert counted(make(**settings), part) == counter.get_total_flops() > 0


def test_counting_leaves_no_trace(make: Make, part: Part, same: Any, flat: Any) -> None:
    gan = make(d_dropout=0.2, penalty="gradient", penalty_interval=3)
    before, images, state = flat(gan.state_dict()), part.images.clone(), torch.get_rng_state()
    assert counted(gan, part)
    assert same(flat(gan.state_dict()), before)
    assert torch.equal(part.images, images)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_be_trained_has_no_count(make: Make, part: Part) -> None:
    class Broken(GAN):
        def step(self, take: Any, done: float) -> Any:
            raise RuntimeError("no such kernel")

    assert counted(make(Broken), part) is None
