"""CycleGAN: its losses by hand, what each update moves, and the pool's law."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.config import parse
from harness.data import Batch, Facts
from harness.errors import HarnessError
from harness.systems.cyclegan import CycleGAN, CycleGANConfig
from harness.systems.cyclegan.networks import patch_discriminator, translator
from harness.systems.cyclegan.pool import from_pool

FACTS = Facts(sample_shape=(1, 8, 8), source_shape=(1, 8, 8))
COLOURED = Facts(sample_shape=(3, 8, 8), source_shape=(1, 8, 8))
CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "dataset": "pairs:digits|inverted:digits",
    "g_width": 4,
    "d_width": 4,
    "residual_blocks": 1,
    "batch_size": 2,
    "budget": {"g_steps": 10},
}


def config(**changes: Any) -> CycleGANConfig:
    return parse(CycleGANConfig, SMALL | changes, "test")


def start(facts: Facts = FACTS, **changes: Any) -> CycleGAN:
    return CycleGAN(config(**changes), facts, CPU)


def batch(facts: Facts = FACTS, num: int = 2, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def images(shape: tuple[int, ...]) -> Tensor:
        return torch.rand(num, *shape, generator=generator) * 2 - 1

    assert facts.source_shape is not None
    return Batch(
        images=images(facts.sample_shape),
        labels=None,
        counterpart=Batch(images=images(facts.source_shape), labels=None),
    )


# Losses by hand.


class Affine(nn.Module):
    """x -> scale x + shift: a translator, or a judge of every pixel, that a hand can follow."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = (nn.Parameter(torch.tensor(each)) for each in (scale, shift))

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * images + self.shift


