"""Every knob at once, and knobs that change no bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.config import parse
from harness.data import Batch, Facts
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan import GAN, GANConfig

Flat = Callable[..., dict[str, Any]]
Same = Callable[..., bool]

FACTS = Facts(sample_shape=(1, 8, 8), num_classes=3)
CPU = torch.device("cpu")
BATCH = 8

SMALL: dict[str, Any] = {
    "dataset": "digits",
    "architecture": "dc",
    "latent_dim": 3,
    "batch_size": BATCH,
    "g_width": 8,
    "d_width": 8,
    "g_depth": 2,
    "d_depth": 2,
}
KNOBS: dict[str, Any] = {
    "d_steps": 3,
    "loss": "non_saturating",
    "penalty": "r1",
    "penalty_interval": 2,
    "prior": "uniform",
    "pad_to": 12,
    "smooth_real": 0.1,
    "smooth_fake": 0.05,
    "flip_labels": 0.1,
    "instance_noise": 0.2,
    "instance_noise_until": 0.8,
    "augment_reals": "flip+rotation",
    "augment": "translation+cutout+crop",
    "augment_target": 0.6,
    "average": 30,
    "clip_grad": 1.0,
    "weight_decay": 0.01,
    "optimizer": "adamw",
    "d_optimizer": "rmsprop",
    "momentum": 0.3,
    "schedule": "cosine",
    "warm_up": 0.1,
    "weight_clip": 0.5,
    "g_norm": "instance",
    "d_norm": "spectral",
    "g_dropout": 0.1,
    "d_dropout": 0.1,
    "g_residual": 1,
    "d_residual": 1,
    "g_attention": True,
    "d_attention": True,
    "d_minibatch_std": True,
    "g_output": "sigmoid",
    "g_init": "orthogonal",
    "d_init": "uniform",
}
EVERYTHING: list[dict[str, Any]] = [
    KNOBS | {"pack": 2},
    KNOBS | {"conditioning": "concatenation", "d_norm": "group"},
    KNOBS | {"conditioning": "projection", "penalty": "r1_r2", "g_norm": "spectral"},
]


def game(precision: str = "float32", **settings: Any) -> GAN:
    config = parse(GANConfig, SMALL | settings, "test")
    return GAN(config, FACTS, CPU, precision)  # type: ignore[arg-type]


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(BATCH, 1, 8, 8, generator=generator) * 2 - 1
    return Batch(images=images, labels=torch.randint(3, (BATCH,), generator=generator))


def played(gan: GAN, first: int = 0, times: int = 1) -> dict[str, Any]:
    """Run iterations, on batches that differ; return the last one's measures and the state."""
    for index in range(first, first + times):
        feed = iter([batch(10 * index + step) for step in range(gan.config.d_steps)])
        measures = gan.step(lambda feed=feed: next(feed), index / 10)
    return {"measures": measures, "state": copy.deepcopy(gan.state_dict())}


# --- everything at once ---------------------------------------------------------------------------


@pytest.mark.parametrize("settings", EVERYTHING)
def test_every_knob_at_once_and_bit_for_bit_after_a_resume(
    settings: dict[str, Any], flat: Flat, same: Same
) -> None:
    gan = game(**settings)
    gan.buffers["augmented"].fill_(0.5)
    first = played(gan, times=2)
    assert gan.counts == {"d_steps": 6, "g_steps": 2}
    assert all(each.isfinite() for each in first["measures"].values())
    assert gan.is_finite()
    assert max(each.abs().max().item() for each in gan.discriminator.parameters()) <= 0.5
    again = game(**settings)
    again.load_state_dict(first["state"])
    rest = [flat(played(each, first=2)) for each in (gan, again)]
    assert same(*rest)
    # What is not restored would be noticed: without any one part the run goes another way.
    for part in ("networks", "optimizers", "buffers", "streams", "counts"):
        wrong = game(**settings)
        fresh = wrong.state_dict()[part]
        wrong.load_state_dict({**copy.deepcopy(first["state"]), part: copy.deepcopy(fresh)})
        assert not same(flat(played(wrong, first=2)), rest[0])


@pytest.mark.parametrize("settings", EVERYTHING)
def test_every_knob_at_once_in_bfloat16(settings: dict[str, Any]) -> None:
    gan = game("bfloat16", **settings)
    measures = played(gan, times=2)["measures"]
    assert all(each.isfinite() and each.dtype == torch.float32 for each in measures.values())
    assert gan.is_finite()
    weights = [each for network in gan.networks.values() for each in network.parameters()]
    assert {each.dtype for each in weights} == {torch.float32}


@pytest.mark.parametrize("settings", EVERYTHING)
def test_each_discriminator_step_has_its_own_batch(settings: dict[str, Any]) -> None:
    gan = game(**settings)
    taken = 0

    def take() -> Batch:
        nonlocal taken
        taken += 1
        return batch(taken)

    gan.step(take, 0.5)
    assert taken == 3


@pytest.mark.parametrize("settings", EVERYTHING)
def test_no_knob_reads_a_tensor_back(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gan = game(**settings)
    batches = [batch(index) for index in range(6)]
    feed = iter(batches)

    def read(self: Tensor, *_: Any) -> Any:
        raise AssertionError("a step read a tensor back to the host")

    names = ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__")
    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(Tensor, name, read)
        for done in (0.05, 0.5):
            gan.step(lambda: next(feed), done)


# --- what changes no bit --------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_defaults_given_explicitly_are_the_same_bits(
    architecture: str, flat: Flat, same: Same
) -> None:
    silent = game(architecture=architecture)
    defaults = {
        key: field.default
        for key, field in GANConfig.model_fields.items()
        if field.default is not None and key not in SMALL and not field.is_required()
    }
    pair = ARCHITECTURES[architecture]
    defaults |= {f"g_{key}": value for key, value in pair.generator_defaults.items()}
    defaults |= {f"d_{key}": value for key, value in pair.discriminator_defaults.items()}
    defaults |= {**pair.gan_defaults, **SMALL}
    assert {"average", "pack", "smooth_real", "augment", "schedule", "d_residual"} <= set(defaults)
    told = game(**defaults | {"architecture": architecture})
    complete = GAN(parse(GANConfig, silent.config.model_dump(), "test"), FACTS, CPU)
    results = [flat(played(gan, times=3)) for gan in (silent, told, complete)]
    assert same(results[0], results[1])
    assert same(results[0], results[2])


def test_a_budget_that_was_used_may_be_given_again() -> None:
    config = game().config
    assert config.budget.describe() == "600,000 real images"
    again = parse(GANConfig, SMALL | {"budget": config.budget}, "test")
    assert again == config


@pytest.mark.parametrize(
    "neutral",
    [
        {"clip_grad": 1e9},
        {"weight_clip": 1e9},
        {"truncation": 1.0},
        {"average": 100},
        {"penalty": "gradient", "penalty_weight": 0.0},
        {"penalty": "r1", "penalty_weight": 0.0, "penalty_interval": 4},
        {"instance_noise_until": 0.5},
        {"pad_to": 8},
    ],
)
def test_knobs_that_do_nothing_change_no_bit(
    neutral: dict[str, Any], flat: Flat, same: Same
) -> None:
    results = []
    for settings in ({}, neutral):
        result = played(game(d_norm="none", **settings), times=3)
        networks = result["state"]["networks"]
        results.append(flat([result["measures"], networks["generator"], networks["discriminator"]]))
    assert same(*results)
