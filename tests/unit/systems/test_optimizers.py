"""Optimisers' steps, schedules and clipping, each worked out by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.config import parse
from harness.data import Batch
from harness.errors import HarnessError
from harness.systems.gan import GAN, GANConfig
from harness.systems.optimizers import OPTIMIZERS, SCHEDULES, Learner, OptimizerSettings

Make = Callable[..., GAN]
Batches = Callable[..., Tensor]
Flat = Callable[..., dict[str, Any]]
Same = Callable[..., bool]

LR = 0.1
START = [1.0, -2.0, 0.5]
GRADIENTS = [[0.3, -0.4, 1.2], [-0.1, 0.2, 0.6], [2.0, 0.1, -0.3]]


def learner(weights: Tensor, lr: float = LR, **settings: Any) -> Learner:
    return Learner([weights], lr, OptimizerSettings(**settings))  # type: ignore[list-item]


def weights() -> nn.Parameter:
    return nn.Parameter(torch.tensor(START, dtype=torch.float64))


def trained(steps: int, **settings: Any) -> list[float]:
    """Return weights after steps on losses with the gradients above."""
    own = weights()
    each = learner(own, **settings)
    for gradient in GRADIENTS[:steps]:
        each.update((own * torch.tensor(gradient, dtype=torch.float64)).sum())
    return own.tolist()


# --- steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "step"),
    [
        # Both moments are corrected for their start at 0: the first step has length lr.
        ("adam", {}, lambda w, g: w - LR * g / (abs(g) + 1e-8)),
        (
            "adam",
            {"weight_decay": 0.5},  # L2: part of the gradient
            lambda w, g: w - LR * (g + 0.5 * w) / (abs(g + 0.5 * w) + 1e-8),
        ),
        ("adamw", {}, lambda w, g: w - LR * g / (abs(g) + 1e-8)),
        (
            "adamw",
            {"weight_decay": 0.5},  # decoupled
            lambda w, g: w * (1 - LR * 0.5) - LR * g / (abs(g) + 1e-8),
        ),
        # A hundredth of the square: a tenth of the gradient.
        ("rmsprop", {}, lambda w, g: w - LR * g / (0.1 * abs(g) + 1e-8)),
        (
            "rmsprop",
            {"weight_decay": 0.5},
            lambda w, g: w - LR * (g + 0.5 * w) / (0.1 * abs(g + 0.5 * w) + 1e-8),
        ),
        ("sgd", {}, lambda w, g: w - LR * g),
        ("sgd", {"weight_decay": 0.5, "momentum": 0.9}, lambda w, g: w - LR * (g + 0.5 * w)),
    ],
)
def test_first_step_by_hand(
    name: str, settings: dict[str, Any], step: Callable[[float, float], float]
) -> None:
    expected = [step(w, g) for w, g in zip(START, GRADIENTS[0], strict=True)]
    assert trained(1, optimizer=name, **settings) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize(("beta1", "beta2"), [(0.5, 0.999), (0.0, 0.9), (0.9, 0.99)])
def test_adam_by_hand(name: str, beta1: float, beta2: float) -> None:
    found = trained(3, optimizer=name, adam_beta1=beta1, adam_beta2=beta2)
    for index, expected in enumerate(START):
        first = second = 0.0
        for step, gradient in enumerate((each[index] for each in GRADIENTS), start=1):
            first = beta1 * first + (1 - beta1) * gradient
            second = beta2 * second + (1 - beta2) * gradient**2
            change = first / (1 - beta1**step) / (math.sqrt(second / (1 - beta2**step)) + 1e-8)
            expected -= LR * change  # noqa: PLW2901
        assert found[index] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_momentum_by_hand(name: str, momentum: float) -> None:
    found = trained(3, optimizer=name, momentum=momentum)
    for index, expected in enumerate(START):
        speed = square = 0.0
        for gradient in (each[index] for each in GRADIENTS):
            square = 0.99 * square + 0.01 * gradient**2
            speed = momentum * speed
            speed += gradient / (math.sqrt(square) + 1e-8) if name == "rmsprop" else gradient
            expected -= LR * speed  # noqa: PLW2901
        assert found[index] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimiser_walks_downhill(name: str) -> None:
    own = weights()
    each = learner(own, 0.05, optimizer=name, adam_beta1=0.9)
    losses = []
    for _ in range(300):
        loss = (own - 3).square().sum()
        losses.append(loss.item())
        each.update(loss)
    assert losses[-1] < 0.05 < losses[0]


def test_gradients_do_not_add_up_over_steps() -> None:
    own = weights()
    each = learner(own, optimizer="sgd")
    norms = [each.update((own * 2).sum()).item() for _ in range(3)]
    assert norms == [pytest.approx(math.sqrt(12))] * 3
    assert own.tolist() == pytest.approx([value - 3 * LR * 2 for value in START])


def test_weights_of_others_get_no_gradient() -> None:
    own, others = weights(), weights()
    learner(own).update((own * others).sum())
    assert others.grad is None


# --- clipping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, 0.5, 13.0, 20.0])
def test_gradients_are_cut_to_length_and_recorded_before(limit: float | None) -> None:
    two = [nn.Parameter(torch.zeros(size, dtype=torch.float64)) for size in (2, 1)]
    each = Learner(two, LR, OptimizerSettings(optimizer="sgd", clip_grad=limit))
    norm = each.update((two[0] * torch.tensor([3.0, 4.0])).sum() + (two[1] * 12.0).sum())
    assert norm.item() == pytest.approx(13)  # √(9 + 16 + 144): over all weights together
    length = min(13.0, limit or 13.0)
    after = torch.cat([weight.grad for weight in two if weight.grad is not None])
    assert after.norm().item() == pytest.approx(length, rel=1e-6)
    walked = torch.cat([weight.detach() for weight in two])
    expected = [-LR * value * length / 13 for value in (3.0, 4.0, 12.0)]
    assert walked.tolist() == pytest.approx(expected, rel=1e-6)


def test_clipping_records_the_norm_before_in_a_gan(make_gan: Make, real_batches: Batches) -> None:
    batch = Batch(images=real_batches(1)[0], labels=None)
    plain = make_gan(optimizer="sgd").step(lambda: batch, 0.0)
    gan = make_gan(optimizer="sgd", clip_grad=1e-3, d_clip_grad=1e-4)
    clipped = gan.step(lambda: batch, 0.0)
    assert torch.equal(clipped["d_grad_norm"], plain["d_grad_norm"])
    assert clipped["g_grad_norm"] > 1e-3
    for network, limit in ((gan.generator, 1e-3), (gan.discriminator, 1e-4)):
        gradients = [each.grad for each in network.parameters() if each.grad is not None]
        assert nn.utils.get_total_norm(gradients).item() == pytest.approx(limit, rel=0.01)


# --- schedules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "warm_up", "expected"),
    [
        ("constant", 0.0, {0.0: 1, 0.5: 1, 0.999: 1}),
        ("linear", 0.0, {0.0: 1, 0.25: 0.75, 0.9: 0.1}),
        ("cosine", 0.0, {0.0: 1, 1 / 3: 0.75, 0.5: 0.5, 2 / 3: 0.25}),
        ("constant", 0.2, {0.0: 0, 0.1: 0.5, 0.2: 1, 0.6: 1}),
        ("linear", 0.2, {0.05: 0.25, 0.2: 1, 0.6: 0.5, 0.92: 0.1}),
        ("cosine", 0.5, {0.25: 0.5, 0.5: 1, 0.75: 0.5, 2 / 3: 0.75}),
    ],
)
def test_schedules_by_hand(schedule: str, warm_up: float, expected: dict[float, float]) -> None:
    each = learner(weights(), 0.4, schedule=schedule, warm_up=warm_up)
    for done, factor in expected.items():
        assert each.factor(done) == pytest.approx(factor, abs=1e-12)
        each.set_rate(done)
        assert each.optimizer.param_groups[0]["lr"] == pytest.approx(0.4 * factor, abs=1e-12)


@pytest.mark.parametrize("warm_up", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_rates_never_rise_after_the_warm_up_and_stay_in_range(
    schedule: str, warm_up: float
) -> None:
    each = learner(weights(), schedule=schedule, warm_up=warm_up)
    shares = [index / 1000 for index in range(1000)]
    factors = [each.factor(done) for done in shares]
    assert all(0 <= factor <= 1 for factor in factors)
    after = [f for done, f in zip(shares, factors, strict=True) if done >= warm_up]
    assert after[0] == pytest.approx(1)
    assert after == sorted(after, reverse=True)
    # The steepest falls by twice a step's share of what the warm-up leaves.
    assert after[-1] == pytest.approx(0 if schedule != "constant" else 1, abs=0.021)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_step_uses_the_rate_of_its_time(name: str) -> None:
    own = weights()
    each = learner(own, optimizer=name, warm_up=0.5)
    each.set_rate(0.0)
    each.update(own.sum())
    assert own.tolist() == START  # a rate of 0
    walked = []
    for done in (0.125, 0.5):
        before = own.detach().clone()
        each.set_rate(done)
        each.update(own.sum())
        walked.append((before - own.detach()).abs().max().item())
    assert walked[0] < walked[1]
    if name == "sgd":
        assert walked == pytest.approx([0.25 * LR, LR])


# --- settings of a GAN ----------------------------------------------------------------------------


def test_settings_of_one_network_win_over_those_of_both() -> None:
    shared: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.9, "clip_grad": 2.0}
    own: dict[str, Any] = {"d_optimizer": "adamw", "d_weight_decay": 0.1, "g_warm_up": 0.2}
    config = parse(GANConfig, shared | own, "test")
    expected = OptimizerSettings(**shared)
    changes = {"optimizer": "adamw", "weight_decay": 0.1}
    assert config.optimizer_settings("d_") == expected.model_copy(update=changes)
    assert config.optimizer_settings("g_") == expected.model_copy(update={"warm_up": 0.2})
    assert parse(GANConfig, config.model_dump(), "test") == config


def test_networks_learn_by_their_own_settings(make_gan: Make) -> None:
    gan = make_gan(
        optimizer="sgd", momentum=0.5, d_optimizer="adam", d_adam_beta1=0.0, g_lr=0.1, d_lr=0.2
    )
    assert isinstance(gan.optimizers["g"], torch.optim.SGD)
    assert isinstance(gan.optimizers["d"], torch.optim.Adam)
    (g_group,), (d_group,) = (gan.optimizers[name].param_groups for name in ("g", "d"))
    assert (g_group["lr"], g_group["momentum"]) == (0.1, 0.5)
    assert (d_group["lr"], d_group["betas"]) == (0.2, (0.0, 0.999))
    for group, network in ((g_group, gan.generator), (d_group, gan.discriminator)):
        assert [id(w) for w in group["params"]] == [id(w) for w in network.parameters()]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"optimizer": "adma"}, "optimizer = 'adma': .*did you mean 'adam'"),
        ({"g_schedule": "cosin"}, "g_schedule = 'cosin': .*did you mean 'cosine'"),
        ({"d_clip_grad": 0.0}, r"d_clip_grad = 0\.0"),
        ({"warm_up": 1.0}, r"^test: warm_up = 1\.0: [^(]*$"),  # complained of once
        ({"g_adam_beta3": 0.5}, "did you mean 'g_adam_beta"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(HarnessError, match=complaint):
        parse(GANConfig, settings, "test")


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_resume_restores_moments_counters_and_rates(
    make_gan: Make, real_batches: Batches, flat: Flat, same: Same, name: str
) -> None:
    settings: dict[str, Any] = {
        "optimizer": name,
        "momentum": 0.5,
        "g_schedule": "cosine",
        "d_schedule": "linear",
        "warm_up": 0.25,
    }
    batches = [Batch(images=images, labels=None) for images in real_batches(4)]
    gan = make_gan(**settings)
    for index, done in enumerate((0.2, 0.4)):
        gan.step(lambda index=index: batches[index], done)
    saved = copy.deepcopy(gan.state_dict())
    again = make_gan(**settings)
    again.load_state_dict(saved)
    for key in ("g", "d"):
        rates = [each.optimizers[key].param_groups[0]["lr"] for each in (again, gan)]
        assert rates[0] == rates[1] < 2e-4
    for index, done in ((2, 0.6), (3, 0.8)):
        measures = [flat(each.step(lambda: batches[index], done)) for each in (gan, again)]  # noqa: B023
        assert same(*measures)
    assert same(flat(gan.state_dict()), flat(again.state_dict()))
    assert gan.counts == again.counts == {"d_steps": 4, "g_steps": 4}
