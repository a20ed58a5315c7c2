"""A GAN between steps: what a step reads back, optimisers, sampling, and states that return."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.data import to_uint8
from harness.systems import generate
from harness.systems.gan import GAN
from harness.systems.gan.losses import LOSSES
from harness.systems.gan.penalties import PENALTIES

Make = Callable[..., GAN]
Advance = Callable[..., dict[str, Tensor]]
Batches = Callable[..., Tensor]
Flat = Callable[..., dict[str, Any]]
Same = Callable[..., bool]

SHAPE = (1, 8, 8)

OPTIMIZERS = ["adam", "adamw", "rmsprop", "sgd"]


def sample(gan: GAN, latents: Tensor) -> Tensor:
    """Return images in [-1, 1] as they are before rounding, made as an evaluation makes them."""
    gan.generator.eval()
    rounded = generate(gan.generator, (latents,))
    with torch.inference_mode():
        images: Tensor = gan.generator(latents)
    gan.generator.train()
    assert torch.equal(to_uint8(images), rounded)
    return images


# --- nothing is read back -------------------------------------------------------------------------


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: Tensor, *_: Any) -> Any:
        raise AssertionError("a step read a tensor back to the host")

    for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__"):
        monkeypatch.setattr(Tensor, name, read)


@pytest.mark.parametrize("penalty", list(PENALTIES))
@pytest.mark.parametrize("loss", list(LOSSES))
def test_step_reads_nothing_back(
    make_gan: Make,
    advance: Advance,
    real_batches: Batches,
    loss: str,
    penalty: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gan = make_gan(loss=loss, penalty=penalty, weight_clip=0.1, g_dropout=0.2, d_dropout=0.2)
    batches = real_batches(1)
    with monkeypatch.context() as patch:
        forbid_reading(patch)
        advance(gan, batches)
        advance(gan, batches)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("norm", ["batch", "layer", "spectral"])
@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_no_optimizer_or_norm_reads_back(
    make_gan: Make,
    advance: Advance,
    real_batches: Batches,
    architecture: str,
    norm: str,
    optimizer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gan = make_gan(architecture=architecture, g_norm=norm, d_norm=norm, optimizer=optimizer)
    batches = real_batches(1)
    with monkeypatch.context() as patch:
        forbid_reading(patch)
        advance(gan, batches)
        advance(gan, batches)


# --- optimisers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_settings_reach_the_adams(make_gan: Make, optimizer: str) -> None:
    gan = make_gan(
        optimizer=optimizer, g_lr=0.1, d_lr=0.2, adam_beta1=0.3, adam_beta2=0.4, weight_decay=0.05
    )
    for each, lr in ((gan.optimizers["g"], 0.1), (gan.optimizers["d"], 0.2)):
        (group,) = each.param_groups
        assert group["lr"] == lr
        assert group["betas"] == (0.3, 0.4)
        assert group["weight_decay"] == 0.05
        assert group["decoupled_weight_decay"] == (optimizer == "adamw")


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("rmsprop", torch.optim.RMSprop),
        ("sgd", torch.optim.SGD),
    ],
)
def test_every_optimizer_trains_both_networks(
    make_gan: Make, advance: Advance, real_batches: Batches, flat: Flat, optimizer: str, kind: type
) -> None:
    gan = make_gan(optimizer=optimizer, g_lr=0.01, d_lr=0.02, weight_decay=0.05)
    before = flat([gan.generator.state_dict(), gan.discriminator.state_dict()])
    advance(gan, real_batches(1))
    after = flat([gan.generator.state_dict(), gan.discriminator.state_dict()])
    networks = (gan.generator, gan.discriminator)
    for each, lr, network in zip(
        (gan.optimizers["g"], gan.optimizers["d"]), (0.01, 0.02), networks, strict=True
    ):
        assert type(each) is kind
        (group,) = each.param_groups
        assert (group["lr"], group["weight_decay"]) == (lr, 0.05)
        assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters()]
    unmoved = [
        key for key in before
        if isinstance(before[key], Tensor) and torch.equal(before[key], after[key])
    ]  # fmt: skip
    # A bias before batch norm has no gradient to speak of; sgd may leave it where it was.
    assert [key for key in unmoved if not key.endswith("bias")] == []
    assert gan.is_finite()


def test_discriminator_learns_to_tell_real_from_fake(
    make_gan: Make, advance: Advance, real_batches: Batches
) -> None:
    gan = make_gan(g_lr=1e-6, d_lr=0.01)
    for index in range(60):
        measures = advance(gan, real_batches(1, index).clamp(0.5))
    assert measures["d_real"] > 0.8
    assert measures["d_fake"] < 0.2


# --- sampling, finiteness, state ------------------------------------------------------------------


@pytest.mark.parametrize("g_norm", ["batch", "spectral"])
@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_sampling_changes_no_training_state(
    make_gan: Make,
    advance: Advance,
    real_batches: Batches,
    flat: Flat,
    same: Same,
    architecture: str,
    g_norm: str,
) -> None:
    gan = make_gan(architecture=architecture, g_norm=g_norm, g_dropout=0.3, d_dropout=0.3)
    for index in range(2):
        advance(gan, real_batches(1, index))
    before, global_state = flat(gan.state_dict()), torch.get_rng_state()
    latents = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    images = sample(gan, latents)
    assert same(flat(gan.state_dict()), before)
    assert torch.equal(torch.get_rng_state(), global_state)
    assert all(module.training for module in gan.generator.modules())
    assert images.shape == (5, *SHAPE)
    assert images.abs().max() <= 1
    assert not images.requires_grad
    # Eval mode: no dropout, and a sample does not depend on its neighbours.
    assert torch.equal(sample(gan, latents), images)
    torch.testing.assert_close(sample(gan, latents[:1]), images[:1], rtol=1e-4, atol=1e-5)


def test_steps_after_sampling_are_the_same_steps(
    make_gan: Make, advance: Advance, real_batches: Batches, flat: Flat, same: Same
) -> None:
    gans = [make_gan(architecture="dc", g_norm="batch", g_dropout=0.3) for _ in range(2)]
    for index in range(3):
        sample(gans[0], torch.zeros(2, 3))
        for gan in gans:
            advance(gan, real_batches(1, index))
    assert same(*(flat(gan.state_dict()) for gan in gans))


@pytest.mark.parametrize(
    ("network", "value"),
    list(itertools.product(["generator", "discriminator"], [float("nan"), float("inf")])),
)
def test_one_bad_weight_is_not_finite(make_gan: Make, network: str, value: float) -> None:
    gan = make_gan()
    assert gan.is_finite()
    with torch.no_grad():
        list(gan.networks[network].parameters())[-1].view(-1)[0] = value
    assert not gan.is_finite()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_state_round_trip_continues_bit_for_bit(
    make_gan: Make,
    advance: Advance,
    real_batches: Batches,
    flat: Flat,
    same: Same,
    optimizer: str,
    norm: str,
) -> None:
    dropout = {"g_dropout": 0.2, "d_dropout": 0.2}
    gan, resumed = (
        make_gan(optimizer=optimizer, g_norm=norm, d_norm=norm, **dropout) for _ in range(2)
    )
    for index in range(2):
        advance(gan, real_batches(1, index))
    resumed.load_state_dict(copy.deepcopy(gan.state_dict()))
    assert same(flat(resumed.state_dict()), flat(gan.state_dict()))
    for index in range(2):
        expected = advance(gan, real_batches(1, 10 + index))
        got = advance(resumed, real_batches(1, 10 + index))
        assert same(flat(got), flat(expected))
    assert same(flat(resumed.state_dict()), flat(gan.state_dict()))
    assert resumed.counts == {"d_steps": 4, "g_steps": 4}


def test_steps_ignore_and_keep_the_global_state(
    make_gan: Make, advance: Advance, real_batches: Batches, flat: Flat, same: Same
) -> None:
    results = []
    for seed in (1, 2):
        gan = make_gan(penalty="gradient", g_dropout=0.2, d_dropout=0.2)
        for index in range(2):
            torch.manual_seed(seed + index)
            before = torch.get_rng_state()
            advance(gan, real_batches(1, index))
            assert torch.equal(torch.get_rng_state(), before)
        results.append(flat(gan.state_dict()))
    assert same(*results)


def test_loading_a_state_leaves_the_saved_one_alone(
    make_gan: Make, advance: Advance, real_batches: Batches, flat: Flat, same: Same
) -> None:
    gan, resumed = make_gan(), make_gan()
    for index in range(2):
        advance(gan, real_batches(1, index))
    saved = copy.deepcopy(gan.state_dict())
    before = flat(saved)
    resumed.load_state_dict(saved)
    advance(resumed, real_batches(1))
    assert same(flat(saved), before)


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_parameters_are_counted_as_built(make_gan: Make, architecture: str) -> None:
    gan = make_gan(architecture=architecture)
    built = {"generator": gan.generator, "discriminator": gan.discriminator}
    assert GAN.num_parameters(gan.config, gan.facts) == {
        name: sum(each.numel() for each in network.parameters()) for name, network in built.items()
    }
