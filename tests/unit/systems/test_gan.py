"""The adversarial game: who learns when, on what, and from which random stream."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from harness.errors import HarnessError
from harness.systems.gan import GAN
from harness.systems.gan.losses import LOSSES
from harness.systems.gan.penalties import PENALTIES

Make = Callable[..., GAN]
Advance = Callable[..., dict[str, Tensor]]
Batches = Callable[..., Tensor]
Flat = Callable[..., dict[str, Any]]
Same = Callable[..., bool]

SHAPE = (1, 8, 8)
BATCH = 4


def freeze(optimizer: torch.optim.Optimizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer, "step", lambda: None)


def inputs_of(module: nn.Module) -> list[Tensor]:
    """Return a list that grows by every input the module is called with."""
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    return seen


# --- initialisation -------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_init_depends_on_the_seed_only(
    make_gan: Make, flat: Flat, same: Same, architecture: str
) -> None:
    torch.manual_seed(1)
    one = flat(make_gan(architecture=architecture, g_norm="spectral").state_dict())
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = make_gan(architecture=architecture, g_norm="spectral")
    assert same(flat(again.state_dict()), one)
    assert torch.equal(torch.get_rng_state(), before)
    other = make_gan(architecture=architecture, g_norm="spectral", seed=1)
    assert not same(flat(other.state_dict()), one)


def test_networks_are_initialised_apart(make_gan: Make, flat: Flat, same: Same) -> None:
    narrow, wide = make_gan(d_width=4), make_gan(d_width=8)
    assert same(flat(narrow.generator.state_dict()), flat(wide.generator.state_dict()))


def test_impossible_shapes_are_refused_at_once(make_gan: Make) -> None:
    with pytest.raises(HarnessError, match="g_depth = 4 with architecture = 'dc'"):
        make_gan(architecture="dc", g_depth=4)


# --- who learns when ------------------------------------------------------------------------------


@pytest.mark.parametrize("d_norm", ["none", "layer"])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_discriminator_learns_only_in_its_own_step(
    make_gan: Make,
    advance: Advance,
    real_batches: Batches,
    flat: Flat,
    same: Same,
    loss: str,
    d_norm: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gan = make_gan(loss=loss, d_norm=d_norm, d_steps=2)
    before = flat(gan.discriminator.state_dict())
    generator = flat(dict(gan.generator.named_parameters()))
    freeze(gan.optimizers["d"], monkeypatch)
    advance(gan, real_batches(2))
    assert same(flat(gan.discriminator.state_dict()), before)
    assert not same(flat(dict(gan.generator.named_parameters())), generator)


@pytest.mark.parametrize("g_norm", ["none", "batch"])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_generator_learns_only_in_its_own_step(
    make_gan: Make,
    advance: Advance,
    real_batches: Batches,
    flat: Flat,
    same: Same,
    loss: str,
    g_norm: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gan = make_gan(loss=loss, g_norm=g_norm, penalty="r2", d_steps=2)
    before = flat(dict(gan.generator.named_parameters()))
    discriminator = flat(gan.discriminator.state_dict())
    freeze(gan.optimizers["g"], monkeypatch)
    advance(gan, real_batches(2))
    assert same(flat(dict(gan.generator.named_parameters())), before)
    assert not same(flat(gan.discriminator.state_dict()), discriminator)


@pytest.mark.parametrize("d_steps", [1, 2, 5])
def test_every_discriminator_step_has_its_own_batch_and_latents(
    make_gan: Make, advance: Advance, real_batches: Batches, d_steps: int
) -> None:
    gan = make_gan(d_steps=d_steps)
    to_d, to_g = inputs_of(gan.discriminator), inputs_of(gan.generator)
    order: list[str] = []
    for name, optimizer in (("d", gan.optimizers["d"]), ("g", gan.optimizers["g"])):
        optimizer.register_step_post_hook(lambda *_, name=name: order.append(name))
    for index in range(3):
        advance(gan, real_batches(d_steps, index))
    assert order == (["d"] * d_steps + ["g"]) * 3
    assert gan.counts["d_steps"] == 3 * d_steps
    assert gan.counts["g_steps"] == 3
    # D's step passes real and fake images together, G's only fakes.
    shown = [each[:BATCH] for each in to_d if len(each) == 2 * BATCH]
    expected = torch.cat([real_batches(d_steps, index) for index in range(3)])
    assert torch.equal(torch.stack(shown), expected)
    # d_steps + 1 batches of latents per iteration, each (batch_size, latent_dim), none used twice.
    assert len(to_g) == 3 * (d_steps + 1)
    assert all(each.shape == (BATCH, 3) for each in to_g)
    assert torch.cat(to_g).unique(dim=0).shape == (len(to_g) * BATCH, 3)


def test_latents_are_standard_normal(make_gan: Make, advance: Advance) -> None:
    gan = make_gan(batch_size=2000, latent_dim=10, d_width=1)
    to_g = inputs_of(gan.generator)
    advance(gan, torch.zeros(1, 2000, *SHAPE))
    for latents in to_g:  # 20,000 draws
        assert latents.mean().item() == pytest.approx(0, abs=0.03)
        assert latents.std().item() == pytest.approx(1, abs=0.03)


def test_one_iteration_is_algorithm_1_written_out(
    make_gan: Make, advance: Advance, real_batches: Batches
) -> None:
    lr, d_steps = 0.1, 2
    gan = make_gan(optimizer="sgd", g_lr=lr, d_lr=2 * lr, d_steps=d_steps, g_norm="none")
    g, d = copy.deepcopy(gan.generator), copy.deepcopy(gan.discriminator)
    latent_stream = torch.Generator()
    latent_stream.set_state(gan.random["latents"].get_state())
    batches = real_batches(d_steps)
    measures = advance(gan, batches)

    def descend(module: nn.Module, loss: Tensor, rate: float) -> float:
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                parameter.sub_(rate * gradient)
        return float(torch.cat([each.flatten() for each in gradients]).norm())

    d_losses, d_norms, real_logits, fake_logits = [], [], [], []
    for real in batches:
        fake = g(torch.randn(BATCH, 3, generator=latent_stream)).detach()
        real_logits.append(d(real))
        fake_logits.append(d(fake))
        loss = softplus(-d(real)).mean() + softplus(d(fake)).mean()
        d_losses.append(loss.item())
        d_norms.append(descend(d, loss, 2 * lr))
    g_loss = softplus(-d(g(torch.randn(BATCH, 3, generator=latent_stream)))).mean()
    g_norm = descend(g, g_loss, lr)

    for expected, got in ((g, gan.generator), (d, gan.discriminator)):
        for key, value in expected.state_dict().items():
            torch.testing.assert_close(got.state_dict()[key], value, rtol=1e-4, atol=1e-6)
    real_all, fake_all = torch.cat(real_logits), torch.cat(fake_logits)
    assert {key: value.item() for key, value in measures.items()} == pytest.approx(
        {
            "d_loss": sum(d_losses) / d_steps,
            "d_grad_norm": sum(d_norms) / d_steps,
            "g_loss": g_loss.item(),
            "g_grad_norm": g_norm,
            "d_real_logit": real_all.mean().item(),
            "d_fake_logit": fake_all.mean().item(),
            "d_real": real_all.sigmoid().mean().item(),
            "d_fake": fake_all.sigmoid().mean().item(),
        },
        rel=1e-4,
    )


@pytest.mark.parametrize("loss", list(LOSSES))
def test_probabilities_are_measured_only_for_log_odds(
    make_gan: Make, advance: Advance, real_batches: Batches, loss: str
) -> None:
    gan = make_gan(loss=loss)
    measures = advance(gan, real_batches(1))
    assert ("d_real" in measures) == LOSSES[loss].logits_are_log_odds
    assert all(value.shape == () and not value.requires_grad for value in measures.values())


def test_relativistic_generator_step_sees_the_real_batch(
    make_gan: Make, advance: Advance, real_batches: Batches
) -> None:
    gan = make_gan(loss="relativistic_average", optimizer="sgd", d_lr=1e-30)
    to_d = inputs_of(gan.discriminator)
    batches = real_batches(1)
    measures = advance(gan, batches)
    real_d, fake_d = gan.discriminator(batches[0]), gan.discriminator(to_d[1])
    expected = LOSSES["relativistic_average"].generator(real_d, fake_d)
    assert measures["g_loss"].item() == pytest.approx(expected.item(), rel=1e-5)


# --- clipping, penalties, norms -------------------------------------------------------------------


def test_clipping_covers_all_of_d_after_every_step(
    make_gan: Make, advance: Advance, real_batches: Batches
) -> None:
    clip = 0.01
    gan = make_gan(loss="wasserstein", weight_clip=clip, d_steps=3, d_lr=0.5, d_norm="layer")
    largest: list[float] = []

    def record(module: nn.Module, _: Any) -> None:
        largest.append(max(parameter.abs().max().item() for parameter in module.parameters()))

    gan.discriminator.register_forward_pre_hook(record)
    advance(gan, real_batches(3))
    assert len(largest) == 4  # three D steps and G's
    assert largest[0] > clip
    assert all(value == pytest.approx(clip) for value in largest[1:])
    assert all(parameter.abs().max() <= clip for parameter in gan.discriminator.parameters())
    assert any(parameter.abs().max() > clip for parameter in gan.generator.parameters())


def test_no_clipping_unless_asked(make_gan: Make, advance: Advance, real_batches: Batches) -> None:
    gan = make_gan(loss="wasserstein", d_lr=0.5)
    advance(gan, real_batches(1))
    assert max(p.abs().max().item() for p in gan.discriminator.parameters()) > 0.3


@pytest.mark.parametrize(("interval", "d_steps"), [(1, 1), (3, 1), (3, 2)])
def test_lazy_penalty(
    make_gan: Make,
    advance: Advance,
    real_batches: Batches,
    interval: int,
    d_steps: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A constant penalty moves no weight, so that the runs differ in the reported loss alone.
    calls: list[tuple[Any, ...]] = []

    def constant(*args: Any) -> Tensor:
        calls.append(args)
        return torch.tensor(1.0)

    monkeypatch.setitem(PENALTIES._entries, "r1", constant)
    plain = make_gan(d_steps=d_steps)
    lazy = make_gan(penalty="r1", penalty_weight=0.5, penalty_interval=interval, d_steps=d_steps)
    added = []
    for index in range(6):
        batches = real_batches(d_steps, index)
        without, with_penalty = (advance(gan, batches)["d_loss"].item() for gan in (plain, lazy))
        added.append(d_steps * (with_penalty - without))
    # Applied at D steps 0, n, 2n, …, multiplied by n.
    per_step = [0.5 * interval * (step % interval == 0) for step in range(6 * d_steps)]
    expected = [sum(per_step[i : i + d_steps]) for i in range(0, len(per_step), d_steps)]
    assert added == pytest.approx(expected, abs=1e-5)
    assert len(calls) == sum(step > 0 for step in per_step)
    discriminator, real, fake, generator = calls[0]
    images = torch.cat([real, fake])
    assert torch.equal(discriminator(images), lazy.discriminator(images))
    assert torch.equal(real, real_batches(d_steps, 0)[0])
    assert fake.shape == real.shape
    assert not fake.requires_grad
    assert generator is lazy.random["penalty"]


@pytest.mark.parametrize("penalty", [name for name in PENALTIES if name != "none"])
def test_penalty_moves_the_discriminator(
    make_gan: Make, advance: Advance, real_batches: Batches, flat: Flat, same: Same, penalty: str
) -> None:
    weights = []
    for weight in (0.0, 10.0):
        gan = make_gan(penalty=penalty, penalty_weight=weight, optimizer="sgd", d_lr=0.1)
        for parameter in gan.discriminator.parameters():
            parameter.data.mul_(10)  # slopes above 1, where the one-sided penalty begins
        advance(gan, real_batches(1))
        weights.append(flat(gan.discriminator.state_dict()))
    assert not same(*weights)


def test_zero_weight_is_the_plain_loss(
    make_gan: Make, advance: Advance, real_batches: Batches
) -> None:
    plain = make_gan(optimizer="sgd")
    zero = make_gan(optimizer="sgd", penalty="r1", penalty_weight=0.0)
    for index in range(2):
        for gan in (plain, zero):
            advance(gan, real_batches(1, index))
    expected = plain.discriminator.state_dict()
    for key, value in zero.discriminator.state_dict().items():
        torch.testing.assert_close(value, expected[key])


@pytest.mark.parametrize("d_norm", ["none", "layer"])
@pytest.mark.parametrize("architecture", ["mlp", "dc"])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_passing_real_and_fake_together_changes_nothing(
    make_gan: Make,
    advance: Advance,
    real_batches: Batches,
    loss: str,
    architecture: str,
    d_norm: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"loss": loss, "architecture": architecture, "d_norm": d_norm}
    gradients = []
    for joint in (True, False):
        gan = make_gan(**settings, optimizer="sgd", d_lr=0.1)
        monkeypatch.setattr(gan, "_joint_pass", joint)
        to_d = inputs_of(gan.discriminator)
        advance(gan, real_batches(1))
        assert [len(each) for each in to_d][:1] == [2 * BATCH if joint else BATCH]
        gradients.append([p.grad.clone() for p in gan.discriminator.parameters()])  # type: ignore[union-attr]
    assert any(gradient.any() for gradient in gradients[0])
    for joint_gradient, separate_gradient in zip(*gradients, strict=True):
        torch.testing.assert_close(joint_gradient, separate_gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_batch_norm_in_d_passes_real_and_fake_separately(
    make_gan: Make, advance: Advance, real_batches: Batches, architecture: str
) -> None:
    gan = make_gan(d_norm="batch", architecture=architecture)
    d = copy.deepcopy(gan.discriminator)
    to_d = inputs_of(gan.discriminator)
    batches = real_batches(1)
    measures = advance(gan, batches)
    assert [len(each) for each in to_d] == [BATCH] * 3
    assert torch.equal(to_d[0], batches[0])
    assert measures["d_real_logit"].item() == pytest.approx(d(to_d[0]).mean().item(), abs=1e-6)
    assert measures["d_fake_logit"].item() == pytest.approx(d(to_d[1]).mean().item(), abs=1e-6)