def by_hand(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> CycleGAN:
    """Return a CycleGAN with ab(x) = -x, ba(x) = x / 2, D_a(x) = x and D_b(x) = 2 x + 1."""
    networks = {
        "ab": lambda: Affine(-1.0, 0.0),
        "ba": lambda: Affine(0.5, 0.0),
        "d_a": lambda: Affine(1.0, 0.0),
        "d_b": lambda: Affine(2.0, 1.0),
    }
    monkeypatch.setattr(CycleGAN, "builders", classmethod(lambda cls, config, facts: networks))
    return start(**changes)


def constant(a: float, b: float) -> Batch:
    """Return a batch of one-coloured images of either domain."""
    shape = (2, 1, 8, 8)
    return Batch(
        images=torch.full(shape, b),
        labels=None,
        counterpart=Batch(images=torch.full(shape, a), labels=None),
    )


def test_losses_are_those_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    system = by_hand(monkeypatch, cycle_weight=10.0, identity_weight=0.5)
    measures = system.step(lambda: constant(a=0.4, b=0.8), 0.0)
    # Translations: ab(0.4) = -0.4 and ba(0.8) = 0.4; judged D_b(-0.4) = 0.2 and D_a(0.4) = 0.4.
    adversarial = (0.2 - 1) ** 2 + (0.4 - 1) ** 2
    # Back: ba(-0.4) = -0.2 from 0.4, and ab(0.4) = -0.4 from 0.8.
    cycle = 0.6 + 1.2
    # Left alone: ab(0.8) = -0.8 and ba(0.4) = 0.2.
    identity = 1.6 + 0.2
    expected = {
        "adversarial_loss": adversarial,
        "cycle_loss": cycle,
        "identity_loss": identity,
        "g_loss": adversarial + 10 * cycle + 10 * 0.5 * identity,
        # Real: D_a(0.4) = 0.4, D_b(0.8) = 2.6; translations as above; halved.
        "d_loss": ((0.4 - 1) ** 2 + (2.6 - 1) ** 2 + 0.4**2 + 0.2**2) / 2,
        "d_real_logit": (0.4 + 2.6) / 2,
        "d_fake_logit": (0.4 + 0.2) / 2,
    }
    assert {key: measures[key].item() for key in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("weight", "share"), [(0.0, 0.0), (3.0, 0.0), (0.0, 0.5)])
def test_weights_scale_their_terms(
    weight: float, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = by_hand(monkeypatch, cycle_weight=weight, identity_weight=share)
    measures = system.step(lambda: constant(a=0.4, b=0.8), 0.0)
    assert measures["g_loss"].item() == pytest.approx(1.0 + weight * 1.8, rel=1e-5)
    assert ("identity_loss" in measures) == (share > 0)
    shown = {key for panel in CycleGAN.panels(system.config) for key in panel.curves}
    assert ("identity_loss" in shown) == (share > 0)


# Updates.


def weights(system: CycleGAN) -> dict[str, list[Tensor]]:
    return {
        name: [weight.detach().clone() for weight in network.parameters()]
        for name, network in system.networks.items()
    }


@pytest.mark.parametrize("moving", ["g", "d"])
def test_each_update_moves_its_own_networks_alone(
    moving: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = start()
    other = system._learners["d" if moving == "g" else "g"]
    monkeypatch.setattr(other, "update", lambda loss: loss.detach())
    before = weights(system)
    system.step(batch, 0.0)
    moved = {
        name
        for name, values in weights(system).items()
        if not all(map(torch.equal, values, before[name]))
    }
    assert moved == ({"ab", "ba"} if moving == "g" else {"d_a", "d_b"})
    for name in {"ab", "ba", "d_a", "d_b"} - moved:
        assert all(weight.grad is None for weight in system.networks[name].parameters())


def test_translations_are_judged_after_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def watched(images: Tensor, pool: Tensor, num_before: int, generator: Any) -> Tensor:
        assert not images.requires_grad
        seen.append((len(pool), num_before))
        return torch.zeros_like(images)

    monkeypatch.setattr("harness.systems.cyclegan.cyclegan.from_pool", watched)
    system = by_hand(monkeypatch, pool_size=7)
    measures = system.step(lambda: constant(a=0.4, b=0.8), 0.0)
    assert measures["d_fake_logit"].item() == pytest.approx((0 + 1) / 2)  # D_a(0), D_b(0)
    system.step(lambda: constant(a=0.4, b=0.8), 0.0)
    assert seen == [(7, 0), (7, 0), (7, 2), (7, 2)]


def test_rates_are_constant_for_half_of_the_budget_and_fall_to_nothing() -> None:
    system = start(g_lr=4e-4, d_lr=2e-4)
    for done, factor in ((0.0, 1.0), (0.5, 1.0), (0.75, 0.5), (0.9, 0.2)):
        system.step(batch, done)
        rates = [each.param_groups[0]["lr"] for each in system.optimizers.values()]
        assert rates == pytest.approx([4e-4 * factor, 2e-4 * factor])
    (group,) = system.optimizers["g"].param_groups
    assert group["betas"] == (0.5, 0.999)


def test_domains_may_have_other_channels() -> None:
    system = start(COLOURED)
    system.step(lambda: batch(COLOURED), 0.0)
    assert system.networks["ab"](torch.zeros(2, 1, 8, 8)).shape == (2, 3, 8, 8)
    assert system.networks["ba"](torch.zeros(2, 3, 8, 8)).shape == (2, 1, 8, 8)
    assert {name: buffer.shape[1:] for name, buffer in system.buffers.items()} == {
        "pool_a": (1, 8, 8),
        "pool_b": (3, 8, 8),
    }
    assert list(CycleGAN.num_parameters(system.config, COLOURED)) == ["ab", "ba", "d_a", "d_b"]


@pytest.mark.parametrize(
    ("changes", "facts", "words"),
    [
        ({"identity_weight": 0.5}, COLOURED, "identity_weight = 0.5: .* 1 and of 3 channels"),
        ({"d_depth": 3}, FACTS, "d_depth = 3: .* 8x8"),
        ({}, Facts(sample_shape=(1, 4, 4), source_shape=(1, 4, 4)), "image_size: .* from 8"),
        ({"dataset": "digits"}, Facts(sample_shape=(1, 8, 8)), "'pairs:digits|inverted:digits'"),
    ],
)
def test_what_does_not_fit_is_refused(changes: Any, facts: Facts, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        start(facts, **changes)


def test_one_domain_is_not_trained_on_two(small: Any) -> None:
    for name in ("gan", "vae"):
        with pytest.raises(HarnessError, match=f"system = '{name}' translates no images"):
            small.config(name).check(FACTS)


# Networks.


@pytest.mark.parametrize(("depth", "side"), [(1, 8), (2, 18), (3, 38)])
def test_a_logit_sees_a_patch(depth: int, side: int) -> None:
    network = patch_discriminator(1, width=2, depth=depth)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    plain = nn.Sequential(*(each for each in network if isinstance(each, nn.Conv2d)))
    images = torch.zeros(1, 1, 96, 96, requires_grad=True)
    logits = plain(images)
    middle = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], images)
    assert int((gradient[0, 0].abs().sum(dim=0) > 0).sum()) == side


def test_a_translator_of_nothing_but_zeros_gives_grey() -> None:
    network = translator(1, 3, width=4, downsamplings=2, residual_blocks=2)
    for weight in network.parameters():
        nn.init.zeros_(weight)
    images = network(torch.rand(2, 1, 12, 16))
    assert torch.equal(images, torch.zeros(2, 3, 12, 16))


# The pool.


def numbered(first: int, num: int) -> Tensor:
    return torch.arange(first, first + num).float().view(-1, 1, 1, 1)


def test_a_pool_fills_before_it_gives_anything_back() -> None:
    generator, pool = torch.Generator().manual_seed(0), torch.zeros(5, 1, 1, 1)
    before = generator.get_state()
    for first in (1, 3):
        images = numbered(first, 2)
        assert from_pool(images, pool, first - 1, generator) is images
    assert torch.equal(generator.get_state(), before)
    assert pool.flatten().tolist() == [1, 2, 3, 4, 0]
    returned = from_pool(numbered(5, 3), pool, 4, generator)  # one fits in, two are exchanged
    assert returned[0].item() == 5
    everything = [*returned[1:].flatten().tolist(), *pool.flatten().tolist()]
    assert sorted(everything) == [1, 2, 3, 4, 5, 6, 7]


def test_half_of_what_a_full_pool_returns_is_older() -> None:
    generator, pool = torch.Generator().manual_seed(0), torch.zeros(20, 1, 1, 1)
    old, ages = 0, []
    for first in range(0, 8000, 8):
        images = numbered(first, 8)
        returned = from_pool(images, pool, first, generator)
        assert pool.unique().numel() == min(20, first + 8)  # no image twice, none lost
        if first >= 24:
            older = returned[returned != images]
            old += older.numel()
            ages += (first - older).tolist()
    total = 8000 - 24
    assert abs(old / total - 0.5) < 4 * (0.25 / total) ** 0.5
    # An image stays until it is drawn: 2 x 20 images long on average.
    assert sum(ages) / len(ages) == pytest.approx(40 - 4.5, abs=3)


def test_without_a_pool_images_are_returned() -> None:
    images = numbered(1, 3)
    assert from_pool(images, torch.zeros(0, 1, 1, 1), 0, torch.Generator()) is images
    assert start(pool_size=0).step(batch, 0.0)["d_loss"].isfinite()


def test_the_pool_is_resumed_bit_for_bit() -> None:
    system = start(pool_size=3)
    for number in range(4):
        system.step(lambda number=number: batch(seed=number), 0.0)
    saved = copy.deepcopy(system.state_dict())
    assert saved["buffers"]["pool_a"].abs().sum() > 0
    other = start(pool_size=3, seed=5)
    other.load_state_dict(saved)
    for number in range(4, 8):
        one, another = (
            each.step(lambda number=number: batch(seed=number), 0.0) for each in (system, other)
        )
        assert {key: value.item() for key, value in one.items()} == {
            key: value.item() for key, value in another.items()
        }
    for name in ("pool_a", "pool_b"):
        assert torch.equal(system.buffers[name], other.buffers[name])
